"""Importance: its two definitions against loops over rows, the published numbers, and what may not change it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import relucidate as rl
from paper_cases import cocircles
from relucidate.errors import ArgumentError
from relucidate.features import Feature, Features
from relucidate.importances import Importance, Spread, importance
from relucidate.layers import Activation, Layer, is_sparse
from relucidate.network import Network
from small_networks import SPECIMENS, random_network, rows_for

KINDS = ("variance", "coefficients")
SUMS = 1e-9  # relative: sums in another order differ in the last places


def unwrapped(net: Network, n: int = 60, weighted: bool = False) -> rl.Unwrapped:
    x = rows_for(net, n)
    weight = np.random.default_rng(1).integers(0, 4, len(x)) + (np.arange(len(x)) == 0) if weighted else None
    return rl.unwrap(net, x, sample_weight=weight)


def grouped(link: str = "identity", outputs: int = 1) -> tuple[Network, pd.DataFrame]:
    """A network with a one-hot column of three levels between two numbers."""
    items = (
        Feature("age", "age"),
        *(Feature(f"town={t}", "town", "level", (t,)) for t in "ABC"),
        Feature("debt", "debt"),
    )
    features = Features(items, ("age", "town", "debt"), True)
    net = replace(random_network([5, 9, 7, outputs], seed=3, link=link), features=features)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"age": rng.normal(size=80), "town": rng.choice(list("AABC"), 80), "debt": rng.normal(size=80)}
    )
    return net, frame


def slow(u: rl.Unwrapped, kind: str) -> tuple[Any, Any]:
    """Numerators (K, n_groups) from a loop over rows, and the weighted mean coefficients (K, d)."""
    net, s = u.network, u.sample
    K, d = net.n_outputs, net.n_features
    x, w = s.x, s.weights / s.weights.sum()
    mean = np.average(x, axis=0, weights=w)
    effect, squares, slope = np.zeros((len(x), K, len(net.features.groups))), np.zeros((K, d)), np.zeros((K, d))
    for i in range(len(x)):
        coef = np.array(u.coef[int(s.region[i])])
        if net.link == "softmax":
            coef = coef - coef.mean(axis=0)
        squares += w[i] * coef**2
        slope += w[i] * coef
        for g, (_, at) in enumerate(net.features.groups):
            for j in at:
                effect[i, :, g] += coef[:, j] * (x[i, j] - mean[j])
    if kind == "coefficients":
        return np.stack([squares[:, list(at)].sum(axis=1) for _, at in net.features.groups], axis=1), slope
    centre = np.tensordot(w, effect, axes=1)
    return np.tensordot(w, (effect - centre) ** 2, axes=1), slope


def shares(size: Any) -> Any:
    total = size.sum(axis=-1, keepdims=True)
    return np.divide(size, total, out=np.zeros_like(size), where=total > 1e-25)


# ---------------------------------------------------------------- definitions


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SPECIMENS)
def test_shares_are_their_definition(name: str, kind: Any, weighted: bool) -> None:
    u = unwrapped(SPECIMENS[name], weighted=weighted)
    found = importance(u, kind=kind)
    size, slope = slow(u, kind)
    np.testing.assert_allclose(found.share, shares(size), rtol=SUMS, atol=1e-12)
    np.testing.assert_allclose(found.mean_slope, slope, rtol=SUMS, atol=1e-12)
    together = (shares(size) if u.network.link == "identity" else size).sum(axis=0)
    np.testing.assert_allclose(found.overall, shares(together), rtol=SUMS, atol=1e-12)
    w = u.sums.weight / u.sums.weight.sum()
    raw = np.asarray(u.coef)
    if u.network.link != "softmax":
        np.testing.assert_allclose(found.share_positive, np.tensordot(w, raw > 0, axes=1), rtol=SUMS)
        np.testing.assert_allclose(found.share_negative, np.tensordot(w, raw < 0, axes=1), rtol=SUMS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("link", "outputs"), [("identity", 1), ("softmax", 3)])
def test_indicators_of_one_column_count_as_one(kind: Any, link: str, outputs: int) -> None:
    net, frame = grouped(link, outputs)
    u = rl.unwrap(net, frame)
    found = importance(u, kind=kind)
    assert found.names == ("age", "town", "debt")
    np.testing.assert_allclose(found.share, shares(slow(u, kind)[0]), rtol=SUMS)
    assert np.isnan(found.mean_slope[:, 1]).all()
    assert np.isnan(found.share_positive[:, 1]).all()
    assert np.isfinite(found.mean_slope[:, [0, 2]]).all()


def test_effect_of_a_column_is_summed_before_its_variance_is_taken() -> None:
    """An effect that all levels share moves nothing, however large the coefficients are."""
    net, frame = grouped()
    first, *rest = net.layers
    weight = np.array(first.weight)
    weight[:, 1:4] = 7.0
    u = rl.unwrap(replace(net, layers=(replace(first, weight=weight), *rest)), frame)
    assert importance(u).share[0, 1] == 0
    assert importance(u, kind="coefficients").share[0, 1] > 0.3


def test_circles_have_the_published_importance() -> None:
    case = cocircles()
    u = rl.unwrap(rl.load((list(case.weights), list(case.biases)), link="logit"), case.X_train)
    found = importance(u, kind="coefficients")
    assert np.round(100 * found.share[0], 2).tolist() == [48.26, 51.74]
    np.testing.assert_allclose(found.share[0], case.expected["importance"], rtol=1e-9)
    assert found.n_rows == 1600


# ---------------------------------------------------------------- what may not change it


def rescaled(net: Network, factor: Any) -> Network:
    first, *rest = net.layers
    weight: Any = first.weight.toarray() if is_sparse(first.weight) else first.weight
    return replace(net, layers=(Layer(weight / factor, first.bias, first.activation, first.name), *rest))


@pytest.mark.parametrize("name", ["lines", "deep", "five classes", "three outputs", "mixed"])
def test_variance_depends_on_no_unit_and_squared_coefficients_do(name: str) -> None:
    net = SPECIMENS[name]
    factor = 10.0 ** np.arange(net.n_features)
    x = rows_for(net)
    u, other = rl.unwrap(net, x), rl.unwrap(rescaled(net, factor), x * factor)
    np.testing.assert_allclose(importance(other).share, importance(u).share, rtol=1e-6)
    np.testing.assert_allclose(importance(other).mean_slope, importance(u).mean_slope / factor, rtol=1e-6)
    first, second = (importance(v, kind="coefficients").share for v in (u, other))
    assert np.abs(first - second).max() > 0.1
    for kind in KINDS:
        found = importance(u, kind=kind)  # type: ignore[arg-type]
        assert ("one scale" in found.caveat) == (kind == "coefficients")


def test_moving_the_rows_changes_nothing() -> None:
    net = SPECIMENS["deep"]
    x, far = rows_for(net), np.array([1e6, -3e5, 2e6])
    first, *rest = net.layers
    moved = replace(net, layers=(replace(first, bias=first.bias - np.asarray(first.weight) @ far), *rest))
    # a row at 1e6 keeps ten digits of what it was
    np.testing.assert_allclose(
        importance(rl.unwrap(moved, x + far)).share, importance(rl.unwrap(net, x)).share, rtol=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_added_to_all_logits_changes_nothing(kind: Any) -> None:
    net = SPECIMENS["five classes"]
    x = rows_for(net)
    v = np.array([3.0, -2.0, 0.5, 1.0])
    skip = np.vstack([np.eye(4), -np.eye(4)])  # v·x = v·relu(x) - v·relu(-x), carried through two layers
    first, second, last = net.layers

    w1 = np.vstack([first.weight, skip])
    w2 = np.block([[np.asarray(second.weight), np.zeros((10, 8))], [np.zeros((8, 10)), np.eye(8)]])
    w3 = np.hstack([np.asarray(last.weight), np.tile(np.r_[v, -v], (5, 1))])
    layers = (
        Layer(w1, np.r_[first.bias, np.zeros(8)], Activation.of_kind("relu", 18), ""),
        Layer(w2, np.r_[second.bias, np.zeros(8)], Activation.of_kind("relu", 18), ""),
        Layer(w3, last.bias + 11.0, last.activation, ""),
    )
    more = replace(net, layers=layers)
    np.testing.assert_allclose(more.decision(x) - net.decision(x), np.tile(x @ v + 11, (5, 1)).T, atol=1e-12)
    x = x[1:]  # the row of zeros, where the two added neurons of a feature are both off
    x = x[(x != 0).all(axis=1)]
    one, other = importance(rl.unwrap(net, x), kind=kind), importance(rl.unwrap(more, x), kind=kind)
    np.testing.assert_allclose(other.share, one.share, rtol=1e-9)
    np.testing.assert_allclose(other.overall, one.overall, rtol=1e-9)
    np.testing.assert_allclose(other.mean_slope, one.mean_slope, atol=1e-12)
    np.testing.assert_allclose(one.mean_slope.sum(axis=0), 0, atol=1e-12)


def test_outputs_in_other_units_count_alike_together() -> None:
    net = SPECIMENS["three outputs"]
    *hidden, last = net.layers
    unit = np.array([1.0, 1000.0, 1e-3])
    other = replace(net, layers=(*hidden, replace(last, weight=last.weight * unit[:, None], bias=last.bias * unit)))
    x = rows_for(net)
    for kind in KINDS:
        a, b = (importance(rl.unwrap(n, x), kind=kind) for n in (net, other))  # type: ignore[arg-type]
        np.testing.assert_allclose(a.overall, b.overall, rtol=1e-9)
        np.testing.assert_allclose(a.share, b.share, rtol=1e-9)


def test_doubled_rows_and_weights_are_the_same() -> None:
    net = SPECIMENS["one logit"]
    x = rows_for(net)
    weight = np.arange(len(x)) % 3
    u, other = rl.unwrap(net, x, sample_weight=weight), rl.unwrap(net, np.repeat(x, weight, axis=0))
    for kind in KINDS:
        a, b = (importance(v, kind=kind) for v in (u, other))  # type: ignore[arg-type]
        np.testing.assert_allclose(a.share, b.share, rtol=1e-9)
        np.testing.assert_allclose(a.share_positive, b.share_positive, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_network_has_no_importance(kind: Any) -> None:
    found = importance(unwrapped(SPECIMENS["dead"]), kind=kind)
    assert not found.share.any()
    assert not found.overall.any()
    assert not found.share_positive.any()


def test_a_constant_feature_has_none() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net)
    x[:, 1] = 0.1
    assert importance(rl.unwrap(net, x)).share[0, 1] == 0


# ---------------------------------------------------------------- blocks, tables, errors


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    u = unwrapped(SPECIMENS["five classes"], n=300, weighted=True)
    whole = importance(u)
    monkeypatch.setattr("relucidate.importances._CELLS", 1)
    np.testing.assert_allclose(importance(u).share, whole.share, rtol=1e-12)


def test_spread_is_the_variance_of_all_blocks() -> None:
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=(100, 2, 3)) + 1e6, rng.random(100)
    held = Spread((2, 3))
    for start in range(0, 100, 7):
        held.add(values[start : start + 7], weight[start : start + 7])
    held.add(values[:3], np.zeros(3))
    mean = np.average(values, axis=0, weights=weight)
    np.testing.assert_allclose(held.variance, np.average((values - mean) ** 2, axis=0, weights=weight), rtol=1e-9)
    assert not Spread((2,)).variance.any()


def test_table_has_the_most_important_of_each_output_first() -> None:
    found = importance(unwrapped(SPECIMENS["three outputs"]))
    frame = found.to_frame()
    assert list(frame) == ["output", "feature", "importance", "mean_slope", "share_positive"]
    assert len(frame) == 3 * 4
    for k, (output, part) in enumerate(frame.groupby("output", sort=False)):
        assert output == f"y{k}"
        assert (np.diff(part["importance"]) <= 0).all()
        at = [found.names.index(f) for f in part["feature"]]
        np.testing.assert_array_equal(part["importance"], found.share[k, at])
        np.testing.assert_array_equal(part["mean_slope"], found.mean_slope[k, at])
        np.testing.assert_array_equal(part["share_positive"], found.share_positive[k, at])
    assert (np.diff(found.overall[found.order]) <= 0).all()


def test_a_sample_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relucidate.sampling.MAX_ROWS", 20)
    u = unwrapped(SPECIMENS["lines"])
    assert importance(u).caveat == " (on a sample of 20 of 60 rows)"
    assert importance(u).n_rows == 20
    assert importance(u, kind="coefficients").n_rows == 60


def test_another_kind_is_refused() -> None:
    with pytest.raises(ArgumentError, match="kind is 'gain'; expected 'variance' or 'coefficients'"):
        importance(unwrapped(SPECIMENS["abs"]), kind="gain")  # type: ignore[arg-type]


def test_it_is_in_interpret() -> None:
    assert rl.interpret.importance is importance
    assert rl.interpret.Importance is Importance


@pytest.mark.parametrize("size", [1e160, 1e200])
@pytest.mark.parametrize(
    "verb", ["importance", "profile", "pairs", "coefficients", "directions", "intercepts", "stability"]
)
def test_values_too_large_to_be_squared_are_refused(verb: str, size: float) -> None:
    from relucidate import interpret
    from relucidate.errors import NumericalOverflowError

    net = random_network([3, 6, 1], seed=7)
    x = np.random.default_rng(0).normal(size=(40, 3))
    x[7, 2] = size
    calls: dict[str, Any] = {
        "profile": lambda u: interpret.profile(u, 0),
        "stability": lambda u: interpret.stability([u.network, u.network], x),
    }
    call = calls.get(verb, getattr(interpret, verb))
    with pytest.raises(NumericalOverflowError, match=r"Values of 'x2' reach 1e\+[12].*unwrap without their rows"):
        call(rl.unwrap(net, x))


@pytest.mark.parametrize("verb", ["importance", "directions", "intercepts", "pairs", "profile", "explain"])
def test_what_was_not_unwrapped_is_refused(verb: str) -> None:
    from relucidate import interpret, simplify

    u = unwrapped(SPECIMENS["deep"])
    more: dict[str, Any] = {"profile": (0,), "explain": (u.sample.x,)}
    for wrong in (u.network, simplify.single(u), "model.onnx"):
        with pytest.raises(
            ArgumentError, match=r"Expected an Unwrapped, got a (Network|Simplified|str)\. Give what unwrap"
        ):
            getattr(interpret, verb)(wrong, *more.get(verb, ()))


def test_shares_of_rows_are_at_most_all() -> None:
    net = random_network([3, 40, 1], seed=1)
    x = rows_for(net, 900)
    u = rl.unwrap(net, x, None, np.random.default_rng(0).random(900))
    found = importance(u)
    assert (found.share_positive <= 1).all()
    assert (found.share_negative <= 1).all()
    assert not importance(rl.unwrap(net, x[:1])).varies
    assert "1 row:" in repr(importance(rl.unwrap(net, x[:1])))


def test_a_share_that_rounds_above_1_is_1(monkeypatch: pytest.MonkeyPatch) -> None:
    u = rl.unwrap(random_network([2, 3, 1], seed=1), np.full((4, 2), 0.5))
    monkeypatch.setattr(type(u), "share", property(lambda self: np.full(self.n_regions, 1 + 1e-15)))
    found = importance(u)
    assert np.fmax(found.share_positive, found.share_negative).max() == 1.0
