"""A table becomes the network's input by name, or by position where there are no names; everything else is refused."""

import datetime
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.sparse import coo_array, csr_matrix

from relucidate.errors import ArgumentError, ColumnError, DataError, ValueInDataError
from relucidate.features import Feature, Features

NAMES = ("age", "income", "Score")
ROWS = np.array([[31.0, 5e4, 0.25], [62.0, 1e5, -0.0], [18.0, 0.0, 1e-45]])
plain = Features.plain(3, NAMES)
nameless = Features.plain(3)


def frames(table: pd.DataFrame) -> list[Any]:
    """The same table for each library that is read."""
    return [table, pl.from_pandas(table), pa.Table.from_pandas(table, preserve_index=False)]


def levels(*values: Any, impute: Any = None, known: tuple[Any, ...] | None = None) -> Features:
    """One indicator per value of column c."""
    items = tuple(Feature(f"c={v}", "c", "level", (v,), impute) for v in values)
    return Features(items, ("c",), True, () if known is None else (("c", known),))


def numeric(impute: float | None = None) -> Features:
    """One column c."""
    return Features((Feature("c", "c", impute=impute),), ("c",), True)


# ---------------------------------------------------------------- names and places


def test_names_decide_where_there_are_names() -> None:
    shuffled = pd.DataFrame(ROWS, columns=list(NAMES))[["Score", "age", "income"]].assign(note="text")
    for table in frames(shuffled):
        np.testing.assert_array_equal(plain.encode(table), ROWS)
    assert plain.matched(["note", "Score", "age", "income"]) == ((2, 3, 1), ("note",))


def test_place_decides_where_there_are_none() -> None:
    np.testing.assert_array_equal(plain.encode(ROWS), ROWS)
    for table in frames(pd.DataFrame(ROWS, columns=["p", "q", "r"])):
        np.testing.assert_array_equal(nameless.encode(table), ROWS)
    np.testing.assert_array_equal(nameless.encode(pd.DataFrame(ROWS)), ROWS)  # columns 0, 1, 2
    with pytest.raises(ColumnError, match="3 unnamed inputs, the table 4 columns"):
        nameless.encode(pd.DataFrame(np.ones((2, 4))))


def test_a_nameless_network_takes_its_own_names_in_any_order() -> None:
    table = pd.DataFrame(ROWS, columns=["x0", "x1", "x2"])
    np.testing.assert_array_equal(nameless.encode(table[["x2", "x0", "x1"]]), ROWS)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["age", "income"], "lacks 1 of the 3 columns that the network needs: 'Score'. It has 'age', 'income'"),
        (["age", "income", "score"], "Rename 'score' to 'Score'"),
        (["Age ", "income", "Score"], "Rename 'Age ' to 'age'"),
        (["a", "b", "c"], "lacks 3 of the 3"),
        (["age", "income", "Score", "age"], "must be unique; 'age' occur more than once"),
        ([1, "1", "Score"], "must be unique; '1' occur more than once"),
    ],
)
def test_columns_that_do_not_match(columns: list[Any], message: str) -> None:
    table = pd.DataFrame(np.ones((2, len(columns))))
    table.columns = pd.Index(columns)
    with pytest.raises(ColumnError, match=message):
        plain.encode(table)


def test_duplicate_columns_of_arrow() -> None:
    with pytest.raises(ColumnError, match="must be unique"):
        plain.encode(pa.Table.from_arrays([pa.array([1.0])] * 3, names=["age", "age", "Score"]))


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.ones(3), ColumnError, r"shape \(3,\); the network takes \(n, 3\). Write X.reshape\(1, -1\)"),
        ([1.0, 2.0, 3.0], ColumnError, r"Write X.reshape\(1, -1\)"),
        (pd.Series([1.0, 2.0, 3.0]), ColumnError, r"Write X.reshape\(1, -1\)"),
        (np.float64(3), ColumnError, r"shape \(\)"),
        (np.ones((2, 4)), ColumnError, "X has 4 columns; the network takes 3"),
        (np.ones((2, 2, 2)), ColumnError, r"X has shape \(2, 2, 2\)"),
        ([[1.0, 2.0], [3.0]], DataError, "ragged list of rows"),
        ({"age": [1]}, DataError, "X is a dict"),
        (None, DataError, "X is a NoneType"),
        (pl.LazyFrame({"age": [1]}), DataError, r"polars.*LazyFrame.*Call .collect\(\) first"),
    ],
)
def test_things_that_are_no_table(X: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        plain.encode(X)


def test_images_are_flattened_in_c_order() -> None:
    images = np.arange(2 * 1 * 3 * 4).reshape(2, 1, 3, 4)
    np.testing.assert_array_equal(Features.plain(12).encode(images), images.reshape(2, 12))


@pytest.mark.parametrize(
    "empty", [np.empty((0, 3)), pd.DataFrame({n: [] for n in NAMES}), pl.DataFrame({n: [] for n in NAMES})]
)
def test_no_rows(empty: Any) -> None:
    assert plain.encode(empty).shape == (0, 3)


def test_no_rows_of_levels() -> None:
    for column in (pd.Series([], dtype=object), pd.Series([], dtype="category"), pd.Series([], dtype=float)):
        assert levels("a", "b", known=("a", "b")).encode(pd.DataFrame({"c": column})).shape == (0, 2)
    assert levels("a").encode(np.empty((0, 1), dtype=object)).shape == (0, 1)
    assert numeric().encode(np.empty((0, 1), dtype="<U3")[:, :0].reshape(0, 1).astype(object)).shape == (0, 1)


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    "dtype", [np.float64, np.float32, np.float16, np.int8, np.uint64, np.int64, bool, object, np.longdouble]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_kinds_of_numbers(dtype: Any, order: Any) -> None:
    X = np.array([[0, 1, 1], [1, 0, 1]], dtype=dtype, order=order)
    for encoded in (
        plain.encode(X),
        plain.encode(csr_matrix(X.astype(float))),
        plain.encode(coo_array(X.astype(float))),
    ):
        assert (encoded.dtype, encoded.flags.c_contiguous) == (np.float64, True)
        np.testing.assert_array_equal(encoded, [[0, 1, 1], [1, 0, 1]])


def test_minus_zero_and_the_smallest_number_stay() -> None:
    assert plain.encode(ROWS).tobytes() == ROWS.tobytes()
    assert plain.encode(pd.DataFrame(ROWS, columns=list(NAMES))).tobytes() == ROWS.tobytes()


def test_objects_that_are_numbers() -> None:
    cells = [1, 2.5, Decimal("0.1"), Fraction(1, 4), np.float32(3), np.int16(-4), True, np.bool_(False), 10**30]
    expected = [1, 2.5, 0.1, 0.25, 3, -4, 1, 0, 1e30]
    np.testing.assert_array_equal(numeric().encode(np.array(cells, dtype=object)[:, None])[:, 0], expected)
    np.testing.assert_array_equal(numeric().encode(pd.DataFrame({"c": pd.Series(cells, dtype=object)}))[:, 0], expected)
    decimals = pa.table({"c": pa.array([Decimal("0.1"), Decimal("2.50")])})
    np.testing.assert_array_equal(numeric().encode(decimals)[:, 0], [0.1, 2.5])


MISSING = {
    "Int64": pd.Series([1, None, 3], dtype="Int64"),
    "Float64": pd.Series([1, None, 3], dtype="Float64"),
    "float": pd.Series([1, None, 3], dtype=float),
    "object None": pd.Series([1, None, 3], dtype=object),
    "object NA": pd.Series([1, pd.NA, 3], dtype=object),
    "object NaN": pd.Series([1, np.nan, 3], dtype=object),
    "arrow": pd.Series([1, None, 3], dtype="int64[pyarrow]"),
    "category": pd.Series(pd.Categorical([1, None, 3])),
}


@pytest.mark.parametrize("column", MISSING.values(), ids=MISSING)
def test_every_way_to_write_a_missing_number(column: pd.Series) -> None:
    table = pd.DataFrame({"c": column})
    np.testing.assert_array_equal(numeric(impute=-7.5).encode(table)[:, 0], [1, -7.5, 3])
    marked = Features((Feature("c missing", "c", "missing"),), ("c",), True)
    np.testing.assert_array_equal(marked.encode(table)[:, 0], [0, 1, 0])
    with pytest.raises(ValueInDataError, match=r"1 of 3 rows hold values that are missing \(NaN\), in 'c': rows 101\."):
        numeric().encode(table, first_row=100)


def test_booleans() -> None:
    for table in frames(pd.DataFrame({"c": [True, False]})):
        np.testing.assert_array_equal(numeric().encode(table)[:, 0], [1, 0])
    for table in frames(pd.DataFrame({"c": pd.Series([True, None, False], dtype="boolean")})):
        np.testing.assert_array_equal(numeric(impute=0.5).encode(table)[:, 0], [1, 0.5, 0])


def test_masked_cells_are_missing() -> None:
    X = np.ma.masked_array([[1.0], [2.0]], mask=[[False], [True]])
    np.testing.assert_array_equal(numeric(impute=9.0).encode(X)[:, 0], [1, 9])
    with pytest.raises(ValueInDataError, match="missing"):
        numeric().encode(X)


def test_missing_and_infinite_rows_are_listed() -> None:
    X = np.ones((20, 3))
    X[[3, 7], 0], X[7, 2], X[12, 1] = np.nan, np.inf, -np.inf
    for table in (X, pd.DataFrame(X, columns=list(NAMES))):
        with pytest.raises(ValueInDataError) as caught:
            plain.encode(table, first_row=1)
        assert (
            "3 of 20 rows hold values that are infinite or missing (NaN), in 'age', 'income', 'Score': rows 4, 8, 13."
            in str(caught.value)
        )
    with pytest.raises(ValueInDataError, match=r"rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 90 more"):
        plain.encode(np.full((100, 3), np.nan))
    with pytest.raises(ValueInDataError, match="infinite, in 'c'"):
        numeric(impute=0.0).encode(np.array([[np.inf]]))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["1", "2"], r"Column 'c' must hold numbers; row 10 has '1' \(str\)"),
        ([1.0, "n/a"], r"row 11 has 'n/a' \(str\)"),
        ([None, b"x"], r"row 11 has b'x' \(bytes\)"),
        ([1j, 2], r"\(complex\)"),
        ([1, [2]], r"row 11 has \[2\] \(list\)"),
        ([datetime.date(2020, 1, 1)], r"row 10 has 2020-01-01 \(date\)"),
        ([10**400], "beyond the range of float64"),
    ],
)
def test_cells_that_are_no_numbers(column: list[Any], message: str) -> None:
    cells = np.empty(len(column), dtype=object)
    cells[:] = column
    for X in (pd.DataFrame({"c": pd.Series(cells, dtype=object)}), cells[:, None]):
        with pytest.raises(ValueInDataError, match=message):
            numeric(impute=0.0).encode(X, first_row=10)


def test_dates_and_text_columns_are_refused() -> None:
    for table in frames(pd.DataFrame({"c": pd.to_datetime(["2020-01-01", "2021-01-01"])})):
        with pytest.raises(ValueInDataError, match="Column 'c' must hold numbers; row 0 has 2020-01-01"):
            numeric().encode(table)
    for table in frames(pd.DataFrame({"c": pd.Categorical(["1", "2"])})):
        with pytest.raises(ValueInDataError, match=r"row 0 has '1' \(str\)"):
            numeric().encode(table)
    for X in (np.array([["1", "2", "3"]]), np.array([["2020-01-01"] * 3], dtype="M8[D]"), np.ones((1, 3)) * 1j):
        with pytest.raises(ValueInDataError, match=r"X has dtype .*; expected numbers. Row 5 begins"):
            plain.encode(X, first_row=5)


# ---------------------------------------------------------------- levels


def test_indicators_of_levels() -> None:
    features = levels("N", "S", known=("N", "S", "E"))
    expected = [[1, 0], [0, 1], [0, 0], [1, 0]]
    cells = ["N", "S", "E", "N"]
    for column in (pd.Series(cells), pd.Series(cells, dtype=object), pd.Series(pd.Categorical(cells))):
        for table in frames(pd.DataFrame({"c": column})):
            np.testing.assert_array_equal(features.encode(table), expected)
    np.testing.assert_array_equal(features.encode(np.array(cells)[:, None]), expected)
    np.testing.assert_array_equal(features.encode(np.array(cells, dtype=object)[:, None]), expected)
    np.testing.assert_array_equal(features.encode([[c] for c in cells]), expected)
    np.testing.assert_array_equal(
        features.encode(pl.DataFrame({"c": pl.Series(cells, dtype=pl.Enum(["E", "N", "S"]))})), expected
    )


def test_categories_that_no_row_has_do_not_count() -> None:
    features = levels("N", "S", known=("N", "S"))
    column = pd.Categorical(["S", "N", "S"], categories=["Atlantis", "S", "Utopia", "N"])
    for table in frames(pd.DataFrame({"c": column})):
        np.testing.assert_array_equal(features.encode(table), [[0, 1], [1, 0], [0, 1]])


def test_text_is_not_a_number() -> None:
    text, number = levels("1", "2", known=("1", "2")), levels(1, 2, known=(1, 2))
    for cells in ([1, 2], [1.0, 2.0], [True, 2], np.array([1, 2], dtype=np.int8), np.array([1, 2], dtype=np.float32)):
        table = pd.DataFrame({"c": cells})
        np.testing.assert_array_equal(number.encode(table), np.eye(2))
        with pytest.raises(ValueInDataError, match=r"level .* in row 0; the model knows '1', '2' \(str\)"):
            text.encode(table)
    for table in frames(pd.DataFrame({"c": ["1", "2"]})):
        np.testing.assert_array_equal(text.encode(table), np.eye(2))
        with pytest.raises(ValueInDataError, match=r"has the level '1' \(str\) in row 0; the model knows 1, 2 \(int\)"):
            number.encode(table)
    mixed = pd.DataFrame({"c": pd.Series([1, "1", 1.0, True, "1.0"], dtype=object)})
    np.testing.assert_array_equal(levels(1, "1").encode(mixed), [[1, 0], [0, 1], [1, 0], [1, 0], [0, 0]])
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [3, 1, 0, 4, 2]):
        np.testing.assert_array_equal(levels(1, "1").encode(mixed.iloc[order]), levels(1, "1").encode(mixed)[order])


def test_numbers_beside_text_in_a_list_stay_numbers() -> None:
    features = Features((Feature("a", "a"), Feature("c=x", "c", "level", ("x",))), ("a", "c"), True)
    np.testing.assert_array_equal(features.encode([[1.5, "x"], [2, "y"]]), [[1.5, 1], [2, 0]])


def test_unknown_levels_are_refused_by_name_or_ignored() -> None:
    for table in frames(pd.DataFrame({"c": ["N", "S", "Atlantis", "S", "Atlantis"]})):
        with pytest.raises(
            ValueInDataError, match=r"Column 'c' has the level 'Atlantis' \(str\) in row 9; the model knows 'N', 'S'"
        ):
            levels("N", "S", known=("N", "S")).encode(table, first_row=7)
        np.testing.assert_array_equal(levels("N", "S").encode(table).sum(axis=1), [1, 1, 0, 1, 0])
    with pytest.raises(ValueInDataError, match="has the level 'n'"):
        levels("N", known=("N",)).encode(np.array([["n"]]))
    with pytest.raises(ValueInDataError, match="must hold levels"):
        levels("N").encode(np.array([[["N"]], None], dtype=object)[:1, None])


@pytest.mark.parametrize("gap", [None, np.nan, pd.NA, float("nan")])
def test_missing_levels(gap: Any) -> None:
    column = pd.Series(["N", gap, "S"], dtype=object)
    tables = [*frames(pd.DataFrame({"c": column})), column.to_numpy()[:, None]]
    for table in tables:
        with pytest.raises(ValueInDataError, match="has no value in row 1"):
            levels("N", "S", known=("N", "S")).encode(table)
        np.testing.assert_array_equal(
            levels("N", np.nan, known=("N", "S", np.nan)).encode(table), [[1, 0], [0, 1], [0, 0]]
        )
        np.testing.assert_array_equal(
            levels("N", "S", impute="S", known=("N", "S")).encode(table), [[1, 0], [0, 1], [0, 1]]
        )
        np.testing.assert_array_equal(levels("N", "S").encode(table), [[1, 0], [0, 0], [0, 1]])
        both = levels("N", "S", impute="gap", known=("N", "S", np.nan))  # the gap is accepted, the text "gap" is not
        np.testing.assert_array_equal(both.encode(table), [[1, 0], [0, 0], [0, 1]])
        with pytest.raises(ValueInDataError, match="level 'gap'"):
            both.encode(pd.DataFrame({"c": ["gap"]}))
        marked = Features((Feature("gone", "c", "missing"),), ("c",), True)
        np.testing.assert_array_equal(marked.encode(table)[:, 0], [0, 1, 0])


def test_pooled_and_other_levels() -> None:
    pooled = Features(
        (
            Feature("c=a", "c", "level", ("a",)),
            Feature("c=b or c", "c", "level", ("b", "c")),
            Feature("c=other", "c", "other", ("a",)),
        ),
        ("c",),
        True,
    )
    table = pd.DataFrame({"c": ["a", "b", "c", "z", None]})
    np.testing.assert_array_equal(pooled.encode(table), [[1, 0, 0], [0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1]])


def test_one_column_as_number_level_and_mark() -> None:
    items = (
        Feature("c", "c"),
        Feature("c (filled)", "c", impute=5.0),
        Feature("c=2", "c", "level", (2,)),
        Feature("c missing", "c", "missing"),
    )
    features = Features(items[1:], ("c",), True)
    np.testing.assert_array_equal(features.encode(np.array([[2.0], [np.nan]])), [[2, 1, 0], [5, 0, 1]])
    with pytest.raises(ValueInDataError, match="in 'c': rows 1"):
        Features(items, ("c",), True).encode(np.array([[2.0], [np.nan]]))
    assert features.groups == (("c", (0, 1, 2)),)


def test_random_tables_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    values: list[Any] = ["a", "b", "1", 1, 1.0, 2, True, None, np.nan, pd.NA, "", " a", 2.5]
    for _ in range(50):
        cells = np.empty(30, dtype=object)
        cells[:] = [values[i] for i in rng.integers(len(values), size=30)]
        wanted = [values[i] for i in rng.integers(7, size=3)]
        features = levels(*wanted, impute="b" if rng.random() < 0.5 else None)
        got = features.encode(pd.DataFrame({"c": pd.Series(cells, dtype=object)}))
        np.testing.assert_array_equal(got, features.encode(cells[:, None]))
        for i, cell in enumerate(cells):
            empty = cell is None or cell is pd.NA or cell != cell
            met = features.items[0].impute if empty else cell
            for j, level in enumerate(wanted):
                same = met is not None and isinstance(met, str) == isinstance(level, str) and met == level
                assert got[i, j] == same, (cell, level)


# ---------------------------------------------------------------- the features themselves


def test_names_are_checked() -> None:
    assert nameless.names == ("x0", "x1", "x2")
    assert not nameless.named
    assert nameless.renamed(NAMES).names == NAMES
    with pytest.raises(ColumnError, match="2 feature names were given for a network with 3 inputs"):
        Features.plain(3, ["a", "b"])
    with pytest.raises(ColumnError, match="Feature names must be unique; 'a' occur more than once"):
        Features.plain(3, ["a", "b", "a"])
    with pytest.raises(ColumnError, match="names its own columns"):
        levels("a").renamed(["b"])
    assert plain.is_plain
    assert not numeric(impute=1.0).is_plain
    assert not levels("a").is_plain


# ---------------------------------------------------------------- cost


def test_a_plain_array_is_not_copied() -> None:
    X = np.ones((10, 3))
    assert np.shares_memory(plain.encode(X), X)
    assert not np.shares_memory(plain.encode(np.asfortranarray(np.ones((10, 3)) * [1, 2, 3])), X)


def seconds(features: Features, X: Any) -> float:
    times = []
    for _ in range(3):
        start = time.process_time()
        features.encode(X)
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.slow
def test_a_million_rows_are_cheap() -> None:
    X = np.random.default_rng(0).normal(size=(1_000_000, 20))
    one_pass = min(_timed(lambda: X * 1.5) for _ in range(3))
    features = Features.plain(20)
    assert seconds(features, X) < 2 * one_pass
    assert seconds(features, pd.DataFrame(X, columns=list(features.names))) < 20 * one_pass
    text = np.random.default_rng(0).choice(["North", "South", "East"], 1_000_000).astype(object)
    loop = _timed(lambda: [cell == "North" for cell in text])
    region = levels("North", "South", "East", known=("North", "South", "East"))
    region_time = seconds(region, pd.DataFrame({"c": text}))
    assert region_time < 6 * loop  # codes, a check and three indicators; a loop over cells and levels takes far longer


def _timed(action: Any) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


# ---------------------------------------------------------------- finding features


def one_hot() -> Features:
    items = (
        Feature("age", "age"),
        *(Feature(f"job={v}", "job", "level", (v,)) for v in ("a", "b")),
        Feature("debt", "debt"),
    )
    return Features(items, ("age", "job", "debt"), True)


def test_features_are_found_by_name_column_and_position() -> None:
    f = one_hot()
    assert f.find("age") == ("age", (0,))
    assert f.find("job") == ("job", (1, 2))
    assert f.find("job=b") == ("job=b", (2,))
    assert f.find(3) == ("debt", (3,))
    with pytest.raises(ArgumentError, match=r"'dept' is no feature of this network. Did you mean 'debt'\?"):
        f.find("dept")
    with pytest.raises(ArgumentError, match="expected 0 to 3"):
        f.find(4)


def test_values_are_added_up_within_columns() -> None:
    np.testing.assert_array_equal(one_hot().grouped(np.arange(8.0).reshape(2, 4)), [[0, 3, 3], [4, 11, 7]])
    plain = Features.plain(3)
    values = np.ones((2, 5, 3))
    assert plain.grouped(values) is values
