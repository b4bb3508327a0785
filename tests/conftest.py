"""What all tests share. Tests on real logs look for them beside the checkout, and skip without them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings
from shared_data import shared_folder

settings.register_profile("muscle-gov", deadline=None, derandomize=True)
settings.load_profile("muscle-gov")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # as a job in the background has it; programs under test would inherit that no interrupt reaches them
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def real_logs() -> Path:
    folder = shared_folder()
    if not folder.is_dir():
        pytest.skip(f"no real logs at {folder} (set MUSCLE_GOV_TEST_DATA to a folder that has them)")
    return folder
