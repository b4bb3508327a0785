"""Digests of what the store holds, made where the rows are and free of the store's own numbers.

A row is written as a JSON list of texts and hashed; a set of rows is the hash of their sorted hashes.
So equal rows give equal digests in any store, whatever their order and their run ids, and whoever has
the duckdb shell can make them again with the statements below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muscle_gov.store.connection import Store

ANSWER_ROWS = """
SELECT p.run_id, 'answer' AS what, i.key, p.repeat, sha256(to_json([
        i.key, i.copy::VARCHAR, p.instance_id::VARCHAR, p.repeat::VARCHAR, p.ordinal::VARCHAR,
        p.outcome::VARCHAR, p.score::VARCHAR, p.answer_hash::VARCHAR, p.prompt_hash::VARCHAR,
        p.content_hash::VARCHAR, t.answer, t.output, coalesce(t.prompt, q.prompt), t.why,
        t.scores::VARCHAR])::VARCHAR) AS digest
FROM predictions p
LEFT JOIN instances i ON i.run_id = p.run_id AND i.instance_id = p.instance_id
LEFT JOIN prediction_texts t
    ON t.run_id = p.run_id AND t.instance_id = p.instance_id AND t.repeat = p.repeat
LEFT JOIN prompts q ON q.prompt_hash = p.prompt_hash
WHERE p.run_id IN (SELECT unnest(?::BIGINT[]))
"""
"""One digest for each answer of these runs, over every column, hot and cold."""
INSTANCE_ROWS = """
SELECT i.run_id, 'instance' AS what, i.key, NULL::INTEGER AS repeat, sha256(to_json([
        i.key, i.copy::VARCHAR, i.instance_id::VARCHAR, i.target_hash::VARCHAR, i.content_hash,
        i.cluster, t.target, g.tags])::VARCHAR) AS digest
FROM instances i
LEFT JOIN instance_texts t ON t.run_id = i.run_id AND t.instance_id = i.instance_id
LEFT JOIN (SELECT run_id, instance_id,
        string_agg(to_json([tag, value])::VARCHAR, ',' ORDER BY tag, value) AS tags
    FROM tags WHERE run_id IN (SELECT unnest(?::BIGINT[])) GROUP BY ALL) g
    ON g.run_id = i.run_id AND g.instance_id = i.instance_id
WHERE i.run_id IN (SELECT unnest(?::BIGINT[]))
"""
"""One digest for each instance as these runs' logs gave it: key, content, target, tags, cluster."""
_OF_RUNS = """SELECT run_id, count(*), sha256(string_agg(digest, '' ORDER BY digest)) FROM ({rows})
GROUP BY run_id"""
_NONE = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@dataclass(frozen=True)
class Digest:
    """A set of rows: how many, and the SHA-256 of their sorted digests."""

    rows: int
    sha256: str


def of_answers(store: Store, run_ids: Sequence[int]) -> dict[int, Digest]:
    """Run → digest of all its answers."""
    return _of_runs(store, ANSWER_ROWS, [list(run_ids)], run_ids)


def of_instances(store: Store, run_ids: Sequence[int]) -> dict[int, Digest]:
    """Run → digest of its instances."""
    return _of_runs(store, INSTANCE_ROWS, [list(run_ids), list(run_ids)], run_ids)


def _of_runs(store: Store, rows: str, parameters: list[Any], ids: Sequence[int]) -> dict[int, Digest]:
    found = {run: Digest(n, sha) for run, n, sha in store.rows(_OF_RUNS.format(rows=rows), parameters)}
    return {run: found.get(run, Digest(0, _NONE)) for run in ids}


def of_rows(store: Store, labels: Mapping[int, str]) -> Any:
    """A pyarrow Table (run, what, key, repeat, digest) of every answer and instance of the runs in
    `labels` (run id → name), sorted; a digest is cut to its first 16 hexadecimal digits, enough to find
    which row was changed once the whole says that one was."""
    ids = list(labels)
    sql = f"""SELECT list_extract(?::VARCHAR[], list_position(?::BIGINT[], run_id)::INTEGER) AS run,
            what, coalesce(key, '') AS key, repeat, digest[:16] AS digest
        FROM ({ANSWER_ROWS} UNION ALL {INSTANCE_ROWS}) ORDER BY run, what, key, repeat, digest"""
    return store.arrow(sql, [[labels[run] for run in ids], ids, ids, ids, ids])


def of_tables(store: Store) -> dict[str, Digest]:
    """Table → digest of all its rows with all their columns, the store's own numbers among them."""
    names = store.rows(
        """SELECT table_name FROM duckdb_tables() WHERE NOT temporary AND NOT internal
        ORDER BY table_name"""
    )
    found = {}
    for (name,) in names:
        quoted = '"' + name.replace('"', '""') + '"'
        rows = store.rows(
            f"""SELECT count(*), sha256(coalesce(string_agg(digest, '' ORDER BY digest), ''))
            FROM (SELECT sha256(to_json(t)::VARCHAR) AS digest FROM {quoted} t)"""
        )
        found[name] = Digest(*rows[0])
    return found


def of_schema(store: Store) -> str:
    """Digest of the definitions of all tables, views and macros, so that no view can show what the rows
    do not say."""
    rows = store.rows(
        """SELECT sha256(coalesce(string_agg(line, chr(10) ORDER BY line), '')) FROM (
            SELECT concat_ws(' ', 'table', table_name, sql) AS line FROM duckdb_tables()
                WHERE NOT temporary AND NOT internal
            UNION ALL SELECT concat_ws(' ', 'view', view_name, sql) FROM duckdb_views()
                WHERE NOT temporary AND NOT internal
            UNION ALL SELECT concat_ws(' ', 'macro', function_name, macro_definition)
                FROM duckdb_functions() WHERE NOT internal)"""
    )
    return str(rows[0][0])
