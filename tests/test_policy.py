"""Tiers, lists that must not regress, waivers and quarantine: what decides, and what is refused."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from helpers import Log, Result, all_plugins, compare, empty_store, log, scored

from muscle_gov import config, pipeline
from muscle_gov.data import RuleResult, Status
from muscle_gov.errors import ConfigError
from muscle_gov.plugins import load
from muscle_gov.settings import (
    Gate,
    MustNotRegress,
    Policy,
    Quarantine,
    Rule,
    Waiver,
)
from muscle_gov.store import records

TODAY = date(2026, 7, 1)
LOOSE = Rule(metric="nfr", max=0.5)


def tagged(letters: str, model: str, suite: str = "suite", every: int = 2) -> Log:
    return log(letters, model, suite, each=lambda i, _: {"tags": {"subject": "abcdef"[i % every]}})


def only(result: Result) -> RuleResult:
    (found,) = result.verdict.rules
    return found


# ------------------------------------------------------------------------------------------ tiers

SIDES = (
    [log("R" * 200, "old", name) for name in ("good", "unclear", "bad")],
    [log("W" * k + "R" * (200 - k), "new", s) for s, k in (("good", 2), ("unclear", 20), ("bad", 60))],
)


def tier(suite: str, tier: Any, **given: Any) -> Rule:
    return Rule(**{"metric": "nfr", "max": 0.1, "suites": (suite,), "tier": tier, **given})


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        ([("good", "critical"), ("unclear", "supporting")], "PASS"),
        ([("good", "critical"), ("unclear", "critical")], "INCONCLUSIVE"),
        ([("good", "critical"), ("bad", "supporting")], "FAIL"),
        ([("good", "critical"), ("bad", "advisory"), ("unclear", "advisory")], "PASS"),
        ([("unclear", "critical"), ("bad", "supporting")], "FAIL"),
        # without a critical rule, supporting ones must all hold
        ([("good", "supporting")], "PASS"),
        ([("unclear", "supporting")], "INCONCLUSIVE"),
        ([("good", "supporting"), ("unclear", "supporting")], "INCONCLUSIVE"),
        ([("good", "advisory"), ("unclear", "supporting")], "INCONCLUSIVE"),
    ],
)
def test_what_a_tier_decides(rules: Sequence[tuple[str, str]], status: str) -> None:
    result = compare(*SIDES, *(tier(*one) for one in rules))
    assert result.status.value == status, result.verdict.reason


def test_a_pass_says_which_supporting_rules_are_undecided() -> None:
    two = [tier("unclear", "supporting"), tier("unclear", "supporting", metric="nfr_mc")]
    verdict = compare(*SIDES, tier("good", "critical"), *two).verdict
    assert verdict.status is Status.PASS
    assert verdict.reason == "1 of 3 rules hold; 2 supporting rules are undecided"
    verdict = compare(*SIDES, two[0]).verdict
    assert verdict.reason.startswith("1 supporting rule is undecided, and there is no critical rule")


@pytest.mark.parametrize(
    "blind",
    [
        {"suites": ("mispelt",)},
        {"metric": "nfr_excess"},  # needs repeats
        {"metric": "regression_rate"},  # of graded suites
        {"slice": "subject=law"},
        {"max": None},
        {"max": float("nan")},
    ],
)
def test_a_supporting_rule_that_cannot_be_judged_holds_up_all_the_same(blind: dict[str, Any]) -> None:
    result = compare(*SIDES, tier("good", "critical"), tier("good", "supporting", **blind))
    assert result.status is Status.INCONCLUSIVE


def test_a_supporting_rule_without_answers_is_incomparable() -> None:
    old = [log("R" * 200, "old", name) for name in "ab"]
    new = [log("R" * 200, "new", "a"), log("R" * 100 + "E" * 100, "new", "b")]
    rules = (tier("a", "critical"), tier("b", "supporting"))
    assert compare(old, new, *rules).status is Status.INCOMPARABLE


# ---------------------------------------------------------------------- lists that must not regress


def golden(**given: Any) -> MustNotRegress:
    keys = given.pop("keys", ())
    listed = given.pop("listed", tuple((None, key) for key in keys))
    return MustNotRegress(**{"name": "golden", "instances": tuple(keys), "listed": listed, **given})


def with_list(old: Any, new: Any, *lists: MustNotRegress, **given: Any) -> Result:
    gate = config.make_gate(given.pop("rules", (LOOSE,)), lists=lists)
    waivers, quarantine = given.pop("waivers", ()), given.pop("quarantine", ())
    return compare(old, new, policy=Policy(gate, tuple(waivers), TODAY, tuple(quarantine)), **given)


def test_a_listed_instance_that_breaks_fails_the_gate() -> None:
    sides = ("R" * 90 + "W" * 10, "R" * 80 + "W" * 20)
    fine = with_list(*sides, golden(keys=["3", "4", "95"]))
    assert fine.status is Status.PASS
    broken = with_list(*sides, golden(keys=["3", "85", "95"]))
    assert broken.status is Status.FAIL
    _, result = broken.verdict.rules
    assert (result.rule.metric, result.rule.max, result.rule.judge) == ("must_not_regress", 0, "value")
    assert (result.rule.name, result.suite, result.p_breach) == ("golden", "suite", None)
    assert result.measure is not None
    assert (result.measure.value, result.measure.n) == (1.0, 3)
    assert "85" in broken.verdict.reason
    assert result.explanation is not None
    assert (result.explanation.flips, result.explanation.flips_allowed) == (1, 0)


def test_wrong_in_another_way_is_no_regression() -> None:
    new = log("W" * 20, "new", each=lambda i, _: {"answer": f"wrong {i}"})
    result = with_list(log("W" * 20, "old"), new, golden(keys=["3"]))
    assert {flip.kind for flip in result.flips} == {"wrong_to_wrong"}
    assert result.status is Status.PASS


def test_a_list_alone_is_a_policy() -> None:
    assert with_list("RRRR", "RRRR", golden(keys=["1"]), rules=()).status is Status.PASS
    assert with_list("RRRR", "RWRR", golden(keys=["1"]), rules=()).status is Status.FAIL
    advisory = golden(keys=["1"], tier="advisory")
    assert with_list("RRRR", "RRRR", advisory, rules=()).status is Status.INCONCLUSIVE
    assert with_list("R" * 100, "RW" + "R" * 98, advisory).status is Status.PASS


@pytest.mark.parametrize("lost", [*"UE."])
def test_a_listed_instance_without_a_score_on_both_sides_is_no_pass(lost: str) -> None:
    for old, new in ((f"RRR{lost}", "RRRR"), ("RRRR", f"RRR{lost}")):
        gate = config.make_gate((), 0.5, [golden(keys=["0", "3"])])
        result = compare(old, new, policy=Policy(gate))
        assert result.status is Status.INCOMPARABLE
        assert "(3)" in result.verdict.reason


def test_a_listed_instance_that_is_nowhere_is_no_pass() -> None:
    result = with_list("R" * 100, "R" * 100, golden(keys=["1", "nowhere", "5", *"abc"]))
    assert result.status is Status.INCOMPARABLE
    assert "4 listed instances are not there" in result.verdict.reason
    assert "nowhere, a, b and 1 more" in result.verdict.reason


@pytest.mark.parametrize(
    "empty",
    [
        {"slice": "subject=law"},
        {"slice": "subject=a", "suites": ("mispelt",)},
        {"slice": "subject=a", "suites": ("suite", "mispelt")},
        {"keys": ["1"], "suites": ("suite", "mispelt")},
        {"keys": ["1"], "suites": ("mispelt",)},
        {"listed": (("mispelt", "1"),)},
        {"keys": []},  # made by hand, around every check
    ],
)
def test_a_list_that_matches_nothing_is_no_pass(empty: dict[str, Any]) -> None:
    for rank in ("critical", "supporting"):
        sides = (tagged("R" * 100, "old"), tagged("R" * 100, "new"))
        assert with_list(*sides, golden(tier=rank, **empty)).status is Status.INCOMPARABLE


def test_a_list_that_nobody_looked_for_is_no_pass() -> None:
    from muscle_gov import gate as gating

    result = compare("R" * 100, "R" * 100, LOOSE)
    gate = Gate((), must_not_regress=(golden(keys=["1"]),))
    assert gating.judge(result.comparison, gate, lambda *_: None).status is Status.INCOMPARABLE


def test_a_list_of_a_slice_holds_every_instance_of_it() -> None:
    old, new = tagged("R" * 100, "old"), tagged("RW" * 3 + "R" * 94, "new")
    assert with_list(old, new, golden(slice="subject=a")).status is Status.PASS
    broken = with_list(old, new, golden(slice="subject=b"))
    assert broken.status is Status.FAIL
    assert "3 of 50 listed instances" in broken.verdict.reason
    # one that the new log has lost
    new = tagged("R" * 99 + ".", "new")
    assert with_list(old, new, golden(slice="subject=b")).status is Status.INCOMPARABLE
    assert with_list(old, new, golden(slice="subject=a")).status is Status.PASS


def test_each_suite_of_a_list_is_judged_on_its_own() -> None:
    old = [log("R" * 100, "old", name) for name in "xy"]
    new = [log("R" * 100, "new", "x"), log("RW" + "R" * 98, "new", "y")]
    result = with_list(old, new, golden(keys=["1"]), rules=())
    assert [(r.suite, r.status.value) for r in result.verdict.rules] == [("x", "PASS"), ("y", "FAIL")]
    assert with_list(old, new, golden(keys=["1"], suites=("x",)), rules=()).status is Status.PASS
    named = golden(listed=(("x", "1"), ("y", "7")))
    assert with_list(old, new, named, rules=()).status is Status.PASS
    named = golden(listed=(("x", "1"), ("y", "1")))
    assert with_list(old, new, named, rules=()).status is Status.FAIL


def test_on_a_scale_any_worse_score_is_a_regression() -> None:
    old, new = [0.5] * 50, [0.5] * 40 + [0.4] + [0.9] * 9
    rules = (Rule(metric="regression_rate", max=0.5),)
    sides = (scored(old, "old"), scored(new, "new"))
    assert with_list(*sides, golden(keys=["40"]), rules=rules).status is Status.FAIL
    assert with_list(*sides, golden(keys=["39", "41"]), rules=rules).status is Status.PASS


def test_with_repeats_the_balance_counts() -> None:
    old = log(["RRW", "RRR", "RWW", "RRR"] * 5, "old")
    new = log(["RWW", "RRR", "RRW", "RRR"] * 5, "new")
    assert with_list(old, new, golden(keys=["0"])).status is Status.FAIL
    assert with_list(old, new, golden(keys=["1", "2", "3"])).status is Status.PASS


def waiver(**given: Any) -> Waiver:
    usual = {"suite": "suite", "reason": "label is wrong", "owner": "qa", "expires": "2999-01-01"}
    return Waiver(**{**usual, **given})


def test_only_a_waiver_that_names_a_listed_instance_covers_it() -> None:
    old, new = tagged("R" * 100, "old"), tagged("RW" + "R" * 98, "new")
    listed = golden(keys=["1", "3"])
    whole = with_list(old, new, listed, waivers=[waiver(slice="subject=b")])
    assert whole.verdict.waivers[0].status == "applied"
    assert whole.status is Status.FAIL
    named = with_list(old, new, listed, waivers=[waiver(instance="1")])
    assert named.status is Status.PASS
    assert "1 set aside by name" in named.verdict.rules[-1].reason
    assert named.verdict.rules[-1].set_aside == 1
    assert named.verdict.reason == "both rules hold; 1 waiver sets 1 flip aside"
    late = with_list(old, new, listed, waivers=[waiver(instance="1", expires="2026-06-30")])
    assert late.status is Status.FAIL


def test_a_list_all_of_which_is_set_aside_is_no_pass() -> None:
    result = with_list("R" * 100, "W" + "R" * 99, golden(keys=["0"]), waivers=[waiver(instance="0")])
    assert result.status is Status.INCONCLUSIVE
    assert "all its instances are set aside" in result.verdict.reason


# ---------------------------------------------------------------------------------- lists in files


def read_policy(folder: Path, text: str) -> Policy:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return config.load_policy(path, load(allow=()))


LIST = '[[gate.must_not_regress]]\nname = "golden"\n'


def test_a_list_is_read_with_its_file_and_its_place(tmp_path: Path) -> None:
    (tmp_path / "golden.txt").write_text("\ufeff# why\r\n12\r\n\r\ngsm8k\tq 7\nmmlu\t# 3\n", "utf-8")
    policy = read_policy(tmp_path, f'[gate]\n\n{LIST}file = "golden.txt"\nsuites = ["gsm*"]\n')
    assert policy.gate is not None
    (listed,) = policy.gate.must_not_regress
    assert listed.listed == ((None, "12"), ("gsm8k", "q 7"), ("mmlu", "# 3"))
    assert listed.place == f"{tmp_path / 'policy.toml'}:3"


def digest(folder: Path, text: str) -> str | None:
    gate = read_policy(folder, text).gate
    assert gate is not None
    return gate.digest


def test_the_digest_is_of_the_instances_and_not_of_the_files_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1\n2\n")
    (tmp_path / "b.txt").write_text("# the same\n2\n1\n2\n")
    first = digest(tmp_path, f'{LIST}file = "a.txt"')
    assert first == digest(tmp_path, f'{LIST}file = "b.txt"')
    assert first == digest(tmp_path, f'# as keys\n{LIST}instances = ["1", "2"]')
    (tmp_path / "a.txt").write_text("1\n2\n3\n")
    others = {
        digest(tmp_path, text)
        for text in (
            f'{LIST}file = "a.txt"',
            f'{LIST}instances = ["1"]',
            f'{LIST}instances = ["1", "2"]\nsuites = ["x"]',
            f'{LIST}instances = ["1", "2"]\ntier = "supporting"',
            f'{LIST}slice = "x=1"',
            "[gate]",
        )
    }
    assert len(others) == 6
    assert first not in others


def test_policies_that_ask_for_nothing_new_keep_their_digests() -> None:
    known = "248c71c7e43a877c33987ac6f614ff10d412662a28d8392e2e3a0924b449d8de"
    assert config.make_gate([Rule(metric="nfr", max=0.02)]).digest == known
    rules = [
        Rule(metric="nfr", max=0.05, suites=("mmlu*",), slice="subject=*", tier="supporting", name="n"),
        Rule(metric="accuracy_delta", min=-0.01, judge="value", coverage=0.9),
    ]
    known = "44efbff967a69fb9f984acc386b1e9755cd8aafd2b8d997a2c3d6a38137fbd79"
    assert config.make_gate(rules, 0.95).digest == known
    assert config.make_gate(rules, 0.95, places=["policy.toml:3", None]).digest == known


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LIST, "slice, instances, file: give exactly one of them"),
        (LIST + 'slice = "a=b"\ninstances = ["1"]', "give exactly one of them"),
        (LIST + "instances = []", "give exactly one of them"),
        (LIST + 'instances = [""]', "instances: must not hold an empty key"),
        (LIST + 'slice = "law"', "must read tag=value"),
        (LIST + 'slice = "subject=*"', "must name one value"),
        (LIST + 'instances = ["1"]\nsuites = []', "must name at least one suite"),
        (LIST + 'instances = ["1"]\nsuites = ["(all)"]', "(all) is no suite"),
        (LIST + 'instances = ["1"]\ntier = "golden"', "is none of"),
        (LIST + "instances = [1]", "must be a text in quotes"),
        (LIST + 'instances = ["1"]\nlisted = []', "has no such key"),
        (LIST + 'file = "none.txt"', "none.txt: there is no such file"),
        (LIST + 'file = "."', "cannot be read"),
        (LIST + 'file = "empty.txt"', "names no instance"),
        (LIST + 'file = "tabs.txt"', "tabs.txt:2: must be a key, or a suite's name, a tab and a key"),
        (LIST + 'file = "latin.txt"', "is not UTF-8"),
        (LIST + 'file = "blanks.txt"', "blanks.txt:2: has blanks before or after a name"),
        (LIST + 'file = "blanks.txt"', "blanks.txt:4: has blanks before or after a name"),
        (LIST + 'file = "blanks.txt"', "blanks.txt:5: has blanks before or after a name"),
        (LIST + 'file = "a\\u0000b"', "cannot be read"),
        (LIST + 'instances = ["1"]\n' + LIST + 'instances = ["2"]', "is the name of another list"),
        ('[[gate.must_not_regress]]\ninstances = ["1"]', "name: is required"),
        ('[[gate.must_not_regress]]\nname = " "\ninstances = ["1"]', "name: must not be empty"),
        ("[gate]\nmust_not_regress = 1", "must be tables written [[gate.must_not_regress]]"),
        ("[gate]\nmust_not_regress = [1]", "must be a table with the keys name and"),
    ],
)
def test_a_list_that_could_be_meant_otherwise_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n\n")
    (tmp_path / "tabs.txt").write_text("1\na\tb\tc\nd\t\n\te\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "blanks.txt").write_text("7\n 7\n7 8\n7\u00a0\nsuite \t7\n", "utf-8")
    with pytest.raises(ConfigError) as caught:
        read_policy(tmp_path, text)
    assert any(message in problem for problem in caught.value.problems), caught.value.problems
    if "tabs" in text:
        assert len(caught.value.problems) == 3


def test_a_report_may_not_be_written_over_a_list(tmp_path: Path) -> None:
    (tmp_path / "golden.txt").write_text("1\n")
    for name in ("old.csv", "new.csv"):
        (tmp_path / name).write_text("id,correct\n1,1\n")
    path = tmp_path / "update.toml"
    logs = '[old]\npath = "old.csv"\n[new]\npath = "new.csv"\n'
    path.write_text(f'{logs}{LIST}file = "golden.txt"\n[reports]\nhtml = "golden.txt"\n')
    with pytest.raises(ConfigError, match="is taken: it is the file of gate"):
        config.load_update(path, load(allow=()))


# ---------------------------------------------------------------------------------------- waivers


def waived(old: Any, new: Any, *waivers: Waiver, rule: Rule = LOOSE) -> Result:
    return compare(old, new, policy=Policy(Gate((rule,)), waivers, TODAY))


def statuses(result: Result) -> list[str]:
    return [one.status for one in result.verdict.waivers]


def test_a_waived_slice_may_hold_half_of_a_suite_and_no_more() -> None:
    def sides(n: int) -> tuple[Log, Log]:
        tags = ["a" if i < n else "b" for i in range(100)]
        made = [
            log("R" * 100, "old", each=lambda i, _: {"tags": {"t": tags[i]}}),
            log("W" * 5 + "R" * 95, "new", each=lambda i, _: {"tags": {"t": tags[i]}}),
        ]
        return made[0], made[1]

    half = waived(*sides(50), waiver(slice="t=a"))
    assert (statuses(half), half.verdict.waivers[0].flips) == (["applied"], 5)
    more = waived(*sides(51), waiver(slice="t=a"))
    assert (statuses(more), more.verdict.waivers[0].flips) == (["over-broad"], 0)
    said = waived(*sides(51), waiver(slice="t=a", whole_suite=True))
    assert (statuses(said), said.verdict.waivers[0].flips) == (["applied"], 5)
    measure = only(more).measure
    assert measure is not None
    assert measure.value == 0.05


def test_slices_are_counted_together() -> None:
    old, new = tagged("R" * 99, "old", every=3), tagged("W" * 6 + "R" * 93, "new", every=3)
    two = waived(old, new, waiver(slice="subject=a"), waiver(slice="subject=b"))
    assert statuses(two) == ["over-broad", "over-broad"]
    one = waived(old, new, waiver(slice="subject=a"), waiver(instance="1"))
    assert statuses(one) == ["applied", "applied"]
    late = waiver(slice="subject=b", expires="2026-06-30")
    assert statuses(waived(old, new, waiver(slice="subject=a"), late)) == ["applied", "expired"]


def test_a_refused_waiver_stands_in_the_reason_and_among_the_findings() -> None:
    sides = (tagged("R" * 100, "old"), tagged("W" * 4 + "R" * 96, "new"))
    given = [
        waiver(instance="0", expires="2026-06-30"),
        waiver(instance="nosuch"),
        waiver(slice="subject=a"),
        waiver(slice="subject=b"),
    ]
    result = waived(*sides, *given)
    assert statuses(result) == ["expired", "unmatched", "over-broad", "over-broad"]
    assert result.status is Status.PASS
    expected = "; 4 waivers are refused (1 expired, 2 over-broad, 1 unmatched)"
    assert result.verdict.reason.endswith(expected)
    told = [f for f in result.verdict.findings if f.code == "waiver-refused"]
    assert [f.level for f in told] == ["warns"] * 4
    assert {f.suite for f in told} == {"suite"}
    one = waived(*sides, given[1])
    assert one.verdict.reason.endswith("; 1 waiver is refused (unmatched)")


def test_what_is_set_aside_stands_in_the_reason_too() -> None:
    old, new = tagged("R" * 100, "old"), tagged("W" * 4 + "R" * 96, "new")

    def reason(*waivers: Waiver) -> str:
        return waived(old, new, *waivers).verdict.reason

    assert reason(waiver(instance="0")).endswith("; 1 waiver sets 1 flip aside")
    two = reason(waiver(instance="0"), waiver(instance="1"), waiver(instance="nosuch"))
    assert two.endswith("; 2 waivers set 2 flips aside; 1 waiver is refused (unmatched)")
    # two that may cover one flip are not summed into more than there are
    again = reason(waiver(instance="0"), waiver(instance="0"))
    assert again.endswith("; 2 waivers set up to 2 flips aside")
    broad = reason(waiver(slice="subject=a", whole_suite=True), waiver(instance="1"))
    assert re.search(r"; 2 waivers set up to \d+ flips aside$", broad)
    assert "aside" not in reason(waiver(instance="nosuch"))


@pytest.mark.parametrize(
    ("expires", "told"),
    [
        ("2026-07-01", "expires today, on 2026-07-01"),
        ("2026-07-02", "expires tomorrow, on 2026-07-02"),
        ("2026-07-15", "expires in 14 days, on 2026-07-15"),
        ("2026-07-16", None),
    ],
)
def test_a_waiver_that_expires_soon_is_warned_of(expires: str, told: str | None) -> None:
    result = waived("R" * 100, "W" * 4 + "R" * 96, waiver(instance="1", expires=expires))
    found = [f.message for f in result.verdict.findings if f.code == "waiver-expiring"]
    assert found == ([] if told is None else [f"the waiver of 1 (qa) {told}"])
    assert "refused" not in result.verdict.reason


def test_figures_outside_the_rules_count_what_is_waived() -> None:
    result = waived("R" * 100, "W" * 4 + "R" * 96, waiver(instance="1"))
    assert result["nfr"].value == 0.04
    measure = only(result).measure
    assert measure is not None
    assert measure.n == 99


def test_whole_suite_is_said_of_slices_only(tmp_path: Path) -> None:
    text = '[[waiver]]\nsuite = "s"\nreason = "r"\nowner = "o"\nexpires = "2031-01-01"\n'
    path = tmp_path / "w.toml"
    path.write_text(text + 'slice = "a=b"\nwhole_suite = true\n')
    (read,) = config.load_waivers(path)
    assert read.whole_suite
    path.write_text(text + 'instance = "1"\nwhole_suite = true\n')
    with pytest.raises(ConfigError, match="is said of a slice"):
        config.load_waivers(path)


# ------------------------------------------------------------------------------------- quarantine

FLAKY_OLD = log(["RR"] * 94 + ["RW"] * 6, "old")
FLAKY_NEW = log(["RR"] * 90 + ["WW"] * 10, "new")


def entry(instance: str, **given: Any) -> Quarantine:
    usual = {"suite": "suite", "reason": "two answers", "owner": "qa", "expires": "2999-01-01"}
    return Quarantine(**{**usual, "instance": instance, **given})


def quarantined(*entries: Quarantine, old: Log = FLAKY_OLD, new: Log = FLAKY_NEW) -> Result:
    return compare(old, new, policy=Policy(Gate((LOOSE,)), (), TODAY, entries))


def kinds(result: Result) -> list[str]:
    return [one.status for one in result.verdict.quarantined]


def test_a_flaky_item_is_set_aside_whichever_way_it_flips() -> None:
    result = quarantined(entry("95"), entry("96"))
    assert kinds(result) == ["applied", "applied"]
    assert [one.seen for one in result.verdict.quarantined] == [1, 1]
    measure = only(result).measure
    assert measure is not None
    assert measure.n == 98
    # 4 sure flips, and 4 items that were right half of the time
    assert measure.value == pytest.approx((4 + 4 * 0.5) / 98)
    assert result["nfr"].value == pytest.approx((4 + 6 * 0.5) / 100)
    assert {f.key for f in result.flips if f.waived and "quarantine" in f.waived} == {"95", "96"}
    # one that never flipped leaves the denominator too
    calm = quarantined(
        entry("0"), old=log(["RW"] + ["RR"] * 99, "old"), new=log(["RW"] + ["RR"] * 99, "n")
    )
    measure = only(calm).measure
    assert measure is not None
    assert (measure.value, measure.n) == (0.0, 99)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"instance": "95", "expires": "2026-06-30"}, "expired"),
        ({"instance": "95", "expires": "2026-07-01"}, "applied"),
        ({"instance": "nosuch"}, "unmatched"),
        ({"instance": "95", "suite": "other"}, "unmatched"),
        ({"instance": "3"}, "not-flaky"),
        ({"instance": "91"}, "not-flaky"),  # flips, but each model is of one mind
    ],
)
def test_an_entry_that_does_not_hold_sets_nothing_aside(given: dict[str, Any], status: str) -> None:
    result = quarantined(entry(**given))
    assert kinds(result) == [status]
    measure = only(result).measure
    assert measure is not None
    assert measure.n == (99 if status == "applied" else 100)
    refused = [f for f in result.verdict.findings if f.code == "quarantine-refused"]
    assert len(refused) == (status != "applied")
    assert ("1 quarantine entry is refused" in result.verdict.reason) == (status != "applied")
    done = "1 quarantine entry sets 1 flaky item aside"
    assert (done in result.verdict.reason) == (status == "applied")


def test_no_more_than_a_twentieth_of_a_suite_may_be_in_quarantine() -> None:
    keys = [str(i) for i in range(94, 100)]
    assert kinds(quarantined(*map(entry, keys[:5]))) == ["applied"] * 5
    over = quarantined(*map(entry, keys))
    assert kinds(over) == ["too-many"] * 6
    measure = only(over).measure
    assert measure is not None
    assert measure.n == 100
    assert "6 quarantine entries are refused (6 too-many)" in over.verdict.reason
    # what does not hold anyway takes no room
    late = [entry(key, expires="2026-06-30") for key in keys[5:]]
    assert kinds(quarantined(*map(entry, keys[:5]), *late)) == ["applied"] * 5 + ["expired"]


def test_an_item_of_another_set_up_or_without_an_answer_is_not_flaky() -> None:
    with empty_store() as store:
        first, again = log("R" * 50, "m"), log("W" + "R" * 49, "m", n_shot=5)
        compare(first, log("R" * 50, "x"), store=store)
        compare(again, log("R" * 50, "x"), store=store)
        policy = Policy(Gate((LOOSE,)), (), TODAY, (entry("0"),))
        assert kinds(compare(first, log("R" * 50, "x"), store=store, policy=policy)) == ["not-flaky"]
    failed = log(["RE", *["RR"] * 99], "old")
    gate = Gate((LOOSE,), coverage=0.5)
    policy = Policy(gate, (), TODAY, (entry("0"),))
    assert kinds(compare(failed, log(["RR"] * 100, "new"), policy=policy)) == ["unmatched"]


def test_an_entry_that_nobody_signed_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "q.toml"
    text = '[[quarantine]]\nsuite = "s"\ninstance = "7"\nreason = ""\nowner = ""\nexpires = ""\n'
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load_quarantine(path)
    assert "nobody has signed for '7' of 's' yet" in caught.value.problems[0]
    path.write_text(text.replace('owner = ""', 'owner = "qa"'))
    with pytest.raises(ConfigError) as caught:
        config.load_quarantine(path)
    assert len(caught.value.problems) == 2
    signed = text.replace('""', '"qa"', 2).replace('expires = ""', "expires = 2031-01-01")
    path.write_text(signed)
    (read,) = config.load_quarantine(path)
    assert read == Quarantine("s", "7", "qa", "qa", "2031-01-01")
    path.write_text(signed * 2)
    with pytest.raises(ConfigError, match="is there twice"):
        config.load_quarantine(path)


def test_a_policy_may_name_its_quarantine(tmp_path: Path) -> None:
    (tmp_path / "q.toml").write_text(
        '[[quarantine]]\nsuite = "s"\ninstance = "7"\nreason = "r"\nowner = "o"\nexpires = 2031-01-01\n'
    )
    policy = read_policy(tmp_path, 'quarantine = "q.toml"\n[gate]\n')
    assert [one.instance for one in policy.quarantine] == ["7"]
    with pytest.raises(ConfigError, match=r"other\.toml: there is no such file"):
        read_policy(tmp_path, 'quarantine = "other.toml"\n[gate]\n')


# -------------------------------------------------------------------- verdicts that are given again


def test_a_stored_policy_comes_back_with_all_of_its_parts() -> None:
    gate = config.make_gate(
        [LOOSE], 0.5, [golden(keys=["3"], place="policy.toml:9"), golden(name="s", slice="a=b")], ["p:1"]
    )
    policy = Policy(gate, (waiver(instance="91"),), TODAY, (entry("95"),))
    with empty_store() as store:
        result = compare(FLAKY_OLD, FLAKY_NEW, policy=policy, store=store)
        again, _ = pipeline.policy_of_verdict(store, result.comparison.id)
        assert dataclasses.replace(again, known_by=None) == policy
        assert again.gate is not None
        assert again.gate.places == ("p:1",)
        assert again.gate.must_not_regress[0].place == "policy.toml:9"
        saved = records.find_comparison(store, result.comparison.id)
        verdict = pipeline.judge_again(store, all_plugins(), saved, again, keep=False).verdict
        assert verdict == result.verdict
        assert verdict.rules[0].place == "p:1"


def test_what_is_known_later_counts_for_no_verdict_given_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reruns = ((log("W" + "R" * 99, "old"),), ())
    policy = Policy(Gate((LOOSE,)), (), TODAY, (entry("0"),))
    seen = {}
    # by its clock the verdict is given before the runs were finished, or after it
    for when in (0, 2):
        with empty_store() as store:
            compare("R" * 100, "R" * 100, reruns=reruns, store=store)
            store.run("UPDATE runs SET finished_at = ?", [datetime(2026, 6, 2)])
            day = datetime(2026, 6, 1 + when)
            monkeypatch.setattr("muscle_gov.store.clock.now", lambda day=day: day)
            saved = records.find_comparison(store, None)
            given = pipeline.judge_again(store, all_plugins(), saved, policy, keep=True).verdict
            store.run("UPDATE verdicts SET given_at = ?", [day])
            again, _ = pipeline.policy_of_verdict(store, saved.id)
            monkeypatch.undo()
            later = pipeline.judge_again(store, all_plugins(), saved, again, keep=False).verdict
            assert given.quarantined == later.quarantined
            seen[when] = given.quarantined[0].status
    assert seen == {0: "not-flaky", 2: "applied"}


def test_a_report_rests_on_what_was_known_when_the_verdict_was_given() -> None:
    old, new = log("R" * 100, "old"), log("W" + "R" * 99, "new")
    policy = Policy(Gate((LOOSE,)), (), TODAY, (entry("0"),))
    with empty_store() as store:
        result = compare(old, new, policy=policy, store=store)
        assert kinds(result) == ["not-flaky"]
        store.run("UPDATE verdicts SET given_at = given_at - INTERVAL 1 DAY")
        store.run("UPDATE runs SET finished_at = finished_at - INTERVAL 1 DAY")
        # later the new model answers otherwise, which shows that the item is flaky
        compare(old, log("R" * 100, "new"), store=store, reruns=((), (log("W" + "R" * 99, "new"),)))
        saved = records.find_comparison(store, result.comparison.id)
        again, _ = pipeline.policy_of_verdict(store, saved.id)
        verdict = pipeline.judge_again(store, all_plugins(), saved, again, keep=False).verdict
        assert [one.status for one in verdict.quarantined] == ["not-flaky"]
        # judged anew, it counts
        verdict = pipeline.judge_again(store, all_plugins(), saved, policy, keep=False).verdict
        assert [one.status for one in verdict.quarantined] == ["applied"]


def test_a_verdict_from_before_keeps_its_meaning() -> None:
    """Supporting rules decided like critical ones then, and a waived slice could be of any size."""
    sides = (tagged("R" * 200, "old"), tagged("W" * 20 + "R" * 180, "new"))
    rules = (Rule(metric="pfr", max=0.1), Rule(metric="nfr", max=0.1, tier="supporting"))
    gate = config.make_gate(rules)
    broad = tuple(waiver(slice=f"subject={name}") for name in "ab")
    for policy, now, before in (
        (Policy(gate), "PASS", "INCONCLUSIVE"),
        (Policy(gate, broad, TODAY), "PASS", "PASS"),
    ):
        with empty_store() as store:
            result = compare(*sides, policy=policy, store=store)
            assert result.status.value == now
            # as stores of the time have it
            store.run(
                """UPDATE verdicts SET waivers = replace(waivers::VARCHAR, ', "whole_suite": false', ''),
                policy = json_object('gate', json_object('rules', policy -> '$.gate.rules',
                    'coverage', policy -> '$.gate.coverage', 'digest', policy -> '$.gate.digest'),
                    'allow', policy -> '$.allow')"""
            )
            assert "whole_suite" not in store.rows("SELECT waivers FROM verdicts")[0][0]
            saved = records.find_comparison(store, result.comparison.id)
            again, _ = pipeline.policy_of_verdict(store, saved.id)
            verdict = pipeline.judge_again(store, all_plugins(), saved, again, keep=False).verdict
            assert verdict.status.value == before
            assert verdict.policy_digest == gate.digest
            assert all(one.status == "applied" for one in verdict.waivers)


# ------------------------------------------------------------------------------------------- docs


def test_every_file_shown_on_the_page_is_right(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "docs" / "policy.md").read_text("utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    path = tmp_path / "shown.toml"
    read = {
        "[[waiver]]": config.load_waivers,
        "[[quarantine]]": config.load_quarantine,
        "[[gate": lambda file: config.load_policy(file, load(allow=())),
    }
    for block in blocks:
        path.write_text(block)
        (how,) = (each for head, each in read.items() if block.startswith(head))
        assert how(path)
    assert len(blocks) == 4
