"""Single items of the comparison at hand: which of them are named, paired, and got worse.

A key means what it means in the old log, since that is what reports show; an item that only the new
log has under this name is not the one that was listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from muscle_gov.store.columns import table
from muscle_gov.store.pairing_sql import JUDGED

if TYPE_CHECKING:
    from muscle_gov.store.connection import Store

# Pairs with a score on both sides, and whether they got worse on balance, as the list of flips has it.
_PAIRS = f"""(
    SELECT suite_id, instance_id, negative_flip::DOUBLE > positive_flip::DOUBLE AS is_worse
    FROM pairs_binary WHERE {JUDGED["binary"]}
    UNION ALL SELECT suite_id, instance_id, loss > 0 FROM pairs_graded WHERE {JUDGED["graded"]})"""
_OLD_KEYS = """(SELECT DISTINCT s.suite_id, i.instance_id, i.key
    FROM instances i JOIN sides s ON s.run_id = i.run_id AND s.side = 'old')"""
_ANY_KEYS = """(SELECT suite_id, instance_id, coalesce(min(key) FILTER (side = 'old'), min(key)) AS key
    FROM instances JOIN sides USING (run_id) GROUP BY ALL)"""


@dataclass(frozen=True)
class ListedItem:
    """One item of a list on one suite."""

    suite: str
    key: str
    instance_id: int
    is_worse: bool | None
    """Whether it got worse; None where it has no score on both sides."""


def items_of_keys(store: Store, wanted: Iterable[tuple[str, str]]) -> list[ListedItem]:
    """The items of these (suite, key), ordered; a name that no item has gives none."""
    columns = list(zip(*sorted(set(wanted)), strict=True))
    if not columns:
        return []
    store.run("CREATE OR REPLACE TEMP TABLE wanted_items (suite VARCHAR, key VARCHAR)")
    batch = table(columns, ["string", "string"], ["suite", "key"])
    store.insert("INSERT INTO wanted_items SELECT * FROM batch", batch)
    return _items(
        store,
        f"""SELECT s.name, k.key, k.instance_id, p.is_worse FROM wanted_items w
        JOIN suites s ON s.name = w.suite JOIN {_OLD_KEYS} k ON k.suite_id = s.suite_id AND k.key = w.key
        LEFT JOIN {_PAIRS} p ON p.suite_id = k.suite_id AND p.instance_id = k.instance_id
        ORDER BY ALL""",
    )


def items_of_slice(store: Store, suites: Sequence[str], slice_: str) -> list[ListedItem]:
    """The items that either log puts into a slice (`tag=value`) of these suites, ordered."""
    return _items(
        store,
        f"""SELECT s.name, k.key, k.instance_id, p.is_worse FROM slice_tags t
        JOIN suites s USING (suite_id) JOIN {_ANY_KEYS} k USING (suite_id, instance_id)
        LEFT JOIN {_PAIRS} p USING (suite_id, instance_id)
        WHERE t.tag || '=' || t.value = ? AND s.name IN (SELECT unnest(?::VARCHAR[])) ORDER BY ALL""",
        [slice_, list(suites)],
    )


def _items(store: Store, sql: str, parameters: Sequence[object] = ()) -> list[ListedItem]:
    return [ListedItem(*row) for row in store.rows(sql, list(parameters))]


def pairs_of_suites(store: Store) -> Mapping[str, int]:
    """Suite → its pairs with a score on both sides."""
    rows = store.rows(
        f"SELECT s.name, count(*) FROM {_PAIRS} JOIN suites s USING (suite_id) GROUP BY ALL"
    )
    return dict(rows)


def pairs_of_slices(store: Store, suite: str, slices: Sequence[str]) -> int:
    """Pairs with a score on both sides that the old log puts into any of these slices of a suite."""
    sql = f"""SELECT count(DISTINCT p.instance_id) FROM {_PAIRS} p
        JOIN suites s USING (suite_id) JOIN side_tags t USING (suite_id, instance_id)
        WHERE t.side = 'old' AND s.name = ?
            AND t.tag || '=' || t.value IN (SELECT unnest(?::VARCHAR[]))"""
    return int(store.rows(sql, [suite, list(slices)])[0][0])


def otherwise_tagged(store: Store, suite: str, slice_: str) -> int:
    """Pairs of a suite that one log alone puts into a slice; none where the new one has no such tag."""
    rows = store.rows(
        f"""SELECT DISTINCT t.side, t.instance_id, t.tag || '=' || t.value = ? FROM side_tags t
        JOIN suites s USING (suite_id) JOIN {_PAIRS} p USING (suite_id, instance_id)
        WHERE s.name = ? AND starts_with(?, t.tag || '=')""",
        [slice_, suite, slice_],
    )
    inside = {side: {i for of, i, is_in in rows if of == side and is_in} for side in ("old", "new")}
    has_tag = any(side == "new" for side, _, _ in rows)
    return len(inside["old"] ^ inside["new"]) if has_tag else 0


def compared_suites(store: Store) -> set[str]:
    """Names of the suites at hand."""
    return {
        name
        for (name,) in store.rows("SELECT DISTINCT s.name FROM sides JOIN suites s USING (suite_id)")
    }
