"""Which flips the page holds, how long their texts may be, and how they are written into it.

The bytes are shared fairly. Nothing is dropped while a text can be shortened: one length is found to
which all texts are cut, so that short ones stay whole and long ones pay. Below a least length the
flips at the end of the list, which hurt least, are left out; and since the suites take turns in it, no
suite crowds out another by its name or by its long texts. The list is not sorted here: every output has
the order of the report, so that "the worst five" are the same five everywhere.

The data are columns, with words that come again and again kept once. As long as they fit without a text
being cut they are plain JSON, which anyone can read and search; many flips are compressed as well, which
leaves their texts about twice as long.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from muscle_gov.report.flip_texts import MOST_OF_AN_ANSWER, Taken

KIND_NAMES = ("negative", "loss", "wrong_to_wrong", "positive", "gain")
"""Kinds of flips, those that hurt most first."""
SAID = ("", "Answer", "Score")
LEAST_TEXT = 120
"""Shorter than this no text is cut: rather are flips left out."""
AS_OUTPUT = -1
"""Stands for an answer that is the whole output."""
Packing = Literal["", "deflate"]
"""How the data are written: JSON as it is, or compressed (zlib) and in base64."""
_SHOWN_ONCE_MORE = 3000
"""Bytes of markup around a flip of the first page, which stands in the page beside the data."""
_TRIES = 6
_SAMPLE = 1500
"""Flips that are looked at to find the length; all of them are measured in the end."""


@dataclass(frozen=True)
class Limits:
    """What the flips of a page may take: see `Budget`."""

    bytes: int
    text: int
    page: int


def fit(taken: Sequence[Taken], limits: Limits) -> tuple[list[Taken], int, Packing]:
    """The flips that fit, the length in characters to which their texts are cut, how they are packed."""
    kept = list(taken)
    found = _fit(kept, limits, "") if _may_fit(kept, limits) else None
    if found is not None and found[1] == limits.text and len(found[0]) == len(kept):
        return *found, ""
    return *_fit(kept, limits, "deflate"), "deflate"


def _may_fit(taken: Sequence[Taken], limits: Limits) -> bool:
    """Whether the texts alone leave hope that all fits as it is."""
    return sum(one.characters(limits.text) for one in taken) <= limits.bytes


def _fit(taken: list[Taken], limits: Limits, packing: Packing) -> tuple[list[Taken], int]:
    kept = taken
    least = min(LEAST_TEXT, limits.text)
    most = _longest(kept, least, limits, *_measured(kept, limits, packing))
    for _ in range(_TRIES):
        size = _size(kept, most, limits.page, packing)
        if size <= limits.bytes:
            return kept, most
        # what was measured on a few was too little for all
        if most > least:
            most = max(least, int(most * limits.bytes / size * 0.98))
        else:
            kept = kept[: int(len(kept) * limits.bytes / size * 0.98)]
    while kept and _size(kept, most, limits.page, packing) > limits.bytes:
        kept = kept[: len(kept) * 9 // 10]
    return kept, most


def _measured(taken: Sequence[Taken], limits: Limits, packing: Packing) -> tuple[float, float]:
    """(bytes for one character of the texts, bytes of a flip beside its texts), of some of them."""
    some = taken[:: max(1, len(taken) // 300)]
    if not some:
        return 1.0, 0.0
    middle = min(300, limits.text)
    full, bare = (len(pack(some, most, {}, packing).encode()) for most in (middle, 0))
    letters, left = (sum(one.characters(most) for one in some) for most in (middle, 0))
    return max(0.1, (full - bare) / max(1, letters - left)), bare / len(some)


def _longest(taken: Sequence[Taken], least: int, limits: Limits, ratio: float, fixed: float) -> int:
    """The greatest length of texts with which all should fit; `least` if none does."""
    low, high = least, limits.text
    first = taken[: limits.page]
    some = taken[:: max(1, len(taken) // _SAMPLE)]
    share = len(taken) / max(1, len(some))
    room = (limits.bytes - _SHOWN_ONCE_MORE * len(first)) * 0.98 - fixed * len(taken)
    while low < high:
        middle = (low + high + 1) // 2
        size = ratio * share * sum(one.characters(middle) for one in some)
        size += 2 * sum(one.characters(middle) for one in first)
        low, high = (middle, high) if size <= room else (low, middle - 1)
    return low


def _size(taken: Sequence[Taken], most: int, page: int, packing: Packing) -> int:
    """Bytes in the page: of the data, and of the first flips, which are there as markup too."""
    first = taken[:page]
    shown = 2 * len(pack(first, most, {}, "").encode()) + _SHOWN_ONCE_MORE * len(first)
    return len(pack(taken, most, {}, packing).encode()) + shown


def pack(taken: Sequence[Taken], most: int, head: Mapping[str, Any], packing: Packing) -> str:
    """The flips as text that is safe inside a script element; flip_rows.js names the same columns."""
    text = safe_json({**head, **_columns(taken, most)})
    if packing == "":
        return text
    return base64.b64encode(zlib.compress(text.encode(), 6)).decode()


def _columns(taken: Sequence[Taken], most: int) -> dict[str, Any]:
    answers = [one.answers_within(most) for one in taken]
    targets = [None if one.target is None else one.target.shortened(most) for one in taken]
    waived = {
        place: one.waived.shortened(MOST_OF_AN_ANSWER)
        for place, one in enumerate(taken)
        if one.waived is not None
    }
    often = Counter(word for column in (*zip(*answers, strict=True), targets) for word in column if word)
    known = {word: place for place, word in enumerate(w for w, n in often.items() if n > 1)}
    reasons = _numbers(waived.values())
    suites, tags = _numbers(one.suite for one in taken), _numbers(t for one in taken for t in one.tags)
    columns: dict[str, Any] = {
        "suites": list(suites),
        "tags": list(tags),
        "words": list(known),
        "reasons": list(reasons),
        "id": "".join(one.id for one in taken),
        "kind": "".join(str(KIND_NAMES.index(one.kind)) for one in taken),
        "suite": [suites[one.suite] for one in taken],
        "key": [one.key for one in taken],
        "said": "".join(str(SAID.index(one.said)) for one in taken),
        "before": [_word(one, answer[0], 0, known) for one, answer in zip(taken, answers, strict=True)],
        "after": [_word(one, answer[1], 1, known) for one, answer in zip(taken, answers, strict=True)],
        "target": [known.get(target or "", target) for target in targets],
        "waived": {place: reasons[reason] for place, reason in waived.items()},
        "scoreTexts": {place: one.score_texts for place, one in enumerate(taken) if one.score_texts},
        "tag": [[tags[tag] for tag in one.tags] for one in taken],
        "notes": "".join(f"{one.notes[0]}{one.notes[1]}" for one in taken),
        # what is alike stands together, where compression finds it
        "texts": [(_prompt(one, most), _output(one, most)) for one in taken],
    }
    for name in ("scores", "margins"):
        values = [getattr(one, name) for one in taken]
        for side, whose in enumerate(("old", "new")):
            column = [_number(value[side]) for value in values]
            columns[f"{whose}_{name}"] = column if any(v is not None for v in column) else []
    sizes = [_number(one.size) for one in taken]
    columns["sizes"] = sizes if any(size is not None for size in sizes) else []
    return {"n": len(taken), **columns}


def _numbers(names: Any) -> dict[str, int]:
    return {name: place for place, name in enumerate(dict.fromkeys(names))}


def _word(one: Taken, answer: str | None, side: int, known: Mapping[str, int]) -> int | str | None:
    return AS_OUTPUT if one.as_output[side] else known.get(answer or "", answer)


def _prompt(one: Taken, most: int) -> str | tuple[str, str, str, str] | None:
    """Where both were asked the same, one text."""
    if one.prompts is not None:
        return one.prompts.shortened(most, end=True)
    return None if one.prompt is None else one.prompt.shortened(most, head=0)


def _output(one: Taken, most: int) -> str | tuple[str, str, str, str]:
    four = one.outputs.shortened(most)
    return four if four[1] or four[2] else four[0] + four[3]


def _number(value: float | None) -> float | None:
    """As short as JSON has it, and never what JSON does not have."""
    if value is None or abs(value) == float("inf") or value != value:
        return None
    return int(value) if value == int(value) and abs(value) < 1e15 else value


def safe_json(value: object) -> str:
    """JSON that cannot end a script element, open a comment or break a line of script."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
