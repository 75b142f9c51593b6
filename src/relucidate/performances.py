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
    fewest_by_group,
    mean_limits,
    means_by_group,
    measures_of,
    normal_quantile,
    placements,
    pooled_auc_variance,
    scores_by_group,
    wilson,
)
from relucidate.sums import row_loss
from relucidate.unwrapping import Unwrapped, table_of
from relucidate.words import plural

if TYPE_CHECKING:
    import pandas as pd

MOST = 50  # local linear models that are scored on all rows by default
CLOSE = {"auc": 0.01, "accuracy": 0.01}  # a single model that gives up less than this would do
CLOSE_LOSS = 0.05  # the same for a mean loss, relative to the network's
_ALIKE = 1e-9  # relative: predictions and placements this close differ by rounding
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
        whole = f"{plural(self.n_rows, 'row')}: the network has {self._scored(self.network)}{self.caveat}"
        lines = [whole, self._gap_words(), self._local_words()]
        if self.n_unseen:
            where = "lies in a pattern" if self.n_unseen == 1 else "lie in patterns"
            lines.append(
                f"{plural(self.n_unseen, 'row')} ({1 - self.share.sum():.1%}) {where} never seen; there it has "
                f"{self._scored(self.unseen)}"
            )
        return lines

    def _scored(self, scores: GroupScores) -> str:
        """Return the first score of all rows in words, with its interval or why there is none."""
        value, low, high = (float(v[0]) for v in scores.of(self.measures[0]))
        reason, name = scores.reason[0, 0], SCORE_WORDS[self.measures[0]]
        why = f" ({reason})" if reason else ""
        if not np.isfinite(value):
            return f"no {name}{why}"
        within = f" [{_number(low)}, {_number(high)}] ({self.level:.0%} interval)" if np.isfinite(low) else ""
        return f"{name} {_number(value)}{within}{why}"

    def _local_words(self) -> str:
        score, known = SCORE_WORDS[self.measures[0]], np.isfinite(self.local.value[0])
        n, R, share = int(known.sum()), len(known), f"{self.share[known].sum():.1%} of the rows"
        missing = [str(reason) for reason in self.local.reason[0][~known]]
        counted = [(missing.count(reason), reason) for reason in dict.fromkeys(missing)]
        reasons = ", ".join(f"{k:,} {'has' if k == 1 else 'have'} {reason}" for k, reason in counted)
        one = f"{_article(score)} {score}"
        if R == 1:
            said = f"has {one}; it holds {share}" if n else f"has no {score} ({missing[0]})"
            return f"on its own rows the only local model {said}"
        if n == 0:
            return f"none of {R:,} local models has {one} on its own rows: {reasons}"
        said = f"has {one}; it holds" if n == 1 else f"have {one}; they hold"
        others = f"the other has {missing[0]}" if len(missing) == 1 else f"of the others {reasons}"
        whose = "its" if n == 1 else "their"
        return f"on {whose} own rows {n:,} of {R:,} local models {said} {share}" + (f"; {others}" if missing else "")

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
        which = f"the best of {scored:,} on these rows" if scored > 1 else "the only one scored"
        lost = lost if np.isfinite(gap.low) else f"it gives up {_number(gap.value)}"
        return (
            f"{verdict}: the model of region {gap.region} reaches {score} {_number(ours)} on all rows, the network "
            f"{_number(theirs)}; {lost}, and up to {_number(gap.close)} counts as close ({which})"
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
    best was picked on the same rows is not allowed for. Where no row tells the two apart, or none speaks for the network,
    so many may among those not met as Wilson's upper limit of 0 of the rows. Rows of unequal weight widen the intervals of
    AUC: those of their effective number vary more. Cost: `most` sorts of the sample.
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
    counts = s.weights > 0
    mine, its, w = (v[counts] for v in (_decision(u, other, best), s.decision, s.weights))
    label: Any = s.label[counts] if better else None
    whole = np.zeros(len(w), dtype=np.intp)
    if name == "auc":
        value = theirs - float(overall.value[0, best])
        lost = np.subtract(*(placements(whole, 1, d[:, 0], label == 1, w) for d in (its, mine)))
        lost[np.abs(lost) < _ALIKE] = 0.0  # sums of weights in another order
        variance = np.maximum(*(f(whole, 1, lost, label == 1, w) for f in (auc_variance, pooled_auc_variance)))
        n = fewest_by_group(whole, 1, label == 1, w)
        half = normal_quantile(level) * float(np.sqrt(variance[0]))
        low, high = value - half, value + half
    else:
        if name == "accuracy":
            lost = (its.argmax(axis=1) == label).astype(float) - (mine.argmax(axis=1) == label)
        elif _alike(its, mine):
            lost = np.zeros(len(w))
        else:
            lost = (row_loss(net, mine, s.y[counts]) - loss[counts]) / (net.n_outputs if name == "mse" else 1)
        mean, variance, n = means_by_group(whole, 1, lost, w)
        value = float(mean[0])  # of pairs: the difference of two means is rounded where a row has a huge loss
        low, high = (float(v[0]) for v in mean_limits(mean, variance, n, level))
    if net.n_bits == 0:
        low = high = value  # one and the same function, whatever the rows
    elif better or np.ptp(lost) == 0:
        low, high = _with_unseen(lost, (value, low, high), float(n[0]), level, None if better else theirs)
    settled = "one model would do" if high <= close else "one model would not do" if low > close else "undecided"
    return Gap(best, value, low, high, close, settled)


def _alike(a: Floats, b: Floats) -> bool:
    """Return whether two decisions of the same rows differ by rounding only."""
    size = np.abs(a)
    return bool((np.abs(a - b) <= _ALIKE * (size + np.median(size))).all())


def _with_unseen(
    lost: Floats, limits: tuple[float, float, float], n: float, level: float, loss: float | None
) -> tuple[float, float]:
    """Return limits of what is given up that allow for rows which were not met: variances say nothing of them.

    Parameters
    ----------
    lost : of each row. limits : its mean and the limits from its variance. n : effective rows. loss : of the network, None
        for AUC and accuracy.

    Notes
    -----
    Where none of n rows loses anything, up to Wilson's upper limit of 0 of n may, and where none gains, so many may gain.
    Of a mean loss, which nothing bounds, these rows are taken to lose as much again as others do.
    """
    value, low, high = limits
    if not n > 0:
        return np.nan, np.nan
    reach = float(wilson(np.zeros(1), np.array([n]), level)[1][0])
    if loss is not None:
        # beside a loss of 0, only the share of rows can tell
        reach = reach * loss if loss > 0 or reach <= CLOSE_LOSS else np.nan
        return value - reach, value + reach
    if not (lost > 0).any():
        high = float(np.fmax(high, value + reach))
    if not (lost < 0).any():
        low = float(np.fmin(low, value - reach))
    return max(low, -1.0), min(high, 1.0)


def _number(value: float) -> str:
    if not np.isfinite(value):
        return "-"
    return f"{round(value, 4) + 0.0:.4f}" if abs(value) < 100 else f"{value:.5g}"


def _article(score: str) -> str:
    return "a" if score == "log-loss" else "an"
