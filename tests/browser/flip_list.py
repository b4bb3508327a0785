"""A report with three pages of flips, and how tests look at its list."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from playwright.sync_api import Page
from report_samples import flip, report

from muscle_gov import Report

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
