"""SQL that leads from a figure of a report back to the rows, for whoever has the duckdb shell.

These statements read the raw tables alone and share nothing with `pairing`, so that a fault there
shows. One idea makes them short: every cell of a pair is a mean over all its old answers beside all its
new ones, so repeats need no other formula than single answers do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BINARY_FIGURES: Mapping[str, str] = {
    "nfr": "o.outcome = 'right' AND n.outcome = 'wrong'",
    "pfr": "o.outcome = 'wrong' AND n.outcome = 'right'",
    "nfr_mc": "n.outcome = 'wrong' AND (o.outcome = 'right' "
    "OR o.answer_hash IS DISTINCT FROM n.answer_hash)",
    "accuracy_old": "o.outcome = 'right'",
    "accuracy_new": "n.outcome = 'right'",
}
"""Metric → what is true of an old and a new answer that count for it."""
GRADED_FIGURES: Mapping[str, str] = {
    "regression_rate": "(o.sign * (n.score - o.score) < 0)::INTEGER",
    "gain_rate": "(o.sign * (n.score - o.score) > 0)::INTEGER",
    "score_old": "o.score",
    "score_new": "n.score",
    "score_delta": "o.sign * (n.score - o.score)",
}
"""Metric → what is averaged over the pairs."""
_FLIPS = {
    "negative": "broken > mended",
    "positive": "mended > broken",
    "wrong_to_wrong": "broken = 0 AND mended = 0 AND moved > 0",
}
_SCORED = "IN ('right', 'wrong')"


@dataclass(frozen=True)
class Scope:
    """Which rows of a comparison a figure is about, and how its suites are scored."""

    comparison_id: str
    suites: tuple[str, ...]
    is_single: bool = True
    """Whether each side answered each instance once, in one run."""
    threshold: float | None = None
    thresholded: tuple[str, ...] = ()
    """Suites among them that the threshold makes right or wrong."""
    lower_is_better: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    """Suites of which a log does not give the answers, so that two wrong ones are taken for the same."""


def binary_figure(scope: Scope, metric: str) -> str:
    """The statement that gives a metric of `BINARY_FIGURES`, pooled over the scope's suites."""
    condition = BINARY_FIGURES[metric]
    if metric == "nfr_mc" and scope.silent:
        condition = condition.replace("OR o.", f"OR suite NOT IN ({_names(scope.silent)}) AND o.")
    if scope.is_single and scope.threshold is None:
        return f"""SELECT avg(({condition})::INTEGER) AS {metric}
FROM (SELECT c.*, s.name AS suite FROM compared_runs c JOIN suites s USING (suite_id)) c
JOIN predictions o ON o.run_id = c.old_run_id
JOIN predictions n ON n.run_id = c.new_run_id AND n.instance_id = o.instance_id
WHERE c.comparison_id = {text(scope.comparison_id)} AND suite IN ({_names(scope.suites)})
    AND o.outcome {_SCORED} AND n.outcome {_SCORED};"""
    return f"""{_answers(scope)}
SELECT avg(share) AS {metric} FROM (
    -- each old answer beside each new one of the same instance
    SELECT avg(({condition})::INTEGER) AS share
    FROM answers o JOIN answers n USING (suite, instance_id)
    WHERE o.side = 'old' AND n.side = 'new'
    GROUP BY suite, instance_id
    HAVING bool_and(o.outcome {_SCORED} AND n.outcome {_SCORED})
);"""


def graded_figure(scope: Scope, metric: str) -> str:
    """The statement that gives a metric of `GRADED_FIGURES` on the scope's suites."""
    return f"""{_means(scope)}
SELECT avg({GRADED_FIGURES[metric]}) AS {metric}
FROM means o JOIN means n USING (suite, instance_id) WHERE o.side = 'old' AND n.side = 'new';"""


def flip_count(scope: Scope, kind: str) -> str:
    """The statement that counts instances that flipped: `negative`, `positive`, `wrong_to_wrong`, `loss`
    or `gain`. With repeats an instance is counted once, by which way it flips more often."""
    if kind in ("loss", "gain"):
        way = "<" if kind == "loss" else ">"
        return f"""{_means(scope)}
SELECT count(*) AS flips FROM means o JOIN means n USING (suite, instance_id)
WHERE o.side = 'old' AND n.side = 'new' AND o.sign * (n.score - o.score) {way} 0;"""
    told = f" AND suite NOT IN ({_names(scope.silent)})" if scope.silent else ""
    return f"""{_answers(scope)}
SELECT count(*) AS flips FROM (
    SELECT sum((o.outcome = 'right' AND n.outcome = 'wrong')::INTEGER) AS broken,
        sum((o.outcome = 'wrong' AND n.outcome = 'right')::INTEGER) AS mended,
        sum((o.outcome = 'wrong' AND n.outcome = 'wrong'
            AND o.answer_hash IS DISTINCT FROM n.answer_hash{told})::INTEGER) AS moved
    FROM answers o JOIN answers n USING (suite, instance_id)
    WHERE o.side = 'old' AND n.side = 'new'
    GROUP BY suite, instance_id
    HAVING bool_and(o.outcome {_SCORED} AND n.outcome {_SCORED})
) WHERE {_FLIPS[kind]};"""


def _answers(scope: Scope) -> str:
    outcome = "p.outcome::VARCHAR"
    if scope.threshold is not None and scope.thresholded:
        up = [suite for suite in scope.thresholded if suite not in scope.lower_is_better]
        down = [suite for suite in scope.thresholded if suite in scope.lower_is_better]
        cases = [
            f"WHEN s.name IN ({_names(suites)}) THEN if(p.score {sign} {scope.threshold!r}, "
            "'right', 'wrong')"
            for suites, sign in ((up, ">="), (down, "<="))
            if suites
        ]
        outcome = (
            "CASE WHEN p.outcome IN ('unscored', 'error') OR p.score IS NULL THEN p.outcome::VARCHAR\n"
            f"            {' '.join(cases)} ELSE p.outcome::VARCHAR END"
        )
    return f"""WITH answers AS (
    SELECT s.name AS suite, c.side, p.instance_id, p.answer_hash,
        {outcome} AS outcome
    FROM comparison_runs c JOIN runs r USING (run_id) JOIN suites s USING (suite_id)
    JOIN predictions p USING (run_id)
    WHERE c.comparison_id = {text(scope.comparison_id)} AND s.name IN ({_names(scope.suites)})
)"""


def _means(scope: Scope) -> str:
    sign = "1"
    if scope.lower_is_better:
        sign = f"if(s.name IN ({_names(scope.lower_is_better)}), -1, 1)"
    return f"""WITH answers AS (
    SELECT s.name AS suite, c.side, {sign} AS sign, p.instance_id, p.outcome, coalesce(p.score,
        CASE p.outcome WHEN 'right' THEN (sign + 1) / 2 WHEN 'wrong' THEN (1 - sign) / 2 END) AS score
    FROM comparison_runs c JOIN runs r USING (run_id) JOIN suites s USING (suite_id)
    JOIN predictions p USING (run_id)
    WHERE c.comparison_id = {text(scope.comparison_id)} AND s.name IN ({_names(scope.suites)})
), means AS (
    SELECT suite, side, sign, instance_id, avg(score) AS score FROM answers GROUP BY ALL
    HAVING bool_and(outcome NOT IN ('unscored', 'error')) AND count(score) > 0
)"""


def _names(suites: Sequence[str]) -> str:
    return ", ".join(text(suite) for suite in suites)


def text(value: str) -> str:
    """A text as SQL. Characters that a shell could swallow or a reader not see are written as chr(…)."""
    pieces = re.split("([^ -~\u00a1-\u00ac\u00ae-\u02ff\u0370-\u0482\u0400-\u0482\u4e00-\u9fff])", value)
    told = [
        f"chr({ord(piece)})" if i % 2 else "'" + piece.replace("'", "''") + "'"
        for i, piece in enumerate(pieces)
        if piece
    ]
    if not told:
        return "''"
    return told[0] if len(told) == 1 else f"({' || '.join(told)})"
