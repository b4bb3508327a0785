"""Ways to a PASS that must not be, each once found open: what a hostile reviewer tried."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from cli_runner import muscle_gov

TABLE = ("--reader", "table", "-o", "key=id", "-o", "correct=ok")


def table(path: Path, columns: str, rows: Iterable[tuple[object, ...]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns.split())
        writer.writerows(rows)
    return path


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "store.duckdb")


def test_a_suite_that_the_new_log_lacks_is_missed_by_gate_and_report_too(
    tmp_path: Path, store: str
) -> None:
    def rows(suites: str) -> list[tuple[object, ...]]:
        return [(i, suite, int(i % 10 > 0)) for suite in suites for i in range(500)]

    old = table(tmp_path / "old.csv", "id suite ok", rows("ab"))
    new = table(tmp_path / "new.csv", "id suite ok", rows("a"))
    asked = ("--max", "nfr=2%", "--store", store)
    assert muscle_gov("compare", old, new, *TABLE, "-o", "suite_column=suite", *asked).code == 3
    assert muscle_gov("gate", *asked).code == 3
    assert "INCOMPARABLE" in muscle_gov("report", "--md", "-", "--store", store).out


def flipped(path: Path, tag: Callable[[int], object], new: bool) -> Path:
    return table(path, "id ok tag", [(i, int(not (new and i < 30)), tag(i)) for i in range(1000)])


def test_tags_of_an_earlier_import_do_not_decide_what_a_slice_is(tmp_path: Path, store: str) -> None:
    options = (*TABLE, "-o", "tags=tag", "-o", "suite=s", "--store", store)
    wrong = flipped(tmp_path / "wrong.csv", lambda i: "de" if 100 <= i < 300 else "en", False)
    assert muscle_gov("import", wrong, *options).code == 0
    old = flipped(tmp_path / "old.csv", lambda i: "de" if i < 200 else "en", False)
    new = flipped(tmp_path / "new.csv", lambda i: "de" if i < 200 else "en", True)
    assert muscle_gov("compare", old, new, *options, "--max", "*[tag=de]:nfr=5%").code == 1


def test_the_new_log_cannot_split_the_clusters_of_the_old_one(tmp_path: Path, store: str) -> None:
    options = (*TABLE, "-o", "cluster=tag", "-o", "suite=s", "--max", "nfr=3%", "--store", store)
    old = flipped(tmp_path / "old.csv", lambda i: i // 10, False)
    new = flipped(tmp_path / "new.csv", lambda i: f"alone {i}", True)
    assert muscle_gov("compare", old, new, *options).code == 3
    assert muscle_gov("import", new, *options[:6], "-o", "cluster=tag", "--store", store).code == 0
    assert muscle_gov("gate", "--max", "nfr=3%", "--store", store).code == 3


def test_a_slice_is_named_to_the_letter(tmp_path: Path, store: str) -> None:
    def rows(new: bool) -> list[tuple[object, ...]]:
        return [(i, int(not (new and i % 4 == 0)), "[de]" if i % 2 == 0 else "d") for i in range(400)]

    old, new = (table(tmp_path / f"{n}.csv", "id ok tag", rows(n == "new")) for n in ("old", "new"))
    options = (*TABLE, "-o", "tags=tag", "--store", store)
    assert muscle_gov("compare", old, new, *options, "--max", "*[tag=[de]]:nfr=2%").code == 1


def test_a_suite_cannot_take_the_name_of_the_total(tmp_path: Path, store: str) -> None:
    old = table(tmp_path / "old.csv", "id ok suite", [(i, 1, "(all)") for i in range(50)])
    ran = muscle_gov("import", old, *TABLE, "-o", "suite_column=suite", "--store", store)
    assert ran.code == 2
    assert "(all)" in ran.err


def test_a_suite_without_answers_does_not_vanish_in_the_total(tmp_path: Path, store: str) -> None:
    def rows(new: bool) -> list[tuple[object, ...]]:
        big: list[tuple[object, ...]] = [(i, 1, "big") for i in range(2000)]
        return big + [(i, "" if new and i >= 2 else 1, "small") for i in range(20)]

    old, new = (table(tmp_path / f"{n}.csv", "id ok suite", rows(n == "new")) for n in ("old", "new"))
    options = (*TABLE, "-o", "suite_column=suite", "--store", store)
    assert muscle_gov("compare", old, new, *options, "--max", "(all):nfr=2%").code == 3


def test_a_report_is_made_under_the_conditions_of_its_verdict(tmp_path: Path, store: str) -> None:
    def rows(prompt: str) -> list[tuple[object, ...]]:
        return [(i, 1, f"{prompt} {i}") for i in range(500)]

    old = table(tmp_path / "old.csv", "id ok prompt", rows("say"))
    new = table(tmp_path / "new.csv", "id ok prompt", rows("tell"))
    options = (*TABLE, "-o", "prompt=prompt", "-o", "content=id", "--store", store)
    assert muscle_gov("compare", old, new, *options, "--max", "nfr=2%").code == 3
    assert muscle_gov("gate", "--max", "nfr=2%", "--allow", "prompt-changed", "--store", store).code == 0
    assert "PASS" in muscle_gov("report", "--md", "-", "--store", store).out.splitlines()[0]
    (row,) = muscle_gov("history", "--json", "--store", store).json
    assert (row["status"], row["earlier"]) == ("PASS", ["INCOMPARABLE"])


# ------------------------------------------------- exceptions, tiers and lists, each a way to sneak past


def broken(folder: Path, store: str, n: int = 400, flips: int = 40) -> tuple[str, ...]:
    """A comparison, of which a tenth flipped, in the store; the options that judge it again."""
    for name in ("old", "new"):
        rows = [(i, int(not (name == "new" and i < flips)), "ab"[i % 2]) for i in range(n)]
        table(folder / f"{name}.csv", "id ok tag", rows)
    logs = (folder / "old.csv", folder / "new.csv")
    options = (*TABLE, "-o", "tags=tag", "-o", "suite=s", "--store", store)
    assert muscle_gov("compare", *logs, *options, "--max", "nfr=2%").code in (0, 1, 3)
    return ("--max", "nfr=2%", "--store", store)


def signed(kind: str, **fields: object) -> str:
    usual = {"suite": "s", "reason": "r", "owner": "release owner", "expires": "2999-01-01"}
    fields = {**usual, **fields}
    lines = [f"{name} = {str(v).lower() if v is True else repr(v)}" for name, v in fields.items()]
    return f"[[{kind}]]\n" + "\n".join(lines) + "\n"


def test_a_failed_suite_is_not_waived_slice_by_slice(tmp_path: Path, store: str) -> None:
    asked = broken(tmp_path, store)
    waivers = tmp_path / "w.toml"
    waivers.write_text(signed("waiver", slice="tag=a") + signed("waiver", slice="tag=b"))
    ran = muscle_gov("gate", *asked, "--waivers", waivers, "-q")
    assert ran.code == 1
    assert "2 waivers are refused (2 over-broad)" in ran.out
    # whoever means it says so, and the verdict shows it
    both = "".join(signed("waiver", slice=f"tag={t}", whole_suite=True) for t in "ab")
    waivers.write_text(both)
    ran = muscle_gov("gate", *asked, "--waivers", waivers, "-q")
    assert ran.code == 0
    assert ran.out.count("waiver applied: s tag=") == 2


def test_what_flips_is_not_flaky_for_that(tmp_path: Path, store: str) -> None:
    asked = broken(tmp_path, store)
    quarantine = tmp_path / "q.toml"
    quarantine.write_text("".join(signed("quarantine", instance=str(i)) for i in range(15)))
    ran = muscle_gov("gate", *asked, "--quarantine", quarantine, "-q")
    assert ran.code == 1
    assert "15 quarantine entries are refused (15 not-flaky)" in ran.out


def test_proposals_that_nobody_signed_set_nothing_aside(tmp_path: Path, store: str) -> None:
    asked = broken(tmp_path, store)
    quarantine = tmp_path / "q.toml"
    quarantine.write_text(signed("quarantine", instance="1", reason="", owner="", expires=""))
    for given in (("--quarantine", quarantine), ("--policy", tmp_path / "p.toml")):
        (tmp_path / "p.toml").write_text('quarantine = "q.toml"\n[gate]\n')
        ran = muscle_gov("gate", *asked, *given)
        assert ran.code == 2
        assert "nobody has signed" in ran.err


def test_a_misspelt_supporting_rule_does_not_stay_undecided_for_ever(tmp_path: Path, store: str) -> None:
    broken(tmp_path, store, flips=1)
    policy = tmp_path / "p.toml"
    rule = '[[gate.rules]]\nmetric = "nfr"\nmax = 0.02\n'
    policy.write_text(rule + rule + 'suites = ["mispelt"]\ntier = "supporting"\n')
    assert muscle_gov("gate", "--policy", policy, "--store", store).code == 3


def test_undecided_supporting_rules_alone_pass_nothing(tmp_path: Path, store: str) -> None:
    asked = broken(tmp_path, store, flips=8)
    policy = tmp_path / "p.toml"
    policy.write_text('[[gate.rules]]\nmetric = "nfr"\nmax = 0.02\ntier = "supporting"\n')
    assert muscle_gov("gate", "--policy", policy, "--store", store).code == 3
    ran = muscle_gov("gate", "--policy", policy, "--max", "pfr=10%", *asked[2:])
    assert ran.code == 0
    assert "1 supporting undecided" in ran.out
    assert "1 supporting rule is undecided" in muscle_gov("report", "--md", "-", "--store", store).out


def test_golden_answers_cannot_vanish(tmp_path: Path, store: str) -> None:
    asked = broken(tmp_path, store, flips=1)
    policy, keys = tmp_path / "p.toml", tmp_path / "golden.txt"
    policy.write_text('[[gate.must_not_regress]]\nname = "golden"\nfile = "golden.txt"\n')
    given = ("gate", "--policy", policy, *asked, "-q")
    for text, code in (("7\n8\n", 0), ("7\n0\n", 1), ("7\nlost\n", 3), ("other\t7\n", 3), ("#7\n", 2)):
        keys.write_text(text)
        assert muscle_gov(*given).code == code, text
    # a waiver of a slice does not reach them, and one of more than half of the suite is refused
    keys.write_text("0\n")
    (tmp_path / "w.toml").write_text(signed("waiver", slice="tag=a"))
    assert muscle_gov(*given, "--waivers", tmp_path / "w.toml").code == 1
    (tmp_path / "w.toml").write_text(signed("waiver", instance="0"))
    assert muscle_gov(*given, "--waivers", tmp_path / "w.toml").code == 3  # nothing listed is left
    keys.write_text("0\n7\n")
    assert muscle_gov(*given, "--waivers", tmp_path / "w.toml").code == 0


# --------------------------------------------------------- exceptions that prove or widen themselves


def quarantine_of(keys: Iterable[int]) -> str:
    return "".join(signed("quarantine", instance=str(i)) for i in keys)


def logs_with_flips(folder: Path, n: int = 1000, every: int = 25) -> tuple[Path, Path]:
    old = table(folder / "old.csv", "id ok", [(i, 1) for i in range(n)])
    return old, table(folder / "new.csv", "id ok", [(i, int(i % every > 0)) for i in range(n)])


@pytest.mark.parametrize(
    "more",
    [
        ("-o", "model=live"),  # both logs name one model
        ("--old-rerun", "new.csv", "--old-option", "model=before"),
        ("--new-rerun", "old.csv", "--old-option", "model=before", "--new-option", "model=after"),
        ("--old-rerun", "new.csv", "-o", "model=live"),
    ],
)
def test_flips_are_no_proof_that_their_items_are_flaky(
    tmp_path: Path, store: str, more: tuple[str, ...]
) -> None:
    logs_with_flips(tmp_path)
    (tmp_path / "q.toml").write_text(quarantine_of(range(0, 1000, 25)))
    asked = ("--max", "nfr=2%", "--quarantine", "q.toml", "--store", store)
    options = (*TABLE, "-o", "suite=s")
    ran = muscle_gov("compare", "old.csv", "new.csv", *options, *asked, *more, "-q", cwd=tmp_path)
    assert ran.code in (1, 3), ran.out
    assert "40 quarantine entries are refused (40 not-flaky)" in ran.out


def test_logs_read_before_as_one_model_are_no_proof_of_flakiness(tmp_path: Path, store: str) -> None:
    options = (*TABLE, "-o", "suite=s", "--store", store)
    old, new = logs_with_flips(tmp_path)
    for log in (old, new):
        assert muscle_gov("import", log, *options, "-o", "model=decoy").code == 0
    (tmp_path / "q.toml").write_text(quarantine_of(range(0, 1000, 25)))
    asked = ("--max", "nfr=2%", "--quarantine", tmp_path / "q.toml", "-q")
    ran = muscle_gov("compare", old, new, *options, *asked)
    assert ran.code == 1
    assert "(40 not-flaky)" in ran.out
    # with its own file an honest rerun of the old model does prove it
    again = table(tmp_path / "again.csv", "id ok", [(i, int(i % 50 > 0)) for i in range(1000)])
    assert muscle_gov("import", again, *options, "-o", "model=old").code == 0
    (tmp_path / "q.toml").write_text(quarantine_of(range(0, 1000, 50)))
    ran = muscle_gov("gate", *asked, "--store", store)
    assert "20 quarantine entries set 20 flaky items aside" in ran.out


def test_two_logs_of_one_name_are_warned_of(tmp_path: Path, store: str) -> None:
    old, new = logs_with_flips(tmp_path)
    told = "both logs call their model live"
    same = muscle_gov("compare", old, new, *TABLE, "-o", "model=live", "--store", store)
    assert told in same.out + same.err
    other = muscle_gov("compare", old, new, *TABLE, "--store", store)
    assert told not in other.out + other.err


def test_the_new_log_cannot_tag_its_failures_into_a_waived_slice(tmp_path: Path, store: str) -> None:
    def rows(new: bool) -> list[tuple[object, ...]]:
        bad = [new and i % 10 == 0 for i in range(1000)]
        return [(i, int(not b), "out" if i >= 970 or b else "in") for i, b in enumerate(bad)]

    old, new = (table(tmp_path / f"{n}.csv", "id ok tag", rows(n == "new")) for n in ("old", "new"))
    waivers = tmp_path / "w.toml"
    waivers.write_text(signed("waiver", slice="tag=out"))
    options = (*TABLE, "-o", "tags=tag", "-o", "suite=s", "--store", store, "--waivers", waivers)
    ran = muscle_gov("compare", old, new, *options, "--max", "nfr=2%", "-q")
    assert ran.code == 1
    assert "1 waiver sets 3 flips aside" in ran.out
    assert "97 pairs are in the waived slice tag=out by the tags of one log alone" in ran.out


@pytest.mark.parametrize("kind", ["waiver", "quarantine"])
def test_a_set_clock_revives_no_exception(tmp_path: Path, store: str, kind: str) -> None:
    old, new = logs_with_flips(tmp_path)
    again = table(tmp_path / "again.csv", "id ok", [(i, int(i % 50 > 0)) for i in range(1000)])
    file = tmp_path / "e.toml"
    file.write_text(
        "".join(signed(kind, instance=str(i), expires="2020-01-01") for i in range(0, 1000, 25))
    )
    options = (*TABLE, "-o", "suite=s", "--store", store, "--max", "nfr=2%")
    asked = ("compare", old, new, "--old-rerun", again, "--old-option", "model=old", *options)
    flag = "--waivers" if kind == "waiver" else "--quarantine"
    ran = muscle_gov(*asked, flag, file, "-q", SOURCE_DATE_EPOCH="1500000000")  # 2017-07-14
    assert ran.code in (1, 3)
    assert "(40 expired)" in ran.out
    # judged again on the day that was kept, by whatever clock
    assert "(40 expired)" in muscle_gov("report", "--md", "-", "--store", store).out


# --------------------------------------------------------------------------------- lists and numbers


def test_a_key_must_be_in_every_suite_that_its_list_names(tmp_path: Path, store: str) -> None:
    rows: list[tuple[object, ...]] = [(i, s, 1) for s in ("aa", "bb") for i in range(300)]
    old = table(tmp_path / "old.csv", "id suite ok", [row for row in rows if row[:2] != (7, "bb")])
    new = table(
        tmp_path / "new.csv", "id suite ok", [(*row[:2], int(row[:2] != (7, "bb"))) for row in rows]
    )
    policy = tmp_path / "p.toml"
    rule = '[gate]\ncoverage = 0.9\n[[gate.rules]]\nmetric = "nfr"\nmax = 0.1\n'
    found = {}
    for suites in ('["aa", "bb"]', '["*"]'):
        listed = f'[[gate.must_not_regress]]\nname = "l"\ninstances = ["7"]\nsuites = {suites}\n'
        policy.write_text(rule + listed)
        options = (*TABLE, "-o", "suite_column=suite", "--store", store, "--policy", policy)
        found[suites] = muscle_gov("compare", old, new, *options)
    assert [ran.code for ran in found.values()] == [3, 0]
    assert "bb: the list 'l': 1 listed instance is not there" in found['["aa", "bb"]'].out


@pytest.mark.parametrize("outlier", [1e13, 1e20])
@pytest.mark.parametrize("side", ["old", "new"])
def test_one_huge_score_hides_no_loss_of_another_slice(
    tmp_path: Path, store: str, outlier: float, side: str
) -> None:
    def rows(new: bool) -> list[tuple[object, ...]]:
        scores = [0.2 if new and i >= 200 else 0.9 for i in range(400)]
        if new == (side == "new"):
            scores[0] = outlier
        return [(i, score, "ab"[i // 200]) for i, score in enumerate(scores)]

    old, new = (table(tmp_path / f"{n}.csv", "id s tag", rows(n == "new")) for n in ("old", "new"))
    options = ("--reader", "table", "-o", "key=id", "-o", "score=s", "-o", "tags=tag")
    asked = ("--min", "*[tag=b]:score_delta=-0.05", "--store", store)
    assert muscle_gov("compare", old, new, *options, *asked).code == 1
