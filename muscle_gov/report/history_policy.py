"""What changed in the rules between two verdicts, in words: nobody loosens a limit unseen.

A change is looser where something may pass now that could not before, tighter where it is the other way
round, and other where neither can be said. Rules are the same if they limit the same figure on the same
suites; their names and order do not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from muscle_gov.report import words
from muscle_gov.store.history import GivenVerdict

_TIERS = ("advisory", "supporting", "critical")
_JUDGES = ("value", "interval")
_KNOWN = ("gate", "allow", "today", "edition", "command")
"""Parts of a kept policy that are told in a way of their own, and the day and the command line, which
are no rules."""


@dataclass(frozen=True)
class Change:
    """One change of a policy."""

    text: str
    kind: str
    """`looser`, `tighter` or `other`."""
    clause: str = ""
    """A changed limit as the end of a sentence on its update: `its limit on NFR was raised from 2 % to
    4 %`; else empty."""


def changes(before: GivenVerdict | None, after: GivenVerdict | None) -> tuple[Change, ...]:
    """From what one verdict was given by to what the next one was; empty where nothing changed."""
    old, new = (one.policy if one is not None else None for one in (before, after))
    if before is None or after is None or (old is None and new is None):
        return ()
    if new is None:
        return (Change("no rule was asked for any more", "looser"),)
    if old is None:
        return (Change("judged by rules, which the verdict before was not", "tighter"),)
    found = [*_rules(old["gate"], new["gate"])]
    found += _number("coverage", old["gate"]["coverage"], new["gate"]["coverage"], higher="tighter")
    found += _set("accepts the finding", old.get("allow", ()), new.get("allow", ()))
    found += _lists(*(one["gate"].get("must_not_regress") or () for one in (old, new)))
    editions = [one.get("edition", 1) for one in (old, new)]
    if editions[0] != editions[1]:
        text = f"edition of what tiers and waivers mean {editions[0]} → {editions[1]}"
        found.append(Change(text, "other"))
    for name in sorted({*old, *new} - {*_KNOWN}):
        found += _entries(name.replace("_", " "), old.get(name), new.get(name))
    found += _entries("waivers", before.waivers, after.waivers)
    if not found and before.digest != after.digest:
        found.append(Change("the policy's digest, in its names or order only", "other"))
    return tuple(found)


def _rules(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[Change]:
    before, after = _by_place(old["rules"]), _by_place(new["rules"])
    for place, rule in after.items():
        if place not in before:
            is_advisory = rule["tier"] == "advisory"
            kind = "other" if is_advisory else "tighter"
            yield Change(f"new rule: {_title(rule)} {_limit(rule)}", kind)
        else:
            yield from _changed(before[place], rule)
            yield from _coverage(before[place], rule, (old["coverage"], new["coverage"]))
    for place, rule in before.items():
        if place not in after:
            kind = "other" if rule["tier"] == "advisory" else "looser"
            yield Change(f"rule dropped: {_title(rule)} {_limit(rule)}", kind)


def _by_place(rules: Sequence[Mapping[str, Any]]) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    """Rules by what they limit; of several on one figure each has a number."""
    found: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for rule in rules:
        side = "max" if rule["max"] is not None else "min"
        place = (rule["metric"], side, tuple(rule["suites"]), rule["slice"])
        number = sum(known[:4] == place for known in found)
        found[*place, number] = rule
    return found


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[Change]:
    title = _title(new)
    for side, higher in (("max", "looser"), ("min", "tighter")):
        if old[side] is not None and new[side] is not None and old[side] != new[side]:
            unit = words.words_of(new["metric"]).unit
            ends = [words.limit_text(one[side], unit) for one in (old, new)]
            verb = "raised" if new[side] > old[side] else "lowered"
            clause = f"its limit on {title} was {verb} from {ends[0]} to {ends[1]}"
            kind = _kind(old[side], new[side], higher)
            yield Change(f"limit on {title} {' → '.join(ends)}", kind, clause)
    yield from _number(f"confidence of {title}", old["confidence"], new["confidence"], higher="tighter")
    for name, ranks in (("tier", _TIERS), ("judge", _JUDGES)):
        if old[name] != new[name]:
            kind = _kind(ranks.index(old[name]), ranks.index(new[name]), "tighter")
            yield Change(f"{name} of {title} {old[name]} → {new[name]}", kind)


def _kind(old: float, new: float, higher: str) -> str:
    other = {"looser": "tighter", "tighter": "looser"}[higher]
    return higher if new > old else other


def _number(title: str, old: float | None, new: float | None, higher: str) -> list[Change]:
    if old == new:
        return []
    told = [words.limit_text(v, "share") if v is not None else "the gate's own" for v in (old, new)]
    kind = "other" if old is None or new is None else _kind(old, new, higher)
    return [Change(f"{title} {told[0]} → {told[1]}", kind)]


def _coverage(
    old: Mapping[str, Any], new: Mapping[str, Any], gates: tuple[float, float]
) -> Iterable[Change]:
    """Of one rule, which has the gate's where it has none of its own."""
    own = (old["coverage"], new["coverage"])
    for change in _number(f"coverage of {_title(new)}", *own, higher="tighter"):
        before, after = (gate if one is None else one for one, gate in zip(own, gates, strict=True))
        yield Change(change.text, "other" if before == after else _kind(before, after, "tighter"))


def _set(title: str, old: Iterable[str], new: Iterable[str]) -> list[Change]:
    added, gone = sorted({*new} - {*old}), sorted({*old} - {*new})
    return [
        *(Change(f"{title} {name}", "looser") for name in added),
        *(Change(f"no longer {title} {name}", "tighter") for name in gone),
    ]


def _entries(title: str, old: Any, new: Any) -> list[Change]:
    """Lists of exceptions: each that is new sets something aside."""
    before, after = (_plain(v if isinstance(v, list | tuple) else [v] if v else []) for v in (old, new))
    added = sum(one not in before for one in after)
    gone = sum(one not in after for one in before)
    if not added and not gone:
        return []
    told = f"{title}: {added} added, {gone} dropped, {len(after)} in all"
    return [Change(told, "looser" if added else "tighter")]


def _plain(entries: Sequence[Any]) -> list[Any]:
    """Without the place in a file, which moves with every line above it."""
    return [
        {k: v for k, v in one.items() if k != "place"} if isinstance(one, Mapping) else one
        for one in entries
    ]


def _lists(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Iterable[Change]:
    """Lists of instances that must not regress."""
    before, after = ({one["name"]: _plain([one])[0] for one in lists} for lists in (old, new))
    for name in sorted({*before, *after}):
        title = f"list of what must not regress, {name}"
        if name not in before:
            yield Change(f"new {title}", "tighter")
        elif name not in after:
            yield Change(f"dropped: {title}", "looser")
        elif before[name] != after[name]:
            yield _changed_list(title, before[name], after[name])


def _changed_list(title: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Change:
    before, after = (one.get("listed") or one.get("instances") or [] for one in (old, new))
    added = sum(one not in before for one in after)
    gone = sum(one not in after for one in before)
    if not added and not gone:
        return Change(f"{title}: another slice, suite or tier", "other")
    return Change(f"{title}: {added} added, {gone} dropped", "looser" if gone else "tighter")


def _title(rule: Mapping[str, Any]) -> str:
    title = words.words_of(rule["metric"]).title
    suites = tuple(rule["suites"])
    where = "" if suites == ("*",) else f" of {', '.join(suites)}"
    return title + where + (f" in {rule['slice']}" if rule["slice"] else "")


def _limit(rule: Mapping[str, Any]) -> str:
    unit = words.words_of(rule["metric"]).unit
    if rule["max"] is not None:
        return f"at most {words.limit_text(rule['max'], unit)}"
    return f"at least {words.limit_text(rule['min'], unit)}"
