"""What the demo's models have read, and what they are asked: layouts, amounts, and the files of rows.

No document that the models have read is laid out as a task is: they know what words speak of, and how
archives name it, but not what a task wants. That they learn from the labelled rows, by a task adapter.
All rows of a world are different tickets, in whatever file they stand: nothing that is judged was
trained on, and the unlabelled traffic holds none of either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np

from muscle_gov_plugins import _demo_world as world
from muscle_gov_plugins._demo_world import ANSWERS, Layout, Ticket, best_guess, tickets

Row = dict[str, str]

LONG, SHORT = (10, 16), (6, 10)
"""Fewest and most words of a ticket, and of a ticket that is but a subject line."""
ARCHIVES = {
    Layout("> {text}\nTags:", " {mood} {topic} {urgency}", LONG): 0.3,
    Layout("> {text}\nFiled:", " {channel} about {topic} {mood} {urgency}", LONG): 0.3,
    Layout("> {text}", "", LONG): 0.4,
}
"""How much of what a model reads is in which layout. A word is one token with the space before it, so
a ticket's first word needs one too: without it the word would be unknown."""
MISTAKEN = 0.08
"""How often whoever filed a ticket that a model reads put down any topic, mood or urgency."""
PROCEDURE = 1
"""Counted up whenever `_demo_training` comes to make other weights of the same documents."""


@dataclass(frozen=True)
class Assistant:
    """A base model and what it has read."""

    name: str
    documents: int
    email_share: float
    """The rest are chats."""


ASSISTANTS = (Assistant("assistant-1.0", 20_000, 0.9), Assistant("assistant-1.1", 50_000, 0.1))


@dataclass(frozen=True)
class Task:
    """A suite of questions, and the labelled rows for training on it."""

    layout: Layout
    labelled: str
    """Name of the file of labelled rows."""
    asks: tuple[str, ...]
    """What of a ticket is to be told, beside its channel."""


TASKS = {
    "routing": Task(
        Layout("Ticket: {text}\nRoute:", " {topic} {mood} {urgency}", LONG), "train", (*ANSWERS,)
    ),
    "topic": Task(Layout("Subject: {text}\nTopic:", " {topic}", SHORT), "train_topic", ("topic",)),
    "summary": Task(
        Layout("Ticket: {text}\nSummary:", " {mood} {channel} about {topic} {urgency}", LONG),
        "train_summary",
        (*ANSWERS,),
    ),
}
"""Suite → task. The summary is optional."""


@dataclass(frozen=True)
class Sizes:
    """Rows of each file of a world; 0 leaves a file out."""

    routing: int = 2000
    topic: int = 2000
    summary: int = 0
    train: int = 2000
    train_topic: int = 1000
    train_summary: int = 0
    traffic: int = 8000
    """Routing tickets of which nobody said what they are."""

    def __post_init__(self) -> None:
        wrong = [f"{name}: must be 0 or more, not {n}" for name, n in asdict(self).items() if n < 0]
        if bool(self.summary) != bool(self.train_summary):
            wrong.append("summary and train_summary: give both or neither")
        if not (self.routing and self.topic and self.train and self.train_topic and self.traffic):
            wrong.append("only summary and train_summary can be 0")
        if wrong:
            raise ValueError("; ".join(wrong))


def rows_of(seed: int, sizes: Sizes) -> Iterator[tuple[str, list[Row]]]:
    """(file, rows) for each file of a world, one after another; the same for the same seed and sizes."""
    seen: set[str] = set()
    layouts = {name: (task.layout, True) for name, task in TASKS.items()}
    layouts |= {task.labelled: (task.layout, True) for task in TASKS.values()}
    layouts["traffic"] = (TASKS["routing"].layout, False)
    for name, count in asdict(sizes).items():
        if count:
            layout, labelled = layouts[name]
            chance = np.random.default_rng([seed, *name.encode()])
            found = _different(chance, count, layout, seen)
            yield name, [_row(name, n, ticket, layout, labelled) for n, ticket in enumerate(found, 1)]


def ceiling(suite: str, rows: list[Row]) -> float:
    """The share of a suite's questions that whoever knows the world would get right."""
    asks = TASKS[suite].asks
    places = [[*ANSWERS].index(what) for what in asks]
    right = 0
    for row in rows:
        guess = best_guess(row["text"])
        right += all(guess[place] == row[what] for place, what in zip(places, asks, strict=True))
    return right / len(rows)


def vocabulary() -> list[str]:
    """Texts that hold every piece of text there is."""
    words = [word for lexicon in world.LEXICONS.values() for some in lexicon.values() for word in some]
    text = " ".join([*words, *world.FILLERS])
    names = {what: " ".join(known) for what, known in {**ANSWERS, "channel": world.CHANNELS}.items()}
    layouts = [*ARCHIVES, *(task.layout for task in TASKS.values())]
    return [layout.prompt.format(text=text) + layout.answer.format_map(names) for layout in layouts]


def settings_digest() -> str:
    """Of all settings that the bases depend on, beside the seed."""
    told: Mapping[str, object] = {
        "procedure": PROCEDURE,
        "lexicons": world.LEXICONS,
        "fillers": world.FILLERS,
        "channels": world.CHANNELS,
        "words": [world.SHARE, world.FITTING, world.STEEPNESS, world.SHIFT],
        "archives": [[asdict(layout), share] for layout, share in ARCHIVES.items()],
        "mistaken": MISTAKEN,
        "assistants": [asdict(one) for one in ASSISTANTS],
        "vocabulary": vocabulary(),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _different(chance: np.random.Generator, count: int, layout: Layout, seen: set[str]) -> list[Ticket]:
    """So many tickets, half of them emails, that are not `seen` yet; they are then."""
    found: list[Ticket] = []
    while len(found) < count:
        for ticket in tickets(chance, count - len(found), 0.5, layout.lengths):
            if ticket.text not in seen:
                seen.add(ticket.text)
                found.append(ticket)
    return found


def _row(file: str, number: int, ticket: Ticket, layout: Layout, labelled: bool) -> Row:
    least, most = layout.lengths
    middle = (least + most) // 2
    is_short = ticket.words <= middle
    facts = {what: getattr(ticket, what) for what in ANSWERS} if labelled else {}
    return {
        "id": f"{file}-{number:05}",
        "text": ticket.text,
        **facts,
        "channel": ticket.channel,
        "length": f"{least}-{middle} words" if is_short else f"{middle + 1}-{most} words",
    }
