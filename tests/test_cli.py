"""The command line: what a user types, and what comes back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import relucidate as rl
from relucidate.cli_parts import _counted, spoken
from relucidate.cli_views import printed
from relucidate.examples import home_lending
from relucidate.unwrapping import Progress
from small_networks import random_network

LOANS = home_lending()
MODEL, TRAIN, TEST = str(LOANS.model), str(LOANS.train), str(LOANS.test)


def run(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "relucidate", *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_version_and_help(tmp_path):
    assert run("--version", cwd=tmp_path).stdout.strip() == f"relucidate {rl.__version__}"
    assert "unwrap" in run("--help", cwd=tmp_path).stdout


def test_inspect(tmp_path):
    out = run("inspect", MODEL, cwd=tmp_path).stdout
    assert "12 → 8 → 4 → 1" in out
    assert "credit_score" in out
    about = json.loads(run("inspect", MODEL, "--json", cwd=tmp_path).stdout)
    assert (about["link"], about["neurons"], about["inputs"]) == ("logit", 12, 12)
    assert about["proof"]["n"] >= 256
    assert len(about["sha256"]) == 64


def test_unwrap_writes_what_python_gives(tmp_path):
    done = run("unwrap", MODEL, TRAIN, "--target", "default", "-o", "out", cwd=tmp_path)
    assert "331 activation regions" in done.stdout
    u = rl.unwrap(rl.load(LOANS.model), LOANS.train, "default")
    written = pd.read_parquet(tmp_path / "out" / "regions.parquet").set_index("region")
    pd.testing.assert_frame_equal(written, u.table(), check_exact=True)
    assert np.array_equal(pd.read_parquet(tmp_path / "out" / "assignments.parquet")["region"], u.region_of)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["rows"], summary["regions"]) == (20_000, 331)
    assert summary["exactness"]["max_relative"] <= 1e-10
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    again = run("unwrap", MODEL, TRAIN, "-o", "out", cwd=tmp_path, code=2)
    assert "earlier result" in again.stderr
    silent = run("unwrap", MODEL, TRAIN, "-o", "out", "--overwrite", "--quiet", cwd=tmp_path)
    assert (silent.stdout, silent.stderr) == ("", "")
    parsed = json.loads(run("unwrap", MODEL, TRAIN, "-o", "two", "--json", cwd=tmp_path).stdout)
    assert parsed["regions"] == 331


def test_demo_and_report_write_one_page(tmp_path):
    out = run("demo", cwd=tmp_path).stdout
    assert "331 activation regions" in out
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "credit_score" in page
    run("report", MODEL, TRAIN, "-t", "default", "-o", "mine.html", "--quiet", cwd=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.html", "mine.json", "report.html", "report.json"]
    facts = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert facts["schema"] == "relucidate report 1"
    assert {"label": "local linear models", "value": "331"} in facts["summary"]["facts"]


def test_a_report_takes_other_rows_and_writes_over_nothing_but_a_report(tmp_path):
    other = ("--test", TEST, "--expect", "credit_score=-", "--protected", "age_group")
    run("report", MODEL, TRAIN, "-t", "default", *other, "-o", "page.html", "-q", cwd=tmp_path)
    before = (tmp_path / "page.json").read_bytes()
    run("report", MODEL, TRAIN, "-t", "default", *other, "-o", "page.html", "-q", cwd=tmp_path)
    assert (tmp_path / "page.json").read_bytes() == before
    (tmp_path / "page.json").write_text('{"mine": 1, "schema": "of my own"}', encoding="utf-8")
    page = (tmp_path / "page.html").read_bytes()
    done = run("report", MODEL, TRAIN, "-o", "page.html", cwd=tmp_path, code=2)
    assert "page.json is there and is no report" in done.stderr
    assert json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))["mine"] == 1
    assert (tmp_path / "page.html").read_bytes() == page
    done = run("report", MODEL, TRAIN, "-o", "x.html", "--expect", "credit_score=down", cwd=tmp_path, code=2)
    assert "credit_score=down" in done.stderr
    done = run("report", MODEL, TRAIN, "-t", "default", "-o", "x.html", "--protected", "nobody", cwd=tmp_path, code=2)
    assert "nobody" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["page.html", "page.json"]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "empty"), (b"\x80\x04\x95.", "pickle"), (b"hello world", "not"), (b"\x89PNG\r\n\x1a\n0000", "PNG")],
)
def test_what_is_no_model_is_refused_in_one_sentence(content, words, tmp_path):
    (tmp_path / "model.onnx").write_bytes(content)
    done = run("unwrap", "model.onnx", TRAIN, "-o", "out", cwd=tmp_path, code=2)
    assert words in done.stderr
    assert "model.onnx" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_bad_tables_and_places_are_refused_and_leave_nothing(tmp_path):
    frame = pd.read_parquet(TRAIN).head(100)
    frame.drop(columns="credit_score").to_csv(tmp_path / "lacking.csv", index=False)
    frame.astype({"loan_to_value": object}).replace({"loan_to_value": {frame["loan_to_value"][7]: "1,234"}}).to_csv(
        tmp_path / "comma.csv", index=False
    )
    frame.head(0).to_csv(tmp_path / "none.csv", index=False)
    (tmp_path / "taken").write_text("mine")
    before = sorted(p.name for p in tmp_path.iterdir())
    cases = [
        (["lacking.csv", "-o", "out"], "credit_score"),
        (["comma.csv", "-o", "out"], "1,234"),
        (["none.csv", "-o", "out"], "no rows"),
        (["missing.csv", "-o", "out"], "missing.csv"),
        ([TRAIN, "-t", "defolt", "-o", "out"], "defolt"),
        ([TRAIN, "-o", "taken"], "file"),
        ([TRAIN, "-o", "no/such/place"], "no folder"),
    ]
    for arguments, words in cases:
        assert words in run("unwrap", MODEL, *arguments, cwd=tmp_path, code=2).stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.fixture
def long_run(tmp_path):
    """A table that takes ten seconds or more, and the process that unwraps it, well under way."""
    frame = pd.read_parquet(TRAIN)
    pd.concat([frame] * 60).to_parquet(tmp_path / "rows.parquet", index=False)
    command = [sys.executable, "-m", "relucidate", "unwrap", MODEL, *["rows.parquet"] * 20, "-o", "out"]
    child = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # a process that ignores interrupts, as test runners' workers do, would hand that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".relucidate-tmp-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(2)  # past the imports, where Python may swallow an interrupt
    yield child, tmp_path
    child.kill()
    child.communicate()


def test_an_interrupt_says_what_was_not_done(long_run):
    child, folder = long_run
    child.send_signal(signal.SIGINT)
    _, message = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "nothing was written" in message
    assert [p.name for p in folder.iterdir()] == ["rows.parquet"]


def test_kill_leaves_nothing_under_the_final_name(long_run):
    child, folder = long_run
    os.kill(child.pid, signal.SIGKILL)
    child.communicate(timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert not (folder / "out").exists()


def test_tables_fit_the_terminal(monkeypatch):
    frame = pd.DataFrame({f"column_{i}": np.arange(40) for i in range(9)})
    everything = printed(frame)
    assert "column_8" in everything
    assert everything.endswith("… and 10 more rows: -o table.csv writes all")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    lines = printed(frame).splitlines()
    assert max(map(len, lines[:-1])) <= 40
    assert lines[0].split() == ["column_0", "column_1", "column_2", "column_3"]
    assert lines[-1] == "… and 5 more columns, 10 more rows: -o table.csv writes all"
    monkeypatch.setenv("COLUMNS", "3")
    assert printed(frame.head(3)).splitlines()[-1] == "… and 8 more columns: -o table.csv writes all"
    monkeypatch.setenv("COLUMNS", "500")
    assert printed(frame) == everything


def test_progress_is_counted_in_rows():
    p = Progress(24_000, None, 7_782, 10)
    assert _counted(p) == {"description": "7,782 regions", "rows": "24,000 rows"}
    assert _counted(Progress(1, 30_000, 1, 10)) == {"description": "1 region", "rows": "1 of 30,000 rows"}


@pytest.mark.parametrize(
    ("python", "shell"),
    [
        ("out exists; say overwrite=True to replace it.", "out exists; say --overwrite to replace it."),
        ("load the model with link='identity'.", "load the model with --link identity."),
        ("sample_weight must be finite", "--weight must be finite"),
        ("Give feature_names when", "Give --features when"),
        ("'sample_weight' and 'a link=b' are columns", "'sample_weight' and 'a link=b' are columns"),
        ("the network's rows: sample_weight isn't", "the network's rows: --weight isn't"),
        ("Ask for partial_dependence, which", "Ask for partial-dependence, which"),
        ("Take integrated_gradients, or allow it: max_players=18.", "Take integrated-gradients."),
        ("Give output= the tensor", "Give --output the tensor"),
        ("Load with output='net.0/Gemm'.", "Load with --output net.0/Gemm."),
        ("Take architecture='4,3' here", "Take --architecture 4,3 here"),
    ],
)
def test_errors_speak_of_options(python, shell):
    assert spoken(python) == shell


@pytest.mark.parametrize("text", ['{"a": [1, 2]}', '[{"a": 1}]', " [[1, 2]]", '{ "a": 1}\n{"a": 2}\n'])
def test_json_is_no_table(text, tmp_path):
    (tmp_path / "t.json").write_text(text)
    message = run("unwrap", MODEL, "t.json", "-o", "out", cwd=tmp_path, code=2).stderr
    assert "t.json is JSON; expected Parquet or CSV" in message


def test_names_in_brackets_are_no_json(tmp_path):
    for header in ("[a],b", '"{a}",b', "{a},b"):
        (tmp_path / "t.csv").write_text(f"{header}\n1,2\n")
        assert len(rl.unwrap(random_network([2, 3, 1]), tmp_path / "t.csv").sample.x) == 1


def test_onnxruntime_sends_nothing(tmp_path):
    script = "from relucidate.cli import main; main()"
    env = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | {"HOME": "/proc/x"}
    done = subprocess.run(
        [sys.executable, "-c", script, "inspect", MODEL],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "equals onnxruntime" in done.stdout
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_sentence(tmp_path):
    pd.read_parquet(TRAIN).to_csv(tmp_path / "rows.csv", index=False)
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000)); "
    start = "import sys; sys.dont_write_bytecode = True; from relucidate.cli import main; main()"
    cases = [
        ("null", ("diagnose", "reliability", MODEL, "rows.csv", "-q", "-o", "x.png"), "temporary file in"),
        ("null", ("diagnose", "reliability", MODEL, TRAIN, "-q", "-o", "x.pdf"), "x.pdf could not be completed"),
        ("null", ("diagnose", "reliability", MODEL, TRAIN, "-q", "-o", "x.png"), "x.png could not be completed"),
        ("full", ("inspect", MODEL, "--json"), "No space left"),
    ]
    for device, arguments, words in cases:
        with open(f"/dev/{device}", "w") as stdout:
            done = subprocess.run(
                [sys.executable, "-c", ("" if device == "full" else limited) + start, *arguments],
                cwd=tmp_path,
                stdout=stdout,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert words in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["rows.csv"]


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_who_has_enough_ends_it(tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "relucidate", "inspect", MODEL], cwd=tmp_path, stdout=write, stderr=subprocess.PIPE,
        text=True, check=False,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
