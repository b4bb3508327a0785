"""Log-probability margins: read from what choices' outputs look like, and from nothing else."""

from __future__ import annotations

import math

import pytest
from helpers import compare, log

from muscle_gov.exchange import Output, Request
from muscle_gov.margins import margins
from muscle_gov.predict.grading import _shown_output

OLD = "-1.2500  Paris\n-3.5000  Rome\n-2.0000  Oslo"
NEW = "-2.5000  Paris\n-1.0000  Rome\n-4.0000  Oslo"


def test_a_margin_is_the_right_choice_less_the_best_other() -> None:
    assert margins(OLD, NEW, "Paris") == (0.75, -1.5)
    assert margins(OLD, NEW, "Rome") == (-2.25, 1.5)


def test_a_mapping_of_choices_in_another_order_is_the_same_choices() -> None:
    turned = "\n".join(reversed(NEW.split("\n")))
    assert margins(OLD, turned, " Paris\n") == (0.75, -1.5)


def test_our_own_outputs_are_read_back_whatever_the_choices_look_like() -> None:
    choices = (" one\nline more", " 2", " -3.5  a number", "four")
    request = Request("Q:", choices)
    shown = [
        _shown_output([request], [Output(choice_logprobs=logprobs)])
        for logprobs in ((-1.0, -2.0, -3.0, -4.0), (-4.0, -3.5, -0.25, -1.0))
    ]
    assert margins(*shown, "one\nline more") == (1.0, -3.75)
    assert margins(*shown, "-3.5  a number") == (-2.0, 0.75)
    assert margins(*shown, "2") == (-1.0, -3.25)


def test_bare_choices_of_mutual_information_are_not_choices() -> None:
    bare = "\n\n-9.0000  Paris\n-9.0000  Rome\n-0.1000  Oslo"
    assert margins(OLD + bare, NEW + bare, "Paris") == (0.75, -1.5)


def test_choices_that_read_like_the_target_are_all_right() -> None:
    old, new = "-3.0  yes\n-1.0  yes\n-2.0  no", "-3.0  yes\n-4.0  yes\n-2.0  no"
    assert margins(old, new, "yes") == (1.0, -1.0)
    assert margins("-3.0  yes\n-1.0  yes", "-3.0  yes\n-1.0  yes", "yes") == (None, None)


@pytest.mark.parametrize(
    ("old", "new", "target"),
    [
        (None, NEW, "Paris"),
        (OLD, None, "Paris"),
        (OLD, NEW, None),
        (OLD, NEW, "Bern"),
        ("It is Paris.", NEW, "Paris"),
        ("-1.25", "-2.5", "Paris"),
        ("-1.25  Paris", "-2.5  Paris", "Paris"),
        (OLD, NEW.replace("Oslo", "Bern"), "Paris"),  # other choices
        (OLD, "I say:\n" + NEW, "Paris"),
        (OLD.replace("-1.25", "1.25"), NEW, "Paris"),  # no logarithm of a probability
        ("12  Paris\n13  Rome\n14  Oslo", NEW, "Paris"),
        ("", "", ""),
        ("-1.0  \n-2.0  ", "-1.0  \n-2.0  ", ""),
    ],
)
def test_what_is_no_list_of_the_same_choices_has_no_margin(
    old: str | None, new: str | None, target: str | None
) -> None:
    assert margins(old, new, target) == (None, None)


def test_a_choice_without_any_probability_leaves_only_its_side_unknown() -> None:
    never = OLD.replace("-1.2500", "-inf")
    assert margins(never, NEW, "Paris") == (None, -1.5)
    small = margins(OLD.replace("-1.2500", "-1.25e-05"), NEW, "Paris")[0]
    assert small is not None
    assert math.isclose(small, 1.9999875)


def test_the_store_gives_each_flip_its_margins_and_its_size() -> None:
    def old(i: int, repeat: int) -> dict[str, object]:
        return {"output": OLD, "target": "Paris"}

    def new(i: int, repeat: int) -> dict[str, object]:
        return {"output": NEW if i else "It is Rome.", "target": "Paris"}

    found = compare([log("RRR", "old", each=old)], [log("WWR", "new", each=new)]).flips
    assert [(f.key, f.old_margin, f.new_margin, f.size) for f in found] == [
        ("0", None, None, 1.0),
        ("1", 0.75, -1.5, 1.0),
    ]


def test_among_equals_the_suites_take_turns_and_scores_are_compared_within_their_suite() -> None:
    old = [log("R" * n, "old", suite) for suite, n in (("aaa", 5), ("bbb", 2), ("ccc", 3))]
    new = [log("W" * n, "new", suite) for suite, n in (("aaa", 5), ("bbb", 2), ("ccc", 3))]
    found = compare(old, new).flips
    assert [f.suite[0] for f in found] == list("abcabcacaa")
    assert [f.key for f in found if f.suite == "aaa"] == list("01234")

    def graded(scores: list[float], model: str, suite: str) -> object:
        return log("G" * len(scores), model, suite, each=lambda i, repeat: {"score": scores[i]})

    percent, share = [90.0, 80.0, 70.0], [0.9, 0.8, 0.7]
    old_side = [graded(percent, "old", "bleu"), graded(share, "old", "rouge")]
    new_side = [graded([89.0, 60.0, 65.0], "new", "bleu"), graded([0.5, 0.7, 0.1], "new", "rouge")]
    found = compare(old_side, new_side).flips  # type: ignore[arg-type]
    assert [(f.suite, f.key) for f in found] == [
        ("bleu", "1"),
        ("rouge", "2"),
        ("bleu", "2"),
        ("rouge", "0"),
        ("bleu", "0"),
        ("rouge", "1"),
    ]
    assert [round(f.size or 0, 6) for f in found] == [20, 0.6, 5, 0.4, 1, 0.1]
