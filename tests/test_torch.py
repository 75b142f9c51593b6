"""PyTorch modules: what is read equals PyTorch in float64; what cannot be read is refused by the name of its layer."""

import copy
import inspect
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import torch_networks as nets
from relucidate.errors import ArgumentError, ColumnError, UnfaithfulError, UnsupportedModelError
from relucidate.frameworks import load
from relucidate.network import Network

nn, F = torch.nn, torch.nn.functional
Floats = np.ndarray[Any, Any]


def agrees(module: Any, *shapes: tuple[int, ...], tolerance: float = 1e-10, **options: Any) -> Network:
    """Load, compare with PyTorch in float64 on rows that the reader did not choose, return the network."""
    if options.pop("told", True):
        names = list(inspect.signature(module.forward).parameters)
        options["inputs"] = dict(zip(names, shapes, strict=False))
    network = load(module, **options)
    rows = nets.spread_rows(150, sum(int(np.prod(s)) for s in shapes))
    ours, theirs = network.predict(rows), nets.wide(module, rows, *shapes)
    assert ours.shape == theirs.shape
    assert (np.abs(ours - theirs) <= tolerance * (1 + np.abs(theirs))).all()
    assert network.faithfulness is not None
    assert network.faithfulness.against.startswith("PyTorch")
    assert network.faithfulness.n >= 64
    return network


def refused(module: Any, shape: tuple[int, ...] | None = None, **options: Any) -> str:
    """The message of a refusal."""
    if shape is not None:
        (name, *_) = inspect.signature(module.forward).parameters
        options["inputs"] = {name: shape}
    with pytest.raises(UnsupportedModelError) as caught:
        load(module, **options)
    return str(caught.value)


# ---------------------------------------------------------------- layer by layer


@pytest.mark.parametrize("name", nets.LAYERS)
def test_layer(name: str) -> None:
    specimen = nets.LAYERS[name]
    agrees(nets.seeded(specimen.make), specimen.shape)


@pytest.mark.parametrize("name", nets.HEADS)
def test_head(name: str) -> None:
    head, width, link = nets.HEADS[name]
    module = nets.seeded(
        lambda: nets.Written(
            lambda m, x: head(m.net(x)), net=nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, width))
        )
    )
    network = agrees(module, (5,))
    assert network.link == link
    if link in ("logit", "softmax"):
        assert network.predict_proba(np.zeros((2, 5))).shape[1] == max(width, 2)


@pytest.mark.parametrize("name", nets.LOG_HEADS)
def test_head_that_gives_logarithms(name: str) -> None:
    head, width, link = nets.LOG_HEADS[name]
    module = nets.seeded(
        lambda: nets.Written(
            lambda m, x: head(m.net(x)), net=nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, width))
        )
    )
    network = load(module)
    rows = nets.spread_rows(50, 5)
    assert network.link == link
    assert np.allclose(network.predict(rows), np.exp(nets.wide(module, rows, (5,))), atol=1e-12)
    assert any("log-probabilities" in note for note in network.provenance.notes)


@pytest.mark.parametrize("join", [torch.cat, torch.hstack, torch.column_stack])
def test_pair_of_probabilities(join: Any) -> None:
    def forward(m: Any, x: Any) -> Any:
        p = torch.sigmoid(m.f(x.relu()))
        return join([1 - p, p], 1) if join is torch.cat else join([1 - p, p])

    module = nets.seeded(lambda: nets.Written(forward, f=nn.Linear(4, 1)))
    network = load(module)
    rows = nets.spread_rows(50, 4)
    assert np.allclose(network.predict_proba(rows), nets.wide(module, rows, (4,)), atol=1e-12)


def test_stored_weights_stay_as_they_are() -> None:
    module = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    first, last = load(module).layers
    assert np.array_equal(first.weight, module[0].weight.detach().double().numpy())
    assert np.array_equal(first.bias, module[0].bias.detach().double().numpy())
    assert np.array_equal(last.weight, module[2].weight.detach().double().numpy())
    assert (first.name, last.name) == ("1", "2")


def test_provenance() -> None:
    network = load(nets.seeded(lambda: nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2), nn.ReLU())))
    about = network.provenance
    version = torch.__version__.partition("+")[0]
    assert about.source == f"PyTorch {version} module Sequential"
    assert dict(about.operators) == {"linear": 2, "relu": 2}
    assert network.faithfulness is not None
    assert network.faithfulness.against == f"PyTorch {version} in float64"
    assert network.faithfulness.max_relative < 1e-12
    assert any(note.startswith(f"equals PyTorch {version} in float32") for note in about.notes)


# ---------------------------------------------------------------- the precision of the module


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.bfloat16])
def test_precision(kind: Any) -> None:
    module = nets.seeded(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).to(kind))
    network = agrees(module, (4,))
    halved = any("the weights are" in note for note in network.provenance.notes)
    assert halved == (kind is not torch.float64)
    assert np.array_equal(network.layers[0].weight, module[0].weight.detach().double().numpy())


def test_a_cast_inside_is_run_as_the_graph() -> None:
    module = nets.seeded(lambda: nets.Written(lambda m, x: m.f(x.float() / 255).relu(), f=nn.Linear(3, 2)))
    network = load(module)
    assert network.faithfulness is not None
    assert "running its graph in float64" in network.faithfulness.against
    assert any("in float32" in note for note in network.provenance.notes)
    rows = nets.spread_rows(40, 3)
    assert np.allclose(network.predict(rows), nets.wide(module, rows, (3,), dtype=torch.float32), rtol=1e-4, atol=1e-5)


def test_single_precision_alone_notices_an_error_of_a_thousandth(monkeypatch: pytest.MonkeyPatch) -> None:
    from relucidate.frameworks import torch_lowering

    def off(low: Any, call: Any) -> Any:
        return low.builder.scale(low.activate(call["self"], call, "relu"), 1 + 1e-8)

    monkeypatch.setitem(torch_lowering.RULES, "relu", off)
    with pytest.raises(UnfaithfulError, match="in float64"):
        load(nets.seeded(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))))


# ---------------------------------------------------------------- nothing about the user's module changes


class Spied(nn.Module):
    """Counts its calls in a hook, draws random numbers in training."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.drop, self.norm = nn.Linear(4, 6), nn.Dropout(0.5), nn.BatchNorm1d(6)
        self.out = nn.Linear(6, 2)

    def forward(self, x: Any) -> Any:
        return self.out(self.norm(self.drop(self.f(x)).relu_()))


def test_module_is_unchanged() -> None:
    module = Spied()
    module.train()
    module.drop.eval()
    module.f.weight.requires_grad_(False)
    module(torch.randn(8, 4)).sum().backward()
    state = {name: t.clone() for name, t in module.state_dict().items()}
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in module.named_parameters()}
    flags = [m.training for m in module.modules()]
    needs = [p.requires_grad for p in module.parameters()]
    random = torch.random.get_rng_state()
    network = load(module)
    assert any("training mode" in note for note in network.provenance.notes)
    assert all(torch.equal(t, state[name]) for name, t in module.state_dict().items())
    for name, p in module.named_parameters():
        assert (p.grad is None) == (grads[name] is None)
        assert p.grad is None or torch.equal(p.grad, grads[name])
    assert [m.training for m in module.modules()] == flags
    assert [p.requires_grad for p in module.parameters()] == needs
    assert torch.equal(torch.random.get_rng_state(), random)
    assert torch.is_grad_enabled()
    assert all(p.dtype is torch.float32 for p in module.parameters())


class Uncopied(nn.Module):
    """Refuses to be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.drop = nn.Linear(4, 3), nn.Dropout(0.5)

    def __deepcopy__(self, memo: Any) -> Any:
        raise TypeError("no")

    def forward(self, x: Any) -> Any:
        return self.drop(self.f(x)).relu()


def test_module_that_cannot_be_copied_keeps_its_flags() -> None:
    module = Uncopied()
    module.f.eval()
    flags = [m.training for m in module.modules()]
    network = load(module)
    assert [m.training for m in module.modules()] == flags
    assert any("cannot be copied" in note for note in network.provenance.notes)
    module.eval()
    rows = nets.spread_rows(20, 4).astype(np.float32)
    with torch.no_grad():
        assert np.allclose(network.predict(rows), module(torch.from_numpy(rows)).numpy(), atol=1e-5)


def test_hooks_are_part_of_the_function_and_stay() -> None:
    module = nets.seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU()))
    module[0].register_forward_hook(lambda m, args, out: out * 2)
    network = agrees(module, (4,))
    assert any("hooks of '0'" in note for note in network.provenance.notes)
    assert len(module[0]._forward_hooks) == 1


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_wrappers_are_taken_off() -> None:
    module = nets.seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU()))
    rows = nets.spread_rows(20, 4)
    for wrapped in (torch.compile(module), nn.DataParallel(module)):
        network = load(wrapped)
        assert network.provenance.source.endswith("module Sequential")
        assert np.allclose(network.predict(rows), nets.wide(module, rows, (4,)), atol=1e-12)


def test_exported_program() -> None:
    module = nets.seeded(lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 1)))
    rows = nets.spread_rows(20, 4)
    dynamic = {0: torch.export.Dim.DYNAMIC}
    for args, shapes in ((torch.zeros(1, 4), None), (torch.zeros(5, 4), (dynamic,))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (args,), dynamic_shapes=shapes)
        network = load(program)
        assert np.allclose(network.predict(rows), nets.wide(module, rows, (4,)), atol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, (torch.zeros(5, 4),))
    assert "fixed to batches of 5" in refused(program)


# ---------------------------------------------------------------- inputs and outputs


class Digits(nn.Module):
    """A convolutional network whose last layer says which images it takes."""

    def __init__(self, sizes: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4 * (sizes - 2) ** 2, 3)

    def forward(self, x: Any) -> Any:
        return self.fc(F.relu(self.conv(x)).flatten(1))


def test_shape_of_images_is_inferred_where_one_fits() -> None:
    network = load(nets.seeded(Digits))
    assert network.n_features == 64
    assert any("shape (1, 8, 8)" in note for note in network.provenance.notes)
    images = np.random.default_rng(0).normal(size=(5, 1, 8, 8))
    assert np.array_equal(network.predict(images), network.predict(images.reshape(5, 64)))


def test_shape_is_asked_for_where_several_fit() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ArgumentError, match=r"\(1, 3, 3\) and \(1, 4, 4\).*probe=.*inputs=\{'input': \(1, 28, 28\)\}"):
        load(module)
    assert load(module, inputs={"input": (1, 5, 4)}).n_features == 20
    assert load(module, probe=np.zeros((2, 1, 6, 4))).n_features == 24
    assert load(module, probe=torch.zeros(2, 1, 6, 4)).n_features == 24


def test_shape_is_asked_for_where_none_can_be_told() -> None:
    module = nets.Written(lambda m, x: x.relu())
    with pytest.raises(ArgumentError, match=r"cannot be told.*Give probe="):
        load(module)
    assert load(module, inputs={"x": 3}).n_features == 3


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"y": (4,)}, "no argument 'y'"),
        ({"x": (0,)}, "above 0"),
        ({"x": "four"}, "above 0"),
        ({}, "lacks 'x'"),
        (["x"], "is a mapping"),
        ({"x": (5,)}, r"does not take a row of shape x \(5,\)"),
    ],
)
def test_wrong_inputs(inputs: Any, text: str) -> None:
    module = nets.Written(lambda m, x: m.f(x).relu(), f=nn.Linear(4, 2))
    with pytest.raises(ArgumentError, match=text):
        load(module, inputs=inputs)


def test_wrong_probe() -> None:
    module = nets.Written(lambda m, x: m.f(x).relu(), f=nn.Linear(4, 2))
    with pytest.raises(ArgumentError, match=r"does not take a row of shape x \(5,\).*"):
        load(module, probe=np.zeros((3, 5)))
    with pytest.raises(ArgumentError, match="expected rows"):
        load(module, probe=np.zeros(4))
    with pytest.raises(ArgumentError, match="holds 2 arrays"):
        load(module, probe=(np.zeros((3, 4)), np.zeros((3, 4))))


class Towers(nn.Module):
    """Two inputs of different shapes, and one that may be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.row, self.top = nn.Conv1d(2, 3, 2), nn.Linear(3, 4), nn.Linear(16, 2)

    def forward(self, image: Any, scale: float = 2.0, *, row: Any, more: Any = None) -> Any:
        both = torch.cat([self.image(image).relu().flatten(1), self.row(row).relu()], 1)
        return self.top(both * scale)


def test_several_inputs_side_by_side() -> None:
    module = nets.seeded(Towers)
    network = load(module, inputs={"row": (3,), "image": (2, 5)})
    assert network.feature_names[:2] == ("image_0", "image_1")
    assert network.feature_names[-1] == "row_2"
    rows = nets.spread_rows(30, 13)
    twin = copy.deepcopy(module).double()
    with torch.no_grad():
        image = torch.from_numpy(np.ascontiguousarray(rows[:, :10])).reshape(-1, 2, 5)
        theirs = twin(image, row=torch.from_numpy(np.ascontiguousarray(rows[:, 10:])))
    assert np.allclose(network.predict(rows), theirs.numpy(), atol=1e-12)


class Sums(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f, self.g = nn.Linear(3, 4), nn.Linear(2, 4)

    def forward(self, a: Any, b: Any, unused: Any = None) -> Any:
        return (self.f(a) + self.g(b)).relu()


def test_several_inputs_from_a_probe() -> None:
    module = nets.seeded(Sums)
    rows = nets.spread_rows(30, 5)
    probe = (rows[:, :3], torch.from_numpy(rows[:, 3:].copy()))
    network = load(module, probe=probe)
    assert network.feature_names == ("a_0", "a_1", "a_2", "b_0", "b_1")
    assert np.allclose(network.predict(rows), nets.wide(module, rows, (3,), (2,)), atol=1e-12)
    assert any("of yours" in note for note in network.provenance.notes)
    named = load(module, probe=probe, feature_names=list("pqrst"))
    assert named.feature_names == tuple("pqrst")
    with pytest.raises(ColumnError, match="3 feature names"):
        load(module, probe=probe, feature_names=list("pqr"))
    with pytest.raises(ArgumentError, match=r"'a', 'b', 'unused'.*tuple of arrays"):
        load(module)


def test_input_without_influence() -> None:
    module = nets.seeded(lambda: Both(lambda a, b: a.relu()))
    network = load(module, inputs={"a": (2,), "b": (1,)})
    assert network.feature_names == ("a_0", "a_1", "b")
    assert any("without influence: 'b'" in note for note in network.provenance.notes)
    assert np.allclose(network.decision([[1, -1, 7], [1, -1, 8]]), [[1, 0], [1, 0]])


class Both(nn.Module):
    def __init__(self, how: Any) -> None:
        super().__init__()
        self.how = how

    def forward(self, a: Any, b: Any) -> Any:
        return self.how(a, b)


def test_several_outputs() -> None:
    module = nets.seeded(
        lambda: nets.Written(
            lambda m, x: {"score": m.f(x).relu(), "more": (m.f(x).abs(), torch.tanh(x), None)}, f=nn.Linear(4, 2)
        )
    )
    text = refused(module)
    assert "returns 3 tensors, 'score', 'more.0', 'more.1'" in text
    assert "output='score'" in text
    rows = nets.spread_rows(20, 4)
    twin = copy.deepcopy(module).double()
    with torch.no_grad():
        made = twin(torch.from_numpy(rows))
    assert np.allclose(load(module, output="score").predict(rows), made["score"].numpy())
    assert np.allclose(load(module, output="more.0").predict(rows), made["more"][0].numpy())
    with pytest.raises(ArgumentError, match="none of what forward"):
        load(module, output="z")
    pair = nets.seeded(lambda: nets.Written(lambda m, x: (m.f(x), m.f(x).relu()), f=nn.Linear(4, 2)))
    assert np.allclose(load(pair, output=1).predict(rows), load(pair, output="0").predict(rows).clip(min=0))
    with pytest.raises(ArgumentError, match="has no name; leave it out"):
        load(nn.Linear(2, 1), output="y")


def test_link_given() -> None:
    module = nets.seeded(lambda: nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)))
    network = load(module, link="softmax")
    rows = nets.spread_rows(20, 3)
    assert np.allclose(network.decision(rows), nets.wide(module, rows, (3,)))
    assert network.n_classes == 2
    with pytest.raises(ArgumentError, match="whose link is 'softmax'"):
        load(nn.Sequential(module, nn.Softmax(1)), link="logit")


@pytest.mark.parametrize("option", ["architecture", "normalise"])
def test_options_that_mean_nothing(option: str) -> None:
    with pytest.raises(ArgumentError, match="means nothing for a PyTorch module"):
        load(nn.Linear(2, 1), **{option: [2, 1]})


def test_one_row_at_a_time() -> None:
    module = nets.seeded(lambda: nets.Written(lambda m, x: m.f(x.view(4)).relu(), f=nn.Linear(4, 2)))
    network = load(module)
    assert any("row by row" in note for note in network.provenance.notes)
    assert network.n_features == 4


def test_rows_that_are_mixed_are_noticed() -> None:
    text = refused(nets.seeded(lambda: nets.Written(lambda m, x: m.f(x) + x.mean(0).sum(), f=nn.Linear(4, 2))))
    assert "depends on the other rows" in text
    text = refused(nets.seeded(lambda: nets.Written(lambda m, x: m.f(x) - m.f(x).amax(0), f=nn.Linear(4, 2))))
    assert "depends on the other rows" in text


# ---------------------------------------------------------------- refusals

SMOOTH = {
    "GELU": nn.GELU,
    "SiLU": nn.SiLU,
    "Tanh": nn.Tanh,
    "ELU": nn.ELU,
    "SELU": nn.SELU,
    "CELU": nn.CELU,
    "Softplus": nn.Softplus,
    "Softsign": nn.Softsign,
    "Mish": nn.Mish,
    "Hardswish": nn.Hardswish,
    "LogSigmoid": lambda: nn.Sequential(nn.LogSigmoid(), nn.Linear(6, 6)),
    "Tanhshrink": nn.Tanhshrink,
}


@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_layers_are_refused_by_name(name: str) -> None:
    text = refused(nn.Sequential(nn.Linear(6, 6), nn.Sequential(SMOOTH[name](), nn.ReLU()), nn.Linear(6, 1)))
    assert f"({name}, aten." in text
    assert "'1.0" in text
    assert "not piecewise linear" in text
    assert "ReLU" in text


@pytest.mark.parametrize("name", ["Sigmoid", "Softmax", "LogSoftmax"])
def test_links_inside_are_refused(name: str) -> None:
    head = {"Sigmoid": nn.Sigmoid(), "Softmax": nn.Softmax(1), "LogSoftmax": nn.LogSoftmax(1)}[name]
    text = refused(nn.Sequential(nn.Linear(6, 6), head, nn.Linear(6, 1)))
    assert text.startswith(f"module Sequential: '1' ({name}, aten.")
    assert "only as the last step" in text
    assert "'2' (Linear, aten.linear) follows it" in text


def attention() -> Any:
    return nets.Written(lambda m, x: m.att(x, x, x)[0], att=nn.MultiheadAttention(4, 2, batch_first=True))


REFUSED: dict[str, tuple[Any, tuple[int, ...], str]] = {
    "layer norm": (
        lambda: nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6)),
        (6,),
        r"'1' \(LayerNorm, aten.layer_norm\)",
    ),
    "group norm": (lambda: nn.GroupNorm(2, 4), (4, 3), r"\(aten.group_norm\).*batch normalisation"),
    "instance norm": (lambda: nn.InstanceNorm1d(4), (4, 3), r"aten.instance_norm.*statistics"),
    "batch norm without statistics": (
        lambda: nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, track_running_stats=False)),
        (3,),
        r"'1' \(BatchNorm1d\).*running statistics",
    ),
    "attention": (attention, (5, 4), r"'att' \(MultiheadAttention, aten.(bmm|matmul)\).*attention"),
    "attention itself": (
        lambda: nets.Written(lambda m, x: F.scaled_dot_product_attention(x, x, x)),
        (1, 5, 4),
        r"aten.scaled_dot_product_attention\).*Attention multiplies",
    ),
    "lstm": (lambda: nets.Written(lambda m, x: m.r(x)[0], r=nn.LSTM(3, 4)), (5, 3), r"'r' \(LSTM.*gates"),
    "gru": (lambda: nets.Written(lambda m, x: m.r(x)[0], r=nn.GRU(3, 4)), (5, 3), r"'r' \(GRU.*gates"),
    "rnn": (
        lambda: nets.Written(lambda m, x: m.r(x)[0], r=nn.RNN(3, 4, nonlinearity="relu")),
        (5, 3),
        r"'r' \(RNN.*write the steps out",
    ),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 1)),
        (2,),
        r"'0' \(Embedding\).*one-hot",
    ),
    "glu": (lambda: nn.GLU(), (4,), r"aten.glu.*multiplies"),
    "gate": (lambda: nets.Written(lambda m, x: x * torch.relu(x)), (4,), r"aten.mul\).*product of two tensors"),
    "squeeze and excite": (
        lambda: nets.Written(lambda m, x: x * m.f(x.mean((2, 3))).relu()[:, :, None, None], f=nn.Linear(2, 2)),
        (2, 3, 3),
        "product of two tensors",
    ),
    "product of matrices": (
        lambda: nets.Written(lambda m, x: x @ x.transpose(1, 2)),
        (3, 4),
        "matrix product of two tensors",
    ),
    "quotient": (lambda: nets.Written(lambda m, x: 1 / (1 + x.relu())), (4,), "aten.reciprocal|division by something"),
    "square": (lambda: nets.Written(lambda m, x: x**2), (4,), "aten.pow.*not piecewise linear"),
    "norm": (lambda: nets.Written(lambda m, x: x.norm(dim=1)), (4,), "divides by a norm"),
    "step": (lambda: nets.Written(lambda m, x: (x > 0).float()), (4,), r"aten.gt\).*jumps"),
    "where that jumps": (lambda: nets.Written(lambda m, x: torch.where(x > 0, x + 1, x)), (4,), r"aten.gt\).*jumps"),
    "where of another": (lambda: nets.Written(lambda m, x: torch.where(x > 0, x, x.flip(1))), (4,), "jumps"),
    "mask that jumps": (lambda: nets.Written(lambda m, x: x * (x > 1)), (4,), "jumps"),
    "threshold that jumps": (lambda: nn.Threshold(0.1, 0.0), (4,), r"Threshold\(0.1, 0\) jumps from 0 to 0.1"),
    "hardshrink": (lambda: nn.Hardshrink(), (4,), "staircase or jumps"),
    "sign": (lambda: nets.Written(lambda m, x: x.sign()), (4,), "staircase"),
    "round": (lambda: nets.Written(lambda m, x: x.round()), (4,), "staircase"),
    "whole numbers": (lambda: nets.Written(lambda m, x: x.long()), (4,), "staircase"),
    "argmax": (lambda: nets.Written(lambda m, x: x.argmax(1)), (4,), "positions, not scores"),
    "positions of maxima": (
        lambda: nets.Written(lambda m, x: x.max(1).indices * 1.0),
        (4,),
        "positions of largest values",
    ),
    "sort": (lambda: nets.Written(lambda m, x: x.sort(1).values), (4,), "Sorting is not read"),
    "top k": (lambda: nets.Written(lambda m, x: x.topk(2).values), (4,), "Sorting is not read"),
    "random": (lambda: nets.Written(lambda m, x: x + torch.rand(4)), (4,), r"aten.rand\) draws random numbers"),
    "dropout that stays on": (
        lambda: nets.Written(lambda m, x: F.dropout(x, 0.5)),
        (4,),
        "stays on in evaluation mode.*training=self.training",
    ),
    "softmax of rows": (lambda: nn.Softmax(dim=0), (4,), "not one distribution"),
    "softmax of an image": (lambda: nn.Softmax(dim=1), (3, 2), "not one distribution"),
    "constant": (lambda: nets.Written(lambda m, x: torch.ones(1, 3) + torch.zeros(3)), (4,), "constant"),
    "the input itself is no constant": (lambda: nets.Written(lambda m, x: None), (4,), "returns no tensor"),
    "branch on a number": (
        lambda: nets.Written(lambda m, x: x if x.sum() > 0 else -x),
        (4,),
        r"cannot be captured.*torch.export says: .*data-dependent.*torch.onnx.export",
    ),
    "loop on a number": (
        lambda: nets.Written(lambda m, x: [x := x + 1 for _ in range(int(x.abs().max()))] and x),
        (4,),
        "cannot be captured",
    ),
    "numpy inside": (
        lambda: nets.Written(lambda m, x: torch.from_numpy(np.abs(x.numpy()))),
        (4,),
        r"cannot be captured.*torch.export says",
    ),
    "lazy": (lambda: nn.LazyLinear(3), (4,), "Run one batch through the module"),
    "part of a distribution": (
        lambda: nets.Written(lambda m, x: torch.softmax(x, 1)[:, 1]),
        (4,),
        "is taken apart; let forward",
    ),
    "a written sum": (
        lambda: nets.Written(lambda m, x: torch.zeros(4).index_put((torch.tensor([0, 0]),), x.view(4)[:2], True)),
        (4,),
        "not read",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name: str) -> None:
    make, shape, text = REFUSED[name]
    with pytest.raises(UnsupportedModelError, match=f"(?s){text}"):
        load(make().eval(), inputs={next(iter(inspect.signature(make().forward).parameters)): shape})


def test_recurrent_layer_is_named_before_any_shape_is_asked_for() -> None:
    assert "'r' (LSTM) is not supported" in refused(nets.Written(lambda m, x: m.r(x)[0], r=nn.LSTM(3, 4)))
    assert "'0' (Embedding) is not supported" in refused(nn.Sequential(nn.Embedding(5, 3), nn.ReLU()))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_script_module_is_refused() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 1)))
    assert "TorchScript" in refused(scripted)


class Clamped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return grads[0]


def test_own_gradients_do_not_matter() -> None:
    agrees(nets.seeded(lambda: nets.Written(lambda m, x: Clamped.apply(m.f(x)), f=nn.Linear(4, 3))), (4,))


def test_state_that_changes_is_said() -> None:
    def forward(m: Any, x: Any) -> Any:
        m.n.add_(1)
        return m.f(x).relu()

    module = nets.seeded(lambda: nets.Written(forward, f=nn.Linear(4, 3), n=torch.zeros(())))
    network = load(module)
    assert any("changes 'n'" in note for note in network.provenance.notes)
    assert module.n == 0


# ---------------------------------------------------------------- importing


def test_importing_and_recognising_do_not_import_torch() -> None:
    program = (
        "import sys, relucidate; from relucidate.frameworks import torch; torch.recognises([1]); "
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


# ---------------------------------------------------------------- random networks


def check_drawn(seed: int) -> tuple[Any, tuple[tuple[int, ...], ...], float]:
    """Load a random network; return it, its shapes, and the largest relative difference from PyTorch in float64."""
    module, shapes, link = nets.drawn(seed)
    names = list(inspect.signature(module.forward).parameters)
    network = load(module, inputs=dict(zip(names, shapes, strict=True)))
    assert network.link == link
    rows = nets.spread_rows(100, sum(int(np.prod(s)) for s in shapes), seed)
    theirs = nets.wide(module, rows, *shapes)
    worst = float((np.abs(network.predict(rows) - theirs) / (1 + np.abs(theirs))).max())
    assert worst < 1e-10
    return module, shapes, worst


@given(st.integers(0, 10**9))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_random_networks(seed: int) -> None:
    check_drawn(seed)


def exported(module: Any, shapes: tuple[tuple[int, ...], ...], path: Path, *, dynamo: bool) -> Path:
    """The module as an ONNX file."""
    args = tuple(torch.zeros(1, *shape) for shape in shapes)
    names = list(inspect.signature(module.forward).parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shape: Any = tuple({0: torch.export.Dim.DYNAMIC} for _ in shapes)
            torch.onnx.export(
                module, args, str(path), dynamo=True, input_names=names, dynamic_shapes=shape, verbose=False
            )
        else:
            axes = {name: {0: "n"} for name in names}
            torch.onnx.export(module, args, str(path), dynamo=False, input_names=names, dynamic_axes=axes)
    return path


def check_export(seed: int, path: Path, *, dynamo: bool) -> tuple[float, float]:
    """Compare a random network with PyTorch and, by way of ONNX, with PyTorch in float32."""
    module, shapes, worst = check_drawn(seed)
    names = list(inspect.signature(module.forward).parameters)
    options = {"inputs": names} if len(names) > 1 else {}
    network = load(exported(module, shapes, path, dynamo=dynamo), **options)
    rows = nets.spread_rows(50, sum(int(np.prod(s)) for s in shapes), seed).astype(np.float32).astype(np.float64)
    theirs = nets.wide(module, rows, *shapes, dtype=torch.float32)
    size = 1 + np.abs(theirs).max(axis=1, keepdims=True)
    single = float((np.abs(network.predict(rows) - theirs) / size).max())
    assert single < 1e-5
    return worst, single


@pytest.mark.parametrize("dynamo", [False, True])
def test_random_network_by_way_of_onnx(dynamo: bool, tmp_path: Path) -> None:
    for seed in range(3):
        check_export(seed, tmp_path / "net.onnx", dynamo=dynamo)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_many_random_networks_by_way_of_onnx(part: int, tmp_path: Path) -> None:
    for seed in range(1000 + 52 * part, 1000 + 52 * (part + 1)):
        check_export(seed, tmp_path / "net.onnx", dynamo=seed % 13 == 0)


# ---------------------------------------------------------------- trained


def trained(module: Any, X: Any, y: Any, steps: int = 60) -> Any:
    """A few steps of Adam on cross entropy."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        best = torch.optim.Adam(module.parameters(), 0.01)
        for _ in range(steps):
            best.zero_grad()
            F.cross_entropy(module(X), y).backward()
            best.step()
    return module


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_trained_on_digits(kind: str) -> None:
    data = import_module("sklearn.datasets").load_digits()
    X = torch.from_numpy(data.data.astype(np.float32) / 16)
    y = torch.from_numpy(data.target.astype(np.int64))
    if kind == "mlp":
        module = nets.seeded(lambda: nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 10)))
    else:
        X = X.reshape(-1, 1, 8, 8)
        module = nets.seeded(
            lambda: nn.Sequential(
                *(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
                *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10)),
            )
        )
    trained(module.train(), X, y).eval()
    network = load(module, probe=X[:100], link="softmax")
    rows = X.double().numpy().reshape(len(X), -1)
    theirs = nets.wide(module, rows, tuple(X.shape[1:]))
    assert np.abs(network.decision(rows) - theirs).max() < 1e-10
    accuracy = (network.predict(rows).argmax(axis=1) == data.target).mean()
    assert accuracy > 0.9
    assert network.patterns(rows[:20]).n_bits == network.n_bits
