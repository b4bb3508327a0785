"""The list of flips as people read it: at first sight, found, ordered, paged, by the thousand."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browsing import visiting
from flip_list import keys_of, keys_shown, ready, told
from html_tree import embedded, parse
from playwright.sync_api import Browser, expect
from report_samples import HOSTILE, flip, report
from written_pages import PAGES, write

from muscle_gov.diff import word_diff

# ----------------------------------------------------------------------------------- first sight


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (360, 640)])
def test_the_verdict_is_what_is_seen_first(
    browser: Browser, folder: Path, width: int, height: int
) -> None:
    file = PAGES["judged"](folder)
    with visiting(browser, file, width=width, height=height) as visit:
        ready(visit.page)
        box = visit.page.locator("#verdict h2").first.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= height
        assert visit.page.locator("#verdict h2").first.inner_text().strip()


def test_without_scripts_the_first_flips_are_there_and_it_is_said_what_scripts_would_add(
    browser: Browser, file: Path, held: list[dict[str, Any]]
) -> None:
    with visiting(browser, file, java_script_enabled=False) as visit:
        page = visit.page
        assert keys_shown(page) == keys_of(held[:50])
        assert not page.locator(".filters").is_visible()
        assert not page.locator("[data-act]").first.is_visible()
        assert "can filter and sort all of them" in page.locator("#flips").inner_text()
        page.locator("#flip-list summary").nth(2).click()
        assert page.locator("#flip-list details").nth(2).locator(".prompt").first.is_visible()


def test_the_script_writes_each_flip_as_the_page_does(browser: Browser, folder: Path) -> None:
    """The first flips stand in the page twice: as they were written, and as the script makes them."""
    long = " ".join(f"w{i}" for i in range(2000))
    flips = (
        *(flip(i, **texts(one)) for i, one in enumerate(HOSTILE)),
        flip(90, prompt=long, new_prompt=f"{long}!", old_output=None, new_output=" "),
        flip(91, old_output=f"{long} a {long}", new_output=f"{long} b {long}", waived="so"),
        flip(92, kind="loss", old_score=0.82, new_score=0.41, old_answer=None, new_answer=None),
        flip(93, old_answer=long, old_output=long, new_output=long[:90], new_answer=long[:90]),
        flip(94, old_margin=-0.0001, new_margin=-1.23456, target=None, prompt=None, tags={}),
        flip(95, old_margin=1.5, new_margin=None, old_answer="", old_output=""),
    )
    given = replace(report(), flips=flips, flip_counts={"negative": len(flips)})
    file = write(folder / "twice.html", given)
    with visiting(browser, file) as visit:
        ready(visit.page)
        written = visit.page.evaluate(LISTED)
        visit.page.locator("#f-clear").click()
        made = visit.page.evaluate(LISTED)
        assert len(written) == len(flips)
        for one, other in zip(written, made, strict=True):
            assert one == other


LISTED = """
() => [...document.querySelectorAll("#flip-list details")].map((details) => {
    details.querySelector("summary").click();
    const shown = (node) => node.nodeType === 3 ? node.data : node.hidden ? "" :
        `<${node.tagName} ${node.className} ${node.id} ${node.getAttribute("href") ?? ""}>`
        + [...node.childNodes].map(shown).join("") + "</>";
    return shown(details).replace(/\\n\\s*(?=<)|(?<=>)\\n/g, "");
})
"""


def texts(one: str) -> dict[str, Any]:
    return {
        "suite": one,
        "key": one,
        "prompt": one * 3,
        "old_output": one + one,
        "new_output": one + " " + one,
        "old_answer": one,
        "target": one,
        "tags": {one: one},
        "waived": one,
    }


def test_the_browser_finds_the_same_differences_as_python(browser: Browser, file: Path) -> None:
    chance = random.Random(7)
    words = [
        "the",
        "answer",
        "is",
        "12.5",
        "12,7",
        "not",
        "\n",
        "答え",
        "は",
        "é",
        "🎉",
        "a_b",
        "…",
        "  ",
        "x²",
        "½",
    ]
    pairs = []
    for _ in range(300):
        old = [chance.choice(words) for _ in range(chance.randrange(40))]
        new = [chance.choice(words) if chance.random() < 0.2 else word for word in old]
        del new[chance.randrange(len(new) + 1) :: chance.choice([3, 11, 50])]
        pairs.append((chance.choice(["", " "]).join(old), chance.choice(["", " "]).join(new)))
    pairs += [
        ("a b " * 400, "b a " * 400 + "c"),
        ("x" * 999, "x" * 998),
        ("", "a"),
        ("a", ""),
        ("a ", "a"),
    ]
    with visiting(browser, file) as visit:
        found = visit.page.evaluate("(pairs) => pairs.map(([a, b]) => wordDiff(a, b))", pairs)
    for (old, new), parts in zip(pairs, found, strict=True):
        assert [tuple(part) for part in parts] == list(word_diff(old, new)), (old, new)


# ------------------------------------------------------------------------- filters, order, pages


def test_filters_leave_what_matches_and_the_number_is_told(
    browser: Browser, file: Path, held: list[dict[str, Any]]
) -> None:
    with visiting(browser, file) as visit:
        page = visit.page
        ready(page)
        assert told(page) == "Shown: 1 to 50 of 130."
        assert page.locator("#flip-count").get_attribute("role") == "status"
        page.select_option("#f-suite", "law")
        law = [row for row in held if row["suite"] == "law"]
        assert keys_shown(page) == keys_of(law)
        page.select_option("#f-kind", "positive")
        mended = [row for row in law if row["kind"] == "positive"]
        assert keys_shown(page) == keys_of(mended)
        assert (
            told(page) == f"Shown: 1 to {len(mended)} of {len(mended)} that match, of 130 on this page."
        )
        page.select_option("#f-kind", "")
        page.select_option("#f-slice", "level=hard")
        assert keys_shown(page) == keys_of([row for row in law if "level=hard" in row["tags"]])
        page.locator("#f-clear").click()
        page.locator("#f-text").press_sequentially("AND 77?")
        expect(page.locator("#flip-count")).to_contain_text("1 to 1 of 1")
        assert keys_shown(page) == ["77"]
        page.locator("#f-text").fill("no such words")
        expect(page.locator("#flip-count")).to_have_text("No flip on this page matches.")
        assert page.locator("#f-csv").is_disabled()
        page.locator("#f-text").fill("key is wrong")
        expect(page.locator("#flip-list .key")).to_have_text(["7"])
        page.locator("#f-clear").click()
        assert told(page) == "Shown: 1 to 50 of 130."


def test_each_order_is_what_it_says(browser: Browser, file: Path, held: list[dict[str, Any]]) -> None:
    def fall(row: dict[str, Any]) -> float:
        old, new = row["margins"]
        return float("-inf") if old is None or new is None else old - new

    def length(row: dict[str, Any]) -> int:
        return len(row["prompt"]) + sum(map(len, row["outputs"]))

    orders: dict[str, Callable[[dict[str, Any]], Any]] = {
        "suite": lambda row: row["suite"],
        "key": lambda row: int(row["key"]),
        "length": lambda row: -length(row),
        "margin": lambda row: -fall(row),
    }
    with visiting(browser, file) as visit:
        page = visit.page
        ready(page)
        for name, rank in orders.items():
            page.select_option("#f-sort", name)
            assert keys_shown(page) == keys_of(sorted(held, key=rank))[:50], name
        page.select_option("#f-sort", "")
        assert keys_shown(page) == keys_of(held)[:50]


def test_pages_follow_each_other(browser: Browser, file: Path, held: list[dict[str, Any]]) -> None:
    with visiting(browser, file) as visit:
        page = visit.page
        ready(page)
        assert page.locator("#f-back").is_disabled()
        page.locator("#f-next").click()
        assert keys_shown(page) == keys_of(held[50:100])
        page.locator("#f-next").click()
        assert keys_shown(page) == keys_of(held[100:])
        assert page.locator("#f-next").is_disabled()
        assert told(page) == "Shown: 101 to 130 of 130."
        page.locator("#f-open").click()
        assert page.locator("#flip-list details[open]").count() == 30
        page.locator("#f-open").click()
        assert page.locator("#flip-list details[open]").count() == 0


def test_an_opened_flip_shows_all_that_is_known_of_it(
    browser: Browser, file: Path, held: list[dict[str, Any]]
) -> None:
    row = next(r for r in held if r["key"] == "9")
    with visiting(browser, file, fragment="#flips?text=what+is+9+and+9") as visit:
        page = visit.page
        ready(page)
        page.locator("#flip-list summary").click()
        body = page.locator(f"#{row['id']}")
        expect(body.locator("[data-slot=prompt]")).to_have_text(row["prompt"])
        expect(body.locator("[data-slot=target_again]")).to_have_text("18")
        expect(body.locator("[data-slot=margins]")).to_have_text("margin +0.500 → −0.900 nats")
        expect(body.locator("[data-slot=old_output]")).to_have_text(row["outputs"][0])
        expect(body.locator("[data-slot=new_output]")).to_have_text(row["outputs"][1])
        assert body.locator("del").all_inner_texts() == [
            text.strip() for mark, text in word_diff(*row["outputs"]) if mark == "-"
        ]
        assert body.locator("[data-slot=tags] bdi").all_inner_texts() == ["level=hard", "subject=s1"]


def test_a_slice_leads_to_its_flips(browser: Browser, folder: Path) -> None:
    file = PAGES["judged"](folder)
    with visiting(browser, file) as visit:
        page = visit.page
        ready(page)
        page.evaluate("document.querySelectorAll('details.fold').forEach((d) => { d.open = true; })")
        link = page.locator("a.to-flips").first
        wanted = (link.get_attribute("data-suite"), link.get_attribute("data-slice"))
        link.click()
        page.wait_for_function("() => document.querySelector('#f-slice').value !== ''")
        chosen = (page.input_value("#f-suite"), page.input_value("#f-slice"))
        assert chosen == wanted


# ------------------------------------------------------------------------------------ thousands


def test_thousands_of_flips_are_read_from_a_compressed_page_without_delay(
    browser: Browser, folder: Path
) -> None:
    file = PAGES["many"](folder)
    flips = embedded(parse(file.read_bytes()))["flips"]
    with visiting(browser, file) as visit:
        page = visit.page
        ready(page)
        assert told(page) == "Shown: 1 to 50 of 3,000."
        wanted = next(row for row in flips[2000:] if row["kind"] == "wrong_to_wrong")
        started = time.monotonic()
        page.locator("#f-text").fill(f"hence it is {int(wanted['key']) + 1}.")
        expect(page.locator("#flip-count")).to_contain_text("that match")
        assert time.monotonic() - started < 10
        assert wanted["key"] in keys_shown(page)
        page.evaluate("(id) => { location.hash = id; }", wanted["id"])
        body = page.locator(f"#{wanted['id']}")
        expect(body.locator("[data-slot=prompt]")).to_have_text(wanted["prompt"])
        assert "characters left out" in wanted["prompt"]


def test_a_browser_that_cannot_unpack_says_so_and_keeps_the_first(
    browser: Browser, folder: Path
) -> None:
    file = PAGES["many"](folder)
    context = browser.new_context(offline=True)
    context.add_init_script("delete window.DecompressionStream;")
    page = context.new_page()
    page.goto(file.as_uri())
    expect(page.locator("#flip-count")).to_contain_text("Only the first flips are shown")
    assert len(keys_shown(page)) == 50
    assert not page.locator(".filters").is_visible()
    context.close()
