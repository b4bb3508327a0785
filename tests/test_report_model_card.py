"""The model card: the Hub's own parsers read it, no id is made up, and nothing in it is markup."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import EvalResult, model_index_to_eval_results
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from muscle_gov_plugins._model_index import hub_id, yaml_text
from muscle_gov_plugins.report_model_card import ModelCardReport
from report_samples import HOSTILE, comparison, figures, hostile_report, measure, report, verdict

from muscle_gov.data import Finding, Report, Status
from muscle_gov.plugins import build

HEADERS = {
    "maths": ({"dataset": "org/old"}, {"dataset": "cais/mmlu", "split": "test"}),
    "reading": ({}, {"dataset": "questions.jsonl", "split": None}),
}


def card(given_: Report, **options: str) -> tuple[str, list[EvalResult], str]:
    """Name, results and text of the card, read as the Hub does; the head read by both ways alike."""
    text = ModelCardReport(**options).render(given_).decode("utf-8", "strict")
    made = ModelCard(text)
    head = yaml.safe_load(text.split("---\n")[1])
    name, results = model_index_to_eval_results(head["model-index"])
    assert made.data.model_name == name
    assert (made.data.eval_results or []) == results
    return name, results, made.text


def test_accuracy_and_flips_are_results_with_their_intervals() -> None:
    name, results, _ = card(report(comparison=comparison(headers=HEADERS)))
    assert name == "new-model"
    assert [(one.dataset_name, one.metric_type, one.metric_value) for one in results] == [
        ("maths", "accuracy", 0.75),
        ("maths", "nfr", 0.1),
        ("maths", "pfr", 0.05),
        ("maths", "accuracy_delta", -0.05),
        ("reading", "accuracy", 0.75),
        ("reading", "nfr", 0.1),
        ("reading", "pfr", 0.05),
        ("reading", "accuracy_delta", -0.05),
    ]
    assert results[1].metric_name == "Negative flip rate (NFR) against old-model"
    assert results[1].metric_args == {
        "pairs": 100,
        "low": 0.08,
        "high": 0.12,
        "confidence": 0.95,
        "method": "Clopper-Pearson",
        "old_model": "old-model",
    }
    assert {one.task_type for one in results} == {"text-generation"}
    assert not any(one.verified for one in results)


def test_a_data_set_has_the_id_of_the_log_or_none() -> None:
    _, results, _ = card(report(comparison=comparison(headers=HEADERS)))
    told = {one.dataset_name: (one.dataset_type, one.dataset_split) for one in results}
    assert told == {"maths": ("cais/mmlu", "test"), "reading": ("unknown", None)}


def test_suites_of_one_data_set_stay_apart_when_the_hub_writes_them_again() -> None:
    both = dict.fromkeys(("maths", "reading"), HEADERS["maths"])
    _, results, _ = card(report(comparison=comparison(headers=both)))
    assert len({one.unique_identifier for one in results}) == 2
    made = ModelCard(ModelCardReport().render(report(comparison=comparison(headers=both))).decode())
    again = ModelCard(str(made))
    assert again.data.to_dict() == made.data.to_dict()
    assert sorted(map(str, again.data.eval_results)) == sorted(map(str, results))


@pytest.mark.parametrize(
    ("dataset", "known"),
    [
        ("cais/mmlu", True),
        ("openai/gsm8k", True),
        ("gsm8k", False),
        ("data/maths.jsonl", False),
        ("/srv/data/maths", False),
        ("a/b/c", False),
        ("../maths", False),
        ("org/na me", False),
        ("org/name\n", False),
        (None, False),
        (["org/name"], False),
    ],
)
def test_only_what_reads_like_an_id_of_the_hub_is_one(dataset: Any, known: bool) -> None:
    assert hub_id(dataset) == (dataset if known else None)


def test_a_graded_suite_has_scores_by_the_metrics_own_name() -> None:
    graded = figures("summaries", kind="graded", metric="rouge1")
    _, results, text = card(report(comparison=comparison(suites=(graded,), total=None)))
    assert [(one.metric_type, one.metric_value) for one in results] == [
        ("rouge1", 30.25),
        ("regression_rate", 0.4),
        ("gain_rate", 0.3),
        ("score_delta", -1.25),
    ]
    assert "| `summaries` | 100 | 30.25 [30.23, 30.27] |" in text


def test_what_is_not_defined_or_no_number_is_left_out() -> None:
    broken = replace(measure(0.5), value=float("nan"))
    lone = replace(figures("maths"), measures={"accuracy_new": measure(None), "nfr": broken})
    _, results, text = card(report(comparison=comparison(suites=(lone,), total=None)))
    assert results == []
    assert "| `maths` | 100 | ∅ |" in text


@pytest.mark.parametrize("suite", [None, "maths"])
def test_models_that_may_not_be_compared_have_no_figures_against_each_other(suite: str | None) -> None:
    found = (Finding("prompt-changed", "blocks", "other prompts", suite),)
    told = verdict(Status.INCOMPARABLE, findings=found)
    _, results, text = card(report(verdict=told))
    kinds = {one.metric_type for one in results if one.dataset_name == "maths"}
    assert kinds == {"accuracy"}
    assert ("nfr" in {one.metric_type for one in results}) == (suite is not None)
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows[0].endswith("| ∅ | ∅ | ∅ |")
    assert rows[-1].endswith("| ∅ | ∅ | ∅ |")


def test_the_text_gives_the_verdict_and_every_suite() -> None:
    _, _, text = card(report())
    assert "Compared with `old-model`, answer by answer. **FAIL:** maths: nfr is 0.1;" in text
    assert [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| `")] == [
        "`maths`",
        "`reading`",
        "`(all)`",
    ]


def test_name_task_and_source_can_be_given() -> None:
    options = {"model": "org/model", "task": "question-answering", "source": "https://example.org/r"}
    name, results, _ = card(report(), **options)
    assert (name, results[0].task_type) == ("org/model", "question-answering")
    assert (results[0].source_url, results[0].source_name) == ("https://example.org/r", "muscle-gov")


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ({"source": "javascript:alert(1)"}, "is no web address"),
        ({"model": " "}, "model: must not be empty"),
        ({"task": ""}, "task: must not be empty"),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_one_sentence(option: dict[str, str], told: str) -> None:
    problems: list[str] = []
    assert build(ModelCardReport, option, problems) is None
    assert len(problems) == 1
    assert told in problems[0]


# ---------------------------------------------------------------------------------- hostile content


def comparable(text: str) -> Report:
    """The hostile report without the finding that forbids to compare."""
    made = hostile_report(text)
    return replace(made, verdict=replace(made.verdict, findings=()))


HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u202a-\u202e\u2066-\u2069\ufeff]")


@pytest.mark.parametrize("text", [*HOSTILE, "---", "x\n---\ny", "'", '"', ": ", "# x", "&a", "*a", "!x"])
def test_hostile_text_stays_in_its_place(text: str) -> None:
    found = comparable(text)
    name, results, body = card(found)
    assert len(results) == 4
    assert name == " ".join(HIDDEN.sub("", name).split())
    kinds = {
        token.type
        for outer in MarkdownIt("commonmark", {"html": True}).enable("table").parse(body)
        for token in (outer, *(outer.children or ()))
    }
    assert not kinds & {"html_inline", "html_block", "link_open", "image", "fence", "code_block", "hr"}
    assert HIDDEN.search(ModelCardReport().render(found).decode()) is None


@given(st.text(alphabet=st.characters()))
@settings(deadline=None)
def test_any_text_makes_a_card_that_the_hub_reads(text: str) -> None:
    assert len(card(comparable(text))[1]) == 4


@pytest.mark.parametrize(
    "text",
    [
        "1e3",
        "0o17",
        "0x1F",
        "1_000",
        "12:30:45",
        "2026-01-01",
        "yes",
        "No",
        "y",
        "null",
        "~",
        "1.5",
        ".inf",
        "<<",
    ],
)
def test_a_text_that_reads_like_something_else_is_quoted(text: str) -> None:
    # YAML 1.1 and 1.2 differ in what they take for a number or a truth value
    assert yaml_text({"name": text}) == f'name: "{text}"\n'


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(st.characters(codec="utf-8"))
        | st.floats(allow_nan=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("abc", min_size=1), inner),
    )
)
@settings(deadline=None, max_examples=50)
def test_yaml_comes_back_as_it_was(value: Any) -> None:
    assert yaml.safe_load(yaml_text(value)) == value


def test_equal_reports_give_equal_bytes_whatever_the_order_of_their_mappings() -> None:
    turned = figures("maths")
    turned = replace(turned, measures=dict(sorted(turned.measures.items(), reverse=True)))
    again = report(comparison=comparison(suites=(turned, *comparison().suites[1:])))
    assert ModelCardReport().render(again) == ModelCardReport().render(report())
