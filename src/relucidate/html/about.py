"""What the page says of the network and the table: layers, exactness, and what makes the page again."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from relucidate.html.parts import Chapter, Finding, Part, plain
from relucidate.html.regions import quantity
from relucidate.html.subject import Subject
from relucidate.network import Network
from relucidate.unwrapping import Unwrapped
from relucidate.words import Name, count, name, percent, power

_DIGEST_ROWS = 2**22
_NOTES = 40
_COMMAND_LINES = 100


def about(s: Subject) -> Chapter:
    """Return the chapter on the network and the table."""
    return Chapter(
        "about",
        "The network and the table",
        "What was read, how exactly it was unwrapped, and what makes this page again.",
        [
            Part("reading", "How to read this page", _reading(s.u)),
            Part("network", "The network", _network(s.net), findings=list(_proved(s.net))),
            Part("exactness", "Exactness", _exactness(s.u), facts=plain(s.u.exactness)),
            Part("reproduction", "Reproduction", _reproduction(s, of := _identity(s)), facts=of),
        ],
    )


@dataclass(frozen=True)
class Reading:
    """What a coefficient is per unit of, and whether several outputs share a free constant."""

    quantity: str
    softmax: bool
    binary: str


def _reading(u: Unwrapped) -> Reading:
    net = u.network
    positive = ""
    if net.link == "logit" and net.n_outputs == 1:
        positive = name(net.classes[1], 40).short if net.classes else "the positive class"
    return Reading(quantity(u), net.link == "softmax", positive)


@dataclass(frozen=True)
class NetworkContent:
    """Layers as rows (name, inputs, neurons, kinds, switches, parameters), further facts, notes."""

    layers: list[tuple[Name, str, str, str, str, str]]
    total: tuple[str, str, str]
    facts: list[tuple[str, str]]
    notes: list[str]
    n_hidden_layers: int


_LAYERS = 40


def _network(net: Network) -> NetworkContent:
    layers = [
        (
            name(layer.name or f"layer {i + 1}", 40),
            count(layer.weight.shape[1]),
            count(layer.weight.shape[0]),
            ", ".join(layer.activation.names),
            count(layer.activation.n_bits),
            count(layer.n_parameters),
        )
        for i, layer in enumerate(net.layers)
    ]
    neurons = count(sum(layer.weight.shape[0] for layer in net.layers))
    return NetworkContent(
        layers=layers if len(layers) <= _LAYERS else [*layers[: _LAYERS - 1], layers[-1]],
        total=(neurons, count(net.n_bits), count(net.n_parameters)),
        facts=list(_network_facts(net)),
        notes=[name(note, 400).short for note in net.provenance.notes[:_NOTES]],
        n_hidden_layers=max(len(layers) - _LAYERS, 0),
    )


def _network_facts(net: Network) -> list[tuple[str, str]]:
    facts = [("Link", _link(net))]
    if net.classes:
        facts.append(("Classes", _listed(net.classes)))
    if net.n_outputs > 1:
        facts.append(("Outputs", _listed(net.outputs)))
    facts.append(("Features", _listed(net.feature_names)))
    if net.provenance.operators:
        facts.append(("Operators", ", ".join(f"{name(op).short} × {n}" for op, n in net.provenance.operators)))
    proof = net.faithfulness
    if proof is None:
        facts.append(("Proof", "none: the network was given as weights and compared with nothing"))
        return facts
    agreement = "" if proof.agreement is None else f"; same decision on {percent(proof.agreement)}"
    facts.append(
        (
            "Proof",
            f"equal to {name(proof.against, 80).short} on {count(proof.n)} probe points: largest difference "
            f"{power(proof.max_difference)}, mean {power(proof.mean_difference)}, relative "
            f"{power(proof.max_relative)}{agreement}",
        )
    )
    return facts


def _listed(values: Sequence[Any], limit: int = 12) -> str:
    shown = ", ".join(name(v, 32).short for v in values[:limit])
    return shown + (f" and {len(values) - limit:,} more" if len(values) > limit else "")


def _link(net: Network) -> str:
    return {
        "identity": "none: the local linear models give the prediction itself",
        "logit": "logit: the local linear models give the log-odds; the probability is 1 / (1 + exp(−logit))",
        "softmax": "softmax: the local linear models give a logit per class; probabilities are their softmax",
        "log": "log: the local linear models give the logarithm of the prediction",
    }[net.link]


@dataclass(frozen=True)
class Exactness:
    """Figures of the check on every row."""

    facts: list[tuple[str, str]]


def _exactness(u: Unwrapped) -> Exactness:
    e = u.exactness
    return Exactness(
        [
            ("Rows compared", f"{count(e.n)}: every row"),
            ("Largest difference", power(e.max_difference)),
            ("Mean difference", power(e.mean_difference)),
            ("Largest relative difference", f"{power(e.max_relative)} of 1 + |value|"),
            ("Row of the largest difference", f"{count(e.worst_row)} (the first row is 0)"),
        ]
    )


@dataclass(frozen=True)
class Reproduction:
    """The command or call, and what identifies the inputs and the result."""

    command: str
    facts: list[tuple[str, str]]


def _identity(s: Subject) -> dict[str, Any]:
    """Return what tells this page's inputs and result from others: versions and hashes."""
    from relucidate import __version__

    return {
        "versions": {"relucidate": __version__, "numpy": np.__version__, "python": platform.python_version()},
        "files": [{"name": Path(file).name, "sha256": _file_digest(file)} for file in s.files],
        "model_sha256": s.net.provenance.sha256 or None,
        "weights_sha256": _weights_digest(s.net),
        "regions_sha256": _result_digest(s.u),
        "rows_kept": len(s.u.sample.row),
        "command": s.reproduce,
    }


def _reproduction(s: Subject, of: dict[str, Any]) -> Reproduction:
    kept = s.u.sample
    randomness = (
        "none: every row was kept"
        if kept.is_complete
        else f"the importance and some scores use {count(len(kept.row))} of {count(kept.n)} rows, chosen by random_state"
    )
    facts = [
        ("Versions", ", ".join(f"{tool} {version}" for tool, version in of["versions"].items())),
        *((f"{name(file['name'], 60).short}, SHA-256", file["sha256"]) for file in of["files"]),
        ("Model, SHA-256", of["model_sha256"] or "no file"),
        ("Weights, SHA-256", of["weights_sha256"]),
        ("Regions, SHA-256", of["regions_sha256"]),
        ("Randomness", randomness),
    ]
    lines = [] if s.reproduce is None else s.reproduce.splitlines()[:_COMMAND_LINES]
    return Reproduction("\n".join(name(line, 2000).short if line else "" for line in lines), facts)


def _proved(net: Network) -> Iterator[Finding]:
    """Yield what is known of the network's being the original."""
    proof = net.faithfulness
    if proof is None:
        yield Finding(
            0.75,
            "The network was given as weights: that it equals the model in use was not compared.",
            "network",
            "doubt",
        )


def _file_digest(file: str | Path) -> str:
    """Return the hash of a file's bytes."""
    with Path(file).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _weights_digest(net: Network) -> str:
    """Return a hash of the canonical network: layer by layer shapes, weights, biases and activations."""
    digest = hashlib.sha256()
    for layer in net.layers:
        weight: Any = layer.weight
        a = layer.activation
        parts = (weight.data, weight.indices, weight.indptr) if hasattr(weight, "indptr") else (weight,)
        digest.update(repr(weight.shape).encode())
        for part in (*parts, layer.bias, a.breakpoints, a.slopes, a.offsets):
            kind = "<f8" if part.dtype.kind == "f" else "<i8"
            digest.update(np.ascontiguousarray(part).astype(kind).tobytes())
    return digest.hexdigest()


def _result_digest(u: Unwrapped) -> str:
    """Return a hash of the distinct patterns, their counts, and the region of every row."""
    digest = hashlib.sha256(np.ascontiguousarray(u.sums.packed).tobytes())
    digest.update(u.count.astype("<i8").tobytes())
    for start in range(0, len(u.region_of), _DIGEST_ROWS):
        digest.update(np.asarray(u.region_of[start : start + _DIGEST_ROWS]).astype("<i4").tobytes())
    return digest.hexdigest()
