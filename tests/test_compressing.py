"""Compression: the smaller network is the same function on the box, and what was removed was proved to be idle there."""

from __future__ import annotations

from fractions import Fraction
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

import rational
import relucidate as rl
from relucidate import linear_bounds
from relucidate.compressing import as_box, compress
from relucidate.errors import ArgumentError, ColumnError, UnfaithfulError
from relucidate.features import Feature, Features
from relucidate.layers import Activation, Layer
from relucidate.linear_bounds import Relaxed, lower_bounds
from relucidate.network import Network
from relucidate.ranges import Range, affine_range
from small_networks import SPECIMENS, integers, mixed, network, random_network

BOXES = {"cube": (-1.0, 1.0), "corner": (0.0, 0.3), "point": (0.5, 0.5), "half line": (0.0, np.inf)}


def columns(result: Any) -> list[list[int]]:
    """Per hidden layer: before, dead, always on, joined, without influence, carried, after."""
    return result.to_frame().to_numpy().tolist()


def inside(net: Network, box: Any, n: int = 40, seed: int = 0) -> Any:
    lower, upper = as_box(net, box)
    rng = np.random.default_rng(seed)
    lower = np.where(np.isinf(lower), np.minimum(upper, 0) - 100 if np.isfinite(upper).all() else -100.0, lower)
    upper = np.minimum(upper, lower + 200)
    share = np.vstack([rng.random((n, net.n_features)), rng.integers(0, 2, (n, net.n_features))])
    return np.clip(lower + share * (upper - lower), lower, upper)


def agree(small: Network, net: Network, X: Any) -> None:
    theirs = net.decision(X)
    assert (np.abs(small.decision(X) - theirs) <= 1e-12 * (1 + np.abs(theirs))).all()


def preactivations(net: Network, x: Any) -> list[list[Fraction]]:
    """Of each hidden layer, exactly."""
    a, out = rational.rational(x), []
    for layer in net.hidden:
        out.append(rational.affine(layer, a))
        a = [
            rational.on_piece(layer.activation, j, sum(z > b for b in rational.breakpoints(layer.activation, j)), z)
            for j, z in enumerate(out[-1])
        ]
    return out


# ---------------------------------------------------------------- laws


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("name", SPECIMENS)
def test_every_specimen_keeps_its_function_on_the_box(name, box):
    net = SPECIMENS[name]
    result = compress(net, BOXES[box], check_rows=500)
    agree(result.network, net, inside(net, BOXES[box]))
    r = result.removed
    assert (r.after == r.before - r.dead - r.always_on - r.joined - r.without_influence + r.carried).all()
    assert sum(len(layer.bias) for layer in result.network.hidden) == r.after.sum()
    assert sum(len(layer.bias) for layer in result.network.hidden) <= sum(len(layer.bias) for layer in net.hidden)
    assert result.network.features == net.features
    assert result.network.n_bits + len(result.proof) <= net.n_bits
    assert result.faithfulness.n >= 500


CASES = st.tuples(
    st.integers(0, 10**6),
    st.sampled_from(["relu", mixed, "identity", "abs"]),
    st.sampled_from(["integers", "reals", "sparse"]),
    st.sampled_from([(-1.0, 1.0), (0.0, 1.0), (-0.1, 0.2), (2.0, 2.0), (-np.inf, 0.0)]),
)


def drawn(seed, kind, weights):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, size=rng.integers(2, 6)).tolist()
    net = random_network(sizes, seed, kind, draw=integers(seed) if weights == "integers" else None)
    if weights == "sparse":
        layers = (
            Layer(
                csr_array(np.where(rng.random(layer.weight.shape) < 0.5, layer.weight, 0)), layer.bias, layer.activation
            )
            for layer in net.layers
        )
        net = Network(tuple(layers), net.features)
    return net


@settings(max_examples=80, deadline=None)
@given(CASES)
def test_the_function_on_the_box_is_kept_and_bounds_hold_exactly(case):
    *how, box = case
    net = drawn(*how)
    result = compress(net, box, check_rows=200)
    X = inside(net, box, 12)
    agree(result.network, net, X)
    exact = [preactivations(net, x) for x in X]
    for facts in (result.proof, result.undecided):
        for i, j, low, high, number in zip(facts.layer, facts.neuron, facts.low, facts.high, facts.round, strict=True):
            values = [z[i][j] for z in exact]
            # later rounds bound what folding has rounded
            slack = Fraction(0) if number == 1 else Fraction(1e-12) * (1 + max(map(abs, values)))
            assert low == -np.inf or min(values) >= Fraction(low) - slack
            assert high == np.inf or max(values) <= Fraction(high) + slack
    p = result.proof
    assert ((p.at <= p.low) | (p.at >= p.high)).all()


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_compressing_again_finds_nothing_that_the_first_time_kept_for_certain(case):
    *how, box = case
    once = compress(drawn(*how), box, check_rows=50)
    twice = compress(once.network, box, check_rows=50)
    agree(twice.network, once.network, inside(once.network, box))
    assert twice.removed.after.sum() <= once.removed.after.sum()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_no_corner_and_no_face_of_the_box_contradicts_a_proof(seed, d):
    """Neurons of a first layer take their extremes at corners: there the verdict is known without bounds."""
    net = random_network([d, 6, 5, 1], seed, draw=integers(seed))
    result = compress(net, (-1.0, 1.0), check_rows=50)
    corners = [preactivations(net, corner) for corner in product((-1.0, 1.0), repeat=d)]
    proved = set(zip(result.proof.layer.tolist(), result.proof.neuron.tolist(), strict=True))
    for j in range(6):
        values = [z[0][j] for z in corners]
        assert ((0, j) in proved) == (max(values) <= 0 or min(values) >= 0)


# ---------------------------------------------------------------- what is known by construction


def with_bias(net: Network, layer: int, neurons: Any, by: float) -> Network:
    layers = list(net.layers)
    bias = layers[layer].bias.copy()
    bias[neurons] += by
    layers[layer] = Layer(layers[layer].weight, bias, layers[layer].activation)
    return Network(tuple(layers), net.features, net.link)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_neurons_that_are_never_or_always_on_go(layer):
    net = random_network([4, 9, 9, 9, 2], seed=3)
    never, always = [0, 4], [2, 3, 8]
    net = with_bias(with_bias(net, layer, never, -50), layer, always, 50)
    result = compress(net, (-1.0, 1.0), check_rows=2000)
    fate = result.to_frame().loc[layer]
    assert fate["dead"] >= 2
    assert fate["always_on"] >= 3
    facts = set(zip(result.proof.layer.tolist(), result.proof.neuron.tolist(), strict=True))
    assert {(layer, j) for j in never + always} <= facts
    agree(result.network, net, inside(net, (-1.0, 1.0)))


def test_what_reaches_only_its_breakpoint_is_decided_without_room_for_rounding():
    # 0.1 + 0.2 and 0.3 differ by less than a bound on their rounding; the exact sum is what counts
    net = network(
        [np.array([[1.0, 1.0], [-0.1, -0.2], [0.7, -0.7]]), np.ones((1, 3))], [np.array([0.0, 0.0, -0.7]), [0.0]]
    )
    assert columns(compress(net, (0.0, 1.0))) == [[3, 2, 1, 0, 0, 0, 0]]


def test_a_network_that_is_linear_on_the_box_becomes_one_layer():
    net = random_network([3, 8, 8, 2], seed=1, kind=lambda m: Activation.of_kind("leaky_relu", m, 0.1))
    for i in (0, 1):
        net = with_bias(net, i, slice(None), 100)
    result = compress(net, (-1.0, 1.0))
    assert len(result.network.layers) == 1
    assert columns(result) == [[8, 0, 8, 0, 0, 0, 0]] * 2
    agree(result.network, net, inside(net, (-1.0, 1.0)))


def test_a_dead_network_becomes_a_constant():
    result = compress(SPECIMENS["dead"], (-5.0, 5.0))
    (layer,) = result.network.layers
    assert not layer.weight.any()
    assert layer.weight.shape == (1, 3)
    assert layer.bias == SPECIMENS["dead"].layers[-1].bias
    assert columns(result) == [[6, 0, 0, 0, 6, 0, 0], [4, 4, 0, 0, 0, 0, 0]]


def test_pieces_of_a_clip_that_are_not_reached_go():
    net = random_network([3, 5, 1], seed=2, kind=lambda m: Activation.of_kind("clip", m, -100.0, 0.0))
    result = compress(net, (-1.0, 1.0))
    assert (result.proof.breakpoint == 0).sum() == 5
    switching = [layer.activation for layer in result.network.hidden]
    assert all(a.breakpoints[np.isfinite(a.breakpoints)].tolist() == [0.0] * a.n_bits for a in switching)


def test_later_breakpoints_keep_their_number():
    """Joining makes a second round prove what the first could not; it still names breakpoints of the original."""
    clips = Activation.of_kind("clip", 3, -1.0, 1.0)
    after = Activation.build(2, [-9, 2], [0, 1, 2], [-9, 0, -2])
    layers = (
        Layer(np.array([[1.0], [1.0], [-1.0]]), np.zeros(3), clips),
        Layer(np.array([[0.0, 0.0, 0.0], [3.0, -3.0, 1.0]]), np.zeros(2), after),
        Layer(np.ones((1, 2)), np.zeros(1), Activation.of_kind("identity", 1)),
    )
    result = compress(Network(layers, Features.plain(1)), (-np.inf, np.inf), check_rows=100)
    assert columns(result) == [[3, 0, 0, 1, 1, 0, 1], [2, 1, 1, 0, 0, 0, 0]]
    facts = result.proof.to_frame().query("neuron == 1")[["layer", "breakpoint", "at", "low", "high", "round"]]
    expected = [[1, 0, -9, -7, 7, 1], [1, 1, 2, -1, 1, 2]]
    np.testing.assert_allclose(facts.to_numpy(), expected, rtol=1e-12)  # bounds are rounded outwards


# ---------------------------------------------------------------- joining, influence, carrying


def test_equal_and_proportional_neurons_are_joined_and_opposite_ones_are_not():
    rng = np.random.default_rng(0)
    w, b = rng.normal(size=(4, 3)), rng.normal(size=4)
    factor = np.array([1.0, 3.0, 0.1, 1 / 7])[:, None]
    first = np.vstack([w, w * factor, -w])
    bias = np.r_[b, b * factor[:, 0], -b]
    net = network([first, rng.normal(size=(2, 12))], [bias, rng.normal(size=2)])
    result = compress(net, (-np.inf, np.inf))
    assert columns(result) == [[12, 0, 0, 4, 0, 0, 8]]
    agree(result.network, net, rng.normal(size=(1000, 3)))


def test_only_neurons_that_are_equal_to_rounding_are_joined():
    w = np.array([[1.0, -0.7], [1.0, -0.7 * (1 + 1e-12)]])
    net = network([w, np.ones((1, 2))], [np.array([0.1, 0.1]), np.zeros(1)])
    assert compress(net, (-1.0, 1.0)).removed.joined.tolist() == [0]
    result = compress(net, (-1.0, 1.0), tolerance=1e-10)
    assert result.removed.joined.tolist() == [1]
    with pytest.raises(UnfaithfulError, match=r"compressed network.*differs"):
        compress(net, (-1.0, 1.0), tolerance=1e-10, max_difference=1e-16)


@pytest.mark.parametrize("kind", ["leaky_relu", "clip", "abs"])
def test_activations_join_with_what_they_are_homogeneous_with(kind):
    parameters = {"leaky_relu": (np.array([0.1, 0.1, 0.2, 0.1]),), "clip": (-1.0, 1.0), "abs": ()}[kind]

    def activation(m):
        return Activation.of_kind("identity" if m == 1 else kind, m, *parameters[: m - 1])

    w = np.array([[1.0, 2.0], [2.0, 4.0], [1.0, 2.0], [1.0, 2.0]])
    net = network([w, np.ones((1, 4))], [np.zeros(4), np.zeros(1)], kind=activation)
    result = compress(net, (-np.inf, np.inf))
    # another slope is another function, and a clip of twice the value is not twice the clip
    assert result.removed.joined.tolist() == [{"leaky_relu": 2, "clip": 2, "abs": 3}[kind]]
    agree(result.network, net, np.random.default_rng(0).normal(size=(500, 2)))


def test_joined_neurons_that_cancel_take_with_them_what_only_they_used():
    assert columns(compress(SPECIMENS["twins"], (-1.0, 1.0))) == [[16, 0, 0, 8, 8, 0, 0], [8, 8, 0, 0, 0, 0, 0]]


def test_neurons_without_influence_go_in_a_cascade():
    net = random_network([3, 5, 4, 2], seed=4)
    layers = list(net.layers)
    second, last = layers[1].weight.copy(), layers[2].weight.copy()
    last[:, 1:] = 0
    second[0, 2:] = 0
    layers[1], layers[2] = (
        Layer(second, layers[1].bias, layers[1].activation),
        Layer(last, layers[2].bias, layers[2].activation),
    )
    result = compress(Network(tuple(layers), net.features), (-np.inf, np.inf))
    assert result.removed.without_influence.tolist() == [3, 3]
    assert result.removed.after.tolist() == [2, 1]


@pytest.mark.parametrize(("widths", "carried"), [((3, 40, 20, 1), 3), ((30, 40, 2, 1), 2)])
def test_affine_neurons_are_carried_by_as_few_as_the_narrower_side_needs(widths, carried):
    net = with_bias(random_network(widths, seed=5), 0, slice(1, None), 100)
    result = compress(net, (-1.0, 1.0))
    first = result.to_frame().loc[0]
    assert first["always_on"] == 39
    assert first["carried"] <= carried
    agree(result.network, net, inside(net, (-1.0, 1.0)))


def test_a_bottleneck_of_affine_neurons_is_not_multiplied_out():
    net = random_network([300, 2, 300, 1], seed=0, kind="identity")
    layers = list(net.layers)
    layers[1] = Layer(layers[1].weight, layers[1].bias, Activation.of_kind("relu", 300))
    net = Network(tuple(layers), net.features)
    result = compress(net, (-1.0, 1.0), check_rows=1000, lp=False)
    assert result.network.n_parameters <= net.n_parameters


def test_features_that_the_box_pins_are_folded_but_stay_inputs():
    net = random_network([3, 6, 1], seed=7)
    result = compress(net, (np.array([-1.0, 0.25, -1.0]), np.array([1.0, 0.25, 1.0])))
    assert not result.network.layers[0].weight[:, 1].any()
    assert result.network.n_features == 3
    agree(result.network, net, np.column_stack([np.linspace(-1, 1, 50), np.full(50, 0.25), np.linspace(1, -1, 50)]))


# ---------------------------------------------------------------- bounds, from loose to tight


def diamond(offset: float) -> Network:
    """max(x) + max(y) + … of opposite signs: intervals forget that the same input makes both."""
    first = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]])
    second = np.array([[1.0, 1.0, -1.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
    return network([first, second, np.ones((1, 2))], [np.zeros(4), np.array([-offset, 1.0]), np.zeros(1)])


def test_linear_bounds_decide_what_intervals_do_not():
    # relu(u) + relu(v) - relu(-u) - relu(-v) = u + v = 2 x, never above 2; intervals say 4
    result = compress(diamond(3.5), (-1.0, 1.0), lp=False)
    how = dict(
        zip(zip(result.proof.layer.tolist(), result.proof.neuron.tolist(), strict=True), result.proof.how, strict=True)
    )
    assert how == {(1, 0): "symbolic", (1, 1): "interval"}


def hard(seed: int = 2) -> Network:
    return random_network([3, 12, 12, 12, 1], seed=seed)


def test_linear_programs_decide_what_linear_bounds_do_not():
    without = compress(hard(), (-1.0, 1.0), lp=False)
    result = compress(hard(), (-1.0, 1.0))
    assert set(without.undecided.how) == {"linear programs are off"}
    assert "linear program" in result.proof.how
    assert len(result.proof) > len(without.proof)
    assert result.removed.after.sum() < without.removed.after.sum()
    at = result.proof.how.index("linear program")
    i, j = result.proof.layer[at], result.proof.neuron[at]
    values = [preactivations(hard(), x)[i][j] for x in inside(hard(), (-1.0, 1.0), 100)]
    assert result.proof.low[at] <= min(values) <= max(values) <= result.proof.high[at]


@pytest.mark.parametrize("lie", ["no multipliers", "huge multipliers", "random multipliers", "not a number", "nothing"])
def test_a_solver_that_lies_proves_nothing_false(monkeypatch, lie):
    rng = np.random.default_rng(0)
    honest = linear_bounds._solve

    def lying(objective, matrices, seconds):
        if lie == "nothing":
            return None
        x, y = honest(objective, matrices, seconds)
        values = {"no multipliers": 0.0, "huge multipliers": -1e30, "random multipliers": rng.normal(size=len(y))}
        return np.full_like(x, 1e9), np.full_like(y, values.get(lie, np.nan))

    truth = compress(hard(), (-1.0, 1.0))
    monkeypatch.setattr(linear_bounds, "_solve", lying)
    result = compress(hard(), (-1.0, 1.0))
    agree(result.network, hard(), inside(hard(), (-1.0, 1.0), 500))
    assert "linear program" not in result.proof.how
    assert len(result.undecided) >= len(truth.undecided) + truth.proof.how.count("linear program")


def test_a_solver_that_claims_a_false_optimum_is_not_believed(monkeypatch):
    import scipy.optimize

    honest = scipy.optimize.linprog

    def lying(*arguments, **options):
        found = honest(*arguments, **options)
        found.fun, found.status = 1e6, 0
        found.ineqlin.marginals = np.zeros_like(found.ineqlin.marginals)
        return found

    monkeypatch.setattr(scipy.optimize, "linprog", lying)
    assert "linear program" not in compress(hard(), (-1.0, 1.0)).proof.how


def relaxed_layers(net: Network, box: Any) -> tuple[Any, Any]:
    """Every hidden layer between lines, by intervals alone."""
    box = Range(*as_box(net, box))
    out: list[Any] = []
    for layer in net.hidden:
        out.append(Relaxed.of(layer, affine_range(layer, out[-1].a if out else box)))
    return out, box


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["relu", mixed, "abs"]), st.sampled_from([1e-3, 1.0, 1e6]))
def test_the_bound_holds_whatever_the_multipliers_are(seed, kind, size):
    net = random_network([2, 5, 4, 3], seed, kind)
    layers, box = relaxed_layers(net, (-1.0, 1.0))
    rng = np.random.default_rng(seed)
    last = net.layers[-1]
    values = np.array([rational.evaluate(net, x)[1] for x in inside(net, (-1.0, 1.0), 20, seed)])
    for multipliers in (None, [size * rng.normal(size=(3, len(s.neuron))) for s in layers]):
        bound = lower_bounds(layers, box, last.weight, last.bias, multipliers)
        for k in range(3):
            assert bound[k] == -np.inf or Fraction(bound[k]) <= min(values[:, k])


def test_multipliers_of_the_wrong_sign_are_not_used():
    # relu(x) >= x and relu(-x) >= -x, taken the wrong way round, would say -|x| >= 0
    (layer,), box = relaxed_layers(SPECIMENS["abs"], (-1.0, 1.0))
    wrong = np.where(layer.side > 0, -1.0, 0.0)[None]
    assert lower_bounds([layer], box, -np.ones((1, 2)), np.zeros(1), [wrong])[0] <= -1


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_rounding_of_coefficients_counts_with_the_size_of_what_they_multiply(order):
    # the exact coefficient is -1; added up in most orders, it is 0 in float64
    weight, rows = np.array([[1e16], [1.0], [1e16]])[list(order)], np.array([[1.0, -1.0, -1.0]])[:, list(order)]
    layers, box = relaxed_layers(network([weight, rows], [np.zeros(3), np.zeros(1)]), (1.0, 2.0))
    assert lower_bounds(layers, box, rows, np.zeros(1))[0] <= -2


def test_what_the_time_did_not_suffice_for_is_said():
    result = compress(hard(), (-1.0, 1.0), time_budget=0)
    assert "linear program" not in result.proof.how
    assert "out of time" in result.undecided.how
    assert "breakpoints undecided" in repr(result)
    assert set(compress(SPECIMENS["clip"], (-np.inf, np.inf)).undecided.how) == {"the box is unbounded"}


def test_progress_is_reported():
    met = []
    compress(hard(), (-1.0, 1.0), progress=met.append)
    assert {p.layer for p in met} == {0, 1, 2}
    assert all(p.layers == 3 and p.undecided >= 0 and 0 <= p.seconds_left <= 60 for p in met)


# ---------------------------------------------------------------- boxes


def test_ways_to_give_a_box_agree():
    net = random_network([2, 5, 1], seed=1).with_names(["age", "income"])
    expected = ([0.0, -1.0], [2.0, 1.0])
    rows = np.array([[0.0, 1.0], [2.0, -1.0], [1.0, 0.0]])
    import pandas as pd

    for box in (
        expected,
        {"income": (-1, 1), "age": [0, 2]},
        rows,
        rows.tolist(),
        pd.DataFrame(rows[:, ::-1], columns=["income", "age"]),
    ):
        lower, upper = as_box(net, box)
        assert (lower.tolist(), upper.tolist()) == expected
    assert [side.tolist() for side in as_box(net, (0, 1))] == [[0.0, 0.0], [1.0, 1.0]]


def test_indicators_lie_between_0_and_1_unless_told_otherwise():
    items = (Feature("x", "x"), Feature("c=a", "c", "level", ("a",)))
    net = Network(random_network([2, 3, 1]).layers, Features(items, ("x", "c"), True))
    assert [side.tolist() for side in as_box(net, {"x": (2, 3)})] == [[2.0, 0.0], [3.0, 1.0]]
    assert as_box(net, {"x": (2, 3), "c=a": (1, 1)})[0].tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("box", "text"),
    [
        ((0.0, 1.0, 2.0), "a tuple of 3"),
        ((np.zeros(3), 1.0), r"lower bounds of box have shape \(3,\).*\(2,\): one per encoded feature"),
        ((0.0, np.zeros((2, 2))), r"upper bounds of box have shape \(2, 2\)"),
        ((0.0, "high"), "upper bounds of box are 'high'"),
        ((1.0, 0.0), "empty for 2 of 2 features: 'x0', 'x1'; 'x0' is to lie between 1.0 and 0.0"),
        ((np.nan, 1.0), "empty"),
        ((np.inf, np.inf), "empty"),
        ({"x0": (0, 1)}, "no bounds for 1 of 2 features: 'x1'"),
        ({"x0": (0, 1), "x7": (0, 1)}, "names 'x7', which the network does not have"),
        ({"x0": (0, 1), "x1": 3}, "to two numbers"),
        (np.zeros((0, 2)), "without rows"),
    ],
)
def test_boxes_that_make_no_sense_are_refused(box, text):
    with pytest.raises(ArgumentError, match=text):
        compress(random_network([2, 3, 1]), box)


def test_rows_of_another_width_are_refused():
    with pytest.raises(ColumnError, match="3 columns"):
        compress(random_network([2, 3, 1]), np.zeros((4, 3)))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"time_budget": -1}, "time_budget is -1"),
        ({"time_budget": np.nan}, "time_budget is nan"),
        ({"tolerance": -1e-3}, r"tolerance is -0\.001"),
        ({"check_rows": 0}, "check_rows is 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, text):
    with pytest.raises(ArgumentError, match=text):
        compress(random_network([2, 3, 1]), (0.0, 1.0), **arguments)


# ---------------------------------------------------------------- results and a trained network


def test_results_are_tables():
    result = compress(hard(), (-1.0, 1.0))
    assert result.to_frame().index.name == "layer"
    proof = result.proof.to_frame()
    assert list(proof) == ["layer", "neuron", "breakpoint", "at", "low", "high", "how", "round"]
    assert len(proof) == len(result.proof)
    assert "neurons in 3 of 3 hidden layers" in repr(result)
    assert result.network.provenance.notes[-1].startswith("compressed")


@pytest.mark.parametrize(("link", "outputs"), [("logit", 1), ("softmax", 3)])
def test_agreement_of_classes_is_reported(link, outputs):
    result = compress(random_network([3, 8, outputs], link=link), (-0.2, 1.0))
    assert result.faithfulness.agreement == 1.0
    assert result.network.link == link


def test_a_network_trained_with_an_l1_penalty_shrinks():
    import torch

    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    X = rng.random((400, 4)).astype(np.float32)
    y = np.abs(X[:, :1] - 0.5) + X[:, 1:2] * X[:, 2:3]
    net = torch.nn.Sequential(
        torch.nn.Linear(4, 24), torch.nn.ReLU(), torch.nn.Linear(24, 24), torch.nn.ReLU(), torch.nn.Linear(24, 1)
    )
    inputs, targets = torch.tensor(X), torch.tensor(y)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(250):
        penalty = sum(p.abs().sum() for p in net.parameters())
        loss = ((net(inputs) - targets) ** 2).mean() + 3e-4 * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for p in net.parameters():
            p[p.abs() < 2e-3] = 0
    network = rl.load(net, probe=X[:20])
    result = compress(network, X)
    assert result.removed.after.sum() <= 30
    agree(result.network, network, inside(network, X, 1000))
