"""The HTML report: that it says what the Report says, number by number."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from helpers import Log, compare, log, scored
from html_tree import Node, section, tree
from report_samples import (
    comparison,
    figures,
    measure,
    report,
    rule_result,
    verdict,
)

from muscle_gov.data import AppliedWaiver, Finding, Measure, Report, Status, SuiteFigures
from muscle_gov.settings import Rule, Waiver

SECTIONS = ["verdict", "compared", "suites", "slices", "flips", "methods", "evidence", "signoff"]


def three_suites() -> Report:
    """Two right-or-wrong suites and a graded one, measured by the whole pipeline."""
    suites = (("maths", "R" * 60 + "W" * 40, "R" * 49 + "W" * 20 + "R" * 31), ("law", "RRWUE", "RW.RR"))

    def side(place: int, model: str) -> list[Log]:
        scores = [0.1 * (i % 9) + 0.01 * place * (i % 5) for i in range(30)]
        logs = [log(suite[1 + place], model, suite[0]) for suite in suites]
        return [*logs, replace(scored(scores, model), suite="summaries")]

    rules = (Rule(metric="nfr", max=0.2), Rule(metric="accuracy_delta", min=-0.3, suites=("(all)",)))
    made = compare(side(0, "old"), side(1, "new"), *rules)
    counts: dict[str, int] = {}
    for one in made.flips:
        counts[one.kind] = counts.get(one.kind, 0) + 1
    return Report(made.verdict, made.comparison, made.flips, counts, "muscle-gov compare", ":memory:")


# ------------------------------------------------------------------------------------- the verdict


def test_the_sections_come_in_the_order_of_the_questions() -> None:
    assert [node.attributes["id"] for node in tree(report()).all("section")] == SECTIONS


@pytest.mark.parametrize("status", list(Status))
def test_the_verdict_is_a_word_with_a_drawn_sign(status: Status) -> None:
    root = tree(report(verdict=verdict(status)))
    head = root.one("h2", id="verdict-title")
    assert head.text == f"Verdict: {status.value}"
    assert head.one("svg", css="icon").one("path").attributes["d"]
    assert root.one("head").one("title").text.startswith(f"{status.value}: ")


def test_the_signs_of_the_verdicts_all_differ() -> None:
    drawn = [
        tree(report(verdict=verdict(status))).one("h2", id="verdict-title").one("path").attributes["d"]
        for status in Status
    ]
    assert len(set(drawn)) == len(Status)


def test_a_plain_sentence_gives_count_rate_and_the_bound_of_the_rule() -> None:
    nfr = Measure(88 / 1319, 0.054, 0.0814, 1319, "Clopper-Pearson")
    bound = replace(nfr, low=0.056, high=0.07916)
    suite = figures("gsm8k", n_pairs=1319, values={})
    suite = replace(suite, measures={**suite.measures, "nfr": nfr})
    judged = verdict(rules=(rule_result(Status.FAIL, "gsm8k", measure=bound),))
    shown = tree(report(verdict=judged, comparison=comparison(suites=(suite,), total=None)))
    assert shown.one("p", css="sentence").text == (
        "Of 1,319 answers 88 that were right are now wrong: 6.7 %, at least 5.6 % with 95 % confidence; "
        "the policy allows 5 %."
    )
    held = verdict(Status.PASS, rules=(rule_result(Status.PASS, "gsm8k", measure=bound),))
    passed = tree(report(verdict=held, comparison=comparison(suites=(suite,), total=None)))
    assert ": 6.7 %, at most 7.9 % with 95 % confidence; " in passed.one("p", css="sentence").text


def test_without_a_rule_the_sentence_gives_the_interval() -> None:
    suite = figures("gsm8k", values={"nfr": 0.1})
    shown = tree(report(verdict=verdict(rules=()), comparison=comparison(suites=(suite,), total=None)))
    assert shown.one("p", css="sentence").text == (
        "Of 100 answers 10 that were right are now wrong: 10.0 % (95 % interval 8.0 to 12.0 %)."
    )


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("RRRR", "RRRR", "Of 4 answers none that was right is now wrong"),
        ("RRRR", "RRRW", "Of 4 answers 1 that was right is now wrong: 25.0"),
        (
            ["RR", "RR"],
            ["RW", "RR"],
            "Averaged over repeats, of 2 answers 25.0 % were right and are now wrong",
        ),
        ("UUUU", "RRRR", "No answer has a score on both sides, so nothing can be said."),
    ],
)
def test_the_sentence_fits_what_happened(old: Any, new: Any, sentence: str) -> None:
    made = compare(old, new)
    given = Report(replace(made.verdict, status=Status.FAIL), made.comparison, made.flips, {})
    assert tree(given).one("p", css="sentence").text.startswith(sentence)


def test_an_incomparable_verdict_does_not_lead_with_numbers() -> None:
    blocking = Finding("template-changed", "blocks", "the chat template differs: a → b", "maths")
    other = Finding("dtype-differs", "warns", "the dtype differs", "maths")
    root = tree(report(verdict=verdict(Status.INCOMPARABLE, findings=(blocking, other))))
    assert root.one("p", css="sentence").text == "These runs may not be compared as they are."
    text = section(root, "verdict").text
    places = [text.index(part) for part in (blocking.message, "Critical rules", other.message)]
    assert places == sorted(places)


def test_every_rule_shows_observed_bound_limit_n_and_status() -> None:
    result = rule_result(Status.FAIL, "maths", measure=Measure(0.0712, 0.061, 0.0834, 1319, "x"))
    atleast = Rule(metric="accuracy_delta", min=-0.01)
    other = rule_result(Status.PASS, "law", rule=atleast, measure=Measure(0.02, -0.004, 0.05, 77, "x"))
    rows = tree(report(verdict=verdict(rules=(other, result)))).one("table", css="rules").all("tr")[1:]
    assert [[c.text for c in r.children if isinstance(c, Node)][:6] for r in rows] == [
        [
            "FAIL",
            "mathsNegative flip rate (NFR) at most 5 % policy.toml:4",
            "7.1 %",
            "6.1 %at least, 95 % confidence",
            "at most 5 %",
            "1,319",
        ],
        [
            "PASS",
            "lawΔ accuracy at least −1 pp policy.toml:4",
            "+2.0 pp",
            "−0.4 ppat least, 95 % confidence",
            "at least −1 pp",
            "77",
        ],
    ]


def test_waivers_are_shown_with_owner_reason_expiry_and_effect() -> None:
    waiver = Waiver("maths", "the key is wrong", "the data team", "2027-01-31", instance="104")
    applied = (AppliedWaiver(waiver, 1, "applied"), AppliedWaiver(waiver, 0, "expired"))
    text = section(tree(report(verdict=verdict(waivers=applied))), "verdict").text
    for part in ("instance 104", "the key is wrong", "the data team", "2027-01-31", "1 flip set aside"):
        assert part in text
    assert "refused: expired" in text


# --------------------------------------------------------------------------------------- the figures


def _shown(text: str, exact: float) -> bool:
    """Whether a printed figure is the exact one, rounded to the digits it is printed with."""
    digits = text.replace("\u2212", "-").replace(",", "").lstrip("+±")
    number, _, unit = digits.partition(" ")
    scale = 0.01 if unit in ("%", "pp") else 1.0
    half = 0.5 * 10.0 ** -len(number.partition(".")[2])
    return abs(float(number) * scale - exact) <= half * scale * (1 + 1e-9)


def test_every_number_in_the_suites_tables_equals_the_reports() -> None:
    given = three_suites()
    whole = {f.suite: f for f in (*given.comparison.suites, given.comparison.total) if f is not None}
    assert set(whole) == {"maths", "law", "summaries", "(all)"}
    seen: set[tuple[str, str]] = set()
    for table in section(tree(given), "suites").all("table", css="figures"):
        for row in table.all("tr")[1:]:
            suite = whole[row.attributes["data-suite"]]
            for cell in row.all("td"):
                seen |= {(suite.suite, name) for name in _check_cell(cell, suite)}
    for suite in whole.values():
        measured = {name for name, m in suite.measures.items() if m.value is not None}
        numbers = {"n_pairs", "coverage", "p_value"}
        assert {name for where, name in seen if where == suite.suite} >= measured | numbers


def _check_cell(cell: Node, suite: SuiteFigures) -> list[str]:
    name = cell.attributes["data-metric"]
    found = {name: cell.one("span", css="value").all("data")}
    for small in cell.all("span", css="interval"):
        if "data-metric" in small.attributes:
            found[small.attributes["data-metric"]] = small.all("data")
    told = []
    for metric, nodes in found.items():
        measured = suite.measures.get(metric)
        wanted = measured.value if measured is not None else getattr(suite, metric)
        assert [float(node.attributes["value"]) for node in nodes] == (
            [] if wanted is None else [wanted]
        )
        for node in nodes:
            if not node.text.startswith(("<", ">")):
                assert _shown(node.text, wanted) or metric.startswith("p_"), (metric, node.text, wanted)
            told.append(metric)
        if measured is not None and measured.low is not None and measured.high is not None:
            _check_interval(cell.all("span", css="interval")[0], measured)
    return told


def _check_interval(node: Node, measured: Measure) -> None:
    assert float(node.attributes["data-low"]) == measured.low
    assert float(node.attributes["data-high"]) == measured.high
    low, _, high = node.text.partition(" to ")
    unit = "".join(high.partition(" ")[1:])
    assert measured.low is not None
    assert measured.high is not None
    assert _shown(low + unit, measured.low)
    assert _shown(high, measured.high)


def test_each_bar_says_in_words_what_it_shows_and_lies_where_it_should() -> None:
    suite = figures("maths", values={"nfr": 0.1})
    limit = rule_result(Status.FAIL, "maths")
    root = tree(report(verdict=verdict(rules=(limit,)), comparison=comparison(suites=(suite,))))
    row = section(root, "suites").all("tr", data_suite="maths")[0]
    drawn = row.one("td", data_metric="nfr").one("svg")
    assert drawn.attributes["aria-label"] == (
        "NFR 10.0\u202f%, 95\u202f% interval 8.0 to 12.0\u202f%; the limit is 5\u202f%"
    )
    # the scale of 0 to 15 % lies between 4 and 116
    assert drawn.one("circle").attributes["cx"] == f"{4 + 112 * 0.1 / 0.15:.1f}"
    assert drawn.one("path", css="limit").attributes["d"] == f"M{4 + 112 * 0.05 / 0.15:.1f} 0V16"
    ends = [f"{4 + 112 * end / 0.15:.1f}" for end in (0.08, 0.12)]
    assert drawn.one("path", css="range").attributes["d"].startswith(f"M{ends[0]} 8H{ends[1]}M")
    assert drawn.one("path", css="zero").attributes["d"].startswith("M4.0 ")


def test_a_plugins_own_metric_is_shown_under_its_name_as_a_plain_number() -> None:
    suite = figures("maths", values={"helpfulness": 3.14159})
    root = tree(report(comparison=comparison(suites=(suite,), total=None)))
    cell = section(root, "suites").one("td", data_metric="helpfulness")
    assert cell.one("data").attributes["value"] == "3.14159"
    assert cell.one("data").text == "3.142"
    assert "helpfulness" in section(root, "methods").text


def test_figures_undefined_everywhere_are_named_with_the_reason() -> None:
    missing = Measure(None, None, None, 0, "undefined: no repeats")
    suite = figures("maths")
    suite = replace(suite, measures={**suite.measures, "noise_floor": missing})
    shown = section(tree(report(comparison=comparison(suites=(suite,), total=None))), "suites")
    assert "left out: Noise floor (no repeats)." in shown.text
    assert not shown.all("td", data_metric="noise_floor")


def test_a_report_without_any_measure_still_renders() -> None:
    bare = replace(figures("maths"), measures={}, p_value=None, p_adjusted=None, mde=None)
    given = report(verdict=verdict(rules=()), comparison=comparison(suites=(bare,), total=None))
    assert "10 that were right are now wrong" in tree(given).one("p", css="sentence").text


def test_the_matrix_holds_every_outcome_of_both_sides() -> None:
    made = compare("RRRWWWUE.", "RW.RWUWRR")
    given = Report(made.verdict, made.comparison, made.flips, {})
    rows = section(tree(given), "suites").one("table", css="matrix").all("tr")
    assert [c.text for c in rows[0].all("th")] == [
        *("new right", "new wrong", "new unscored", "new missing", "sum")
    ]
    counts = [[td.all("span", css="value")[0].text for td in row.all("td")[:-1]] for row in rows[1:-1]]
    assert counts == [
        ["1", "1", "0", "1"],
        ["1", "1", "1", "0"],
        ["0", "1", "0", "0"],
        ["1", "0", "0", "0"],
        ["1", "0", "0", "0"],
    ]
    assert [td.text for td in rows[-1].all("td")] == ["4", "3", "1", "1", "9"]


def test_slices_come_worst_first_by_what_is_sure() -> None:
    def sliced(name: str, value: float, reach: float) -> SuiteFigures:
        found = figures("maths", slice=name, outcomes={})
        return replace(found, measures={**found.measures, "nfr": measure(value, reach=reach)})

    few, sure = sliced("topic=few", 0.5, 0.45), sliced("topic=sure", 0.3, 0.05)
    shown = section(tree(report(comparison=comparison(slices=(few, sure)))), "slices")
    for table in (shown.one("table", css="slices"), shown.one("table", css="heat")):
        slices = [n.attributes["data-slice"] for n in table.all("a", css="to-flips")]
        assert slices == ["topic=sure", "topic=few"]
    assert "explored" in shown.text
    assert "Benjamini" in shown.text


def test_many_slices_are_folded_and_those_left_out_are_counted() -> None:
    many = tuple(figures("maths", slice=f"n={i:03d}", outcomes={}) for i in range(520))
    shown = section(tree(report(comparison=comparison(slices=many))), "slices")
    worst, rest = shown.all("table", css="slices")
    assert (len(worst.all("tr")), len(rest.all("tr"))) == (1 + 25, 1 + 225)
    assert "270 more slices are not on this page" in shown.text
