"""Whether a report folder is what it says, shown to somebody who trusts neither it nor its makers.

Everything in the folder is made again from the rows of its own store, by what made it, and compared:
whoever edits a report, a figure or a row must edit all that follows from it, and then the rows
themselves are other ones than those that were signed. A check that fails names the file, the row or the
figure. What cannot be looked at is told, and never counted as held.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from muscle_gov.data import Report, Resource
from muscle_gov.errors import GovError, InputError
from muscle_gov.plugins import Plugins, load
from muscle_gov.proof import again
from muscle_gov.proof import folder as folders
from muscle_gov.proof import manifest as manifests
from muscle_gov.proof.differences import between, few, shown
from muscle_gov.proof.rows import edited_rows, edited_tables, other_store
from muscle_gov.proof.signing import SIGNATURE, Trust, check_trust, problems_of
from muscle_gov.store import Store, copying, proofs, records
from muscle_gov.store.foreign import open_foreign


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
    folder: Path,
    trust: Trust,
    original: Path | None = None,
    plugins: Plugins | None = None,
    may_be_other: bool = False,
) -> list[Check]:
    """Every check of a folder, in the order in which they are told.

    A folder without a manifest, such as an adapter's, is checked by its signature alone. `original` is
    the store that the folder was made from. `plugins` are those that the folder was made with, as far as
    they are installed, unless given. `may_be_other`: a folder of another version of this program, whose
    reports cannot be rendered again, holds if all else does. Raises InputError if there is nothing to
    check, UsageError for keys that cannot be used.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder")
    if not (folder / folders.MANIFEST).exists() and not (folder / SIGNATURE).exists() and not trust:
        raise InputError(
            f"{folder}: has neither {folders.MANIFEST} nor {SIGNATURE}, so there is nothing to check"
        )
    check_trust(trust)
    checks = [_signature(folder, trust)]
    if not (folder / folders.MANIFEST).exists():
        if (folder / folders.STORE).exists():
            missing = f"{folders.MANIFEST}: is missing"
            return [
                *checks,
                Check("files", Outcome.FAILS, "the report folder has no manifest", (missing,)),
            ]
        return checks
    if checks[0].outcome is Outcome.FAILS:
        return [*checks, *_not_opened(folder, original)]
    return [*checks, *_report_folder(folder, original, plugins, may_be_other)]


def holds(checks: list[Check]) -> bool:
    """Whether nothing failed and anything was looked at."""
    outcomes = {check.outcome for check in checks}
    return Outcome.FAILS not in outcomes and Outcome.HOLDS in outcomes


def status_of(folder: Path, checks: list[Check]) -> str | None:
    """The verdict's status as it was found to follow from the rows; None for a folder that does not
    hold, or is no report folder."""
    if not holds(checks) or all(check.name != "verdict" for check in checks):
        return None
    return str(manifests.read(folder)["verdict"]["status"])


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


def _not_opened(folder: Path, original: Path | None) -> Iterator[Check]:
    """What is still looked at where the signature does not hold: nothing is asked of the store."""
    try:
        yield _listed_files(folder, manifests.read(folder))
    except InputError as error:
        yield Check("files", Outcome.FAILS, "the manifest cannot be read", (str(error),))
    for name in ("rows", "verdict", "queries", "reports", *(("store",) if original is not None else ())):
        yield Check(name, Outcome.SKIPPED, "the signature does not hold, so the store was not opened")


def _listed_files(folder: Path, manifest: Mapping[str, Any]) -> Check:
    return _check(
        "files",
        _files(folder, manifest),
        f"{len(manifest['files'])} files are there with their digests, and no other",
        "the files are not those of the manifest",
    )


def _report_folder(
    folder: Path, original: Path | None, plugins: Plugins | None, may_be_other: bool
) -> Iterator[Check]:
    try:
        manifest = manifests.read(folder)
    except InputError as error:
        yield Check("files", Outcome.FAILS, "the manifest cannot be read", (str(error),))
        return
    yield _listed_files(folder, manifest)
    try:
        if (folder / folders.STORE).is_symlink():
            raise InputError("is a link, and no file of the folder")
        with open_foreign(folder / folders.STORE) as store:
            yield from _from_rows(folder, store, manifest, plugins, may_be_other)
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
        content = manifests.content_of(folder / name)
        if content is None:
            yield f"{name}: is missing"
        elif hashlib.sha256(content).hexdigest() != one["sha256"]:
            yield f"{name}: was changed after the manifest was written"
        elif one["bytes"] != len(content):
            yield f"{name}: has {len(content):,} bytes; the manifest tells {shown(one['bytes'])}"
    if not (folder / folders.STORE).is_file():
        yield f"{folders.STORE}: is missing"


def _from_rows(
    folder: Path,
    store: Store,
    manifest: Mapping[str, Any],
    plugins: Plugins | None,
    may_be_other: bool,
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
    plugins = plugins or load(block=saved.blocked, allow=list(manifest["written_by"]))
    made = folders.contents_of(store, plugins, id_, manifest.get("options"), config)
    yield _check(
        "verdict",
        [*_kept(store, made.report), *again.other_words(folder, manifest, made)],
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
    yield _reports(folder, manifest, made, may_be_other)


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
            "rules": again.plain([asdict(rule) for rule in verdict.rules]),
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


def _reports(
    folder: Path, manifest: Mapping[str, Any], made: folders.Contents, may_be_other: bool
) -> Check:
    """Each report, byte for byte, if it was written by the version that is at hand."""
    others = again.other_versions(manifest, made)
    problems = list(again.other_reports(folder, manifest, made))
    if problems and others:
        problems.append(f"other versions may explain it: {again.in_words(others)}")
    elif not problems and again.is_of_another(others):
        told = f"reports were not rendered again: {again.in_words(others)}"
        if may_be_other:
            return Check("reports", Outcome.SKIPPED, told)
        why = "reports: what they say was not checked; install the version that wrote them, or give "
        why += "--allow-other-version to rely on the rows, the policy and the verdict alone"
        return Check("reports", Outcome.FAILS, told, (why,))
    return _check(
        "reports",
        problems,
        f"{len(made.files)} files come out the same, byte for byte, when they are rendered again",
        "what is rendered again from the rows is not what is there",
    )
