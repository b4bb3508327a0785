"""The loss table against cases worked out by hand: three tokens, three words, chances in fractions.

Scores are T·log p, so that at temperature T the models have exactly the probabilities p; the head is
the identity. What follows from that is in the comments, in fractions and logarithms.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys
from dataclasses import replace
from math import log
from pathlib import Path

import pytest
import torch
from muscle_gov_plugins._loss_batch import Loss
from muscle_gov_plugins._loss_table import EVERYWHERE, OLD_RIGHT, ROWS, LossSettings, Row, Term, When
from muscle_gov_plugins._loss_terms import BatchTokens, Full, judge

# Token 0 has the label 0, and so on. Right (the label has most): student at 0, old at 1, new at 0 and 2.
STUDENT = [(1 / 2, 1 / 4, 1 / 4), (1 / 2, 1 / 4, 1 / 4), (1 / 2, 1 / 4, 1 / 4)]
OLD = [(1 / 4, 1 / 2, 1 / 4), (1 / 4, 1 / 2, 1 / 4), (5 / 8, 1 / 4, 1 / 8)]
NEW = [(1 / 2, 1 / 8, 3 / 8), (1 / 2, 1 / 8, 3 / 8), (1 / 4, 1 / 4, 1 / 2)]
LABELS, SEQUENCES = [0, 1, 2], [0, 0, 1]

# KL(teacher || student) of the fractions above.
O0 = O1 = 0.25 * log(1 / 2) + 0.5 * log(2)
O2 = 0.625 * log(5 / 4) + 0.125 * log(1 / 2)
N0 = N1 = 0.125 * log(1 / 2) + 0.375 * log(3 / 2)
N2 = 0.25 * log(1 / 2) + 0.5 * log(2)
# At T = 2 the student's own probabilities are the squares: (1/4, 1/16, 1/16) : 6/16 = 2/3, 1/6, 1/6.
CE_2 = (log(3 / 2) + log(6) + log(6)) / 3


def scores(chances: list[tuple[float, ...]], temperature: float) -> torch.Tensor:
    return torch.tensor(chances, dtype=torch.float64).log().mul(temperature).float()


def loss_of(row: str | Row, drawn_at: float, **settings: object) -> tuple[float, dict[str, float]]:
    labels = torch.tensor(LABELS)
    teachers = []
    for chances in (OLD, NEW):
        logits = scores(chances, drawn_at)
        teachers.append(replace(judge(logits, labels), scores=Full(logits)))
    tokens = BatchTokens(labels, torch.tensor(SEQUENCES), torch.ones(3, dtype=torch.bool), *teachers)
    value, means = Loss(row, LossSettings(**settings))(
        scores(STUDENT, drawn_at).requires_grad_(), lambda states: states, tokens, 3, 2
    )
    return value.item(), means


@pytest.mark.parametrize(
    ("row", "settings", "expected"),
    [
        ("muscle", {}, (N0 + O1 + O2) / 3),
        ("muscle", {"scale_by_t2": True}, 4 * (N0 + O1 + O2) / 3),
        ("muscle", {"compat_weight": 0.75}, 0.75 * (N0 + O1 + O2) / 3 + 0.25 * CE_2),
        ("muscle", {"compat_weight": 0.0}, CE_2),
        # Likelihoods of the labels: student 2/3, 1/6, 1/6; old 1/6, 2/3, 1/30: lost at token 1 alone.
        ("muscle-ll", {}, 0.5 * (N0 + O1 + N2) / 3 + 0.5 * CE_2),
        ("muscle-ll", {"compat_weight": 1.0}, (N0 + O1 + N2) / 3),
        # One of two tokens of sequence 0: that is any, and not the majority.
        ("muscle-ls", {}, 0.5 * (O0 + O1 + N2) / 3 + 0.5 * CE_2),
        ("muscle-ls", {"reading": "majority"}, 0.5 * (N0 + N1 + N2) / 3 + 0.5 * CE_2),
        ("v1-correct", {}, (N0 + O1 + N2) / 3),
        ("kd-old", {}, (O0 + O1 + O2) / 3),
        ("kd-old+ce", {}, 0.5 * (O0 + O1 + O2) / 3 + 0.5 * CE_2),
        ("self-distil", {}, 0.5 * (N0 + N1 + N2) / 3 + 0.5 * CE_2),
        ("self-distil", {"compat_weight": 1.0}, (N0 + N1 + N2) / 3),
        ("cross-entropy", {}, CE_2),
        # Old is right at token 1 alone: weights 1, 6, 1; T² = 4.
        ("pct", {"temperature": 2.0}, CE_2 + 4 * (O0 + 6 * O1 + O2) / 3),
        ("pct", {"temperature": 2.0, "distance_weight": 0.5}, CE_2 + 2 * (O0 + 6 * O1 + O2) / 3),
        ("pct", {"temperature": 2.0, "focal_alpha": 0.0, "focal_beta": 2.0}, CE_2 + 8 * O1 / 3),
        # KL(student || old): at tokens 0 and 1 the two just change places.
        (
            "kd-old",
            {"direction": "reverse"},
            (2 * 0.25 * log(2) + 0.5 * log(4 / 5) + 0.25 * log(2)) / 3,
        ),
    ],
)
def test_rows_at_temperature_2(row, settings, expected):
    value, means = loss_of(row, 2.0, **settings)
    assert value == pytest.approx(expected, rel=2e-6)
    assert means["loss"] == pytest.approx(expected, rel=2e-6)


def test_focal_distillation_has_the_published_temperature_and_weights():
    # At T = 100 the student's own probability of word 0 is 1 - 2^-99; the others are 2^-100 of it.
    cross_entropy = (0 + 100 * log(2) + 100 * log(2)) / 3
    value, _ = loss_of("pct", 100.0)
    assert value == pytest.approx(cross_entropy + 100**2 * (O0 + 6 * O1 + O2) / 3, rel=2e-6)


def test_both_teachers_are_added_in_mpt():
    # At T = 5 the student has (1/32, 1/1024, 1/1024) : 34/1024 of its own. New is right at 0 and 2.
    cross_entropy = (log(34 / 32) + 2 * log(34)) / 3
    focal = (O0 + 6 * O1 + O2 + 6 * N0 + N1 + 6 * N2) / 3
    value, means = loss_of("mpt", 5.0)
    assert value == pytest.approx(cross_entropy + 25 * focal, rel=2e-6)
    assert means["distance to old"] == pytest.approx(25 * (O0 + O1 + O2) / 3, rel=2e-6)
    assert means["distance to new where it is right"] == pytest.approx(25 * (N0 + N2) / 3, rel=2e-6)


def test_scores_are_matched_as_sums_and_as_means():
    # Scores at T = 1 are log p. Old differs from the student by log 1/2, log 2, 0; at token 2 by
    # log 5/4, 0, log 1/2.
    twos, fives = 2 * log(2) ** 2, log(5 / 4) ** 2 + log(2) ** 2
    cross_entropy = (log(2) + log(4) + log(4)) / 3
    summed = (twos / 2 + 6 * twos / 2 + fives / 2) / 3
    assert loss_of("pct", 1.0, distance="logit-l2")[0] == pytest.approx(cross_entropy + summed, rel=2e-6)
    mean = loss_of("pct", 1.0, distance="logit-mse")[0]
    assert mean == pytest.approx(cross_entropy + summed / 3, rel=2e-6)


def test_rcat_takes_each_mean_over_its_own_tokens():
    # New is right at 0 (differs by 0, log 1/2, log 3/2) and 2 (log 1/2, 0, log 2); old at 1.
    near = (log(2) ** 2 + log(3 / 2) ** 2) / 2 / 3
    far = 2 * log(2) ** 2 / 2 / 3
    cross_entropy = (log(2) + log(4) + log(4)) / 3
    value, means = loss_of("rcat", 1.0)
    assert value == pytest.approx(0.1 * cross_entropy + 0.5 * (near + far) / 2 + 0.4 * far, rel=2e-6)
    assert means["distance to new"] == pytest.approx((near + far) / 2, rel=2e-6)
    assert means["distance to old"] == pytest.approx(far, rel=2e-6)
    assert means["aligned to new"] == pytest.approx(2 / 3)
    assert means["aligned to old"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(("threshold", "flips"), [(0.0, True), (0.69, True), (0.70, False)])
def test_flipguard_acts_where_the_likelihood_falls_by_more_than_the_threshold(threshold, flips):
    # At T = 1 old has 1/2 for label 1 where the student has 1/4: a fall by log 2 = 0.693.
    cross_entropy = (log(2) + log(4) + log(4)) / 3
    value, means = loss_of("flipguard", 1.0, threshold=threshold, distance_weight=2.0)
    assert value == pytest.approx(cross_entropy + (2 * O1 / 3 if flips else 0), rel=2e-6)
    assert means["aligned to old"] == pytest.approx(flips / 3)


def test_the_mixture_is_of_probabilities():
    # 1/4 old + 3/4 new: token 0 and 1 (7/16, 7/32, 11/32), token 2 (11/32, 1/4, 13/32).
    first = 7 / 16 * log(7 / 8) + 7 / 32 * log(7 / 8) + 11 / 32 * log(11 / 8)
    last = 11 / 32 * log(11 / 16) + 13 / 32 * log(13 / 8)
    value, means = loss_of("mixture", 1.0, temperature=1.0, old_weight=0.25)
    assert value == pytest.approx((2 * first + last) / 3, rel=2e-6)
    assert means["aligned to mixture"] == 1


def test_a_mixture_is_tempered_after_it_is_made():
    # Half and half at T = 1; the square roots, normalised, are what the student has to have at T = 2.
    mixtures = [[(o + n) / 2 for o, n in zip(*pair, strict=True)] for pair in zip(OLD, NEW, strict=True)]
    expected = 0.0
    for chances, student in zip(mixtures, STUDENT, strict=True):
        soft = [math.sqrt(chance) for chance in chances]
        hard = [math.sqrt(chance) for chance in student]
        pairs = [(a / sum(soft), b / sum(hard)) for a, b in zip(soft, hard, strict=True)]
        expected += sum(a * log(a / b) for a, b in pairs) / 3
    assert loss_of("mixture", 1.0)[0] == pytest.approx(expected, rel=1e-5)


def test_means_say_what_the_loss_is_made_of():
    _, means = loss_of("muscle", 2.0, compat_weight=0.5)
    assert list(means) == [
        "KL to old", "KL to new", "cross-entropy", "aligned to old", "aligned to new", "loss",
    ]  # fmt: skip
    assert means["KL to old"] == pytest.approx((O1 + O2) / 3, rel=2e-6)
    assert means["KL to new"] == pytest.approx(N0 / 3, rel=2e-6)
    assert means["cross-entropy"] == pytest.approx(CE_2, rel=2e-6)
    assert means["aligned to old"] == pytest.approx(2 / 3)
    assert means["aligned to new"] == pytest.approx(1 / 3)
    half = (means["KL to old"] + means["KL to new"] + means["cross-entropy"]) / 2
    assert means["loss"] == pytest.approx(half, rel=1e-6)


def test_a_row_of_ones_own_is_a_few_lines():
    both_wrong = When(
        "student and old wrong",
        lambda cases, _: ~cases.of("student").right & ~cases.of("old").right,
        frozenset({"student", "old"}),
    )
    row = Row(
        "gold-where-both-fail",
        "KL(old||C) where old is right, cross-entropy of weight α where it and the student are wrong",
        "test",
        (
            Term("KL to old", "old", OLD_RIGHT, lambda _: 1.0),
            Term("gold", "gold", both_wrong, lambda settings: settings.number("focal_alpha")),
        ),
        LossSettings(temperature=2.0, direction="forward", scale_by_t2=False, focal_alpha=0.5),
    )
    assert row.needs == {"old"}
    assert loss_of(row, 2.0)[0] == pytest.approx((O1 + 0.5 * log(6)) / 3, rel=2e-6)
    assert loss_of(row, 2.0, focal_alpha=2.0)[0] == pytest.approx((O1 + 2 * log(6)) / 3, rel=2e-6)


PAGE = (Path(__file__).parent.parent / "docs" / "mitigations" / "losses.md").read_text(encoding="utf-8")


def test_every_row_and_setting_is_on_the_page():
    headings = " ".join(re.findall(r"^## (.*)$", PAGE, re.MULTILINE)).split()
    assert [name for name in ROWS if name not in headings] == []
    assert [
        name for name in vars(LossSettings()) if f"`{name}`" not in PAGE and f"`{name} =" not in PAGE
    ] == []


def test_the_row_of_the_page_works():
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    space: dict[str, object] = {}
    exec(compile(code, "losses.md", "exec"), space)
    # Token 0: student right. Token 1: old right, student wrong. Token 2: both wrong, gold.
    assert loss_of(space["ROW"], 2.0)[0] == pytest.approx((N0 + O1 + log(6)) / 3, rel=2e-6)


def test_a_case_must_say_whom_it_asks():
    silent = When("student wrong", lambda cases, _: ~cases.of("student").right)
    row = Row("forgetful", "", "", (Term("CE", "gold", silent, lambda _: 1.0),), LossSettings())
    with pytest.raises(ValueError, match="looks at the model student: its `asks` must say so"):
        loss_of(row, 1.0)


def test_terms_of_one_name_are_refused():
    term = Term("cross-entropy", "gold", EVERYWHERE, lambda _: 1.0)
    with pytest.raises(ValueError, match="name of its own"):
        Row("twice", "", "", (term, term), LossSettings())
    with pytest.raises(ValueError, match="name of its own"):
        Row("hidden", "", "", (term,), LossSettings(compat_weight=0.5))


def test_rows_say_what_they_need():
    needs = {name: "+".join(sorted(row.needs)) for name, row in ROWS.items()}
    assert needs == {
        "muscle": "new+old", "muscle-ll": "new+old", "muscle-ls": "new+old", "v1-correct": "new+old",
        "kd-old": "old", "kd-old+ce": "old", "self-distil": "new", "cross-entropy": "", "pct": "old",
        "mpt": "new+old", "rcat": "new+old", "flipguard": "old", "mixture": "new+old",
    }  # fmt: skip
    assert {name for name, row in ROWS.items() if row.runs_head_twice} == {"muscle-ls"}
    assert {name for name in ROWS if Loss(name).needs_full} == {"rcat", "mixture"}
    assert Loss("pct", LossSettings(distance="logit-mse")).needs_full
    assert all(name == row.name for name, row in ROWS.items())
    assert all(row.equation and row.source for row in ROWS.values())


def test_a_model_of_no_weight_is_not_needed():
    assert Loss("muscle", LossSettings(compat_weight=0.0)).needs == frozenset()
    assert Loss("rcat", LossSettings(new_weight=0.0)).needs == {"old"}
    # The case still looks at the old model where only the new one teaches.
    new_alone = Row(
        "x", "", "", (Term("KL to new", "new", OLD_RIGHT, lambda _: 1.0),), ROWS["kd-old"].defaults
    )
    assert Loss(new_alone).needs == {"old", "new"}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"temperature": 0.0}, "temperature: must be above 0"),
        ({"temperature": math.inf}, "temperature: must be above 0"),
        ({"temperature": math.nan}, "temperature: must be above 0"),
        ({"compat_weight": 1.1}, "compat_weight: must be from 0 to 1"),
        ({"compat_weight": math.nan}, "compat_weight: must be from 0 to 1"),
        ({"old_weight": -0.1}, "old_weight: must be from 0 to 1"),
        ({"focal_alpha": -1.0}, "focal_alpha: must be 0 or more"),
        ({"threshold": math.inf}, "threshold: must be 0 or more"),
        ({"direction": "sideways"}, "direction: must be one of forward, reverse"),
        ({"distance": "l1"}, "distance: must be one of kl, logit-mse, logit-l2"),
        ({"reading": "all"}, "reading: must be one of any, majority"),
        (
            {"focal_beta": -1.0, "new_weight": 2.0},
            "focal_beta: must be 0 or more; new_weight: must be from 0 to 1",
        ),
    ],
)
def test_settings_out_of_range_are_refused(settings, problem):
    with pytest.raises(ValueError, match=problem):
        LossSettings(**settings)


@pytest.mark.parametrize(
    ("row", "settings", "problem"),
    [
        (
            "muscle",
            {"focal_alpha": 1.0},
            "focal_alpha: must be left out, the loss muscle does not use it",
        ),
        ("pct", {"compat_weight": 0.5}, "compat_weight: must be left out, the loss pct does not use it"),
        (
            "pct",
            {"distance": "logit-l2", "temperature": 3.0},
            "temperature: must be left out, the distance logit-l2 does not use it",
        ),
        (
            "rcat",
            {"new_weight": 0.7, "old_weight": 0.4},
            "cross-entropy: must have a weight of 0 or more",
        ),
        ("nonesuch", {}, "row: must be one of muscle, .*, not 'nonesuch'"),
    ],
)
def test_settings_that_change_nothing_are_refused(row, settings, problem):
    with pytest.raises(ValueError, match=problem):
        Loss(row, LossSettings(**settings))


def test_a_default_may_be_given_though_the_distance_has_no_use_for_it():
    given = LossSettings(distance="logit-l2", temperature=100.0, scale_by_t2=True, direction="forward")
    assert Loss("pct", given).needs_full


def test_weights_that_add_up_to_one_leave_no_cross_entropy():
    assert "cross-entropy" not in loss_of("rcat", 1.0, new_weight=0.7, old_weight=0.3)[1]


def test_a_loss_without_weights_is_refused():
    idle = Row("idle", "", "", (Term("CE", "gold", EVERYWHERE, lambda _: 0.0),), LossSettings())
    with pytest.raises(ValueError, match="idle: must have a weight above 0"):
        Loss(idle)


def test_the_table_is_at_hand_without_torch():
    code = "import sys, muscle_gov_plugins._loss_table; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
