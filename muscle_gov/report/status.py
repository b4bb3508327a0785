"""The words, the sign and the colour of each verdict, wherever it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from muscle_gov.data import Status


@dataclass(frozen=True)
class StatusWords:
    name: str
    style: str
    """Class name that sets the colour and the sign."""
    meaning: str


STATUSES: Mapping[Status, StatusWords] = {
    Status.PASS: StatusWords(
        "PASS", "pass", "Every critical rule holds: its bound lies inside the limit."
    ),
    Status.FAIL: StatusWords("FAIL", "fail", "At least one deciding rule is broken."),
    Status.INCONCLUSIVE: StatusWords(
        "INCONCLUSIVE", "open", "The data or the policy do not decide. This is not a pass."
    ),
    Status.INCOMPARABLE: StatusWords(
        "INCOMPARABLE", "apart", "The runs may not be compared as they are. This is not a pass."
    ),
    Status.NOT_JUDGED: StatusWords(
        "NOT JUDGED", "none", "No rule was given, so nothing was judged. This is not a pass."
    ),
}
WORST_FIRST = (Status.INCOMPARABLE, Status.FAIL, Status.INCONCLUSIVE, Status.NOT_JUDGED, Status.PASS)
