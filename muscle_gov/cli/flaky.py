"""`muscle-gov flaky`: items to which one and the same model gives different answers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muscle_gov.cli import Command, _options, _show, _style
from muscle_gov.errors import UsageError
from muscle_gov.settings import MOST_QUARANTINED
from muscle_gov.text import one_line, visible

if TYPE_CHECKING:
    from muscle_gov.store.flaky import FlakyItem


@click.command(cls=Command, short_help="List items that one model answers in two ways.")
@click.option("--model", help="Only by answers of this model; name or pattern.")
@click.option("--suite", help="Only this suite; name or pattern.")
@click.option(
    "--toml",
    metavar="FILE",
    help="Write a [[quarantine]] entry for each, to be signed before it holds; - prints them.",
)
@click.option("--force", is_flag=True, help="Write over a file that is there.")
@click.option(
    "--limit", type=click.IntRange(0), default=50, show_default=True, help="At most so many; 0 for all."
)
@_options.store_option
@_options.json_option
@_options.quiet_option
def flaky(**given: Any) -> int:
    """List the items whose outcome differs between two answers of one and the same model.

    Answers count as of one model if its fingerprint, the prompt and the set-up of the task are the same:
    repeats in a run, and further runs. Such items flip without any update; --toml proposes to set them
    aside with `gate --quarantine`, each once somebody has signed for it.

    \b
    Examples:
      muscle-gov flaky
      muscle-gov flaky --suite 'gsm8k*' --toml quarantine.toml
      muscle-gov gate --policy policy.toml --quarantine quarantine.toml
    """
    from muscle_gov.store import open_store
    from muscle_gov.store.flaky import flaky_items

    to = given["toml"]
    if to == "-" and given["as_json"]:
        raise UsageError("--toml - and --json both print; give --toml a file")
    if to is not None:
        _options.check_place(to)
        if to != "-" and Path(to).exists() and not given["force"]:
            raise UsageError(f"{to}: is there already; --force writes over it")
    with open_store(given["store"], read_only=True) as store:
        found = flaky_items(store, given["suite"], given["model"])
    if to is not None:
        content = ledger(found, None if to == "-" else to).encode()
        if to == "-":
            _show.print_bytes(content)
            return 0
        _show.write_file(Path(to), content)
        _show.say(f"{len(found):,} proposals: {to}; fill in reason, owner and expires", given["quiet"])
    shown = found[: given["limit"] or None]
    if given["as_json"]:
        _print_json(shown, len(found))
        return 0
    _list(shown, len(found), given["quiet"])
    return 0


def _print_json(shown: Iterable[FlakyItem], total: int) -> None:
    items = [
        {
            "suite": item.suite,
            "key": item.key,
            "instance_id": str(item.instance_id),  # too big for the floating point of other readers
            "answers": item.answers,
            "differing": item.differing,
            "models": list(item.models),
        }
        for item in shown
    ]
    _show.print_json({"total": total, "items": items})


def _list(shown: Sequence[FlakyItem], total: int, quiet: bool) -> None:
    if not total:
        print("no item is known to be flaky; repeats or reruns of one model would show it")
        return
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("suite", "item"):
        table.add_column(name, overflow="fold")
    for name in ("differ", "of answers", "share"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("models", overflow="fold")
    for item in shown:
        table.add_row(
            _style.styled(one_line(item.suite, 40)),
            _style.styled(one_line(item.key, 40)),
            f"{item.differing:,}",
            f"{item.answers:,}",
            f"{100 * item.share:.0f}%",
            _style.styled(", ".join(one_line(model, 40) for model in item.models)),
        )
    _show.console().print(table)
    if total > len(shown):
        _show.say(f"{total - len(shown):,} more; --limit 0 lists all", quiet)


# ----------------------------------------------------------------------------------------- the ledger


def ledger(found: Sequence[FlakyItem], file: str | None = None) -> str:
    """A file of `[[quarantine]]` tables, one proposal for each item. `file` is what it will be called.

    They have no reason, no owner and no last day, without which such a file is refused: nothing is set
    aside before somebody has signed for it.
    """
    name = one_line(file or "quarantine.toml", 80)
    parts = [
        "# Proposals of `muscle-gov flaky`: items that one and the same model answered in two ways.\n"
        "# None of them holds yet. For each, fill in why it is flaky, who answers for it and the last\n"
        "# day on which it holds, or remove it; the file is refused as long as one is left open. At\n"
        f"# most {100 * MOST_QUARANTINED:g} % of a suite's pairs may be set aside.\n#\n"
        f"#   muscle-gov check {name}\n"
        f"#   muscle-gov gate --policy policy.toml --quarantine {name}\n"
    ]
    if not found:
        parts.append("# No item is known to be flaky.\nquarantine = []\n")
    for item in found:
        models = ", ".join(one_line(model, 60) for model in item.models)
        parts.append(
            f"# {item.differing:,} of {item.answers:,} answers differ: {models}\n"
            "[[quarantine]]\n"
            f"suite = {_quoted(item.suite)}\ninstance = {_quoted(item.key)}\n"
            'reason = ""\nowner = ""\nexpires = ""\n'
        )
    return "\n".join(parts)


def _quoted(text: str) -> str:
    """A TOML string that holds this text, hidden characters written as numbers."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(c if visible(c) == c else f"\\U{ord(c):08X}" for c in quoted)
