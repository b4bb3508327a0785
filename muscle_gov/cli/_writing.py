"""Reports as files: with the evidence that only files need, and the report folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muscle_gov.cli import _options, _show

if TYPE_CHECKING:
    from muscle_gov.data import Report
    from muscle_gov.plugins import Plugins
    from muscle_gov.store import Store


def write(
    store: Store,
    plugins: Plugins,
    report: Report,
    asked: tuple[Mapping[str, Any], Mapping[str, str]],
    given: Mapping[str, Any],
) -> None:
    """Write the reports that are asked for, `(formats, outputs)`, and the report folder."""
    formats, outputs = asked
    quiet, config = given["quiet"], given.get("config")
    if outputs:
        from muscle_gov.proof.evidence import with_evidence

        report = with_evidence(store, report, config)
        _show.write_reports(formats, report, outputs, quiet)
    if given["folder"] is not None:
        _write_folder(store, plugins, report, given, config)


def _write_folder(
    store: Store, plugins: Plugins, report: Report, given: Mapping[str, Any], config: Path | None
) -> None:
    from muscle_gov.proof.evidence import config_of
    from muscle_gov.proof.folder import write_folder
    from muscle_gov.proof.signing import SIGNATURE

    folder, quiet = given["folder"], given["quiet"]
    was_signed = (folder / SIGNATURE).exists()
    made = write_folder(
        store,
        plugins,
        report,
        folder,
        _options.folder_options(given),
        config_of(config) if config is not None else None,
        given["replace_folder"],
    )
    _show.say(f"report folder: {folder} ({len(made.files)} files; `muscle-gov verify` checks it)", quiet)
    _tell_not_made(made.not_made, quiet)
    if was_signed:
        # somebody relied on it, so this is told even if asked to be quiet
        _show.say(f"{folder}: the signature of the report before is gone; sign this one again")


def _tell_not_made(not_made: Mapping[str, str], quiet: bool) -> None:
    """What broke, with its reason; the others, which nobody asked for in particular, by name alone."""
    from muscle_gov.proof.folder import CRASHED

    others = []
    for name, why in not_made.items():
        if why.startswith(CRASHED):
            _show.say(f"  without {name}: {why}", quiet)
        else:
            others.append(name)
    if others:
        _show.say(f"  without {', '.join(others)} (manifest.json says why)", quiet)
