"""What the rows of a report folder give, made again, beside what its manifest and its files tell."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from muscle_gov.proof import folder as folders
from muscle_gov.proof import manifest as manifests
from muscle_gov.proof.differences import between, few, first_difference, shown
from muscle_gov.proof.rows import same_rows
from muscle_gov.text import one_line

Version = tuple[str, str, str]
"""(name of a package, its version when the folder was written, its version here); `none` for none."""


def other_words(folder: Path, manifest: Mapping[str, Any], made: folders.Contents) -> Iterator[str]:
    """What the manifest and report.json say, where it is not what follows; figure by figure."""
    yield from _told_by_manifest(manifest, made)
    for one in manifest["files"]:
        path = folder / one["path"]
        content = manifests.content_of(path)
        if one["format"] not in ("json", "muscle-gov") or path.suffix != ".json" or content is None:
            continue
        again = made.files.get(one["path"])
        if again is None:
            yield f"{path.name}: nothing in the store asks for it"
            continue
        try:
            told = manifests.parsed(content)
        except ValueError as error:
            yield f"{path.name}: is no JSON ({error})"
            continue
        found = json.loads(again)
        if other_versions(manifest, made):
            for document in (told, found):
                _without_version(document)
        yield from _document(told, found, path.name)


def _told_by_manifest(manifest: Mapping[str, Any], made: folders.Contents) -> Iterator[str]:
    """Every field but the digests of files, which are compared with the files, and versions of
    libraries, which may be others here."""
    told, found = ({**one, "files": _formats(one)} for one in (manifest, plain(made.manifest)))
    formats = {*found["files"].values(), *made.not_made}
    both = told["files"].keys() & found["files"].keys()  # which are there is looked at with the reports
    for one in (told, found):
        one["files"] = {path: one["files"][path] for path in both}
    was, now = told.pop("written_by"), found.pop("written_by")
    if was["muscle-gov"] == now["muscle-gov"]:
        names = sorted({*was} ^ {*now})
        yield from (f"manifest.json written_by: {_only(shown(name), name in was)}" for name in names)
    problems = [f"manifest.json {name}: is missing" for name in sorted({*found} - {*told})]
    problems += [f"manifest.json {shown(name)}: is no part of it" for name in sorted({*told} - {*found})]
    for name in (name for name in found if name in told):
        problems += few(between(told[name], found[name], f"manifest.json {name}"))
    if not problems and json.dumps(told, sort_keys=True) != json.dumps(found, sort_keys=True):
        problems.append("manifest.json: has a number in another form than it is written in")
    yield from problems
    for name in sorted({*told["options"]} - formats):
        yield f"manifest.json options: {shown(name)} is no format of the folder"


def _only(name: str, is_told: bool) -> str:
    return f"tells of {name}, which is not used here" if is_told else f"does not tell of {name}"


def _formats(manifest: Mapping[str, Any]) -> dict[str, str]:
    """File → its format."""
    return {one["path"]: one["format"] for one in manifest["files"]}


def _document(told: Any, found: Any, name: str) -> Iterator[str]:
    """Differences, a few of each part, so that one part does not hide the others."""
    if not (isinstance(told, dict) and isinstance(found, dict) and set(told) == set(found)):
        yield from few(between(told, found, name))
        return
    for part in found:
        yield from few(between(told[part], found[part], f"{name}.{part}"), 5)


def _without_version(document: Any) -> None:
    if isinstance(document, dict) and isinstance(document.get("comparison"), dict):
        document["comparison"].pop("tool_version", None)


def other_reports(folder: Path, manifest: Mapping[str, Any], made: folders.Contents) -> Iterator[str]:
    """Each file that is not what the rows give, to the byte; of another version of this program only the
    files that are no reports, and whether every report is there."""
    others = other_versions(manifest, made)
    is_other, formats = is_of_another(others), _formats(made.manifest)
    for path in sorted({*made.files, *_formats(manifest)}):
        again, content = made.files.get(path), manifests.content_of(folder / path)
        if again is None:
            yield f"{path}: {_not_again(manifest, made, path)}"
        elif content is None or path not in _formats(manifest):
            yield f"{path}: is missing, but follows from the rows"
        elif is_other and formats[path] != "muscle-gov":
            continue
        elif content != again and not (others and path == folders.ROWS and same_rows(content, again)):
            yield f"{path}: {first_difference(content, again)}"


def _not_again(manifest: Mapping[str, Any], made: folders.Contents, path: str) -> str:
    """Why a file cannot be rendered again."""
    formats = _formats(manifest)
    why = made.not_made.get(formats[path])
    if why is not None:
        return f"could not be rendered again: {why}"
    return f"nothing here writes it (it is told to be of the format {shown(formats[path])})"


def other_versions(manifest: Mapping[str, Any], made: folders.Contents) -> list[Version]:
    """Of this program, and of what else the bytes depend on, as far as they differ."""
    was, now = manifest["written_by"], made.manifest["written_by"]
    names = sorted({*was, *now})
    return [
        (name, was.get(name, "none"), now.get(name, "none"))
        for name in names
        if was.get(name) != now.get(name)
    ]


def is_of_another(others: Sequence[Version]) -> bool:
    """Whether the folder is of another version of this program, so its reports are not made again."""
    return any(name == "muscle-gov" for name, _, _ in others)


def in_words(others: Sequence[Version]) -> str:
    """Which versions differ."""
    return "; ".join(
        f"{one_line(name, 40)} {one_line(was, 40)} then, {now} here" for name, was, now in others
    )


def plain(value: Any) -> Any:
    """The value as JSON has it."""
    return json.loads(folders.as_json(value))
