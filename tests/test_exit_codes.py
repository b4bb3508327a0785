"""0 pass, 1 the gate failed and nothing else ever, 2 usage or input, 3 no verdict."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cli_runner import (
    STALLING,
    Ran,
    environment,
    install,
    muscle_gov,
    muscle_gov_apart,
    program,
    start_and_stall,
)
from table_files import write

from muscle_gov import cli


def rows(letters: str) -> list[dict[str, Any]]:
    known: dict[str, Any] = {"R": True, "W": False, "U": None}
    return [{"id": str(i), "correct": known[letter]} for i, letter in enumerate(letters)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`same` flips nothing, `some` 2 % and `many` 30 % of 400 answers; `few` are too few to tell."""
    logs = {
        "old": "R" * 400,
        "same": "R" * 400,
        "some": "W" * 8 + "R" * 392,
        "many": "W" * 120 + "R" * 280,
        "half": "R" * 200,
        "unscored": "R" * 300 + "U" * 100,
        "few_old": "R" * 20,
        "few": "R" * 19 + "W",
    }
    for name, letters in logs.items():
        write(tmp_path / f"{name}.jsonl", rows(letters))
    return tmp_path


def compare(folder: Path, new: str, *words: str, old: str = "old") -> Ran:
    given = [f"{old}.jsonl", f"{new}.jsonl", "--store", ":memory:", *words]
    ran = muscle_gov("compare", *given, cwd=folder)
    assert "crashed" not in ran.err
    return ran


VERDICTS = [
    ("pass", 0, "PASS", ["same", "--max", "nfr=2%"]),
    ("pass of several rules", 0, "PASS", ["same", "--max", "nfr=2%", "--min", "accuracy_delta=-2%"]),
    ("pass by name of the suite", 0, "PASS", ["same", "--max", "table:nfr=2%"]),
    ("not judged", 0, "NOT JUDGED", ["many"]),
    ("fail", 1, "FAIL", ["many", "--max", "nfr=2%"]),
    ("one of two rules fails", 1, "FAIL", ["many", "--max", "nfr=2%", "--max", "pfr=50%"]),
    ("fail of the least", 1, "FAIL", ["many", "--min", "accuracy_delta=-1%"]),
    ("data do not decide", 3, "INCONCLUSIVE", ["some", "--max", "nfr=2%"]),
    ("too few", 3, "INCONCLUSIVE", ["few", "--max", "nfr=2%"]),
    ("rule without a suite", 3, "INCONCLUSIVE", ["same", "--max", "nosuch:nfr=2%"]),
    ("rule without a slice", 3, "INCONCLUSIVE", ["same", "--max", "table[a=b]:nfr=2%"]),
    ("metric that is undefined", 3, "INCONCLUSIVE", ["same", "--max", "noise_floor=2%"]),
    ("metric of graded suites", 3, "INCONCLUSIVE", ["same", "--max", "regression_rate=2%"]),
    ("half of the rows", 3, "INCOMPARABLE", ["half", "--max", "nfr=2%"]),
    ("unscored rows", 3, "INCOMPARABLE", ["unscored", "--max", "nfr=2%"]),
    ("coverage asked for", 0, "PASS", ["unscored", "--max", "nfr=2%", "--coverage", "0.7"]),
    ("coverage just missed", 3, "INCOMPARABLE", ["unscored", "--max", "nfr=2%", "--coverage", "0.76"]),
    ("the very same run", 3, "INCOMPARABLE", ["OLD", "--max", "nfr=2%"]),
    ("the very same run, not judged", 3, "INCOMPARABLE", ["OLD"]),
    ("the very same run, allowed", 0, "PASS", ["OLD", "--max", "nfr=2%", "--allow", "same-run"]),
]


@pytest.mark.parametrize(
    ("code", "status", "words"), [case[1:] for case in VERDICTS], ids=[case[0] for case in VERDICTS]
)
def test_each_verdict_has_its_code(folder: Path, code: int, status: str, words: list[str]) -> None:
    new, *options = words
    if new == "OLD":
        (folder / "link.jsonl").symlink_to("old.jsonl")
        (folder / "again").mkdir()
        (folder / "again" / "old.jsonl").symlink_to("../old.jsonl")
        new = "again/old"
    old = "few_old" if new == "few" else "old"
    ran = compare(folder, new, *options, old=old)
    assert ran.code == code, ran.out
    assert status in ran.out.splitlines()[-1]
    as_json = compare(folder, new, *options, "--json", "-", old=old)
    assert (as_json.code, as_json.json["exit_code"], as_json.json["verdict"]["status"]) == (
        code,
        code,
        status,
    )


POLICIES = {
    "no rules": ("[gate]\n", 3, "the policy has no rules"),
    "nothing at all": ("", 3, "the policy has no rules"),
    "a comment": ("# to be written\n", 3, "the policy has no rules"),
    "advisory only": (
        '[[gate.rules]]\nmetric = "nfr"\nmax = 0.9\ntier = "advisory"\n',
        3,
        "the policy has only advisory rules",
    ),
    "advisory that fails": (
        '[[gate.rules]]\nmetric = "nfr"\nmax = 0.01\ntier = "advisory"\n'
        '[[gate.rules]]\nmetric = "nfr"\nmax = 0.9\n',
        0,
        "allows at most 90%",
    ),
    "supporting that fails": (
        '[[gate.rules]]\nmetric = "nfr"\nmax = 0.01\ntier = "supporting"\n'
        '[[gate.rules]]\nmetric = "nfr"\nmax = 0.9\n',
        1,
        "allows at most 1%",
    ),
    "value": ('[[gate.rules]]\nmetric = "nfr"\nmax = 0.3\njudge = "value"\n', 0, "NFR is 30%"),
    "value that fails": (
        '[[gate.rules]]\nmetric = "nfr"\nmax = 0.29\njudge = "value"\n',
        1,
        "NFR is 30%",
    ),
    "all suites": ('[[gate.rules]]\nmetric = "nfr"\nmax = 0.9\nsuites = ["(all)"]\n', 0, "allows"),
}


@pytest.mark.parametrize("case", list(POLICIES))
def test_each_policy_has_its_code(folder: Path, case: str) -> None:
    text, code, reason = POLICIES[case]
    (folder / "policy.toml").write_text(text)
    ran = compare(folder, "many", "--policy", "policy.toml")
    assert ran.code == code, ran.out
    assert reason in " ".join(ran.out.split())
    if "no rules" in reason or "only advisory" in reason:
        assert "no update can pass it" in ran.err


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_stored_comparison_is_judged_with_the_same_codes(folder: Path, code: int) -> None:
    new = {0: "same", 1: "many", 3: "some"}[code]
    words = ["old.jsonl", f"{new}.jsonl", "--store", "s.db", "-q"]
    assert muscle_gov("compare", *words, cwd=folder).code == 0
    gate = ["gate", "--max", "nfr=2%", "--store", "s.db"]
    assert muscle_gov(*gate, cwd=folder).code == code
    # what only shows is no gate, whatever the verdict
    for command in (["report", "--md", "-"], ["flips"], ["history"], ["history", "--json"]):
        ran = muscle_gov(*command, "--store", "s.db", cwd=folder)
        assert ran.code == 0, command
    assert ran.json[0]["status"] == {0: "PASS", 1: "FAIL", 3: "INCONCLUSIVE"}[code]


def test_a_waiver_turns_a_failure_only_until_its_day(folder: Path) -> None:
    write(folder / "one.jsonl", rows("W" + "R" * 399))
    words = ["one", "--max", "nfr=0%", "--policy", "value.toml", "--waivers", "w.toml"]
    (folder / "value.toml").write_text('[[gate.rules]]\nmetric = "nfr"\nmax = 0.002\njudge = "value"\n')
    text = (
        '[[waiver]]\nsuite = "table"\ninstance = "0"\nreason = "known"\nowner = "QA"\nexpires = "{}"\n'
    )
    del words[1:3]
    for day, code in (("2999-01-01", 0), ("2001-01-01", 1)):
        (folder / "w.toml").write_text(text.format(day))
        assert compare(folder, *words).code == code, day


def test_a_config_file_has_the_same_codes(folder: Path) -> None:
    for new, code in (("same", 0), ("many", 1), ("some", 3)):
        (folder / "u.toml").write_text(
            f'[old]\npath = "old.jsonl"\n[new]\npath = "{new}.jsonl"\n'
            '[[gate.rules]]\nmetric = "nfr"\nmax = 0.02\n'
        )
        ran = muscle_gov("compare", "-c", "u.toml", "--store", ":memory:", cwd=folder)
        assert ran.code == code, ran
        assert muscle_gov("check", "u.toml", cwd=folder).code == 0
    (folder / "u.toml").write_text("[old]\n")
    assert muscle_gov("compare", "-c", "u.toml", cwd=folder).code == 2
    assert muscle_gov("check", "u.toml", cwd=folder).code == 2


@pytest.mark.parametrize(
    "words",
    [["--help"], ["-h"], ["--version"], ["compare", "--help"], ["plugins"], ["check", "--schema"]],
)
def test_being_asked_is_no_failure(words: list[str]) -> None:
    assert muscle_gov(*words).code == 0


@pytest.mark.parametrize("words", [[], ["--maks"], ["nosuch"], ["compare", "--worst", "x"], ["import"]])
def test_usage_is_2(words: list[str]) -> None:
    assert muscle_gov(*words).code == 2


# ------------------------------------------------------------------------ plugins that do their worst

HOSTILE = '''
"""A stranger's plugin, whose reader raises what its log says."""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass

from muscle_gov import Outcome, RecordedRow, RecordedRun, RunHeader, hookimpl
from muscle_gov.data import Measure


@hookimpl
def register_readers():
    return {"hostile": HostileReader}


@dataclass(frozen=True)
class HostileReader:
    """Raises."""

    def detect(self, path):
        return path.suffix == ".hostile"

    def read(self, path):
        yield RecordedRun(RunHeader(model="m", task="t", harness="h"), self._rows(path), (path,))

    def _rows(self, path):
        for i in range(5000):
            yield RecordedRow(str(i), Outcome.RIGHT)
        exec(path.read_text())
'''

WORST = {
    "ValueError": ("raise ValueError('of\\nmany lines')", "crashed: ValueError: of many lines"),
    "AssertionError": ("raise AssertionError", "crashed: AssertionError: "),
    "exit 1": ("sys.exit(1)", "crashed: SystemExit: 1"),
    "exit 0": ("sys.exit(0)", "crashed: SystemExit: 0"),
    "exit with words": ("sys.exit('bye')", "crashed: SystemExit: bye"),
    "a base exception": ("raise asyncio.CancelledError", "crashed: CancelledError"),
    "GeneratorExit": ("raise GeneratorExit", "crashed: GeneratorExit"),
    "StopIteration": ("next(iter(()))", "crashed: RuntimeError: generator raised StopIteration"),
    "click's own": ("import click; raise click.ClickException('no')", None),
    "click's exit": (
        "import click; raise click.exceptions.Exit(1)",
        "crashed: RuntimeError: something asked to exit with 1",
    ),
    "click's exit with 0": (
        "import click; raise click.exceptions.Exit(0)",
        "crashed: RuntimeError: something asked to exit with 0",
    ),
    "click's abort": ("import click; raise click.Abort", "interrupted"),
    "end of file": ("raise EOFError", "crashed: EOFError"),
    "memory": ("raise MemoryError", "out of memory; read fewer logs at a time"),
    "interrupt": ("raise KeyboardInterrupt", "interrupted; what was finished is kept"),
    "signal": ("os.kill(os.getpid(), signal.SIGINT)", "interrupted; what was finished is kept"),
    "a broken pipe": ("raise BrokenPipeError", ""),
    "a file that is not there": ("open('/no/such/file')", "crashed: FileNotFoundError"),
    "recursion": ("f = lambda f: f(f); f(f)", "crashed: RecursionError"),
    "escapes": ("raise ValueError('\\x1b[31mred')", "crashed: ValueError: ␛[31mred"),
}


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(install(tmp_path / "plugins", "hostile-plugin", HOSTILE)))
    write(tmp_path / "good.jsonl", rows("RW"))
    yield tmp_path
    sys.modules.pop("hostile_plugin", None)


@pytest.mark.parametrize("case", list(WORST))
def test_nothing_that_a_plugin_raises_is_a_failed_gate(hostile: Path, case: str) -> None:
    source, said = WORST[case]
    (hostile / "x.hostile").write_text(source)
    words = ["good.jsonl", "x.hostile", "--store", "s.db", "--max", "nfr=1%", "--json", "r.json"]
    ran = muscle_gov("compare", *words, cwd=hostile)
    assert ran.code in (2, 3) if said is None else ran.code == 3, ran
    if said:
        assert said in ran.sentence if "crashed" not in said else said in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""
    assert len(ran.err.splitlines()) <= 1
    assert "\x1b" not in ran.err
    assert not (hostile / "r.json").exists()
    stored = muscle_gov("import", "good.jsonl", "--store", "s.db", "--json", cwd=hostile)
    assert stored.json[0]["was_there"], "the log that was read whole was lost"


def test_a_crash_shows_where_only_if_asked(hostile: Path) -> None:
    (hostile / "x.hostile").write_text("raise ValueError('here')")
    ran = muscle_gov("import", "x.hostile", "--store", "s.db", cwd=hostile, MUSCLE_GOV_DEBUG="1")
    assert ran.code == 3
    assert "Traceback" in ran.err
    assert "hostile_plugin.py" in ran.err


def test_a_plugin_that_breaks_at_import_is_set_aside_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = install(tmp_path / "plugins", "broken-plugin", "raise SystemExit(1)\n")
    monkeypatch.syspath_prepend(str(broken))
    for name, letters in (("old", "R" * 9), ("new", "R" * 9)):
        write(tmp_path / f"{name}.jsonl", rows(letters))
    words = ["compare", "old.jsonl", "new.jsonl", "--store", ":memory:"]
    ran = muscle_gov(*words, cwd=tmp_path)
    assert ran.code == 0
    assert "plugin broken-plugin was set aside: SystemExit: 1" in ran.err
    ran = muscle_gov(*words, "--reader", "brokn", cwd=tmp_path)
    assert ran.code == 2
    assert "could not be loaded and may offer it: broken-plugin" in ran.err


def test_a_command_that_returns_nothing_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.cli, "invoke", lambda context: None)
    assert muscle_gov("plugins").code == 3


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, MemoryError, SystemExit, RuntimeError, BaseException]
)
def test_whatever_a_command_raises_is_3(error: type[BaseException]) -> None:
    with mock.patch("muscle_gov.plugins.survey", side_effect=error):
        ran = muscle_gov("plugins")
    assert ran.code == 3
    assert len(ran.err.splitlines()) == 1


# -------------------------------------------------------------------------- signals, pipes and streams


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_middle_of_an_import_is_3_and_leaves_nothing(
    tmp_path: Path, sent: signal.Signals
) -> None:
    install(tmp_path / "plugins", "stalling-plugin", STALLING)
    log = tmp_path / "x.stalling"
    log.write_text("9000")
    started = start_and_stall(tmp_path, log, "import", log, "--store", "s.db")
    started.send_signal(sent)
    out, err = started.communicate(timeout=30)
    assert (started.returncode, out) == (3, b"")
    assert err == b"muscle-gov: interrupted; what was finished is kept, nothing is half-written\n"
    assert muscle_gov("export", "stalling", "--store", tmp_path / "s.db").code == 2
    again = subprocess.run(
        program("import", log, "--store", "s.db", "--json"),
        cwd=tmp_path,
        env=environment(tmp_path / "plugins"),
        capture_output=True,
        check=True,
    )
    assert json.loads(again.stdout)[0]["n_rows"] == 9000


@pytest.fixture
def long_list(tmp_path: Path) -> Path:
    """A store whose list of flips is longer than what a pipe holds."""
    for name, letters in (("old", "RW" * 1500), ("new", "WR" * 1500)):
        made = [{**row, "answer": "x" * 30} for row in rows(letters)]
        write(tmp_path / f"{name}.jsonl", made)
    words = ["compare", "old.jsonl", "new.jsonl", "--store", "s.db", "-q", "-o", "answer=answer"]
    assert muscle_gov(*words, "--reader", "table", cwd=tmp_path).code == 0
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["flips", "--limit", "0"],
        ["flips", "--limit", "0", "--json"],
        ["report", "--csv", "-"],
        ["export", "table", "--model", "old"],
        ["gate", "--max", "nfr=99%", "--worst", "3000"],
    ],
    ids=" ".join,
)
def test_a_reader_of_the_output_that_leaves_is_3_and_silence(long_list: Path, words: list[str]) -> None:
    """As `| head -1` does."""
    with subprocess.Popen(
        program(*words, "--store", "s.db"),
        cwd=long_list,
        env=environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as started:
        assert started.stdout is not None
        assert started.stderr is not None
        assert started.stdout.readline()
        started.stdout.close()
        err = started.stderr.read()
        code = started.wait(timeout=60)
    assert (code, err) == (3, b"")


@pytest.mark.parametrize("words", [["--help"], ["compare", "--help"], ["plugins"]], ids=" ".join)
def test_help_for_nobody_is_not_1(words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        program(*words), env=environment(), stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (3, b"")


def test_a_remark_for_nobody_costs_no_verdict(folder: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words = ["old.jsonl", "same.jsonl", "--store", ":memory:", "--max", "nfr=2%", "--md", "r.md"]
    done = subprocess.run(
        program("compare", *words),
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=writing,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 0
    assert b"PASS" in done.stdout


@pytest.mark.parametrize(
    ("closing", "codes"), [(">&-", (0, 1)), ("2>&-", (1, 2)), (">&- 2>&-", (0,)), ("<&-", (1,))]
)
def test_closed_streams_cost_no_verdict(folder: Path, closing: str, codes: tuple[int, ...]) -> None:
    words = [*program("compare"), "--store", ":memory:", "--max", "nfr=2%", "--json", "r.json"]
    for code in codes:
        new = ("same", "many", "nosuch")[code]
        script = f'exec "$@" old.jsonl {new}.jsonl {closing}'
        done = subprocess.run(
            ["sh", "-c", script, "sh", *words],
            cwd=folder,
            env=environment(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == code, done
    written = [code for code in codes if code < 2][-1]
    assert json.loads((folder / "r.json").read_text())["exit_code"] == written


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("words", [["plugins"], ["--help"], ["plugins", "--json"]], ids=" ".join)
def test_output_that_cannot_be_written_is_3(words: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            program(*words), env=environment(), stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 3
    assert done.stderr.decode() == (
        "muscle-gov: the output could not be written (No space left on device); no verdict was given\n"
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_knows_few_characters_costs_no_verdict(folder: Path, encoding: str) -> None:
    words = ["old.jsonl", "many.jsonl", "--store", ":memory:", "--max", "nfr=2%"]
    ran = muscle_gov_apart("compare", *words, cwd=folder, env={"PYTHONIOENCODING": encoding})
    assert ran.code == 1
    assert "FAIL" in ran.out
