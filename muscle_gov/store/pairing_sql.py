"""The SQL behind `pairing`: the tables of pairs and how they are filled.

`{suites}` in a statement stands for the ids of the suites it is for. A side is `old` or `new`; a
suite's sign is -1 where lower scores are better.
"""

from __future__ import annotations

from muscle_gov.data import BINARY_CELLS, GRADED_CELLS

REPEAT_CELLS = ("robust_negative_flip", "old_noise", "new_noise")
_KEYS = """suite_id BIGINT, instance_id BIGINT, old_outcome outcome, new_outcome outcome, ordinal BIGINT,
    other_prompt BOOLEAN, other_content BOOLEAN"""
_SINGLE_CELLS = """
    (o AND n)::UTINYINT AS both_right, (o AND NOT n)::UTINYINT AS negative_flip,
    (NOT o AND n)::UTINYINT AS positive_flip, (NOT o AND NOT n AND same_answer)::UTINYINT
        AS both_wrong_same, (NOT o AND NOT n AND NOT same_answer)::UTINYINT AS both_wrong_different
"""
TABLES = (
    """CREATE OR REPLACE TEMP TABLE sides (run_id BIGINT, suite_id BIGINT, side VARCHAR, place INTEGER,
        sign INTEGER, threshold DOUBLE)""",
    f"""CREATE OR REPLACE TEMP TABLE pairs_single ({_KEYS}, same_answer BOOLEAN)""",
    f"""CREATE OR REPLACE TEMP TABLE pairs_repeated ({_KEYS},
        {", ".join(f"{name} DOUBLE" for name in (*BINARY_CELLS, *REPEAT_CELLS))})""",
    f"""CREATE OR REPLACE TEMP TABLE pairs_scored ({_KEYS},
        {", ".join(f"{name} DOUBLE" for name in GRADED_CELLS)})""",
    f"""CREATE OR REPLACE TEMP VIEW pairs_binary AS
        SELECT suite_id, instance_id, old_outcome, new_outcome, ordinal, other_prompt, other_content,
            {_SINGLE_CELLS},
            NULL::DOUBLE AS robust_negative_flip, NULL::DOUBLE AS old_noise, NULL::DOUBLE AS new_noise
        FROM (SELECT *, old_outcome = 'right' AS o, new_outcome = 'right' AS n FROM pairs_single)
        UNION ALL SELECT * FROM pairs_repeated""",
    "CREATE OR REPLACE TEMP VIEW pairs_graded AS SELECT * FROM pairs_scored",
)

# An outcome after the threshold, if there is one; a score that was never given stays what it was.
OUTCOME = """CASE WHEN s.threshold IS NULL OR p.outcome IN ('unscored', 'error') THEN p.outcome
    WHEN p.score IS NULL THEN p.outcome
    WHEN s.sign * p.score >= s.sign * s.threshold THEN 'right'::outcome ELSE 'wrong'::outcome END"""
SCORE = """CASE WHEN p.outcome IN ('unscored', 'error') THEN NULL ELSE coalesce(p.score,
    CASE p.outcome WHEN 'right' THEN (s.sign + 1) / 2 WHEN 'wrong' THEN (1 - s.sign) / 2 END) END"""

_SINGLE = f"""
WITH side AS NOT MATERIALIZED (
    SELECT p.instance_id, p.answer_hash, p.ordinal, p.prompt_hash, p.content_hash, s.suite_id, s.side,
        s.sign, {OUTCOME} AS outcome, {SCORE} AS score
    FROM predictions p JOIN sides s USING (run_id) WHERE s.suite_id IN ({{suites}})
), joined AS (
    SELECT o.suite_id, o.instance_id, o.sign, o.outcome AS oo, n.outcome AS nn, o.ordinal,
        o.answer_hash IS NOT DISTINCT FROM n.answer_hash AS same_answer,
        o.prompt_hash <> n.prompt_hash AS other_prompt,
        o.content_hash <> n.content_hash AS other_content,
        o.score AS os, n.score AS ns
    FROM (SELECT * FROM side WHERE side = 'old') o
    JOIN (SELECT * FROM side WHERE side = 'new') n USING (suite_id, instance_id)
)
"""
_SINGLE_BINARY = f"""INSERT INTO pairs_single {_SINGLE}
SELECT suite_id, instance_id, oo, nn, ordinal, other_prompt, other_content, same_answer FROM joined"""
_GRADED_CELLS = """
    coalesce(sign * (ns - os) > 0, false), coalesce(sign * (ns - os) < 0, false),
    coalesce(ns = os, false), greatest(sign * (ns - os), 0), greatest(sign * (os - ns), 0), os, ns
"""
_SINGLE_GRADED = f"""INSERT INTO pairs_scored {_SINGLE}
SELECT suite_id, instance_id, oo, nn, ordinal, other_prompt, other_content,
    {_GRADED_CELLS} FROM joined"""

# With repeats: counts per instance and side. The instance's own outcome is that of most repeats, but
# one repeat that failed or was not scored makes the whole instance so: nothing is hidden by a mean.
SHARES = f"""
WITH side AS (
    SELECT p.instance_id, p.answer_hash, p.ordinal, s.suite_id, s.side, s.sign,
        {OUTCOME} AS outcome, {SCORE} AS score
    FROM predictions p JOIN sides s USING (run_id) WHERE s.suite_id IN ({{suites}})
), per_instance AS (
    SELECT suite_id, side, instance_id, any_value(sign) AS sign,
        list_avg(list_sort(list(score))) AS score, -- in one order, since the sum of floats hangs on it
        min(ordinal) AS ordinal,
        count(*) FILTER (outcome = 'right') AS rights,
        count(*) FILTER (outcome IN ('right', 'wrong')) AS scored,
        CASE WHEN count(*) FILTER (outcome = 'error') > 0 THEN 'error'::outcome
            WHEN count(*) FILTER (outcome = 'unscored') > 0 THEN 'unscored'::outcome
            WHEN count(*) FILTER (outcome = 'graded') > 0 THEN 'graded'::outcome
            WHEN 2 * rights > scored THEN 'right'::outcome ELSE 'wrong'::outcome END AS outcome
    FROM side GROUP BY ALL
), joined AS (
    SELECT o.suite_id, o.instance_id, o.sign, o.outcome AS oo, n.outcome AS nn, o.ordinal,
        o.rights AS orr, o.scored AS ok, n.rights AS nr, n.scored AS nk,
        o.score AS os, n.score AS ns
    FROM (SELECT * FROM per_instance WHERE side = 'old') o
    JOIN (SELECT * FROM per_instance WHERE side = 'new') n USING (suite_id, instance_id)
)
"""
_REPEATED_BINARY = f"""INSERT INTO pairs_repeated {SHARES}
, wrong_answers AS (
    SELECT suite_id, side, instance_id, answer_hash, count(*) AS times FROM side
    WHERE outcome = 'wrong' GROUP BY ALL
), same AS (
    SELECT o.suite_id, o.instance_id, sum(o.times * n.times) AS times
    FROM wrong_answers o JOIN wrong_answers n ON o.suite_id = n.suite_id AND o.side = 'old'
        AND n.side = 'new' AND o.instance_id = n.instance_id
        AND o.answer_hash IS NOT DISTINCT FROM n.answer_hash GROUP BY ALL
), shares AS (
    SELECT j.*, j.orr / nullif(j.ok, 0) AS po, j.nr / nullif(j.nk, 0) AS pn,
        coalesce(same.times, 0) / nullif(j.ok * j.nk, 0) AS ws
    FROM joined j LEFT JOIN same USING (suite_id, instance_id)
)
SELECT suite_id, instance_id, oo, nn, ordinal, NULL, NULL,
    coalesce(po * pn, 0), coalesce(po * (1 - pn), 0),
    coalesce((1 - po) * pn, 0), coalesce(ws, 0), coalesce((1 - po) * (1 - pn) - ws, 0),
    coalesce(po = 1 AND pn < 1, false),
    CASE WHEN ok > 1 THEN orr * (ok - orr) / (ok * (ok - 1)) END,
    CASE WHEN nk > 1 THEN nr * (nk - nr) / (nk * (nk - 1)) END
FROM shares"""
_REPEATED_GRADED = f"""INSERT INTO pairs_scored {SHARES}
SELECT suite_id, instance_id, oo, nn, ordinal, NULL, NULL, {_GRADED_CELLS} FROM joined"""
SQL = {
    ("binary", False): _SINGLE_BINARY,
    ("binary", True): _REPEATED_BINARY,
    ("graded", False): _SINGLE_GRADED,
    ("graded", True): _REPEATED_GRADED,
}
JUDGED = {
    "binary": "old_outcome IN ('right', 'wrong') AND new_outcome IN ('right', 'wrong')",
    "graded": "old_score IS NOT NULL AND new_score IS NOT NULL "
    "AND old_outcome NOT IN ('error', 'unscored') AND new_outcome NOT IN ('error', 'unscored')",
}

REPEATED_MISMATCHES = """
SELECT so.suite_id, count(*) FILTER (o.prompt_hash <> n.prompt_hash),
    count(o.prompt_hash <> n.prompt_hash), count(*) FILTER (o.content_hash <> n.content_hash)
FROM predictions o JOIN sides so ON o.run_id = so.run_id AND so.side = 'old' AND so.place = 0
JOIN sides sn ON sn.suite_id = so.suite_id AND (sn.side = 'new' OR sn.place > 0)
JOIN predictions n ON n.run_id = sn.run_id AND n.instance_id = o.instance_id AND n.repeat = o.repeat
WHERE so.suite_id IN ({suites}) AND o.repeat = 0 GROUP BY ALL
"""

OF_BOTH_LOGS = (
    # an instance is in every slice that either log puts it in
    """CREATE OR REPLACE TEMP TABLE slice_tags AS
    SELECT DISTINCT s.suite_id, t.instance_id, t.tag, t.value FROM tags t JOIN sides s USING (run_id)""",
    # but an exception covers what the old log calls so: the new one must not widen it
    """CREATE OR REPLACE TEMP VIEW side_tags AS
    SELECT s.suite_id, s.side, t.instance_id, t.tag, t.value FROM tags t JOIN sides s USING (run_id)""",
    # and in the cluster of the old log, or of the new one where the old one knows of none
    """CREATE OR REPLACE TEMP TABLE pair_clusters AS SELECT s.suite_id, i.instance_id,
        coalesce(arg_min(i.cluster, s.place) FILTER (s.side = 'old'),
            arg_min(i.cluster, s.place) FILTER (s.side = 'new')) AS cluster
    FROM instances i JOIN sides s USING (run_id) WHERE i.cluster IS NOT NULL GROUP BY ALL""",
)
