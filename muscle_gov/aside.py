"""What is set aside from the rules: waived flips and flaky items; and what no waiver of a slice covers.

An exception holds only where it is small and signed. Slices that make up more than half of a suite,
or a quarantine of more than a twentieth of it, would be a change of the policy in disguise, so they
are refused as a whole. A listed instance that must not regress is set aside only by an exception that
names it. Figures outside the rules never change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase

from muscle_gov.data import AppliedQuarantine, AppliedWaiver, Finding
from muscle_gov.lists import ListFound
from muscle_gov.settings import (
    MOST_QUARANTINED,
    MOST_WAIVED,
    MustNotRegress,
    Policy,
    Quarantine,
    Waiver,
    is_expired,
)
from muscle_gov.store import Store, clock, flips
from muscle_gov.store import listed as items
from muscle_gov.store.flaky import flaky_items
from muscle_gov.store.listed import ListedItem


@dataclass(frozen=True)
class Aside:
    """What a policy sets aside from the pairs at hand, and what it lists."""

    waivers: tuple[AppliedWaiver, ...]
    quarantined: tuple[AppliedQuarantine, ...]
    why: Mapping[int, str]
    """Instance that is set aside → why, and by whom."""
    lists: tuple[ListFound, ...]
    today: date
    findings: tuple[Finding, ...] = ()
    """What a reader of the exceptions must know beside what became of each."""


def day_of(policy: Policy) -> date:
    """The day by which exceptions end: the one that was asked for, else today."""
    ends = [waiver.expires for waiver in policy.waivers]
    return policy.today or clock.today([*ends, *(entry.expires for entry in policy.quarantine)])


def set_aside(store: Store, policy: Policy) -> Aside:
    """Look at the exceptions and lists of a policy on the pairs and flips at hand; changes nothing."""
    today = day_of(policy)
    sizes = items.pairs_of_suites(store) if policy.waivers or policy.quarantine else {}
    quarantined, kept_apart = _quarantine(store, policy, today, sizes)
    waivers, waived = _waive(store, policy.waivers, today, sizes)
    why = {**{i: text for one in waived for i, text in one.items()}, **kept_apart}
    named = {
        *kept_apart,
        *(i for one, hit in zip(waivers, waived, strict=True) if one.waiver.instance for i in hit),
    }
    asked = policy.gate.must_not_regress if policy.gate else ()
    lists = [found for listed in asked for found in find(store, listed, named)]
    told = tuple(_tag_findings(store, [one.waiver for one in waivers if one.status == "applied"]))
    return Aside(tuple(waivers), tuple(quarantined), why, tuple(lists), today, told)


def _tag_findings(store: Store, waivers: Sequence[Waiver]) -> Iterator[Finding]:
    """A waiver is signed for what the old log calls a slice; what the new one calls so is told."""
    for suite, slice_ in dict.fromkeys((one.suite, one.slice) for one in waivers):
        differ = items.otherwise_tagged(store, suite, slice_) if slice_ is not None else 0
        if differ:
            message = (
                f"{differ:,} pairs are in the waived slice {slice_} by the tags of one log alone; "
                "the waiver covers what the old log puts there"
            )
            yield Finding("waived-tags-differ", "warns", message, suite)


# ---------------------------------------------------------------------------------------- waivers


def _waive(
    store: Store, waivers: Sequence[Waiver], today: date, sizes: Mapping[str, int]
) -> tuple[list[AppliedWaiver], list[dict[int, str]]]:
    """(what each waiver does, which instances it sets aside and why)."""
    hits: list[list[int]] = []
    for waiver in waivers:
        holds = not is_expired(waiver, today)
        asked = (waiver.suite, waiver.instance, waiver.slice)
        hits.append(flips.waived_instances(store, *asked) if holds else [])
    broad = _broad_suites(store, waivers, hits, sizes)
    applied, aside = [], []
    for waiver, hit in zip(waivers, hits, strict=True):
        status = "applied"
        if is_expired(waiver, today):
            status = "expired"
        elif not hit:
            status = "unmatched"
        elif waiver.slice is not None and not waiver.whole_suite and waiver.suite in broad:
            status = "over-broad"
        why = f"{waiver.reason} ({waiver.owner}, until {waiver.expires})"
        aside.append(dict.fromkeys(hit, why) if status == "applied" else {})
        applied.append(AppliedWaiver(waiver, len(aside[-1]), status))
    return applied, aside


def _broad_suites(
    store: Store, waivers: Sequence[Waiver], hits: Sequence[Sequence[int]], sizes: Mapping[str, int]
) -> set[str]:
    """Suites of which the slices that are waived, all together, hold too much."""
    slices: dict[str, list[str]] = {}
    for waiver, hit in zip(waivers, hits, strict=True):
        if hit and waiver.slice is not None and not waiver.whole_suite:
            slices.setdefault(waiver.suite, []).append(waiver.slice)
    return {
        suite
        for suite, some in slices.items()
        if items.pairs_of_slices(store, suite, some) > MOST_WAIVED * sizes.get(suite, 0)
    }


# ------------------------------------------------------------------------------------- quarantine


def _quarantine(
    store: Store, policy: Policy, today: date, sizes: Mapping[str, int]
) -> tuple[list[AppliedQuarantine], dict[int, str]]:
    """(what each entry does, which instances are set aside and why)."""
    entries = policy.quarantine
    if not entries:
        return [], {}
    found: dict[tuple[str, str], list[int]] = {}
    for item in items.items_of_keys(store, [(entry.suite, entry.instance) for entry in entries]):
        if item.is_worse is not None:
            found.setdefault((item.suite, item.key), []).append(item.instance_id)
    ids = [i for some in found.values() for i in some]
    flaky = {
        item.instance_id: item.differing
        for item in flaky_items(store, instances=ids, known_by=policy.known_by, judged=True)
    }
    matched = [[i for i in found.get((e.suite, e.instance), ()) if i in flaky] for e in entries]
    asked: dict[str, set[int]] = {}
    for entry, some in zip(entries, matched, strict=True):
        if not is_expired(entry, today):
            asked.setdefault(entry.suite, set()).update(some)
    full = {suite for suite, some in asked.items() if len(some) > MOST_QUARANTINED * sizes.get(suite, 0)}
    applied, aside = [], {}
    for entry, some in zip(entries, matched, strict=True):
        status = _status(entry, today, (entry.suite, entry.instance) in found, bool(some), full)
        if status == "applied":
            why = f"quarantine: {entry.reason} ({entry.owner}, until {entry.expires})"
            aside.update(dict.fromkeys(some, why))
        applied.append(AppliedQuarantine(entry, sum(flaky[i] for i in some), status))
    return applied, aside


def _status(entry: Quarantine, today: date, is_there: bool, is_flaky: bool, full: set[str]) -> str:
    if is_expired(entry, today):
        return "expired"
    if not is_there:
        return "unmatched"
    if not is_flaky:
        return "not-flaky"
    return "too-many" if entry.suite in full else "applied"


# ------------------------------------------------------------------------------------------ lists


def find(store: Store, listed: MustNotRegress, named: set[int]) -> list[ListFound]:
    """What the pairs at hand hold of a list, one entry for each suite; never none.

    `named` are instances that an exception names, each by itself: they are set aside.
    """
    suites = sorted(items.compared_suites(store))
    absent = [p for p in listed.suites if not any(fnmatchcase(suite, p) for suite in suites)]
    lacking: dict[str, list[str]] = {}
    chosen = [suite for suite in suites if any(fnmatchcase(suite, p) for p in listed.suites)]
    if listed.slice is not None:
        found, lost = items.items_of_slice(store, chosen, listed.slice), []
    else:
        asked = [
            (suite, key) for of, key in listed.listed for suite in (chosen if of is None else (of,))
        ]
        found = items.items_of_keys(store, asked)
        there = {(None, item.key) for item in found} | {(item.suite, item.key) for item in found}
        lost = [key for suite, key in dict.fromkeys(listed.listed) if (suite, key) not in there]
        for suite in (suite for suite in chosen if suite in listed.suites):
            # whoever names a suite means the key there, whichever other suite has such a key too
            keys = [key for of, key in dict.fromkeys(listed.listed) if of is None and key not in lost]
            lacking[suite] = [key for key in keys if (suite, key) not in there]
        if all(suite is not None for suite, _ in listed.listed):
            absent = []  # each line says itself which suite it means
    by_suite: dict[str, list[ListedItem]] = {}
    for item in found:
        by_suite.setdefault(item.suite, []).append(item)
    for suite, keys in lacking.items():
        if keys:
            by_suite.setdefault(suite, [])
    made = [
        _on_suite(listed, suite, some, named, lacking.get(suite, ())) for suite, some in by_suite.items()
    ]
    where = ", ".join(absent or listed.suites)
    if lost:
        made.append(ListFound(listed, where, lost=tuple(lost)))
    elif absent or not made:
        made.append(ListFound(listed, where))
    return made


def _on_suite(
    listed: MustNotRegress,
    suite: str,
    some: Sequence[ListedItem],
    named: set[int],
    lacking: Sequence[str] = (),
) -> ListFound:
    kept = [item for item in some if item.instance_id not in named]
    return ListFound(
        listed,
        suite,
        judged=sum(item.is_worse is not None for item in kept),
        worse=tuple(item.key for item in kept if item.is_worse),
        lost=(*(item.key for item in kept if item.is_worse is None), *lacking),
        aside=len(some) - len(kept),
    )
