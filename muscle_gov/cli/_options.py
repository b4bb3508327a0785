"""Options that several commands share, and what turns them into settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from muscle_gov.errors import UsageError

if TYPE_CHECKING:
    from muscle_gov.plugins import Plugins
    from muscle_gov.settings import CompareSettings, Policy

Command = Callable[..., Any]
STORE = "muscle-gov.duckdb"
FORMATS = ("html", "markdown", "json", "csv", "parquet", "junit", "sarif")


def chain(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Several decorators as one, the first outermost."""

    def decorate(function: Command) -> Command:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def share(value: str) -> float:
    """A share between 0 and 1, written as 0.02 or 2%."""
    text = value.strip()
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no share such as 0.02 or 2%") from None
    if not 0 <= number <= 1:
        raise click.BadParameter(f"{value!r} must lie between 0 and 1 (or 0% and 100%)")
    return number


store_option = click.option(
    "--store",
    default=STORE,
    show_default=True,
    envvar="MUSCLE_GOV_STORE",
    help="DuckDB file that keeps every prediction; :memory: keeps nothing.",
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress and no remarks.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a machine.")
worst_option = click.option(
    "--worst", type=click.IntRange(0), default=5, show_default=True, help="How many flips to print."
)
comparison_argument = click.argument("comparison", required=False)

import_options = chain(
    click.option("--reader", default="auto", show_default=True, help="Format of the logs."),
    click.option(
        "-o",
        "--option",
        "options",
        multiple=True,
        metavar="NAME=VALUE",
        help="Option of the reader (see `muscle-gov plugins READER`); repeat for lists.",
    ),
    click.option("--metric", help="Score that decides right or wrong, where a log has several."),
    click.option("--filter", "filter_", help="Take only this filter of lm-evaluation-harness."),
    click.option(
        "--pair-by",
        type=click.Choice(["auto", "content", "key"]),
        default="auto",
        show_default=True,
        help="What makes two rows the same instance.",
    ),
    click.option(
        "--duplicates",
        type=click.Choice(["refuse", "first", "last", "repeats"]),
        default="refuse",
        show_default=True,
        help="What an instance is that comes twice with different results.",
    ),
)

compare_options = chain(
    click.option("--suite", "suites", multiple=True, help="Only this suite; name or pattern."),
    click.option("--threshold", type=float, help="Graded scores at least this good are right."),
    click.option(
        "--confidence",
        type=share,
        metavar="SHARE",
        help="Of the intervals and bounds.  [default: 0.95]",
    ),
    click.option(
        "--allow", multiple=True, metavar="CODE", help="Accept a finding that forbids to compare."
    ),
    click.option("--no-slices", is_flag=True, help="Leave slices by tag out."),
)

gate_options = chain(
    click.option(
        "--max",
        "maxima",
        multiple=True,
        metavar="RULE",
        help="Largest figure allowed: nfr=2%, 'gsm8k*:nfr=0.02', 'mmlu[subject=law]:nfr=5%'.",
    ),
    click.option("--min", "minima", multiple=True, metavar="RULE", help="Smallest: accuracy_delta=-1%."),
    click.option(
        "--policy",
        type=click.Path(path_type=Path),
        help="TOML file with a [gate] table (see `muscle-gov init`).",
    ),
    click.option("--waivers", type=click.Path(path_type=Path), help="TOML file with waivers."),
    click.option(
        "--quarantine",
        type=click.Path(path_type=Path),
        help="TOML file with flaky items to set aside (see `muscle-gov flaky`).",
    ),
    click.option(
        "--coverage",
        type=share,
        metavar="SHARE",
        help="Least share of instances with a score on both sides.  [default: 0.99]",
    ),
    click.option("--explain", is_flag=True, help="Say of each rule why, and what would make it pass."),
)

output_options = chain(
    click.option("--html", metavar="FILE", help="Write the report as one HTML file."),
    click.option("--md", "markdown", metavar="FILE", help="... as Markdown."),
    click.option("--json", metavar="FILE", help="... as JSON; - prints it."),
    click.option("--csv", metavar="FILE", help="Write the flips as CSV."),
    click.option("--parquet", metavar="FILE", help="... as Parquet."),
    click.option("--junit", metavar="FILE", help="Write the rules as JUnit XML."),
    click.option("--sarif", metavar="FILE", help="... as SARIF, for code scanning."),
    click.option(
        "--report",
        "reports",
        multiple=True,
        metavar="NAME=FILE",
        help="Write any report format that a plugin offers.",
    ),
    click.option(
        "--report-option",
        "report_options",
        multiple=True,
        metavar="NAME.OPTION=VALUE",
        help="Option of a report format: html.max_flips=500 (see `muscle-gov plugins html`).",
    ),
    click.option(
        "--folder",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="Write every report format into a folder, with all that `muscle-gov verify` needs.",
    ),
    click.option(
        "--replace-folder", is_flag=True, help="Write over an earlier report folder of that name."
    ),
)


def reader_options(
    pairs: Iterable[str], metric: str | None = None, filter_: str | None = None, flag: str = "-o"
) -> dict[str, Any]:
    """`name=value` pairs as a mapping; a name given twice makes a list."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or not name:
            raise UsageError(f"{flag} {pair}: must read NAME=VALUE")
        if name in found:
            before = found[name]
            found[name] = [*(before if isinstance(before, list) else [before]), value]
        else:
            found[name] = value
    for name, given in (("metric", metric), ("filter", filter_)):
        if given is not None:
            found[name] = given
    return found


def nested_options(pairs: Iterable[str], flag: str) -> dict[str, Any]:
    """`name=value` pairs as a mapping; a dot in a name goes one level down: `grader.kind=regex`."""
    found: dict[str, Any] = {}
    for name, value in reader_options(pairs, flag=flag).items():
        *path, last = name.split(".")
        place = found
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise UsageError(f"{flag} {name}: {part!r} is given a value of its own too")
        place[last] = value
    return found


def load_plugins(*files: Path | None) -> Plugins:
    """The plugins that are installed and that each of these files lets in."""
    from muscle_gov.config import plugin_lists
    from muscle_gov.plugins import load

    lists = [plugin_lists(file) for file in files if file is not None]
    block = {name for one in lists for name in one.block}
    allowed = [set(one.allow) for one in lists if one.allow is not None]
    return load(block=block, allow=set.intersection(*allowed) if allowed else None)


def policy_of(
    plugins: Plugins,
    given: Mapping[str, Any],
    confidence: float = 0.95,
    base: Policy | None = None,
) -> Policy:
    """The policy that `gate_options` ask for; without any of them, `base` or no gate at all."""
    from muscle_gov.config import (
        add_rules,
        check_coverage,
        load_policy,
        load_quarantine,
        load_waivers,
        make_gate,
        parse_rule,
    )
    from muscle_gov.settings import Policy

    policy = load_policy(given["policy"], plugins) if given["policy"] else base or Policy()
    sides: tuple[tuple[Literal["max", "min"], str], ...] = (("max", "maxima"), ("min", "minima"))
    rules = [
        parse_rule(text, side, confidence=confidence, plugins=plugins)
        for side, name in sides
        for text in given[name]
    ]
    coverage = given["coverage"]
    for problem in () if coverage is None else check_coverage(coverage):
        raise UsageError(f"--{problem}")
    if rules or (coverage is not None and policy.gate is not None):
        policy = replace(policy, gate=add_rules(policy.gate or make_gate(()), rules, coverage))
    elif coverage is not None:
        raise UsageError("--coverage: needs a rule to go with it (--max, --min or --policy)")
    if given["waivers"]:
        policy = replace(policy, waivers=(*policy.waivers, *load_waivers(given["waivers"])))
    if given["quarantine"]:
        entries = (*policy.quarantine, *load_quarantine(given["quarantine"]))
        policy = replace(policy, quarantine=tuple(dict.fromkeys(entries)))
    return policy


def compare_settings(given: dict[str, Any], base: CompareSettings) -> CompareSettings:
    """What `compare_options` ask for, over `base`."""
    changes: dict[str, Any] = {}
    for name in ("confidence", "threshold"):
        if given[name] is not None:
            changes[name] = given[name]
    for name in ("suites", "allow"):
        if given[name]:
            changes[name] = given[name]
    if given["no_slices"]:
        changes["slices"] = False
    if not math.isfinite(changes.get("threshold", 0.0)):
        # every answer would be wrong, so that nothing could flip
        raise UsageError(f"--threshold: {given['threshold']:g} must be a finite number")
    try:
        return replace(base, **changes)
    except ValueError as error:
        raise UsageError(f"--{error}") from None


def outputs_of(plugins: Plugins, given: Mapping[str, Any]) -> dict[str, str]:
    """Report format → file, from `output_options`. Names are checked before any work is done."""
    asked = [(name, given[name]) for name in FORMATS if given.get(name) is not None]
    for pair in given.get("reports", ()):
        name, sign, file = pair.partition("=")
        if not sign or not name:
            raise UsageError(f"--report {pair}: must read NAME=FILE")
        asked.append((name, file))
    wanted: dict[str, str] = {}
    for name, file in asked:
        plugins.get("reports", name)
        if name in wanted:
            raise UsageError(f"the {name} report is asked for twice: {wanted[name]} and {file}")
        wanted[name] = file
    _check_folder(given, wanted)
    return wanted


def _check_folder(given: Mapping[str, Any], outputs: Mapping[str, str]) -> None:
    """Refuse a report folder that could not be written, or would swallow another file."""
    folder: Path | None = given["folder"]
    if folder is None:
        if given["replace_folder"]:
            raise UsageError("--replace-folder: there is no --folder to replace")
        return
    from muscle_gov.proof.folder import check_folder

    check_folder(folder, given["replace_folder"])
    for what, file in (*outputs.items(), ("store", given["store"])):
        if file not in ("-", ":memory:") and Path(file).resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{file}: lies in the report folder {folder}; put the {what} elsewhere")


def folder_options(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Report format → its `--report-option`s."""
    found: dict[str, list[str]] = {}
    for pair in given["report_options"]:
        name, _, option = pair.partition(".")
        found.setdefault(name, []).append(option)
    return {name: reader_options(options) for name, options in found.items()}


def formats_of(plugins: Plugins, given: Mapping[str, Any], outputs: Mapping[str, str]) -> dict[str, Any]:
    """The report formats of `outputs`, made with their `--report-option`s before any work is done."""
    names = outputs if given.get("folder") is None else plugins.names("reports")
    options: dict[str, list[str]] = {name: [] for name in names}
    for pair in given["report_options"]:
        name, dot, option = pair.partition(".")
        if not dot or "=" not in option:
            raise UsageError(f"--report-option {pair}: must read NAME.OPTION=VALUE")
        if name not in options:
            raise UsageError(f"--report-option {pair}: no {name} report is asked for")
        options[name].append(option)
    made = {
        name: plugins.make("reports", name, reader_options(some))
        for name, some in options.items()
        if some or name in outputs
    }
    return {name: made[name] for name in outputs}


def check_outputs(outputs: Mapping[str, str], inputs: Iterable[Path | str | None]) -> None:
    """Refuse what could not be written, or would overwrite something, before the work is done."""
    taken = {Path(one).resolve(): f"the file {one}, which is read" for one in inputs if one}
    printed = [name for name, file in outputs.items() if file == "-"]
    if len(printed) > 1:
        raise UsageError(f"only one report can be printed, but {' and '.join(printed)} go to -")
    for name, file in outputs.items():
        if file == "-":
            continue
        check_place(file)
        place = Path(file).resolve()
        if place in taken:
            raise UsageError(f"{file}: the {name} report would overwrite {taken[place]}")
        if not _is_special(Path(file)):
            taken[place] = f"the {name} report"


def check_place(file: str) -> None:
    """Refuse a file that could not be written, before the work and not after it."""
    import os

    if file == "-":
        return
    path = Path(file)
    if not file:
        raise UsageError("the name of a file to write is empty")
    if path.is_dir():
        raise UsageError(f"{file}: is a directory; name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"{file}: the directory {path.parent} does not exist")
    if not os.access(path if _is_special(path) else path.parent, os.W_OK):
        raise UsageError(f"{file}: the directory {path.parent} may not be written to")


def _is_special(path: Path) -> bool:
    """Is it a device or a pipe, such as /dev/stdout?"""
    return path.exists() and not path.is_file()
