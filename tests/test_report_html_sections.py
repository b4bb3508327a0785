"""The HTML report: headline, rules, waivers, quarantine, what changed."""

from __future__ import annotations

from dataclasses import replace

from html_tree import Node, section, tree
from report_samples import (
    comparison,
    explanation,
    figures,
    listed_result,
    mended_report,
    report,
    rule_result,
    verdict,
    waivers,
)

from muscle_gov.data import Measure, ModelInfo, Report, Status
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


# -------------------------------------------------------------------------------------------- rules


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
    assert "would pass: not even none, on so few pairs" in reasons
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
        "Refused, so that nothing is set aside: 3 of 4 waivers and 1 of 2 quarantine entries."
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
