"""How far predicting has come: a line with rate and time to go at a terminal, a few lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from muscle_gov.cli import _show
from muscle_gov.text import visible

if TYPE_CHECKING:
    from muscle_gov.predict import PredictedRun, Standing

EVERY = 30.0
"""Seconds between two lines where nobody looks at a terminal."""


Update = Callable[[str, int, int], None]
"""(words, how much there is to do or 0, how much is done)."""
Watching = tuple[Callable[["Standing"], None] | None, Callable[[int], None] | None]


@contextmanager
def watching(quiet: bool) -> Iterator[Watching]:
    """(what to call with the standing, what with the rows read of a log); both None if `quiet`."""
    if quiet:
        yield None, None
    elif sys.stderr.isatty():
        with bar() as update:
            yield shown_by(update)
    else:
        yield lines(), None


def shown_by(update: Update) -> Watching:
    """What `watching` gives, shown by a bar."""
    clock = _Clock()

    def show(standing: Standing) -> None:
        update(words(standing, clock), standing.total, standing.found + standing.done)

    return show, lambda rows: update(f"reading: {rows:,} rows", 0, 0)


def lines() -> Callable[[Standing], None]:
    """What is told where nobody looks at a terminal."""
    return _Lines()


class _Clock:
    """Rate and time to go of one suite, from when its first answer was asked for."""

    def __init__(self) -> None:
        self.of: tuple[str, str] | None = None
        self.began = time.monotonic()

    def rate(self, standing: Standing) -> tuple[float, float, float | None]:
        """(answers a second, tokens a second, seconds to go)."""
        now = time.monotonic()
        if self.of != (standing.model, standing.suite) or not standing.done:
            self.of, self.began = (standing.model, standing.suite), now
        elapsed = now - self.began
        if not standing.done or elapsed < 0.2:
            return 0.0, 0.0, None
        rate = standing.done / elapsed
        left = standing.total - standing.found - standing.done
        return rate, standing.tokens / elapsed, left / rate


def words(standing: Standing, clock: _Clock) -> str:
    """One line: what is done, how fast, and how long it will take."""
    what = f"{standing.model} on {standing.suite}"
    rate, tokens, left = clock.rate(standing)
    if standing.phase != "answering":
        doing = {"preparing": "making prompts", "loading": "loading the model", "grading": "grading"}
        return f"{what}: {doing[standing.phase]}"
    line = f"{what}: {standing.found + standing.done:,} of {standing.total:,} answers"
    if standing.found:
        line += f" ({_there(standing.found)})"
    if rate:
        line += f", {rate:,.1f}/s, {tokens:,.0f} tokens/s"
    if left:
        line += f", {duration(left)} to go"
    return line + (f", {_counted(standing.errors, 'error')}" if standing.errors else "")


def duration(seconds: float) -> str:
    """`2 min 05 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min {whole % 60:02d} s" if whole >= 60 else f"{whole} s"


class _Lines:
    """A line when a model is loaded, now and again while it answers, and when it has answered."""

    def __init__(self) -> None:
        self.clock = _Clock()
        self.phase = ""
        self.at = 0.0

    def __call__(self, standing: Standing) -> None:
        now, before = time.monotonic(), self.phase
        is_over = before == "answering" and standing.phase == "grading"
        answering = replace(standing, phase="answering") if is_over else standing
        line = words(answering, self.clock)
        is_news = standing.phase != before and standing.phase == "loading"
        is_due = standing.phase == "answering" and before == "answering" and now - self.at > EVERY
        if before != "answering" and standing.phase == "grading" and standing.total:
            there = (
                "the one answer was" if standing.total == 1 else f"all {standing.total:,} answers were"
            )
            _show.say(f"{standing.model} on {standing.suite}: {there} there")
        if standing.phase != before:
            self.at = now
        if is_news or is_over or is_due:
            self.at = now
            _show.say(line)
        self.phase = standing.phase


@contextmanager
def bar() -> Iterator[Update]:
    """A line with a bar at the terminal, as long as the context lasts."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), BarColumn(bar_width=24), TextColumn("{task.description}"))
    with Progress(*columns, console=_show.console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def update(text: str, total: int, completed: int) -> None:
            whole: Any = total or None
            # the words hold names from a config, in which rich would see markup
            told = visible(text).replace("[", "\\[")
            progress.update(task, description=told, total=whole, completed=completed)

        yield update


def summary(runs: Sequence[PredictedRun]) -> list[str]:
    """A line for each run: what is there now, and what is lacking."""
    lines = []
    for one in runs:
        run = one.run
        line = f"{run.suite}  {run.model}  {_counted(run.n_rows, 'prediction')}"
        line += f" ({_counted(one.asked, 'answer')} asked for, {_there(one.found)})"
        if one.errors:
            have = "has" if one.errors == 1 else "have"
            line += f"; {_counted(one.errors, 'request')} {have} no answer: {one.first_error}"
        lines.append(visible(line))
    return lines


def _counted(number: int, noun: str) -> str:
    """`1 answer`, `2 answers`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _there(number: int) -> str:
    return "1 was there" if number == 1 else f"{number:,} were there"
