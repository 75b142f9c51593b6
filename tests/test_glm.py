"""Fits against statsmodels and scikit-learn, separation against counting all directions, and laws that any fit obeys."""

from __future__ import annotations

import time
import warnings
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relucidate import glm
from relucidate.errors import ArgumentError, ColumnError, RelucidateError, TargetError, ValueInDataError
from relucidate.glm import Overlap, Status

FAMILIES = ["gaussian", "binomial", "multinomial", "poisson", "gamma"]


def rows(family, n=240, d=3, seed=0, strength=0.6):
    """Rows on very different scales, with a response that the family fits; three classes for a softmax."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, d))
    X = z * np.logspace(-1, 2, d) + np.linspace(100, -3, d)
    eta = 0.3 + strength * z @ rng.normal(size=d)
    if family == "gaussian":
        return X, eta + rng.normal(size=n)
    if family == "binomial":
        return X, (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)
    if family == "multinomial":
        return X, np.argmax(strength * z @ rng.normal(size=(d, 3)) + rng.gumbel(size=(n, 3)), axis=1)
    if family == "poisson":
        return X, rng.poisson(np.exp(eta)).astype(float)
    return X, rng.gamma(2.0, np.exp(eta) / 2)


def theta(fits, g=0):
    return np.column_stack([fits.intercept[g], fits.coef[g]])


def scaled(X):
    return (X - X.mean(axis=0)) / X.std(axis=0)


def smf(family):
    import statsmodels.api as sm

    return {
        "gaussian": sm.families.Gaussian(),
        "binomial": sm.families.Binomial(),
        "poisson": sm.families.Poisson(),
        "gamma": sm.families.Gamma(sm.families.links.Log()),
    }[family]


# -------------------------------------------------------------------- against other programmes


@pytest.mark.parametrize("family", ["gaussian", "binomial", "poisson", "gamma"])
@pytest.mark.parametrize("extras", [False, True], ids=["plain", "weights and offset"])
def test_estimates_and_deviance_are_statsmodels(family, extras):
    import statsmodels.api as sm

    X, y = rows(family)
    rng = np.random.default_rng(1)
    weight = rng.integers(0, 4, len(y)).astype(float) if extras else None
    offset = rng.normal(size=len(y)) / 3 if extras else None
    model = sm.GLM(y, sm.add_constant(X), family=smf(family), freq_weights=weight, offset=offset)
    expected = model.fit(tol=1e-13, maxiter=300)
    fits = glm.fit(X, y, family, weight=weight, offset=offset)
    assert fits.status == (Status.OK,)
    np.testing.assert_allclose(theta(fits)[0], expected.params, rtol=1e-8)
    assert fits.deviance[0] == pytest.approx(expected.deviance, rel=1e-9)
    assert fits.n[0] == (len(y) if weight is None else (weight > 0).sum())
    np.testing.assert_allclose(fits.predict(X, offset=offset)[:, 0], expected.fittedvalues, rtol=1e-8)


def test_softmax_is_statsmodels_mnlogit():
    import statsmodels.api as sm

    X, y = rows("multinomial", n=500)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels asks for a gradient below rounding
        expected = sm.MNLogit(y, sm.add_constant(scaled(X))).fit(method="newton", disp=0, tol=1e-14)
    fits = glm.fit(scaled(X), y, "multinomial")
    got = theta(fits)
    np.testing.assert_allclose((got - got[0])[1:].T, expected.params, rtol=1e-8)
    assert fits.deviance[0] == pytest.approx(-2 * expected.llf, rel=1e-10)
    np.testing.assert_allclose(got.sum(axis=0), 0, atol=1e-10)


@pytest.mark.parametrize("l2", [0.01, 3.0, 500.0])
def test_ridge_is_scikit_learns(l2):
    from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge

    X, y = rows("gaussian")
    expected = Ridge(alpha=l2).fit(scaled(X), y)
    np.testing.assert_allclose(glm.fit(X, y, "gaussian", l2=l2).coef[0, 0] * X.std(axis=0), expected.coef_, rtol=1e-8)
    for family in ("binomial", "multinomial"):
        X, y = rows(family)
        model = LogisticRegression(C=1 / l2, tol=1e-12, max_iter=10_000, solver="newton-cg").fit(scaled(X), y)
        got = glm.fit(X, y, family, l2=l2)
        np.testing.assert_allclose(got.coef[0] * X.std(axis=0), model.coef_, rtol=1e-5, atol=1e-8)
        if family == "binomial":
            np.testing.assert_allclose(got.decision(X)[:, 0], model.decision_function(scaled(X)), rtol=1e-5, atol=1e-6)
    X, y = rows("poisson")
    poisson = PoissonRegressor(alpha=l2 / len(y), tol=1e-10, solver="newton-cholesky").fit(scaled(X), y)
    got = glm.fit(X, y, "poisson", l2=l2)
    np.testing.assert_allclose(got.coef[0, 0] * X.std(axis=0), poisson.coef_, rtol=1e-6)


@pytest.mark.parametrize("l1", [1.0, 15.0])
def test_lasso_is_scikit_learns(l1):
    from sklearn.linear_model import ElasticNet, Lasso, LogisticRegression

    X, y = rows("gaussian", d=6)
    expected = Lasso(alpha=l1 / len(y), tol=1e-12, max_iter=100_000).fit(scaled(X), y)
    got = glm.fit(X, y, "gaussian", l1=l1).coef[0, 0] * X.std(axis=0)
    np.testing.assert_allclose(got, expected.coef_, rtol=1e-6, atol=1e-9)
    net = ElasticNet(alpha=2 * l1 / len(y), l1_ratio=0.5, tol=1e-12, max_iter=100_000).fit(scaled(X), y)
    got = glm.fit(X, y, "gaussian", l1=l1, l2=l1).coef[0, 0] * X.std(axis=0)
    np.testing.assert_allclose(got, net.coef_, rtol=1e-6, atol=1e-9)
    for family in ("binomial", "multinomial"):
        X, y = rows(family, d=6)
        model = LogisticRegression(l1_ratio=1, C=1 / l1, solver="saga", tol=1e-10, max_iter=100_000)
        model.fit(scaled(X), y)
        got = glm.fit(X, y, family, l1=l1)
        assert got.converged.all()
        np.testing.assert_allclose(got.coef[0] * X.std(axis=0), model.coef_, rtol=1e-4, atol=1e-6)
        assert ((got.coef[0] == 0) == (model.coef_ == 0)).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("l2", "l1"), [(2.0, 0.0), (0.0, 3.0), (1.0, 2.0)])
def test_no_nearby_parameters_have_a_smaller_objective(family, l2, l1):
    X, y = rows(family, n=80)
    K = 3 if family == "multinomial" else 1
    rng = np.random.default_rng(3)
    prior = rng.normal(size=(K, 3)) / X.std(axis=0) / 5
    fits = glm.fit(X, y, family, l2=l2, l1=l1, prior=prior)
    response = (y[:, None] == np.arange(K)).astype(float) if family == "multinomial" else y[:, None]

    def objective(coef, intercept):
        away = (coef - prior) * X.std(axis=0)
        deviance = glm.unit_deviance(X @ coef.T + intercept, response, family).sum()
        return deviance / 2 + l2 / 2 * (away**2).sum() + l1 * np.abs(away).sum()

    least = objective(fits.coef[0], fits.intercept[0])
    for size in (1e-3, 1e-2, 0.3):
        for _ in range(100):
            change = size * rng.normal(size=(K, 4))
            coef = fits.coef[0] + change[:, 1:] / X.std(axis=0)
            intercept = fits.intercept[0] + change[:, 0] - (change[:, 1:] / X.std(axis=0)) @ X.mean(axis=0)
            assert objective(coef, intercept) >= least - 1e-9 * abs(least)


# -------------------------------------------------------------------- groups


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("l2", "l1"), [(0.0, 0.0), (1.5, 0.0), (0.5, 0.5)])
def test_all_at_once_is_one_by_one(family, l2, l1):
    rng = np.random.default_rng(0)
    X, y = rows(family, n=900)
    weight = rng.integers(0, 3, 900).astype(float)
    group = rng.choice(12, 900, p=np.r_[0.0, 0.3, 0.25, 0.15, 0.1, 0.08, 0.05, 0.03, 0.02, 0.01, 0.005, 0.005])
    many = glm.fit(X, y, family, weight=weight, group=group, n_groups=13, l2=l2, l1=l1, n_classes=None)
    assert len(many) == 13
    assert many.status[0] is many.status[12] is Status.TOO_FEW_ROWS
    assert np.isfinite(many.coef).all()
    for g in range(1, 12):
        mine = group == g
        K = 3 if family == "multinomial" else None
        if not weight[mine].any():
            continue
        one = glm.fit(X[mine], y[mine], family, weight=weight[mine], l2=l2, l1=l1, n_classes=K)
        assert one.status[0] is many.status[g]
        assert one.reason(0) == many.reason(g)
        scale = np.r_[1, X.std(axis=0)]
        np.testing.assert_allclose(theta(many, g) * scale, theta(one) * scale, rtol=1e-5, atol=1e-6)
    rows_of_1 = group == 1
    np.testing.assert_array_equal(
        many.decision(X[rows_of_1], group[rows_of_1]).shape, (rows_of_1.sum(), many.coef.shape[1])
    )


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(FAMILIES), st.integers(0, 10**6))
def test_order_of_rows_and_names_of_groups_do_not_matter(family, seed):
    rng = np.random.default_rng(seed)
    X, y = rows(family, n=200, seed=seed)
    group, order, name = rng.integers(0, 3, 200), rng.permutation(200), rng.permutation(3)
    a = glm.fit(X, y, family, group=group)
    b = glm.fit(X[order], y[order], family, group=name[group][order])
    for g in range(3):
        assert a.status[g] is b.status[name[g]]
        np.testing.assert_allclose(b.decision(X, np.full(200, name[g])), a.decision(X, np.full(200, g)), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(FAMILIES),
    st.integers(0, 10**6),
    st.floats(-6, 6),
    st.floats(-100, 100),
    st.sampled_from([0.0, 2.0]),
)
def test_a_feature_in_another_unit_has_its_coefficient_in_another_unit(family, seed, power, shift, l2):
    X, y = rows(family, n=120, seed=seed)
    factor = 10**power
    a = glm.fit(X, y, family, l2=l2)
    b = glm.fit(np.column_stack([X[:, 0] * factor + shift * factor, X[:, 1:]]), y, family, l2=l2)
    assert a.status == b.status
    np.testing.assert_allclose(b.coef[:, :, 0] * factor, a.coef[:, :, 0], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(b.coef[:, :, 1:], a.coef[:, :, 1:], rtol=1e-6, atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(FAMILIES), st.integers(0, 10**6), st.sampled_from([0.0, 1.0]))
def test_weights_are_repeats_and_rows_without_weight_are_nothing(family, seed, l2):
    X, y = rows(family, n=100, seed=seed)
    weight = np.random.default_rng(seed).integers(0, 4, 100)
    K = 3 if family == "multinomial" else None
    a = glm.fit(X, y, family, weight=weight, l2=l2, n_classes=K)
    b = glm.fit(np.repeat(X, weight, axis=0), np.repeat(y, weight), family, l2=l2, n_classes=K)
    spoilt = np.where((weight == 0)[:, None], 1e6, X)
    c = glm.fit(spoilt, y, family, weight=weight, l2=l2, n_classes=K)
    np.testing.assert_allclose(theta(b) * [1, *X.std(axis=0)], theta(a) * [1, *X.std(axis=0)], atol=1e-6)
    np.testing.assert_array_equal(theta(c), theta(a))
    assert a.weight[0] == b.weight[0] == weight.sum()
    assert a.deviance[0] == pytest.approx(b.deviance[0], rel=1e-9)


def test_a_prior_is_where_the_penalty_pulls():
    for family in FAMILIES:
        X, y = rows(family)
        free = glm.fit(X, y, family)
        assert glm.fit(X, y, family, l2=50.0, prior=free.coef).coef == pytest.approx(free.coef, rel=1e-6, abs=1e-9)
        K = free.coef.shape[1]
        prior = np.arange(1.0, 3 * K + 1).reshape(K, 3) / X.std(axis=0) / 10
        np.testing.assert_allclose(glm.fit(X, y, family, l2=1e9, prior=prior).coef[0], prior, rtol=1e-4)
        np.testing.assert_allclose(glm.fit(X, y, family, l1=1e6, prior=prior).coef[0], prior, rtol=1e-12)


def test_several_responses_are_fitted_side_by_side():
    X, y = rows("gaussian")
    both = glm.fit(X, np.column_stack([y, y**2]), "gaussian", l2=1.0)
    for k, response in enumerate((y, y**2)):
        np.testing.assert_allclose(theta(both)[k], theta(glm.fit(X, response, "gaussian", l2=1.0))[0], rtol=1e-9)


def test_two_classes_of_a_softmax_are_a_logit():
    X, y = rows("binomial")
    logit, softmax = glm.fit(X, y, "binomial"), glm.fit(X, y, "multinomial")
    np.testing.assert_allclose(softmax.coef[0, 1] - softmax.coef[0, 0], logit.coef[0, 0], rtol=1e-9)
    assert softmax.deviance[0] == pytest.approx(logit.deviance[0], rel=1e-12)
    np.testing.assert_allclose(softmax.predict(X)[:, 1], logit.predict(X)[:, 0], rtol=1e-9)


def test_shares_of_classes_are_weighted_rows():
    X, _ = rows("multinomial", n=150)
    share = np.random.default_rng(0).dirichlet([1, 1, 1], 150)
    a = glm.fit(X, share, "multinomial")
    b = glm.fit(np.repeat(X, 3, axis=0), np.tile(np.arange(3), 150), "multinomial", weight=share.ravel())
    np.testing.assert_allclose(theta(a), theta(b), rtol=1e-6)
    c = glm.fit(X, share[:, 0], "binomial")
    weight = np.column_stack([1 - share[:, 0], share[:, 0]]).ravel()
    d = glm.fit(np.repeat(X, 2, axis=0), np.tile([0, 1], 150), "binomial", weight=weight)
    np.testing.assert_allclose(theta(c), theta(d), rtol=1e-6)
    assert a.status == c.status == (Status.OK,)


def test_without_features_there_is_the_intercept():
    for family in FAMILIES:
        _, y = rows(family)
        fits = glm.fit(np.zeros((len(y), 0)), y, family)
        assert fits.status == (Status.OK,)
        mean = np.bincount(y) / len(y) if family == "multinomial" else [y.mean()]
        np.testing.assert_allclose(fits.predict(np.zeros((1, 0)))[0], mean, rtol=1e-9)


# -------------------------------------------------------------------- fits that cannot be had


def test_columns_that_depend_on_others_are_named_and_the_estimate_is_the_limit_of_the_ridge():
    for family in FAMILIES:
        X, y = rows(family, n=300)
        wide = np.column_stack([X, 1 + 2 * X[:, 0] - X[:, 1], np.full(len(y), 5.0), X[:, 2]])
        names = ["a", "b", "c", "d", "e", "f"]
        fits = glm.fit(wide, y, family, names=names)
        assert fits.status == (Status.RANK_DEFICIENT,)
        assert fits.reason(0) == "rank deficient: d = 1 + 2·a - b; e = 5; f = c"
        assert fits.rank[0] == 3
        assert fits.converged[0]
        narrow = glm.fit(X, y, family)
        np.testing.assert_allclose(fits.decision(wide), narrow.decision(X), atol=1e-6)
        limit = glm.fit(wide, y, family, l2=1e-6)
        scale = np.where(wide.std(axis=0) > 1e-9, wide.std(axis=0), 1.0)
        np.testing.assert_allclose(fits.coef * scale, limit.coef * scale, atol=1e-6)
        assert (fits.coef[0, :, 4] == 0).all()


def test_what_the_rows_do_not_tell_the_prior_tells():
    X, y = rows("gaussian")
    wide = np.column_stack([X, np.full(len(y), 5.0)])
    fits = glm.fit(wide, y, "gaussian", prior=[0, 0, 0, 7.0])
    assert fits.coef[0, 0, 3] == 7
    np.testing.assert_allclose(fits.decision(wide), glm.fit(X, y, "gaussian").decision(X), rtol=1e-9)


def test_nearly_dependent_columns_keep_their_digits():
    rng = np.random.default_rng(0)
    a, e = rng.normal(size=200), rng.normal(size=200)
    X = np.column_stack([a, a + 1e-6 * e])
    y = 3 * a + 2e-6 * e
    fits = glm.fit(X, y, "gaussian")
    assert fits.status == (Status.OK,)
    np.testing.assert_allclose(fits.coef[0, 0], [1.0, 2.0], rtol=1e-7)


def test_statuses_of_small_and_one_sided_groups():
    X, y = rows("binomial", n=50)
    few = glm.fit(X[:4], [0, 1, 0, 1], "binomial")
    assert few.reason(0) == "too few rows: 4 for 4 coefficients"
    one = glm.fit(X, np.ones(50), "binomial", l2=1.0)
    assert (one.status, one.reason(0)) == ((Status.ONE_CLASS,), "one class")
    np.testing.assert_allclose(one.predict(X), 50.5 / 51)
    constant = glm.fit(X, np.full(50, 3.0), "gaussian")
    assert (constant.status, constant.reason(0)) == ((Status.CONSTANT,), "constant response")
    np.testing.assert_allclose(constant.predict(X), 3.0)
    zeros = glm.fit(X, np.zeros(50), "poisson")
    assert zeros.status == (Status.CONSTANT,)
    np.testing.assert_allclose(zeros.predict(X), 0.5 / 50)
    absent = glm.fit(X, 2 * y, "multinomial", n_classes=4)
    assert absent.reason(0) == "absent class: no rows of class 1, 3"
    binary = glm.fit(X, y, "binomial")
    got = absent.decision(X)
    np.testing.assert_allclose(got[:, 2] - got[:, 0], binary.decision(X)[:, 0], rtol=1e-8)
    np.testing.assert_allclose(absent.predict(X)[:, 1].sum(), 0.5, rtol=0.05)
    assert all(status.remedy for status in Status)
    assert "penalised" in glm.fit(X, y, "binomial", l2=1.0).reason(0)


def test_huge_numbers_end_in_a_status_not_in_nan():
    X, y = rows("gaussian", n=50)
    big = glm.fit(X, y * 1e200, "gaussian")
    assert big.status == (Status.OVERFLOW,)
    assert np.isfinite(big.coef).all()
    assert "scale" in big.status[0].remedy
    wide = glm.fit(X * 1e200, y, "gaussian")
    assert wide.status == (Status.OK,)
    np.testing.assert_allclose(wide.coef[0, 0] * 1e200, glm.fit(X, y, "gaussian").coef[0, 0], rtol=1e-9)
    counts = glm.fit(X, np.exp(np.linspace(0, 650, 50)), "poisson")
    assert np.isfinite(counts.coef).all()


def test_a_separated_group_has_its_witness_and_a_penalised_estimate():
    X = np.r_[np.arange(10.0), np.arange(10.0) + 20][:, None]
    y = np.repeat([0, 1], 10)
    fits = glm.fit(np.tile(X, (2, 1)), np.r_[y, y], "binomial", group=np.repeat([0, 1], 20), names=["age"])
    assert fits.status == (Status.SEPARATED, Status.SEPARATED)
    assert fits.reason(0) == "separated: completely, along age"
    w = fits.separation[0]
    margins = np.where(y == 1, 1, -1) * (X @ w.coef[0] + w.intercept[0])
    assert margins.min() > 0
    assert w.n_divided == 20
    assert fits.l2[0] == glm.SEPARATED_L2
    np.testing.assert_allclose(fits.coef[0], glm.fit(X, y, "binomial", l2=glm.SEPARATED_L2).coef[0], rtol=1e-9)


def test_a_mixture_of_groups_is_settled_one_by_one():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 2))
    group = np.repeat(np.arange(6), 100)
    y = (X[:, 0] + rng.logistic(size=600) > 0).astype(int)
    y[group == 1] = X[group == 1, 0] > 0.1
    y[group == 3] = 0
    X[group == 4, 1] = 2 * X[group == 4, 0]
    ties = np.flatnonzero(group == 5)
    X[ties, 0] = np.r_[np.full(40, -1.0), np.zeros(20), np.ones(40)]
    y[ties] = np.r_[np.zeros(40), np.tile([0, 1], 10), np.ones(40)]
    fits = glm.fit(X, y, "binomial", group=group)
    assert [s.name for s in fits.status] == ["OK", "SEPARATED", "OK", "ONE_CLASS", "RANK_DEFICIENT", "SEPARATED"]
    assert fits.separation[1].overlap is Overlap.COMPLETE
    assert fits.separation[5].overlap is Overlap.QUASI
    table = fits.to_frame()
    assert table.loc[3, "reason"] == "one class"
    assert table.loc[0, "remedy"] == ""
    untested = glm.fit(X, y, "binomial", group=group, test_separation=False)
    assert untested.status[1] is Status.NOT_CONVERGED


# -------------------------------------------------------------------- separation


def divided_by_counting(sides, ties):
    """Whether some w has sides @ w >= 0, ties @ w == 0 and not all 0, by trying every direction on q - 1 of the planes.

    All integers. A pointed cone other than {0} has such an edge; where the rows do not span the space, add what they miss.
    """
    planes = np.vstack([sides, ties]).astype(np.int64)
    q = planes.shape[1]
    assert np.linalg.matrix_rank(planes) == q
    for chosen in combinations(range(len(planes)), q - 1):
        sub = planes[list(chosen)]
        minors = [round(np.linalg.det(np.delete(sub, j, axis=1))) * (-1) ** j for j in range(q)]
        for w in (np.array(minors), -np.array(minors)):
            if w.any() and (sides @ w >= 0).all() and (ties @ w == 0).all() and (sides @ w > 0).any():
                return True
    return False


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 12), st.sampled_from(["binomial", "poisson"]))
def test_separation_is_found_exactly_when_counting_finds_it(seed, n, family):
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (n, 2))
    y = rng.integers(0, 2, n) if rng.random() < 0.3 else (X @ [1, 1] + rng.integers(-1, 2, n) > 0).astype(int)
    a = np.column_stack([np.ones(n, dtype=int), X])
    if np.linalg.matrix_rank(a) < 3:
        return
    verdict = glm.separated(X, y, family)
    if family == "binomial":
        sides, ties = np.where(y > 0, 1, -1)[:, None] * a, np.zeros((0, 3), dtype=int)
    else:
        sides, ties = -a[y == 0], a[y > 0]
    assert bool(verdict) == divided_by_counting(sides, ties)
    if verdict:
        margins = sides @ np.r_[verdict.intercept[0], verdict.coef[0]]
        assert margins.min(initial=0) > -1e-8
        assert margins.max() > 1e-7
        assert verdict.overlap is not Overlap.COMPLETE or margins.min() > 0
    else:
        assert verdict.bound < 1e-5
    fits = glm.fit(X, y, family)
    if fits.status[0] in (Status.OK, Status.SEPARATED):
        assert (fits.status[0] is Status.SEPARATED) == bool(verdict)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_separation_of_three_classes_is_found_exactly_when_counting_finds_it(seed):
    rng = np.random.default_rng(seed)
    n = 7
    x = rng.integers(-3, 4, n)
    y = (
        np.r_[0, 1, 2, rng.integers(0, 3, n - 3)]
        if rng.random() < 0.4
        else np.clip(x + rng.integers(0, 2, n), -1, 1) + 1
    )
    a = np.column_stack([np.ones(n, dtype=int), x])
    if len(np.unique(y)) < 3 or len(np.unique(x)) < 2:
        return
    sides = []
    for i in range(n):
        for k in {0, 1, 2} - {y[i]}:
            row = np.zeros((3, 2), dtype=int)
            row[y[i]] += a[i]
            row[k] -= a[i]
            sides.append(row[1:].ravel())  # the first class has the direction 0
    sides = np.array(sides)
    verdict = glm.separated(x[:, None], y, "multinomial")
    assert bool(verdict) == divided_by_counting(sides, np.zeros((0, 4), dtype=int))
    fits = glm.fit(x[:, None], y, "multinomial")
    assert (fits.status[0] is Status.SEPARATED) == bool(verdict)


def test_known_separations():
    x = np.array([[0.0], [1.0], [2.0], [3.0]])
    assert glm.separated(x, [0, 0, 1, 1]).overlap is Overlap.COMPLETE
    assert glm.separated(x, [0, 1, 0, 1]).overlap is Overlap.OVERLAPPED
    assert glm.separated([[0.0], [1.0], [1.0], [2.0]], [0, 0, 1, 1]).overlap is Overlap.QUASI
    assert glm.separated(x, [0, 0, 0, 0]).overlap is Overlap.COMPLETE
    assert glm.separated(x, [0, 1, 0, 1], weight=[1, 0, 1, 1]).overlap is Overlap.COMPLETE
    assert glm.separated(x, [0, 0.5, 0.5, 1]).overlap is Overlap.OVERLAPPED
    assert glm.separated(x, [0, 1, 2, 2], "multinomial").overlap is Overlap.COMPLETE
    assert glm.separated(x, [0, 0, 2, 2], "multinomial", n_classes=3)
    # zeros wherever a dummy is on: its coefficient goes to minus infinity
    X = np.column_stack([np.r_[np.zeros(6), np.ones(3)], np.tile([0.0, 1.0, 2.0], 3)])
    counts = glm.separated(X, [1, 2, 1, 3, 1, 2, 0, 0, 0], "poisson")
    assert counts.overlap is not Overlap.OVERLAPPED
    assert counts.coef[0, 0] < 0
    assert counts.n_divided == 3
    with pytest.raises(ArgumentError, match="only binomial, multinomial, poisson"):
        glm.separated(x, [1, 2, 3, 4], "gaussian")


def test_iris_is_separated_along_one_class_only():
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    assert glm.separated(X, y == 0).overlap is Overlap.COMPLETE
    assert glm.separated(X, y == 1).overlap is Overlap.OVERLAPPED
    assert glm.separated(X, y, "multinomial").overlap is Overlap.QUASI
    assert glm.fit(X, y, "multinomial").status == (Status.SEPARATED,)
    assert glm.fit(X[y > 0], y[y > 0] == 2, "binomial").status == (Status.OK,)


# -------------------------------------------------------------------- sums


@pytest.mark.parametrize("penalty", [{}, {"l2": 3.0}, {"l1": 5.0}, {"l2": 2.0, "l1": 2.0}])
def test_sums_say_what_rows_say(penalty):
    X, y = rows("gaussian", n=600)
    Y = np.column_stack([y, y**2])
    group = np.random.default_rng(0).integers(0, 4, 600)
    weight = np.random.default_rng(1).integers(1, 4, 600).astype(float)
    prior = np.ones((2, 3)) / X.std(axis=0)
    z = np.column_stack([np.ones(600), X - X.mean(axis=0)])
    zz, zy, yy = np.zeros((4, 4, 4)), np.zeros((4, 4, 2)), np.zeros((4, 2))
    for g in range(4):
        m = group == g
        zz[g], zy[g] = z[m].T @ (z[m] * weight[m, None]), z[m].T @ ((Y[m] - 5) * weight[m, None])
        yy[g] = weight[m] @ (Y[m] - 5) ** 2
    n = np.bincount(group)
    a = glm.fit(X, Y, "gaussian", group=group, weight=weight, prior=prior, **penalty)
    b = glm.fit_sums(zz, zy, yy, n, origin=X.mean(axis=0), y_origin=[5.0, 5.0], prior=prior, **penalty)
    np.testing.assert_allclose(b.coef, a.coef, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(b.intercept, a.intercept, rtol=1e-6)
    np.testing.assert_allclose(b.deviance, a.deviance, rtol=1e-9)
    assert b.status == a.status


def test_sums_of_dependent_columns_give_the_solution_of_least_norm():
    X, y = rows("gaussian")
    wide = np.column_stack([X, X[:, 0] + X[:, 1], np.full(len(y), 2.0)])
    z = np.column_stack([np.ones(len(y)), wide - X.mean()])
    fits = glm.fit_sums((z.T @ z)[None], (z.T @ y)[None, :, None], [[y @ y]], [len(y)], origin=np.full(5, X.mean()))
    assert fits.reason(0) == "rank deficient: 3 of 5 columns are independent"
    np.testing.assert_allclose(fits.coef, glm.fit(wide, y, "gaussian").coef, rtol=1e-4, atol=1e-7)
    constant = glm.fit_sums(np.eye(2)[None], np.zeros((1, 2, 1)), [[0.0]], [9])
    assert constant.status == (Status.CONSTANT,)
    with pytest.raises(ArgumentError, match="do not fit"):
        glm.fit_sums(np.eye(2)[None], np.zeros((1, 3, 1)), [[0.0]], [9])


# -------------------------------------------------------------------- choosing a penalty


def test_the_penalty_is_the_strongest_within_one_standard_error():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 8))
    group = rng.integers(0, 8, 400)
    y = (X[:, 0] + rng.logistic(size=400) > 0).astype(int)
    curve = glm.choose_penalty(X, y, "binomial", group=group, random_state=0)
    assert curve.n == 400
    assert 0 < curve.best < 12
    assert curve.chosen >= curve.best
    assert curve.loss[curve.chosen] <= curve.loss[curve.best] + curve.se[curve.best]
    assert curve.l2[curve.chosen] > curve.l2[0]
    if curve.chosen + 1 < len(curve.l2):
        assert curve.loss[curve.chosen + 1] > curve.loss[curve.best] + curve.se[curve.best]
    again = glm.choose_penalty(X, y, "binomial", group=group, random_state=0)
    np.testing.assert_array_equal(again.loss, curve.loss)
    table = curve.to_frame()
    assert table.chosen.sum() == table.best.sum() == 1


def test_the_curve_is_the_loss_of_held_out_rows():
    X, y = rows("poisson")
    held_out = np.arange(len(y)) % 3 == 0
    curve = glm.choose_penalty(X, y, "poisson", l2=[0.1, 10.0], l1=[0.0, 4.0], held_out=held_out)
    path = glm.fit_path(X[~held_out], y[~held_out], "poisson", l2=[0.1, 10.0], l1=[0.0, 4.0])
    for p, fits in enumerate(path):
        mu = fits.predict(X[held_out])[:, 0]
        t = y[held_out]
        deviance = 2 * (np.where(t > 0, t * np.log(np.where(t > 0, t, 1) / mu), 0) - t + mu)
        assert curve.loss[p] == pytest.approx(deviance.mean(), rel=1e-9)
        assert curve.se[p] == pytest.approx(deviance.std(ddof=1) / np.sqrt(len(t)), rel=1e-9)
        assert (fits.l2[0], fits.l1[0]) == (curve.l2[p], curve.l1[p])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"folds": 1}, "folds is 1"),
        ({"l2": []}, "grid of penalties is empty"),
        ({"held_out": np.zeros(240, dtype=bool)}, "held_out must be"),
    ],
)
def test_a_choice_without_sense_is_refused(arguments, text):
    X, y = rows("gaussian")
    with pytest.raises(ArgumentError, match=text):
        glm.choose_penalty(X, y, "gaussian", **arguments)


# -------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"family": "tweedie"}, ArgumentError, "family is 'tweedie'"),
        ({"X": np.zeros(3)}, ColumnError, "X has shape"),
        ({"X": [[np.nan], [1], [2]]}, ValueInDataError, "1 rows of X hold NaN"),
        ({"y": [1, 2]}, TargetError, "expected one response per row"),
        ({"y": 1.0}, TargetError, "expected one response per row"),
        ({"y": [0, 1, np.nan]}, TargetError, "y holds NaN"),
        ({"y": [0, 1, 2]}, TargetError, "between 0 and 1"),
        ({"y": [-1, 1, 2], "family": "poisson"}, TargetError, "0 or more"),
        ({"y": [0, 1, 2], "family": "gamma"}, TargetError, "above 0"),
        ({"y": [[0, 1]] * 3}, TargetError, "takes one"),
        ({"y": [0, 1.5, 2], "family": "multinomial"}, TargetError, "class codes"),
        ({"y": [[0.5, 0.6]] * 3, "family": "multinomial"}, TargetError, "shares of the classes"),
        ({"y": [[0.5, 0.5]] * 3, "family": "multinomial", "n_classes": 3}, TargetError, "2 columns for 3 classes"),
        ({"weight": [1, -1, 1]}, TargetError, "weight must be"),
        ({"weight": [0, 0, 0]}, TargetError, "None of 3 rows"),
        ({"offset": [1, 2]}, TargetError, "offset has shape"),
        ({"group": [0.0, 1.0, 2.0]}, ArgumentError, "group must be"),
        ({"group": [0, 1, 2], "n_groups": 2}, ArgumentError, "expected 0 … 1"),
        ({"l2": -1.0}, ArgumentError, "penalty must be"),
        ({"prior": [1.0, 2.0]}, ArgumentError, "prior has shape"),
        ({"names": ["a", "b"]}, ColumnError, "2 names for 1 features"),
    ],
)
def test_arguments_without_sense_are_refused(change, error, text):
    arguments = {"X": [[0.0], [1.0], [2.0]], "y": [0, 1, 0], "family": "binomial", **change}
    with pytest.raises(error, match=text) as caught:
        glm.fit(**arguments)
    assert isinstance(caught.value, RelucidateError)


# -------------------------------------------------------------------- speed


@pytest.mark.slow
def test_a_thousand_groups_take_less_than_two_seconds():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200_000, 20))
    group = rng.permutation(np.repeat(np.arange(1000), 200))
    eta = (X * (0.3 * rng.normal(size=(1000, 20)))[group]).sum(axis=1)
    y = rng.random(200_000) < 1 / (1 + np.exp(-eta))
    start = time.perf_counter()
    fits = glm.fit(X, y, "binomial", group=group)
    assert set(fits.status) == {Status.OK}
    assert time.perf_counter() - start < 2
