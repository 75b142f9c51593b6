"""Performance: each local linear model on its own rows and on all rows, and whether one of them would do for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, NumericalOverflowError, clipped
from relucidate.layers import Floats
from relucidate.network import Patterns
from relucidate.scoring import (
    SCORE_WORDS,
    GroupScores,
    auc_variance,
    mean_limits,
    means_by_group,
    measures_of,
    normal_quantile,
    placements,
    scores_by_group,
)
from relucidate.sums import row_loss
from relucidate.unwrapping import Unwrapped, table_of

if TYPE_CHECKING:
    import pandas as pd

MOST = 50  # local linear models that are scored on all rows by default
CLOSE = {"auc": 0.01, "accuracy": 0.01}  # a single model that gives up less than this would do
CLOSE_LOSS = 0.05  # the same for a mean loss, relative to the network's
_OUTSIDE = "not scored: outside of the {most} with the most rows"
_OVERFLOW = "a prediction leaves the range of float64"


class Gap(NamedTuple):
    """What the best single local linear model gives up against the network, on all rows.

    Parameters
    ----------
    region : whose model it is.
    value, low, high : the network's score less the model's (a loss: the model's less the network's), with interval.
    close : up to how much would do.
    verdict : "one model would do", "one model would not do", "undecided" or "not known".
    """

    region: int
    value: float
    low: float
    high: float
    close: float
    verdict: str


@dataclass(frozen=True, eq=False)
class Performance:
    """Scores of each local linear model on its own rows and on all rows.

    Parameters
    ----------
    patterns : (R,) of the regions. count : (R,) rows of the table in each. share : (R,) of all rows, by weight.
    local : (m, R) scores of each model on the rows of its region, where it is the network.
    overall : (m, R) scores of each model on all rows, of the `most` regions with the most rows.
    network : (m, 1) scores of the network on all rows.
    unseen : (m, 1) scores of the network on rows whose pattern was never seen. n_unseen : number of them.
    gap : how close the best single model comes to the network.
    n_rows : of the table. level : of the intervals. caveat : what a picture must say beside it.
    """

    patterns: Patterns
    count: NDArray[np.int64]
    share: Floats
    local: GroupScores
    overall: GroupScores
    network: GroupScores
    unseen: GroupScores
    n_unseen: int
    gap: Gap
    n_rows: int
    level: float
    caveat: str

    @property
    def measures(self) -> tuple[str, ...]:
        """The scores, the one to read first in front."""
        return self.local.measures

    @property
    def order(self) -> NDArray[np.intp]:
        """Regions, those with the most rows of this table first."""
        return np.argsort(-self.count, kind="stable")

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per region, and one for rows whose pattern was never seen if there are any, region -1.

        Returns
        -------
        pandas.DataFrame with ``pattern``, ``count``, ``share``, per score ``local_auc``, ``local_auc_low``,
        ``local_auc_high``, ``global_auc``, …, and ``reason``: what is missing in the row, and why.
        """
        import pandas as pd

        extra = int(self.n_unseen > 0)
        R = len(self.count)
        lost = np.full(extra, np.nan)
        columns: dict[str, Any] = {
            "region": np.r_[np.arange(R), np.full(extra, -1)],
            "pattern": self.patterns.ids() + ["never seen"] * extra,
            "count": np.r_[self.count, np.full(extra, self.n_unseen)],
            "share": np.r_[self.share, np.full(extra, 1 - self.share.sum())],
        }
        for m, name in enumerate(self.measures):
            for place in ("local", "global"):
                held = self.local if place == "local" else self.overall
                for suffix in ("value", "low", "high"):
                    last = getattr(self.unseen, suffix)[m, :extra] if place == "local" else lost
                    column = f"{place}_{name}" + ("" if suffix == "value" else f"_{suffix}")
                    columns[column] = np.r_[getattr(held, suffix)[m], last]
        columns["reason"] = [self._why(r) for r in range(R)] + [self.unseen.why(0)] * extra
        return pd.DataFrame(columns).set_index("region")

    def _why(self, region: int) -> str:
        parts = (("local", self.local.why(region)), ("global", self.overall.why(region)))
        return "; ".join(f"{place} {reason}" for place, reason in parts if reason)

    def summary(self) -> list[str]:
        """Return what matters most, a sentence a line."""
        score = SCORE_WORDS[self.measures[0]]
        value, low, high = (float(v[0]) for v in self.network.of(self.measures[0]))
        lines = [
            f"{self.n_rows:,} rows: the network has {_scored(score, value, low, high)} ({self.level:.0%} interval)"
            f"{self.caveat}"
        ]
        lines.append(self._gap_words())
        known = np.isfinite(self.local.value[0])
        lines.append(
            f"on their own rows {known.sum():,} of {len(self.count):,} local models have {_article(score)} {score}; they "
            f"hold {self.share[known].sum():.1%} of the rows" + self._missing_words()
        )
        if self.n_unseen:
            value, low, high = (float(v[0]) for v in self.unseen.of(self.measures[0]))
            text = _scored(score, value, low, high) if np.isfinite(value) else f"no {score} ({self.unseen.why(0)})"
            lines.append(
                f"{self.n_unseen:,} rows ({1 - self.share.sum():.1%}) lie in patterns never seen; there it has {text}"
            )
        return lines

    def _missing_words(self) -> str:
        reasons = [reason for reason in self.local.reason[0][~np.isfinite(self.local.value[0])] if reason]
        if not reasons:
            return ""
        counted = {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
        return "; of the others " + ", ".join(f"{n:,} have {reason}" for reason, n in counted.items())

    def _gap_words(self) -> str:
        gap, name = self.gap, self.measures[0]
        score = SCORE_WORDS[name]
        if gap.region < 0:
            return f"whether a single linear model would do is not known: no {score} of a local model on all rows"
        ours, theirs = float(self.overall.value[0, gap.region]), float(self.network.value[0, 0])
        scored = int(np.isfinite(self.overall.value[0]).sum())
        verdict = {
            "one model would do": "a single linear model would do",
            "one model would not do": "a single one of the local linear models would not do",
        }.get(gap.verdict, "whether a single linear model would do is undecided")
        lost = f"it gives up {_number(gap.value)} [{_number(gap.low)}, {_number(gap.high)}]"
        lost = lost if np.isfinite(gap.low) else f"it gives up {_number(gap.value)}"
        return (
            f"{verdict}: the model of region {gap.region} reaches {score} {_number(ours)} on all rows, the network "
            f"{_number(theirs)}; {lost}, and up to {_number(gap.close)} counts as close (the best of {scored:,} on these "
            "rows)"
        )

    def __repr__(self) -> str:
        return "\n".join(self.summary())


def performance(u: Unwrapped, X: Any = None, y: Any = None, *, level: float = 0.95, most: int = MOST) -> Performance:
    """Return the scores of each local linear model on its own rows and on all rows, with intervals.

    Parameters
    ----------
    u : from `relucidate.unwrap`.
    X, y : another table and its response, as for `unwrap`, or what `unwrap` made of it; by default the rows of `u`.
    level : of the intervals, between 0 and 1.
    most : how many local linear models are scored on all rows, those with the most rows first.

    Returns
    -------
    Performance : per region both scores; whether a single one of the models would do; rows whose pattern was never
    seen are counted and scored apart.

    Raises
    ------
    ArgumentError : there is no response, X is of another network, or another argument makes no sense.
    DataError : the table does not fit the network.

    Notes
    -----
    AUC, accuracy and log-loss for two classes, accuracy and log-loss for more, MSE for a regression (mean over outputs).
    Intervals: DeLong for AUC (on the log-odds of the area), Wilson for accuracy, Student for mean losses. A score
    that cannot be computed, as the AUC of one class, is NaN with its reason. "Would do": the upper limit of what the best
    model gives up against the network, a paired interval, is within 0.01 of AUC or accuracy, or 5 % of a loss; that the
    best was picked on the same rows is not allowed for. Cost: `most` sorts of the sample.
    Source: Sudjianto et al. 2020, section 3; DeLong, DeLong and Clarke-Pearson 1988.
    """
    part, number = cast(Any, level), cast(Any, most)
    if not (isinstance(part, float | np.floating) and 0 < part < 1):
        raise ArgumentError(f"level is {clipped(level)}; expected a number between 0 and 1, as 0.95.")
    if not isinstance(number, int | np.integer) or isinstance(number, bool) or number < 1:
        raise ArgumentError(f"most is {clipped(most)}; expected a whole number, at least 1.")
    other = table_of(u, X, y, "performance")
    with np.errstate(over="ignore"):  # a variance above float64 is infinite, and so is its interval
        return _performance(u, other, float(level), int(most))


def _performance(u: Unwrapped, other: Unwrapped, level: float, most: int) -> Performance:
    net, s, R = u.network, other.sample, u.n_regions
    region: Any = np.arange(R) if other is u else u.regions_of_patterns(Patterns(other.sums.packed, net.n_bits))
    count = np.bincount(region[region >= 0], other.count[region >= 0], R).astype(np.int64)
    share: Any = np.bincount(region[region >= 0], other.share[region >= 0], R)
    of_row = np.asarray(region[s.region])
    loss = row_loss(net, s.decision, s.y)

    def scored(group: Any, n: int, rows: Any = slice(None)) -> GroupScores:
        w = None if s.weight is None else s.weight[rows]
        return scores_by_group(group, n, s.decision[rows], s.y[rows], loss[rows], net.link, w, level)

    seen = of_row >= 0
    local = scored(of_row[seen], R, seen)
    nothing = np.zeros(len(of_row), dtype=np.intp)
    network = scored(nothing, 1)
    largest = np.argsort(-count, kind="stable")[:most]
    overall = _overall(u, other, largest, level)
    return Performance(
        patterns=Patterns(u.sums.packed, net.n_bits),
        count=count,
        share=share,
        local=local,
        overall=overall,
        network=network,
        unseen=scored(nothing[~seen], 1, ~seen),
        n_unseen=int(other.n_rows - count.sum()),
        gap=_gap(u, other, network, overall, loss, level),
        n_rows=other.n_rows,
        level=level,
        caveat=s.caveat,
    )


def _decision(u: Unwrapped, other: Unwrapped, r: int) -> Floats:
    return np.asarray(other.sample.x @ u.coef[r].T + u.intercept[r])


def _overall(u: Unwrapped, other: Unwrapped, regions: NDArray[np.intp], level: float) -> GroupScores:
    """Return the scores of local linear models on all rows, NaN for those that are not asked for."""
    net, s, R = u.network, other.sample, u.n_regions
    parts: dict[int, GroupScores] = {}
    whole = np.zeros(len(s.row), dtype=np.intp)
    lost: dict[int, str] = {}
    for r in regions.tolist():
        decision = _decision(u, other, r)
        try:
            loss = row_loss(net, decision, s.y)
        except NumericalOverflowError:
            lost[r] = _OVERFLOW
            continue
        parts[r] = scores_by_group(whole, 1, decision, s.y, loss, net.link, s.weight, level)
    measures = measures_of(net.link, net.n_outputs)
    value, low, high = np.full((3, len(measures), R), np.nan)
    reason = np.full((len(measures), R), _OUTSIDE.format(most=f"{len(regions):,}"), dtype=object)
    for r, text in lost.items():
        reason[:, r] = text
    for r, part in parts.items():
        value[:, r], low[:, r], high[:, r] = part.value[:, 0], part.low[:, 0], part.high[:, 0]
        reason[:, r] = part.reason[:, 0]
    return GroupScores(measures, value, low, high, reason)


def _gap(u: Unwrapped, other: Unwrapped, network: GroupScores, overall: GroupScores, loss: Floats, level: float) -> Gap:
    """Return how close the best single model comes to the network, with a paired interval."""
    name = overall.measures[0]
    better = name in CLOSE  # whether more is better
    theirs = float(network.value[0, 0])
    close = CLOSE[name] if better else CLOSE_LOSS * theirs
    known = np.flatnonzero(np.isfinite(overall.value[0]))
    if len(known) == 0 or not np.isfinite(theirs):
        return Gap(-1, np.nan, np.nan, np.nan, close, "not known")
    best = int(known[np.argmax(overall.value[0, known]) if better else np.argmin(overall.value[0, known])])
    net, s = u.network, other.sample
    decision = _decision(u, other, best)
    whole, w = np.zeros(len(s.row), dtype=np.intp), s.weights
    value = (theirs - float(overall.value[0, best])) * (1 if better else -1)
    if name == "auc":
        positive = s.label == 1
        weighs = w > 0
        difference = placements(whole, 1, s.decision[:, 0], positive, w) - placements(
            whole, 1, decision[:, 0], positive, w
        )
        variance = auc_variance(whole[weighs], 1, difference[weighs], positive[weighs], w[weighs])
        half = normal_quantile(level) * np.sqrt(variance[0])
        low, high = value - half, value + half
    else:
        if name == "accuracy":
            lost = (s.decision.argmax(axis=1) == s.label).astype(float) - (decision.argmax(axis=1) == s.label)
        else:
            lost = (row_loss(net, decision, s.y) - loss) / (net.n_outputs if name == "mse" else 1)
        limits = mean_limits(*means_by_group(whole, 1, lost, w), level)
        low, high = (float(v[0]) for v in limits)
    settled = "one model would do" if high <= close else "one model would not do" if low > close else "undecided"
    return Gap(best, value, float(low), float(high), close, settled)


def _number(value: float) -> str:
    return "-" if not np.isfinite(value) else f"{value:.4f}" if abs(value) < 100 else f"{value:.5g}"


def _article(score: str) -> str:
    return "a" if score == "log-loss" else "an"


def _scored(score: str, value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return f"no {score}"
    return f"{score} {_number(value)}" + (f" [{_number(low)}, {_number(high)}]" if np.isfinite(low) else "")
