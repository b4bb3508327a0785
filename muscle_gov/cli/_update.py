"""What commands that read an update.toml share: all that is asked for, and how the result is told."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muscle_gov.cli import _candidates, _options, _show, _writing

if TYPE_CHECKING:
    from muscle_gov.config import Update
    from muscle_gov.pipeline import Judged
    from muscle_gov.plugins import Plugins
    from muscle_gov.store import Store


def command_line() -> str:
    """The command line as it was typed."""
    return " ".join(["muscle-gov", *map(shlex.quote, sys.argv[1:])])


def configured(config: Path, given: dict[str, Any]) -> tuple[Plugins, Update, dict[str, str], str]:
    """(plugins, update, reports to write, store): what the file says and the command line adds."""
    from muscle_gov.config import load_update
    from muscle_gov.settings import Source

    plugins = _options.load_plugins(config, given["policy"])
    update = load_update(config, plugins)
    settings = _options.compare_settings(given, update.compare)
    policy = _options.policy_of(plugins, given, settings.confidence, update.policy)
    asked = {name: str(file) for name, file in update.reports.items()}
    outputs = {**asked, **_options.outputs_of(plugins, given)}
    store = store_of(given, update)
    sources = [side for side in (update.old, update.new) if isinstance(side, Source)]
    _options.check_outputs(outputs, inputs(sources, store, {**given, "config": config}))
    return plugins, replace(update, compare=settings, policy=policy), outputs, store


def store_of(given: Mapping[str, Any], update: Update) -> str:
    """The store that the command line names, else the file's, else the default."""
    parameter = click.get_current_context().get_parameter_source("store")
    is_given = parameter is not None and parameter.name != "DEFAULT"
    return given["store"] if is_given or update.store is None else str(update.store)


def inputs(sources: Iterable[Any], store: str, given: Mapping[str, Any]) -> list[Any]:
    """Files that no report may overwrite."""
    logs = [path for source in sources for path in (source.path, *source.reruns)]
    return [*logs, store, given["policy"], given["waivers"], given["quarantine"], given["config"]]


def tell(
    store: Store,
    plugins: Plugins,
    judged: Judged,
    asked: tuple[Mapping[str, Any], Mapping[str, str]],
    given: Mapping[str, Any],
) -> int:
    """Show the comparison, write the reports `asked` for, (formats, outputs); returns the exit code."""
    outputs, quiet = asked[1], given["quiet"]
    if "-" not in outputs.values():
        _show.show_report(judged.report, given["worst"], quiet, given["explain"])
        if judged.report.candidates:
            _candidates.show(judged.report.candidates, judged.comparison)
    _writing.write(store, plugins, judged.report, asked, given)
    if store.path != ":memory:":
        _show.say(f"kept as {judged.comparison.id} in {store.path}", quiet)
    return judged.verdict.exit_code
