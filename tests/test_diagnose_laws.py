"""Laws of the diagnoses: rows of weight 0 are no rows, weights have no unit, other networks' tables are refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import relucidate as rl
from relucidate import diagnose, sampling
from relucidate.errors import ArgumentError, TargetError
from small_networks import SPECIMENS, random_network, rows_for
from test_performances import response

NETS = {
    "logit": random_network([3, 9, 6, 1], seed=1, link="logit"),
    "softmax": random_network([3, 9, 6, 3], seed=2, link="softmax"),
    "identity": random_network([3, 9, 6, 2], seed=3),
}
N = 600


def table(name: str, n: int = N, seed: int = 0) -> tuple[Any, Any, Any]:
    """Rows, their response and weights, two fifths of which are 0."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    return x, response(NETS[name], x, seed), np.where(rng.random(n) < 0.4, 0.0, rng.random(n) + 0.1)


def both(name: str, seed: int = 0, n: int = N) -> tuple[rl.Unwrapped, rl.Unwrapped]:
    """A table with rows of weight 0, and without them."""
    x, y, w = table(name, n, seed=seed)
    return rl.unwrap(NETS[name], x, y, w), rl.unwrap(NETS[name], x[w > 0], y[w > 0], w[w > 0])


def by_pattern(u: rl.Unwrapped, values: Any) -> dict[str, Any]:
    return dict(zip(u.patterns.ids(), values, strict=True))


@pytest.mark.parametrize("name", NETS)
def test_reliability_does_not_count_rows_of_weight_zero(name: str) -> None:
    """A region whose rows weigh nothing says nothing about its model: it was called reliable."""
    held, dropped = both(name)
    a, b = diagnose.reliability(held), diagnose.reliability(dropped)
    assert a.reasons == b.reasons
    expected = by_pattern(dropped, b.flags)
    for pattern, flags in by_pattern(held, a.flags).items():
        if pattern in expected:
            np.testing.assert_array_equal(flags, expected[pattern])
        else:
            assert flags[a.reasons.index("few rows")]
    assert set(expected) < set(held.patterns.ids())
    assert a.n_untold == b.n_untold == 0
    assert a.tally[1][-1] == pytest.approx(b.tally[1][-1])


@pytest.mark.parametrize("name", NETS)
def test_trust_does_not_count_rows_of_weight_zero(name: str) -> None:
    held, dropped = both(name)
    x, y, _ = table(name, 200, seed=1)
    a, b = (diagnose.extrapolation(u, x, y) for u in (held, dropped))
    same = (
        np.array(held.patterns.ids(), dtype=object)[a.region]
        == np.array(dropped.patterns.ids(), dtype=object)[b.region]
    )
    assert same.mean() > 0.9  # of equally near patterns another may come first
    np.testing.assert_array_equal(a.count[same], b.count[same])
    np.testing.assert_allclose(a.region_loss[same], b.region_loss[same], rtol=1e-9)
    np.testing.assert_allclose(a.region_distance[same], b.region_distance[same], rtol=1e-9)


@pytest.mark.parametrize("name", NETS)
def test_trust_is_judged_by_weight(name: str) -> None:
    """Rows of weight 0 of the judged table are not judged, and a weight counts as rows do."""
    u = both(name)[1]
    x, y, w = table(name, 300, seed=1)
    repeats = np.ceil(4 * w).astype(int)
    weighted = diagnose.extrapolation(u, rl.unwrap(NETS[name], x, y, repeats.astype(float)))
    copied = diagnose.extrapolation(u, np.repeat(x, repeats, axis=0), np.repeat(y, repeats, axis=0))
    assert weighted.calibration is not None
    assert copied.calibration is not None
    for what in ("overall", "loss", "tenth", "rest", "ratio", "gain", "excess_tenth", "surprise"):
        a, b = (getattr(found.calibration, what) for found in (weighted, copied))
        np.testing.assert_allclose(a, b, rtol=1e-9, err_msg=what)
    assert weighted.calibration.n == (repeats > 0).sum()
    np.testing.assert_array_equal(weighted.row, np.arange(300))


@pytest.mark.parametrize("name", NETS)
def test_sets_are_compared_without_rows_of_weight_zero(name: str) -> None:
    u = both(name, n=2000)[1]
    other, fewer = both(name, seed=4, n=2000)
    a, b = (diagnose.exposure(u, u, v) for v in (other, fewer))
    np.testing.assert_allclose(a.share, b.share, atol=1e-12)
    np.testing.assert_allclose(a.worse_p, b.worse_p, rtol=1e-9)
    tested = np.isfinite(a.worse_p[1])
    assert 0 < tested.sum() < (np.minimum(*a.count) >= 20).sum()
    np.testing.assert_allclose(a.statistic, b.statistic, atol=1e-12)


@pytest.mark.parametrize("name", NETS)
def test_segments_and_performance_are_without_rows_of_weight_zero(name: str) -> None:
    held, dropped = both(name)
    counted = np.bincount(held.sample.region[held.sample.weights > 0], minlength=held.n_regions)
    a, b = diagnose.segments(held), diagnose.segments(dropped)
    assert a.n_regions == b.n_regions == (counted >= 30).sum()
    regions = [r for r, kind in zip(a.regions, a.kind, strict=True) if kind == "region"]
    assert a.tested[[kind == "region" for kind in a.kind]].tolist() == [counted[r].sum() for r in map(list, regions)]
    assert a.overall == pytest.approx(b.overall)
    p, q = diagnose.performance(held), diagnose.performance(dropped)
    np.testing.assert_allclose(p.network.value, q.network.value, rtol=1e-9)
    np.testing.assert_allclose(p.network.low, q.network.low, rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 0.1, 1e5])
def test_a_perfect_order_has_an_interval_whatever_the_weights(scale: float) -> None:
    """Sums of weights leave the area next to 1, where its variance says nothing."""
    rng = np.random.default_rng(0)
    net = random_network([1, 3, 1], seed=1, link="logit")
    found = 0
    for n in range(20, 60):
        x = rng.normal(size=(n, 1))
        decision = net.decision(x)[:, 0]
        y = (decision > np.median(decision)).astype(int)
        w = scale * (rng.random(n) + 0.01)
        value, low, high = (float(v[0]) for v in diagnose.performance(rl.unwrap(net, x, y, w)).network.of("auc"))
        found += value == 1
        assert 1 - 1e-9 < value <= 1
        assert 0.5 < low < 0.95
        assert high == pytest.approx(1)
    assert 0 < found <= 40


Verb = Callable[[rl.Unwrapped, Any], Any]
VERBS: dict[str, Verb] = {
    "performance": diagnose.performance,
    "segments": diagnose.segments,
    "exposure": lambda u, other: diagnose.exposure(u, u, other),
}


@pytest.mark.parametrize("name", VERBS)
def test_a_table_of_another_network_is_refused(name: str) -> None:
    """Networks of one shape have patterns of one length, so that nothing else would tell."""
    x, y, _ = table("logit")
    u = rl.unwrap(NETS["logit"], x, y)
    other = rl.unwrap(random_network([3, 9, 6, 1], seed=7, link="logit"), x, y)
    with pytest.raises(ArgumentError, match=r"was unwrapped with another network\. Unwrap it with that of u"):
        VERBS[name](u, other)
    again = random_network([3, 9, 6, 1], seed=1, link="logit")
    assert VERBS[name](u, rl.unwrap(again, x, y)) is not None


@pytest.mark.parametrize("name", ["performance", "segments"])
def test_tables_that_make_no_sense_are_refused(name: str) -> None:
    verb: Any = getattr(diagnose, name)
    x, y, _ = table("logit")
    u = rl.unwrap(NETS["logit"], x, y)
    with pytest.raises(ArgumentError, match="y is given twice: with X, which was unwrapped"):
        verb(u, u, y)
    with pytest.raises(ArgumentError, match="y is given without X"):
        verb(u, None, y)
    with pytest.raises(ArgumentError, match="most is '5'; expected a whole number, at least 1"):
        verb(u, most="5")
    with pytest.raises(ArgumentError, match=r"most is 2\.5; expected a whole number, at least 1"):
        verb(u, most=2.5)
    with pytest.raises(ArgumentError, match="Expected an Unwrapped, got a ndarray"):
        verb(x)


@pytest.mark.parametrize("name", ["performance", "segments"])
def test_a_table_with_joined_regions_is_refused(name: str) -> None:
    """Which rows had which of the joined patterns is not known, and all would be taken for the first."""
    net = SPECIMENS["lattice"]
    x = rows_for(net, 200)
    u = rl.unwrap(net, x, response(net, x))
    joined = u.join_equal()
    assert joined.n_regions < u.n_regions
    verb: Any = getattr(diagnose, name)
    assert verb(joined) is not None
    with pytest.raises(ArgumentError, match="X is a result whose equal regions were joined"):
        verb(u, joined)


@pytest.mark.parametrize("name", ["performance", "segments"])
def test_values_whose_squares_overflow_leave_infinite_intervals(name: str) -> None:
    x, y, _ = table("logit")
    x[0] = (1e200, 0, 0)
    y[0] = int(NETS["logit"].decision(x[:1])[0, 0] < 0)  # so wrong that its loss has no square
    found = getattr(diagnose, name)(rl.unwrap(NETS["logit"], x, y))
    assert "nan" not in repr(found)
    if name == "performance":
        value, low, high = (float(v[0]) for v in found.network.of("log_loss"))
        assert np.isfinite(value)
        assert (low, high) == (0, np.inf)


def test_one_row_has_no_interval_and_no_verdict() -> None:
    x, y, _ = table("logit")
    u = rl.unwrap(NETS["logit"], x, y)
    one = rl.unwrap(NETS["logit"], x[:1], y[:1])
    said = repr(diagnose.exposure(u, u, one))
    assert "nan" not in said
    assert "test: 1 row; accuracy" in said
    assert "too few rows to test anything on" in repr(diagnose.segments(one))
    assert "clearly do worse" not in repr(diagnose.segments(one))
    assert "1 row with a response cannot tell whether the score is right" in repr(diagnose.extrapolation(u, one))


def test_a_sample_of_the_judged_table_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, _ = table("logit")
    u = rl.unwrap(NETS["logit"], x, y)
    monkeypatch.setattr(sampling, "MAX_ROWS", 100)
    other = rl.unwrap(NETS["logit"], x, y)
    found = diagnose.extrapolation(u, other)
    assert len(found) == 100
    np.testing.assert_array_equal(found.to_frame()["row"], other.sample.row)
    assert found.row.max() > 100
    assert "note: the rows looked at are 100 of the 600 of the table, a sample" in repr(found)


@pytest.mark.parametrize("unit", [1e-170, 1e-3, 1e160])
def test_weights_have_no_unit_where_segments_and_sets_are_tested(unit: float) -> None:
    """Their squares left float64, and then nothing was found."""
    net = NETS["logit"]
    last = net.layers[-1]
    net = replace(net, layers=(*net.hidden, replace(last, weight=20 * last.weight)))  # sure of itself
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1500, 3)), rng.random(1500) + 0.5
    p = net.inverse_link(net.decision(x))[:, 0]
    y = ((rng.random(1500) < p) ^ ((x[:, 0] > 0.5) & (np.abs(p - 0.5) > 0.1))).astype(int)
    other, v = rng.normal(size=(1500, 3)) + 0.4, rng.random(1500) + 0.5
    u, scaled = rl.unwrap(net, x, y, w), rl.unwrap(net, x, y, w * unit)
    a, b = diagnose.segments(u), diagnose.segments(scaled)
    assert a.flag.any()
    assert a.rule == b.rule
    np.testing.assert_allclose(a.p, b.p, rtol=1e-6)
    drift, again = diagnose.exposure(u, u, (other, None, v)), diagnose.exposure(scaled, scaled, (other, None, v * unit))
    assert drift.drift[0].drifted
    np.testing.assert_allclose(drift.share_p, again.share_p, rtol=1e-6, atol=1e-300)
    np.testing.assert_allclose(drift.feature_p, again.feature_p, rtol=1e-6, atol=1e-300)


# ---------------------------------------------------------------- labels


LABELS = {
    "numbers": (np.array([1.0, 2.0]), np.array([1.0, 2.0, 3.0])),
    "text": (np.array(["bad", "good"]), np.array(["bad", "fair", "good"])),
    "digits": (np.array(["0", "1"]), np.array(["0", "1", "2"])),
}


@pytest.mark.parametrize("name", ["logit", "softmax"])
@pytest.mark.parametrize("kind", LABELS)
def test_later_tables_have_the_classes_of_the_first(name: str, kind: str) -> None:
    """A table with some of the labels only was coded anew: accuracies turned from 1 to 0."""
    net = NETS[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, 3))
    said = net.predict(x).argmax(axis=1) if name == "softmax" else (net.decision(x)[:, 0] > 0).astype(int)
    code = np.where(rng.random(N) < 0.2, rng.integers(0, 2 + (name == "softmax"), N), said)
    y = LABELS[kind][name == "softmax"][code]
    u = rl.unwrap(net, x, y)
    assert [str(c) for c in u.network.classes] == [str(c) for c in LABELS[kind][name == "softmax"]]
    if name == "softmax":
        assert u.network.outputs == tuple(str(c) for c in u.network.classes)
    some = code == code[0]
    scores = diagnose.performance(u, x[some], y[some]).network
    assert scores.of("accuracy")[0] == pytest.approx(np.mean(said[some] == code[some]))
    assert diagnose.segments(u, x[some], y[some]).overall == pytest.approx(scores.of("log_loss")[0][0])
    np.testing.assert_array_equal(rl.unwrap(u.network, x[some], y[some]).sample.y, code[0])
    with pytest.raises(TargetError, match="ugly"):
        diagnose.performance(u, x, np.where(some, "ugly", y.astype(object)))
    # unwrapped on its own it has other classes: refused where a response is compared
    alone = rl.unwrap(net, x, np.array(["x", "y", "z"])[code])
    for verb in (diagnose.performance, diagnose.segments, diagnose.extrapolation):
        with pytest.raises(ArgumentError, match=r"names no classes.*Unwrap it with u\.network"):
            verb(u, alone)


def test_trust_refuses_rows_of_another_network() -> None:
    u, _ = both("logit")
    other = rl.unwrap(random_network([3, 9, 6, 1], seed=7, link="logit"), table("logit")[0])
    with pytest.raises(ArgumentError, match="another network"):
        diagnose.extrapolation(u, other)
