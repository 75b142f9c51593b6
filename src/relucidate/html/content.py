"""The sections of the page, as values that the templates only lay out."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from relucidate.html import pictures
from relucidate.html.effects import effects
from relucidate.html.regions import (
    LEVELS,
    MAX_OUTPUTS,
    Importance,
    RegionTable,
    feature_importance,
    quantity,
    region_table,
)
from relucidate.html.simplification import in_short, simplification
from relucidate.html.words import Name, count, name, number, percent, plural, power
from relucidate.network import Network
from relucidate.simplified import Simplified
from relucidate.unwrapping import Unwrapped

_SCORES = {"auc": "AUC", "log_loss": "log-loss", "mse": "MSE", "r2": "R²"}
_DIGEST_ROWS = 2**22
_NOTES = 40
_COMMAND_LINES = 100


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Parameters
    ----------
    id : anchor, and the name of its template in ``sections/``. heading : in words. content : what that lays out.
    """

    id: str
    heading: str
    content: Any


@dataclass(frozen=True)
class Page:
    """Everything that the page shows.

    Parameters
    ----------
    title : of the page. subtitle : model and table. facts : (value, what it is). sentences : the result in words.
    sections : in order. data : for the script.
    """

    title: str
    subtitle: list[tuple[str, Name]]
    facts: list[tuple[str, str]]
    sentences: list[str]
    notes: list[str]
    sections: list[Section]
    data: dict[str, Any]


def page(u: Unwrapped, title: str | None, reproduce: str | None, simplified: Simplified | None = None) -> Page:
    """Return the content of the report on `u`."""
    importance = feature_importance(u, min(u.network.n_outputs, MAX_OUTPUTS))
    regions = region_table(u, importance)
    sections = [
        Section("reading", "How to read this page", _reading(u)),
        Section("network", "The network", _network(u.network)),
        Section("exactness", "Exactness", _exactness(u)),
    ]
    if u.n_regions > 1:
        sections.append(Section("spread", "How the rows spread over regions", _spread(u)))
    sections.append(Section("importance", "Importance of the features", _importance(u, importance)))
    if u.n_regions > 1:
        sections.append(Section("effects", "How the decision changes with each feature", effects(u, importance)))
    if simplified is not None:
        content = simplification(u, simplified, importance.sd)
        sections.append(Section("simplification", "A few models in place of many", content))
    sections += [
        Section("regions", "The regions and their models", _regions(regions)),
        Section("reproduction", "Reproduction", _reproduction(u, reproduce)),
    ]
    return Page(
        title=name(title or f"Local linear models of {_model_name(u.network)}", 120).short,
        subtitle=_subtitle(u),
        facts=_facts(u),
        sentences=_sentences(u) + ([] if simplified is None else [in_short(simplified)]),
        notes=[name(note, 300).short for note in u.notes[:_NOTES]],
        sections=sections,
        data={"regions": regions.data(), "levels": LEVELS},
    )


# ---------------------------------------------------------------- head


def _model_name(net: Network) -> str:
    path = net.provenance.path.replace("\\", "/").rstrip("/")
    return path.rsplit("/", 1)[-1] or "a network"


def _subtitle(u: Unwrapped) -> list[tuple[str, Name]]:
    p, net = u.network.provenance, u.network
    lines = [("Model", name(_kind(net), 200))]
    if p.path:
        lines.append(("File", name(_model_name(net), 90)))
    if p.sha256:
        lines.append(("SHA-256", name(p.sha256, 80)))
    response = "with a response" if u.has_y else "without a response"
    weights = ", weighted" if u.weighted else ""
    table = f"{plural(u.n_rows, 'row')}, {plural(len(net.features.columns), 'input column')}, {response}{weights}"
    return [*lines, ("Table", name(table, 200))]


def _kind(net: Network) -> str:
    task = "classification" if net.is_classifier else "regression"
    widths = [net.n_features, *(layer.weight.shape[0] for layer in net.layers)]
    shown = widths if len(widths) <= 12 else [*widths[:6], "…", *widths[-5:]]
    return f"{net.provenance.source}; {task}; {' → '.join(str(w) for w in shown)}"


def _holding(u: Unwrapped, level: float) -> int:
    """Return how many of the largest regions hold `level` of the rows."""
    total = np.cumsum(np.sort(u.share)[::-1])
    return min(int(np.searchsorted(total, level - 1e-9)) + 1, u.n_regions)


def _facts(u: Unwrapped) -> list[tuple[str, str]]:
    single = int((u.count == 1).sum())
    facts = [(count(u.n_rows), "rows" if u.n_rows != 1 else "row")]
    if u.n_regions == 1:
        facts.append(("1", "linear model"))
    else:
        facts.append((count(u.n_regions), "local linear models"))
        facts.append((count(_holding(u, 0.5)), "of them hold half of the rows"))
        facts.append((count(single), "of them rest on a single row"))
    facts.append((power(u.exactness.max_difference), "largest difference from the network"))
    return facts + [(f"{value:.4f}", _SCORES.get(key, key)) for key, value in u.scores.items()]


def _sentences(u: Unwrapped) -> list[str]:
    n, r, proof = u.n_rows, u.n_regions, u.network.faithfulness
    single, small = int((u.count == 1).sum()), int((u.count < 30).sum())
    out = []
    if proof is not None:
        out.append(
            f"The network as read was compared with {name(proof.against, 80).short} on {count(proof.n)} probe points: "
            f"they differ by at most {power(proof.max_difference)}."
        )
    if r == 1:
        out.append(f"All {plural(n, 'row')} use one and the same linear model.")
    else:
        half, most = _holding(u, 0.5), _holding(u, 0.95)
        out.append(f"The {plural(n, 'row')} use {count(r)} local linear models, each in its own region.")
        out.append(
            f"Half of the rows lie in {_of_them(half)}, 95 % in {count(most)}; the largest holds {percent(u.share[0])}."
        )
        if single == r:
            out.append("Every region holds a single row: this table can neither confirm nor contradict its model.")
        elif single:
            rest = "rests" if single == 1 else "rest"
            out.append(
                f"{count(single)} of the models {rest} on a single row and {count(small)} on fewer than 30: this table "
                "says little about whether these are right."
            )
        elif small:
            out.append(f"{count(small)} of the models rest on fewer than 30 rows: this table says little about them.")
    if u.is_constant:
        out.append(f"The network gives the same value on all {plural(n, 'row')}: it does not look at its input.")
    out.append(
        f"On every row the local linear model was compared with the network: they differ by at most "
        f"{power(u.exactness.max_difference)}."
    )
    if u.scores:
        scores = ", ".join(f"{_SCORES.get(key, key)} {value:.4f}" for key, value in u.scores.items())
        out.append(f"Score of the network on these rows{u.sample.caveat}: {scores}.")
    return out


def _of_them(n: int) -> str:
    return "one of them" if n == 1 else f"{n:,} of them"


# ---------------------------------------------------------------- sections


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
class Spread:
    """Pictures of how rows spread over regions; `cumulative` is None for fewer than three regions."""

    cumulative: Markup | None
    sizes: Markup
    effective: str
    weighted: bool


def _spread(u: Unwrapped) -> Spread:
    picture, _ = pictures.sizes(u.count, u.share)
    curve = pictures.cumulative(u.share) if u.n_regions >= 3 else None
    return Spread(curve, picture, number(u.effective_regions, 3), u.weighted)


@dataclass(frozen=True)
class ImportanceContent:
    """A picture per output shown (output, picture or None if constant), and what they rest on."""

    pictures: list[tuple[Name, Markup | None]]
    n_outputs: int
    rows: str
    quantity: str
    centred: bool


_BARS = 12


def _importance(u: Unwrapped, importance: Importance) -> ImportanceContent:
    names = u.network.feature_names
    drawn: list[tuple[Name, Markup | None]] = []
    for output, share in zip(u.network.outputs, importance.share, strict=False):
        order = np.argsort(-share, kind="stable")
        shown = order[: _BARS if len(order) > _BARS + 2 else len(order)]
        others = len(order) - len(shown)
        rest = (others, max(float(1 - share[shown].sum()), 0.0)) if others else None
        bars = [name(names[j], 22) for j in shown]
        picture = pictures.importance(bars, [float(share[j]) for j in shown], rest) if share.any() else None
        drawn.append((name(output), picture))
    n, all_rows = importance.n_rows, u.n_rows
    rows = f"all {count(n)} rows" if n == all_rows else f"a sample of {count(n)} of the {count(all_rows)} rows"
    return ImportanceContent(drawn, u.network.n_outputs, rows, quantity(u), u.network.link == "softmax")


@dataclass(frozen=True)
class RegionsContent:
    """The region table and the sentences that say what it leaves out."""

    table: RegionTable
    shown: str
    columns: str
    outputs: str
    scale: str
    swatches: list[str]


def _regions(table: RegionTable) -> RegionsContent:
    if table.n_shown < table.n:
        shown = (
            f"{count(table.n_shown)} of {count(table.n)} regions are in this page, the largest; they hold "
            f"{percent(table.share_shown)} of the rows. "
        )
    else:
        shown = f"All {plural(table.n, 'region')} are in this page. " if table.n > 1 else "There is one region. "
    in_table = sum(c.kind == "coef" for c in table.columns)
    columns = ""
    if in_table < table.n_features:
        panel, none = len(table.features) - in_table, table.n_features - len(table.features)
        parts = [f"the {in_table} most important features have a column"]
        parts += [f"{count(panel)} more appear in the details of a region"] if panel else []
        parts += [f"{count(none)} more are not in this page"] if none else []
        columns = f"T{'; '.join(parts)[1:]}. "
    left = table.n_outputs - len(table.outputs)
    outputs = f"The first {len(table.outputs)} of {count(table.n_outputs)} outputs are in this page. " if left else ""
    swatches = [f"h{i}" for i in range(-LEVELS, LEVELS + 1)]
    return RegionsContent(table, shown, columns, outputs, number(table.scale[0], 2), swatches)


@dataclass(frozen=True)
class Reproduction:
    """The command or call, and what identifies the inputs and the result."""

    command: str
    facts: list[tuple[str, str]]


def _reproduction(u: Unwrapped, reproduce: str | None) -> Reproduction:
    from relucidate import __version__

    s = u.sample
    randomness = (
        "none: every row was kept"
        if s.is_complete
        else f"the importance and some scores use {count(len(s.row))} of {count(s.n)} rows, chosen by random_state"
    )
    facts = [
        ("Versions", f"relucidate {__version__}, numpy {np.__version__}, Python {platform.python_version()}"),
        ("Model, SHA-256", u.network.provenance.sha256 or "no file"),
        ("Weights, SHA-256", _weights_digest(u.network)),
        ("Regions, SHA-256", _result_digest(u)),
        ("Randomness", randomness),
    ]
    lines = [] if reproduce is None else reproduce.splitlines()[:_COMMAND_LINES]
    return Reproduction("\n".join(name(line, 2000).short if line else "" for line in lines), facts)


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
