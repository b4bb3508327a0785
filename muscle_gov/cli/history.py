"""`muscle-gov history`: what was compared, and what came of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from muscle_gov.cli import Command, _options, _show
from muscle_gov.text import visible

if TYPE_CHECKING:
    from rich.text import Text

    from muscle_gov.store.records import HistoryRow


@click.command(cls=Command, short_help="List past comparisons and their verdicts.")
@click.option("--model", help="Only with this model on either side; name or pattern.")
@_options.store_option
@_options.json_option
def history(**given: Any) -> int:
    """List the comparisons in the store with their verdicts, the latest first.

    Verdicts that were given before the newest one are named, so that no second try goes unseen.

    \b
    Examples:
      muscle-gov history
      muscle-gov history --model 'llama*' --json
    """
    from rich import box
    from rich.table import Table

    from muscle_gov.store import open_store, records

    with open_store(given["store"], read_only=True) as store:
        rows = records.history(store, given["model"])
    if given["as_json"]:
        _show.print_json([asdict(row) for row in rows])
        return 0
    if not rows:
        _show.say("no comparison is kept here" + (" of such a model" if given["model"] else ""))
        return 0
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in ("comparison", "when (UTC)", "old → new", "suites"):
        table.add_column(title, overflow="fold")
    for title in ("pairs", "Δ", "NFR"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    _show.console().print(table)
    return 0


def _cells(row: HistoryRow) -> list[str | Text]:
    from rich.text import Text

    delta = "–" if row.accuracy_delta is None else f"{100 * row.accuracy_delta:+.1f}"
    nfr = "–" if row.nfr is None else f"{100 * row.nfr:.1f}%"
    if row.suites > 1 and row.suite not in (None, "(all)"):
        nfr += "\n(worst suite)"
    before = f"\nbefore: {', '.join(row.earlier)}" if row.earlier else ""
    status = row.status or "NOT JUDGED"
    return [
        row.id,
        row.created[:16].replace("T", " "),
        Text(visible(f"{row.old_model} → {row.new_model}") + (f" ({row.role})" if row.role else "")),
        str(row.suites),
        "–" if row.n_pairs is None else f"{row.n_pairs:,}",
        delta,
        nfr,
        Text(f"{_show.SIGNS[status]} {status}{before}", style=_show.STYLES[status]),
    ]
