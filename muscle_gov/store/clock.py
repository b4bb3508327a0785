"""The one place that asks what time it is, so that tests and reproducible builds can set it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, date, datetime


def now() -> datetime:
    """UTC without a zone mark, to the second; SOURCE_DATE_EPOCH (seconds since 1970) overrides it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return moment.replace(tzinfo=None, microsecond=0)


def is_set() -> bool:
    """Whether the time is given from outside and does not pass."""
    return bool(os.environ.get("SOURCE_DATE_EPOCH"))


def today(ends: Iterable[str] = ()) -> date:
    """The day, in UTC as all times are: waivers end, and verdicts are dated, by one clock.

    `ends` are last days (ISO) of exceptions. A time that is given from outside revives none: if one of
    them has ended by the real day and not by the given one, the real day is the day.
    """
    given, real = now().date(), datetime.now(UTC).date()
    revived = any(given <= date.fromisoformat(end) < real for end in ends)
    return real if revived else given
