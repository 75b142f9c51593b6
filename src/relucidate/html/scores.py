"""What the page says of how well the network does: scores with intervals, weak segments, groups of people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from markupsafe import Markup

from relucidate.html.deciles import Deciles, deciles
from relucidate.html.parts import Finding, Part, plain
from relucidate.html.pictures_trust import Line, Mark, calibration, forest, reach
from relucidate.html.subject import LEAST_ROWS, Subject
from relucidate.html.told import told
from relucidate.performances import Performance, performance
from relucidate.scoring import SCORE_WORDS, GroupScores
from relucidate.segmenting import LEVEL
from relucidate.unwrapping import Unwrapped
from relucidate.words import NONE, Name, count, fixed, name, number, percent, plural

REGIONS = 12  # with a line each
FACTS = 1_000  # regions in the file beside the page
_WORST = 3
_WORST_ROWS = 30  # a score of fewer rows says little
_GIVEN_UP = 0.05  # probability at which bins apart are not put down to chance
INTERVAL = f"{100 * LEVEL:.0f} % interval"
LARGER_IS_BETTER = ("auc", "accuracy")


def value_text(measure: str, value: float) -> str:
    """Return a score as text."""
    return number(value, 4) if measure == "mse" else fixed(value, 4)


def limits_text(measure: str, low: float, high: float) -> str:
    """Return an interval as text, "" where there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"{value_text(measure, low)} to {value_text(measure, high)}"


def with_limits(measure: str, value: float, low: float, high: float) -> str:
    limits = limits_text(measure, low, high)
    return value_text(measure, value) + (f" ({limits})" if limits else "")


def axis_words(measure: str) -> str:
    return {"mse": "MSE (squared units of the response)", "log_loss": "log-loss (nats)"}.get(
        measure, SCORE_WORDS[measure]
    )


def _article(measure: str) -> str:
    return "a" if measure == "log_loss" else "an"


# ---------------------------------------------------------------- local and global scores


@dataclass(frozen=True)
class Cell:
    """A figure as text; its interval, and both of its limits; `note` says why there is none."""

    value: str
    limits: str = ""
    low: str = ""
    high: str = ""
    note: str = ""


@dataclass(frozen=True)
class PerformanceContent:
    """Scores of the network and of its local models.

    Parameters
    ----------
    measures : names of the scores. sets : (rows, number of rows, a cell per measure) of the network.
    verdicts : (set of rows, sentence) whether a single linear model would do. region : whose model that would be, or None.
    picture : local scores of the largest regions; None for one region. shown : what it leaves out.
    table : (region, rows, share, local, on the test rows, on all rows) of the regions shown. with_test : whether the
    fourth is known. worst : (region, words) of the regions with the worst scores. score : name of the score drawn.
    calibrated : (output, picture or None, sentence, bins as (predicted, observed, limits, rows)).
    shares : whether these are probabilities. judged : the rows that they are of. notes : caveats.
    """

    measures: list[str]
    sets: list[tuple[str, str, list[Cell]]]
    verdicts: list[tuple[str, str]]
    region: int | None
    picture: Markup | None
    shown: str
    table: list[tuple[int, str, str, Cell, Cell, Cell]]
    with_test: bool
    worst: list[tuple[int, str]]
    score: str
    calibrated: list[tuple[Name, Markup | None, str, list[tuple[str, str, str, str]]]]
    shares: bool
    judged: str
    notes: list[str]


def performance_part(s: Subject) -> Part | None:
    """Return the part on scores; None without a response."""
    held: list[tuple[str, Unwrapped, Performance]] = []
    if s.performance is not None:
        held.append(("the table", s.u, s.performance))
    if s.compared is not None and s.compared.has_y:
        held.append(("the test rows", s.compared, performance(s.u, s.compared)))
    if not held:
        return None
    label, _, main = held[0]
    other = held[1][2] if len(held) > 1 else None
    measure = main.measures[0]
    known = [
        told(np.minimum(p.count, _sampled(s.u, v)), s.least, p.n_unseen if p.n_unseen < s.least else 0)
        for _, v, p in held
    ]
    order = [int(r) for r in main.order[:REGIONS] if known[0][r]]
    judged = s.judged
    assert judged is not None
    bins = _bins(s, judged)
    calibrated, findings = _calibrated(s, judged, bins)
    content = PerformanceContent(
        measures=[SCORE_WORDS[m] for m in main.measures],
        sets=_sets(held, s.least),
        verdicts=[] if s.u.n_regions == 1 else [(of, _verdict(p, s.u)) for of, _, p in held],
        region=main.gap.region if s.u.n_regions > 1 and main.gap.region >= 0 else None,
        picture=None if s.u.n_regions == 1 or not order else _forest(main, other, known, order, label),
        shown=_shown(s, main, order),
        table=[] if s.u.n_regions == 1 else [_region_row(main, other, known, r) for r in order],
        with_test=other is not None,
        worst=[] if s.u.n_regions == 1 else _worst(main, known[0]),
        score=SCORE_WORDS[measure],
        calibrated=calibrated,
        shares=s.net.is_classifier,
        judged=_judged_words(s, judged),
        notes=_caveats(held),
    )
    facts = {
        "sets": [_set_facts(of, p, ok, s.least) for (of, _, p), ok in zip(held, known, strict=True)],
        "bins_of": content.judged,
        "bins": [{"output": str(s.net.outputs[k]), **plain(b)} for k, b in enumerate(bins)],
    }
    findings = [*_gap_findings(s, main, label), *_holding(s, held, measure), *findings]
    return Part("performance", "How well it does", content, facts=facts, findings=findings)


def _sampled(u: Unwrapped, v: Unwrapped) -> Any:
    """Return how many rows of each region of `u` are in the sample of `v` (R,): what scores rest on."""
    if v is u:
        return np.bincount(v.sample.region, minlength=u.n_regions)
    region = np.asarray(u.regions_of_patterns(_first_patterns(v)))[v.sample.region]
    return np.bincount(region[region >= 0], minlength=u.n_regions)


def _first_patterns(v: Unwrapped) -> Any:
    from relucidate.network import Patterns

    return Patterns(v.sums.packed, v.network.n_bits)


def _cell(scores: GroupScores, m: int, i: int, ok: bool = True) -> Cell:
    if not ok:
        return Cell(NONE, note="few rows")
    measure = scores.measures[m]
    value, low, high = (float(v[m, i]) for v in (scores.value, scores.low, scores.high))
    if not math.isfinite(value):
        return Cell(NONE, note=str(scores.reason[m, i]))
    return scored(measure, value, low, high, str(scores.reason[m, i]))


def scored(measure: str, value: float, low: float, high: float, note: str = "") -> Cell:
    text = value_text(measure, value)
    if not (math.isfinite(low) and math.isfinite(high)):
        return Cell(text, note=note)
    short = [number(v, 3) if measure == "mse" else fixed(v, 3) for v in (low, high)]
    return Cell(text, " to ".join(short), value_text(measure, low), value_text(measure, high))


def _sets(held: Sequence[tuple[str, Unwrapped, Performance]], least: int) -> list[tuple[str, str, list[Cell]]]:
    out = []
    for label, _, p in held:
        out.append((label, count(p.n_rows), [_cell(p.network, m, 0) for m in range(len(p.measures))]))
        if p.n_unseen >= least:
            cells = [_cell(p.unseen, m, 0) for m in range(len(p.measures))]
            out.append((f"{label} in regions that the table does not use", count(p.n_unseen), cells))
    return out


def _caveats(held: Sequence[tuple[str, Unwrapped, Performance]]) -> list[str]:
    return [f"Scores of {label} are estimates{p.caveat}." for label, _, p in held if p.caveat]


def _verdict(p: Performance, u: Unwrapped) -> str:
    gap, measure = p.gap, p.measures[0]
    word = SCORE_WORDS[measure]
    if gap.region < 0:
        return f"Whether one linear model would do is not known: no local model has {_article(measure)} {word} on all rows."
    ours, theirs = float(p.overall.value[0, gap.region]), float(p.network.value[0, 0])
    start = {
        "one model would do": "One linear model would do",
        "one model would not do": "None of the local models would do alone",
    }.get(gap.verdict, "Whether one linear model would do is undecided")
    scored = int(np.isfinite(p.overall.value[0]).sum())
    if gap.value >= 0:
        lost = f"It gives up {with_limits(measure, gap.value, gap.low, gap.high)}"
    else:
        lost = f"It does better by {with_limits(measure, -gap.value, -gap.high, -gap.low)}"
    return (
        f"{start}: the best of {count(scored)} that were used for all rows, that of region {count(gap.region)}, has "
        f"{_article(measure)} {word} of {value_text(measure, ours)}, the network {value_text(measure, theirs)}. "
        f"{lost}; up to {value_text(measure, gap.close)} counts as close."
    )


def _forest(
    main: Performance, other: Performance | None, known: Sequence[Any], order: Sequence[int], label: str
) -> Markup | None:
    measure = main.measures[0]
    lines, spoken = [], []
    for r in order:
        value, low, high = (float(getattr(main.local, k)[0, r]) for k in ("value", "low", "high"))
        marks = [Mark("own", value, low, high)]
        if other is not None and known[1][r]:
            marks.append(Mark("other", *(float(getattr(other.local, k)[0, r]) for k in ("value", "low", "high"))))
        everywhere = float(main.overall.value[0, r])
        marks.append(Mark("tick", everywhere))
        lines.append(Line(f"region {count(r)}", percent(float(main.share[r])), marks, r))
        spoken.append(
            f"region {count(r)}: {with_limits(measure, value, low, high)} on its rows, "
            f"{value_text(measure, everywhere)} on all"
        )
    network = float(main.network.value[0, 0])
    every = [m for line in lines for m in line.marks]
    if not any(math.isfinite(m.value) for m in every):
        return None
    ends = (0.0, 1.0) if measure in LARGER_IS_BETTER else (0.0, math.inf)
    legend = [(f"on its own rows of {label}, with {INTERVAL}", "own")]
    legend += [("on its own rows of the test rows", "other")] if other is not None else []
    legend += [(f"the same model used for all rows of {label}", "tick"), (f"the network on {label}", "reference")]
    say = f"{SCORE_WORDS[measure]} of the local models of {plural(len(order), 'region')}. {'; '.join(spoken)}."
    limits = reach([*every, Mark("tick", network)], *ends)
    return forest(lines, limits, axis_words(measure), legend, say, reference=network)


def _shown(s: Subject, p: Performance, order: Sequence[int]) -> str:
    R, measure = s.u.n_regions, p.measures[0]
    if R == 1:
        return "All rows use one linear model: its scores are those of the network."
    word = f"{_article(measure)} {SCORE_WORDS[measure]}"
    known = np.isfinite(p.local.value[0])
    held = round(float(p.share[known].sum()), 12)  # a sum of shares is 1 but for rounding
    text = (
        f"On their own rows {count(int(known.sum()))} of {plural(R, 'local model')} have {word}; they hold "
        f"{percent(held)} of the rows."
    )
    if not order:
        return f"{text} No region has the {s.least} rows that a figure in this page rests on at least."
    share = percent(float(p.share[order].sum()))
    if len(order) == R:
        return f"{text} All of them are shown."
    return f"{text} The {len(order)} with the most rows are shown; they hold {share} of the rows."


def _region_row(
    p: Performance, other: Performance | None, known: Sequence[Any], r: int
) -> tuple[int, str, str, Cell, Cell, Cell]:
    test = Cell(NONE) if other is None else _cell(other.local, 0, r, bool(known[1][r]))
    share = percent(float(p.share[r]), 2)
    return r, count(int(p.count[r])), share, _cell(p.local, 0, r), test, _cell(p.overall, 0, r)


def _worst(p: Performance, ok: Any) -> list[tuple[int, str]]:
    """Return the regions of some size whose own scores are worst, worst first."""
    measure, value = p.measures[0], p.local.value[0]
    able = np.flatnonzero(np.isfinite(value) & (p.count >= _WORST_ROWS) & ok)
    if len(able) <= _WORST:
        return []
    keys = value[able] if measure in LARGER_IS_BETTER else -value[able]
    out = []
    for r in able[np.argsort(keys, kind="stable")[:_WORST]].tolist():
        text = with_limits(measure, float(value[r]), float(p.local.low[0, r]), float(p.local.high[0, r]))
        out.append((r, f"{text} on {plural(int(p.count[r]), 'row')}"))
    return out


def _gap_findings(s: Subject, p: Performance, label: str) -> list[Finding]:
    gap, measure = p.gap, p.measures[0]
    if s.u.n_regions == 1 or gap.region < 0:
        return []
    word = SCORE_WORDS[measure]
    pair = (
        f"{word} {value_text(measure, float(p.overall.value[0, gap.region]))} against "
        f"{value_text(measure, float(p.network.value[0, 0]))} of the network on {label}"
    )
    if gap.verdict == "one model would do":
        text = f"One linear model, that of region {count(gap.region)}, would do for all rows: {pair}."
        return [Finding(0.7, text, "performance", "fact")]
    if gap.verdict == "one model would not do":
        return [Finding(0.3, f"No single local model would do for all rows: the best has {pair}.", "performance")]
    return []


def _holding(s: Subject, held: Sequence[tuple[str, Unwrapped, Performance]], measure: str) -> list[Finding]:
    """Return whether the network clearly does worse on the test rows than on the table, by its score or its mean loss."""
    if len(held) < 2:
        return []
    loss = _larger_loss(s, held[0][2].measures[-1])
    a, b = (tuple(float(v[0]) for v in p.network.of(measure)) for _, _, p in held)
    if not all(map(math.isfinite, (*a, *b))):
        return (
            [Finding(0.85, f"The network does worse on the test rows: {loss}.", "performance", "doubt")] if loss else []
        )
    worse = b[2] < a[1] if measure in LARGER_IS_BETTER else b[1] > a[2]
    pair = f"{with_limits(measure, *b)} on the test rows, {with_limits(measure, *a)} on the table"
    if worse or loss:
        own = "" if loss and measure == held[0][2].measures[-1] else f"{SCORE_WORDS[measure]} {pair}"
        said = [own, loss] if worse else [loss, own]  # what shows it comes first
        text = f"The network does worse on the test rows: {'; '.join(filter(None, said))}."
        return [Finding(0.85, text, "performance", "doubt")]
    return [Finding(0.5, f"The network’s {SCORE_WORDS[measure]} is {pair}.", "performance", "sound")]


def _larger_loss(s: Subject, measure: str) -> str:
    """Return by how much the mean loss is larger on the test rows, "" if that may be chance."""
    if s.exposure is None:
        return ""
    d = s.exposure.drift[0]
    if not (math.isfinite(d.loss_low) and d.loss_low > 0):
        return ""
    interval = f"{number(d.loss_low, 3)} to {number(d.loss_high, 3)}"
    return f"the mean {SCORE_WORDS[measure]} is larger by {number(d.loss_change, 3)} ({interval})"


def _set_facts(label: str, p: Performance, ok: Any, least: int) -> dict[str, Any]:
    kept = [int(r) for r in p.order[:FACTS] if ok[r]]
    out: dict[str, Any] = {
        "rows_of": label,
        "rows": p.n_rows,
        "level": p.level,
        "measures": list(p.measures),
        "network": _three(p.network, slice(None)),
        "rows_in_unseen_regions": p.n_unseen,
        "gap": {k: plain(v) for k, v in p.gap._asdict().items()},
        "regions": {
            "region": kept,
            "rows": plain(p.count[kept]),
            "share": plain(p.share[kept]),
            "local": _three(p.local, kept),
            "global": _three(p.overall, kept),
        },
        "caveat": p.caveat,
    }
    return out | ({"unseen": _three(p.unseen, slice(None))} if p.n_unseen >= least else {})


def _three(scores: GroupScores, which: Any) -> dict[str, Any]:
    return {k: plain(getattr(scores, k)[:, which]) for k in ("value", "low", "high")}


# ---------------------------------------------------------------- calibration


def _bins(s: Subject, v: Unwrapped) -> list[Deciles]:
    """Return predictions against responses of each output shown."""
    net, sample = v.network, v.sample
    predicted = net.inverse_link(sample.decision)
    shares = net.is_classifier
    observed = np.asarray(sample.y, dtype=np.float64).reshape(len(sample.row), -1)
    if net.link == "softmax":
        observed = (observed == np.arange(net.n_outputs)).astype(np.float64)
    least = max(s.least, LEAST_ROWS)
    return [
        deciles(predicted[:, k], observed[:, k], sample.weights, shares=shares, least=least) for k in range(s.n_outputs)
    ]


def _calibrated(
    s: Subject, v: Unwrapped, bins: Sequence[Deciles]
) -> tuple[list[tuple[Name, Markup | None, str, list[tuple[str, str, str, str]]]], list[Finding]]:
    shares = s.net.is_classifier
    say = partial(percent, decimals=2) if shares else number
    titles = ("mean predicted probability", "observed share") if shares else ("mean prediction", "mean of the response")
    out = []
    for k, b in enumerate(bins):
        picture = calibration(b, shares, *titles) if len(b.count) > 1 else None
        table = [
            (say(p), say(o), f"{say(lo)} to {say(hi)}" if math.isfinite(lo) else NONE, count(int(n)))
            for p, o, lo, hi, n in zip(b.predicted, b.observed, b.low, b.high, b.count, strict=True)
        ]
        out.append((output_name(s, k), picture, _calibration_words(b, say, shares), table))
    return out, _calibration_findings(s, v, bins)


def output_name(s: Subject, k: int) -> Name:
    net = s.net
    if net.link == "logit" and net.n_outputs == 1:
        return name(net.classes[1] if net.classes else "the positive class")
    return name(net.outputs[k])


def _calibration_words(b: Deciles, say: Any, shares: bool) -> str:
    if not len(b.count):
        return "There are too few rows for this."
    if len(b.count) == 1:
        what = "The predictions hardly differ" if b.count[0] >= 2 * LEAST_ROWS else "The rows make one bin only"
        observed = f"{say(b.observed[0])} ({say(b.low[0])} to {say(b.high[0])})"
        return f"{what}: {say(b.predicted[0])} is predicted on average, {observed} observed."
    n, apart = len(b.count), int(b.apart.sum())
    what = "predicted probability" if shares else "prediction"
    off = f"{fixed(100 * b.error, 2)} percentage points" if shares else say(b.error)
    text = f"In {apart} of {n} bins the mean {what} lies outside of the interval of what was observed"
    text += f"; {_number_expected(n)} would be expected by chance. On average over the rows the two differ by {off}."
    return text


def _number_expected(n: int) -> str:
    return f"about {n * (1 - LEVEL):.1f}"


def _calibration_findings(s: Subject, v: Unwrapped, bins: Sequence[Deciles]) -> list[Finding]:
    able = [(b.chance, k, b) for k, b in enumerate(bins) if len(b.count) > 1]
    if not able:
        return []
    chance, k, worst = min(able, key=lambda item: item[:2])
    rows = _judged_words(s, v)
    n, apart = len(worst.count), int(worst.apart.sum())
    of = f" of {output_name(s, k).short}" if len(bins) > 1 else ""
    what = "predicted probability" if s.net.is_classifier else "mean prediction"
    if chance * len(able) <= _GIVEN_UP:
        text = (
            f"In {apart} of {n} bins of {rows} the {what}{of} lies outside of the interval of what was observed; "
            f"{_number_expected(n)} would be expected by chance."
        )
        return [Finding(0.7, text, "performance", "doubt")]
    what = "The predicted probabilities agree" if s.net.is_classifier else "The mean predictions agree"
    text = (
        f"{what} with what was observed on {rows}, bin by bin, as far as {plural(len(v.sample.row), 'row')} can tell."
    )
    return [Finding(0.4, text, "performance", "sound")]


def _judged_words(s: Subject, v: Unwrapped) -> str:
    return "the table" if v is s.u else "the test rows"
