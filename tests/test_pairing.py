"""Which rows make a pair: never their position, never a guess."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from helpers import Log, close, compare, log, scored
from hypothesis import given, settings
from hypothesis import strategies as st

from muscle_gov.errors import InputError
from muscle_gov.settings import ImportSettings
from muscle_gov.store import open_store


def reading(**given: Any) -> ImportSettings:
    return ImportSettings(reader="rows", **given)


# ------------------------------------------------------------------------------- the closed denominator


def test_every_instance_seen_by_either_model_is_in_one_cell_of_the_outcomes() -> None:
    old = "RRRRR WWWWW UUUUU EEEEE ....".replace(" ", "")
    new = "RWUE. RWUE. RWUE. RWUE. RWUE".replace(" ", "")
    suite = compare(old, new).only
    names = {"R": "right", "W": "wrong", "U": "unscored", "E": "error", ".": "missing"}
    assert suite.outcomes == {f"{names[o]}>{names[n]}": 1 for o, n in zip(old, new, strict=True)}
    assert (suite.n_union, suite.n_old, suite.n_new, suite.n_pairs) == (24, 20, 20, 4)
    assert suite.coverage == 4 / 24


OUTCOMES = st.lists(st.tuples(st.sampled_from("RWUE."), st.sampled_from("RWUE.")), max_size=25)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(OUTCOMES)
def test_outcomes_sum_to_the_union_whatever_they_are(drawn: list[tuple[str, str]]) -> None:
    pairs = [*drawn, ("R", "W")]  # a log needs a row
    old, new = ("".join(letters) for letters in zip(*pairs, strict=True))
    suite = compare(old, new).only
    seen = [pair for pair in pairs if pair != (".", ".")]
    judged = [pair for pair in seen if set(pair) <= set("RW")]
    assert sum(suite.outcomes.values()) == suite.n_union == len(seen)
    assert (suite.n_old, suite.n_new) == (sum(o != "." for o, _ in seen), sum(n != "." for _, n in seen))
    assert suite.n_pairs == len(judged)
    assert close(suite.measures["nfr"], judged.count(("R", "W")) / len(judged))


def test_with_repeats_an_instance_is_still_one_instance() -> None:
    old = ["RRR", "RW", "UU", "EU", "WWR", "R"]
    suite = compare(old, ["RR", "WW", "RR", "RR", ".", "UR"]).only
    assert (suite.n_union, suite.n_old, suite.n_new, suite.n_pairs) == (6, 6, 5, 2)
    assert sum(suite.outcomes.values()) == 6
    assert suite.outcomes["wrong>missing"] == 1
    assert suite.outcomes["unscored>right"] + suite.outcomes["error>right"] == 2


# ----------------------------------------------------------------------------------- identity of rows


def renumbered(letters: str, model: str, order: list[int]) -> Log:
    """The same instances in another order, with the keys that a harness numbering by position gives."""
    rows = log(letters, model).rows
    moved = [rows[i]._replace(key=str(place)) for place, i in enumerate(order)]  # type: ignore[union-attr]
    return Log(tuple(moved), model)


def test_rows_pair_by_content_and_not_by_the_number_of_the_row() -> None:
    letters = "RRRRRWWWWW"
    same = compare(log(letters, "old"), renumbered(letters, "new", [9, 3, 5, 0, 7, 1, 8, 2, 6, 4]))
    assert same["nfr"].value == 0.0
    assert same.only.outcomes == {"right>right": 5, "wrong>wrong": 5}
    by_key = compare(
        log(letters, "old"),
        renumbered(letters, "new", [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        reading=reading(pair_by="key"),
    )
    assert by_key["nfr"].value == 0.5
    assert "content-changed" in by_key.findings()


def test_without_content_rows_pair_by_key() -> None:
    def each(i: int, repeat: int) -> Mapping[str, Any]:
        return {"content_hash": None}

    old, new = log("RRWW", "old", each=each), log("RWRW", "new", each=each)
    assert close(compare(old, Log(new.rows[::-1], "new"))["nfr"], 0.25)
    with pytest.raises(InputError, match="no content"):
        compare(old, new, reading=reading(pair_by="content"))


def test_the_same_key_with_other_content_is_no_pair_and_that_is_told() -> None:
    old = log("R" * 10, "old")
    new = log(
        "R" * 10,
        "new",
        each=lambda i, _: {"content_hash": f"edited {i}" if i < 3 else f"content of {i}"},
    )
    result = compare(old, new)
    assert result.only.n_pairs == 7
    assert "3 of them have the same key" in result.finding("unpaired").message


def equal(letters: str, model: str) -> Log:
    """Instances with different keys and the very same content."""
    return log(letters, model, each=lambda i, _: {"content_hash": "what is 1 + 1?"})


def test_instances_of_equal_content_are_told_apart() -> None:
    suite = compare(equal("RRW", "old"), equal("RWW", "new")).only
    assert suite.outcomes == {"right>right": 1, "right>wrong": 1, "wrong>wrong": 1}
    fewer = compare(equal("RRW", "old"), equal("RR", "new")).only
    assert (fewer.n_union, fewer.n_pairs) == (3, 2)


def test_instances_of_equal_content_pair_by_their_keys_whatever_the_order() -> None:
    old, new = equal("RWRW", "old"), equal("RWRW", "new")
    shuffled = compare(old, Log(new.rows[::-1], "new"))
    assert shuffled.only.outcomes == {"right>right": 2, "wrong>wrong": 2}


# ------------------------------------------------------------------------------------------ duplicates


def appended(letters: str, more: Mapping[int, str], model: str = "new") -> Log:
    """A log to which rows of some instances were added later."""
    rows = log(letters, model).rows
    again = [log(["." for _ in range(i)] + [letter], model).rows[0] for i, letter in more.items()]
    return Log((*rows, *again), model)


def test_the_same_result_again_is_dropped_and_counted() -> None:
    result = compare("RRWW", appended("RWRW", {0: "R", 1: "W"}))
    assert result.only.n_pairs == 4
    assert close(result["nfr"], 0.25)
    assert "2 rows" in result.finding("duplicate-rows").message


def test_a_contradiction_is_refused_unless_it_is_said_what_it_is() -> None:
    log_ = appended("RWRW", {0: "W"})
    with pytest.raises(InputError, match=r"'0'.*--duplicates"):
        compare("RRWW", log_)
    nfr = {
        kept: compare("RRWW", log_, reading=reading(duplicates=kept))["nfr"].value
        for kept in ("first", "last", "repeats")
    }
    assert nfr == {"first": 0.25, "last": 0.5, "repeats": pytest.approx((0.5 + 1) / 4)}


def test_a_repeat_that_is_numbered_twice_is_a_duplicate_or_a_contradiction() -> None:
    rows = log(["RW", "RR"], "new").rows
    again = compare(["RR", "RR"], Log((*rows, rows[1]), "new"))
    assert "1 rows" in again.finding("duplicate-rows").message
    with pytest.raises(InputError, match="more than once"):
        compare(["RR", "RR"], Log((*rows, rows[0]._replace(repeat=rows[1].repeat)), "new"))


# --------------------------------------------------------------------------------------------- repeats


def test_further_runs_of_a_model_are_its_repeats() -> None:
    runs = ["RRWW", "RWWW", "RRRW"]
    old = [log(letters, "old") for letters in runs]
    result = compare(old[0], "RWRW", reruns=(old[1:], []))
    assert close(result["accuracy_old"], (1 + 2 / 3 + 1 / 3 + 0) / 4)
    assert close(result["nfr"], (2 / 3) / 4)
    within = compare([*map("".join, zip(*runs, strict=True))], [*"RWRW"])
    for metric, found in result.only.measures.items():
        assert found == within[metric], metric


def test_unequal_numbers_of_repeats_weigh_each_instance_alike() -> None:
    result = compare(["RRRR", "W"], ["R", "RRWW"])
    assert close(result["accuracy_old"], 0.5)
    assert close(result["accuracy_new"], 0.75)


def test_an_instance_with_a_repeat_that_was_not_scored_is_not_judged() -> None:
    suite = compare(["RRU", "RRR", "RR"], ["RW", "UW", "RW"]).only
    assert (suite.n_pairs, suite.n_union) == (1, 3)
    assert close(suite.measures["nfr"], 0.5)
    assert suite.outcomes["unscored>wrong"] == suite.outcomes["right>unscored"] == 1


# ---------------------------------------------------------------------------------------- thresholds


def test_a_threshold_leaves_alone_what_is_right_or_wrong_without_a_score() -> None:
    suite = compare("RRWW", "RWRW", threshold=0.5).only
    assert suite.n_pairs == 4


def test_a_threshold_of_graded_suites_leaves_the_others_alone() -> None:
    def each(i: int, repeat: int) -> Mapping[str, Any]:
        return {"score": float(i % 2 == 0)}

    old = log("RW" * 10, "old", each=each)
    new = log("WW" * 10, "new", each=lambda i, _: {"score": 0.0})
    assert close(compare(old, new, threshold=50)["nfr"], 0.5)


# --------------------------------------------------------------------------------------------- the flips


def test_each_flip_is_listed_worst_first_with_what_was_answered() -> None:
    old = log("RWWW", "old", each=lambda i, _: {"answer": f"old {i}", "output": f"I say old {i}"})
    new = log("WRWW", "new", each=lambda i, _: {"answer": f"new {i}" if i < 3 else "old 3"})
    flips = compare(old, new).flips
    assert [(f.kind, f.key) for f in flips] == [
        ("negative", "0"),
        ("wrong_to_wrong", "2"),
        ("positive", "1"),
    ]
    assert (flips[0].old_answer, flips[0].new_answer) == ("old 0", "new 0")
    assert flips[0].old_output == "I say old 0"


# --------------------------------------------------------------------------- sums beside huge scores


def test_an_outlier_takes_no_bits_from_the_other_scores_of_its_group() -> None:
    # what a sum of floats would still tell, the sums here tell too
    n, outlier = 10_000, 1e13
    before = [outlier, *(0.5 + i % 7 / 16 for i in range(1, n))]
    after = [1.0, *(score - 0.06 for score in before[1:])]
    result = compare(scored(before, "old"), scored(after, "new"))
    losses = [o - n for o, n in zip(before, after, strict=True)]
    value = result["score_delta"].value
    assert value is not None
    assert value == pytest.approx(-math.fsum(losses) / n, rel=1e-15)
    # the 600 points that all others lost together, beside the outlier's
    assert -value * n - (outlier - 1) == pytest.approx(0.06 * (n - 1), rel=1e-4)


@pytest.mark.parametrize("size", [1e-290, 1e-100, 1.0, 1e100])
def test_the_size_of_scores_is_a_matter_of_units(size: float) -> None:
    before, after = [0.7, 0.6, 0.4, 0.9] * 30, [0.6, 0.6, 0.5, 0.2] * 30
    small = compare(scored(before, "old"), scored(after, "new"))["score_delta"]
    scaled = [scored([s * size for s in some], name) for some, name in ((before, "old"), (after, "new"))]
    large = compare(*scaled)["score_delta"]
    assert None not in (small.value, large.value, small.low, large.low)
    assert large.value == pytest.approx(small.value * size, rel=1e-8, abs=0)
    if 1e-150 < size < 1e150:  # else the squares are no floats any more
        assert large.low == pytest.approx(small.low * size, rel=1e-8, abs=0)


@pytest.mark.parametrize("with_tags", [False, True])
def test_threads_change_no_bit_of_a_sum(with_tags: bool) -> None:
    def scores(seed: int) -> list[float]:
        return [((i * seed) % 9973) / 9973 * 10.0 ** (i % 23 - 8) for i in range(20_000)]

    def each(values: list[float]) -> Any:
        return lambda i, _: {"score": values[i], "tags": {"t": str(i % 5)}, "cluster": f"c{i // 3}"}

    sides = [
        log("G" * 20_000, name, each=each(scores(seed))) for name, seed in (("old", 7919), ("new", 31))
    ]
    seen = []
    for threads in (1, 4):
        with open_store(":memory:") as store:
            store.run(f"SET threads = {threads}")
            result = compare(*sides, store=store, slices=with_tags)
            seen.append([f.measures for f in (*result.comparison.suites, *result.comparison.slices)])
    assert seen[0] == seen[1]
