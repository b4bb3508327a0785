"""A report folder that tests may spoil, and keys to sign it with."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from helpers import Log, _source, all_plugins, log

from muscle_gov import pipeline
from muscle_gov.proof import folder as folders
from muscle_gov.settings import CompareSettings, Gate, Policy, Quarantine, Rule, Waiver
from muscle_gov.store import Store

GATE = Gate((Rule(metric="nfr", max=0.5), Rule(metric="accuracy_delta", min=-0.5)), digest="ab" * 32)
WAIVERS = (
    Waiver(
        suite="law", reason="the key is wrong", owner="data owner", expires="2999-01-01", instance="1"
    ),
)
FLAKY = Quarantine(
    suite="routing", instance="7", reason="two answers", owner="data owner", expires="2999-01-01"
)


def logs(model: str, seed: int, n: int = 60) -> list[Log]:
    """Two suites of a model; answer 1 of `law` and 7 of `routing` are right in the old model alone."""
    draw = random.Random(seed)

    def letter(i: int) -> str:
        known = draw.choice("RRRW")
        return ("R" if model == "old" else "W") if i in (1, 7) else known

    def each(i: int, _: int) -> dict[str, Any]:
        return {
            "answer": draw.choice("abc"),
            "target": "a",
            "prompt": f"Question {i}",
            "output": f"The answer of {model} to {i}",
            "tags": {"third": str(i % 3)},
        }

    return [log([letter(i) for i in range(n)], model, suite, each) for suite in ("law", "routing")]


def make(
    store: Store, folder: Path, work: Path, policy: Policy | None = None, **options: Any
) -> folders.Contents:
    """Compare both models and write the report folder."""
    work.mkdir(exist_ok=True)
    # a second run of the old model, of another comparison, shows that an item is flaky
    again = [log("".join("W" if i == 7 else "R" for i in range(60)), "old", "routing")]
    sources = [
        _source(work, name, side, (), None)
        for name, side in (("old", logs("old", 1)), ("new", logs("new", 2)), ("again", again))
    ]
    pipeline.read_side(store, all_plugins(), sources[2], "old", None)
    policy = policy or Policy(GATE, WAIVERS, quarantine=(FLAKY,))
    report = pipeline.compare_logs(
        store, all_plugins(), sources[0], sources[1], CompareSettings(), policy, "muscle-gov compare a b"
    ).report
    return folders.write_folder(store, all_plugins(), report, folder, **options)


def keys(folder: Path, name: str = "key") -> tuple[Path, Path]:
    """A private and a public key."""
    private = ec.generate_private_key(ec.SECP256R1())
    secret, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    secret.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return secret, public
