"""Lists of instances that must not regress: read whole when the policy is read.

A policy is what it asks for and not what a file is called, so the keys go into it and its digest is of
them. A line that cannot be meant in one way is refused, since a key that is passed over would be one
that may break unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from muscle_gov.config.lines import KeyPath
from muscle_gov.config.tables import LISTS, Document, check_keys, make
from muscle_gov.settings import Listed, MustNotRegress, check_list

LISTED: KeyPath = ("gate", "must_not_regress")


def lists_of(document: Document) -> tuple[tuple[MustNotRegress, ...], bool]:
    """(the lists of a file's gate, whether all are sound); what is wrong goes to its problems."""
    given = document.table("gate").get("must_not_regress", [])
    if not isinstance(given, list):
        document.problems.add(
            LISTED, "must be tables written [[gate.must_not_regress]], with two brackets"
        )
        return (), False
    made = [_list(value, (*LISTED, i), document) for i, value in enumerate(given)]
    sound = [one for one in made if one is not None]
    names: set[str] = set()
    for i, one in enumerate(made):
        if one is not None and one.name in names:
            document.problems.add((*LISTED, i, "name"), f"{one.name!r} is the name of another list")
        names |= {one.name} if one is not None else set()
    return tuple(sound), len(names) == len(made)


def list_files(document: Document) -> list[Path]:
    """The files that the lists of a gate name, whether or not they are there."""
    given = document.table("gate").get("must_not_regress", [])
    tables = [value for value in given if isinstance(value, dict)] if isinstance(given, list) else []
    files = [value.get("file") for value in tables]
    return [document.located(file) for file in files if isinstance(file, str) and file]


def _list(value: Any, path: KeyPath, document: Document) -> MustNotRegress | None:
    problems = document.problems
    if not isinstance(value, dict):
        problems.add(path, "must be a table with the keys name and slice, instances or file")
        return None
    check_keys(value, LISTS, path, problems)
    known = LISTS.keys()
    given = {name: each for name, each in value.items() if name in known}
    made = make(MustNotRegress, given, path, problems, check_list)
    if made is None:
        return None
    listed: Sequence[Listed] | None = [(None, key) for key in made.instances]
    if made.file is not None:
        listed = _read(document, made.file, path)
    return None if listed is None else replace(made, listed=tuple(listed), place=problems.place(path))


def _read(document: Document, file: str, path: KeyPath) -> list[Listed] | None:
    """The instances that a file names; None if anything is wrong with it."""
    place = document.located(file)
    here = (*path, "file")
    try:
        text = place.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        document.problems.add(here, f"{place}: there is no such file")
        return None
    except UnicodeDecodeError:
        document.problems.add(here, f"{place}: is not UTF-8 text; save it as UTF-8")
        return None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = getattr(error, "strerror", None) or error
        document.problems.add(here, f"{place}: cannot be read ({why})".replace("\0", "\\0"))
        return None
    found, faults = parse_listed(text, place)
    for fault in faults:
        document.problems.add(here, fault)
    if not found and not faults:
        document.problems.add(here, f"{place}: names no instance")
    return None if faults or not found else found


def parse_listed(text: str, place: Path) -> tuple[list[Listed], list[str]]:
    """(instances that the lines name, what is wrong with lines) of a file's text.

    A key is what stands there to the letter, so blanks around one, or around a suite's name, are a
    fault: a key may begin with one, and then another key would be looked at. Empty lines and comments
    name nothing.
    """
    found: list[Listed] = []
    faults = []
    for number, line in enumerate(text.split("\n"), 1):  # no other character ends a line
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        parts = line.removesuffix("\r").split("\t")
        if len(parts) > 2 or not all(part.strip() for part in parts):
            faults.append(f"{place}:{number}: must be a key, or a suite's name, a tab and a key")
        elif any(part != part.strip() for part in parts):
            faults.append(
                f"{place}:{number}: has blanks before or after a name; take them away, or give a key "
                "that has them under instances, in quotes"
            )
        else:
            found.append((parts[0] if len(parts) == 2 else None, parts[-1]))
    return found, faults
