"""The flips in the HTML report: embedded within a budget, shown with their diff, linked to."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from html_tree import embedded, parse, section, tree
from report_samples import (
    CountedFlips,
    flip,
    report,
)

from muscle_gov import Flip, pipeline, plugins
from muscle_gov.report import Budget, page, render, templates
from muscle_gov.settings import CompareSettings, ImportSettings, Policy, Source
from muscle_gov.store import open_store


def prose(number: int, length: int) -> str:
    """Words that are others in each text, as many as make `length` characters."""
    words = (f"word{(number * 31 + i * 7919) % 9973}" for i in range(length // 6))
    return " ".join(words)[:length]


def many(n: int, length: int, **changes: str) -> tuple[Flip, ...]:
    return tuple(
        flip(
            i,
            prompt=f"{prose(i, length)} What is number {i}?",
            old_output=f"{prose(i, length)} so the answer is {i}.",
            new_output=f"{prose(i, length // 2)} hence {i + 1} {prose(i + 9, length // 2)}",
            **changes,
        )
        for i in range(n)
    )


def in_turn(one: tuple[Flip, ...], other: tuple[Flip, ...]) -> tuple[Flip, ...]:
    """Both suites as the store lists them."""
    return tuple(each for pair in zip(one, other, strict=True) for each in pair)


def test_ten_thousand_flips_are_all_there_below_three_megabytes() -> None:
    flips = many(10_000, 900)
    read: list[int] = []
    made = render(report(flips=CountedFlips(flips, read), flip_counts={"negative": 10_000}))
    assert len(made) < 3_000_000
    assert len(read) == 10_000
    root = parse(made)
    held = embedded(root)["flips"]
    assert [row["key"] for row in held] == [str(i) for i in range(10_000)]
    # what was cut is told, the question and the place of the change are left
    for row, given in list(zip(held, flips, strict=True))[::997]:
        assert row["prompt"].endswith(f" What is number {given.key}?")
        assert "characters left out" in row["prompt"]
        assert row["outputs"][0] != row["outputs"][1]
    text = section(root, "flips").text
    assert "more are in the store" not in text
    limit = re.search(r"Texts longer than ([\d,]+) characters are shortened", text)
    assert limit
    assert 100 < int(limit[1].replace(",", "")) < 900


def test_flips_beyond_the_budget_are_not_read_and_it_is_told_where_they_are() -> None:
    read: list[int] = []
    given = report(flips=CountedFlips(many(12_000, 30), read), flip_counts={"negative": 12_000})
    root = parse(render(given))
    assert len(read) == len(embedded(root)["flips"]) == 10_000
    text = section(root, "flips").text
    assert "holds the 10,000 worst of them" in text
    assert "2,000 more are in the store" in text
    assert "muscle-gov flips 20260101-abc123 --limit 0" in text
    assert "--csv flips.csv (or --parquet)" in text


def test_bytes_that_short_texts_leave_over_cost_no_flip_and_long_texts_pay_first() -> None:
    short = tuple(flip(i, suite="short", new_output=f"It is {i}.") for i in range(300))
    long = many(300, 1900, suite="long")
    root = tree(report(flips=in_turn(short, long)), bytes=500_000)
    held = embedded(root)["flips"]
    assert len(held) == 600
    whole = {row["key"]: row for row in held if row["suite"] == "short"}
    assert all(whole[one.key]["outputs"] == (one.old_output, one.new_output) for one in short)
    assert all(len(row["prompt"]) < 1000 for row in held if row["suite"] == "long")


@pytest.mark.parametrize("length", [20, 3000])
def test_no_suite_is_crowded_out_by_the_texts_of_another(length: int) -> None:
    flips = in_turn(many(1000, length, suite="a"), many(1000, 300, suite="z"))
    root = tree(report(flips=flips), bytes=350_000)
    held = [row["suite"] for row in embedded(root)["flips"]]
    assert 200 < len(held) < 2000
    assert abs(held.count("a") - held.count("z")) <= 1


def test_the_budget_is_kept_whatever_the_texts_are_made_of() -> None:
    for text in ("\u202e" * 5000, "日本語のテキスト" * 700, '"\\\n' * 2000, "<&>" * 2000, "\x00" * 4000):
        changes = {"prompt": text, "old_output": text, "new_output": f"{text}!", "target": text}
        flips = tuple(flip(i, **changes, old_answer=f"{i}{text}") for i in range(300))
        root = tree(report(flips=flips), bytes=300_000)
        data = root.one("script", id="flip-data").raw
        assert len(embedded(root)["flips"]) > 10
        assert len(data.encode()) + len(str(root.one("ol", id="flip-list").raw).encode()) < 300_000


def test_a_budget_of_flips_is_kept_and_nothing_is_said_where_all_fit() -> None:
    given = report(flips=tuple(flip(i) for i in range(70)), flip_counts={"negative": 70})
    assert len(embedded(tree(given, flips=60))["flips"]) == 60
    assert "10 more are in the store" in section(tree(given, flips=60), "flips").text
    assert len(embedded(tree(given))["flips"]) == 70
    assert "in the store" not in section(tree(given), "flips").text
    assert embedded(tree(given, flips=0))["flips"] == []
    assert embedded(tree(given, bytes=0))["flips"] == []


def test_the_page_has_the_order_of_the_report_and_no_other() -> None:
    def fallen(number: int, by: float | None, **changes: object) -> Flip:
        margins = {} if by is None else {"old_margin": 1.0, "new_margin": 1.0 - by}
        return flip(number, **margins, **changes)

    given = (
        fallen(8, 0.5, size=1.0),
        fallen(3, None, size=1.0, suite="reading"),
        fallen(7, 4.5, size=1.0),
        flip(4, size=0.5),
        flip(2, kind="loss", suite="rouge", size=0.3, old_score=0.9, new_score=0.6),
        flip(0, kind="positive"),
    )
    root = tree(report(flips=given))
    held = embedded(root)["flips"]
    assert [row["key"] for row in held] == [one.key for one in given]
    shown = [node.text for node in root.one("ol", id="flip-list").all("bdi", css="key")]
    assert shown == [one.key for one in given]
    assert held[2]["margins"] == [1, -3.5]


def test_margins_are_shown_and_explained_where_there_are_any() -> None:
    given = flip(1, old_margin=1.20449, new_margin=-0.35)
    root = tree(report(flips=(given, replace(given, key="2", new_margin=None))))
    first, second = root.one("ol", id="flip-list").all("details")
    assert "margin +1.204 → −0.350 nats" in first.text
    assert "margin +1.204 → not known nats" in second.text
    assert "Margin: how much surer" in section(root, "flips").text
    other = section(tree(report()), "flips")
    assert "argin" not in other.text
    assert "hidden" in other.all("span", data_slot="margins")[0].attributes


def test_what_differs_is_kept_of_two_outputs_and_the_end_of_a_prompt() -> None:
    same = prose(1, 30_000)
    given = flip(
        1,
        prompt=f"{same} What is it?",
        old_output=f"{same} BEFORE {same[::-1]}",
        new_output=f"{same} AFTER {same[::-1]}",
    )
    first = tree(report(flips=(given,))).one("ol", id="flip-list").all("details")[0]
    old, new = (first.one("pre", data_slot=f"{side}_output") for side in ("old", "new"))
    assert "BEFORE" in old.one("del").text
    assert "AFTER" in new.one("ins").text
    assert len(old.raw) < 2200
    # the rest of both is counted: what is shown and what is left out make the whole
    shown = re.sub(r"\[… [\d,]+ characters left out …\]\n?|\n", "", old.raw)
    left = sum(int(n.replace(",", "")) for n in re.findall(r"\[… ([\d,]+) characters", old.raw))
    assert len(shown) + left == len(given.old_output or "")
    prompt = first.one("pre", data_slot="prompt").raw
    assert prompt.endswith("What is it?")
    assert prompt.startswith("\n[… 28,012 characters left out …]")


def test_the_first_page_of_flips_is_there_without_scripts() -> None:
    flips = tuple(flip(i, prompt=f"question {i}") for i in range(70))
    root = tree(report(flips=flips, flip_counts={"negative": 70}))
    items = root.one("ol", id="flip-list").all("details", css="flip")
    assert len(items) == 50
    assert items[7].one("pre", data_slot="prompt").raw == "\nquestion 7"
    assert root.one("div", css="filters").attributes.keys() >= {"hidden"}
    assert "can filter and sort all of them" in root.one("noscript").text


def test_every_flip_has_a_permalink_that_does_not_depend_on_its_place() -> None:
    flips = [flip(i, suite=suite) for i in range(20) for suite in ("a", "b")]
    ids = {(r["suite"], r["key"]): r["id"] for r in embedded(tree(report(flips=flips)))["flips"]}
    assert len(set(ids.values())) == 40
    turned = embedded(tree(report(flips=flips[::-1])))["flips"]
    assert ids == {(r["suite"], r["key"]): r["id"] for r in turned}
    root = tree(report(flips=flips))
    bodies = [n for n in root.one("ol", id="flip-list").all("div", css="body") if "id" in n.attributes]
    assert [n.attributes["id"] for n in bodies] == list(ids.values())
    assert [n.one("a").attributes["href"] for n in bodies] == [f"#{i}" for i in ids.values()]


def test_the_diff_is_the_same_in_the_page_and_in_the_data() -> None:
    given = flip(1, old_output="\nI think it is 12.5, so 12.5.\n", new_output="\nI think it is 13.5!\n")
    root = tree(report(flips=(given,)))
    first = root.one("ol", id="flip-list").all("details")[0]
    old, new = (first.one("pre", data_slot=f"{side}_output") for side in ("old", "new"))
    # a browser drops the first line end of a <pre>
    assert (old.raw[1:], new.raw[1:]) == (given.old_output, given.new_output)
    assert [n.text for n in old.all("del")] == ["12.5, so 12.5."]
    assert [n.text for n in new.all("ins")] == ["13.5!"]
    assert embedded(root)["flips"][0]["outputs"] == (given.old_output, given.new_output)


def test_a_changed_prompt_is_shown_on_both_sides_and_chat_messages_as_a_dialogue() -> None:
    messages = [{"role": "user", "content": "Hi\nthere"}, {"role": "assistant", "content": "Yes?"}]
    given = flip(1, prompt=json.dumps(messages), new_prompt="Hi there")
    first = tree(report(flips=(given,))).one("ol", id="flip-list")
    assert first.one("pre", data_slot="old_prompt").raw[1:] == "[user]\nHi\nthere\n\n[assistant]\nYes?"
    assert first.one("pre", data_slot="new_prompt").raw[1:] == "Hi there"
    assert "hidden" in first.one("div", data_slot="prompt_block").attributes
    assert "hidden" not in first.one("div", data_slot="prompts_block").attributes


def test_a_waived_flip_says_so_with_the_reason() -> None:
    given = (flip(1, waived="the key is wrong (the data team, until 2027-01-31)"), flip(2))
    waived, other = tree(report(flips=given)).one("ol", id="flip-list").all("details")
    assert "Waived: the key is wrong" in waived.text
    assert "aived" not in other.text


def test_without_flips_there_is_nothing_to_filter() -> None:
    root = tree(report(flips=(), flip_counts={}))
    assert "No answer changed." in section(root, "flips").text
    assert not root.all("script", id="flip-data")


def test_the_script_and_the_template_name_the_same_slots_and_fields() -> None:
    script = "".join((templates() / name).read_text("utf-8") for name in page.SCRIPTS)
    root = tree(report())
    blank = root.one("template", id="flip-template")
    slots = {node.attributes["data-slot"] for node in blank.walk() if "data-slot" in node.attributes}
    for slot in slots:
        assert re.search(rf"\b{slot}:", script) or f"{slot}," in script, slot
    columns = set(re.findall(r"\bdata\.(\w+)", script))
    assert columns <= embedded(root).keys()
    assert embedded(root).keys() - columns == {"flips"}
    ids = {i for i in re.findall(r'find\("([\w-]+)"\)', script) if i != "flip-data"}
    assert ids <= {node.attributes.get("id") for node in root.walk()}


def test_real_logs_make_a_page_whose_flips_are_those_of_the_store(real_logs: Path) -> None:
    folder = real_logs / "lm_eval_toy_dev"
    old, new = (
        Source(folder / name, ImportSettings())
        for name in ("toy__ngram2-knn1-v1", "toy__ngram3-knn5-v2")
    )
    with open_store(":memory:") as store:
        judged = pipeline.compare_logs(store, plugins.load(), old, new, CompareSettings(), Policy())
        made = render(judged.report, Budget(10_000, 100_000, 50_000_000))
        assert made == render(judged.report, Budget(10_000, 100_000, 50_000_000))
        flips = list(judged.flips)
    rows = embedded(parse(made))["flips"]
    held = [(r["kind"], r["key"], r["before"], r["after"], *r["outputs"]) for r in rows]
    told = [(f.kind, f.key, f.old_answer, f.new_answer, f.old_output, f.new_output) for f in flips]
    assert held == told
    margins = {(f.suite, f.key): [f.old_margin, f.new_margin] for f in flips}
    falls = [old - new for old, new in margins.values() if old is not None and new is not None]
    assert falls != sorted(falls, reverse=True)
    for row in rows:
        known = margins[row["suite"], row["key"]]
        assert row["margins"] == [None if m is None else round(m, 3) for m in known]
