"""The report folder: one verdict in every form that is installed, with all that it rests on.

The folder's reports are rendered from the folder's own store and from nothing else. So whoever has the
folder can render them again, and `verify` does: what makes the folder is what checks it. A form that
cannot be made is named in the manifest with the reason. Equal comparisons give equal bytes, but for the
store's file, whose content has digests of its own in the manifest.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from muscle_gov import mend, pipeline
from muscle_gov.data import Report, Resource
from muscle_gov.errors import GovError, OutputError, UsageError
from muscle_gov.plugins import Plugins
from muscle_gov.proof.evidence import collect, label_of
from muscle_gov.proof.signing import SIGNATURE
from muscle_gov.store import Store, copying, digests, open_store, proofs, records

SCHEMA = "muscle-gov/report-folder"
SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
STORE = "evidence.duckdb"
ROWS = "rows.parquet"
STEMS = {
    "html": "report",
    "markdown": "report",
    "json": "report",
    "csv": "flips",
    "parquet": "flips",
    "cyclonedx": "bom",
    "in-toto": "attestation",
}
"""File names of formats that are not called after the format itself."""
LIBRARIES = ("duckdb", "jinja2", "numpy", "orjson", "pyarrow", "scipy")
"""What the bytes of a report may depend on, besides this program and the plugins."""

CRASHED = "crashed"
"""Begins the reason why a format could not be made where a plugin is broken."""
MOST_HELD = 20_000
"""Flips that are read once for all formats; more are read anew by each, or they would not fit."""


@dataclass(frozen=True)
class Contents:
    """What a report folder holds, besides its store."""

    report: Report
    files: Mapping[str, bytes] = field(repr=False)
    manifest: Mapping[str, Any] = field(repr=False)
    not_made: Mapping[str, str]
    """Report format → why it could not be made."""


def write_folder(
    store: Store,
    plugins: Plugins,
    report: Report,
    folder: Path,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    config: Resource | None = None,
    may_replace: bool = False,
) -> Contents:
    """Write the report folder of a comparison that the store holds, with its newest verdict.

    `options` are those of report formats. The folder is whole or not there at all. Raises UsageError if
    it may not be written, OutputError if it could not be.
    """
    check_folder(folder, may_replace)
    flaky = {one.quarantine.suite for one in report.verdict.quarantined}
    with _beside(folder) as passing:
        copying.copy_comparison(store, passing / STORE, report.comparison.id, flaky)
        with open_store(passing / STORE, read_only=True) as copy:
            made = contents_of(copy, plugins, report.comparison.id, options, config)
        if made.report.verdict.status is not report.verdict.status:
            raise OutputError(
                f"{folder}: was not written: the copy of the rows gives {made.report.verdict.status}, "
                f"the store gave {report.verdict.status}"
            )
        for name, content in made.files.items():
            (passing / name).write_bytes(content)
        (passing / MANIFEST).write_bytes(as_json(made.manifest))
    return made


def check_folder(folder: Path, may_replace: bool) -> None:
    """Refuse a place that cannot be written, or holds something, before the work is done."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError(f"{folder}: is not a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not is_report_folder(folder):
            raise UsageError(
                f"{folder}: is not empty and no report folder, so it is left alone; name another"
            )
        if not may_replace:
            raise UsageError(f"{folder}: holds an earlier report; --replace-folder writes over it")
        others = _others(folder)
        if others:
            raise UsageError(
                f"{folder / others[0]}: is no part of the report and would be lost; move it"
            )
    parent = folder.absolute().parent
    if not parent.is_dir():
        raise UsageError(f"{folder}: the directory {parent} does not exist")
    if not os.access(parent, os.W_OK):
        raise UsageError(f"{folder}: the directory {parent} may not be written to")


def is_report_folder(folder: Path) -> bool:
    """Whether this is a folder that `write_folder` made."""
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("schema") == SCHEMA


def _others(folder: Path) -> list[str]:
    """What lies in a report folder besides the report."""
    files = json.loads((folder / MANIFEST).read_bytes()).get("files") or []
    known = {MANIFEST, STORE, SIGNATURE, *(one.get("path") for one in files if isinstance(one, dict))}
    return sorted(path.name for path in folder.iterdir() if path.name not in known)


# ----------------------------------------------------------------------------------------- contents


def contents_of(
    store: Store,
    plugins: Plugins,
    comparison_id: str,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    config: Resource | None = None,
) -> Contents:
    """Judge the comparison again from the rows of its own small store and render everything."""
    report = report_of(store, plugins, comparison_id, config)
    files = {**_asked(store, report), ROWS: _rows(store, comparison_id)}
    formats = dict.fromkeys(files, "muscle-gov")
    options, not_made = options or {}, {}
    for name in plugins.names("reports"):
        try:
            made = plugins.make("reports", name, options.get(name))
            path = _path_of(name, made.suffix)
            if path in files:
                raise OutputError(f"{path} is the {formats[path]} report's")
            files[path] = made.render(report)
            formats[path] = name
        except GovError as error:
            not_made[name] = str(error)
        except Exception as error:  # a plugin may raise anything
            not_made[name] = f"{CRASHED}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    files = dict(sorted(files.items()))
    manifest = _head(report) | {
        "files": [
            {
                "path": path,
                "format": formats[path],
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
            }
            for path, content in files.items()
        ],
        "not_made": [{"format": name, "why": why} for name, why in sorted(not_made.items())],
        "options": {name: dict(given) for name, given in sorted(options.items()) if given},
        "config": asdict(config) if config is not None else None,
        "written_by": _written_by(plugins),
        "evidence": [asdict(one) for one in (report.evidence.resources if report.evidence else ())],
        "store": {
            "path": STORE,
            "schema": digests.of_schema(store),
            "tables": {name: asdict(found) for name, found in digests.of_tables(store).items()},
        },
    }
    return Contents(report, files, manifest, not_made)


def report_of(
    store: Store, plugins: Plugins, comparison_id: str, config: Resource | None = None
) -> Report:
    """The report of a comparison under the policy of its newest verdict, on the day that was given."""
    saved = records.find_comparison(store, comparison_id)
    policy, allow = pipeline.policy_of_verdict(store, saved.id)
    found = mend.list_candidates(store, plugins, saved.id, policy, allow)
    judged = pipeline.judge_again(store, plugins, saved, policy, keep=False, allow=allow)
    flips = tuple(judged.flips) if len(judged.flips) <= MOST_HELD else judged.flips
    report = replace(judged.report, candidates=found, store=STORE, flips=flips)
    return replace(report, evidence=collect(store, report, config))


def _head(report: Report) -> dict[str, Any]:
    comparison, verdict, proof = report.comparison, report.verdict, report.evidence
    models = {
        side: {"name": model.name, "fingerprint": model.fingerprint}
        for side, model in (("old", comparison.old), ("new", comparison.new))
    }
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "comparison": {"id": comparison.id, "created": comparison.created, **models},
        "verdict": {
            "status": verdict.status.value,
            "reason": verdict.reason,
            "exit_code": verdict.exit_code,
            "judged": proof.judged if proof is not None else None,
        },
        "command": report.command,
        "judged_by": report.judged_by,
        "made_by": dict(proof.versions) if proof is not None else {},
    }


def _asked(store: Store, report: Report) -> dict[str, bytes]:
    """The policy and the exceptions to it, as they were judged."""
    saved = records.find_comparison(store, report.comparison.id)
    policy, allow = pipeline.policy_of_verdict(store, saved.id)
    told = {
        "gate": asdict(policy.gate) if policy.gate is not None else None,
        "allow": list(allow),
        "compare": dict(saved.settings),
        "judged_on": policy.today,
    }
    files = {"policy.json": as_json(told)}
    if report.verdict.waivers:
        files["waivers.json"] = as_json([asdict(one) for one in report.verdict.waivers])
    if report.verdict.quarantined:
        files["quarantine.json"] = as_json([asdict(one) for one in report.verdict.quarantined])
    return files


def _rows(store: Store, comparison_id: str) -> bytes:
    """A digest of each answer and each instance, by which an edited row can be named."""
    from io import BytesIO

    from pyarrow import parquet

    labels = {run.run_id: label_of(run) for run in proofs.runs_of(store, comparison_id)}
    out = BytesIO()
    parquet.write_table(digests.of_rows(store, labels), out, compression="zstd")
    return out.getvalue()


def _path_of(name: str, suffix: str) -> str:
    stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in STEMS.get(name, name))
    stem = "report" if f".{stem}" == suffix else stem
    path = f"{stem}{suffix}"
    if not suffix.startswith(".") or "/" in suffix or "\\" in suffix or "\0" in suffix:
        raise OutputError(f"its suffix {suffix!r} makes no file name")
    return path


def _written_by(plugins: Plugins) -> dict[str, str]:
    """Versions of all that the bytes depend on, the packages of the plugins among them."""
    from muscle_gov import __version__

    found = {"muscle-gov": __version__, "Python": platform.python_version()}
    found |= {name: importlib.metadata.version(name) for name in LIBRARIES}
    found["zlib"] = zlib.ZLIB_RUNTIME_VERSION  # many flips are compressed
    for info in plugins.infos:
        if any(offer.startswith(("reports/", "metrics/")) for offer in info.offers):
            found[info.distribution] = info.version
    return dict(sorted(found.items()))


def as_json(value: Any) -> bytes:
    """JSON as the folder's own files have it; what is no text or number is written as text."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    return text.encode("utf-8", "replace") + b"\n"


# ------------------------------------------------------------------------------------------ writing


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A passing folder that takes the place of `folder` at the end, or is gone."""
    folder = folder.absolute()
    try:
        passing = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise OutputError(f"{folder}: could not be written ({error.strerror})") from error
    try:
        yield passing
        umask = os.umask(0)
        os.umask(umask)
        passing.chmod(0o777 & ~umask)
        _put(passing, folder)
    except OSError as error:
        raise OutputError(f"{folder}: could not be written ({error.strerror})") from error
    finally:
        shutil.rmtree(passing, ignore_errors=True)


def _put(passing: Path, folder: Path) -> None:
    if not folder.exists() or not any(folder.iterdir()):
        passing.replace(folder)
        return
    earlier = passing.with_name(f"{passing.name}-earlier")
    folder.replace(earlier)
    try:
        passing.replace(folder)
    except BaseException:
        earlier.replace(folder)
        raise
    shutil.rmtree(earlier, ignore_errors=True)
