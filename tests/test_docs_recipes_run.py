"""The scripts of the recipes for CI and releases do what the pages say: their very text is run, by bash
and with the real program.

What GitHub and GitLab do themselves (their actions, runners and tokens) is not here; a package registry
and a model's server are, as small servers of this machine.
"""

from __future__ import annotations

import json
import re
import shutil
import string
import subprocess
from pathlib import Path
from typing import Any

import pytest
from misbehaving_server import serving
from recipe_pages import (
    MISSING,
    POLICY,
    TOKEN,
    Model,
    bash,
    blocks,
    install_program,
    pipeline,
    registry,
    steps,
    workflows,
    write_logs,
    write_questions,
)

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_program(tmp_path_factory.mktemp("bin"))


# ------------------------------------------------------------------------------------------ they are run


@pytest.mark.parametrize(
    ("n", "broken", "code", "word"),
    [(600, 0, 0, "PASS"), (600, 90, 1, "FAIL"), (60, 1, 3, "INCONCLUSIVE"), (0, 0, 2, None)],
)
def test_the_steps_of_github_judge_and_decide(
    tmp_path: Path, programs: Path, n: int, broken: int, code: int, word: str | None
) -> None:
    (tmp_path / "target" / "policy").mkdir(parents=True)
    (tmp_path / "target" / "policy" / "policy.toml").write_text(POLICY)
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "policy.toml").write_text(POLICY.replace("0.02", "0.99"))
    (tmp_path / "policy" / "waivers.toml").write_text("")
    write_logs(tmp_path, n, broken)
    if n == 0:
        (tmp_path / "update.toml").write_text("[old]\npaht = 'old.csv'\n")
    told, summary = tmp_path / "output", tmp_path / "summary"
    runner = {"GITHUB_OUTPUT": str(told), "GITHUB_STEP_SUMMARY": str(summary)}
    job = steps("gate.yml", "judge")
    taken = bash(job["Take the policy from there"]["run"], tmp_path, programs)
    assert taken.returncode == 0
    assert [path.name for path in (tmp_path / "policy").iterdir()] == ["policy.toml"]

    judged = bash(job["Judge"]["run"], tmp_path, programs, **runner)
    assert judged.returncode == 0, judged.stderr
    assert "crashed" not in judged.stderr
    assert told.read_text() == f"code={code}\n"
    decided = bash(job["Decide"]["run"], tmp_path, programs, CODE=str(code), **runner)
    assert decided.returncode == code
    assert decided.stdout.startswith("::notice " if code == 0 else "::error ")
    if word is None:
        assert not summary.exists()
        return
    assert word in summary.read_text(encoding="utf-8")
    handed_on = json.dumps(workflows()["gate.yml"]["jobs"]["publish"]) + json.dumps(pipeline())
    for file in {*re.findall(r"report/[\w.-]+", handed_on)}:
        assert (tmp_path / file).stat().st_size > 0, file


def test_the_gate_fails_where_no_code_was_told(tmp_path: Path, programs: Path) -> None:
    for file, job in (("gate.yml", "judge"), ("nightly.yml", "watch")):
        assert bash(steps(file, job)["Decide"]["run"], tmp_path, programs, CODE="").returncode == 3


def test_failed_rules_are_shown_at_a_line_of_the_policy_in_the_repository(
    tmp_path: Path, programs: Path
) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "policy.toml").write_text(POLICY)
    write_logs(tmp_path, 600, 90)
    bash(
        steps("gate.yml", "judge")["Judge"]["run"],
        tmp_path,
        programs,
        GITHUB_OUTPUT="output",
        GITHUB_STEP_SUMMARY="summary",
    )
    named = steps("gate.yml", "publish")["Show failed rules at their lines of the policy"]["with"]
    (run,) = json.loads((tmp_path / named["sarif_file"]).read_text(encoding="utf-8"))["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "policy/policy.toml"
    assert place["region"]["startLine"] == 2


# ------------------------------------------------------------------------------ nights, and the registry


ARTIFACTS = [
    {"id": 5, "expired": True, "run": (105, "main", 1, 1)},
    {"id": 4, "expired": False, "run": (104, "main", 2, 1)},  # of a fork whose branch is called main too
    {"id": 3, "expired": False, "run": (103, "a-branch", 1, 1)},
    {"id": 2, "expired": False, "run": (102, "main", 1, 1)},
    {"id": 1, "expired": False, "run": (101, "main", 1, 1)},
]


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq, which gh has inside")
@pytest.mark.parametrize(("kept", "night"), [(ARTIFACTS, "102"), (ARTIFACTS[:3], ""), ([], "")])
def test_the_history_is_that_of_the_newest_night_of_main(kept: list[Any], night: str) -> None:
    script = steps("nightly.yml", "watch")["Restore the history"]["run"]
    (query,) = re.findall(r"--jq '(.*?)'", script, re.DOTALL)
    names = ("id", "head_branch", "head_repository_id", "repository_id")
    told = [
        {"expired": one["expired"], "workflow_run": dict(zip(names, one["run"], strict=True))}
        for one in kept
    ]
    asked = json.dumps({"artifacts": told})
    done = subprocess.run(["jq", "-r", query], input=asked, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == night


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq, which gh has inside")
def test_the_comment_that_is_written_anew_is_the_one_of_the_workflow() -> None:
    script = steps("gate.yml", "publish")["Comment"]["run"]
    (query,) = re.findall(r"--jq '(.*?)'", script, re.DOTALL)
    bot, person = {"login": "github-actions[bot]"}, {"login": "someone"}
    told = [
        {"id": 1, "user": bot, "body": "coverage of the tests"},
        {"id": 2, "user": person, "body": "<!-- muscle-gov -->\nnot the workflow's"},
        {"id": 3, "user": bot, "body": "<!-- muscle-gov -->\n# PASS"},
    ]
    asked = json.dumps(told)
    done = subprocess.run(["jq", "-r", query], input=asked, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3"]


def nightly(url: str) -> str:
    """The file of the page, with the address of a server that is there."""
    (content,) = blocks("ci", "toml")
    assert content.count('"https://models.example.com/v1"') == 2
    return content.replace("https://models.example.com/v1", url)


def of_the_job(address: str, **more: str) -> dict[str, str]:
    """What GitLab's runner has in the environment of a job."""
    given = {"CI_API_V4_URL": address, "CI_PROJECT_ID": "7", "CI_JOB_TOKEN": TOKEN, **more}
    told = {
        name: string.Template(text).substitute(given) for name, text in pipeline()["variables"].items()
    }
    return {**given, **told}


def script_of(job: str) -> str:
    """What GitLab's runner is given, which joins the lines."""
    return "\n".join(pipeline()[job]["script"])


def test_nights_in_gitlab_go_on_with_one_store(tmp_path: Path, programs: Path) -> None:
    pytest.importorskip("httpx")
    model = Model()
    codes, asked = [], []
    with registry() as (address, kept), serving(model) as server:
        for night, (wrong, begin) in enumerate([((), "yes"), (range(90), "no"), ((), "no")]):
            model.wrong = {*wrong}
            folder = tmp_path / str(night)
            (folder / "policy").mkdir(parents=True)
            (folder / "policy" / "policy.toml").write_text(POLICY)
            write_questions(folder, 300)
            # nights that pass within a second are told apart by more than their date
            text = nightly(server.url).replace("@night@", f"@night@ {night}")
            (folder / "nightly.toml").write_text(text)
            done = bash(script_of("nightly"), folder, programs, **of_the_job(address, BEGIN=begin))
            assert "crashed" not in done.stderr, done.stderr
            codes.append(done.returncode)
            asked.append(len(server.seen))
        assert list(kept) == ["/projects/7/packages/generic/muscle-gov/history/muscle-gov.duckdb"]
    assert codes == [0, 1, 0]
    assert asked == [600, 900, 1200]
    assert "@night@" not in (tmp_path / "2" / "nightly.toml").read_text()
    page = (tmp_path / "2" / "history.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    told = bash("muscle-gov history --json", tmp_path / "2", programs)
    assert len(json.loads(told.stdout)) == 3


def test_a_night_at_github_is_judged_and_kept(tmp_path: Path, programs: Path) -> None:
    pytest.importorskip("httpx")
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "policy.toml").write_text(POLICY)
    write_questions(tmp_path, 60)
    told, summary = tmp_path / "output", tmp_path / "summary"
    runner = {"GITHUB_OUTPUT": str(told), "GITHUB_STEP_SUMMARY": str(summary)}
    with serving(Model(7)) as server:
        (tmp_path / "nightly.toml").write_text(nightly(server.url))
        job = steps("nightly.yml", "watch")
        done = bash(job["Judge"]["run"], tmp_path, programs, **runner)
    assert done.returncode == 0, done.stderr
    assert "crashed" not in done.stderr
    assert "@night@" not in (tmp_path / "nightly.toml").read_text()
    assert told.read_text() == "code=3\n"  # too few questions for the limit
    assert "INCONCLUSIVE" in summary.read_text(encoding="utf-8")
    for file in job["Keep the history"]["with"]["path"].split():
        assert (tmp_path / file).stat().st_size > 0


def test_a_night_in_gitlab_without_a_history_is_no_night(tmp_path: Path, programs: Path) -> None:
    (tmp_path / "nightly.toml").write_text(nightly("http://127.0.0.1:9/v1"))
    with registry() as (address, kept):
        done = bash(script_of("nightly"), tmp_path, programs, **of_the_job(address))
    assert done.returncode not in (0, 1)
    assert kept == {}
    assert not (tmp_path / "muscle-gov.duckdb").exists()


UPDATE = """
[models.old]
loader = "endpoint"
url = "{old}"
model = "assistant-1.0"

[models.new]
loader = "endpoint"
url = "{new}"
model = "assistant-1.1"

[suites.questions]
suite = "table"
path = "questions/questions.jsonl"
prompt = "{{{{ question }}}}"
target = "{{{{ answer }}}}"
"""


def git(folder: Path, *words: str) -> None:
    """git, as whoever owns the repository of the test."""
    owner = ("-c", "user.name=release owner", "-c", "user.email=owner@example.com")
    subprocess.run(["git", *owner, *words], cwd=folder, check=True, capture_output=True)


def requested(folder: Path, update: str) -> Path:
    """A clone with a merge request that brings its own limit and an exception of its own."""
    origin, clone = folder / "origin", folder / "clone"
    shutil.copytree(folder / "main", origin)
    git(origin, "init", "--quiet", "--initial-branch=main")
    git(origin, "add", "policy")
    git(origin, "commit", "--quiet", "--message=policy")
    git(folder, "clone", "--quiet", origin.as_uri(), "clone")
    git(clone, "checkout", "--quiet", "-b", "update")
    (clone / "policy" / "policy.toml").write_text(POLICY.replace("0.02", "0.99"))
    (clone / "policy" / "waivers.toml").write_text("")
    (clone / "update.toml").write_text(update)
    write_questions(clone, 300)
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "--message=update")
    return clone


@pytest.mark.parametrize(("broken", "code"), [(60, 1), (3, 3)])
def test_the_gate_in_gitlab_takes_policy_and_baseline_from_elsewhere(
    tmp_path: Path, programs: Path, broken: int, code: int
) -> None:
    pytest.importorskip("httpx")
    main = tmp_path / "main"
    (main / "policy").mkdir(parents=True)
    (main / "policy" / "policy.toml").write_text(POLICY)
    write_questions(main, 300)
    (pin,) = blocks("ci-gitlab", "sh")
    with registry() as (address, kept), serving(Model(*range(broken))) as new:
        with serving(Model(299)) as old:
            update = UPDATE.format(old=old.url, new=new.url)
            (main / "update.toml").write_text(update)
            person = {"GITLAB_API": address, "PROJECT": "7", "GITLAB_TOKEN": TOKEN}
            pinned = bash(pin, main, programs, **person)
            assert pinned.returncode == 0, pinned.stderr
        (main / "muscle-gov.duckdb").unlink()
        clone = requested(tmp_path, update)
        target = {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main"}
        done = bash(script_of("gate"), clone, programs, **of_the_job(address, **target))
        assert done.returncode == code, done.stdout + done.stderr
        assert (len(old.seen), len(new.seen)) == (300, 300)
        assert {path.name for path in (clone / "policy").iterdir()} == {"policy.toml", "baseline.sha256"}
        kept.update({name: content + b" " for name, content in kept.items()})
        shutil.rmtree(clone / "report")
        other = bash(script_of("gate"), clone, programs, **of_the_job(address, **target))
        assert (other.returncode, len(new.seen)) == (2, 300)
        assert "muscle-gov.duckdb: FAILED" in other.stdout
