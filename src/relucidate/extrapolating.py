"""How far each row can be trusted: whether the network extrapolates there, and what that has cost on known rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from relucidate import targets
from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, DataError, clipped
from relucidate.layers import Floats
from relucidate.network import Network
from relucidate.rulers import COMPONENTS, Measured, Ruler, component
from relucidate.sums import row_loss
from relucidate.unwrapping import Unwrapped, refuse_other_network, unwrapped
from relucidate.words import plural

if TYPE_CHECKING:
    import pandas as pd

Integers = NDArray[np.intp]

_STRANGE = ("hamming", "region distance", "centre distance", "outside", "row distance")  # of what no row was trained on
_KNOTS = (0.0, 0.5, 0.8, 0.9)  # ranks from which on a component may count more
_LEAST_ROWS = 100  # of known loss, to learn from
_TENTH = 0.1
_LOW = 0.01  # trust of rows that the summary counts
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
class Extrapolation(Measured):
    """How far each row can be trusted, and why.

    Parameters
    ----------
    network : whose rows these are. row : (n,) their numbers in the table.
    trust : (n,) from 0 to 1, low = distrust: the smaller of the next two.
    familiarity : (n,) at most this share of the training rows, each left out in turn, is as strange as this row.
    standing : (n,) share of the rows learnt from whose expected loss is as large or larger.
    expected_loss : (n,) by the model learnt; NaN where none was.
    components : what the score is made of. weight : (n_components,) share of each in the expected loss, at most.
    strangest : (n,) index of the component in which the row is least familiar.
    learnt : what the weights come from, in words.
    loss : (n,) of the rows, NaN without `y`. network_expects : (n,) the loss that the network itself expects.
    calibration : the loss of what is left when rows are rejected; None without `y`.
    caveat : "" if the training rows are all there. notes : what else a reader should know.

    What rows are like comes with them: seen, region, hamming, count, region_distance, centre_distance, row_distance,
    margin, outside, outside_feature, beyond and region_loss, as `relucidate.rulers.Measured` describes them.
    """

    network: Network
    row: NDArray[np.int64]
    trust: Floats
    familiarity: Floats
    standing: Floats
    expected_loss: Floats
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
        low = int((self.trust < _LOW).sum())
        lines = [
            f"{new:,} of {plural(n, 'row')} ({new / n:.1%}) {'has' if new == 1 else 'have'} an activation pattern that no "
            f"training row has; {out:,} {'is' if out == 1 else 'are'} outside the range of a feature; {low:,} "
            f"{'has' if low == 1 else 'have'} a trust below {_LOW}{self.caveat}.",
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
        return [
            f"{plural(c.n, 'row')} with a response cannot tell whether the score is right: {LEAST_JUDGED} at least are needed."
        ]

    def times(k: int) -> str:
        if not np.isfinite(c.ratio[k]):
            return f"{c.tenth[k]:.4g} per row, and {c.rest[k]:.4g} in the rest"
        return f"{c.ratio[k]:.2f} times that of the rest ({c.level:.0%} {between(c.ratio_lower[k], c.ratio_upper[k])})"

    def between(low: float, high: float, word: str = "interval ", digits: int = 2) -> str:
        if not (np.isfinite(low) and np.isfinite(high)):
            return "interval not known"
        return f"{word}{low:.{digits}f} to {high:.{digits}f}"

    lines = [f"Among the least trusted tenth of {c.n:,} rows the loss is {times(0)}; by a random order it would be 1."]
    if len(c.orders) > 1:
        gain = (
            f"; ours over that: {c.gain:.2f} ({between(c.gain_lower, c.gain_upper, '')})" if np.isfinite(c.gain) else ""
        )
        lines.append(f"By the plain distance to the nearest training row it is {times(1)}{gain}.")
    if not np.isnan(c.surprise[0]):
        worse = "so it does worse there than it says itself"
        if not c.surprise_lower[0] > 1:
            worse = "so this does not show that it does worse there than it says itself"
            less_sure = c.tenth[0] - c.excess_tenth[0] > c.rest[0] - c.excess_rest[0]
            worse += ": its probabilities are less sure there" if less_sure else ""
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
    x, response = _rows(u, X, y)
    sampled = X.sample if isinstance(X, Unwrapped) else None
    weight = np.ones(len(x)) if sampled is None else sampled.weights
    ruler = Ruler(u, nearest_row)
    score = _Score.learnt(ruler, calibrate)
    trace = net.trace(x)
    found = ruler.measure(x, trace)
    familiarity, strangest = score.familiarity(found)
    standing, expected = score.standing(found)
    trust = np.minimum(familiarity, standing)
    loss = np.full(len(x), np.nan)
    if response is not None:
        with np.errstate(over="ignore"):  # told below
            loss = row_loss(net, trace.decision, response)
    expects = _expected_by_network(net, trace.decision)
    curve, lost = None, int((~np.isfinite(loss[weight > 0])).sum())
    if response is not None and not lost:
        orders = {"trust": trust} | ({"row distance": -found.row_distance} if nearest_row else {})
        judged = weight > 0
        orders = {name: score[judged] for name, score in orders.items()}
        curve = _rejection(orders, loss[judged], expects[judged], weight[judged], level, int(random_state))
    notes = ruler.notes
    if response is not None and lost:
        notes += (
            f"the losses of {plural(lost, 'row')} leave the range of float64 (1.8e308), so that the score is not judged by the "
            "response; look for wrong values",
        )
    if score.least > _LOW:
        notes += (
            f"a row stranger than all {plural(score.n_references, 'row')} that it is compared with has a trust of "
            f"{score.least:.2g} by that alone, however strange it is",
        )
    if sampled is not None and not sampled.is_complete:
        notes += (f"the rows looked at are {len(x):,} of the {sampled.n:,} of the table, a sample",)
    return Extrapolation(
        **vars(found),
        network=net,
        row=np.arange(len(x)) if sampled is None else sampled.row,
        trust=trust,
        familiarity=familiarity,
        standing=standing,
        expected_loss=expected,
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


def _rows(u: Unwrapped, X: Any, y: Any) -> tuple[Floats, Any]:
    """Return rows, encoded, and their response."""
    net = u.network
    if isinstance(X, Unwrapped):
        if y is not None:
            raise ArgumentError(
                "y is given twice: with X, which was unwrapped with its response, and as y. Leave y out."
            )
        refuse_other_network(u, X, "X")
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
    def learnt(ruler: Ruler, calibrate: tuple[Any, Any] | None) -> _Score:
        """Return the score learnt from held-out rows, or from the training rows, each left out in turn."""
        found, weight, loss = ruler.references
        names = ruler.components
        ladders = tuple(_Ladder.of(component(found, name), weight) for name in names)
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

    @property
    def n_references(self) -> int:
        """Left-out training rows that others are compared with."""
        return len(self.ladders[0].value)

    @property
    def least(self) -> float:
        """The familiarity of a row that is stranger than all of these."""
        return min(sum(name in _STRANGE for name in self.components) / (self.n_references + 1), 1.0)

    def familiarity(self, found: Measured) -> tuple[Floats, Integers]:
        """Return the p-value of each row (n,), and the index of the component that decides it."""
        at = [i for i, name in enumerate(self.components) if name in _STRANGE]
        tails = np.column_stack([self.ladders[i].tail(component(found, self.components[i])) for i in at])
        return np.minimum(len(at) * tails.min(axis=1), 1.0), np.array(at, dtype=np.intp)[tails.argmin(axis=1)]

    def standing(self, found: Measured) -> tuple[Floats, Floats]:
        """Return the share of the rows learnt from that are expected to do as badly (n,), and the expected loss."""
        ranks = _ranks(self.components, self.ladders, found)
        if self.coefficient is None:
            return self.expected.tail(ranks.mean(axis=1)), np.full(len(ranks), np.nan)
        loss = _expected(ranks, self.constant, self.coefficient)
        return self.expected.tail(loss), loss


def _held_out(ruler: Ruler, calibrate: Any) -> tuple[Measured, Floats]:
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


def _ranks(names: Sequence[str], ladders: Sequence[_Ladder], found: Measured) -> Floats:
    return np.column_stack([ladder.rank(component(found, name)) for name, ladder in zip(names, ladders, strict=True)])


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
    band = {name: _quantiles(np.array([d[name] for d in drawn]), ends) for name in own}
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


def _quantiles(drawn: Floats, ends: Floats) -> Floats:
    """Return quantiles over the resamples (n_ends, …), NaN where some are not finite, as a ratio to no loss is."""
    finite = np.isfinite(drawn).all(axis=0)
    return np.asarray(np.where(finite, np.quantile(np.where(finite, drawn, 0.0), ends, axis=0), np.nan))


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
