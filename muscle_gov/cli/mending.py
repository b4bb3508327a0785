"""`muscle-gov finetune` and `muscle-gov mitigate`: task adapters are made, and what mends an update."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muscle_gov.cli import Command, _fitting, _options, _show
from muscle_gov.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from muscle_gov.config import Update
    from muscle_gov.plugins import Plugins

config_argument = click.argument("config", type=click.Path(path_type=Path), default=Path("update.toml"))


@click.command(cls=Command, short_help="Train the task adapters that an update.toml describes.")
@config_argument
@click.option(
    "--only", multiple=True, metavar="NAME", help="Only this one of [finetune]; name or pattern."
)
@click.option("--replace", is_flag=True, help="Put a new adapter in the place of another one.")
@_options.quiet_option
def finetune(config: Path, **given: Any) -> int:
    """Train the task adapters of [finetune.NAME] in CONFIG (default: update.toml).

    Old and new model are fitted to a task by the same procedure, each with its own LoRA adapter: plain
    peft folders that peft, transformers and vLLM load. What is there already and was made of the same
    is left as it is; training that was interrupted goes on.

    \b
    Examples:
      muscle-gov finetune
      muscle-gov finetune update.toml --only new --replace
    """
    from muscle_gov.fit import finetune as fit

    plugins, update = _loaded(config, given["quiet"])
    if not update.finetune:
        raise UsageError(f"{config}: has no [finetune.NAME]; see muscle-gov plugins cross-entropy")
    for key in _chosen(update.finetune, given["only"], "finetune"):
        made = update.finetune[key]
        with _fitting.watching(given["quiet"]) as watch:
            is_new = fit(update, plugins, made, given["replace"], watch)
        print(f"finetune.{key}: {made.out}{'' if is_new else ' (was there)'}")
    return 0


@click.command(cls=Command, short_help="Train what mends an update, without judging it.")
@config_argument
@click.option("--only", multiple=True, metavar="NAME", help="Only this one of [mitigations].")
@_options.quiet_option
def mitigate(config: Path, **given: Any) -> int:
    """Train the mitigations of CONFIG (default: update.toml) and say where they are.

    They are judged by `muscle-gov run --mend`, which trains nothing twice. Training data that are
    judged too are refused.

    \b
    Examples:
      muscle-gov mitigate
      muscle-gov mitigate update.toml --only muscle
    """
    from muscle_gov.fit import ADAPTER, check_disjoint, fitting_of

    plugins, update = _loaded(config, given["quiet"])
    if not update.mitigations:
        raise UsageError(f"{config}: has no [mitigations.NAME]; muscle-gov plugins lists what there is")
    check_adapters(update, plugins, config, given["quiet"])
    for key in _chosen(update.mitigations, given["only"], "mitigations"):
        mending = update.mitigations[key]
        check_disjoint({name: update.training[name] for name in mending.training}, update.suites)
        with _fitting.watching(given["quiet"]) as watch:
            fitting = fitting_of(update, plugins, mending, watch)
            mending.mitigation.fit(fitting)
        print(f"mitigations.{key}: {fitting.workdir / ADAPTER}")
    return 0


def check_adapters(update: Update, plugins: Plugins, config: Path, quiet: bool) -> None:
    """Raises UsageError if an adapter that the file says how to make is not there yet; one that was made
    of something else is told."""
    from muscle_gov.fit import is_stale, missing_adapters

    if missing := missing_adapters(update):
        raise UsageError(
            f"{config}: the adapter of finetune.{missing[0]} is not there yet; make it first: "
            f"muscle-gov finetune {config}"
        )
    for key, made in update.finetune.items():
        if is_stale(update, plugins, made):
            _show.say(
                f"{config}: finetune.{key}: {made.out} was not made of what the file says now; "
                f"muscle-gov finetune {config} --only {key} --replace makes it anew",
                quiet,
            )


def _loaded(config: Path, quiet: bool) -> tuple[Plugins, Update]:
    from muscle_gov.config import load_update

    plugins = _options.load_plugins(config)
    _show.warn_of_broken(plugins, quiet)
    return plugins, load_update(config, plugins)


def _chosen(there: Mapping[str, Any], wanted: Sequence[str], kind: str) -> list[str]:
    for pattern in wanted:
        if not any(fnmatchcase(key, pattern) for key in there):
            raise UsageError(f"there is no [{kind}.{pattern}]; {did_you_mean(pattern, there)}")
    return [key for key in there if not wanted or any(fnmatchcase(key, one) for one in wanted)]
