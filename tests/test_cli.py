"""Each command: what its help says, what it prints for people and for machines, and on whose store."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from cli_runner import Ran, install, muscle_gov
from scipy.stats import binom, binomtest, multinomial
from table_files import write

from muscle_gov import __version__
from muscle_gov.cli import COMMANDS, cli
from muscle_gov.settings import ImportSettings

NAMES = list(COMMANDS)


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli, **cli.context_settings), name)
    assert found is not None
    return found


def rows(right: Callable[[int], bool], name: str, n: int = 60) -> list[dict[str, Any]]:
    return [
        {
            "id": f"k{i}",
            "correct": right(i),
            "answer": f"{name} says {i if right(i) else -i}",
            "target": f"target {i}",
            "prompt": f"What is {i}?",
            "subject": "law" if i % 3 else "math",
        }
        for i in range(n)
    ]


OPTIONS = ["correct=correct", "answer=answer", "target=target", "prompt=prompt", "tags=subject"]
READING = [word for option in OPTIONS for word in ("-o", option)]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two logs and their comparison in `s.db`; nothing in it is changed."""
    folder = tmp_path_factory.mktemp("cli")
    write(folder / "old.jsonl", rows(lambda i: i % 4 > 0, "old"))
    write(folder / "new.jsonl", rows(lambda i: i % 5 > 0, "new"))
    words = ["compare", "old.jsonl", "new.jsonl", "--reader", "table", *READING, "--store", "s.db", "-q"]
    ran = muscle_gov(*words, cwd=folder)
    assert ran.code == 0, ran
    return folder


@pytest.fixture
def changing(compared: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    for file in compared.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


NEGATIVE = [f"k{i}" for i in range(60) if i % 4 > 0 and i % 5 == 0]
POSITIVE = [f"k{i}" for i in range(60) if i % 4 == 0 and i % 5 > 0]
STILL_WRONG = [f"k{i}" for i in range(60) if i % 20 == 0]


# ---------------------------------------------------------------------------------------------- help


def test_help_lists_every_command_with_a_line_about_it() -> None:
    ran = muscle_gov("--help")
    for name in NAMES:
        assert re.search(rf"^  {name} +[A-Z].{{15,}}\.$", ran.out, re.MULTILINE), name
    assert "Exit codes: 0 pass, 1 the gate failed, 2 usage or input," in ran.out
    assert muscle_gov("--version").out == f"muscle-gov, version {__version__}\n"


@pytest.mark.parametrize("name", NAMES)
def test_each_command_explains_itself_with_examples(name: str) -> None:
    ran = muscle_gov(name, "--help")
    assert ran.code == 0
    assert muscle_gov(name, "-h").out == ran.out
    assert re.search(r"^  Examples?:$", ran.out, re.MULTILINE)
    examples = re.findall(r"^    (?:\w+=\S+ )?(muscle-gov .*?)(?:  \(.*\))?$", ran.out, re.MULTILINE)
    assert any(example.startswith(f"muscle-gov {name}") for example in examples)


@pytest.mark.parametrize("name", NAMES)
def test_each_option_is_listed_with_words_about_it(name: str) -> None:
    shown = muscle_gov(name, "--help").out
    for parameter in command(name).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            for option in parameter.opts:
                assert re.search(rf"(^|[ ,]){option}\b", shown), option
        else:
            assert (parameter.metavar or str(parameter.name)).upper() in shown


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_the_help_are_commands_with_options_that_there_are(name: str) -> None:
    text = muscle_gov(name, "--help").out.replace("\\\n", " ")
    for line in re.findall(r"^ +(?:\w+=\S+ )?muscle-gov (.*?)(?:  \(.*\))?$", text, re.MULTILINE):
        for one in re.split(r" (?:&&|>) (?:muscle-gov )?", line):
            words = shlex.split(one)
            if words[0] not in COMMANDS:
                continue  # the name of a file behind >
            known = {opt for p in command(words[0]).params for opt in p.opts}
            used = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
            assert used <= known, one


def test_the_choices_of_reading_are_those_of_the_settings() -> None:
    """Else an option of the pipeline could not be asked for."""
    options = {p.name: p for p in command("import").params}
    for name in ("pair_by", "duplicates"):
        choice = options[name].type
        assert isinstance(choice, click.Choice)
        (field,) = (f for f in dataclasses.fields(ImportSettings) if f.name == name)
        assert options[name].default == field.default
        assert muscle_gov("import", "x", f"--{name.replace('_', '-')}", "nosuch").code == 2


# ------------------------------------------------------------------------------------------- machines


@pytest.mark.parametrize(
    "words",
    [
        ["history", "--json"],
        ["flips", "--json"],
        ["report", "--json", "-"],
        ["plan", "--power", "--json"],
        ["plan", "--rule-out", "2%", "--json"],
        ["plugins", "--json"],
        ["plugins", "table", "--json"],
        ["check", "--schema"],
    ],
    ids=" ".join,
)
def test_json_is_json_and_nothing_else_is_printed(compared: Path, words: list[str]) -> None:
    store = [] if words[0] in ("plugins", "check") else ["--store", "s.db"]
    ran = muscle_gov(*words, *store, cwd=compared)
    assert ran.code == 0, ran
    assert ran.err == ""
    assert ran.json
    assert ran.out.endswith("\n")


def test_a_comparison_is_printed_as_json_with_its_command(changing: Path) -> None:
    words = ["compare", "old.jsonl", "new.jsonl", "--json", "-", "--store", ":memory:", "--suite", "t*"]
    found = muscle_gov(*words, cwd=changing).json
    assert (
        found["command"]
        == "muscle-gov compare old.jsonl new.jsonl --json - --store :memory: --suite 't*'"
    )
    assert found["comparison"]["suites"][0]["n_pairs"] == 60
    assert found["flip_counts"] == {"negative": len(NEGATIVE), "positive": len(POSITIVE)}


def test_imported_runs_are_told(tmp_path: Path) -> None:
    write(tmp_path / "old.jsonl", rows(bool, "old"))
    words = ["import", "old.jsonl", "--store", "s.db"]
    assert muscle_gov(*words, cwd=tmp_path).out == "table  old  60 rows, 60 instances (read)\n"
    assert muscle_gov(*words, cwd=tmp_path).out == "table  old  60 rows, 60 instances (already there)\n"
    (run,) = muscle_gov(*words, "--json", cwd=tmp_path).json
    assert (run["suite"], run["model"], run["n_rows"], run["was_there"]) == ("table", "old", 60, True)
    (tmp_path / "bad.jsonl").write_text('{"id": "1", "correct": true}\n{"id": \n')
    ran = muscle_gov("import", "bad.jsonl", "--store", "s.db", cwd=tmp_path)
    assert ran.out == "table  bad  1 rows, 1 instances, 1 lines could not be read (read)\n"


# ---------------------------------------------------------------------------------------------- flips


def flips(folder: Path, *words: str) -> Any:
    return muscle_gov("flips", *words, "--json", "--limit", "0", "--store", "s.db", cwd=folder).json


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["--kind", "negative"], NEGATIVE),
        (["--kind", "positive"], POSITIVE),
        (["--kind", "wrong_to_wrong"], STILL_WRONG),
        (["--kind", "negative", "--kind", "positive"], [*NEGATIVE, *POSITIVE]),
        ([], [*NEGATIVE, *STILL_WRONG, *POSITIVE]),
        (["--suite", "table"], [*NEGATIVE, *STILL_WRONG, *POSITIVE]),
        (["--suite", "t*", "--kind", "negative"], NEGATIVE),
        (["--suite", "other*"], []),
        (
            ["--slice", "subject=math", "--kind", "negative"],
            [k for k in NEGATIVE if int(k[1:]) % 3 == 0],
        ),
        (["--slice", "subject=nosuch"], []),
        (["--key", "k5"], ["k5"]),
        (["--text", "WHAT IS 5?"], ["k5"]),
        (["--text", "target 15"], ["k15"]),
        (["--text", "new says -25"], ["k25"]),
        (["--text", "%"], []),
        (["--text", "nowhere"], []),
        (["--kind", "loss"], []),
    ],
    ids=lambda value: " ".join(map(str, value))[:40],
)
def test_flips_are_filtered(compared: Path, words: list[str], keys: list[str]) -> None:
    found = flips(compared, *words)
    assert [flip["key"] for flip in found["flips"]] == keys
    assert found["total"] == len(keys)


def test_a_flip_says_all_that_is_known_of_it(compared: Path) -> None:
    (flip,) = flips(compared, "--key", "k5")["flips"]
    assert isinstance(flip.pop("instance_id"), str)
    assert flip == {
        "suite": "table",
        "key": "k5",
        "kind": "negative",
        "old_answer": "old says 5",
        "new_answer": "new says -5",
        "target": "target 5",
        "prompt": "What is 5?",
        "new_prompt": None,
        "old_output": None,
        "new_output": None,
        "old_score": 1.0,
        "new_score": 0.0,
        "tags": {"subject": "law"},
        "waived": None,
        "size": 1.0,
        "old_margin": None,
        "new_margin": None,
    }


def test_flips_are_the_same_whichever_way_they_are_asked_for(compared: Path) -> None:
    by_report = muscle_gov("report", "--json", "-", "--store", "s.db", cwd=compared).json["flips"]
    assert flips(compared)["flips"] == by_report
    table = muscle_gov("report", "--csv", "-", "--store", "s.db", cwd=compared).out
    assert [row["key"] for row in csv.DictReader(io.StringIO(table.lstrip("\ufeff")))] == [
        flip["key"] for flip in by_report
    ]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["--slice", "foo=bar"], "--slice foo=bar"),
        (["--suite", "nosuch", "--kind", "negative"], "--suite nosuch --kind negative"),
        (["--text", "zzz"], "--text zzz"),
        (["--key", "zzz", "--json"], "--key zzz"),
    ],
)
def test_where_no_flip_matches_it_says_what_there_is(
    compared: Path, words: list[str], asked: str
) -> None:
    ran = muscle_gov("flips", *words, "--store", "s.db", cwd=compared)
    assert ran.code == 0
    total = len([*NEGATIVE, *STILL_WRONG, *POSITIVE])
    assert f"no flip matches {asked}; " in ran.err
    assert f" has {total} flips: suites table; kinds positive, negative, wrong_to_wrong" in ran.err
    assert "; slices subject=" in ran.err
    if "--json" not in words:
        assert ran.out == ""


def test_where_nothing_flipped_there_is_no_filter_to_blame(compared: Path, tmp_path: Path) -> None:
    (tmp_path / "again.jsonl").write_bytes((compared / "old.jsonl").read_bytes())
    given = ("--reader", "table", *READING, "--store", tmp_path / "s.db", "-q")
    ran = muscle_gov("compare", compared / "old.jsonl", tmp_path / "again.jsonl", *given)
    assert ran.code == 0, ran
    ran = muscle_gov("flips", "--kind", "loss", "--store", tmp_path / "s.db")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("muscle-gov: no answer changed in ")


def test_a_list_of_flips_is_cut_and_says_so(compared: Path) -> None:
    ran = muscle_gov("flips", "--limit", "2", "--store", "s.db", cwd=compared)
    total = len([*NEGATIVE, *STILL_WRONG, *POSITIVE])
    assert [line.split()[:3] for line in ran.out.splitlines()] == [
        ["negative", "table", key] for key in NEGATIVE[:2]
    ]
    assert ran.err == f"{total - 2} more; --limit 0 lists all\n"
    ran = muscle_gov("flips", "--limit", "0", "--store", "s.db", cwd=compared)
    assert len(ran.out.splitlines()) == total
    assert ran.err == ""


def test_a_flip_is_shown_in_full_with_a_word_diff(tmp_path: Path) -> None:
    for side, says, right in (
        ("old", "The answer is 41, surely.", True),
        ("new", "The answer is 42, surely.", False),
    ):
        write(
            tmp_path / f"{side}.jsonl", [{"id": "a", "correct": right, "said": says, "why": "long ago"}]
        )
    words = ["--reader", "table", "-o", "output=said", "-o", "prompt=why", "--store", "s.db", "-q"]
    assert muscle_gov("compare", "old.jsonl", "new.jsonl", *words, cwd=tmp_path).code == 0
    shown = muscle_gov("flips", "--key", "a", "--store", "s.db", cwd=tmp_path).out
    assert "negative  table  a" in shown
    assert "long ago" in shown
    assert "The answer is [-41-]{+42+}, surely." in shown


def test_waived_flips_are_marked(changing: Path) -> None:
    (changing / "w.toml").write_text(
        '[[waiver]]\nsuite = "table"\ninstance = "k5"\n'
        'reason = "known"\nowner = "QA"\nexpires = "2999-01-01"\n'
    )
    words = ["gate", "--max", "nfr=50%", "--waivers", "w.toml", "--store", "s.db"]
    ran = muscle_gov(*words, cwd=changing)
    assert ran.code == 0
    assert re.search(r"waiver applied: table k5, 1 flips? \(known; QA, until 2999-01-01\)", ran.out)
    found = {flip["key"]: flip["waived"] for flip in flips(changing)["flips"]}
    assert found.pop("k5") == "known (QA, until 2999-01-01)"
    assert set(found.values()) == {None}
    listed = muscle_gov("flips", "--store", "s.db", cwd=changing).out
    assert [line.split()[2] for line in listed.splitlines() if "[waived]" in line] == ["k5"]


# -------------------------------------------------------------------- judging, reporting, remembering


def test_a_gate_keeps_its_verdict_and_history_shows_the_newest(changing: Path) -> None:
    def history() -> Any:
        (row,) = muscle_gov("history", "--json", "--store", "s.db", cwd=changing).json
        return row

    assert (history()["status"], history()["suites"], history()["n_pairs"]) == ("NOT JUDGED", 1, 60)
    assert history()["nfr"] == pytest.approx(len(NEGATIVE) / 60)
    assert history()["accuracy_delta"] == pytest.approx((len(POSITIVE) - len(NEGATIVE)) / 60)
    for limit, code, status in (("90%", 0, "PASS"), ("1%", 1, "FAIL"), ("14%", 3, "INCONCLUSIVE")):
        ran = muscle_gov("gate", "--max", f"nfr={limit}", "--store", "s.db", cwd=changing)
        assert ran.code == code
        assert status in ran.out
        assert history()["status"] == status
    shown = muscle_gov("history", "--store", "s.db", cwd=changing).out
    assert re.search(r"\d{8}-\w+ +\d{4}-\d\d-\d\d \d\d:\d\d +old → new +1 +60 .* INCONCLUSIVE", shown)


def test_history_counts_the_suites_that_were_compared_and_not_those_left_out(tmp_path: Path) -> None:
    for name, every in (("old", 4), ("new", 5)):
        both = [
            {**row, "suite": suite}
            for suite in ("maths", "law", "reading")
            for row in rows(lambda i, e=every: i % e > 0, name)
        ]
        write(tmp_path / f"{name}.jsonl", both)
    words = [
        "compare",
        "old.jsonl",
        "new.jsonl",
        "--reader",
        "table",
        *READING,
        "-o",
        "suite_column=suite",
    ]
    for chosen, n in (([], 3), (["--suite", "law"], 1), (["--suite", "law", "--suite", "maths"], 2)):
        assert muscle_gov(*words, *chosen, "--store", "s.db", "-q", cwd=tmp_path).code == 0
        newest = muscle_gov("history", "--json", "--store", "s.db", cwd=tmp_path).json[0]
        assert newest["suites"] == n
        assert newest["suite"] == ("law" if n == 1 else "(all)")
    shown = muscle_gov("history", "--store", "s.db", cwd=tmp_path).out
    assert "(worst suite)" not in shown


@pytest.mark.parametrize(("pattern", "n"), [("old", 1), ("n*", 1), ("nosuch", 0), ("o?d", 1)])
def test_history_is_filtered_by_model(compared: Path, pattern: str, n: int) -> None:
    ran = muscle_gov("history", "--json", "--model", pattern, "--store", "s.db", cwd=compared)
    assert len(ran.json) == n


def test_comparisons_are_found_by_the_beginning_of_their_id_and_the_latest_by_none(
    changing: Path,
) -> None:
    words = ["compare", "new.jsonl", "old.jsonl", "--store", "s.db", "-q"]
    assert muscle_gov(*words, cwd=changing).code == 0
    newest, first = muscle_gov("history", "--json", "--store", "s.db", cwd=changing).json
    assert (newest["old_model"], first["old_model"]) == ("new", "old")
    assert flips(changing)["comparison"] == newest["id"]
    for wanted in (first["id"], first["id"][:-1]):
        assert flips(changing, wanted)["comparison"] == first["id"]
    ran = muscle_gov("flips", first["id"][:4], "--store", "s.db", cwd=changing)
    assert ran.code == 2
    assert "is the start of several comparisons" in ran.sentence


def test_reports_of_a_stored_comparison_are_written_with_its_verdict(changing: Path) -> None:
    assert muscle_gov("gate", "--max", "nfr=1%", "--store", "s.db", cwd=changing).code == 1
    names = {
        "html": "r.html",
        "md": "r.md",
        "json": "r.json",
        "csv": "r.csv",
        "parquet": "r.parquet",
        "junit": "r.xml",
    }
    words = [word for name, file in names.items() for word in (f"--{name}", file)]
    before = (changing / "s.db").read_bytes()
    ran = muscle_gov("report", *words, "--store", "s.db", cwd=changing)
    assert ran.code == 0
    assert (changing / "s.db").read_bytes() == before, "a report changed the store"
    assert ran.out == ""
    assert len(ran.err.splitlines()) == len(names)
    for file in names.values():
        assert (changing / file).stat().st_size > 100
    assert json.loads((changing / "r.json").read_text())["verdict"]["status"] == "FAIL"
    assert "FAIL" in (changing / "r.html").read_text()
    again = {file: (changing / file).read_bytes() for file in names.values()}
    assert muscle_gov("report", *words, "--store", "s.db", "-q", cwd=changing).err == ""
    assert {file: (changing / file).read_bytes() for file in names.values()} == again


def test_a_stored_comparison_has_the_figures_of_the_first_time(changing: Path) -> None:
    words = ["old.jsonl", "new.jsonl", "--reader", "table", *READING, "--max", "nfr=90%", "--json", "-"]
    first = muscle_gov("compare", *words, "--confidence", "0.9", "--store", "s.db", cwd=changing).json
    again = muscle_gov("report", "--json", "-", "--store", "s.db", cwd=changing).json
    for part in ("comparison", "verdict", "flips", "flip_counts", "command"):
        assert again[part] == first[part], part


def test_an_exported_run_is_read_back_as_the_same(changing: Path) -> None:
    words = ["export", "table", "--model", "new", "--store", "s.db"]
    assert muscle_gov(*words, "-f", "out.jsonl", cwd=changing).out == "wrote out.jsonl\n"
    assert muscle_gov(*words, cwd=changing).out == (changing / "out.jsonl").read_text()
    ran = muscle_gov(
        *[
            "compare",
            "new.jsonl",
            "out.jsonl",
            "--old-reader",
            "table",
            "--new-reader",
            "every-eval-ever",
        ],
        *["--pair-by", "key", "--store", ":memory:", "--json", "-", "-q", "--suite", "table"],
        *[word for option in OPTIONS for word in ("--old-option", option)],
        cwd=changing,
    )
    (suite,) = ran.json["comparison"]["suites"]
    right = len([i for i in range(60) if i % 5])
    assert suite["outcomes"] == {"right>right": right, "wrong>wrong": 60 - right}
    assert ran.json["flip_counts"] == {}


def test_a_config_file_is_made_checked_and_driven(changing: Path) -> None:
    ran = muscle_gov("init", cwd=changing)
    assert ran.out == "wrote update.toml; then: muscle-gov compare --config update.toml\n"
    text = (changing / "update.toml").read_text()
    ran = muscle_gov("check", "update.toml", cwd=changing)
    assert ran.code == 2
    assert "there is no file or directory logs/old" in ran.err
    text = text.replace('"logs/old"', '"old.jsonl"').replace('"logs/new"', '"new.jsonl"')
    (changing / "update.toml").write_text(text)
    assert muscle_gov("check", "update.toml", cwd=changing).out == "update.toml: no problem found\n"
    expired = (
        'suite="table"\ninstance="k5"\nreason="known"\nowner="release owner"\nexpires="2020-01-31"\n'
    )
    (changing / "waivers.toml").write_text(f"[[waiver]]\n{expired}")
    (changing / "waived.toml").write_text(f'waivers = "waivers.toml"\n{text}')
    ran = muscle_gov("check", "waived.toml", cwd=changing)
    assert (ran.code, ran.out) == (0, "waived.toml: no error, 1 warning\n")
    assert "the waiver of k5 in table (release owner) has expired" in ran.err
    ran = muscle_gov("compare", "-c", "update.toml", "--store", "u.db", "-q", cwd=changing)
    assert ran.code == 1, ran
    assert (changing / "u.db").exists()
    assert muscle_gov("init", "update.toml", cwd=changing).code == 2
    assert (changing / "update.toml").read_text() == text
    assert muscle_gov("init", "--force", cwd=changing).code == 0
    assert (changing / "update.toml").read_text() != text


def config(folder: Path, text: str) -> None:
    logs = '[old]\npath = "old.jsonl"\n[new]\npath = "new.jsonl"\n'
    (folder / "u.toml").write_text(text + logs)


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(changing: Path) -> None:
    config(changing, 'store = "file.db"\n')
    words = ["compare", "-c", "u.toml", "-q"]
    for more, environment, store in (
        ([], {}, "file.db"),
        ([], {"MUSCLE_GOV_STORE": "env.db"}, "env.db"),
        (["--store", "line.db"], {"MUSCLE_GOV_STORE": "env.db"}, "line.db"),
    ):
        before = {p.name for p in changing.iterdir()}
        assert muscle_gov(*words, *more, cwd=changing, **environment).code == 0
        assert {p.name for p in changing.iterdir()} - before == {store}


def test_rules_of_the_command_line_are_added_to_those_of_the_file(changing: Path) -> None:
    config(changing, "")
    with (changing / "u.toml").open("a") as file:
        file.write('[[gate.rules]]\nmetric = "nfr"\nmax = 0.9\n')
    words = ["compare", "-c", "u.toml", "--store", ":memory:", "--json", "-"]
    one = muscle_gov(*words, cwd=changing).json["verdict"]
    two = muscle_gov(*words, "--max", "pfr=1%", cwd=changing).json["verdict"]
    assert [len(one["rules"]), len(two["rules"])] == [1, 2]
    assert (one["status"], two["status"]) == ("PASS", "FAIL")
    assert one["policy_digest"] != two["policy_digest"]
    (changing / "p.toml").write_text('[[gate.rules]]\nmetric = "nfr"\nmax = 0.9\n')
    alone = [
        "compare",
        "old.jsonl",
        "new.jsonl",
        "--policy",
        "p.toml",
        "--store",
        ":memory:",
        "--json",
        "-",
    ]
    assert muscle_gov(*alone, cwd=changing).json["verdict"]["policy_digest"] == one["policy_digest"]


def test_a_file_can_shut_plugins_out(changing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config(changing, "")
    with (changing / "u.toml").open("a") as file:
        file.write('[plugins]\nblock = ["table"]\n')
    ran = muscle_gov("compare", "-c", "u.toml", "--store", ":memory:", cwd=changing)
    assert ran.code == 2
    assert "old.jsonl: no reader knows this format" in ran.sentence
    (changing / "p.toml").write_text(
        '[plugins]\nallow = []\n[[gate.rules]]\nmetric = "strange"\nmax = 1\n'
    )
    monkeypatch.syspath_prepend(str(install(changing / "plugins", "strange-plugin", STRANGE)))
    words = ["compare", "old.jsonl", "new.jsonl", "--store", ":memory:", "--max", "strange=1"]
    assert muscle_gov(*words, cwd=changing).code == 0
    ran = muscle_gov(*words, "--policy", "p.toml", cwd=changing)
    assert ran.code == 2
    assert "there is no metric 'strange'" in ran.err


STRANGE = '''
from dataclasses import dataclass
from typing import ClassVar
from muscle_gov import Measure, hookimpl

@hookimpl
def register_metrics():
    return {"strange": Strange}

@dataclass(frozen=True)
class Strange:
    """Always nothing. Range 0 to 1."""
    title: ClassVar[str] = "Strange"
    direction: ClassVar[str] = "lower"
    kinds: ClassVar[tuple[str, ...]] = ("binary",)
    def measure(self, pairs, confidence):
        return Measure(0.0, 0.0, 0.0, pairs.n, "none")
'''


def test_a_rule_that_holds_for_any_update_is_warned_about_but_judged(compared: Path) -> None:
    words = ["compare", "old.jsonl", "new.jsonl", "--store", ":memory:", "--max", "nfr=100%"]
    ran = muscle_gov(*words, cwd=compared)
    assert ran.code == 0
    assert "with max = 1 the rule holds for any update" in ran.err
    assert muscle_gov(*words, "-q", cwd=compared).err == ""


def test_plugins_are_listed_and_explained(compared: Path) -> None:
    listed = muscle_gov("plugins").out
    for name in ("lm-eval", "inspect", "metrics-flips", "report-html"):
        assert re.search(rf"^{name} +muscle-gov {__version__}  .*\S", listed, re.MULTILINE)
    shown = muscle_gov("plugins", "table").out
    assert "reader table, from the plugin table" in shown
    assert re.search(r"^  answer_pick: .*'last'$", shown, re.MULTILINE)
    shown = muscle_gov("plugins", "nfr").out
    assert "Range 0 to 1" in shown
    ran = muscle_gov("plugins", MUSCLE_GOV_BLOCK_PLUGINS="helm")
    assert re.search(r"^helm +muscle-gov .* blocked$", ran.out, re.MULTILINE)


# ----------------------------------------------------------------------------------------------- plan


def upper(k: int, n: int, confidence: float) -> float:
    """scipy's own one-sided Clopper-Pearson bound."""
    interval = binomtest(k, n, alternative="less").proportion_ci(confidence, "exact")
    return float(interval.high)


def allowed(limit: float, n: int, confidence: float = 0.95) -> int:
    """Most flips with which the bound stays inside the limit, by trying one after the other."""
    return next(k for k in range(n + 1) if upper(k, n, confidence) > limit) - 1


@pytest.mark.parametrize(
    ("limit", "expect", "chance", "confidence"),
    [
        ("5%", "0", "0.8", "0.95"),
        ("5%", "1%", "0.8", "0.95"),
        ("10%", "3%", "0.9", "0.9"),
        ("0.2", "5%", "0.5", "0.99"),
    ],
)
def test_the_items_planned_are_those_that_trying_finds(
    limit: str, expect: str, chance: str, confidence: str
) -> None:
    words = ["--rule-out", limit, "--expect", expect, "--chance", chance, "--confidence", confidence]
    (answer,) = muscle_gov("plan", *words, "--json").json
    n, level = answer["items"], float(confidence)
    assert answer["flips_allowed"] == allowed(answer["rule_out"], n, level)

    def reached(items: int) -> bool:
        most = allowed(answer["rule_out"], items, level)
        return bool(binom.cdf(most, items, answer["expect"]) >= float(chance)) if most >= 0 else False

    assert all(reached(items) for items in range(n, n + 40))
    assert not reached(n - 1)
    words_shown = muscle_gov("plan", *words).out
    assert words_shown.startswith(f"{n:,} items rule out an NFR of ")


def power(worse: float, better: float, n: int, alpha: float) -> float:
    """Chance of a small exact McNemar p, by going through all that can happen."""
    total = 0.0
    for down in range(n + 1):
        for up in range(n + 1 - down):
            if down + up and binomtest(down, down + up).pvalue <= alpha:
                total += multinomial.pmf(
                    [down, up, n - down - up], n, [worse, better, 1 - worse - better]
                )
    return total


@pytest.mark.parametrize(
    ("detect", "flips", "confidence"), [("50%", "70%", "0.9"), ("40%", "40%", "0.9")]
)
def test_the_change_planned_for_is_found_with_the_chance_that_trying_finds(
    detect: str, flips: str, confidence: str
) -> None:
    words = ["plan", "--detect", detect, "--flips", flips, "--confidence", confidence]
    (answer,) = muscle_gov(*words, "--json").json
    n, d, f = answer["items"], answer["detect"], answer["flips"]
    alpha = 1 - float(confidence)
    assert power((f + d) / 2, (f - d) / 2, n, alpha) >= 0.8
    assert power((f + d) / 2, (f - d) / 2, n - 1, alpha) < 0.8


def test_what_so_many_items_can_show() -> None:
    words = ["plan", "--power", "-n", "30", "--flips", "60%", "--rule-out", "20%", "--expect", "5%"]
    (answer,) = muscle_gov(*words, "--json").json
    assert answer["nfr_ruled_out_without_flips"] == pytest.approx(upper(0, 30, 0.95))
    assert answer["chance"] == pytest.approx(binom.cdf(allowed(0.2, 30), 30, 0.05))
    change = answer["detectable_change"]
    assert power((0.6 + change) / 2, (0.6 - change) / 2, 30, 0.05) == pytest.approx(0.8, abs=1e-3)


def test_a_plan_takes_the_suites_compared_last(compared: Path) -> None:
    (answer,) = muscle_gov("plan", "--power", "--store", "s.db", "--json", cwd=compared).json
    assert answer["items"] == 60
    assert answer["flips"] == pytest.approx((len(NEGATIVE) + len(POSITIVE)) / 60)
    assert answer["words"].startswith("table: 60 items: ")


# ------------------------------------------------------------------------------------- hostile logs

EVIL = "\x1b[2J\x1b]0;owned\x07\r\b\x9b31m\u202e\u2066\u200b\x00\x7f"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log in which every text is an attack on the terminal."""
    folder = tmp_path_factory.mktemp("hostile")
    for side in ("old", "new"):
        made = [
            {
                "id": f"k{i}{EVIL}",
                "correct": (i % 3 > 0) == (side == "old"),
                "answer": f"{side}{EVIL}{i}",
                "target": f"t{EVIL}",
                "prompt": f"[bold]p[/bold]{EVIL}\n[link=http://x]{EVIL}",
                "tag": f"v{EVIL}{i % 2}",
                "suite": f"s{EVIL}",
                "model": f"m{EVIL}{side}",
            }
            for i in range(9)
        ]
        lines = [json.dumps(row) for row in made]
        (folder / f"{side}.jsonl").write_text("\n".join([*lines, f'{{"id": "{side}\u202e']) + "\n")
    return folder


HOSTILE_READING = [
    "--reader",
    "table",
    "-o",
    "suite_column=suite",
    "-o",
    "output=answer",
    "-o",
    "prompt=prompt",
]
HOSTILE_READING += [
    "-o",
    "correct=correct",
    "-o",
    "answer=answer",
    "-o",
    "target=target",
    "-o",
    "tags=tag",
    "-o",
    "cluster=tag",
]


def is_clean(ran: Ran) -> None:
    for stream in (ran.out, ran.err):
        assert not CONTROLS.search(stream), stream


def test_a_hostile_log_never_reaches_the_terminal(hostile: Path) -> None:
    words = ["compare", "old.jsonl", "new.jsonl", *HOSTILE_READING, "--store", "s.db", "--worst", "99"]
    for side in ("old", "new"):
        words += [f"--{side}-option", f"model=m{EVIL}{side}".replace("\x00", "")]
    ran = muscle_gov(*words, "--max", "nfr=1%", "--allow", "malformed-lines", cwd=hostile)
    assert ran.code == 1, ran
    is_clean(ran)
    assert "␛[2J" in ran.out
    for command_words in (
        ["history"],
        ["flips"],
        ["flips", "--limit", "1"],
        ["flips", "--key", f"k1{EVIL}"],
        ["gate", "--max", f"s*[tag=v{EVIL}1]:nfr=1%"],
        ["plan", "--power"],
        ["report", "--md", "r.md"],
        ["export", "nosuch"],
        ["import", "old.jsonl", *HOSTILE_READING],
        ["import", "new.jsonl", "--reader", "table", "-o", f"key={EVIL}"],
        ["import", "new.jsonl", "--reader", EVIL],
        [EVIL],
        ["flips", EVIL],
    ):
        given = [word.replace("\x00", "") if word != f"k1{EVIL}" else word for word in command_words]
        store = [] if given[0] not in COMMANDS else ["--store", "s.db"]
        is_clean(muscle_gov(*given, *store, cwd=hostile))


def test_markup_of_a_log_is_shown_and_not_obeyed(hostile: Path) -> None:
    words = ["compare", "old.jsonl", "new.jsonl", *HOSTILE_READING, "--store", "t.db", "-q"]
    assert muscle_gov(*words, cwd=hostile).code == 3
    shown = muscle_gov("flips", "--key", f"k1{EVIL}", "--store", "t.db", cwd=hostile).out
    assert "[bold]p[/bold]" in shown
    assert "[link=http://x]" in shown


@pytest.mark.parametrize("columns", ["20", "40", "200"])
def test_narrow_and_wide_terminals_show_the_verdict(compared: Path, columns: str) -> None:
    words = ["compare", "old.jsonl", "new.jsonl", "--store", ":memory:", "--max", "nfr=1%"]
    ran = muscle_gov(*words, cwd=compared, COLUMNS=columns)
    assert ran.code == 1
    assert "FAIL" in ran.out
    assert all(len(line) <= int(columns) for line in ran.out.splitlines())
