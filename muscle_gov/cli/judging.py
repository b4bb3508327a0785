"""`muscle-gov gate` and `muscle-gov report`: a stored comparison, judged and shown again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from muscle_gov.cli import Command, _options, _show, _update, _writing
from muscle_gov.errors import UsageError


@click.command(cls=Command, short_help="Judge a stored comparison by a policy.")
@_options.comparison_argument
@_options.gate_options
@click.option("--allow", multiple=True, metavar="CODE", help="Accept a finding that forbids to compare.")
@_options.output_options
@_options.store_option
@_options.worst_option
@_options.quiet_option
def gate(comparison: str | None, **given: Any) -> int:
    """Judge the stored COMPARISON (default: the latest) by a policy, and keep the verdict.

    \b
    Examples:
      muscle-gov gate --policy policy.toml
      muscle-gov gate 20261120-3f9a1c --max nfr=1% --junit gate.xml
      muscle-gov gate --policy policy.toml --explain
    """
    from muscle_gov.pipeline import judge_again
    from muscle_gov.settings import CompareSettings
    from muscle_gov.store import candidates, open_store, records

    plugins = _options.load_plugins(given["policy"])
    policy = _options.policy_of(plugins, given)
    try:
        CompareSettings(allow=given["allow"])
    except ValueError as error:
        raise UsageError(f"--{error}") from None
    if policy.gate is None:
        raise UsageError("say what to judge by: --policy FILE, or rules such as --max nfr=2%")
    outputs = _options.outputs_of(plugins, given)
    _options.check_outputs(outputs, _read_by(given))
    _show.warn_of_policy(policy, plugins, given["quiet"])
    formats = _options.formats_of(plugins, given, outputs)
    with open_store(given["store"], make=False) as store:
        saved = records.find_comparison(store, comparison)
        if candidates.role_of(store, saved.id) == "control":
            raise UsageError(
                f"{saved.id}: is of a control ({saved.new_model}), which is never meant to ship; judge "
                "the update or what mends it (muscle-gov history)"
            )
        policy = replace(policy, given_by=_update.command_line())
        judged = judge_again(store, plugins, saved, policy, keep=True, allow=given["allow"])
        if "-" not in outputs.values():
            _show.show_report(judged.report, given["worst"], given["quiet"], given["explain"])
        _writing.write(store, plugins, judged.report, (formats, outputs), given)
        return judged.verdict.exit_code


def _read_by(given: dict[str, Any]) -> list[Any]:
    """Files that no report may overwrite."""
    return [given[name] for name in ("store", "policy", "waivers", "quarantine")]


@click.command(cls=Command, short_help="Write reports of a stored comparison.")
@_options.comparison_argument
@_options.output_options
@_options.store_option
@_options.quiet_option
def report(comparison: str | None, **given: Any) -> int:
    """Write reports of the stored COMPARISON (default: the latest) with its newest verdict.

    Exits 0 if they were written, whatever the verdict: `muscle-gov gate` is what judges.

    \b
    Examples:
      muscle-gov report --html report.html
      muscle-gov report 20261120-3f9a1c --md summary.md --csv flips.csv
      muscle-gov report --folder release-2.1
    """
    from muscle_gov.mend import list_candidates
    from muscle_gov.pipeline import judge_again, policy_of_verdict
    from muscle_gov.plugins import load
    from muscle_gov.store import open_store, records

    with open_store(given["store"], read_only=True) as store:
        saved = records.find_comparison(store, comparison)
        plugins = load(block=saved.blocked)
        outputs = _options.outputs_of(plugins, given)
        if not outputs and given["folder"] is None:
            raise UsageError("say what to write: --html FILE, --md FILE, --json FILE, --folder DIR ...")
        _options.check_outputs(outputs, [given["store"]])
        formats = _options.formats_of(plugins, given, outputs)
        policy, allow = policy_of_verdict(store, saved.id)
        found = list_candidates(store, plugins, saved.id, policy, allow)
        judged = judge_again(store, plugins, saved, policy, keep=False, allow=allow)
        report = replace(judged.report, candidates=found)
        _writing.write(store, plugins, report, (formats, outputs), given)
    return 0
