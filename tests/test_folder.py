"""The report folder: everything in it, made whole or not at all, the same from the same store."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cli_runner import muscle_gov
from helpers import Log, _source, all_plugins, log, scored
from html_tree import embedded, parse
from report_folders import keys, make

from muscle_gov import Report, pipeline
from muscle_gov.data import Candidate, Status
from muscle_gov.errors import OutputError, UsageError
from muscle_gov.plugins import Plugins
from muscle_gov.proof import folder as folders
from muscle_gov.proof import verify
from muscle_gov.proof.evidence import collect
from muscle_gov.proof.signing import Trust
from muscle_gov.settings import CompareSettings, Policy
from muscle_gov.store import Store, candidates, history, open_store, proofs, records

ALWAYS = {"manifest.json", "evidence.duckdb", "rows.parquet", "policy.json"}


@pytest.fixture
def store() -> Iterator[Store]:
    with open_store(":memory:") as opened:
        yield opened


def manifest_of(folder: Path) -> Any:
    return json.loads((folder / folders.MANIFEST).read_text("utf-8"))


def test_a_folder_holds_every_format_or_says_why_not(store: Store, tmp_path: Path) -> None:
    made = make(store, tmp_path / "out", tmp_path / "logs")
    there = {path.name for path in (tmp_path / "out").iterdir()}
    manifest = manifest_of(tmp_path / "out")
    formats = {one["format"] for one in manifest["files"]}
    missing = {one["format"] for one in manifest["not_made"]}
    assert formats | missing == {"muscle-gov", *all_plugins().names("reports")}
    assert {"html", "markdown", "json", "csv", "parquet", "junit", "in-toto", "cyclonedx"} <= formats
    assert there == {one["path"] for one in manifest["files"]} | {"manifest.json", "evidence.duckdb"}
    assert there >= ALWAYS | {"waivers.json", "quarantine.json", "report.html", "bom.cdx.json"}
    assert all(one["why"] for one in manifest["not_made"])
    assert made.report.evidence is not None
    assert manifest["verdict"]["status"] == "PASS"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_all_files_list_the_flips_in_one_order_and_the_suites_in_turn(
    store: Store, tmp_path: Path
) -> None:
    made = make(store, tmp_path / "out", tmp_path / "logs")
    expected = [(flip.kind, flip.suite, flip.key) for flip in made.report.flips]
    document = json.loads(made.files["report.json"])
    table = csv.DictReader(io.StringIO(made.files["flips.csv"].decode("utf-8-sig")))
    page = embedded(parse(made.files["report.html"]))["flips"]
    for rows in (document["flips"], list(table), page):
        assert [(row["kind"], row["suite"], row["key"]) for row in rows] == expected
    broken = [suite for kind, suite, _ in expected if kind == "negative"]
    turns = 2 * min(broken.count("law"), broken.count("routing"))
    assert turns > 8
    assert broken[:turns] == ["law", "routing"] * (turns // 2)


def test_equal_comparisons_make_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1790000000")
    work = tmp_path / "logs"  # the paths of logs are part of the evidence
    for name in ("one", "two"):
        with open_store(":memory:") as store:
            make(store, tmp_path / name, work)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    for name in names:
        if name != folders.STORE:
            assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_the_store_in_it_is_a_store_of_this_comparison_alone(store: Store, tmp_path: Path) -> None:
    made = make(store, tmp_path / "out", tmp_path / "logs")
    make(store, tmp_path / "second", tmp_path / "logs", Policy())
    make(store, tmp_path / "third", tmp_path / "logs", Policy())
    id_ = made.report.comparison.id
    with open_store(tmp_path / "out" / folders.STORE, read_only=True) as copy:
        assert copy.rows("SELECT comparison_id FROM comparisons") == [(id_,)]
        # what shows that an item is flaky comes along, and nothing else does
        assert copy.rows("SELECT count(*) FROM runs") == [(5,)]
        assert collect(copy, made.report).resources == collect(store, made.report).resources
    with open_store(tmp_path / "third" / folders.STORE, read_only=True) as copy:
        assert copy.rows("SELECT count(*) FROM runs") == [(4,)]
    ran = muscle_gov("flips", "--store", tmp_path / "out" / folders.STORE, "--json")
    assert ran.code == 0


def test_further_rows_can_be_kept_in_the_copy(store: Store, tmp_path: Path) -> None:
    make(store, tmp_path / "out", tmp_path / "logs")
    with open_store(tmp_path / "out" / folders.STORE) as copy:
        make(copy, tmp_path / "again", tmp_path / "logs", Policy())
        assert copy.rows("SELECT count(*) FROM comparisons") == [(2,)]


@dataclass(frozen=True)
class Failing:
    """A format that cannot be made, or that asks for what it may not have."""

    how: str = "crash"

    suffix: ClassVar[str] = ".failing"

    def render(self, report: Report) -> bytes:
        if self.how == "crash":
            raise ZeroDivisionError("by nothing")
        return self.how.encode()


@dataclass(frozen=True)
class Straying(Failing):
    """A format with a suffix that leads out of the folder."""

    suffix: ClassVar[str] = "./../../x"


def with_format(**more: type) -> Plugins:
    plugins = all_plugins()
    offers = {**plugins.offers, "reports": {**plugins.offers["reports"], **more}}
    return replace(plugins, offers=offers)


def test_a_plugin_that_fails_is_named_and_harms_no_other(store: Store, tmp_path: Path) -> None:
    made = make(store, tmp_path / "out", tmp_path / "logs")
    plugins = with_format(failing=Failing, straying=Straying)
    again = folders.write_folder(store, plugins, made.report, tmp_path / "two")
    assert again.not_made["failing"] == "crashed: ZeroDivisionError: by nothing"
    assert "makes no file name" in again.not_made["straying"]
    assert set(made.files) == set(again.files)
    told = {one["format"]: one["why"] for one in manifest_of(tmp_path / "two")["not_made"]}
    assert told == dict(again.not_made)


def test_options_of_formats_are_kept_and_used_again(store: Store, tmp_path: Path) -> None:
    options = {"json": {"flips": "1"}}
    make(store, tmp_path / "out", tmp_path / "logs", options=options)
    assert manifest_of(tmp_path / "out")["options"] == options
    assert len(json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["flips"]) == 1
    assert verify.holds(verify.verify(tmp_path / "out", Trust(), plugins=all_plugins()))


def test_a_verdict_that_is_none_has_no_attestation(store: Store, tmp_path: Path) -> None:
    make(store, tmp_path / "out", tmp_path / "logs", Policy())
    manifest = manifest_of(tmp_path / "out")
    assert manifest["verdict"]["status"] == "NOT JUDGED"
    told = {one["format"]: one["why"] for one in manifest["not_made"]}
    assert "NOT JUDGED" in told["in-toto"]
    assert verify.holds(verify.verify(tmp_path / "out", Trust(), plugins=all_plugins()))


def test_candidates_of_a_mending_come_along(store: Store, tmp_path: Path) -> None:
    update = make(store, tmp_path / "update", tmp_path / "logs").report
    mended = make(store, tmp_path / "mended", tmp_path / "logs").report
    found = [
        Candidate(name=name, role=role, about=role, comparison=one.comparison, verdict=one.verdict)
        for name, role, one in (("new", "update", update), ("muscle", "mitigation", mended))
    ]
    candidates.save(store, found, found[1])
    made = folders.write_folder(store, all_plugins(), mended, tmp_path / "out")
    assert [one.name for one in made.report.candidates] == ["new", "muscle"]
    assert made.report.comparison.id == mended.comparison.id
    assert verify.holds(verify.verify(tmp_path / "out", Trust(), plugins=all_plugins()))
    with open_store(tmp_path / "out" / folders.STORE) as copy:
        copy.run("UPDATE verdicts SET status = 'FAIL' WHERE comparison_id = ?", [update.comparison.id])
    checks = verify.verify(tmp_path / "out", Trust(), plugins=all_plugins())
    told = "\n".join(problem for check in checks for problem in check.problems)
    assert f"verdicts of {update.comparison.id}.status" in told


# ------------------------------------------------------------------------------------------- writing


def test_what_is_there_is_left_alone(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = make(store, out, tmp_path / "logs").report

    def refused(message: str, may_replace: bool) -> None:
        before = {path.name: path.read_bytes() for path in out.iterdir()}
        with pytest.raises(UsageError, match=message):
            folders.write_folder(store, all_plugins(), report, out, may_replace=may_replace)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    refused("holds an earlier report", False)
    (out / folders.MANIFEST).unlink()
    refused("no report folder", True)


def test_an_earlier_report_is_replaced_if_that_is_said(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = make(store, out, tmp_path / "logs").report
    (out / "model.sig").write_text("an earlier signature")
    folders.write_folder(store, all_plugins(), report, out, may_replace=True)
    assert not (out / "model.sig").exists()
    assert verify.holds(verify.verify(out, Trust(), plugins=all_plugins()))
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt: is no part of the report"):
        folders.write_folder(store, all_plugins(), report, out, may_replace=True)


def test_nothing_is_left_where_it_fails(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = make(store, tmp_path / "out", tmp_path / "logs").report
    there = sorted(path.name for path in tmp_path.iterdir())

    def full(*_: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders, "as_json", full)
    with pytest.raises(OutputError, match="No space left"):
        folders.write_folder(store, all_plugins(), report, tmp_path / "new")
    with pytest.raises(OutputError, match="No space left"):
        folders.write_folder(store, all_plugins(), report, tmp_path / "out", may_replace=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == there
    monkeypatch.undo()
    assert verify.holds(verify.verify(tmp_path / "out", Trust(), plugins=all_plugins()))


def test_a_verdict_that_does_not_follow_from_the_rows_is_not_written(
    store: Store, tmp_path: Path
) -> None:
    report = make(store, tmp_path / "out", tmp_path / "logs").report
    other = replace(report, verdict=replace(report.verdict, status=Status.FAIL))
    with pytest.raises(OutputError, match="the copy of the rows gives PASS, the store gave FAIL"):
        folders.write_folder(store, all_plugins(), other, tmp_path / "two")
    assert not (tmp_path / "two").exists()


# -------------------------------------------------------------------------------------- command line


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables, compared."""
    folder = tmp_path_factory.mktemp("compared")
    for name, every in (("old", 5), ("new", 4)):
        rows = [{"id": f"k{i}", "correct": i % every > 0, "answer": str(i % every)} for i in range(80)]
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    ran = muscle_gov(
        "compare", folder / "old.jsonl", folder / "new.jsonl", "--store", folder / "s.duckdb",
        "--max", "nfr=90%", "--folder", folder / "out", "--sarif", folder / "r.sarif",
        "--json", folder / "r.json",
    )  # fmt: skip
    assert ran.code == 0, ran
    assert "report folder: " in ran.err
    return folder


def test_compare_writes_a_folder_that_is_verified(compared: Path) -> None:
    ran = muscle_gov("verify", compared / "out", "--store", compared / "s.duckdb")
    assert ran.code == 0, ran.out
    assert json.loads((compared / "r.sarif").read_text())["version"] == "2.1.0"


def test_reports_in_files_have_evidence_and_printed_ones_need_none(compared: Path) -> None:
    in_folder = json.loads((compared / "out" / "report.json").read_text())
    alone = json.loads((compared / "r.json").read_text())
    for document in (in_folder, alone):
        document.pop("store")
    assert alone == in_folder


def test_the_command_that_judged_is_kept_told_and_proved(compared: Path, tmp_path: Path) -> None:
    shutil.copy(compared / "s.duckdb", tmp_path / "s.duckdb")
    at_first = json.loads((compared / "out" / "report.json").read_text())
    assert at_first["judged_by"] == at_first["command"]
    assert "Compared and judged by" in (compared / "out" / "report.html").read_text()
    given = ("--store", tmp_path / "s.duckdb")
    judged = muscle_gov("gate", "--max", "nfr=95%", *given, "--json", tmp_path / "gate.json")
    assert judged.code == 0, judged
    assert muscle_gov("report", *given, "--folder", tmp_path / "out").code == 0
    gate = json.loads((tmp_path / "gate.json").read_text())
    again = json.loads((tmp_path / "out" / "report.json").read_text())
    for told in (gate, again, manifest_of(tmp_path / "out")):
        assert told["command"] == at_first["command"]
        assert told["judged_by"].startswith("muscle-gov gate --max nfr=95% --store ")
    assert "nfr=95%" in (tmp_path / "out" / "report.html").read_text()
    assert muscle_gov("verify", tmp_path / "out").code == 0
    path = tmp_path / "out" / folders.MANIFEST
    path.write_text(path.read_text().replace("nfr=95%", "nfr=1%"))
    ran = muscle_gov("verify", tmp_path / "out")
    assert ran.code == 3
    assert "manifest.json judged_by: is 'muscle-gov gate --max nfr=1%" in ran.out
    # a command line is no rule, so history tells no change of the policy where only it differs
    assert muscle_gov("gate", "--max", "nfr=95%", "-q", *given).code == 0
    page = tmp_path / "history.html"
    assert muscle_gov("history", "--html", page, *given).code == 0
    assert "command:" not in page.read_text()


def test_a_folder_tells_shortly_what_is_not_in_it(compared: Path, tmp_path: Path) -> None:
    ran = muscle_gov("report", "--store", compared / "s.duckdb", "--folder", tmp_path / "out")
    assert ran.err.splitlines()[1:] == ["  without eval-results (manifest.json says why)"]
    (why,) = [one["why"] for one in manifest_of(tmp_path / "out")["not_made"]]
    assert "benchmarks: say which suite" in why


def test_a_signature_that_goes_with_its_folder_is_missed(compared: Path, tmp_path: Path) -> None:
    secret, _ = keys(tmp_path)
    given = ("report", "--store", compared / "s.duckdb", "--folder", tmp_path / "out", "-q")
    assert muscle_gov(*given).err == ""
    assert muscle_gov(*given, "--replace-folder").err == ""
    assert muscle_gov("sign", tmp_path / "out", "--key", secret).code == 0
    ran = muscle_gov(*given, "--replace-folder")
    assert (ran.code, ran.err.strip()) == (
        0,
        f"{tmp_path / 'out'}: the signature of the report before is gone; sign this one again",
    )
    assert not (tmp_path / "out" / "model.sig").exists()


def test_gate_and_report_write_a_folder(compared: Path, tmp_path: Path) -> None:
    shutil.copy(compared / "s.duckdb", tmp_path / "s.duckdb")
    given = ("--store", tmp_path / "s.duckdb", "--folder", tmp_path / "out")
    judged = muscle_gov("gate", "--max", "nfr=1%", *given)
    assert judged.code == 1, judged
    assert manifest_of(tmp_path / "out")["verdict"]["status"] == "FAIL"
    assert muscle_gov("verify", tmp_path / "out").code == 0
    assert muscle_gov("report", *given).code == 2
    assert muscle_gov("report", *given, "--replace-folder").code == 0
    assert muscle_gov("verify", tmp_path / "out", "--store", tmp_path / "s.duckdb").code == 0


REFUSED: Mapping[tuple[str, ...], str] = {
    ("--folder", "s.duckdb"): "is not a folder",
    ("--folder", "nowhere/out"): "does not exist",
    ("--folder", "."): "is not empty and no report folder",
    ("--replace-folder",): "there is no --folder to replace",
    ("--folder", "out"): "--replace-folder writes over it",
    ("--folder", "new", "--html", "new/r.html"): "lies in the report folder",
    ("--folder", "new", "--report-option", "html.nothing=1"): "no such option",
    ("--folder", "new", "--report-option", "nothing.x=1"): "no nothing report is asked for",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_written_is_refused_before_the_work(
    compared: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(compared)
    ran = muscle_gov("report", "--store", "s.duckdb", *words)
    assert ran.code == 2
    assert REFUSED[words] in ran.sentence
    assert not (compared / "new").exists()


def test_a_folder_of_a_store_in_memory(compared: Path, tmp_path: Path) -> None:
    ran = muscle_gov(
        "compare", compared / "old.jsonl", compared / "new.jsonl", "--store", ":memory:",
        "--folder", tmp_path / "out", "-q",
    )  # fmt: skip
    assert ran.code == 0
    assert muscle_gov("verify", tmp_path / "out").code == 0


def test_the_policy_in_it_is_the_one_that_was_judged(compared: Path) -> None:
    told = json.loads((compared / "out" / "policy.json").read_text())
    assert told["gate"]["rules"][0]["max"] == 0.9
    with open_store(compared / "s.duckdb", read_only=True) as store:
        kept = records.find_comparison(store, None)
    assert told["compare"] == dict(kept.settings)


def test_a_format_of_a_package_that_is_not_here_cannot_be_checked(store: Store, tmp_path: Path) -> None:
    report = make(store, tmp_path / "out", tmp_path / "logs").report
    plugins = with_format(working=Working)
    folders.write_folder(store, plugins, report, tmp_path / "two")
    assert verify.holds(verify.verify(tmp_path / "two", Trust(), plugins=plugins))
    checks = verify.verify(tmp_path / "two", Trust(), plugins=all_plugins())
    (failed,) = [check for check in checks if check.outcome is verify.Outcome.FAILS]
    assert failed.problems == (
        "working.failing: nothing here writes it (it is told to be of the format 'working')",
    )


@dataclass(frozen=True)
class Working(Failing):
    """A format that can be made."""

    how: str = "well"


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_scales_repeats_and_clusters_are_verified(
    store: Store, tmp_path: Path, threshold: float | None
) -> None:
    draw = random.Random(3)

    def sides(name: str, seed: int) -> list[Log]:
        draw.seed(seed)
        words = ["".join(draw.choice("RRW") for _ in range(3)) for _ in range(40)]
        scores = [draw.choice([0, 0.25, 0.5, 1]) for _ in range(40)]
        each = {"each": lambda i, _: {"cluster": str(i // 4), "answer": str(i)}}
        return [log(words, name, "repeated", **each), scored(scores, model=name)]

    sources = [
        _source(tmp_path, name, sides(name, seed), (), None) for name, seed in (("old", 1), ("new", 2))
    ]
    settings = CompareSettings(threshold=threshold)
    report = pipeline.compare_logs(store, all_plugins(), *sources, settings, Policy()).report
    folders.write_folder(store, all_plugins(), report, tmp_path / "out")
    checks = verify.verify(tmp_path / "out", Trust(), plugins=all_plugins())
    assert [check for check in checks if check.outcome is verify.Outcome.FAILS] == []


def test_sigterm_while_a_folder_is_written_leaves_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CI server that cancels a job sends it; rows with prompts and answers must not stay behind."""
    with open_store(tmp_path / "store.duckdb") as store:
        make(store, tmp_path / "first", tmp_path / "logs")
    there: list[str] = []

    def cancelled(*_: object) -> None:
        there.extend(path.name for path in tmp_path.iterdir() if path.name.startswith(".out-"))
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("it went on")

    monkeypatch.setattr(folders, "contents_of", cancelled)
    ran = muscle_gov("report", "--store", "store.duckdb", "--folder", "out", cwd=tmp_path)
    assert ran.code == 3
    assert "interrupted; what was finished is kept, nothing is half-written" in ran.err
    assert len(there) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "logs", "store.duckdb"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_newest_verdict_is_that_given_last_whatever_the_clock_says(tmp_path: Path) -> None:
    """A later verdict from a machine whose clock is behind still counts, in the copy too."""
    with open_store(tmp_path / "store.duckdb") as store:
        id_ = make(store, tmp_path / "first", tmp_path / "logs").report.comparison.id
    asked = ("--store", "store.duckdb")
    ran = muscle_gov("gate", *asked, "--max", "nfr=0.01%", cwd=tmp_path, SOURCE_DATE_EPOCH="1500000000")
    assert ran.code == 1
    with open_store(tmp_path / "store.duckdb", read_only=True) as store:
        given = store.rows("SELECT status FROM verdicts ORDER BY given_at")
        assert given == [("FAIL",), ("PASS",)]  # by the clock the pass would be the newest
        kept = proofs.kept_verdict(store, id_)
        assert kept is not None
        assert kept.status == "FAIL"
        assert proofs.judged_at(store, id_) == kept.given == "2017-07-14T02:40:00Z"
        assert records.history(store)[0].status == "FAIL"
        assert records.history(store)[0].earlier == ("PASS",)
        (past,) = history.past_comparisons(store)
        assert [one.status for one in past.verdicts] == [Status.PASS, Status.FAIL]
        policy = records.last_policy(store, id_)
        assert policy is not None
        assert policy.gate["rules"][0]["max"] == 0.0001
    assert muscle_gov("report", *asked, "--folder", "out", "-q", cwd=tmp_path).code == 0
    manifest = manifest_of(tmp_path / "out")
    assert manifest["verdict"]["status"] == "FAIL"
    with open_store(tmp_path / "out" / folders.STORE, read_only=True) as copy:
        assert copy.rows("SELECT status FROM verdicts ORDER BY rowid") == [("PASS",), ("FAIL",)]
    checks = verify.verify(tmp_path / "out", Trust(), tmp_path / "store.duckdb", all_plugins())
    assert verify.holds(checks), checks
