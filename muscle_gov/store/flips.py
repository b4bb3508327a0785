"""The answers that changed, worst first, with their texts: read page by page, never all at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from muscle_gov.data import Flip
from muscle_gov.margins import margins
from muscle_gov.store.pairing import SuitePair
from muscle_gov.store.pairing_sql import JUDGED, OUTCOME

if TYPE_CHECKING:
    from muscle_gov.store.connection import Store

KINDS = ("negative", "loss", "wrong_to_wrong", "positive", "gain")
"""Kinds of flips, those that hurt most first."""
PAGE = 500

# Which instances changed, how, how much, and which outcome of each side shows it.
_CHANGED = f"""
CREATE OR REPLACE TEMP TABLE changed AS
SELECT suite_id, instance_id, ordinal, kind::ENUM {KINDS} AS kind, size,
    old_wanted::outcome AS old_wanted, new_wanted::outcome AS new_wanted
FROM (
    SELECT suite_id, instance_id, ordinal,
        CASE WHEN negative_flip > positive_flip THEN 'negative'
            WHEN negative_flip < positive_flip THEN 'positive'
            WHEN both_wrong_different > 0 AND negative_flip = 0 THEN 'wrong_to_wrong' END AS kind,
        abs(negative_flip - positive_flip)::DOUBLE AS size,
        CASE kind WHEN 'negative' THEN 'right' ELSE 'wrong' END AS old_wanted,
        CASE kind WHEN 'positive' THEN 'right' ELSE 'wrong' END AS new_wanted
    FROM (SELECT * REPLACE (negative_flip::DOUBLE AS negative_flip,
            positive_flip::DOUBLE AS positive_flip)
        FROM pairs_binary WHERE {JUDGED["binary"]})
    UNION ALL
    SELECT suite_id, instance_id, ordinal,
        CASE WHEN loss > 0 THEN 'loss' WHEN gain > 0 THEN 'gain' END, loss_size + gain_size,
        'graded', 'graded'
    FROM pairs_graded WHERE {JUDGED["graded"]}
) WHERE kind IS NOT NULL
"""
# Where a side answered several times, the first of its answers that shows the change.
_PICKED = f"""
    SELECT c.suite_id, c.instance_id, p.run_id, p.repeat
    FROM changed c JOIN sides s ON s.suite_id = c.suite_id AND s.side = '{{side}}'
    JOIN predictions p ON p.run_id = s.run_id AND p.instance_id = c.instance_id
    WHERE c.suite_id IN ({{repeated}})
    QUALIFY row_number() OVER (PARTITION BY c.suite_id, c.instance_id
        ORDER BY ({OUTCOME}) = c.{{side}}_wanted DESC, s.place, p.repeat) = 1
"""
# Among flips of one kind and size the suites take turns, so that whoever reads only the first of them
# sees every suite. Scores have units of their own: worse scores are compared within their suite alone.
_LISTED = """
CREATE OR REPLACE TEMP TABLE listed AS
SELECT row_number() OVER (ORDER BY kind, shared_size DESC, turn, suite) AS place,
    * EXCLUDE (ordinal, shared_size, turn)
FROM (SELECT *, CASE WHEN kind IN ('loss', 'gain') THEN 0 ELSE size END AS shared_size,
    row_number() OVER (PARTITION BY kind, shared_size, suite_id ORDER BY size DESC, ordinal) AS turn
FROM (
    SELECT c.suite_id, s.name AS suite, c.instance_id, c.kind, c.size, c.ordinal,
        o.run_id AS old_run, 0 AS old_repeat, n.run_id AS new_run, 0 AS new_repeat
    FROM changed c JOIN suites s USING (suite_id)
    JOIN sides o ON o.suite_id = c.suite_id AND o.side = 'old'
    JOIN sides n ON n.suite_id = c.suite_id AND n.side = 'new'
    WHERE c.suite_id NOT IN ({repeated})
    UNION ALL
    SELECT c.suite_id, s.name, c.instance_id, c.kind, c.size, c.ordinal,
        o.run_id, o.repeat, n.run_id, n.repeat
    FROM changed c JOIN suites s USING (suite_id)
    JOIN ({old}) o USING (suite_id, instance_id) JOIN ({new}) n USING (suite_id, instance_id)
))
"""
_FIELDS = (
    "suite",
    "key",
    "instance_id",
    "kind",
    "old_answer",
    "new_answer",
    "target",
    "prompt",
    "new_prompt",
    "old_output",
    "new_output",
    "old_score",
    "new_score",
    "size",
)
"""What a page's columns are, the tags behind them left out."""
_PAGE = """
SELECT l.suite, i.key, l.instance_id, l.kind::VARCHAR, ot.answer, nt.answer,
    coalesce(oi.target, ni.target), coalesce(ot.prompt, oq.prompt) AS old_prompt,
    nullif(coalesce(nt.prompt, nq.prompt), old_prompt),
    ot.output, nt.output, op.score, np.score, l.size, tags.tags
FROM (SELECT * FROM listed WHERE {where} ORDER BY place LIMIT {limit} OFFSET {offset}) l
JOIN instances i ON i.run_id = l.old_run AND i.instance_id = l.instance_id
LEFT JOIN instance_texts oi ON oi.run_id = l.old_run AND oi.instance_id = l.instance_id
LEFT JOIN instance_texts ni ON ni.run_id = l.new_run AND ni.instance_id = l.instance_id
JOIN predictions op ON op.run_id = l.old_run AND op.instance_id = l.instance_id
    AND op.repeat = l.old_repeat
JOIN predictions np ON np.run_id = l.new_run AND np.instance_id = l.instance_id
    AND np.repeat = l.new_repeat
LEFT JOIN prompts oq ON oq.prompt_hash = op.prompt_hash
LEFT JOIN prompts nq ON nq.prompt_hash = np.prompt_hash
LEFT JOIN prediction_texts ot ON ot.run_id = l.old_run AND ot.instance_id = l.instance_id
    AND ot.repeat = l.old_repeat
LEFT JOIN prediction_texts nt ON nt.run_id = l.new_run AND nt.instance_id = l.instance_id
    AND nt.repeat = l.new_repeat
LEFT JOIN (SELECT suite_id, instance_id, json_group_object(tag, value) AS tags FROM slice_tags
    GROUP BY ALL) tags ON tags.suite_id = l.suite_id AND tags.instance_id = l.instance_id
ORDER BY l.place
"""


@dataclass(frozen=True)
class FlipFilter:
    """Which flips to read; None takes all."""

    suite: str | None = None
    """Name or shell pattern."""
    kinds: tuple[str, ...] = ()
    slice: str | None = None
    """`tag=value`."""
    key: str | None = None
    text: str | None = None
    """Text in the prompt, the target or an answer, whatever its case."""


class FlipList:
    """The flips of the comparison whose pairs were made last on this connection.

    May be iterated again and again; `len` is their number.
    """

    def __init__(
        self,
        store: Store,
        chosen: FlipFilter | None = None,
        waived: Mapping[int, str] | None = None,
    ) -> None:
        self.store = store
        self.where, self.parameters = _condition(chosen or FlipFilter())
        self.waived = waived or {}

    def __len__(self) -> int:
        sql = f"SELECT count(*) FROM listed WHERE {self.where}"
        return int(self.store.rows(sql, self.parameters)[0][0])

    def __iter__(self) -> Iterator[Flip]:
        offset = 0
        while True:
            sql = _PAGE.format(where=self.where, limit=PAGE, offset=offset)
            rows = self.store.rows(sql, self.parameters)
            for row in rows:
                yield self._flip(row)
            if len(rows) < PAGE:
                return
            offset += PAGE

    def _flip(self, row: tuple[Any, ...]) -> Flip:
        known = dict(zip(_FIELDS, row, strict=False))
        tags = json.loads(row[-1]) if row[-1] else {}
        old, new = margins(known["old_output"], known["new_output"], known["target"])
        waived = self.waived.get(known["instance_id"])
        return Flip(**known, tags=tags, waived=waived, old_margin=old, new_margin=new)


def _condition(chosen: FlipFilter) -> tuple[str, list[Any]]:
    where, parameters = ["true"], []
    if chosen.suite is not None:
        where.append("suite GLOB ?")
        parameters.append(chosen.suite)
    if chosen.kinds:
        where.append(f"kind IN ({', '.join('?' * len(chosen.kinds))})")
        parameters += chosen.kinds
    if chosen.slice is not None:
        where.append(f"instance_id IN ({_IN_SLICE})")
        parameters.append(chosen.slice)
    if chosen.key is not None:
        where.append(_HAS_KEY)
        parameters.append(chosen.key)
    if chosen.text is not None:
        where.append(_HAS_TEXT)
        parameters += [chosen.text] * 4
    return " AND ".join(where), parameters


def list_flips(store: Store, pairs: Sequence[SuitePair]) -> dict[str, int]:
    """Make the list of flips of the pairs at hand; returns how many there are of each kind."""
    store.run(_CHANGED)
    repeated = ", ".join(str(pair.suite_id) for pair in pairs if pair.has_repeats) or "NULL::BIGINT"
    picked = {side: _PICKED.format(side=side, repeated=repeated) for side in ("old", "new")}
    has_repeats = any(pair.has_repeats for pair in pairs)
    store.run(_LISTED.format(repeated=repeated if has_repeats else "-1", **picked))
    rows = dict(store.rows("SELECT kind::VARCHAR, count(*) FROM listed GROUP BY kind"))
    return {kind: rows[kind] for kind in KINDS if kind in rows}


def where_flips_are(store: Store) -> dict[str, list[str]]:
    """Suites, kinds and `tag=value` slices that the listed flips are in, those of most flips first."""
    counted = {
        "suites": "SELECT suite AS name FROM listed",
        "kinds": "SELECT kind::VARCHAR AS name FROM listed",
        "slices": """SELECT tag || '=' || value AS name
            FROM listed JOIN slice_tags USING (suite_id, instance_id)""",
    }
    return {
        what: [
            row[0]
            for row in store.rows(f"SELECT name FROM ({sql}) GROUP BY name ORDER BY count(*) DESC, name")
        ]
        for what, sql in counted.items()
    }


_IN_SLICE = "SELECT instance_id FROM slice_tags WHERE tag || '=' || value = ?"
_IN_OLD_SLICE = """SELECT t.instance_id FROM side_tags t JOIN suites s USING (suite_id)
    WHERE t.side = 'old' AND s.name = l.suite AND t.tag || '=' || t.value = ?"""
_HAS_KEY = "(old_run, instance_id) IN (SELECT (run_id, instance_id) FROM instances WHERE key = ?)"
_CONTAINS = "contains(lower(concat_ws(' ', {texts})), lower(?))"
_ANSWERS = f"""(SELECT (run_id, instance_id) FROM prediction_texts
    WHERE {_CONTAINS.format(texts="answer, output, prompt")})"""
_HAS_TEXT = f"""((old_run, instance_id) IN (SELECT (run_id, instance_id) FROM instance_texts
        WHERE {_CONTAINS.format(texts="target")})
    OR (old_run, instance_id) IN (SELECT (run_id, instance_id) FROM predictions
        WHERE prompt_hash IN (SELECT prompt_hash FROM prompts WHERE {_CONTAINS.format(texts="prompt")}))
    OR (old_run, instance_id) IN {_ANSWERS} OR (new_run, instance_id) IN {_ANSWERS})"""


def waived_instances(store: Store, suite: str, key: str | None, slice_: str | None) -> list[int]:
    """Instances of a suite with this key, or in this slice by the old log, that became worse."""
    condition = _HAS_KEY if key is not None else f"l.instance_id IN ({_IN_OLD_SLICE})"
    sql = f"""SELECT l.instance_id FROM listed l
        WHERE l.suite = ? AND l.kind IN ('negative', 'loss', 'wrong_to_wrong') AND {condition}"""
    return [row[0] for row in store.rows(sql, [suite, key if key is not None else slice_])]
