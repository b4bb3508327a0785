"""The HTML report: headline, rules, waivers, quarantine, what changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers import compare
from html_tree import Node, section, tree
from report_samples import (
    comparison,
    explanation,
    figures,
    listed_result,
    measure,
    mended_report,
    report,
    rule_result,
    verdict,
    waivers,
)

from muscle_gov.data import Finding, Measure, ModelInfo, Report, RuleResult, Status
from muscle_gov.settings import Rule

DIGEST = "0123456789abcdef" * 4


def sentence_of(given: Report) -> str:
    return tree(given).one("p", css="sentence").text


# ----------------------------------------------------------------------------------------- headline


def test_the_headline_gives_the_limit_only_where_one_rule_sets_it() -> None:
    suite = figures("maths", values={"nfr": 0.1})
    compared = comparison(suites=(suite,), total=None)
    stricter = rule_result(rule=Rule(metric="nfr", max=0.02))
    advisory = rule_result(rule=Rule(metric="nfr", max=0.01, tier="advisory"))
    one = report(verdict=verdict(rules=(rule_result(), advisory)), comparison=compared)
    two = report(verdict=verdict(rules=(rule_result(), stricter)), comparison=compared)
    assert sentence_of(one).endswith("with 95 % confidence; the policy allows 5 %.")
    assert "allows" not in sentence_of(two)


def test_a_rule_that_judged_other_numbers_than_the_headlines_is_told_apart() -> None:
    suite = figures("maths", values={"nfr": 0.1})
    judged = rule_result(Status.PASS, measure=Measure(0.01, 0.005, 0.03, 100, "x"))
    given = report(
        verdict=verdict(Status.PASS, rules=(judged,)), comparison=comparison(suites=(suite,), total=None)
    )
    assert sentence_of(given) == (
        "Of 100 answers 10 that were right are now wrong: 10.0 % (95 % interval 8.0 to 12.0 %); without "
        "what is set aside 1.0 %, at most 3.0 % with 95 % confidence; the policy allows 5 %."
    )


def test_a_mended_model_is_named_by_the_update_and_what_mended_it() -> None:
    root = tree(mended_report(about=2))
    assert root.one("h1").text == "old-model →is to be replaced by new-model, mended by ensemble-distil"
    assert root.one("head").one("title").text == "PASS: old-model → new-model, mended by ensemble-distil"
    told = section(root, "verdict").one("p", css="more").text
    assert "It is one of 2 mended models that were judged on the same answers." in told
    assert "mended by" not in tree(mended_report(about=0)).one("h1").text


# ----------------------------------------------------------------------------------- what decided


def box_of(given: Report) -> Node:
    return section(tree(given), "verdict").one("div", css="verdict")


def test_a_list_that_fails_leads_before_a_flip_rate_that_did_not() -> None:
    rules = (rule_result(Status.INCONCLUSIVE), listed_result())
    reason = f"{listed_result().reason}; 1 waiver sets 1 flip aside"
    box = box_of(report(verdict=verdict(rules=rules, reason=reason)))
    assert box.one("p", css="sentence").text == (
        "2 of 12 answers on the list 'refusals' broke, and none may."
    )
    assert box.one("p", css="more").text.startswith("Over all suites, of 200 answers 10 that were right")
    # what the headline has said is not said again, the rest is
    assert box.one("span", css="reason").text == "1 waiver sets 1 flip aside."


@pytest.mark.parametrize(
    ("broke", "n", "kind", "said"),
    [
        (1, 18, "binary", "One of 18 answers on the list 'refusals' broke, and none may."),
        (1, 1, "binary", "The only answer on the list 'refusals' broke, and none may."),
        (3, 3, "graded", "All 3 answers on the list 'refusals' got worse, and none may."),
    ],
)
def test_how_many_of_a_list_broke_is_said_in_words(broke: int, n: int, kind: str, said: str) -> None:
    result = listed_result(measure=Measure(broke, None, None, n, "count"))
    shown = comparison(suites=(figures("maths", kind=kind),), total=None)
    assert sentence_of(report(verdict=verdict(rules=(result,)), comparison=shown)) == said


def test_a_flip_rate_of_another_suite_that_fails_leads_with_its_near_bound() -> None:
    box = box_of(report(verdict=verdict(rules=(rule_result(),), reason=rule_result().reason)))
    assert box.one("p", css="sentence").text == (
        "In the suite maths, of 100 answers 10 that were right are now wrong: 10.0 %, at least 8.0 % "
        "with 95 % confidence; the policy allows 5 %."
    )
    assert not box.all("span", css="reason")


def test_another_metric_that_decides_leads_with_its_own_limit() -> None:
    delta = Measure(-0.05, -0.07, -0.03, 100, "Tango score")
    rule = Rule(metric="accuracy_delta", min=-0.02)
    for status, said in (
        (Status.FAIL, "at most −3.0 pp with 95 % confidence; the policy asks for at least −2 pp."),
        (
            Status.INCONCLUSIVE,
            "at least −7.0 pp with 95 % confidence; the policy asks for at least −2 pp: the data do "
            "not decide.",
        ),
    ):
        result = rule_result(status, rule=rule, measure=delta, slice="t=a")
        given = report(verdict=verdict(status, rules=(rule_result(Status.PASS), result)))
        assert sentence_of(given) == f"Δ accuracy in the slice t=a of maths is −5.0 pp, {said}"


def test_what_cannot_be_judged_leads_with_why() -> None:
    few = "only 80 of 100 instances (80.00%) have a score on both sides; 99% are needed"
    lost = rule_result(Status.INCOMPARABLE, reason=f"maths: {few}")
    box = box_of(report(verdict=verdict(Status.INCOMPARABLE, rules=(lost,), reason=lost.reason)))
    assert box.one("p", css="sentence").text == f"maths: {few}."
    assert box.one("p", css="more").text.startswith("Taken at face value: of 200 answers 10")
    none = rule_result(Status.INCONCLUSIVE, measure=None, reason="maths: nfr cannot be judged: no pairs")
    given = report(verdict=verdict(Status.INCONCLUSIVE, rules=(none,), reason=none.reason))
    assert sentence_of(given) == "maths: nfr cannot be judged: no pairs."


def test_further_rules_that_decide_are_told_or_counted() -> None:
    one = comparison(suites=(figures("maths", values={"nfr": 0.1}),), total=None)

    def told(*rules: RuleResult) -> tuple[str, str]:
        reason = f"{rules[0].reason} (and {len(rules) - 1} more)"
        box = box_of(report(verdict=verdict(rules=rules, reason=reason), comparison=one))
        rest = " ".join(node.text for node in box.all("span", css="reason"))
        return box.one("p", css="more").text, rest

    more, rest = told(rule_result(), listed_result())
    assert more.startswith("2 of 12 answers on the list 'refusals' broke, and none may. ")
    assert rest == ""
    more, rest = told(rule_result(), listed_result(), listed_result())
    assert more.startswith("2 more rules are broken. ")
    assert rest == ""
    # led by a rate that is not the first to decide: the reason tells the first
    more, rest = told(listed_result(), listed_result(), rule_result())
    assert "more rules" not in more
    assert rest == "maths: 2 of 12 listed instances regressed; none may (and 2 more)."


def test_an_undecided_supporting_rule_is_not_what_decided() -> None:
    # beyond the limit, but its lower bound is inside
    first = rule_result(Status.INCONCLUSIVE, "reading", tier="supporting", measure=measure(0.06))
    then = listed_result(Status.INCONCLUSIVE, measure=None, reason="maths: the list: matches nothing")
    given = report(verdict=verdict(Status.INCONCLUSIVE, rules=(first, then), reason=then.reason))
    assert sentence_of(given) == "maths: the list: matches nothing."


def test_a_reason_begins_with_a_capital_letter_unless_it_begins_with_a_name() -> None:
    held = (rule_result(Status.PASS), rule_result(Status.PASS, "reading"))
    for reason, shown in (
        (
            "both rules hold; 2 waivers set 2 flips aside",
            "Both rules hold; 2 waivers set 2 flips aside.",
        ),
        ("maths: it holds", "maths: it holds."),
    ):
        box = box_of(report(verdict=verdict(Status.PASS, rules=held, reason=reason)))
        assert box.one("span", css="reason").text == shown


def test_a_comparison_that_is_forbidden_says_why_once_and_shortens_digests() -> None:
    message = f"the scorer differs: {DIGEST} → {DIGEST[::-1][:57]}…"
    blocking = Finding("scorer-changed", "blocks", message, "maths")
    given = report(
        verdict=verdict(Status.INCOMPARABLE, reason=f"maths: {message}", findings=(blocking,))
    )
    shown = section(tree(given), "verdict")
    assert not shown.all("p", css="why")
    assert shown.text.count("the scorer differs: 0123456789ab… → fedcba987654…") == 1
    assert DIGEST not in shown.text


def test_the_suite_that_broke_most_is_told_among_those_of_its_kind() -> None:
    suites = (figures("a"), figures("b", values={"nfr": 0.2}), figures("c", kind="graded"))
    two = tree(report(comparison=comparison(suites=suites, total=None))).one("p", css="more").text
    assert "Of the 2 suites scored right or wrong it broke the most." in two
    one = tree(report(comparison=comparison(suites=suites[1:], total=None))).one("p", css="more").text
    assert "it broke the most" not in one


def test_with_repeats_counts_have_a_decimal_and_the_matrix_says_why_it_differs() -> None:
    made = compare(["RR", "RR", "WW"], ["RW", "RR", "RW"])
    root = tree(Report(made.verdict, made.comparison, made.flips, {}))
    counts = [item.one("b").text for item in root.one("figure", css="stack").all("li")]
    assert counts == ["1.5", "0.5", "0.5", "0.5"]
    said = "Here an instance counts once, by the majority of its repeats"
    assert said in section(root, "suites").text
    once = compare("RRW", "RRR")
    assert said not in tree(Report(once.verdict, once.comparison, once.flips, {})).text


# -------------------------------------------------------------------------------------------- rules


def test_listed_answers_that_were_set_aside_by_name_are_told() -> None:
    result = listed_result(Status.PASS, measure=Measure(0, None, None, 1, "count"), set_aside=2)
    (row,) = tree(report(verdict=verdict(rules=(result,)))).one("table", css="rules").all("tr")[1:]
    assert row.one("td", data_label="n").text == "1judged; 2 of 3 set aside by name"


def test_an_abbreviation_is_spelled_out_where_it_first_stands_and_below_the_tables() -> None:
    rules = (rule_result(Status.PASS, "a"), rule_result(Status.PASS, "b"))
    root = tree(report(verdict=verdict(Status.PASS, rules=rules)))
    heads = [row.one("th").text for row in root.one("table", css="rules").all("tr")[1:]]
    assert ["Negative flip rate (NFR)" in head for head in heads] == [True, False]
    legend = "NFR: negative flip rate; PFR: positive flip rate. What the columns mean"
    assert legend in section(root, "suites").text


def test_the_signature_block_has_the_verdicts_own_sign() -> None:
    root = tree(report())
    drawn = [root.one("p", css="caution"), root.one("h2", id="verdict-title")]
    assert len({node.one("path").attributes["d"] for node in drawn}) == 1


def test_rules_stand_by_tier_and_worst_first_within_it() -> None:
    rules = (
        rule_result(Status.PASS, "a"),
        rule_result(Status.FAIL, "b", tier="advisory"),
        rule_result(Status.INCONCLUSIVE, "c", tier="supporting"),
        rule_result(Status.FAIL, "d"),
    )
    shown = section(tree(report(verdict=verdict(rules=rules))), "verdict")
    titles = [head.text for head in shown.all("h3", css="tier")]
    assert [title.split(" rules ")[0] for title in titles] == ["Critical", "Supporting", "Advisory"]
    assert "decide nothing" in titles[2]
    tables = shown.all("table", css="rules")
    suites = [[head.text[0] for head in t.all("th", scope="row")] for t in tables]
    assert suites == [["d", "a"], ["c"], ["b"]]


def test_what_would_make_a_rule_pass_is_in_the_open_and_why_it_came_out_so_is_folded() -> None:
    told = explanation(items_needed=2400, flips_allowed=-1)
    result = rule_result(Status.INCONCLUSIVE, explanation=told)
    (row,) = tree(report(verdict=verdict(rules=(result,)))).one("table", css="rules").all("tr")[1:]
    assert row.one("span", css="to-pass").text == "To pass: at most 1 flip of 100 pairs would pass"
    reasons = row.one("details").text
    assert "10 of 100 pairs flipped" in reasons
    assert "Seen: 10; with so few pairs even none is not enough." in reasons
    assert "2,400 pairs in all would settle it" in reasons
    assert "policy.toml:4" in row.text


def test_a_rule_that_passes_says_nothing_of_how_to_pass() -> None:
    result = rule_result(Status.PASS, explanation=explanation())
    (row,) = tree(report(verdict=verdict(rules=(result,)))).one("table", css="rules").all("tr")[1:]
    assert not row.all("span", css="to-pass")


def test_a_list_that_must_not_regress_is_counted_and_no_share() -> None:
    (row,) = (
        tree(report(verdict=verdict(rules=(listed_result(),)))).one("table", css="rules").all("tr")[1:]
    )
    cells = [c.text for c in row.children if isinstance(c, Node)]
    assert cells[:6] == [
        "FAIL",
        "mathsmust not regress: refusals policy.toml:12",
        "2regressed",
        "–counted, not estimated",
        "none may",
        "12listed",
    ]
    assert not row.all("svg", css="bar")


def test_rules_beyond_the_first_are_folded_with_their_statuses() -> None:
    many = [rule_result(Status.FAIL if i < 30 else Status.PASS, f"s{i}") for i in range(60)]
    shown = section(tree(report(verdict=verdict(rules=tuple(many)))), "verdict")
    assert "40 further rules of this tier: 10 FAIL, 30 PASS" in shown.text
    assert sum(len(t.all("tr")) - 1 for t in shown.all("table", css="rules")) == 60


# --------------------------------------------------------------------------- waivers and quarantine


def test_refused_waivers_come_first_with_a_sign_and_are_told_in_the_verdicts_box() -> None:
    root = tree(report())
    box = root.one("p", css="flag")
    assert box.text.startswith(
        "3 of 4 waivers and 1 of 2 quarantine entries are refused and set nothing aside."
    )
    assert box.one("svg").one("path").attributes["d"]
    rows = root.one("div", id="exceptions").all("table")[0].all("tr")[1:]
    assert [row.attributes["class"] for row in rows] == ["refused"] * 3 + ["applied"]
    badges = [row.one("span", css="badge").text for row in rows]
    assert badges == ["refused: expired", "refused: unmatched", "refused: over-broad", "applied"]
    assert all("nothing is set aside" in row.text for row in rows[:3])
    assert "1 flip set aside" in rows[3].text


def test_where_none_was_refused_nothing_says_so() -> None:
    given = report(verdict=verdict(waivers=waivers()[:1], quarantined=()))
    assert not tree(given).all("p", css="flag")


def test_quarantined_items_tell_how_often_they_differed() -> None:
    table = tree(report()).one("div", id="exceptions").all("table")[1]
    refused, applied = table.all("tr")[1:]
    assert "refused: not-flaky" in refused.text
    assert "differed 3 times between two answers of one model" in applied.text


# ------------------------------------------------------------------------------------- what changed


def test_only_what_differs_is_in_the_open() -> None:
    old = {"dtype": "bfloat16", "split": "test", "engine": None, "decoding": {"stop": ["Q:"], "t": 0}}
    new = {**old, "dtype": "float8", "decoding": {"stop": ["Q:"], "t": 1}}
    headers = {"a": (old, new), "b": (old, old)}
    shown = section(tree(report(comparison=comparison(headers=headers))), "compared")
    differ, same = shown.all("table")
    assert [row.text for row in differ.all("tr")[1:]] == [
        "Model",
        "model old-model new-model",
        "fingerprint in the store f0 f1",
        "revision 1 2",
        "Serving",
        "dtypea bfloat16 float8",
        "decoding: ta 0 1",
    ]
    assert "split test" in [row.text for row in same.all("tr")]
    assert "engine" in shown.all("p")[-1].text
    overview = [item.text for item in shown.one("ul", css="overview").all("li")]
    assert overview == [
        "≠Model 3 differences",
        "≠Serving 2 differences",
        "?Prompting not recorded",
        "=Suite the same, as far as recorded",
        "?Harness not recorded",
    ]


def test_a_long_digest_is_shortened_and_the_whole_one_stays_on_the_page() -> None:
    details = ({"weights": DIGEST, "tokenizer": "sha256:" + DIGEST}, {"weights": DIGEST[::-1]})
    old, new = (ModelInfo(name, name, told) for name, told in zip("ab", details, strict=True))
    shown = section(tree(report(comparison=comparison(old=old, new=new, headers={}))), "compared")
    digests = shown.all("details", css="digest")
    assert [d.one("summary").text for d in digests] == [
        "0123456789ab…",
        "fedcba987654…",
        "sha256:0123456789ab…",
    ]
    assert [d.one("code", css="full").text for d in digests] == [
        DIGEST,
        DIGEST[::-1],
        f"sha256:{DIGEST}",
    ]
    assert "weights, digest" in shown.text


def test_settings_that_stand_in_two_places_are_told_once() -> None:
    sides = [
        {
            "model": name,
            "model_settings": {"max_tokens": n},
            "model_details": {"max_tokens": n, "base": name},
        }
        for name, n in (("a", 1), ("b", 2))
    ]
    models = [ModelInfo(s["model"], s["model"], s["model_details"]) for s in sides]
    made = comparison(old=models[0], new=models[1], headers={"maths": (sides[0], sides[1])})
    rows = [row.text for row in section(tree(report(comparison=made)), "compared").all("tr")]
    assert [row for row in rows if "max_tokens" in row or "max tokens" in row] == [
        "setting: max_tokens 1 2"
    ]
    assert [row for row in rows if row.startswith("base")] == ["base a b"]


def test_the_moments_when_the_runs_began_are_no_difference_of_theirs() -> None:
    sides = (
        {"dtype": "a", "started": "2026-01-01T10:00:00Z"},
        {"dtype": "a", "started": "2026-01-02T11:00:00Z"},
    )
    headers = {"b": sides, "a": ({**sides[0], "started": "2026-01-01T09:30:00Z"}, sides[1])}
    shown = section(tree(report(comparison=comparison(headers=headers))), "compared")
    told = "The old run began 2026-01-01 09:30 UTC, the new run began 2026-01-02 11:00 UTC."
    assert told in shown.text
    assert "started" not in shown.text


# ------------------------------------------------------------------------------------- candidates


def test_the_key_names_only_what_is_drawn() -> None:
    def keys(given: Report) -> str:
        return section(tree(given), "candidates").one("ul", css="legend").text

    whole = mended_report()
    assert "limit of a rule" in keys(whole)
    assert "front:" in keys(whole)
    free = replace(whole, verdict=verdict(rules=()))
    assert "limit of a rule" not in keys(free)
    alone = replace(whole, candidates=whole.candidates[:1])
    assert "front:" not in keys(alone)
