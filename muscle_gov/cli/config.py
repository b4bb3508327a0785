"""`muscle-gov check` and `muscle-gov init`: config files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from muscle_gov.cli import Command, _options, _show
from muscle_gov.errors import UsageError
from muscle_gov.text import visible


@click.command(cls=Command, short_help="Check an update.toml or a policy; print its JSON Schema.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the file, for editors.")
def check(file: Path | None, schema: bool) -> int:
    """Check a config FILE and tell every problem at once, each with its line.

    FILE may describe a whole update, hold only a policy ([gate]), or hold waivers ([[waiver]]) or a
    quarantine ([[quarantine]]); entries that have expired or soon will are told, and are no error.

    \b
    Examples:
      muscle-gov check update.toml
      muscle-gov check --schema > update.schema.json
    """
    from muscle_gov.config import json_schema

    if schema:
        _show.print_json(json_schema(_options.load_plugins()))
        return 0
    if file is None:
        raise UsageError("name a file to check, e.g. muscle-gov check update.toml")
    warnings = _checked(file)
    for warning in warnings:
        _show.say(f"{file}: {warning}")
    n = f"{len(warnings):,} warning" + ("s" if len(warnings) > 1 else "")
    print(visible(f"{file}: " + (f"no error, {n}" if warnings else "no problem found")))
    return 0


def _checked(file: Path) -> tuple[str, ...]:
    """Warnings about a file of whatever kind it is. Raises ConfigError for what is wrong with it."""
    from muscle_gov import config
    from muscle_gov.config.tables import read_document
    from muscle_gov.refusals import expiry_warnings
    from muscle_gov.settings import Quarantine, Waiver
    from muscle_gov.store import clock

    def told(entries: Sequence[Waiver | Quarantine]) -> tuple[str, ...]:
        return expiry_warnings(entries, clock.today(entry.expires for entry in entries))

    tables = read_document(file).data
    if "waiver" in tables:
        return told(config.load_waivers(file))
    if isinstance(tables.get("quarantine"), list):
        return told(config.load_quarantine(file))
    plugins = _options.load_plugins(file)
    if "gate" in tables and not {"old", "new", "models", "suites"} & tables.keys():
        return config.warnings_of(config.load_policy(file, plugins), plugins)
    update = config.load_update(file, plugins)
    return (*update.warnings, *told([*update.policy.waivers, *update.policy.quarantine]))


@click.command(cls=Command, short_help="Write a commented example of an update.toml or a policy.")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--run", "runs", is_flag=True, help="An example that runs models, not one of logs.")
@click.option(
    "--preset",
    type=click.Choice(["default", "strict", "exploratory"]),
    default="default",
    show_default=True,
    help="Which rules: what most updates need; for what nobody can take back; to look, never to pass.",
)
@click.option("--policy", "alone", is_flag=True, help="Only the policy, to judge many updates by.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def init(file: Path | None, runs: bool, preset: str, alone: bool, force: bool) -> int:
    """Write a commented example of a config to FILE (default: update.toml, or policy.toml).

    \b
    Examples:
      muscle-gov init                  (then put in the paths of your logs)
      muscle-gov init --run            (then put in your models and questions)
      muscle-gov init --preset strict
      muscle-gov init --policy --preset strict release-policy.toml
      muscle-gov check update.toml
    """
    from muscle_gov.config import example_text, policy_text

    if alone and runs:
        raise UsageError("--policy writes only the rules, so --run has nothing to say; leave one out")
    file = file or Path("policy.toml" if alone else "update.toml")
    _options.check_place(str(file))
    if file.exists() and not force:
        raise UsageError(f"{file}: is there already; --force writes over it")
    text = policy_text(preset) if alone else example_text(runs, preset)
    _show.write_file(file, text.encode())
    what = "gate --policy" if alone else "run" if runs else "compare --config"
    print(visible(f"wrote {file}; then: muscle-gov {what} {file}"))
    return 0
