"""The bundled examples: networks and the data that they were trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from relucidate.errors import ArgumentError, clipped

if TYPE_CHECKING:
    import pandas as pd

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


@dataclass(frozen=True)
class Multiplexer:
    """Where the network of the multiplexer example is, what its columns are, and how its rows are drawn.

    A row is ten fair coins and a switch made of three of them: where `x3` is 1 the answer is `x1`, where it is 0 the
    answer is `x2`. The truth is known, so what is said about the network can be checked.

    ======================== ============================================================ =========================
    column                   meaning                                                      unit
    ======================== ============================================================ =========================
    `x1`                     the answer where `x3` is 1                                   0 or 1
    `x2`                     the answer where `x3` is 0                                   0 or 1
    `x3`                     the switch                                                   0 or 1
    `noise1` to `noise7`     coins that nothing depends on                                0 or 1
    `y`                      the target: ``x3 x1 + (1 - x3) x2``                          0 or 1
    ======================== ============================================================ =========================
    """

    model: Path
    """JSON file: the ten coins, in the order above, to the log-odds that `y` is 1."""
    features: tuple[str, ...] = ("x1", "x2", "x3", *(f"noise{i}" for i in range(1, 8)))
    """Names of the inputs, in the order of the network."""
    target: str = "y"
    """Name of the column that the network predicts."""

    def rows(self, n: int = 100_000, seed: int = 0) -> pd.DataFrame:
        """Return rows of fair coins and their answer, the same on every machine.

        Parameters
        ----------
        n : how many rows; by default those that the network was trained on.
        seed : of the coins.

        Returns
        -------
        pandas.DataFrame (n, 11) of 0 and 1: the columns `features` and `target`.

        Raises
        ------
        ArgumentError : no rows are asked for.

        Notes
        -----
        The coins are the ten lowest bits of PCG64's numbers, a stream that numpy promises never to change. Ten coins make
        1,024 different rows.
        """
        import numpy as np
        import pandas as pd

        if not n > 0:
            raise ArgumentError(f"rows draws at least one row; got n={clipped(n)}.")
        places = np.arange(len(self.features), dtype=np.uint64)
        coins = (np.random.PCG64(seed).random_raw(n)[:, None] >> places & np.uint64(1)).astype(np.int8)
        table = pd.DataFrame(coins, columns=list(self.features))
        table[self.target] = np.where(table["x3"] == 1, table["x1"], table["x2"])
        return table


def multiplexer() -> Multiplexer:
    """Return the path of a bundled network that has learned a switch, and the rows that it has learned it from.

    Returns
    -------
    Multiplexer with the path `model`, the names `features` and `target`, and the method `rows`.

    Notes
    -----
    The network is 10-4-2-1 and was trained with a penalty on the activity of its first layer, so that it has exactly the
    three regions of the truth: one that says "no" whatever the input, one that looks at `x1` and `x3` only, and one that
    looks at `x2` and `x3` only. `examples/multiplexer/train.py` trains it, and says what other seeds give.

    References
    ----------
    Picchiotti and Gori 2021, *Clustering-Based Interpretation of Deep ReLU Network* (arXiv 2110.06593), a simulation
    study; the network is not theirs.

    Examples
    --------
    >>> example = multiplexer()
    >>> example.model.name, example.target, example.features[:3]
    ('multiplexer.json', 'y', ('x1', 'x2', 'x3'))
    """
    return Multiplexer(model=_DATA / "multiplexer.json")


@dataclass(frozen=True)
class Titanic:
    """Where the files of the Titanic example are, and which columns its networks read.

    A row is one of 891 passengers; a network gives the probability that the passenger survived. The seven inputs are
    whole numbers, coded as is usual for this table. The columns that they were coded from are there too.

    ======================== ============================================================ =========================
    column                   meaning                                                      unit
    ======================== ============================================================ =========================
    `ticket_class`           class of the ticket                                          1, 2 or 3
    `title`                  title in the name: Mr 1, Miss 2, Mrs 3, Master 4, other 5    1 to 5
    `female`                 the passenger is a woman or a girl                           0 or 1
    `age_band`               age: up to 16, 32, 48, 64 years, above                       0 to 4
    `fare_band`              fare: up to 7.91, 14.454, 31 pounds, above                   0 to 3
    `port`                   embarked at Southampton 0, Cherbourg 1, Queenstown 2         0 to 2
    `alone`                  no relatives on board                                        0 or 1
    `survived`               the target: the passenger survived                           0 or 1
    `name`                   name of the passenger, not an input                          text
    `age`                    age, not an input; missing for 177                           years
    `fare`                   fare, not an input                                           pounds
    `siblings_spouses`       siblings and spouses on board, not an input                  count
    `parents_children`       parents and children on board, not an input                  count
    `embarked`               port by name, not an input; missing for 2                    three names
    `part`                   `train` (691) or `test` (200), as the source has it          two names
    ======================== ============================================================ =========================
    """

    table: Path
    """Parquet file: 891 rows with the columns above."""
    models: tuple[Path, ...]
    """JSON files: eight networks, from the seven inputs to the log-odds of survival; the seeds are 0 to 7."""
    features: tuple[str, ...] = ("ticket_class", "title", "female", "age_band", "fare_band", "port", "alone")
    """Names of the inputs, in the order of the networks."""
    target: str = "survived"
    """Name of the column that the networks predict."""


def titanic() -> Titanic:
    """Return the paths of the bundled Titanic table and of eight networks that differ in nothing but their seed.

    Returns
    -------
    Titanic with the paths `table` and `models`, and the names `features` and `target`; it lists the columns.

    Notes
    -----
    The networks are 7-3-2-1, trained by `examples/titanic/train.py` on all 891 rows with one recipe. They have 1 to 8
    activation regions there: what is read off one of them is worth what it shares with the others. Missing ages are
    coded as the median age of passengers of the same sex and class, missing ports as Southampton;
    `examples/titanic/prepare.py` makes the table.

    References
    ----------
    The table is as packaged in explainerdashboard (Copyright (c) 2019 Oege Dijk, MIT licence; the notice is beside it,
    in `titanic_LICENSE.txt`). The setting is that of Picchiotti and Gori 2021, *Clustering-Based Interpretation of Deep
    ReLU Network* (arXiv 2110.06593); the networks are not theirs.

    Examples
    --------
    >>> example = titanic()
    >>> example.table.name, example.target, len(example.models)
    ('titanic.parquet', 'survived', 8)
    """
    models = tuple(_DATA / f"titanic_seed_{seed}.json" for seed in range(8))
    return Titanic(table=_DATA / "titanic.parquet", models=models)
