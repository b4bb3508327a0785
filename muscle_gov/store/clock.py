"""The one place that asks what time it is, so that tests and reproducible builds can set it."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime


def now() -> datetime:
    """UTC without a zone mark, to the second; SOURCE_DATE_EPOCH (seconds since 1970) overrides it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return moment.replace(tzinfo=None, microsecond=0)


def is_set() -> bool:
    """Whether the time is given from outside and does not pass."""
    return bool(os.environ.get("SOURCE_DATE_EPOCH"))


def today() -> date:
    """The day, in UTC as all times are: waivers end, and verdicts are dated, by one clock."""
    return now().date()
