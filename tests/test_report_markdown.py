"""The Markdown report: what it says first, that logs cannot write markup, and that it fits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from muscle_gov_plugins._markdown_text import prose, row, span
from muscle_gov_plugins._verdict_words import rule_title
from muscle_gov_plugins.report_markdown import LEAST_BUDGET, MarkdownReport
from report_samples import (
    HOSTILE,
    CountedFlips,
    comparison,
    explanation,
    figures,
    flip,
    hostile_report,
    listed_result,
    measure,
    report,
    rule_result,
    verdict,
)

from muscle_gov.data import (
    AppliedQuarantine,
    AppliedWaiver,
    Evidence,
    Finding,
    Report,
    Resource,
    Status,
)
from muscle_gov.plugins import build
from muscle_gov.settings import Quarantine, Rule, Waiver

TEXTS = st.text(alphabet=st.characters(), max_size=300)


def rendered(given_: Report, **options: int) -> str:
    return MarkdownReport(**options).render(given_).decode()


def tokens(text: str) -> Iterator[Token]:
    """Every token that GitHub's dialect of Markdown makes of the text."""
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        yield token
        yield from token.children or ()


def spans(text: str) -> list[str]:
    return [token.content for token in tokens(text) if token.type == "code_inline"]


def section(text: str, title: str) -> str:
    return text.partition(f"### {title}\n")[2].partition("\n### ")[0].partition("\n---\n")[0]


# ------------------------------------------------------------------------------------- what it says


@pytest.mark.parametrize("status", list(Status))
def test_the_verdict_is_the_first_line_and_its_reason_the_second(status: Status) -> None:
    lines = rendered(report(verdict=verdict(status))).splitlines()
    assert lines[0].endswith(f" {status.value}")
    assert lines[0].startswith("## ")
    assert lines[2] == f"**{status.value}:** maths: nfr is 0.1; the policy allows at most 0.05"


def test_a_plain_sentence_says_what_happened_to_the_answers() -> None:
    counts = {"negative": 1203, "positive": 7, "wrong_to_wrong": 2}
    assert (
        "`new-model` against `old-model` on 2 suites, 200 pairs: 1,203 answers that were right are now "
        "wrong, 7 that were wrong are now right, 2 stayed wrong in another way.\n"
    ) in rendered(report(flip_counts=counts))


def test_a_graded_suite_speaks_of_scores_in_their_own_unit() -> None:
    graded = comparison(suites=(figures("summaries", kind="graded"),), total=None)
    text = rendered(report(comparison=graded, flips=(), flip_counts={"loss": 40, "gain": 30}))
    assert "on 1 suite, 100 pairs: 40 scores fell, 30 rose." in text
    assert "| 31.5 [31.48, 31.52] | 30.25 [30.23, 30.27] | −1.25 [−1.27, −1.23] | 40.0 % " in text


def test_the_worst_rules_come_first_and_advisory_ones_last() -> None:
    results = (
        rule_result(Status.PASS, "holds"),
        rule_result(Status.FAIL, "advises", tier="advisory"),
        rule_result(Status.INCONCLUSIVE, "wavers"),
        rule_result(Status.FAIL, "breaks"),
    )
    text = section(rendered(report(verdict=verdict(rules=results))), "Rules")
    assert re.findall("`(holds|advises|wavers|breaks)`", text) == [
        "breaks",
        "wavers",
        "holds",
        "advises",
    ]
    assert "NFR at most 5 % *(advisory)* (`policy.toml:4`) | `advises`" in text


def test_without_rules_it_says_that_nothing_may_ship_by_it() -> None:
    text = rendered(report(verdict=verdict(Status.NOT_JUDGED, rules=(), reason="no rule was given")))
    assert "No rule was applied, so nothing here says that the update may ship." in text


def test_blocking_findings_stand_before_warnings_and_notes() -> None:
    levels = ("notes", "blocks", "warns")
    found = tuple(Finding(f"code-{level}", level, "text") for level in levels)
    text = section(rendered(report(verdict=verdict(findings=found))), "Findings")
    assert re.findall("code-(blocks|warns|notes)", text) == ["blocks", "warns", "notes"]


def test_the_suites_table_has_intervals_and_the_adjusted_p() -> None:
    text = section(rendered(report()), "Suites")
    assert (
        "| `maths` | 100 | 100.0 % | 80.0 % [78.0, 82.0] | 75.0 % [73.0, 77.0] "
        "| −5.0 pp [−7.0, −3.0] | 10.0 % [8.0, 12.0] | 5.0 % [3.0, 7.0] | 0.04 |"
    ) in text
    assert "| `(all)` | 200 |" in text
    assert "Noise floor" not in text


def test_the_noise_floor_is_shown_where_it_was_measured() -> None:
    noisy = comparison(suites=(figures("maths", values={"noise_floor": 0.03}), figures("reading")))
    text = section(rendered(report(comparison=noisy)), "Suites")
    assert "| Noise floor |" in text
    assert "| 3.0 % [1.0, 5.0] | 0.04 |" in text
    assert "| 5.0 % [3.0, 7.0] | ∅ | 0.04 |" in text


def test_a_small_rate_is_not_rounded_to_nothing() -> None:
    rare = comparison(suites=(figures("maths", values={"nfr": 0.0004}),), total=None)
    assert "| 0.04 % [" in rendered(report(comparison=rare))


def test_an_undefined_or_absent_figure_is_no_number() -> None:
    gap = figures("maths", values={"nfr": None})
    gap = replace(gap, measures={k: m for k, m in gap.measures.items() if k != "pfr"}, p_value=None)
    text = rendered(report(comparison=comparison(suites=(replace(gap, p_adjusted=None),), total=None)))
    assert "| −5.0 pp [−7.0, −3.0] | ∅ | ∅ | ∅ |" in text


def test_differences_have_their_sign_and_shares_none() -> None:
    better = figures("maths", values={"accuracy_delta": 0.217, "nfr": 0.1})
    text = rendered(report(comparison=comparison(suites=(better,), total=None)))
    assert "| +21.7 pp [+19.7, +23.7] | 10.0 % [8.0, 12.0] |" in text
    unsure = figures("maths", values={"accuracy_delta": 0.01})
    text = rendered(report(comparison=comparison(suites=(unsure,), total=None)))
    assert "| +1.0 pp [−1.0, +3.0] |" in text
    scored = figures("essays", kind="graded", values={"score_old": 3.0, "score_delta": 0.25})
    text = rendered(report(comparison=comparison(suites=(scored,), total=None)))
    assert "| 3 [2.98, 3.02] |" in text
    assert "| +0.25 [+0.23, +0.27] |" in text


@pytest.mark.parametrize(
    ("rule", "title"),
    [
        (Rule(metric="nfr", max=0.02), "NFR at most 2 %"),
        (Rule(metric="nfr_excess", max=0.0125), "NFR above noise at most +1.25 pp"),
        (Rule(metric="accuracy_delta", min=-0.01), "Δ accuracy at least \u22121 pp"),
        (Rule(metric="score_delta", min=-0.5), "Δ score at least \u22120.5"),
        (Rule(metric="of_a_plugin", max=0.123456), "of_a_plugin at most 0.123456"),
        (Rule(metric="nfr", max=0.02, name="ours"), "ours"),
        (Rule(metric="must_not_regress", max=0, name="incidents"), "must not regress: incidents"),
    ],
)
def test_a_rule_has_its_metrics_title_and_unit_and_no_space_but_plain_ones(
    rule: Rule, title: str
) -> None:
    assert rule_title(rule) == title


def test_slices_with_the_most_broken_answers_come_first_whether_significant_or_not() -> None:
    def one(name: str, delta: float, nfr: float, p: float) -> object:
        return figures(slice=name, p_adjusted=p, values={"accuracy_delta": delta, "nfr": nfr})

    slices = (
        one("s=chance", -0.3, 0.3, 0.051),
        one("s=better", 0.2, 0.35, 0.001),
        one("s=bad", -0.1, 0.12, 0.04),
        one("s=worst", -0.2, 0.25, 0.05),
    )
    text = rendered(report(comparison=comparison(slices=slices)), slices=2)
    shown = section(text, "Slices")
    assert re.findall("`s=([a-z]+)`", shown) == ["better", "chance"]
    assert "net change of 3 of the 4 slices is significant" in shown
    assert "*2 more slices not shown here.*" in shown


def test_waivers_are_shown_with_owner_reason_and_end() -> None:
    waiver = Waiver("maths", "known and accepted", "Kim", "2026-12-31", instance="7")
    text = rendered(report(verdict=verdict(waivers=(AppliedWaiver(waiver, 1, "applied"),))))
    assert "| applied | `maths` | `7` | 1 | `Kim` | `2026-12-31` | known and accepted |" in text


def test_refused_waivers_come_first_and_say_why() -> None:
    text = section(rendered(report()), "Waivers")
    assert "**3 of 4 were refused and set nothing aside.**" in text
    states = re.findall(r"^\| (applied|⛔ refused, [^|]*) \|", text, re.MULTILINE)
    assert states == [
        "⛔ refused, expired: its last day is over",
        "⛔ refused, unmatched: it covers nothing in this comparison",
        "⛔ refused, over-broad: it covers more than an exception may",
        "applied",
    ]


def test_flaky_items_are_shown_with_how_often_they_differed() -> None:
    text = section(rendered(report()), "Quarantine")
    assert "| applied | `reading` | `31` | 3 | `data owner` | `2026-12-31` | two right answers |" in text
    assert text.index("refused, ") < text.index("| applied")


def test_a_rule_says_what_would_make_it_pass_and_where_it_stands() -> None:
    results = (rule_result(Status.FAIL), rule_result(Status.PASS, "reading", explanation=explanation()))
    text = section(rendered(report(verdict=verdict(rules=results))), "Rules")
    failed, passed = [line for line in text.splitlines() if "at most 5 % " in line]
    assert failed.endswith("**To pass:** at most 1 flip of 100 pairs would pass |")
    assert "(`policy.toml:4`)" in failed
    assert "To pass" not in passed
    assert "policy.toml" not in passed


def test_a_list_that_must_not_regress_goes_by_its_name() -> None:
    text = section(rendered(report(verdict=verdict(rules=(listed_result(Status.FAIL),)))), "Rules")
    assert "| must not regress: refusals (`policy.toml:12`) | `maths` | 12 |" in text
    assert "2 of 12 listed instances regressed; none may" in text


def test_evidence_is_shown_by_short_digests() -> None:
    text = section(rendered(report()), "Evidence")
    assert "| model | `old-model` | `f0f0f0f0f0f0` | side `old` |" in text
    assert "| version | `DuckDB` | `1.4.0` |" in text
    assert "Evidence" not in rendered(report(evidence=None))


# -------------------------------------------------------------------------------------------- flips


def test_flips_that_hurt_are_shown_and_the_rest_is_counted() -> None:
    text = section(rendered(report(), flips=2), "Worst flips")
    assert re.findall(r"`(\w+)` · `(\d)`", text) == [("maths", "1"), ("maths", "2")]
    assert "*1 more flips not shown here.*" in text
    assert "  - wanted: `4`\n  - old: `4` from `It is 4.`\n  - new: `5` from `It is 5.`" in text


def test_no_more_flips_are_read_than_are_shown() -> None:
    flips = CountedFlips(tuple(flip(n) for n in range(1000)), [])
    rendered(report(flips=flips, flip_counts={"negative": 1000}), flips=3)
    assert len(flips.reads) == 3


def test_flips_that_mended_something_are_not_read_through() -> None:
    flips = CountedFlips((flip(0), *(flip(n, kind="positive") for n in range(1, 999))), [])
    rendered(report(flips=flips, flip_counts={"negative": 1, "positive": 998}))
    assert len(flips.reads) == 1


def test_a_long_prompt_shows_its_end_and_a_long_output_its_beginning() -> None:
    long = "examples " * 1000 + "the question?"
    said = "the answer" + " and so on" * 1000
    text = rendered(report(flips=(flip(prompt=long, old_output=said),)), chars=40)
    assert "  - asked: `…examples examples examples the question?`\n" in text
    assert "`the answer and so on and so on and so on…` *(+9,970 characters)*" in text


def test_a_waived_flip_says_so() -> None:
    assert "  - waived: known\n" in rendered(report(flips=(flip(waived="known"),)))


def test_an_empty_answer_is_told_from_none() -> None:
    text = rendered(report(flips=(flip(old_answer="", new_answer=None, new_output=None),)))
    assert "  - old: *(empty)* from `It is 4.`\n  - new: ∅\n" in text


# ------------------------------------------------------------------------------ hostile, yet visible

MARKUP = re.compile(
    r"://|www\.|@\w|#\d|:\w+:|[$<>~\\]|\w\.\w*[a-z]|&\w+;|&#|GH-|deadbeef|[\x00-\x08\x0b-\x1f\x7f]"
    "|[\u202a-\u202e\u2066-\u2069\u200b\ufeff\u2028\ud800-\udfff]"
)


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_from_a_log_becomes_markup(text: str) -> None:
    shown = rendered(hostile_report(text))
    found = list(tokens(shown))
    forbidden = {"html_inline", "html_block", "link_open", "image", "strong_open", "fence", "code_block"}
    refused = "**1 of 2 was refused and sets nothing aside.**"
    ours = {"**FAIL:**", "**blocks**", "**warns**", "**right → wrong**", "**To pass:**", refused}
    bold = [i for i, token in enumerate(found) if token.type == "strong_open"]
    assert {f"**{found[i + 1].content}**" for i in bold} <= ours
    assert not (forbidden - {"strong_open"}) & {token.type for token in found}
    assert [t.tag for t in found if t.type == "heading_open"] == ["h2", *["h3"] * 9]
    outside = [token.content for token in found if token.type == "text"]
    assert [words for words in outside if MARKUP.search(words)] == []


@pytest.mark.parametrize("text", HOSTILE)
def test_hidden_characters_are_shown_wherever_they_stand(text: str) -> None:
    hidden = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
    assert re.search(hidden, rendered(hostile_report(text))) is None


@given(TEXTS)
def test_a_span_holds_the_very_text_in_a_line_and_in_a_table(text: str) -> None:
    shown = span(text, 1000)
    if text == "":
        assert shown == "*(empty)*"
        return
    (in_line,) = spans(f"- x: {shown}")
    (in_table,) = spans(f"{row('a', 'b')}|---|---|\n{row(shown, 'end')}")
    assert in_table == in_line
    # whatever needs no picture stands there as it is, up to the blanks at its ends
    if not re.search(r"[^ -~]", text) and text.strip():
        assert in_line.strip() == text.strip()


@given(TEXTS)
def test_prose_keeps_every_word_and_makes_no_markup(text: str) -> None:
    shown = prose(text, 1000)
    found = list(tokens(f"x {shown}"))
    allowed = {"paragraph_open", "inline", "paragraph_close", "text", "code_inline"}
    assert {token.type for token in found} <= allowed
    said = "".join(t.content for t in found if t.type in ("text", "code_inline"))
    if not re.search(r"[^ -~]", text) and text.strip():
        assert said.split() == ["x", *text.split()]


@pytest.mark.parametrize(
    "word",
    ["@me", "a_b", "#1", "x.com", "http://x", "GH-1", ":+1:", "$x$", "<b>", "&amp;", "a`b", "0123abc"],
)
def test_a_word_that_could_be_markup_stands_in_a_span(word: str) -> None:
    assert spans(f"see {prose(f'({word}),')}") == [word.rstrip(":;")]


def test_an_ordinary_sentence_is_left_alone() -> None:
    sentence = "maths: nfr is 0.1, at most 0.15 with 95% confidence; the data don't decide (and 2 more)"
    assert prose(sentence) == sentence


# ------------------------------------------------------------------------------------------- budget


def large_report(text: str) -> Report:
    """More of everything than fits, with `text` for every name."""
    many = range(400)
    results = tuple(rule_result(suite=f"{n}{text}") for n in many)
    found = tuple(Finding("code", "warns", text, f"{n}{text}") for n in many)
    waiver = AppliedWaiver(Waiver(text, text, text, "2026-12-31", instance=text), 1, "applied")
    suites = tuple(figures(f"{n}{text}") for n in many)
    slices = tuple(figures(text, slice=f"{n}={text}", p_adjusted=0.001) for n in many)
    flaky = Quarantine(text, text, text, text, "2026-12-31")
    told = verdict(
        rules=results,
        findings=found,
        waivers=(waiver,) * 400,
        reason=text,
        policy_digest=text,
        quarantined=(AppliedQuarantine(flaky, 2, "applied"),) * 400,
    )
    hostile = hostile_report(text).comparison
    compared = replace(hostile, suites=suites, slices=slices)
    flips = tuple(flip(n, key=f"{n}{text}", prompt=text, old_output=text) for n in many)
    things = tuple(Resource("log", f"{n}{text}", text, {text: text}) for n in many)
    proof = Evidence(things, (), {})
    return Report(told, compared, flips, {"negative": 400}, command=text, evidence=proof)


@pytest.mark.parametrize("budget", [LEAST_BUDGET, 20_000, 60_000, 1_048_576])
@pytest.mark.parametrize("text", ["name", "\u202e" * 1000, "` " * 1000, "日本" * 2000])
def test_the_budget_is_kept_and_every_section_is_there(budget: int, text: str) -> None:
    options = {"budget": budget, "flips": 400, "slices": 400, "chars": 2000}
    written = MarkdownReport(**options).render(large_report(text))
    assert len(written) <= budget
    shown = written.decode()
    titles = re.findall("^### (.*)$", shown, re.MULTILINE)
    assert titles == [
        *("Rules", "Findings", "Suites", "Slices", "Waivers", "Quarantine", "Worst flips", "Evidence")
    ]
    assert "exit code 1" in shown.splitlines()[-1]


def test_lines_of_megabytes_are_cut_and_the_cut_is_told() -> None:
    huge = "日本\x1b" * 500_000
    made = (flip(prompt=huge, old_output=huge, new_output=huge, old_answer=huge, new_answer=huge),)
    shown = rendered(report(flips=made), chars=100)
    assert len(shown) < 5_000
    assert shown.count("*(+1,499,900 characters)*") == 2


def test_every_row_is_shown_or_counted() -> None:
    shown = rendered(large_report("name"), budget=45_000, flips=400, slices=400)
    for title, row_start in (
        ("Rules", "| ❌ "),
        ("Findings", "- **warns**"),
        ("Suites", "| `"),
        ("Slices", "| `"),
        ("Waivers", "| applied"),
        ("Quarantine", "| applied"),
        ("Evidence", "| log"),
        ("Worst flips", "- **right"),
    ):
        part = section(shown, title)
        rows = sum(line.startswith(row_start) for line in part.splitlines())
        left = re.search(r"\*(\d+) (?:more )?[a-z ]+ not shown here\.\*", part)
        assert left is not None, title
        assert rows > 0
        assert rows + int(left[1]) == 400


def test_a_larger_budget_is_used() -> None:
    sizes = [
        len(rendered(large_report("n"), budget=b, flips=400)) for b in (LEAST_BUDGET, 30_000, 60_000)
    ]
    assert sizes[0] > 4_000
    assert sizes[1] > 25_000
    assert sizes[2] > 50_000


@given(TEXTS)
@settings(max_examples=30, deadline=None)
def test_the_least_budget_holds_whatever_the_names(text: str) -> None:
    assert len(MarkdownReport(budget=LEAST_BUDGET).render(large_report(text * 10))) <= LEAST_BUDGET


@pytest.mark.parametrize("text", ["name", "日本" * 2000, "🎉" * 500])
def test_the_default_fits_a_comment_and_a_mebibyte_fits_a_step_summary(text: str) -> None:
    # a comment is counted in characters, which are never more than bytes; a step summary in bytes
    comment = MarkdownReport(flips=400, slices=400).render(large_report(text))
    assert len(comment.decode().encode("utf-16-le")) // 2 <= 65_536
    assert len(comment) > 50_000
    summary = MarkdownReport(budget=1_048_576, flips=400, slices=400).render(large_report(text))
    assert len(comment) < len(summary) <= 1_048_576


# ------------------------------------------------------------------------------- options, sameness


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ({"budget": 100}, f"budget: 100 is too small; give at least {LEAST_BUDGET} bytes"),
        ({"flips": -1}, "flips: -1 must be at least 0"),
        ({"chars": 3}, "chars: 3 must be at least 20"),
    ],
)
def test_an_option_that_cannot_be_is_refused_in_one_sentence(
    option: dict[str, int], problem: str
) -> None:
    problems: list[str] = []
    assert build(MarkdownReport, option, problems) is None
    assert len(problems) == 1
    assert problem in problems[0]


def test_equal_reports_give_equal_bytes_whatever_the_order_of_their_mappings() -> None:
    turned = figures("maths")
    turned = replace(turned, measures=dict(sorted(turned.measures.items(), reverse=True)))
    again = report(
        comparison=comparison(suites=(turned, *comparison().suites[1:])),
        flip_counts={"positive": 1, "negative": 3},
    )
    assert again == report()
    assert rendered(again) == rendered(report())


def test_a_rule_of_its_own_name_and_a_lower_limit_are_worded() -> None:
    results = (
        replace(rule_result(), rule=Rule(metric="accuracy_new", min=0.7)),
        replace(rule_result(), rule=Rule(metric="nfr", max=0.1, name="no worse than noise")),
        replace(rule_result(), measure=None),
    )
    text = section(rendered(report(verdict=verdict(rules=results))), "Rules")
    assert "| Accuracy, new at least 70 % (`policy.toml:4`) |" in text
    assert "| no worse than noise (`policy.toml:4`) |" in text
    assert "| `maths` | ∅ |" in text


def test_measures_of_one_unit_have_no_interval_and_say_none() -> None:
    lone = figures("maths")
    lone = replace(lone, measures={**lone.measures, "nfr": replace(measure(0.1), low=None, high=None)})
    assert "| 10.0 % |" in rendered(report(comparison=comparison(suites=(lone,))))


def test_real_logs_fit_and_agree_with_the_comparison(real_logs: Path) -> None:
    from muscle_gov import pipeline, plugins
    from muscle_gov.settings import CompareSettings, Gate, ImportSettings, Policy, Source
    from muscle_gov.store import open_store

    base = real_logs / "lm_eval_toy_dev"
    old, new = (Source(p, ImportSettings()) for p in sorted(p for p in base.iterdir() if p.is_dir()))
    with open_store(":memory:") as store:
        policy = Policy(Gate((Rule(metric="nfr", max=0.05),)))
        judged = pipeline.compare_logs(store, plugins.load(), old, new, CompareSettings(), policy)
        text = rendered(judged.report)
        assert text == rendered(judged.report)
    assert text.startswith("## ❌ FAIL\n")
    assert "71 answers that were right are now wrong, 38 that were wrong are now right" in text
    assert f"*{71 + 12 - 20} more flips not shown here.*" in text
