"""A comparison with every row it rests on, as a store of its own that can be handed on.

Rows keep their numbers, so that the copy is the same whatever else the store held; what models
answered to other requests, and other comparisons, stay behind.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from muscle_gov.store.connection import open_store

if TYPE_CHECKING:
    from muscle_gov.store.connection import Store

_RUNS = "run_id IN (SELECT unnest(?::BIGINT[]))"
_OF_RUN = {
    "predictions": "SELECT * REPLACE (outcome::VARCHAR AS outcome) FROM predictions WHERE run_id = ?",
    "prediction_texts": "SELECT * FROM prediction_texts WHERE run_id = ?",
    "instances": "SELECT * FROM instances WHERE run_id = ?",
    "instance_texts": "SELECT * FROM instance_texts WHERE run_id = ?",
    "tags": "SELECT * FROM tags WHERE run_id = ?",
}
"""What a run's rows lie in; copied run by run, since the texts of all of them may not fit in memory."""
_PROMPTS = """SELECT DISTINCT q.* FROM prompts q SEMI JOIN predictions p
    ON q.prompt_hash = p.prompt_hash AND p.run_id = ?"""
_PROMPTS_LACKING = """INSERT INTO prompts SELECT * FROM batch b
    WHERE NOT EXISTS (SELECT 1 FROM prompts q WHERE q.prompt_hash = b.prompt_hash)"""
_OF_RUNS = {
    "models": f"""SELECT * FROM models WHERE model_id IN (SELECT model_id FROM runs WHERE {_RUNS})
        ORDER BY model_id""",
    "suites": f"""SELECT * FROM suites WHERE suite_id IN (SELECT suite_id FROM runs WHERE {_RUNS})
        ORDER BY suite_id""",
    "imports": f"""SELECT * FROM imports WHERE import_id IN (SELECT import_id FROM runs WHERE {_RUNS})
        ORDER BY import_id""",
    "bad_lines": f"""SELECT * FROM bad_lines WHERE import_id IN
        (SELECT import_id FROM runs WHERE {_RUNS})""",
    "runs": f"SELECT * FROM runs WHERE {_RUNS} ORDER BY run_id",
}
_COMPARED = "comparison_id IN (SELECT unnest(?::VARCHAR[]))"
_OF_COMPARISONS = {
    # the newest is what was kept last, so the copy keeps their order
    name: f"SELECT * FROM {name} WHERE {_COMPARED} ORDER BY rowid"
    for name in ("comparisons", "compared_runs", "comparison_runs", "measures", "verdicts", "candidates")
} | {"events": "SELECT * FROM events WHERE details ->> 'comparison' IN (SELECT unnest(?::VARCHAR[]))"}


def copy_comparison(
    store: Store, path: Path, comparison_id: str, flaky_suites: Collection[str] = ()
) -> None:
    """Make a new store at `path` with this comparison, those of the other candidates of its mending, and
    all that they rest on.

    Of `flaky_suites`, those with items in quarantine, it gets every run: what shows that an item is
    flaky may have been answered for another comparison. Raises StoreError if it cannot be written.
    """
    ids = with_candidates(store, comparison_id)
    runs = _runs(store, ids, flaky_suites)
    with open_store(path) as copy:
        with copy.transaction():
            for name, sql in _OF_RUNS.items():
                copy.insert(f"INSERT INTO {name} SELECT * FROM batch", store.arrow(sql, [runs]))
            for name, sql in _OF_COMPARISONS.items():
                copy.insert(f"INSERT INTO {name} SELECT * FROM batch", store.arrow(sql, [ids]))
            # what is in the copy follows from the comparison, so that all of it can be digested
            copy.run("UPDATE migrations SET applied_at = (SELECT max(created_at) FROM comparisons)")
        for run in runs:
            with copy.transaction():
                for name, sql in _OF_RUN.items():
                    copy.insert(f"INSERT INTO {name} SELECT * FROM batch", store.arrow(sql, [run]))
                copy.insert(_PROMPTS_LACKING, store.arrow(_PROMPTS, [run]))
        _skip_ids(copy)


def with_candidates(store: Store, comparison_id: str) -> list[str]:
    """The comparison, then those of all other candidates of its mending."""
    from muscle_gov.store.candidates import find

    others = [one.comparison_id for one in find(store, comparison_id)]
    return list(dict.fromkeys([comparison_id, *others]))


def _runs(store: Store, comparison_ids: Sequence[str], flaky_suites: Collection[str]) -> list[int]:
    rows = store.rows(
        f"""SELECT run_id FROM comparison_runs WHERE {_COMPARED}
        UNION SELECT run_id FROM runs JOIN suites s USING (suite_id)
            WHERE finished_at IS NOT NULL AND s.name IN (SELECT unnest(?::VARCHAR[]))
        ORDER BY run_id""",
        [list(comparison_ids), list(flaky_suites)],
    )
    return [run for (run,) in rows]


def _skip_ids(copy: Store) -> None:
    """Let the copy number its own further rows behind those it was given."""
    copy.rows(
        """SELECT max(nextval('ids')) FROM range((SELECT greatest(
            (SELECT coalesce(max(model_id), 0) FROM models), (SELECT coalesce(max(run_id), 0) FROM runs),
            (SELECT coalesce(max(suite_id), 0) FROM suites),
            (SELECT coalesce(max(import_id), 0) FROM imports))))"""
    )
