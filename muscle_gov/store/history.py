"""What the store remembers of successive updates: comparisons, all their verdicts, and single answers.

Nothing is chosen here but by what was stored: which comparisons make up the line of a model is settled
by those who read this. An answer's outcome is that of the runs which judged the update at hand, so a
flip counted here is one that NFR counted then; with repeats it is the majority's, and one failed repeat
leaves the whole answer unscored, as in `pairing_sql`. Waivers are not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from muscle_gov.data import Measure, Status
from muscle_gov.store.pairing_sql import OUTCOME

if TYPE_CHECKING:
    from muscle_gov.store.connection import Store

METRICS = (
    *("nfr", "pfr", "accuracy_old", "accuracy_new", "accuracy_delta", "noise_floor"),
    *("regression_rate", "score_old", "score_new", "score_delta"),
)
"""Figures that a history shows."""
MIXED, UNKNOWN = "mixed", "unknown"
"""Outcomes of a model whose runs say different things, or none of which scored the answer."""


@dataclass(frozen=True)
class StoredModel:
    """A model as the store knows it."""

    id: int
    name: str
    fingerprint: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class GivenVerdict:
    """A verdict as it was given, with what it was given by."""

    given: str
    """UTC, ISO 8601."""
    status: Status
    reason: str
    policy: Mapping[str, Any] | None
    """The gate as it was judged (`gate`), findings that were allowed (`allow`), and what else was asked;
    None where no rule was asked for."""
    digest: str | None
    waivers: tuple[Mapping[str, Any], ...]
    """The exceptions that were asked for."""
    rules: tuple[Mapping[str, Any], ...]
    """What each rule found, as plain mappings of `RuleResult`."""


@dataclass(frozen=True)
class PastComparison:
    """A comparison with its figures and all its verdicts."""

    id: str
    created: str
    """UTC, ISO 8601."""
    old: StoredModel
    new: StoredModel
    confidence: float
    """Of the intervals in `figures`."""
    verdicts: tuple[GivenVerdict, ...]
    """The oldest first."""
    figures: Mapping[str, Mapping[str, Measure]]
    """Suite, or `(all)` → metric → figure; of whole suites only."""
    role: str | None = None
    """`update`, `mitigation` or `control` where an update was mended; else None."""
    mending: str | None = None
    """Id of the update's own comparison, where it was judged beside others in a mending."""
    candidate: str | None = None
    """Its name among the candidates of that mending."""
    noise: Mapping[str, Measure] = field(default_factory=dict)
    """For a mere re-fit of the update: suite → NFR from the update to it."""


def past_comparisons(store: Store) -> list[PastComparison]:
    """All of them, the oldest first."""
    rows = store.rows(
        """SELECT c.comparison_id, c.created_at, o.model_id, o.name, o.fingerprint, o.details,
            n.model_id, n.name, n.fingerprint, n.details, c.settings
        FROM comparisons c JOIN models o ON o.model_id = c.old_model_id
        JOIN models n ON n.model_id = c.new_model_id ORDER BY c.created_at, c.rowid"""
    )
    verdicts, figures, candidates = _verdicts(store), _figures(store), _candidates(store)
    found = []
    for id_, created, *old_and_new, settings in rows:
        old, new = old_and_new[:4], old_and_new[4:]
        role, mending, name, noise = candidates.get(id_, (None, None, None, {}))
        found.append(
            PastComparison(
                id=id_,
                created=created.isoformat() + "Z",
                old=StoredModel(old[0], old[1], old[2], json.loads(old[3])),
                new=StoredModel(new[0], new[1], new[2], json.loads(new[3])),
                confidence=json.loads(settings)["compare"]["confidence"],
                verdicts=tuple(verdicts.get(id_, ())),
                figures=figures.get(id_, {}),
                role=role,
                mending=mending,
                candidate=name,
                noise=noise,
            )
        )
    return found


def _verdicts(store: Store) -> dict[str, list[GivenVerdict]]:
    rows = store.rows(
        """SELECT comparison_id, given_at, status, reason, policy, policy_digest, waivers, rules
        FROM verdicts ORDER BY rowid"""
    )
    found: dict[str, list[GivenVerdict]] = {}
    for id_, given, status, reason, policy, digest, waivers, rules in rows:
        verdict = GivenVerdict(
            given.isoformat() + "Z",
            Status(status),
            reason,
            json.loads(policy) if policy else None,
            digest,
            tuple(json.loads(waivers)),
            tuple(json.loads(rules)),
        )
        found.setdefault(id_, []).append(verdict)
    return found


def _figures(store: Store) -> dict[str, dict[str, dict[str, Measure]]]:
    rows = store.rows(
        """SELECT comparison_id, suite, metric, value, low, high, n, method FROM measures
        WHERE slice IS NULL AND metric IN (SELECT unnest(?)) ORDER BY comparison_id, suite, metric""",
        [list(METRICS)],
    )
    found: dict[str, dict[str, dict[str, Measure]]] = {}
    for id_, suite, metric, value, low, high, n, method in rows:
        suites = found.setdefault(id_, {})
        suites.setdefault(suite, {})[metric] = Measure(value, low, high, int(n), method)
    return found


_Candidate = tuple[str | None, str | None, str | None, Mapping[str, Measure]]


def _candidates(store: Store) -> dict[str, _Candidate]:
    """comparison → (role, mending, name, noise), of the newest mending that it is part of."""
    rows = store.rows(
        """SELECT k.comparison_id, role, mending_id, name, noise FROM candidates k
        JOIN comparisons m ON m.comparison_id = mending_id ORDER BY m.rowid, place"""
    )
    found: dict[str, _Candidate] = {}
    for id_, role, mending, name, noise in rows:
        told = json.loads(noise) if noise else {}
        found[id_] = (role, mending, name, {suite: Measure(**m) for suite, m in told.items()})
    return found


# ------------------------------------------------------------------------------------ single answers


@dataclass(frozen=True)
class AnswerPath:
    """One instance through the models of a line."""

    suite: str
    key: str
    breaks: tuple[int, ...]
    """Numbers of the updates, from 0, in which it went from right to wrong."""
    outcomes: tuple[str, ...]
    """Outcome by each model from the first one on: `right`, `wrong`, `mixed` or `unknown`."""


@dataclass(frozen=True)
class AnswerPaths:
    """Instances that broke on the way of a line of models."""

    n_broken: int
    """Instances that broke in at least one update."""
    n_repeated: int
    """... in more than one."""
    n_open: int
    """... and were never right again, the newest model's answer being wrong; those that only broke in
    the newest update are not among them."""
    repeated: tuple[AnswerPath, ...]
    """The worst: most breaks first, then those that are wrong now, then the latest."""
    still_open: tuple[AnswerPath, ...]
    """The longest open first."""


_TAKEN = """CREATE OR REPLACE TEMP TABLE line_runs AS
SELECT u.place AS update_no, r.side, r.run_id, runs.suite_id,
    CASE WHEN runs.header ->> 'higher_is_better' = 'false' THEN -1 ELSE 1 END AS sign,
    CASE WHEN bool_or(runs.is_graded) OVER (PARTITION BY u.place, runs.suite_id)
        THEN (c.settings -> 'compare' ->> 'threshold')::DOUBLE END AS threshold
FROM (SELECT unnest(?::VARCHAR[]) AS comparison_id, unnest(?::INTEGER[]) AS place) u
JOIN comparisons c USING (comparison_id) JOIN comparison_runs r USING (comparison_id)
JOIN runs USING (run_id) JOIN suites s USING (suite_id)
WHERE EXISTS (SELECT 1 FROM measures m WHERE m.comparison_id = u.comparison_id AND m.suite = s.name
    AND m.slice IS NULL AND m.metric = 'nfr')"""
_SIDES = f"""SELECT s.update_no, s.side, s.suite_id, p.instance_id,
    CASE WHEN count(*) FILTER ({OUTCOME} NOT IN ('right', 'wrong')) > 0 THEN NULL
        WHEN 2 * count(*) FILTER ({OUTCOME} = 'right') > count(*) THEN 'right' ELSE 'wrong' END AS state
FROM predictions p JOIN line_runs s USING (run_id) {{where}} GROUP BY ALL"""
_BROKEN = f"""CREATE OR REPLACE TEMP TABLE line_breaks AS
WITH side AS ({_SIDES.format(where="")})
SELECT o.update_no, o.suite_id, o.instance_id
FROM (SELECT * FROM side WHERE side = 'old' AND state = 'right') o
JOIN (SELECT * FROM side WHERE side = 'new' AND state = 'wrong') n
    USING (update_no, suite_id, instance_id)"""
# a model's outcome is that of its runs as the new side of one update and as the old side of the next
_OF_BROKEN = "WHERE p.instance_id IN (SELECT instance_id FROM line_breaks)"
_STATES = f"""CREATE OR REPLACE TEMP TABLE line_states AS
SELECT update_no + (side = 'new')::INTEGER AS model_no, suite_id, instance_id,
    CASE WHEN count(DISTINCT state) > 1 THEN '{MIXED}' ELSE coalesce(min(state), '{UNKNOWN}')
        END AS state
FROM ({_SIDES.format(where=_OF_BROKEN)}) GROUP BY ALL"""
_ANSWERS = """CREATE OR REPLACE TEMP TABLE line_answers AS
WITH broken AS (
    SELECT suite_id, instance_id, list(update_no ORDER BY update_no) AS breaks,
        count(*) AS n, max(update_no) AS latest
    FROM line_breaks GROUP BY ALL
), after AS (
    SELECT b.suite_id, b.instance_id, bool_or(state = 'right' OR state = 'mixed') AS was_right,
        max(state) FILTER (model_no = ?) AS now
    FROM broken b LEFT JOIN line_states s ON s.suite_id = b.suite_id
        AND s.instance_id = b.instance_id AND s.model_no > b.latest
    GROUP BY ALL
)
SELECT b.*, coalesce(now = 'wrong', false) AS is_wrong,
    coalesce(now = 'wrong' AND NOT was_right AND b.latest < ?, false) AS is_open
FROM broken b JOIN after USING (suite_id, instance_id)"""
_LISTED = """SELECT s.name, coalesce(k.key, ''), a.breaks, p.path
FROM (SELECT * FROM line_answers WHERE {where}) a JOIN suites s USING (suite_id)
LEFT JOIN (SELECT suite_id, instance_id, arg_max(i.key, (l.update_no, l.side, l.run_id)) AS key
    FROM instances i JOIN line_runs l USING (run_id)
    WHERE i.instance_id IN (SELECT instance_id FROM line_answers WHERE {where}) GROUP BY ALL) k
    ON k.suite_id = a.suite_id AND k.instance_id = a.instance_id
JOIN (SELECT suite_id, instance_id, map_from_entries(list((model_no, state))) AS path FROM line_states
    WHERE instance_id IN (SELECT instance_id FROM line_answers WHERE {where}) GROUP BY ALL) p
    ON p.suite_id = a.suite_id AND p.instance_id = a.instance_id
ORDER BY {order}, s.name, k.key, a.instance_id LIMIT {most}"""


def answer_paths(store: Store, comparison_ids: Sequence[str], most: int) -> AnswerPaths:
    """Instances that broke in these comparisons, each of which has the new model of the one before it as
    its old one. At most `most` of each kind are listed; the counts are of all."""
    store.run(_TAKEN, [list(comparison_ids), list(range(len(comparison_ids)))])
    last = len(comparison_ids)
    for sql, parameters in ((_BROKEN, []), (_STATES, []), (_ANSWERS, [last, last - 1])):
        store.run(sql, parameters)
    counts = "SELECT count(*), count(*) FILTER (n > 1), count(*) FILTER (is_open) FROM line_answers"
    n_broken, n_repeated, n_open = store.rows(counts)[0]
    worst = "a.n DESC, a.is_wrong DESC, a.latest DESC"
    repeated = _LISTED.format(where="n > 1", order=worst, most=int(most))
    still_open = _LISTED.format(where="is_open", order="a.latest, a.n DESC", most=int(most))
    return AnswerPaths(
        n_broken,
        n_repeated,
        n_open,
        tuple(_path(row, last) for row in store.rows(repeated)),
        tuple(_path(row, last) for row in store.rows(still_open)),
    )


def _path(row: tuple[Any, ...], updates: int) -> AnswerPath:
    suite, key, breaks, path = row
    return AnswerPath(suite, key, tuple(breaks), tuple(path.get(i, UNKNOWN) for i in range(updates + 1)))
