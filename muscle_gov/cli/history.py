"""`muscle-gov history`: what was compared, and what came of it; as a table, or as a page."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muscle_gov.cli import Command, _options, _show, _style
from muscle_gov.errors import UsageError
from muscle_gov.text import visible

if TYPE_CHECKING:
    from rich.text import Text

    from muscle_gov.store.records import HistoryRow


@click.command(cls=Command, short_help="List past comparisons and their verdicts.")
@click.option("--model", help="Only with this model on either side; name or pattern.")
@click.option(
    "--html", metavar="FILE", help="Write the updates of each line of models as one HTML file."
)
@click.option(
    "--line",
    "through",
    multiple=True,
    metavar="NAME",
    help="On the page only the line that goes through this model; repeat to name several of its models.",
)
@click.option("--title", metavar="TEXT", help="Title of the page.")
@_options.store_option
@_options.json_option
def history(**given: Any) -> int:
    """List the comparisons in the store with their verdicts, the latest first.

    Verdicts that were given before the newest one are named, so that no second try goes unseen. The page
    that --html writes puts them in order: updates that build on each other are one line, with the course
    of its flips, each suite, changes of the policy, and the answers that broke more than once.

    \b
    Examples:
      muscle-gov history
      muscle-gov history --model 'llama*' --json
      muscle-gov history --html history.html --line assistant-2.0
    """
    _check(given)
    if given["html"] is not None:
        page = _page(given)
        if given["html"] == "-":
            _show.print_bytes(page)
            return 0
        _show.write_file(Path(given["html"]), page)
        _show.say(f"history: {given['html']}")
    return _list(given)


def _check(given: dict[str, Any]) -> None:
    """Refuse what cannot be, before the store is opened."""
    if given["html"] is None:
        for name, option in (("through", "--line"), ("title", "--title")):
            if given[name]:
                raise UsageError(f"{option}: is of the page; say where to with --html FILE")
        return
    if given["html"] == "-" and given["as_json"]:
        raise UsageError("only one can be printed, but --html - and --json both are")
    _options.check_outputs({"history": given["html"]}, [given["store"]])


def _page(given: dict[str, Any]) -> bytes:
    from muscle_gov.history import history_of
    from muscle_gov.report.history import TITLE, render_history
    from muscle_gov.store import open_store

    with open_store(given["store"], read_only=True) as store:
        found = history_of(store, given["model"], given["through"])
    return render_history(found, given["title"] or TITLE)


def _list(given: dict[str, Any]) -> int:
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
        Text(f"{_style.SIGNS[status]} {status}{before}", style=_style.STYLES[status]),
    ]
