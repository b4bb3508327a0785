"""What all tests share. Tests on real logs look for them beside the checkout, and skip without them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from shared_data import shared_folder

settings.register_profile("muscle-gov", deadline=None, derandomize=True)
settings.load_profile("muscle-gov")


@pytest.fixture(scope="session")
def real_logs() -> Path:
    folder = shared_folder()
    if not folder.is_dir():
        pytest.skip(f"no real logs at {folder} (set MUSCLE_GOV_TEST_DATA to a folder that has them)")
    return folder
