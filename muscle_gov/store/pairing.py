"""Pairs of old and new answers, and their joint cells, computed where the rows are.

One row stands for each pair, in `pairs_binary` and `pairs_graded`. A suite in which each side answered
once takes a straight join into a narrow table, whose cells are computed as they are read; one with
repeats is first brought to shares per instance. From there on nothing differs: a slice, a suite or a
cluster is a GROUP BY over the same cells, and all that statistics needs are the cells' sums and
second moments. Texts are never read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from muscle_gov.data import BINARY_CELLS, GRADED_CELLS
from muscle_gov.errors import InputError
from muscle_gov.store import columns as arrow
from muscle_gov.store.pairing_sql import (
    JUDGED,
    OF_BOTH_LOGS,
    OUTCOME,
    REPEAT_CELLS,
    REPEATED_MISMATCHES,
    SHARES,
    SQL,
    TABLES,
)

if TYPE_CHECKING:
    from muscle_gov.store.connection import Store

ALL_SUITES = -1


@dataclass(frozen=True)
class SuitePair:
    """Which runs to pair on one suite. More than one run a side are repeats."""

    suite_id: int
    suite: str
    old_runs: tuple[int, ...]
    new_runs: tuple[int, ...]
    is_graded: bool
    has_repeats: bool
    has_clusters: bool
    has_answers: bool
    """Whether both logs give the answers that were scored."""
    higher_is_better: bool
    threshold: float | None = None
    """Scores at least this good are right, others wrong; makes a graded suite binary. Only graded
    suites have one."""

    @property
    def kind(self) -> str:
        return "graded" if self.is_graded and self.threshold is None else "binary"


@dataclass(frozen=True)
class CellSums:
    """Sums of the cells of one group of pairs, with their second moments over units."""

    suite_id: int
    tag: str | None
    value: str | None
    n: int
    units: int
    sums: Mapping[str, float]
    moments: Mapping[tuple[str, str], float]
    """(cell, cell) → sum over units of the product of the unit's two sums."""


def cells_of(pair: SuitePair) -> tuple[str, ...]:
    """Names of the cells that this suite has."""
    if pair.kind == "graded":
        return GRADED_CELLS
    return (*BINARY_CELLS, *REPEAT_CELLS) if pair.has_repeats else BINARY_CELLS


def make_pairs(store: Store, pairs: Sequence[SuitePair]) -> None:
    """Make `pairs_binary` and `pairs_graded` (views over temporary tables) for these suites."""
    for sql in TABLES:
        store.run(sql)
    for pair in pairs:
        sign = 1 if pair.higher_is_better else -1
        for side, runs in (("old", pair.old_runs), ("new", pair.new_runs)):
            for place, run_id in enumerate(runs):
                values = [run_id, pair.suite_id, side, place, sign, pair.threshold]
                store.run("INSERT INTO sides VALUES (?, ?, ?, ?, ?, ?)", values)
    for sql in OF_BOTH_LOGS:
        store.run(sql)
    for kind in ("binary", "graded"):
        for repeats in (False, True):
            chosen = [p for p in pairs if p.kind == kind and p.has_repeats == repeats]
            if chosen:
                store.run(SQL[kind, repeats].format(suites=_ids(chosen)))
    silent = [pair.suite_id for pair in pairs if not pair.has_answers]
    if silent:
        # answers that no log gives are not known to differ
        store.run(
            "UPDATE pairs_single SET same_answer = true WHERE suite_id IN (SELECT unnest(?))", [silent]
        )
        store.run(
            """UPDATE pairs_repeated SET both_wrong_different = 0,
            both_wrong_same = both_wrong_same + both_wrong_different
            WHERE suite_id IN (SELECT unnest(?))""",
            [silent],
        )


def drop_pairs(store: Store, instances: Sequence[int]) -> None:
    """Take these instances out of the pairs at hand."""
    for table in ("pairs_single", "pairs_repeated", "pairs_scored"):
        store.run(
            f"DELETE FROM {table} WHERE instance_id IN (SELECT unnest(?::BIGINT[]))", [list(instances)]
        )


def _ids(pairs: Sequence[SuitePair]) -> str:
    return ", ".join(str(pair.suite_id) for pair in pairs)


# ------------------------------------------------------------------------------------- sums of cells


def sum_cells(
    store: Store, pairs: Sequence[SuitePair], by_tag: bool, pooled: bool = False
) -> list[CellSums]:
    """Sums and moments for each suite, for each slice of each suite, or for all suites pooled.

    Takes suites that have the same cells, and that all have clusters or all have none. Cells that
    some pair lacks (noise of an instance answered once) are left out.
    """
    first = pairs[0]
    cells = cells_of(first)
    suite = f"{ALL_SUITES}::BIGINT" if pooled else "p.suite_id"
    group = [
        f"{suite} AS suite_id",
        *(("t.tag", "t.value") if by_tag else ("NULL::VARCHAR AS tag", "NULL::VARCHAR AS value")),
    ]
    source = f"pairs_{first.kind} p"
    if by_tag:
        source += " JOIN slice_tags t USING (suite_id, instance_id)"
    columns = ", ".join(f"p.{cell}" for cell in cells)
    where = f"p.suite_id IN ({_ids(pairs)}) AND {JUDGED[first.kind]}"
    head = f"SELECT {', '.join(group)}, p.suite_id AS s, p.instance_id"
    inner = f"{head}, {columns}, 1 AS n FROM {source} WHERE {where}"
    shifts = _shifts(store, inner, cells) if _is_crossed(first) else None
    if shifts is not None:
        columns = ", ".join(f"(p.{cell} * k.k_{cell})::HUGEINT AS {cell}" for cell in cells)
        inner = f"""SELECT p.* REPLACE ({columns}) FROM ({inner}) p
            JOIN scales k ON k.suite_id = p.suite_id AND k.tag IS NOT DISTINCT FROM p.tag
            AND k.value IS NOT DISTINCT FROM p.value"""
    if first.has_clusters:
        source = f"""({inner}) p LEFT JOIN pair_clusters i
            ON i.suite_id = p.s AND i.instance_id = p.instance_id"""
        unit = "coalesce('c' || i.cluster, 'i' || p.instance_id) AS unit"
        sums = ", ".join(f"sum(p.{cell}) AS {cell}" for cell in cells)
        # a cell that is missing on some pair must not be summed as if it were nothing
        sums += ", " + ", ".join(f"count(p.{cell}) AS has_{cell}" for cell in cells)
        inner = (
            f"SELECT p.suite_id, p.tag, p.value, p.s, {unit}, {sums}, count(*) AS n "
            f"FROM {source} GROUP BY ALL"
        )
    rows = store.rows(_outer(inner, cells, first, shifts is not None), ())
    return [_cell_sums(row, cells, (shifts or {}).get(tuple(row[:3]))) for row in rows]


def _is_crossed(pair: SuitePair) -> bool:
    """Whether a pair can be in several cells, or a unit in several pairs: counts do not say it all."""
    return pair.has_clusters or pair.has_repeats or pair.kind == "graded"


BITS = 120
"""Of the sums of one group, in whole numbers. A HUGEINT has 127 bits, a float 53 of its own, so that up
to 2^47 times less than the largest cell no bit of a cell is lost in a million pairs."""


def _shifts(
    store: Store, inner: str, cells: Sequence[str]
) -> Mapping[tuple[Any, ...], Mapping[str, int]]:
    """Group → cell → power of two that makes whole numbers of the cell; `scales` holds the factors.

    Sums of floats hang on their order, which threads do not keep; sums of whole numbers do not. Each
    group that is summed has factors of its own: one huge score elsewhere must not make its cells small.
    """
    sizes = ", ".join(f"max(abs({cell}))" for cell in cells)
    rows = store.rows(
        f"SELECT suite_id, tag, value, count(*), {sizes} FROM ({inner}) GROUP BY suite_id, tag, value"
    )
    shifts = {
        (suite_id, tag, value): dict(
            zip(cells, (_shift(n, float(size or 0)) for size in most), strict=True)
        )
        for suite_id, tag, value, n, *most in rows
    }
    factors = ", ".join(f"k_{cell} DOUBLE" for cell in cells)
    store.run(
        f"CREATE OR REPLACE TEMP TABLE scales (suite_id BIGINT, tag VARCHAR, value VARCHAR, {factors})"
    )
    if shifts:
        known = [[*group, *(2.0 ** by[cell] for cell in cells)] for group, by in shifts.items()]
        kinds = ["int64", "string", "string", *["float64"] * len(cells)]
        names = ["suite_id", "tag", "value", *(f"k_{cell}" for cell in cells)]
        batch = arrow.table(list(zip(*known, strict=True)), kinds, names)
        store.insert("INSERT INTO scales SELECT * FROM batch", batch)
    return shifts


def _shift(n: int, most: float) -> int:
    """The power of two that brings n cells of at most `most` below 2^BITS when they are added."""
    if not math.isfinite(most):
        raise InputError(
            "two scores of one instance are further apart than numbers reach (1.8e308); "
            "such scores cannot be compared: give them in another unit"
        )
    # no float is larger than 2^1024: where all cells are below 1e-265 they keep fewer bits
    return min(BITS - n.bit_length() - math.frexp(most)[1], 1023)


def _outer(inner: str, cells: Sequence[str], pair: SuitePair, is_scaled: bool) -> str:
    """Totals, and products of units in 2^-BITS, so that their sum stays below 2^BITS too."""
    if pair.has_clusters:
        counts = [f"sum(has_{cell})" for cell in cells]
    else:
        counts = [f"count({cell})" for cell in cells]
    totals, products = [f"sum({cell})" for cell in cells], []
    if is_scaled:
        products = [
            f"sum(({a}::DOUBLE * {b}::DOUBLE * {2.0**-BITS!r}::DOUBLE)::HUGEINT)"
            for a, b in _crosses(cells)
        ]
    chosen = ", ".join(["sum(n)", "count(*)", *counts, *totals, *products])
    return (
        f"SELECT suite_id, tag, value, {chosen} FROM ({inner}) GROUP BY suite_id, tag, value "
        "ORDER BY suite_id, tag, value"
    )


def _number(whole: int | None, shift: int) -> float:
    """What a sum of whole numbers stands for."""
    try:
        return math.ldexp(whole or 0, -shift)
    except OverflowError:  # more than floats reach: no interval holds it, so it is never a pass
        return math.copysign(math.inf, whole or 0)


def _crosses(cells: Sequence[str]) -> list[tuple[str, str]]:
    return [(a, b) for i, a in enumerate(cells) for b in cells[i:]]


def _cell_sums(row: tuple[Any, ...], cells: Sequence[str], shifts: Mapping[str, int] | None) -> CellSums:
    suite_id, tag, value, n, units, *rest = row
    width = len(cells)
    counts, totals, products = rest[:width], rest[width : 2 * width], rest[2 * width :]
    whole = [cell for cell, count in zip(cells, counts, strict=True) if count == n]
    by = shifts or dict.fromkeys(cells, 0)
    sums = {c: _number(t, by[c]) for c, t in zip(cells, totals, strict=True) if c in whole}
    if products:
        crossed = zip(_crosses(cells), products, strict=True)
        known = [((a, b), p) for (a, b), p in crossed if a in whole and b in whole]
        moments = {(a, b): _number(p, by[a] + by[b] - BITS) for (a, b), p in known}
    else:
        # each pair is in exactly one cell, so the products are the counts themselves
        moments = {(cell, cell): total for cell, total in sums.items()}
    return CellSums(suite_id, tag, value, int(n), int(units), sums, moments)


# ------------------------------------------------------------------------- outcomes, arrays, mismatches


Group = tuple[int, str | None, str | None]
"""(suite, tag, value); tag and value are None for a whole suite."""


def outcome_counts(
    store: Store, pairs: Sequence[SuitePair], by_tag: bool
) -> dict[Group, dict[str, int]]:
    """Suite or slice → `old>new` → instances, with `missing` for those that only one side has."""
    found: dict[Group, dict[str, int]] = {}
    if not by_tag:
        found = {(pair.suite_id, None, None): {} for pair in pairs}
    matched: dict[tuple[Group, str, str], int] = {}
    tag, join = (
        ("t.tag, t.value", "JOIN slice_tags t USING (suite_id, instance_id)")
        if by_tag
        else ("NULL, NULL", "")
    )
    for kind in ("binary", "graded"):
        sql = f"""SELECT suite_id, {tag}, old_outcome, new_outcome, count(*) FROM pairs_{kind} {join}
            GROUP BY ALL"""
        for *group, old, new, n in store.rows(sql.replace("suite_id", f"pairs_{kind}.suite_id", 1)):
            key: Group = (group[0], group[1], group[2])
            found.setdefault(key, {})[f"{old}>{new}"] = n
            for side, outcome in (("old", old), ("new", new)):
                matched[key, side, outcome] = matched.get((key, side, outcome), 0) + n
    for repeats in (False, True):
        chosen = [pair for pair in pairs if pair.has_repeats == repeats]
        rows = store.rows(_totals_sql(chosen, repeats, tag, join)) if chosen else []
        for *group, side, outcome, n in rows:
            key = (group[0], group[1], group[2])
            left = n - matched.get((key, side, outcome), 0)
            if left:
                name = f"{outcome}>missing" if side == "old" else f"missing>{outcome}"
                found.setdefault(key, {})[name] = left
    return found


def _totals_sql(pairs: Sequence[SuitePair], repeats: bool, tag: str, join: str) -> str:
    """Instances of each side by outcome, those that the other side lacks among them."""
    if repeats:
        head = SHARES.format(suites=_ids(pairs))
        source = "per_instance"
    else:
        head = f"""WITH answers AS (SELECT p.instance_id, s.suite_id, s.side, {OUTCOME} AS outcome
            FROM predictions p JOIN sides s USING (run_id) WHERE s.suite_id IN ({_ids(pairs)}))"""
        source = "answers"
    columns = f"{source}.suite_id, {tag}, side, outcome"
    return f"{head} SELECT {columns}, count(*) FROM {source} {join} GROUP BY ALL"


def has_tags(store: Store, pairs: Sequence[SuitePair]) -> bool:
    """Whether there is anything to slice."""
    return bool(store.rows(f"SELECT 1 FROM slice_tags WHERE suite_id IN ({_ids(pairs)}) LIMIT 1"))


def pair_arrays(
    store: Store, pair: SuitePair | None, kind: str, tag: str | None, value: str | None
) -> Mapping[str, Any]:
    """Per-instance arrays of one suite (None: all), or of one slice of it."""
    where, parameters = [JUDGED[kind]], []
    if pair is not None:
        where.append(f"p.suite_id = {pair.suite_id}")
    if tag is not None:
        where.append("p.instance_id IN (SELECT instance_id FROM slice_tags WHERE tag = ? AND value = ?)")
        parameters = [tag, value]
    condition = " AND ".join(where)
    if kind == "graded":
        sql = f"SELECT old_score, new_score FROM pairs_graded p WHERE {condition} ORDER BY instance_id"
    else:
        sql = f"""SELECT
            count(*) FILTER (side = 'old' AND outcome = 'right') AS old_right,
            count(*) FILTER (side = 'old') AS old_repeats,
            count(*) FILTER (side = 'new' AND outcome = 'right') AS new_right,
            count(*) FILTER (side = 'new') AS new_repeats
            FROM (SELECT p.instance_id, s.side, {OUTCOME} AS outcome FROM predictions p
                JOIN sides s USING (run_id)) q
            WHERE outcome IN ('right', 'wrong') AND instance_id IN
                (SELECT instance_id FROM pairs_binary p WHERE {condition})
            GROUP BY instance_id ORDER BY instance_id"""
    table = store.arrow(sql, parameters)
    return {name: table.column(name).to_numpy() for name in table.column_names}


def mismatches(store: Store, pairs: Sequence[SuitePair]) -> dict[int, tuple[int, int, int]]:
    """suite → pairs with different prompts, pairs whose prompts both logs give, pairs whose key is
    the same but whose content differs. With repeats the first answer of each side is looked at."""
    found = {}
    for kind in ("binary", "graded"):
        single = [pair for pair in pairs if pair.kind == kind and not pair.has_repeats]
        if single:
            for suite_id, *counts in store.rows(
                f"""SELECT suite_id, count(*) FILTER (other_prompt), count(other_prompt),
                count(*) FILTER (other_content) FROM pairs_{kind}
                WHERE suite_id IN ({_ids(single)}) GROUP BY suite_id"""
            ):
                found[suite_id] = (counts[0], counts[1], counts[2])
    repeated = [pair for pair in pairs if pair.has_repeats]
    if repeated:
        for suite_id, *counts in store.rows(REPEATED_MISMATCHES.format(suites=_ids(repeated))):
            found[suite_id] = (counts[0], counts[1], counts[2])
    return found


def other_targets(store: Store, pairs: Sequence[SuitePair]) -> dict[int, int]:
    """suite → pairs for which the two logs give another target."""
    rows = store.rows(
        f"""SELECT so.suite_id, count(*) FROM instances o
        JOIN sides so ON so.run_id = o.run_id AND so.side = 'old' AND so.place = 0
        JOIN sides sn ON sn.suite_id = so.suite_id AND sn.side = 'new'
        JOIN instances n ON n.run_id = sn.run_id AND n.instance_id = o.instance_id
        WHERE o.target_hash <> n.target_hash AND so.suite_id IN ({_ids(pairs)}) GROUP BY so.suite_id"""
    )
    return dict(rows)


def same_keys_unpaired(store: Store, pair: SuitePair) -> int:
    """How many unpaired instances have the same key on both sides: their content was changed."""
    sql = """SELECT count(*) FROM (
        SELECT i.key FROM instances i WHERE i.run_id = ?
            AND i.instance_id NOT IN (SELECT instance_id FROM predictions WHERE run_id = ?)
        INTERSECT
        SELECT i.key FROM instances i WHERE i.run_id = ?
            AND i.instance_id NOT IN (SELECT instance_id FROM predictions WHERE run_id = ?))"""
    old, new = pair.old_runs[0], pair.new_runs[0]
    return int(store.rows(sql, [old, new, new, old])[0][0])


def why(store: Store, run_ids: Sequence[int], state: str) -> str | None:
    """The commonest reason for which answers of these runs are in a state; None if none is known."""
    rows = store.rows(
        """SELECT t.why, count(*) AS n FROM predictions p
        JOIN prediction_texts t USING (run_id, instance_id, repeat)
        WHERE p.run_id IN (SELECT unnest(?::BIGINT[])) AND p.outcome = ?::outcome AND t.why IS NOT NULL
        GROUP BY ALL ORDER BY n DESC, t.why LIMIT 1""",
        [list(run_ids), state],
    )
    return str(rows[0][0]) if rows else None
