"""Standard errors against statsmodels, reasons where there are none, and coverage when regions are chosen on the data."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t

from relucidate import glm, inference
from relucidate.errors import ArgumentError, TargetError


def rows(family, n=240, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    X = z * [0.1, 1, 100] + [1, 0, -30]
    eta = 0.3 + z @ [0.5, -0.3, 0.2]
    y = {
        "gaussian": lambda: eta + rng.normal(size=n),
        "binomial": lambda: (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float),
        "multinomial": lambda: np.argmax(0.5 * z + rng.gumbel(size=(n, 3)), axis=1),
        "poisson": lambda: rng.poisson(np.exp(eta)).astype(float),
        "gamma": lambda: rng.gamma(2.0, np.exp(eta) / 2),
    }[family]()
    return X, y


def assert_equal_tables(got, expected, correction=1.0, k=0):
    """The rows of output `k` against a statsmodels result, whose standard errors `correction` multiplies."""
    bse = np.asarray(expected.bse) * correction
    np.testing.assert_allclose(got.estimate[0, k], expected.params, rtol=1e-6)
    np.testing.assert_allclose(got.se[0, k], bse, rtol=1e-6)
    if correction == 1.0:
        np.testing.assert_allclose(got.statistic[0, k], expected.tvalues, rtol=1e-6)
        np.testing.assert_allclose(got.p[0, k], expected.pvalues, rtol=1e-6, atol=1e-12)
        interval = np.asarray(expected.conf_int())
        np.testing.assert_allclose(got.lower[0, k], interval[:, 0], rtol=1e-6)
        np.testing.assert_allclose(got.upper[0, k], interval[:, 1], rtol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("robust", [False, True])
def test_least_squares_is_statsmodels_ols_and_wls(weighted, robust):
    import statsmodels.api as sm

    X, y = rows("gaussian")
    weight = np.random.default_rng(1).integers(1, 4, len(y)).astype(float) if weighted else np.ones(len(y))
    options = {"cov_type": "HC1", "use_t": True} if robust else {}
    expected = sm.WLS(y, sm.add_constant(X), weights=weight).fit(**options)
    got = inference.wald(glm.fit(X, y, "gaussian", weight=weight), X, y, weight=weight, robust=robust)
    assert_equal_tables(got, expected)
    assert got.df[0] == len(y) - 4
    assert got.method == ("Wald, HC1" if robust else "Wald")


@pytest.mark.parametrize("family", ["binomial", "poisson", "gamma"])
@pytest.mark.parametrize("robust", [False, True])
def test_generalised_linear_models_are_statsmodels_glm(family, robust):
    import statsmodels.api as sm

    kinds = {
        "binomial": sm.families.Binomial(),
        "poisson": sm.families.Poisson(),
        "gamma": sm.families.Gamma(sm.families.links.Log()),
    }
    X, y = rows(family)
    offset = np.random.default_rng(2).normal(size=len(y)) / 3
    model = sm.GLM(y, sm.add_constant(X), family=kinds[family], offset=offset)
    expected = model.fit(tol=1e-13, maxiter=300, **({"cov_type": "HC1"} if robust else {}))
    fits = glm.fit(X, y, family, offset=offset)
    got = inference.wald(fits, X, y, offset=offset, robust=robust)
    # statsmodels leaves HC1's factor out here
    assert_equal_tables(got, expected, np.sqrt(len(y) / (len(y) - 4)) if robust else 1.0)


def test_frequencies_are_rows():
    import statsmodels.api as sm

    weight = np.random.default_rng(1).integers(0, 4, 240)
    for family, kind in (("gaussian", None), ("binomial", sm.families.Binomial()), ("poisson", sm.families.Poisson())):
        X, y = rows(family)
        fits = glm.fit(X, y, family, weight=weight)
        again = np.repeat(X, weight, axis=0), np.repeat(y, weight)
        repeated = glm.fit(*again, family)
        for robust in (False, True):
            a = inference.wald(fits, X, y, weight=weight, frequency=True, robust=robust)
            b = inference.wald(repeated, *again, robust=robust)
            np.testing.assert_allclose(a.se, b.se, rtol=1e-8)
            np.testing.assert_allclose(a.p, b.p, rtol=1e-6, atol=1e-12)
        if kind is not None:
            model = sm.GLM(y, sm.add_constant(X), family=kind, freq_weights=weight.astype(float))
            got = inference.wald(fits, X, y, weight=weight, frequency=True)
            assert_equal_tables(got, model.fit(tol=1e-13, maxiter=300))


def test_softmax_is_statsmodels_mnlogit():
    import statsmodels.api as sm

    X, y = rows("multinomial", n=500)
    scale = [0.1, 1, 100]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # statsmodels asks for a gradient below rounding
        plain = sm.MNLogit(y, sm.add_constant(X / scale)).fit(method="newton", disp=0, tol=1e-14)
        robust = sm.MNLogit(y, sm.add_constant(X / scale)).fit(method="newton", disp=0, tol=1e-14, cov_type="HC1")
    fits = glm.fit(X / scale, y, "multinomial")
    got = inference.wald(fits, X / scale, y)
    assert got.outputs == ("1 against 0", "2 against 0")
    np.testing.assert_allclose(got.estimate[0].T, plain.params, rtol=1e-6)
    np.testing.assert_allclose(got.se[0].T, plain.bse, rtol=1e-6)
    np.testing.assert_allclose(got.p[0].T, plain.pvalues, rtol=1e-6, atol=1e-12)
    interval = np.asarray(plain.conf_int()).reshape(2, 4, 2)
    np.testing.assert_allclose(got.lower[0], interval[..., 0], rtol=1e-6)
    sandwich = inference.wald(fits, X / scale, y, robust=True)
    np.testing.assert_allclose(sandwich.se[0].T, robust.bse * np.sqrt(500 / 492), rtol=1e-6)
    other = inference.wald(fits, X / scale, y, reference=1)
    np.testing.assert_allclose(other.estimate[0, 0], -got.estimate[0, 0])
    np.testing.assert_allclose(other.se[0, 0], got.se[0, 0], rtol=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["gaussian", "binomial", "multinomial", "poisson", "gamma"]),
    st.integers(0, 10**6),
    st.floats(-5, 5),
)
def test_units_change_estimates_and_errors_alike_and_groups_do_not_meet(family, seed, power):
    X, y = rows(family, n=300, seed=seed)
    group = np.random.default_rng(seed).integers(0, 2, 300)
    factor = np.array([10**power, 1, 1])
    a = inference.wald(glm.fit(X, y, family, group=group), X, y, group=group)
    b = inference.wald(glm.fit(X * factor, y, family, group=1 - group), X * factor, y, group=1 - group)
    np.testing.assert_allclose(b.se[::-1, :, 1] * factor[0], a.se[:, :, 1], rtol=1e-5)
    np.testing.assert_allclose(b.p[::-1], a.p, rtol=1e-5, atol=1e-9)
    assert (a.lower <= a.estimate).all()
    assert (a.estimate <= a.upper).all()


# -------------------------------------------------------------------- reasons


def test_without_a_valid_optimum_there_are_estimates_and_the_reason():
    X, y = rows("binomial", n=600)
    group = np.repeat(np.arange(6), 100)
    y[group == 1] = X[group == 1, 0] > 1
    X[group == 2, 2] = 3 * X[group == 2, 0] - 1
    y[group == 3] = 1
    kept = (group != 4) | (np.cumsum(group == 4) <= 3)
    X, y, group = X[kept], y[kept], group[kept]
    names = ["income", "age", "debt"]
    fits = glm.fit(X, y, "binomial", group=group, names=names, l2=[0, 0, 0, 0, 0, 1.0])
    for result in (
        inference.wald(fits, X, y, group=group),
        inference.bootstrap(fits, X, y, group=group, n=20, random_state=0),
    ):
        table = result.to_frame().set_index(["group", "term"])
        assert table.estimate.notna().all()
        assert list(table.index.get_level_values("term")[:4]) == ["(intercept)", *names]
        reason = table.reason.groupby("group").first()
        assert reason[0] == ""
        assert reason[1].startswith("separated: completely, along income")
        assert reason[2] == "rank deficient: debt = -1 + 3·income"
        assert reason[3] == "one class"
        assert reason[4] == "too few rows: 3 for 4 coefficients"
        assert reason[5] == "penalised"
        assert table.loc[0, ["se", "lower", "upper"]].notna().all(axis=None)
        assert table.loc[1:, ["se", "statistic", "p", "lower", "upper"]].isna().all(axis=None)


def test_the_separated_region_that_prints_a_p_value_elsewhere_gives_none():
    X = np.r_[np.linspace(-1, -0.1, 20), np.linspace(0.1, 1, 20)][:, None]
    y = np.repeat([0.0, 1.0], 20)
    fits = glm.fit(X, y, "binomial")
    table = inference.wald(fits, X, y).to_frame()
    assert table.p.isna().all()
    assert (table.reason == "separated: completely, along x0").all()
    assert abs(table.estimate).max() < 20


def test_coefficients_that_are_not_the_optimum_of_the_rows_have_no_inference():
    X, y = rows("binomial")
    fits = glm.fit(X[:120], y[:120], "binomial")
    assert inference.wald(fits, X[:120], y[:120]).reason == ("",)
    assert inference.wald(fits, X[120:], y[120:]).reason == (
        "not the optimum of these rows: fit the model on them first",
    )
    flat = np.where(np.arange(3) == 1, 0.0, X[:120])
    assert inference.wald(fits, flat, y[:120]).reason[0].startswith("no information")


def test_a_perfect_fit_has_no_errors_to_show():
    X, _ = rows("gaussian")
    result = inference.wald(glm.fit(X, X @ [1.0, 2, 3], "gaussian"), X, X @ [1.0, 2, 3])
    assert result.reason == ("no residual: the model fits every row exactly",)
    assert np.isnan(result.p).all()


def test_fewer_repeats_than_coefficients_have_no_errors():
    X, y = rows("gaussian", n=10)
    weight = np.full(10, 0.3)
    fits = glm.fit(X, y, "gaussian", weight=weight)
    assert inference.wald(fits, X, y, weight=weight).reason == ("",)
    assert inference.wald(fits, X, y, weight=weight, frequency=True).reason == (
        "too few rows: weights of 3 for 4 coefficients",
    )


def test_the_note_says_whether_the_segments_were_chosen_on_the_same_rows():
    X, y = rows("gaussian")
    fits = glm.fit(X, y, "gaussian")
    assert inference.wald(fits, X, y).note.startswith(
        "These intervals ignore that the segments were chosen on the same rows."
    )
    assert "no part in choosing" in inference.wald(fits, X, y, honest=True).note


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"level": 95}, "level is 95"),
        ({"X": np.zeros((240, 2))}, "The fits have 3 features"),
        ({"names": ["a"]}, "1 names for 3 features"),
    ],
)
def test_what_does_not_fit_the_fits_is_refused(arguments, text):
    X, y = rows("gaussian")
    with pytest.raises(ArgumentError, match=text):
        inference.wald(glm.fit(X, y, "gaussian"), **{"X": X, "y": y, **arguments})


def test_a_reference_class_must_exist():
    X, y = rows("multinomial")
    fits = glm.fit(X, y, "multinomial")
    with pytest.raises(ArgumentError, match="reference is 3"):
        inference.wald(fits, X, y, reference=3)


# -------------------------------------------------------------------- bootstrap


@pytest.mark.parametrize("family", ["gaussian", "binomial", "multinomial", "poisson", "gamma"])
@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_agrees_with_wald_on_many_rows(family, method):
    X, y = rows(family, n=1500)
    group = np.arange(1500) % 2
    fits = glm.fit(X, y, family, group=group)
    wald = inference.wald(fits, X, y, group=group, robust=True)
    got = inference.bootstrap(fits, X, y, group=group, n=400, method=method, random_state=0)
    assert got.reason == ("", "")
    np.testing.assert_allclose(got.se, wald.se, rtol=0.2)
    assert (np.abs(got.lower - wald.lower) < 0.6 * wald.se).all()
    assert (np.abs(got.upper - wald.upper) < 0.6 * wald.se).all()
    again = inference.bootstrap(fits, X, y, group=group, n=400, method=method, random_state=0)
    np.testing.assert_array_equal(again.lower, got.lower)


def test_bca_is_scipys():
    from scipy.stats import bootstrap

    y = np.random.default_rng(0).exponential(size=60)
    fits = glm.fit(np.zeros((60, 0)), y, "gaussian")
    got = inference.bootstrap(fits, np.zeros((60, 0)), y, n=50_000, method="bca", random_state=0)
    expected = bootstrap((y,), np.mean, n_resamples=50_000, method="BCa", rng=np.random.default_rng(1))
    np.testing.assert_allclose(got.lower[0, 0, 0], expected.confidence_interval.low, atol=0.01)
    np.testing.assert_allclose(got.upper[0, 0, 0], expected.confidence_interval.high, atol=0.01)
    # the percentile interval is elsewhere
    plain = inference.bootstrap(fits, np.zeros((60, 0)), y, n=50_000, random_state=0)
    assert abs(plain.upper - got.upper).max() > 0.01


def test_resamples_that_separate_leave_no_interval_but_the_reason():
    x = np.r_[np.linspace(-1, -0.1, 15), 0.3, -0.3, np.linspace(0.1, 1, 15)][:, None]
    y = np.r_[np.zeros(16), np.ones(16)]
    fits = glm.fit(x, y, "binomial")
    assert fits.reason(0) == ""
    got = inference.bootstrap(fits, x, y, n=100, random_state=0)
    assert "resamples have no optimum" in got.reason[0]
    assert np.isnan(got.lower).all()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({"n": 1}, "n is 1"), ({"method": "basic"}, "method is 'basic'"), ({"level": 0}, "level is 0")],
)
def test_a_bootstrap_without_sense_is_refused(arguments, text):
    X, y = rows("gaussian")
    with pytest.raises(ArgumentError, match=text):
        inference.bootstrap(glm.fit(X, y, "gaussian"), X, y, **arguments)


# -------------------------------------------------------------------- splitting


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 300), st.integers(0, 1000), st.floats(0.05, 0.95), st.integers(1, 5))
def test_a_split_divides_rows_and_strata_in_proportion(n, seed, share, k):
    label = np.random.default_rng(seed).integers(0, k, n)
    if not 0 < round(share * n) < n:
        with pytest.raises(ArgumentError, match="share is"):
            inference.honest_split(n, seed, share)
        return
    a, b = inference.honest_split(n, seed, share, stratify=label)
    np.testing.assert_array_equal(np.sort(np.r_[a, b]), np.arange(n))
    assert len(a) == round(share * n)
    assert (np.diff(a) > 0).all()
    for value in range(k):
        mine = label == value
        assert abs(mine[a].sum() - mine.sum() * len(a) / n) <= 1
    np.testing.assert_array_equal(inference.honest_split(n, seed, share, stratify=label)[0], a)


def test_strata_must_fit_the_rows():
    with pytest.raises(TargetError, match="stratify has shape"):
        inference.honest_split(10, 0, stratify=[1, 2])


# -------------------------------------------------------------------- the point of it all


def coverage_after_choosing(n_repetitions, n, honest, seed=0):
    """Shares of 95 % intervals that cover the truth after a split was chosen: of the two slopes, and of their difference.

    y = x + noise: there is nothing to split, the slopes are 1 and their difference is 0. The split chosen is the one of 15
    whose two slopes differ most.
    """
    rng = np.random.default_rng(seed)
    x = rng.random((n_repetitions, n))
    y = x + rng.normal(size=x.shape)
    choosing, judging = inference.honest_split(n, seed) if honest else (np.arange(n), np.arange(n))
    cuts = np.linspace(0.15, 0.85, 15)
    gap = np.empty((n_repetitions, len(cuts)))
    repetition = np.arange(n_repetitions)[:, None]
    for c, cut in enumerate(cuts):
        group = 2 * repetition + (x[:, choosing] > cut)
        fits = glm.fit(x[:, choosing].reshape(-1, 1), y[:, choosing].ravel(), "gaussian", group=group.ravel())
        slopes = inference.wald(
            fits, x[:, choosing].reshape(-1, 1), y[:, choosing].ravel(), group=group.ravel(), honest=honest
        )
        gap[:, c] = np.abs(difference(slopes)[0])
    chosen = cuts[gap.argmax(axis=1)]
    group = (2 * repetition + (x[:, judging] > chosen[:, None])).ravel()
    x, y = x[:, judging].reshape(-1, 1), y[:, judging].ravel()
    result = inference.wald(glm.fit(x, y, "gaussian", group=group), x, y, group=group, honest=honest)
    assert not any(result.reason)
    slopes = (result.lower[:, 0, 1] <= 1) & (result.upper[:, 0, 1] >= 1)
    statistic, df = difference(result)
    return slopes.mean(), (np.abs(statistic) <= t.ppf(0.975, df)).mean()


def difference(result):
    """Welch's statistic of the difference of the slopes of each pair of groups, and its degrees of freedom."""
    b, v, df = result.estimate[:, 0, 1].reshape(-1, 2), result.se[:, 0, 1].reshape(-1, 2) ** 2, result.df.reshape(-1, 2)
    return (b[:, 1] - b[:, 0]) / np.sqrt(v.sum(axis=1)), v.sum(axis=1) ** 2 / (v**2 / df).sum(axis=1)


@pytest.mark.slow
def test_intervals_undercover_where_the_split_was_chosen_on_the_same_rows_and_cover_where_it_was_not():
    naive_slopes, naive_difference = coverage_after_choosing(1000, 240, honest=False)
    slopes, between = coverage_after_choosing(1000, 240, honest=True)
    assert naive_slopes < 0.92
    assert naive_difference < 0.8
    assert 0.93 <= slopes <= 0.97
    assert 0.93 <= between <= 0.97
