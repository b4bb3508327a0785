"""Configuration files: what is read, and that everything wrong is told with its line, at once."""

from __future__ import annotations

import dataclasses
import json
import random
import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muscle_gov import config
from muscle_gov.config.lines import key_lines
from muscle_gov.errors import ConfigError, UsageError
from muscle_gov.plugins import Plugins, load
from muscle_gov.settings import Gate, ImportSettings, Policy, Rule, Waiver

SCHEMA = Path(__file__).parent.parent / "docs" / "schemas" / "update.schema.json"
LOGS = '[old]\npath = "old.csv"\n[new]\npath = "new.csv"\n'
QUARANTINE = (
    '[[quarantine]]\nsuite = "s"\ninstance = "7"\nreason = "r"\nowner = "o"\nexpires = 2031-02-03\n'
)
WAIVER = '[[waiver]]\nsuite = "s"\ninstance = "7"\nreason = "r"\nowner = "o"\nexpires = 2031-02-03\n'


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    """What is built in, and a report format `toy`."""
    loaded = load(allow=())

    @dataclasses.dataclass(frozen=True)
    class Toy:
        """A report."""

    reports = {**loaded.offers["reports"], "toy": Toy, "toy2": Toy}
    return dataclasses.replace(loaded, offers={**loaded.offers, "reports": reports})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("old.csv", "new.csv"):
        (tmp_path / name).write_text("id,correct\n1,1\n")
    return tmp_path


def write(folder: Path, text: str, name: str = "update.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str, plugins: Plugins) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load_update(write(folder, text), plugins)
    assert caught.value.where == str(folder / "update.toml")
    return list(caught.value.problems)


def policy_problems(folder: Path, text: str, plugins: Plugins) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load_policy(write(folder, text), plugins)
    return list(caught.value.problems)


# ----------------------------------------------------------------------------------- what is understood


def test_every_part_of_an_update_is_read(folder: Path, plugins: Plugins) -> None:
    write(folder, WAIVER, "w.toml")
    text = """
        store = "runs/x.duckdb"
        waivers = "w.toml"
        [old]
        path = "old.csv"
        reader = "table"
        model = "m"
        pair_by = "key"
        duplicates = "last"
        reruns = ["new.csv"]
        options = {key = "id", higher_is_better = false}
        [new]
        path = "new.csv"
        [compare]
        confidence = 0.9
        threshold = 1
        suites = ["a"]
        allow = ["prompt-changed"]
        slices = false
        [gate]
        coverage = 0.5
        [[gate.rules]]
        metric = "nfr"
        max = 0
        tier = "advisory"
        [reports]
        toy = "out/report.html"
    """
    update = config.load_update(write(folder, text), plugins)
    assert update.old.path == folder / "old.csv"
    assert update.old.model == "m"
    assert update.old.reruns == (folder / "new.csv",)
    options = {"key": "id", "higher_is_better": False}
    assert update.old.settings == ImportSettings("table", options, "key", "last")
    assert update.new.settings == ImportSettings()
    assert (update.compare.confidence, update.compare.threshold) == (0.9, 1.0)
    assert (update.compare.suites, update.compare.allow) == (("a",), ("prompt-changed",))
    assert update.compare.slices is False
    assert update.policy.gate is not None
    assert update.policy.gate.rules == (Rule(metric="nfr", max=0.0, tier="advisory"),)
    assert update.policy.gate.coverage == 0.5
    assert update.policy.waivers == (Waiver("s", "r", "o", "2031-02-03", "7"),)
    assert update.reports == {"toy": folder / "out/report.html"}
    assert update.store == folder / "runs/x.duckdb"
    assert update.warnings == ("the gate has only advisory rules, so no update can pass it",)


def test_left_out_parts_take_the_defaults_of_the_settings(folder: Path, plugins: Plugins) -> None:
    update = config.load_update(write(folder, LOGS), plugins)
    assert update.policy == Policy(None)
    assert (update.store, update.reports, update.warnings) == (None, {}, ())
    assert config.load_update(write(folder, 'store = ":memory:"\n' + LOGS), plugins).store == Path(
        ":memory:"
    )


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(folder: Path, plugins: Plugins) -> None:
    path = folder / "update.toml"
    path.write_bytes(b"\xef\xbb\xbf" + LOGS.replace("\n", "\r\n").encode())
    assert config.load_update(path, plugins).old.path == folder / "old.csv"
    path.write_bytes(b"\xef\xbb\xbf" + b"[gate]\r\n\r\n[[gate.rules]]\r\nmetric = 1\r\nmax = 0.1\r\n")
    with pytest.raises(ConfigError, match=re.escape("line 4: gate.rules[0].metric: must be a text")):
        config.load_policy(path, plugins)


def test_a_path_among_the_options_is_found_from_the_file(folder: Path, plugins: Plugins) -> None:
    (folder / "gold.csv").write_text("id\n")
    text = (
        LOGS + '[old.options]\ntargets = "gold.csv"\nrows = "gold.csv"\n[new.options]\ntargets = "x.csv"'
    )
    for reader in ("table", "auto"):
        sided = text.replace('.csv"\n[', f'.csv"\nreader = "{reader}"\n[', 2)
        update = config.load_update(write(folder, sided), plugins)
        # `rows` is no path, and what is not there is left to the reader's own rules
        assert update.old.settings.options == {"targets": str(folder / "gold.csv"), "rows": "gold.csv"}
        assert update.new.settings.options == {"targets": "x.csv"}


def test_an_update_file_drives_a_comparison_to_a_verdict(
    tmp_path: Path, plugins: Plugins, real_logs: Path
) -> None:
    from muscle_gov import pipeline
    from muscle_gov.data import Status
    from muscle_gov.store import open_store

    logs = real_logs / "lm_eval_toy_dev"
    text = f"""
        [old]
        path = "{logs / "toy__ngram2-knn1-v1"}"
        [new]
        path = "{logs / "toy__ngram3-knn5-v2"}"
        [[gate.rules]]
        metric = "nfr"
        max = 0.05
    """
    u = config.load_update(write(tmp_path, text), plugins)
    with open_store(":memory:") as store:
        judged = pipeline.compare_logs(store, plugins, u.old, u.new, u.compare, u.policy)
    assert judged.verdict.status is Status.FAIL
    assert u.policy.gate is not None
    assert judged.verdict.policy_digest == u.policy.gate.digest


# --------------------------------------------------------------------------------------- policy, waivers


def test_a_policy_alone_is_a_file(folder: Path, plugins: Plugins) -> None:
    write(folder, WAIVER, "w.toml")
    text = 'waivers = "w.toml"\n[gate]\n[[gate.rules]]\nmetric = "nfr"\nmax = 0.02\n'
    policy = config.load_policy(write(folder, text), plugins)
    assert policy.gate is not None
    assert policy.gate.rules == (Rule(metric="nfr", max=0.02),)
    assert len(policy.waivers) == 1


@pytest.mark.parametrize("text", ["", "[gate]\n", "[gate]\nrules = []\n", LOGS])
def test_a_policy_without_rules_is_still_a_gate_and_says_so(
    folder: Path, plugins: Plugins, text: str
) -> None:
    policy = config.load_policy(write(folder, text), plugins)
    assert policy.gate is not None
    assert policy.gate.rules == ()
    assert config.warnings_of(policy, plugins) == ("the gate has no rules, so no update can pass it",)


def test_a_policy_does_not_need_the_logs_of_its_update(folder: Path, plugins: Plugins) -> None:
    text = '[old]\npath = "gone"\n[gate]\n[[gate.rules]]\nmetric = "nfr"\nmax = 0.02\n'
    assert config.load_policy(write(folder, text), plugins).gate is not None


def test_the_digest_is_of_what_is_asked_and_not_of_how_it_is_written(
    folder: Path, plugins: Plugins
) -> None:
    def digest(text: str) -> str | None:
        gate = config.load_policy(write(folder, text), plugins).gate
        return gate.digest if gate else None

    plain = digest('[gate]\n[[gate.rules]]\nmetric = "nfr"\nmax = 0.02\n')
    assert plain is not None
    assert re.fullmatch("[0-9a-f]{64}", plain)
    assert digest('gate = {rules = [{max = 2e-2, metric = "nfr"}]} # a comment') == plain
    assert config.make_gate([config.parse_rule("nfr=2%", "max")]).digest == plain
    assert digest('[gate]\n[[gate.rules]]\nmetric = "nfr"\nmax = 0.021\n') != plain
    assert digest('[gate]\ncoverage = 0.5\n[[gate.rules]]\nmetric = "nfr"\nmax = 0.02\n') != plain


def test_waivers_are_read_with_days_in_quotes_or_without(folder: Path) -> None:
    text = WAIVER + WAIVER.replace("2031-02-03", '"2031-02-04"').replace("instance", "slice").replace(
        '"7"', '"a=b"'
    )
    first, second = config.load_waivers(write(folder, text))
    assert (first.expires, first.instance) == ("2031-02-03", "7")
    assert (second.expires, second.slice) == ("2031-02-04", "a=b")
    assert date.fromisoformat(first.expires) == date(2031, 2, 3)
    assert config.load_waivers(write(folder, "# none\n")) == ()


def test_all_that_is_wrong_with_waivers_is_told(folder: Path, plugins: Plugins) -> None:
    bad = '[[waiver]]\nsuite = "s"\nreason = " "\nexpires = "soon"\nslic = "a=b"\n[waive]\n'
    path = write(folder, bad, "w.toml")
    expected = [
        "line 1: waiver[0].owner: is required",
        "line 1: waiver[0]: instance, slice: give exactly one; a whole suite cannot be waived",
        "line 3: waiver[0].reason: must not be empty",
        "line 4: waiver[0].expires: 'soon' is not a day like 2027-01-31",
        "line 5: waiver[0].slic: [[waiver]] has no such key; did you mean 'slice'?",
        "line 6: waive: a file of waivers has only [[waiver]] tables; did you mean 'waiver'?",
    ]
    with pytest.raises(ConfigError) as caught:
        config.load_waivers(path)
    assert list(caught.value.problems) == expected
    named = [f"line 1: waivers: {path}: {line}" for line in expected]
    assert problems(folder, 'waivers = "w.toml"\n' + LOGS, plugins) == named
    missing = [f"line 1: waivers: {folder / 'x.toml'}: there is no such file"]
    assert policy_problems(folder, 'waivers = "x.toml"\n', plugins) == missing


def test_waivers_without_a_gate_are_warned_about(folder: Path, plugins: Plugins) -> None:
    write(folder, WAIVER, "w.toml")
    update = config.load_update(write(folder, 'waivers = "w.toml"\n' + LOGS), plugins)
    assert update.warnings == ("waivers are given but no gate: nothing is judged, so nothing is waived",)


# ------------------------------------------------------------------------------------- what is refused


def test_all_problems_are_told_at_once_in_the_order_of_the_file(folder: Path, plugins: Plugins) -> None:
    text = """stor = "x"
[old]
path = "nope"
reader = "lm-evall"
pair_by = "cotent"
[new]
reader = "table"
reruns = "x"
[new.options]
higher_is_beter = false
[compare]
confidence = 2
threshold = "a"
[gate]
coverage = 0
waivers = "w.toml"
[[gate.rules]]
metric = "nfrr"
max = 0.02
min = 1
[[gate.rules]]
max = "2%"
confidence = 3
suites = ["a", 3]
tier = "crit"
[reports]
toi = "x.html"
toy = 3
"""
    found = problems(folder, text, plugins)
    reader, report = found.pop(2), found.pop(-2)
    assert reader.startswith(
        "line 4: old.reader: there is no reader 'lm-evall'; did you mean 'lm-eval'?"
    )
    assert report.startswith("line 27: reports.toi: there is no report 'toi'; did you mean 'toy'?")
    assert found == [
        "line 1: stor: the file has no such key; did you mean 'store'?",
        f"line 3: old.path: there is no file or directory {folder / 'nope'}",
        "line 5: old.pair_by: \"cotent\" is none of 'auto', 'content' or 'key'",
        "line 6: new.path: is required",
        'line 8: new.reruns: must be a list, like ["a", "b"], not "x"',
        "line 10: new.options.higher_is_beter: there is no such option; "
        "did you mean 'higher_is_better'?",
        "line 12: compare.confidence: 2 must be at least 0.5 and below 1",
        'line 13: compare.threshold: must be a number, not "a"',
        "line 15: gate.coverage: 0 must be above 0 and at most 1",
        "line 16: gate.waivers: belongs to the whole file: move it above the first table",
        "line 17: gate.rules[0]: max, min: give exactly one of them",
        "line 18: gate.rules[0].metric: there is no metric 'nfrr'; did you mean 'nfr'?",
        "line 21: gate.rules[1].metric: is required",
        'line 22: gate.rules[1].max: must be a number, not "2%"',
        "line 23: gate.rules[1].confidence: 3 must be above 0.5 and below 1",
        "line 24: gate.rules[1].suites[1]: must be a text in quotes, not 3",
        "line 25: gate.rules[1].tier: \"crit\" is none of 'critical', 'supporting' or 'advisory'",
        'line 28: reports.toy: must be the file to write, like toy = "report.toy"',
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table [old] is required, with the path of the old model's log"),
        ("old = 3", "line 1: old: must be a table, written [old]"),
        ("[[compare]]", "line 1: compare: must be a table, written [compare]"),
        ('old.path = ""', "line 1: old.path: must not be empty"),
        ('old.path = "a\\u0000b"', "line 1: old.path: "),
        ('[old]\nreruns = ["old.csv",\n "gone"]', "line 3: old.reruns[1]: there is no file or dir"),
        ("[old]\nsettings = 3", "line 2: old.settings: [old] has no such key"),
        (
            '[old]\nreader = "lm-eval"\nmetric = "acc"',
            "line 3: old.metric: is an option of the reader: write it in [old.options]",
        ),
        ("[old.options]\nmetrik = 1", "line 2: old.options.metrik: no reader has such an option; did"),
        (
            '[old]\nreader = "table"\n[old.options]\nmatch = "sort of"',
            "line 4: old.options.match: input should be 'exact', 'ignorecase' or 'number'",
        ),
        ("[gate.rules]\nmax = 1", "line 1: gate.rules: must be tables written [[gate.rules]], with two"),
        ('[gate]\nrules = ["nfr=1"]', "line 2: gate.rules[0]: must be a table with the keys metric and"),
        ('[gate]\ndigest = "x"', "line 2: gate.digest: [gate] has no such key"),
        ("[gate]\ncoverage = nan", "line 2: gate.coverage: must be a finite number, not NaN"),
        ("[gate]\ncoverage = true", "line 2: gate.coverage: must be a number, not true"),
        ("[gate]\ncoverage = 2", "line 2: gate.coverage: 2 must be above 0 and at most 1"),
        ("[compare]\nslices = 1", "line 2: compare.slices: must be true or false, not 1"),
        ("[compare]\nallow = [1]", "line 2: compare.allow[0]: must be a text in quotes, not 1"),
        ('waivers = "a\\u0000b"', "a\\0b: cannot be read (embedded null byte)"),
        (f'waivers = "{"x" * 300}"', "x: cannot be read (File name too long)"),
        ("[old]\nreader = [1]", "line 2: old.reader: must be a text in quotes, not [1]"),
        ("[old]\noptions = [1]", "line 2: old.options: must be a table, not [1]"),
        ("waivers = 3", "line 1: waivers: must be a text in quotes, not 3"),
        ('store = ""', "line 1: store: must not be empty; leave the key out instead"),
        ('[reports]\ntoy = "update.toml"', "update.toml is taken: it is the file of this configuration"),
        (
            '[old]\npath="old.csv"\n[reports]\ntoy = "./old.csv"',
            "old.csv is taken: it is the file of old.",
        ),
        (
            '[reports]\ntoy = "y/../x"\ntoy2 = "x"',
            "x is taken: it is the file of reports.toy",
        ),
        ('[reports]\ntoy = "."', "is a directory; give the file to write"),
    ],
)
def test_a_fault_is_told(folder: Path, plugins: Plugins, text: str, message: str) -> None:
    assert any(message in line for line in problems(folder, text, plugins))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('metric = "nfr"\nmax = 2', "max: 2 is outside the range of nfr, 0 to 1; is 0.02 meant?"),
        (
            'metric = "accuracy_delta"\nmin = -3',
            "min: -3 is outside the range of accuracy_delta, -1 to 1",
        ),
        ('metric = "nfr"\nmax = inf', "max: must be a finite number, not Infinity"),
        ('metric = "score_delta"\nmin = -1' + "0" * 400, "min: must be a finite number, not -1000"),
        ('metric = "nfr"\nmax = 0.1\nslice = "math"', "slice: 'math' must read tag=value or tag=*"),
        ('metric = "nfr"\nmax = 0.1\nsuites = []', "suites: must name at least one suite or pattern"),
    ],
)
def test_a_rule_that_would_judge_nothing_is_refused(
    folder: Path, plugins: Plugins, rule: str, message: str
) -> None:
    found = policy_problems(folder, "[[gate.rules]]\n" + rule, plugins)
    assert len(found) == 1
    assert message in found[0]


def test_a_rule_that_holds_for_any_update_is_warned_about(plugins: Plugins) -> None:
    idle = config.make_gate([Rule(metric="nfr", max=1.0), Rule(metric="accuracy_delta", min=-1.0)])
    assert config.warnings_of(Policy(idle), plugins) == (
        "nfr: with max = 1 the rule holds for any update",
        "accuracy_delta: with min = -1 the rule holds for any update",
    )
    busy = config.make_gate([Rule(metric="nfr", max=0.0), Rule(metric="relative_nfr", max=2.0)])
    assert config.warnings_of(Policy(busy), plugins) == ()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[old\n", "line 1: is not valid TOML: expected ']'"),
        (b'a = 1\n\nb = "x\n', "line 3: is not valid TOML: "),
        (b"[gate]\n[gate]\n", "line 2: is not valid TOML: cannot declare"),
        (b"[gate", "line 1: is not valid TOML: expected ']'"),
        (b"a = 1\nb = '\xff'\n", "line 2: is not UTF-8 text; save it as UTF-8"),
        (b"a = " + b"[" * 100_000, "is nested too deeply to be read"),
        (b"a = " + b"1" * 5000, "is not valid TOML: "),
    ],
)
def test_what_is_no_toml_is_told_in_one_sentence(
    folder: Path, plugins: Plugins, raw: bytes, message: str
) -> None:
    path = folder / "update.toml"
    path.write_bytes(raw)
    for read in (config.load_update, config.load_policy):
        with pytest.raises(ConfigError) as caught:
            read(path, plugins)
        assert len(caught.value.problems) == 1
        assert caught.value.problems[0].startswith(message)


def test_a_file_that_cannot_be_read_is_told_in_one_sentence(folder: Path, plugins: Plugins) -> None:
    with pytest.raises(ConfigError, match=r"x\.toml: 1 problem\n  there is no such file"):
        config.load_update(folder / "x.toml", plugins)
    with pytest.raises(ConfigError, match="is a directory; give the TOML file in it"):
        config.load_policy(folder, plugins)


# ------------------------------------------------------------------------------------ lists of plugins


def test_the_lists_of_plugins_can_be_read_before_any_plugin_is_loaded(folder: Path) -> None:
    path = write(folder, '[plugins]\nblock = ["helm"]\nallow = []\n[broken]')
    assert config.plugin_lists(path) == config.PluginLists(("helm",), ())
    assert config.plugin_lists(write(folder, LOGS)) == config.PluginLists((), None)
    with pytest.raises(ConfigError, match=r"line 2: plugins\.block: must be a list"):
        config.plugin_lists(write(folder, '[plugins]\nblock = "helm"'))


def test_plugins_that_the_file_shuts_out_must_not_have_been_loaded(
    folder: Path, plugins: Plugins
) -> None:
    text = LOGS + '[plugins]\nblock = ["helm", "nonesuch"]\n'
    expected = ["line 6: plugins.block: 'helm' was loaded all the same"]
    assert problems(folder, text, plugins) == expected
    assert policy_problems(folder, text, plugins) == expected
    update = config.load_update(folder / "update.toml", load(block=["helm"], allow=()))
    assert len(update.warnings) == 1
    assert update.warnings[0].startswith("plugins.block: no plugin or package 'nonesuch' is installed;")


def test_an_allow_list_is_held_to(
    folder: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = dataclasses.replace(plugins.infos[0], name="stranger", distribution="strange")
    more = dataclasses.replace(plugins, infos=(*plugins.infos, stranger))
    text = LOGS + "[plugins]\nallow = []\n"
    expected = ["line 6: plugins.allow: 'stranger' is not on the list, but was loaded"]
    assert problems(folder, text, more) == expected
    assert config.load_update(write(folder, text), plugins).plugins.allow == ()
    config.load_update(write(folder, text.replace("[]", '["strange"]')), more)
    monkeypatch.setenv("MUSCLE_GOV_ALLOW_PLUGINS", "stranger")
    config.load_update(write(folder, text), more)


# ------------------------------------------------------------------------------ rules on a command line


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("nfr=0.02", Rule(metric="nfr", max=0.02)),
        ("nfr=2%", Rule(metric="nfr", max=0.02)),
        ("nfr = .7 %", Rule(metric="nfr", max=0.007)),
        ("accuracy_delta=-1%", Rule(metric="accuracy_delta", max=-0.01)),
        ("gsm8k*:nfr=0.02", Rule(metric="nfr", max=0.02, suites=("gsm8k*",))),
        ("(all):nfr=0.01", Rule(metric="nfr", max=0.01, suites=("(all)",))),
        (
            "gsm8k[subject=math]:nfr=0.02",
            Rule(metric="nfr", max=0.02, suites=("gsm8k",), slice="subject=math"),
        ),
        ("[subject=*]:nfr=1e-3", Rule(metric="nfr", max=0.001, slice="subject=*")),
        (
            "mmlu:subject=law,k=5:nfr=0.02",
            Rule(metric="nfr", max=0.02, suites=("mmlu:subject=law,k=5",)),
        ),
        (
            "arc_[ce]*[level=a:b=c]:nfr=0.02",
            Rule(metric="nfr", max=0.02, suites=("arc_[ce]*",), slice="level=a:b=c"),
        ),
    ],
)
def test_a_rule_on_a_command_line_is_understood(plugins: Plugins, text: str, rule: Rule) -> None:
    assert config.parse_rule(text, "max", plugins=plugins) == rule
    turned = dataclasses.replace(rule, max=None, min=rule.max, confidence=0.9)
    assert config.parse_rule(text, "min", confidence=0.9) == turned


@pytest.mark.parametrize(
    "text",
    [
        *("", "nfr", "nfr=", "=0.1", ":nfr=0.1", "gsm8k:=0.1", "nfr=x", "nfr=nan", "nfr=1e999"),
        *("nfr=1_0", "nfr=2%%", "nfr=0,02", "nfrr=0.02", "nfr=2", "nfr=200%", "nfr=٢"),
    ],
)
def test_a_rule_that_is_none_is_refused(plugins: Plugins, text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"rule {text!r}: ")):
        config.parse_rule(text, "max", plugins=plugins)


def test_confidence_and_coverage_given_beside_rules_are_checked() -> None:
    with pytest.raises(UsageError, match="confidence: 1 must be above"):
        config.parse_rule("nfr=0.02", "max", confidence=1.0)
    for coverage in (0.0, 1.1, float("nan")):
        with pytest.raises(UsageError, match="coverage: "):
            config.make_gate([], coverage)
    assert isinstance(config.make_gate([], 1.0), Gate)


# ----------------------------------------------------------------------------------- where keys stand


TRICKY = """# [not.a.table]
title = "a # b"   # x = 1
a."b.c".'d' = \"\"\"
[fake]
x = 1
quote: \"\"\\\" \"\"\"\"\"
raw = '''
[[fake]]
y = 2''''
when = 1979-05-27 07:32:00 # z
list = [ # [q]
  1, [2,
  3], {k = "]", "m n" = {o.p = 1}}, # more
  'x', ]
[ t . "u\\u00e9" ]
empty = ""
e2 = []
e3 = {}
[[r]]
m = 1
[r.sub]
n = 1
[[r.deep]]
o = 1
[[r.deep]]
o = 2
[[r]]
[[r.deep]]
o = 3
[late.child]
v = 1
[late]
w = 1
"""


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    """Every key and item of parsed TOML."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = set()
    for name, child in inner:
        found.add((*path, name))
        if isinstance(child, dict | list):
            found |= paths_of(child, (*path, name))
    return found


def test_nothing_in_a_toml_text_confuses_the_search_for_lines() -> None:
    lines = key_lines(TRICKY)
    assert set(lines) == paths_of(tomllib.loads(TRICKY))
    assert lines["a", "b.c", "d"] == 3
    assert (lines["raw",], lines["when",]) == (7, 10)
    assert (lines["list", 1, 1], lines["list", 2, "m n", "o", "p"], lines["list", 3]) == (13, 13, 14)
    assert lines["t", "ué", "e3"] == 18
    assert (lines["r", 0], lines["r", 0, "sub", "n"]) == (19, 22)
    assert (lines["r", 0, "deep", 1, "o"], lines["r", 1, "deep", 0, "o"]) == (26, 29)
    assert (lines["late", "child"], lines["late",], lines["late", "w"]) == (30, 32, 33)


class Writer:
    """Writes values as TOML in any of the ways that it may be written, noting lines."""

    def __init__(self, random: random.Random) -> None:
        self.random = random
        self.text = ""
        self.lines: dict[tuple[str | int, ...], int] = {}

    def key(self, name: str) -> str:
        quoted = json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")
        ways = [quoted]
        if re.fullmatch("[A-Za-z0-9_-]+", name):
            ways.append(name)
        if "'" not in name and name.isprintable():
            ways.append(f"'{name}'")
        return self.random.choice(ways)

    def note(self, path: tuple[str | int, ...]) -> None:
        self.lines[path] = self.text.count("\n") + 1

    def blank(self, may_break: bool = True) -> None:
        self.text += self.random.choice(["", " ", "\t"] + ["\n", "# [x]\n #y = 1\n"] * may_break)

    def value(self, value: Any, path: tuple[str | int, ...]) -> None:
        if isinstance(value, list):
            self.text += "["
            for i, item in enumerate(value):
                self.blank()
                self.note((*path, i))
                self.value(item, (*path, i))
                self.blank()
                self.text += ","
            self.text += "]"
        elif isinstance(value, dict):
            self.text += "{"
            for i, (name, item) in enumerate(value.items()):
                self.text += ", " if i else ""
                self.pair(name, item, (*path, name))
            self.text += "}"
        else:
            self.text += self.scalar(value)

    def scalar(self, value: Any) -> str:
        if not isinstance(value, str):
            return json.dumps(value)
        quoted = json.dumps(value, ensure_ascii=False)
        ways = [quoted, f'""{quoted}""']
        if "'''" not in value and "\r" not in value and value.replace("\n", "").isprintable():
            ways += [f"'''\n{value}'''"] if not value.startswith("\n") else []
        return self.random.choice(ways)

    def pair(self, name: str, value: Any, path: tuple[str | int, ...]) -> None:
        self.note(path)
        self.text += self.key(name)
        self.blank(may_break=False)
        self.text += "="
        self.blank(may_break=False)
        self.value(value, path)

    def table(self, data: dict[str, Any], path: tuple[str | int, ...], names: tuple[str, ...]) -> None:
        later = []
        for name, value in data.items():
            is_tables = isinstance(value, list) and value and all(isinstance(v, dict) for v in value)
            if (isinstance(value, dict) or is_tables) and self.random.random() < 0.7:
                later.append((name, value))
                continue
            self.blank(may_break=True)
            self.pair(name, value, (*path, name))
            self.text += "\n"
        for name, value in later:
            inner = (*names, name)
            header = " . ".join(self.key(part) for part in inner)
            for i, one in enumerate(value if isinstance(value, list) else [value]):
                self.blank()
                place: tuple[str | int, ...] = (*path, name)
                if isinstance(value, list):
                    self.lines.setdefault(place, self.text.count("\n") + 1)
                    place = (*place, i)
                self.note(place)
                self.text += f"[[{header}]]\n" if isinstance(value, list) else f"[ {header} ] # ]\n"
                self.table(one, place, inner)


NAMES = st.one_of(
    st.sampled_from(["a", "b-c", "1", "", "x.y", '"', "'", "é = [", "#"]), st.text(max_size=3)
)
SCALARS = st.one_of(
    st.booleans(), st.integers(-9, 9), st.floats(-1, 1), st.text("ab'\"\\\n#[]{}=,é", max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(NAMES, inner, max_size=3),
        st.lists(st.dictionaries(NAMES, inner, max_size=2), max_size=3),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(data=st.dictionaries(NAMES, VALUES, max_size=4), chance=st.randoms(use_true_random=False))
def test_keys_are_found_on_the_lines_on_which_they_were_written(
    data: dict[str, Any], chance: random.Random
) -> None:
    writer = Writer(chance)
    writer.table(data, (), ())
    try:
        parsed = tomllib.loads(writer.text)
    except tomllib.TOMLDecodeError as error:  # the test itself would be wrong
        raise AssertionError(writer.text) from error
    assert key_lines(writer.text) == writer.lines
    assert paths_of(parsed) == set(writer.lines)


# ----------------------------------------------------------------------------------- example and schema


def test_the_example_lacks_nothing_but_the_logs(tmp_path: Path, plugins: Plugins) -> None:
    path = write(tmp_path, config.example_text())
    with pytest.raises(ConfigError) as caught:
        config.load_update(path, plugins)
    missing = [p for p in caught.value.problems if "there is no file or directory" in p]
    assert list(caught.value.problems) == missing
    assert len(missing) == 2
    for side in ("old", "new"):
        (tmp_path / "logs" / side).mkdir(parents=True)
    update = config.load_update(path, plugins)
    assert update.warnings == ()
    assert update.policy.gate is not None
    assert len(update.policy.gate.rules) == 2


def uncommented() -> str:
    return re.sub(r"(?m)^#(?=[\w\[])", "", config.example_text())


def test_every_key_of_the_example_may_be_taken_out_of_its_comment(
    tmp_path: Path, plugins: Plugins
) -> None:
    for side in ("old", "new"):
        (tmp_path / "logs" / side).mkdir(parents=True)
    write(tmp_path, WAIVER, "waivers.toml")
    write(tmp_path, QUARANTINE, "quarantine.toml")
    text = uncommented().replace('reader = "auto"', 'reader = "lm-eval"')
    update = config.load_update(write(tmp_path, text), plugins)
    assert update.old.settings.options["filter"] == "strict-match"


def table_of(header: str) -> config.Table:
    return next(table for table in config.TABLES if table.header == header)


def test_the_example_shows_every_key() -> None:
    shown = tomllib.loads(uncommented())
    for name in ("old", "new", "compare", "gate"):
        assert set(table_of(f"[{name}]").keys()) == set(shown[name]), name
    assert set(table_of("[plugins]").keys()) == set(shown["plugins"])
    assert set(table_of("[[gate.rules]]").keys()) - {"min"} == set(shown["gate"]["rules"][0])
    assert "min" in shown["gate"]["rules"][1]
    assert {"store", "waivers", "reports"} <= set(shown)


def test_keys_commented_out_in_the_example_show_their_defaults() -> None:
    header, above, without = "", "", {"waivers", "quarantine"}
    checked = 0
    for line in config.example_text().splitlines():
        if found := re.fullmatch(r"#?(\[+[a-z._]+\]+)", line):
            header = found[1]
        elif (found := re.match(r"#(\w+) = ", line)) and not header.endswith(".options]"):
            name = found[1]
            without |= {name} if "(no default)" in above else set()
            fields = {f.name: f for part in table_of(header).parts for f in dataclasses.fields(part)}
            stated = fields[name].default
            if name in without:
                assert stated in (None, (), dataclasses.MISSING), name
            else:
                default = tomllib.loads(line[1:])[name]
                assert default == (list(stated) if isinstance(stated, tuple) else stated), name
            checked += 1
        above = line
    assert checked >= 20


def test_the_example_keeps_to_the_schema(plugins: Plugins) -> None:
    validator = jsonschema.Draft202012Validator(config.json_schema(plugins))
    validator.check_schema(validator.schema)
    validator.validate(tomllib.loads(config.example_text()))
    validator.validate(tomllib.loads(uncommented().replace('"auto"', '"lm-eval"', 1)))
    validator.validate(tomllib.loads("[gate]"))


@pytest.mark.parametrize(
    "text",
    [
        "stor = 'x'",
        "[old]",
        "[old]\npath = 1",
        "[old]\npath = 'x'\nsettings = {}",
        "[old]\npath = 'x'\npair_by = 'y'",
        "[new]\npath = 'x'\nreader = 'lm-eval'\noptions = {metrik = 'acc'}",
        "[gate]\ndigest = 'x'",
        "[[gate.rules]]\nmetric = 'nfr'",
        "[[gate.rules]]\nmetric = 'nfr'\nmax = 1\nmin = 1",
        "[[gate.rules]]\nmetric = 'nfr'\nmax = '1'",
        "[reports]\nhtml = 1",
        "[plugins]\nblock = 'x'",
    ],
)
def test_the_schema_refuses_what_the_program_refuses(folder: Path, plugins: Plugins, text: str) -> None:
    validator = jsonschema.Draft202012Validator(config.json_schema(plugins))
    assert not validator.is_valid(tomllib.loads(text))
    assert problems(folder, text, plugins)


def test_names_of_other_plugins_keep_to_the_schema(plugins: Plugins) -> None:
    text = (
        "old = {path = 'x', reader = 'mine'}\nreports = {mine = 'x'}\n"
        "[[gate.rules]]\nmetric = 'mine'\nmax = 1\n"
    )
    jsonschema.validate(tomllib.loads(text), config.json_schema(plugins))


def test_every_key_of_the_schema_is_described(plugins: Plugins) -> None:
    schema = config.json_schema(plugins)
    tables = [schema["properties"][name] for name in ("old", "new", "compare", "gate", "plugins")]
    tables.append(schema["properties"]["gate"]["properties"]["rules"]["items"])
    bare = [
        name
        for table in tables
        for name, key in table["properties"].items()
        if "description" not in key and name not in ("path", "rules")
    ]
    assert bare == []
    assert "nfr" in tables[-1]["properties"]["metric"]["examples"]
    assert "lm-eval" in tables[0]["properties"]["reader"]["examples"]


def test_the_schema_in_the_docs_is_up_to_date(tmp_path: Path) -> None:
    config.write_schema(tmp_path / "now.json", load(allow=()))
    how = (
        f"write it again: muscle_gov.config.write_schema({SCHEMA!r}, muscle_gov.plugins.load(allow=()))"
    )
    assert SCHEMA.read_text("utf-8") == (tmp_path / "now.json").read_text("utf-8"), how


def test_every_file_shown_in_the_docs_is_right(tmp_path: Path) -> None:
    text = (SCHEMA.parent.parent / "config.md").read_text("utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    for name in ("old", "new", "old-seed2", "old-seed3"):
        (tmp_path / "logs" / name).mkdir(parents=True)
    for name in ("answers-v1.csv", "answers-v2.csv", "old.csv", "new.csv"):
        write(tmp_path, "", name)
    for block in blocks:
        if block.startswith("[[waiver]]"):
            assert len(config.load_waivers(write(tmp_path, block, "waivers.toml"))) == 1
    for block in blocks:
        if not block.startswith("[[waiver]]"):
            has_sides = "[old]" in block or "[models.old]" in block
            path = write(tmp_path, block if has_sides else block + LOGS)
            lists = config.plugin_lists(path)
            config.load_update(path, load(block=lists.block, allow=lists.allow or ()))
    assert len(blocks) >= 8


def test_importing_the_configuration_loads_nothing_heavy() -> None:
    heavy = ("pydantic", "numpy", "duckdb", "jinja2", "pyarrow", "scipy")
    code = f"import sys, muscle_gov.config; print(*set({heavy}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
