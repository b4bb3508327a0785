"""Single answers over the models of a line: which break again and again, and which were never mended."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from muscle_gov.report import words
from muscle_gov.report.history_lines import LineHistory
from muscle_gov.store.history import AnswerPath
from muscle_gov.text import one_line

_MOST = 48
"""Most models of one way that are drawn."""
_SIGNS = {"right": "✓", "wrong": "✗", "mixed": "~", "unknown": "·"}
_TOLD = {"mixed": "differs between its runs", "unknown": "not scored"}


@dataclass(frozen=True)
class Way:
    """One answer by each model, the same ones in a row together."""

    parts: tuple[tuple[str, str], ...]
    """(outcome, its signs)"""
    label: str
    """The same in words."""
    is_cut: bool
    """Whether older models are left out."""


@dataclass(frozen=True)
class AnswerRow:
    suite: str
    key: str
    way: Way
    told: str
    """When it broke, or since when it is wrong."""
    n: str
    """How often it broke, or for how many updates it has been wrong."""
    exact: int


@dataclass(frozen=True)
class AnswersView:
    repeated: tuple[AnswerRow, ...]
    n_repeated: str
    still_open: tuple[AnswerRow, ...]
    n_open: str
    n_broken: str
    has_more: tuple[bool, bool]
    """Whether there are more of each than are listed."""


def view_answers(history: LineHistory) -> AnswersView | None:
    """None for a single update, whose own report lists its flips."""
    if len(history.line.steps) < 2:
        return None
    paths = history.paths
    return AnswersView(
        tuple(_repeated(one) for one in paths.repeated),
        words.count(paths.n_repeated),
        tuple(_open(one, history) for one in paths.still_open),
        words.count(paths.n_open),
        words.count(paths.n_broken),
        (paths.n_repeated > len(paths.repeated), paths.n_open > len(paths.still_open)),
    )


def _repeated(path: AnswerPath) -> AnswerRow:
    told = f"updates {words.listed([str(i + 1) for i in path.breaks], 12)}"
    return AnswerRow(
        path.suite, path.key, _way(path), told, words.count(len(path.breaks)), len(path.breaks)
    )


def _open(path: AnswerPath, history: LineHistory) -> AnswerRow:
    last = path.breaks[-1]
    name = one_line(history.line.models[last + 1].name, 40)
    when = history.line.steps[last].comparison.created[:10]
    n = len(history.line.steps) - last
    return AnswerRow(path.suite, path.key, _way(path), f"{name} (update {last + 1}, {when})", str(n), n)


def _way(path: AnswerPath) -> Way:
    shown = path.outcomes[-_MOST:]
    parts = [(one, len(list(same))) for one, same in itertools.groupby(shown)]
    told = [f"{_TOLD.get(one, one)}{f' {n} times' if n > 1 else ''}" for one, n in parts]
    return Way(
        tuple((one, _SIGNS[one] * n) for one, n in parts),
        ", then ".join(told),
        len(path.outcomes) > _MOST,
    )
