"""The local linear models themselves: their coefficients, intercepts and directions, and what each group of rows is told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, clipped
from relucidate.layers import Floats
from relucidate.maps import FIT_BYTES, over_classes
from relucidate.network import Network
from relucidate.products import one_thread
from relucidate.simplified import Simplified
from relucidate.unwrapping import Unwrapped, squarable, squaring, unwrapped

if TYPE_CHECKING:
    import pandas as pd

Counts: TypeAlias = NDArray[np.int64]
Kind: TypeAlias = Literal["region", "model"]

CLUSTERS = 50  # that a result holds where the number is not given
_CELLS = 2**22
_QUARTILES = (0.25, 0.5, 0.75)


# ---------------------------------------------------------------- regions and simplified models alike


@dataclass(frozen=True, eq=False)
class _Source:
    """Linear models with their rows: regions, or the models of a simplification, the largest first.

    Parameters
    ----------
    kind : "region" or "model". number : (R,) what each is called there.
    coef : (R, n_outputs, d), indexed by region. intercept : (R, n_outputs)
    count : (R,) rows. weight : (R,) their weights.
    prediction : (R, n_outputs) mean prediction, None where the rows are not known. positive : (R,) share of them predicted
        positive, None unless the network is binary. mean_row : (R, d) or None. response : (R, k) mean, or None.
    sd : (d,) of each feature, or None. caveat : what they rest on.
    """

    network: Network
    kind: Kind
    number: NDArray[np.intp]
    coef: Floats
    intercept: Floats
    count: Counts
    weight: Floats
    prediction: Floats | None
    positive: Floats | None
    mean_row: Floats | None
    response: Floats | None
    sd: Floats | None
    caveat: str


def _source(result: Unwrapped | Simplified) -> _Source:
    if isinstance(result, Unwrapped):
        return _of_regions(result)
    if isinstance(result, Simplified):
        return _of_models(result)
    raise ArgumentError(
        f"Expected what unwrap or a verb of simplify returned, got a {type(result).__name__}. Write "
        "relucidate.unwrap(network, X) first."
    )


def _of_regions(u: Unwrapped) -> _Source:
    sums = u.sums
    with np.errstate(invalid="ignore", divide="ignore"):
        return _Source(
            network=u.network,
            kind="region",
            number=np.arange(u.n_regions),
            coef=u.coef,
            intercept=u.intercept,
            count=u.count,
            weight=sums.weight,
            prediction=sums.prediction / sums.weight[:, None],
            positive=np.minimum(sums.positive / sums.weight, 1) if _is_binary(u.network) else None,
            mean_row=sums.x / sums.weight[:, None] if sums.x.shape[1] else None,
            response=sums.mean() if u.has_y else None,
            sd=u.sample.sd,
            caveat=u.sample.caveat,
        )


def _of_models(s: Simplified) -> _Source:
    net, rows, K = s.network, s.sample, s.n_models
    order = np.argsort(-s.count, kind="stable")
    found: dict[str, Any] = {
        "count": s.count[order],
        "weight": s.count[order].astype(float),
        "prediction": None,
        "positive": None,
        "mean_row": None,
        "response": None if s.response is None else s.response[order],
        "sd": None,
        "caveat": "",
    }
    if rows is not None:
        model = s.route.assign(net, rows.x)
        count = np.bincount(model, minlength=K).astype(np.int64)
        order = np.argsort(-count, kind="stable")
        decision = s.decision_of(rows.x)

        def mean(values: Floats) -> Floats:
            """Return the weighted mean of values (n, m) over the rows of each model (K, m), NaN where it has none."""
            out = np.full((K, values.shape[1]), np.nan)
            for m in np.flatnonzero(weight > 0):
                here = model == m
                out[m] = rows.weights[here] @ values[here] / weight[m]
            return out[order]

        weight = np.bincount(model, rows.weights, minlength=K)
        found |= {
            "count": count[order],
            "weight": weight[order],
            "prediction": mean(net.inverse_link(decision)),
            "positive": mean((decision > 0).astype(float))[:, 0] if _is_binary(net) else None,
            "mean_row": mean(rows.x),
            "response": None if rows.y is None else mean(_responses(net, rows.y)),
            "sd": rows.sd,
            "caveat": rows.caveat,
        }
    return _Source(network=net, kind="model", number=order, coef=s.coef[order], intercept=s.intercept[order], **found)


def _is_binary(network: Network) -> bool:
    return network.link == "logit" and network.n_outputs == 1


def _responses(network: Network, y: Any) -> Floats:
    """Return the response as numbers (n, k): indicators of the classes of a softmax network."""
    if network.link == "softmax":
        return (np.asarray(y).reshape(len(y), -1)[:, :1] == np.arange(network.n_outputs)).astype(float)
    return np.asarray(y, dtype=float).reshape(len(y), -1)


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def _column(values: Floats | None, output: int) -> Floats | None:
    """Return one column, the only one if there is one: a response may have fewer than the network has outputs."""
    return None if values is None else values[:, min(output, values.shape[1] - 1)]


def _mean_rows(u: Unwrapped) -> Floats:
    if not u.sums.x.shape[1] and u.network.n_features:
        raise ArgumentError(
            f"The mean rows of the {u.n_regions:,} regions were not kept: they would take more than 1 GiB. Unwrap fewer "
            "rows, or a network of fewer features."
        )
    with np.errstate(invalid="ignore", divide="ignore"):
        return u.sums.x / u.sums.weight[:, None]


# ---------------------------------------------------------------- coefficients


@dataclass(frozen=True, eq=False)
class Coefficients:
    """The coefficients of local linear models, the largest first.

    Parameters
    ----------
    kind : what a model belongs to, "region" or "model" (of a simplification). number : (m,) what it is called there.
    coef : (m, n_outputs, d), per unit of each feature, or per standard deviation if `standardised`. Of a softmax network
        less their mean over the classes: adding one function to all logits changes no prediction.
    count : (m,) rows. weight : (m,) their weights.
    prediction : (m, n_outputs) mean prediction, or None. response : (m, k) mean response, or None.
    sd : (d,) standard deviation of each feature, None where the rows are not known.
    names, outputs, link : of the network.
    n_models, share : models that there are, and share of the rows, by weight, of those held here (1 if all are).
    caveat : what `sd` rests on, and all of a simplification, "" if on all rows.
    """

    kind: Kind
    number: NDArray[np.intp]
    coef: Floats
    standardised: bool
    count: Counts
    weight: Floats
    prediction: Floats | None
    response: Floats | None
    sd: Floats | None
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    link: str
    n_models: int
    share: float
    caveat: str

    @cached_property
    def scale(self) -> Floats:
        """What makes coefficients of different features comparable (d,): 1, `sd`, or 1 over the largest of the feature."""
        if self.standardised:
            return np.ones(len(self.names))
        if self.sd is not None:
            return self.sd
        largest = np.abs(self.coef).max(axis=(0, 1), initial=0.0)
        return 1 / np.where(largest > 0, largest, 1)

    def order(self, output: int) -> NDArray[np.intp]:
        """Return the features, the largest root mean square of comparable coefficients first."""
        size = self.weight @ (self.coef[:, output] * self.scale) ** 2
        return np.argsort(-size, kind="stable")

    def quantile(self, q: float) -> Floats:
        """Return the weighted quantile over the rows (n_outputs, d): the smallest coefficient that reaches q of the weight."""
        return self._quantiles((q,))[0]

    def _quantiles(self, levels: tuple[float, ...]) -> Floats:
        flat = self.coef.reshape(len(self.coef), -1)
        out = np.empty((len(levels), flat.shape[1]))
        step = max(1, _CELLS // max(len(flat), 1))
        for start in range(0, flat.shape[1], step):
            columns = slice(start, start + step)
            values = flat[:, columns]
            order = np.argsort(values, axis=0, kind="stable")
            reached = np.cumsum(self.weight[order], axis=0)
            for i, q in enumerate(levels):
                # sums in another order differ in the last places: reached is reached
                first = (reached >= q * reached[-1] * (1 - 1e-12) if q > 0 else reached > 0).argmax(axis=0)
                at = np.take_along_axis(order, first[None], axis=0)
                out[i, columns] = np.take_along_axis(values, at, axis=0)[0]
        return out.reshape(len(levels), *self.coef.shape[1:])

    @cached_property
    def signs(self) -> tuple[Floats, Floats]:
        """Share of the rows, by weight, whose coefficient is above 0, and below 0, each (n_outputs, d)."""
        weight = self.weight / self.weight.sum()
        flat, shape = self.coef.reshape(len(self.coef), -1), self.coef.shape[1:]
        above, below = (np.minimum(weight @ part, 1).reshape(shape) for part in (flat > 0, flat < 0))  # sums round
        return above, below

    @cached_property
    def verdicts(self) -> NDArray[Any]:
        """What the signs say, in words (n_outputs, d), see `to_frame`."""
        used = self.coef[self.weight > 0]
        above, below, zero = (used > 0), (used < 0), (used == 0)
        kinds = [
            zero.all(axis=0),
            above.all(axis=0),
            below.all(axis=0),
            ~below.any(axis=0),
            ~above.any(axis=0),
        ]
        words = ["zero everywhere", "always positive", "always negative", "never negative", "never positive"]
        return np.select(kinds, words, "mixed")

    def __repr__(self) -> str:
        per = "standard deviation" if self.standardised else "unit"
        sampled = self.caveat if self.standardised or self.kind == "model" else ""
        return f"Coefficients of {len(self.coef):,} of {_counted(self.n_models, self.kind)}, per {per} of each feature{sampled}"

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per output and feature, in the network's order.

        Returns
        -------
        pandas.DataFrame with ``output``, ``feature``; over the rows, by weight, ``min``, ``q25``, ``median``, ``q75``,
        ``max``, ``mean``, ``share_positive``, ``share_negative``, ``share_zero``; and ``verdict``.

        Notes
        -----
        A feature is monotone over the local linear models that rows use if its sign never changes: "always positive",
        "always negative", "zero everywhere", or where some are 0 "never negative", "never positive"; else it is "mixed".
        Regions that no row of the table uses are not looked at.
        """
        import pandas as pd

        K, d = self.coef.shape[1:]
        low, middle, high = self._quantiles(_QUARTILES)
        used = self.coef[self.weight > 0]
        positive, negative = self.signs
        columns: dict[str, Any] = {
            "min": used.min(axis=0),
            "q25": low,
            "median": middle,
            "q75": high,
            "max": used.max(axis=0),
            "mean": np.tensordot(self.weight / self.weight.sum(), self.coef, axes=1),
            "share_positive": positive,
            "share_negative": negative,
            "share_zero": np.maximum(1 - positive - negative, 0),
            "verdict": self.verdicts,
        }
        names = {"output": np.repeat(np.array(self.outputs, dtype=object), d), "feature": list(self.names) * K}
        return pd.DataFrame({**names, **{name: values.ravel() for name, values in columns.items()}})


def coefficients(result: Unwrapped | Simplified, *, standardised: bool = False) -> Coefficients:
    """Return the coefficients of all local linear models, with the rows that use each.

    Parameters
    ----------
    result : from `relucidate.unwrap`, or a simplification.
    standardised : whether to multiply each coefficient by the standard deviation of its feature.

    Raises
    ------
    ArgumentError : another `result`, or one without rows to take standard deviations from.
    NumericalOverflowError : coefficients per standard deviation are too large to be squared.

    Notes
    -----
    Where all coefficients would take more than 1 GiB, those of the largest regions are held, and the result says so.
    Standard deviations are those of the sample. Source: Sudjianto et al. 2020.
    """
    found = _source(result)
    net = found.network
    if standardised and found.sd is None:
        raise ArgumentError(
            "This simplification holds no rows to take standard deviations from; write standardised=False."
        )
    held = min(len(found.count), max(1, FIT_BYTES // (8 * net.n_outputs * max(net.n_features, 1))))
    coef = over_classes(found.coef[:held], net.link)
    if found.sd is not None and isinstance(result, Unwrapped):
        with squaring(result):
            squarable(np.square(np.abs(coef).max(axis=(0, 1), initial=0.0) * found.sd))  # which features are sorted by
    if standardised and found.sd is not None:
        coef = coef * found.sd
    total = found.weight.sum()
    share = float(found.weight[:held].sum() / total) if held < len(found.count) else 1.0
    return Coefficients(
        kind=found.kind,
        number=found.number[:held],
        coef=coef,
        standardised=standardised,
        count=found.count[:held],
        weight=found.weight[:held],
        prediction=None if found.prediction is None else found.prediction[:held],
        response=None if found.response is None else found.response[:held],
        sd=found.sd,
        names=net.feature_names,
        outputs=net.outputs,
        link=net.link,
        n_models=len(found.count),
        share=share,
        caveat=found.caveat,
    )


# ---------------------------------------------------------------- clusters


@dataclass(frozen=True, eq=False)
class Clusters:
    """What each group of rows is told: one explanation per region, or per model of a simplification; largest first.

    Parameters
    ----------
    kind : "region" or "model". number : (m,) what each is called there.
    coef : (m, n_outputs, d) per unit of each feature; of a softmax network, as the intercepts, less their mean over the
        classes. intercept : (m, n_outputs)
    count : (m,) rows. share : (m,) of all rows, by weight.
    share_positive : (m,) of the rows, predicted positive (decision above 0); None unless the network is binary.
    prediction : (m, n_outputs) mean prediction. mean_row : (m, d) the average row. response : (m, k) mean response. Each is
        None where it is not known.
    sd : (d,) standard deviation of each feature, or None.
    names, outputs, link : of the network.
    n_clusters : that there are; the others are smaller. caveat : what `sd` rests on, and all of a simplification, "" if on all
        rows.
    """

    kind: Kind
    number: NDArray[np.intp]
    coef: Floats
    intercept: Floats
    count: Counts
    share: Floats
    share_positive: Floats | None
    prediction: Floats | None
    mean_row: Floats | None
    response: Floats | None
    sd: Floats | None
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    link: str
    n_clusters: int
    caveat: str

    @cached_property
    def scaled(self) -> Floats:
        """Coefficients per standard deviation of each feature (m, n_outputs, d), NaN where that is not known."""
        return self.coef * (np.nan if self.sd is None else self.sd)

    @cached_property
    def size(self) -> Floats:
        """What coefficients are sorted by (m, n_outputs, d): per standard deviation, as they are where that is not known."""
        return np.abs(self.coef if self.sd is None else self.scaled)

    def __repr__(self) -> str:
        of = f"{len(self.coef):,} of {_counted(self.n_clusters, self.kind)}"
        sampled = self.caveat if self.kind == "model" else ""  # regions count all rows
        return f"Clusters: {of}, with {self.share.sum():.1%} of the rows{sampled}"

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per cluster, output and feature, the largest coefficient of each first.

        Returns
        -------
        pandas.DataFrame with ``cluster`` (number of the region or model), ``count``, ``share``, ``output``, ``feature``,
        ``coefficient``, ``per_sd`` (the coefficient per standard deviation of the feature, by whose size they are sorted)
        and ``mean`` of the feature in the cluster.
        """
        import pandas as pd

        m, K, d = self.coef.shape
        order = np.argsort(-self.size, axis=2, kind="stable")
        cluster, output = (np.repeat(part.ravel(), d) for part in np.indices((m, K)))
        feature = order.ravel()
        at = (cluster, output, feature)
        mean = np.full((m, d), np.nan) if self.mean_row is None else self.mean_row
        return pd.DataFrame(
            {
                "cluster": self.number[cluster],
                "count": self.count[cluster],
                "share": self.share[cluster],
                "output": np.array(self.outputs, dtype=object)[output],
                "feature": np.array(self.names, dtype=object)[feature],
                "coefficient": self.coef[at],
                "per_sd": self.scaled[at],
                "mean": mean[cluster, feature],
            }
        )

    def table(self) -> pd.DataFrame:
        """Return one row per cluster, what is known of it.

        Returns
        -------
        pandas.DataFrame indexed by cluster with ``count``, ``share``, ``share_positive``, ``predicted_mean``,
        ``response_mean``, ``intercept``, ``coef: feature``, ``mean: feature``; with several outputs, names end in
        ``[output]``.
        """
        import pandas as pd

        columns: dict[str, Any] = {"count": self.count, "share": self.share}
        if self.share_positive is not None:
            columns["share_positive"] = self.share_positive
        for name, values in (("predicted_mean", self.prediction), ("response_mean", self.response)):
            if values is not None:
                columns |= dict(zip(self._per_output(name, values.shape[1]), values.T, strict=True))
        K = len(self.outputs)
        columns |= dict(zip(self._per_output("intercept", K), self.intercept.T, strict=True))
        for k, suffix in enumerate(self._per_output("", K)):
            columns |= {f"coef: {f}{suffix}": c for f, c in zip(self.names, self.coef[:, k].T, strict=True)}
        if self.mean_row is not None:
            columns |= {f"mean: {f}": x for f, x in zip(self.names, self.mean_row.T, strict=True)}
        return pd.DataFrame(columns, index=pd.Index(self.number, name="cluster"))

    def _per_output(self, name: str, n: int) -> list[str]:
        return [name] if n == 1 else [f"{name}[{output}]" for output in self.outputs[:n]]


def clusters(result: Unwrapped | Simplified, *, most: int = CLUSTERS) -> Clusters:
    """Return the explanation that each group of rows shares: same region, same explanation.

    Parameters
    ----------
    result : from `relucidate.unwrap`, whose regions are the clusters, or a simplification, whose models are.
    most : clusters held, the largest first.

    Raises
    ------
    ArgumentError : another `result`, or `most` below 1.

    Notes
    -----
    A simplification that holds no rows has no predictions and no average rows. Source: Picchiotti and Gori 2021.
    """
    given: Any = most
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < 1:
        raise ArgumentError(f"most is {clipped(most)}; expected a whole number of clusters, at least 1.")
    found = _source(result)
    net = found.network
    held = slice(0, min(int(most), len(found.count)))

    def part(values: Floats | None) -> Floats | None:
        return None if values is None else values[held]

    return Clusters(
        kind=found.kind,
        number=found.number[held],
        coef=over_classes(found.coef[held], net.link),
        intercept=over_classes(found.intercept[held], net.link),
        count=found.count[held],
        share=(found.weight / found.weight.sum())[held],
        share_positive=part(found.positive),
        prediction=part(found.prediction),
        mean_row=part(found.mean_row),
        response=part(found.response),
        sd=found.sd,
        names=net.feature_names,
        outputs=net.outputs,
        link=net.link,
        n_clusters=len(found.count),
        caveat=found.caveat,
    )


# ---------------------------------------------------------------- intercepts


@dataclass(frozen=True, eq=False)
class Intercepts:
    """The intercept of each region, beside what the region says where its rows are.

    Parameters
    ----------
    intercept : (R, n_outputs) the decision of the local linear model where all features are 0, which may be far from any
        row. mean_decision : (R, n_outputs) its decision at the region's mean row. Both, of a softmax network, less their
        mean over the classes.
    mean_row : (R, d) mean of each feature in the region.
    effect : (n_outputs, d) root mean square over rows of the coefficients per standard deviation.
    count, weight : (R,) rows and their weights. response : (R, k) mean response, or None.
    names, outputs, link : of the network.
    """

    intercept: Floats
    mean_decision: Floats
    mean_row: Floats
    effect: Floats
    count: Counts
    weight: Floats
    response: Floats | None
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    link: str

    def trend(self, values: Floats, feature: int, n: int = 60) -> tuple[Floats, Floats]:
        """Return n places (n,) along a feature and there the weighted local regression of values (R,) on its mean (n,).

        Notes
        -----
        At each place a straight line through the nearest regions that hold half of the rows, tricube weights times the
        rows (Cleveland 1979, weighted). Places lie between the 1st and the 99th percentile of the rows.
        """
        x = self.mean_row[:, feature]
        used = np.flatnonzero(self.weight > 0)
        used = used[np.argsort(x[used], kind="stable")]
        x, y, w = x[used], values[used], self.weight[used]
        reached = np.cumsum(w) / w.sum()
        low, high = x[np.searchsorted(reached, (0.01, 0.99))]
        at = np.linspace(low, high, n) if high > low else np.array([low])
        with one_thread():  # threads cost more than such small sums
            fitted = np.array([_local_fit(x - place, y, w) for place in at])
        return at, fitted

    def __repr__(self) -> str:
        return f"Intercepts of {_counted(len(self.intercept), 'region')}, and decisions at their mean rows"

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per region, largest first.

        Returns
        -------
        pandas.DataFrame indexed by region with ``count``, ``intercept``, ``mean_decision``, ``response_mean`` and ``mean:
        feature``; with several outputs, names end in ``[output]``.
        """
        import pandas as pd

        columns: dict[str, Any] = {"count": self.count}
        parts = [("intercept", self.intercept), ("mean_decision", self.mean_decision)]
        parts += [] if self.response is None else [("response_mean", self.response)]
        for name, values in parts:
            many = values.shape[1] > 1
            columns |= {f"{name}[{self.outputs[k]}]" if many else name: v for k, v in enumerate(values.T)}
        columns |= {f"mean: {f}": x for f, x in zip(self.names, self.mean_row.T, strict=True)}
        return pd.DataFrame(columns).rename_axis("region")


def intercepts(u: Unwrapped) -> Intercepts:
    """Return the intercept of each region, with the region's mean row and the decision there.

    Raises
    ------
    ArgumentError : the mean rows were not kept, or `u` was not unwrapped.
    NumericalOverflowError : effects are too large to be squared.

    Notes
    -----
    An intercept depends on where the origin of the features is: moving it by a changes each intercept by w_r·a. The
    decision at the mean row, ``w_r · x̄_r + b_r``, the mean decision of the region's rows, does not.
    """
    u = unwrapped(u)
    mean_row = _mean_rows(u)
    net = u.network
    decision, effect = np.empty((u.n_regions, net.n_outputs)), np.zeros((net.n_outputs, net.n_features))
    share = u.share
    for rows, coef, intercept in u.map_blocks():
        coef = over_classes(coef, net.link)
        decision[rows] = np.einsum("rkd,rd->rk", coef, mean_row[rows]) + over_classes(intercept, net.link)
        with squaring(u):
            effect += squarable(np.tensordot(share[rows], (coef * u.sample.sd) ** 2, axes=1))
    return Intercepts(
        intercept=over_classes(np.asarray(u.intercept), net.link),
        mean_decision=decision,
        mean_row=mean_row,
        effect=np.sqrt(effect),
        count=u.count,
        weight=u.sums.weight,
        response=u.sums.mean() if u.has_y else None,
        names=net.feature_names,
        outputs=net.outputs,
        link=net.link,
    )


def _local_fit(x: Floats, y: Floats, weight: Floats) -> float:
    """Return the value at 0 of a line through the points nearest to 0 that hold half of the weight, tricube-weighted."""
    distance = np.abs(x)
    order = np.argsort(distance, kind="stable")
    half = order[np.searchsorted(np.cumsum(weight[order]), 0.5 * weight.sum())]
    reach = float(distance[half])
    # a window of one place, as of a feature of few values: the mean there
    w = weight * (np.maximum(1 - (distance / (1.0001 * reach)) ** 3, 0) ** 3 if reach > 0 else distance == 0)
    total = w.sum()
    centre, level = w @ x / total, w @ y / total
    spread = w @ (x - centre) ** 2
    slope = w @ ((x - centre) * (y - level)) / spread if spread > 1e-12 * total * max(reach, 1e-300) ** 2 else 0.0
    return float(level - slope * centre)


# ---------------------------------------------------------------- directions


@dataclass(frozen=True, eq=False)
class Directions:
    """Which way the decision rises in each region, in two planes: one of coefficients, one of rows.

    Parameters
    ----------
    axes : (n_outputs, 2, d) the plane of coefficients, orthogonal unit vectors over features per standard deviation.
    explained : (n_outputs, 2) share of the weighted squared length of all coefficient vectors along each axis.
    place : (R, n_outputs, 2) the coefficients, per standard deviation, in that plane. A point at the origin is flat.
    row_axes : (2, d) the plane of rows, over features less their mean in standard deviations.
    row_explained : (2,) share of the variance of the rows along each of its axes.
    row_place : (R, 2) the mean row of each region in that plane. slope : (R, n_outputs, 2) the coefficients, per standard
        deviation, in that plane: along it the decision rises fastest.
    count, weight : (R,) rows and their weights. prediction : (R, n_outputs) mean prediction. response : (R, k) mean response,
        or None.
    names, outputs, link : of the network. caveat : what a picture must say beside it.
    """

    axes: Floats
    explained: Floats
    place: Floats
    row_axes: Floats
    row_explained: Floats
    row_place: Floats
    slope: Floats
    count: Counts
    weight: Floats
    prediction: Floats
    response: Floats | None
    names: tuple[str, ...]
    outputs: tuple[str, ...]
    link: str
    caveat: str

    @property
    def angle(self) -> Floats:
        """Angle in the plane of coefficients (R, n_outputs), in degrees from the first axis, above -180 up to 180."""
        return np.degrees(np.arctan2(self.place[..., 1], self.place[..., 0]))

    @property
    def length(self) -> Floats:
        """Length in the plane of coefficients (R, n_outputs)."""
        return np.hypot(self.place[..., 0], self.place[..., 1])

    def __repr__(self) -> str:
        held = float(self.explained[0].sum())
        return (
            f"Directions of {_counted(len(self.count), 'region')}: the plane of coefficients holds {held:.1%} of them "
            f"(squared), that of rows {float(self.row_explained.sum()):.1%} of their variance{self.caveat}"
        )

    _repr_html_ = in_notebook

    def to_frame(self) -> pd.DataFrame:
        """Return one row per region and output, largest region first.

        Returns
        -------
        pandas.DataFrame with ``region``, ``count``, ``output``, ``first``, ``second`` (place of the coefficients), ``angle``
        in degrees, ``length``, ``row_first``, ``row_second`` (place of the mean row), ``slope_first``, ``slope_second`` and
        ``response_mean``.
        """
        import pandas as pd

        R, K = self.place.shape[:2]
        region, output = (part.ravel() for part in np.indices((R, K)))
        columns: dict[str, Any] = {
            "region": region,
            "count": self.count[region],
            "output": np.array(self.outputs, dtype=object)[output],
        }
        for i, name in enumerate(("first", "second")):
            columns |= {name: self.place[..., i].ravel(), f"row_{name}": self.row_place[region, i]}
            columns |= {f"slope_{name}": self.slope[..., i].ravel()}
        columns |= {"angle": self.angle.ravel(), "length": self.length.ravel()}
        if self.response is not None:
            columns["response_mean"] = self.response[region, np.minimum(output, self.response.shape[1] - 1)]
        front = ["region", "count", "output", "first", "second", "angle", "length"]
        return pd.DataFrame(columns)[[*front, *(c for c in columns if c not in front)]]


def directions(u: Unwrapped) -> Directions:
    """Return the coefficients of each region as angle and length in a plane, and its mean row with its slope in another.

    Raises
    ------
    ArgumentError : the mean rows were not kept, or `u` was not unwrapped.
    NumericalOverflowError : effects are too large to be squared.

    Notes
    -----
    Coefficients are per standard deviation of each feature. Their plane is that of the first two eigenvectors of
    ``Σ_r n_r w_r w_rᵀ / Σ_r n_r``: principal components about 0, so that the origin is a flat region and an angle is a
    direction. That of the rows is of the first two principal components of the rows of the sample, standardised. With two
    features both planes are the features themselves. Of each axis, the largest loading is positive.
    """
    u = unwrapped(u)
    net, s = u.network, u.sample
    d, K = net.n_features, net.n_outputs
    mean, sd = s.mean, np.where(s.sd > 0, s.sd, 1)
    place_of_rows = (_mean_rows(u) - mean) / sd
    second = np.zeros((K, d, d))
    share = u.share
    for rows, coef, _ in u.map_blocks():
        scaled = over_classes(coef, net.link) * s.sd
        with squaring(u):
            squarable(np.abs(scaled).max(axis=(0, 1)) ** 2)
        for k in range(K):
            second[k] += (scaled[:, k] * share[rows, None]).T @ scaled[:, k]
    planes = [_plane(m) for m in second]
    axes = np.stack([plane for plane, _ in planes])
    correlation = np.zeros((d, d))
    step = max(1, _CELLS // d)
    for start in range(0, len(s.x), step):
        z = (s.x[start : start + step] - mean) / sd
        correlation += (z * s.weights[start : start + step, None]).T @ z
    row_axes, row_explained = _plane(correlation / s.weights.sum())
    place, slope = np.empty((u.n_regions, K, 2)), np.empty((u.n_regions, K, 2))
    for rows, coef, _ in u.map_blocks():
        scaled = over_classes(coef, net.link) * s.sd
        place[rows] = np.einsum("rkd,kad->rka", scaled, axes)
        slope[rows] = scaled @ row_axes.T
    with np.errstate(invalid="ignore", divide="ignore"):
        prediction = u.sums.prediction / u.sums.weight[:, None]
    return Directions(
        axes=axes,
        explained=np.stack([explained for _, explained in planes]),
        place=place,
        row_axes=row_axes,
        row_explained=row_explained,
        row_place=place_of_rows @ row_axes.T,
        slope=slope,
        count=u.count,
        weight=u.sums.weight,
        prediction=prediction,
        response=u.sums.mean() if u.has_y else None,
        names=net.feature_names,
        outputs=net.outputs,
        link=net.link,
        caveat=s.caveat,
    )


def _plane(moments: Floats) -> tuple[Floats, Floats]:
    """Return two unit vectors (2, d) that span most of a matrix of second moments (d, d), and the share along each (2,).

    For two features, these themselves; for one, it and nothing.
    """
    from scipy.linalg import eigh

    d = len(moments)
    if d <= 2:
        axes = np.eye(2)[:, :d]
    else:
        _, vectors = eigh(moments, subset_by_index=[d - 2, d - 1])
        axes = vectors.T[::-1].copy()
        largest = np.abs(axes).argmax(axis=1)
        axes *= np.sign(axes[[0, 1], largest])[:, None]
    total = float(np.trace(moments))
    along = np.einsum("ad,de,ae->a", axes, moments, axes)
    return axes, along / total if total > 0 else np.zeros(2)
