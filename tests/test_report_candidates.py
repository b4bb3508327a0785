"""Candidates side by side: the sentence, the tables, the other formats, and hostile names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
from html_tree import Node, section, tree
from muscle_gov_plugins.report_json import JsonReport, schema
from muscle_gov_plugins.report_markdown import LEAST_BUDGET, MarkdownReport
from report_samples import (
    HOSTILE,
    MODELS,
    candidate,
    comparison,
    counted,
    graded,
    hostile_report,
    limits_on,
    measure,
    mended_report,
    report,
    verdict,
)

from muscle_gov.data import Candidate, Report, Status
from muscle_gov.report import render
from muscle_gov.report.candidates import change_of, places_of, sentence, several_tried
from muscle_gov.report.candidates_plane import plane_of
from muscle_gov.settings import Rule


def judged(role: str, name: str, broke: int, gained: int, **changes: Any) -> Candidate:
    """A candidate on one suite of 1,000 answers, 700 of them right before."""
    made = comparison(suites=(counted("maths", 1000, 700, broke, gained),), total=None, id=name)
    known = {"about": "", "comparison": made, "verdict": verdict(Status.PASS), **changes}
    return Candidate(name=name, role=role, **known)


def told_of(*candidates: Candidate) -> str:
    shown = report(candidates=candidates, comparison=candidates[0].comparison)
    return sentence(shown, places_of(shown)[0])


# ------------------------------------------------------------------------------------------- sentences


def test_the_sentence_gives_counts_of_update_mended_ensemble_and_noise() -> None:
    shown = mended_report()
    assert sentence(shown, places_of(shown)[0]) == (
        "Of 2,000 answers the update breaks 98; mended with muscle, 61; mended with ensemble-distil, "
        "47; two models together would break 43; a mere re-fit turns 3.4\u202f% of the update's own "
        "answers from right to wrong."
    )


def test_where_counts_cannot_be_compared_the_sentence_gives_shares() -> None:
    base, other = judged("update", "update", 50, 60), judged("mitigation", "a", 20, 60)
    smaller = replace(other.comparison, suites=(counted("maths", 990, 700, 20, 60),))
    told = told_of(base, replace(other, comparison=smaller))
    assert told == "Of 990 to 1,000 answers the update breaks 5.0\u202f%; mended with a, 2.0\u202f%."


def test_many_mended_models_are_told_by_their_ends() -> None:
    mended = [judged("mitigation", f"m{n}", broke, 60) for n, broke in enumerate((31, 25, 40, 33))]
    told = told_of(judged("update", "update", 50, 60), *mended)
    assert told == "Of 1,000 answers the update breaks 50; 4 mended models, from 25 (m1) to 40 (m2)."


def test_a_graded_suite_speaks_of_scores() -> None:
    shown = mended_report(3)
    place_ = places_of(shown)[-1]
    assert (place_.suite, place_.kind) == ("summaries", "graded")
    assert sentence(shown, place_).startswith(
        "Of 500 scored answers the update worsens 138; mended with"
    )


def test_what_was_not_measured_is_no_number() -> None:
    base, other = judged("update", "update", 50, 60), judged("mitigation", "a", 20, 60)
    elsewhere = replace(
        other, comparison=replace(other.comparison, suites=(counted("law", 9, 5, 1, 1),))
    )
    shown = report(candidates=(base, elsewhere), comparison=base.comparison)
    maths, law = places_of(shown)
    assert (
        sentence(shown, maths)
        == "Of 1,000 answers the update breaks 50; mended with a, an unknown number."
    )
    assert change_of(shown, maths, 1, "nfr") is None
    block = section(tree(shown), "candidates").all("table")[0]
    assert [c.text for c in block.one("tr", data_candidate="2").all("td", data_metric="nfr")] == ["–"]
    assert "Not measured here: a." in section(tree(shown), "candidates").text
    assert sentence(shown, law).startswith("Of 9 answers the update breaks an unknown number; ")


def test_controls_alone_need_no_update() -> None:
    assert told_of(judged("control", "a", 20, 60)) == "1,000 answers were scored on both sides."
    assert tree(report(candidates=(judged("control", "a", 20, 60),)))


def test_the_note_on_several_tries_counts_mitigations_alone() -> None:
    shown = mended_report()
    assert several_tried(shown).startswith("2 mended models were judged on the same answers; the more")
    assert several_tried(replace(shown, candidates=shown.candidates[:2])) == ""
    assert several_tried(replace(shown, candidates=shown.candidates[3:])) == ""


# ------------------------------------------------------------------------------------------------ HTML


def test_without_candidates_there_is_no_section_and_no_link() -> None:
    page = tree(report())
    assert not page.all("section", id="candidates")
    assert "#candidates" not in [a.attributes["href"] for a in page.all("a")]
    assert not page.all(css="plane")


def test_the_section_follows_the_suites() -> None:
    page = tree(mended_report())
    names = [node.attributes["id"] for node in page.all("section")]
    assert names[names.index("suites") + 1] == "candidates"
    assert "#candidates" in [a.attributes["href"] for a in page.all("a")]


def rows_of(page: Node, table: int = 0) -> list[Node]:
    return section(page, "candidates").all("table")[table].one("tbody").all("tr")


def test_the_table_has_every_candidate_in_the_order_given() -> None:
    rows = rows_of(tree(mended_report()))
    assert [row.one("th").all("bdi")[0].text for row in rows] == [name for name, *_ in MODELS]
    cells = {
        cell.attributes["data-metric"]: cell.text
        for cell in rows[2].all("td")
        if "data-metric" in cell.attributes
    }
    assert cells == {
        "accuracy_new": "83.5 % 81.8 to 85.1 %",
        "accuracy_new_change": "+2.3 pp",
        "nfr": "2.4 % 1.7 to 3.1 %",
        "nfr_change": "−2.6 pp−52 %",
        "pfr": "6.3 % 5.3 to 7.5 %",
        "nfr_mc": "3.4 % 2.6 to 4.2 %",
        "relative_nfr": "0.18 0.08 to 0.28",
        "nfi": "14.2 % 10.7 to 18.5 %",
        "cost": "1",
    }


def test_exact_values_stand_beside_the_rounded_ones() -> None:
    row = rows_of(tree(mended_report()))[2]
    nfr, change = (row.one("td", data_metric=m) for m in ("nfr", "nfr_change"))
    assert float(nfr.one("data").attributes["value"]) == 47 / 2000
    by, share = (float(d.attributes["value"]) for d in change.all("data"))
    assert (by, share) == (pytest.approx(-51 / 2000), pytest.approx(-51 / 98))


@pytest.mark.parametrize("about", [0, 2])
def test_what_the_report_is_about_is_marked(about: int) -> None:
    page = tree(mended_report(about=about))
    marked = [row.attributes["data-candidate"] for row in rows_of(page) if "this report" in row.text]
    assert marked == [str(about + 1)]
    for picture in page.one("figure", css="plane").all("svg", role="img"):
        (ringed,) = [g for g in picture.all("g") if g.all(css="ring")]
        assert ringed.attributes["data-number"] == str(about + 1)


def test_the_verdicts_of_the_others_stand_in_the_headline() -> None:
    told = tree(mended_report(about=2)).one("section", id="verdict").one("p", css="more").text
    assert "Judged by the same rules: update FAIL, muscle INCONCLUSIVE." in told


def test_roles_have_shapes_of_their_own_and_the_ensemble_is_named_as_the_ceiling() -> None:
    page = tree(mended_report())
    picture = page.one("figure", css="plane").one("svg", css="wide-screen")
    shapes = [g.all("path")[-1].attributes for g in picture.all("g")]
    assert [s["class"] for s in shapes] == ["update", *["mitigation"] * 2, *["control"] * 2, "double"]
    assert len({s["d"] for s in shapes}) == 4
    text = section(page, "candidates").text
    assert "two models for one answer" in text
    assert "2 models for one answer: the ceiling" in text
    assert "flips that a mere re-fit makes" in text


def test_the_text_alternative_has_every_number_of_the_picture() -> None:
    shown = mended_report()
    for picture in tree(shown).one("figure", css="plane").all("svg", role="img"):
        told = picture.attributes["aria-label"].replace("\u202f", " ")
        assert "n = 2,000 pairs" in told
        for number, (name, *_) in enumerate(MODELS, 1):
            assert f"{number} {name} (" in told
        for part in (
            "NFR 2.4 %, 95 % interval 1.7 to 3.1 %",
            "Accuracy, new 83.5 %, 95 % interval 81.8 to 85.1 %",
        ):
            assert part in told
        for part in ("limit: NFR 4 %", "limit: Δ accuracy −1 pp", "front: ensemble-distil, muscle"):
            assert part in told
        assert "a mere re-fit flips 3.4 %" in told


def test_each_suite_has_a_plane_and_a_table_and_the_first_is_not_folded() -> None:
    page = section(tree(mended_report(3)), "candidates")
    assert len(page.all("figure", css="plane")) == len(page.all("table")) == 4
    folded = page.all("details")
    assert [fold.one("summary").text.split(" ")[0] for fold in folded] == [
        "maths",
        "reading",
        "summaries",
    ]
    assert all(fold.all("figure", css="plane") for fold in folded)
    assert page.one("h3").text == "All suites pooled"
    assert "limit: Regression rate 25 %" in folded[-1].text


def test_limits_too_far_off_to_be_drawn_are_told() -> None:
    shown = mended_report()
    (rule, *_) = limits_on("maths")
    far = replace(rule, rule=replace(rule.rule, max=0.9))
    text = section(tree(replace(shown, verdict=verdict(rules=(far,)))), "candidates").text
    assert "Too far off to be drawn: limit: NFR 90 %." in text


@pytest.mark.parametrize("is_turned", [False, True])
def test_the_limit_of_a_change_lies_below_the_old_model_on_either_axis(is_turned: bool) -> None:
    suite = graded("errors", 100, 30, 31.0)
    header = {"errors": ({"higher_is_better": not is_turned}, {})}
    made = comparison(suites=(suite,), total=None, headers=header)
    (rule, *_) = limits_on("errors")
    told = verdict(rules=(replace(rule, rule=Rule(metric="score_delta", min=-0.5)),))
    one = Candidate(name="update", role="update", about="", comparison=made, verdict=told)
    shown = report(comparison=made, verdict=told, candidates=(one,))
    plane, _ = plane_of(shown, places_of(shown)[0])
    assert plane is not None
    limit, old = (next(s for s in plane.wide.strokes if s.kind == kind) for kind in ("limit", "old"))
    height = [float(stroke.path.split(" ")[1].split("H")[0]) for stroke in (limit, old)]
    assert height[0] > height[1]
    assert limit.text == "limit: Δ score −0.5"


def test_a_lower_score_that_is_better_turns_the_axis() -> None:
    made = comparison(
        suites=(graded("errors", 100, 30, 12.0),),
        total=None,
        headers={"errors": ({"higher_is_better": False}, {})},
    )
    one = Candidate(name="update", role="update", about="", comparison=made, verdict=verdict())
    text = section(tree(report(comparison=made, candidates=(one,))), "candidates").text
    assert "↑ Mean score, lower is better" in text
    assert "Score (lower is better)" in text


def test_candidates_without_figures_make_a_page_without_a_plane() -> None:
    nothing = replace(candidate(0).comparison, suites=(), total=None)
    shown = report(comparison=nothing, candidates=(replace(candidate(0), comparison=nothing),))
    assert not section(tree(shown), "candidates").all("figure")
    undefined = {name: measure(None) for name in ("nfr", "accuracy_new")}
    blank = replace(counted("maths", 9, 5, 1, 1), measures=undefined)
    bare = replace(nothing, suites=(blank,))
    shown = report(comparison=bare, candidates=(replace(candidate(0), comparison=bare),))
    text = section(tree(shown), "candidates").text
    assert "No candidate was measured here." in text


def test_the_page_with_candidates_can_be_read_by_anyone() -> None:
    page = tree(mended_report(3))
    for drawing in page.all("svg"):
        assert drawing.attributes.get("aria-label") or drawing.attributes.get("aria-hidden") == "true"
    for table in section(page, "candidates").all("table"):
        assert table.one("caption").text
        assert all("scope" in head.attributes for head in table.all("th"))
    assert not any("style" in node.attributes for node in page.walk())


# ---------------------------------------------------------------------------------- the other formats


def test_markdown_shows_all_with_verdict_interval_and_change() -> None:
    text = MarkdownReport().render(mended_report()).decode()
    part = text.partition("### Candidates\n")[2].partition("\n### ")[0]
    assert "Of 2,000 answers the update breaks 98; mended with `muscle`, 61;" in part
    assert (
        "| `ensemble-distil` | mitigation | ✅ PASS | `maths` | 83.5 % [81.8, 85.1] | 2.4 % [1.7, 3.1] "
        "| −2.6 pp (−52.0 %) |"
    ) in part
    assert "| `update` *(this report)* | update | ❌ FAIL |" in part
    assert "control, 2 models" in part
    assert [name for name, *_ in MODELS] == re.findall(r"^\| `([^`]+)`", part, re.MULTILINE)
    assert "### Candidates" not in MarkdownReport().render(report()).decode()


@pytest.mark.parametrize("text", ["name", "\u202e" * 1000, "` " * 1000, "日本" * 2000, "a|b" * 99])
@pytest.mark.parametrize("budget", [LEAST_BUDGET, 12_000])
def test_markdown_keeps_its_budget_with_many_candidates(text: str, budget: int) -> None:
    base = hostile_report(text)
    many = tuple(
        replace(base.candidates[i % 2 + 1], name=f"{i}{text}", role="mitigation") for i in range(300)
    )
    given = replace(base, candidates=(base.candidates[0], *many[:3]))
    assert len(MarkdownReport(budget=budget).render(given)) <= budget
    made = MarkdownReport(budget=budget).render(replace(base, candidates=(base.candidates[0], *many)))
    assert len(made) <= budget
    part = made.decode().partition("### Candidates\n")[2].partition("\n### ")[0]
    rows = sum("✅" in line or "❌" in line for line in part.splitlines())
    left = re.search(r"\*(\d+) (?:more )?results of candidates not shown here\.\*", part)
    assert left is not None
    assert rows + int(left[1]) == 301


def test_json_holds_every_candidate_and_keeps_to_the_schema() -> None:
    found = json.loads(JsonReport().render(mended_report(3, about=2)))
    jsonschema.Draft202012Validator(schema()).validate(found)
    assert [one["name"] for one in found["candidates"]] == [name for name, *_ in MODELS]
    assert [one["is_subject"] for one in found["candidates"]] == [
        False,
        False,
        True,
        False,
        False,
        False,
    ]
    refit, ensemble = found["candidates"][4:]
    assert refit["noise"]["(all)"]["value"] == 68 / 2000
    assert (ensemble["cost"], ensemble["status"], ensemble["exit_code"]) == (2.0, "PASS", 0)
    assert [suite["suite"] for suite in ensemble["suites"]] == ["maths", "reading", "summaries"]
    assert ensemble["total"]["measures"]["nfr"]["value"] == 43 / 2000
    assert found["candidates"][2]["comparison_id"] == found["comparison"]["id"]


def test_a_json_document_of_before_there_were_candidates_is_valid() -> None:
    found = json.loads(JsonReport().render(report()))
    assert found.pop("candidates") == []
    jsonschema.Draft202012Validator(schema()).validate(found)


# --------------------------------------------------------------------------- hostile names, equal bytes


@pytest.mark.parametrize(
    "text", [*HOSTILE, "<svg onload=alert(1)>", '"><script>alert(1)</script>', "M" * 9000]
)
def test_hostile_names_are_text_in_the_picture_too(text: str) -> None:
    root, tame = tree(hostile_report(text)), tree(hostile_report("tame"))
    kept = [[node.tag for node in section(page, "candidates").walk()] for page in (root, tame)]
    assert kept[0] == kept[1]
    for node in section(root, "candidates").walk():
        assert not any(name.startswith("on") or name == "style" for name in node.attributes)
        if node.tag == "text":
            assert len(node.text) <= 60


def test_a_name_is_cut_in_the_picture_and_whole_in_the_list() -> None:
    long = "compatibility adapter of the twelfth try with everything on"
    shown = mended_report()
    first = replace(shown.candidates[1], name=long)
    page = tree(replace(shown, candidates=(shown.candidates[0], first, *shown.candidates[2:])))
    names = [
        n.text for n in page.one("figure", css="plane").one("svg", css="wide-screen").all(css="name")
    ]
    assert f"{long[:25]}…" in names
    assert long in page.one("ol", css="roster").text


@pytest.mark.parametrize("suites", [1, 3])
def test_equal_reports_give_equal_bytes(suites: int) -> None:
    def made(given: Report) -> tuple[bytes, ...]:
        return render(given), MarkdownReport().render(given), JsonReport().render(given)

    one, other = mended_report(suites), mended_report(suites)
    turned = tuple(
        replace(c, noise=None if c.noise is None else dict(reversed(list(c.noise.items()))))
        for c in other.candidates
    )
    assert made(one) == made(one) == made(replace(other, candidates=turned))
