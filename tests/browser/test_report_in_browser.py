"""The list of flips as people use it: found, opened, ordered, linked to, copied, saved, by keys."""

from __future__ import annotations

import csv
import io
import json
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browsing import Visit, visiting
from html_tree import embedded, parse
from muscle_gov_plugins.report_table import COLUMNS, CsvReport, defuse
from playwright.sync_api import Browser, Page, expect
from report_samples import HOSTILE, flip, report
from written_pages import PAGES, write

from muscle_gov import Report
from muscle_gov.diff import word_diff

Open = Callable[..., Any]
MARGINS = {"old_margin": 0.5, "new_margin": -1.0}


def sample() -> Report:
    """130 flips of three suites: three pages of them."""
    flips = []
    for i in range(130):
        made = flip(
            i,
            suite=("maths", "reading", "law")[i % 3],
            kind="positive" if i % 5 == 0 else "negative",
            prompt=f"Prompt {i}.\nWhat is {i} and {i}?",
            old_output=f"I think that it is {2 * i}.",
            new_output=f"I am sure that it is {2 * i + 1}." + " Really." * (i % 7),
            old_answer=str(2 * i),
            new_answer=str(2 * i + 1),
            target=str(2 * i),
            tags={"subject": f"s{i % 4}", "level": "hard" if i % 2 else "easy"},
            waived="the key is wrong" if i == 7 else None,
        )
        flips.append(replace(made, **(MARGINS | {"new_margin": -i / 10} if i % 3 == 0 else {})))
    return replace(report(), flips=tuple(flips), flip_counts={"negative": 104, "positive": 26})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def file(folder: Path) -> Path:
    return write(folder / "sample.html", sample())


@pytest.fixture(scope="module")
def held(file: Path) -> list[dict[str, Any]]:
    """The flips in the page, in its own order."""
    found = embedded(parse(file.read_bytes()))["flips"]
    assert len(found) == 130
    return found


def ready(page: Page) -> None:
    page.wait_for_selector("#f-tools", state="visible")


def keys_shown(page: Page) -> list[str]:
    return [text.strip() for text in page.locator("#flip-list .key").all_inner_texts()]


def keys_of(rows: list[dict[str, Any]]) -> list[str]:
    return [row["key"] for row in rows]


def told(page: Page) -> str:
    return page.locator("#flip-count").inner_text()


def focused_key(page: Page) -> str:
    script = "document.activeElement.matches('summary') ? document.activeElement : null"
    return str(page.evaluate(f"({script})?.querySelector('.key').textContent ?? ''"))


def wait_for_focus(page: Page, key: str) -> None:
    script = "(key) => document.activeElement.querySelector(':scope > .what .key')?.textContent === key"
    page.wait_for_function(script, arg=key)


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


# ----------------------------------------------------------------------------- links, copies, files


def test_a_link_opens_its_flip_wherever_it_stands(
    browser: Browser, file: Path, held: list[dict[str, Any]]
) -> None:
    row = held[120]
    with visiting(browser, file, fragment=f"#{row['id']}") as visit:
        ready(visit.page)
        expect(visit.page.locator("#flip-list details[open]")).to_have_count(1)
        opened = visit.page.locator("#flip-list details[open]")
        expect(opened.locator(".key")).to_have_text(row["key"])
        expect(opened.locator("summary")).to_be_in_viewport()
        visit.page.wait_for_load_state("load")
        wait_for_focus(visit.page, row["key"])
        assert told(visit.page) == "Shown: 101 to 130 of 130."


def test_the_address_keeps_the_filter_over_a_reload(browser: Browser, file: Path) -> None:
    with visiting(browser, file) as visit:
        page = visit.page
        ready(page)
        page.select_option("#f-suite", "law")
        page.select_option("#f-sort", "key")
        page.locator("#f-text").fill("sure that")
        page.wait_for_function("() => location.hash.includes('text=')")
        before = keys_shown(page)
        assert page.url.endswith("#flips?suite=law&text=sure+that&sort=key")
        page.reload()
        ready(page)
        assert keys_shown(page) == before
        assert page.input_value("#f-sort") == "key"


@pytest.mark.parametrize("has_clipboard", [True, False])
def test_link_and_row_are_copied(
    browser: Browser, file: Path, held: list[dict[str, Any]], has_clipboard: bool
) -> None:
    row = held[3]
    rights = {"permissions": ["clipboard-read", "clipboard-write"]}
    with visiting(browser, file, **rights) as visit:
        page = visit.page
        ready(page)
        if not has_clipboard:
            page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
            page.evaluate("addEventListener('copy', () => { window.copied = String(getSelection()); })")
        page.locator("#flip-list summary").nth(3).click()
        body = page.locator(f"#{row['id']}")

        def copied(what: str) -> str:
            body.locator(f"[data-act={what}]").click()
            expect(page.locator("#f-said")).to_contain_text(f"of {row['key']}.")
            script = "navigator.clipboard.readText()" if has_clipboard else READ_SELECTED
            found = page.evaluate(script)
            page.evaluate("document.getElementById('f-said').textContent = ''")
            return str(found).replace("\r\n", "\n")

        assert copied("link") == f"{file.as_uri()}#{row['id']}"
        cells = next(csv.reader(io.StringIO(copied("tsv"), newline=""), delimiter="\t"))
        assert cells[:3] == [row["suite"], row["key"], row["kind"]]
        assert row["prompt"] in cells
        known = json.loads(copied("json"))
        assert known["prompt"] == row["prompt"]
        assert known["tags"] == dict(tag.split("=") for tag in row["tags"])
        assert (known["old_output"], known["new_output"]) == row["outputs"]


READ_SELECTED = """
() => new Promise((done) => {
    const field = document.createElement("textarea");
    document.body.append(field);
    field.focus();
    document.execCommand("paste");
    done(field.value || window.copied);
})
"""


def saved(visit: Visit, suffix: str) -> str:
    with visit.page.expect_download() as download:
        visit.page.locator(f"#f-{suffix}").click()
    assert download.value.suggested_filename == f"flips-20260101-abc123.{suffix}"
    return Path(download.value.path()).read_bytes().decode("utf-8")


def test_what_is_filtered_is_saved_as_csv_and_json(
    browser: Browser, file: Path, held: list[dict[str, Any]]
) -> None:
    law = [row for row in held if row["suite"] == "law"]
    with visiting(browser, file) as visit:
        ready(visit.page)
        visit.page.select_option("#f-suite", "law")
        rows = list(csv.DictReader(io.StringIO(saved(visit, "csv"), newline="")))
        known = json.loads(saved(visit, "json"))
        expect(visit.page.locator("#f-said")).to_contain_text(f"Saved {len(law)} flips")
    assert known["comparison"] == "20260101-abc123"
    assert known["filter"] == {"suite": "law"}
    for found in (rows, known["flips"]):
        assert [row["key"] for row in found] == keys_of(law)
        assert [(row["old_output"], row["new_output"]) for row in found] == [r["outputs"] for r in law]
        assert [row["prompt"] for row in found] == [row["prompt"] for row in law]
    assert tuple(rows[0]) == COLUMNS
    assert tuple(known["flips"][0]) == COLUMNS


def test_saved_cells_are_defused_as_in_the_csv_report(browser: Browser, folder: Path) -> None:
    tricky = [
        *HOSTILE,
        "'=1",
        "''+2",
        "-1.5e3",
        "a;=1",
        "x\n=2",
        "x\t'@y",
        'x;"=3',
        "＝1",
        "'-12",
        "1;2",
    ]
    shown = [one for one in tricky if one.isprintable() or "\t" in one or "\n" in one]
    flips = tuple(
        flip(i, prompt=one, old_output=one, new_output=f"{one}!") for i, one in enumerate(shown)
    )
    given = replace(report(), flips=flips, flip_counts={"negative": len(flips)})
    expected = list(csv.DictReader(io.StringIO(CsvReport().render(given).decode(), newline="")))
    with visiting(browser, write(folder / "cells.html", given)) as visit:
        ready(visit.page)
        found = list(csv.DictReader(io.StringIO(saved(visit, "csv"), newline="")))
        script = "(texts) => texts.map(flipTable.defuse)"
        defused = visit.page.evaluate(script, [one for one in tricky if "\ud800" not in one])
    assert defused == [defuse(one) for one in tricky if "\ud800" not in one]
    for name in ("suite", "key", "kind", "prompt", "old_output", "new_output", "tags", "target"):
        for one, other in zip(found, expected, strict=True):
            if "\r" not in other[name]:
                assert one[name] == other[name].replace(": ", ":" if name == "tags" else ": ")


# ----------------------------------------------------------------------------------------- keys


def test_the_whole_list_can_be_used_by_keys_alone(
    browser: Browser, file: Path, held: list[dict[str, Any]]
) -> None:
    with visiting(browser, file) as visit:
        page = visit.page
        ready(page)
        press = page.keyboard.press
        press("j")
        assert focused_key(page) == held[0]["key"]
        press("j")
        press("ArrowDown")
        press("k")
        assert focused_key(page) == held[1]["key"]
        press("Enter")
        opened = page.locator("#flip-list details[open]")
        expect(opened.locator(".key")).to_have_text(held[1]["key"])
        expect(opened.locator("[data-slot=prompt]")).to_be_visible()
        press("Tab")
        assert page.evaluate("document.activeElement.dataset.slot") == "link"
        press("j")
        assert focused_key(page) == held[2]["key"]
        press("k")
        press("Space")
        expect(opened).to_have_count(0)
        press("]")
        assert focused_key(page) == held[50]["key"]
        press("k")
        assert focused_key(page) == held[49]["key"]
        press("j")
        assert focused_key(page) == held[50]["key"]
        press("[")
        assert focused_key(page) == held[0]["key"]
        press("/")
        page.keyboard.type("jk[]/? what is 12 and")
        assert page.input_value("#f-text") == "jk[]/? what is 12 and"
        page.locator("#f-text").fill("what is 12 and")
        press("Enter")
        assert focused_key(page) == "12"
        press("?")
        expect(page.locator("#f-keys")).to_be_visible()
        press("j")
        press("Escape")
        expect(page.locator("#f-keys")).not_to_be_visible()
        assert focused_key(page) == "12"


def test_keys_of_a_single_letter_can_be_switched_off_and_none_is_stolen(
    browser: Browser, file: Path, held: list[dict[str, Any]]
) -> None:
    with visiting(browser, file) as visit:
        page = visit.page
        ready(page)
        page.locator("#f-suite").focus()
        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.id") == "f-suite"
        page.locator("#f-suite").evaluate("(node) => node.blur()")
        page.keyboard.press("Control+j")
        assert focused_key(page) == ""
        page.locator("#f-help").click()
        page.locator("#f-keys-on").uncheck()
        page.locator("#f-keys-close").click()
        page.keyboard.press("j")
        assert focused_key(page) == ""
        page.locator("#flip-list summary").first.focus()
        page.keyboard.press("ArrowDown")
        assert focused_key(page) == held[1]["key"]


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
