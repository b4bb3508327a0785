"""The texts of a flip, taken out of it once and shortened later to whatever length fits the page.

A text of any length is kept by its two ends only, so that ten thousand flips with long outputs need
little memory. Two texts are kept by what they share at both ends and what differs between. Shortening
keeps what a reader looks for: of a prompt its end, where the question stands; of two outputs the place
where they part; of any other text both ends, more of the later one, where answers stand.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from muscle_gov.data import Flip
from muscle_gov.report import words
from muscle_gov.text import visible

MOST_OF_AN_ANSWER = 400
MOST_OF_A_GIST = 160
LEFT_OUT = "\b"
"""Stands on both sides of the number of characters left out. No text that is visible holds it, and JSON
has two letters for it, where a note in words takes forty bytes."""
_MARK = re.compile(f"{LEFT_OUT}([0-9]+){LEFT_OUT}")

Four = tuple[str, str, str, str]
"""(what both begin with, the rest of the old one, the rest of the new one, what both end with)"""


@dataclass(frozen=True, slots=True)
class Text:
    """A text of which only the two ends are kept where it is long."""

    head: str
    """All of it, or its beginning."""
    tail: str
    """Its end, where `head` is not all."""
    length: int
    """Characters of the whole."""

    def shortened(self, most: int, head: float = 1 / 3) -> str:
        """At most `most` characters, the share `head` of them from the beginning, and a mark for what
        was left out, which `told` spells out; hidden characters are visible."""
        if self.length <= most:
            return visible(self.head)
        first = int(most * head)
        last = most - first if head < 1 else 0
        end = (self.tail or self.head)[len(self.tail or self.head) - last :]
        # cut first: making characters visible makes the text longer, and a hostile one much longer
        return f"{visible(self.head[:first])}{LEFT_OUT}{self.length - most}{LEFT_OUT}{visible(end)}"


def told(text: str) -> str:
    """The text with a note in a line of its own wherever something was left out."""

    def note(match: re.Match[str]) -> str:
        before = "\n" if match.start() else ""
        after = "\n" if match.end() < len(text) else ""
        return f"{before}[… {words.count(int(match[1]))} characters left out …]{after}"

    return _MARK.sub(note, text)


EMPTY = Text("", "", 0)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts: what they share at their ends is kept once."""

    start: Text
    old: Text
    new: Text
    end: Text

    @property
    def differing(self) -> int:
        return max(self.old.length, self.new.length)

    def characters(self, most: int) -> int:
        """How many are left after `shortened`, notes aside."""
        shared, rest = self.start.length + self.end.length, self.old.length + self.new.length
        if shared + self.differing <= most:
            return shared + rest
        if self.differing <= most:
            return rest + most - self.differing
        return min(self.old.length, most) + min(self.new.length, most)

    def shortened(self, most: int, end: bool = False) -> Four:
        """Each of the two at most `most` characters; what differs is cut last. `end`: the last words
        matter more than those around the first difference, as in prompts."""
        shared = self.start.length + self.end.length
        if shared + self.differing <= most:
            return tuple(t.shortened(t.length) for t in (self.start, self.old, self.new, self.end))  # type: ignore[return-value]
        room = max(0, most - self.differing)
        behind = min(self.end.length, room if end else room // 2)
        before = min(self.start.length, room - behind)
        behind = min(self.end.length, room - before)
        return (
            self.start.shortened(before, head=0),
            self.old.shortened(most),
            self.new.shortened(most),
            self.end.shortened(behind, head=0 if end else 1),
        )


@dataclass(frozen=True, slots=True)
class Taken:
    """What the page needs of a flip."""

    id: str
    """Twelve hex digits of suite and instance."""
    kind: str
    suite: str
    key: str
    size: float | None
    said: str
    answers: tuple[Text | None, Text | None]
    as_output: tuple[bool, bool]
    """Whether a side's answer is its whole output, so that it is not kept twice."""
    scores: tuple[float | None, float | None]
    score_texts: tuple[str, str] | None
    """Of a graded suite."""
    margins: tuple[float | None, float | None]
    target: Text | None
    waived: Text | None
    tags: tuple[str, ...]
    prompt: Text | None
    prompts: Pair | None
    """Where the new model was asked something else."""
    outputs: Pair
    notes: tuple[int, int]
    """0: there is an output; 1: not recorded; 2: empty."""

    def answers_within(self, most: int) -> tuple[str | None, str | None]:
        most = min(most, MOST_OF_AN_ANSWER)
        old, new = (None if answer is None else answer.shortened(most) for answer in self.answers)
        return old, new

    def characters(self, most: int) -> int:
        """How many characters of texts are left where none may be longer than `most`."""
        single = sum(min(t.length, most) for t in (self.prompt, self.target) if t is not None)
        answer = min(most, MOST_OF_AN_ANSWER)
        single += sum(min(t.length, answer) for t in self.answers if t is not None)
        pairs = self.outputs.characters(most)
        return single + pairs + (self.prompts.characters(most) if self.prompts is not None else 0)


def take(flip: Flip, most: int) -> Taken:
    """Out of a flip what the page needs, texts by as much as `most` characters of them can show."""
    name = f"{flip.suite}\0{flip.instance_id}".encode("utf-8", "backslashreplace")
    asked = _dialogue(flip.prompt)
    differ = flip.new_prompt is not None and flip.new_prompt != flip.prompt
    scores = (flip.old_score, flip.new_score)
    said, answers, score_texts = _answers(flip)
    outputs = (flip.old_output, flip.new_output)
    as_output = (_is_output(flip.old_answer, outputs[0]), _is_output(flip.new_answer, outputs[1]))
    if said == "Answer" and all(as_output):
        said = ""
    kept = [None if same else answer for answer, same in zip(answers, as_output, strict=True)]
    return Taken(
        id=hashlib.sha256(name).hexdigest()[:12],
        kind=flip.kind,
        suite=_name(flip.suite),
        key=_name(flip.key),
        size=flip.size,
        said=said,
        answers=(_text(kept[0], MOST_OF_AN_ANSWER), _text(kept[1], MOST_OF_AN_ANSWER)),
        as_output=as_output,
        scores=scores,
        score_texts=score_texts,
        margins=(_rounded(flip.old_margin), _rounded(flip.new_margin)),
        target=_text(flip.target, most),
        waived=_text(flip.waived, most),
        tags=tuple(_name(f"{tag}={value}") for tag, value in sorted(flip.tags.items())),
        prompt=None if differ else _text(asked, most),
        prompts=_pair(asked or "", _dialogue(flip.new_prompt) or "", most) if differ else None,
        outputs=_pair(flip.old_output or "", flip.new_output or "", most),
        notes=(_note(flip.old_output), _note(flip.new_output)),
    )


def one_line_end(prompt: str) -> str:
    """The end of a text in one line, as the script makes it too."""
    line = " ".join(prompt[-4 * MOST_OF_A_GIST :].split())
    return line if len(prompt) <= MOST_OF_A_GIST else f"… {line[-MOST_OF_A_GIST:].lstrip()}"


def _text(text: str | None, most: int) -> Text | None:
    if text is None:
        return None
    return (
        Text(text, "", len(text))
        if len(text) <= 2 * most
        else Text(text[:most], text[-most:], len(text))
    )


def _pair(old: str, new: str, most: int) -> Pair:
    start = _common(old, new)
    end = min(_common(old[start:][::-1], new[start:][::-1]), len(old) - start, len(new) - start)
    pieces = (
        old[:start],
        old[start : len(old) - end],
        new[start : len(new) - end],
        old[len(old) - end :],
    )
    return Pair(*(_text(piece, most) or EMPTY for piece in pieces))


def _common(a: str, b: str) -> int:
    """Characters that both begin with, found by halving: comparing whole slices is quick."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _answers(flip: Flip) -> tuple[str, tuple[str | None, str | None], tuple[str, str] | None]:
    """(what is shown, (before, after), both scores as text in a graded suite)"""
    old, new = flip.old_score, flip.new_score
    scores = None
    if flip.kind in ("loss", "gain") and old is not None and new is not None:
        scores = (f"{old:.4g}", f"{new:.4g}")
    if flip.old_answer is None and flip.new_answer is None:
        return ("Score", scores, scores) if scores else ("", (None, None), None)
    return "Answer", (flip.old_answer, flip.new_answer), scores


def _is_output(answer: str | None, output: str | None) -> bool:
    """Long and all that there is: short ones read better by themselves."""
    return (
        answer is not None
        and output is not None
        and len(answer) > 40
        and answer.strip() == output.strip()
    )


def _rounded(margin: float | None) -> float | None:
    # + 0.0 makes -0.0 plain
    return None if margin is None else round(margin, 3) + 0.0


def _dialogue(prompt: str | None) -> str | None:
    """Chat messages logged as JSON, as people read them; any other prompt as it is."""
    if prompt is None or not prompt.lstrip().startswith("[{"):
        return prompt
    try:
        messages = [(str(m["role"]), _content(m["content"])) for m in json.loads(prompt)]
    except (ValueError, TypeError, KeyError, RecursionError):
        return prompt
    return "\n\n".join(f"[{role}]\n{content}" for role, content in messages)


def _content(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content)
    if not isinstance(content, str):
        raise TypeError("neither a text nor a list of them")
    return content


def _name(text: str) -> str:
    return visible(words.clip(text, MOST_OF_AN_ANSWER))


def _note(output: str | None) -> int:
    if output is None:
        return 1
    return 0 if output.strip() else 2
