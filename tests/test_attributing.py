"""Integrated gradients add up, and are what a sum of very many steps comes near to."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import relucidate as rl
from relucidate import examples
from relucidate.attributing import _complete, _sigmoid_steepness
from relucidate.errors import ArgumentError, DataError, UnfaithfulError
from relucidate.interpret import integrated_gradients
from relucidate.network import Network
from small_networks import SPECIMENS, random_network, rows_for

NAMES = sorted(SPECIMENS)


def with_link(net: Network, link: Any) -> Network:
    return replace(net, link=link, classes=())


def in_steps(net: Network, x: Any, baseline: Any, scale: str, steps: int = 20_000) -> Any:
    """The definition, as a sum over midpoints; gradients are the maps of their patterns, chained with the link's slope."""
    t = (np.arange(steps) + 0.5) / steps
    rows = baseline + t[:, None] * (x - baseline)
    gradient, _ = net.affine_maps(net.patterns(rows))
    if scale == "prediction":
        p = net.predict(rows)
        if net.link == "logit":
            gradient = (p * (1 - p))[:, :, None] * gradient
        elif net.link == "log":
            gradient = p[:, :, None] * gradient
        else:
            mean = np.einsum("nk,nkd->nd", p, gradient)
            gradient = p[:, :, None] * (gradient - mean[:, None])
    return (x - baseline) * gradient.mean(axis=0)


@pytest.mark.parametrize("name", NAMES)
def test_attributions_add_up(name: str) -> None:
    net = SPECIMENS[name].identified
    x = rows_for(net, 60)
    found = integrated_gradients(net, x[:40], x[40:45])
    gain = net.decision(x[:40]) - net.decision(x[40:45]).mean(axis=0)
    # some hundred roundings of values of size 10
    np.testing.assert_allclose(found.values.sum(axis=2), gain, atol=1e-12)
    assert found.completeness < 1e-13


@pytest.mark.parametrize("link", ["identity", "logit", "log", "softmax"])
@pytest.mark.parametrize("scale", ["decision", "prediction"])
@pytest.mark.parametrize("name", ["deep", "five classes", "mixed", "linear", "sparse"])
def test_attributions_are_the_integral(name: str, scale: Any, link: str) -> None:
    net = with_link(SPECIMENS[name], link).identified
    x = rows_for(net, 10, seed=3)
    found = integrated_gradients(net, x[7:9], x[6], scale=scale)
    for i in range(2):
        # a step that meets a breakpoint is wrong by at most its length times the jump of the slope; there are some 30
        expected = in_steps(net, x[7 + i], x[6], found.scale)
        np.testing.assert_allclose(found.values[i], expected, atol=3e-3 * (1 + np.abs(expected).max()) / 3)
    if scale == "prediction" and link != "identity":
        np.testing.assert_allclose(found.output, net.predict(x[7:9]), rtol=1e-12)
        np.testing.assert_allclose(found.values.sum(axis=2), net.predict(x[7:9]) - net.predict(x[6:7]), atol=1e-12)


def test_a_large_network_adds_up() -> None:
    net = random_network([20, *[256] * 6, 1], seed=3)
    x = np.random.default_rng(0).normal(size=(5, 20))
    found = integrated_gradients(net, x, np.zeros(20))
    gain = (net.decision(x) - net.decision(np.zeros((1, 20))))[:, 0]
    assert np.abs(found.values[:, 0].sum(axis=1) - gain).max() <= 1e-9 * np.abs(gain).max()
    assert found.n_pieces > 1000


def test_the_bundled_example_adds_up_on_both_scales() -> None:
    example = examples.home_lending()
    net = rl.load(example.model)
    u = rl.unwrap(net, example.train, example.target)
    for scale in ("decision", "prediction"):
        found = integrated_gradients(u, u.sample.x[:1000], scale=scale)  # type: ignore[arg-type]
        gain = (found.output - found.base)[:, 0]
        assert np.abs(found.values[:, 0].sum(axis=1) - gain).max() <= 1e-9 * np.abs(gain).max()
    assert found.baseline == "the mean row"
    np.testing.assert_allclose(found.output, net.predict(u.sample.x[:1000]), rtol=1e-12)


def test_baselines_are_averaged_by_weight() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 30)
    each = [integrated_gradients(net, x[:5], x[20 + i]).values for i in range(3)]
    found = integrated_gradients(net, x[:5], x[20:23], baseline_weight=[1, 0, 3])
    np.testing.assert_allclose(found.values, each[0] / 4 + 3 * each[2] / 4, atol=1e-13)
    np.testing.assert_allclose(found.base, (net.decision(x[20:21]) + 3 * net.decision(x[22:23]))[0] / 4, atol=1e-13)
    assert found.baseline == "3 rows"


def test_a_feature_that_does_not_move_or_matter_gets_nothing() -> None:
    net = random_network([4, 9, 9, 1], seed=5)
    first = net.layers[0]
    weight = np.array(first.weight)
    weight[:, 2] = 0
    net = replace(net, layers=(replace(first, weight=weight), *net.layers[1:]))
    x = rows_for(net, 20)
    x[:, 1] = 0.7
    found = integrated_gradients(net, x[:10], x[12])
    assert (found.values[:, :, [1, 2]] == 0).all()
    assert (found.values[:, :, 0] != 0).any()


def test_the_slope_of_a_sigmoid_between_any_two_numbers() -> None:
    rng = np.random.default_rng(0)
    a = np.concatenate([rng.normal(size=50) * 5, [0.0, 3.0, -800.0, 900.0, 2.0, 1.0]])
    b = np.concatenate([rng.normal(size=50) * 5, [0.0, 3.0, 900.0, 901.0, 2 + 1e-9, 1.1]])
    found = _sigmoid_steepness(a, b)
    long = np.longdouble
    p, q = 1 / (1 + np.exp(-a.astype(long))), 1 / (1 + np.exp(-b.astype(long)))
    with np.errstate(invalid="ignore"):
        expected = np.where(np.abs(b - a) > 0.01, (q - p) / (b - a), p * (1 - p))
    far = np.abs(b - a) > 0.01
    np.testing.assert_allclose(found[far], expected[far].astype(float), rtol=1e-13)
    # the mean slope is that in the middle up to the square of the distance
    np.testing.assert_allclose(found[~far & (a < 100)], expected[~far & (a < 100)].astype(float), rtol=1e-8)


def test_groups_add_up_and_the_frame_names_them() -> None:
    net = SPECIMENS["five classes"].identified
    x = rows_for(net, 10)
    found = integrated_gradients(net, x[:2], x[5])
    frame = found.to_frame()
    assert len(frame) == 2 * 5 * 4
    row = frame[(frame["row"] == 1) & (frame["output"] == net.outputs[3])]
    np.testing.assert_array_equal(row["attribution"], found.values[1, 3])
    np.testing.assert_array_equal(row["value"], x[1])
    assert row["feature"].tolist() == list(net.feature_names)


def test_what_cannot_be_done_is_refused() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 10)
    with pytest.raises(ArgumentError, match="scale is 'logit'"):
        integrated_gradients(net, x, x[0], scale="logit")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="only a network was given"):
        integrated_gradients(net, x)
    with pytest.raises(ArgumentError, match="baseline is 'zero'"):
        integrated_gradients(net, x, "zero")
    with pytest.raises(ArgumentError, match=r"baseline_weight has shape \(1,\)"):
        integrated_gradients(net, x, x[:2], baseline_weight=[1])
    with pytest.raises(DataError, match="The baseline has no rows"):
        integrated_gradients(net, x, x[:0])


def test_sums_that_are_wrong_are_an_error() -> None:
    net = SPECIMENS["deep"]
    x = rows_for(net, 10)[:3]
    rows = np.zeros((1, 3))
    values = np.ones((3, 1, 3))
    output, base = np.full((3, 1), 3.0), np.zeros(1)
    assert _complete(net, "decision", values, output, base, x, rows) == 0
    output[1] += 1e-7
    with pytest.raises(UnfaithfulError, match="Row 1: attributions add up to"):
        _complete(net, "decision", values, output, base, x, rows)
    with pytest.raises(UnfaithfulError, match="Row 0"):
        _complete(net, "decision", values * np.nan, output, base, x, rows)


def test_what_rounding_explains_is_no_error() -> None:
    """Seconds since 1970 over one minute: a network that scales them back cancels ten digits."""
    rng = np.random.default_rng(0)
    small = random_network([3, 9, 9, 1], seed=1)
    first = small.layers[0]
    scale = np.array([1.0, 1.0, 1 / 17])
    middle = np.array([0.0, 0.0, 1.7e9])
    weight = np.asarray(first.weight) * scale
    net = replace(small, layers=(replace(first, weight=weight, bias=first.bias - weight @ middle), *small.layers[1:]))
    x = rng.normal(size=(20, 3))
    x[:, 2] = 1.7e9 + rng.uniform(0, 60, 20)
    found = integrated_gradients(net, x, x[0])
    gain = net.decision(x) - net.decision(x[:1])
    assert np.abs(found.values.sum(axis=2) - gain).max() < 1e-5
    assert np.isfinite(rl.interpret.partial_dependence(net, x, 2).effect).all()


def test_two_networks_that_predict_the_same_have_the_same_attributions() -> None:
    net = SPECIMENS["five classes"]
    last = net.layers[-1]
    hidden = np.asarray(last.weight)
    shifted = replace(net, layers=(*net.hidden, replace(last, weight=hidden + 3.0, bias=last.bias - 1)))
    x = rows_for(net, 20)
    np.testing.assert_allclose(net.predict(x), shifted.predict(x), atol=1e-13)
    for scale in ("decision", "prediction"):
        one = integrated_gradients(net, x[:5], x[9], scale=scale)  # type: ignore[arg-type]
        two = integrated_gradients(shifted, x[:5], x[9], scale=scale)  # type: ignore[arg-type]
        np.testing.assert_allclose(one.values, two.values, atol=1e-12)
    np.testing.assert_allclose(
        rl.interpret.path(net, x[0], x[5]).slope, rl.interpret.path(shifted, x[0], x[5]).slope, atol=1e-12
    )
    np.testing.assert_allclose(
        rl.interpret.ale(net, x, 0).effect[-1], rl.interpret.ale(shifted, x, 0).effect[-1], atol=1e-12
    )
