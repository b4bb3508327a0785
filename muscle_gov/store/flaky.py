"""Items to which one and the same model gave answers of different outcome.

Two answers are to the same question only if model, suite and prompt are the same and so is all that
the task's set-up says; else a difference is the set-up's and tells nothing of the item. What is no
answer (an error, an unscored one) differs from none.

Where a comparison is judged, its own flips must not prove that its items are flaky: answers of the two
sides are never held against each other, whatever the models are called, nor is a log that is a side's
own, read again elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from muscle_gov.store.columns import table

if TYPE_CHECKING:
    from muscle_gov.store.connection import Store

SET_UP = (
    "harness",
    "metric",
    "higher_is_better",
    "task_version",
    "dataset",
    "split",
    "n_shot",
    "chat_template",
    "system_prompt",
    "scorer",
    "decoding",
    "task_details",
)
"""Fields of a run's header that make it another question. Seeds among them do not."""

# How often each outcome came, of each item under each model and set-up, and what differs from the
# outcome that came most often.
_FLAKY = """
WITH outcomes AS (
    SELECT a.same, a.suite_id, a.model_id, p.instance_id, p.prompt_hash,
        p.outcome::VARCHAR || coalesce(':' || CASE WHEN p.outcome = 'graded' THEN p.score END, '')
            AS outcome, count(*) AS times
    FROM predictions p JOIN asked_alike a USING (run_id)
    WHERE p.outcome IN ('right', 'wrong', 'graded'){chosen} GROUP BY ALL
), groups AS (
    SELECT suite_id, model_id, instance_id, sum(times) AS answers, sum(times) - max(times) AS differing
    FROM outcomes GROUP BY same, suite_id, model_id, instance_id, prompt_hash HAVING sum(times) > 1
), items AS (
    SELECT suite_id, instance_id, sum(answers)::BIGINT AS answers, sum(differing)::BIGINT AS differing,
        list(DISTINCT m.name ORDER BY m.name) FILTER (differing > 0) AS models
    FROM groups JOIN models m USING (model_id) GROUP BY suite_id, instance_id HAVING sum(differing) > 0
)
SELECT s.name, (SELECT min(k.key) FROM instances k JOIN runs r USING (run_id)
        WHERE k.instance_id = i.instance_id AND r.suite_id = i.suite_id) AS key,
    i.instance_id, i.answers, i.differing, i.models
FROM items i JOIN suites s USING (suite_id)
ORDER BY i.differing / i.answers DESC, i.differing DESC, s.name, key, i.instance_id
"""


@dataclass(frozen=True)
class FlakyItem:
    """An item whose outcome differed between answers of one model."""

    suite: str
    key: str
    instance_id: int
    answers: int
    """Answers that could be compared: of models that answered it at least twice."""
    differing: int
    """How many of them are not what their model answered most often."""
    models: tuple[str, ...]
    """Names of the models whose answers differ."""

    @property
    def share(self) -> float:
        return self.differing / self.answers


def flaky_items(
    store: Store,
    suite: str | None = None,
    model: str | None = None,
    instances: Collection[int] | None = None,
    known_by: datetime | None = None,
    judged: bool = False,
) -> list[FlakyItem]:
    """Flaky items, those that differ most often first.

    `suite` and `model` are names or shell patterns; `instances` looks at these alone; `known_by` (UTC)
    looks at runs that were there by then; `judged` keeps the sides of the comparison at hand apart.
    """
    apart = _apart(store) if judged else _Apart()
    if not _note_runs(store, suite, model, known_by, apart):
        return []
    chosen, parameters = "", []
    if instances is not None:
        chosen = " AND p.instance_id IN (SELECT unnest(?::BIGINT[]))"
        parameters = [list(instances)]
    rows = store.rows(_FLAKY.format(chosen=chosen), parameters)
    return [
        FlakyItem(name, key, id_, answers, differing, tuple(models))
        for name, key, id_, answers, differing, models in rows
    ]


@dataclass(frozen=True)
class _Apart:
    """What keeps the sides of a comparison apart."""

    sides: Mapping[int, str] = field(default_factory=dict)
    """Run → its side."""
    both: frozenset[int] = frozenset()
    """Models that are on both sides: their runs are held against none of the other side."""
    left_out: frozenset[int] = frozenset()
    """Runs whose log is a log of the other side, or of a side if they are of none."""


def _apart(store: Store) -> _Apart:
    runs = store.rows("SELECT run_id, model_id, import_id FROM runs WHERE finished_at IS NOT NULL")
    logs = {
        import_id: frozenset(source["sha256"] for source in json.loads(sources))
        for import_id, sources in store.rows("SELECT import_id, sources FROM imports")
    }
    given = store.rows("SELECT DISTINCT run_id, side FROM sides ORDER BY run_id, side")
    sides = dict(given)
    twice = {run_id for run_id, _ in given if (run_id, "old") in given and (run_id, "new") in given}
    models: dict[str, set[int]] = {"old": set(), "new": set()}
    read_by: dict[str, set[tuple[str, int]]] = {}
    for run_id, model_id, import_id in runs:
        if side := sides.get(run_id):
            models[side].add(model_id)
            for digest in logs[import_id]:
                read_by.setdefault(digest, set()).add((side, import_id))
    # one log that holds several models is read once, and then it is no copy of itself
    left_out = {
        run_id
        for run_id, _, import_id in runs
        for digest in logs[import_id]
        for side, other in read_by.get(digest, ())
        if other != import_id and side != sides.get(run_id)
    }
    return _Apart(sides, frozenset(models["old"] & models["new"]), frozenset(left_out | twice))


def _note_runs(
    store: Store, suite: str | None, model: str | None, known_by: datetime | None, apart: _Apart
) -> bool:
    """Fill `asked_alike` with the runs that can show flakiness; False if there are none."""
    rows = store.rows(
        """SELECT run_id, suite_id, model_id, header, n_repeats FROM runs
        JOIN suites s USING (suite_id) JOIN models m USING (model_id)
        WHERE finished_at IS NOT NULL AND (?::TIMESTAMP IS NULL OR finished_at <= ?)
            AND (? IS NULL OR s.name GLOB ?) AND (? IS NULL OR m.name GLOB ?) ORDER BY run_id""",
        [known_by, known_by, suite, suite, model, model],
    )
    groups: dict[tuple[int, int, str, str | None], list[tuple[int, int]]] = {}
    for run_id, suite_id, model_id, header, repeats in rows:
        if run_id in apart.left_out:
            continue
        side = apart.sides.get(run_id) if model_id in apart.both else None
        group = groups.setdefault((suite_id, model_id, _set_up(json.loads(header)), side), [])
        group.append((run_id, repeats))
    found = [
        (run_id, suite_id, model_id, same)
        for same, ((suite_id, model_id, _, _), runs) in enumerate(groups.items())
        if len(runs) > 1 or runs[0][1] > 1
        for run_id, _ in runs
    ]
    if not found:
        return False
    store.run(
        """CREATE OR REPLACE TEMP TABLE asked_alike
        (run_id BIGINT, suite_id BIGINT, model_id BIGINT, same BIGINT)"""
    )
    columns: Sequence[Sequence[Any]] = list(zip(*found, strict=True))
    names = ["run_id", "suite_id", "model_id", "same"]
    store.insert("INSERT INTO asked_alike SELECT * FROM batch", table(columns, ["int64"] * 4, names))
    return True


def _set_up(header: dict[str, Any]) -> str:
    """All that makes the question, as one text."""
    kept = {name: _without_seeds(header.get(name)) for name in SET_UP}
    return json.dumps(kept, sort_keys=True)


def _without_seeds(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_seeds(each) for name, each in value.items() if "seed" not in name.lower()}
    return value
