"""What was judged more than once: which verdict came first, and which pass came when less was asked.

A pass that followed another verdict is told as such where something may pass under its rules that could
not under those of the earlier one, or where it rests on fewer suites. Nobody can tell from here whether
it would have passed anyway, so no more is said than what came after what.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from muscle_gov.data import Status
from muscle_gov.report import words
from muscle_gov.report.history_lines import Line, Step, Try
from muscle_gov.report.history_policy import Change, changes
from muscle_gov.store.history import GivenVerdict


@dataclass(frozen=True)
class LatePass:
    """A standing pass that another verdict was given before, when more was asked."""

    before: Try
    """The newest such verdict."""
    looser: tuple[Change, ...]
    """Rules that were loosened since."""
    n_suites_left_out: int
    """Suites that the earlier verdict rested on and the pass does not."""

    @property
    def condition(self) -> str:
        """`only after its rules were loosened`"""
        return f"only after {'its rules were loosened' if self.looser else 'suites were left out'}"

    @property
    def why(self) -> str:
        """`after its limit on NFR was raised from 5 % to 10 %`"""
        told = []
        if len(self.looser) == 1 and self.looser[0].clause:
            told.append(self.looser[0].clause)
        elif self.looser:
            texts = words.listed([change.text for change in self.looser])
            told.append(f"its rules were loosened ({texts})")
        if self.n_suites_left_out:
            told.append(f"{words.plural(self.n_suites_left_out, 'suite')} had been left out")
        return f"after {' and '.join(told)}"


def late_pass(step: Step) -> LatePass | None:
    """None where the update does not pass, or passed without anything that was asked being dropped."""
    standing = step.standing
    if standing.status is not Status.PASS:
        return None
    for one in reversed(step.others):
        if one.status not in (Status.PASS, Status.NOT_JUDGED):
            found = changes(one.verdict, standing.verdict)
            looser = tuple(change for change in found if change.kind == "looser")
            gone = set(one.comparison.figures) - set(standing.comparison.figures) - {"(all)"}
            if looser or gone:
                return LatePass(one, looser, len(gone))
    return None


def n_other_verdicts(step: Step) -> int:
    """How many verdicts rules gave beside the one that stands; 0 if all of them said the same."""
    tries = [one for one in (*step.others, *step.namesakes) if one.status is not Status.NOT_JUDGED]
    return len(tries) if any(one.status is not step.standing.status for one in tries) else 0


@dataclass(frozen=True)
class PolicyChanges:
    """How the rules of one update came to be other ones than those of the update before."""

    before: tuple[Change, ...]
    """What was changed before it was judged at all."""
    after: tuple[Change, ...]
    """What was changed between its first verdict and the one that stands."""
    overall: tuple[Change, ...]
    """From the standing verdict before to the standing verdict on it."""


def policy_changes(line: Line) -> list[PolicyChanges]:
    """For each update, against the standing verdict on the last one that was judged."""
    found, before = [], None
    for step in line.steps:
        standing = step.standing.verdict
        first = next((v for v in _verdicts(step) if v.policy is not None), standing)
        found.append(
            PolicyChanges(changes(before, first), changes(first, standing), changes(before, standing))
        )
        if standing is not None and standing.policy is not None:
            before = standing
    return found


def is_loosened(found: Sequence[Change]) -> bool:
    return any(change.kind == "looser" for change in found)


def _verdicts(step: Step) -> list[GivenVerdict]:
    tries = sorted((*step.others, step.standing), key=lambda one: one.when)
    return [one.verdict for one in tries if one.verdict is not None]
