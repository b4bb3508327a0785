"""The list of flips as people use it: linked to, copied, saved, walked through by keys alone."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browsing import Visit, visiting
from flip_list import focused_key, keys_of, keys_shown, ready, told, wait_for_focus
from muscle_gov_plugins.report_table import COLUMNS, CsvReport, defuse
from playwright.sync_api import Browser, expect
from report_samples import HOSTILE, flip, report
from written_pages import write

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


def test_a_link_to_what_the_page_lacks_says_so(
    browser: Browser, file: Path, held: list[dict[str, Any]]
) -> None:
    lacking = "This flip is not on this page; muscle-gov flips lists all."
    with visiting(browser, file, fragment="#flip-000000000000") as visit:
        ready(visit.page)
        said = visit.page.locator("#f-said")
        expect(said).to_have_text(lacking)
        expect(said).to_have_attribute("role", "status")
        expect(visit.page.locator("#flips")).to_be_in_viewport()
        assert told(visit.page) == "Shown: 1 to 50 of 130."
        # parts of the page that are called alike are no flips
        visit.page.evaluate("location.hash = '#flips'")
        visit.page.evaluate(f"location.hash = '#{held[3]['id']}'")
        expect(said).to_have_text("")
        visit.page.evaluate("location.hash = '#flip-list'")
        expect(said).to_have_text("")
        visit.page.evaluate("location.hash = '#flip-0'")
        expect(said).to_have_text(lacking)
        visit.page.select_option("#f-suite", "law")
        expect(said).to_have_text("")


@pytest.mark.parametrize(
    ("asked", "lacks", "shown"),
    [
        ("kind=bogus", "kind", 130),
        ("suite=law&kind=bogus&sort=size", "kind, order", 43),
        ("colour=red", "filter", 130),
        ("slice=<img src=x>", "slice", 130),
        ("suite=law", "", 43),
    ],
)
def test_a_link_that_filters_by_what_the_page_lacks_says_so(
    browser: Browser, file: Path, asked: str, lacks: str, shown: int
) -> None:
    with visiting(browser, file, fragment=f"#flips?{asked}") as visit:
        ready(visit.page)
        text = f"This page lacks what the address asks for ({lacks}); that is left out." if lacks else ""
        expect(visit.page.locator("#f-said")).to_have_text(text)
        assert f" of {shown}" in told(visit.page)


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
