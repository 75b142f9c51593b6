"""Local linear models as results: each column against a loop over rows, and laws on all small networks."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import relucidate as rl
from paper_cases import cocircles
from relucidate import local_models, simplify
from relucidate.errors import ArgumentError
from relucidate.layers import Layer
from relucidate.local_models import clusters, coefficients, directions, intercepts
from relucidate.network import Network
from relucidate.simplified import Simplified
from small_networks import SPECIMENS, network, random_network, rows_for


def unwrapped(name: str, weighted: bool = False, y: bool = True) -> rl.Unwrapped:
    net = SPECIMENS[name]
    x = rows_for(net)
    rng = np.random.default_rng(1)
    response: Any = rng.normal(size=(len(x), net.n_outputs)) if not net.is_classifier else None
    if net.is_classifier:
        response = rng.integers(0, net.n_classes, len(x))
        response[: net.n_classes] = np.arange(net.n_classes)
    weight = rng.integers(0, 4, len(x)) + (np.arange(len(x)) == 0) if weighted else None
    return rl.unwrap(net, x, response if y else None, sample_weight=weight)


def of_rows(u: rl.Unwrapped) -> tuple[Any, Any, Any]:
    """Coefficients (n, K, d), intercepts (n, K) and weights (n,) of each row, compared between classes."""
    s = u.sample
    coef, intercept = np.asarray(u.coef)[s.region], np.asarray(u.intercept)[s.region]
    if u.network.link == "softmax":
        coef, intercept = coef - coef.mean(axis=1, keepdims=True), intercept - intercept.mean(axis=1, keepdims=True)
    return coef, intercept, s.weights


WEIGHTED = pytest.mark.parametrize("weighted", [False, True])
ALL = pytest.mark.parametrize("name", SPECIMENS)


# ---------------------------------------------------------------- coefficients


@WEIGHTED
@ALL
def test_summary_is_that_of_the_rows(name: str, weighted: bool) -> None:
    u = unwrapped(name, weighted)
    net = u.network
    frame = coefficients(u).to_frame()
    coef, _, w = of_rows(u)
    assert list(frame["feature"]) == list(net.feature_names) * net.n_outputs
    rows = iter(frame.itertuples())
    for k in range(net.n_outputs):
        for j in range(net.n_features):
            row: Any = next(rows)
            values = np.repeat(coef[:, k, j], w.astype(int))  # a row of weight 3 is three rows
            assert row.output == net.outputs[k]
            exact = np.quantile(values, [0, 0.25, 0.5, 0.75, 1], method="inverted_cdf")
            np.testing.assert_allclose([row.min, row.q25, row.median, row.q75, row.max], exact, atol=1e-14)
            np.testing.assert_allclose(row.mean, values.mean(), atol=1e-12)
            if net.link != "softmax":  # where a mean is taken off, rounding decides what is 0
                signs = [row.share_positive, row.share_negative, row.share_zero]
                np.testing.assert_allclose(signs, [(np.sign(values) == v).mean() for v in (1, -1, 0)], atol=1e-12)


@ALL
def test_verdicts_say_what_the_signs_are(name: str) -> None:
    frame = coefficients(unwrapped(name)).to_frame()
    for row in frame.itertuples():
        expected = {
            (True, False, False): "always positive",
            (False, True, False): "always negative",
            (False, False, True): "zero everywhere",
            (True, False, True): "never negative",
            (False, True, True): "never positive",
        }
        signs = (row.share_positive > 1e-15, row.share_negative > 1e-15, row.share_zero > 1e-12)
        assert row.verdict == expected.get(signs, "mixed")  # type: ignore[call-overload]


def test_every_verdict_occurs() -> None:
    """f = relu(a) + b + relu(c) - relu(-c) - relu(d) - e, without f; of g = |g| both signs."""
    first = np.zeros((10, 7))
    for row, column, sign in (
        (0, 0, 1),
        (1, 1, 1),
        (2, 1, -1),
        (3, 2, 1),
        (4, 2, -1),
        (5, 3, 1),
        (6, 4, 1),
        (7, 4, -1),
    ):
        first[row, column] = sign
    first[8, 6], first[9, 6] = 1, -1
    last = np.array([[1.0, 1, -1, 1, -1, -1, -1, 1, 1, 1]])
    net = network([first, last], [np.zeros(10), np.zeros(1)])
    x = np.random.default_rng(0).normal(size=(200, 7))
    words = coefficients(rl.unwrap(net, x)).verdicts[0].tolist()
    assert words == [
        "never negative",
        "always positive",
        "always positive",
        "never positive",
        "always negative",
        "zero everywhere",
        "mixed",
    ]


def test_rows_without_weight_decide_nothing() -> None:
    net = SPECIMENS["abs"]
    x = np.array([[-1.0], [1.0], [2.0]])
    assert coefficients(rl.unwrap(net, x)).verdicts.tolist() == [["mixed"]]
    only = coefficients(rl.unwrap(net, x, sample_weight=np.array([0.0, 1.0, 1.0])))
    assert only.verdicts.tolist() == [["always positive"]]
    assert only.to_frame().loc[0, ["min", "max", "share_positive"]].tolist() == [1.0, 1.0, 1.0]


@WEIGHTED
@ALL
def test_standardised_are_per_standard_deviation(name: str, weighted: bool) -> None:
    u = unwrapped(name, weighted)
    x, w = u.sample.x, u.sample.weights
    mean = np.average(x, axis=0, weights=w)
    sd = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w))
    plain, per_sd = coefficients(u), coefficients(u, standardised=True)
    np.testing.assert_allclose(per_sd.coef, plain.coef * sd, rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(plain.coef * plain.scale, per_sd.coef * per_sd.scale, rtol=1e-12, atol=1e-300)
    size = np.average((of_rows(u)[0] * sd) ** 2, axis=0, weights=w)
    for k in range(u.network.n_outputs):
        assert (np.diff(size[k, plain.order(k)]) <= 1e-12 * size[k].max()).all()


@ALL
def test_beside_each_are_its_rows_response_and_prediction(name: str) -> None:
    u = unwrapped(name, weighted=True)
    c = coefficients(u)
    s = u.sample
    predicted = u.network.predict(s.x)
    for r in range(u.n_regions):
        here = s.region == r
        assert c.count[r] == here.sum()
        assert c.weight[r] == s.weights[here].sum()
        if c.weight[r] > 0:
            assert c.prediction is not None
            np.testing.assert_allclose(c.prediction[r], np.average(predicted[here], axis=0, weights=s.weights[here]))
    assert c.response is not None
    np.testing.assert_array_equal(c.response, u.sums.mean())
    assert coefficients(unwrapped(name, y=False)).response is None


def test_many_are_cut_to_the_largest_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    u = unwrapped("deep")
    monkeypatch.setattr(local_models, "FIT_BYTES", 8 * 3 * 5)
    c = coefficients(u)
    assert len(c.coef) == 5
    assert c.n_models == u.n_regions > 5
    assert c.share == pytest.approx(u.count[:5].sum() / 60)


def test_maps_computed_on_demand_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    u = unwrapped("five classes")
    expected = [coefficients(u).coef, clusters(u, most=3).coef, intercepts(u).intercept, directions(u).place]
    monkeypatch.setattr("relucidate.maps.FIT_BYTES", 0)
    lazy = replace(u)
    assert not isinstance(lazy.coef, np.ndarray)
    found = [coefficients(lazy).coef, clusters(lazy, most=3).coef, intercepts(lazy).intercept, directions(lazy).place]
    for a, b in zip(expected, found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


# ---------------------------------------------------------------- clusters


@WEIGHTED
@ALL
def test_clusters_are_what_their_rows_say(name: str, weighted: bool) -> None:
    u = unwrapped(name, weighted)
    net, s = u.network, u.sample
    c = clusters(u, most=10**6)
    coef, intercept, w = of_rows(u)
    assert c.n_clusters == len(c.number) == u.n_regions
    assert c.mean_row is not None
    assert c.prediction is not None
    assert (c.share_positive is not None) == (net.link == "logit")
    for i in range(len(c.number)):
        here = s.region == i
        np.testing.assert_allclose(c.coef[i], coef[here][0], atol=1e-13)
        np.testing.assert_allclose(c.intercept[i], intercept[here][0], atol=1e-13)
        np.testing.assert_allclose(c.share[i], w[here].sum() / w.sum())
        if w[here].sum() > 0:
            np.testing.assert_allclose(c.mean_row[i], np.average(s.x[here], axis=0, weights=w[here]), atol=1e-12)
            if c.share_positive is not None:
                positive = np.average(s.decision[here, 0] > 0, weights=w[here])
                np.testing.assert_allclose(c.share_positive[i], positive, atol=1e-12)


@ALL
def test_table_of_clusters_has_the_largest_coefficient_first(name: str) -> None:
    u = unwrapped(name)
    c = clusters(u, most=4)
    frame = c.to_frame()
    m, K, d = c.coef.shape
    assert m == min(4, u.n_regions)
    assert len(frame) == m * K * d
    for (cluster, output), part in frame.groupby(["cluster", "output"], sort=False):
        i, k = list(c.number).index(cluster), net_output(u.network, output)
        assert (np.diff(part["per_sd"].abs()) <= 0).all()
        at = [u.network.feature_names.index(f) for f in part["feature"]]
        assert sorted(at) == list(range(d))
        np.testing.assert_array_equal(part["coefficient"], c.coef[i, k, at])
        np.testing.assert_allclose(part["per_sd"], c.coef[i, k, at] * u.sample.sd[at])
        assert c.mean_row is not None
        np.testing.assert_array_equal(part["mean"], c.mean_row[i, at])
        assert (part["count"] == u.count[i]).all()
    wide, whole = c.table(), u.table()
    assert len(wide) == m
    for column in ("count", "share", "predicted_mean", "response_mean"):
        if column in wide:
            np.testing.assert_allclose(wide[column], whole[column][:m])
    if u.network.link != "softmax":
        for column in (x for x in wide if str(x).startswith(("coef", "intercept", "mean: "))):
            np.testing.assert_allclose(wide[column], whole[column][:m])


def net_output(net: Network, output: object) -> int:
    return net.outputs.index(str(output))


def simplified(name: str = "one logit", weighted: bool = False) -> tuple[Simplified, rl.Unwrapped]:
    u = rl.unwrap(
        SPECIMENS[name],
        rows_for(SPECIMENS[name], 400),
        np.arange(400) % 2,
        sample_weight=np.arange(400) % 3 if weighted else None,
    )
    return simplify.tree(u, n_models=3), u


@WEIGHTED
def test_models_of_a_simplification_are_clusters_too(weighted: bool) -> None:
    s, u = simplified(weighted=weighted)
    c = clusters(s)
    rows = s.sample
    assert rows is not None
    assert c.kind == "model"
    assert sorted(c.number.tolist()) == list(range(s.n_models))
    assert (np.diff(c.count) <= 0).all()
    model, decision = s.assign(rows.x), s.decision(rows.x)
    for i, m in enumerate(c.number):
        here = model == m
        w = rows.weights[here]
        assert c.count[i] == here.sum()
        np.testing.assert_allclose(c.share[i], w.sum() / rows.weights.sum())
        np.testing.assert_array_equal(c.coef[i], s.coef[m])
        assert c.share_positive is not None
        assert c.prediction is not None
        assert c.mean_row is not None
        assert c.response is not None
        np.testing.assert_allclose(c.share_positive[i], np.average(decision[here, 0] > 0, weights=w), atol=1e-12)
        np.testing.assert_allclose(
            c.prediction[i], np.average(u.network.inverse_link(decision[here]), axis=0, weights=w)
        )
        np.testing.assert_allclose(c.mean_row[i], np.average(rows.x[here], axis=0, weights=w), atol=1e-12)
        np.testing.assert_allclose(c.response[i, 0], np.average(np.asarray(rows.y)[here].ravel(), weights=w))
    of_models = coefficients(s, standardised=True)
    np.testing.assert_allclose(of_models.coef, s.coef[of_models.number] * rows.sd)


def test_responses_of_classes_are_shares() -> None:
    net = SPECIMENS["five classes"]
    x = rows_for(net, 300)
    s = simplify.tree(rl.unwrap(net, x, np.arange(300) % 5), n_models=2)
    c = clusters(s)
    assert c.response is not None
    assert s.sample is not None
    model = s.assign(s.sample.x)
    for i, m in enumerate(c.number):
        expected = np.bincount(s.sample.label[model == m], minlength=5) / (model == m).sum()
        np.testing.assert_allclose(c.response[i], expected, atol=1e-12)


def test_a_simplification_without_rows_has_coefficients_only() -> None:
    s, _ = simplified()
    bare = replace(s, sample=None)
    c = clusters(bare)
    assert c.prediction is None
    assert c.mean_row is None
    assert c.share_positive is None
    np.testing.assert_array_equal(c.count, np.sort(s.count)[::-1])
    frame = c.to_frame()
    assert frame["per_sd"].isna().all()
    for _, part in frame.groupby("cluster"):
        assert (np.diff(part["coefficient"].abs()) <= 0).all()
    assert np.abs(coefficients(bare).coef * coefficients(bare).scale).max() == pytest.approx(1)
    with pytest.raises(ArgumentError, match="holds no rows to take standard deviations from; write standardised=False"):
        coefficients(bare, standardised=True)


# ---------------------------------------------------------------- intercepts


@WEIGHTED
@ALL
def test_intercepts_and_mean_decisions(name: str, weighted: bool) -> None:
    u = unwrapped(name, weighted)
    found = intercepts(u)
    _, intercept, w = of_rows(u)
    s = u.sample
    decision = s.decision - (s.decision.mean(axis=1, keepdims=True) if u.network.link == "softmax" else 0)
    for r in range(u.n_regions):
        here = s.region == r
        np.testing.assert_allclose(found.intercept[r], intercept[here][0], atol=1e-12)
        if w[here].sum() > 0:
            mean = np.average(decision[here], axis=0, weights=w[here])
            np.testing.assert_allclose(found.mean_decision[r], mean, atol=1e-10)
    size = np.average((of_rows(u)[0] * s.sd) ** 2, axis=0, weights=w)
    np.testing.assert_allclose(found.effect, np.sqrt(size), atol=1e-12)
    frame = found.to_frame()
    assert len(frame) == u.n_regions
    np.testing.assert_array_equal(frame[[c for c in frame if str(c).startswith("intercept")]], found.intercept)
    np.testing.assert_array_equal(frame[[c for c in frame if str(c).startswith("mean_decision")]], found.mean_decision)


def test_an_intercept_depends_on_the_origin_and_a_mean_decision_does_not() -> None:
    net, x = SPECIMENS["deep"], rows_for(SPECIMENS["deep"])
    a = np.array([5.0, -3.0, 1.0])
    first, *rest = net.layers
    layer = Layer(first.weight, first.bias - np.asarray(first.weight) @ a, first.activation, "")
    u = rl.unwrap(net, x)
    here, there = intercepts(u), intercepts(rl.unwrap(replace(net, layers=(layer, *rest)), x + a))
    np.testing.assert_allclose(there.mean_decision, here.mean_decision, atol=1e-10)
    np.testing.assert_allclose(there.intercept, here.intercept - np.asarray(u.coef) @ a, atol=1e-10)


def test_trend_is_a_weighted_local_regression() -> None:
    u = unwrapped("deep", weighted=True)
    found = intercepts(u)
    values = found.mean_decision[:, 0]
    at, fitted = found.trend(values, 1, n=7)
    w = found.weight
    x = found.mean_row[:, 1]
    for place, value in zip(at, fitted, strict=True):
        distance = np.where(w > 0, np.abs(x - place), np.inf)
        order = np.argsort(distance)
        reach = distance[order[np.flatnonzero(np.cumsum(w[order]) >= w.sum() / 2)[0]]]
        kernel = w * np.clip(1 - (np.minimum(distance, 1e9) / (1.0001 * reach)) ** 3, 0, None) ** 3
        used = kernel > 0
        line = np.polyfit(x[used] - place, values[used], 1, w=np.sqrt(kernel[used]))
        assert value == pytest.approx(line[1], rel=1e-8, abs=1e-10)
    straight = found.trend(np.where(w > 0, 2 * x - 1, 0), 1)
    np.testing.assert_allclose(straight[1], 2 * straight[0] - 1, atol=1e-9)
    constant = found.trend(values, 1, n=3)
    assert len(constant[0]) == 3
    flat = replace(found, mean_row=np.ones_like(found.mean_row)).trend(values, 1)
    np.testing.assert_allclose(flat[1], np.average(values[w > 0], weights=w[w > 0]))


def test_mean_rows_that_were_not_kept_are_missed() -> None:
    u = unwrapped("deep")
    bare = replace(u, sums=replace(u.sums, x=u.sums.x[:, :0]))
    for verb in (intercepts, directions):
        with pytest.raises(ArgumentError, match=r"mean rows of the \d+ regions were not kept.*Unwrap fewer rows"):
            verb(bare)
    assert clusters(bare).mean_row is None
    assert clusters(bare).to_frame()["mean"].isna().all()


# ---------------------------------------------------------------- directions


@WEIGHTED
@ALL
def test_planes_are_the_leading_ones(name: str, weighted: bool) -> None:
    u = unwrapped(name, weighted)
    net, s = u.network, u.sample
    found = directions(u)
    coef, _, w = of_rows(u)
    d = net.n_features
    sd = np.where(s.sd > 0, s.sd, 1)
    z = (s.x - np.average(s.x, axis=0, weights=w)) / sd
    pairs = [(coef[:, k] * s.sd, found.axes[k], found.explained[k]) for k in range(net.n_outputs)]
    for rows, axes, explained in [*pairs, (z, found.row_axes, found.row_explained)]:
        values = np.linalg.svd(rows * np.sqrt(w / w.sum())[:, None], compute_uv=False) ** 2
        if values.sum() < 1e-20:
            assert not explained.any()
            continue
        if d > 2:
            np.testing.assert_allclose(explained, (values / values.sum())[:2], atol=1e-10)
            np.testing.assert_allclose(axes @ axes.T, np.eye(2), atol=1e-12)
            assert (axes[[0, 1], np.abs(axes).argmax(axis=1)] > 0).all()
        else:
            np.testing.assert_array_equal(axes, np.eye(2)[:, :d])
            np.testing.assert_allclose(explained.sum(), 1)
    for r in np.flatnonzero(u.sums.weight > 0):
        here = s.region == r
        for k in range(net.n_outputs):
            vector = (coef[here][0, k]) * s.sd
            np.testing.assert_allclose(found.place[r, k], found.axes[k] @ vector, atol=1e-12)
            np.testing.assert_allclose(found.slope[r, k], found.row_axes @ vector, atol=1e-12)
            length, angle = np.linalg.norm(found.place[r, k]), np.radians(found.angle[r, k])
            assert found.length[r, k] == pytest.approx(length)
            np.testing.assert_allclose(found.place[r, k], length * np.array([np.cos(angle), np.sin(angle)]), atol=1e-12)
        mean = np.average(z[here], axis=0, weights=w[here])
        np.testing.assert_allclose(found.row_place[r], found.row_axes @ mean, atol=1e-10)
    frame = found.to_frame()
    assert len(frame) == u.n_regions * net.n_outputs
    np.testing.assert_array_equal(frame["angle"], found.angle.ravel())
    np.testing.assert_array_equal(frame["slope_second"], found.slope[..., 1].ravel())
    np.testing.assert_array_equal(frame["row_first"], np.repeat(found.row_place[:, 0], net.n_outputs))


def test_decision_of_the_circles_rises_towards_the_centre() -> None:
    """The inner circle is class 1: slopes of regions with many rows point inwards."""
    case = cocircles()
    u = rl.unwrap(rl.load((list(case.weights), list(case.biases)), link="logit"), case.X_train, case.y_train)
    found = directions(u)
    large = u.count >= 5
    inwards = (found.slope[:, 0] * -found.row_place).sum(axis=1)
    assert (inwards[large] > 0).all()
    np.testing.assert_allclose(found.place[:, 0], found.slope[:, 0])
    np.testing.assert_allclose(found.explained[0].sum(), 1)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("verb", [coefficients, clusters])
def test_another_result_is_refused(verb: Any) -> None:
    with pytest.raises(ArgumentError, match=r"got a Network. Write relucidate.unwrap\(network, X\) first"):
        verb(SPECIMENS["abs"])


def test_no_clusters_are_refused() -> None:
    with pytest.raises(ArgumentError, match="most is 0; expected a whole number of clusters, at least 1"):
        clusters(unwrapped("abs"), most=0)


def test_they_are_in_interpret() -> None:
    for name in ("coefficients", "clusters", "intercepts", "directions"):
        assert getattr(rl.interpret, name) is getattr(local_models, name)
        assert getattr(rl.interpret, name.capitalize()) is getattr(local_models, name.capitalize())


def test_constant_columns_are_no_direction() -> None:
    rng = np.random.default_rng(0)
    net = random_network([3, 9, 1], seed=3)
    for n, constant, weight in ((500, 1.0, rng.random(500)), (777, 0.1, None)):
        x = np.column_stack([rng.normal(size=(n, 2)), np.full(n, constant)])
        found = directions(rl.unwrap(net, x, None, weight))
        assert found.row_axes[:, 2].tolist() == [0, 0]
        assert found.row_explained.sum() == pytest.approx(1)


def test_figures_of_all_rows_are_not_said_to_be_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relucidate.sampling.MAX_ROWS", 20)
    net = SPECIMENS["deep"]
    u = rl.unwrap(net, rows_for(net, 60))
    said = "on a sample of 20 of 60 rows"
    assert said not in repr(clusters(u))
    assert said not in repr(coefficients(u))
    assert said in repr(coefficients(u, standardised=True))
    assert said in repr(directions(u))


def test_numbers_of_clusters_that_make_no_sense() -> None:
    net = SPECIMENS["deep"]
    u = rl.unwrap(net, rows_for(net, 30))
    for most in ("3", float("nan"), 2.7, True, 0):
        with pytest.raises(ArgumentError, match="expected a whole number of clusters"):
            clusters(u, most=most)  # type: ignore[arg-type]
    assert len(clusters(u, most=np.int64(2)).count) == 2
