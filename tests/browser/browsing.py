"""A page in the Chromium of this machine: what it logs, asks of the network or pops up is written down.

Playwright drives the browser that the system has; it has no browser of its own here. Every visit ends
with the same question, whatever was tried: was there an error, a warning, a request, a dialog?
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHECKOUT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60_000
"""Milliseconds: two slow cores are shared by several browsers."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = (
    "--no-sandbox",  # in a container there is none to be had
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--renderer-process-limit=1",
)


def chromium() -> str | None:
    """The browser: the one that MUSCLE_GOV_CHROMIUM names, else the system's."""
    named = os.environ.get("MUSCLE_GOV_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def started() -> Iterator[Browser]:
    """A browser of its own for each file of tests."""
    path = chromium()
    if path is None:
        pytest.skip("no Chromium: install the package `chromium` or name one in MUSCLE_GOV_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=list(ARGUMENTS), timeout=PATIENCE
        )
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """A page that is open, and all that it did beside being read."""

    page: Page
    file: Path
    troubles: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    """Parts of troubles that a test brings about itself."""

    def settle(self) -> None:
        """Fail if anything went on that should not."""
        found = [t for t in self.troubles if not any(part in t for part in self.expected)]
        assert found == [], found

    def axe(self) -> list[dict[str, Any]]:
        """Violations that axe-core finds serious or critical."""
        self.page.evaluate(_axe())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            {"id": one["id"], "help": one["help"], "where": [node["html"] for node in one["nodes"]][:5]}
            for one in found["violations"]
            if one["impact"] in ("serious", "critical")
        ]

    def overflow(self) -> int:
        """Pixels by which the page is wider than its window."""
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(wide))


@cache
def _axe() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


@contextmanager
def visiting(
    browser: Browser,
    file: Path,
    fragment: str = "",
    width: int = 1280,
    height: int = 800,
    **context: Any,
) -> Iterator[Visit]:
    """Open a file as someone who was sent it would: from the disk, offline."""
    opened: BrowserContext = browser.new_context(
        viewport={"width": width, "height": height}, offline=True, accept_downloads=True, **context
    )
    opened.set_default_timeout(PATIENCE)
    try:
        page = opened.new_page()
        visit = Visit(page, file)
        watch(visit)
        page.goto(f"{file.as_uri()}{fragment}")
        yield visit
        visit.settle()
    finally:
        opened.close()


def watch(visit: Visit) -> None:
    """Write down what the page does beside being read."""
    own = visit.file.as_uri()

    def asked(url: str) -> None:
        if url.split("#")[0] != own and not url.startswith("blob:"):
            visit.troubles.append(f"request: {url}")

    def popped(dialog: Any) -> None:
        visit.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def logged(message: Any) -> None:
        if message.type in ("error", "warning"):
            visit.troubles.append(f"{message.type}: {message.text}")

    visit.page.on("console", logged)
    visit.page.on("pageerror", lambda error: visit.troubles.append(f"uncaught: {error}"))
    visit.page.on("request", lambda request: asked(request.url))
    visit.page.on("dialog", popped)
    visit.page.on("popup", lambda popup: visit.troubles.append(f"popup: {popup.url}"))


def screenshots() -> Path:
    """Where pictures go: a build artefact, out of git; MUSCLE_GOV_SCREENSHOTS names another folder."""
    folder = Path(os.environ.get("MUSCLE_GOV_SCREENSHOTS") or CHECKOUT / "dist" / "screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
