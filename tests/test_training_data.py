"""By what a question is known again, in whatever suite it stands, and which ones stand as examples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from muscle_gov import InputError, plugins
from muscle_gov.questions import input_hash, plain_text

ASKED = "question: which is the sky?\nanswer:"
ROWS = [{"question": f"{n}: which is the sky?", "answer": "AB"[n % 2]} for n in range(8)]


def table(folder: Path, rows: Sequence[Mapping[str, Any]], **options: Any) -> Any:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"prompt": "question: {{ question }}\nanswer:", "target": "{{ answer }}", **options}
    return plugins.load(allow=()).make("suites", "table", {"path": path, **given})


def asked(number: int) -> str | None:
    return input_hash([f"question: {number}: which is the sky?\nanswer:"])


def inputs(suite: Any) -> list[str | None]:
    return [instance.input_hash for instance in suite.instances()]


# ------------------------------------------------------------------------------------------ questions


@pytest.mark.parametrize(
    "same",
    [
        "Question: WHICH is the sky?\n\nAnswer:",
        "question   which is the sky answer",
        "question: which is the sk\u200by?\nanswer:\u00ad",
        "ｑuestion： which is the sky？\u00a0answer:",
        "question: “which is the sky” … answer –",
    ],
)
def test_a_copy_is_known_however_it_is_typed(same: str) -> None:
    assert input_hash([same.replace(" –", "")]) == input_hash([ASKED])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("3 - 4 =", "3 + 4 ="),
        ("3-4", "34"),
        ("1.5", "15"),
        ("costs $5", "costs €5"),
        ("x*y", "x/y"),
        ("the cat", "the bat"),
        ("?", "!"),
        ("a b", "ab"),
    ],
)
def test_what_makes_another_question_is_kept(one: str, other: str) -> None:
    assert input_hash([one]) != input_hash([other])


def test_a_question_without_text_has_no_hash() -> None:
    assert input_hash(["", " \u200b\n"]) is None
    assert input_hash([]) is None
    assert input_hash(["", "a"]) != input_hash(["a", ""])
    assert plain_text("?!") == "?!"


# ------------------------------------------------------------------------------------------- examples


def test_table_and_harness_know_the_same_question(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval_tasks import CHOOSING, question_rows, suite_of

    rows, train = question_rows(6, 0), question_rows(5, 1)
    few = suite_of(tmp_path, {**CHOOSING, "train": train, "description": "D\n\n"}, rows, num_fewshot=2)
    ours = table(tmp_path, rows, target="{{ choices[answer] }}")
    chat = table(tmp_path, rows, target="{{ choices[answer] }}", system="Be good.", shots=1)
    assert inputs(few) == inputs(ours)
    assert set(inputs(chat)) < set(inputs(ours))
    (request,) = few.requests(next(few.instances()))
    assert train[0]["question"] in request.prompt or request.prompt.count("answer:") == 3
    learnt = table(tmp_path, train, target="{{ choices[answer] }}")
    assert set(few.shown()) == set(inputs(learnt))


def test_the_harness_shows_the_first_or_any(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval_tasks import CHOOSING, question_rows, suite_of, suite_over

    train = question_rows(9, 1)
    config = {**CHOOSING, "train": train, "fewshot_config": {"sampler": "first_n"}}
    first = suite_of(tmp_path / "a", config, question_rows(3, 0), num_fewshot=2)
    learnt = table(tmp_path, train, target="{{ choices[answer] }}")
    assert set(first.shown()) == set(inputs(learnt)[:3])
    none = suite_over(tmp_path / "a", "mine")
    assert set(none.shown()) == set()


def test_examples_that_cannot_be_compared_are_told(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval_tasks import CHOOSING, question_rows, suite_of

    train = question_rows(4, 1)
    suite = suite_of(tmp_path, {**CHOOSING, "train": train}, question_rows(3, 0), num_fewshot=1)
    suite.task.config.doc_to_text = lambda doc: doc["nothing"]
    with pytest.raises(InputError, match="mine: its examples cannot be compared with what is judged"):
        suite.shown()


def test_all_ways_to_fill_a_gap_are_one_question(tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from lm_eval_tasks import GAPS, gap_rows, suite_of

    rows = gap_rows(4, 5)
    found = inputs(suite_of(tmp_path, GAPS, rows))
    before = [row["sentence"].split("_")[0] for row in rows]
    assert found == [
        input_hash([b + option for option in row["options"]])
        for b, row in zip(before, rows, strict=True)
    ]


def test_the_table_shows_what_it_says(tmp_path: Path) -> None:
    own = table(tmp_path, ROWS, shots=2)
    assert set(own.shown()) == {asked(0), asked(1)}
    assert not set(own.shown()) & set(inputs(own))
    each = table(tmp_path, ROWS, shots=2, shots_choice="per-item")
    assert set(each.shown()) == {asked(n) for n in range(8)}
    assert set(table(tmp_path, ROWS).shown()) == set()
    pool = tmp_path / "pool.jsonl"
    pool.write_text('{"text": "all of it"}\n{"text": "and more"}\n')
    strange = table(tmp_path, ROWS, shots=1, shots_from=str(pool), shot="{{ text }}", content=["text"])
    with pytest.raises(Exception, match="text"):  # the items have no such column
        list(strange.instances())
    pool.write_text("".join(json.dumps(row) + "\n" for row in [{"question": "8: which is the sky?"}]))
    given = table(tmp_path, ROWS, shots=1, shots_from=str(pool), shot="so {{ question }}")
    assert set(given.shown()) == {asked(8)}


def test_olmes_shows_its_five(tmp_path: Path) -> None:
    from muscle_gov_plugins._olmes_tasks import TASKS, prompts
    from muscle_gov_plugins.suite_olmes import Olmes
    from olmes_rows import CASES, write_rows, write_task

    shots = write_rows(tmp_path / "shots.jsonl", [CASES["arc_easy"].row] * 5)
    suite = Olmes(tasks=("arc_easy",), data=write_task(tmp_path, "arc_easy"), shots_file=shots)
    instance = next(suite.instances())
    bare = prompts(TASKS["arc_easy"], "mcf", instance.data)
    assert instance.input_hash == input_hash(bare)
    assert set(suite.shown()) == {instance.input_hash}
    assert "\n\n" in suite.requests(instance)[0].prompt
