"""The history of models as one self-contained page, by the same means as the report of an update."""

from __future__ import annotations

from muscle_gov.report.history_lines import History
from muscle_gov.report.history_view import history_page
from muscle_gov.report.page import fill

TITLE = "Update history"


def render_history(history: History, title: str = TITLE) -> bytes:
    """The whole page as UTF-8; nothing in it runs or loads. `history` holds at least one update.
    Equal histories give equal bytes. Raises OutputError if the templates are not installed."""
    return fill("history.html", history_page(history, title), styles=("style.css", "history.css"))
