"""Whether a report folder is what it says, shown to somebody who trusts neither it nor its makers.

Everything in the folder is made again from the rows of its own store, by what made it, and compared:
whoever edits a report, a figure or a row must edit all that follows from it, and then the rows
themselves are other ones than those that were signed. A check that fails names the file, the row or the
figure. What cannot be looked at is told, and never counted as held.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from muscle_gov.data import Report, Resource
from muscle_gov.errors import GovError, InputError
from muscle_gov.plugins import Plugins, load
from muscle_gov.proof import folder as folders
from muscle_gov.proof.differences import between, few, first_difference, shown
from muscle_gov.proof.rows import edited_rows, edited_tables, other_store
from muscle_gov.proof.signing import SIGNATURE, Trust, problems_of
from muscle_gov.store import Store, copying, open_store, proofs, records


class Outcome(StrEnum):
    """What came of a check."""

    HOLDS = "holds"
    FAILS = "fails"
    SKIPPED = "not checked"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    """`signature`, `files`, `rows`, `verdict`, `queries`, `reports` or `store`."""
    outcome: Outcome
    told: str
    """What was looked at and found, in one sentence."""
    problems: tuple[str, ...] = ()
    """What is wrong, one sentence each: the file, row or figure first."""


def verify(
    folder: Path, trust: Trust, original: Path | None = None, plugins: Plugins | None = None
) -> list[Check]:
    """Every check of a folder, in the order in which they are told.

    A folder without a manifest, such as an adapter's, is checked by its signature alone. `original` is
    the store that the folder was made from. `plugins` are those that the folder was made with, as far as
    they are installed, unless given. Raises InputError if there is nothing to
    check, UsageError for keys that cannot be used.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder")
    if not (folder / folders.MANIFEST).exists() and not (folder / SIGNATURE).exists() and not trust:
        raise InputError(
            f"{folder}: has neither {folders.MANIFEST} nor {SIGNATURE}, so there is nothing to check"
        )
    checks = [_signature(folder, trust)]
    if not (folder / folders.MANIFEST).exists():
        if (folder / folders.STORE).exists():
            missing = f"{folders.MANIFEST}: is missing"
            return [
                *checks,
                Check("files", Outcome.FAILS, "the report folder has no manifest", (missing,)),
            ]
        return checks
    return [*checks, *_report_folder(folder, original, plugins)]


def holds(checks: list[Check]) -> bool:
    """Whether nothing failed and anything was looked at."""
    outcomes = {check.outcome for check in checks}
    return Outcome.FAILS not in outcomes and Outcome.HOLDS in outcomes


def _signature(folder: Path, trust: Trust) -> Check:
    there = (folder / SIGNATURE).is_file()
    if not trust:
        told = f"{SIGNATURE} is there, but whose it is was not asked" if there else "there is none"
        return Check("signature", Outcome.SKIPPED, told)
    if not there:
        told = "a signature was asked for and there is none"
        return Check("signature", Outcome.FAILS, told, (f"{SIGNATURE}: is missing",))
    problems = problems_of(folder, trust)
    by = trust.public_key if trust.public_key is not None else "a certificate below those given"
    return _check(
        "signature", problems, f"every file is as it was signed ({by})", f"is not that of {by}"
    )


def _check(name: str, problems: Iterator[str] | list[str], good: str, bad: str) -> Check:
    found = tuple(problems)
    return Check(name, Outcome.FAILS if found else Outcome.HOLDS, bad if found else good, found)


# ------------------------------------------------------------------------------------- report folders


def _report_folder(folder: Path, original: Path | None, plugins: Plugins | None) -> Iterator[Check]:
    try:
        manifest = _manifest(folder)
    except InputError as error:
        yield Check("files", Outcome.FAILS, "the manifest cannot be read", (str(error),))
        return
    listed = [one["path"] for one in manifest["files"]]
    yield _check(
        "files",
        _files(folder, manifest),
        f"{len(listed)} files are there with their digests, and no other",
        "the files are not those of the manifest",
    )
    try:
        with open_store(folder / folders.STORE, read_only=True) as store:
            # a hostile file must not reach anything outside itself
            store.run("SET enable_external_access = false")
            yield from _from_rows(folder, store, manifest, plugins)
    except Exception as error:  # a hostile store or manifest may break anything; none may break out
        why = str(error) if isinstance(error, GovError) else f"{type(error).__name__}: {error}"
        problem = f"{folders.STORE}: {' '.join(why.split())[:400]}"
        yield Check("rows", Outcome.FAILS, "the rows cannot be read and judged again", (problem,))
        return
    if original is not None:
        yield _check(
            "store",
            other_store(original, manifest),
            f"{original} has the same rows, and gave this verdict",
            f"{original} tells something else",
        )


def _manifest(folder: Path) -> Mapping[str, Any]:
    path = folder / folders.MANIFEST
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{folders.MANIFEST}: cannot be read ({error})") from error
    if not isinstance(found, dict) or found.get("schema") != folders.SCHEMA:
        raise InputError(f"{folders.MANIFEST}: is no manifest of a report folder")
    if found.get("schema_version") != folders.SCHEMA_VERSION:
        raise InputError(
            f"{folders.MANIFEST}: has version {found.get('schema_version')}, but this muscle-gov knows "
            f"version {folders.SCHEMA_VERSION}"
        )
    try:
        for one in found["files"]:
            if not isinstance(one["path"], str) or Path(one["path"]).name != one["path"]:
                raise InputError(f"{folders.MANIFEST}: names {one['path']!r}, which is no file in it")
            str(one["sha256"]), int(one["bytes"]), str(one["format"])
        str(found["comparison"]["id"]), found["store"]["tables"], found["evidence"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folders.MANIFEST}: lacks what a manifest has ({error!r})") from error
    return found


def _files(folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    listed = {one["path"]: one for one in manifest["files"]}
    known = {*listed, folders.MANIFEST, folders.STORE, SIGNATURE}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            yield f"{name}: is a link, and no file of the folder"
        elif name not in known:
            yield f"{name}: is not in the manifest"
    for name, one in listed.items():
        path = folder / name
        if not path.is_file():
            yield f"{name}: is missing"
        elif hashlib.sha256(path.read_bytes()).hexdigest() != one["sha256"]:
            yield f"{name}: was changed after the manifest was written"
    if not (folder / folders.STORE).is_file():
        yield f"{folders.STORE}: is missing"


def _from_rows(
    folder: Path, store: Store, manifest: Mapping[str, Any], plugins: Plugins | None
) -> Iterator[Check]:
    """Everything that is made again from the rows."""
    yield _check(
        "rows",
        [*edited_rows(folder / folders.ROWS, store, manifest), *edited_tables(store, manifest)],
        "the rows of the store are those that were digested",
        "the rows of the store are not those that were digested",
    )
    id_ = manifest["comparison"]["id"]
    saved = records.find_comparison(store, id_)
    if saved.id != id_:
        raise InputError(f"has no comparison {id_}")
    config = Resource(**manifest["config"]) if manifest.get("config") else None
    # what is installed here and was not there then would add figures and reports
    plugins = plugins or load(block=saved.blocked, allow=list(manifest.get("written_by") or ()))
    made = folders.contents_of(store, plugins, id_, manifest.get("options"), config)
    yield _check(
        "verdict",
        [*_kept(store, made.report), *_told(folder, manifest, made)],
        f"{made.report.verdict.status.value} and every figure follow from the rows and the policy",
        f"the rows and the policy give {made.report.verdict.status.value}, and not what is told",
    )
    proof = made.report.evidence
    queries = proof.queries if proof is not None else ()
    yield _check(
        "queries",
        _queries(store, made.report),
        f"{len(queries)} figures come out the same by plain SQL on the raw tables",
        "plain SQL on the raw tables gives other figures",
    )
    yield _reports(folder, manifest, made)


def _kept(store: Store, report: Report) -> Iterator[str]:
    """What the rows of comparisons and verdicts in the store say, where it is not what follows."""
    others = {one.comparison.id: (one.comparison, one.verdict) for one in report.candidates}
    for id_ in copying.with_candidates(store, report.comparison.id):
        comparison, verdict = others.get(id_, (report.comparison, report.verdict))
        kept = proofs.kept_verdict(store, id_)
        told = {
            "status": verdict.status.value,
            "reason": verdict.reason,
            "exit_code": verdict.exit_code,
            "rules": _plain([asdict(rule) for rule in verdict.rules]),
        }
        if kept is not None:
            has = {name: getattr(kept, name) for name in told}
            yield from few(between(has, told, f"{folders.STORE}, verdicts of {id_}"))
        figures = (*comparison.suites, *((comparison.total,) if comparison.total else ()))
        made = {
            (one.suite, one.slice, metric): asdict(measure)
            for one in (*figures, *comparison.slices)
            for metric, measure in one.measures.items()
        }
        kept_ones = _named(proofs.kept_measures(store, id_))
        yield from few(between(kept_ones, _named(made), f"{folders.STORE}, measures of {id_}"))


def _named(measures: Mapping[tuple[str, str | None, str], Any]) -> dict[str, Any]:
    return {" ".join(part for part in key if part): one for key, one in measures.items()}


def _told(folder: Path, manifest: Mapping[str, Any], made: folders.Contents) -> Iterator[str]:
    """What the manifest and report.json say, where it is not what follows; figure by figure."""
    for name in ("comparison", "verdict", "command", "not_made", "evidence", "made_by"):
        yield from few(between(manifest.get(name), _plain(made.manifest[name]), f"manifest.json {name}"))
    for one in manifest["files"]:
        path = folder / one["path"]
        if one["format"] not in ("json", "muscle-gov") or path.suffix != ".json" or not path.is_file():
            continue
        again = made.files.get(one["path"])
        if again is None:
            yield f"{path.name}: nothing in the store asks for it"
            continue
        try:
            told = json.loads(path.read_bytes())
        except ValueError as error:
            yield f"{path.name}: is no JSON ({error})"
            continue
        found = json.loads(again)
        if _other_versions(manifest, made):
            for document in (told, found):
                _without_version(document)
        yield from _document(told, found, path.name)


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


def _queries(store: Store, report: Report) -> Iterator[str]:
    for query in report.evidence.queries if report.evidence is not None else ():
        found = store.rows(query.sql)[0][0]
        expected = query.value
        is_same = found == expected or (
            found is not None
            and expected is not None
            and abs(found - expected) <= 1e-9 * max(1.0, abs(expected))
        )
        if not is_same:
            yield f"{query.title}: SQL gives {found!r}, the comparison {expected!r}"


def _reports(folder: Path, manifest: Mapping[str, Any], made: folders.Contents) -> Check:
    """Each report, byte for byte, if it was written by the version that is at hand."""
    others = _other_versions(manifest, made)
    versions = "; ".join(f"{name} {was} then, {now} here" for name, was, now in others)
    if any(name == "muscle-gov" for name, _, _ in others):
        told = f"reports were not rendered again: {versions}; use that version to compare their bytes"
        return Check("reports", Outcome.SKIPPED, told)
    problems = []
    for path in sorted({*made.files, *(one["path"] for one in manifest["files"])}):
        again, there = made.files.get(path), folder / path
        if again is None:
            problems.append(f"{path}: {_not_again(manifest, made, path)}")
        elif not there.is_file():
            problems.append(f"{path}: is missing, but follows from the rows")
        elif (content := there.read_bytes()) != again:
            problems.append(f"{path}: {first_difference(content, again)}")
    if problems and others:
        problems.append(f"other versions may explain it: {versions}")
    return _check(
        "reports",
        problems,
        f"{len(made.files)} files come out the same, byte for byte, when they are rendered again",
        "what is rendered again from the rows is not what is there",
    )


def _not_again(manifest: Mapping[str, Any], made: folders.Contents, path: str) -> str:
    """Why a file cannot be rendered again."""
    formats = {one["path"]: one["format"] for one in manifest["files"]}
    why = made.not_made.get(formats[path])
    if why is not None:
        return f"could not be rendered again: {why}"
    return f"nothing here writes it (it is told to be of the format {shown(formats[path])})"


def _other_versions(manifest: Mapping[str, Any], made: folders.Contents) -> list[tuple[str, str, str]]:
    was, now = manifest.get("written_by") or {}, made.manifest["written_by"]
    names = sorted({*was, *now})
    return [
        (name, was.get(name, "none"), now.get(name, "none"))
        for name in names
        if was.get(name) != now.get(name)
    ]


def _plain(value: Any) -> Any:
    return json.loads(folders.as_json(value))
