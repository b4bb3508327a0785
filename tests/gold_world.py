"""One fixed comparison for the gold files: logs of two models made from a hash, a policy, exceptions.

Every answer follows from SHA-256 of its key, so any machine makes the same logs, without a number
generator or a floating point operation in between. Three suites: `routing` (a choice of six, with
slices and a list of items that must not break), `sums` (every item answered twice, so that flaky ones
show) and `summaries` (scored on a scale).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

EPOCH = "1767268800"  # 2026-01-01 12:00 UTC
TEAMS = ("billing", "delivery", "returns", "technical", "account", "sales")
LANGUAGES = ("English", "German", "日本語")
MODELS = (("assistant-1.0", 70), ("assistant-1.1", 78))
"""Name, and how many of 100 answers are right."""

POLICY = """\
[gate]
coverage = 0.99

[[gate.rules]]
metric = "nfr"
suites = ["routing", "sums"]
max = 0.08

[[gate.rules]]
metric = "nfr"
suites = ["routing"]
slice = "language=*"
max = 0.20
tier = "supporting"

[[gate.rules]]
metric = "accuracy_delta"
suites = ["routing", "sums"]
min = -0.02

[[gate.rules]]
metric = "regression_rate"
suites = ["summaries"]
max = 0.5
tier = "advisory"

[[gate.must_not_regress]]
name = "refund requests"
suites = ["routing"]
slice = "kind=refund"

[[gate.must_not_regress]]
name = "pinned sums"
suites = ["sums"]
instances = ["sum-3", "sum-4", "sum-5"]
"""
WAIVERS = """\
[[waiver]]
suite = "routing"
instance = "{broken}"
reason = "the label of this request is disputed"
owner = "data owner"
expires = "2999-12-31"

[[waiver]]
suite = "routing"
slice = "language=German"
reason = "the German requests are being labelled anew"
owner = "data owner"
expires = "2025-12-31"

[[waiver]]
suite = "sums"
instance = "sum-999"
reason = "known before the last release"
owner = "release owner"
expires = "2999-12-31"
"""
QUARANTINE = """\
[[quarantine]]
suite = "sums"
instance = "{flaky}"
reason = "answered differently from run to run since the first release"
owner = "data owner"
expires = "2999-12-31"
"""


def chance(*words: object) -> int:
    """A number from 0 to 99 that follows from the words."""
    text = "\0".join(map(str, words))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % 100


def write(folder: Path) -> None:
    """Logs of both models, `policy.toml`, `waivers.toml` and `quarantine.toml`."""
    for model, skill in MODELS:
        rows = [*_routing(model, skill), *_sums(model, skill), *_summaries(model)]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{model}.jsonl").write_text(lines, "utf-8")
    (folder / "policy.toml").write_text(POLICY)
    (folder / "waivers.toml").write_text(WAIVERS.format(broken=_first_broken()))
    (folder / "quarantine.toml").write_text(QUARANTINE.format(flaky=_first_flaky()))


def is_right(model: str, skill: int, key: str, again: int = 0) -> bool:
    """Both models find most of the same items hard; the rest is luck, a little of it anew each time."""
    luck = chance(model, key) if chance("own", key) < 35 else chance("shared", key)
    return luck + chance(model, key, again) // 20 < skill


def _row(suite: str, key: str, model: str, **known: Any) -> dict[str, Any]:
    return {"task": suite, "id": key, "model": model, "repeat": 0, **known}


def _routing(model: str, skill: int) -> Iterator[dict[str, Any]]:
    for i in range(400):
        key = f"ticket-{i}"
        team = TEAMS[chance("team", key) % len(TEAMS)]
        wrong = TEAMS[(TEAMS.index(team) + 1 + chance(model, "wrong", key) % 5) % len(TEAMS)]
        answer = team if is_right(model, skill, key) else wrong
        language = LANGUAGES[chance("language", key) % len(LANGUAGES)]
        kind = "refund" if chance("kind", key) < 4 else "other"
        prompt = f"Request {i} ({language}) about {team}: which team takes it?\nTeam:"
        yield _row(
            *("routing", key, model),
            prompt=prompt,
            gold=team,
            answer=answer,
            language=language,
            kind=kind,
            output=f"This reads like a matter for the team {answer}.\nTeam: {answer}",
            score=float(answer == team),
        )


def _sums(model: str, skill: int) -> Iterator[dict[str, Any]]:
    for i in range(150):
        key, a, b = f"sum-{i}", chance("a", i), chance("b", i)
        for again in range(2):
            answer = a + b if is_right(model, skill + 10, key, again) else a + b + 10
            yield _row(
                *("sums", key, model),
                prompt=f"{a} + {b} = ",
                gold=str(a + b),
                answer=str(answer),
                output=f"{a} and {b} make {answer}.",
                score=float(answer == a + b),
            ) | {"repeat": again}


def _summaries(model: str) -> Iterator[dict[str, Any]]:
    for i in range(60):
        key = f"text-{i}"
        score = (
            chance("quality", key) + chance(model, key) % 30 + (3 if model.endswith("1.1") else 0)
        ) / 135
        yield _row(
            *("summaries", key, model),
            prompt=f"Summarise text {i}.",
            output=f"Text {i}, told by {model}.",
            score=score,
        )


def _first_broken() -> str:
    (old, before), (new, after) = MODELS
    keys = (f"ticket-{i}" for i in range(400))
    return next(k for k in keys if is_right(old, before, k) and not is_right(new, after, k))


def _first_flaky() -> str:
    old, skill = MODELS[0]
    keys = (f"sum-{i}" for i in range(150))
    return next(k for k in keys if is_right(old, skill + 10, k, 0) != is_right(old, skill + 10, k, 1))
