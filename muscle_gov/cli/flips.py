"""`muscle-gov flips`: the answers that changed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from muscle_gov.cli import Command, _options, _show
from muscle_gov.errors import UsageError
from muscle_gov.text import one_line

if TYPE_CHECKING:
    from muscle_gov.data import Flip
    from muscle_gov.store import Store

MOST_NAMED = 12
"""Suites or slices that are named where nothing matches."""
KINDS = ("negative", "loss", "wrong_to_wrong", "positive", "gain")


@click.command(cls=Command, short_help="List the answers that changed, or show one.")
@_options.comparison_argument
@click.option("--suite", help="Only this suite; name or pattern.")
@click.option("--slice", "slice_", metavar="TAG=VALUE", help="Only this slice.")
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only this kind.")
@click.option("--text", help="Only with this text in prompt, target, answers or outputs.")
@click.option("--key", help="Show the flip with this key in full, with a word diff.")
@click.option(
    "--limit", type=click.IntRange(0), default=50, show_default=True, help="At most so many; 0 for all."
)
@_options.store_option
@_options.json_option
def flips(comparison: str | None, **given: Any) -> int:
    """List the answers that changed in the stored COMPARISON (default: the latest), worst first.

    \b
    Examples:
      muscle-gov flips --kind negative --suite 'gsm8k*'
      muscle-gov flips --slice subject=law --json
      muscle-gov flips --key 104
    """
    from muscle_gov.pipeline import judge_again, policy_of_verdict
    from muscle_gov.plugins import load
    from muscle_gov.store import open_store, records
    from muscle_gov.store.flips import FlipFilter, FlipList

    if given["slice_"] and "=" not in given["slice_"]:
        raise UsageError(f"--slice {given['slice_']}: must read TAG=VALUE")
    chosen = FlipFilter(given["suite"], given["kinds"], given["slice_"], given["key"], given["text"])
    with open_store(given["store"], read_only=True) as store:
        saved = records.find_comparison(store, comparison)
        # the waivers of the newest verdict, but without its gate: nothing is judged here
        policy, allow = policy_of_verdict(store, saved.id)
        policy = replace(policy, gate=None)
        waived = judge_again(
            store, load(block=saved.blocked), saved, policy, keep=False, allow=allow
        ).flips.waived
        found = FlipList(store, chosen, waived)
        if not len(found) and (given["key"] is None or given["as_json"]):
            _show.say(f"muscle-gov: {_none_of(store, saved.id, given)}")
        shown = itertools.islice(found, given["limit"] or None)
        if given["as_json"]:
            _print_json(saved.id, len(found), shown)
        elif given["key"] is not None:
            _show_each(shown, f"--key {given['key']}: no such instance flipped in {saved.id}")
        else:
            _list(shown, len(found))
    return 0


def _none_of(store: Store, comparison: str, given: Mapping[str, Any]) -> str:
    """Why nothing is listed: what was asked for, and what there is instead."""
    from muscle_gov.store.flips import FlipList, where_flips_are

    total = len(FlipList(store))
    if not total:
        return f"no answer changed in {comparison}"
    names = ("suite", "slice_", "key", "text")
    asked = [f"--{n.rstrip('_')} {one_line(given[n], 60)}" for n in names if given[n] is not None]
    asked += [f"--kind {kind}" for kind in given["kinds"]]
    there = "; ".join(
        f"{what} {_few([one_line(name, 60) for name in found])}"
        for what, found in where_flips_are(store).items()
        if found
    )
    flips = "1 flip" if total == 1 else f"{total:,} flips"
    return f"no flip matches {' '.join(asked)}; {comparison} has {flips}: {there}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _print_json(comparison: str, total: int, shown: Iterable[Flip]) -> None:
    # a 64-bit number is too big for the floating point of other readers
    flips = [{**asdict(flip), "instance_id": str(flip.instance_id)} for flip in shown]
    _show.print_json({"comparison": comparison, "total": total, "flips": flips})


def _show_each(shown: Iterable[Flip], none: str) -> None:
    shown = list(shown)
    if not shown:
        raise UsageError(none)
    for flip in shown:
        _show.show_flip(flip)


def _list(shown: Iterable[Flip], total: int) -> None:
    printed = 0
    for flip in shown:
        printed += 1
        answers = f"{one_line(flip.old_answer, 32)} → {one_line(flip.new_answer, 32)}"
        target = f"  (target {one_line(flip.target, 32)})" if flip.target is not None else ""
        waived = "  [waived]" if flip.waived else ""
        place = f"{flip.kind:<15}{one_line(flip.suite, 40)}  {one_line(flip.key, 40)}"
        print(f"{place}  {answers}{target}{waived}")
    if total > printed:
        _show.say(f"{total - printed:,} more; --limit 0 lists all")
