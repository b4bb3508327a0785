"""Files of what somebody answers for: waivers and the quarantine of flaky items.

Each is a file of its own, so that it can have other owners than the policy. An entry that nobody has
signed yet is an error and not an entry that does nothing: whoever gives the file means it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from muscle_gov.config.tables import (
    QUARANTINE,
    WAIVER,
    Document,
    Table,
    check_keys,
    make,
    read_document,
)
from muscle_gov.errors import ConfigError, did_you_mean
from muscle_gov.settings import Quarantine, Waiver, check_quarantine, check_waiver

T = TypeVar("T", Waiver, Quarantine)


def load_waivers(path: Path) -> tuple[Waiver, ...]:
    """The waivers of a file of `[[waiver]]` tables; expired ones too. Raises ConfigError."""
    return _load(path, waivers_of)


def load_quarantine(path: Path) -> tuple[Quarantine, ...]:
    """The entries of a file of `[[quarantine]]` tables; expired ones too. Raises ConfigError, also for
    an entry that nobody has signed."""
    return _load(path, quarantine_of)


def _load(path: Path, read: Callable[[Document], tuple[T, ...]]) -> tuple[T, ...]:
    document = read_document(path)
    entries = read(document)
    document.problems.tell()
    return entries


def waivers_of(document: Document) -> tuple[Waiver, ...]:
    """The sound waivers of a file; what is wrong with the others goes to its problems."""
    return _entries(document, "waiver", "waivers", WAIVER, Waiver, check_waiver)


def quarantine_of(document: Document) -> tuple[Quarantine, ...]:
    """The sound entries of a file; what is wrong with the others goes to its problems."""
    entries = _entries(document, "quarantine", "a quarantine", QUARANTINE, Quarantine, check_quarantine)
    seen: set[tuple[str, str]] = set()
    for entry in entries:
        if (entry.suite, entry.instance) in seen:
            document.problems.add(
                ("quarantine",), f"{entry.instance!r} of {entry.suite!r} is there twice"
            )
        seen.add((entry.suite, entry.instance))
    return entries


def _entries(
    document: Document,
    name: str,
    what: str,
    table: Table,
    cls: type[T],
    check: Callable[[T], Iterable[str]],
) -> tuple[T, ...]:
    problems = document.problems
    for key in document.data:
        if key != name:
            hint = did_you_mean(key, [name])
            problems.add((key,), f"a file of {what} has only [[{name}]] tables; {hint}")
    listed = document.data.get(name, [])
    if not isinstance(listed, list):
        problems.add((name,), f"must be tables written [[{name}]], with two brackets")
        return ()
    made: list[T | None] = []
    for i, value in enumerate(listed):
        path = (name, i)
        if not isinstance(value, dict):
            problems.add(path, "must be a table")
            continue
        check_keys(value, table, path, problems)
        made.append(make(cls, value, path, problems, check))
    return tuple(entry for entry in made if entry is not None)


def beside(
    document: Document, key: str, given: str | None, read: Callable[[Document], tuple[T, ...]]
) -> tuple[T, ...]:
    """The entries of a file that `key` of a document names; what is wrong there goes to its problems."""
    if not given:
        return ()
    path = document.located(given)
    try:
        other = read_document(path)
    except ConfigError as error:
        for problem in error.problems:
            document.problems.add((key,), f"{error.where}: {problem}")
        return ()
    entries = read(other)
    for problem in other.problems.listed():
        document.problems.add((key,), f"{path}: {problem}")
    return entries
