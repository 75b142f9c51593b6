"""Pictures of simplifications: how many models, what they say, what they lose, how well their coefficients are known."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from relucidate.errors import ArgumentError, clipped, shown
from relucidate.features import Feature, Features
from relucidate.layers import Floats
from relucidate.plot.parts import (
    BLUE,
    DIVERGING,
    GRID,
    LINE,
    NAME,
    NARROW,
    ONE,
    QUIET,
    SKY,
    SMALL,
    TWO,
    VERMILION,
    WIDE,
    axes_for,
    characters,
    finished,
    frame_of,
    inches,
    label_rows,
    label_step,
    listed,
    right_column,
    short,
    write,
)
from relucidate.scoring import SCORE_WORDS
from relucidate.simplified import ByRule, Curve, Simplified, in_words
from relucidate.trees import Tree

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from relucidate.inference import Inference
    from relucidate.merging import MergePath

_REASONS = 8  # models shown of which there is nothing but the reason why they have no inference
_LEAF = 1.2  # inches for the words beside a leaf


# ---------------------------------------------------------------- how many models


def curve(result: Simplified | Curve, ax: Axes | None = None) -> Axes:
    """Draw the held-out loss of each number of models, and return the axes.

    Parameters
    ----------
    result : a simplification that has a curve, or the curve.
    ax : to draw on; a new figure by default.

    Raises
    ------
    ArgumentError : there is no curve.

    Notes
    -----
    The band is one standard error, of the difference to the best number of models, on either side. Ticks of the
    logarithmic axis are numbers that were looked at.
    """
    found = result.curve if isinstance(result, Simplified) else result
    if not isinstance(found, Curve):
        raise ArgumentError("There is no curve to draw: give a simplification for which several sizes were looked at.")
    ax = axes_for(ax, ONE, 3.2)
    k, loss, error = found.n_models, found.loss, found.error
    ax.fill_between(k, loss - error, loss + error, color=SKY, alpha=0.35, linewidth=0)
    ax.plot(k, loss, color=BLUE, marker="o", markersize=3.5, linewidth=1.4)
    at = int(np.flatnonzero(k == found.chosen)[0])
    ax.plot(k[at], loss[at], color=VERMILION, marker="o", markersize=7, linestyle="none")
    _log_ticks(ax, k, found.chosen)
    ax.margins(y=0.12)
    first = at == 0  # a curve that falls leaves room below on the left, above on the right
    where, offset = (float(k[at]), float(loss[at])), (4, 7) if first else (-2, -8)
    write(
        ax, _models(found.chosen), where, offset, "left" if first else "right", VERMILION, "bottom" if first else "top"
    )
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.set_xlabel("number of linear models (logarithmic)")
    ax.set_ylabel(textwrap.fill(f"held-out {found.measure}", 30))
    said = f"{_models(found.chosen)}{', as asked for' if found.rule == 'given' else f': {found.rule}'}."
    band = "Band: ± one standard error of the difference to the best."
    return finished(ax, "Held-out loss by number of models", f"{said} {band}")


def _models(n: int) -> str:
    return f"{n:,} model" + ("" if n == 1 else "s")


def _log_ticks(ax: Axes, k: NDArray[np.intp], chosen: int) -> None:
    """Label those numbers that have room: the chosen one, the ends, powers of two, then others."""
    ax.set_xscale("log", base=2)
    place = np.log2(k)
    apart = max(float(place[-1] - place[0]), 1e-9) / 11
    ranks = {int(v): (v != chosen, v not in (k[0], k[-1]), (int(v) & (int(v) - 1)) != 0, int(v)) for v in k}
    kept: list[int] = []
    for value in sorted(ranks, key=lambda v: ranks[v]):
        if all(abs(math.log2(value) - math.log2(other)) >= apart for other in kept):
            kept.append(value)
    ax.set_xticks(sorted(kept), [f"{v:,}" for v in sorted(kept)])
    ax.set_xticks([], minor=True)
    if len(k) == 1:
        ax.set_xlim(k[0] / 2, k[0] * 2)


# ---------------------------------------------------------------- methods side by side


def comparison(result: Any, ax: Axes | None = None, score: str | None = None) -> Axes:
    """Draw the held-out score of each method as a dot, the network as a line, and return the axes.

    Parameters
    ----------
    result : what `simplify.compare` returned, or its table: ``method``, ``n_models``, the scores, ``fidelity``.
    ax : to draw on; a new figure by default.
    score : column to draw; by default the first of the scores.

    Raises
    ------
    ArgumentError : the table lacks a column, or has no score.

    Notes
    -----
    The best is on top. Methods without the score are named below the picture.
    """
    frame = frame_of(result)
    column = _score_column(frame, score)
    lower_is_better = column in ("log_loss", "mse")
    is_network = frame["method"].astype(str) == "network"
    dots = frame[~is_network & frame[column].notna()].sort_values(column, ascending=lower_is_better, kind="stable")
    if len(dots) == 0:
        raise ArgumentError(f"No method of this table has a value in {clipped(column)}.")
    ax = axes_for(ax, ONE, 1.3 + 0.24 * len(dots))
    y = np.arange(len(dots))
    ax.plot(dots[column].to_numpy(float), y, "o", color=BLUE, markersize=6, zorder=3)
    right_column(ax, y, [f"{v:.4f}" for v in dots[column]])
    reference = frame.loc[is_network, column].dropna()
    ax.set_ylim(len(dots) - 0.4, -0.6 - 0.9 * bool(len(reference)))
    if len(reference):
        _network_line(ax, float(reference.iloc[0]))
    label_rows(ax, y, [_method_label(*pair) for pair in zip(dots["method"], dots["n_models"], strict=True)])
    ax.grid(axis="y", color=GRID, linewidth=0.7)
    ax.locator_params(axis="x", nbins=4)
    name = "fidelity (explained variance of the network's decisions)"
    name = name if column == "fidelity" else f"held-out {SCORE_WORDS.get(column, column)}"
    ax.set_xlabel(name + (" (lower is better)" if lower_is_better else " (higher is better)"))
    said = f"On {result.on}. " if getattr(result, "on", "") else ""
    absent = [str(m) for m in frame.loc[frame[column].isna(), "method"]]
    said += f"Not shown, without this score: {listed(absent)}." if absent else ""
    return finished(ax, "What each simplification keeps", said.strip())


def _score_column(frame: pd.DataFrame, score: str | None) -> str:
    needed = [c for c in ("method", "n_models") if c not in frame]
    if needed:
        raise ArgumentError(f"The table lacks {shown(needed)}; give what simplify.compare returned, or its to_frame().")
    numeric = [str(c) for c in frame.columns if c not in ("method", "n_models") and frame[c].dtype.kind in "fiu"]
    if score is not None:
        if score not in numeric:
            raise ArgumentError(f"score is {clipped(score)}; this table has {shown(numeric, 12)}.")
        return score
    usual = [c for c in SCORE_WORDS if c in numeric] + numeric
    if not usual:
        raise ArgumentError("The table has no score: no numeric column besides n_models.")
    return min(usual, key=lambda c: (c == "fidelity", numeric.index(c)))


def _method_label(method: object, n_models: Any) -> str:
    known = n_models is not None and np.isfinite(float(n_models))
    return short(method, 30) + (f" ({_models(int(n_models))})" if known else "")


def _network_line(ax: Axes, value: float) -> None:
    ax.axvline(value, color=VERMILION, linewidth=1.2, zorder=2)
    low, high = ax.get_xlim()
    margin = 0.08 * (high - low)
    ax.set_xlim(min(low, value - margin), max(high, value + margin))
    low, high = ax.get_xlim()
    right = value > (low + high) / 2
    top = ax.get_ylim()[1]
    where = (value, top + 0.55)
    write(ax, f"network {value:.4f}", where, (-4 if right else 4, 0), "right" if right else "left", VERMILION, "center")


# ---------------------------------------------------------------- mergers


def dendrogram(path: MergePath, n: int = 30, n_models: int | None = None, ax: Axes | None = None) -> Axes:
    """Draw the last mergers of a path, from `n` models down to one, and return the axes.

    Parameters
    ----------
    path : from `simplify.merge_path`.
    n : models at the start of the picture; fewer if there are fewer regions.
    n_models : where to cut, if a line shall show it.
    ax : to draw on; a new figure by default.

    Raises
    ------
    ArgumentError : `n` is below 2, the path has one region, or `n_models` is not between 1 and `n`.

    Notes
    -----
    Two branches join at the loss that all mergers up to theirs have cost, a mean over rows in squared units of the
    decision. Labels are the rows of each cluster at the start.
    """
    from scipy.cluster.hierarchy import dendrogram as coordinates

    n = min(n, path.n_regions)
    if n < 2:
        raise ArgumentError(f"n is {n} of {path.n_regions} regions; expected at least 2 models to start from.")
    if n_models is not None and not 1 <= n_models <= n:
        raise ArgumentError(f"n_models is {n_models}; the picture starts from {n} models, so expected 1 to {n}.")
    linkage = path.linkage(n)
    height = linkage[:, 2] = linkage[:, 2] / path.moments.weight.sum()
    drawn = coordinates(linkage, no_plot=True)
    rows = np.bincount(path.labels(n), weights=path.moments.count, minlength=n).astype(np.int64)
    ax = axes_for(ax, ONE, 1.2 + 0.16 * n)
    cut = _cut(height, n, n_models)
    for depth, place in zip(drawn["dcoord"], drawn["icoord"], strict=True):
        below = cut is not None and max(depth) <= cut
        ax.plot(depth, place, color=BLUE if below else "black", linewidth=1.1, solid_joinstyle="miter")
    if cut is not None:
        ax.axvline(cut, color=VERMILION, linewidth=1.2, linestyle=(0, (4, 2)))
    leaves = 5.0 + 10.0 * np.arange(n)
    label_rows(ax, leaves, [f"{rows[leaf]:,}" for leaf in drawn["leaves"]], every=label_step(ax, n))
    ax.set_ylim(0, 10 * n)
    ax.set_xlim(left=min(0.0, float(height.min())))
    ax.margins(x=0.03)
    ax.set_ylabel("rows of each cluster")
    ax.set_xlabel("cumulative loss: mean squared difference to the network's decision")
    said = f"The last {n - 1:,} of {path.n_regions - 1:,} mergers are shown."
    if n_models is not None:
        said += f" Dashed: the cut that leaves {_models(n_models)}."
    return finished(ax, f"How the last {n} models join", said)


def _cut(height: Floats, n: int, n_models: int | None) -> float | None:
    """Return a loss between the merger that leaves `n_models` and the next."""
    if n_models is None:
        return None
    before = height[n - 1 - n_models] if n_models < n else 0.0
    after = height[n - n_models] if n_models > 1 else 1.04 * height[-1]
    return float(before + after) / 2


# ---------------------------------------------------------------- coefficients with their uncertainty


def inference(
    result: Inference | pd.DataFrame,
    ax: Axes | None = None,
    *,
    most: int = 30,
    spread: ArrayLike | None = None,
    groups: Sequence[str] | None = None,
) -> Axes:
    """Draw estimates and intervals of coefficients, model by model, and return the axes.

    Parameters
    ----------
    result : from `inference.wald` or `inference.bootstrap`, or its table.
    ax : to draw on; a new figure by default.
    most : coefficients shown; of more than that, those with the largest statistic. Intercepts are left out.
    spread : (d,) standard deviation of each feature; coefficients are then drawn per standard deviation.
    groups : what to call the models; "model 0" and so on by default.

    Raises
    ------
    ArgumentError : `spread` or `groups` does not fit, or there is nothing to draw.

    Notes
    -----
    A dot is filled if its interval leaves out 0. A model without inference is grey, with the reason; its estimates are
    shown where there is room for all.
    """
    frame = _coefficients(frame_of(result), spread)
    names = _group_names(frame, groups)
    kept = _largest(frame, most)
    lines = list(_forest(frame, kept, names))
    ax = axes_for(ax, TWO, 1.4 + 0.19 * len(lines))
    width = characters(0.5 * inches(ax)[0], SMALL)
    for y, line in enumerate(lines):
        _forest_line(ax, y, line, width)
    ax.axvline(0, color=QUIET, linewidth=0.8, zorder=1)
    label_rows(ax, np.arange(len(lines)), [line.label for line in lines])
    for label, line in zip(ax.get_yticklabels(), lines, strict=True):
        label.set_fontweight("bold" if line.is_head else "normal")
        label.set_color(QUIET if line.reason or line.is_grey else "black")
    ax.set_ylim(len(lines) - 0.4, -0.6)
    ax.grid(axis="x", color=GRID, linewidth=0.7)
    ax.locator_params(axis="x", nbins=5)
    level = getattr(result, "level", None)
    per = "unit" if spread is None else "standard deviation"
    interval = "interval" if level is None else f"{100 * level:g} % interval"
    ax.set_xlabel(f"coefficient and {interval}, per {per} of each feature")
    return finished(ax, "Coefficients and how well they are known", _forest_caption(result, frame, kept))


def _coefficients(frame: pd.DataFrame, spread: ArrayLike | None) -> pd.DataFrame:
    """Return the rows that are no intercepts, scaled, with a column ``known``."""
    needed = [
        c for c in ("group", "output", "term", "estimate", "lower", "upper", "statistic", "reason") if c not in frame
    ]
    if needed:
        raise ArgumentError(f"The table lacks {shown(needed)}; give an Inference or its to_frame().")
    terms = list(dict.fromkeys(frame["term"]))[1:]
    out = frame[frame["term"].isin(terms)].copy()
    if len(out) == 0:
        raise ArgumentError("There are no coefficients to draw.")
    if spread is not None:
        unit = dict(zip(terms, _spread(spread, len(terms)), strict=True))
        for column in ("estimate", "lower", "upper"):
            out[column] = out[column] * out["term"].map(unit)
    out["known"] = out["lower"].notna() & out["upper"].notna()
    return out


def _spread(spread: ArrayLike, d: int) -> Floats:
    values = np.asarray(spread, dtype=np.float64)
    if values.shape != (d,) or not np.isfinite(values).all() or (values < 0).any():
        raise ArgumentError(f"spread has shape {values.shape}; expected ({d},): one standard deviation per feature.")
    return values


def _group_names(frame: pd.DataFrame, groups: Sequence[str] | None) -> list[str]:
    n = int(frame["group"].max()) + 1
    if groups is not None and len(groups) < n:
        raise ArgumentError(f"{len(groups)} names were given for {n} models; give one each.")
    return [short(f"model {g}" if groups is None else groups[g], 40) for g in range(n)]


def _largest(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """Return the rows that are drawn, in the order of the table."""
    if len(frame) <= most:
        return frame
    known = frame[frame["known"]]
    order = np.argsort(-known["statistic"].abs().to_numpy(), kind="stable")[:most]
    return known.iloc[np.sort(order)]


def _without_inference(frame: pd.DataFrame, kept: pd.DataFrame) -> list[int]:
    """Return the models of which there is nothing to show but the reason."""
    with_reason = frame.loc[frame["reason"].astype(str) != "", "group"]
    return sorted(set(with_reason.tolist()) - set(kept["group"].tolist()))


@dataclass(frozen=True)
class _Line:
    """A line of a forest plot: the head of a model, with the reason why it has no inference, or a coefficient."""

    label: str
    is_head: bool = False
    reason: str = ""
    values: tuple[float, float, float] | None = None

    @property
    def is_grey(self) -> bool:
        return self.values is not None and not np.isfinite(self.values).all()


def _forest(frame: pd.DataFrame, kept: pd.DataFrame, names: Sequence[str]) -> Iterator[_Line]:
    outputs = frame["output"].nunique() > 1
    bare = _without_inference(frame, kept)
    for g in sorted(set(frame["group"].tolist())):
        mine = kept[kept["group"] == g]
        if len(mine) == 0 and g not in bare[:_REASONS]:
            continue
        yield _Line(names[g], True, str(frame.loc[frame["group"] == g, "reason"].iloc[0]))
        numbers = mine[["estimate", "lower", "upper"]].to_numpy(float).tolist()
        for term, output, (estimate, lower, upper) in zip(mine["term"], mine["output"], numbers, strict=True):
            suffix = f" [{short(output, 14)}]" if outputs else ""
            yield _Line(short(term, NAME) + suffix, values=(estimate, lower, upper))


def _forest_line(ax: Axes, y: int, line: _Line, width: int) -> None:
    if line.reason:
        words = ax.text(0.01, y, short(f"no inference: {line.reason}", width), fontsize=SMALL, color=QUIET)
        words.set(transform=ax.get_yaxis_transform(), va="center", style="italic", parse_math=False)
    if line.values is None:
        return
    estimate, lower, upper = line.values
    colour = QUIET if line.is_grey else BLUE
    if not line.is_grey:
        ax.plot([lower, upper], [y, y], color=colour, linewidth=1.3, zorder=2)
    filled = lower > 0 or upper < 0
    face = colour if filled else "white"
    ax.plot(estimate, y, "o", color=colour, markerfacecolor=face, markersize=4.5, zorder=3)


def _forest_caption(result: Any, frame: pd.DataFrame, kept: pd.DataFrame) -> str:
    n, total = len(kept), len(frame)
    parts = [f"All {total:,} coefficients are shown, without intercepts."]
    if n < total:
        parts = [f"{n:,} of {total:,} coefficients are shown: those with the largest |z|; no intercepts."]
    bare = len(_without_inference(frame, kept))
    if bare > _REASONS:
        parts.append(f"{_REASONS} of {bare:,} models without inference are shown.")
    parts.append("Filled: the interval leaves out 0.")
    note = getattr(result, "note", "")
    return " ".join([*parts, note] if note else parts)


# ---------------------------------------------------------------- the models


def models(
    result: Simplified,
    ax: Axes | None = None,
    *,
    spread: ArrayLike | None = None,
    output: int = 0,
    most: int = 20,
) -> Axes:
    """Draw the coefficients of each model as coloured cells, the rules beside them, and return the axes.

    Parameters
    ----------
    result : a simplification.
    ax : to draw on; a new figure by default.
    spread : (d,) standard deviation of each feature: cells are coefficients per standard deviation. By default that of the
        rows that the simplification was made on; where it does not hold them, each feature is shown relative to its own
        largest coefficient, and columns cannot be compared.
    output : which output, for networks with several.
    most : features shown: those with the largest cells; without `spread` the first.

    Raises
    ------
    ArgumentError : there is no such output, or `spread` does not fit.
    """
    K, n_outputs, d = result.coef.shape
    if not 0 <= output < n_outputs:
        raise ArgumentError(f"output is {clipped(output)}; expected 0 to {n_outputs - 1}.")
    if spread is None and result.sample is not None:
        spread = result.sample.x.std(axis=0)
    coef = result.coef[:, output]
    largest = np.abs(coef).max(axis=0)
    unit = 1 / np.where(largest > 0, largest, 1) if spread is None else _spread(spread, d)
    cells = coef * unit
    order = np.argsort(-np.abs(cells).max(axis=0), kind="stable") if spread is not None else np.arange(d)
    columns = np.sort(order[:most])
    ax = axes_for(ax, TWO, 2.2 + 0.42 * K)
    drawn = ax.imshow(cells[:, columns], cmap=DIVERGING, aspect="auto", interpolation="nearest")
    reach = float(np.abs(cells).max()) or 1.0
    drawn.set_clim(-reach, reach)
    sums = _model_rows(ax, result)
    names = [short(result.features.names[j], NAME) for j in columns]
    ax.set_xticks(np.arange(len(columns)), names, rotation=90, fontsize=SMALL, parse_math=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = ax.figure.colorbar(drawn, ax=ax, pad=0.02, fraction=0.05, aspect=24)
    per = "share of the feature's largest" if spread is None else "per standard deviation of the feature"
    bar.set_label(textwrap.fill(f"coefficient, {per}", 30), fontsize=SMALL)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)
    said = [f"Output {short(result.network.outputs[output], 30)}, one of {n_outputs:,}."] if n_outputs > 1 else []
    said += [f"{len(columns):,} of {d:,} features are shown."] if len(columns) < d else []
    return finished(ax, f"The coefficients of {_models(K)}", " ".join([*said, *sums]))


def _model_rows(ax: Axes, result: Simplified) -> list[str]:
    """Label each row with its model, and its rule where there is room; return what the sums in the rules are."""
    K = result.n_models
    rules, sums = short_rules(result)
    wide, high = inches(ax)
    lines = max(1, int(0.8 * high / K / (SMALL * LINE / 72)))
    width = characters(0.4 * wide, SMALL)
    if wide < NARROW:
        rules, sums, width = [[] for _ in rules], [], 40
    labels = [_model_label(m, int(result.count[m]), rules[m], width, min(lines, 4)) for m in range(K)]
    label_rows(ax, np.arange(K), labels, every=label_step(ax, K))
    for label in ax.get_yticklabels():
        label.set(linespacing=1.05)
    return _told(sums)


def _model_label(m: int, count: int, rules: Sequence[str], width: int, lines: int) -> str:
    rows = f"{count:,} row" + ("" if count == 1 else "s")
    head, rule = f"{m} · {rows}", " or ".join(rules)
    if not rule or lines == 1:
        return short(f"{head} · {rule}" if rule else head, width)
    wrapped = textwrap.wrap(rule, width, max_lines=lines - 1, placeholder=" …")
    return "\n".join([head, *wrapped])


def short_rules(result: Simplified, limit: int = NAME) -> tuple[list[list[str]], list[tuple[str, str]]]:
    """Return the rules of each model with sums of features under short names, and what those sums are.

    Parameters
    ----------
    result : a simplification. limit : characters of a feature's name.

    Returns
    -------
    The rules of each model, as `Simplified.conditions` has them but that a sum of features is "sum 1" and so on, with
    no-break spaces within a comparison; and (name, sum in words) of each. [] for each model where rows are not led by rules.
    """
    route = result.route
    if not isinstance(route, ByRule):
        return [[] for _ in range(result.n_models)], []
    tree, features, sums = _named_sums(route.tree, _shortened(result.features, limit))
    rules: list[list[str]] = [[] for _ in range(result.n_models)]
    for leaf, model in enumerate(route.model):
        rules[model].append(_unbroken(in_words(tree, leaf, features)))
    return rules, sums


def _unbroken(rule: str) -> str:
    """Return a rule whose comparisons stay on one line each."""
    for sign, drawn in (("<=", "≤"), (">", ">"), ("<", "<")):
        rule = rule.replace(f" {sign} ", f"\N{NO-BREAK SPACE}{drawn}\N{NO-BREAK SPACE}")
    return rule


def _shortened(features: Features, limit: int) -> Features:
    def shorter(item: Feature) -> Feature:
        levels = tuple(short(v, limit) if isinstance(v, str) else v for v in item.levels)
        return replace(item, name=short(item.name, limit), column=short(item.column, limit), levels=levels)

    return replace(features, items=tuple(shorter(item) for item in features.items))


def _named_sums(tree: Tree, features: Features) -> tuple[Tree, Features, list[tuple[str, str]]]:
    """Return the tree with each sum that it compares as a feature of its own, those features, and what the sums are."""
    is_sum = [np.count_nonzero(d) != 1 or d.max() != 1 for d in tree.direction]
    distinct = {tree.direction[s].tobytes(): tree.direction[s] for s in np.flatnonzero(is_sum)}
    number = {key: i for i, key in enumerate(distinct)}
    d = len(features)
    direction = np.zeros((len(tree.leaf), d + len(distinct)))
    for s, row in enumerate(tree.direction):
        if is_sum[s]:
            direction[s, d + number[row.tobytes()]] = 1.0
        else:
            direction[s, :d] = row
    names = [f"sum\N{NO-BREAK SPACE}{i + 1}" for i in range(len(distinct))]
    items = (*features.items, *(Feature(name, name) for name in names))
    texts = [_sum_in_words(row, features.names) for row in distinct.values()]
    return replace(tree, direction=direction), replace(features, items=items), list(zip(names, texts, strict=True))


def _sum_in_words(direction: Floats, names: Sequence[str], most: int = 4) -> str:
    used = np.flatnonzero(direction)
    largest = used[np.argsort(-np.abs(direction[used]), kind="stable")][:most]
    text = " ".join(f"{'−' if direction[j] < 0 else '+'} {_times(abs(direction[j]))}{names[j]}" for j in largest)
    rest = len(used) - len(largest)
    more = f" and {rest} smaller term" + ("" if rest == 1 else "s") if rest else ""
    return text.removeprefix("+ ") + more


def _times(factor: float) -> str:
    return "" if factor == 1 else f"{factor:.3g} "


def _told(sums: Sequence[tuple[str, str]], most: int = 4) -> list[str]:
    """Return a sentence per sum, at most so many, and one on the others."""
    told = [f"{name} = {text}." for name, text in sums[:most]]
    return told + [f"{len(sums) - most} more sums: see Simplified.rules()."] * (len(sums) > most)


def _split_in_words(direction: Floats, threshold: float, features: Features) -> tuple[str, str]:
    """Return the conditions of the two sides of a split: up to the threshold, and above."""
    stump = Tree(np.zeros(1, dtype=np.intp), direction[None], np.array([threshold]), np.zeros(1))
    return in_words(stump, 0, features), in_words(stump, 1, features)


# ---------------------------------------------------------------- the tree


def tree(result: Simplified, ax: Axes | None = None) -> Axes:
    """Draw the tree of rules from left to right, with the rows and the mean response of each leaf; return the axes.

    Parameters
    ----------
    result : a simplification by rules.
    ax : to draw on; a new figure by default.

    Raises
    ------
    ArgumentError : rows are not led by rules.

    Notes
    -----
    Each leaf needs a third of an inch of height, each level half an inch of width; with less, words get small, and names
    are cut in the middle.
    """
    route = result.route
    if not isinstance(route, ByRule):
        raise ArgumentError(f"Rows are led by {route.kind}, not by rules: there is no tree to draw.")
    named, features, sums = _named_sums(route.tree, _shortened(result.features, 18))
    root = _grown(named, features)
    nodes = list(root.walk())
    leaves = [node for node in nodes if node.leaf >= 0]
    ax = axes_for(ax, TWO, 0.9 + 0.4 * len(leaves))
    depth = max(max(node.depth for node in nodes), 1)
    wide, high = inches(ax)
    step = max(wide - _LEAF, 0.3 * wide) / depth  # inches from a node to the next
    for i, leaf in enumerate(leaves):
        leaf.y = float(i)
    fits = 72 * 0.8 * high / len(leaves) / (2 * LINE)  # two lines a leaf
    size = min(max(72 * (step - 0.08) / (9 * WIDE), 5.0), SMALL, max(fits, 3.0))
    first = len(ax.texts)
    _draw_node(ax, root, result, route, depth, max(int(72 * (step - 0.08) / (size * WIDE)), 6))
    for words in ax.texts[first:]:
        words.set_fontsize(size if words.get_color() == "black" else min(SMALL, max(fits, 3.0)))
    ax.set_ylim(len(leaves) - 0.4, -0.6)
    ax.set_xlim(-0.02, depth + _LEAF / step)
    ax.set_axis_off()
    mean = "" if result.response is None else " and the mean response"
    shared = "" if len(leaves) == result.n_models else " of the model, which several leaves share"
    said = [f"Each leaf: its model, the rows{mean}{shared}.", "Thresholds are rounded.", *_told(sums)]
    return finished(ax, f"Which of {_models(result.n_models)} a row takes", " ".join(said))


@dataclass(eq=False)
class _Node:
    """A node of the tree: the condition that leads to it, and its two sides or the leaf that it is."""

    depth: int
    condition: str = ""
    leaf: int = -1
    sides: tuple[_Node, ...] = ()
    y: float = 0.0

    def walk(self) -> Iterator[_Node]:
        """Yield this node and all below, leaves from top to bottom."""
        yield self
        for side in self.sides:
            yield from side.walk()


def _grown(tree: Tree, features: Features) -> _Node:
    root = _Node(0, leaf=0)
    at = {0: root}
    for s, leaf in enumerate(tree.leaf):
        node = at[int(leaf)]
        words = _split_in_words(tree.direction[s], float(f"{tree.threshold[s]:.4g}"), features)
        low, high = (
            _Node(node.depth + 1, text.replace(" <= ", " ≤ "), number)
            for text, number in zip(words, (int(leaf), s + 1), strict=True)
        )
        node.sides, node.leaf = (low, high), -1
        at[int(leaf)], at[s + 1] = low, high
    return root


def _draw_node(ax: Axes, node: _Node, result: Simplified, route: ByRule, depth: int, width: int) -> None:
    """Draw what is below a node, then the line that leads to it and its words."""
    for side in node.sides:
        _draw_node(ax, side, result, route, depth, width)
    end = float(node.depth)
    if node.sides:
        node.y = (node.sides[0].y + node.sides[-1].y) / 2
        ax.plot([end, end], [node.sides[0].y, node.sides[-1].y], color=QUIET, linewidth=1.0)
    else:
        end = float(depth)
        words = _leaf_words(result, int(route.model[node.leaf]))
        write(ax, words, (end, node.y), (4, 0), "left", BLUE, "center")
    if node.depth:
        ax.plot([node.depth - 1, end], [node.y, node.y], color=QUIET, linewidth=1.0)
        what, how = _halves(node.condition)
        for words, drop, va in ((short(what, width), 2, "bottom"), (short(how, max(width, 10)), -2, "top")):
            write(ax, words, (node.depth - 1.0, node.y), (3, drop), "left", "black", va)


def _halves(condition: str) -> tuple[str, str]:
    """Return the feature of a condition, and what it is compared with."""
    for sign in (" ≤ ", " > ", " is not ", " = ", " is "):
        what, found, than = condition.rpartition(sign)
        if found:
            return what, f"{sign.strip()} {than}"
    return condition, ""


def _leaf_words(result: Simplified, m: int) -> str:
    count = int(result.count[m])
    words = f"model {m}: {count:,} row" + ("" if count == 1 else "s")
    if result.response is not None and result.response.shape[1] == 1:
        words += f"\nmean {result.response[m, 0]:.3g}"
    return words
