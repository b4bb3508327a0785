"""The flips as the page shows them: cleaned, shortened, compared word by word.

Texts come from models and are hostile. Here they become plain strings whose hidden characters are
visible, and a diff becomes a list of (mark, text) pairs, never markup: neither the template nor the
script ever builds HTML from them. Which flips the page holds and how long their texts may be is settled
by `flips_packed`; the script shows them as `view_flip` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from muscle_gov.data import Report
from muscle_gov.diff import Part, word_diff
from muscle_gov.report import words
from muscle_gov.report.flip_texts import MOST_OF_AN_ANSWER, Taken, Text, one_line_end, take, told
from muscle_gov.report.flips_packed import KIND_NAMES, Limits, Packing, fit, pack
from muscle_gov.text import visible


@dataclass(frozen=True)
class Kind:
    name: str
    sign: str
    title: str
    meaning: str


KINDS = tuple(
    Kind(name, *words_of_it)
    for name, words_of_it in zip(
        KIND_NAMES,
        (
            ("✕", "Broken", "was right, is wrong"),
            ("▼", "Worse", "has a worse score"),
            ("~", "Wrong otherwise", "was wrong, is wrong in another way"),
            ("✓", "Mended", "was wrong, is right"),
            ("▲", "Better", "has a better score"),
        ),
        strict=True,
    )
)


@dataclass(frozen=True)
class Budget:
    """How much of the flips goes into the page."""

    flips: int
    """Most flips."""
    text: int
    """Most characters of one prompt, target or output."""
    bytes: int
    """Most bytes of all flips together, the list of the first of them included. Texts are shortened
    before flips are left out."""
    page: int = 50
    """Flips on one page of the list."""


@dataclass(frozen=True)
class FlipView:
    """One flip, ready to be shown."""

    id: str
    """For a permalink: stays the same as long as suite and instance do."""
    kind: str
    suite: str
    key: str
    said: str
    """What `before` and `after` are: `Answer`, `Score`, or empty where the output says it all."""
    before: str
    after: str
    scores: str
    """`0.82 → 0.41` in a graded suite, else empty."""
    margins: str
    """`+1.204 → −0.350`: log-probability margins in nats, old and new; empty where neither is known."""
    target: str | None
    waived: str | None
    tags: tuple[str, ...]
    gist: str
    """The end of the prompt in one line, since that is where the question stands."""
    prompt: str | None
    """Where both were asked the same."""
    prompts: tuple[Part, ...] | None
    """Where they were not."""
    outputs: tuple[Part, ...]
    old_note: str
    """What stands instead of an output that is empty or was not recorded."""
    new_note: str


BLANK = FlipView("", "negative", "", "", "", "", "", "", "", None, None, (), "", None, None, (), "", "")


@dataclass(frozen=True)
class FlipsView:
    first: tuple[FlipView, ...]
    """The first page, for readers without scripts."""
    data: str
    """All that are embedded, safe inside a script element: JSON, or the same compressed."""
    packing: Packing
    blank: FlipView
    """An empty one: what the script fills for every further flip."""
    kinds: Mapping[str, Kind]
    counts: tuple[tuple[Kind, str], ...]
    """How many there are of each kind, embedded or not."""
    total: int
    embedded: int
    embedded_text: str
    total_text: str
    left_out_text: str
    first_text: str
    text_limit: str
    """Most characters of a text on this page; less than what was asked for where many are embedded."""
    has_margins: bool
    """Whether any flip that is embedded has log-probability margins."""


def view_flips(report: Report, budget: Budget) -> FlipsView:
    """Take the worst flips that the budget allows; the rest are counted, not read."""
    taken: list[Taken] = []
    for flip in report.flips if budget.flips > 0 else ():
        taken.append(take(flip, budget.text))
        if len(taken) >= budget.flips:
            break
    limits = Limits(budget.bytes, budget.text, budget.page)
    kept, most, packing = fit(taken, limits)
    total = max(sum(report.flip_counts.values()), len(taken))
    titles = {kind.name: [kind.sign, kind.title] for kind in KINDS}
    head = {
        "page": budget.page,
        "kinds": titles,
        "comparison": visible(words.clip(report.comparison.id, 200)),
    }
    counts = tuple(
        (kind, words.count(report.flip_counts[kind.name]))
        for kind in KINDS
        if report.flip_counts.get(kind.name)
    )
    first = tuple(view_flip(one, most) for one in kept[: budget.page])
    return FlipsView(
        first=first,
        data=pack(kept, most, head, packing),
        packing=packing,
        blank=BLANK,
        kinds={kind.name: kind for kind in KINDS},
        counts=counts,
        total=total,
        embedded=len(kept),
        embedded_text=words.count(len(kept)),
        total_text=words.count(total),
        left_out_text=words.count(total - len(kept)),
        first_text=words.count(len(first)),
        text_limit=words.count(most),
        has_margins=any(one.margins != (None, None) for one in kept),
    )


def view_flip(taken: Taken, most: int) -> FlipView:
    """A flip with no text longer than `most` characters (and a note of what was left out)."""
    outputs = _both(taken.outputs.shortened(most))
    prompts = None if taken.prompts is None else _both(taken.prompts.shortened(most, end=True))
    prompt = _told(taken.prompt, most, head=0)
    answers = [
        output if same else words.NOT_KNOWN if answer is None else told(answer)
        for answer, same, output in zip(
            taken.answers_within(most), taken.as_output, outputs, strict=True
        )
    ]
    asked = prompt if prompts is None else prompts[0]
    return FlipView(
        id=f"flip-{taken.id}",
        kind=taken.kind,
        suite=taken.suite,
        key=taken.key,
        said=taken.said,
        before=answers[0],
        after=answers[1],
        scores=" → ".join(taken.score_texts) if taken.score_texts else "",
        margins=margins_text(taken.margins),
        target=_told(taken.target, most),
        waived=_told(taken.waived, MOST_OF_AN_ANSWER),
        tags=taken.tags,
        gist=one_line_end(asked or ""),
        prompt=prompt,
        prompts=None if prompts is None else word_diff(*prompts),
        outputs=word_diff(*outputs),
        old_note=("", "not recorded", "empty")[taken.notes[0]],
        new_note=("", "not recorded", "empty")[taken.notes[1]],
    )


def margins_text(margins: tuple[float | None, float | None]) -> str:
    """Both margins, in the three decimals that are embedded, so that the script writes the same."""
    if margins == (None, None):
        return ""
    shown = ("not known" if m is None else f"{m:+.3f}".replace("-", words.MINUS) for m in margins)
    return " → ".join(shown)


def _told(text: Text | None, most: int, head: float = 1 / 3) -> str | None:
    return None if text is None else told(text.shortened(most, head))


def _both(four: tuple[str, str, str, str]) -> tuple[str, str]:
    start, old, new, end = four
    return told(start + old + end), told(start + new + end)
