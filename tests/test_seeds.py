"""Stability over seeds: the definitions again, row by row, and cases with a known answer."""

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_rand_score

import relucidate as rl
from relucidate import seeds
from relucidate.errors import ArgumentError, ColumnError
from relucidate.features import Feature, Features
from relucidate.layers import Layer
from relucidate.network import Network
from relucidate.seeds import stability
from small_networks import SPECIMENS, network, random_network, rows_for


def shaken(net: Network, seed: int) -> Network:
    """The same network with other weights, as another seed may leave them."""
    rng = np.random.default_rng(seed)
    layers = []
    for layer in net.layers:
        weight: Any = layer.weight
        noise = 0.3 * rng.normal(size=weight.shape)
        weight = weight.multiply(1 + noise).tocsr() if hasattr(weight, "tocsr") else weight * (1 + noise)
        layers.append(Layer(weight, layer.bias, layer.activation, layer.name))
    return replace(net, layers=tuple(layers))


def with_groups(seed: int) -> Network:
    """Inputs: age, region (two indicators that are not side by side), debt."""
    items = (
        Feature("region=N", "region", "level", ("N",)),
        Feature("age", "age"),
        Feature("region=S", "region", "level", ("S",)),
        Feature("debt", "debt"),
    )
    net = random_network([4, 8, 6, 2], seed=seed)
    return replace(net, features=Features(items, ("age", "region", "debt"), True))


def table(n: int = 50) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    return pd.DataFrame(
        {"age": rng.normal(size=n), "region": rng.choice(["N", "S", "W"], n), "debt": 5 + rng.normal(size=n)}
    )


def by_definition(networks: list[Network], X: Any, weight: Any) -> dict[str, Any]:
    """What `stability` returns, a row and a pair at a time."""
    net, N = networks[0], len(networks)
    x = net.features.encode(X)
    groups = [indices for _, indices in net.features.groups]
    n, K, d, G = len(x), net.n_outputs, net.n_features, len(groups)
    w = weight / weight.sum()
    mean = np.array([x[0, j] if np.ptp(x[:, j]) == 0 else w @ x[:, j] for j in range(d)])
    sd = np.array([0.0 if np.ptp(x[:, j]) == 0 else np.sqrt(w @ (x[:, j] - mean[j]) ** 2) for j in range(d)])
    coef = np.zeros((N, n, K, d))
    decision = np.stack([other.decision(X) for other in networks])
    for i, other in enumerate(networks):
        for row in range(n):
            coef[i, row] = other.affine_maps(other.trace(x[row : row + 1]).patterns)[0][0]
    if net.link == "softmax":
        coef, decision = coef - coef.mean(axis=2)[:, :, None], decision - decision.mean(axis=2)[:, :, None]
    sign, effect = np.zeros((N, n, K, G)), np.zeros((N, n, K, G))
    for i, row, k in np.ndindex(N, n, K):
        c = coef[i, row, k]
        size = np.array([abs(c[j]) * sd[j] if sd[j] else abs(c[j]) for j in range(d)])
        for g, at in enumerate(groups):
            effect[i, row, k, g] = sum(c[j] * (x[row, j] - mean[j]) for j in at)
            value, reach = (
                (c[at[0]], size[at[0]]) if len(at) == 1 else (effect[i, row, k, g], abs(effect[i, row, k, g]))
            )
            sign[i, row, k, g] = np.sign(value) if reach > 1e-12 * size.max() else 0
    variance = np.einsum("n,inkg->ikg", w, (effect - np.einsum("n,inkg->ikg", w, effect)[:, None]) ** 2)
    variance[variance < 1e-25] = 0
    total = variance.sum(axis=2, keepdims=True)
    importance = np.divide(variance, total, out=np.zeros_like(variance), where=total > 0)
    pairs = list(combinations(range(N), 2))

    def cosine(a: Any, b: Any) -> float:
        a, b = a * sd, b * sd
        if not a.any() and not b.any():
            return 1.0
        return float(a @ b / np.sqrt((a @ a) * (b @ b))) if a.any() and b.any() else 0.0

    return {
        "importance": importance,
        "coef": np.einsum("n,inkd->ikd", w, coef),
        "positive": np.einsum("n,inkg->ikg", w, sign > 0),
        "negative": np.einsum("n,inkg->ikg", w, sign < 0),
        "sign_agreement": np.mean([np.einsum("n,nkg->kg", w, sign[a] == sign[b]) for a, b in pairs], axis=0),
        "all_positive": np.einsum("n,nkg->kg", w, (sign > 0).all(axis=0)),
        "all_negative": np.einsum("n,nkg->kg", w, (sign < 0).all(axis=0)),
        "cosine": [
            [sum(w[r] * cosine(coef[a, r, k], coef[b, r, k]) for r in range(n)) for k in range(K)] for a, b in pairs
        ],
        "pair": pairs,
        "decision": decision,
    }


# ---------------------------------------------------------------- against something independent


@pytest.mark.parametrize("name", SPECIMENS)
def test_figures_are_their_definitions(name: str) -> None:
    net = SPECIMENS[name]
    networks = [net, shaken(net, 1), shaken(net, 2)]
    X = rows_for(net, 30)
    weight = np.random.default_rng(1).random(len(X)) + 0.1
    found = stability(networks, X, sample_weight=weight)
    expected = by_definition(networks, X, weight)
    decision = expected.pop("decision")
    for field, values in expected.items():
        # sums over 30 rows of products of at most four layers
        np.testing.assert_allclose(getattr(found, field), values, rtol=1e-9, atol=1e-12, err_msg=field)
    for p, (a, b) in enumerate(found.pair):
        for k in range(net.n_outputs):
            if decision[a, :, k].std() > 1e-9 and decision[b, :, k].std() > 1e-9:
                cov = np.cov(decision[a, :, k], decision[b, :, k], aweights=weight, ddof=0)
                expected_r = cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])
                np.testing.assert_allclose(found.decision_correlation[p, k], expected_r, rtol=1e-8, atol=1e-12)
            else:
                assert np.isnan(found.decision_correlation[p, k])  # all the same but for rounding, as of twins
    assert np.isnan(found.same_class).all() == (not net.is_classifier)


def test_columns_of_several_features_count_as_one() -> None:
    networks = [with_groups(seed) for seed in range(3)]
    found = stability(networks, table())
    expected = by_definition(networks, table(), np.ones(50))
    assert found.columns == ("region", "age", "debt")
    assert found.importance.shape == (3, 2, 3)
    for field in ("importance", "sign_agreement", "all_positive", "all_negative", "positive", "cosine"):
        np.testing.assert_allclose(getattr(found, field), expected[field], rtol=1e-9, atol=1e-12, err_msg=field)
    assert np.isnan(found.sign[..., 0]).all()
    frame = found.to_frame()
    assert frame.loc[frame["feature"] == "region", "coef"].isna().all()
    assert any("region (2 features): its effect has one sign in all 3 networks" in line for line in found.summary())


def test_pairs_are_compared_as_other_libraries_do() -> None:
    networks = [random_network([4, 9, 1], seed=s, link="logit") for s in range(4)]
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 4)), rng.integers(0, 2, 300)
    found = stability(networks, X, y)
    us = [rl.unwrap(net, X, y) for net in networks]
    frame = found.pairs_frame()
    assert len(frame) == 6
    for line, (a, b) in zip(frame.itertuples(), combinations(range(4), 2), strict=True):
        assert (line.network, line.other) == (str(a), str(b))
        one, other = us[a].sample.decision[:, 0], us[b].sample.decision[:, 0]
        assert line.decision_correlation == pytest.approx(np.corrcoef(one, other)[0, 1])
        assert line.same_class == pytest.approx(np.mean((one > 0) == (other > 0)))
        assert line.same_partition == pytest.approx(adjusted_rand_score(us[a].region_of, us[b].region_of))
        rho = spearmanr(found.importance[a, 0], found.importance[b, 0]).statistic
        assert line.rank_correlation == pytest.approx(rho)
    table = found.networks_frame()
    assert table["regions"].tolist() == [u.n_regions for u in us]
    np.testing.assert_allclose(table["effective_regions"], [u.effective_regions for u in us])
    np.testing.assert_allclose(table["auc"], [u.scores["auc"] for u in us])
    np.testing.assert_allclose(table["log_loss"], [u.scores["log_loss"] for u in us])


def test_importance_is_that_of_interpret() -> None:
    networks = [random_network([4, 9, 7, 3], seed=s, link="softmax") for s in range(2)]
    X = 3 + np.random.default_rng(0).normal(size=(200, 4))
    found = stability(networks, X)
    for net, share in zip(networks, found.importance, strict=True):
        np.testing.assert_allclose(rl.interpret.importance(rl.unwrap(net, X)).share, share, rtol=1e-9)


# ---------------------------------------------------------------- known answers


def test_equal_networks_agree_on_everything() -> None:
    net = SPECIMENS["five classes"]
    found = stability({"a": net, "b": net}, rows_for(net, 60))
    assert (found.sign_agreement == 1).all()
    for values in (found.rank_correlation, found.cosine, found.decision_correlation):
        np.testing.assert_allclose(values, 1, rtol=1e-12)
    assert found.same_class.tolist() == found.same_partition.tolist() == [1.0]
    assert found.names == ("a", "b")


def test_a_function_added_to_all_logits_changes_nothing() -> None:
    net = random_network([3, 7, 4], seed=5, link="softmax")
    top = net.layers[-1]
    added = np.random.default_rng(0).normal(size=7)
    other = replace(net, layers=(net.layers[0], replace(top, weight=np.asarray(top.weight) + added)))
    found = stability([net, other], rows_for(net, 60))
    np.testing.assert_allclose(found.importance[0], found.importance[1], rtol=1e-9)
    for values in (found.cosine, found.decision_correlation):
        np.testing.assert_allclose(values, 1, rtol=1e-12)


def test_signs_are_counted_by_rows_and_by_networks() -> None:
    # |x0| + x1, -|x0| + x1 and |x0| - 2 x1, over rows of which three quarters have x0 > 0
    def abs_and(a: float, b: float) -> Network:
        return network(
            [np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), np.array([[a, a, b, -b]])], [np.zeros(4), np.zeros(1)]
        )

    X = np.array([[1.0, 1], [2, -1], [3, 2], [-2, -2]])
    found = stability([abs_and(1, 1), abs_and(-1, 1), abs_and(1, -2)], X)
    np.testing.assert_allclose(found.positive[:, 0], [[0.75, 1], [0.25, 1], [0.75, 0]])
    np.testing.assert_allclose(found.sign_agreement[0], [1 / 3, 1 / 3])
    np.testing.assert_allclose(found.coef[:, 0], [[0.5, 1], [-0.5, 1], [0.5, -2]])
    assert found.all_positive.tolist() == found.all_negative.tolist() == [[0, 0]]
    assert "x1 changes sign: on average it is positive in 2 of 3 networks and negative in 1" in repr(found)
    frame = found.to_frame().set_index("feature")
    assert frame.loc["x1", ["networks_positive", "networks_negative"]].tolist() == [2, 1]
    two = stability([abs_and(1, 1), abs_and(1, 3)], X)
    np.testing.assert_allclose(two.all_positive[0], [0.75, 1])
    np.testing.assert_allclose(two.all_negative[0], [0.25, 0])
    assert "x1 is positive in all 2 networks on 100% of rows" in repr(two)
    assert "x0 is positive in all 2 networks on 75% of rows" in repr(two)


def test_what_is_not_used_or_does_not_vary_is_0() -> None:
    linear = [network([np.array([[2.0, 0.0, b]])], [np.zeros(1)]) for b in (1.0, -1.0)]
    X = np.array([[1.0, 2, 7], [2, 0, 7], [4, 1, 7]])
    found = stability(linear, X)
    assert found.importance[:, 0].tolist() == [[1, 0, 0], [1, 0, 0]]
    assert found.sign_agreement[0].tolist() == [1, 1, 0]
    np.testing.assert_allclose(found.cosine, 1)
    assert found.rank[0, 0].tolist() == [1, 2, 2]
    assert "x1 is 0 in 2 of 2 networks" in repr(found)
    still = stability([network([np.zeros((1, 3))], [np.ones(1)]), linear[0]], X)
    assert still.cosine.tolist() == [[0.0]]
    assert np.isnan(still.decision_correlation).all()
    assert still.importance[0].tolist() == [[0, 0, 0]]
    assert "decisions: correlation unknown" in repr(still)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [random_network([3, 9, 2], seed=s) for s in range(3)]
    X = np.random.default_rng(0).normal(size=(300, 3))
    expected = stability(networks, X)
    monkeypatch.setattr(seeds, "_CELLS", 64)
    found = stability(networks, X)
    for field in ("importance", "coef", "sign_agreement", "all_positive", "cosine"):
        np.testing.assert_allclose(getattr(found, field), getattr(expected, field), rtol=1e-9, err_msg=field)


# ---------------------------------------------------------------- tables and words


def test_frame_has_a_line_per_output_and_column_largest_first() -> None:
    networks = {f"seed {s}": random_network([4, 8, 2], seed=s) for s in range(3)}
    found = stability(networks, np.random.default_rng(1).normal(size=(80, 4)))
    frame = found.to_frame()
    assert len(frame) == 8
    for k, output in enumerate(found.outputs):
        part = frame[frame["output"] == output]
        assert part["importance"].is_monotonic_decreasing
        for line in part.to_dict("records"):
            g = found.columns.index(line["feature"])
            values = found.importance[:, k, g]
            assert [line[f"importance: seed {s}"] for s in range(3)] == values.tolist()
            assert line["importance"] == pytest.approx(values.mean())
            assert line["importance_sd"] == pytest.approx(np.std(values, ddof=1))
            assert (line["importance_min"], line["importance_max"]) == (values.min(), values.max())
            ranks = [1 + int((row[k] > row[k, g]).sum()) for row in found.importance]
            assert (line["rank_min"], line["rank_max"]) == (min(ranks), max(ranks))
            assert line["sign_agreement"] == found.sign_agreement[k, g]
            assert (line["coef_min"], line["coef_max"]) == (found.coef[:, k, g].min(), found.coef[:, k, g].max())
            assert line["networks_positive"] == (found.coef[:, k, g] > 0).sum()
    assert len(found.pairs_frame()) == 6


def test_summary_says_what_agrees() -> None:
    networks = [random_network([12, 8, 1], seed=s, link="logit") for s in range(3)]
    rng = np.random.default_rng(1)
    X = rng.normal(size=(80, 12))
    found = stability(networks, X, (X[:, 0] > 0).astype(int))
    lines = found.summary()
    assert lines[0].startswith("3 networks on 80 rows; AUC ")
    assert "share of rows with the same class" in lines[1]
    assert lines[2].startswith("regions: ")
    assert lines[-1] == "4 more features: see to_frame()"
    assert len(lines) == 5 + 8 + 1
    net = SPECIMENS["three outputs"]
    two = stability([net, shaken(net, 1)], rows_for(net, 20))
    assert ", output y2" in two.summary("y2")[0]
    assert two.summary(2) == two.summary("y2")


def test_a_sample_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relucidate.sampling.MAX_ROWS", 50)
    networks = [random_network([3, 5, 1], seed=s) for s in range(2)]
    found = stability(networks, np.random.default_rng(0).normal(size=(200, 3)))
    assert found.n_rows == 50
    assert "on a sample of 50 of 200 rows" in repr(found)


# ---------------------------------------------------------------- refusals


def renamed(net: Network, *names: str) -> Network:
    return net.with_names(names)


A = random_network([2, 3, 1], seed=0).with_names(["a", "b"])
X = pd.DataFrame({"a": [1.0, 2.0], "b": [0.0, 1.0], "c": [3.0, 4.0]})


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: stability([A], X), ArgumentError, "got 1. Give two or more"),
        (lambda: stability([A, A], iter([X])), ArgumentError, "X is an iterator"),
        (lambda: stability([A, 3], X), ArgumentError, "Network 1 is a int"),  # type: ignore[list-item]
        (
            lambda: stability({"s": A, "t": renamed(A, "a", "c")}, X),
            ArgumentError,
            "Network t lacks 'b' and has 'c' besides, compared with network s",
        ),
        (
            lambda: stability([A, renamed(A, "b", "a")], X),
            ArgumentError,
            "another order: 'b', 'a' where the other has 'a'",
        ),
        (
            lambda: stability([A, replace(A, link="logit")], X),
            ArgumentError,
            "has the link 'logit', network 0 'identity'",
        ),
        (lambda: stability([A, renamed(A, "a", "z")], X), ColumnError, "Network 1: The table lacks 1 of the 2 columns"),
        (
            lambda: stability([with_groups(0), replace(with_groups(1), classes=("u", "v"), link="softmax")], table()),
            ArgumentError,
            "Network 1 has the classes",
        ),
        (lambda: stability([A, A], X).summary("z"), ArgumentError, "output is 'z'; expected one of 'y'"),
        (lambda: stability([A, A], X).summary(1), ArgumentError, "output is 1"),
    ],
)
def test_refusals_say_what_was_expected(call: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_features_made_otherwise_are_refused() -> None:
    other = with_groups(1)
    items = list(other.features.items)
    items[0] = Feature("region=N", "region", "level", ("N", "S"))
    other = replace(other, features=replace(other.features, items=tuple(items)))
    with pytest.raises(ArgumentError, match="makes other features of the columns than network 0"):
        stability([with_groups(0), other], table())


def test_one_network_is_not_several() -> None:
    net = SPECIMENS["deep"]
    for wrong in (net, 3):
        with pytest.raises(ArgumentError, match=r"stability compares networks with each other, got a (Network|int)"):
            stability(wrong, rows_for(net, 20))  # type: ignore[arg-type]
