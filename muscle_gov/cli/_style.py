"""Signs and styles of the terminal; nothing is told by colour alone."""

from __future__ import annotations

from typing import Any

SIGNS = {
    "PASS": "✓",
    "FAIL": "✗",
    "INCONCLUSIVE": "?",
    "INCOMPARABLE": "≠",
    "NOT JUDGED": "·",
}
STYLES = {
    "PASS": "bold green",
    "FAIL": "bold red",
    "INCONCLUSIVE": "bold yellow",
    "INCOMPARABLE": "bold magenta",
    "NOT JUDGED": "bold",
}
WORST_FIRST = ("FAIL", "INCOMPARABLE", "INCONCLUSIVE", "NOT JUDGED", "PASS")
"""The order in which verdicts on rules are told."""
LEVELS = {"blocks": ("✗", "red"), "warns": ("!", "yellow"), "notes": ("·", "dim")}


def styled(words: str, style: str = "") -> Any:
    from rich.text import Text

    return Text(words, style=style)
