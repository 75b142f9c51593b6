"""Parameters of JAX networks: really trained ones, against what JAX computes; and what is refused."""

from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from relucidate.errors import ArgumentError, MalformedModelError, UnfaithfulError, UnsupportedModelError
from relucidate.frameworks import load

RNG = np.random.default_rng(5)
X = RNG.normal(size=(200, 3)).astype(np.float32)
Y = (np.abs(X[:, :1]) - X[:, 1:2] * (X[:, 2:] > 0)).astype(np.float32)
FRESH = RNG.normal(size=(300, 3)).astype(np.float32) * 3
# sums of some twenty float32 products, each rounded at 6e-8
SINGLE = 1e-5


class Chain(nn.Module):
    """Flax Linen, its hidden layers as wide as each other and more than ten, so that names do not sort as they chain."""

    widths: tuple[int, ...] = (8,) * 11

    @nn.compact
    def __call__(self, x: Any) -> Any:
        for width in self.widths:
            x = nn.relu(nn.Dense(width, bias_init=nn.initializers.normal(0.1))(x))
        return nn.Dense(1)(x)


def trained(loss: Any, parameters: Any, steps: int = 30) -> Any:
    rule = optax.adam(1e-2)
    state = rule.init(parameters)
    slope = jax.jit(jax.grad(loss))
    for _ in range(steps):
        updates, state = rule.update(slope(parameters), state)
        parameters = optax.apply_updates(parameters, updates)
    return parameters


@pytest.fixture(scope="module")
def linen() -> tuple[Chain, Any]:
    model = Chain()
    start = model.init(jax.random.PRNGKey(0), jnp.asarray(X))
    return model, trained(lambda p: ((model.apply(p, X) - Y) ** 2).mean(), start)


def test_flax_linen_in_the_order_of_its_numbers(linen: tuple[Chain, Any]) -> None:
    model, parameters = linen
    net = load(parameters, architecture=[3, *[8] * 11, 1], feature_names=["a", "b", "c"])
    assert [layer.name for layer in net.layers] == [f"params.Dense_{i}" for i in range(12)]
    theirs = np.asarray(model.apply(parameters, FRESH))
    assert np.abs(net.decision(FRESH) - theirs).max() < SINGLE * (1 + np.abs(theirs).max())
    assert "taken to be ReLU" in " ".join(net.provenance.notes)
    assert net.feature_names == ("a", "b", "c")


def test_flax_nnx() -> None:
    class Two(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first = nnx.Linear(3, 7, rngs=rngs)
            self.second = nnx.Linear(7, 2, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            return self.second(nnx.relu(self.first(x)))

    model = Two(nnx.Rngs(0))
    for given in (model, nnx.to_pure_dict(nnx.state(model))):
        net = load(given, architecture=[3, 7, 2], link="softmax")
        theirs = np.asarray(model(jnp.asarray(FRESH)))
        assert np.abs(net.decision(FRESH) - theirs).max() < SINGLE * (1 + np.abs(theirs).max())
        assert net.predict_proba(FRESH).shape == (300, 2)


def test_equinox_is_compared_with_itself() -> None:
    start = eqx.nn.MLP(3, 1, 12, 3, key=jax.random.PRNGKey(1))
    arrays, rest = eqx.partition(start, eqx.is_array)
    model = eqx.combine(trained(lambda p: ((jax.vmap(eqx.combine(p, rest))(X) - Y) ** 2).mean(), arrays), rest)
    theirs = np.asarray(jax.vmap(model)(jnp.asarray(FRESH)))
    for options in ({}, {"architecture": [3, 12, 12, 12, 1]}):
        net = load(model, **options)
        assert np.abs(net.decision(FRESH) - theirs).max() < SINGLE * (1 + np.abs(theirs).max())
        assert net.faithfulness is not None
        assert net.faithfulness.against.startswith("the module itself (jax")


def test_equinox_with_another_activation_is_withheld() -> None:
    with pytest.raises(UnfaithfulError, match="differs from the module itself"):
        load(eqx.nn.MLP(3, 1, 12, 1, activation=jnp.tanh, key=jax.random.PRNGKey(1)))


def test_equinox_with_other_layers_is_refused() -> None:
    class Normed(eqx.Module):
        layers: list[Any]

        def __call__(self, x: Any) -> Any:
            return self.layers[1](self.layers[0](x))

    key = jax.random.PRNGKey(0)
    with pytest.raises(UnsupportedModelError, match=r"layers\[0\]\.weight.*no part of a Linear layer"):
        load(Normed([eqx.nn.LayerNorm(3), eqx.nn.Linear(3, 1, key=key)]))


def haiku(*widths: int) -> dict[str, Any]:
    """Parameters as Haiku names them."""
    names = [f"mlp/~/linear_{i}" for i in range(len(widths) - 1)]
    return {
        name: {"w": RNG.normal(size=(k, m)), "b": RNG.normal(size=m)}
        for name, k, m in zip(names, widths, widths[1:], strict=False)
    }


def slow(parameters: dict[str, Any], rows: Any) -> Any:
    layers = list(parameters.values())
    for layer in layers[:-1]:
        rows = np.maximum(rows @ layer["w"] + layer["b"], 0)
    return rows @ layers[-1]["w"] + layers[-1]["b"]


def test_mappings_out_of_order_are_put_in_order_by_their_shapes() -> None:
    parameters = haiku(3, 6, 5, 1)
    shuffled = {name: parameters[name] for name in reversed(parameters)}
    net = load(shuffled, architecture=[3, 6, 5, 1])
    # the same numbers in another order of summation
    assert np.allclose(net.decision(FRESH), slow(parameters, FRESH), rtol=1e-12, atol=1e-12)


def test_flat_names_and_weights_the_other_way_round() -> None:
    parameters = haiku(3, 6, 1)
    flat = {}
    for i, layer in enumerate(parameters.values()):
        flat |= {f"net.{2 * i}.weight": layer["w"].T, f"net.{2 * i}.bias": layer["b"]}
    assert np.allclose(load(flat, architecture=[3, 6, 1]).decision(FRESH), slow(parameters, FRESH), rtol=1e-12)


def test_layers_without_a_bias() -> None:
    parameters = haiku(3, 6, 1)
    for layer in parameters.values():
        layer["b"] = layer["b"] * 0
    bare = {name: {"w": layer["w"]} for name, layer in parameters.items()}
    assert np.allclose(load(bare, architecture=[3, 6, 1]).decision(FRESH), slow(parameters, FRESH), rtol=1e-12)


@pytest.mark.parametrize(
    ("architecture", "text"),
    [
        (None, r"Parameters alone do not say how a network uses them\. Give architecture="),
        ("3,6,1", "is no list of two or more widths"),
        ([3], "is no list of two or more widths"),
        ([3, 6.0, 1], "must hold whole numbers above 0"),
        ([3, 0, 1], "must hold whole numbers above 0"),
        ([3, 7, 1], r"do not fit architecture=\[3, 7, 1\].*there are 'mlp/~/linear_0 \(3, 6\)"),
        ([1, 6, 3], "They fit the other way round"),
        ([3, 6, 6, 1], "do not fit architecture"),
    ],
)
def test_architectures_that_do_not_fit(architecture: Any, text: str) -> None:
    with pytest.raises((ArgumentError, MalformedModelError), match=text):
        load(haiku(3, 6, 1), architecture=architecture)


def test_the_order_of_equal_layers_must_show_in_their_names() -> None:
    parameters = haiku(4, 4, 4)
    renamed = dict(zip(["encoder", "decoder"], parameters.values(), strict=True))
    with pytest.raises(UnsupportedModelError, match=r"'encoder', 'decoder', which does not tell their order"):
        load(renamed, architecture=[4, 4, 4])


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ({"norm": {"scale": np.ones(6)}}, r"'norm\.scale' \(shape \(6,\)\) is neither a weight"),
        ({"conv": {"kernel": np.ones((3, 3, 1, 2))}}, r"'conv'\.kernel has the shape \(3, 3, 1, 2\)"),
        ({"odd": {"bias": np.ones(2)}}, "expected one weight and at most one bias"),
        ({"text": {"kernel": np.array([["a"]])}}, "expected an array of numbers"),
    ],
)
def test_other_parameters_are_refused(extra: dict[str, Any], text: str) -> None:
    with pytest.raises((UnsupportedModelError, MalformedModelError), match=text):
        load({**haiku(3, 6, 1), **extra}, architecture=[3, 6, 1])


def test_weights_that_are_no_numbers_are_refused() -> None:
    parameters = haiku(3, 6, 1)
    parameters["mlp/~/linear_0"]["w"][0, 0] = np.nan
    with pytest.raises(MalformedModelError, match="NaN or infinity"):
        load(parameters, architecture=[3, 6, 1])


def test_other_mappings_are_not_taken_for_parameters() -> None:
    with pytest.raises(UnsupportedModelError, match=r"load does not read a builtins\.dict"):
        load({"a": 1})
