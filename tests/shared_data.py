"""Where real logs are, if this machine has them."""

from __future__ import annotations

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def shared_folder() -> Path:
    """Where real logs and independently computed reference numbers lie, if this machine has them."""
    return Path(os.environ.get("MUSCLE_GOV_TEST_DATA", CHECKOUT.parent / "shared" / "data"))
