"""One browser for each file of these tests, closed when the file is done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browsing import started
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started() as browser:
        yield browser
