"""The bundled example: a network and the data it was trained and tested on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_DATA = Path(__file__).parent / "_data"


@dataclass(frozen=True)
class HomeLending:
    """Where the files of the home-lending example are, and which column is the target.

    A row is a mortgage in a quarter; the network gives the probability that it defaults within the year that follows.
    The data are simulated: `examples/home_lending/simulate.py` states the true log-odds and what was planted in them.

    ======================== ============================================================ =========================
    column                   meaning                                                      unit
    ======================== ============================================================ =========================
    `credit_score`           credit score of the borrower                                 points, 300 to 850
    `loan_to_value`          outstanding loan over the value of the house now             %
    `debt_to_income`         all debt service over gross income                           %
    `delinquencies_12m`      months with a late payment among the last 12                 count
    `loan_age_months`        time since the loan was made                                 months
    `interest_rate_spread`   interest rate of the loan above the market rate              percentage points
    `loan_amount_usd`        amount of the loan                                           US dollars
    `unemployment_rate`      local unemployment                                           %
    `house_price_growth_1y`  local house prices against a year ago                        %
    `mortgage_rate_change`   market mortgage rate against a year ago                      percentage points
    `first_time_buyer`       first house of the borrower                                  0 or 1
    `self_employed`          borrower is self-employed                                    0 or 1
    `default`                the target: default within the year that follows             0 or 1
    `quarter`                quarter of the observation, not an input                     `2003Q1` to `2008Q4`
    `region`                 region of the house, not an input                            four names
    `age_group`              age of the borrower, a protected attribute, not an input     `18-34`, `35-61`, `62+`
    ======================== ============================================================ =========================
    """

    model: Path
    """ONNX file: the 12 inputs in their units, in the order above, to the probability of default."""
    train: Path
    """Parquet file: 20,000 rows of a calm period, 2003 to 2006."""
    test: Path
    """Parquet file: 8,000 rows of the downturn that follows, 2007 and 2008."""
    target: str = "default"
    """Name of the column that the network predicts."""


def home_lending() -> HomeLending:
    """Return the paths of the bundled home-lending network and its data.

    Returns
    -------
    HomeLending with the paths `model`, `train` and `test`, and the name `target`; it lists the columns and their units.

    Notes
    -----
    The network is 12-8-4-1 with a standard scaler in front. Its 20,000 training rows lie in 331 activation regions.

    References
    ----------
    The setting is that of Sudjianto, Knauth, Singh, Yang and Zhang 2020, *Unwrapping the Black Box of Deep ReLU
    Networks* (arXiv 2011.04041); the data are not theirs.

    Examples
    --------
    >>> example = home_lending()
    >>> example.model.name, example.target
    ('home_lending.onnx', 'default')
    """
    return HomeLending(
        model=_DATA / "home_lending.onnx",
        train=_DATA / "home_lending_train.parquet",
        test=_DATA / "home_lending_test.parquet",
    )
