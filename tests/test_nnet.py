"""NNet text files: read as they stand or in the units of the data, and refused with the line where they are damaged."""

import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relucidate.errors import ArgumentError, ColumnError, MalformedModelError, ModelError, UnsupportedModelError
from relucidate.frameworks import _proved, load, nnet
from relucidate.frameworks.reading import Options
from relucidate.network import Network

Arrays = tuple[list[np.ndarray], list[np.ndarray]]


def random_arrays(sizes: Sequence[int], seed: int = 0) -> Arrays:
    """Weights (outputs, inputs) and biases of a random network."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(m, k)) for k, m in pairwise(sizes)], [rng.normal(size=m) for m in sizes[1:]]


def text(
    arrays: Arrays,
    means: Sequence[float] | None = None,
    ranges: Sequence[float] | None = None,
    number: Callable[[float], str] = repr,
) -> str:
    """The file that the format's own writer makes, commas at the ends of lines included."""
    weights, biases = arrays
    sizes = [weights[0].shape[1], *(len(b) for b in biases)]
    n = sizes[0]

    def line(values: Any) -> str:
        return "".join(f"{number(float(v))}," for v in values)

    lines = [
        "// Neural Network File Format by Kyle Julian, Stanford 2016",
        f"{len(weights)},{n},{sizes[-1]},{max(sizes)},",
        "".join(f"{size}," for size in sizes),
        "0,",
        line([-1.0] * n),
        line([1.0] * n),
        line(means if means is not None else [0.0] * (n + 1)),
        line(ranges if ranges is not None else [1.0] * (n + 1)),
    ]
    for weight, bias in zip(weights, biases, strict=True):
        lines += [line(row) for row in weight]
        lines += [line([b]) for b in bias]
    return "\n".join(lines) + "\n"


def forward(
    arrays: Arrays, rows: np.ndarray, means: Sequence[float] | None = None, ranges: Sequence[float] | None = None
) -> np.ndarray:
    """What the network says in the units of means and ranges."""
    n = rows.shape[1]
    mean = np.array(means if means is not None else [0.0] * (n + 1))
    scale = np.array([r or 1.0 for r in ranges] if ranges is not None else [1.0] * (n + 1))
    out = []
    for row in rows:
        a = [(x - mean[j]) / scale[j] for j, x in enumerate(row)]
        for depth, (weight, bias) in enumerate(zip(*arrays, strict=True)):
            z = [sum(w * v for w, v in zip(r, a, strict=True)) + b for r, b in zip(weight, bias, strict=True)]
            a = z if depth == len(arrays[0]) - 1 else [max(0.0, v) for v in z]
        out.append([v * scale[n] + mean[n] for v in a])
    return np.array(out)


def stored(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "net.nnet"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, **options: Any) -> Network:
    """Read whatever the file looks like; `load` decides by its content whether it is one at all."""
    return _proved(nnet.read(path, Options(**options)), None)


def agrees(network: Network, expected: np.ndarray, rows: np.ndarray) -> None:
    np.testing.assert_allclose(network.decision(rows), expected, rtol=1e-10, atol=1e-10)


ROWS = np.random.default_rng(5).normal(size=(30, 3)) * 2
MEANS = [10.0, -3.0, 0.0, 7.5]
RANGES = [2.0, 0.5, 0.0, 300.0]


# ---------------------------------------------------------------- what is read


@pytest.mark.parametrize("sizes", [[3, 5, 4, 2], [3, 1], [3, 1, 1], [3, 3, 3, 3]])
def test_a_file_is_read_as_it_stands(tmp_path: Path, sizes: list[int]) -> None:
    arrays = random_arrays(sizes)
    network = load(stored(tmp_path, text(arrays, MEANS, RANGES)))
    agrees(network, forward(arrays, ROWS), ROWS)
    for layer, weight, bias in zip(network.layers, *arrays, strict=True):
        assert layer.weight.tobytes() == weight.tobytes()
        assert layer.bias.tobytes() == bias.tobytes()
    assert network.faithfulness is not None
    assert network.faithfulness.against == f"layer-by-layer evaluation in numpy {np.__version__}"
    assert network.faithfulness.n >= 256
    assert network.provenance.source == "NNet file"
    assert network.provenance.path == str(tmp_path / "net.nnet")
    assert len(network.provenance.sha256) == 64
    assert network.provenance.operators == (("Linear", len(sizes) - 1), ("ReLU", len(sizes) - 2))


@pytest.mark.parametrize("sizes", [[3, 5, 4, 2], [3, 2]])
def test_means_and_ranges_are_folded_in_where_this_is_asked(tmp_path: Path, sizes: list[int]) -> None:
    arrays = random_arrays(sizes)
    network = load(stored(tmp_path, text(arrays, MEANS, RANGES)), normalise=True)
    rows = ROWS * [2.0, 0.5, 1.0] + MEANS[:3]
    expected = forward(arrays, rows, MEANS, RANGES)
    assert np.abs(expected).max() > 100
    agrees(network, expected, rows)
    assert network.faithfulness is not None


def test_the_notes_say_in_which_units_the_network_is(tmp_path: Path) -> None:
    arrays = random_arrays([3, 4, 2])
    path = stored(tmp_path, text(arrays, MEANS, RANGES))
    units, clipping = load(path).provenance.notes
    assert "kept in its normalised units: it takes (x - mean) / range and gives (y - mean) / range" in units
    assert "means 10.0, -3.0, 0.0, ranges 2.0, 0.5, 1.0" in units
    assert "mean 7.5, range 300.0" in units
    assert "normalise=True folds" in units
    assert clipping.startswith(
        "clipping of the inputs to the file's minima and maxima is not applied (minima -1.0, -1.0"
    )
    units, again = load(path, normalise=True).provenance.notes
    assert units.startswith("means and ranges are folded in: the network takes and gives the units of the data")
    assert again == clipping


def test_a_network_without_means_is_the_same_either_way(tmp_path: Path) -> None:
    arrays = random_arrays([3, 4, 2])
    path = stored(tmp_path, text(arrays))
    for normalise in (False, True):
        network = load(path, normalise=normalise)
        agrees(network, forward(arrays, ROWS), ROWS)
        assert network.provenance.notes[0].startswith("the file holds no means and ranges")


def test_sloppy_files(tmp_path: Path) -> None:
    """A first line with the layers alone, a single 0 for what there is none of, no commas at ends, spaces, blanks."""
    arrays = random_arrays([3, 4, 2])
    lines = text(arrays).splitlines()
    lines[1] = "2"
    lines[3:8] = ["0", "0", "0", "0", "0"]
    lines = [line.removesuffix(",").replace(",", ", ") for line in lines[1:]]
    for content in (
        "\n".join(lines),
        "\r\n".join(lines) + "\r\n\r\n",
        "\r".join(lines),
        "\n\n".join(lines) + "\n \n",
        "\ufeff// byte order mark\n" + "\n".join(lines),
        "\ufeff" + "\n".join(lines),
        "\n".join([*lines[:4], "  // in between", *lines[4:], "// at the end"]),
        f"// {'a long comment ' * 500_000}\n" + "\n".join(lines),
    ):
        network = read(stored(tmp_path, content))
        agrees(network, forward(arrays, ROWS), ROWS)
        assert network.provenance.notes == (
            "the file holds no means and ranges: the network is in the units of its data",
            "the file holds no minima and maxima of its 3 inputs",
        )
    latin = "// Größe\n".encode("latin-1") + "\n".join(lines).encode()
    agrees(read(stored(tmp_path, latin)), forward(arrays, ROWS), ROWS)


def test_numbers_in_every_notation(tmp_path: Path) -> None:
    arrays = random_arrays([3, 4, 2])
    rounded = ([np.vectorize(lambda v: float(f"{v:.5e}"))(w) for w in arrays[0]], arrays[1])
    network = load(stored(tmp_path, text(rounded, number=lambda v: f"{v:.17E}")))
    agrees(network, forward(rounded, ROWS), ROWS)
    whole = ([np.rint(w * 2) for w in arrays[0]], [np.rint(b) for b in arrays[1]])
    network = load(stored(tmp_path, text(whole, number=lambda v: f"+{v:.0f}." if v > 0 else f"{v:.0f}")))
    agrees(network, forward(whole, ROWS), ROWS)


def test_link_and_names(tmp_path: Path) -> None:
    path = stored(tmp_path, text(random_arrays([3, 4, 1])))
    network = load(path, link="logit", feature_names=["a", "b", "c"])
    assert (network.link, network.feature_names) == ("logit", ("a", "b", "c"))
    with pytest.raises(ColumnError, match="2 feature names were given for a network with 3 inputs"):
        load(path, feature_names=["a", "b"])
    with pytest.raises(ArgumentError, match="link is 'probit'"):
        load(path, link="probit")


@pytest.mark.parametrize("option", [{"inputs": ["x"]}, {"output": "y"}, {"architecture": [3, 4, 1]}])
def test_options_that_mean_nothing(tmp_path: Path, option: dict[str, Any]) -> None:
    path = stored(tmp_path, text(random_arrays([3, 4, 1])))
    with pytest.raises(ArgumentError, match="means nothing for an NNet file; leave it out"):
        load(path, **option)


def test_large_terms_that_cancel_are_no_reason_to_refuse(tmp_path: Path) -> None:
    weights, biases = random_arrays([3, 40, 40, 2])
    path = stored(tmp_path, text(([w * 1e5 for w in weights], biases), [1e9, 0, 0, 1e6], [1e-3, 1, 1, 1e3]))
    for normalise in (False, True):
        assert load(path, normalise=normalise).faithfulness is not None


# ---------------------------------------------------------------- what is refused

#      0 comment, 1 header, 2 sizes, 3 flag, 4 minima, 5 maxima, 6 means, 7 ranges, 8-11 weights, 12-15 biases, …
LINES = text(random_arrays([3, 4, 2]), MEANS, RANGES).splitlines()


def changed(at: int, line: str) -> str:
    return "\n".join([*LINES[:at], line, *LINES[at + 1 :]]) + "\n"


@pytest.mark.parametrize(
    ("at", "line", "message"),
    [
        (1, "0,3,2,4,", "line 2 gives 0 as the number of layers; expected a whole number, 1 or more"),
        (1, "2.5,3,2,4,", "line 2 gives 2.5 as the number of layers"),
        (1, "-2,3,2,4,", "line 2 gives -2 as the number of layers"),
        (1, "2,3,2,4,5,", "line 2 holds 5 numbers; expected the number of layers, of inputs, of outputs"),
        (1, "2,4,2,4,", "the first line says 4 inputs, the sizes 3, 4, 2 of line 3 say 3"),
        (1, "2,3,1,4,", "the first line says 1 outputs, the sizes 3, 4, 2 of line 3 say 2"),
        (1, "3,3,2,4,", "line 3 holds 3 sizes; a network of 3 layers needs 4"),
        (2, "3,0,2,", "line 3 gives 0 as the size of a layer"),
        (2, "3,4.5,2,", "line 3 gives 4.5 as the size of a layer"),
        (2, "3,1e12,2,", "line 3 gives 1e.12 as the size of a layer, and the whole file has [0-9]+ bytes"),
        (2, "3,1e300,2,", "line 3 gives 1e.300 as the size of a layer"),
        (
            2,
            "3,200,2,",
            "line 3 declares the sizes 3, 200, 2, that is 1,202 weights and biases, and the file has [0-9]+ b",
        ),
        (3, "zero", "line 4 holds 'zero'; expected the flag that is no longer used"),
        (4, "0,0,", "line 5 holds 2 numbers; expected the 3 minima of the inputs, or a single 0 for none"),
        (5, "1,", "line 6 holds 1 number; expected the 3 maxima of the inputs"),
        (6, "0,0,0,", "line 7 holds 3 numbers; expected the 4 means of the inputs and of the outputs"),
        (7, "1,1,1,1,1,", "line 8 holds 5 numbers; expected the 4 ranges"),
        (7, "1,-1,1,1,", "line 8 holds the range -1.0; a range is a width and cannot be negative"),
        (8, "1,2,", "line 9 holds 2 numbers; expected 3: row 1 of 4 of the weights of layer 1 of 2"),
        (9, "1,2,3,4,", "line 10 holds 4 numbers; expected 3: row 2 of 4"),
        (10, "1,nan,3,", "line 11 holds 'nan'; expected row 3 of 4 of the weights of layer 1 of 2, finite numbers"),
        (10, "1,-inf,3,", "line 11 holds '-inf'"),
        (10, "1,1e999,3,", "line 11 holds '1e999', which is beyond the range of float64"),
        (10, "1,abc,3,", "line 11 holds 'abc'"),
        (10, "1,1_0,3,", "line 11 holds '1_0'"),
        (10, "1,0x1,3,", "line 11 holds '0x1'"),
        (10, "1,1-2,3,", "line 11 holds '1-2', which is no number"),
        (10, "1,,3,", "line 11 holds '', which is no number"),
        (10, "1,2,3,,", "line 11 holds '', which is no number"),
        (10, "1 2 3", "line 11 holds '1 2 3', which is no number"),
        (10, "1;2;3", "line 11 holds '1;2;3'"),
        (10, "1,\x002,3,", r"line 11 holds '\\x002'"),
        (10, "1,٣,3,", "line 11 holds '.*; expected row 3 of 4"),
        (12, "1,2,", "line 13 holds 2 numbers; expected 1: bias 1 of 4 of layer 1 of 2"),
        (12, "", "line 17 holds 4 numbers; expected 1: bias 4 of 4 of layer 1 of 2"),
        (17, f"1,2,3,4,\n{LINES[17]}", "line 19 holds 4 numbers; expected 1: bias 1 of 2 of layer 2 of 2"),
        (19, f"{LINES[19]}\n0.5,", "line 21 goes on .'0.5,'. after the last bias of the 2 layers"),
    ],
)
def test_refusals_name_the_line(tmp_path: Path, at: int, line: str, message: str) -> None:
    with pytest.raises(MalformedModelError, match=message) as caught:
        read(stored(tmp_path, changed(at, line)))
    assert str(caught.value).startswith(f"{tmp_path / 'net.nnet'}: ")
    assert re.search(r"(anew|Mend the number|plain ASCII text)[^.]*\.$|commas between numbers\.$", str(caught.value))


def test_too_many_layers(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="line 2 declares 5000 layers; relucidate reads at most 1,000"):
        read(stored(tmp_path, changed(1, "5000,") + "//" + " " * 5000))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wrong_encodings(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(MalformedModelError, match=r"line 1 holds .*; expected the number of layers"):
        read(stored(tmp_path, "\n".join(LINES[1:]).encode(encoding)))
    if encoding == "utf-16":
        with pytest.raises(MalformedModelError, match="looks like UTF-16; save it as UTF-8"):
            read(stored(tmp_path, "\n".join(LINES[1:]).encode(encoding)))


def test_cut_short_at_any_place(tmp_path: Path) -> None:
    """Whatever is left is refused, or it lacks nothing but the end of the last number."""
    whole = "\n".join(LINES)
    last = whole.rindex("\n") + 1
    for end in range(len(whole)):
        path = stored(tmp_path, whole[:end])
        if end <= last or whole[last:end] == "-":
            with pytest.raises(MalformedModelError, match="line"):
                read(path)
        else:
            assert read(path).layers[-1].bias[1] == float(whole[last:end].rstrip(","))


def test_one_changed_byte_is_refused_or_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = bytearray("\n".join(LINES), "ascii")
    for _ in range(300):
        at, bit = int(rng.integers(len(data))), 1 << int(rng.integers(8))
        data[at] ^= bit
        with suppress(ModelError):  # anything else would be a crash
            assert read(stored(tmp_path, bytes(data))).faithfulness is not None
        data[at] ^= bit


def test_an_empty_file_and_comments_alone(tmp_path: Path) -> None:
    for content in ("// nothing else\n", "\n\n\n", "// no end of line"):
        with pytest.raises(
            MalformedModelError, match=r"the file ends after line [0-9]+; expected the number of layers"
        ):
            read(stored(tmp_path, content))


@pytest.mark.parametrize("start", ["", "\n".join(LINES[:1]), "\n".join(LINES[:6]), "\n".join(LINES[:9])])
def test_a_line_without_end_is_not_read_whole(tmp_path: Path, start: str) -> None:
    """A sparse file: a gigabyte of NULs after a good beginning."""
    path = stored(tmp_path, start + "\n" if start else "")
    with path.open("rb+") as file:
        file.truncate(2**30)
    program = f"""
        import resource
        from pathlib import Path
        from relucidate.errors import MalformedModelError
        from relucidate.frameworks import nnet
        from relucidate.frameworks.reading import Options
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            nnet.read(Path({str(path)!r}), Options())
        except MalformedModelError as problem:
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, problem)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    grown, _, message = run.stdout.partition(" ")
    assert int(grown) < 100_000
    assert re.search(r"line [0-9]+ is longer than [0-9,]+ characters and begins '\\x00", message)
