"""Candidates side by side: the plane's geometry, the sentence, the tables, and hostile names."""

from __future__ import annotations

import itertools
import json
import random
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

from muscle_gov.data import Candidate, Measure, Report, Status
from muscle_gov.report import render
from muscle_gov.report.axes import ticks, y_range
from muscle_gov.report.candidates import change_of, places_of, sentence, several_tried
from muscle_gov.report.labels import Box, Ground, Wish, crosses, line_to, place
from muscle_gov.report.plane import NARROW, WIDE, Axes, Line, Picture, Size, Spot, draw, front_of

AXES = Axes("NFR", "Accuracy", "share", "share")
SIZES = pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])


def spot(number: int, x: float, y: float, **changes: Any) -> Spot:
    reach = changes.pop("reach", 0.01)
    sides = [Measure(v, max(0.0, v - reach), v + reach, 1000, "Clopper-Pearson") for v in (x, y)]
    return Spot(number, changes.pop("name", f"model {number}"), "mitigation", *sides, "told", **changes)


def drawn(spots: list[Spot], size: Size = WIDE, **options: Any) -> Picture:
    return draw(spots, options.get("axes", AXES), options.get("noise"), options.get("lines", ()), size)


def judged(role: str, name: str, broke: int, gained: int, **changes: Any) -> Candidate:
    """A candidate on one suite of 1,000 answers, 700 of them right before."""
    made = comparison(suites=(counted("maths", 1000, 700, broke, gained),), total=None, id=name)
    known = {"about": "", "comparison": made, "verdict": verdict(Status.PASS), **changes}
    return Candidate(name=name, role=role, **known)


def told_of(*candidates: Candidate) -> str:
    shown = report(candidates=candidates, comparison=candidates[0].comparison)
    return sentence(shown, places_of(shown)[0])


# ------------------------------------------------------------------------------------------- geometry


@SIZES
def test_places_follow_the_values(size: Size) -> None:
    spots = [spot(n, 0.01 * n, 0.5 + 0.03 * n) for n in range(1, 8)]
    marks = drawn(spots, size).marks
    across, down = [float(m.x) for m in marks], [float(m.y) for m in marks]
    assert across == sorted(set(across))
    assert down == sorted(set(down), reverse=True)
    # equal steps of the value are equal steps of the picture
    for places in (across, down):
        steps = [after - before for before, after in itertools.pairwise(places)]
        assert max(steps) - min(steps) <= 0.2


@SIZES
def test_the_ends_of_a_cross_are_those_of_its_intervals(size: Size) -> None:
    uneven = Measure(0.04, 0.03, 0.07, 500), Measure(0.8, 0.74, 0.82, 500)
    picture = drawn([Spot(1, "a", "update", *uneven, "")], size)
    (mark,) = picture.marks
    places = [
        [float(v) for v in ends]
        for ends in ((mark.left, mark.x, mark.right), (mark.bottom, mark.y, mark.top))
    ]
    for (low, value, high), (least, middle, most) in zip(places, ((3, 4, 7), (74, 80, 82)), strict=True):
        assert (value - low) / (high - low) == pytest.approx((middle - least) / (most - least), abs=0.01)
    assert float(mark.top) < float(mark.y) < float(mark.bottom)
    assert float(picture.left) <= float(mark.left) < float(mark.right) <= float(picture.right)
    assert float(picture.top) <= float(mark.top) < float(mark.bottom) <= float(picture.bottom)


def test_a_figure_without_an_interval_has_a_cross_without_arms() -> None:
    (mark,) = drawn(
        [Spot(1, "a", "update", Measure(0.1, None, None, 5), Measure(0.8, None, None, 5), "")]
    ).marks
    assert (mark.left, mark.right) == (mark.x, mark.x)
    assert (mark.top, mark.bottom) == (mark.y, mark.y)


@SIZES
def test_ticks_stand_where_their_values_would(size: Size) -> None:
    spots = [spot(1, 0.02, 0.7), spot(2, 0.06, 0.9)]
    picture = drawn(spots, size)
    for shown, values, places in (
        (picture.x_ticks, (0.02, 0.06), [float(m.x) for m in picture.marks]),
        (picture.y_ticks, (0.7, 0.9), [float(m.y) for m in picture.marks]),
    ):
        assert len(shown) >= 3
        scale = (places[1] - places[0]) / (values[1] - values[0])
        for tick in shown:
            assert tick.text.endswith("\u202f%")
            value = float(tick.text.removesuffix("\u202f%")) / 100
            assert float(tick.at) == pytest.approx(places[0] + (value - values[0]) * scale, abs=0.15)
    assert picture.x_ticks[0].text == "0\u202f%"
    assert picture.x_ticks[0].at == picture.left


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.781, 0.799, ["78.5 %", "79.0 %", "79.5 %"]),
        (0.94, 1.02, ["94 %", "96 %", "98 %", "100 %"]),
        (-0.001, 0.0021, ["0.0 %", "0.1 %", "0.2 %"]),
    ],
)
def test_ticks_are_round_and_no_share_is_beyond_its_bounds(
    low: float, high: float, texts: list[str]
) -> None:
    assert [text.replace("\u202f", " ") for _, text in ticks(low, high, 4, "share")] == texts


def test_hardly_different_values_are_not_drawn_far_apart() -> None:
    single = [Measure(value, None, None, 10_000) for value in (0.8, 0.8001)]
    low, high = y_range(single, (), "share")
    assert high - low >= 0.02
    assert low < 0.8 < 0.8001 < high


def test_the_band_reaches_from_zero_to_the_noise_floor() -> None:
    picture = drawn([spot(1, 0.05, 0.8), spot(2, 0.03, 0.8)], noise=0.03)
    assert float(picture.left) + float(picture.band) == pytest.approx(
        float(picture.marks[1].x), abs=0.11
    )
    assert drawn([spot(1, 0.05, 0.8)]).band == ""
    wider = drawn([spot(1, 0.01, 0.8, reach=0.001)], noise=0.2)
    assert float(wider.left) + float(wider.band) < float(wider.right)


def test_limits_are_lines_at_their_values_and_never_squeeze_the_picture() -> None:
    near = [Line("limit", "x", 0.05, "a"), Line("limit", "y", 0.8, "b"), Line("old", "y", 0.81, "c")]
    picture = drawn([spot(1, 0.05, 0.8)], lines=near)
    (mark,), (across, level, _) = picture.marks, picture.strokes
    assert across.path.startswith(f"M{mark.x} ")
    assert level.path == f"M{picture.left} {mark.y}H{picture.right}"
    far = [Line("limit", "x", 0.9, "a"), Line("limit", "y", 0.1, "b"), Line("limit", "x", -0.1, "c")]
    assert drawn([spot(1, 0.05, 0.8)], lines=far).strokes == ()
    assert drawn([spot(1, 0.05, 0.8)], lines=far).marks == drawn([spot(1, 0.05, 0.8)]).marks


def test_scores_that_are_better_when_lower_lie_higher() -> None:
    spots = [spot(1, 0.1, 2.0), spot(2, 0.1, 3.0)]
    turned = replace(AXES, y_unit="score", is_turned=True)
    usual, upside = (
        drawn(spots, axes=axes).marks for axes in (replace(turned, is_turned=False), turned)
    )
    assert float(usual[0].y) > float(usual[1].y)
    assert float(upside[0].y) < float(upside[1].y)
    assert [s.number for s in front_of([replace(s, is_meant=True) for s in spots], True)] == [1]


# ------------------------------------------------------------------------------------------- the front


@pytest.mark.parametrize(
    ("places", "front"),
    [
        ([(0.05, 0.8), (0.03, 0.82)], [2]),
        ([(0.05, 0.84), (0.03, 0.82), (0.04, 0.81)], [2, 1]),
        ([(0.05, 0.8), (0.05, 0.8)], [1, 2]),  # the very same: neither beats the other
        ([(0.05, 0.8), (0.05, 0.82)], [2]),  # as many flips, more right
        ([(0.05, 0.8), (0.04, 0.8)], [2]),  # as many right, fewer flips
        ([(0.0, 0.5), (0.1, 0.9), (0.05, 0.7), (0.05, 0.69)], [1, 3, 2]),
        ([], []),
    ],
)
def test_the_front_holds_those_that_none_beats(
    places: list[tuple[float, float]], front: list[int]
) -> None:
    spots = [spot(n, *at, is_meant=True) for n, at in enumerate(places, 1)]
    assert [s.number for s in front_of(spots)] == front


def test_controls_and_what_may_not_be_compared_are_no_part_of_the_front() -> None:
    best = spot(1, 0.0, 0.99)
    assert [s.number for s in front_of([best, spot(2, 0.05, 0.8, is_meant=True)])] == [2]
    shown = mended_report()
    apart = replace(shown.candidates[2].verdict, status=Status.INCOMPARABLE)
    others = (*shown.candidates[:2], replace(shown.candidates[2], verdict=apart), *shown.candidates[3:])
    text = section(tree(replace(shown, candidates=others)), "candidates").text
    assert "muscle has both the fewest flips and the highest accuracy" in text
    assert "mended with ensemble-distil, 47 (at face value: the runs differ)" in text


def test_the_front_is_drawn_in_steps_through_its_marks() -> None:
    picture = drawn([spot(n, 0.02 * n, 0.7 + 0.05 * n, is_meant=True) for n in (1, 2, 3)])
    a, b, c = picture.marks
    assert picture.front == f"M{a.x} {a.y}H{b.x}V{b.y}H{c.x}V{c.y}"
    assert drawn([spot(1, 0.02, 0.8, is_meant=True)]).front == ""


# -------------------------------------------------------------------------------------------- labels


def crowd(seed: int, n: int) -> list[Spot]:
    rng = random.Random(seed)
    names = ["update", "ensemble-distil with a long name indeed", "muscle", "日本語の名前", "MMMMMMMM"]
    places = [(rng.uniform(0.03, 0.05), rng.uniform(0.78, 0.83)) for _ in range(n)]
    places[-1] = places[0]  # two at the very same place
    return [spot(i, *at, name=names[i % 5], is_subject=i == 1) for i, at in enumerate(places, 1)]


@SIZES
@pytest.mark.parametrize("n", [2, 7, 14, 40])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_label_stands_on_another_or_on_a_mark_or_outside(size: Size, n: int, seed: int) -> None:
    lines = [
        Line("limit", "x", 0.04, "limit: NFR 4 %"),
        Line("limit", "y", 0.8, "limit: Δ accuracy −1 pp"),
    ]
    picture = drawn(crowd(seed, n), size, lines=lines, noise=0.035)
    assert [label.number for label in picture.labels] == list(range(1, n + 1))
    boxes = [label.box for label in picture.labels]
    for one, other in itertools.combinations(boxes, 2):
        assert not one.meets(other)
    edge = Box(*(float(v) for v in (picture.left, picture.top, picture.right, picture.bottom)))
    assert all(edge.holds(box) for box in boxes)
    for box, mark in itertools.product(boxes, picture.marks):
        x, y = float(mark.x), float(mark.y)
        assert not box.meets(Box(x - 6, y - 6, x + 6, y + 6))
    assert picture.is_numbered == all(label.text.isdigit() for label in picture.labels)


def test_a_few_candidates_are_labelled_by_name_and_many_by_number() -> None:
    assert not drawn(crowd(1, 3)).is_numbered
    assert drawn(crowd(1, 60)).is_numbered


def test_a_label_that_stands_away_has_a_line_to_its_mark_that_crosses_no_other() -> None:
    picture = drawn(crowd(2, 30))
    away = [label for label in picture.labels if label.leader]
    assert away
    for label in away:
        x, y, to_x, to_y = map(float, re.findall(r"-?[\d.]+", label.leader))
        mark = next(m for m in picture.marks if m.number == label.number)
        assert abs(x - float(mark.x)) <= 10.1
        assert abs(y - float(mark.y)) <= 10.1
        for other in picture.labels:
            if other is not label:
                assert not crosses((x, y, to_x, to_y), other.box.grown(-0.2))


def test_what_finds_no_place_is_left_out_and_told() -> None:
    ground = Ground(Box(0, 0, 30, 30), (Box(10, 10, 20, 20),), ())
    fits, too_wide = Wish(15, 15, 5, 10, 8), Wish(15, 15, 5, 40, 8)
    assert place([fits, too_wide], ground)[1] is None
    packed = [spot(n, 0.04, 0.8) for n in range(1, 2500)]
    picture = drawn(packed[:900], replace(NARROW, width=120, height=160))
    assert picture.unlabelled
    assert len(picture.unlabelled) + len(picture.labels) == 900


def test_lines_and_boxes_meet_where_they_do() -> None:
    box = Box(10, 10, 20, 20)
    assert crosses((0, 0, 30, 30), box)
    assert crosses((15, 0, 15, 12), box)
    assert not crosses((0, 0, 9, 30), box)
    assert not crosses((0, 25, 30, 25), box)
    assert not crosses((0, 0, 8, 8), box)
    assert line_to(Wish(0, 0, 5, 10, 10), Box(8, -5, 18, 5)) is None
    assert line_to(Wish(0, 0, 5, 10, 10), Box(40, -5, 50, 5)) == (5, 0, 40, 0)


# ------------------------------------------------------------------------------------------- sentences


def test_the_sentence_gives_counts_of_update_mended_ensemble_and_noise() -> None:
    shown = mended_report()
    assert sentence(shown, places_of(shown)[0]) == (
        "Of 2,000 answers the update breaks 98; mended with muscle, 61; mended with ensemble-distil, "
        "47; two models together would break 43; a mere re-fit turns 3.4\u202f% of the update's own answers "
        "from right to wrong."
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
