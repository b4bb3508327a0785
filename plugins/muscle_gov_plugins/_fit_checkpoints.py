"""What training leaves in its folder: checkpoints, of which a torn one never counts, and the best ones.

`checkpoint-N` is written by transformers' Trainer, its `trainer_state.json` last of all. `best-N` holds
the adapter of the least loss on held-out rows; the state's log says of which step that is.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint; torn ones are removed."""
    found = sorted(folder.glob("checkpoint-*"), key=step_of)
    whole = [path for path in found if state_of(path) is not None]
    for path in found:
        if path not in whole:
            shutil.rmtree(path)
    return whole[-1] if whole else None


def best_step(curve: Sequence[Mapping[str, float]]) -> int | None:
    """The first step of the least loss on held-out rows; the untrained student is none of them."""
    trained = [look for look in curve if look["step"] > 0]
    if not trained:
        return None
    return int(min(trained, key=lambda look: look["eval_loss"])["step"])


def curve_of(state: Mapping[str, Any]) -> list[Mapping[str, float]]:
    return [look for look in state.get("log_history", ()) if "eval_loss" in look]


def state_of(checkpoint: Path) -> Mapping[str, Any] | None:
    """The Trainer's state, which is written last; None if the checkpoint is torn."""
    try:
        found = orjson.loads((checkpoint / "trainer_state.json").read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None


def step_of(path: Path) -> int:
    number = path.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def prune_best(folder: Path, kept: set[int]) -> None:
    for path in folder.glob("best-*"):
        if step_of(path) not in kept:
            shutil.rmtree(path)
