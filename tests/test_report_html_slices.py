"""The HTML report: all suites on one scale, slices as a heat table."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

import pytest
from html_tree import Node, parse, section, tree
from report_samples import (
    comparison,
    counted,
    figures,
    graded,
    measure,
    report,
    rule_result,
    verdict,
)

from muscle_gov import stats
from muscle_gov.data import Report, Status, SuiteFigures
from muscle_gov.report import heat, render, templates
from muscle_gov.settings import Rule

# ------------------------------------------------------------------------------------------- suites


def strips(given: Report) -> list[Node]:
    return section(tree(given), "suites").all("figure", css="strip")


def test_the_strip_puts_all_suites_on_one_scale_worst_first() -> None:
    low, high = counted("law", 1000, 800, 20, 10), counted("maths", 1000, 800, 90, 10)
    noisy = replace(high, measures={**high.measures, "noise_floor": measure(0.03)})
    rules = tuple(rule_result(suite=suite) for suite in ("law", "maths"))
    (strip,) = strips(
        report(verdict=verdict(rules=rules), comparison=comparison(suites=(low, noisy), total=None))
    )
    rows = strip.all("li")
    assert [row.one("a").text for row in rows] == ["maths", "law"]
    assert [row.one("span", css="rate").text for row in rows] == ["9.0 %", "2.0 %"]
    # the scale ends at 15 %: both positions are shares of one width
    assert [tick.text for tick in strip.one("span", css="ticks").all("span")[1:]] == [
        "0 %",
        "7.5 %",
        "15 %",
    ]
    points = [row.one("path", css="point").attributes["d"] for row in rows]
    assert points == ["M600.0 10h0", "M133.3 10h0"]
    assert ["over" in row.one("path", css="point").attributes["class"] for row in rows] == [True, False]
    assert {row.one("path", css="limit").attributes["d"] for row in rows} == {"M333.3 0V20"}
    assert [rect.attributes["width"] for rect in strip.all("rect", css="band")] == ["200.0"]
    assert (
        "the limit is 5\u202f%; the noise floor is 3.0\u202f%"
        in rows[0].one("svg").attributes["aria-label"]
    )


def test_a_row_of_the_strip_leads_to_the_row_of_figures() -> None:
    suites = (counted("law", 100, 80, 2, 1), counted("maths", 100, 80, 9, 1), graded("sums", 100, 9, 31))
    root = tree(report(comparison=comparison(suites=suites, total=None)))
    (strip,) = root.all("figure", css="strip")
    for link in strip.all("a"):
        assert root.one("tr", id=link.attributes["href"][1:]).attributes["data-suite"] == link.text


def test_one_suite_needs_no_strip() -> None:
    assert not strips(report(comparison=comparison(suites=(figures("maths"),), total=None)))


def test_many_suites_fold_what_is_not_the_main_table() -> None:
    suites = tuple(counted(f"s{i:02d}", 500, 300, i % 20, 5) for i in range(57))
    root = tree(report(comparison=comparison(suites=suites, total=None)))
    (strip,) = root.all("figure", css="strip")
    assert (len(strip.all("li")), len(strip.one("details").all("li"))) == (57, 27)
    shown = section(root, "suites")
    assert len(shown.all("table", css="matrix")) == 57
    folded = [t for d in shown.all("details", css="fold") for t in d.all("table", data_table="further")]
    assert len(folded) == 1
    assert len(shown.one("table", data_table="main").all("tr")) == 1 + 57


# ------------------------------------------------------------------------------------------- slices


def sliced(suite: str, tag: str, n: int, broke: int, **changes: Any) -> SuiteFigures:
    return replace(counted(suite, n, n * 8 // 10, broke, 1), slice=tag, p_adjusted=0.5, **changes)


def heat_of(*slices: SuiteFigures, rules: tuple[Any, ...] = (), suites: tuple[str, ...] = ()) -> Node:
    names = suites or tuple(dict.fromkeys(f.suite for f in slices))
    shown = tuple(counted(name, 1000, 800, 50, 40) for name in names)
    made = comparison(suites=shown, total=None, slices=slices)
    return section(tree(report(comparison=made, verdict=verdict(rules=rules))), "slices")


def cells_of(shown: Node) -> dict[tuple[str, str], Node]:
    found = {}
    for table in shown.all("table", css="heat"):
        for cell in table.all("td"):
            if "data-suite" in cell.attributes:
                place = (cell.attributes["data-suite"], cell.attributes["data-slice"])
                assert place not in found
                found[place] = cell
    return found


def test_every_cell_has_the_measured_rate_its_pairs_and_a_link_to_its_flips() -> None:
    slices = [
        sliced(suite, f"language={name}", 100 + 10 * i, 3 * i + len(name))
        for suite in ("maths", "law")
        for i, name in enumerate(("en", "fr", "ja"))
    ]
    slices.append(sliced("law", "topic=a=b", 333, 50))
    shown = heat_of(*slices)
    cells = cells_of(shown)
    assert set(cells) == {(f.suite, f.slice) for f in slices}
    for one in slices:
        cell = cells[one.suite, one.slice or ""]
        assert float(cell.one("data").attributes["value"]) == one.measures["nfr"].value
        assert cell.one("span", css="n").text == f"n {one.n_pairs}"
        link = cell.one("a", css="to-flips")
        assert link.attributes["href"] == "#flips"
        assert (link.attributes["data-suite"], link.attributes["data-slice"]) == (one.suite, one.slice)
    head, *_ = shown.all("table", css="heat")
    assert [th.text for th in head.all("tr")[0].all("th")] == ["Slice", "maths", "law"]
    assert [th.text for th in head.all("th", scope="rowgroup")] == ["topic", "language"]


def test_the_shade_follows_the_rate_on_one_scale() -> None:
    slices = [sliced("maths", f"t={i}", 1000, broke) for i, broke in enumerate((0, 10, 50, 99, 100))]
    shades = {
        place[1]: re.findall(r"shade-(\d)", cell.attributes["class"])[0]
        for place, cell in cells_of(heat_of(*slices)).items()
    }
    assert shades == {"t=0": "0", "t=1": "1", "t=2": "3", "t=3": "5", "t=4": "5"}
    assert [heat.shade_of(v, 0.1) for v in (0, 1e-9, 0.02, 0.0200001, 0.1, 0.5)] == [0, 1, 1, 2, 5, 5]


def test_cells_with_too_few_pairs_are_muted_unless_they_tell_something() -> None:
    few, enough = sliced("maths", "t=few", 28, 20), sliced("maths", "t=enough", 29, 2)
    tells = replace(sliced("maths", "t=tells", 28, 28), p_adjusted=0.001)
    cells = cells_of(heat_of(few, enough, tells))
    muted = {place[1] for place, cell in cells.items() if "few" in cell.attributes["class"].split()}
    assert muted == {"t=few"}
    assert "too few to tell" in cells["maths", "t=few"].text
    assert "shade-0" in cells["maths", "t=few"].attributes["class"]
    # what the key says of them is so
    assert heat.FEWEST_PAIRS == 29
    assert stats.clopper_pearson(0, 29, 0.9)[1] <= heat.FEW_RATE < stats.clopper_pearson(0, 28, 0.9)[1]


def test_significance_is_a_sign_and_a_word_after_adjustment() -> None:
    worse = replace(sliced("maths", "t=worse", 200, 50), p_adjusted=0.01, p_value=0.001)
    raw_only = replace(sliced("maths", "t=raw", 200, 50), p_adjusted=0.2, p_value=0.001)
    cells = cells_of(heat_of(worse, raw_only))
    assert "▼ worse" in cells["maths", "t=worse"].text
    assert "▼" not in cells["maths", "t=raw"].text
    assert "adjusted p = 0.010" in cells["maths", "t=worse"].one("a").attributes["title"]


def test_slices_that_a_rule_names_are_told_from_those_that_were_explored() -> None:
    rules = (
        rule_result(Status.PASS, slice="t=a", rule=Rule(metric="pfr", min=0.0)),
        rule_result(Status.FAIL, slice="t=a"),
        rule_result(Status.FAIL, suite="law", slice="t=b"),
    )
    shown = heat_of(sliced("maths", "t=a", 100, 1), sliced("maths", "t=b", 100, 30), rules=rules)
    cells = cells_of(shown)
    assert "named" in cells["maths", "t=a"].attributes["class"].split()
    assert cells["maths", "t=a"].one("span", css="badge").text == "FAIL"
    assert "named" not in cells["maths", "t=b"].attributes["class"].split()
    assert "explored All 2 slices that tags make were looked at; 1 of them was not chosen" in shown.text
    assert "pre-registered The other is named by a rule" in shown.text
    assert "Right or wrong: all 2" in shown.text
    every = heat_of(sliced("maths", "t=a", 100, 1), rules=rules).text
    assert "looked at. So p is adjusted" in every
    assert "pre-registered All of them are named by a rule" in every
    rows = {
        row.attributes["data-slice"]: row.text for row in shown.one("table", css="slices").all("tr")[1:]
    }
    assert "rule: FAIL" in rows["t=a"]
    assert "rule:" not in rows["t=b"]
    none = heat_of(sliced("maths", "t=b", 100, 30)).text
    assert "pre-registered" not in none
    assert "looked at, not chosen beforehand. So p is adjusted" in none


def test_values_stand_across_where_suites_would_not_fit_and_a_list_where_neither_does() -> None:
    names = tuple(f"s{i:02d}" for i in range(20))
    by_value = [sliced(n, f"language={v}", 100, i) for i, n in enumerate(names) for v in ("en", "fr")]
    shown = heat_of(*by_value)
    assert [th.text for th in shown.one("table", css="heat").all("tr")[0].all("th")] == [
        "Suite",
        "en",
        "fr",
    ]
    assert len(cells_of(shown)) == 40
    own = heat_of(*(sliced(n, f"subject={n}", 100, i) for i, n in enumerate(names)))
    head, *_ = own.one("table", css="heat").all("tr")
    assert [th.text for th in head.all("th")] == ["Slice", "NFR"]
    assert len(cells_of(own)) == 20


def test_a_hole_in_the_table_is_said_to_be_one() -> None:
    slices = [sliced("maths", f"t={v}", 100, 5) for v in "abc"] + [sliced("law", "t=a", 100, 5)]
    assert [c.text for c in heat_of(*slices).all("td", css="absent")] == ["not there"] * 2


def test_five_thousand_slices_stay_within_their_budget_and_the_rest_is_told() -> None:
    slices = tuple(
        sliced(f"suite-{i % 5}", f"topic=t{i // 5:04d}", (20, 60, 200)[i % 3], i % 13)
        for i in range(5000)
    )
    named = rule_result(suite=slices[4999].suite, slice=slices[4999].slice)
    suites = tuple(counted(f"suite-{i}", 2000, 1500, 60, 80) for i in range(5))
    given = report(
        comparison=comparison(suites=suites, total=None, slices=slices), verdict=verdict(rules=(named,))
    )
    made = render(given)
    assert len(made) < 800_000
    shown = section(parse(made), "slices")
    cells = cells_of(shown)
    assert len(cells) == heat.MOST_CELLS
    assert f"{5000 - len(cells):,} slices with still lower rates are not in this table" in shown.text
    assert "4,750 more slices are not on this page" in shown.text
    # what a rule names is there, however good it is
    assert (slices[4999].suite, slices[4999].slice) in cells
    assert not shown.all("td", css="absent")


def test_graded_suites_have_a_table_of_their_own() -> None:
    scored = replace(graded("sums", 200, 60, 31), slice="t=a")
    shown = heat_of(sliced("maths", "t=a", 100, 5), scored)
    assert [t.one("caption").text.split(" of slices")[0] for t in shown.all("table", css="heat")] == [
        "NFR",
        "Regression rate",
    ]
    cell = cells_of(shown)["sums", "t=a"]
    assert float(cell.one("data").attributes["value"]) == scored.measures["regression_rate"].value


# -------------------------------------------------------------------------------------- how it looks


def _mixed(share: float, tone: str, ground: str) -> list[float]:
    sides = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (tone, ground)]
    return [share * a + (1 - share) * b for a, b in zip(*sides, strict=True)]


def _bright(parts: list[float]) -> float:
    linear = [c / 255 / 12.92 if c <= 10.3 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_numbers_can_be_read_on_every_shade(scheme: int) -> None:
    folder = templates()
    root = re.findall(r":root \{(.*?)\}", (folder / "style.css").read_text("utf-8"), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", root))
    sheet = (folder / "sections.css").read_text("utf-8")
    shares = re.findall(r"\.shade-\d \{ background: color-mix\(in srgb, var\(--broke\) (\d+)%", sheet)
    assert len(shares) == heat.SHADES
    for share in shares:
        ground = _bright(_mixed(int(share) / 100, colours["broke"], colours["bg"]))
        ink = _bright(_mixed(1.0, colours["ink"], colours["bg"]))
        dark, light = sorted((ground, ink))
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_a_page_with_slices_and_many_suites_can_be_read_with_a_keyboard_and_a_screen_reader() -> None:
    suites = tuple(counted(f"s{i:02d}", 500, 300, i % 20, 5) for i in range(40))
    slices = tuple(sliced(f"s{i:02d}", f"topic={i % 9}", 100, i % 20) for i in range(40))
    root = tree(report(comparison=comparison(suites=suites, total=None, slices=slices)))
    ids = [node.attributes["id"] for node in root.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    assert {link.attributes["href"].removeprefix("#") for link in root.all("a")} <= {*ids, ""}
    for table in root.all("table"):
        assert table.one("caption").text
        assert {head.attributes["scope"] for head in table.all("th")} <= {"col", "row", "rowgroup"}
    for drawing in root.all("svg"):
        assert drawing.attributes.get("aria-label") or drawing.attributes.get("aria-hidden") == "true"
    levels = [int(node.tag[1]) for node in root.walk() if re.fullmatch("h[1-6]", node.tag)]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
