"""Markdown that stays inert and inside a budget; what the `markdown` report is built of.

Text from a log is made harmless by where it stands, a code span, and not by escaping: entities and
backslashes still become mentions, links and formulas on GitHub, which looks for those in the text
that is left when all escapes are undone. A budget is kept by reserving each section's shortest form.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from muscle_gov.text import visible

SENTENCE = 400
"""Most characters of a sentence that quotes a log."""


# -------------------------------------------------------------------------------- inert, yet visible


# words that no renderer takes for anything but words ...
_PLAIN = re.compile(r"(?:[^\W_]|[%.,;:()'\"’“”/→…–—≤≥±×·?∅−-])*")
# ... unless they are links, emoji, commits or issues to it
_RISKY = re.compile(r":\S|[^\W\d_]\.[^\W\d_]|^www\.|[^\W\d_]-\d|^[0-9a-f]{7,64}$", re.IGNORECASE)
_WRAPPED = re.compile(r"(\(*)(.*?)([),;:.…]*)", re.DOTALL)


def prose(text: str, chars: int = SENTENCE) -> str:
    """A sentence that quotes logs: words that could be markup stand in code spans."""
    shown = _flat(text[:chars])[:chars] + ("…" if len(text) > chars else "")
    return " ".join(_word(word) for word in shown.split()) or "∅"


def _word(word: str) -> str:
    found = _WRAPPED.fullmatch(word)
    before, core, after = found.groups() if found else ("", word, "")
    if _PLAIN.fullmatch(core) and not _RISKY.search(core):
        return word
    return f"{before}{_code(core)}{after}"


def span(text: str | None, chars: int, tail: bool = False) -> str:
    """Model text in one code span of at most `chars` characters; `tail` keeps its end instead."""
    if text is None:
        return "∅"
    if text == "":
        return "*(empty)*"
    left = len(text) - chars
    if tail:
        return _code(("…" if left > 0 else "") + _flat(text[-chars:])[-chars:])
    shown = _code(_flat(text[:chars])[:chars] + ("…" if left > 0 else ""))
    return f"{shown} *(+{left:,} characters)*" if left > 0 else shown


def _flat(text: str) -> str:
    """On one line, with every hidden character shown."""
    return visible(text.replace("\r\n", "\n")).replace("\n", "⏎").replace("\t", "␉")


def _code(text: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    # a space is taken off each end of a span if both have one, so give it what it takes
    pad = " " if text.startswith(("`", " ")) or text.endswith(("`", " ")) else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def row(*cells: str) -> str:
    """A table row; within tables, and only there, a pipe needs a backslash even in a code span."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def table(*names: str, right: Sequence[str] = ()) -> str:
    line = "|".join("---:" if name in right else "---" for name in names)
    return f"{row(*names)}|{line}|\n"


# ----------------------------------------------------------------------------------------- budget


@dataclass(frozen=True)
class Section:
    """A heading, a table head or a sentence below it, and rows that may be cut off anywhere."""

    title: str
    rows: Iterable[str]
    total: int
    """How many rows there would be; `rows` may be fewer."""
    what: str
    """What a row is, in the plural."""
    head: str = ""
    """Of the table; left out with its last row."""
    lead: str = ""
    """A sentence of our own, always kept."""

    def opening(self) -> str:
        return f"\n### {self.title}\n\n" + (f"{self.lead}\n\n" if self.lead else "")

    def more(self, shown: int) -> str:
        left = self.total - shown
        return f"\n*{left:,} {'more ' if shown else ''}{self.what} not shown here.*\n" if left else ""

    def fill(self, room: int) -> str:
        """The section in at most `room` bytes beyond those of its shortest form."""
        rows: list[str] = []
        room -= _size(self.head)
        for one in self.rows:
            room -= _size(one)
            if room < 0:
                break
            rows.append(one)
        body = self.head + "".join(rows) if rows else ""
        return self.opening() + body + self.more(len(rows))

    def shortest(self) -> int:
        """Bytes of the section without rows; "more" and a smaller number of digits stay within 8."""
        return _size(self.opening() + self.more(0)) + 8


def fit(head: str, sections: Sequence[Section], foot: str, budget: int) -> str:
    reserved = sum(section.shortest() for section in sections)
    left = budget - _size(head) - _size(foot) - reserved
    parts = [head]
    for i, section in enumerate(sections):
        is_last = i == len(sections) - 1
        part = section.fill(left if is_last else left // 2)
        left -= _size(part) - section.shortest()
        parts.append(part)
    return "".join((*parts, foot))


def _size(text: str) -> int:
    return len(text.encode())
