"""Files and folders appear whole under their final name or not at all, and no spreadsheet takes text for a formula."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from relucidate import outputs
from relucidate.errors import OutputError
from relucidate.outputs import atomic_file, atomic_folder, safe_cell, write_csv_atomically, write_parquet_atomically


def result(path: Path, text: str = "old") -> Path:
    """Write a small result of ours."""
    path.mkdir()
    fill(path, text)
    return path


def fill(folder: Path, text: str) -> None:
    (folder / "summary.json").write_text(json.dumps({"schema": "relucidate.unwrapped/1", "text": text}))
    (folder / "deep").mkdir()
    (folder / "deep" / "data").write_text(text)


def text_of(folder: Path) -> str:
    assert json.loads((folder / "summary.json").read_text())["text"] == (folder / "deep" / "data").read_text()
    return (folder / "deep" / "data").read_text()


# ---------------------------------------------------------------- folders


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as folder:
        fill(folder, "new")
        assert folder.name.startswith(outputs.TEMPORARY)
        assert not (tmp_path / "out").exists()
    assert text_of(tmp_path / "out") == "new"
    assert os.listdir(tmp_path) == ["out"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with atomic_folder(str(tmp_path / "out")) as folder:
        fill(folder, "new")
    assert text_of(tmp_path / "out") == "new"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_of_a_failure(raised: Any, tmp_path: Path) -> None:
    result(tmp_path / "out")
    with pytest.raises(raised), atomic_folder(tmp_path / "out", overwrite=True) as folder:  # noqa: PT012
        fill(folder, "new")
        raise raised("stop")
    assert text_of(tmp_path / "out") == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_an_earlier_result_is_replaced_only_when_told(tmp_path: Path) -> None:
    result(tmp_path / "out")
    with pytest.raises(OutputError, match=r"earlier result.*overwrite=True"), atomic_folder(tmp_path / "out"):
        pytest.fail("no work before the refusal")
    with atomic_folder(tmp_path / "out", overwrite=True) as folder:
        fill(folder, "new")
        assert text_of(tmp_path / "out") == "old"
    assert text_of(tmp_path / "out") == "new"
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("document", [None, "{", "[]", "{}", '{"schema": "other/1"}', '{"schema": 5}'])
def test_other_folders_are_never_replaced(document: str | None, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("dear")
    if document is not None:
        (tmp_path / "out" / "summary.json").write_text(document)
    with pytest.raises(OutputError, match="never replaced"), atomic_folder(tmp_path / "out", overwrite=True):
        pytest.fail("no work before the refusal")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "dear"


def test_leftovers_are_no_results(tmp_path: Path) -> None:
    assert outputs.is_result(result(tmp_path / "out"))
    assert not outputs.is_result(result(tmp_path / (outputs.TEMPORARY + "1")))
    assert not outputs.is_result(result(tmp_path / (outputs.REPLACED + "1")))
    assert not outputs.is_result(tmp_path / "none")


def refused_paths(tmp_path: Path) -> list[tuple[Path, str]]:
    (tmp_path / "file").write_text("dear")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    return [
        (tmp_path / "none" / "out", "there is no folder .*none. Create it first"),
        (tmp_path / "file" / "out", "file is a file"),
        (tmp_path / "link", "is a link to .*elsewhere"),
        (tmp_path / "dangling", "is a link to .*nowhere"),
        (tmp_path / ("x" * 300), "no path that can be written"),
        (Path("a\0b"), "no path that can be written"),
        (Path("/"), "folder|names no file"),
        (Path("/dev/null"), "not a regular file|is a file"),
    ]


def test_places_that_cannot_be_written_are_refused_before_any_work(tmp_path: Path) -> None:
    for path, message in refused_paths(tmp_path):
        with pytest.raises(OutputError, match=message), atomic_folder(path, overwrite=True):
            pytest.fail("no work before the refusal")
        with pytest.raises(OutputError, match=message), atomic_file(path):
            pytest.fail("no work before the refusal")
    with pytest.raises(OutputError, match="is a file; expected a folder"), atomic_folder(tmp_path / "file"):
        pytest.fail("no work before the refusal")
    with (
        pytest.raises(OutputError, match="is a folder; expected the name of a file"),
        atomic_file(tmp_path / "elsewhere"),
    ):
        pytest.fail("no work before the refusal")
    assert sorted(os.listdir(tmp_path)) == ["dangling", "elsewhere", "file", "link"]
    assert (tmp_path / "file").read_text() == "dear"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        for verb in (atomic_folder, atomic_file):
            with pytest.raises(OutputError, match="cannot be written: Permission denied"), verb(tmp_path / "out"):
                pytest.fail("no work before the refusal")
    finally:
        tmp_path.chmod(0o700)


def test_permission_denied_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(OutputError, match="cannot be written: Permission denied"), atomic_folder(tmp_path / "out"):
        pytest.fail("no work before the refusal")


@pytest.mark.parametrize(
    ("code", "message"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the quota is used up")]
)
def test_a_full_disk_keeps_what_was_there(code: int, message: str, tmp_path: Path) -> None:
    result(tmp_path / "out")
    (tmp_path / "file").write_text("old")
    with pytest.raises(OutputError, match=message), atomic_folder(tmp_path / "out", overwrite=True) as folder:  # noqa: PT012
        fill(folder, "new")
        raise OSError(code, "…")
    with pytest.raises(OutputError, match=message), atomic_file(tmp_path / "file") as path:  # noqa: PT012
        path.write_text("new")
        raise OSError(code, "…")
    assert text_of(tmp_path / "out") == "old"
    assert (tmp_path / "file").read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["file", "out"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_other_errors_pass_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "out") as folder:
        (folder / "none" / "x").write_text("")
    assert os.listdir(tmp_path) == []


def test_a_result_that_cannot_be_put_back_is_kept_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename

    def only_away(source: Any, target: Any) -> None:
        if Path(target).name == "out":
            raise PermissionError(errno.EACCES, "Permission denied")
        real(source, target)

    result(tmp_path / "out")
    monkeypatch.setattr(os, "rename", only_away)
    with (
        pytest.raises(OutputError, match=r"earlier result is kept as .*relucidate-old-"),
        atomic_folder(tmp_path / "out", overwrite=True) as folder,
    ):
        fill(folder, "new")
    (kept,) = tmp_path.iterdir()
    assert text_of(kept) == "old"


def test_what_was_put_into_an_empty_folder_meanwhile_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with (  # noqa: PT012
        pytest.raises(OutputError, match="never replaced"),
        atomic_folder(tmp_path / "out", overwrite=True) as folder,
    ):
        fill(folder, "new")
        (tmp_path / "out" / "thesis.txt").write_text("dear")
    assert os.listdir(tmp_path / "out") == ["thesis.txt"]


# ---------------------------------------------------------------- two at once, and kills


def test_of_two_runs_without_overwrite_the_second_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="earlier result"), atomic_folder(tmp_path / "out") as slow:  # noqa: PT012
        fill(slow, "slow")
        with atomic_folder(tmp_path / "out") as fast:
            fill(fast, "fast")
    assert text_of(tmp_path / "out") == "fast"
    assert os.listdir(tmp_path) == ["out"]


def test_many_runs_that_replace_one_result_leave_one_whole(tmp_path: Path) -> None:
    refused: list[str] = []

    def run(i: int) -> None:
        for k in range(15):
            try:
                with atomic_folder(tmp_path / "out", overwrite=True) as folder:
                    fill(folder, f"{i}.{k}")
            except OutputError as told:
                refused.append(str(told))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert text_of(tmp_path / "out")
    assert os.listdir(tmp_path) == ["out"]
    assert all("keeps changing" in text for text in refused), refused


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_run_leaves_the_old_result_or_a_whole_new_one(tmp_path: Path) -> None:
    out = result(tmp_path / "out")
    program = f"""
        from relucidate.outputs import atomic_folder
        import json, itertools
        print("go", flush=True)
        for i in itertools.count():
            with atomic_folder({str(out)!r}, overwrite=True) as folder:
                (folder / "deep").mkdir()
                (folder / "deep" / "data").write_text(f"run {{i}}")
                document = dict(schema="relucidate.unwrapped/1", text=f"run {{i}}")
                (folder / "summary.json").write_text(json.dumps(document))
    """
    rng = np.random.default_rng(0)
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE) as run:
            assert run.stdout is not None
            run.stdout.readline()
            time.sleep(rng.uniform(0, 0.1))
            run.send_signal(signal.SIGKILL)
        left = [p for p in tmp_path.iterdir() if p.name != "out"]
        assert all(p.name.startswith((outputs.TEMPORARY, outputs.REPLACED)) for p in left)
        whole = out if out.exists() else next(p for p in left if p.name.startswith(outputs.REPLACED))
        assert text_of(whole)
        if whole != out:
            whole.rename(out)


# ---------------------------------------------------------------- files


def test_a_file_appears_whole_and_keeps_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    with atomic_file(tmp_path / "report.html") as path:
        assert path.suffix == ".html"
        path.write_text("new")
        assert (tmp_path / "report.html").read_text() == "old"
    assert (tmp_path / "report.html").read_text() == "new"
    with pytest.raises(OutputError, match="exists"), atomic_file(tmp_path / "report.html", overwrite=False):
        pytest.fail("no work before the refusal")
    assert os.listdir(tmp_path) == ["report.html"]


def test_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    (tmp_path / "folder").mkdir()
    with atomic_file(tmp_path / "ours") as path:
        path.write_text("")
    with atomic_folder(tmp_path / "out") as folder:
        fill(folder, "new")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "folder").stat().st_mode


def test_parquet(tmp_path: Path) -> None:
    table = pa.table({"=x": [1.5, None], "y": ["=1", "b"]})
    for same in (table, table.to_pandas()):
        assert write_parquet_atomically(same, tmp_path / "t.parquet") == tmp_path / "t.parquet"
        assert pq.read_table(tmp_path / "t.parquet").to_pydict() == table.to_pydict()
    assert os.listdir(tmp_path) == ["t.parquet"]


# ---------------------------------------------------------------- spreadsheets


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@x", "\tx", "\rx", "\nx", "="])
def test_formulas_are_neutralised_in_header_index_and_cells(text: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({text: [text, "plain"], "number": [-1.5, 2.0]}, index=pd.Index([text, "u"], name=text + "i"))
    frame["category"] = frame[text].astype("category")
    write_csv_atomically(frame, tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["'" + text + "i", "'" + text, "number", "category"]
    assert rows[1] == ["'" + text, "'" + text, "-1.5", "'" + text]
    assert rows[2] == ["u", "plain", "2.0", "plain"]
    assert safe_cell(text) == "'" + text


@pytest.mark.parametrize("value", [-1, -1.5, 0, None, True, "", "plain", "a=b", "1-2", "'=x"])
def test_other_cells_are_untouched(value: Any) -> None:
    assert safe_cell(value) is value


def test_csv_numbers_come_back_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=200) * 10.0 ** rng.integers(-300, 300, 200)
    frame = pd.DataFrame({"v": values, "n": np.arange(200) - 100, "o": pd.Series([1, "=2"] * 100, dtype=object)})
    write_csv_atomically(frame, tmp_path / "t.csv")
    with open(tmp_path / "t.csv", newline="", encoding="utf-8") as file:
        back = list(csv.DictReader(file))
    assert [float(row["v"]) for row in back] == values.tolist()
    assert [int(row["n"]) for row in back] == frame["n"].tolist()
    assert [row["o"] for row in back] == ["1", "'=2"] * 100
    write_csv_atomically(pd.DataFrame({"=a": []}), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_bytes() == b"'=a\n"


# ---------------------------------------------------------------- interrupts


LOST = {
    "swallowed": "pass",
    "some other error": "raise AttributeError('partially initialized module')",
    "an error of ours": "raise OutputError('no pandas')",
    "an end": "sys.exit(0)",
}


def interrupted(folder: Path, body: str) -> subprocess.CompletedProcess[str]:
    """Run a program that writes two files, presses Ctrl-C in between, and does something else than stop."""
    script = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from relucidate.errors import OutputError
from relucidate.interrupting import ends_at_an_interrupt
from relucidate.outputs import atomic_file, atomic_folder

def press_and_lose():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        pass

with ends_at_an_interrupt():
{textwrap.indent(body, "    ")}
"""
    return subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("then", LOST.values(), ids=LOST)
@pytest.mark.parametrize("place", ["atomic_file('new')", "atomic_folder('new')"])
def test_an_interrupt_that_was_lost_still_ends_the_program(then: str, place: str, tmp_path: Path) -> None:
    done = interrupted(tmp_path, f"with {place}:\n    press_and_lose()\n    {then}")
    assert (done.returncode, done.stderr) == (130, "relucidate: interrupted; nothing was written.\n")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_says_what_was_written_before(tmp_path: Path) -> None:
    first = "with atomic_file('one') as file:\n    file.write_text('1')\n"
    done = interrupted(tmp_path, f"{first}press_and_lose()\nwith atomic_file('two'):\n    pass")
    assert (done.returncode, done.stderr) == (130, "relucidate: interrupted; one was written before, nothing else.\n")
    assert os.listdir(tmp_path) == ["one"]
    done = interrupted(tmp_path, "signal.signal(signal.SIGINT, signal.SIG_IGN)\npress_and_lose()")
    assert done.returncode == 0
    ignoring = "signal.signal(signal.SIGINT, signal.SIG_IGN)\nwith ends_at_an_interrupt():\n    press_and_lose()"
    assert interrupted(tmp_path, ignoring).returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_waits_for_the_end_of_an_import(tmp_path: Path) -> None:
    press = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
    (tmp_path / "slow.py").write_text(press + "open('whole', 'w').close()\n")
    done = interrupted(tmp_path, "import slow, time\ntime.sleep(5)\nopen('late', 'w').close()")
    assert (done.returncode, done.stderr) == (130, "relucidate: interrupted; nothing was written.\n")
    assert (tmp_path / "whole").exists()
    assert not (tmp_path / "late").exists()
    # nor is it lost where an object is deleted
    body = (
        "class Thing:\n    def __del__(self): os.kill(os.getpid(), signal.SIGINT)\nThing()\nimport time\ntime.sleep(5)"
    )
    done = interrupted(tmp_path, body + "\nopen('late', 'w').close()")
    assert (done.returncode, done.stderr) == (130, "relucidate: interrupted; nothing was written.\n")
    assert not (tmp_path / "late").exists()
    # pressed again it does not wait
    (tmp_path / "slow.py").write_text(press + press + "open('twice', 'w').close()\n")
    assert interrupted(tmp_path, "import slow").returncode == 130
    assert not (tmp_path / "twice").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_other_errors_pass_where_nobody_interrupted(tmp_path: Path) -> None:
    done = interrupted(tmp_path, "raise AttributeError('mine')")
    assert done.returncode == 1
    assert "AttributeError: mine" in done.stderr
