"""`muscle-gov compare`: two logs in, a verdict out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muscle_gov.cli import Command, _options, _show, _update
from muscle_gov.errors import UsageError

if TYPE_CHECKING:
    from muscle_gov.plugins import Plugins
    from muscle_gov.settings import CompareSettings, ImportSettings, Policy, Source


@click.command(cls=Command, short_help="Compare the logs of two models and judge the update.")
@click.argument("old", type=click.Path(path_type=Path), required=False)
@click.argument("new", type=click.Path(path_type=Path), required=False)
@click.option("-c", "--config", type=click.Path(path_type=Path), help="An update.toml instead.")
@_options.import_options
@click.option("--old-reader", help="Format of the old log, where it differs.")
@click.option("--new-reader", help="Format of the new log, where it differs.")
@click.option(
    "--old-option", "old_options", multiple=True, metavar="NAME=VALUE", help="Reader option, old only."
)
@click.option(
    "--new-option", "new_options", multiple=True, metavar="NAME=VALUE", help="Reader option, new only."
)
@click.option("--old-model", help="Model to take from OLD, where it holds several.")
@click.option("--new-model", help="Model to take from NEW, where it holds several.")
@click.option(
    "--old-rerun",
    "old_reruns",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Another run of the old model: a repeat, for the noise floor.",
)
@click.option(
    "--new-rerun",
    "new_reruns",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Another run of the new model.",
)
@_options.compare_options
@_options.gate_options
@_options.output_options
@_options.store_option
@_options.worst_option
@_options.quiet_option
def compare(old: Path | None, new: Path | None, config: Path | None, **given: Any) -> int:
    """Compare the logs of the OLD and the NEW model and judge the update.

    OLD and NEW are files or directories that a harness wrote; the format is detected. Instances are
    paired by their content, never by their position. Everything is kept in the store.

    \b
    Examples:
      muscle-gov compare old/ new/
      muscle-gov compare old/ new/ --max nfr=2% --min accuracy_delta=-1% --html report.html
      muscle-gov compare old.csv new.csv --reader table -o key=id -o correct=ok
      muscle-gov compare both.jsonl --reader table -o key=id -o 'correct={model}.ok' \\
          --old-model v1 --new-model v2
    """
    from muscle_gov.pipeline import compare_logs
    from muscle_gov.store import open_store

    plugins, sources, settings, policy, outputs, store_path = _everything(old, new, config, given)
    formats = _options.formats_of(plugins, given, outputs)
    quiet = given["quiet"]
    _show.warn_of_broken(plugins, quiet)
    _show.warn_of_policy(policy, plugins, quiet)
    with open_store(store_path) as store:
        with _show.progress("reading", quiet) as counter:
            judged = compare_logs(
                store, plugins, *sources, settings, policy, _update.command_line(), counter
            )
        return _update.tell(store, plugins, judged, (formats, outputs), {**given, "config": config})


def _everything(
    old: Path | None, new: Path | None, config: Path | None, given: dict[str, Any]
) -> tuple[Plugins, tuple[Source, Source], CompareSettings, Policy, dict[str, str], str]:
    """All that the command line and the config file say, the command line last."""
    from muscle_gov.settings import CompareSettings

    if config is not None:
        return _configured(old, config, given)
    given["config"] = None
    if old is None:
        raise UsageError("say what to compare: muscle-gov compare OLD NEW (see --help)")
    plugins = _options.load_plugins(given["policy"])
    new = new or old
    if new == old and given["old_model"] == given["new_model"] and not _sides_differ(given):
        raise UsageError("one file is given: name its two models with --old-model and --new-model")
    sources = _source("old", old, given), _source("new", new, given)
    settings = _options.compare_settings(given, CompareSettings())
    policy = _options.policy_of(plugins, given, settings.confidence)
    outputs = _options.outputs_of(plugins, given)
    _options.check_outputs(outputs, _update.inputs(sources, given["store"], given))
    return plugins, sources, settings, policy, outputs, given["store"]


def _sides_differ(given: dict[str, Any]) -> bool:
    names = ("options", "reader")
    return any(given[f"old_{name}"] != given[f"new_{name}"] for name in names)


def _source(side: str, path: Path, given: dict[str, Any]) -> Source:
    from muscle_gov.settings import Source

    return Source(path, _import_settings(side, given), given[f"{side}_model"], given[f"{side}_reruns"])


def _import_settings(side: str, given: dict[str, Any]) -> ImportSettings:
    from muscle_gov.settings import ImportSettings

    options = _options.reader_options(given["options"], given["metric"], given["filter_"])
    options |= _options.reader_options(given[f"{side}_options"])
    return ImportSettings(
        given[f"{side}_reader"] or given["reader"], options, given["pair_by"], given["duplicates"]
    )


def _configured(
    old: Path | None, config: Path, given: dict[str, Any]
) -> tuple[Plugins, tuple[Source, Source], CompareSettings, Policy, dict[str, str], str]:
    from muscle_gov.settings import Source

    if old is not None:
        raise UsageError("give either OLD and NEW or --config, not both")
    plugins, update, outputs, store = _update.configured(config, given)
    old_side, new_side = update.old, update.new
    if not isinstance(old_side, Source) or not isinstance(new_side, Source):
        raise UsageError(f"{config}: has models to run; use: muscle-gov run {config}")
    return plugins, (old_side, new_side), update.compare, update.policy, outputs, store
