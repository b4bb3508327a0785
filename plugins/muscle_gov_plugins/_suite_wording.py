"""From a row to what a model is asked about it and what would be right: the templates at work.

An item is known by the columns that its templates refer to, so that the same items are paired when the
wording around them changes, and by nothing else: neither its key, nor its place, nor its examples.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from muscle_gov import InputError
from muscle_gov.logs import content_hash
from muscle_gov.prompts import Template
from muscle_gov_plugins._graders_base import Solution
from muscle_gov_plugins._suite_rows import Place
from muscle_gov_plugins._table_paths import MISSING, look_up
from muscle_gov_plugins._table_values import is_null, text

Messages = tuple[Mapping[str, str], ...]

_USUAL = (
    ("question", "answer"),
    ("prompt", "target"),
    ("input", "output"),
    ("instruction", "output"),
    ("prompt", "completion"),
)
_COLUMN = re.compile(r"\s*\{\{\s*([A-Za-z_]\w*)\s*\}\}\s*")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class _Null:
    """Stands for a null among the values of a row: false, and refused where it would be shown.

    Jinja shows None as the word `None`, which would then stand in the prompts of all rows without it.
    """

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        raise ValueError("a column that it shows is null; write {{ column or '' }} if that is meant")


_NULL = _Null()


def _readable(place: Place) -> Place:
    """The row as templates may read it."""
    if not any(map(is_null, place.row.values())):
        return place
    row = {name: _NULL if is_null(value) else value for name, value in place.row.items()}
    return place._replace(row=row)


class Item(NamedTuple):
    """What is asked about one row, its examples left out."""

    opening: str | Messages
    """What stands before the examples: the preamble, or the system message."""
    question: str | Messages
    solution: Solution
    continuations: tuple[str, ...] | None
    """The choices as they follow the prompt to the letter."""
    reference: str | None = None
    """The right answer as it follows the prompt to the letter; None if it is not known."""


@dataclass(frozen=True, kw_only=True)
class Wording:
    """The templates of a suite. Raises UsageError for one that is no template."""

    prompt: str | None = None
    messages: tuple[tuple[str, str], ...] = ()
    """(role, template)."""
    is_chat: bool = False
    system: str | None = None
    preamble: str = ""
    target: tuple[str, ...] = ()
    choices: str | tuple[str, ...] | None = None
    delimiter: str | None = None
    shot: str | None = None
    shot_target: str | None = None
    letters: str = ""
    """By which the model is to name a choice in generated text; "" if choices are scored."""
    content: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _ = self.columns, self._shot, self._shot_target  # a template that is none is told at once

    # ------------------------------------------------------------------------------ the templates

    @cached_property
    def _turns(self) -> tuple[tuple[str, Template], ...]:
        """(role, template) of the question; the role is "" in plain text."""
        if self.prompt is not None:
            return (("user" if self.is_chat else "", Template(self.prompt, "prompt")),)
        return tuple((role, Template(text, "messages")) for role, text in self.messages[self._leading :])

    @property
    def _leading(self) -> int:
        """How many messages come before the examples: those of the system."""
        roles = [role for role, _ in self.messages]
        return next((place for place, role in enumerate(roles) if role != "system"), len(roles))

    @cached_property
    def _systems(self) -> tuple[Template, ...]:
        given = [] if self.system is None else [Template(self.system, "system")]
        leading = [Template(text, "messages") for _, text in self.messages[: self._leading]]
        return (*given, *leading)

    @property
    def system_text(self) -> str:
        """The templates of the system messages; "" if there are none."""
        return "\n\n".join(one.text for one in self._systems)

    @cached_property
    def _preamble(self) -> Template:
        return Template(self.preamble, "preamble")

    @cached_property
    def _targets(self) -> tuple[Template, ...]:
        return tuple(Template(text, "target") for text in self.target)

    @cached_property
    def _choices(self) -> tuple[Template, ...]:
        given = (self.choices,) if isinstance(self.choices, str) else self.choices or ()
        return tuple(Template(text, "choices") for text in given)

    @cached_property
    def _shot(self) -> Template | None:
        return None if self.shot is None else Template(self.shot, "shot")

    @cached_property
    def _shot_target(self) -> Template | None:
        return None if self.shot_target is None else Template(self.shot_target, "shot_target")

    @cached_property
    def columns(self) -> frozenset[str]:
        """The names that the templates of an item refer to, its examples' own left out."""
        asked = [self._preamble, *self._systems, *(one for _, one in self._turns)]
        every = [*asked, *self._targets, *self._choices]
        return frozenset[str]().union(*(one.names() for one in every))

    # ------------------------------------------------------------------------------------ an item

    def identity(self, place: Place) -> str:
        """The content hash of a row."""
        row = place.row
        if not self.content:
            used = {name: row[name] for name in self.columns if row.get(name) is not None}
            return content_hash(used)
        named = {name: look_up(row, name) for name in self.content}
        lacking = [name for name, value in named.items() if value is MISSING]
        if lacking:
            raise InputError(
                f"content: {place.where} has no column {lacking[0]}; it has {', '.join(row)}"
            )
        # a target that was mended makes another item, whatever the user names
        return content_hash(named, self._raw_targets(_readable(place)))

    def item(self, place: Place) -> Item:
        """What is asked about a row. Raises InputError naming the row and what it lacks."""
        place = _readable(place)
        opening, question = self._opening_of(place), self._question(place)
        choices = self._choice_texts(place)
        solution = self._solution(place, choices)
        if not choices or self.letters:
            return Item(opening, question, solution, None, self._reference(question, solution, place))
        joined = tuple(self._joined(question, choice) for choice in choices)
        right = joined[solution.right[0]] if solution.right else None
        return Item(opening, question, solution, joined, right)

    def _reference(self, question: str | Messages, solution: Solution, place: Place) -> str | None:
        """What a model that is trained on a row learns to write."""
        if self._shot_target is not None:
            try:
                return self._joined(question, self._shot_target.render(place.row, place.where))
            except InputError:  # a column that only the pool of examples has
                return None
        if self.letters and solution.right:
            return self._joined(question, self.letters[solution.right[0]])
        return self._joined(question, solution.texts[0]) if solution.texts else None

    def example(self, place: Place) -> str | Messages:
        """A row as an example: the question with its right answer."""
        place = _readable(place)
        if self._shot is not None:
            return self._shot.render(place.row, place.where)
        question = self._question(place)
        answer = self._joined(question, self._answer(place))
        if isinstance(question, str):
            return question + answer
        if _unfinished(question):
            return (*question[:-1], {"role": "assistant", "content": question[-1]["content"] + answer})
        return (*question, {"role": "assistant", "content": answer})

    def asked_by_example(self, place: Place) -> str | Messages:
        """What a row that is shown as an example asks: the question as an item of it would have it, or
        the whole example where a row of the pool cannot be an item."""
        try:
            return self._question(_readable(place))
        except InputError:
            return self.example(place)

    def _opening_of(self, place: Place) -> str | Messages:
        row, where = place.row, place.where
        if not self.is_chat:
            return self._preamble.render(row, where)
        return tuple({"role": "system", "content": one.render(row, where)} for one in self._systems)

    def _question(self, place: Place) -> str | Messages:
        row, where = place.row, place.where
        if not self.is_chat:
            return self._turns[0][1].render(row, where)
        return tuple({"role": role, "content": one.render(row, where)} for role, one in self._turns)

    def _joined(self, question: str | Messages, answer: str) -> str:
        """The answer as it follows the question's last word."""
        before = question if isinstance(question, str) else _unfinished(question)
        if self.delimiter is not None:
            return self.delimiter + answer
        needs_space = before and not before[-1].isspace() and not answer[:1].isspace()
        return f" {answer}" if needs_space else answer

    def _answer(self, place: Place) -> str:
        if self._shot_target is not None:
            return self._shot_target.render(place.row, place.where)
        choices = self._choice_texts(place)
        solution = self._solution(place, choices)
        if self.letters and solution.right:
            return self.letters[solution.right[0]]
        if not solution.texts:
            raise InputError(f"target: {place.where} has none, so it cannot be an example")
        return solution.texts[0]

    # ------------------------------------------------------------------------------- right answers

    def _raw_targets(self, place: Place) -> list[Any]:
        """The values of the target templates; of those that are null none."""
        found = []
        for template in self._targets:
            try:
                value = _value(template, place)
            except InputError:
                # a target made of a null is none; a column that is not there is a fault
                if not any(place.row.get(name) is _NULL for name in template.names()):
                    raise
                continue
            if value is not _NULL:
                found.append(value)
        return found

    def _solution(self, place: Place, choices: tuple[str, ...]) -> Solution:
        values = self._raw_targets(place)
        flat = [one for value in values for one in (value if isinstance(value, list) else [value])]
        flat = [one for one in flat if not is_null(one)]
        texts = tuple(said for said in map(text, flat) if said is not None)
        right = tuple(dict.fromkeys(p for one in flat for p in _right(one, choices, place.where)))
        value = values[0] if len(values) == 1 else tuple(values) or None
        shown = tuple(choices[one] for one in right) if choices else texts
        return Solution(shown, value, choices, right)

    def _choice_texts(self, place: Place) -> tuple[str, ...]:
        if not self._choices:
            return ()
        row, where = place.row, place.where
        if isinstance(self.choices, str):
            found = _value(self._choices[0], place)
            if not isinstance(found, list | tuple):
                what = "null" if found is _NULL else type(found).__name__
                raise InputError(
                    f"choices: {where} gives {what} where a list is wanted; for text use an expression "
                    "such as {{ column.split('|') }}, or a list of templates"
                )
            texts = [text(one) for one in found]
        else:
            texts = [template.render(row, where) for template in self._choices]
        if len(texts) < 2 or not all(texts):
            what = "an empty choice" if len(texts) > 1 else f"{len(texts)} choices"
            raise InputError(f"choices: {where} has {what}; each item needs two or more, none empty")
        return tuple(one for one in texts if one)


def _value(template: Template, place: Place) -> Any:
    """The value of an expression; of a mere column at once, for most are that and Jinja takes longer."""
    column = _COLUMN.fullmatch(template.text)
    if column and column[1] in place.row:
        return place.row[column[1]]
    return template.value(place.row, place.where)


def _unfinished(messages: Messages) -> str:
    """The text that an answer goes on with; "" where it is a turn of its own."""
    last = messages[-1] if messages else {}
    return last["content"] if last.get("role") == "assistant" else ""


def _right(target: Any, choices: Sequence[str], where: str) -> list[int]:
    """Places of the choices that a target means: an index from 0, a choice's text, or a letter."""
    if not choices:
        return []
    if isinstance(target, bool) or not isinstance(target, int | str | float):
        raise InputError(f"target: {where} gives {target!r}, which is no index, letter or choice")
    if not isinstance(target, str):
        place = int(target) if target == int(target) else -1
        return [_checked(place, target, choices, where)]
    said = target.strip()
    same = [place for place, choice in enumerate(choices) if choice.strip() == said]
    if same:
        return same
    place = _LETTERS.find(said) if len(said) == 1 else -1
    if place < 0 and said.isascii() and said.isdigit():
        place = int(said)
    return [_checked(place, target, choices, where)]


def _checked(place: int, target: Any, choices: Sequence[str], where: str) -> int:
    if 0 <= place < len(choices):
        return place
    raise InputError(
        f"target: {where} gives {target!r}, which is none of its {len(choices)} choices: neither a text "
        f"among them, nor a letter, nor an index from 0 to {len(choices) - 1}"
    )


def suggestion(row: Mapping[str, Any]) -> str:
    """Templates that would fit a row with well-known columns, as the end of a sentence."""
    for question, answer in _USUAL:
        if question in row and answer in row:
            fitting = f'prompt = "{{{{ {question} }}}}" and target = "{{{{ {answer} }}}}"'
            return f"; these rows have {question} and {answer}: {fitting}"
    return ""
