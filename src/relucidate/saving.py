"""Results as folders of Parquet and JSON files, which load back identical.

A folder holds ``summary.json`` (what a person or a program reads first), ``regions.parquet`` (the region table),
``assignments.parquet`` (the region of each row) and ``state.parquet`` (every array, bit for bit). Nothing in it is code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from relucidate.errors import DataError, clipped
from relucidate.features import Feature, Features
from relucidate.layers import Activation, Layer, is_sparse
from relucidate.network import Faithfulness, Network, Patterns, Provenance
from relucidate.outputs import atomic_folder
from relucidate.sampling import Sample
from relucidate.sums import Moments, Sums

if TYPE_CHECKING:
    from relucidate.unwrapping import Unwrapped

SCHEMA = "relucidate.unwrapped/1"
_ASSIGNMENT_ROWS = 2**20


def save(u: Unwrapped, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write `u` to the folder `path` and return it; the folder appears whole or not at all."""
    with atomic_folder(path, overwrite=overwrite) as folder:
        write(u, folder)
    return Path(path)


def write(u: Unwrapped, folder: Path) -> None:
    """Write the files of `u` into a folder that exists."""
    _write_regions(u, folder / "regions.parquet")
    _write_assignments(u, folder / "assignments.parquet")
    _write_arrays(dict(_arrays(u)), folder / "state.parquet")
    document = {**summary(u), "state": _state(u)}
    (folder / "summary.json").write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")


def summary(u: Unwrapped) -> dict[str, Any]:
    """Return what `summary.json` says to people: sizes, exactness, scores, the network."""
    from relucidate import __version__

    net = u.network
    return {
        "schema": SCHEMA,
        "relucidate": __version__,
        "rows": u.n_rows,
        "regions": u.n_regions,
        "patterns": len(u.patterns),
        "single_row_regions": int((u.count == 1).sum()),
        "effective_regions": u.effective_regions,
        "constant": u.is_constant,
        "exactness": asdict(u.exactness),
        "scores": {name: value if math.isfinite(value) else None for name, value in u.scores.items()},
        "scores_on": len(u.sample.row),
        "notes": list(u.notes),
        "network": describe(net),
    }


def describe(net: Network) -> dict[str, Any]:
    """Return what a network is, as JSON values."""
    return {
        "source": net.provenance.source,
        "path": net.provenance.path,
        "sha256": net.provenance.sha256,
        "operators": dict(net.provenance.operators),
        "notes": list(net.provenance.notes),
        "inputs": net.n_features,
        "outputs": list(net.outputs),
        "link": net.link,
        "classes": list(net.classes),
        "columns": list(net.features.columns),
        "named": net.features.named,
        "features": list(net.feature_names),
        "layers": [
            {
                "name": layer.name,
                "inputs": layer.weight.shape[1],
                "neurons": layer.weight.shape[0],
                "activation": list(layer.activation.names),
                "switches": layer.activation.n_bits,
                "parameters": layer.n_parameters,
            }
            for layer in net.layers
        ],
        "neurons": net.n_neurons,
        "parameters": net.n_parameters,
        "proof": None if net.faithfulness is None else asdict(net.faithfulness),
    }


def load(path: str | Path) -> dict[str, Any]:
    """Return the fields of the `Unwrapped` that `save` wrote to the folder `path`."""
    folder = Path(path)
    document = _document(folder)
    arrays = _read_arrays(folder / "state.parquet")

    def group(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}

    try:
        state = document["state"]
        network = _network(state, arrays)
        moments = group("moments.")
        return {
            "network": network,
            "patterns": Patterns(arrays["patterns"], network.n_bits),
            "region_of_pattern": arrays["region_of_pattern"],
            "sums": Sums(moments=Moments(**moments) if moments else None, **group("sums.")),
            "sample": Sample(n=state["sample_n"], **group("sample.")),
            "region_of": _read_assignments(folder / "assignments.parquet"),
            "exactness": Faithfulness(**document["exactness"]),
            "weighted": state["weighted"],
            "notes": tuple(document["notes"]),
        }
    except (KeyError, TypeError, IndexError) as problem:
        raise DataError(
            f"{folder} is damaged: {clipped(problem)} is not as it was written. Unwrap the table again."
        ) from problem


def _document(folder: Path) -> dict[str, Any]:
    file = folder / "summary.json"
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder} holds no summary.json; expected a folder written by Unwrapped.save.") from None
    except (OSError, ValueError) as problem:
        raise DataError(f"{file} cannot be read ({clipped(problem)}). Unwrap the table again.") from problem
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise DataError(
            f"{file} has the schema {clipped(schema)}; this version of relucidate reads {SCHEMA!r}. Read it with the "
            "version that wrote it, or unwrap the table again."
        )
    return document


# -------------------------------------------------------------------- tables for people


def _write_regions(u: Unwrapped, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(u.table(), preserve_index=True)
    pq.write_table(table.replace_schema_metadata(None), path)


def _write_assignments(u: Unwrapped, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("region", pa.int32())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, max(len(u.region_of), 1), _ASSIGNMENT_ROWS):
            part = np.ascontiguousarray(u.region_of[start : start + _ASSIGNMENT_ROWS])
            writer.write_table(pa.table({"region": part}, schema=schema))


def _read_assignments(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=["region"])["region"].to_numpy().astype(np.int32)


# -------------------------------------------------------------------- every array, bit for bit


def _arrays(u: Unwrapped) -> Iterator[tuple[str, Any]]:
    yield "patterns", u.patterns.packed
    yield "region_of_pattern", u.region_of_pattern
    yield from ((f"sums.{name}", a) for name, a in u.sums.per_pattern().items())
    yield "sums.y_origin", u.sums.y_origin
    if u.sums.moments is not None:
        m = u.sums.moments
        yield from (("moments.origin", m.origin), ("moments.zz", m.zz), ("moments.zy", m.zy), ("moments.yy", m.yy))
    s = u.sample
    parts = {"row": s.row, "x": s.x, "decision": s.decision, "region": s.region, "y": s.y, "weight": s.weight}
    yield from ((f"sample.{name}", a) for name, a in parts.items() if a is not None)
    for i, layer in enumerate(u.network.layers):
        weight: Any = layer.weight
        if is_sparse(weight):
            yield from ((f"layer{i}.weight.{k}", getattr(weight, k)) for k in ("data", "indices", "indptr"))
        else:
            yield f"layer{i}.weight", weight
        yield f"layer{i}.bias", layer.bias
        a = layer.activation
        yield from ((f"layer{i}.{k}", getattr(a, k)) for k in ("breakpoints", "slopes", "offsets"))


def _write_arrays(arrays: dict[str, Any], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [("name", pa.string()), ("dtype", pa.string()), ("shape", pa.list_(pa.int64())), ("data", pa.large_binary())]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for name, array in arrays.items():
            plain = np.ascontiguousarray(array)
            little = plain.astype(plain.dtype.newbyteorder("<"), copy=False)
            row = {
                "name": [name],
                "dtype": [little.dtype.str],
                "shape": [list(array.shape)],
                "data": [little.tobytes()],
            }
            writer.write_table(pa.table(row, schema=schema))


def _read_arrays(path: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = {}
    try:
        with pq.ParquetFile(path) as file:
            for i in range(file.num_row_groups):
                row = file.read_row_group(i)
                kind = np.dtype(row["dtype"][0].as_py())
                if kind.hasobject:
                    raise DataError(f"{path} declares an array of objects; it was not written by relucidate.")
                array = np.frombuffer(row["data"][0].as_buffer(), dtype=kind)
                out[row["name"][0].as_py()] = array.reshape(row["shape"][0].as_py()).copy()
    except (OSError, pa.ArrowException, ValueError, TypeError, KeyError) as problem:
        raise DataError(f"{path} cannot be read ({clipped(problem)}). Unwrap the table again.") from problem
    return out


def _state(u: Unwrapped) -> dict[str, Any]:
    """Return what is not an array and is needed to load the result back."""
    net = u.network
    return {
        "link": net.link,
        "classes": list(net.classes),
        "outputs": list(net.outputs),
        "features": [asdict(f) for f in net.features.items],
        "columns": list(net.features.columns),
        "named": net.features.named,
        "known": [[name, list(levels)] for name, levels in net.features.known],
        "provenance": asdict(net.provenance),
        "faithfulness": None if net.faithfulness is None else asdict(net.faithfulness),
        "layers": [{"name": layer.name, "shape": list(layer.weight.shape)} for layer in net.layers],
        "sample_n": u.sample.n,
        "weighted": u.weighted,
    }


def _network(state: dict[str, Any], arrays: dict[str, Any]) -> Network:
    layers = []
    for i, about in enumerate(state["layers"]):
        key = f"layer{i}"
        if f"{key}.weight" in arrays:
            weight = arrays[f"{key}.weight"]
        else:
            from scipy.sparse import csr_array

            parts = tuple(arrays[f"{key}.weight.{k}"] for k in ("data", "indices", "indptr"))
            weight = csr_array(parts, shape=tuple(about["shape"]))
        activation = Activation(*(arrays[f"{key}.{k}"] for k in ("breakpoints", "slopes", "offsets")))
        layers.append(Layer(weight, arrays[f"{key}.bias"], activation, about["name"]))
    features = Features(
        tuple(Feature(**{**f, "levels": tuple(f["levels"])}) for f in state["features"]),
        tuple(state["columns"]),
        state["named"],
        tuple((name, tuple(levels)) for name, levels in state["known"]),
    )
    p = state["provenance"]
    return Network(
        tuple(layers),
        features,
        state["link"],
        tuple(state["classes"]),
        tuple(state["outputs"]),
        Provenance(**{**p, "operators": tuple(map(tuple, p["operators"])), "notes": tuple(p["notes"])}),
        None if state["faithfulness"] is None else Faithfulness(**state["faithfulness"]),
    )
