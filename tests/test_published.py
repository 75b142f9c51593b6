"""The published examples: 530, 288 and 155 regions, and what is known of them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import mean_squared_error, roc_auc_score

import relucidate as rl
from paper_cases import boston, breast_cancer, cocircles, retrain

CASES = {"cocircles": cocircles, "breast cancer": breast_cancer, "boston": boston}
EXACT = 1e-9  # the facts are given to full precision; sums in another order differ in the last places


def score(case, net, X, y):
    decision = net.decision(X)[:, 0]
    return roc_auc_score(y, decision) if case.kind == "classification" else mean_squared_error(y, decision)


def stored(case):
    return rl.load(
        (list(case.weights), list(case.biases)), link="logit" if case.kind == "classification" else "identity"
    )


@pytest.mark.parametrize("how", ["stored weights", "trained anew"])
@pytest.mark.parametrize("name", CASES)
def test_published_facts(name, how):
    case = CASES[name]()
    net = stored(case) if how == "stored weights" else rl.load(retrain(case))
    facts = case.expected
    u = rl.unwrap(net, case.X_train, case.y_train)
    assert u.n_regions == facts["n_regions"]
    assert u.count[:5].tolist() == facts["largest"]
    assert int((u.count == 1).sum()) == facts["one_row"]
    assert int((u.assign(case.X_test) < 0).sum()) == facts["unseen_test_rows"]
    scores = [score(case, net, case.X_train, case.y_train), score(case, net, case.X_test, case.y_test)]
    assert [round(s, 4) for s in scores] == facts["reported_scores"]
    assert u.scores["auc" if case.kind == "classification" else "mse"] == pytest.approx(facts["train_score"], rel=1e-6)
    assert u.exactness.max_relative <= 1e-10
    if how == "trained anew":
        return
    assert scores == pytest.approx([facts["train_score"], facts["test_score"]], rel=EXACT)
    measure = "auc" if case.kind == "classification" else "mse"
    table = u.table()
    assert table[f"local_{measure}"][0] == pytest.approx(facts["first_local_score"], rel=EXACT)
    assert table[f"global_{measure}"][0] == pytest.approx(facts["first_global_score"], rel=EXACT)
    if case.kind == "classification":
        one_class = (u.count > 1) & table["response_mean"].isin([0, 1]).to_numpy()
        assert int(one_class.sum()) == facts["one_class"]


def test_importance_of_the_circles():
    case = cocircles()
    u = rl.unwrap(stored(case), case.X_train)
    squares = (u.count[:, None] * u.coef[:, 0] ** 2).sum(axis=0)
    np.testing.assert_allclose(squares / squares.sum(), case.expected["importance"], rtol=EXACT)
    np.testing.assert_allclose(u.coef[0, 0], case.expected["first_coef"], rtol=EXACT)
    np.testing.assert_allclose(u.intercept[0, 0], case.expected["first_intercept"], rtol=EXACT)
