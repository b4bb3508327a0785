"""What a verdict rests on: digests that a copy keeps and an edit changes, and SQL for each figure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import Log, _source, all_plugins, log, scored

from muscle_gov import pipeline
from muscle_gov.data import Evidence, Report
from muscle_gov.proof.evidence import collect, with_evidence
from muscle_gov.settings import CompareSettings, Gate, Policy, Rule, Waiver
from muscle_gov.store import Store, open_store, queries

HARD = 'it\'s; DROP TABLE x--\n\x00\u202e日本 "q"'


@pytest.fixture
def store() -> Iterator[Store]:
    with open_store(":memory:") as opened:
        yield opened


def judged(
    store: Store,
    folder: Path,
    old: Sequence[Log],
    new: Sequence[Log],
    policy: Policy | None = None,
    reruns: tuple[Sequence[Log], Sequence[Log]] = ((), ()),
    **settings: Any,
) -> Report:
    sources = [
        _source(folder, name, side, again, None)
        for name, side, again in (("old", old, reruns[0]), ("new", new, reruns[1]))
    ]
    given = CompareSettings(**settings)
    return pipeline.compare_logs(store, all_plugins(), *sources, given, policy or Policy()).report


def letters(seed: int, n: int, alphabet: str = "RRRWWUE", repeats: int = 1) -> list[str]:
    draw = random.Random(seed)
    return ["".join(draw.choice(alphabet) for _ in range(repeats)) for _ in range(n)]


def answered(seed: int) -> Any:
    draw = random.Random(seed)
    return lambda i, _: {"answer": draw.choice("abcd"), "tags": {"third": str(i % 3)}, "target": "a"}


def sides(suite: str, n: int, **kwargs: Any) -> tuple[Log, Log]:
    old, new = (
        log(letters(seed, n, **kwargs), model=name, suite=suite, each=answered(seed))
        for seed, name in ((1, "old"), (2, "new"))
    )
    return old, new


def check_queries(store: Store, report: Report) -> Evidence:
    """Each query gives its value, and the value is the figure of the report."""
    proof = collect(store, report)
    for query in proof.queries:
        assert query.value is not None
        assert store.rows(query.sql) == [(pytest.approx(query.value, rel=1e-12, abs=1e-15),)], (
            query.title
        )
    return proof


def values(proof: Evidence) -> Mapping[str, float | int | None]:
    return {query.title: query.value for query in proof.queries}


def test_each_query_of_single_answers_gives_its_figure(store: Store, tmp_path: Path) -> None:
    first, second = sides("one", 200), sides("two", 150)
    report = judged(store, tmp_path, [first[0], second[0]], [first[1], second[1]])
    found = values(check_queries(store, report))
    assert report.comparison.total is not None
    for suite, measures in (
        ("one", report.comparison.suites[0].measures),
        ("all suites", report.comparison.total.measures),
    ):
        for title, metric in (
            ("Accuracy, old", "accuracy_old"),
            ("Accuracy, new", "accuracy_new"),
            ("NFR", "nfr"),
            ("PFR", "pfr"),
            ("NFR_mc", "nfr_mc"),
        ):
            assert found[f"{title} of {suite}"] == measures[metric].value
    broken = [flip.suite for flip in report.flips if flip.kind == "negative"]
    assert found["Negative flips, all suites"] == len(broken) > 0
    assert found["Negative flips of two"] == broken.count("two") > 0


def test_each_query_of_repeats_and_reruns_gives_its_figure(store: Store, tmp_path: Path) -> None:
    old, new = sides("one", 120, alphabet="RRRWWWRRWWRRWE", repeats=3)
    again = log(letters(9, 120, "RWRWRW", 2), model="old", suite="one", each=answered(9))
    report = judged(store, tmp_path, [old], [new], reruns=([again], []))
    found = values(check_queries(store, report))
    assert found["NFR of one"] == report.comparison.suites[0].measures["nfr"].value
    assert {"Negative flips, all suites", "Positive flips, all suites"} <= set(found)


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("threshold", [None, 0.5])
def test_each_query_of_graded_scores_gives_its_figure(
    store: Store, tmp_path: Path, higher: bool, threshold: float | None
) -> None:
    draw = random.Random(4)
    rows = [[draw.choice([0, 0.25, 0.5, 0.75, 1, None]) for _ in range(150)] for _ in range(2)]
    old, new = (
        scored(one, model=name, higher_is_better=higher)
        for one, name in zip(rows, ("old", "new"), strict=True)
    )
    plain = sides("plain", 100)
    report = judged(store, tmp_path, [old, plain[0]], [new, plain[1]], threshold=threshold)
    found = values(check_queries(store, report))
    name = "NFR of suite" if threshold is not None else "Regression rate of suite"
    assert found[name] is not None
    assert ("Answers that got worse, all suites" in found) == (threshold is None)
    assert ("NFR of all suites" in found) == (threshold is not None)


def test_logs_without_answers_and_with_clusters(store: Store, tmp_path: Path) -> None:
    silent = [
        log(
            letters(s, 90),
            model=m,
            suite="silent",
            each=lambda i, _: {"answer": None, "cluster": f"{i % 9}"},
        )
        for s, m in ((1, "old"), (2, "new"))
    ]
    told = sides("told", 90)
    report = judged(store, tmp_path, [silent[0], told[0]], [silent[1], told[1]])
    found = values(check_queries(store, report))
    assert "NFR_mc of silent" not in found
    assert "NFR_mc of told" in found


def test_waived_flips_stay_in_the_figures(store: Store, tmp_path: Path) -> None:
    old, new = log("RRRRRRRRWW", model="old"), log("WRRRRRRRWR", model="new")
    waiver = Waiver(suite="suite", instance="0", reason="r", owner="o", expires="2999-01-01")
    policy = Policy(Gate((Rule(metric="nfr", max=0.5),)), (waiver,))
    report = judged(store, tmp_path, [old], [new], policy)
    proof = check_queries(store, report)
    assert values(proof)["NFR of suite"] == 0.1
    kinds = [one.kind for one in proof.resources]
    assert kinds.count("waivers") == 1
    assert proof.judged is not None
    assert set(proof.versions) == {"muscle-gov", "Python", "DuckDB"}


def test_only_the_suites_that_were_compared(store: Store, tmp_path: Path) -> None:
    first, second, third = sides("one", 60), sides("two", 60), sides("three", 60)
    logs = [first, second, third]
    report = judged(store, tmp_path, [x[0] for x in logs], [x[1] for x in logs], suites=("t*",))
    assert "NFR of one" not in values(check_queries(store, report))


def test_hostile_names_are_no_sql(store: Store, tmp_path: Path) -> None:
    old, new = sides(HARD, 40)
    report = judged(store, tmp_path, [old], [new])
    proof = check_queries(store, report)
    assert len(proof.queries) >= 5
    assert all(c.isprintable() or c == "\n" for query in proof.queries for c in query.sql)
    assert store.rows(f"SELECT {queries.text(HARD)}") == [(HARD,)]
    assert store.rows(f"SELECT {queries.text('')}") == [("",)]


def test_digests_do_not_hang_on_the_stores_own_numbers(tmp_path: Path) -> None:
    first, other = sides("one", 50), sides("other", 50)
    found = []
    for before in ([], [other]):
        with open_store(":memory:") as store:
            for pair in before:
                judged(store, tmp_path, [pair[0]], [pair[1]])
            report = judged(store, tmp_path, [first[0]], [first[1]])
            found.append(collect(store, report).resources)
    assert found[0] == found[1]
    assert {one.kind for one in found[0]} == {"model", "log", "suite", "predictions"}
    assert all(len(one.digest) == 64 for one in found[0])


EDITS = {
    "an outcome": "UPDATE predictions SET outcome = 'wrong' WHERE outcome = 'right' AND ordinal = 1",
    "a score": "UPDATE predictions SET score = 0.5 WHERE ordinal = 1",
    "an answer": "UPDATE prediction_texts SET answer = answer || '.'",
    "an output": "UPDATE prediction_texts SET output = 'x'",
    "a deleted row": "DELETE FROM predictions WHERE ordinal = 2",
    "a moved row": "UPDATE predictions SET ordinal = ordinal + 1",
    "further scores": "UPDATE prediction_texts SET scores = '{\"f1\": 1.0}'",
    "a prompt hash": "UPDATE predictions SET prompt_hash = prompt_hash + 1 WHERE ordinal = 1",
}
INSTANCE_EDITS = {
    "a tag": "UPDATE tags SET value = 'x'",
    "a target": "UPDATE instance_texts SET target = 'x'",
    "a cluster": "UPDATE instances SET cluster = 'x'",
    "a content hash": "UPDATE instances SET content_hash = 'x'",
}


@pytest.mark.parametrize("edit", [*EDITS, *INSTANCE_EDITS])
def test_every_edit_changes_a_digest(store: Store, tmp_path: Path, edit: str) -> None:
    old, new = sides("one", 30, alphabet="RW")
    report = judged(store, tmp_path, [old], [new])
    before = collect(store, report).resources
    store.run({**EDITS, **INSTANCE_EDITS}[edit])
    changed = {
        one.kind
        for one in set(map(repr_of, collect(store, report).resources)) - set(map(repr_of, before))
    }
    assert ("predictions" if edit in EDITS else "suite") in changed


def repr_of(resource: Any) -> Any:
    return replace(resource, details=tuple(sorted(resource.details.items())))


def test_a_config_is_named_by_its_digest(store: Store, tmp_path: Path) -> None:
    old, new = sides("one", 20)
    config = tmp_path / "update.toml"
    config.write_text("x = 1\n")
    report = with_evidence(store, judged(store, tmp_path, [old], [new]), config)
    assert report.evidence is not None
    assert [one.name for one in report.evidence.resources if one.kind == "config"] == ["update.toml"]


def test_figures_are_the_same_to_the_last_bit_in_whatever_order_rows_lie(tmp_path: Path) -> None:
    """What is measured again elsewhere must give the same bytes, or nothing could be verified."""
    draw = random.Random(7)
    scores = [[round(draw.lognormvariate(3, 2), 3) for _ in range(400)] for _ in range(2)]
    repeats = [letters(seed, 400, "RRW", 3) for seed in (1, 2)]
    found = []
    for shuffled in (False, True):
        logs = []
        for name, given, words in zip(("old", "new"), scores, repeats, strict=True):
            graded = scored(given, model=name)
            often = log(words, name, "often", lambda i, _: {"cluster": f"c{i % 37}"})
            for one in (graded, often):
                rows = list(one.rows)
                if shuffled:
                    # repeats keep their numbers, and so whose answer they are
                    random.Random(8).shuffle(rows)
                logs.append(replace(one, rows=tuple(rows)))
        with open_store(":memory:") as store:
            report = judged(store, tmp_path, logs[:2], logs[2:])
            found.append([figures.measures for figures in report.comparison.suites])
    assert found[0] == found[1]
    assert {len(one) for one in found[0]} == {7, 14}
