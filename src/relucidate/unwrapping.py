"""Unwrapping: from a network and a table to the exact local linear models that the table uses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from relucidate import data, saving, targets
from relucidate.displaying import in_notebook
from relucidate.errors import ArgumentError, NumericalOverflowError, OutputError, UnfaithfulError, clipped, shown
from relucidate.exact import thresholds
from relucidate.grouping import Codes, PatternIndex
from relucidate.layers import Floats
from relucidate.maps import FIT_BYTES, maps_of
from relucidate.network import Faithfulness, Network, Patterns, Trace
from relucidate.sampling import Sample, Sampler
from relucidate.scoring import auc, auc_by_group
from relucidate.sums import Sums, Total, batch_sums, row_loss

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-10  # on |unwrapped - network| / (1 + |decision|)
GLOBAL_SCORES = 10  # regions whose global score is computed by default where it takes a pass over the sample
_KEEP_MAPS_BYTES = 2**28
_KEEP_X_BYTES = 2**30
_CHECK_CELLS = 2**18


@dataclass(frozen=True)
class Progress:
    """How far an unwrapping is.

    Parameters
    ----------
    rows : done so far. total : of all, or None if unknown. regions : distinct patterns so far.
    bytes_per_region : that the result takes.
    """

    rows: int
    total: int | None
    regions: int
    bytes_per_region: int


@dataclass(frozen=True, eq=False)
class Unwrapped:
    """The local linear models of a network that a table uses, largest first.

    Parameters
    ----------
    network : what was unwrapped, under the names of the table if it had none of its own.
    patterns : (P,) the distinct activation patterns met.
    region_of_pattern : (P,) the region of each. One pattern is one region unless `join_equal` joined some.
    sums : counts and sums, one entry per region.
    sample : rows kept for what needs rows: all of them, or a seeded sample.
    region_of : (n,) the region of each row, in the order of the table.
    exactness : the local linear models compared with the network on every row.
    weighted : whether rows carry weights.
    notes : what a reader should know about how the table was read.
    """

    network: Network
    patterns: Patterns
    region_of_pattern: Codes
    sums: Sums
    sample: Sample
    region_of: Codes
    exactness: Faithfulness
    weighted: bool = False
    notes: tuple[str, ...] = field(default=())

    # ---------------------------------------------------------------- sizes

    @property
    def n_regions(self) -> int:
        """Number of regions met."""
        return len(self.sums.count)

    @property
    def n_rows(self) -> int:
        """Number of rows unwrapped."""
        return int(self.sums.count.sum())

    @property
    def has_y(self) -> bool:
        """Whether a response was given."""
        return self.sums.y.shape[1] > 0

    @property
    def count(self) -> NDArray[np.int64]:
        """Rows in each region (n_regions,)."""
        return self.sums.count

    @property
    def share(self) -> Floats:
        """Share of the rows, by weight, in each region (n_regions,)."""
        return self.sums.weight / self.sums.weight.sum()

    @property
    def effective_regions(self) -> float:
        """Number of equally large regions with the same entropy of shares, ``exp(-sum(p log p))``."""
        p = self.share[self.share > 0]
        return float(np.exp(-(p * np.log(p)).sum()))

    # ---------------------------------------------------------------- maps

    @cached_property
    def _maps(self) -> tuple[Any, Any]:
        return maps_of(self.network, Patterns(self.sums.packed, self.network.n_bits))

    @property
    def coef(self) -> Floats:
        """Coefficients of the local linear models (n_regions, n_outputs, n_features), per unit of each feature.

        An array; above 1 GiB an object that is indexed like one and computes what is asked for.
        """
        return self._maps[0]

    @property
    def intercept(self) -> Floats:
        """Intercepts of the local linear models (n_regions, n_outputs)."""
        return self._maps[1]

    def map_blocks(self, limit_bytes: int = 2**26) -> Any:
        """Yield (regions, coef, intercept) in blocks of at most `limit_bytes`, where all of them would not fit."""
        return self.network.map_blocks(Patterns(self.sums.packed, self.network.n_bits), limit_bytes)

    @cached_property
    def is_constant(self) -> bool:
        """Whether every local linear model is the same constant: the network does not look at its input."""
        first = None
        for _, coef, intercept in self.map_blocks():
            if coef.any():
                return False
            first = intercept[0] if first is None else first
            if not np.array_equal(intercept, np.broadcast_to(first, intercept.shape)):
                return False
        return True

    @cached_property
    def identified(self) -> Unwrapped:
        """The same, of a softmax network with each logit less the mean of all: see `Network.identified`."""
        network = self.network.identified
        if network is self.network:
            return self
        decision = self.sample.decision
        sample = replace(self.sample, decision=decision - decision.mean(axis=1, keepdims=True))
        return replace(self, network=network, sample=sample)

    # ---------------------------------------------------------------- other rows

    @cached_property
    def _lookup(self) -> tuple[PatternIndex, Codes]:
        """The patterns as a set, and the region of each by its number there; -1 comes last, where -1 points."""
        index = PatternIndex(self.patterns.packed.shape[1])
        number = index.add(self.patterns.packed)
        regions = np.full(len(number) + 1, -1, dtype=np.int32)
        regions[number] = self.region_of_pattern
        return index, regions

    def assign(self, X: Any) -> Codes:
        """Return the region of each row of another table (n,), -1 where its pattern was never seen.

        Parameters
        ----------
        X : array or table, see `Features.encode`.
        """
        return self.regions_of_patterns(self.network.patterns(X))

    def regions_of_patterns(self, patterns: Patterns) -> Codes:
        """Return the region of each pattern (n,), -1 where it was never seen."""
        index, regions = self._lookup
        return regions[index.find(patterns.packed)]

    # ---------------------------------------------------------------- linear regions

    def join_equal(self, tolerance: float = 1e-9) -> Unwrapped:
        """Return the same rows with activation regions of one and the same map joined into linear regions.

        Parameters
        ----------
        tolerance : largest difference of two joined maps over the data's range, relative to 1 + |decision|. Maps of
            different patterns are products of different matrices, so equal ones agree to rounding only.

        Raises
        ------
        ArgumentError : a negative tolerance.
        """
        if not tolerance >= 0:
            raise ArgumentError(f"tolerance is {tolerance}; expected a number that is not negative.")
        label = _equal_maps(self.coef, self.intercept, self._scale, tolerance)
        n = int(label.max()) + 1
        gathered = self.sums.gathered(label, n)
        first = np.full(n, len(label))
        np.minimum.at(first, label, np.arange(len(label)))
        sums = replace(self.sums, packed=self.sums.packed[first], **gathered)
        return _ordered(replace(self, sums=sums), label)

    @cached_property
    def _scale(self) -> Floats:
        """Largest |x| of each feature in the sample (n_features,)."""
        return np.abs(self.sample.x).max(axis=0, initial=0.0)

    # ---------------------------------------------------------------- scores

    @cached_property
    def scores(self) -> dict[str, float]:
        """Scores of the network on its response: {} without one.

        AUC (on the decision) and log-loss for two classes; accuracy and log-loss for more; MSE and R² for a regression.
        """
        if not self.has_y:
            return {}
        net, s, total = self.network, self.sample, self.sums.weight.sum()
        loss = float(self.sums.loss.sum() / total)
        if not net.is_classifier:
            mse = loss / net.n_outputs
            return {"mse": mse, "r2": _r2(self.sums.total_variance().mean(), mse)}
        if net.n_outputs == 1:
            return {"auc": auc(s.decision[:, 0], s.label == 1, s.weight), "log_loss": loss}
        if net.link == "softmax":
            hit = np.average(s.decision.argmax(axis=1) == s.label, weights=s.weight)
            return {"accuracy": float(hit), "log_loss": loss}
        return {"log_loss": loss}

    def local_scores(self) -> dict[str, Floats]:
        """Return the scores of each local linear model on the rows of its own region (n_regions,): {} without a response.

        ``local_auc`` and ``local_log_loss`` for two classes, ``local_accuracy`` and ``local_log_loss`` for more,
        ``local_mse`` and ``local_r2`` for a regression. NaN where a region has none, as an AUC of one class. AUC and
        accuracy are those of the sample's rows.
        """
        if not self.has_y:
            return {}
        net, sums, s = self.network, self.sums, self.sample
        with np.errstate(invalid="ignore", divide="ignore"):
            loss = sums.loss / sums.weight
        if not net.is_classifier:
            mse = loss / net.n_outputs
            return {"local_mse": mse, "local_r2": _r2(sums.variance().mean(axis=1), mse)}
        out = {}
        if net.n_outputs == 1:
            out["local_auc"] = auc_by_group(s.region, self.n_regions, s.decision[:, 0], s.label == 1, s.weight)
        elif net.link == "softmax":
            hit = s.weights * (s.decision.argmax(axis=1) == s.label)
            with np.errstate(invalid="ignore"):
                n = self.n_regions
                out["local_accuracy"] = np.bincount(s.region, hit, n) / np.bincount(s.region, s.weights, n)
        return {**out, "local_log_loss": loss}

    def _global_scores(self, n: int) -> dict[str, Floats]:
        """Return the scores of the first n local linear models, each on all rows."""
        net = self.network
        if self.sums.moments is not None and net.link == "identity":
            return self._global_from_sums()
        s = self.sample
        out: dict[str, Floats] = {}
        for r in range(n):
            decision = s.x @ self.coef[r].T + self.intercept[r]
            loss = float(np.average(row_loss(net, decision, s.y), weights=s.weight))
            if not net.is_classifier:
                scores = {"global_mse": loss / net.n_outputs}
            elif net.n_outputs == 1:
                scores = {"global_auc": auc(decision[:, 0], s.label == 1, s.weight), "global_log_loss": loss}
            elif net.link == "softmax":
                hit = np.average(decision.argmax(axis=1) == s.label, weights=s.weight)
                scores = {"global_accuracy": float(hit), "global_log_loss": loss}
            else:
                scores = {"global_log_loss": loss}
            for name, value in scores.items():
                out.setdefault(name, np.full(self.n_regions, np.nan))[r] = value
        return out

    def _global_from_sums(self) -> dict[str, Floats]:
        total = self.sums.weight.sum()
        mse = np.concatenate([self.sums.squared_error(c, b) for _, c, b in self.map_blocks()])
        mse = np.maximum(mse, 0) / total / self.network.n_outputs
        return {"global_mse": mse, "global_r2": _r2(np.full(len(mse), self.sums.total_variance().mean()), mse)}

    # ---------------------------------------------------------------- tables

    _repr_html_ = in_notebook

    def table(self, *, global_scores: int | Literal["all"] = GLOBAL_SCORES, maps: bool | None = None) -> pd.DataFrame:
        """Return one row per region, largest first.

        Parameters
        ----------
        global_scores : for how many of the largest regions to score their local linear model on all rows where that
            takes a pass over them (classifiers); NaN below. A regression has them all, from sums.
        maps : whether to append the mean row and the coefficients, a column per feature; by default if they take less
            than 1 GiB.

        Returns
        -------
        pandas.DataFrame with ``pattern`` (short id), ``count``, ``share``, ``response_mean``, ``response_sd``,
        ``predicted_mean``, ``share_positive`` (predicted), ``local_…`` scores (on the region's own rows) and
        ``global_…`` scores (the same local linear model on all rows), ``intercept``, ``mean: feature``, ``coef: feature``.
        With several outputs, names end in ``[output]``.
        """
        import pandas as pd

        net, sums = self.network, self.sums
        weight = sums.weight
        if maps is None:
            maps = 8 * self.n_regions * net.n_features * (net.n_outputs + 1) <= FIT_BYTES
        columns: dict[str, Any] = {
            "region": np.arange(self.n_regions),
            "pattern": Patterns(sums.packed, net.n_bits).ids(),
            "count": sums.count,
            "share": self.share,
        }
        if self.weighted:
            columns["weight"] = weight
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.has_y:
                names = self._per_output("response_mean", sums.y.shape[1])
                mean = sums.mean()
                columns.update(zip(names, mean.T, strict=True))
                sd = np.sqrt(sums.variance())
                columns.update(zip(self._per_output("response_sd", sums.y.shape[1]), sd.T, strict=True))
            predicted = sums.prediction / weight[:, None]
            columns.update(zip(self._per_output("predicted_mean", net.n_outputs), predicted.T, strict=True))
            if net.link == "logit" and net.n_outputs == 1:
                columns["share_positive"] = sums.positive / weight
            if self.has_y:
                columns.update(self.local_scores())
                limit = self.n_regions if global_scores == "all" else min(int(global_scores), self.n_regions)
                columns.update(self._global_scores(limit))
            if maps:
                columns.update(zip(self._per_output("intercept", net.n_outputs), self.intercept.T, strict=True))
                if sums.x.shape[1]:
                    means = sums.x / weight[:, None]
                    columns.update({f"mean: {f}": m for f, m in zip(net.feature_names, means.T, strict=True)})
                for k, suffix in enumerate(self._per_output("", net.n_outputs)):
                    columns.update(
                        {f"coef: {f}{suffix}": c for f, c in zip(net.feature_names, self.coef[:, k].T, strict=True)}
                    )
        return pd.DataFrame(columns).set_index("region")

    def _per_output(self, name: str, n: int) -> list[str]:
        return [name] if n == 1 else [f"{name}[{output}]" for output in self.network.outputs[:n]]

    def __repr__(self) -> str:
        return "\n".join(self.summary())

    def summary(self) -> list[str]:
        """Return what matters most, a sentence a line."""
        cumulative = np.cumsum(np.sort(self.share)[::-1])
        half = int(np.searchsorted(cumulative, 0.5)) + 1
        single = int((self.count == 1).sum())
        what = "activation" if self.n_regions == len(self.patterns) else "linear"
        lines = [
            f"{self.n_rows:,} rows use {self.n_regions:,} {what} region{'s' * (self.n_regions != 1)} of "
            f"{self.network!r}",
            f"largest region: {self.count[0]:,} rows ({self.share[0]:.1%}); half of the rows lie in {half:,}; "
            f"{single:,} hold a single row; as many as {self.effective_regions:.1f} equally large ones",
            f"exact: |unwrapped - network| is at most {self.exactness.max_difference:.1e} over all rows",
        ]
        if self.is_constant:
            lines.append(f"the network is constant on all {self.n_rows:,} rows: it does not look at its input")
        if self.scores:
            lines.append(", ".join(f"{_label(k)} {v:.4f}" for k, v in self.scores.items()) + self.sample.caveat)
        return lines + [f"note: {note}" for note in self.notes]

    # ---------------------------------------------------------------- files

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write this result to a folder of Parquet and JSON files, and return the folder.

        Parameters
        ----------
        path : a folder that does not exist yet, or one that holds an earlier result if `overwrite`.

        Raises
        ------
        OutputError : the folder cannot be written; nothing was.
        """
        return saving.save(self, path, overwrite=overwrite)

    @staticmethod
    def load(path: str | Path) -> Unwrapped:
        """Return what `save` wrote, identical.

        Raises
        ------
        DataError : the folder is not one of ours, is damaged, or was written by a later version.
        """
        return Unwrapped(**saving.load(path))


def unwrapped(given: Any) -> Unwrapped:
    """Return what `unwrap` returned.

    Raises
    ------
    ArgumentError : it is something else.
    """
    if not isinstance(given, Unwrapped):
        raise ArgumentError(
            f"Expected an Unwrapped, got a {type(given).__name__}. Give what unwrap(network, X) returned."
        )
    return given


@contextmanager
def squaring(*found: Unwrapped) -> Iterator[None]:
    """Let nothing in its body that is made of squares leave the range of float64.

    Raises
    ------
    NumericalOverflowError : something did; the message names the feature whose values or coefficients are too large.
    """
    try:
        with np.errstate(over="raise"):
            yield
    except FloatingPointError as problem:
        raise NumericalOverflowError(_too_large(found)) from problem


def squarable(values: Floats) -> Floats:
    """Return values made of squares; in `squaring` they must be finite, since products of matrices raise nothing."""
    if not np.isfinite(values).all():
        raise FloatingPointError("overflow")
    return values


def _too_large(found: Sequence[Unwrapped]) -> str:
    """Return which feature has the largest effects, and what to do."""
    s, names = found[0].sample, found[0].network.feature_names
    slope = np.ones(len(names))
    for u in found:
        for _, coef, _ in u.map_blocks():
            np.maximum(slope, np.abs(coef).max(axis=(0, 1)), out=slope)
    value = np.abs(s.x).max(axis=0)
    with np.errstate(over="ignore"):
        j = int((value * slope).argmax())
    what = f"Values of {clipped(names[j])} reach {value[j]:.3g}"
    what += f", its coefficients {slope[j]:.3g}" if slope[j] > 1e100 else ""
    return (
        f"{what}: the squares of its effects, coefficient × value, leave the range of float64 (1.8e308). Look for wrong "
        f"values of {clipped(names[j])} and unwrap without their rows, or train the network on it in a larger unit."
    )


def _label(score: str) -> str:
    return {"auc": "AUC", "log_loss": "log-loss", "mse": "MSE", "r2": "R²"}.get(score, score)


def _r2(variance: Any, mse: Any) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        out = np.where(np.asarray(variance) > 0, 1 - mse / variance, np.nan)
    return float(out) if out.ndim == 0 else out


def unwrap(
    network: Network,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    random_state: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Unwrapped:
    """Return the exact local linear models that the rows of a table use.

    Parameters
    ----------
    network : from `relucidate.load`.
    X : (n, n_columns) array, a pandas, polars or Arrow table, path(s) of Parquet or CSV files, or an iterator of
        batches, each like X or a tuple (X, y) or (X, y, sample_weight). Columns are matched by name where X has names.
    y : (n,) or (n, k) response, or the name(s) of its column(s) in X; None to do without.
    sample_weight : (n,) weights, not negative, or the name of a column in X.
    random_state : seed of the sample of at most 200,000 rows kept for order statistics and pictures.
    progress : called after each batch.

    Returns
    -------
    Unwrapped : regions largest first, ties by pattern, so that ids are reproducible. Its network has the names that the table
        gives to features and classes, where it had none: unwrap later tables with that one.

    Raises
    ------
    DataError : the table does not fit the network, see the message.
    UnfaithfulError : a local linear model differs from the network by more than rounding.
    NumericalOverflowError : a row leaves the range of float64.

    Notes
    -----
    A neuron is on iff its exact preactivation is above 0. Every row is compared: the difference between its local linear
    model and the network is at most ``1e-10 (1 + |decision|)``, or within a proved bound on rounding, or an error is
    raised. Memory grows with regions, not with rows. Source: Sudjianto et al. 2020, Theorem 1.
    """
    if not isinstance(network, Network):
        raise ArgumentError(
            f"unwrap takes a Network, got a {type(network).__name__}. Write unwrap(relucidate.load(model), X)."
        )
    source = data.open_source(X, y, sample_weight, network.features, numeric_target=not network.is_classifier)
    if source.adopted is not None:
        network = network.with_names(source.adopted)
    coder = _coder(source, network)
    if not network.classes and coder.is_named:
        network = network.with_classes(coder.classes)  # so that every later table has the same
    notes = dict.fromkeys((*_reading_notes(source), *coder.notes))
    run = _Run(network, source.n_rows, random_state)
    try:
        for batch in source.batches():
            target = None if batch.y is None else coder.encode(batch.y, batch.first_row)
            notes |= dict.fromkeys(() if target is None else target.notes)
            run.take(batch.x, None if target is None else target.values.astype(np.float64), batch.weight)
            if progress is not None:
                progress(Progress(run.n, source.n_rows, len(run.total), run.bytes_per_region))
        return run.result(tuple(notes))
    finally:
        run.rows.close()


def _coder(source: data.Source, network: Network) -> targets.TargetCoder:
    """Return how the target becomes numbers; labels that the network does not name are looked up beforehand."""
    listed = network.is_classifier and source.has_target and source.reiterable
    labels = source.distinct_labels() if listed and (network.n_outputs == 1 or network.link == "softmax") else None
    return targets.target_coder(network.link, network.n_outputs, network.classes, labels)


def _reading_notes(source: data.Source) -> list[str]:
    notes = []
    if source.adopted is not None:
        notes.append(
            f"the network names no inputs; the table's columns were taken by position: {shown(source.adopted, 12)}"
        )
    if source.ignored:
        notes.append(f"columns not used: {shown(source.ignored, 12)}")
    return notes


class _Run:
    """The state of one unwrapping: sums, maps for the check, the sample, and the pattern of each row."""

    def __init__(self, network: Network, n_rows: int | None, random_state: int) -> None:
        self.network = network
        self.n = 0
        self.total = Total((network.n_bits + 7) // 8)
        self.checker = _Checker(network)
        self.sampler = Sampler(network.n_features, n_rows, random_state)
        self.rows = _Spool(n_rows)
        self.origin: Floats | None = None
        self.y_origin: Floats | None = None
        self.keep_x = True
        self.weighted = False

    def take(self, x: Floats, y: Floats | None, weight: Floats | None) -> None:
        """Add one batch."""
        if self.origin is None:
            self.origin = x.mean(axis=0)
        trace = self.network.trace(x)
        sums, codes = batch_sums(
            self.network, x, y, weight, trace=trace, keep_x=self.keep_x, origin=self.origin, y_origin=self.y_origin
        )
        self.y_origin = sums.y_origin if y is not None else None
        ids = self.total.absorb(sums)
        if self.keep_x and len(self.total) * self.network.n_features * 8 > _KEEP_X_BYTES:
            self.keep_x = False
            self.total.drop_x()
        self.checker.check(x, trace, codes, ids, self.total)
        row_ids = ids[codes]
        self.rows.write(row_ids)
        self.sampler.take(x, y, weight, trace.decision, row_ids)
        self.weighted |= weight is not None
        self.n += len(x)

    @property
    def bytes_per_region(self) -> int:
        """What one more region costs in the result: its pattern, its sums and its map."""
        net = self.network
        return (net.n_bits // 8 + 1) * 2 + 8 * (net.n_features * (net.n_outputs + 1) + 3 * net.n_outputs + 6)

    def result(self, notes: Sequence[str]) -> Unwrapped:
        """Return the finished result, regions in their final order."""
        sums = self.total.sums()
        P = len(sums.count)
        left_out = () if self.keep_x else ("the mean rows of regions are left out: they would take more than 1 GB",)
        u = Unwrapped(
            network=self.network,
            patterns=Patterns(sums.packed, self.network.n_bits),
            region_of_pattern=np.arange(P, dtype=np.int32),
            sums=sums,
            sample=self.sampler.sample(),
            region_of=self.rows.array(),
            exactness=self.checker.faithfulness(),
            weighted=self.weighted,
            notes=(*notes, *left_out),
        )
        return _ordered(u, np.arange(P))


def _ordered(u: Unwrapped, region_of_old: NDArray[np.intp]) -> Unwrapped:
    """Return `u` with the regions of its sums put in order, and everything that names a region renamed.

    Parameters
    ----------
    region_of_old : (R_old,) for each region that `u.region_of_pattern` and rows name, its place in ``u.sums``.
    """
    order = np.lexsort((*_sort_keys(u.sums.packed), -u.sums.count))
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    new = rank[region_of_old]
    arrays = {name: values[order] for name, values in u.sums.per_pattern().items()}
    rows = _Spool(len(u.region_of))
    for i in range(0, len(u.region_of), 2**22):
        rows.write(new[u.region_of[i : i + 2**22]])
    patterns, region_of_pattern = u.patterns, new[u.region_of_pattern]
    keys: Any = (*_sort_keys(patterns.packed), region_of_pattern)
    by_region = np.lexsort(keys)
    return replace(
        u,
        sums=replace(u.sums, **arrays),
        patterns=patterns[by_region],
        region_of_pattern=region_of_pattern[by_region],
        region_of=rows.array(),
        sample=replace(u.sample, region=new[u.sample.region]),
    )


def _sort_keys(packed: NDArray[np.uint8]) -> list[NDArray[np.uint64]]:
    """Return keys for `numpy.lexsort` that put patterns (P, n_bytes) in the order of their bits."""
    words = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
    words[:, : packed.shape[1]] = packed
    return list(words.view(">u8").astype(np.uint64).T[::-1])


class _Spool:
    """The pattern number of each row: in memory for a table of known, moderate size, else in an unnamed file."""

    def __init__(self, n_rows: int | None, in_memory: int = 2**22) -> None:
        import tempfile

        self._parts: list[Codes] = []
        self._file = None
        if n_rows is None or n_rows > in_memory:
            with _temporary_reported():
                self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._n = 0

    def write(self, ids: Codes) -> None:
        self._n += len(ids)
        if self._file is None:
            self._parts.append(ids)
            return
        with _temporary_reported():
            self._file.write(np.ascontiguousarray(ids, dtype=np.int32).tobytes())

    def array(self) -> Codes:
        if self._file is None:
            return np.concatenate(self._parts) if self._parts else np.zeros(0, dtype=np.int32)
        with _temporary_reported():
            self._file.flush()
        if self._n == 0:
            return np.zeros(0, dtype=np.int32)
        return np.memmap(self._file, dtype=np.int32, mode="r+", shape=(self._n,))

    def close(self) -> None:
        """Let go of the file; an array that maps it keeps its rows."""
        if self._file is not None:
            # what a full disk did not take was reported when it was written
            with suppress(OSError):
                self._file.close()


@contextmanager
def _temporary_reported() -> Iterator[None]:
    """Turn what the temporary folder refuses into an `OutputError` that names the folder."""
    try:
        yield
    except OSError as problem:
        import tempfile

        where = tempfile.tempdir or "the temporary folder"
        raise OutputError(
            f"The region of each row could not be kept in a temporary file in {where}: {problem.strerror or problem}. "
            "Free some space there, or name another folder by the environment variable TMPDIR."
        ) from problem


class _Checker:
    """Compares the local linear model of each row with the network, as the rows pass."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._coef = np.empty((0, network.n_outputs, network.n_features))
        self._intercept = np.empty((0, network.n_outputs))
        self._known = 0
        self._keep = True
        self._n = 0
        self._sum = 0.0
        self._worst = (0.0, 0.0, 0)

    def check(self, x: Floats, trace: Trace, codes: Codes, ids: Codes, total: Total) -> None:
        """Raise `UnfaithfulError` unless every row's local linear model says what the network says."""
        coef, intercept, of_row = self._maps(codes, ids, total)
        net = self._network
        step = max(1, _CHECK_CELLS // (net.n_outputs * max(net.n_features, 1)))
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            at = of_row[rows]
            ours = np.einsum("nkd,nd->nk", coef[at], x[rows]) if net.n_outputs > 1 else _dot(coef[:, 0][at], x[rows])
            ours += intercept[at]
            self._compare(ours, trace.decision[rows], x[rows], start)
        self._n += len(x)

    def _maps(self, codes: Codes, ids: Codes, total: Total) -> tuple[Floats, Floats, Codes]:
        """Return maps, and for each row which one is its own."""
        net = self._network
        if self._keep and len(total) * net.n_outputs * (net.n_features + 1) * 8 > _KEEP_MAPS_BYTES:
            self._keep = False
            self._coef, self._intercept = self._coef[:0], self._intercept[:0]
        if not self._keep:
            return (*net.affine_maps(Patterns(total.packed[ids], net.n_bits)), codes)
        if len(total) > self._known:
            coef, intercept = net.affine_maps(Patterns(total.packed[self._known :], net.n_bits))
            self._coef = np.concatenate([self._coef[: self._known], coef])
            self._intercept = np.concatenate([self._intercept[: self._known], intercept])
            self._known = len(total)
        return self._coef, self._intercept, ids[codes]

    def _compare(self, ours: Floats, theirs: Floats, x: Floats, start: int) -> None:
        difference = np.abs(ours - theirs)
        relative = difference / (1 + np.abs(theirs))
        self._sum += float(difference.sum())
        largest, largest_relative, row = self._worst
        if difference.max() > largest:
            row = self._n + start + int(difference.max(axis=1).argmax())
        self._worst = (max(largest, float(difference.max())), max(largest_relative, float(relative.max())), row)
        bad = np.flatnonzero(~(relative <= TOLERANCE).all(axis=1))
        if len(bad) == 0:
            return
        allowed = self._rounding(x[bad])
        false = bad[~(difference[bad] <= allowed).all(axis=1)]
        if len(false):
            i = int(false[0])
            raise UnfaithfulError(
                f"Row {self._n + start + i}: its local linear model says {shown(ours[i])}, the network {shown(theirs[i])}; "
                f"more than rounding explains ({len(false):,} such rows in this batch). Nothing was returned. This is a "
                "defect of relucidate: please report it with the model."
            )

    def _rounding(self, x: Floats) -> Floats:
        """Return a proved bound on the rounding error of the decision of each row, twice over (n, n_outputs)."""
        from relucidate.exact import Bounds

        bounds = [Bounds(layer) for layer in self._network.layers]
        return np.stack([2 * thresholds(bounds, np.abs(row))[-1] for row in x])

    def faithfulness(self) -> Faithfulness:
        """Return what was found over all rows."""
        largest, relative, row = self._worst
        mean = self._sum / max(self._n * self._network.n_outputs, 1)
        return Faithfulness(largest, mean, relative, row, None, self._n, "the network")


def _dot(a: Floats, b: Floats) -> Floats:
    return np.einsum("nd,nd->n", a, b)[:, None]


def _equal_maps(coef: Floats, intercept: Floats, scale: Floats, tolerance: float) -> NDArray[np.intp]:
    """Return a label (R,) per map; maps that differ by less than `tolerance` over ``|x| <= scale`` share one."""
    flat = np.concatenate([(coef * scale).reshape(len(coef), -1), intercept], axis=1)
    size = 1 + np.abs(flat).max(axis=1)
    # sort along one fixed direction: equal maps are neighbours there, and only neighbours are compared in full
    direction = np.cos(np.arange(1, flat.shape[1] + 1) * math.e)
    key = flat @ direction
    order = np.argsort(key, kind="stable")
    # the key of a map itself rounds
    reach = (tolerance + flat.shape[1] * 2.0**-50) * size * np.abs(direction).sum()
    label = np.full(len(flat), -1, dtype=np.intp)
    leaders: list[int] = []
    oldest = 0
    for i in order:
        while oldest < len(leaders) and key[i] - key[leaders[oldest]] > reach[i] + reach[leaders[oldest]]:
            oldest += 1
        near = np.array(leaders[oldest:], dtype=np.intp)
        close = np.flatnonzero(np.abs(flat[near] - flat[i]).max(axis=1) <= tolerance * size[i]) if len(near) else near
        if len(close):
            label[i] = label[near[close[0]]]
        else:
            label[i] = len(leaders)
            leaders.append(int(i))
    return label


_COMPARED_ROWS = 256  # on which two networks are compared


def table_of(u: Unwrapped, X: Any, y: Any, verb: str) -> Unwrapped:
    """Return the rows with a response that a verb looks at: those of `u`, or another table unwrapped with its network.

    Raises
    ------
    ArgumentError : `u` is no result of `unwrap`, X was unwrapped with another network or its regions were joined, y is
        given twice or without X, or there is no response.
    """
    u = unwrapped(u)
    if X is None and y is not None:
        raise ArgumentError("y is given without X. Give the table that it belongs to.")
    if isinstance(X, Unwrapped) and y is not None:
        raise ArgumentError("y is given twice: with X, which was unwrapped with its response, and as y. Leave y out.")
    other = u if X is None else X if isinstance(X, Unwrapped) else unwrap(u.network, X, y)
    refuse_other_network(u, other, "X")
    if other is not u and other.n_regions != len(other.patterns):
        raise ArgumentError(
            "X is a result whose equal regions were joined, so that the rows of each pattern are not known. Give the table "
            "itself."
        )
    if not other.has_y:
        raise ArgumentError(f"{verb} compares with a response, and there is none. Unwrap with y, or give X and y.")
    return other


def refuse_other_network(u: Unwrapped, other: Unwrapped, name: str) -> None:
    """Refuse a table that was unwrapped with another network than `u`.

    Raises
    ------
    ArgumentError : it is one.
    """
    a, b = u.network, other.network
    same = (a.n_bits, a.n_features, a.n_outputs, a.link) == (b.n_bits, b.n_features, b.n_outputs, b.link)
    if same and a is not b:
        rows = slice(0, _COMPARED_ROWS)
        ours, theirs = a.decision(other.sample.x[rows]), other.sample.decision[rows]
        same = bool((np.abs(ours - theirs) <= 1e-6 * (1 + np.abs(theirs))).all())
    if not same:
        raise ArgumentError(f"{name} was unwrapped with another network. Unwrap it with that of u.")
    if u.has_y and other.has_y and a.classes != b.classes:
        known, taken = (shown(n.classes or range(max(n.n_outputs, 2)), 12) for n in (a, b))
        raise ArgumentError(
            f"The network names no classes, so that those of {name} were taken from its labels: {taken}; those of u are {known}. "
            "Unwrap it with u.network, which knows them."
        )
