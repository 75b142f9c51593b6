"""Simplified models as one SQL statement."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from relucidate.deploying_model import (
    Deployed,
    cell_type,
    has_missing,
    is_missing,
    levels_of,
    of_column,
    plain,
    refuses_missing,
)
from relucidate.errors import ArgumentError, MissingDependencyError, UnsupportedModelError, clipped, shown
from relucidate.features import Feature, Features
from relucidate.layers import Floats
from relucidate.simplified import ByCentre

Dialect = Literal["duckdb", "postgres", "spark"]

_LARGEST = np.finfo(np.float64).max
_LARGEST_EXPONENT = 700.0  # beyond it exp() is an error in some databases
_LARGEST_LOG = 709.0
_POSTGRES_NAME = 63  # bytes; the rest of a longer name is cut off without a word


def write(model: Deployed, *, dialect: Dialect = "duckdb", table: str | Sequence[str] = "rows") -> str:
    """Return a SELECT of all columns of a table and the prediction.

    Parameters
    ----------
    dialect : "duckdb", "postgres" or "spark".
    table : its name; a list for one with a schema, such as ``["main", "rows"]``.

    Returns
    -------
    A statement whose last column is `prediction`; with several outputs there is a column ``prediction_<output>`` for each.
    A row that the models refuse gets NULL: a number that is missing where nothing imputes, or infinite; an unknown level.

    Raises
    ------
    ArgumentError : no such dialect; a table without a name.
    UnsupportedModelError : a name that the dialect cannot hold, two that it cannot tell apart, or a column of both text
        and numbers.

    Notes
    -----
    All numbers are doubles, with every digit. NULL and NaN are cells without a value. Probabilities are exact down to
    1e-304; smaller ones stay there. A column `prediction` that the table has stays beside the new one. Each step is a
    LATERAL subquery, so that its names meet none of the table's.
    """
    if dialect not in get_args(Dialect):
        raise ArgumentError(
            f"dialect is {clipped(dialect)}; expected one of {', '.join(map(repr, get_args(Dialect)))}."
        )
    return _Statement(model, _Words(dialect)).text([table] if isinstance(table, str) else list(table))


def run(model: Deployed, text: str, dialect: Dialect, table: str | Sequence[str], cells: NDArray[Any]) -> Floats:
    """Return what duckdb makes of a statement for rows (n, n_columns), as (n, n_outputs) in their order.

    Parameters
    ----------
    text : of the dialect. duckdb reads that of Postgres as it is; for Spark, whose quotes it does not know, it is given
        the same statement in its own words.

    Raises
    ------
    MissingDependencyError : duckdb is not installed. UnsupportedModelError : it cannot run the statement.
    """
    try:
        duckdb = import_module("duckdb")
    except ImportError:
        raise MissingDependencyError(
            "SQL is run before it is kept, which needs duckdb, whatever the dialect. Install it with pip install duckdb, "
            "or write a .py or .json file."
        ) from None
    parts = [table] if isinstance(table, str) else list(table)
    words, number = _Words("duckdb"), "row of the probe"
    said = text if dialect != "spark" else write(model, dialect="duckdb", table=parts)
    columns = [*model.features.columns, number]
    with duckdb.connect(":memory:") as connection:
        try:
            for n in range(1, len(parts)):
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {words.path(parts[:n])}")
            kinds = [*(_column_kind(model.features, c) for c in model.features.columns), "BIGINT"]
            declared = ", ".join(f"{words.name(c)} {kind}" for c, kind in zip(columns, kinds, strict=True))
            connection.execute(f"CREATE TABLE {words.path(parts)} ({declared})")
            rows = [[*row, i] for i, row in enumerate(cells.tolist())]
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {words.path(parts)} VALUES ({marks})", rows)
            found = connection.execute(said).fetchall()
        except duckdb.Error as problem:
            raise UnsupportedModelError(
                f"duckdb {duckdb.__version__} cannot run what was written ({clipped(str(problem), 200)}). Rename what it "
                "names, or write a .py or .json file."
            ) from None
    place = len(columns) - 1
    ordered = sorted(found, key=lambda row: int(row[place]))
    return np.array([[math.nan if v is None else v for v in row[place + 1 :]] for row in ordered], dtype=np.float64)


def _column_kind(features: Features, column: str) -> str:
    return {"number": "DOUBLE", "boolean": "BOOLEAN"}.get(cell_type(features, column), "VARCHAR")


# ---------------------------------------------------------------- words of a dialect


@dataclass(frozen=True)
class _Words:
    """How a dialect writes names, text and numbers."""

    dialect: Dialect

    def name(self, text: str) -> str:
        """Return a quoted identifier.

        Raises
        ------
        UnsupportedModelError : the dialect cannot hold it.
        """
        self._refuse(text, f"the name {clipped(text)}")
        if self.dialect == "spark":
            return "`" + text.replace("`", "``") + "`"
        return '"' + text.replace('"', '""') + '"'

    def _refuse(self, text: str, what: str) -> None:
        problem = ""
        if not text:
            problem = "is empty"
        elif "\0" in text:
            problem = "holds the character NUL"
        elif not _is_text(text):
            problem = "is no valid text"
        elif self.dialect == "postgres" and len(text.encode()) > _POSTGRES_NAME:
            problem = f"is {len(text.encode()):,} bytes long, of which Postgres keeps {_POSTGRES_NAME}"
        elif self.dialect == "spark" and "${" in text:
            problem = "holds '${', which Spark takes for a variable"
        if problem:
            raise UnsupportedModelError(f"{what} {problem}. Rename it, or write a .py or .json file.")

    def path(self, parts: Sequence[str]) -> str:
        """Return the quoted name of a table."""
        return ".".join(self.name(part) for part in parts)

    def text(self, value: str) -> str:
        """Return a string literal."""
        if "\0" in value or not _is_text(value):
            raise UnsupportedModelError(
                f"the level {clipped(value)} holds what SQL cannot. Rename it, or write a .py or .json file."
            )
        if self.dialect == "spark":
            # ${name} is replaced in the text of a statement, wherever it stands
            return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\u0024{") + "'"
        quoted = "'" + value.replace("'", "''") + "'"
        if self.dialect == "postgres" and "\\" in value:
            return "E" + quoted.replace("\\", "\\\\")
        return quoted

    def number(self, value: float) -> str:
        """Return a literal of type double, with every digit."""
        digits = repr(float(value))
        if self.dialect == "postgres":
            return f"'{digits}'::float8"
        digits = digits.upper().removesuffix(".0")
        if self.dialect == "spark":
            digits += "D"
        elif "E" not in digits:
            digits += "E0"
        return f"({digits})" if digits.startswith("-") else digits  # two minus signs would begin a comment

    def level(self, value: Any) -> str:
        """Return a level as a literal."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bool):
            return str(value).upper()
        if isinstance(value, float) and math.isinf(value):
            return f"CAST('{'Infinity' if value > 0 else '-Infinity'}' AS {self.double})"
        return self.number(value)

    @property
    def double(self) -> str:
        return "DOUBLE PRECISION" if self.dialect == "postgres" else "DOUBLE"

    def as_number(self, column: str) -> str:
        """Return a column as a double that is NULL where it has no value."""
        return f"NULLIF(CAST({column} AS {self.double}), CAST('NaN' AS {self.double}))"


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---------------------------------------------------------------- the statement


class _Statement:
    """A SELECT whose steps are features, model, decisions and predictions."""

    def __init__(self, model: Deployed, words: _Words) -> None:
        self.model, self.words = model, words
        self.features = model.features
        _refuse_mixed(self.features)
        _refuse_alike(self.features.columns, words.dialect)
        self.names = [f"encoded.{words.name(n)}" for n in self._feature_names()]

    def text(self, table: Sequence[str]) -> str:
        if not all(table) or not table:
            raise ArgumentError("table is empty; give the name of a table, or a list of its schema and its name.")
        outputs = self.model.outputs
        added = ["prediction"] if len(outputs) == 1 else [f"prediction_{o}" for o in outputs]
        _refuse_alike(added, self.words.dialect)
        columns = [
            f"CASE WHEN refused.yes THEN NULL ELSE {e} END AS {self.words.name(name)}"
            for e, name in zip(self.predictions(), added, strict=True)
        ]
        steps = [self.encoded(), self.refused(), *self.led(), self.said()]
        joined = "\n".join(f"CROSS JOIN LATERAL (\n{step}\n) AS {name}" for name, step in steps)
        selected = ",\n    ".join(["the_row.*", *columns])
        return f"SELECT\n    {selected}\nFROM {self.words.path(table)} AS the_row\n{joined}\n"

    def _feature_names(self) -> Sequence[str]:
        """Return the names of the features, or numbers where they cannot be names of columns side by side."""
        names = self.features.names
        try:
            for name in names:
                self.words.name(name)
            _refuse_alike(names, self.words.dialect)
        except UnsupportedModelError:
            return [f"x{j}" for j in range(len(names))]
        return names

    def column(self, name: str) -> str:
        return f"the_row.{self.words.name(name)}"

    # ------------------------------------------------------------ features

    def encoded(self) -> tuple[str, str]:
        shown_as = (name.removeprefix("encoded.") for name in self.names)
        items = [f"{self.feature(f)} AS {name}" for f, name in zip(self.features.items, shown_as, strict=True)]
        return "encoded", _selected(items)

    def feature(self, feature: Feature) -> str:
        """Return the number that a feature is."""
        zero, one = self.words.number(0.0), self.words.number(1.0)
        if feature.kind == "value":
            value = self.words.as_number(self.column(feature.column))
            if feature.impute is None:
                return value
            return f"COALESCE({value}, {self.words.number(float(feature.impute))})"
        cell = self.cell(feature.column)
        if feature.kind == "missing":
            return f"CASE WHEN {cell} IS NULL THEN {one} ELSE {zero} END"
        tests = self.among(cell, map(plain, feature.levels))
        if has_missing(feature):
            tests.append(f"{cell} IS NULL")
        hit, miss = (one, zero) if feature.kind == "level" else (zero, one)
        return f"CASE WHEN {' OR '.join(tests)} THEN {hit} ELSE {miss} END" if tests else miss

    def among(self, cell: str, levels: Iterable[Any]) -> list[str]:
        """Return the condition that a cell has one of the levels that are not missing; [] without any."""
        named = [self.words.level(v) for v in levels if not is_missing(v)]
        return [f"{cell} IN ({', '.join(named)})"] if named else []

    def cell(self, column: str) -> str:
        """Return a column as it is compared with levels."""
        name = self.column(column)
        return self.words.as_number(name) if cell_type(self.features, column) == "number" else name

    def refused(self) -> tuple[str, str]:
        """Return whether the models refuse a row."""
        conditions = []
        largest = self.words.number(float(_LARGEST))
        for name, feature in zip(self.names, self.features.items, strict=True):
            if feature.kind == "value":
                conditions.append(f"(ABS({name}) <= {largest}) IS NOT TRUE")
        for column, levels in self.features.known:
            cell = self.cell(column)
            if refuses_missing(self.features, column):
                conditions.append(f"{cell} IS NULL")
            if any(f.kind in ("level", "other") for f in of_column(self.features, column)):
                tests = self.among(cell, map(plain, levels)) or ["FALSE"]
                conditions.append(f"({cell} IS NOT NULL AND NOT {tests[0]})")
        return "refused", "    SELECT " + ("\n        OR ".join(conditions) or "FALSE") + " AS yes"

    # ------------------------------------------------------------ the model

    def led(self) -> list[tuple[str, str]]:
        if isinstance(self.model.route, ByCentre):
            return [self.closeness(self.model.route), self.nearest(self.model.route)]
        *others, last = self.model.segments()
        lines = [f"        WHEN {' AND '.join(self.condition(*c) for c in cs)} THEN {m}" for m, _, cs in others]
        return [("led", _case(lines, str(last[0])) + " AS model")]

    def condition(self, direction: Floats, above: float, up_to: float) -> str:
        used = np.flatnonzero(direction).tolist()
        if len(used) == 1 and direction[used[0]] == 1:
            said = self.names[used[0]]
        else:
            said = " + ".join(f"{self.words.number(direction[j])} * {self.names[j]}" for j in used)
        tests = [f"{said} > {self.words.number(above)}"] if math.isfinite(above) else []
        return " AND ".join(tests + ([f"{said} <= {self.words.number(up_to)}"] if math.isfinite(up_to) else []))

    def closeness(self, route: ByCentre) -> tuple[str, str]:
        number, centre = self.words.number, route.centre / route.scale
        scaled = [f"{name} / {number(s)}" for name, s in zip(self.names, route.scale, strict=True)]
        items = []
        for i, place in enumerate(centre):
            terms = [f"{number(v)} * ({at})" for v, at in zip(place, scaled, strict=True) if v]
            items.append(f"{' + '.join([*terms, number(-0.5 * float((place**2).sum()))])} AS c{i}")
        return "closeness", _selected(items)

    def nearest(self, route: ByCentre) -> tuple[str, str]:
        """Return the model of the first centre that no later one exceeds: those before it were exceeded."""
        numbers = route.model.tolist()
        lines = []
        for i, number in enumerate(numbers[:-1]):
            later = [f"closeness.c{j}" for j in range(i + 1, len(numbers))]
            most = later[0] if len(later) == 1 else f"GREATEST({', '.join(later)})"
            lines.append(f"        WHEN closeness.c{i} >= {most} THEN {number}")
        return "led", _case(lines, str(numbers[-1])) + " AS model"

    # ------------------------------------------------------------ decisions and predictions

    def said(self) -> tuple[str, str]:
        items = []
        for o in range(self.model.n_outputs):
            sums = [self.affine(m, o) for m in range(self.model.n_models)]
            if len(sums) == 1:
                items.append(f"{sums[0]} AS d{o}")
                continue
            whens = "\n".join(f"            WHEN {m} THEN {s}" for m, s in enumerate(sums))
            items.append(f"CASE led.model\n{whens}\n        END AS d{o}")
        return "said", _selected(items)

    def affine(self, m: int, o: int) -> str:
        number = self.words.number
        coef = self.model.coef[m, o].tolist()
        terms = [f"{number(c)} * {name}" for c, name in zip(coef, self.names, strict=True) if c]
        return "\n                + ".join([number(self.model.intercept[m, o]), *terms])

    def predictions(self) -> list[str]:
        number, link = self.words.number, self.model.link
        decisions = [f"said.d{o}" for o in range(self.model.n_outputs)]
        low, high, one = number(-_LARGEST_EXPONENT), number(_LARGEST_EXPONENT), number(1.0)
        if link == "logit":
            return [f"{one} / ({one} + EXP(GREATEST({low}, LEAST({high}, -{d}))))" for d in decisions]
        if link == "log":
            zero, top = number(0.0), number(_LARGEST_LOG)
            return [
                f"CASE WHEN {d} > {top} THEN NULL WHEN {d} < {low} THEN {zero} ELSE EXP({d}) END" for d in decisions
            ]
        if link == "softmax" and len(decisions) > 1:
            most = f"GREATEST({', '.join(decisions)})"
            parts = [f"EXP(GREATEST({low}, {d} - {most}))" for d in decisions]
            return [f"{part} / ({' + '.join(parts)})" for part in parts]
        return [one] if link == "softmax" else decisions


def _selected(items: Sequence[str]) -> str:
    return "    SELECT\n        " + ",\n        ".join(items)


def _case(lines: Sequence[str], otherwise: str) -> str:
    if not lines:
        return f"    SELECT {otherwise}"
    return "    SELECT CASE\n" + "\n".join(lines) + f"\n        ELSE {otherwise}\n    END"


def _refuse_mixed(features: Features) -> None:
    for column in features.columns:
        if cell_type(features, column) == "mixed":
            raise UnsupportedModelError(
                f"column {clipped(column)} has levels of several kinds ({shown(levels_of(features, column))}), and a column "
                "of SQL holds one. Recode it, or write a .py or .json file."
            )


def _refuse_alike(names: Sequence[str], dialect: str) -> None:
    """Raise if two names differ in case only, where the dialect takes them for one."""
    if dialect == "postgres":
        return
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise UnsupportedModelError(
                f"{dialect} does not tell the columns {clipped(other)} and {clipped(name)} apart, which differ in case "
                "only. Rename one."
            )
