"""Simulate the home-lending portfolio that comes with relucidate.

    python examples/home_lending/simulate.py [FOLDER]

writes `home_lending_train.parquet` and `home_lending_test.parquet` (by default to `src/relucidate/_data`), the same
tables every time. A row is a mortgage in the quarter in which it is observed; `default` says whether it stopped being
paid within the year that follows. The setting is that of Sudjianto et al. 2020 (arXiv 2011.04041), the numbers are
invented: the quarters are labels for a calm period (train) and a downturn (test), not history.

The truth is known, and everything planted in it is a constant of this file, so that the findings of a diagnosis can be
checked:

- **effects**: default rises or falls in one direction with every input except `loan_age_months` (a hump) and
  `loan_amount_usd` (no effect at all); `credit_score`, `loan_to_value`, `debt_to_income`, `delinquencies_12m` and
  `mortgage_rate_change` bend;
- **one interaction**: `loan_to_value` above a level with falling house prices; elsewhere the effects add up;
- **a rare weak segment**: new loans to self-employed borrowers with a high debt-to-income, about one row in a hundred,
  where default is frequent and the credit score points the wrong way;
- **drift**: in the later period unemployment is up, house prices fall (and loan-to-value rises with them), scores are
  lower, debt-to-income is higher and more borrowers are self-employed. Only the inputs drift: the truth given the
  inputs is the same in both periods;
- **age group**: not an input and without an effect of its own, but related to inputs that have one.

`simulate` draws more rows of either period, with or without the drift; `true_log_odds` and `in_weak_segment` give the
truth for its rows.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

Array = NDArray[Any]

DATA = Path(__file__).resolve().parents[2] / "src" / "relucidate" / "_data"
N_TRAIN, TRAIN_SEED = 20_000, 2003
N_TEST, TEST_SEED = 8_000, 2007

FEATURES = (
    "credit_score",
    "loan_to_value",
    "debt_to_income",
    "delinquencies_12m",
    "loan_age_months",
    "interest_rate_spread",
    "loan_amount_usd",
    "unemployment_rate",
    "house_price_growth_1y",
    "mortgage_rate_change",
    "first_time_buyer",
    "self_employed",
)
"""The inputs of the network, in its order. `quarter`, `region` and `age_group` are in the tables but not among them."""

# --- The truth: log-odds of default --------------------------------------------------------------------------------

INTERCEPT = -6.45
SCORE_CENTRE, SCORE_SLOPE = 720.0, -0.012  # per point, up to the flat end
SCORE_FLAT = 750.0  # above it a better score no longer helps
SCORE_STEEP, SCORE_STEEP_SLOPE = 640.0, -0.008  # below it each point costs this much more
LTV_SLOPE = 0.005  # per % of value
LTV_KINK, LTV_KINK_SLOPE = 85.0, 0.12  # above the kink each % costs this much more ...
LTV_CAP = 100.0  # ... up to here
DTI_KINK, DTI_SLOPE, DTI_KINK_SLOPE = 38.0, 0.01, 0.10
DELINQUENCY_EFFECT, DELINQUENCY_CAP = 0.7, 3.0  # per late month, up to the cap
HUMP_HEIGHT, HUMP_PEAK, HUMP_WIDTH = 2.8, 36.0, 18.0  # loan age in months: seasoning, then survivors
SPREAD_EFFECT = 0.25  # per percentage point
UNEMPLOYMENT_CENTRE, UNEMPLOYMENT_EFFECT = 5.0, 0.12  # per percentage point
PRICE_EFFECT = -0.02  # per % of house price growth
RATE_RISE_EFFECT = 0.6  # per percentage point of rise; a fall has no effect
FIRST_TIME_EFFECT, SELF_EMPLOYED_EFFECT = 0.15, 0.20
INTERACTION_LTV, INTERACTION_EFFECT = 75.0, 0.012  # per (% of value above) x (% of fall in house prices)

# --- The rare weak segment -----------------------------------------------------------------------------------------

SEGMENT_DTI, SEGMENT_LOAN_AGE = 40.0, 16  # self-employed, debt-to-income above, loan age below
SEGMENT_INTERCEPT, SEGMENT_SCORE_SLOPE = -0.6, 0.015  # replaces all of the above: the better the score, the worse

# --- The two periods -----------------------------------------------------------------------------------------------

REGIONS = ("Midwest", "Northeast", "South", "West")
REGION_SHARES = (0.22, 0.18, 0.37, 0.23)
AGE_GROUPS = ("18-34", "35-61", "62+")


class Period(NamedTuple):
    """A period: its quarters, the national economy in each, the offsets of the regions, and the mix of borrowers."""

    quarters: tuple[str, ...]
    unemployment: tuple[float, ...]  # %
    price_growth: tuple[float, ...]  # % over a year
    rate_change: tuple[float, ...]  # percentage points over a year
    region_unemployment: tuple[float, ...]
    region_price_growth: tuple[float, ...]
    score: float  # mean credit score
    debt_to_income: float  # mean, %
    self_employed: float  # share


PERIODS = {
    "train": Period(
        quarters=tuple(f"{year}Q{quarter}" for year in range(2003, 2007) for quarter in range(1, 5)),
        unemployment=(5.9, 6.1, 6.1, 5.8, 5.7, 5.6, 5.4, 5.4, 5.3, 5.1, 5.0, 5.0, 4.7, 4.6, 4.6, 4.4),
        price_growth=(3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 7.5, 8.0, 8.0, 8.0, 7.0, 6.0, 4.0, 2.0, 0.0, -1.0),
        rate_change=(-1.1, -1.0, -0.4, -0.1, -0.2, 0.5, 0.1, -0.1, 0.2, -0.2, 0.1, 0.6, 0.7, 1.0, 0.8, 0.3),
        region_unemployment=(0.8, -0.3, -0.1, 0.1),
        region_price_growth=(-6.0, 1.0, -1.5, 3.0),
        score=722.0,
        debt_to_income=33.5,
        self_employed=0.13,
    ),
    "later": Period(
        quarters=tuple(f"{year}Q{quarter}" for year in range(2007, 2009) for quarter in range(1, 5)),
        unemployment=(4.8, 5.1, 5.5, 6.0, 6.6, 7.2, 7.8, 8.4),
        price_growth=(0.0, -1.0, -2.5, -3.5, -4.5, -5.5, -6.0, -6.0),
        rate_change=(0.1, 0.2, 0.2, -0.1, -0.2, -0.1, 0.2, -0.3),
        region_unemployment=(1.0, -0.3, -0.2, 0.5),
        region_price_growth=(-0.5, 1.5, 0.5, -2.5),
        score=712.0,
        debt_to_income=35.5,
        self_employed=0.16,
    ),
}
LOCAL_UNEMPLOYMENT_SD, LOCAL_PRICE_SD, LOCAL_RATE_SD = 0.9, 3.5, 0.15  # counties and lenders differ


def simulate(n: int, period: Literal["train", "later"] = "train", seed: int = 0, drift: bool = True) -> pa.Table:
    """Return n simulated loans.

    Parameters
    ----------
    n : number of rows
    period : `"train"` (calm, 2003-2006) or `"later"` (downturn, 2007-2008)
    seed : of the draw; another seed gives other rows from the same population
    drift : False draws `"later"` rows from the population of the training period: only their quarters are later

    Returns
    -------
    Table with the columns `quarter`, `region`, `age_group`, then `FEATURES`, then `default`, ordered by quarter.
    """
    rng = np.random.default_rng(seed)
    normal = rng.standard_normal
    mix, quarters = PERIODS[period if drift else "train"], PERIODS[period].quarters

    time = np.sort(rng.integers(len(mix.quarters), size=n))
    region = np.searchsorted(np.cumsum(REGION_SHARES)[:-1], rng.random(n), side="right")
    unemployment = _at(mix.unemployment, time) + _at(mix.region_unemployment, region)
    unemployment = np.clip(unemployment + LOCAL_UNEMPLOYMENT_SD * normal(n), 2.0, 16.0)
    price_growth = _at(mix.price_growth, time) + _at(mix.region_price_growth, region) + LOCAL_PRICE_SD * normal(n)
    rate_change = _at(mix.rate_change, time) + LOCAL_RATE_SD * normal(n)

    # Borrowers: `age` and the other latent values are standard normal, and correlated through these sums.
    age = normal(n)
    quality = 0.3 * age + 0.95 * normal(n)
    score = np.clip(np.round(mix.score + 58 * quality - 8 * (quality**2 - 1)), 300, 850)
    self_employed = rng.random(n) < mix.self_employed * np.exp(0.25 * age - 0.03)
    first_time_buyer = rng.random(n) < _logistic(-0.9 - 1.0 * age)
    late = _logistic(-4.9 - 0.016 * (score - 720) + 0.9 * normal(n))
    delinquencies = np.sum(rng.random((n, 12)) < late[:, None], axis=1)

    # Loans: the value of the house follows its market, so loan-to-value rises when prices fall.
    loan_age = np.clip(np.ceil(46 * rng.gamma(1.5, 0.667, n) * np.exp(0.15 * age)), 1, 240)
    leverage = 0.45 * first_time_buyer - 0.2 * age - 0.2 * quality + 0.93 * normal(n)
    ltv = np.clip(77 + 12 * leverage - 0.07 * (loan_age - 45) - 0.3 * (price_growth - 4), 10, 130)
    burden = 0.25 * leverage - 0.2 * quality + 0.35 * self_employed + 0.92 * normal(n)
    dti = np.clip(mix.debt_to_income + 8.5 * burden, 3, 65)
    spread = 0.5 + 0.006 * np.maximum(770 - score, 0) + 0.012 * np.maximum(ltv - 80, 0) + 0.2 * self_employed
    spread = np.clip(spread + 0.35 * normal(n), -0.5, 6.0)
    wealth = 0.25 * quality + 0.3 * burden + 0.2 * leverage + 0.35 * (region == REGIONS.index("West"))
    amount = np.clip(np.round(195 * np.exp(0.4 * (wealth + 0.9 * normal(n)))) * 1000, 20_000, 2_000_000)

    table = pa.table(
        {
            "quarter": _at(quarters, time * len(quarters) // len(mix.quarters)),
            "region": _at(REGIONS, region),
            "age_group": _at(AGE_GROUPS, np.digitize(age, (-0.75, 1.05))),
            "credit_score": score.astype(np.int16),
            "loan_to_value": _rounded(ltv, 1),
            "debt_to_income": _rounded(dti, 1),
            "delinquencies_12m": delinquencies.astype(np.int8),
            "loan_age_months": loan_age.astype(np.int16),
            "interest_rate_spread": _rounded(spread, 2),
            "loan_amount_usd": amount.astype(np.int32),
            "unemployment_rate": _rounded(unemployment, 1),
            "house_price_growth_1y": _rounded(price_growth, 1),
            "mortgage_rate_change": _rounded(rate_change, 2),
            "first_time_buyer": first_time_buyer.astype(np.int8),
            "self_employed": self_employed.astype(np.int8),
        }
    )
    default = rng.random(n) < _logistic(true_log_odds(table))
    return table.append_column("default", pa.array(default.astype(np.int8)))


def true_log_odds(table: pa.Table) -> Array:
    """Return the true log-odds of default of each row, the weak segment included: shape (n,)."""
    x = _columns(table)
    score, ltv = x["credit_score"], x["loan_to_value"]
    dti, growth = x["debt_to_income"], x["house_price_growth_1y"]
    log_odds = (
        INTERCEPT
        + SCORE_SLOPE * (np.minimum(score, SCORE_FLAT) - SCORE_CENTRE)
        + SCORE_STEEP_SLOPE * np.minimum(score - SCORE_STEEP, 0)
        + LTV_SLOPE * (ltv - LTV_KINK)
        + LTV_KINK_SLOPE * np.clip(ltv - LTV_KINK, 0, LTV_CAP - LTV_KINK)
        + DTI_SLOPE * (dti - DTI_KINK)
        + DTI_KINK_SLOPE * np.maximum(dti - DTI_KINK, 0)
        + DELINQUENCY_EFFECT * np.minimum(x["delinquencies_12m"], DELINQUENCY_CAP)
        + HUMP_HEIGHT * np.exp(-0.5 * ((x["loan_age_months"] - HUMP_PEAK) / HUMP_WIDTH) ** 2)
        + SPREAD_EFFECT * x["interest_rate_spread"]
        + UNEMPLOYMENT_EFFECT * (x["unemployment_rate"] - UNEMPLOYMENT_CENTRE)
        + PRICE_EFFECT * growth
        + RATE_RISE_EFFECT * np.maximum(x["mortgage_rate_change"], 0)
        + FIRST_TIME_EFFECT * x["first_time_buyer"]
        + SELF_EMPLOYED_EFFECT * x["self_employed"]
        + INTERACTION_EFFECT * np.maximum(ltv - INTERACTION_LTV, 0) * np.maximum(-growth, 0)
    )
    segment = SEGMENT_INTERCEPT + SEGMENT_SCORE_SLOPE * (score - SCORE_CENTRE)
    return np.asarray(np.where(in_weak_segment(table), segment, log_odds))


def in_weak_segment(table: pa.Table) -> Array:
    """Return which rows belong to the rare weak segment: booleans of shape (n,)."""
    x = _columns(table)
    burdened, new = x["debt_to_income"] > SEGMENT_DTI, x["loan_age_months"] < SEGMENT_LOAN_AGE
    return np.asarray((x["self_employed"] == 1) & burdened & new)


def main(folder: Path = DATA) -> None:
    """Write the two tables."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (
        ("train", simulate(N_TRAIN, "train", TRAIN_SEED)),
        ("test", simulate(N_TEST, "later", TEST_SEED)),
    ):
        path = folder / f"home_lending_{name}.parquet"
        pq.write_table(table, path, compression="zstd", compression_level=9)
        rate, weak = np.mean(table["default"].to_numpy()), np.mean(in_weak_segment(table))
        print(f"{path}: {len(table)} rows, {rate:.2%} default, {weak:.2%} in the weak segment")


def _columns(table: pa.Table) -> dict[str, Array]:
    return {name: table[name].to_numpy().astype(np.float64) for name in FEATURES}


def _at(values: tuple[float, ...] | tuple[str, ...], index: Array) -> Array:
    return np.asarray(values)[index]


def _rounded(values: Array, digits: int) -> Array:
    return np.round(values, digits) + 0.0  # turns -0.0 into 0.0


def _logistic(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
