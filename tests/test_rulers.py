"""What rows are like, against a slow re-implementation from the definitions and tables without the row that is left out."""

from typing import Any

import numpy as np
import pytest

import relucidate as rl
from relucidate import rulers
from relucidate.rulers import Measured, Ruler
from relucidate.sums import row_loss
from small_networks import SPECIMENS, random_network, rows_for
from test_extrapolating import DEEP, response, study


def measured(u: rl.Unwrapped, x: Any) -> Measured:
    return Ruler(u, True).measure(x, u.network.trace(x))


# ---------------------------------------------------------------- each part


def slow_parts(u: rl.Unwrapped, x: Any) -> dict[str, Any]:
    """Each part, row by row, from what the docstrings say."""
    net, train = u.network, u.sample.x
    sd = train.std(axis=0)
    varies = np.ptp(train, axis=0) > 0
    scale = np.where(varies, sd, np.inf)
    known = net.patterns(train).bits()
    region = u.region_of
    d = len(sd)
    scatter = np.zeros((d, d))
    for r in range(u.n_regions):
        z = (train[region == r] - train[region == r].mean(axis=0)) / scale
        scatter += z.T @ z
    freedom = len(train) - u.n_regions
    covariance = 0.95 * scatter / freedom + 0.05 * np.eye(d) if freedom else np.eye(d)
    inverse = np.linalg.inv(covariance)
    loss = row_loss(net, net.decision(train), u.sample.y)

    def preactivations(rows: Any) -> list[Any]:
        a, out = rows, []
        for layer in net.hidden:
            out.append(layer.preactivation(a))
            a = layer.activation(out[-1])
        return out

    spread = [z.std(axis=0) for z in preactivations(train)]
    largest = [np.abs(z).max(axis=0) for z in preactivations(train)]
    out: dict[str, list[Any]] = {}

    def add(**values: Any) -> None:
        for name, value in values.items():
            out.setdefault(name, []).append(value)

    for row, bits, each in zip(x, net.patterns(x).bits(), zip(*preactivations(x), strict=True), strict=False):
        away = (known != bits).sum(axis=1)
        # regions are numbered from the largest, patterns of one region by their bits
        r = region[away == away.min()].min()
        mine = region == r
        n = mine.sum()
        z = (row - train[mine].mean(axis=0)) / scale
        beyond = np.maximum(row - train.max(axis=0), 0) - np.maximum(train.min(axis=0) - row, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            beyond = np.where(beyond == 0, 0.0, beyond / np.where(varies, sd, 0))
        margin = np.inf
        for layer, value, s, top in zip(net.hidden, each, spread, largest, strict=True):
            for j, k in zip(*layer.activation.switches, strict=True):
                if s[j] > 1e-12 * top[j]:
                    margin = min(margin, abs(value[j] - layer.activation.breakpoints[j, k]) / s[j])
        add(
            seen=away.min() == 0,
            hamming=away.min(),
            region=r,
            count=n,
            region_distance=np.sqrt(z @ inverse @ z / (1 + 1 / n)),
            centre_distance=np.sqrt((((row - train.mean(axis=0)) / scale) ** 2).sum()),
            row_distance=np.sqrt((((row - train) / scale) ** 2).sum(axis=1)).min(),
            outside=np.abs(beyond).max(),
            margin=margin,
            region_loss=(loss[mine].sum() + 10 * loss.mean()) / (n + 10),
        )
        out.setdefault("beyond", []).append(beyond)
    return {name: np.array(values) for name, values in out.items()}


@pytest.mark.parametrize("name", [name for name, net in SPECIMENS.items() if net.hidden])
def test_each_part_is_what_it_is_said_to_be(name: str) -> None:
    u, x, _ = study(SPECIMENS[name], 200, 40)
    found = measured(u, x)
    slow = slow_parts(u, x)
    for part in ("seen", "hamming", "region", "count"):
        np.testing.assert_array_equal(getattr(found, part), slow[part], err_msg=part)
    for part in ("region_distance", "centre_distance", "row_distance", "outside", "margin", "region_loss"):
        # sums in another order; distances are roots of sums of squares, some of them 0
        np.testing.assert_allclose(getattr(found, part), slow[part], rtol=1e-9, atol=1e-9, err_msg=part)
    np.testing.assert_allclose(found.beyond.toarray(), slow["beyond"], rtol=1e-12)
    which = np.where(slow["outside"] > 0, np.abs(slow["beyond"]).argmax(axis=1), -1)
    np.testing.assert_array_equal(found.outside_feature, which)


@pytest.mark.parametrize("name", ["deep", "mixed", "lattice", "twins"])
def test_a_row_left_out_is_measured_as_if_it_had_never_been_there(name: str) -> None:
    net = SPECIMENS[name]
    x = rows_for(net, 60)
    y = response(net, x)
    found = Ruler(rl.unwrap(net, x, y), True).references[0]
    sd = x.std(axis=0)
    for i in range(0, 60, 4):
        rest = np.delete(np.arange(60), i)
        u = rl.unwrap(net, x[rest], y[rest])
        alone = measured(u, x[[i]])
        assert alone.seen[0] == found.seen[i]
        assert alone.hamming[0] == found.hamming[i]
        # among patterns that are equally near, the larger region is first, and sizes differ by the row left out
        assert abs(alone.count[0] - found.count[i]) <= (not found.seen[i])
        excess = np.abs(alone.beyond.toarray()[0]) * x[rest].std(axis=0) / sd
        np.testing.assert_allclose(found.outside[i], excess.max(), atol=1e-12)
        np.testing.assert_allclose(found.row_distance[i], np.sqrt((((x[i] - x[rest]) / sd) ** 2).sum(axis=1)).min())
        if found.seen[i]:
            mine = u.region_of == alone.region[0]
            ruler = Ruler(rl.unwrap(net, x, y), False)
            z = ruler._whitening[: len(sd)] @ ((x[i] - x[rest][mine].mean(axis=0)) / sd)
            np.testing.assert_allclose(found.region_distance[i], np.sqrt(z @ z / (1 + 1 / mine.sum())), atol=1e-9)


# ---------------------------------------------------------------- the nearest row


def test_many_features_have_the_same_nearest_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    u, x, _ = study(DEEP)
    tree, left = measured(u, x), Ruler(u, True).references[0]
    monkeypatch.setattr(rulers, "_TREE_FEATURES", 0)
    np.testing.assert_allclose(measured(u, x).row_distance, tree.row_distance, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(Ruler(u, True).references[0].row_distance, left.row_distance, rtol=1e-9, atol=1e-12)


def test_the_nearest_row_is_found_in_any_order_and_without_a_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    u = rl.unwrap(DEEP, rng.normal(size=(700, 4)))
    x = rng.normal(size=(600, 4))
    plain = measured(u, x)
    points = u.sample.x / u.sample.sd
    expected = np.sqrt(((x[:, None] / u.sample.sd - points) ** 2).sum(axis=2)).min(axis=1)
    np.testing.assert_allclose(plain.row_distance, expected, rtol=1e-12)
    monkeypatch.setattr(rulers, "_FEW_ROWS", 100)
    monkeypatch.setattr(rulers, "_ANCHORS", 20)
    monkeypatch.setattr(rulers, "_COMPARED", 1.0)
    order = rulers._alike_together(x, points)
    assert (np.sort(order) == np.arange(600)).all()
    assert (order != np.arange(600)).any()
    np.testing.assert_array_equal(measured(u, x).row_distance, plain.row_distance)
    monkeypatch.setattr(rulers, "_COMPARED", 1e-4)  # no tree compares with so few
    assert Ruler(u, True)._tree is None
    np.testing.assert_allclose(measured(u, x).row_distance, expected, rtol=1e-9)


def test_a_tree_is_used_where_rows_lie_near_a_plane_and_not_where_they_fill_the_space(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rulers, "_FEW_ROWS", 1000)
    rng = np.random.default_rng(0)
    net = random_network([20, 5, 1], seed=0)
    flat, full = rng.normal(size=(20_000, 2)) @ rng.normal(size=(2, 20)), rng.normal(size=(20_000, 20))
    assert Ruler(rl.unwrap(net, flat), True)._tree is not None
    assert Ruler(rl.unwrap(net, full), True)._tree is None
