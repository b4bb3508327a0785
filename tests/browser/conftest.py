"""One browser for each file of these tests, closed when the file is done; and a report to try."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import started
from flip_list import sample
from html_tree import embedded, parse
from playwright.sync_api import Browser
from written_pages import write


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as browser:
        yield browser


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
