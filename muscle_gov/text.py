"""Model output made safe to show: what would be hidden becomes visible.

A log is hostile input. An escape sequence could repaint the terminal that a verdict is read on, and
a bidirectional override could make a wrong answer look right; neither survives `visible`.
"""

from __future__ import annotations

import re

# controls but for line feed and tab; bidirectional marks; whatever takes no room (zero-width and
# format characters, fillers, tags), but for the variation selectors of emoji; lone surrogates
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    """The text with each hidden character shown as `␛` (controls) or `⟨U+202E⟩` (all else)."""
    if text.isascii() and text.isprintable():
        return text  # most texts are, and to look this up is a tenth of the search
    return _HIDDEN.sub(lambda match: _picture(match[0]), text)


def _picture(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"⟨U+{code:04X}⟩"


def one_line(text: str | None, width: int) -> str:
    """The text in one line of at most `width` characters, for tables; `∅` for None."""
    if text is None:
        return "∅"
    flat = visible(" ".join(text.split()))
    return flat if len(flat) <= width else flat[: width - 1] + "…"
