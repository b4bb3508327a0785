"""The plane of candidates: geometry, the front, and labels that stand on nothing."""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import replace
from typing import Any

import pytest
from html_tree import section, tree
from report_samples import (
    mended_report,
)

from muscle_gov.data import Measure, Status
from muscle_gov.report.axes import ticks, y_range
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


@pytest.mark.parametrize("seed", range(8))
def test_a_label_that_stands_away_has_a_line_to_its_mark_that_crosses_no_other(seed: int) -> None:
    picture = drawn(crowd(seed, 16))
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


def test_a_label_stays_off_the_lines_of_others() -> None:
    # the first label fits only beyond a corridor in which the second one would lie on its line
    walls = (Box(-50, -50, 120, 22), Box(-50, 38, 50, 110), Box(80, 38, 120, 110))
    marks = (Box(15, 25, 25, 35), Box(58, 34, 62, 38))
    wishes = [Wish(20, 30, 5, 60, 20), Wish(60, 36, 2, 10, 6)]
    first, second = place(wishes, Ground(Box(0, -50, 300, 110), (*walls, *marks), ()))
    assert first is not None
    assert second is not None
    line = line_to(wishes[0], first)
    assert line is not None
    assert not crosses(line, second)


def test_what_finds_no_place_is_left_out_and_told() -> None:
    ground = Ground(Box(0, 0, 30, 30), (Box(10, 10, 20, 20),), ())
    fits, too_wide = Wish(15, 15, 5, 10, 8), Wish(15, 15, 5, 40, 8)
    assert place([fits, too_wide], ground)[1] is None
    packed = [spot(n, 0.04, 0.8) for n in range(1, 61)]
    picture = drawn(packed, replace(NARROW, width=120, height=160))
    assert picture.unlabelled
    assert len(picture.unlabelled) + len(picture.labels) == 60


def test_lines_and_boxes_meet_where_they_do() -> None:
    box = Box(10, 10, 20, 20)
    assert crosses((0, 0, 30, 30), box)
    assert crosses((15, 0, 15, 12), box)
    assert not crosses((0, 0, 9, 30), box)
    assert not crosses((0, 25, 30, 25), box)
    assert not crosses((0, 0, 8, 8), box)
    assert line_to(Wish(0, 0, 5, 10, 10), Box(8, -5, 18, 5)) is None
    assert line_to(Wish(0, 0, 5, 10, 10), Box(40, -5, 50, 5)) == (5, 0, 40, 0)


@SIZES
@pytest.mark.parametrize("seed", range(12))
def test_no_name_stands_so_far_from_its_mark_that_it_must_be_searched_for(size: Size, seed: int) -> None:
    chance = random.Random(seed)
    spots = [
        spot(
            n, 0.02 + 0.004 * chance.random(), 0.8 + 0.004 * chance.random(), name=f"ensemble-distil {n}"
        )
        for n in range(1, 3 + seed)
    ]
    picture = drawn(spots, size)
    lines = [re.findall(r"[-\d.]+", label.leader) for label in picture.labels if label.leader]
    lengths = [
        ((float(x) - float(to_x)) ** 2 + (float(y) - float(to_y)) ** 2) ** 0.5
        for x, y, to_x, to_y in lines
    ]
    assert picture.is_numbered or all(length <= 64.2 for length in lengths)
