"""Policies from the command line: presets, --explain, places of rules, the ledger of flaky items."""

from __future__ import annotations

import csv
import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import jsonschema
import pytest
from cli_runner import muscle_gov

from muscle_gov import config
from muscle_gov.plugins import load

TABLE = ("--reader", "table", "-o", "key=id", "-o", "correct=ok", "-o", "suite=s")


def table(path: Path, rows: Iterable[tuple[object, ...]], columns: str = "id ok") -> Path:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns.split())
        writer.writerows(rows)
    return path


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A folder with logs of 400 items, of which the new model breaks three."""
    table(tmp_path / "logs" / "old.csv", [(i, 1) for i in range(400)])
    table(tmp_path / "logs" / "new.csv", [(i, int(i > 2)) for i in range(400)])
    return tmp_path


# ---------------------------------------------------------------------------------------- presets


@pytest.mark.parametrize("preset", config.PRESETS)
@pytest.mark.parametrize("how", ["update", "policy", "run"])
def test_a_preset_that_was_written_is_right(tmp_path: Path, preset: str, how: str) -> None:
    flags = {"update": (), "policy": ("--policy",), "run": ("--run",)}[how]
    file = tmp_path / "made.toml"
    ran = muscle_gov("init", file, "--preset", preset, *flags)
    assert ran.code == 0, ran
    schema = config.json_schema(load(allow=()))
    jsonschema.validate(tomllib.loads(file.read_text("utf-8")), schema)
    for name in ("logs/old", "logs/new"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "questions.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    ran = muscle_gov("check", file)
    assert ran.code == 0, ran
    warned = "the gate has only advisory rules, so no update can pass it" in ran.err
    assert warned == (preset == "exploratory")
    assert max(map(len, file.read_text("utf-8").splitlines())) <= 105


@pytest.mark.parametrize(
    ("preset", "flips", "code"),
    [
        ("default", 0, 0),
        ("default", 3, 3),
        ("default", 40, 1),
        ("strict", 0, 0),
        ("strict", 3, 3),
        ("strict", 40, 1),
        ("exploratory", 0, 3),
        ("exploratory", 40, 3),
    ],
)
def test_a_preset_is_judged_as_it_stands(logs: Path, preset: str, flips: int, code: int) -> None:
    table(logs / "logs" / "old.csv", [(i, 1) for i in range(600)])
    table(logs / "logs" / "new.csv", [(i, int(i >= flips)) for i in range(600)])
    policy = logs / "policy.toml"
    assert muscle_gov("init", "--policy", "--preset", preset, policy).code == 0
    sides = (logs / "logs" / "old.csv", logs / "logs" / "new.csv")
    ran = muscle_gov("compare", *sides, *TABLE, "--policy", policy, "--store", ":memory:")
    assert ran.code == code, ran.out


def test_a_missing_answer_is_one_too_many_for_strict(logs: Path) -> None:
    table(logs / "logs" / "new.csv", [(i, 1) for i in range(399)])
    sides = (logs / "logs" / "old.csv", logs / "logs" / "new.csv")
    for preset, code in (("default", 0), ("strict", 3)):
        policy = logs / f"{preset}.toml"
        assert muscle_gov("init", "--policy", "--preset", preset, policy).code == 0
        ran = muscle_gov("compare", *sides, *TABLE, "--policy", policy, "--store", ":memory:")
        assert ran.code == code, ran.out


def test_the_examples_in_the_comments_of_strict_are_right(tmp_path: Path) -> None:
    text = config.policy_text("strict")
    lines = [
        line.removeprefix("# ") if " = " in line or "[[" in line else line for line in text.splitlines()
    ]
    (tmp_path / "golden.txt").write_text("1\n")
    (tmp_path / "p.toml").write_text("\n".join(lines))
    policy = config.load_policy(tmp_path / "p.toml", load(allow=()))
    assert policy.gate is not None
    assert [rule.slice for rule in policy.gate.rules] == [None, None, None, "subject=*"]
    assert [one.name for one in policy.gate.must_not_regress] == ["golden answers"]


def test_init_names_the_file_by_what_is_in_it(tmp_path: Path) -> None:
    ran = muscle_gov("init", "--policy", cwd=tmp_path)
    assert ran.out == "wrote policy.toml; then: muscle-gov gate --policy policy.toml\n"
    assert muscle_gov("init", "--policy", cwd=tmp_path).code == 2
    assert "leave one out" in muscle_gov("init", "--policy", "--run", cwd=tmp_path).sentence
    assert muscle_gov("init", "--preset", "lax", cwd=tmp_path).code == 2


# ------------------------------------------------------------------------------ explain and places


def test_the_example_of_an_explanation_is_what_the_program_says(tmp_path: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "policy.md").read_text("utf-8")
    (shown,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    for side, broken in (("old", 0), ("new", 5)):
        rows = [(i, int(i >= broken)) for i in range(398)]
        table(tmp_path / "logs" / f"{side}.csv", rows)
    (tmp_path / "policy.toml").write_text("[gate]\n[[gate.rules]]\nmetric = 'nfr'\nmax = 0.02\n")
    given = ("--policy", "policy.toml", "--explain", "-q")
    sides = ("logs/old.csv", "logs/new.csv")
    ran = muscle_gov("compare", *sides, *TABLE, *given, cwd=tmp_path, COLUMNS="300")
    assert ran.code == 3
    lines = [line.rstrip() for line in ran.out.splitlines()]
    assert lines[-4:-1] == shown.splitlines()


def test_explain_says_why_and_what_to_do_and_where_the_rule_stands(logs: Path) -> None:
    (logs / "p.toml").write_text(
        "[gate]\n\n[[gate.rules]]\nmetric = 'nfr'\nmax = 0.01\n"
        "[[gate.must_not_regress]]\nname = 'golden'\ninstances = ['1']\n"
    )
    asked = ("--policy", "p.toml", "--max", "pfr=50%", "--store", "s.db")
    sides = ("logs/old.csv", "logs/new.csv")
    ran = muscle_gov("compare", *sides, *TABLE, *asked, "--explain", "-q", cwd=logs, COLUMNS="300")
    assert ran.code == 1
    assert "why: 3 of 400 pairs flipped (0.75%)" in ran.out
    assert "(p.toml:3)" in ran.out
    assert "(p.toml:6)" in ran.out
    assert "to pass: no pair may flip: 3 fewer; " in ran.out
    again = muscle_gov("gate", *asked, "--explain", "-q", cwd=logs, COLUMNS="300")
    assert [line for line in again.out.splitlines() if "  " in line][-9:] == [
        line for line in ran.out.splitlines() if "  " in line
    ][-9:]
    plain = muscle_gov("gate", *asked, "-q", cwd=logs)
    assert "why:" not in plain.out
    assert muscle_gov("report", "--json", "r.json", "--store", "s.db", cwd=logs).code == 0
    rules = json.loads((logs / "r.json").read_text())["verdict"]["rules"]
    assert [rule["place"] for rule in rules] == ["p.toml:3", None, "p.toml:6"]


def test_hostile_names_are_harmless_in_the_terminal(logs: Path) -> None:
    evil = "\x1b[2J\u202egolden"
    (logs / "p.toml").write_text(
        f"[[gate.must_not_regress]]\nname = {json.dumps(evil)}\ninstances = [{json.dumps(evil)}]\n"
    )
    fields = {"suite": "s", "instance": evil, "reason": evil, "owner": evil, "expires": "2999-01-01"}
    for kind in ("waiver", "quarantine"):
        lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
        (logs / f"{kind}.toml").write_text(f"[[{kind}]]\n" + "\n".join(lines))
    ran = muscle_gov(
        *("compare", "logs/old.csv", "logs/new.csv", *TABLE, "--policy", "p.toml", "--explain"),
        *("--waivers", "waiver.toml", "--quarantine", "quarantine.toml", "--store", "s.db"),
        cwd=logs,
    )
    assert ran.code == 3
    assert "waiver unmatched" in ran.out
    assert "quarantine unmatched" in ran.out
    assert not {"\x1b", "\u202e"} & set(ran.out + ran.err)


# ----------------------------------------------------------------------------------------- flaky


@pytest.fixture
def rerun(tmp_path: Path) -> Path:
    """A store in which `old` answered twice, and otherwise on three items; `new` once."""
    table(tmp_path / "a" / "old.csv", [(i, 1) for i in range(100)])
    table(tmp_path / "b" / "old.csv", [(i, int(i not in (7, 9, 50))) for i in range(100)])
    table(tmp_path / "new.csv", [(i, int(i not in (7, 30))) for i in range(100)])
    ran = muscle_gov(
        *("compare", "a/old.csv", "new.csv", "--old-rerun", "b/old.csv", *TABLE, "--max", "nfr=10%"),
        *("--store", "s.db"),
        cwd=tmp_path,
    )
    assert ran.code in (0, 3), ran
    return tmp_path


def test_flaky_items_are_listed_with_how_often_and_by_whom(rerun: Path) -> None:
    found = muscle_gov("flaky", "--json", "--store", "s.db", cwd=rerun).json
    assert found["total"] == 3
    assert [(one["suite"], one["key"]) for one in found["items"]] == [
        ("s", "50"),
        ("s", "7"),
        ("s", "9"),
    ]
    assert {(one["answers"], one["differing"], *one["models"]) for one in found["items"]} == {
        (2, 1, "old")
    }
    assert len(muscle_gov("flaky", "--store", "s.db", cwd=rerun).out.splitlines()) == 5
    none = muscle_gov("flaky", "--model", "new", "--store", "s.db", cwd=rerun)
    assert none.out.startswith("no item is known to be flaky")
    assert (
        muscle_gov("flaky", "--suite", "x*", "--json", "--store", "s.db", cwd=rerun).json["total"] == 0
    )
    one = muscle_gov("flaky", "--limit", "1", "--store", "s.db", cwd=rerun)
    assert "2 more; --limit 0 lists all" in one.err


def test_a_ledger_holds_once_it_is_signed(rerun: Path) -> None:
    ran = muscle_gov("flaky", "--toml", "q.toml", "--store", "s.db", cwd=rerun)
    assert (ran.code, "3 proposals: q.toml" in ran.err) == (0, True)
    assert "q.toml: is there already" in muscle_gov("flaky", "--toml", "q.toml", cwd=rerun).sentence
    ran = muscle_gov("check", "q.toml", cwd=rerun)
    assert (ran.code, ran.err.count("nobody has signed")) == (2, 3)
    gate = ("gate", "--max", "nfr=1.5%", "--store", "s.db", "--quarantine", "q.toml", "-q")
    assert muscle_gov(*gate, cwd=rerun).code == 2
    text = (rerun / "q.toml").read_text()
    for name, value in (("reason", "sampled"), ("owner", "release owner"), ("expires", "2999-01-01")):
        text = text.replace(f'{name} = ""', f'{name} = "{value}"')
    (rerun / "q.toml").write_text(text)
    assert muscle_gov("check", "q.toml", cwd=rerun).out == "q.toml: no problem found\n"
    ran = muscle_gov(*gate, cwd=rerun)
    assert ran.out.count("quarantine applied: s ") == 3
    report = muscle_gov("report", "--json", "-", "--store", "s.db", cwd=rerun).json
    assert [one["status"] for one in report["verdict"]["quarantined"]] == ["applied"] * 3
    assert report["verdict"]["rules"][0]["measure"]["n"] == 97


ENTRY = """[[{kind}]]
suite = "s"
instance = "{key}"
reason = "known"
owner = "release owner"
expires = "{until}"
"""


@pytest.mark.parametrize("kind", ["waiver", "quarantine"])
def test_entries_that_have_expired_or_soon_will_are_told_by_check(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "32494089600")  # 2999-09-12, whatever the real day is
    days = {"long": "3000-09-12", "past": "2999-09-11", "today": "2999-09-12", "near": "2999-09-26"}
    text = "".join(ENTRY.format(kind=kind, key=key, until=until) for key, until in days.items())
    (tmp_path / "e.toml").write_text(text)
    ran = muscle_gov("check", "e.toml", cwd=tmp_path)
    of = f"e.toml: the {kind} of"
    assert ran.err.splitlines() == [
        f"{of} past in s (release owner) has expired, on 2999-09-11, and sets nothing aside",
        f"{of} today in s (release owner) expires today, on 2999-09-12",
        f"{of} near in s (release owner) expires in 14 days, on 2999-09-26",
    ]
    assert (ran.code, ran.out) == (0, "e.toml: no error, 3 warnings\n")


def test_a_ledger_of_nothing_is_a_quarantine_of_nothing(rerun: Path) -> None:
    ran = muscle_gov("flaky", "--suite", "none", "--toml", "q.toml", "--store", "s.db", cwd=rerun)
    assert ran.code == 0
    assert muscle_gov("check", "q.toml", cwd=rerun).code == 0
    printed = muscle_gov("flaky", "--toml", "-", "--store", "s.db", cwd=rerun)
    assert len(tomllib.loads(printed.out)["quarantine"]) == 3
    assert muscle_gov("flaky", "--toml", "-", "--json", "--store", "s.db", cwd=rerun).code == 2


def test_a_hostile_key_cannot_sign_for_itself(tmp_path: Path) -> None:
    evil = 'x"\nreason = "fine"\u2028\x7f\x1b\U0001f600\\'
    for folder, right in (("a", 1), ("b", 0)):
        rows = [(evil, right), *[(i, 1) for i in range(30)]]
        table(tmp_path / folder / "old.csv", rows)
    for folder in "ab":
        ran = muscle_gov("import", f"{folder}/old.csv", *TABLE, "--store", "s.db", cwd=tmp_path)
        assert ran.code == 0, ran
    text = muscle_gov("flaky", "--toml", "-", "--store", "s.db", cwd=tmp_path).out
    (entry,) = tomllib.loads(text)["quarantine"]
    assert (entry["reason"], entry["owner"], entry["expires"]) == ("", "", "")
    assert entry["instance"] == evil.replace("\r", "")
    assert not {"\x1b", "\u2028", "\x7f"} & set(text)
