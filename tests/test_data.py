"""Rows from arrays, tables, files and iterators: the same numbers from each, and a stated answer to bad input."""

import dataclasses
import gzip
import itertools
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relucidate import csvfile, data
from relucidate.data import adopted_names, batches, open_source
from relucidate.errors import ArgumentError, ColumnError, DataError, RelucidateError, TargetError, ValueInDataError
from relucidate.features import Feature, Features
from relucidate.files import open_files

N = 1_000

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
ABC = Features.plain(3, ["a", "b", "c"])
UNNAMED = Features.plain(3)
MIXED = Features(
    (
        Feature("a", "a", impute=-7.0),
        Feature("a missing", "a", "missing"),
        Feature("region=North", "region", "level", ("North",)),
        Feature("region=NA", "region", "level", ("NA",)),
        Feature("rooms=2", "rooms", "level", (2,)),
    ),
    ("a", "region", "rooms"),
    True,
    (("region", ("North", "South", "NA")), ("rooms", (1, 2))),
)


def frame(n: int = N) -> pd.DataFrame:
    """A table with three inputs of very different sizes, a text target, a weight and a column that nobody needs."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(n, 3)) * 10.0 ** rng.integers(-40, 38, size=(n, 3))
    out = pd.DataFrame(x, columns=["a", "b", "c"])
    out["y"] = np.where(x[:, 0] > 0, "yes", "no")
    out["note"] = 'a "quoted"\nnote, with a comma'
    out["w"] = rng.uniform(0.5, 2.0, n)
    return out[["w", "c", "note", "a", "y", "b"]]


def x_of(source: data.Source) -> Any:
    return np.concatenate([b.x for b in source.batches()])


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read_csv(path: Path, text: str | bytes, features: Features = ABC, y: Any = None) -> Any:
    return x_of(open_source(write(path / "t.csv", text), y, None, features))


# ---------------------------------------------------------------- the same rows from everywhere

FORMS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "pandas": lambda t, p: t,
    "pandas with another index": lambda t, p: t.set_index(np.arange(len(t))[::-1]),
    "polars": lambda t, p: pl.from_pandas(t),
    "arrow": lambda t, p: pa.Table.from_pandas(t),
    "arrow, dictionary": lambda t, p: pa.Table.from_pandas(t.astype({"y": "category"})),
    "parquet": lambda t, p: (t.to_parquet(p / "t.parquet", row_group_size=77), p / "t.parquet")[1],
    "parquet, by str": lambda t, p: (t.to_parquet(p / "t.parquet"), str(p / "t.parquet"))[1],
    "csv": lambda t, p: (t.to_csv(p / "t.csv", index=False), p / "t.csv")[1],
    "csv.gz": lambda t, p: (t.to_csv(p / "t.csv.gz", index=False), p / "t.csv.gz")[1],
    "gzipped, named .csv": lambda t, p: (t.to_csv(p / "t.csv", index=False, compression="gzip"), p / "t.csv")[1],
    "csv, named .parquet": lambda t, p: (t.to_csv(p / "t.parquet", index=False), p / "t.parquet")[1],
    "csv with semicolons": lambda t, p: (t.to_csv(p / "t.csv", index=False, sep=";"), p / "t.csv")[1],
    "csv with tabs": lambda t, p: (t.to_csv(p / "t.tsv", index=False, sep="\t"), p / "t.tsv")[1],
    "csv with BOM and CRLF": lambda t, p: (
        t.to_csv(p / "t.csv", index=False, encoding="utf-8-sig", lineterminator="\r\n"),
        p / "t.csv",
    )[1],
    "two files": lambda t, p: [
        (t[:333].to_csv(p / "t1.csv", index=False), p / "t1.csv")[1],
        (t[333:].to_parquet(p / "t2.parquet"), p / "t2.parquet")[1],
    ],
    "folder": lambda t, p: (t[:333].to_parquet(p / "1.parquet"), t[333:].to_parquet(p / "2.parquet"), p)[2],
    "glob": lambda t, p: (t[:333].to_parquet(p / "1.pq"), t[333:].to_parquet(p / "2.pq"), str(p / "*.pq"))[2],
    "iterator of frames": lambda t, p: (t[i : i + 7] for i in range(0, len(t), 7)),
    "iterator of polars": lambda t, p: iter(pl.from_pandas(t).iter_slices(600)),
    "list of record batches": lambda t, p: pa.Table.from_pandas(t).to_batches(max_chunksize=99),
    "record batch reader": lambda t, p: pa.Table.from_pandas(t).to_reader(max_chunksize=99),
    "one record batch": lambda t, p: pa.RecordBatch.from_pandas(t),
    "iterator of paths": lambda t, p: (t.to_parquet(p / "t.parquet"), p.glob("*.parquet"))[1],
    "dataset": lambda t, p: (t.to_parquet(p / "t.parquet"), pads.dataset(p / "t.parquet"))[1],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_bit_identical_batches(form: str, tmp_path: Path) -> None:
    table = frame()
    expected = np.ascontiguousarray(table[["a", "b", "c"]].to_numpy())
    source = open_source(FORMS[form](table, tmp_path), "y", "w", ABC, batch_rows=300)
    met = list(source.batches())
    assert [len(b) for b in met] == [300, 300, 300, 100]
    assert [b.first_row for b in met] == [0, 300, 600, 900]
    assert np.concatenate([b.x for b in met]).tobytes() == expected.tobytes()
    assert all(b.x.dtype == np.float64 and b.x.flags.c_contiguous for b in met)
    assert np.concatenate([b.y for b in met]).tolist() == table["y"].tolist()
    assert np.concatenate([b.weight for b in met]).tobytes() == table["w"].to_numpy().tobytes()
    assert set(source.ignored) == {"note"}
    assert source.adopted is None
    if source.reiterable:
        assert source.distinct_labels() == ("no", "yes")
        assert np.array_equal(x_of(source), expected)
    else:
        with pytest.raises(ArgumentError, match="cannot be read twice"):
            list(source.batches())


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8, np.uint16, bool])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_any_number_type(dtype: Any, order: Any) -> None:
    x = np.asarray(np.arange(300).reshape(100, 3) % 2 * 3, dtype=dtype, order=order)
    y = np.arange(100)
    met = list(batches(x, y, None, UNNAMED, batch_rows=33))
    assert np.array_equal(np.concatenate([b.x for b in met]), x.astype(float))
    assert np.concatenate([b.y for b in met]).dtype == np.float64
    assert np.array_equal(np.concatenate([b.y for b in met]), y)


def test_a_batch_of_a_plain_array_is_a_view() -> None:
    x = np.zeros((1000, 3))
    assert all(np.shares_memory(b.x, x) for b in batches(x, None, None, ABC, batch_rows=300))


def test_lists_images_sparse_and_objects() -> None:
    from scipy.sparse import csr_array

    x = np.arange(24.0).reshape(4, 6)
    features = Features.plain(6)
    for same in (x.tolist(), x.reshape(4, 2, 3), csr_array(x), np.array(x, dtype=object), x.tolist().__iter__()):
        rows = [np.atleast_2d(r) for r in same] if isinstance(same, Iterator) else same
        assert np.array_equal(x_of(open_source(rows, None, None, features, batch_rows=3)), x)


def test_an_iterator_may_bring_target_and_weights() -> None:
    x, y, w = np.arange(12.0).reshape(4, 3), np.array([0, 1, 1, 0]), np.ones(4)
    for parts in ([(x[:1], y[:1], w[:1]), (x[1:], y[1:], w[1:])], iter([[x, y, w]])):
        (batch,) = batches(parts, None, None, UNNAMED)
        assert np.array_equal(batch.x, x)
        assert np.array_equal(batch.y, y)
        assert np.array_equal(batch.weight, w)
    with pytest.raises(ArgumentError, match="given twice"):
        list(batches(iter([(x, y)]), y, None, UNNAMED))
    with pytest.raises(TargetError, match="batch from row 0 has 3 values, its X has 4 rows"):
        list(batches(iter([(x, y[:3])]), None, None, UNNAMED))
    with pytest.raises(TargetError, match="Some batches have a y and some have none"):
        list(batches(iter([(x, y), x]), None, None, UNNAMED))


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, 40), max_size=6), rows=st.integers(1, 50))
def test_batches_do_not_depend_on_how_the_source_is_cut(cuts: list[int], rows: int) -> None:
    x = np.arange(120.0).reshape(40, 3)
    ends = [0, *sorted(cuts), 40]
    parts = (x[i:j] for i, j in itertools.pairwise(ends))
    met = list(batches(parts, np.arange(40), None, UNNAMED, batch_rows=rows))
    assert [len(b) for b in met[:-1]] == [rows] * (len(met) - 1)
    assert [b.first_row for b in met] == list(range(0, 40, rows))
    assert np.array_equal(np.concatenate([b.x for b in met]), x)
    assert np.array_equal(np.concatenate([b.y for b in met]), np.arange(40))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_csv_gives_the_float_that_python_reads(values: list[float]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "t.csv", "\n".join(["v", *map(repr, values)]))
        assert x_of(open_source(path, None, None, Features.plain(1, ["v"]))).tobytes() == np.array(values).tobytes()


def test_mixed_columns_are_the_same_from_every_form(tmp_path: Path) -> None:
    table = pd.DataFrame({"region": ["North", "South", "NA", "North"], "a": [1.5, None, 3, 4], "rooms": [1, 2, 1, 2]})
    expected = [[1.5, 0, 1, 0, 0], [-7, 1, 0, 0, 1], [3, 0, 0, 1, 0], [4, 0, 1, 0, 1]]
    for name in ("pandas", "polars", "arrow", "parquet", "csv", "csv.gz", "iterator of frames"):
        assert x_of(open_source(FORMS[name](table, tmp_path), None, None, MIXED)).tolist() == expected, name


# ---------------------------------------------------------------- columns


def test_a_network_without_names_adopts_those_of_the_table(tmp_path: Path) -> None:
    table = frame().drop(columns="note")
    for X in (table, FORMS["csv"](table, tmp_path), FORMS["parquet"](table, tmp_path)):
        assert adopted_names(X, "y", "w", UNNAMED) == ("c", "a", "b")
        source = open_source(X, "y", "w", UNNAMED)
        assert source.features.names == ("c", "a", "b")
        assert np.array_equal(x_of(source), table[["c", "a", "b"]].to_numpy())
    assert adopted_names(np.zeros((2, 3)), None, None, UNNAMED) is None
    assert adopted_names(pd.DataFrame(np.zeros((2, 3))), None, None, UNNAMED) is None
    with pytest.raises(ColumnError, match="3 unnamed inputs, the table 4 columns"):
        open_source(table, "y", None, UNNAMED)


def test_later_batches_are_matched_to_adopted_names() -> None:
    first = pd.DataFrame({"p": [1.0], "q": [2.0], "r": [3.0]})
    assert x_of(open_source(iter([first, first[["r", "q", "p"]]]), None, None, UNNAMED)).tolist() == [[1, 2, 3]] * 2
    with pytest.raises(ColumnError, match="lacks the columns 'p'"):
        x_of(open_source(iter([first, first.rename(columns={"p": "P"})]), None, None, UNNAMED))
    with pytest.raises(ColumnError, match="first batch is a table, a later one an array"):
        x_of(open_source(iter([first, first.to_numpy()]), None, None, UNNAMED))
    with pytest.raises(ColumnError, match="first batch is an array, a later one a table"):
        x_of(open_source(iter([first.to_numpy(), first]), None, None, UNNAMED))


def test_columns_by_name_never_by_position(tmp_path: Path) -> None:
    table = frame()
    for X in (table, pl.from_pandas(table), FORMS["csv"](table, tmp_path), FORMS["parquet"](table, tmp_path)):
        with pytest.raises(
            ColumnError, match=r"lacks 1 of the 3 columns that the network needs: 'A'. Rename 'a' to 'A'"
        ):
            open_source(X, "y", None, Features.plain(3, ["A", "b", "c"]))


def test_duplicate_columns_are_refused(tmp_path: Path) -> None:
    twice = pd.DataFrame(np.zeros((2, 4)), columns=["a", "b", "c", "a"])
    arrow = pa.table([[0.0]] * 4, names=["a", "b", "c", "a"])
    pq.write_table(arrow, tmp_path / "t.parquet")
    for X in (twice, arrow, tmp_path / "t.parquet", write(tmp_path / "t.csv", "a,b,c,a\n1,2,3,4\n"), iter([twice])):
        with pytest.raises(ColumnError, match="'a' occur more than once"):
            open_source(X, None, None, ABC)


def test_a_target_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table([[0.0]] * 5, names=["a", "b", "c", "y", "y"]), tmp_path / "t.parquet")
    with pytest.raises(ColumnError, match="'y' occur more than once"):
        open_source(tmp_path / "t.parquet", "y", None, ABC)


def test_target_and_weight_columns() -> None:
    table = frame()
    for y, message in [
        ("a", "cannot be both"),
        ("Y", "no such column"),
        (["y", "q"], "names columns that X does not have: 'q'"),
    ]:
        with pytest.raises(TargetError, match=message):
            open_source(table, y, None, ABC)
    with pytest.raises(TargetError, match="cannot be both the target and the weight"):
        open_source(table, "w", "w", ABC)
    with pytest.raises(TargetError, match="has no named columns"):
        open_source(np.zeros((2, 3)), "y", None, ABC)
    batch = next(batches(table, ["y", "note"], None, ABC))
    assert batch.y is not None
    assert batch.y.shape == (N, 2)
    labels = ["u"] * N
    batch = next(batches(table, labels, None, ABC))
    assert batch.y is not None
    assert batch.y.tolist() == labels


@pytest.mark.parametrize("n", [3, 5])
def test_target_of_another_length(n: int, tmp_path: Path) -> None:
    x = np.zeros((4, 3))
    path = write(tmp_path / "t.csv", "a,b,c\n" + "1,2,3\n" * 4)
    for X in (x, x.tolist(), path, iter([x[:2], x[2:]])):
        with pytest.raises(TargetError, match=rf"y has {n} values, X has"):
            list(batches(X, np.zeros(n), None, UNNAMED))
        with pytest.raises(TargetError, match=rf"sample_weight has {n} values, X has"):
            list(batches(x, None, np.ones(n), UNNAMED))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1, -1, 1], "row 1 has -1.0"),
        ([1, np.nan, 1], "row 1 has nan"),
        ([1, 1, np.inf], "row 2 has inf"),
        ([0, 0, 0], "All weights are 0"),
        (["1", "1", "1"], "one number per row; got text"),
        ([[1, 1], [1, 1], [1, 1]], "one number per row; got numbers"),
    ],
)
def test_bad_weights(weight: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        list(batches(np.zeros((3, 3)), None, weight, UNNAMED))


# ---------------------------------------------------------------- rows


def test_no_rows_and_one_row(tmp_path: Path) -> None:
    table = frame(1)
    for name, form in FORMS.items():
        if name in ("two files", "folder", "glob"):
            continue
        folder = tmp_path / name.replace(" ", "")
        folder.mkdir()
        assert len(x_of(open_source(form(table, folder), "y", "w", ABC))) == 1, name
        with pytest.raises(DataError, match="has no rows"):
            list(open_source(form(table[:0], folder), "y", "w", ABC).batches())
    for X in (np.zeros((0, 3)), [], iter([]), iter([np.zeros((0, 3))])):
        with pytest.raises(DataError, match="has no rows"):
            list(batches(X, None, None, UNNAMED))


@pytest.mark.parametrize("header", ["a,b,c", "a,b,c\n", "a,b,c\r\n\r\n"])
def test_csv_of_a_header_only(header: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv has no rows"):
        read_csv(tmp_path, header)


def test_bad_values_are_told_by_global_row(tmp_path: Path) -> None:
    table = frame()
    table.loc[641, "b"] = np.inf
    for name in ("pandas", "polars", "arrow", "parquet", "csv", "two files", "iterator of frames"):
        with pytest.raises(ValueInDataError, match=r"infinite.*'b': rows 641\."):
            x_of(open_source(FORMS[name](table, tmp_path), "y", None, ABC, batch_rows=100))
    files = FORMS["two files"](table, tmp_path)
    with pytest.raises(ValueInDataError, match=r"t2\.parquet: .*this one begins at row 333"):
        x_of(open_source(files, "y", None, ABC, batch_rows=100))


def test_unknown_level_by_row(tmp_path: Path) -> None:
    table = pd.DataFrame({"region": ["North", "West"], "a": [1.0, 2], "rooms": [1, 2]})
    for name in ("pandas", "polars", "arrow", "parquet", "csv"):
        with pytest.raises(ValueInDataError, match=r"'region' has the level 'West' .* in row 1"):
            x_of(open_source(FORMS[name](table, tmp_path), None, None, MIXED))


def test_levels_that_are_numbers(tmp_path: Path) -> None:
    text = "region,a,rooms\nNorth,1,{}\n"
    for cell in ("2", "2.0", " 2 ", "2e0"):
        assert read_csv(tmp_path, text.format(cell), MIXED)[0, -1] == 1
    with pytest.raises(ValueInDataError, match="'rooms' has the level 3"):
        read_csv(tmp_path, text.format("3"), MIXED)
    codes = Features((Feature("k=1", "k", "level", ("1",)),), ("k",), True, (("k", ("1", "2")),))
    assert read_csv(tmp_path, "k\n1\n2\n", codes).tolist() == [[1], [0]]
    with pytest.raises(ValueInDataError, match=r"has the level '1\.0'"):
        read_csv(tmp_path, "k\n1.0\n", codes)


def test_blanks_around_levels(tmp_path: Path) -> None:
    bare = Features((Feature("k=u", "k", "level", ("u",)),), ("k",), True, (("k", ("u", "v")),))
    blank = Features((Feature("k= u", "k", "level", (" u",)),), ("k",), True, (("k", (" u", " v")),))
    assert read_csv(tmp_path, "k\n u \nv\n", bare).tolist() == [[1], [0]]
    assert read_csv(tmp_path, "k\n u\n v\n", blank).tolist() == [[1], [0]]


# ---------------------------------------------------------------- CSV: cells

GOOD_CELLS = {
    " 12 ": 12.0,
    "1e5": 1e5,
    "+3": 3.0,
    ".5": 0.5,
    "5.": 5.0,
    '"7"': 7.0,
    '" 7 "': 7.0,
    "1e-45": 1e-45,
    "3e38": 3e38,
    "0.1": 0.1,
    "9007199254740993": 9007199254740992.0,
    "True": 1.0,
    "false": 0.0,
}


@pytest.mark.parametrize("cell", GOOD_CELLS)
@pytest.mark.parametrize("other", ["1", " NA "])
def test_cells_that_are_numbers(cell: str, other: str, tmp_path: Path) -> None:
    """Whatever stands beside them: " NA " makes Arrow give up, and the careful pass must say the same."""
    features = Features((Feature("a", "a"), Feature("b", "b", impute=5.0)), ("a", "b"), True)
    assert read_csv(tmp_path, f"a,b\n{cell},{other}\n", features)[0, 0] == GOOD_CELLS[cell]


def test_minus_zero_keeps_its_sign(tmp_path: Path) -> None:
    assert np.signbit(read_csv(tmp_path, "a,b,c\n-0.0,0,-0\n")).tolist() == [[True, False, True]]


@pytest.mark.parametrize("cell", [*csvfile.MISSING, "  ", " NA ", '""', '" "', "\t"])
def test_cells_that_are_missing(cell: str, tmp_path: Path) -> None:
    filled = Features((Feature("a", "a", impute=-1.0), Feature("b", "b")), ("a", "b"), True)
    assert read_csv(tmp_path, f"a,b\n{cell},2\n4,5\n", filled).tolist() == [[-1, 2], [4, 5]]
    with pytest.raises(ValueInDataError, match=r"missing \(NaN\), in 'a': rows 0"):
        read_csv(tmp_path, f"a,b,c\n{cell},2,3\n")


@pytest.mark.parametrize(
    "cell",
    ["?", "abc", "0x10", "1_000", "٣", "\uff13", "1 2", "--1", "1d5", "$5", "5%", "n/a", '"1,234"', '"1\n2"', "−3"],
)
def test_cells_that_are_refused(cell: str, tmp_path: Path) -> None:
    text = f"a,b,c\n1,2,3\n\n4,{cell},6\n"
    value = cell.strip('"')
    with pytest.raises(ValueInDataError) as met:
        read_csv(tmp_path, text)
    assert f"t.csv, line 4, column 'b': {value!r} is not a number" in str(met.value)


@pytest.mark.parametrize("cell", ["inf", "-inf", "Infinity", "1e400"])
def test_infinite_cells_are_refused_by_row(cell: str, tmp_path: Path) -> None:
    with pytest.raises(ValueInDataError, match=r"t\.csv: .*infinite, in 'b': rows 1"):
        read_csv(tmp_path, f"a,b,c\n1,2,3\n4,{cell},6\n")


def test_decimal_commas_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueInDataError, match=r"line 2, column 'a': '1,5' is not a number. Write decimals with a point"
    ):
        read_csv(tmp_path, "a;b;c\n1,5;2;3\n")


def test_the_line_of_a_bad_cell_far_down_and_after_quoted_line_breaks(tmp_path: Path) -> None:
    rows = 200_000
    text = "a,note,b,c\n" + '1,"two\nlines",2,3\n' * rows + "1,x,oops,3\n"
    with pytest.raises(ValueInDataError, match=rf"line {2 + 2 * rows}, column 'b': 'oops'"):
        read_csv(tmp_path, text)


def test_a_late_odd_cell_loses_no_row_and_doubles_none(tmp_path: Path) -> None:
    rows = 300_000
    features = Features((Feature("a", "a", impute=-1.0),), ("a",), True)
    text = "a\n" + "".join(f"{i}\n" for i in range(rows)) + " NA \n" + "True\n"
    assert np.array_equal(read_csv(tmp_path, text, features)[:, 0], [*range(rows), -1, 1])


# ---------------------------------------------------------------- CSV: files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"t\.csv is empty"),
        (b"\n\n\r\n", r"t\.csv is empty"),
        (b"\xef\xbb\xbf", r"t\.csv is empty"),
        ("a,b,c\n1,2,3\n".encode("utf-16"), r"is UTF-16 text; CSV files must be UTF-8. Convert it"),
        ("a,b,c\n1,2,3\n".encode("utf-16-be"), "holds a NUL byte"),
        ("a,b,c\n1,2,3\n".encode("utf-32"), "is UTF-32 text"),
        (b"a,b,c\n1,2,3\n4,\x005,6\n", r"line 3 holds a NUL byte"),
        (b"a,b,c\n1,2,3\n4,5\n", r"line 3 has 2 cells, the header 3"),
        (b"a,b,c\n1,2,3,4\n", r"line 2 has 4 cells, the header 3"),
        (b'a,b,c\n1,"x\n\ny",3,9\n', r"line 2 has 4 cells, the header 3"),
        (b'a,b,c\n1,2,3\n4,5,"6\n7,8,9\n', r"ends inside a quoted cell of the row that begins on line 3"),
        ("a,b,\xe7\n1,2,3\n".encode("latin-1"), r"line 1 \(the header\): byte 0xE7 is not UTF-8; read as Latin-1"),
        (b"PK\x03\x04rest", "zip archive or an Excel workbook"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (b"ARROW1\0\0", "an Arrow file"),
        (b"PARE" + b"\0" * 20, "encrypted"),
        (b"PAR1", "begins like a Parquet file, but is damaged or cut off"),
        (b"PAR1" + b"\0" * 100 + b"PAR1", "begins like a Parquet file, but is damaged or cut off"),
        (b"\x1f\x8b\x08\0\0", "gzipped, but damaged or cut off"),
        (gzip.compress(b"a,b,c\n" + b"1,2,3\n" * 9999, mtime=0)[:-9], "gzipped, but damaged or cut off"),
        (gzip.compress(b"PAR1", mtime=0), "gzipped Parquet"),
        (gzip.compress(b"", mtime=0), "is empty"),
    ],
)
def test_files_that_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as met:
        read_csv(tmp_path, content)
    assert "t.csv" in str(met.value)


def test_a_header_of_numbers_is_data(tmp_path: Path) -> None:
    for features in (ABC, UNNAMED):
        with pytest.raises(
            ColumnError, match=r"line 1 must hold the names of the columns, but looks like data: '1', '2', '3'"
        ):
            read_csv(tmp_path, "1,2,3\n4,5,6\n", features)


def test_text_that_is_not_utf8_is_told_by_line(tmp_path: Path) -> None:
    content = "region,a,rooms\nNorth,1,1\nZ\xfcrich,2,1\n".encode("latin-1")
    with pytest.raises(
        DataError, match=r"line 3, column 'region': byte 0xFC is not UTF-8; read as Latin-1 the cell is 'Zürich'"
    ):
        read_csv(tmp_path, content, MIXED)


def test_columns_that_are_not_needed_may_hold_anything(tmp_path: Path) -> None:
    assert read_csv(tmp_path, "a,b,q,c\n1,2,\xe9?,3\n".encode("latin-1")).tolist() == [[1, 2, 3]]


def test_quotes_inside_bare_cells_are_text(tmp_path: Path) -> None:
    assert read_csv(tmp_path, 'a,b,pipe,c\n1,2,5" wide,3\n4,5,x,6\n').tolist() == [[1, 2, 3], [4, 5, 6]]


@needs_proc
def test_a_line_without_end_is_refused_in_little_memory(tmp_path: Path) -> None:
    for name, start in (("first", b""), ("second", b"a,b,c\n"), ("quoted", b'a,b,c\n1,2,3\n"')):
        path = tmp_path / f"{name}.csv"
        with open(path, "wb") as file:
            file.write(start)
            for _ in range(300):
                file.write(b"1" * 2**20)
        peak, told = peak_of(f"list(batches({str(path)!r}, None, None, Features.plain(3, ['a', 'b', 'c'])))")
        assert "DataError" in told
        assert name + ".csv" in told
        assert peak < 500, told


@needs_proc
def test_a_gzip_bomb_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "bomb.csv.gz"
    line = b"1,2,3\n" * 2**18
    pack = zlib.compressobj(9, zlib.DEFLATED, 31)
    with open(path, "wb") as file:
        file.write(pack.compress(b"a,b,c\n"))
        for _ in range(300):
            file.write(pack.compress(line))
        file.write(pack.flush())
    peak, told = peak_of(f"print(next(batches({str(path)!r}, None, None, Features.plain(3, ['a', 'b', 'c']))).x.sum())")
    assert float(told) == 6 * data.BATCH_ROWS
    assert peak < 500


def peak_of(code: str) -> tuple[float, str]:
    """Return the peak memory in MB of a fresh interpreter that runs code, and what it printed."""
    program = f"""
        import sys
        from relucidate.data import batches, open_source
        from relucidate.features import Features
        try:
            {code}
        except Exception as problem:
            print(type(problem).__name__, problem)
        status = open("/proc/self/status").read().split("VmHWM:")[1]
        print(int(status.split()[0]) / 1024, file=sys.stderr)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    return float(run.stderr.split()[-1]), run.stdout


# ---------------------------------------------------------------- targets in CSV


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "0", "1"], [1.0, 0.0, 1.0]),
        (["1", "0", "b"], ["1", "0", "b"]),
        ([" yes", "no ", "yes"], ["yes", "no", "yes"]),
        (["True", "False", "True"], [1.0, 0.0, 1.0]),
        (["1", "", "0"], [1.0, None, 0.0]),
        (["u", "", "NA"], ["u", None, None]),
    ],
)
def test_a_csv_target_is_numbers_only_if_every_cell_is(cells: list[str], expected: list[Any], tmp_path: Path) -> None:
    text = "a,b,c,y\n" + "".join(f"1,2,3,{cell}\n" for cell in cells)
    batch = next(batches(write(tmp_path / "t.csv", text), "y", None, ABC))
    assert batch.y is not None
    assert [None if v != v else v for v in batch.y.tolist()] == expected


def test_a_numeric_target_in_csv_is_told_by_line(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "a,b,c,y\n1,2,3,4\n1,2,3,high\n")
    with pytest.raises(ValueInDataError, match=r"line 3, column 'y': 'high' is not a number"):
        list(batches(path, "y", None, ABC, numeric_target=True))


def test_too_many_labels_are_a_measurement(tmp_path: Path) -> None:
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(10_500, 4)), columns=["a", "b", "c", "y"])
    with pytest.raises(TargetError, match="more than 10,000 distinct labels"):
        open_source(table, "y", None, ABC).distinct_labels()


# ---------------------------------------------------------------- paths


def test_paths_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "hive" / "k=1").mkdir(parents=True)
    for path, message in [
        (tmp_path / "none.csv", "There is no file"),
        (str(tmp_path / "*.none"), "No file matches"),
        (tmp_path / "empty", "holds no files"),
        (tmp_path / "hive", "holds folders"),
        ("https://example.org/t.csv", "not a local file"),
        ("/dev/null", "not a regular file"),
        ("", "not a path"),
        ("a\0b", "not a path"),
    ]:
        with pytest.raises(DataError, match=message):
            open_source(path, None, None, ABC)


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    write(tmp_path / "t[1].csv", "a,b,c\n1,2,3\n")
    write(tmp_path / "t1.csv", "a,b,c\n9,9,9\n")
    assert x_of(open_source(str(tmp_path / "t[1].csv"), None, None, ABC)).tolist() == [[1, 2, 3]]


def test_leftovers_in_a_folder_are_not_data(tmp_path: Path) -> None:
    frame(5).to_parquet(tmp_path / "t.parquet")
    write(tmp_path / "_SUCCESS", "")
    write(tmp_path / ".relucidate-tmp-1.parquet", b"half")
    assert len(x_of(open_source(tmp_path, None, None, ABC))) == 5


def test_files_that_differ(tmp_path: Path) -> None:
    one, two = tmp_path / "1.parquet", tmp_path / "2.parquet"
    frame(5).to_parquet(one)
    frame(5).drop(columns="b").to_parquet(two)
    with pytest.raises(ColumnError, match=r"2\.parquet has no column 'b', which .*1\.parquet has"):
        x_of(open_source([one, two], None, None, ABC))
    frame(5).astype({"b": str}).to_parquet(two)
    with pytest.raises(ColumnError, match=r"'b' holds text in .*2\.parquet and number in"):
        x_of(open_source([one, two], None, None, ABC))
    frame(5).drop(columns="note").astype({"b": "float32"}).to_parquet(two)
    assert len(x_of(open_source([one, two], None, None, ABC))) == 10


# ---------------------------------------------------------------- Parquet and Arrow types

COLUMNS: dict[str, Any] = {
    "int8": pa.array([1, 0], pa.int8()),
    "uint64": pa.array([1, 0], pa.uint64()),
    "half": pa.array(np.array([1, 0], dtype=np.float16)),
    "float": pa.array([1, 0], pa.float32()),
    "bool": pa.array([True, False]),
    "decimal": pa.array([Decimal("1.00"), Decimal("0.00")]),
    "dictionary": pa.array([1.0, 0.0]).dictionary_encode(),
    "run-end": pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array([1.0, 0.0])),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_arrow_types_of_numbers(kind: str, tmp_path: Path) -> None:
    one = Features.plain(1, ["v"])
    table = pa.table({"v": COLUMNS[kind]})
    assert x_of(open_source(table, None, None, one)).tolist() == [[1], [0]]
    if kind != "run-end":
        pq.write_table(table, tmp_path / "t.parquet")
        assert x_of(open_source(tmp_path / "t.parquet", None, None, one)).tolist() == [[1], [0]]


@pytest.mark.parametrize("kind", [k for k in COLUMNS if k != "run-end"])
def test_arrow_types_with_nulls(kind: str) -> None:
    filled = Features((Feature("v", "v", impute=-1.0),), ("v",), True)
    column = pa.chunked_array([COLUMNS[kind], pa.nulls(1, COLUMNS[kind].type)])
    assert x_of(open_source(pa.table({"v": column}), None, None, filled)).tolist() == [[1], [0], [-1]]
    assert x_of(open_source(pa.table({"v": pa.nulls(2)}), None, None, filled)).tolist() == [[-1], [-1]]


def test_large_integers_with_nulls() -> None:
    filled = Features((Feature("v", "v", impute=-1.0),), ("v",), True)
    table = pa.table({"v": pa.array([2**60 + 1, None])})
    assert x_of(open_source(table, None, None, filled)).tolist() == [[2.0**60], [-1]]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_arrow_types_of_text(kind: Any) -> None:
    text = (
        pa.array(["North", "NA"], kind)
        if not pa.types.is_dictionary(kind)
        else pa.array(["North", "NA"]).dictionary_encode()
    )
    table = pa.table({"region": text, "a": [1.0, 2.0], "rooms": [1, 2]})
    assert x_of(open_source(table, None, None, MIXED))[:, 2:4].tolist() == [[1, 0], [0, 1]]
    labelled = pa.table({"a": [1.0, 2], "b": [1.0, 2], "c": [1.0, 2], "y": text})
    assert open_source(labelled, "y", None, ABC).distinct_labels() == ("NA", "North")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([[1.0], [2.0]]), "'v' is nested"),
        (pa.array([{"k": 1}, {"k": 2}]), "'v' is nested"),
        (pa.array([b"1", b"2"]), "'v' holds bytes"),
        (pa.array(["1", "2"]), "'v' must hold numbers; row 0 has '1'"),
        (pa.array([1, 2], pa.timestamp("us")), "'v' must hold numbers; row 0 has 1970"),
    ],
)
def test_arrow_types_that_are_refused(column: Any, message: str, tmp_path: Path) -> None:
    table = pa.table({"v": column, "nested but not needed": [[1], [2]]})
    pq.write_table(table, tmp_path / "t.parquet")
    for X in (table, tmp_path / "t.parquet"):
        with pytest.raises(DataError, match=message):
            x_of(open_source(X, None, None, Features.plain(1, ["v"])))


def test_column_names_with_dots(tmp_path: Path) -> None:
    table = pa.table({"v.w": [1.0, 2.0], "v": [3.0, 4.0]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert x_of(open_source(tmp_path / "t.parquet", None, None, Features.plain(2, ["v", "v.w"]))).tolist() == [
        [3, 1],
        [4, 2],
    ]


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_cut_off_parquet(keep: float, tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "t.parquet")
    content = (tmp_path / "t.parquet").read_bytes()
    with pytest.raises(DataError, match="damaged or cut off"):
        read_csv(tmp_path, content[: int(len(content) * keep)])


def test_parquet_with_fewer_rows_than_it_declares(tmp_path: Path) -> None:
    frame(5).to_parquet(tmp_path / "t.parquet")
    file = dataclasses.replace(open_files([tmp_path / "t.parquet"]).files[0], n_rows=6)
    with pytest.raises(DataError, match="declares 6 rows and holds 5"):
        list(file.read({"a": csvfile.ColumnRule("number")}, 10))


def test_flipped_bytes_in_parquet_never_crash(tmp_path: Path) -> None:
    frame(200).drop(columns="note").to_parquet(tmp_path / "t.parquet")
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    rng = np.random.default_rng(3)
    for at in rng.integers(4, len(content) - 8, 150):
        broken = content.copy()
        broken[at] ^= 1 << int(rng.integers(8))
        try:
            assert read_csv(tmp_path, bytes(broken)).shape == (200, 3)
        except RelucidateError as told:
            assert str(told)  # noqa: PT017


# ---------------------------------------------------------------- what is no data at all


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (5, "X is a int"),
        (None, "X is a NoneType"),
        (np.zeros(3), "takes \\(n, 3\\)"),
        (pd.Series([1.0, 2, 3]), "takes \\(n, 3\\)"),
        ([[1, 2], [3]], "ragged"),
        (np.zeros((2, 4)), "X has 4 columns; the network takes 3"),
        (np.array([["a", "b", "c"]]), "expected numbers"),
        (pl.LazyFrame({"a": [1.0]}), "Call .collect\\(\\) first"),
    ],
)
def test_what_is_no_table(X: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(batches(X, None, None, UNNAMED))
    with pytest.raises(ArgumentError, match="batch_rows is 0"):
        open_source(np.zeros((2, 3)), None, None, UNNAMED, batch_rows=0)


def test_importing_data_is_light() -> None:
    heavy = ("pyarrow", "pandas", "narwhals", "scipy")
    code = f"import sys, relucidate.data, relucidate.outputs; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# ---------------------------------------------------------------- large


@needs_proc
@pytest.mark.slow
def test_twenty_million_rows_stream_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "large.parquet"
    names = [f"x{i}" for i in range(20)]
    block = np.random.default_rng(0).normal(size=(1_000_000, 20))
    table = pa.table({name: block[:, i] for i, name in enumerate(names)})
    with pq.ParquetWriter(path, table.schema) as writer:
        for _ in range(20):
            writer.write_table(table, row_group_size=1_000_000)
    peak, told = peak_of(
        f"print(sum(len(b) for b in batches({str(path)!r}, None, None, Features.plain(20, {names!r}))))"
    )
    assert int(told) == 20_000_000
    assert peak < 400
