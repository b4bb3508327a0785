"""How far training has come: a line with loss and time to go at a terminal, a few lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from muscle_gov.cli import _predicting, _show

if TYPE_CHECKING:
    from muscle_gov.exchange import FitStanding

WatchFit = Callable[["FitStanding"], None]


@contextmanager
def watching(quiet: bool) -> Iterator[WatchFit]:
    """What to call with the standing."""
    with watching_both(quiet) as (_, watch):
        yield watch


@contextmanager
def watching_both(quiet: bool) -> Iterator[tuple[_predicting.Watching, WatchFit]]:
    """(as `_predicting.watching` gives, what to call with the standing of training), in one line."""
    if quiet:
        yield (None, None), lambda _: None
    elif sys.stderr.isatty():
        with _predicting.bar() as update:
            yield _predicting.shown_by(update), _shown_by(update)
    else:
        yield (_predicting.lines(), None), _Lines()


def _shown_by(update: _predicting.Update) -> WatchFit:
    clock = _Clock()

    def show(standing: FitStanding) -> None:
        update(words(standing, clock.left(standing)), standing.total, standing.done)

    return show


class _Clock:
    """Time to go in a phase, from when it was first seen."""

    def __init__(self) -> None:
        self.of: tuple[str, str] | None = None
        self.began, self.from_ = time.monotonic(), 0

    def left(self, standing: FitStanding) -> float | None:
        now = time.monotonic()
        if self.of != (standing.name, standing.phase):
            self.of, self.began, self.from_ = (standing.name, standing.phase), now, standing.done
        done, elapsed = standing.done - self.from_, now - self.began
        if done <= 0 or elapsed < 1 or not standing.total:
            return None
        return (standing.total - standing.done) * elapsed / done


def words(standing: FitStanding, left: float | None) -> str:
    """One line: what is done, what the loss is made of, and how long it will take."""
    line = f"{standing.name}: {standing.phase}"
    if standing.total:
        line += f", {standing.done:,} of {standing.total:,}"
    told = [f"{name} {_figure(name, value)}" for name, value in standing.figures.items()]
    if told:
        line += f", {', '.join(told)}"
    return line + (f", {_predicting.duration(left)} to go" if left else "")


def _figure(name: str, value: float) -> str:
    return f"{value:.0%}" if name.startswith("aligned") else f"{value:.3g}"


class _Lines:
    """A line when a phase begins that takes time, now and again while it lasts, and when all is done."""

    def __init__(self) -> None:
        self.clock = _Clock()
        self.phase: tuple[str, str] | None = None
        self.at = 0.0

    def __call__(self, standing: FitStanding) -> None:
        now, phase = time.monotonic(), (standing.name, standing.phase)
        left = self.clock.left(standing)
        is_news = phase != self.phase and (standing.total or standing.phase == "done")
        if is_news or now - self.at > _predicting.EVERY:
            self.at = now
            _show.say(words(standing, left))
        if is_news or phase[0] != (self.phase or ("",))[0]:
            self.phase = phase
