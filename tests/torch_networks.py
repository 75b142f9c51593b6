"""PyTorch modules that tests share: one for each layer and idiom, and random ones made of them."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

nn, F = torch.nn, torch.nn.functional

torch.set_num_threads(1)  # the networks are small, and threads that wait for each other take longer than they do

Floats = np.ndarray[Any, Any]


class Written(nn.Module):
    """A module whose forward pass is a function of its parts and its input."""

    def __init__(self, how: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        self.how = how
        for name, part in parts.items():
            if isinstance(part, nn.Module | nn.Parameter):
                setattr(self, name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, x: Any) -> Any:
        return self.how(self, x)


def settled(module: Any, seed: int = 0) -> Any:
    """Give a module the statistics and the scale of a trained one, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and part.running_mean is not None:
                part.running_mean.normal_(generator=generator)
                part.running_var.uniform_(0.5, 2, generator=generator)
                if part.weight is not None:
                    part.weight.uniform_(-1.5, 1.5, generator=generator)
                    part.bias.normal_(generator=generator)
    return module.eval()


def seeded(make: Callable[[], Any], seed: int = 0) -> Any:
    """Make a module with known weights, and leave the random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return settled(make(), seed)


def wide(module: Any, rows: Floats, *shapes: tuple[int, ...], dtype: Any = None) -> Floats:
    """What PyTorch says of rows (n, columns) in float64: the module itself, not ours."""
    import copy

    dtype = torch.float64 if dtype is None else dtype
    twin = copy.deepcopy(module).to(dtype).eval()
    widths = [int(np.prod(shape)) for shape in shapes]
    parts = np.split(rows, np.cumsum(widths)[:-1], axis=1)
    tensors = [torch.from_numpy(p.reshape(len(rows), *s)).to(dtype) for p, s in zip(parts, shapes, strict=True)]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convolutions padded to the same size
        out = twin(*tensors)
    return out.double().numpy().reshape(len(rows), -1)


def spread_rows(n: int, width: int, seed: int = 1) -> Floats:
    """Rows on several scales."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, width)) * 10.0 ** rng.uniform(-1.5, 1, size=(n, 1))


IMAGE = (2, 7, 6)
LINE = (3, 9)
CUBE = (2, 4, 5, 4)
ROW = (6,)


def after_linear(how: Callable[..., Any], width: int = 6, **parts: Any) -> Callable[[], Any]:
    """A module that does something behind a linear layer and adds it up again, so that it is seen through weights."""

    def make() -> Any:
        made = {name: part() if inspect.isfunction(part) else part for name, part in parts.items()}
        return Written(lambda m, x: how(m, m.first(x)), first=nn.Linear(6, width), **made)

    return make


def layer(make: Callable[[], Any], channels: int | None = None) -> Callable[[], Any]:
    """A layer between a convolution (or a linear layer) and the output."""

    def module() -> Any:
        return nn.Sequential(nn.Linear(6, channels or 6), make(), nn.Flatten())

    return module


def behind(conv: Callable[[], Any], make: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: nn.Sequential(conv(), make(), nn.Flatten())


def conv1() -> Any:
    return nn.Conv1d(3, 4, 3, padding=1)


def conv2() -> Any:
    return nn.Conv2d(2, 4, 3, padding=1)


def conv3() -> Any:
    return nn.Conv3d(2, 3, 2)


@dataclass(frozen=True)
class Specimen:
    """A module and the shape of one row of each of its inputs."""

    make: Callable[[], Any]
    shape: tuple[int, ...] = ROW


def threshold(x: Any) -> Any:
    return torch.where(x > 0, x, 0.1 * x)


def masked(x: Any) -> Any:
    return x * (x > 0)


ACTIVATIONS: dict[str, Callable[[], Any]] = {
    "relu": nn.ReLU,
    "relu in place": lambda: nn.ReLU(inplace=True),
    "relu6": nn.ReLU6,
    "leaky relu": lambda: nn.LeakyReLU(0.2),
    "leaky relu of a negative slope": lambda: nn.LeakyReLU(-0.5),
    "prelu": nn.PReLU,
    "hardtanh": lambda: nn.Hardtanh(-0.3, 0.8),
    "hardsigmoid": nn.Hardsigmoid,
    "softshrink": lambda: nn.Softshrink(0.3),
    "rrelu": nn.RReLU,
    "threshold": lambda: nn.Threshold(0.2, 0.2),
    "dropout": lambda: nn.Dropout(0.3),
    "alpha dropout": nn.AlphaDropout,
    "feature alpha dropout": nn.FeatureAlphaDropout,
    "identity": nn.Identity,
}

IDIOMS: dict[str, Callable[[Any, Any], Any]] = {
    "relu_ and a view of it": lambda m, x: (lambda v: F.relu_(x) + v)(x.view(-1, 2, 3).flatten(1)),
    "in place on a slice": lambda m, x: (x[:, 1:4].clamp_(min=0), x)[1],
    "in place addition": lambda m, x: x.add_(1).mul_(2).relu_().sub_(0.5),
    "a column overwritten": lambda m, x: (x.__setitem__((slice(None), 0), 0.5), x.relu())[1],
    "a column from another": lambda m, x: (x.__setitem__((slice(None), 0), x[:, 1].abs()), x)[1],
    "filled by columns": lambda m, x: (
        lambda out: (out.__setitem__((slice(None), slice(0, 3)), x[:, 3:].relu()), out)[1]
    )(torch.zeros_like(x)),
    "clamp": lambda m, x: x.clamp(-0.5, 0.7),
    "clamp of tensors": lambda m, x: torch.clamp(x, -m.c.abs(), m.c.abs()),
    "clamp by the input": lambda m, x: torch.clamp(x, x.flip(1), 0.5 + x.roll(1, 1).abs()),
    "clamp upside down": lambda m, x: x.clamp(1.0, -1.0) + x,
    "clamp_min": lambda m, x: x.clamp_min(0.2),
    "clamp_max": lambda m, x: x.clamp_max(0.2),
    "abs": lambda m, x: x.abs(),
    "neg": lambda m, x: -x.relu(),
    "maximum": lambda m, x: torch.maximum(x, x.flip(1)),
    "minimum": lambda m, x: torch.minimum(x, m.c),
    "max of two": lambda m, x: torch.max(x, -2 * x),
    "max over an axis": lambda m, x: x.max(1).values,
    "max over an axis, kept": lambda m, x: x - x.max(dim=1, keepdim=True)[0],
    "min over an axis": lambda m, x: x.view(-1, 2, 3).min(2)[0],
    "amax": lambda m, x: x.view(-1, 2, 3).amax((1, 2)),
    "amin": lambda m, x: x.amin(1, keepdim=True),
    "where": lambda m, x: threshold(x),
    "where of another threshold": lambda m, x: torch.where(x > 0.5, 2 * x - 0.5, x),
    "where, less": lambda m, x: torch.where(x <= m.c, m.c, x),
    "where with slopes": lambda m, x: x * torch.where(x >= 0, 1.0, 0.25),
    "where beside others": lambda m, x: torch.where(x > 0, x + x.roll(1, 1), x.roll(1, 1)),
    "where of a constant": lambda m, x: torch.where(m.c > 0, x, 3 * x.flip(1)),
    "where, on padding": lambda m, x: threshold(F.pad(x, (1, 2)) + F.pad(torch.full_like(x[:, :1], 0.5), (0, 8))),
    "mask on padding": lambda m, x: masked(F.pad(x, (1, 1), value=-1.0) + 0.5),
    "mask times": lambda m, x: masked(x),
    "mask as float": lambda m, x: x * (x > 0).float() + 0.1 * x * (x <= 0).float(),
    "mask with slopes": lambda m, x: x * (0.2 + 0.8 * (x > 0).to(x.dtype)),
    "mask of a difference": lambda m, x: (x - 1) * (x > 1),
    "not a mask": lambda m, x: x * ~(x > 0),
    "masked_fill": lambda m, x: x.masked_fill(x < 0, 0.0),
    "masked_fill of a constant": lambda m, x: x.masked_fill(m.c > 0, 2.0),
    "relu by abs": lambda m, x: (x + x.abs()) / 2,
    "add, sub and their factors": lambda m, x: torch.sub(torch.add(x, x.relu(), alpha=2), m.c, alpha=3),
    "rsub": lambda m, x: 2 - x.relu(),
    "rsub of a tensor": lambda m, x: m.c - x.relu(),
    "mul and div": lambda m, x: (x.relu() * m.c) / 3,
    "lerp": lambda m, x: torch.lerp(x, x.relu(), 0.3),
    "addcmul": lambda m, x: torch.addcmul(m.c, x.relu(), m.c, value=2),
    "sum": lambda m, x: x.relu().sum(1),
    "sum of some": lambda m, x: x.relu().view(-1, 2, 3).sum((1, 2), keepdim=True).flatten(1),
    "mean": lambda m, x: x.relu().mean(-1, keepdim=True) - x,
    "cat": lambda m, x: torch.cat([x, m.c.expand(x.shape[0], 6), x.relu()], 1),
    "stack": lambda m, x: torch.stack([x, x.relu()], 2).flatten(1),
    "split": lambda m, x: (lambda a, b: torch.relu(a)[:, :2] - b)(*x.split([4, 2], 1)),
    "chunk": lambda m, x: (lambda a, b, c: a + b.relu() - c.abs())(*x.chunk(3, 1)),
    "unbind": lambda m, x: torch.stack([a.relu() for a in x.unbind(1)][::-1], 1),
    "slices": lambda m, x: x[:, ::2].relu() + x[:, 1:6:2],
    "select": lambda m, x: x[:, -1].relu(),
    "index_select": lambda m, x: x.relu().index_select(1, torch.tensor([5, 0, 0])),
    "index": lambda m, x: x.relu()[:, [3, 1, 1]],
    "boolean index": lambda m, x: x.relu()[:, torch.tensor([True, False, True, True, False, False])],
    "gather": lambda m, x: x.relu().gather(1, torch.tensor([[5, 0]]).expand(x.shape[0], 2)),
    "narrow": lambda m, x: x.relu().narrow(1, 2, 3),
    "view and transposed": lambda m, x: x.view(-1, 2, 3).transpose(1, 2).relu().reshape(x.shape[0], -1),
    "permute": lambda m, x: x.view(-1, 1, 2, 3).permute(0, 3, 1, 2).contiguous().flatten(1).relu(),
    "squeeze and unsqueeze": lambda m, x: x.unsqueeze(1).relu().squeeze(1).unsqueeze(-1).squeeze(-1),
    "expand": lambda m, x: (x.unsqueeze(1).expand(-1, 3, 6) * m.c.view(1, 1, 6)).flatten(1).relu(),
    "repeat": lambda m, x: x.relu().repeat(1, 2),
    "tile": lambda m, x: x.relu().tile(1, 2),
    "repeat_interleave": lambda m, x: x.relu().repeat_interleave(2, 1),
    "flip and roll": lambda m, x: x.relu().flip(1).roll(2, 1),
    "triu": lambda m, x: x.relu().view(-1, 2, 3).triu().flatten(1),
    "pad": lambda m, x: F.pad(x.relu(), (1, 2), value=1.5),
    "pad, reflected": lambda m, x: F.pad(x.view(-1, 2, 3).relu(), (1, 2), mode="reflect").flatten(1),
    "pad, replicated": lambda m, x: F.pad(x.view(-1, 2, 3).relu(), (2, 0), mode="replicate").flatten(1),
    "pad, circular": lambda m, x: F.pad(x.view(-1, 2, 3).relu(), (2, 1), mode="circular").flatten(1),
    "cut by padding": lambda m, x: F.pad(x.relu(), (-1, -2)),
    "matmul": lambda m, x: x.relu() @ m.w,
    "matmul from the left": lambda m, x: (m.w.T @ x.relu().unsqueeze(2)).squeeze(2),
    "bmm": lambda m, x: torch.bmm(x.view(-1, 1, 6).relu(), m.w.unsqueeze(0).expand(x.shape[0], 6, 4)).flatten(1),
    "addmm": lambda m, x: torch.addmm(m.c[:4], x.relu(), m.w, beta=0.5, alpha=2),
    "mv": lambda m, x: torch.mv(x.relu(), m.c),
    "einsum": lambda m, x: torch.einsum("bi,io->bo", x.relu(), m.w),
    "linear by hand": lambda m, x: F.linear(x.relu(), m.w.T),
    "cumsum": lambda m, x: x.relu().cumsum(1),
    "constants": lambda m, x: x.relu() * torch.arange(6, device=x.device) + torch.full((6,), 0.5).cumsum(0),
    "sizes": lambda m, x: x.relu().reshape(x.size(0), x.size(1) // 2, 2).sum(2),
    "one layer twice": lambda m, x: m.first(m.first(x).relu()).relu(),
    "residual": lambda m, x: x + m.first(x.relu()).relu(),
    "double and back": lambda m, x: x.double().relu().to(m.c.dtype),
    "detach and clone": lambda m, x: x.detach().clone().relu(),
    "no grad inside": lambda m, x: m.grad(x),
}

LAYERS: dict[str, Specimen] = {
    "linear alone": Specimen(lambda: nn.Linear(6, 2)),
    "linear without bias": Specimen(lambda: nn.Sequential(nn.Linear(6, 4, bias=False), nn.ReLU(), nn.Linear(4, 1))),
    "weight norm": Specimen(
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 3)), nn.ReLU(), nn.Linear(3, 2))
    ),
    "batch norm of rows": Specimen(layer(lambda: nn.Sequential(nn.BatchNorm1d(6), nn.ReLU()))),
    "batch norm without weights": Specimen(layer(lambda: nn.Sequential(nn.BatchNorm1d(6, affine=False), nn.ReLU()))),
    "maxout": Specimen(layer(lambda: Written(lambda m, x: x.unflatten(1, (2, 3)).amax(2)))),
    "conv1d": Specimen(lambda: nn.Sequential(nn.Conv1d(3, 4, 3, stride=2, padding=2), nn.ReLU(), nn.Flatten()), LINE),
    "conv2d": Specimen(lambda: nn.Sequential(nn.Conv2d(2, 3, (3, 2), (2, 1), (1, 0)), nn.ReLU(), nn.Flatten()), IMAGE),
    "conv3d": Specimen(lambda: nn.Sequential(conv3(), nn.ReLU(), nn.Flatten()), CUBE),
    "conv2d, dilated and in groups": Specimen(
        lambda: nn.Sequential(nn.Conv2d(2, 4, 2, dilation=2, groups=2), nn.ReLU(), nn.Flatten()), IMAGE
    ),
    "conv2d, same": Specimen(
        lambda: nn.Sequential(nn.Conv2d(2, 3, (2, 3), padding="same"), nn.ReLU(), nn.Flatten()), IMAGE
    ),
    "conv2d, valid": Specimen(
        lambda: nn.Sequential(nn.Conv2d(2, 3, 2, padding="valid"), nn.ReLU(), nn.Flatten()), IMAGE
    ),
    "conv1d, circular": Specimen(
        lambda: nn.Sequential(nn.Conv1d(3, 2, 3, padding=1, padding_mode="circular"), nn.ReLU(), nn.Flatten()), LINE
    ),
    "transposed conv": Specimen(
        lambda: nn.Sequential(nn.ConvTranspose2d(2, 2, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten()), IMAGE
    ),
    "separable conv": Specimen(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, groups=2), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2), nn.ReLU6(), nn.Flatten()
        ),
        IMAGE,
    ),
    "prelu per channel": Specimen(behind(conv2, lambda: nn.PReLU(4, init=0.3)), IMAGE),
    "batch norm of images": Specimen(behind(conv2, lambda: nn.Sequential(nn.BatchNorm2d(4), nn.ReLU())), IMAGE),
    "batch norm of volumes": Specimen(behind(conv3, lambda: nn.Sequential(nn.BatchNorm3d(3), nn.ReLU())), CUBE),
    "instance norm with running statistics": Specimen(
        behind(conv2, lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True)), IMAGE
    ),
    "dropout of channels": Specimen(behind(conv2, nn.Dropout2d), IMAGE),
    "max pool 1d": Specimen(behind(conv1, lambda: nn.MaxPool1d(3, 2, padding=1)), LINE),
    "max pool 2d": Specimen(behind(conv2, lambda: nn.MaxPool2d(2)), IMAGE),
    "max pool 2d, padded and dilated": Specimen(behind(conv2, lambda: nn.MaxPool2d(3, 1, 1, dilation=2)), IMAGE),
    "max pool 2d, ceil": Specimen(behind(conv2, lambda: nn.MaxPool2d((2, 3), ceil_mode=True)), IMAGE),
    "max pool 3d": Specimen(behind(conv3, lambda: nn.MaxPool3d(2, 1)), CUBE),
    "avg pool 1d": Specimen(behind(conv1, lambda: nn.AvgPool1d(2, 2, padding=1)), LINE),
    "avg pool 2d": Specimen(behind(conv2, lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False)), IMAGE),
    "avg pool 2d, ceil": Specimen(behind(conv2, lambda: nn.AvgPool2d(2, ceil_mode=True)), IMAGE),
    "avg pool 2d, divisor": Specimen(behind(conv2, lambda: nn.AvgPool2d(2, divisor_override=3)), IMAGE),
    "avg pool 3d": Specimen(behind(conv3, lambda: nn.AvgPool3d(2)), CUBE),
    "global average": Specimen(behind(conv2, lambda: nn.AdaptiveAvgPool2d(1)), IMAGE),
    "adaptive average": Specimen(behind(conv2, lambda: nn.AdaptiveAvgPool2d((3, 4))), IMAGE),
    "adaptive average, one axis": Specimen(behind(conv2, lambda: nn.AdaptiveAvgPool2d((None, 2))), IMAGE),
    "adaptive average 1d": Specimen(behind(conv1, lambda: nn.AdaptiveAvgPool1d(4)), LINE),
    "adaptive maximum": Specimen(behind(conv2, lambda: nn.AdaptiveMaxPool2d((3, 4))), IMAGE),
    "adaptive maximum 1d": Specimen(behind(conv1, lambda: nn.AdaptiveMaxPool1d(2)), LINE),
    "pixel shuffle": Specimen(behind(conv2, lambda: nn.PixelShuffle(2)), IMAGE),
    "upsampled": Specimen(behind(conv2, lambda: nn.Upsample(scale_factor=2)), IMAGE),
    "upsampled, bilinear": Specimen(behind(conv1, lambda: nn.Upsample(scale_factor=2, mode="linear")), LINE),
    "padded with zeros": Specimen(behind(nn.Identity, lambda: nn.Sequential(nn.ZeroPad2d(1), conv2())), IMAGE),
    "unfolded": Specimen(behind(conv2, lambda: nn.Unfold(2)), IMAGE),
    "channels last": Specimen(
        behind(conv2, lambda: Written(lambda m, x: m.f(x.permute(0, 2, 3, 1)).relu(), f=nn.Linear(4, 2))), IMAGE
    ),
    **{
        f"idiom: {name}": Specimen(
            after_linear(
                how,
                c=lambda: nn.Parameter(torch.randn(6)),
                w=lambda: nn.Parameter(torch.randn(6, 4)),
                grad=lambda: Written(_without_grad),
            )
        )
        for name, how in IDIOMS.items()
    },
    **{f"activation: {name}": Specimen(layer(make)) for name, make in ACTIVATIONS.items()},
    **{f"activation of images: {name}": Specimen(behind(conv2, make), IMAGE) for name, make in ACTIVATIONS.items()},
}


def _without_grad(m: Any, x: Any) -> Any:
    with torch.no_grad():
        return x.relu()


HEADS: dict[str, tuple[Callable[[Any], Any], int, str]] = {
    "sigmoid": (torch.sigmoid, 1, "logit"),
    "sigmoids": (torch.sigmoid, 3, "logit"),
    "sigmoid, squeezed": (lambda z: torch.sigmoid(z).squeeze(-1), 1, "logit"),
    "1 - p": (lambda z: 1 - torch.sigmoid(z), 1, "logit"),
    "softmax": (lambda z: torch.softmax(z, -1), 3, "softmax"),
    "softmax over axis 1": (lambda z: F.softmax(z, dim=1), 3, "softmax"),
    "exponential": (torch.exp, 1, "log"),
    "exponential of log_softmax": (lambda z: F.log_softmax(z, -1).exp(), 3, "softmax"),
}
LOG_HEADS: dict[str, tuple[Callable[[Any], Any], int, str]] = {
    "log_softmax": (lambda z: F.log_softmax(z, -1), 3, "softmax"),
    "logsigmoid": (F.logsigmoid, 1, "logit"),
    "log of softmax": (lambda z: torch.log(torch.softmax(z, 1)), 3, "softmax"),
}


# ---------------------------------------------------------------- random ones


class Drawn(nn.Module):
    """A random network: a list of steps, each of which knows what it does to the tensors before it."""

    def __init__(self, steps: list[Any], parts: list[Any], n_inputs: int) -> None:
        super().__init__()
        self.steps, self.n_inputs = steps, n_inputs
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Any) -> Any:
        return self.run(x)

    def run(self, *inputs: Any) -> Any:
        known = [torch.cat([t.flatten(1) for t in inputs], 1) if len(inputs) > 1 else inputs[0]]
        for step in self.steps:
            known.append(step(self.parts, known))
        return known[-1]


class DrawnOfTwo(Drawn):
    """The same of two inputs."""

    def forward(self, x: Any, more: Any) -> Any:  # type: ignore[override]
        return self.run(x, more)


POINTWISE: list[Callable[[Any], Any]] = [
    F.relu,
    lambda x: F.leaky_relu(x, 0.1),
    F.relu6,
    lambda x: F.hardtanh(x, -0.7, 0.9),
    torch.abs,
    lambda x: x.clamp(min=-0.4),
    lambda x: x.clamp(max=0.6),
    lambda x: torch.where(x > 0, x, 0.2 * x),
    lambda x: 1.5 - x,
    lambda x: x * 0.5 + 0.25,
    F.hardsigmoid,
    lambda x: torch.maximum(x, -0.5 * x),
    lambda x: x.clone().relu_(),
]


def drawn(seed: int) -> tuple[Any, tuple[tuple[int, ...], ...], str]:
    """Return a random network, the shape of one row of each of its inputs, and its link."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convolutions padded to the same size
        torch.manual_seed(seed)
        return _drawn(rng, seed)


def _drawn(rng: Any, seed: int) -> tuple[Any, tuple[tuple[int, ...], ...], str]:
    kind = rng.choice(["rows", "rows", "two", "line", "image"])
    shapes: tuple[tuple[int, ...], ...]
    if kind == "two":
        shapes = ((int(rng.integers(1, 5)),), (int(rng.integers(1, 5)),))
        shape: tuple[int, ...] = (shapes[0][0] + shapes[1][0],)
    else:
        if kind == "rows":
            shape = (int(rng.integers(2, 8)),)
        elif kind == "line":
            shape = (int(rng.integers(1, 4)), int(rng.integers(5, 10)))
        else:
            shape = (int(rng.integers(1, 3)), int(rng.integers(4, 8)), int(rng.integers(4, 8)))
        shapes = (shape,)
    steps: list[Any] = []
    parts: list[Any] = []
    at = [shape]
    for _ in range(int(rng.integers(2, 6))):
        step, shape = _step(rng, parts, at)
        steps.append(step)
        at.append(shape)
    width, link = int(rng.integers(1, 4)), str(rng.choice(["identity", "identity", "logit", "softmax"]))
    width = max(2, width) if link == "softmax" else width
    parts.append(nn.Linear(int(np.prod(shape)), width))
    last = len(parts) - 1
    head = {"identity": lambda z: z, "logit": torch.sigmoid, "softmax": lambda z: torch.softmax(z, 1)}[link]
    steps.append(lambda p, known: head(p[last](known[-1].flatten(1))))
    kind_of = Drawn if len(shapes) == 1 else DrawnOfTwo
    return settled(kind_of(steps, parts, len(shapes)), seed), shapes, link


def _step(rng: Any, parts: list[Any], at: list[tuple[int, ...]]) -> tuple[Any, tuple[int, ...]]:
    """Return one random step and the shape of what it makes."""
    shape = at[-1]
    spatial = len(shape) > 1
    same = [i for i, s in enumerate(at[:-1]) if s == shape]
    choices = ["weights", "weights", "pointwise", "pointwise", "norm", "dropout", "prelu", "concat", "slice", "flip"]
    choices += ["residual"] * 3 * bool(same) + ["max of two"] * bool(same)
    choices += ["max pool", "average pool", "pad", "adaptive", "permute", "flatten"] if spatial else ["maxout"]
    what = rng.choice(choices)

    def part(module: Any) -> tuple[Any, tuple[int, ...]]:
        parts.append(module)
        i = len(parts) - 1
        made = tuple(settled(module)(torch.zeros(1, *shape)).shape[1:])
        return (lambda p, known: p[i](known[-1])), made

    if what == "weights" and not spatial:
        return part(nn.Linear(shape[0], int(rng.integers(2, 8)), bias=bool(rng.random() < 0.8)))
    if what == "weights":
        conv = nn.Conv1d if len(shape) == 2 else nn.Conv2d
        kernel = int(rng.integers(1, min(4, min(shape[1:]) + 1)))
        groups = shape[0] if rng.random() < 0.2 else 1
        out = groups * int(rng.integers(1, 4)) if groups > 1 else int(rng.integers(1, 5))
        padding: Any = "same" if rng.random() < 0.2 else int(rng.integers(0, kernel // 2 + 1))
        stride = 1 if padding == "same" else int(rng.integers(1, 3))
        return part(conv(shape[0], out, kernel, stride=stride, padding=padding, groups=groups))
    if what == "norm":
        return part([nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d][len(shape) - 1](shape[0]))
    if what == "dropout":
        return part(nn.Dropout(0.4))
    if what == "prelu":
        return part(nn.PReLU(shape[0] if rng.random() < 0.5 else 1, init=0.3))
    if what == "max pool" and min(shape[1:]) > 1:
        pool = nn.MaxPool1d if len(shape) == 2 else nn.MaxPool2d
        kernel = int(rng.integers(2, min(4, min(shape[1:]) + 1)))
        padding, ceil = int(rng.integers(0, 2)) * (kernel > 1), bool(rng.random() < 0.3)
        return part(pool(kernel, int(rng.integers(1, 3)), padding, ceil_mode=ceil))
    if what == "average pool" and min(shape[1:]) > 1:
        pool = nn.AvgPool1d if len(shape) == 2 else nn.AvgPool2d
        return part(pool(2, int(rng.integers(1, 3)), 0))
    if what == "adaptive":
        return part((nn.AdaptiveAvgPool1d if len(shape) == 2 else nn.AdaptiveAvgPool2d)(1))
    return _moving_step(rng, what, shape, same)


def _moving_step(rng: Any, what: str, shape: tuple[int, ...], same: list[int]) -> tuple[Any, tuple[int, ...]]:
    def plain(how: Callable[[Any], Any]) -> tuple[Any, tuple[int, ...]]:
        made = tuple(how(torch.zeros(1, *shape)).shape[1:])
        return (lambda p, known: how(known[-1])), made

    if what == "residual":
        i = int(rng.choice(same))
        return (lambda p, known: known[-1] + known[i]), shape
    if what == "max of two":
        i = int(rng.choice(same))
        return (lambda p, known: torch.maximum(known[-1], known[i])), shape
    if what == "concat":
        return plain(lambda x: torch.cat([x, x.relu()], 1))
    if what == "slice" and shape[0] > 1:
        return plain(lambda x: x[:, 1:])
    if what == "flip":
        return plain(lambda x: torch.flip(x, [1]))
    if what == "pad":
        return plain(lambda x: F.pad(x, (1, 1)))
    if what == "permute" and len(shape) == 3:
        return plain(lambda x: x.permute(0, 1, 3, 2))
    if what == "flatten":
        return plain(lambda x: x.flatten(1))
    if what == "maxout" and shape[0] % 2 == 0:
        return plain(lambda x: x.reshape(-1, shape[0] // 2, 2).amax(2))
    pointwise = POINTWISE[int(rng.integers(len(POINTWISE)))]
    return plain(pointwise)
