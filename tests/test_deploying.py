"""Simplified models run elsewhere, exactly as they are: ONNX, Python alone, SQL, JSON and scorecards."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from relucidate import deploying, deploying_json, deploying_onnx, deploying_python, deploying_sql, export, simplify
from relucidate.deploying import Deployed, deployed, read_json, scorecard
from relucidate.deploying_model import compare, probe, settled
from relucidate.errors import (
    ArgumentError,
    MalformedModelError,
    MissingDependencyError,
    OutputError,
    UnfaithfulError,
    UnsupportedModelError,
    ValueInDataError,
)
from relucidate.features import Feature, Features
from relucidate.layers import Activation, Layer
from relucidate.network import Faithfulness, Network, assert_faithful
from relucidate.simplified import ByCentre, ByPattern, ByRule, Simplified
from relucidate.trees import Tree
from relucidate.unwrapping import unwrap

FORMATS = ("m.onnx", "m.py", "m.sql", "m.json", "m.csv")

# ---------------------------------------------------------------- specimens

HOSTILE = ('"; DROP TABLE rows;--', "it's `x`\n\\'", '"""\n\\', "é\u2028\u202e", "=1+1")


def unsaid() -> Faithfulness:
    return assert_faithful("", np.zeros((1, 1)), np.zeros((1, 1)), tolerance=1.0, against="")


def categories() -> Features:
    """Numbers, one of them imputed with an indicator; levels of text, numbers and booleans, missing, pooled, unknown."""
    items = (
        Feature("income", "income"),
        Feature("debt", "debt", impute=2.5),
        Feature("debt missing", "debt", "missing"),
        Feature("purpose=car", "purpose", "level", ("car",), "boat"),
        Feature("purpose=boat or none", "purpose", "level", ("boat", "none's"), "boat"),
        Feature("purpose other", "purpose", "other", ("car", "boat", "none's"), "boat"),
        Feature("grade=1", "grade", "level", (1,)),
        Feature("grade=2.5", "grade", "level", (2.5,)),
        Feature("grade none", "grade", "level", (float("nan"),)),
        Feature("owner", "owner", "level", (True,)),
    )
    known = (("purpose", ("car", "boat", "none's")), ("grade", (1, 2.5, 3, float("nan"))))
    return Features(items, ("income", "debt", "purpose", "grade", "owner"), True, known)


def hostile() -> Features:
    """Names and levels that are code in one language or another."""
    items = tuple(Feature(f"{name}: {name}", name, "level", HOSTILE[:3]) for name in HOSTILE[:2])
    return Features((*items, *(Feature(name, name) for name in HOSTILE[2:])), HOSTILE, True)


def rules(d: int, rng: Any, *, leaves: int = 5, oblique: bool = False) -> ByRule:
    leaf = np.array([int(rng.integers(s + 1)) for s in range(leaves - 1)], dtype=np.intp)
    direction = np.zeros((leaves - 1, d))
    for s, row in enumerate(direction):
        row[s % d] = 1.0
        if oblique and s % 2:
            row[:] = rng.normal(size=d)
    threshold = np.round(rng.normal(size=leaves - 1) * 0.3, 2)
    return ByRule(Tree(leaf, direction, threshold, np.ones(leaves - 1)), rng.permutation(np.arange(leaves) % 3))


def centres(d: int, rng: Any) -> ByCentre:
    return ByCentre(rng.normal(size=(4, d)), rng.uniform(0.5, 2.0, size=d), np.array([0, 2, 1, 2]))


def make(
    features: Features | None = None,
    *,
    link: Any = "logit",
    outputs: int = 1,
    route: str = "axis",
    seed: int = 0,
    classes: tuple[Any, ...] = (),
) -> Simplified:
    """Models that nobody fitted."""
    features = features or Features.plain(4)
    rng = np.random.default_rng(seed)
    d = len(features)
    if route == "centre":
        led: Any = centres(d, rng)
    elif route == "one":
        led = ByRule(Tree(np.zeros(0, np.intp), np.zeros((0, d)), np.zeros(0), np.zeros(0)), np.zeros(1, np.intp))
    else:
        led = rules(d, rng, oblique=route == "oblique")
    output = Layer(np.zeros((outputs, d)), np.zeros(outputs), Activation.of_kind("identity", outputs))
    network = Network((output,), features, link, classes)
    k = 1 if route == "one" else 3
    coef, intercept = rng.normal(size=(k, outputs, d)), rng.normal(size=(k, outputs))
    return Simplified(network, "tree", led, coef, intercept, np.arange(1, k + 1), unsaid(), {"auc": (0.8, 0.9)})


CASES: dict[str, Simplified] = {
    "axis": make(),
    "oblique": make(route="oblique"),
    "centre": make(route="centre"),
    "one": make(route="one"),
    "classes": make(outputs=3, link="softmax", classes=("a", "b;--", 3)),
    "classes by centre": make(outputs=3, link="softmax", route="centre"),
    "regression": make(link="identity"),
    "two values": make(link="identity", outputs=2),
    "counts": make(link="log"),
    "labels": make(link="logit", outputs=2),
    "categories": make(categories()),
    "categories by centre": make(categories(), route="centre"),
    "categories, oblique": make(categories(), route="oblique"),
    "hostile": make(hostile(), outputs=2, link="softmax", classes=("'\"`\\", "=x\n")),
}
every = pytest.mark.parametrize("name", CASES)


def table(s: Simplified, n: int = 300) -> np.ndarray[Any, Any]:
    """Rows in the user's columns, on thresholds and elsewhere, where rounding decides nothing."""
    model = deployed(s)
    cells = probe(model, n)
    return cells[settled(model, model.features.encode(cells))]


def agree(got: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(got, dtype=float).reshape(expected.shape), expected, rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------- the same predictions everywhere


@every
def test_onnx(name: str, tmp_path: Path) -> None:
    import onnxruntime as ort

    s = CASES[name]
    path = export(s, tmp_path / "m.onnx")
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    cells = table(s)
    x = s.features.encode(cells)
    agree(session.run(None, {"input": x})[0], s.predict(cells))
    agree(session.run(["prediction"], {"input": x[:1]})[0], s.predict(cells[:1]))
    held = session.get_modelmeta().custom_metadata_map
    assert json.loads(held["relucidate.feature_names"]) == list(s.features.names)
    assert json.loads(held.get("relucidate.classes", "[]")) == list(s.network.classes)


@every
def test_onnx_without_onnxruntime(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    s = CASES[name]
    cells = table(s)
    written = export(s, tmp_path / "m.onnx").read_bytes()
    agree(deploying_onnx.run(written, s.features.encode(cells)), s.predict(cells))


def test_thresholds_are_exact_in_onnx(tmp_path: Path) -> None:
    s = make(Features.plain(1), route="axis", link="identity")
    at = s.route.tree.threshold  # type: ignore[union-attr]
    x = np.concatenate([at, np.nextafter(at, -9), np.nextafter(at, 9)])[:, None]
    agree(deploying_onnx.run(export(s, tmp_path / "m.onnx").read_bytes(), x), s.predict(x))


def in_python(path: Path, program: str, stdin: str = "") -> str:
    """What a bare Python without packages prints."""
    command = [sys.executable, "-I", "-S", *([str(path)] if not program else ["-c", program, str(path)])]
    done = subprocess.run(command, input=stdin.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


PROGRAM = """
import json, runpy, sys
module = runpy.run_path(sys.argv[1], run_name="module")
rows = json.load(sys.stdin)
for what in ("predict", "decision"):
    by_name = [module[what](dict(zip(module["COLUMNS"], row))) for row in rows]
    assert by_name == [module[what](row) for row in rows]
    print(json.dumps(by_name))
assert not {"numpy", "relucidate"} & set(sys.modules)
"""


@every
def test_python(name: str, tmp_path: Path) -> None:
    s = CASES[name]
    cells = table(s)
    path = export(s, tmp_path / "m.py")
    predicted, decided = in_python(path, PROGRAM, json.dumps(cells.tolist())).splitlines()
    agree(json.loads(predicted), s.predict(cells))
    agree(json.loads(decided), s.decision(cells))


@every
def test_python_reads_csv(name: str, tmp_path: Path) -> None:
    s = CASES[name]
    cells = table(s, 100)
    given = io.StringIO(newline="")
    writer = csv.writer(given)
    writer.writerow(["note", *s.features.columns])
    writer.writerows([f"row {i}", *row] for i, row in enumerate(cells.tolist()))
    out = list(csv.reader(io.StringIO(in_python(export(s, tmp_path / "m.py"), "", given.getvalue()), newline="")))
    k = s.coef.shape[1]
    added = ["prediction"] if k == 1 else [f"prediction_{o}" for o in s.network.outputs]
    assert out[0] == ["note", *s.features.columns, *added]
    agree([row[-k:] for row in out[1:]], s.predict(cells))


def in_duckdb(s: Simplified, statement: str, cells: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return deploying_sql.run(deployed(s), statement, "duckdb", "rows", cells)


@every
def test_sql(name: str, tmp_path: Path) -> None:
    s = CASES[name]
    cells = table(s)
    agree(in_duckdb(s, export(s, tmp_path / "m.sql").read_text(), cells), s.predict(cells))


@every
@pytest.mark.parametrize("dialect", ["postgres", "spark"])
def test_sql_of_other_dialects(name: str, dialect: Any, tmp_path: Path) -> None:
    s = CASES[name]
    cells = table(s)
    text = export(s, tmp_path / "m.sql", dialect=dialect).read_text()
    if dialect == "postgres":
        agree(in_duckdb(s, text, cells), s.predict(cells))


@pytest.mark.parametrize("name", ["categories", "oblique", "centre", "hostile"])
def test_sql_on_many_rows_of_a_table(name: str, tmp_path: Path) -> None:
    import duckdb

    s = CASES[name]
    cells = table(s, 10_000)
    frame = pd.DataFrame(cells, columns=list(s.features.columns)).convert_dtypes()
    frame["number"] = np.arange(len(frame))
    with duckdb.connect() as connection:
        connection.register("rows", frame)
        found = connection.execute(export(s, tmp_path / "m.sql").read_text()).df().sort_values("number")
    k = s.coef.shape[1]
    assert list(found.columns)[: len(frame.columns)] == list(frame.columns)
    agree(found.iloc[:, -k:].to_numpy(), s.predict(cells))


@every
def test_json(name: str, tmp_path: Path) -> None:
    s = CASES[name]
    back = read_json(export(s, tmp_path / "m.json"))
    cells = table(s)
    for what in ("assign", "decision", "predict"):
        assert getattr(back, what)(cells).tobytes() == getattr(s, what)(cells).tobytes()
    assert (back.link, back.outputs, back.n_models) == (s.network.link, s.network.outputs, s.n_models)
    assert repr((back.features, back.classes)) == repr((s.features, s.network.classes))
    assert (back.method, back.scores) == ("tree", {"auc": (0.8, 0.9)})
    if s.network.is_classifier:
        assert back.predict_proba(cells).tobytes() == s.predict_proba(cells).tobytes()
    else:
        with pytest.raises(ArgumentError, match="there are no class probabilities"):
            back.predict_proba(cells)


# ---------------------------------------------------------------- fitted models


def fitted() -> list[Simplified]:
    from sklearn.datasets import load_iris
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    from relucidate import examples, load

    x, y = load_iris(return_X_y=True)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        three = MLPClassifier((8,), max_iter=60, random_state=0).fit(x, y)
        value = MLPRegressor(hidden_layer_sizes=(8,), max_iter=60, random_state=0).fit(x[:, :3], x[:, 3])
    lending = examples.home_lending()
    frame = pd.read_parquet(lending.train).head(2_000)
    u = unwrap(load(lending.model), frame, frame[lending.target])
    return [
        simplify.tree(unwrap(load(three), x), n_models=3, oblique=True),
        simplify.cells(unwrap(load(value), x[:, :3]), n_models=3),
        simplify.tree(u, n_models=4, oblique=False),
        simplify.single(u),
    ]


def test_fitted_models_in_every_format(tmp_path: Path) -> None:
    for s in fitted():
        for name in FORMATS:
            if name != "m.csv" or s.coef.shape[1] == 1:
                assert export(s, tmp_path / name) == tmp_path / name
        cells = table(s, 200)
        agree(in_duckdb(s, (tmp_path / "m.sql").read_text(), cells), s.predict(cells))
        agree(deploying_python.run((tmp_path / "m.py").read_text())(cells), s.predict(cells))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FORMATS)


# ---------------------------------------------------------------- rows that are refused


BAD = [
    ("income", None),
    ("income", float("inf")),
    ("purpose", "plane"),
    ("grade", 7),
]


@pytest.mark.parametrize(("column", "cell"), BAD)
def test_what_the_models_refuse_is_refused(column: str, cell: Any, tmp_path: Path) -> None:
    s = CASES["categories"]
    cells = table(s)[:3]
    cells[1, s.features.columns.index(column)] = cell
    with pytest.raises(ValueInDataError):
        s.predict(cells)
    got = in_duckdb(s, export(s, tmp_path / "m.sql").read_text(), cells)
    assert np.isnan(got[:, 0]).tolist() == [False, True, False]
    with pytest.raises(ValueError, match=f"column '{column}' holds"):
        deploying_python.run(export(s, tmp_path / "m.py").read_text())(cells)


def test_python_names_what_a_row_lacks(tmp_path: Path) -> None:
    module: dict[str, Any] = {"__name__": "module"}
    exec(export(CASES["axis"], tmp_path / "m.py").read_text(), module)
    with pytest.raises(KeyError, match="x3"):
        module["predict"]({"x0": 1.0, "x1": 1.0, "x2": 1.0})


def test_far_decisions(tmp_path: Path) -> None:
    s = make(Features.plain(2), route="one")
    cells = np.array([[1e4, 0.0], [-1e4, 0.0], [3.0, 2.0]], dtype=object)
    for run in (
        lambda: in_duckdb(s, export(s, tmp_path / "m.sql").read_text(), cells),
        lambda: deploying_python.run(export(s, tmp_path / "m.py").read_text())(cells),
    ):
        np.testing.assert_allclose(run(), s.predict(cells), rtol=1e-9, atol=1e-300)


# ---------------------------------------------------------------- dialects


def golden(dialect: Any) -> str:
    features = Features(
        (Feature("a", 'a"`'), Feature("b", "b", "level", ("it's\\", "${x}")), Feature("c", "c", impute=-0.1)),
        ('a"`', "b", "c"),
        True,
    )
    s = make(features, route="one")
    return deploying_sql.write(deployed(s), dialect=dialect, table=["s", "t"])


SAID = {
    "duckdb": (
        'FROM "s"."t" AS the_row',
        'NULLIF(CAST(the_row."a""`" AS DOUBLE), CAST(\'NaN\' AS DOUBLE)) AS "a"',
        "CASE WHEN the_row.\"b\" IN ('it''s\\', '${x}') THEN 1E0 ELSE 0E0 END AS \"b\"",
        'COALESCE(NULLIF(CAST(the_row."c" AS DOUBLE), CAST(\'NaN\' AS DOUBLE)), (-0.1E0)) AS "c"',
    ),
    "postgres": (
        'FROM "s"."t" AS the_row',
        'NULLIF(CAST(the_row."a""`" AS DOUBLE PRECISION), CAST(\'NaN\' AS DOUBLE PRECISION)) AS "a"',
        "CASE WHEN the_row.\"b\" IN (E'it''s\\\\', '${x}') THEN '1.0'::float8 ELSE '0.0'::float8 END AS \"b\"",
        "'-0.1'::float8) AS \"c\"",
    ),
    "spark": (
        "FROM `s`.`t` AS the_row",
        "NULLIF(CAST(the_row.`a\"``` AS DOUBLE), CAST('NaN' AS DOUBLE)) AS `a`",
        "CASE WHEN the_row.`b` IN ('it\\'s\\\\', '\\u0024{x}') THEN 1D ELSE 0D END AS `b`",
        "(-0.1D)) AS `c`",
    ),
}


@pytest.mark.parametrize("dialect", SAID)
def test_words_of_a_dialect(dialect: str) -> None:
    text = golden(dialect)
    for part in SAID[dialect]:
        assert part in text


@pytest.mark.parametrize("dialect", SAID)
@pytest.mark.parametrize("name", ["classes by centre", "categories", "oblique"])
def test_a_parser_of_the_dialect_reads_it(name: str, dialect: Any) -> None:
    import sqlglot

    assert sqlglot.parse_one(deploying_sql.write(deployed(CASES[name]), dialect=dialect), read=dialect)


def test_every_number_is_a_double(tmp_path: Path) -> None:
    import duckdb

    words = deploying_sql._Words("duckdb")
    for value in (0.1, -0.0, 5e-324, 1.7976931348623157e308, 1e22, 1 / 3, 123456789.123456789):
        kind, back = duckdb.execute(f"SELECT typeof({words.number(value)}), {words.number(value)}").fetchall()[0]
        assert (kind, back) == ("DOUBLE", value)


def test_features_whose_names_differ_in_case_only_are_numbered(tmp_path: Path) -> None:
    items = tuple(Feature(f"c={v}", "c", "level", (v,)) for v in ("Car", "car"))
    s = make(Features(items, ("c",), True), route="one")
    text = export(s, tmp_path / "m.sql").read_text()
    assert 'AS "x0"' in text
    assert in_duckdb(s, text, np.array([["Car"], ["car"], ["van"]], dtype=object))[:, 0] == pytest.approx(
        s.predict(np.array([["Car"], ["car"], ["van"]], dtype=object))[:, 0]
    )


def named(*names: str) -> Simplified:
    return make(Features.plain(len(names), names), route="one")


@pytest.mark.parametrize(
    ("s", "dialect", "message"),
    [
        (named(""), "duckdb", r"the name '' is empty\. Rename it"),
        (named("a\0b"), "duckdb", "holds the character NUL"),
        (named("\ud800"), "duckdb", "is no valid text"),
        (named("é" * 32), "postgres", "is 64 bytes long, of which Postgres keeps 63"),
        (named("${a}"), "spark", "which Spark takes for a variable"),
        (named("a", "A"), "duckdb", "duckdb does not tell the columns 'a' and 'A' apart"),
        (make(Features((Feature("a", "a", "level", ("x\0",)),), ("a",), True)), "spark", "holds what SQL cannot"),
        (
            make(Features((Feature("a", "a", "level", ("x", 1)),), ("a",), True)),
            "duckdb",
            r"levels of several kinds \('x', 1\), and a column of SQL holds one",
        ),
    ],
)
def test_names_that_a_dialect_cannot_hold(s: Simplified, dialect: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=message):
        export(s, tmp_path / "m.sql", dialect=dialect)
    assert list(tmp_path.iterdir()) == []
    for name in ("m.py", "m.json"):
        export(s, tmp_path / name)


def test_outputs_whose_names_differ_in_case_only(tmp_path: Path) -> None:
    s = make(outputs=2, link="softmax", classes=("a", "A"))
    with pytest.raises(UnsupportedModelError, match="'prediction_a' and 'prediction_A' apart"):
        export(s, tmp_path / "m.sql")


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_read_is_written_again(name: str, tmp_path: Path) -> None:
    s = CASES["categories by centre"]
    back = read_json(export(s, tmp_path / "first.json"))
    assert export(back, tmp_path / f"again {name}").read_bytes() == export(s, tmp_path / name).read_bytes()
    assert (scorecard(back).score(table(s)) == scorecard(s).score(table(s))).all()


def test_postgres_tells_case_apart(tmp_path: Path) -> None:
    assert '"A"' in deploying_sql.write(deployed(named("a", "A")), dialect="postgres")


# ---------------------------------------------------------------- scorecards


def test_a_scorecard_says_odds() -> None:
    s = make(route="axis")
    cells = table(s)
    score = scorecard(s).score(cells)
    odds = np.exp(-s.decision(cells)[:, 0])
    np.testing.assert_allclose(score, 600 + 20 * np.log2(odds / 50), rtol=1e-12)
    other = scorecard(s, points_to_double=-30, base_points=500.0, base_odds=1).score(cells)
    np.testing.assert_allclose(other, 500 + 30 * np.log2(1 / odds), rtol=1e-12)
    np.testing.assert_allclose(
        scorecard(make(link="identity")).score(cells), make(link="identity").decision(cells)[:, 0]
    )


@pytest.mark.parametrize("name", ["axis", "centre", "categories", "regression", "one"])
def test_a_scorecard_adds_up_from_its_file(name: str, tmp_path: Path) -> None:
    s = CASES[name]
    card = scorecard(s)
    assert card.write(tmp_path / "card.csv") == tmp_path / "card.csv"
    back = pd.read_csv(tmp_path / "card.csv", keep_default_na=False)
    assert list(back.columns) == ["segment", "rule", "part", "feature", "points"]
    pd.testing.assert_series_equal(back["points"], card.to_frame()["points"], rtol=1e-14)
    cells = table(s)
    model, x = s.assign(cells), s.features.encode(cells)
    base = back[back["part"] == "base"].set_index("segment")["points"]
    unit = back[back["part"] == "per unit"]["points"].to_numpy().reshape(s.n_models, -1)
    np.testing.assert_allclose(base[model].to_numpy() + (x * unit[model]).sum(axis=1), card.score(cells), rtol=1e-12)
    assert back["feature"][1] == s.features.names[0]


def test_cells_of_a_scorecard_are_no_formulas(tmp_path: Path) -> None:
    s = make(Features.plain(3, ("=1+1", "@x\r", "-a")), route="axis")
    rows = list(csv.reader(io.StringIO(export(s, tmp_path / "m.csv").read_bytes().decode(), newline="")))
    assert [row[3] for row in rows[1:5]] == ["", "'=1+1", "'@x\r", "'-a"]
    assert not any(row[1].startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows)
    assert {float(row[4]) < 0 for row in rows[1:]} == {False, True}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points_to_double": 0}, "points_to_double is 0; expected the points in which odds double"),
        ({"base_odds": -1}, "base_odds is -1; odds are above 0"),
        ({"base_points": float("nan")}, "base_points is nan; expected a finite number"),
        ({"base_points": "600"}, "base_points is '600'; expected a finite number"),
    ],
)
def test_settings_of_a_scorecard(settings: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        scorecard(make(), **settings)


def test_a_scorecard_is_for_one_output() -> None:
    with pytest.raises(UnsupportedModelError, match="a scorecard is for one output; there are 3"):
        scorecard(CASES["classes"])


# ---------------------------------------------------------------- damaged JSON


def damaged(change: Callable[[Any], Any]) -> str:
    document = json.loads(deploying_json.write(deployed(CASES["categories"])))
    change(document)
    return json.dumps(document)


DAMAGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "lacks link": (lambda d: d.pop("link"), "it lacks 'link'"),
    "link": (lambda d: d.update(link="probit"), "link is 'probit'"),
    "models": (lambda d: d.update(models=[]), "does not fit"),
    "coef": (lambda d: d["models"][0]["coef"][0].pop(), "does not fit"),
    "text": (lambda d: d["models"][0].update(intercept=["1"]), "'1' is no finite number"),
    "large": (lambda d: d["models"][0].update(intercept=[10**400]), "does not fit"),
    "model": (lambda d: d["route"]["leaves"][0].update(model=9), "leads to model 9, and there are 3"),
    "leaf": (lambda d: d["route"]["splits"][0].update(leaf=4), "split 0 divides leaf 4 of 1"),
    "leaves": (lambda d: d["route"]["leaves"].pop(), "4 leaves of 4 splits"),
    "direction": (lambda d: d["route"]["splits"][0].update(direction={"who": 1.0}), "lacks 'who'"),
    "route": (lambda d: d["route"].update(kind="pattern"), "route.kind is 'pattern'"),
    "column": (lambda d: d["features"]["items"][0].update(column="who"), "'who' is not known"),
    "twice": (lambda d: d["features"]["items"][1].update(name="income"), "features.items has a name twice"),
    "empty": (lambda d: d["features"].update(items=[]), "features.items is empty"),
    "named": (lambda d: d["features"].update(named=1), "features.named is 1"),
    "impute": (lambda d: d["features"]["items"][1].update(impute="x"), "'x' that is imputed is text"),
    "level": (lambda d: d["features"]["items"][3].update(levels=[{"infinity": 2}]), "is no level"),
    "list level": (lambda d: d["features"]["items"][3].update(levels=[[1]]), "is no level"),
    "outputs": (lambda d: d.update(outputs=["a", "b"]), "2 output names for 1 outputs"),
    "classes": (lambda d: d.update(classes=["a"]), "1 classes for 1 outputs"),
    "notes": (lambda d: d.update(notes=[1]), "1 is no text"),
    "count": (lambda d: d["models"][0].update(count=-1), "-1 is no whole number"),
    "schema": (lambda d: d.update(schema="relucidate.network/1"), "Networks are read with relucidate.load"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_json(name: str, tmp_path: Path) -> None:
    change, message = DAMAGES[name]
    (tmp_path / "m.json").write_text(damaged(change))
    with pytest.raises(MalformedModelError, match=message) as caught:
        read_json(tmp_path / "m.json")
    assert str(tmp_path / "m.json") in str(caught.value)


def test_json_of_centres_needs_scales(tmp_path: Path) -> None:
    document = json.loads(deploying_json.write(deployed(CASES["centre"])))
    document["route"]["scale"]["x0"] = 0.0
    with pytest.raises(MalformedModelError, match="route needs centres, and scales above 0"):
        deploying_json.read(json.dumps(document))


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"schema": NaN}', "[" * 100_000])
def test_no_json_of_ours(text: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(MalformedModelError, match=r"it is no JSON|its schema is None"):
        read_json(tmp_path / "m.json")


def test_json_of_another_version(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"schema": "relucidate.simplified/2"}')
    with pytest.raises(UnsupportedModelError, match=r"its schema is 'relucidate\.simplified/2'; this relucidate reads"):
        read_json(tmp_path / "m.json")


def test_json_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MalformedModelError, match="cannot be read: No such file"):
        read_json(tmp_path / "m.json")
    (tmp_path / "m.json").write_bytes(b"\xff\xff")
    with pytest.raises(MalformedModelError, match="it is no UTF-8"):
        read_json(tmp_path / "m.json")


def test_levels_beyond_json_are_kept() -> None:
    levels = (float("inf"), float("-inf"), float("nan"), True, 2**60, "x")
    s = make(Features((Feature("a", "a", "level", levels),), ("a",), True), route="one", classes=(np.float64(0.5), "b"))
    back = deploying_json.read(deploying_json.write(deployed(s)))
    assert repr(back.features.items[0].levels) == repr(levels)
    assert back.classes == (0.5, "b")


# ---------------------------------------------------------------- what cannot be written


def test_patterns_need_the_network(tmp_path: Path) -> None:
    route = ByPattern(np.zeros((1, 1), dtype=np.uint8), np.zeros(1, dtype=np.intp))
    s = Simplified(**{**vars(make()), "route": route, "method": "merge"})
    with pytest.raises(
        UnsupportedModelError, match=r"'merge' are found by activation pattern.*simplify\.tree or cells"
    ):
        export(s, tmp_path / "m.onnx")
    with pytest.raises(ArgumentError, match=r"expected a Simplified, .*got a builtins\.int"):
        deployed(1)  # type: ignore[arg-type]


def test_coefficients_must_be_finite() -> None:
    s = make()
    s.coef[0, 0, 0] = np.inf
    with pytest.raises(UnsupportedModelError, match="a coefficient is not finite"):
        deployed(s)


@pytest.mark.parametrize("name", ["m.py", "m.json"])
def test_levels_that_no_file_holds(name: str, tmp_path: Path) -> None:
    odd: Any = (1, 2)
    s = make(Features((Feature("a", "a", "level", (odd,)),), ("a",), True))
    with pytest.raises(UnsupportedModelError, match="is a tuple; files hold text, numbers and booleans"):
        export(s, tmp_path / name)


def test_onnx_metadata_holds_finite_classes(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="only JSON files hold such labels"):
        export(make(classes=(0.0, float("inf"))), tmp_path / "m.onnx")


def test_models_too_large_for_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploying_onnx, "LARGEST", 10)
    with pytest.raises(UnsupportedModelError, match="an ONNX file holds at most 10"):
        deploying_onnx.write(deployed(make()))


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("m.txt", {}, r"'m\.txt' names no format; expected a name that ends in \.onnx, \.py"),
        ("m.py", {"format": "torch"}, "format='torch'; simplified models are written as 'onnx', 'python'"),
        ("m.py", {"format": "sql"}, r"format='sql', but a name that ends in \.py says 'python'"),
        (None, {}, "path is None; simplified models go to a file"),
        ("m.py", {"dialect": "spark"}, "dialect and table are for SQL; the format is 'python'"),
        ("m.sql", {"dialect": "oracle"}, "dialect is 'oracle'; expected one of 'duckdb', 'postgres', 'spark'"),
        ("m.sql", {"table": ""}, "table is empty"),
        ("m.sql", {"table": []}, "table is empty"),
    ],
)
def test_arguments(path: Any, options: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=message):
        export(make(), path and tmp_path / path, **options)
    assert list(tmp_path.iterdir()) == []


def test_format_may_be_named(tmp_path: Path) -> None:
    assert "CROSS JOIN LATERAL" in export(make(), tmp_path / "q.txt", format="sql", table=["s", "r"]).read_text()


def test_a_network_takes_no_options_of_sql(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a network has no use for: dialect"):
        export(make().network, tmp_path / "m.json", dialect="spark")


def test_sql_is_never_kept_unrun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(MissingDependencyError, match="SQL is run before it is kept, which needs duckdb"):
        export(make(), tmp_path / "m.sql")
    assert list(tmp_path.iterdir()) == []


def test_sql_that_does_not_run() -> None:
    with pytest.raises(UnsupportedModelError, match="cannot run what was written"):
        in_duckdb(make(), "SELECT nothing FROM nowhere", table(make(), 3))


def test_onnx_that_does_not_run() -> None:
    with pytest.raises(UnsupportedModelError, match="cannot run what was written"):
        deploying_onnx.run(b"no model", np.zeros((1, 4)))


# ---------------------------------------------------------------- nothing but what is right


def wrong(data: Any) -> Any:
    """What was written, with one digit changed."""
    if isinstance(data, bytes):
        value = np.float64(make().intercept[0, 0]).tobytes()
        return data.replace(value, np.float64(0.25).tobytes())
    return data.replace(repr(float(make().intercept[0, 0])), "0.25")


@pytest.mark.parametrize(
    ("name", "module"), [("m.onnx", deploying_onnx), ("m.py", deploying_python), ("m.sql", deploying_sql)]
)
def test_what_differs_is_withheld(name: str, module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = module.write
    monkeypatch.setattr(module, "write", lambda *a, **k: wrong(write(*a, **k)))
    (tmp_path / name).write_text("earlier")
    with pytest.raises(UnfaithfulError, match=r"predicts \[.* where the models predict \[.*It was withheld"):
        export(make(), tmp_path / name)
    assert (tmp_path / name).read_text() == "earlier"
    assert len(list(tmp_path.iterdir())) == 1


def test_json_that_differs_is_withheld(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = deploying_json.read
    monkeypatch.setattr(deploying_json, "read", lambda text: read(wrong(text)))
    with pytest.raises(UnfaithfulError, match="is not bit by bit what was written"):
        export(make(), tmp_path / "m.json")
    assert list(tmp_path.iterdir()) == []


def test_a_gap_is_a_difference() -> None:
    model = deployed(make())
    with pytest.raises(UnfaithfulError, match=r"the file: what was written predicts \[nan\]"):
        compare(model, "the file", probe(model), lambda cells: np.full(len(cells), np.nan))


@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_that_is_missing_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder"):
        export(make(), tmp_path / "none" / name)


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_bytes_every_time(name: str, tmp_path: Path) -> None:
    s = CASES["categories"]
    assert export(s, tmp_path / name).read_bytes() == export(s, tmp_path / name).read_bytes()


def test_the_probe_meets_every_threshold_and_level() -> None:
    s = CASES["categories"]
    model = deployed(s)
    cells = probe(model)
    assert set(cells[:, 2]) == {"car", "boat", "none's", None}
    assert set(cells[:, 3]) == {1, 2.5, 3, None}
    assert set(cells[:, 4]) >= {True, None}
    assert None in cells[:, 1]
    assert None not in cells[:, 0]
    tree = s.route.tree  # type: ignore[union-attr]
    for threshold, direction in zip(tree.threshold, tree.direction, strict=True):
        if direction[0] == 1:
            assert threshold in cells[:, 0]


@pytest.mark.parametrize("seed", range(5))
def test_the_probe_is_led_to_every_leaf(seed: int) -> None:
    """Cut each leaf of ten at a place inside it, so that all can be met."""
    rng = np.random.default_rng(seed)
    box = [(np.full(3, -50.0), np.full(3, 50.0))]
    leaf, direction, threshold = [], np.zeros((9, 3)), np.zeros(9)
    for s in range(9):
        cut, j = int(rng.integers(len(box))), int(rng.integers(3))
        low, high = box[cut]
        direction[s, j], threshold[s] = 1.0, rng.uniform(low[j], high[j])
        leaf.append(cut)
        up, down = low.copy(), high.copy()
        up[j] = down[j] = threshold[s]
        box[cut] = (low, down)
        box.append((up, high))
    route = ByRule(Tree(np.array(leaf), direction, threshold, np.ones(9)), np.arange(10))
    s = Simplified(**{**vars(make(Features.plain(3))), "route": route, "coef": np.ones((10, 1, 3))})
    s = Simplified(**{**vars(s), "intercept": np.arange(10.0)[:, None], "count": np.ones(10, dtype=np.int64)})
    assert set(s.assign(probe(deployed(s)))) == set(range(10))


def test_ties_within_rounding_are_left_out() -> None:
    route = ByCentre(np.array([[0.0], [1.0]]), np.ones(1), np.array([0, 1]))
    s = Simplified(**{**vars(make(Features.plain(1), route="one")), "route": route})
    model = Deployed(**{**vars(deployed(s)), "coef": np.ones((2, 1, 1)), "intercept": np.zeros((2, 1))})
    assert settled(model, np.array([[0.5], [0.6]])).tolist() == [False, True]
    oblique = deployed(make(route="oblique"))
    tree = oblique.route.tree  # type: ignore[union-attr]
    x = tree.direction[1] * tree.threshold[1] / (tree.direction[1] ** 2).sum()
    assert settled(oblique, np.stack([x, x + 0.1])).tolist() == [False, True]


def test_nothing_is_imported_for_nothing() -> None:
    program = "import sys, relucidate.deploying; print({'onnx', 'duckdb', 'pandas', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "set()"


def test_names_are_public() -> None:
    assert all(hasattr(deploying, name) for name in deploying.__all__)
