"""Exposure: which regions training, test and new rows lie in, how the network does there, and whether rows have drifted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, NumericalOverflowError, clipped, shown
from relucidate.grouping import nearest
from relucidate.layers import Floats
from relucidate.maps import over_classes
from relucidate.network import Patterns
from relucidate.scoring import SCORE_WORDS, GroupScores, adjusted, means_by_group, scores_by_group, unitless
from relucidate.sums import Total, batch_sums, row_loss
from relucidate.unwrapping import Unwrapped, refuse_other_network, unwrap, unwrapped
from relucidate.words import plural

if TYPE_CHECKING:
    import pandas as pd

LEAST_EXPECTED = 5.0  # rows that either set must be expected to have for a test of shares; groups below are joined
LEAST_ROWS = 20  # rows, effective ones, that either set must have for a test of mean losses
SPLIT = (4, 4, 2)  # alpha is split so: a quarter to shares of regions, a quarter to new patterns, half to the features
BINS = 10  # of a number, at quantiles of training, for its stability index
_DRAWS = 20_000
_ROWS = 2**14  # at a time
_LARGEST_LOSS = 1e75  # Welch's test takes the fourth power
_ROUNDING = 1e-12  # relative, of a mean loss


@dataclass(frozen=True, eq=False)
class Drift:
    """How one set differs from training.

    Parameters
    ----------
    name : of the set. n_rows : its rows.
    drifted : whether `p` is at most alpha: the one verdict on the inputs of the set, with a family-wise error of alpha.
    p : family-wise: 4, 4 and 2 times the next three, the smallest of them (at most 1).
    p_regions : that shares of regions are the same (chi-square, small ones joined), NaN if too few rows leave one group.
        p_unseen : that no more rows lie in new patterns. p_features : that every column has one distribution (Bonferroni
        over columns), NaN if no column could be tested.
    psi : population stability index over `n_groups` groups of regions. psi_expected : its mean without drift. NaN as above.
    n_unseen : rows whose pattern training never used. unseen_share : of its rows, not by weight. unseen_expected : the share
        that training itself would lead to expect: its rows that are alone in their pattern.
    distance : (D,) rows in new patterns whose nearest pattern of training differs in 0, 1, … bits.
    loss_change, loss_low, loss_high : mean loss less that of training; NaN without responses, the limits also where
        either set has fewer than 20 rows.
    worse_p : one-sided, that it is not larger; at most alpha / 2 where the limits lie above 0.
    shift : (n_outputs,) mean decision less that of training. contribution : (n_outputs, n_groups) of each column.
    remainder : (n_outputs,) what features do not explain: rows lie where other local models apply.
    """

    name: str
    n_rows: int
    drifted: bool
    p: float
    p_regions: float
    p_unseen: float
    p_features: float
    psi: float
    psi_expected: float
    n_groups: int
    n_unseen: int
    unseen_share: float
    unseen_expected: float
    distance: NDArray[np.int64]
    loss_change: float
    loss_low: float
    loss_high: float
    worse_p: float
    shift: Floats
    contribution: Floats
    remainder: Floats

    @property
    def mean_distance(self) -> float:
        """Mean Hamming distance of rows in new patterns to the nearest pattern of training, NaN without such rows."""
        total = self.distance.sum()
        return float(self.distance @ np.arange(len(self.distance)) / total) if total else float("nan")


@dataclass(frozen=True, eq=False)
class Exposure:
    """Rows of several sets, region by region; the first set is training.

    Parameters
    ----------
    names : (S,) of the sets. n_rows : (S,)
    patterns : (R,) of the regions.
    count : (S, R) rows. share : (S, R) of the set's rows, by weight.
    outside : (S,) rows in patterns that the unwrapped table never used.
    response : (S, R, k) mean response, NaN where there are no rows or no responses.
    scores : (S,) per set the scores of each region, None without responses. totals : (S,) those of all rows.
    share_p : (S, R) adjusted p-values that a share is that of training; NaN where too few rows are expected.
    share_flag : (S, R) below alpha, in a set that has drifted.
    worse_p : (S, R) adjusted p-values that the mean loss is not larger than in training. worse_flag : below alpha.
    features : (G,) columns. mean : (S, G) NaN for text. statistic : (S, G) Kolmogorov-Smirnov distance to training, or
        for levels the largest difference of a share. feature_psi, feature_psi_expected : (S, G) stability index.
    feature_p : (S, G) adjusted p-values. NaN, as the index, where too few rows leave one group of levels.
        feature_flag : (S, G) below alpha, in a set that has drifted.
    drift : (S - 1,) the verdict on each set but training.
    outputs, link : of the network. alpha : level of all verdicts and flags; intervals hold 1 - alpha.
    notes : what a reader should know. caveats : (S,) what scores, losses and columns of a set rest on; "" if on all rows.
    """

    names: tuple[str, ...]
    n_rows: tuple[int, ...]
    patterns: Patterns
    count: NDArray[np.int64]
    share: Floats
    outside: NDArray[np.int64]
    response: Floats
    scores: tuple[GroupScores | None, ...]
    totals: tuple[GroupScores | None, ...]
    share_p: Floats
    share_flag: NDArray[np.bool_]
    worse_p: Floats
    worse_flag: NDArray[np.bool_]
    features: tuple[str, ...]
    mean: Floats
    statistic: Floats
    feature_psi: Floats
    feature_psi_expected: Floats
    feature_p: Floats
    feature_flag: NDArray[np.bool_]
    drift: tuple[Drift, ...]
    outputs: tuple[str, ...]
    link: str
    alpha: float
    notes: tuple[str, ...]
    caveats: tuple[str, ...]

    @property
    def caveat(self) -> str:
        """What a picture must say beside it: of each set that is a sample, of how many rows; "" if none is."""
        said = [f"{name} {text.strip(' ()')}" for name, text in zip(self.names, self.caveats, strict=True) if text]
        return f" ({'; '.join(said)})" if said else ""

    @property
    def drifted(self) -> bool:
        """Whether any set has drifted."""
        return any(d.drifted for d in self.drift)

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per region and set; region -1 are rows outside of the unwrapped table's regions.

        Returns
        -------
        pandas.DataFrame with ``region``, ``pattern``, ``set``, ``count``, ``share``, ``response_mean``, per score
        ``auc``, ``auc_low``, ``auc_high``, …, ``share_p``, ``share_flag``, ``worse_p``, ``worse_flag`` (p-values are
        adjusted) and ``reason``: which scores are missing, and why.
        """
        import pandas as pd

        R, k = len(self.patterns), self.response.shape[2]
        parts = []
        for i, name in enumerate(self.names):
            columns: dict[str, Any] = {
                "region": np.arange(R),
                "pattern": self.patterns.ids(),
                "set": name,
                "count": self.count[i],
                "share": self.share[i],
            }
            for j in range(k):
                column = "response_mean" if k == 1 else f"response_mean[{self.outputs[j]}]"
                columns[column] = self.response[i, :, j]
            scores = self.scores[i]
            if scores is not None:
                for m, measure in enumerate(scores.measures):
                    columns |= {measure: scores.value[m]}
                    columns |= {f"{measure}_low": scores.low[m], f"{measure}_high": scores.high[m]}
            columns |= {"share_p": self.share_p[i], "share_flag": self.share_flag[i]}
            columns |= {"worse_p": self.worse_p[i], "worse_flag": self.worse_flag[i]}
            columns["reason"] = [scores.why(r) for r in range(R)] if scores is not None else "no response"
            parts.append(pd.DataFrame(columns))
            if self.outside[i]:
                last = {"region": -1, "pattern": "others", "set": name, "count": self.outside[i]}
                last |= {"share": 1 - self.share[i].sum(), "share_flag": False, "worse_flag": False, "reason": ""}
                parts.append(pd.DataFrame([last]).reindex(columns=parts[-1].columns))
        whole = pd.concat([part.astype({"share": float}) for part in parts], ignore_index=True)
        order = np.lexsort((np.arange(len(whole)), np.where(whole["region"] < 0, R, whole["region"])))
        return whole.iloc[order].reset_index(drop=True)

    def features_frame(self) -> pd.DataFrame:
        """Return one row per set but training and column, the largest statistic of each set first.

        Returns
        -------
        pandas.DataFrame with ``set``, ``feature``, ``mean_train``, ``mean``, ``statistic``, ``psi``, ``psi_expected``,
        ``p`` (adjusted), ``flag``, and ``contribution``: of the column to the shift of the mean decision, per output.
        """
        import pandas as pd

        parts = []
        for i, drift in enumerate(self.drift, 1):
            columns: dict[str, Any] = {
                "set": drift.name,
                "feature": np.array(self.features, dtype=object),
                "mean_train": self.mean[0],
                "mean": self.mean[i],
                "statistic": self.statistic[i],
                "psi": self.feature_psi[i],
                "psi_expected": self.feature_psi_expected[i],
                "p": self.feature_p[i],
                "flag": self.feature_flag[i],
            }
            for k, output in enumerate(self.outputs):
                columns["contribution" if len(self.outputs) == 1 else f"contribution[{output}]"] = drift.contribution[k]
            order = np.argsort(-self.statistic[i], kind="stable")
            parts.append(pd.DataFrame(columns).iloc[order])
        return pd.concat(parts, ignore_index=True)

    def summary(self) -> list[str]:
        """Return what matters most, a sentence a line."""
        lines = []
        for name, n, total, caveat in zip(self.names, self.n_rows, self.totals, self.caveats, strict=True):
            text = "no response"
            if total is not None:
                text = ", ".join(
                    f"{SCORE_WORDS[m]} {_number(total.value[j, 0])}{_interval(total.low[j, 0], total.high[j, 0])}"
                    for j, m in enumerate(total.measures)
                    if np.isfinite(total.value[j, 0])
                )
            lines.append(f"{name}: {plural(n, 'row')}; {text}{caveat}")
        for i, drift in enumerate(self.drift, 1):
            lines += self._drift_words(i, drift)
        return lines + [f"note: {note}" for note in self.notes]

    def _drift_words(self, i: int, d: Drift) -> list[str]:
        has, train = "has drifted" if d.drifted else "shows no drift", self.names[0]
        lines = [
            f"{d.name} {has} against {train} (family-wise p {_p(d.p)}, level {self.alpha:g}): shares of regions "
            f"{_p_words(d.p_regions)}, rows in new patterns {_p_words(d.p_unseen)}, features {_p_words(d.p_features)}"
        ]
        few = (
            f"cannot be told: rows are so few that a single group is left once each is expected to have {LEAST_EXPECTED:.0f} "
            f"of {train} and of {d.name}"
        )
        if not np.isfinite(d.psi):
            lines.append(f"{d.name}: whether shares of regions have changed {few}")
        elif d.n_groups == 1:
            lines.append(f"{d.name}: all rows lie in the one region that those of {train} lie in")
        else:
            lines.append(
                f"{d.name}: population stability index {d.psi:.4f} over {plural(d.n_groups, 'group')} of regions, "
                f"{d.psi_expected:.4f} would be expected without drift"
                + (
                    f"; another share of the rows in {self._flagged_words(i)}"
                    if d.drifted and self.share_flag[i].any()
                    else ""
                )
            )
        untold = np.flatnonzero(~np.isfinite(self.feature_p[i]))
        if len(untold):
            named = _names([self.features[j] for j in untold])
            lines.append(f"{d.name}: whether levels of {named} have changed {few}")
        bits = f"{d.mean_distance:.1f} bit{'s' * (d.mean_distance != 1)}"
        away = f"; {'on average ' * (d.n_unseen > 1)}{bits} from the nearest pattern" if d.n_unseen else ""
        lines.append(
            f"{d.name}: {plural(d.n_unseen, 'row')} ({d.unseen_share:.2%}) {'lies' if d.n_unseen == 1 else 'lie'} in patterns "
            f"that {train} never used, {d.unseen_expected:.2%} is what {train} itself would lead to expect{away}"
        )
        if d.drifted:
            order = np.argsort(-self.statistic[i], kind="stable")
            largest = [j for j in order if self.feature_flag[i, j]][:5]
            named = ", ".join(self._feature_words(i, j) for j in largest)
            more = int(self.feature_flag[i].sum()) - len(largest)
            named += f" and {more:,} more" if more else ""
            lines.append(f"{d.name}: features that differ most: {named or 'none by itself'}")
        k = int(np.argmax(np.abs(d.shift)))
        order = np.argsort(-np.abs(d.contribution[k]), kind="stable")[:3]
        of = f" of {self.outputs[k]}" if len(self.outputs) > 1 else ""
        parts = [f"{self.features[j]} {d.contribution[k, j]:+.3g}" for j in order]
        if len(order) < len(self.features):
            parts.append(f"other features {d.contribution[k].sum() - d.contribution[k, order].sum():+.3g}")
        parts.append(f"other local models {d.remainder[k]:+.3g}")
        lines.append(
            f"{d.name}: the mean decision{of} is {d.shift[k]:+.3g} away from that of {self.names[0]}: {', '.join(parts)}"
        )
        if np.isfinite(d.loss_change):
            lines.append(self._loss_words(i, d))
        return lines

    def _flagged_words(self, i: int) -> str:
        """Return which regions have another share of the rows, those first that differ most."""
        found = np.flatnonzero(self.share_flag[i])
        found = found[np.argsort(-np.abs(self.share[i] - self.share[0])[found], kind="stable")]
        named = ", ".join(map(str, found[:5]))
        return f"{plural(len(found), 'region')}: {named}{f' and {len(found) - 5:,} more' if len(found) > 5 else ''}"

    def _loss_words(self, i: int, d: Drift) -> str:
        """Return whether the mean loss is larger: the word goes by the interval beside it."""
        train, change = self.names[0], _number(d.loss_change, "+")
        least = f"{LEAST_ROWS} rows in both sets"
        if np.isnan(d.loss_low):
            return f"{d.name}: the mean loss is {change} away from that of {train}; to test it takes {least}"
        worse = "larger" if d.loss_low > 0 else "smaller" if d.loss_high < 0 else "not clearly larger"
        tested = int(np.isfinite(self.worse_p[i]).sum())
        where = f"it is larger in {int(self.worse_flag[i].sum()):,} of the {plural(tested, 'region')} with {least}"
        return (
            f"{d.name}: the mean loss is {worse} than in {train}, a change of {change}{_interval(d.loss_low, d.loss_high, '+')}; "
            + (where if tested else f"no region has {least}")
        )

    def _feature_words(self, i: int, j: int) -> str:
        means = f", mean {self.mean[0, j]:.4g} → {self.mean[i, j]:.4g}" if np.isfinite(self.mean[i, j]) else ""
        return f"{self.features[j]} (distance {self.statistic[i, j]:.2f}{means})"

    def __repr__(self) -> str:
        return "\n".join(self.summary())


def exposure(u: Unwrapped, train: Any, test: Any, production: Any = None, *, alpha: float = 0.05) -> Exposure:
    """Return which regions the rows of each set lie in, how the network does there, and whether a set has drifted.

    Parameters
    ----------
    u : from `relucidate.unwrap`; it names the regions.
    train, test, production : X, or a tuple (X, y) or (X, y, sample_weight), each as for `unwrap`; or what `unwrap` made
        of it. `u` itself may be `train`.
    alpha : chance of finding drift in a set without any; level of the flags; intervals hold 1 - alpha.

    Returns
    -------
    Exposure : per region and set counts, responses, scores and flags; per set a verdict; per set and column a test.

    Raises
    ------
    ArgumentError : `u`, alpha or a set makes no sense, sets name the same columns in another order where the network has
        no names, or a set is a result with joined regions that does not keep all rows.
    DataError : a table does not fit the network.
    NumericalOverflowError : losses are so large that their squares leave the range of float64.

    Notes
    -----
    The verdict looks at inputs only. It combines three tests by Bonferroni, a quarter, a quarter and a half of alpha each,
    so that the chance of a false alarm is at most alpha, however many regions and columns there are:

    - chi-square over activation patterns. Those of which either set is expected to have less than 5 rows are joined, one
      after another in the order of their bits, until a group has them. What is joined depends on both sets together, new
      patterns among them, and not on how rows are split between the sets, so that rows of training are not favoured;
    - rows in patterns that training never used. Given how often each pattern occurs in both sets together, c times
      say, all its rows fall to the m of N rows of the set with chance ``C(N - c, m - c) / C(N, m)``; 20,000 seeded draws.
      Shown beside it is the share that Good and Turing expect: rows of training alone in their pattern;
    - the columns: Kolmogorov-Smirnov for numbers (a missing value is lower than all), chi-square for levels,
      rare ones joined likewise in the order of their names; Bonferroni.

    A region's share (two-proportion test) and a column are flagged if the set has drifted and their p-value, adjusted by
    Benjamini and Hochberg, is at most alpha. A network that fits its training rows too closely does worse elsewhere
    without any drift.

    "Worse" tests that losses of both sets have the same distribution, against a larger mean; one-sided, adjusted too, of
    regions with 20 rows in both sets. Losses are skewed: the smaller set often misses its rare large ones, and its
    variance with them. So the p-value is the larger of two: of Welch's test, and of Student's with the variance of both
    sets about their common mean, ``s² = ((n - 1) s_n² + (m - 1) s_m² + d² nm / (n + m)) / (n + m - 1)``, d the difference
    of the means, n + m - 2 degrees of freedom. The first would flag too much where the other set is larger than training,
    the second where it is smaller. The limits of `Drift` hold the shifts that not both tests, two-sided, reject.

    Stability index ``Σ (q - p) ln(q / p)``, half a row added to each group; without drift its mean is near
    ``(groups - 1) (1/n + 1/m)``.

    The shift of the mean decision is ``Σ_j w_j (mean_j - train mean_j)`` and a remainder, with w the mean coefficients of
    the rows of both sets, half and half. Rows of unequal weight count as ``(Σ w)² / Σ w²`` rows; new patterns are counted
    without weights. Cost: one unwrapping per set, and two sorts per column of the samples.
    Source: Sudjianto et al. 2020, section 3; Good 1953.
    """
    u = unwrapped(u)
    if not _between(alpha):
        raise ArgumentError(f"alpha is {clipped(alpha)}; expected a number between 0 and 1, as 0.05.")
    given = {"train": train, "test": test}
    given |= {} if production is None else {"production": production}
    sets, u = _read_all(u, given)
    for v, name in zip(sets, given, strict=True):
        _check_losses(v, name)
    names = tuple(given)
    net, R, S = u.network, u.n_regions, len(sets)
    regions = [u.regions_of_patterns(Patterns(v.sums.packed, net.n_bits)) for v in sets]
    count, share, response = _per_region(u, sets, regions)
    level = 1 - alpha
    scores, totals, losses = [], [], []
    for v, region in zip(sets, regions, strict=True):
        of_row = region[v.sample.region]
        scores.append(_scores(v, of_row, R, level))
        totals.append(_scores(v, np.zeros(len(of_row), dtype=np.intp), 1, level))
        losses.append(_losses(v, of_row, R))
    columns = [net.features.in_columns(v.sample.x) for v in sets]
    groups = len(net.features.groups)
    mean = np.array([[_mean(c, v.sample.weights) for c in held] for held, v in zip(columns, sets, strict=True)])
    statistic, psi, psi_expected, feature_p = (np.full((S, groups), np.nan) for _ in range(4))
    share_p, worse_p = np.full((S, R), np.nan), np.full((S, R), np.nan)
    share_flag, worse_flag = np.zeros((S, R), dtype=bool), np.zeros((S, R), dtype=bool)
    feature_flag = np.zeros((S, groups), dtype=bool)
    drift = []
    for i in range(1, S):
        weights = unitless(sets[0].sample.weights), unitless(sets[i].sample.weights)
        tests = [_column(a, b, *weights) for a, b in zip(columns[0], columns[i], strict=True)]
        statistic[i], psi[i], psi_expected[i], raw = np.array(tests).T
        feature_p[i] = adjusted(raw)
        p_features = _bonferroni(raw)
        found = _drift(names[i], sets[0], sets[i], p_features, alpha, losses[0][1], losses[i][1])
        worse_p[i] = adjusted(_change(losses[0][0], losses[i][0], level, R)[3])
        share_p[i] = adjusted(_two_proportions(share[0], share[i], _effective(sets[0]), _effective(sets[i])))
        with np.errstate(invalid="ignore"):
            share_flag[i] = found.drifted & (share_p[i] <= alpha)
            feature_flag[i] = found.drifted & (feature_p[i] <= alpha)
            worse_flag[i] = worse_p[i] <= alpha
        drift.append(found)
    return Exposure(
        names=names,
        n_rows=tuple(v.n_rows for v in sets),
        patterns=Patterns(u.sums.packed, net.n_bits),
        count=count,
        share=share,
        outside=np.array([v.n_rows for v in sets]) - count.sum(axis=1),
        response=response,
        scores=tuple(scores),
        totals=tuple(totals),
        share_p=share_p,
        share_flag=share_flag,
        worse_p=worse_p,
        worse_flag=worse_flag,
        features=tuple(name for name, _ in net.features.groups),
        mean=mean,
        statistic=statistic,
        feature_psi=psi,
        feature_psi_expected=psi_expected,
        feature_p=feature_p,
        feature_flag=feature_flag,
        drift=tuple(drift),
        outputs=net.outputs,
        link=net.link,
        alpha=alpha,
        notes=_notes(u, sets, names),
        caveats=tuple(v.sample.caveat for v in sets),
    )


def _between(value: Any) -> bool:
    return isinstance(value, int | float | np.floating) and bool(0 < value < 1)


def _read_all(u: Unwrapped, given: dict[str, Any]) -> tuple[list[Unwrapped], Unwrapped]:
    """Return the sets, and `u` under the names of the first set that brought any, by which later ones are read."""
    sets, source = [], "u"
    for name, value in given.items():
        found = _read(u, value, name)
        ours, theirs = u.network.features, found.network.features
        if not ours.named and theirs.named and theirs.is_plain:
            u, source = replace(u, network=u.network.with_names(theirs.columns)), name
        elif theirs.named and theirs.columns != ours.columns and set(theirs.columns) == set(ours.columns):
            raise ArgumentError(
                f"{name} was unwrapped with its columns in the order {shown(theirs.columns)}, {source} in the order "
                f"{shown(ours.columns)}: the network has no names, so that one of them is wrong. Give the table itself."
            )
        sets.append(found)
    return sets, u


def _read(u: Unwrapped, given: Any, name: str) -> Unwrapped:
    if isinstance(given, tuple) and not 1 <= len(given) <= 3:
        raise ArgumentError(f"{name} is a tuple of {len(given)}; expected X, (X, y) or (X, y, sample_weight).")
    if isinstance(given, Unwrapped):
        refuse_other_network(u, given, name)
        found = given
    else:
        found = unwrap(u.network, *given) if isinstance(given, tuple) else unwrap(u.network, given)
    if found.n_regions == len(found.patterns):
        return found
    if not found.sample.is_complete:
        raise ArgumentError(
            f"{name} is a result whose equal regions were joined and which keeps {len(found.sample.row):,} of its "
            f"{found.n_rows:,} rows, so that the rows of each pattern are not known. Give the table itself."
        )
    return _by_pattern(found)


def _check_losses(v: Unwrapped, name: str) -> None:
    if not v.has_y:
        return
    s = v.sample
    loss = row_loss(v.network, s.decision, s.y)
    i = int(loss.argmax())
    if not loss[i] <= _LARGEST_LOSS:
        raise NumericalOverflowError(
            f"Row {s.row[i]:,} of {name} has a loss of {loss[i]:.3g}, of a decision of {shown(s.decision[i])}; squares of "
            "variances of such losses leave the range of float64 (1.8e308). Look for a wrong value of the row or of its "
            "response and leave it out, or train the network on a larger unit."
        )


def _by_pattern(joined: Unwrapped) -> Unwrapped:
    """Return a result that keeps all of its rows with one region for each pattern."""
    s, net = joined.sample, joined.network
    total, codes = Total(joined.patterns.packed.shape[1]), []
    for start in range(0, s.n, _ROWS):
        rows = slice(start, start + _ROWS)
        y, weight = (None if v is None else v[rows] for v in (s.y, s.weight))
        sums, code = batch_sums(net, s.x[rows], y, weight)
        codes.append(total.absorb(sums)[code])
    sums, region = total.sums(), np.concatenate(codes)
    return replace(
        joined,
        patterns=Patterns(sums.packed, net.n_bits),
        region_of_pattern=np.arange(len(sums.count), dtype=np.int32),
        sums=sums,
        sample=replace(s, region=region),
        region_of=region,
    )


def _notes(u: Unwrapped, sets: list[Unwrapped], names: tuple[str, ...]) -> tuple[str, ...]:
    notes = []
    outside = int((u.regions_of_patterns(Patterns(sets[0].sums.packed, u.network.n_bits)) < 0) @ sets[0].count)
    if outside:
        notes.append(
            f"{plural(outside, 'row')} of {names[0]} {'lies' if outside == 1 else 'lie'} in patterns that the unwrapped table "
            "never used: it was made of others"
        )
    of: dict[str, list[str]] = {}
    for v, name in zip(sets, names, strict=True):
        for note in v.notes:
            of.setdefault(note, []).append(name)
    return (*notes, *(f"{', '.join(held)}: {note}" for note, held in of.items()))


def _effective(v: Unwrapped) -> float:
    """Return how many rows of equal weight the set is worth."""
    if not v.weighted:
        return float(v.n_rows)
    w = unitless(v.sample.weights)
    return float(w.sum() ** 2 / (w**2).sum() * v.n_rows / len(w))


def _per_region(u: Unwrapped, sets: list[Unwrapped], regions: list[Any]) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return count (S, R), share (S, R) and mean response (S, R, k) of the regions of `u`."""
    R = u.n_regions
    k = max(v.sums.y.shape[1] for v in sets)
    count, share = np.zeros((len(sets), R), dtype=np.int64), np.zeros((len(sets), R))
    response = np.full((len(sets), R, k), np.nan)
    for i, (v, region) in enumerate(zip(sets, regions, strict=True)):
        here = region >= 0
        count[i] = np.bincount(region[here], v.count[here], R)
        share[i] = np.bincount(region[here], v.share[here], R)
        if v.has_y:
            weight = np.bincount(region[here], v.sums.weight[here], R)
            total = v.sums.y + v.sums.weight[:, None] * v.sums.y_origin
            with np.errstate(invalid="ignore"):
                for j in range(k):
                    response[i, :, j] = np.bincount(region[here], total[here, j], R) / weight
    return count, share, response


def _scores(v: Unwrapped, group: Any, n: int, level: float) -> GroupScores | None:
    if not v.has_y:
        return None
    s, here = v.sample, group >= 0
    loss = row_loss(v.network, s.decision, s.y)
    weight = None if s.weight is None else s.weight[here]
    return scores_by_group(group[here], n, s.decision[here], s.y[here], loss[here], v.network.link, weight, level)


Means = tuple[Floats, Floats, Floats]


def _losses(v: Unwrapped, region: Any, R: int) -> tuple[Means, Means] | tuple[None, None]:
    """Return mean loss, its variance and effective rows, of each region and of all rows."""
    if not v.has_y:
        return None, None
    s, here = v.sample, region >= 0
    loss = row_loss(v.network, s.decision, s.y) / (1 if v.network.is_classifier else v.network.n_outputs)
    whole = np.zeros(len(loss), dtype=np.intp)
    return means_by_group(region[here], R, loss[here], s.weights[here]), means_by_group(whole, 1, loss, s.weights)


def _change(train: Means | None, other: Means | None, level: float, n: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the difference of mean losses of n groups, its limits, and the p-value that it is not above 0.

    NaN without responses; limits and p-value also where rows are too few. See `exposure` for the two tests.
    """
    from scipy.special import stdtr, stdtrit

    if train is None or other is None:
        return (np.full(n, np.nan),) * 4
    (a, va, na), (b, vb, nb) = train, other
    upper = 0.5 + level / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        apart, variance = b - a, va + vb
        freedom = variance**2 / (va**2 / (na - 1) + vb**2 / (nb - 1))
        both, within = na + nb, (na - 1) * na * va + (nb - 1) * nb * vb
        half_rows = na * nb / both
        together = (within / half_rows + apart**2) / (both - 1)
        # where neither set varies Welch's is not defined, and the other one holds
        p = np.fmax(stdtr(freedom, -apart / np.sqrt(variance)), stdtr(both - 2, -apart / np.sqrt(together)))
        t = stdtrit(both - 2, upper)
        room = both - 1 - t**2
        half = np.where(room > 0, t * np.sqrt(within / half_rows / np.where(room > 0, room, 1)), np.inf)
        half = np.fmax(stdtrit(freedom, upper) * np.sqrt(variance), half)
    rounding = _ROUNDING * np.maximum(np.abs(a), np.abs(b))
    p, half = np.where(np.abs(apart) <= rounding, 0.5, p), np.maximum(half, rounding)
    few = ~(np.minimum(na, nb) >= LEAST_ROWS * (1 - 1e-9))  # sums of equal weights round
    p, half = np.where(few, np.nan, p), np.where(few, np.nan, half)
    return apart, apart - half, apart + half, p


def _two_proportions(p: Floats, q: Floats, n: float, m: float) -> Floats:
    """Return two-sided p-values that shares of n and of m rows are the same, NaN where too few rows are expected."""
    from scipy.special import ndtr

    pooled = (n * p + m * q) / (n + m)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.abs(p - q) / np.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    out = 2 * ndtr(-z)
    out[(pooled * min(n, m) < LEAST_EXPECTED) | ~np.isfinite(z)] = np.nan
    return np.asarray(out)


def _bonferroni(p: Floats) -> float:
    known = p[np.isfinite(p)]
    return float(min(1.0, len(known) * known.min())) if len(known) else float("nan")


# ---------------------------------------------------------------- one set against training


def _drift(
    name: str, train: Unwrapped, other: Unwrapped, p_features: float, alpha: float, *losses: Means | None
) -> Drift:
    net = train.network
    unit = train.regions_of_patterns(Patterns(other.sums.packed, net.n_bits))
    new = np.flatnonzero(unit < 0)
    unit[new] = train.n_regions + np.arange(len(new))
    n_units = train.n_regions + len(new)
    shares = np.zeros((2, n_units))
    shares[0, : train.n_regions] = train.share
    shares[1, unit] = other.share
    n, m = _effective(train), _effective(other)
    order = _in_order(np.concatenate([train.sums.packed, other.sums.packed[new]]))
    pooled, p_regions, psi, psi_expected = _shares_test((shares * [[n], [m]])[:, order])
    in_train, in_other = np.zeros(n_units, dtype=np.int64), np.zeros(n_units, dtype=np.int64)
    in_train[: train.n_regions] = train.count
    in_other[unit] = other.count
    n_unseen = int(other.count[new].sum())
    p_unseen = _unseen_p(in_train + in_other, other.n_rows, n_unseen)
    parts = zip(SPLIT, (p_regions, p_unseen, p_features), strict=True)
    together = min(1.0, *(k * p for k, p in parts if np.isfinite(p)))
    change = [float(v[0]) for v in _change(losses[0], losses[1], 1 - alpha, 1)]
    shift, contribution = _shift(train, other)
    return Drift(
        name=name,
        n_rows=other.n_rows,
        drifted=together <= alpha,
        p=together,
        p_regions=p_regions,
        p_unseen=p_unseen,
        p_features=p_features,
        psi=psi,
        psi_expected=psi_expected,
        n_groups=pooled.shape[1],
        n_unseen=n_unseen,
        unseen_share=n_unseen / other.n_rows,
        unseen_expected=float((train.count == 1).sum() / train.n_rows),
        distance=_distances(train.sums.packed, other.sums.packed[new], other.count[new]),
        loss_change=change[0],
        loss_low=change[1],
        loss_high=change[2],
        worse_p=change[3],
        shift=shift,
        contribution=contribution,
        remainder=shift - contribution.sum(axis=1),
    )


def _in_order(packed: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return what puts distinct patterns (P, n_bytes) in the order of their bits."""
    width = packed.shape[1]
    return np.argsort(np.ascontiguousarray(packed).view(f"S{width}")[:, 0]) if width else np.arange(len(packed))


def _shares_test(counts: Floats) -> tuple[Floats, float, float, float]:
    """Return pooled counts, the p-value that two sets have the same shares, the stability index, and its mean.

    Parameters
    ----------
    counts : (2, groups) in an order that tells nothing of the sets. What is left of several must be several: one group
        into which others were joined can tell nothing.
    """
    counts = counts[:, counts.any(axis=0)]
    pooled = _pooled(counts)
    if pooled.shape[1] == 1 < counts.shape[1]:
        return pooled, float("nan"), float("nan"), float("nan")
    return pooled, _chi_square(pooled), _stability(pooled), _expected_stability(pooled)


def _pooled(counts: Floats) -> Floats:
    """Return counts (2, groups) with neighbours joined of which either set is expected to have too few rows.

    Groups that are large enough stay, and come first; the others are joined one after another until they are. What is
    left over goes to the last of those joined, or else to the smallest.
    """
    size = counts.sum(axis=0) * (counts.sum(axis=1).min() / counts.sum())
    large = size >= LEAST_EXPECTED
    label, k, held = [], 0, 0.0
    for rows in size[~large].tolist():
        label.append(k)
        held += rows
        if held >= LEAST_EXPECTED:
            k, held = k + 1, 0.0
    of, rows_of = np.array(label, dtype=np.intp), counts[:, ~large]
    joined: Floats = np.stack([np.bincount(of, rows, k + 1) for rows in rows_of])
    if not k and not large.any():
        return joined
    pooled: Floats = np.column_stack([counts[:, large], joined[:, :k]])
    pooled[:, -1 if k else np.argmin(pooled.sum(axis=0))] += joined[:, k]
    return pooled


def _chi_square(counts: Floats) -> float:
    """Return the p-value that two sets (2, groups) have the same shares; 1 with a single group."""
    from scipy.special import chdtrc

    if counts.shape[1] < 2:
        return 1.0
    total = counts.sum(axis=0)
    expected = np.outer(counts.sum(axis=1), total / total.sum())
    return float(chdtrc(counts.shape[1] - 1, ((counts - expected) ** 2 / expected).sum()))


def _stability(counts: Floats) -> float:
    shares = (counts + 0.5) / (counts + 0.5).sum(axis=1, keepdims=True)
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def _expected_stability(counts: Floats) -> float:
    return float((counts.shape[1] - 1) * (1 / counts.sum(axis=1)).sum())


def _unseen_p(total: NDArray[np.int64], m: int, observed: int) -> float:
    """Return the p-value that as many rows lie in patterns of their set alone, by chance.

    Parameters
    ----------
    total : (groups,) rows of each pattern in both sets. m : rows of the set. observed : in patterns that only it has.
    """
    if observed == 0:
        return 1.0
    N = int(total.sum())
    sizes, times = np.unique(total, return_counts=True)
    rng = np.random.default_rng(0)
    drawn = np.zeros(_DRAWS)
    log = np.concatenate([[0.0], np.cumsum(np.log(np.maximum(m - np.arange(min(int(sizes[-1]), m)), 1)))])
    log -= np.concatenate([[0.0], np.cumsum(np.log(N - np.arange(len(log) - 1.0)))])
    for size, n in zip(sizes.tolist(), times.tolist(), strict=True):
        chance = np.exp(log[size]) if size < len(log) else 0.0
        if n * chance > 1e-12:
            drawn += size * rng.binomial(n, min(chance, 1.0), _DRAWS)
    return float((1 + (drawn >= observed).sum()) / (1 + _DRAWS))


def _distances(packed: NDArray[np.uint8], new: NDArray[np.uint8], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many rows have their nearest pattern 0, 1, … bits away."""
    if len(new) == 0:
        return np.zeros(1, dtype=np.int64)
    return np.bincount(nearest(packed, new)[1], count).astype(np.int64)


def _shift(train: Unwrapped, other: Unwrapped) -> tuple[Floats, Floats]:
    """Return the shift of the mean decision (K,), and what each column does to it (K, n_groups)."""
    link = train.network.link
    means, slopes = [], []
    for v in (train, other):
        means.append(_mean_decision(v))
        slope = np.zeros((v.network.n_outputs, v.network.n_features))
        for rows, coef, _ in v.map_blocks():
            slope += np.tensordot(v.share[rows], over_classes(coef, link), axes=1)
        slopes.append(slope)
    moved = other.sample.mean - train.sample.mean
    contribution = train.network.features.grouped((slopes[0] + slopes[1]) / 2 * moved)
    return means[1] - means[0], contribution


def _mean_decision(v: Unwrapped) -> Floats:
    """Return the mean decision (K,), of a softmax network less its mean over the classes."""
    s = v.sample
    mean = s.weights @ s.decision / s.weights.sum()
    return np.asarray(mean - mean.mean() if v.network.link == "softmax" else mean)


# ---------------------------------------------------------------- columns


def _mean(column: NDArray[Any], weight: Floats) -> float:
    if column.dtype == object:
        return float("nan")
    known = ~np.isnan(column) & (weight > 0)
    return float(np.average(column[known], weights=weight[known])) if known.any() else float("nan")


def _column(a: NDArray[Any], b: NDArray[Any], wa: Floats, wb: Floats) -> tuple[float, float, float, float]:
    """Return statistic, stability index, its mean without drift and the p-value of one column in two sets."""
    from scipy.special import kolmogorov

    n, m = (float(w.sum() ** 2 / (w**2).sum()) for w in (wa, wb))
    if a.dtype == object:
        _, code = np.unique(np.concatenate([a, b]).astype(str), return_inverse=True)
        counts = _level_counts(code[: len(a)], code[len(a) :], wa, wb, n, m)
        statistic = float(np.abs(counts[1] / m - counts[0] / n).max())
        _, p, psi, psi_expected = _shares_test(counts)
        return statistic, psi, psi_expected, p
    a, b = (np.where(np.isnan(v), -np.inf, v) for v in (a, b))  # a missing value is lower than all
    statistic = _kolmogorov_smirnov(a, b, wa, wb)
    edges = _quantiles(a, wa)
    counts = _level_counts(np.searchsorted(edges, a), np.searchsorted(edges, b), wa, wb, n, m)
    counts = counts[:, counts.any(axis=0)]
    return (
        statistic,
        _stability(counts),
        _expected_stability(counts),
        float(kolmogorov(statistic * np.sqrt(n * m / (n + m)))),
    )


def _quantiles(values: Floats, weight: Floats) -> Floats:
    """Return the distinct weighted quantiles between `BINS` bins: the least values at or below which the share lies."""
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weight[order])
    wanted = np.arange(1, BINS) / BINS * cumulative[-1] * (1 - 1e-12)  # sums of weights round
    return np.unique(values[order][np.searchsorted(cumulative, wanted)])


def _level_counts(a: Any, b: Any, wa: Floats, wb: Floats, n: float, m: float) -> Floats:
    """Return effective rows (2, levels) of codes."""
    k = int(max(a.max(), b.max())) + 1
    return np.stack([np.bincount(c, w, k) / w.sum() * e for c, w, e in ((a, wa, n), (b, wb, m))])


def _kolmogorov_smirnov(a: Floats, b: Floats, wa: Floats, wb: Floats) -> float:
    """Return the largest difference of two weighted distribution functions."""
    at = np.concatenate([a, b])
    order = np.argsort(at, kind="stable")
    at = at[order]
    apart = np.cumsum(np.concatenate([wa / wa.sum(), -wb / wb.sum()])[order])
    return float(np.abs(apart[np.append(at[1:] != at[:-1], True)]).max())


def _interval(low: float, high: float, sign: str = "") -> str:
    """Return an interval in words, "" where there is none."""
    return f" [{_number(low, sign)}, {_number(high, sign)}]" if np.isfinite(low) and np.isfinite(high) else ""


def _number(value: float, sign: str = "") -> str:
    """Return a number in four decimals, or in four digits where it is large or those would be zeros."""
    return f"{value:{sign}.4f}" if 1e-3 <= abs(value) < 1e6 or value == 0 else f"{value:{sign}.4g}"


def _names(names: list[str], most: int = 5) -> str:
    """Return the first of some columns and the number of the others."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def _p_words(value: float) -> str:
    return f"p {_p(value)}" if np.isfinite(value) else "cannot be told"


def _p(value: float) -> str:
    return f"{value:.3g}" if value >= 0.001 else "< 0.001"
