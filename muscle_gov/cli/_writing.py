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

    folder, quiet = given["folder"], given["quiet"]
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
    for name, why in made.not_made.items():
        _show.say(f"  without {name}: {why}", quiet)
