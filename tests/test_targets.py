"""Labels become codes and numbers float64 by stated rules; what they do not cover is refused."""

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relucidate.errors import TargetError
from relucidate.targets import as_values, distinct, encode_target, target_coder

BINARY = ("logit", 1)
THREE = ("softmax", 3)


def codes(y: Any, kind: tuple[str, int] = BINARY, classes: tuple[Any, ...] = ()) -> list[int]:
    values = encode_target(y, *kind, classes).values
    assert values.dtype == np.intp
    return values.tolist()


# ---------------------------------------------------------------- one column in every form


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        np.array,
        lambda v: np.array(v, dtype=object),
        pd.Series,
        lambda v: pd.Series(v, dtype="category"),
        lambda v: pd.Series(v, index=range(len(v), 0, -1)),
        lambda v: pd.DataFrame({"y": v}),
        pl.Series,
        lambda v: pl.DataFrame({"y": v}),
        pa.array,
        lambda v: pa.chunked_array([v[:1], v[1:]]),
        lambda v: pa.array(v).dictionary_encode(),
        lambda v: pa.table({"y": v}),
        lambda v: np.array(v)[:, None],
    ],
)
@pytest.mark.parametrize("labels", [["no", "yes", "yes"], [0, 1, 1], [0.0, 1.0, 1.0], [False, True, True]])
def test_forms_of_a_column(form: Any, labels: list[Any]) -> None:
    assert codes(form(labels)) == [0, 1, 1]


@pytest.mark.parametrize(
    "y",
    [
        [1, None, 0],
        [1.0, np.nan, 0.0],
        ["a", None, "b"],
        pd.Series([1, None, 0], dtype="Int64"),
        pd.Series([True, None, False], dtype="boolean"),
        pd.Series(["a", None, "b"], dtype="string"),
        pd.Series(["a", pd.NA, "b"], dtype=object),
        pd.Series(["a", None, "b"], dtype="category"),
        pl.Series([1, None, 0]),
        pl.Series(["a", None, "b"]),
        pa.array([1, None, 0]),
    ],
)
@pytest.mark.parametrize("kind", [BINARY, ("identity", 1)])
def test_missing_targets_are_refused_by_row(y: Any, kind: tuple[str, int]) -> None:
    with pytest.raises(TargetError, match=r"missing in 1 of 3 rows: rows 101\."):
        encode_target(y, *kind, first_row=100)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array(["2020-01-01"], dtype="datetime64[D]"), "dtype datetime64"),
        (pd.Series(pd.to_datetime(["2020-01-01"])), "holds 2020-01-01"),
        ([b"x"], "holds b'x'"),
        ([[1, 2], [3]], "ragged"),
        (np.zeros((2, 2, 2)), "shape"),
        (5, "y is a int"),
        ({"a": 1}, "y is a dict"),
        (np.array([1j]), "dtype complex"),
    ],
)
def test_what_is_no_target(y: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        encode_target(y, *BINARY)


def test_values_of_any_number_are_float64() -> None:
    assert as_values([Decimal("1.5"), np.float32(2), True, None]).tolist()[:3] == [1.5, 2.0, 1.0]
    assert as_values([1, "a"]).tolist() == [1, "a"]
    assert distinct(as_values([2, "b", 1, "a", None, 2])) == (1, 2, "a", "b")


# ---------------------------------------------------------------- classes


def test_unknown_classes_that_are_codes_are_taken_as_they_are() -> None:
    for y in ([1, 0], [1.0, 0.0], [True, False]):
        result = encode_target(y, *BINARY)
        assert result.values.tolist() == [1, 0]
        assert result.notes == ()
    assert codes([2, 0, 2], THREE) == [2, 0, 2]
    assert encode_target(["1", "0"], *BINARY).classes == ("0", "1")
    assert codes(["1", "0"]) == [1, 0]


@pytest.mark.parametrize(
    ("y", "expected", "positive"),
    [
        ([1, 2, 1], [0, 1, 0], "2"),
        ([-1, 1, 1], [0, 1, 1], "1"),
        (["yes", "no", "no"], [1, 0, 0], "'yes'"),
        (["10", "9", "9"], [1, 0, 0], "'10'"),
        (["b", "B", "b"], [1, 0, 1], "'b'"),
    ],
)
def test_two_other_labels_are_sorted_and_the_positive_one_is_told(y: Any, expected: list[int], positive: str) -> None:
    result = encode_target(y, *BINARY)
    assert result.values.tolist() == expected
    assert any(f"{positive}" in note and "is the positive class" in note for note in result.notes)


def test_several_other_labels_are_sorted() -> None:
    result = encode_target(["c", "a", "b"], *THREE)
    assert result.values.tolist() == [2, 0, 1]
    assert result.classes == ("a", "b", "c")
    assert result.notes == ("the classes were taken in sorted order: 'a', 'b', 'c'",)
    assert codes([3, 1, 2], THREE) == [2, 0, 1]


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        ([1, 2, 3], BINARY, "3 distinct labels .* the network 2 classes"),
        (np.linspace(0, 1, 50), BINARY, "50 distinct labels .* for a regression load the model with link='identity'"),
        (["a", "b"], THREE, "labels 'a', 'b' only"),
        (["a"], BINARY, "labels 'a' only"),
        ([2], BINARY, "labels 2.0 only"),
        ([0, "no"], BINARY, "mixes numbers and text"),
        ([np.inf, 0], THREE, "labels 0.0, inf only"),
        ([[0, 1], [1, 1]], BINARY, "2 columns; a classifier needs one"),
    ],
)
def test_labels_that_do_not_tell_the_classes(y: Any, kind: tuple[str, int], message: str) -> None:
    with pytest.raises(TargetError, match=message):
        encode_target(y, *kind)


def test_known_classes_are_matched_by_value() -> None:
    assert codes([1, 2.0, True], classes=(1, 2)) == [0, 1, 0]
    assert codes([True, False], classes=(0, 1)) == [1, 0]
    assert codes(["no", "yes"], classes=("yes", "no")) == [1, 0]
    assert codes([1.0, 0.0], classes=(False, True)) == [1, 0]
    assert codes(["b"], THREE, ("a", "b", "c")) == [1]
    assert codes([30, 10], THREE, (10, 20, 30)) == [2, 0]
    assert encode_target(np.array(["u"]), *BINARY, (np.str_("u"), np.str_("v"))).classes == ("u", "v")


@pytest.mark.parametrize(
    ("y", "classes", "expected"),
    [
        (["1", "0"], (0, 1), [1, 0]),
        (["1.0", "2"], (1, 2), [0, 1]),
        ([1, 2], ("1", "2"), [0, 1]),
        ([1.0, 7.0], ("01", "07"), [0, 1]),
        ([1, 0], ("False", "True"), [1, 0]),
        (["<=50K", ">50K"], (" <=50K", " >50K"), [0, 1]),
        ([" a ", "b"], ("a", "c"), None),
    ],
)
def test_labels_of_the_other_kind_are_read_with_a_note(y: Any, classes: Any, expected: Any) -> None:
    if expected is None:
        with pytest.raises(TargetError, match="label ' a '"):
            encode_target(y, *BINARY, classes)
        return
    result = encode_target(y, *BINARY, classes)
    assert result.values.tolist() == expected
    assert len(result.notes) == 1
    assert target_coder(*BINARY, classes, distinct(as_values(y))).notes == result.notes


@pytest.mark.parametrize(
    ("y", "classes", "label"),
    [
        ([0, 1, 2], (0, 1), r"row 12 has the label 2\.0 \(number\); the classes are 0, 1 \(number\)"),
        (
            ["no", "maybe"],
            ("no", "yes"),
            r"row 11 has the label 'maybe' \(text\); the classes are 'no', 'yes' \(text\)",
        ),
        (["1", "x"], (0, 1), r"row 10 has the label '1' \(text\); the classes are 0, 1 \(number\)"),
        (["1", 0], (0, 1), r"row 10 has the label '1'"),
        ([0.5], (0, 1), r"row 10 has the label 0\.5"),
    ],
)
def test_unknown_labels_are_refused_by_row(y: Any, classes: Any, label: str) -> None:
    with pytest.raises(TargetError, match="(?i)" + label):
        encode_target(y, *BINARY, classes, first_row=10)


def test_a_constant_label_is_accepted_and_told() -> None:
    for y, classes in (([1, 1], ()), (["yes", "yes"], ("no", "yes"))):
        result = encode_target(y, *BINARY, classes)
        assert result.values.tolist() == [1, 1]
        assert "every row has the label" in result.notes[0]


def test_iterators_need_codes_or_known_classes() -> None:
    coder = target_coder(*BINARY)
    assert coder.encode([0, 1]).values.tolist() == [0, 1]
    with pytest.raises(TargetError, match=r"Row 70 has the label 'yes' .* Load the model with its classes"):
        coder.encode(["yes"], 70)
    assert target_coder(*BINARY, ("no", "yes")).encode(["yes"]).values.tolist() == [1]


def test_a_batch_with_a_missing_target_is_refused() -> None:
    for coder in (target_coder(*BINARY), target_coder("identity", 1)):
        with pytest.raises(TargetError, match=r"missing in 1 of 2 rows: rows 71\."):
            coder.encode([1, None], 70)


def test_one_hot_columns() -> None:
    result = encode_target(np.eye(3)[[2, 0]], *THREE, ("a", "b", "c"))
    assert result.values.tolist() == [2, 0]
    assert "one class each" in result.notes[0]
    with pytest.raises(TargetError, match="3 columns"):
        encode_target(np.full((2, 3), 1 / 3), *THREE)


@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1), st.integers(1, 5))
def test_batches_get_the_codes_of_the_whole(labels: list[str], rows: int) -> None:
    coder = target_coder(*THREE, labels=("a", "b", "c"))
    parts = [coder.encode(labels[i : i + rows], i).values for i in range(0, len(labels), rows)]
    assert np.concatenate(parts).tolist() == ["abc".index(label) for label in labels]


# ---------------------------------------------------------------- regressions and yes/no outputs


def test_regressions() -> None:
    assert encode_target([1, 2], "identity", 1).values.tolist() == [1.0, 2.0]
    assert encode_target([[1], [2]], "log", 1).values.shape == (2,)
    assert encode_target(pd.DataFrame({"u": [1, 2], "v": [3, 4]}), "identity", 2).values.tolist() == [[1, 3], [2, 4]]
    for y, outputs, message in [
        ([1, 2], 2, "1 columns, the network 2 outputs"),
        ([[1, 2]], 1, "2 columns, the network 1 outputs"),
        ([1.0, "high"], 1, "must be numeric for this network; row 8 has 'high'"),
        ([1.0, np.inf], 1, "infinite in rows 8"),
    ]:
        with pytest.raises(TargetError, match=message):
            encode_target(y, "identity", outputs, first_row=7)


def test_yes_or_no_outputs() -> None:
    result = encode_target([[1, 0], [1, 1]], "logit", 2)
    assert result.values.tolist() == [[1, 0], [1, 1]]
    assert result.classes == ()
    with pytest.raises(TargetError, match=r"row 6 of the target is \[1.0, 2.0\], expected 0 or 1"):
        encode_target([[1, 0], [1, 2]], "logit", 2, first_row=5)
    with pytest.raises(TargetError, match="1 columns, the network 2 outputs"):
        encode_target([1, 0], "logit", 2)
