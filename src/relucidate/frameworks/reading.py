"""What a framework's reader is asked for, and what it hands back to be proved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from relucidate.errors import ArgumentError
from relucidate.features import Features, as_matrix, is_table
from relucidate.layers import Floats, is_sparse
from relucidate.network import Network


@dataclass(frozen=True, eq=False)
class Options:
    """What `load` was given besides the model; each reader refuses what means nothing to it.

    Parameters
    ----------
    link, feature_names, inputs, output, architecture, normalise : as in `load`; None or False if not given.
    """

    link: str | None = None
    feature_names: Sequence[str] | None = None
    inputs: Sequence[str] | None = None
    output: str | None = None
    architecture: Any = None
    normalise: bool = False

    def refuse(self, what: str, *names: str) -> None:
        """Raise `ArgumentError` if one of the named options was given, since it means nothing for `what`.

        Raises
        ------
        ArgumentError : one was given.
        """
        for name in names:
            value = getattr(self, name)
            if value is not None and value is not False:
                raise ArgumentError(f"{name}={value!r} means nothing for {what}; leave it out.")


@dataclass(frozen=True, eq=False)
class Original:
    """Something that the network must equal.

    Parameters
    ----------
    name : with its version: "scikit-learn 1.9.1", "onnxruntime 1.32.0", "node-by-node evaluation in float64".
    output : takes a probe as the reader made it or as the user gave it, gives (n, n_outputs) on the scale that `on`
        names; for a binary network the probability of the positive class only.
    on : which of the network's answers it is compared with.
    tolerance : largest ``|difference| / (1 + |value|)`` allowed, or a function of the probe that gives it for each
        of the (n, n_outputs) values (single precision loses more on some rows than on others).
    single : True if it takes its inputs in float32; the probe's numbers are then rounded before either is asked.
    may_overflow : True if it computes in float32, whose range some rows may leave; these are not compared with it. Only
        for an original beside another that computes in float64.
    """

    name: str
    output: Callable[[Any], Floats]
    on: Literal["predict", "decision"]
    tolerance: float | Callable[[Any], float | Floats]
    single: bool = False
    may_overflow: bool = False


@dataclass(frozen=True, eq=False)
class Reading:
    """A network that was read and is still to be proved.

    Parameters
    ----------
    network : what was read.
    originals : what it must equal, the most authoritative first; at least one.
    probe : table or array in the user's columns, 256 rows or more, on which they are compared.
    """

    network: Network
    originals: tuple[Original, ...]
    probe: Any


def columns_of(features: Features, X: Any) -> list[np.ndarray[Any, Any]]:
    """Return the columns of a table or array, matched to `features.columns`, each as an array (n,)."""
    if not is_table(X):
        array = as_matrix(X, len(features.columns))
        return [array[:, j] for j in range(array.shape[1])]
    import narwhals.stable.v2 as nw

    frame = nw.from_native(X, eager_only=True)
    index, _ = features.matched(frame.columns)
    return [np.asarray(frame.get_column(frame.columns[i]).to_numpy()) for i in index]


def rounded(X: Any) -> Any:
    """Return a table or array with its fractional numbers rounded to float32, held as before."""
    if is_table(X):
        import narwhals.stable.v2 as nw

        frame = nw.from_native(X, eager_only=True)
        wide = [c for c in frame.columns if frame.get_column(c).dtype == nw.Float64]
        return frame.with_columns(nw.col(c).cast(nw.Float32).cast(nw.Float64) for c in wide).to_native() if wide else X
    array = np.asarray(X)
    return array.astype(np.float32).astype(np.float64) if array.dtype.kind == "f" else array


def probe_rows(network: Network, centre: Any = 0.0, spread: Any = 1.0, n: int = 512, seed: int = 0) -> Floats:
    """Return encoded rows (n, n_features) that cross many regions of the network.

    Parameters
    ----------
    centre, spread : of each feature in the user's units: a number, or (n_features,).

    Notes
    -----
    A third of the rows lies around the centre at scales from 1/8 to 8 spreads, evenly in logarithm. Two thirds are such
    rows moved, along the gradient of a first-layer neuron, just below or just above one of its breakpoints.
    """
    rng = np.random.default_rng(seed)
    d = network.n_features
    centre = np.broadcast_to(np.asarray(centre, dtype=np.float64), (d,))
    spread = np.broadcast_to(np.asarray(spread, dtype=np.float64), (d,))
    scale = 2.0 ** rng.uniform(-3, 3, size=(n, 1))
    rows = centre + spread * scale * rng.standard_normal((n, d))
    rows[0] = centre
    first = network.layers[0]
    neurons, k = first.activation.switches
    moved = np.arange(n // 3 + 1, n)
    if len(neurons) and len(moved):
        pick = rng.integers(len(neurons), size=len(moved))
        neuron, at = neurons[pick], first.activation.breakpoints[neurons[pick], k[pick]]
        weight: Any = first.weight
        w = weight[neuron].toarray() if is_sparse(weight) else weight[neuron]
        direction = w * spread**2
        steep = (w * direction).sum(axis=1)
        side = rng.choice([-1.0, 1.0], size=len(moved)) * 10.0 ** rng.uniform(-6, -1, size=len(moved))
        gap = at - ((rows[moved] * w).sum(axis=1) + first.bias[neuron]) + side * np.sqrt(steep)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(steep > 0, gap / steep, 0.0)
        # a breakpoint that is absurdly far away says nothing, and would leave the range of float32
        step = np.where(np.abs(step) * np.sqrt(steep) < 1e4, step, 0.0)
        rows[moved] += step[:, None] * direction
    # weights out of all proportion can ask for points that float32 cannot hold
    return np.clip(np.nan_to_num(rows), -1e30, 1e30)


def scale_of(network: Network) -> tuple[Floats, Floats]:
    """Return centre and spread of the inputs, judged by the first layer.

    The centre is the point nearest to all hyperplanes of its neurons (behind a scaler, about the training mean); the
    spread is what moves a neuron by about 1.
    """
    first = network.layers[0]
    weight: Any = first.weight
    d = weight.shape[1]
    squares = weight.multiply(weight).sum(axis=0) if is_sparse(weight) else (weight**2).sum(axis=0)
    size = np.sqrt(np.asarray(squares).ravel() / max(1, weight.shape[0]))
    spread = np.where(size > 0, 1 / np.where(size > 0, size, 1.0), 1.0) / np.sqrt(d)
    centre = np.zeros(d)
    if not is_sparse(weight) and weight.size <= 2_000_000:
        scaled = weight * spread
        centre = spread * np.linalg.lstsq(scaled, -first.bias, rcond=1e-8)[0]
    return centre, spread


def probe_table(features: Features, rows: Floats, seed: int = 0, missing_share: float = 0.1) -> Any:
    """Return the rows (n, n_features) as the user's columns: levels drawn anew, gaps where the network imputes.

    Returns
    -------
    An array (n, n_columns) for plain features, else a pandas DataFrame with the columns of `features`.

    Notes
    -----
    Values of a "value" feature are kept; a column that only has indicators gets one of its levels in each row. Where
    the network imputes, a share of the cells is left empty, the first row's among them.
    """
    if features.is_plain:
        return rows
    import pandas as pd

    rng = np.random.default_rng(seed)
    n = len(rows)
    known = dict(features.known)
    table: dict[str, Any] = {column: np.zeros(n) for column in features.columns}
    for column, members in features.groups:
        items = [features.items[j] for j in members]
        levels = list(dict.fromkeys([v for f in items for v in f.levels] + list(known.get(column, ()))))
        value = next((rows[:, j] for j, f in zip(members, items, strict=True) if f.kind == "value"), None)
        imputes = any(f.impute is not None or f.kind == "missing" for f in items)
        if levels:
            drawn = [levels[i] for i in rng.integers(len(levels), size=n)]
            is_text = any(isinstance(v, str) for v in levels)
            cells: Any = np.array(drawn, dtype=object if is_text else np.float64)
        else:
            cells = np.zeros(n) if value is None else value.copy()
        if imputes:
            gaps = rng.random(n) < missing_share
            gaps[0] = True
            cells[gaps] = None if cells.dtype == object else np.nan
        table[column] = cells
    return pd.DataFrame(table, columns=list(features.columns))
