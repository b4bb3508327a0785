"""The history of model lines: what is shown of them, and what must be measured for it.

The drift from the first model of a line to its last is measured from their stored answers in the very
way in which an update is: one more comparison, which is not kept. It is never put together from the
flips of the updates between.
"""

from __future__ import annotations

from collections.abc import Sequence

from muscle_gov import compare as comparing
from muscle_gov.comparability import RunFacts
from muscle_gov.compare import Sides
from muscle_gov.data import Comparison
from muscle_gov.errors import InputError, UsageError
from muscle_gov.plugins import load
from muscle_gov.report.history_lines import History, Line, LineHistory, lines_of
from muscle_gov.settings import CompareSettings
from muscle_gov.store import Store, records
from muscle_gov.store.history import answer_paths, past_comparisons

WORST = 25
"""Most answers of a kind that are listed."""


def history_of(store: Store, model: str | None = None, through: Sequence[str] = ()) -> History:
    """Everything about the lines of a store; changes nothing in it.

    `model` (name or pattern) keeps the lines that have such a model; `through` makes the line that goes
    through all these models, and no other. Raises UsageError if that leaves nothing.
    """
    comparisons = past_comparisons(store)
    if not comparisons:
        raise UsageError(
            f"{store.path}: holds no comparison yet; `muscle-gov compare OLD NEW` makes one"
        )
    found = lines_of(comparisons, model, through)
    if not found.lines and not found.apart:
        if model is not None:
            raise UsageError(f"{store.path}: holds no comparison of a model {model!r}")
        raise UsageError(f"{store.path}: holds no update, only controls")
    lines = tuple(_line_history(store, line) for line in found.lines)
    return History(lines, found.apart, found.left_out, store.path)


def _line_history(store: Store, line: Line) -> LineHistory:
    ids = [step.comparison.id for step in line.steps]
    drift, why = _drift(store, line) if len(ids) > 1 else (None, "")
    return LineHistory(line, answer_paths(store, ids, WORST), drift, why)


def _drift(store: Store, line: Line) -> tuple[Comparison | None, str]:
    """(the first model against the last, why not)."""
    first, last = (records.find_comparison(store, line.steps[i].comparison.id) for i in (0, -1))
    sides = Sides(_facts(store, first.old_runs), _facts(store, last.new_runs))
    lists = {name: tuple(last.settings.get(name, ())) for name in ("suites", "allow")}
    settings = CompareSettings(**{**last.settings, **lists, "slices": False})
    plugins = load(block={*first.blocked, *last.blocked})
    try:
        _, comparison = comparing.compare(store, plugins, sides, "", settings)
    except InputError:
        return None, "the store holds no suite that both were judged on"
    if not any(one.n_pairs for one in comparison.suites):
        return None, "the store holds no answer that both were scored on"
    return comparison, ""


def _facts(store: Store, run_ids: Sequence[int]) -> list[RunFacts]:
    return [RunFacts(**known) for known in records.run_facts(store, run_ids)]
