"""How far each row can be trusted: whether the network extrapolates there, and what that has cost on known rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate import targets
from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, DataError, clipped
from relucidate.grouping import distinct, nearest
from relucidate.layers import Bools, Floats
from relucidate.network import Network, Trace
from relucidate.products import in_threads, one_thread, padded, row_by_row
from relucidate.sampling import Sample
from relucidate.sums import row_loss
from relucidate.unwrapping import Unwrapped, unwrapped

if TYPE_CHECKING:
    import pandas as pd

Integers = NDArray[np.intp]

COMPONENTS = {
    "unseen": "pattern never seen",
    "hamming": "bits to the nearest pattern seen",
    "rarity": "few rows in its region",
    "region distance": "distance from the rows of its region",
    "centre distance": "distance from the mean row",
    "outside": "outside the range of a feature",
    "row distance": "distance to the nearest training row",
    "closeness": "close to the end of its region",
    "region loss": "loss of the rows of its region",
}
_STRANGE = ("hamming", "region distance", "centre distance", "outside", "row distance")  # of what no row was trained on
_KNOTS = (0.0, 0.5, 0.8, 0.9)  # ranks from which on a component may count more
_REFERENCES = 20_000  # training rows that are left out, one at a time
_LEAST_ROWS = 100  # of known loss, to learn from
_PRIOR_ROWS = 10.0  # of average loss that each region is credited with
_SHRINKAGE = 0.05  # of the covariance towards that of independent features
_TREE_FEATURES = 32  # above, a tree of rows is slower than all distances
_FEW_ROWS = 20_000  # of which a tree is never much slower than all distances
_PROBES, _LEAF = 64, 16  # rows that try a tree of such leaves
_COMPARED = 0.01  # share of all rows: a tree that compares a row with more is slower than all distances
_ANCHORS = 500
_FARTHEST = 1e100  # standard deviations: what is farther is as far
_BLOCK_ROWS = 1024  # a multiple of 64, see `row_by_row`
_TENTH = 0.1
LEAST_JUDGED = 20  # rows, of which two are a tenth: below, no ratio says anything
_SHARES = np.linspace(0.0, 0.9, 46)
_RESAMPLES, _LEAST_RESAMPLES = 300, 100  # of the bootstrap: fewer where there are more than 100,000 rows
_RESAMPLED_ROWS = 30_000_000


@dataclass(frozen=True, eq=False)
class Rejection:
    """The loss of the rows that are left when those trusted least are rejected.

    Parameters
    ----------
    orders : what rows are rejected by: "trust", and "row distance" (the farthest from their nearest training row first)
        where it was measured.
    share : (k,) of the rows rejected. loss, lower, upper : (n_orders, k) mean loss of the others, with its interval.
    overall : mean loss of all rows; also what is left, on average, by a random order.
    tenth, rest : (n_orders,) mean loss of the first tenth to be rejected, and of the others.
    ratio, ratio_lower, ratio_upper : (n_orders,) of the two. A random order has 1.
    gain, gain_lower, gain_upper : ratio of "trust" over that of "row distance"; NaN where that was not measured.
    excess_tenth, excess_rest : (n_orders,) mean loss less the loss that the network itself expects, its entropy. NaN for a
        regression, which says nothing about its error.
    excess_lower, excess_upper : (n_orders,) of the difference of the two.
    surprise, surprise_lower, surprise_upper : (n_orders,) ratio, as `ratio`, of the loss over what the network expects.
    level : of the intervals. n : rows.
    """

    orders: tuple[str, ...]
    share: Floats
    loss: Floats
    lower: Floats
    upper: Floats
    overall: float
    tenth: Floats
    rest: Floats
    ratio: Floats
    ratio_lower: Floats
    ratio_upper: Floats
    gain: float
    gain_lower: float
    gain_upper: float
    excess_tenth: Floats
    excess_rest: Floats
    excess_lower: Floats
    excess_upper: Floats
    surprise: Floats
    surprise_lower: Floats
    surprise_upper: Floats
    level: float
    n: int

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return a table with ``order``, ``rejected``, ``loss``, ``lower``, ``upper``, a row per order and share."""
        import pandas as pd

        k = len(self.share)
        return pd.DataFrame(
            {
                "order": np.repeat(np.array(self.orders, dtype=object), k),
                "rejected": np.tile(self.share, len(self.orders)),
                "loss": self.loss.ravel(),
                "lower": self.lower.ravel(),
                "upper": self.upper.ravel(),
            }
        )


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """How far each row can be trusted, and why.

    Parameters
    ----------
    network : whose rows these are. row : (n,) their numbers in the table.
    trust : (n,) from 0 to 1, low = distrust: the smaller of the next two.
    familiarity : (n,) at most this share of the training rows, each left out in turn, is as strange as this row.
    standing : (n,) share of the rows learnt from whose expected loss is as large or larger.
    expected_loss : (n,) by the model learnt; NaN where none was.
    seen : (n,) whether a training row has the row's activation pattern.
    region : (n,) of the row, or of the nearest pattern seen. hamming : (n,) bits that differ from that pattern.
    count : (n,) training rows in that region.
    region_distance : (n,) from the mean row of that region, in standard deviations within regions (Mahalanobis).
    centre_distance : (n,) from the mean of all training rows, in standard deviations of the features.
    row_distance : (n,) to the nearest training row, likewise; NaN if it was not asked for.
    margin : (n,) least distance of a preactivation from where its neuron switches, in standard deviations of that
        preactivation over the training rows; infinite where nothing switches.
    outside : (n,) how far the row is outside the range of a feature, at most, in standard deviations of the feature;
        infinite where the feature never varied. outside_feature : (n,) which feature it is, -1 if the row is inside.
    beyond : sparse (n, n_features), the same for each feature, negative below the range.
    region_loss : (n,) mean training loss of that region, with ten rows of average loss added; NaN without a response.
    components : what the score is made of. weight : (n_components,) share of each in the expected loss, at most.
    strangest : (n,) index of the component in which the row is least familiar.
    learnt : what the weights come from, in words.
    loss : (n,) of the rows, NaN without `y`. network_expects : (n,) the loss that the network itself expects.
    calibration : the loss of what is left when rows are rejected; None without `y`.
    caveat : "" if the training rows are all there. notes : what else a reader should know.
    """

    network: Network
    row: NDArray[np.int64]
    trust: Floats
    familiarity: Floats
    standing: Floats
    expected_loss: Floats
    seen: Bools
    region: Integers
    hamming: NDArray[np.int64]
    count: NDArray[np.int64]
    region_distance: Floats
    centre_distance: Floats
    row_distance: Floats
    margin: Floats
    outside: Floats
    outside_feature: Integers
    beyond: Any
    region_loss: Floats
    components: tuple[str, ...]
    weight: Floats
    strangest: Integers
    learnt: str
    loss: Floats
    network_expects: Floats
    calibration: Rejection | None
    caveat: str
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.trust)

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per row.

        Returns
        -------
        pandas.DataFrame with ``row``, ``trust``, ``familiarity``, ``standing``, ``expected_loss``, ``seen``, ``region``,
        ``hamming``, ``count``, ``region_distance``, ``centre_distance``, ``row_distance``, ``margin``, ``outside``,
        ``outside_feature`` (its name, "" if inside), ``region_loss``, ``least_familiar`` (the component) and ``loss``.
        """
        import pandas as pd

        names = np.array([*self.network.feature_names, ""], dtype=object)
        plain = ("row", "trust", "familiarity", "standing", "expected_loss", "seen", "region", "hamming", "count")
        measured = ("region_distance", "centre_distance", "row_distance", "margin", "outside")
        return pd.DataFrame(
            {name: getattr(self, name) for name in plain + measured}
            | {
                "outside_feature": names[self.outside_feature],
                "region_loss": self.region_loss,
                "least_familiar": np.array(self.components, dtype=object)[self.strangest],
                "loss": self.loss,
            }
        )

    def __repr__(self) -> str:
        return "\n".join(self.summary())

    def summary(self) -> list[str]:
        """Return what matters most, a sentence a line."""
        n, new, out = len(self), int((~self.seen).sum()), int((self.outside_feature >= 0).sum())
        low = int((self.trust < 0.01).sum())
        lines = [
            f"{new:,} of {n:,} row{'s' * (n != 1)} ({new / n:.1%}) {'has' if new == 1 else 'have'} an activation pattern that no "
            f"training row has; {out:,} {'is' if out == 1 else 'are'} outside the range of a feature; {low:,} "
            f"{'has' if low == 1 else 'have'} a trust below 0.01{self.caveat}.",
        ]
        order = np.argsort(-self.weight, kind="stable")[:3]
        said = ", ".join(
            f"{COMPONENTS[self.components[j]]} ({self.weight[j]:.0%})" for j in order if self.weight[j] > 0
        )
        lines.append(f"The score was learnt from {self.learnt}" + (f"; it goes by {said}." if said else "."))
        if self.calibration is not None:
            lines += _judgement(self.calibration)
        return lines + [f"note: {note}" for note in self.notes]


def _judgement(c: Rejection) -> list[str]:
    if c.n < LEAST_JUDGED:
        rows = f"{c.n:,} row{'s' * (c.n != 1)}"
        return [f"{rows} with a response cannot tell whether the score is right: {LEAST_JUDGED} at least are needed."]

    def times(k: int) -> str:
        return f"{c.ratio[k]:.2f} times that of the rest ({c.level:.0%} {between(c.ratio_lower[k], c.ratio_upper[k])})"

    def between(low: float, high: float, word: str = "interval ", digits: int = 2) -> str:
        if not (np.isfinite(low) and np.isfinite(high)):
            return "interval not known"
        return f"{word}{low:.{digits}f} to {high:.{digits}f}"

    lines = [f"Among the least trusted tenth of {c.n:,} rows the loss is {times(0)}; by a random order it would be 1."]
    if len(c.orders) > 1:
        lines.append(
            f"By the plain distance to the nearest training row it is {times(1)}; ours over that: {c.gain:.2f} "
            f"({between(c.gain_lower, c.gain_upper, '')})."
        )
    if not np.isnan(c.surprise[0]):
        worse = (
            "so it does worse there than it says itself"
            if c.surprise_lower[0] > 1
            else (
                "so this does not show that it does worse there than it says itself: there its probabilities are less sure"
            )
        )
        lines.append(
            f"Measured by the loss that the network itself expects of its probabilities, the ratio is {c.surprise[0]:.2f} "
            f"({between(c.surprise_lower[0], c.surprise_upper[0], '')}), {worse}. In excess of that loss: "
            f"{c.excess_tenth[0]:.3f} per row there, {c.excess_rest[0]:.3f} in the rest "
            f"({between(c.excess_lower[0], c.excess_upper[0], 'interval of the difference ', 3)})."
        )
    return lines


def extrapolation(
    u: Unwrapped,
    X: Any,
    y: Any = None,
    *,
    calibrate: tuple[Any, Any] | None = None,
    nearest_row: bool = True,
    level: float = 0.95,
    random_state: int = 0,
) -> Extrapolation:
    """Return for each row how far the network can be trusted there.

    Parameters
    ----------
    u : from `unwrap`, of the rows that the network was trained on; with their response, so that there is a loss.
    X : other rows, see `Features.encode`; or what `unwrap` made of them, then its response judges.
    y : (n,) or (n, k) their response, to judge the score by. It has no part in the score.
    calibrate : (X, y) of yet other rows, held out of the training, to learn the score from; 100 at least. By default it is
        learnt from the training rows.
    nearest_row : whether to look for the nearest training row, which takes most of the time where there are many rows and
        features.
    level : of the intervals. random_state : seed of the bootstrap, which `y` alone needs.

    Raises
    ------
    ArgumentError : too few rows, or `level` or `random_state` make no sense. DataError : the rows do not fit the network,
    or `u` holds a single row.

    Notes
    -----
    Each training row (20,000 of them, evenly spaced, if there are more) is left out in turn and measured against the others:
    a row that is alone in its region has a pattern never seen then. These rows are what others are compared with.

    *Familiarity* is a conformal p-value: of the distances (hamming, region, centre, outside, row) the least share of
    left-out rows that are as far or farther, times the number of distances (Bonferroni), 1 at most. A row like the
    training rows falls below p with a probability of about p at most; one far outside is near 0 whatever the rest says.

    *Standing* ranks rows by an expected loss, the sum over the components of increasing functions of their ranks among
    left-out rows: piecewise linear with knots at ranks 0, 0.5, 0.8 and 0.9, coefficients not negative, by least
    squares to the losses. If neither `calibrate` nor 100 rows with a response are there it is the mean rank.

    Trust is the smaller of the two, so that neither can hide what the other has found.

    Losses of training rows are lower than those of new rows, but it is their order that counts here. Rows that tie are
    rejected in proportion. Weights count: rows of weight 0 were never seen. Where there was a sample, ranges and nearest
    rows are those of the sample. Regions that `join_equal` joined are one. The margin is in units of the spread of each
    preactivation, where `interpret.explain` has the exact distance to the facet: it takes one more forward pass, not a map
    per pattern.

    Cost: about three forward passes; a search for the nearest pattern of each new one, see `grouping.nearest`; and one for
    the nearest training row of each row, by a tree, or where rows fill so many dimensions that a tree compares each with
    more than 1 % of the training rows, by all distances. Distances of more than 1e100 standard deviations are given as that.
    Source: conformal p-values: Vovk, Gammerman & Shafer 2005, §2.2. Rejection curves: Nadeem, Zucker & Hanczar 2009.
    """
    u = unwrapped(u)
    if not 0 < level < 1:
        raise ArgumentError(f"level is {clipped(level)}; expected a number between 0 and 1, such as 0.95.")
    seed: Any = random_state
    if not (isinstance(seed, int | np.integer) and seed >= 0):
        raise ArgumentError(f"random_state is {clipped(random_state)}; expected a whole number that is not negative.")
    net = u.network
    x, response = _rows(net, X, y)
    sampled = X.sample if isinstance(X, Unwrapped) else None
    weight = np.ones(len(x)) if sampled is None else sampled.weights
    ruler = _Ruler(u, nearest_row)
    score = _Score.learnt(ruler, calibrate)
    trace = net.trace(x)
    found = ruler.measure(x, trace)
    familiarity, strangest = score.familiarity(found)
    standing, expected = score.standing(found)
    trust = np.minimum(familiarity, standing)
    loss = np.full(len(x), np.nan) if response is None else row_loss(net, trace.decision, response)
    expects = _expected_by_network(net, trace.decision)
    curve = None
    if response is not None:
        orders = {"trust": trust} | ({"row distance": -found.row_distance} if nearest_row else {})
        judged = weight > 0
        orders = {name: score[judged] for name, score in orders.items()}
        curve = _rejection(orders, loss[judged], expects[judged], weight[judged], level, int(random_state))
    notes = ruler.notes
    if sampled is not None and not sampled.is_complete:
        notes += (f"the rows looked at are {len(x):,} of the {sampled.n:,} of the table, a sample",)
    return Extrapolation(
        network=net,
        row=np.arange(len(x)) if sampled is None else sampled.row,
        trust=trust,
        familiarity=familiarity,
        standing=standing,
        expected_loss=expected,
        seen=found.seen,
        region=found.region,
        hamming=found.hamming,
        count=found.count,
        region_distance=found.region_distance,
        centre_distance=found.centre_distance,
        row_distance=found.row_distance,
        margin=found.margin,
        outside=found.outside,
        outside_feature=found.outside_feature,
        beyond=found.beyond,
        region_loss=found.region_loss,
        components=score.components,
        weight=score.weight,
        strangest=strangest,
        learnt=score.source,
        loss=loss,
        network_expects=expects,
        calibration=curve,
        caveat=u.sample.caveat,
        notes=notes,
    )


def _rows(net: Network, X: Any, y: Any) -> tuple[Floats, Any]:
    """Return rows, encoded, and their response."""
    if isinstance(X, Unwrapped):
        if y is not None:
            raise ArgumentError(
                "y is given twice: with X, which was unwrapped with its response, and as y. Leave y out."
            )
        return X.sample.x, X.sample.y
    x = net.features.encode(X)
    if len(x) == 0:
        raise ArgumentError("X has no rows; give at least one.")
    return x, None if y is None else _response(net, y, len(x), "y")


def _response(net: Network, y: Any, n: int, what: str) -> Any:
    values = targets.encode_target(y, net.link, net.n_outputs, net.classes).values
    if len(values) != n:
        raise DataError(f"{what} has {len(values):,} values for {n:,} rows; give one for each row.")
    return values


# ---------------------------------------------------------------- measuring


@dataclass(frozen=True, eq=False)
class _Measured:
    """What rows are like, see `Extrapolation`."""

    seen: Bools
    region: Integers
    hamming: NDArray[np.int64]
    count: NDArray[np.int64]
    region_distance: Floats
    centre_distance: Floats
    row_distance: Floats
    margin: Floats
    outside: Floats
    outside_feature: Integers
    beyond: Any
    region_loss: Floats

    def component(self, name: str) -> Floats:
        """Return one of `COMPONENTS` (n,): the larger, the less to be trusted."""
        if name == "unseen":
            return (~self.seen).astype(np.float64)
        if name == "rarity":
            return -self.count.astype(np.float64)
        if name == "closeness":
            return -self.margin
        return np.asarray(getattr(self, name.replace(" ", "_")), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _LeftOut:
    """Rows of the training table, each to be measured against the others: weights and losses (n,)."""

    weight: Floats
    loss: Floats


class _Ruler:
    """The training rows, as that against which others are measured."""

    def __init__(self, u: Unwrapped, nearest_row: bool) -> None:
        self.u, self.network, self.nearest_row = u, u.network, nearest_row
        s = u.sample
        self.sample: Sample = s if s.weight is None else s.taken(np.flatnonzero(s.weights > 0))
        s = self.sample
        if len(s.row) < 2:
            raise DataError(
                f"The unwrapped table has {len(s.row)} rows of positive weight; two at least are needed, to see how far rows "
                "lie apart. Unwrap the table that the network was trained on."
            )
        alive = u.sums.weight > 0
        self.known = np.flatnonzero(alive[u.region_of_pattern])  # patterns that count as seen
        self.alive = alive
        # rows of weight 0 were never seen, as far as it is known which they are
        partly = u.sample.weight is not None and u.sample.is_complete
        self.count = np.bincount(s.region, minlength=u.n_regions) if partly else u.count
        self.low, self.high = s.x.min(axis=0), s.x.max(axis=0)
        self.mean = s.mean
        with np.errstate(divide="ignore"):
            # a constant may have a tiny standard deviation, from rounding
            self.per_sd = np.where(self.high > self.low, 1 / s.sd, 0.0)
            self.per_sd_outside = np.where(self.high > self.low, 1 / s.sd, np.inf)
        self.notes: tuple[str, ...] = ()
        if u.sums.x.shape[1] == 0:
            self.notes += ("distances from a region's rows are left out: mean rows were not kept",)
        self.average_loss = float(u.sums.loss.sum() / u.sums.weight.sum()) if u.has_y else np.nan

    @property
    def components(self) -> tuple[str, ...]:
        """What can be measured."""
        absent = set() if self.u.has_y else {"region loss"}
        absent |= set() if self.u.sums.x.shape[1] else {"region distance"}
        absent |= set() if self.nearest_row else {"row distance"}
        return tuple(name for name in COMPONENTS if name not in absent)

    @cached_property
    def references(self) -> tuple[_Measured, Floats, Floats | None]:
        """Training rows, each measured against the others; their weights, and losses if there was a response."""
        s = self.sample
        at = np.unique(np.linspace(0, len(s.row) - 1, min(len(s.row), _REFERENCES)).astype(np.intp))
        x, weight = np.ascontiguousarray(s.x[at]), s.weights[at]
        trace = self.network.trace(x)
        loss = row_loss(self.network, trace.decision, s.y[at]) if s.y is not None else None
        found = self.measure(x, trace, _LeftOut(weight, np.zeros(len(at)) if loss is None else loss))
        return found, weight, loss

    @cached_property
    def _whitening(self) -> Floats:
        """A matrix (d, d): its product with a standardised row has the covariance 1 within regions."""
        s, d = self.sample, len(self.mean)
        covariance, freedom = np.zeros((d, d)), len(s.row) - len(np.unique(s.region))
        scale = s.weights / s.weights.mean()
        for start in range(0, len(s.row), 2**14):
            rows = slice(start, start + 2**14)
            z = (s.x[rows] - self._means(s.region[rows])) * self.per_sd
            covariance += z.T @ (z * scale[rows, None])
        if freedom > 0:
            covariance = (1 - _SHRINKAGE) * covariance / freedom + _SHRINKAGE * np.eye(d)
        else:
            covariance = np.eye(d)
        values, vectors = np.linalg.eigh(covariance)
        return padded(np.ascontiguousarray((vectors / np.sqrt(np.maximum(values, _SHRINKAGE))).T))

    def _means(self, region: NDArray[Any]) -> Floats:
        sums = self.u.sums
        return sums.x[region] / sums.weight[region, None]

    @cached_property
    def _points(self) -> Floats:
        return self.sample.x * self.per_sd

    @cached_property
    def _axes(self) -> Floats:
        """The principal axes of standardised rows: along them the boxes of a tree fit rows that lie near a plane."""
        centred = self._points - self.mean * self.per_sd
        return padded(np.ascontiguousarray(np.linalg.eigh(centred.T @ centred)[1].T))

    def _turned(self, z: Floats) -> Floats:
        """Return standardised rows along the principal axes."""
        with one_thread():
            turned = row_by_row(_whole(z - self.mean * self.per_sd), self._axes)
        return np.ascontiguousarray(turned[: len(z), : z.shape[1]])

    @cached_property
    def _tree(self) -> Any:
        """A tree of the training rows; None where a row would be compared with too many of them to gain anything."""
        if self._points.shape[1] > _TREE_FEATURES:
            return None
        points = self._turned(self._points)
        if len(points) > _FEW_ROWS:
            from sklearn import neighbors

            counting = neighbors.KDTree(points, leaf_size=_LEAF)
            probes = points[np.linspace(0, len(points) - 1, _PROBES).astype(np.intp)]
            counting.reset_n_calls()
            counting.query(probes, k=2, return_distance=False)
            if counting.get_n_calls() > _COMPARED * len(points) * _PROBES:
                return None
        from scipy.spatial import KDTree

        return KDTree(points)

    @cached_property
    def _brute(self) -> Any:
        from sklearn.neighbors import NearestNeighbors

        return NearestNeighbors(algorithm="brute").fit(self._points)

    def _row_distance(self, z: Floats, k: int) -> Floats:
        """Return the distance of standardised rows to the k-th nearest training row (n,)."""
        points = self._points
        if self._tree is None:
            near = self._brute.kneighbors(z, k, return_distance=False)
        else:
            near, turned = np.empty((len(z), k), dtype=np.intp), self._turned(z)
            order = _alike_together(turned, self._tree.data)
            near[order] = self._tree.query(turned[order], k=range(1, k + 1), workers=-1)[1]
        # products of matrices round; measured again
        each = [
            np.sqrt(((z[i : i + 2**13] - points[at[i : i + 2**13]]) ** 2).sum(axis=1))
            for at in near.T
            for i in range(0, len(z), 2**13)
        ]
        return np.asarray(np.concatenate(each).reshape(k, len(z)).max(axis=0))

    @cached_property
    def _second(self) -> tuple[Floats, Floats]:
        """Smallest and largest values of each feature when one row that has the smallest or largest is gone."""
        x = self.sample.x
        return np.partition(x, 1, axis=0)[1], np.partition(x, len(x) - 2, axis=0)[-2]

    @cached_property
    def _spread(self) -> list[Floats]:
        """Per hidden layer 1 over the standard deviation of the preactivation at each switch, 0 where it is constant."""
        s = self.sample
        at = np.unique(np.linspace(0, len(s.row) - 1, min(len(s.row), _REFERENCES)).astype(np.intp))
        a, w, out = s.x[at], s.weights[at], []
        for layer in self.network.hidden:
            z = layer.preactivation(a)
            centred = z - w @ z / w.sum()
            reach = np.abs(centred).max(axis=0, initial=0.0)  # relative to it, no square leaves float64
            sd = reach * np.sqrt(w @ (centred / np.where(reach > 0, reach, 1)) ** 2 / w.sum())
            varies = sd > 1e-12 * np.abs(z).max(axis=0, initial=0.0)  # what is less is rounding
            with np.errstate(divide="ignore"):
                out.append(np.where(varies, 1 / sd, 0.0)[layer.activation.switches[0]])
            a = layer.activation(z)
        return out

    def measure(self, x: Floats, trace: Trace, left_out: _LeftOut | None = None) -> _Measured:
        """Return what encoded rows are like; `left_out`, if they are training rows to be measured against the others."""
        u, n = self.u, len(x)
        packed, code = distinct(trace.patterns.packed)
        own = u.regions_of_patterns(trace.patterns).astype(np.intp)
        seen = (own >= 0) & self.alive[own]
        if left_out is not None:
            left = u.sums.weight[own] - left_out.weight
            seen &= (self.count[own] > 1) & (left > 1e-9 * left_out.weight)
        region, hamming = own.copy(), np.zeros(n, dtype=np.int64)
        new, of_new = np.unique(code[~seen], return_inverse=True)
        if len(new):
            patterns = u.patterns.packed[self.known]
            skip = None
            if left_out is not None:
                mine = dict(zip(map(bytes, patterns), range(len(patterns)), strict=True))
                skip = np.array([mine[bytes(packed[i])] for i in new], dtype=np.intp)
            at, bits = nearest(patterns, np.ascontiguousarray(packed[new]), skip)
            region[~seen] = u.region_of_pattern[self.known[at]][of_new]
            hamming[~seen] = bits[of_new]
        gone = seen if left_out is not None else np.zeros(n, dtype=bool)
        count = self.count[region] - gone
        blocks = self._blocks(x, region, count, left_out, gone)
        row_distance = np.full(n, np.nan)
        if self.nearest_row:
            row_distance = self._row_distance(_within(x * self.per_sd), 1 if left_out is None else 2)
        return _Measured(seen, region, hamming, count, row_distance=row_distance, **blocks)

    def _blocks(
        self, x: Floats, region: Integers, count: NDArray[np.int64], left_out: _LeftOut | None, gone: Bools
    ) -> dict[str, Any]:
        from scipy.sparse import csr_array

        n, d = x.shape
        out = {name: np.full(n, np.nan) for name in ("region_distance", "centre_distance", "margin", "outside")}
        feature = np.full(n, -1, dtype=np.intp)
        sums = self.u.sums
        weight, loss = sums.weight[region], sums.loss[region]
        grown = np.ones(n)  # a row that is taken from a mean is farther from what is left
        if left_out is not None:
            grown[gone] = weight[gone] / (weight[gone] - left_out.weight[gone])
            weight = weight - np.where(gone, left_out.weight, 0.0)
            loss = loss - np.where(gone, left_out.loss * left_out.weight, 0.0)
        prior = _PRIOR_ROWS * sums.weight.sum() / self.count.sum()
        grown /= np.sqrt(1 + 1 / count)  # the mean of few rows is uncertain
        self._prepare()

        def fill(start: int) -> Any:
            rows = slice(start, min(start + _BLOCK_ROWS, n))
            m = rows.stop - start
            block = x[rows]
            out["margin"][rows] = self._margin(_whole(block))[:m]
            if sums.x.shape[1]:
                z = _within((block - self._means(region[rows])) * self.per_sd * grown[rows, None])
                white = row_by_row(_whole(z), self._whitening)[:m, :d]
                out["region_distance"][rows] = np.sqrt((white**2).sum(axis=1))
            out["centre_distance"][rows] = np.sqrt((_within((block - self.mean) * self.per_sd) ** 2).sum(axis=1))
            low, high = self.low, self.high
            if left_out is not None:
                low, high = np.where(block == low, self._second[0], low), np.where(block == high, self._second[1], high)
            excess = np.maximum(block - high, 0.0) - np.maximum(low - block, 0.0)
            i, j = np.nonzero(excess)
            by = excess[i, j] * self.per_sd_outside[j]
            far = np.zeros(block.shape) if len(i) else excess
            far[i, j] = np.abs(by)
            out["outside"][rows] = far.max(axis=1, initial=0.0)
            feature[rows] = np.where(out["outside"][rows] > 0, far.argmax(axis=1), -1)
            return start + i, j, by

        with one_thread():
            parts = in_threads(fill, range(0, n, _BLOCK_ROWS))
        i, j, by = (np.concatenate(part) for part in zip(*parts, strict=True))
        return {
            **out,
            "outside_feature": feature,
            "beyond": csr_array((by, (i, j)), shape=(n, d)),
            "region_loss": (loss + prior * self.average_loss) / (weight + prior),
        }

    def _prepare(self) -> None:
        """Compute what threads would each compute again."""
        _ = self._whitening if self.u.sums.x.shape[1] else None, self._spread, self._second

    def _margin(self, a: Floats) -> Floats:
        least = np.full(len(a), np.inf)
        for layer, per_sd in zip(self.network.hidden, self._spread, strict=True):
            z = layer.preactivation(a)
            activation = layer.activation
            neuron, k = activation.switches
            if len(neuron):
                gap = z if activation.is_relu else z[:, neuron] - activation.breakpoints[neuron, k]
                gap = np.abs(gap) * per_sd
                if not per_sd.all():
                    gap[:, per_sd == 0] = np.inf
                np.minimum(least, gap.min(axis=1), out=least)
            a = np.maximum(z, 0, out=z) if activation.is_relu else activation(z)
        return least


def _alike_together(z: Floats, points: Floats) -> Integers:
    """Return an order of many rows in which those near the same point follow each other: a tree is then in the cache."""
    if len(z) <= _FEW_ROWS:
        return np.arange(len(z))
    from scipy.spatial import KDTree

    near = KDTree(points[:: max(1, len(points) // _ANCHORS)]).query(z, workers=-1)[1]
    return np.argsort(near, kind="stable")


def _within(z: Floats) -> Floats:
    """Return standardised values, in place, none so large that its square leaves the range of float64."""
    return np.clip(z, -_FARTHEST, _FARTHEST, out=z)


def _whole(block: Floats) -> Floats:
    """Return rows with rows of zeros added, up to a multiple of 64: see `row_by_row`."""
    missing = -len(block) % 64
    return np.concatenate([block, np.zeros((missing, block.shape[1]))]) if missing else block


# ---------------------------------------------------------------- the score


@dataclass(frozen=True, eq=False)
class _Ladder:
    """Values in increasing order, and the weight of those below each (N + 1,); the weights are N in all."""

    value: Floats
    below: Floats

    @staticmethod
    def of(values: Floats, weight: Floats) -> _Ladder:
        order = np.argsort(values, kind="stable")
        below = np.r_[0.0, np.cumsum(weight[order])]
        return _Ladder(values[order], below * (len(values) / below[-1]))

    def rank(self, values: Floats) -> Floats:
        """Return the share below each value, ties one half."""
        left, right = (self.below[np.searchsorted(self.value, values, side)] for side in ("left", "right"))
        return np.asarray((left + right) / (2 * len(self.value)))

    def tail(self, values: Floats) -> Floats:
        """Return the share that is as large or larger, the value itself counted among them."""
        n = len(self.value)
        return np.asarray((1 + n - self.below[np.searchsorted(self.value, values, "left")]) / (1 + n))


@dataclass(frozen=True, eq=False)
class _Score:
    """How components become trust.

    Parameters
    ----------
    components, ladders : names, and values of left-out training rows.
    coefficient : (n_knots, n_components) of hinges, and `constant`; None for the mean rank.
    expected : of the rows learnt from. source : what these are, in words.
    """

    components: tuple[str, ...]
    ladders: tuple[_Ladder, ...]
    coefficient: Floats | None
    constant: float
    expected: _Ladder
    source: str

    @staticmethod
    def learnt(ruler: _Ruler, calibrate: tuple[Any, Any] | None) -> _Score:
        """Return the score learnt from held-out rows, or from the training rows, each left out in turn."""
        found, weight, loss = ruler.references
        names = ruler.components
        ladders = tuple(_Ladder.of(found.component(name), weight) for name in names)
        source = f"{len(weight):,} training rows, each left out in turn"
        if calibrate is not None:
            found, loss = _held_out(ruler, calibrate)
            weight, source = np.ones(len(loss)), f"{len(loss):,} held-out rows"
        ranks = _ranks(names, ladders, found)
        if loss is None or len(loss) < _LEAST_ROWS:
            why = "have no response" if loss is None else f"are fewer than {_LEAST_ROWS}"
            expected = _Ladder.of(ranks.mean(axis=1), weight)
            return _Score(
                names, ladders, None, 0.0, expected, f"no losses, as the training rows {why}: it is the mean rank"
            )
        constant, coefficient = _fitted(ranks, loss, weight)
        expected = _Ladder.of(_expected(ranks, constant, coefficient), weight)
        return _Score(names, ladders, coefficient, constant, expected, source)

    @property
    def weight(self) -> Floats:
        """Share of each component in the expected loss, at most (n_components,)."""
        if self.coefficient is None:
            return np.full(len(self.components), 1 / len(self.components))
        added = self.coefficient.sum(axis=0)
        return added / added.sum() if added.any() else added

    def familiarity(self, found: _Measured) -> tuple[Floats, Integers]:
        """Return the p-value of each row (n,), and the index of the component that decides it."""
        at = [i for i, name in enumerate(self.components) if name in _STRANGE]
        tails = np.column_stack([self.ladders[i].tail(found.component(self.components[i])) for i in at])
        return np.minimum(len(at) * tails.min(axis=1), 1.0), np.array(at, dtype=np.intp)[tails.argmin(axis=1)]

    def standing(self, found: _Measured) -> tuple[Floats, Floats]:
        """Return the share of the rows learnt from that are expected to do as badly (n,), and the expected loss."""
        ranks = _ranks(self.components, self.ladders, found)
        if self.coefficient is None:
            return self.expected.tail(ranks.mean(axis=1)), np.full(len(ranks), np.nan)
        loss = _expected(ranks, self.constant, self.coefficient)
        return self.expected.tail(loss), loss


def _held_out(ruler: _Ruler, calibrate: Any) -> tuple[_Measured, Floats]:
    if not (isinstance(calibrate, tuple | list) and len(calibrate) == 2):
        raise ArgumentError(f"calibrate is a {type(calibrate).__name__}; expected a pair (X, y) of held-out rows.")
    net = ruler.network
    x = net.features.encode(calibrate[0])
    if len(x) < _LEAST_ROWS:
        raise ArgumentError(
            f"calibrate has {len(x):,} rows; {_LEAST_ROWS} at least are needed to learn from. Leave it out, and the score is "
            "learnt from the training rows."
        )
    response = _response(net, calibrate[1], len(x), "The y of calibrate")
    trace = net.trace(x)
    return ruler.measure(x, trace), row_loss(net, trace.decision, response)


def _ranks(names: Sequence[str], ladders: Sequence[_Ladder], found: _Measured) -> Floats:
    return np.column_stack([ladder.rank(found.component(name)) for name, ladder in zip(names, ladders, strict=True)])


def _hinges(ranks: Floats, knot: float) -> Floats:
    return np.maximum(ranks - knot, 0.0) / (1 - knot)


def _fitted(ranks: Floats, loss: Floats, weight: Floats) -> tuple[float, Floats]:
    """Return the constant and the coefficients (n_knots, n_components) of the expected loss, none negative."""
    from scipy.optimize import nnls

    design = np.column_stack([np.ones(len(ranks)), *(_hinges(ranks, knot) for knot in _KNOTS)])
    root = np.sqrt(weight)
    size = float(np.abs(loss).max()) or 1.0
    found = nnls(design * root[:, None], loss / size * root)[0] * size
    return float(found[0]), found[1:].reshape(len(_KNOTS), -1)


def _expected(ranks: Floats, constant: float, coefficient: Floats) -> Floats:
    out = np.full(len(ranks), constant)
    for knot, row in zip(_KNOTS, coefficient, strict=True):
        # column by column: the same bits for a row in any batch
        for j in np.flatnonzero(row):
            out += row[j] * _hinges(ranks[:, j], knot)
    return out


def _expected_by_network(net: Network, decision: Floats) -> Floats:
    """Return the entropy of the predicted classes (n,), NaN for a regression."""
    if net.link == "softmax":
        z = decision - decision.max(axis=1, keepdims=True)
        e = np.exp(z)
        total = e.sum(axis=1)
        return np.asarray(np.log(total) - (e * z).sum(axis=1) / total)
    if net.link == "logit":
        size = np.abs(decision)
        e = np.exp(-size)
        return np.asarray((np.log1p(e) + size * e / (1 + e)).sum(axis=1))
    return np.full(len(decision), np.nan)


# ---------------------------------------------------------------- judging


class _Order:
    """Rows from the least to the most trusted; what ties goes in proportion."""

    def __init__(self, score: Floats) -> None:
        self._rows = np.argsort(score, kind="stable")
        ordered = score[self._rows]
        self._ends = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])

    def rejected(self, share: Floats, values: Floats, weight: Floats) -> Floats:
        """Return the sum of values over the first share of the rows, (k,)."""
        w = weight[self._rows]
        through = np.r_[0.0, np.cumsum(w)[self._ends]]
        total = np.r_[0.0, np.cumsum(w * values[self._rows])[self._ends]]
        return np.asarray(np.interp(share * through[-1], through, total))


def _rejection(
    orders: dict[str, Floats], loss: Floats, expects: Floats, weight: Floats, level: float, seed: int
) -> Rejection:
    """Return the curves with bootstrap intervals, the same resamples for each order."""
    n, rng = len(loss), np.random.default_rng(seed)
    rows = [_Order(score) for score in orders.values()]
    weight = weight / weight.mean()
    own = _figures(rows, loss, expects, weight)
    drawn = [
        _figures(rows, loss, expects, weight * np.bincount(rng.integers(0, n, n), minlength=n))
        for _ in range(min(_RESAMPLES, max(_LEAST_RESAMPLES, _RESAMPLED_ROWS // n)))
    ]
    ends = np.array([(1 - level) / 2, (1 + level) / 2])
    band = {name: np.quantile([d[name] for d in drawn], ends, axis=0) for name in own}
    both = len(orders) > 1
    return Rejection(
        orders=tuple(orders),
        share=_SHARES,
        loss=own["loss"],
        lower=band["loss"][0],
        upper=band["loss"][1],
        overall=float(np.average(loss, weights=weight)),
        tenth=own["tenth"],
        rest=own["rest"],
        ratio=own["ratio"],
        ratio_lower=band["ratio"][0],
        ratio_upper=band["ratio"][1],
        gain=float(own["gain"]) if both else np.nan,
        gain_lower=float(band["gain"][0]) if both else np.nan,
        gain_upper=float(band["gain"][1]) if both else np.nan,
        excess_tenth=own["excess_tenth"],
        excess_rest=own["excess_rest"],
        excess_lower=band["excess"][0],
        excess_upper=band["excess"][1],
        surprise=own["surprise"],
        surprise_lower=band["surprise"][0],
        surprise_upper=band["surprise"][1],
        level=level,
        n=n,
    )


def _figures(rows: Sequence[_Order], loss: Floats, expects: Floats, weight: Floats) -> dict[str, Floats]:
    """Return what `Rejection` holds for rows of these weights, one entry per order."""
    size = float(weight.sum())
    share = np.r_[_TENTH, _SHARES]
    total, hoped = float(weight @ loss), float(weight @ expects)
    gone = np.stack([order.rejected(share, loss, weight) for order in rows])
    expected = np.stack([order.rejected(share[:1], expects, weight)[0] for order in rows])
    with np.errstate(divide="ignore", invalid="ignore"):
        tenth, rest = gone[:, 0] / (_TENTH * size), (total - gone[:, 0]) / ((1 - _TENTH) * size)
        hoped_tenth, hoped_rest = expected / (_TENTH * size), (hoped - expected) / ((1 - _TENTH) * size)
        ratio = tenth / rest
        return {
            "loss": (total - gone[:, 1:]) / ((1 - _SHARES) * size),
            "tenth": tenth,
            "rest": rest,
            "ratio": ratio,
            "gain": ratio[0] / ratio[-1],
            "excess_tenth": tenth - hoped_tenth,
            "excess_rest": rest - hoped_rest,
            "excess": tenth - hoped_tenth - (rest - hoped_rest),
            "surprise": ratio / (hoped_tenth / hoped_rest),
        }
