"""From expressions to layers: the function stays, stored weights stay bit for bit, little is carried."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from relucidate.errors import MalformedModelError, UnsupportedModelError
from relucidate.frameworks.lowering import Builder, Expr, eye, product, selection, stacked, total
from relucidate.layers import Activation, Layer

Floats = np.ndarray[Any, Any]


def relu(builder: Builder, x: Expr, name: str = "relu") -> Expr:
    return builder.activation(x, Activation.of_kind("relu", x.size), name)


def forward(layers: tuple[Layer, ...], x: Floats) -> Floats:
    for layer in layers:
        x = layer.activation(layer.preactivation(x))
    return x


def widths(layers: tuple[Layer, ...]) -> list[int]:
    return [layer.weight.shape[0] for layer in layers]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


# ---------------------------------------------------------------- matrices


def dense(matrix: Any) -> Floats:
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["dense", "sparse", "pick"]),
    st.sampled_from(["dense", "sparse", "pick"]),
)
def test_products_and_sums_are_those_of_dense_matrices(seed: int, left: str, right: str) -> None:
    rng = np.random.default_rng(seed)

    def drawn(kind: str, m: int, k: int) -> Any:
        full = rng.normal(size=(m, k)) * (rng.random((m, k)) < 0.5)
        if kind == "pick":
            return selection(rng.integers(-1, k, size=m), k, rng.normal(size=m))
        return full if kind == "dense" else sparse.csr_array(full)

    a, b, c = drawn(left, 4, 3), drawn(right, 3, 5), drawn(right, 4, 3)
    assert np.allclose(dense(product(a, b)), dense(a) @ dense(b))
    assert np.allclose(dense(total(a, c)), dense(a) + dense(c))
    joined = stacked([[a, None], [None, b]], [4, 3], [3, 5])
    assert np.allclose(dense(joined), np.block([[dense(a), np.zeros((4, 5))], [np.zeros((3, 3)), dense(b)]]))


def test_the_identity_leaves_the_very_weights(rng: np.random.Generator) -> None:
    weight = rng.normal(size=(6, 4))
    assert product(weight, eye(4)) is weight
    assert product(eye(6), weight) is weight


# ---------------------------------------------------------------- weights


def test_weights_of_a_plain_network_are_bit_exact(rng: np.random.Generator) -> None:
    w = [rng.normal(size=s) for s in ((7, 5), (6, 7), (2, 6))]
    b = [rng.normal(size=len(m)) for m in w]
    builder = Builder()
    x = builder.input(5)
    h = relu(builder, builder.shift(builder.affine(x, w[0]), b[0]))
    h = relu(builder, builder.affine(h, w[1], b[1]))
    layers = builder.layers(builder.affine(h, w[2], b[2]), 5, name="out")
    assert all(np.array_equal(layer.weight, m) for layer, m in zip(layers, w, strict=True))
    assert all(np.array_equal(layer.bias, v) for layer, v in zip(layers, b, strict=True))
    assert [layer.name for layer in layers] == ["relu", "relu", "out"]


def test_wide_layers_cost_what_they_store() -> None:
    """20,000 neurons with one weight each, a skip and a concatenation: a dense identity would take 3 GB."""
    n = 20_000
    builder = Builder()
    x = builder.input(n)
    h = builder.add(relu(builder, builder.scale(x, 2.0)), x)
    layers = builder.layers(builder.concat([relu(builder, h), x], axis=0), n)
    stored = sum(layer.weight.nnz for layer in layers)  # dense weights have none
    assert stored <= 8 * n
    row = np.linspace(-1, 1, n)[None]
    h = np.maximum(2 * row, 0) + row
    assert np.array_equal(forward(layers, row), np.hstack([np.maximum(h, 0), row]))


def test_a_bottleneck_is_kept_apart(rng: np.random.Generator) -> None:
    builder = Builder()
    down, up = rng.normal(size=(10, 784)), rng.normal(size=(784, 10))
    layers = builder.layers(builder.affine(builder.affine(builder.input(784), down), up), 784)
    assert widths(layers) == [10, 784]
    assert np.array_equal(layers[0].weight, down)
    assert layers[0].activation.is_identity
    x = rng.normal(size=(3, 784))
    assert np.allclose(forward(layers, x), x @ down.T @ up.T)


def test_affine_maps_in_a_row_are_composed(rng: np.random.Generator) -> None:
    builder = Builder()
    a, b, c = rng.normal(size=(4, 5)), rng.normal(size=(3, 4)), rng.normal(size=4)
    layers = builder.layers(builder.affine(builder.affine(builder.input(5), a, c), b), 5)
    assert widths(layers) == [3]
    assert np.allclose(layers[0].weight, b @ a)
    assert np.allclose(layers[0].bias, b @ c)


# ---------------------------------------------------------------- carrying


def test_nothing_is_carried_without_need(rng: np.random.Generator) -> None:
    builder = Builder()
    x = builder.input(5)
    h = relu(builder, builder.affine(x, rng.normal(size=(8, 5))))
    unused = relu(builder, builder.affine(h, rng.normal(size=(9, 8))))
    assert unused.size == 9
    g = relu(builder, builder.affine(h, rng.normal(size=(6, 8))))
    assert widths(builder.layers(builder.affine(g, rng.normal(size=(1, 6))), 5)) == [8, 6, 1]


def test_only_the_needed_part_is_carried(rng: np.random.Generator) -> None:
    builder = Builder()
    x = builder.input(50)
    h = relu(builder, builder.affine(x, rng.normal(size=(8, 50))))
    g = relu(builder, builder.affine(h, rng.normal(size=(8, 8))))
    out = builder.add(builder.affine(g, rng.normal(size=(3, 8))), builder.select(x, [4, 2, 4]))
    assert widths(builder.layers(out, 50)) == [8 + 2, 8 + 2, 3]  # two columns, one of them used twice


def test_the_image_is_carried_where_it_is_narrower(rng: np.random.Generator) -> None:
    builder = Builder()
    x = builder.input(50)
    h = relu(builder, builder.affine(x, rng.normal(size=(8, 50))))
    g = relu(builder, builder.affine(h, rng.normal(size=(8, 8))))
    skip = rng.normal(size=(2, 50))
    out = builder.add(builder.affine(g, rng.normal(size=(2, 8))), builder.affine(x, skip))
    layers = builder.layers(out, 50)
    assert widths(layers) == [8 + 2, 8 + 2, 2]


def test_images_of_several_values_share_their_neurons(rng: np.random.Generator) -> None:
    """A sum over all layers, as in a residual stream: one accumulator, not one copy per layer."""
    builder = Builder()
    x = builder.input(6)
    stream = builder.affine(x, rng.normal(size=(2, 6)))
    h = x
    for i in range(6):
        h = relu(builder, builder.affine(h, rng.normal(size=(12, h.size))), f"r{i}")
        stream = builder.add(stream, builder.affine(h, rng.normal(size=(2, 12))))
    assert widths(builder.layers(stream, 6)) == [14, 14, 14, 14, 14, 12 + 2, 2]


def test_one_activation_used_twice_is_one_group(rng: np.random.Generator) -> None:
    builder = Builder()
    h = relu(builder, builder.affine(builder.input(3), rng.normal(size=(4, 3))))
    out = builder.concat([builder.affine(h, rng.normal(size=(2, 4))), builder.scale(h, 3.0)], axis=0)
    assert widths(builder.layers(out, 3)) == [4, 6]


def test_constants_alone_make_a_layer() -> None:
    builder = Builder()
    builder.input(3)
    (layer,) = builder.layers(builder.constant([1.0, 2.0]), 3)
    assert layer.weight.shape == (2, 3)
    assert np.array_equal(forward((layer,), np.ones((1, 3))), [[1.0, 2.0]])


def test_inputs_are_put_in_their_places(rng: np.random.Generator) -> None:
    builder = Builder()
    a, b = builder.input(2, "a"), builder.input(2, "b")
    (base_a,), (base_b,) = a.terms, b.terms
    w = rng.normal(size=(3, 4))
    out = builder.affine(builder.concat([a, b], axis=0), w)
    place = {base_a: np.array([3, 0]), base_b: np.array([1, 3])}
    x = rng.normal(size=(5, 4))
    assert np.allclose(forward(builder.layers(out, 4, place), x), x[:, [3, 0, 1, 3]] @ w.T)


# ---------------------------------------------------------------- extremes


def test_maximum_and_minimum(rng: np.random.Generator) -> None:
    builder = Builder()
    x = builder.input(6)
    a, b = builder.select(x, [0, 1, 2]), builder.select(x, [3, 4, 5])
    rows = rng.normal(size=(20, 6))
    for of, expected in ((builder.maximum, np.maximum), (builder.minimum, np.minimum)):
        layers = builder.layers(of(a, b, "extreme"), 6)
        assert np.allclose(forward(layers, rows), expected(rows[:, :3], rows[:, 3:]))


def test_a_long_chain_is_no_recursion() -> None:
    builder = Builder()
    x = builder.input(1)
    for _ in range(3000):
        x = relu(builder, x)
    assert len(builder.layers(x, 1)) == 3001


def test_what_does_not_fit_is_refused() -> None:
    builder = Builder()
    x = builder.input(3)
    with pytest.raises(MalformedModelError, match=r"\(2, 4\).*3 values"):
        builder.affine(x, np.ones((2, 4)))
    with pytest.raises(MalformedModelError, match="cannot be added"):
        builder.add(x, builder.input(4))
    with pytest.raises(MalformedModelError, match="cannot take the shape"):
        x.reshaped((2, 2))
    with pytest.raises(UnsupportedModelError, match="too large"):
        builder.select(x, np.zeros(2**22, dtype=int))
    with pytest.raises(MalformedModelError, match="has 3 numbers, the network 4"):
        builder.layers(x, 4)


# ---------------------------------------------------------------- any graph


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 25))
def test_layers_compute_what_the_graph_does(seed: int, steps: int) -> None:
    """Every value is computed directly beside its expression, on rows."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(30, 4))
    builder = Builder()
    pool: list[tuple[Expr, Floats]] = [(builder.input(4), rows)]
    for i in range(steps):
        x, v = pool[rng.integers(max(0, len(pool) - 4), len(pool))]
        same = [(e, w) for e, w in pool if e.shape == x.shape]
        y, u = same[rng.integers(len(same))]
        match int(rng.integers(7)):
            case 0:
                w, b = rng.normal(size=(int(rng.integers(1, 6)), x.size)), rng.normal(size=1)
                pool.append((builder.affine(x, w, np.repeat(b, len(w))), v @ w.T + b))
            case 1 | 2:
                pool.append((relu(builder, x, str(i)), np.maximum(v, 0)))
            case 3:
                pool.append((builder.add(x, y), v + u))
            case 4:
                pool.append((builder.maximum(x, y, str(i)), np.maximum(v, u)))
            case 5:
                pool.append((builder.concat([x, y], axis=0), np.hstack([v, u])))
            case 6:
                index = rng.integers(x.size, size=int(rng.integers(1, 5)))
                pool.append((builder.select(x, index), v[:, index]))
        if pool[-1][0].size > 30:
            pool.pop()
    expr, values = pool[-1]
    got = forward(builder.layers(expr, 4), rows)
    assert np.abs(got - values).max() <= 1e-10 * (1 + np.abs(values).max())
