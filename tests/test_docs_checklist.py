"""The release checklist can be walked: its blocks of commands are run, in the order of the page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from misbehaving_server import serving
from recipe_pages import DOCS, MISSING, Model, bash, blocks, install_program, write_questions

pytest.importorskip("httpx")
pytest.importorskip("model_signing")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")

UPDATE = """
[models.old]
loader = "endpoint"
url = "{url}"
model = "assistant-1.0"

[models.new]
loader = "endpoint"
url = "{url}"
model = "assistant-1.1"

[suites.questions]
suite = "table"
path = "questions/questions.jsonl"
prompt = "{{{{ question }}}}"
target = "{{{{ answer }}}}"
tags = ["subject"]
"""
CANDIDATES = DOCS.parent / "reports" / "templates" / "_candidates.html"
BLOCKS = [text.strip() for text in blocks("checklist", "sh")]
TITLES = ("policy", "sample", "baseline", "exceptions", "run", "read", "again", "mend", "sign", "after")
"""What each block of the page is about."""
N = 600
WAIVER = """
[[waiver]]
suite = "questions"
instance = "104"
reason = "the reference answer is wrong"
owner = "evaluation team"
expires = 2099-01-31
"""


def test_the_blocks_of_the_page_are_those_that_are_walked() -> None:
    assert len(BLOCKS) == len(TITLES)


@dataclass(frozen=True)
class Walk:
    """What came of the blocks, by their titles."""

    folder: Path
    done: dict[str, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """All blocks but `mend`, which trains: a good update that breaks one answer, which is waived."""
    programs = install_program(tmp_path_factory.mktemp("bin"))
    folder = tmp_path_factory.mktemp("release")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    write_questions(folder, N)
    (folder / "waivers.toml").write_text(WAIVER)
    owner = {
        f"GIT_{who}_{what}": "owner@example.com"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    done = {}
    with serving(
        lambda n, asked: (Model(104) if asked.body["model"].endswith("1.1") else Model())(n, asked)
    ) as server:
        (folder / "update.toml").write_text(UPDATE.format(url=server.url))
        for title, block in zip(TITLES, BLOCKS, strict=True):
            if title != "mend":
                done[title] = bash(block, folder, programs, **owner)
    yield Walk(folder, done)
    shutil.rmtree(folder)


@pytest.mark.parametrize("title", [title for title in TITLES if title != "mend"])
def test_each_block_runs_to_its_end(walk: Walk, title: str) -> None:
    done = walk.done[title]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "crashed" not in done.stderr


def test_the_sample_that_the_page_asks_about_is_counted(walk: Walk) -> None:
    assert "items rule out an NFR of 2.00% or more" in walk.done["sample"].stdout


def test_the_old_model_is_asked_before_and_the_new_one_only_in_the_run(walk: Walk) -> None:
    assert "assistant-1.0" in walk.done["baseline"].stdout
    assert "assistant-1.1" not in walk.done["baseline"].stdout
    assert f"{3 * N:,} answers were there" in walk.done["run"].stderr.replace("all ", "")


def test_the_update_passes_and_the_flip_is_read(walk: Walk) -> None:
    assert "PASS" in walk.done["run"].stdout
    assert "what is 104" in walk.done["read"].stdout


def test_what_was_judged_twice_is_seen_in_the_history(walk: Walk) -> None:
    assert "the reference answer is wrong" in walk.done["again"].stdout
    assert "PASS" in walk.done["again"].stdout


def test_the_folder_that_was_signed_is_verified_and_no_other(walk: Walk, tmp_path: Path) -> None:
    assert {"report.html", "manifest.json"} <= {
        path.name for path in (walk.folder / "report-1.1").iterdir()
    }
    programs = install_program(tmp_path)
    copy = tmp_path / "copy" / "report-1.1"
    shutil.copytree(walk.folder / "report-1.1", copy)
    shutil.copy(walk.folder / "release.pub", copy.parent)
    (verify,) = (line for line in BLOCKS[TITLES.index("sign")].splitlines() if " verify " in line)
    assert bash(verify, copy.parent, programs).returncode == 0
    report = json.loads((copy / "report.json").read_text(encoding="utf-8"))
    report["verdict"]["reason"] = "because"
    (copy / "report.json").write_text(json.dumps(report))
    assert bash(verify, copy.parent, programs).returncode not in (0, 1)


def rows_of(text: str) -> list[list[str]]:
    """The cells of the tables of a page, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def test_sections_of_the_report_are_called_what_the_pages_call_them(walk: Walk) -> None:
    page = (walk.folder / "report-1.1" / "report.html").read_text(encoding="utf-8")
    titles = [
        re.sub("<[^>]+>", "", title) for title in re.findall(r"<h2[^>]*>(.*?)</h2>", page, re.DOTALL)
    ]
    shown = {" ".join(title.split()).partition(":")[0] for title in titles}
    shown.add("Candidates")  # is there where the update was mended
    assert '<h2 id="candidates-title">Candidates</h2>' in CANDIDATES.read_text(encoding="utf-8")
    checklist = (DOCS / "checklist.md").read_text(encoding="utf-8")
    read = checklist.partition("| read | ask |")[2].partition("\n\n")[0]
    to_read = [row[0] for row in rows_of(read) if row[0] != "---"]
    assert len(to_read) == 7
    named = re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", (DOCS / "model-risk.md").read_text("utf-8"))
    assert {*to_read, *named} <= shown


def test_every_question_of_a_framework_has_what_stays_open() -> None:
    text = (DOCS / "model-risk.md").read_text(encoding="utf-8")
    parts = text.split("\n## ")[1:4]
    assert [len(rows_of(part)) > 6 for part in parts] == [True, True, True]
    for part in parts:
        assert all(len(row) == 3 and all(row) for row in rows_of(part)), part
    assert "makes\nnothing compliant, it certifies nothing, and this page is no legal advice" in text


def test_the_page_can_be_copied_into_a_ticket() -> None:
    lines = (DOCS / "checklist.md").read_text(encoding="utf-8").splitlines()
    boxes = [line for line in lines if line.startswith("- ")]
    assert len(boxes) > 20
    assert all(line.startswith("- [ ] ") for line in boxes)
