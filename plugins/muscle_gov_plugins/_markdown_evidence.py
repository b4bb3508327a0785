"""The sections of the Markdown report on exceptions to the policy and on what a verdict rests on.

An exception that was refused stands before those that were applied: somebody counts on it, and it sets
nothing aside. Digests are cut short, which is enough to see at a glance that two reports rest on the
same thing; the JSON report holds them whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from muscle_gov_plugins import _verdict_words as words
from muscle_gov_plugins._markdown_text import Section, prose, row, span, table

if TYPE_CHECKING:
    from muscle_gov.data import AppliedQuarantine, AppliedWaiver, Evidence, Resource, Verdict

_NAME = 60
_DIGEST = 12
"""Digits of a digest that are shown."""


def exceptions(verdict: Verdict) -> Iterator[Section]:
    """Waivers, then the quarantine; a section is empty where there are none."""
    head = table("Waiver", "Suite", "What", "Flips", "Owner", "Until", "Reason", right=("Flips",))
    waivers = sorted(verdict.waivers, key=lambda one: not words.is_refused(one))
    lead = _refused(waivers)
    yield Section("Waivers", map(_waiver, waivers), len(waivers), "waivers", head, lead)
    head = table("Quarantine", "Suite", "Item", "Seen", "Owner", "Until", "Reason", right=("Seen",))
    entries = sorted(verdict.quarantined, key=lambda one: not words.is_refused(one))
    lead = _refused(entries)
    if entries:
        lead += "Seen is how often the item's outcome differed between two answers of one model."
    yield Section("Quarantine", map(_entry, entries), len(entries), "items", head, lead)


def _refused(applied: Sequence[AppliedWaiver | AppliedQuarantine]) -> str:
    refused = sum(map(words.is_refused, applied))
    if not refused:
        return ""
    verb = "was refused and sets" if refused == 1 else "were refused and set"
    return f"**{refused:,} of {len(applied):,} {verb} nothing aside.** "


def _state(applied: AppliedWaiver | AppliedQuarantine) -> str:
    if not words.is_refused(applied):
        return applied.status
    return f"⛔ refused, {prose(words.refusal(applied))}"


def _waiver(applied: AppliedWaiver) -> str:
    waiver = applied.waiver
    return row(
        _state(applied),
        span(waiver.suite, 2 * _NAME),
        span(waiver.instance if waiver.instance is not None else waiver.slice, 2 * _NAME),
        f"{applied.flips:,}",
        span(waiver.owner, _NAME),
        span(waiver.expires, _NAME),
        prose(waiver.reason),
    )


def _entry(applied: AppliedQuarantine) -> str:
    entry = applied.quarantine
    return row(
        _state(applied),
        span(entry.suite, 2 * _NAME),
        span(entry.instance, 2 * _NAME),
        f"{applied.seen:,}",
        span(entry.owner, _NAME),
        span(entry.expires, _NAME),
        prose(entry.reason),
    )


def evidence(found: Evidence | None) -> Section:
    """What the verdict rests on, by digest; nothing where that was not collected."""
    resources = () if found is None else found.resources
    versions = {} if found is None else found.versions
    rows = [*map(_resource, resources), *(_version(name, versions[name]) for name in sorted(versions))]
    head = table("What", "Name", "Digest or version", "Which")
    lead = f"Digests are SHA-256, here their first {_DIGEST} digits." if rows else ""
    return Section("Evidence", rows, len(rows), "things it rests on", head, lead)


def _resource(resource: Resource) -> str:
    details = resource.details
    told = (f"{prose(str(name))} {span(str(details[name]), _NAME)}" for name in sorted(details))
    digest = span(resource.digest[:_DIGEST], _NAME)
    return row(prose(resource.kind), span(resource.name, 2 * _NAME), digest, ", ".join(told))


def _version(name: str, version: str) -> str:
    return row("version", span(name, _NAME), span(version, _NAME), "")
