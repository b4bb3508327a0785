"""One update in the table of a history: its figures, and everything that was ever said of it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from muscle_gov.report import figures, words
from muscle_gov.report.history_lines import Step, Try
from muscle_gov.report.history_policy import Change, changes
from muscle_gov.report.history_tries import late_pass
from muscle_gov.report.history_words import LEVELS, NAME, Shown, day, limit_of, shown_of
from muscle_gov.report.status import STATUSES, StatusWords
from muscle_gov.text import one_line

_TRIES = 12
"""Most verdicts of one update that are told one by one; the rest is counted."""
_SUITES = 8


@dataclass(frozen=True)
class Remark:
    """One thing to know of an update, under its row."""

    title: str
    text: str
    status: StatusWords | None = None
    kind: str = ""
    """Class name: `looser` or `tighter` for a changed policy."""


@dataclass(frozen=True)
class UpdateRow:
    number: str
    """Empty for one that belongs to no line."""
    old: str
    new: str
    date: str
    status: StatusWords
    status_note: str
    """On what condition it passed; empty if on none."""
    pairs: str
    suites: str
    old_level: figures.Cell
    new_level: figures.Cell
    delta: figures.Cell
    rate: figures.Cell
    rate_note: str
    """Which suite, and which figure, where it is not NFR over all suites."""
    limit: str
    limit_note: str
    comparison: str
    remarks: tuple[Remark, ...]
    command: str


def row_of(
    step: Step, place: int | None, changed: Sequence[Change], before: Step | None, store: str
) -> UpdateRow:
    """`place` is that in its line, from 0; `before` the update before it there; `changed` is what was
    changed in the rules before its first verdict."""
    comparison, shown = step.comparison, shown_of(step.comparison)
    sure = words.limit_text(comparison.confidence, "share")
    limit, is_each = limit_of(step.standing.verdict, shown.metric, shown.suite)

    def cell(name: str) -> figures.Cell:
        found = comparison.figures.get(shown.suite, {}).get(name)
        return figures.cell(name, found, None, None, sure)

    old, new, delta = LEVELS[shown.kind]
    late = late_pass(step)
    n_suites = f"{words.count(shown.n_suites)} suite{'' if shown.n_suites == 1 else 's'}"
    return UpdateRow(
        number="" if place is None else str(place + 1),
        old=comparison.old.name,
        new=comparison.new.name,
        date=words.moment(comparison.created),
        status=STATUSES[step.standing.status],
        status_note=late.condition if late else "",
        pairs=words.count(shown.rate.n) if shown.rate else words.NOT_KNOWN,
        suites=n_suites,
        old_level=cell(old),
        new_level=cell(new),
        delta=cell(delta),
        rate=cell(shown.metric),
        rate_note=_rate_note(shown),
        limit=words.NOT_KNOWN if limit is None else words.limit_text(limit, "share"),
        limit_note="on each suite" if is_each else "",
        comparison=comparison.id,
        remarks=tuple(_remarks(step, changed, before)),
        command=_command(comparison.id, store),
    )


def _rate_note(shown: Shown) -> str:
    title = words.words_of(shown.metric).title if shown.kind == "graded" else ""
    suite = f"worst suite: {one_line(shown.suite, NAME)}" if _is_worst(shown) else ""
    return ", ".join(part for part in (title, suite) if part)


def _is_worst(shown: Shown) -> bool:
    return shown.suite not in ("", "(all)") and shown.n_suites > 1


def _command(comparison: str, store: str) -> str:
    return f"muscle-gov report {comparison} --store {shlex.quote(store)} --html report.html"


# ------------------------------------------------------------------------------------------- remarks


def _remarks(step: Step, changed: Sequence[Change], before: Step | None) -> list[Remark]:
    found = []
    if step.why_apart:
        found.append(Remark("In no line", f"{step.why_apart}."))
    if step.standing.verdict is not None:
        found.append(Remark("Why", f"{step.standing.verdict.reason}."))
        found += _as_of(step.standing)
    found += [Remark("Policy", f"{c.text}{_in_words(c.kind)}", None, c.kind) for c in changed]
    found += _told_tries(step)
    found += _suites(step, before)
    found += _beside(step)
    verdict = step.standing.verdict
    for waiver in verdict.waivers if verdict is not None else ():
        found.append(Remark("Waiver", _waiver(waiver)))
    return found


def _as_of(one: Try) -> list[Remark]:
    """A day that was set for the verdict, at which exceptions may hold that have run out since."""
    policy = (one.verdict.policy if one.verdict is not None else None) or {}
    if one.verdict is None or not (one.verdict.waivers or policy.get("quarantine")):
        return []
    asked, given = str(policy.get("today") or ""), day(one.when)
    try:
        apart = abs((date.fromisoformat(asked) - date.fromisoformat(given)).days)
    except ValueError:
        return []
    # the day where it was judged may be another one than that in Greenwich
    return (
        [Remark("Judged as of", f"{asked}, but given on {given}", None, "looser")] if apart > 1 else []
    )


def _in_words(kind: str) -> str:
    return f" ({kind})" if kind in ("looser", "tighter") else ""


def _told_tries(step: Step) -> list[Remark]:
    """All verdicts but the one that stands, with what was changed between them."""
    tries = sorted((*step.others, step.standing), key=lambda one: one.when)
    found = []
    if step.n_comparisons > 1:
        found.append(Remark("Compared", f"{words.count(step.n_comparisons)} times"))
    for i, one in enumerate(tries):
        told = changes(tries[i - 1].verdict, one.verdict) if i else ()
        between = "; ".join(f"{c.text}{_in_words(c.kind)}" for c in told)
        text = f"; before it: {between}" if between else ""
        if one is not step.standing:
            found.append(_try("Also judged", one, text))
        elif between:
            found.append(Remark("This verdict", f"came after: {between}"))
    found = _counted(found)
    found += [
        _try("Same names, other models", one, f" as {words.listed(_differ(one, step), 4)}")
        for one in step.namesakes[-_TRIES:]
    ]
    widest = max(tries, key=lambda one: len(one.comparison.figures))
    if len(widest.comparison.figures) > len(step.comparison.figures):
        n, most = (_n_suites(one) for one in (step.standing, widest))
        told_suites = f"the verdict that stands rests on {n}, an other one on {most}"
        found.append(Remark("Fewer suites", told_suites))
    return found


def _n_suites(one: Try) -> str:
    n = sum(name != "(all)" for name in one.comparison.figures)
    return f"{words.count(n)} suite{'' if n == 1 else 's'}"


def _counted(found: list[Remark]) -> list[Remark]:
    """Many tries are counted but for the newest."""
    tries = [one for one in found if one.status is not None]
    if len(tries) <= _TRIES:
        return found
    older = tries[:-_TRIES]
    counts = Counter(one.status.name for one in older if one.status is not None)
    told = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
    kept = [one for one in found if one not in older]
    return [*kept, Remark("Earlier still", f"{words.count(len(older))} more verdicts: {told}")]


def _try(title: str, one: Try, more: str = "") -> Remark:
    text = f"on {words.moment(one.when)} ({one.comparison.id}, {_n_suites(one)}){more}"
    return Remark(title, text, STATUSES[one.status])


def _differ(one: Try, step: Step) -> list[str]:
    """What the models' logs tell otherwise."""
    pairs = ((one.comparison.old, step.comparison.old), (one.comparison.new, step.comparison.new))
    found = {
        name
        for a, b in pairs
        for name in {*a.details, *b.details}
        if a.details.get(name) != b.details.get(name)
    }
    return sorted(found) or ["their fingerprints differ"]


def _suites(step: Step, before: Step | None) -> list[Remark]:
    if before is None:
        return []
    now, then = (set(s.comparison.figures) - {"(all)"} for s in (step, before))
    told = [
        f"{sign} {words.listed([one_line(name, NAME) for name in sorted(names)], _SUITES)}"
        for sign, names in (("now with", now - then), ("no longer with", then - now))
        if names
    ]
    return [Remark("Suites", f"{'; '.join(told)}")] if told else []


def _beside(step: Step) -> list[Remark]:
    found = []
    if step.came_as is not None:
        name = one_line(step.came_as.comparison.new.name, NAME)
        found.append(
            Remark(
                "Mended",
                f"the update came as {name}{_rate_of(step.came_as)}",
                STATUSES[step.came_as.status],
            )
        )
    for one in step.mended:
        name = one_line(one.comparison.candidate or one.comparison.new.name, NAME)
        found.append(Remark("Mended with", f"{name}{_rate_of(one)}", STATUSES[one.status]))
    if step.controls:
        n = len(step.controls)
        names = words.listed([one_line(c.candidate or c.new.name, NAME) for c in step.controls], 4)
        found.append(Remark("Controls", f"{words.count(n)}, which are no updates: {names}"))
    return found


def _rate_of(one: Try) -> str:
    shown = shown_of(one.comparison)
    if shown.rate is None or shown.rate.value is None:
        return f" ({one.comparison.id})"
    title = words.words_of(shown.metric).title
    return f": {title} {words.percent(shown.rate.value)} ({one.comparison.id})"


def _waiver(known: Mapping[str, Any]) -> str:
    """By its plain values, as they were stored."""
    where = known.get("instance") or known.get("slice") or ""
    told = [str(known.get(name, "")) for name in ("suite", "reason", "owner", "expires")]
    return f"{told[0]} {where}: {told[1]} ({told[2]}, until {told[3]})"
