"""Unwrapping: nothing lost, nothing invented, the same from every kind of source."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import log_loss, mean_squared_error, r2_score, roc_auc_score

import rational
import relucidate as rl
from relucidate import grouping, maps, sampling, scoring, sums, unwrapping
from relucidate.errors import ArgumentError, ColumnError, DataError, TargetError, UnfaithfulError, ValueInDataError
from relucidate.network import Patterns
from small_networks import SPECIMENS, random_network, rows_for


def data(net, n=400, seed=0):
    rng = np.random.default_rng(seed)
    X = rows_for(net, n, seed)
    decision = net.decision(X)
    if net.link == "softmax":
        return X, decision.argmax(axis=1)
    if net.link == "logit":
        return X, (decision[:, 0] + rng.logistic(size=n) > 0).astype(int)
    return X, decision + 0.1 * rng.normal(size=decision.shape)


@pytest.fixture
def one():
    net = SPECIMENS["one logit"]
    X, y = data(net)
    return net, X, y, rl.unwrap(net, X, y)


@pytest.mark.parametrize("name", SPECIMENS)
def test_every_row_is_in_the_region_of_its_pattern(name):
    net = SPECIMENS[name]
    X, y = data(net, 120)
    u = rl.unwrap(net, X, y)
    patterns = [tuple(rational.evaluate(net, x)[0]) for x in X]
    assert sorted(Counter(patterns).values(), reverse=True) == u.count.tolist()
    region_of = dict(zip(patterns, u.region_of.tolist(), strict=True))
    assert [region_of[p] for p in patterns] == u.region_of.tolist()
    assert len(set(region_of.values())) == u.n_regions
    assert u.n_rows == len(X)
    assert np.array_equal(u.assign(X), u.region_of)
    unwrapped = np.einsum("nkd,nd->nk", u.coef[u.region_of], X) + u.intercept[u.region_of]
    decision = net.decision(X)
    assert (np.abs(unwrapped - decision) <= 1e-10 * (1 + np.abs(decision))).all()
    assert u.exactness.n == len(X)
    assert len(u.table()) == u.n_regions


def test_regions_are_largest_first_ties_by_pattern(one):
    _, X, y, u = one
    keys = [(-c, tuple(b)) for c, b in zip(u.count.tolist(), u.patterns.bits().tolist(), strict=True)]
    assert keys == sorted(keys)
    order = np.random.default_rng(0).permutation(len(X))
    shuffled = rl.unwrap(u.network, X[order], y[order])
    assert np.array_equal(shuffled.patterns.packed, u.patterns.packed)
    assert np.array_equal(shuffled.region_of, u.region_of[order])


def test_table_of_a_classifier(one):
    net, X, y, u = one
    table = u.table(global_scores="all")
    decision, p = net.decision(X)[:, 0], net.predict(X)[:, 0]
    for r in range(u.n_regions):
        at = u.region_of == r
        row = table.loc[r]
        assert row["count"] == at.sum()
        np.testing.assert_allclose(row["share"], at.mean())
        np.testing.assert_allclose(row["response_mean"], y[at].mean())
        np.testing.assert_allclose(row["response_sd"], y[at].std(), atol=1e-7)  # a difference of squares
        np.testing.assert_allclose(row["predicted_mean"], p[at].mean())
        np.testing.assert_allclose(row["share_positive"], (decision[at] > 0).mean())
        np.testing.assert_allclose(row["local_auc"], rational.auc(decision[at], y[at] == 1), equal_nan=True)
        np.testing.assert_allclose(row["local_log_loss"], log_loss(y[at], p[at], labels=[0, 1]), rtol=1e-9)
        local = X @ u.coef[r, 0] + u.intercept[r, 0]
        np.testing.assert_allclose(row["global_auc"], roc_auc_score(y, local))
        np.testing.assert_allclose(row["mean: x1"], X[at, 1].mean(), atol=1e-15)
        assert row["coef: x2"] == u.coef[r, 0, 2]
    assert u.scores["auc"] == pytest.approx(roc_auc_score(y, decision))
    assert u.scores["log_loss"] == pytest.approx(log_loss(y, p))
    assert u.table()["global_auc"].notna().sum() == min(10, u.n_regions)


@pytest.mark.parametrize("name", ["deep", "three outputs"])
@pytest.mark.parametrize("weighted", [False, True])
def test_table_of_a_regression_comes_from_sums(name, weighted):
    net = SPECIMENS[name]
    X, y = data(net)
    X, y = X + 1000.0, y + 500.0  # far from the origin, where squares lose digits
    w = np.random.default_rng(1).integers(1, 4, size=len(X)).astype(float) if weighted else None
    u = rl.unwrap(net, X, y, w)
    table, decision = u.table(), net.decision(X)
    assert u.scores["mse"] == pytest.approx(mean_squared_error(y, decision, sample_weight=w), rel=1e-9)
    for r in range(u.n_regions):
        at = u.region_of == r
        weight = None if w is None else w[at]
        local = X @ u.coef[r].T + u.intercept[r]
        assert table["local_mse"][r] == pytest.approx(
            mean_squared_error(y[at], decision[at], sample_weight=weight), rel=1e-9
        )
        # the global error is a difference of sums: what is lost is small against the response's square about its mean
        assert table["global_mse"][r] == pytest.approx(mean_squared_error(y, local, sample_weight=w), rel=1e-6)
        if name == "deep" and at.sum() > 5:
            expected = r2_score(y[at], decision[at], sample_weight=weight)
            assert table["local_r2"][r] == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_weights_count_like_repeated_rows(one):
    net, X, y, _ = one
    w = np.random.default_rng(3).integers(1, 4, size=len(X))
    weighted, repeated = rl.unwrap(net, X, y, w), rl.unwrap(net, np.repeat(X, w, axis=0), np.repeat(y, w))
    a = weighted.table(maps=False).set_index("pattern").sort_index()
    b = repeated.table(maps=False).set_index("pattern").sort_index()
    for column in ("share", "response_mean", "predicted_mean", "local_auc", "local_log_loss"):
        np.testing.assert_allclose(a[column], b[column], rtol=1e-9, equal_nan=True)
    assert weighted.scores["auc"] == pytest.approx(repeated.scores["auc"])


def test_five_classes_have_a_response_share_each():
    net = SPECIMENS["five classes"]
    X, y = data(net)
    table = rl.unwrap(net, X, y).table()
    shares = table[[f"response_mean[y{k}]" for k in range(5)]]
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares.mul(table["count"], axis=0).sum(), np.bincount(y, minlength=5))
    assert (table["local_accuracy"] == 1).all()
    assert {"coef: x0[y4]", "intercept[y0]", "global_accuracy"} <= set(table)


def test_every_source_gives_the_same_result(one, tmp_path):
    net, X, y, u = one
    frame = pd.DataFrame(X, columns=net.feature_names).assign(y=y)
    frame.to_csv(tmp_path / "t.csv", index=False)
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "t.parquet", row_group_size=33)
    half = len(X) // 2
    sources = [
        (frame, "y"),
        (frame[frame.columns[::-1]], "y"),
        (pa.Table.from_pandas(frame), "y"),
        (tmp_path / "t.csv", "y"),
        (str(tmp_path / "t.parquet"), "y"),
        (iter([(X[:half], y[:half]), (X[half:], y[half:])]), None),
        (X.tolist(), y.tolist()),
    ]
    for source, target in sources:
        v = rl.unwrap(net, source, target)
        assert np.array_equal(v.region_of, u.region_of)
        assert np.array_equal(v.coef, u.coef)
        assert np.array_equal(v.sums.x, u.sums.x)
        assert v.scores == u.scores


def test_names_are_adopted_by_a_network_without_any(one):
    net, X, _, _ = one
    u = rl.unwrap(net, pd.DataFrame(X, columns=["age", "income", "debt"]))
    assert u.network.feature_names == ("age", "income", "debt")
    assert any("by position" in note for note in u.notes)
    assert "coef: income" in u.table()


def test_merge_is_associative_and_equals_the_whole(one):
    net, X, y, _ = one
    y = y.astype(float)
    cuts = [(0, 50), (50, 51), (51, 300), (300, 400)]
    parts = [sums.batch_sums(net, X[a:b], y[a:b])[0] for a, b in cuts]
    left = sums.merge(sums.merge(sums.merge(parts[0], parts[1]), parts[2]), parts[3])
    right = sums.merge(parts[0], sums.merge(parts[1], sums.merge(parts[2], parts[3])))
    whole = sums.batch_sums(net, X, y)[0]
    swapped = sums.merge(sums.merge(parts[3], parts[2]), sums.merge(parts[1], parts[0]))
    for other in (left, right, swapped):
        a, b = np.lexsort(whole.packed.T), np.lexsort(other.packed.T)
        assert np.array_equal(whole.packed[a], other.packed[b])
        for name, values in whole.per_pattern().items():
            moved = other.about(whole.y_origin).per_pattern()[name][b]
            np.testing.assert_allclose(moved, values[a], rtol=1e-12, atol=1e-12)


def test_moments_join_about_different_origins():
    net = SPECIMENS["deep"]
    X, y = data(net)
    a, b = sums.batch_sums(net, X[:100], y[:100])[0], sums.batch_sums(net, X[100:] + 7, y[100:])[0]
    joined = sums.merge(a, b)
    both, response = np.vstack([X[:100], X[100:] + 7]), np.concatenate([y[:100], y[100:]])
    coef, intercept = np.array([[[1.0, -2.0, 0.5]]]), np.array([[3.0]])
    expected = ((response[:, 0] - both @ coef[0, 0] - 3) ** 2).sum()
    assert joined.squared_error(coef, intercept)[0] == pytest.approx(expected, rel=1e-10)


def test_grouping_is_exact_where_bytes_only_look_alike():
    # 1, 23 and 12, 3 print the same without a separator
    packed = np.array([[1, 23], [12, 3], [1, 23], [0, 0], [12, 3]], dtype=np.uint8)
    rows, codes = grouping.distinct(packed)
    assert rows.tolist() == [[1, 23], [12, 3], [0, 0]]
    assert codes.tolist() == [0, 1, 0, 2, 1]


@pytest.mark.parametrize("n_bytes", [1, 8, 9, 20])
def test_pattern_index_agrees_with_a_dictionary(n_bytes):
    rng = np.random.default_rng(n_bytes)
    packed = rng.integers(0, 4, size=(5000, n_bytes)).astype(np.uint8)
    index, expected = grouping.PatternIndex(n_bytes), {}
    numbers = np.concatenate([index.add(part) for part in np.array_split(packed, 7)])
    for row, number in zip(packed, numbers.tolist(), strict=True):
        assert expected.setdefault(row.tobytes(), number) == number
    assert len(index) == len(expected) == len(set(expected.values()))
    assert np.array_equal(index.packed[numbers], packed)
    stranger = packed.copy()
    stranger[:, 0] += 100
    assert (index.find(stranger) == -1).all()
    assert np.array_equal(index.find(packed), numbers)


def test_unseen_patterns_are_minus_one(one):
    net, X, _, _ = one
    u = rl.unwrap(net, X[:20])
    seen = {p.tobytes() for p in net.patterns(X[:20]).packed}
    expected = [p.tobytes() in seen for p in net.patterns(X).packed]
    assert (u.assign(X) >= 0).tolist() == expected
    assert not all(expected)


def test_equal_maps_are_joined_and_others_are_not():
    net = SPECIMENS["lattice"]
    X = np.random.default_rng(0).random((4000, 2))
    u = rl.unwrap(net, X)
    joined = u.join_equal()
    distinct = {tuple(np.round(np.r_[c.ravel(), b], 9)) for c, b in zip(u.coef, u.intercept, strict=True)}
    assert joined.n_regions == len(distinct) < u.n_regions
    assert joined.count.sum() == 4000
    assert np.array_equal(joined.assign(X), joined.region_of)
    np.testing.assert_allclose(
        np.einsum("nkd,nd->nk", joined.coef[joined.region_of], X) + joined.intercept[joined.region_of],
        net.decision(X),
        atol=1e-12,
    )
    general = rl.unwrap(SPECIMENS["deep"], rows_for(SPECIMENS["deep"], 500))
    same = {tuple(np.round(np.r_[c.ravel(), b], 7)) for c, b in zip(general.coef, general.intercept, strict=True)}
    assert general.join_equal().n_regions == len(same)
    with pytest.raises(ArgumentError, match="tolerance is -1"):
        u.join_equal(-1)


def test_dead_and_linear_networks():
    X = np.random.default_rng(0).normal(size=(1000, 3))
    dead = rl.unwrap(SPECIMENS["dead"], X)
    assert dead.is_constant
    assert "constant on all 1,000 rows" in repr(dead)
    assert dead.join_equal().n_regions == 1
    linear = rl.unwrap(SPECIMENS["linear"], X)
    assert (linear.n_regions, linear.coef.tolist()) == (1, [[[2.0, -1.0, 0.5]]])
    assert (linear.assign(X) == 0).all()


def test_a_wrong_map_is_caught(one, monkeypatch):
    net, X, _, _ = one
    right = type(net).affine_maps

    def wrong(self, patterns):
        coef, intercept = right(self, patterns)
        coef[-1] *= 1 + 1e-6
        return coef, intercept

    monkeypatch.setattr(type(net), "affine_maps", wrong)
    with pytest.raises(UnfaithfulError, match="its local linear model says"):
        rl.unwrap(net, X)


def test_maps_that_do_not_fit_are_computed_on_demand(one, monkeypatch):
    net, X, y, u = one
    monkeypatch.setattr(maps, "FIT_BYTES", 100)
    monkeypatch.setattr(unwrapping, "FIT_BYTES", 100)
    monkeypatch.setattr(unwrapping, "_KEEP_MAPS_BYTES", 100)
    lazy = rl.unwrap(net, X, y)
    assert isinstance(lazy.coef, maps.LazyMaps)
    assert lazy.coef.shape == u.coef.shape
    for key in (0, -1, slice(2, 9), np.array([3, 1]), (slice(None), 0), (slice(1, 4), 0, 2), u.count > 3):
        assert np.array_equal(lazy.coef[key], u.coef[key])
    assert np.array_equal(np.asarray(lazy.intercept), u.intercept)
    assert "coef: x0" not in lazy.table()
    assert np.array_equal(lazy.region_of, u.region_of)


def test_sample_is_the_same_however_the_table_is_cut(monkeypatch):
    monkeypatch.setattr(sampling, "MAX_ROWS", 50)
    X = np.arange(1000.0)[:, None]

    def drawn(cuts, n, seed=0):
        sampler = sampling.Sampler(1, n, seed)
        for a, b in zip([0, *cuts], [*cuts, 1000], strict=True):
            sampler.take(X[a:b], None, None, X[a:b], np.zeros(b - a, dtype=np.int32))
        return sampler.sample()

    rows = [drawn(cuts, n).row.tolist() for cuts in ([], [1, 500], list(range(10, 1000, 10))) for n in (1000, None)]
    assert len(rows[0]) == 50
    assert all(r == rows[0] for r in rows)
    assert drawn([], 1000, seed=1).row.tolist() != rows[0]
    sample = drawn([], 1000)
    assert (sample.x[:, 0] == sample.row).all()
    assert "sample of 50 of 1,000" in sample.caveat


def test_auc_equals_all_pairs_with_ties_and_weights():
    rng = np.random.default_rng(0)
    group, score = rng.integers(0, 5, 300), rng.integers(0, 6, 300).astype(float)
    positive, weight = rng.random(300) < 0.4, rng.random(300)
    got = scoring.auc_by_group(group, 6, score, positive, weight)
    expected = [rational.auc(score[group == g], positive[group == g], weight[group == g]) for g in range(6)]
    np.testing.assert_allclose(got, expected, rtol=1e-12)
    assert np.isnan(got[5])


def test_bad_input_says_what_and_where(one):
    net, X, y, _ = one
    bad = X.copy()
    bad[[3, 7], 1] = np.nan, np.inf
    cases = [
        ((bad,), ValueInDataError, "rows 3, 7"),
        ((X[:0],), DataError, "no rows"),
        ((X[:, :2],), ColumnError, "2 columns; the network takes 3"),
        ((X, y[:-1]), TargetError, "399"),
        ((X, np.where(np.arange(len(y)) == 5, np.nan, y)), TargetError, "5"),
        ((X, y, -np.ones(len(y))), TargetError, "negative"),
        ((X, y, np.zeros(len(y))), TargetError, "weights are 0"),
        ((X, "y"), TargetError, "y"),
        ((np.array([["a", "b", "c"]]),), DataError, "numbers"),
        ((X, np.arange(len(y)) % 3), TargetError, "3|label"),
    ]
    for arguments, error, message in cases:
        with pytest.raises(error, match=message):
            rl.unwrap(net, *arguments)
    with pytest.raises(ArgumentError, match=r"relucidate\.load"):
        rl.unwrap("model.onnx", X)


def test_labels_of_any_kind():
    net = SPECIMENS["one logit"]
    X, y = data(net)
    auc = rl.unwrap(net, X, y).scores["auc"]
    for labels in (np.array(["no", "yes"])[y], y + 1, y.astype(bool), y.astype(float)):
        u = rl.unwrap(net, X, labels)
        assert u.scores["auc"] == auc
    assert any("yes" in n for n in rl.unwrap(net, X, np.array(["no", "yes"])[y]).notes)
    constant = rl.unwrap(net, X, np.ones(len(X)))
    assert np.isnan(constant.scores["auc"])
    assert rl.unwrap(net, X[:1], y[:1]).n_regions == 1


def test_save_and_load_give_the_result_back(tmp_path, one):
    for name in ("one logit", "three outputs", "sparse", "mixed", "linear"):
        net = SPECIMENS[name]
        X, y = data(net)
        u = rl.unwrap(net, X, y, np.arange(1.0, len(X) + 1))
        v = rl.Unwrapped.load(u.save(tmp_path / name.replace(" ", "_")))
        assert repr(v) == repr(u)
        pd.testing.assert_frame_equal(v.table(), u.table(), check_exact=True)
        assert np.array_equal(v.region_of, u.region_of)
        assert np.array_equal(v.assign(X), u.region_of)
        assert np.array_equal(v.network.decision(X), net.decision(X))
    from relucidate.errors import OutputError

    before = sorted((tmp_path / "linear").iterdir())
    with pytest.raises(OutputError, match="earlier result"):
        u.save(tmp_path / "linear")
    assert sorted((tmp_path / "linear").iterdir()) == before
    (tmp_path / "linear" / "summary.json").write_text('{"schema": "relucidate.unwrapped/99"}')
    with pytest.raises(DataError, match="unwrapped/99"):
        rl.Unwrapped.load(tmp_path / "linear")
    with pytest.raises(DataError, match=r"summary\.json"):
        rl.Unwrapped.load(tmp_path / "nowhere")
    state = tmp_path / "mixed" / "state.parquet"
    state.write_bytes(state.read_bytes()[:-50])
    with pytest.raises(DataError, match="cannot be read"):
        rl.Unwrapped.load(tmp_path / "mixed")


def test_as_many_regions_as_rows():
    net = random_network([10, 40, 40, 3], seed=2)
    X = np.random.default_rng(0).normal(size=(20_000, 10))
    u = rl.unwrap(net, X)
    assert u.n_regions > 19_000
    assert u.count.sum() == 20_000
    assert u.exactness.max_relative <= 1e-10
    assert np.array_equal(u.assign(X), u.region_of)
    assert len({p.tobytes() for p in net.patterns(X).packed}) == u.n_regions == len(set(Patterns.ids(u.patterns)))
