"""The HTML report: one self-contained file for people to read, print and send on.

All of it is made by `muscle_gov.report`; here are its name and its options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from muscle_gov import Report, hookimpl


@hookimpl
def register_reports() -> dict[str, type]:
    return {"html": HtmlReport}


@dataclass(frozen=True)
class HtmlReport:
    """One HTML file with verdict, figures, slices and flips; opens in any browser, offline."""

    max_flips: int = 10_000
    """Most flips in the file, the worst ones; how many more there are is told."""
    max_text: int = 2000
    """Most characters of one prompt, target or output; of longer ones a part is left out."""
    max_bytes: int = 2_200_000
    """Most bytes of flips in the file, whatever their number: texts are shortened first, then flips are
    left out. 2.2 MB keep the whole file below 3 MB."""

    suffix: ClassVar[str] = ".html"

    def __post_init__(self) -> None:
        for name, least in (("max_flips", 0), ("max_text", 100), ("max_bytes", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: {getattr(self, name)} must be at least {least}")

    def render(self, report: Report) -> bytes:
        # jinja2 and the view are loaded when a page is asked for, and not with the plugins
        from muscle_gov.report import Budget, render

        return render(report, Budget(self.max_flips, self.max_text, self.max_bytes))
