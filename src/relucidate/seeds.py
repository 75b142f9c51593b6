"""How far networks that were trained with different seeds say the same: importances, signs, regions, decisions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, RelucidateError, shown
from relucidate.features import Features
from relucidate.layers import Floats
from relucidate.network import Link, Network, Patterns
from relucidate.sampling import Sample
from relucidate.scoring import SCORE_WORDS
from relucidate.unwrapping import Unwrapped, squarable, squaring, unwrap

if TYPE_CHECKING:
    import pandas as pd

_CELLS = 2**22  # coefficients of rows held at a time, of all networks together
_ZERO = 1e-12  # of the largest standardised coefficient of the row: what is no larger is rounding
_TOLD = 8  # features in the summary


@dataclass(frozen=True, eq=False)
class Stability:
    """How far N networks on the same features agree; K outputs, G columns of the user's, P pairs of networks.

    Parameters
    ----------
    names : (N,) of the networks. features : of all of them. outputs : (K,) names. link : of all of them.
    n_regions, effective_regions : (N,) of each network. scores : per score (N,); {} without a response.
    importance : (N, K, G) shares of the variance of effects, summing to 1 over G (0 for a constant decision).
    coef : (N, K, n_features) mean local coefficient, per unit of each feature.
    positive, negative : (N, K, G) share of rows where the local coefficient is above and below 0. Of a column of several
        features: where its centred effect is.
    sign_agreement : (K, G) share of rows with the same sign (0 is a sign), mean over pairs of networks.
    all_positive, all_negative : (K, G) share of rows where all networks are above, and below, 0.
    pair : (P, 2) positions of the networks compared.
    rank_correlation : (P, K) Spearman's, of importances; NaN with one column.
    cosine : (P, K) mean over rows of that between local coefficients, each times its feature's standard deviation.
    decision_correlation : (P, K); NaN for a constant decision.
    same_class : (P,) share of rows with the same class, mean over outputs; NaN for a regression.
    same_partition : (P,) adjusted Rand index of the regions: 1 the same partition of the rows, 0 as by chance.
    n_rows : that the figures rest on. caveat : what a figure must say if they are a sample, see `Sample.caveat`.
    """

    names: tuple[str, ...]
    features: Features
    outputs: tuple[str, ...]
    link: Link
    n_regions: NDArray[np.intp]
    effective_regions: Floats
    scores: dict[str, Floats]
    importance: Floats
    coef: Floats
    positive: Floats
    negative: Floats
    sign_agreement: Floats
    all_positive: Floats
    all_negative: Floats
    pair: NDArray[np.intp]
    rank_correlation: Floats
    cosine: Floats
    decision_correlation: Floats
    same_class: Floats
    same_partition: Floats
    n_rows: int
    caveat: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The user's columns (G,)."""
        return tuple(column for column, _ in self.features.groups)

    @cached_property
    def rank(self) -> NDArray[np.intp]:
        """Rank of each column's importance in each network (N, K, G), 1 the largest; ties share the best."""
        return 1 + (self.importance[..., None, :] > self.importance[..., :, None]).sum(axis=-1)

    @cached_property
    def sign(self) -> Floats:
        """Sign of each column's mean coefficient (N, K, G); NaN for columns of several features."""
        coef = [self.coef[..., at[0]] if len(at) == 1 else np.full(self.coef.shape[:2], np.nan) for at in self._groups]
        return np.sign(np.stack(coef, axis=-1))

    @property
    def _groups(self) -> list[tuple[int, ...]]:
        return [indices for _, indices in self.features.groups]

    def output_index(self, output: str | int) -> int:
        """Return the position of an output, given by name or position.

        Raises
        ------
        ArgumentError : there is none.
        """
        if output in self.outputs:
            return self.outputs.index(str(output))
        if isinstance(output, int | np.integer) and not isinstance(output, bool) and 0 <= output < len(self.outputs):
            return int(output)
        raise ArgumentError(f"output is {output!r}; expected one of {shown(self.outputs, 12)} or its position.")

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per output and column, the most important of an output first.

        Returns
        -------
        pandas.DataFrame with ``output``, ``feature``, ``importance`` (mean over networks), ``importance_sd``,
        ``importance_min``, ``importance_max``, ``rank_min``, ``rank_max``, ``sign_agreement``, ``all_positive``,
        ``all_negative``, ``networks_positive`` and ``networks_negative`` (how many have such a mean coefficient), ``coef``
        (mean over networks), ``coef_min``, ``coef_max``, and ``importance: network`` for each. What concerns a coefficient
        is NaN for columns of several features.
        """
        import pandas as pd

        K, G = self.sign_agreement.shape
        mean = self.importance.mean(axis=0)
        order = np.argsort(-mean, axis=1, kind="stable")
        at = (np.repeat(np.arange(K), G), order.ravel())
        alone = np.array([len(indices) == 1 for indices in self._groups])
        first = self.coef[..., [indices[0] for indices in self._groups]]
        columns: dict[str, Any] = {
            "importance": mean,
            "importance_sd": self.importance.std(axis=0, ddof=1),
            "importance_min": self.importance.min(axis=0),
            "importance_max": self.importance.max(axis=0),
            "rank_min": self.rank.min(axis=0),
            "rank_max": self.rank.max(axis=0),
            "sign_agreement": self.sign_agreement,
            "all_positive": self.all_positive,
            "all_negative": self.all_negative,
            "networks_positive": np.where(alone, (self.sign > 0).sum(axis=0), np.nan),
            "networks_negative": np.where(alone, (self.sign < 0).sum(axis=0), np.nan),
            "coef": np.where(alone, first.mean(axis=0), np.nan),
            "coef_min": np.where(alone, first.min(axis=0), np.nan),
            "coef_max": np.where(alone, first.max(axis=0), np.nan),
            **{f"importance: {name}": values for name, values in zip(self.names, self.importance, strict=True)},
        }
        named = {
            "output": np.array(self.outputs, dtype=object)[at[0]],
            "feature": np.array(self.columns, dtype=object)[at[1]],
        }
        return pd.DataFrame({**named, **{name: values[at] for name, values in columns.items()}})

    def networks_frame(self) -> pd.DataFrame:
        """Return one row per network: ``network``, ``regions``, ``effective_regions``, and its scores."""
        import pandas as pd

        regions = {"regions": self.n_regions, "effective_regions": self.effective_regions}
        return pd.DataFrame({"network": list(self.names), **regions, **self.scores})

    def pairs_frame(self) -> pd.DataFrame:
        """Return one row per output and pair of networks.

        Returns
        -------
        pandas.DataFrame with ``output``, ``network``, ``other``, ``rank_correlation``, ``cosine``,
        ``decision_correlation``, ``same_class``, ``same_partition`` (the last two are of all outputs together).
        """
        import pandas as pd

        names = np.array(self.names, dtype=object)
        parts = [
            pd.DataFrame(
                {
                    "output": np.full(len(self.pair), output, dtype=object),
                    "network": names[self.pair[:, 0]],
                    "other": names[self.pair[:, 1]],
                    "rank_correlation": self.rank_correlation[:, k],
                    "cosine": self.cosine[:, k],
                    "decision_correlation": self.decision_correlation[:, k],
                    "same_class": self.same_class,
                    "same_partition": self.same_partition,
                }
            )
            for k, output in enumerate(self.outputs)
        ]
        return pd.concat(parts, ignore_index=True)

    def __repr__(self) -> str:
        return "\n".join(self.summary())

    def summary(self, output: str | int = 0) -> list[str]:
        """Return what matters most of one output, a sentence a line.

        Raises
        ------
        ArgumentError : there is no such output.
        """
        k = self.output_index(output)
        N = len(self.names)
        scores = "".join(f"; {SCORE_WORDS.get(s, s)} {_range(v, '.4f')}" for s, v in self.scores.items())
        which = f", output {self.outputs[k]}" if len(self.outputs) > 1 else ""
        alike = _pairwise(self.decision_correlation[:, k], ".3f")
        if not np.isnan(self.same_class).all():
            alike += f"; share of rows with the same class {_pairwise(self.same_class, '.1%')}"
        first = self.rank[:, k].argmin(axis=1)
        top = int(np.bincount(first).argmax())
        often = int((first == top).sum())
        lines = [
            f"{N} networks on {self.n_rows:,} row{'s' * (self.n_rows != 1)}{self.caveat}{which}{scores}",
            f"decisions: correlation {alike}",
            f"regions: {_range(self.n_regions, ',')} a network; adjusted Rand index of two partitions "
            f"{_pairwise(self.same_partition, '.2f')} (1: the same, 0: as by chance)",
            f"local coefficients: cosine {_pairwise(self.cosine[:, k], '.2f')}",
            f"importance: rank correlation {_pairwise(self.rank_correlation[:, k], '.2f')}; {self.columns[top]} is the "
            f"first in {f'all {N}' if often == N else f'{often} of {N}'} networks",
        ]
        order = np.argsort(-self.importance[:, k].mean(axis=0), kind="stable")
        lines += [self._told(k, int(g)) for g in order[:_TOLD]]
        more = len(order) - _TOLD
        return lines + ([f"{more:,} more features: see to_frame()"] if more > 0 else [])

    def _told(self, k: int, g: int) -> str:
        """Return what the networks say of one column."""
        N = len(self.names)
        name, indices = self.features.groups[g]
        above, below = int((self.sign[:, k, g] > 0).sum()), int((self.sign[:, k, g] < 0).sum())
        positive, negative = float(self.all_positive[k, g]), float(self.all_negative[k, g])
        if len(indices) > 1:
            one = f"one sign in all {N} networks on {positive + negative:.0%} of rows"
            sign = f"{name} ({len(indices)} features): its effect has {one}"
        elif N in (above, below):
            way, share = ("positive", positive) if above else ("negative", negative)
            sign = f"{name} is {way} in all {N} networks on {share:.0%} of rows"
        elif above + below < N:
            sign = f"{name} is 0 in {N - above - below} of {N} networks, positive in {above}, negative in {below}"
        else:
            sign = f"{name} changes sign: on average it is positive in {above} of {N} networks and negative in {below}"
        rank = self.rank[:, k, g]
        ranks = f"rank {rank.min()}" + (f" to {rank.max()}" if rank.min() < rank.max() else "")
        return f"{sign}; importance {_range(self.importance[:, k, g], '.1%')}, {ranks}"


def _range(values: NDArray[Any], form: str) -> str:
    low, high = format(values.min(), form), format(values.max(), form)
    return low if low == high else f"{low} to {high}"


def _pairwise(values: Floats, form: str) -> str:
    """Return the mean and the least over pairs in words."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return "unknown"
    if len(known) == 1:
        return format(known[0], form)
    return f"{known.mean():{form}} on average over pairs, {known.min():{form}} at least"


def stability(
    networks: Sequence[Network] | Mapping[str, Network], X: Any, y: Any = None, sample_weight: Any = None
) -> Stability:
    """Return how far networks on the same features agree on a table.

    Parameters
    ----------
    networks : two or more, in a list, or by name. They must have the same columns, features, outputs, classes and link.
    X, y, sample_weight : see `relucidate.unwrap`; not an iterator, since each network reads the rows.

    Returns
    -------
    Stability

    Raises
    ------
    ArgumentError : fewer than two networks, or one that differs from the first.
    NumericalOverflowError : effects are too large to be squared.
    DataError : the table does not fit, see `relucidate.unwrap`; the message names the network.

    Notes
    -----
    With w_ij the coefficient of feature j in the region of row i, importance is Var_i(Σ_{j in g} w_ij (x_ij − x̄_j)) over
    its sum over the columns g. A coefficient counts as 0 where it, times the feature's standard deviation, is at most
    1e-12 of the row's largest. The cosine of two vectors is 1 if both are 0, and 0 if one is. Adding one function to all
    logits of a softmax network changes no prediction, so there coefficients and decisions are first centred over the
    classes. All is weighted by the rows' weights but the adjusted Rand index (Hubert and Arabie 1985), and made on the
    sample of `unwrap`, which is the same for all networks. Cost: one unwrapping per network, and rows × features per pair.
    """
    if not isinstance(networks, Mapping | Sequence):
        raise ArgumentError(
            f"stability compares networks with each other, got a {type(networks).__name__}. Give a list of two or more, or a "
            "dictionary of them by name."
        )
    named = dict(networks) if isinstance(networks, Mapping) else {str(i): net for i, net in enumerate(networks)}
    if len(named) < 2:
        raise ArgumentError(f"stability compares networks with each other; got {len(named)}. Give two or more.")
    if hasattr(X, "__next__"):
        raise ArgumentError(
            "X is an iterator, which one network would use up. Give a table, an array or paths of files."
        )
    found: list[Unwrapped] = []
    for name, net in named.items():
        if not isinstance(net, Network):
            raise ArgumentError(f"Network {name} is a {type(net).__name__}; load it first: relucidate.load(model).")
        try:
            found.append(_slim(unwrap(net, X, y, sample_weight), found))
        except RelucidateError as problem:
            raise type(problem)(f"Network {name}: {problem}") from problem
        _refuse_other(name, found[-1].network, next(iter(named)), found[0].network)
    return _compared(tuple(map(str, named)), found)


def _slim(u: Unwrapped, before: Sequence[Unwrapped]) -> Unwrapped:
    """Return the same with the rows of the first one, if they are equal, so that they are held once."""
    from dataclasses import replace

    if before and np.array_equal(u.sample.x, before[0].sample.x):
        return replace(u, sample=replace(u.sample, x=before[0].sample.x))
    return u


def _refuse_other(name: str, net: Network, first_name: str, first: Network) -> None:
    """Raise if a network cannot be compared with the first."""
    if set(net.features.columns) != set(first.features.columns):
        lacks = [c for c in first.features.columns if c not in net.features.columns]
        more = [c for c in net.features.columns if c not in first.features.columns]
        said = [f"lacks {shown(lacks)}"] * bool(lacks) + [f"has {shown(more)} besides"] * bool(more)
        raise ArgumentError(
            f"Network {name} {' and '.join(said)}, compared with network {first_name}. Compare networks on the same "
            "columns only."
        )
    encoded = [tuple((f.name, f.column, f.kind, f.levels) for f in n.features.items) for n in (net, first)]
    if encoded[0] != encoded[1]:
        other = next((i for i, (a, b) in enumerate(zip(*encoded, strict=False)) if a != b), min(map(len, encoded)))
        raise ArgumentError(
            f"Network {name} makes other features of the columns than network {first_name}, or in another order: "
            f"{shown(net.feature_names[other : other + 3], 3) or 'nothing'} where the other has "
            f"{shown(first.feature_names[other : other + 3], 3) or 'nothing'}. Train both on the same encoding."
        )
    for what, ours, theirs in (
        ("outputs", net.outputs, first.outputs),
        ("classes", net.classes, first.classes),
        ("link", net.link, first.link),
    ):
        if ours != theirs:
            raise ArgumentError(
                f"Network {name} has the {what} {_said(ours)}, network {first_name} {_said(theirs)}. Compare networks that "
                "answer the same question."
            )


def _said(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"({shown(value)})"


# ---------------------------------------------------------------- comparing


def _compared(names: tuple[str, ...], found: Sequence[Unwrapped]) -> Stability:
    net, samples = found[0].network, [u.sample for u in found]
    pairs = list(combinations(range(len(found)), 2))
    local = _Local(found)
    with squaring(*found):
        for rows, coef in _row_maps(found):
            local.add(rows, coef)
        importance = local.importance()
    correlation, same = _decisions(net, samples)
    first, second = np.array(pairs).T
    scores = found[0].scores.keys()
    return Stability(
        names=names,
        features=net.features,
        outputs=net.outputs,
        link=net.link,
        n_regions=np.array([u.n_regions for u in found], dtype=np.intp),
        effective_regions=np.array([u.effective_regions for u in found]),
        scores={s: np.array([u.scores[s] for u in found]) for s in scores},
        importance=importance,
        coef=local.coef / local.total,
        positive=local.positive / local.total,
        negative=local.negative / local.total,
        sign_agreement=local.agreeing / local.total,
        all_positive=local.all_positive / local.total,
        all_negative=local.all_negative / local.total,
        pair=np.array(pairs, dtype=np.intp),
        rank_correlation=_rank_correlation(importance)[first, second],
        cosine=local.cosine[first, second] / local.total,
        decision_correlation=correlation[first, second],
        same_class=same[first, second],
        same_partition=_same_partition(samples, pairs),
        n_rows=len(samples[0].row),
        caveat=samples[0].caveat,
    )


def _row_maps(found: Sequence[Unwrapped]) -> Iterator[tuple[slice, Floats]]:
    """Yield (rows of the sample, coefficients (N, rows, K, n_features)) block by block."""
    net, n = found[0].network, len(found[0].sample.row)
    step = max(64, _CELLS // (len(found) * net.n_outputs * max(net.n_features, 1)))
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        out = np.empty((len(found), rows.stop - start, net.n_outputs, net.n_features))
        for i, u in enumerate(found):
            here, of_row = np.unique(u.sample.region[rows], return_inverse=True)
            coef, _ = u.network.affine_maps(Patterns(u.sums.packed[here], u.network.n_bits))
            out[i] = coef[of_row]
        if net.link == "softmax":
            out -= out.mean(axis=2, keepdims=True)
        yield rows, out


class _Local:
    """What local coefficients say, summed over blocks of rows by weight."""

    def __init__(self, found: Sequence[Unwrapped]) -> None:
        net = self.network = found[0].network
        self.samples = [u.sample for u in found]
        N, K, d, G = len(found), net.n_outputs, net.n_features, len(net.features.groups)
        s = self.samples[0]
        self.sd, self.mean = s.sd, [s.mean for s in self.samples]
        self.total = float(s.weights.sum())
        self.coef = np.zeros((N, K, d))
        self.effect, self.squares, self.positive, self.negative = np.zeros((4, N, K, G))
        self.agreeing, self.all_positive, self.all_negative = np.zeros((3, K, G))
        self.cosine = np.zeros((N, N, K))

    def add(self, rows: slice, coef: Floats) -> None:
        """Add the coefficients (N, rows, K, d) of some rows."""
        N = len(coef)
        weight = self.samples[0].weights[rows]
        apart = np.stack([s.x[rows] - mean for s, mean in zip(self.samples, self.mean, strict=True)])
        effect = self.network.features.grouped(coef * apart[:, :, None])
        self.coef += np.einsum("n,inkd->ikd", weight, coef)
        self.effect += np.einsum("n,inkg->ikg", weight, effect)
        self.squares += np.einsum("n,inkg->ikg", weight, effect**2)
        standard = coef * self.sd
        sign = self._signs(coef, standard, effect)
        above, below = sign > 0, sign < 0
        self.positive += np.einsum("n,inkg->ikg", weight, above)
        self.negative += np.einsum("n,inkg->ikg", weight, below)
        many, few = above.sum(axis=0), below.sum(axis=0)
        none = N - many - few
        alike = (many * (many - 1) + few * (few - 1) + none * (none - 1)) / (N * (N - 1))
        self.agreeing += np.tensordot(weight, alike, axes=1)
        self.all_positive += np.tensordot(weight, many == N, axes=1)
        self.all_negative += np.tensordot(weight, few == N, axes=1)
        length = np.sqrt((standard**2).sum(axis=3))
        unit = standard / np.where(length > 0, length, 1)[..., None]
        product = np.einsum("inkd,jnkd->ijnk", unit, unit, optimize=True)
        product += (length[:, None] == 0) & (length == 0)
        self.cosine += np.einsum("n,ijnk->ijk", weight, product)

    def _signs(self, coef: Floats, standard: Floats, effect: Floats) -> Floats:
        """Return signs (N, rows, K, G) of coefficients, or of the effects of columns of several features."""
        size = np.where(self.sd > 0, np.abs(standard), np.abs(coef))
        reach = _ZERO * size.max(axis=3, keepdims=True)
        single = np.where(size > reach, np.sign(coef), 0.0)
        both = np.where(np.abs(effect) > reach, np.sign(effect), 0.0)
        for g, (_, indices) in enumerate(self.network.features.groups):
            if len(indices) == 1:
                both[..., g] = single[..., indices[0]]
        return both

    def importance(self) -> Floats:
        """Return the share of each column (N, K, G) in the variances of effects."""
        mean = self.effect / self.total
        variance = np.maximum(squarable(self.squares) / self.total - mean**2, 0)
        # what is left of a difference of two equal numbers is no variance
        variance[variance <= 1e-13 * mean**2] = 0
        total = squarable(variance.sum(axis=2, keepdims=True))
        return variance / np.where(total > 0, total, 1)


def _decisions(net: Network, samples: Sequence[Sample]) -> tuple[Floats, Floats]:
    """Return correlations (N, N, K) of decisions, and the share of rows with the same class (N, N)."""
    decision = np.stack([s.decision for s in samples])
    if net.link == "softmax":
        decision -= decision.mean(axis=2, keepdims=True)
    weight = samples[0].weights / samples[0].weights.sum()
    centred = decision - np.tensordot(weight, decision, axes=(0, 1))[:, None]
    covariance = np.einsum("n,ink,jnk->ijk", weight, centred, centred, optimize=True)
    sd = np.sqrt(np.diagonal(covariance).T)
    sd[sd <= 1e-14 * (1 + np.abs(decision).max(axis=1))] = 0  # all the same but for rounding
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = np.where(sd > 0, covariance / (sd[:, None] * sd), np.nan)
        correlation = np.where(sd[:, None] > 0, correlation, np.nan)
    if not net.is_classifier:
        return correlation, np.full((len(samples), len(samples)), np.nan)
    label = decision.argmax(axis=2)[..., None] if net.link == "softmax" else decision > 0
    same = np.stack([(label == other).mean(axis=2) @ samples[0].weights for other in label])
    return correlation, same / samples[0].weights.sum()


def _rank_correlation(importance: Floats) -> Floats:
    """Return Spearman's correlation (N, N, K) of importances (N, K, G)."""
    from scipy.stats import rankdata

    rank = rankdata(importance, axis=2)
    rank -= rank.mean(axis=2, keepdims=True)
    product = np.einsum("ikg,jkg->ijk", rank, rank)
    length = np.sqrt((rank**2).sum(axis=2))
    with np.errstate(invalid="ignore"):
        return product / (length[:, None] * length)


def _same_partition(samples: Sequence[Sample], pairs: Sequence[tuple[int, int]]) -> Floats:
    from sklearn.metrics import adjusted_rand_score

    return np.array([adjusted_rand_score(samples[a].region, samples[b].region) for a, b in pairs])
