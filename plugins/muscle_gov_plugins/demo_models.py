"""The demo's world in a folder: two base models, really trained, rows for them, and an update.toml.

Both bases are Llamas of 130,000 weights that have read archives of support tickets. `assistant-1.0` has
read 20,000 documents, most of them emails; `assistant-1.1` has read 50,000, most of them chats. Each is
then to get a task adapter by one and the same procedure (`muscle-gov finetune`), and the update goes
from the old base with its adapter to the new one with its own. The new one is better on the whole and,
being another model, breaks some answers that were right. The amounts were chosen so that both are of use
and the update is a small one; the flips come out of the training, and change with the seed.

What is in the folder is the user's to change: a further call finishes what is missing, and leaves
everything else as it is.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from muscle_gov import InputError, ModelError, OutputError
from muscle_gov_plugins._demo_config import update_text
from muscle_gov_plugins._demo_tasks import (
    ARCHIVES,
    ASSISTANTS,
    MISTAKEN,
    TASKS,
    Assistant,
    Sizes,
    ceiling,
    rows_of,
    settings_digest,
    vocabulary,
)
from muscle_gov_plugins._demo_world import documents

MARKER = "demo.json"
"""The file that says what a folder was made of."""
BASES = "bases"

Watch = Callable[[str], None]


@dataclass(frozen=True)
class Made:
    """A world that lies in a folder."""

    update: Path
    """The update.toml."""
    trained: tuple[str, ...]
    """Names of the bases that were trained now; those that were there already are not among them."""
    ceilings: dict[str, float]
    """Suite → share of its questions that the best of all readers would get right."""


def make(folder: Path, seed: int, *, questions: int, watch: Watch) -> Made:
    """The demo's world: `questions` in each suite. `watch` is told what is done, a line at a time.

    Raises InputError if the folder holds something else, or another world; ModelError if a base cannot
    be trained; OutputError if a file cannot be written.
    """
    return make_world(folder, seed, Sizes(routing=questions, topic=questions), watch)


def make_world(folder: Path, seed: int, sizes: Sizes, watch: Watch = lambda _: None) -> Made:
    """As `make`, with all sizes to be chosen. The same seed and sizes give the same files, to the last
    bit on the same machine. Finished bases that are there already are kept."""
    try:
        ceilings = write_files(folder, seed, sizes)
        watch(_about(sizes, ceilings))
        trained = train_bases(folder / BASES, seed, ASSISTANTS, watch)
    except OSError as error:
        raise OutputError(
            f"{folder}: the demo cannot be written here: {error.strerror or error}"
        ) from error
    return Made(folder / "update.toml", trained, ceilings)


def write_files(folder: Path, seed: int, sizes: Sizes) -> dict[str, float]:
    """Write the rows and the update.toml, as far as they are not there; returns each suite's ceiling.
    Takes a second or two; the bases are left to `train_bases`."""
    _claim(folder, seed, sizes)
    ceilings = {}
    for name, rows in rows_of(seed, sizes):
        _write_new(folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        if name in TASKS:
            ceilings[name] = ceiling(name, rows)
    _write_new(folder / "update.toml", update_text(with_summary=bool(sizes.summary)))
    return ceilings


def train_bases(
    folder: Path, seed: int, assistants: Sequence[Assistant], watch: Watch
) -> tuple[str, ...]:
    """Train those that `folder` lacks side by side, as far as there are cores; returns their names."""
    for library in ("torch", "transformers"):
        if find_spec(library) is None:
            raise ModelError(f"the demo needs {library}; pip install 'muscle-gov[hf]'")
    missing = [one for one in assistants if not (folder / one.name).exists()]
    for one in assistants:
        if one not in missing:
            watch(f"{one.name}: trained already")
    if not missing:
        return ()
    watch(f"{', '.join(one.name for one in missing)}: training, one on each core")
    began = time.monotonic()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # a fresh interpreter each: torch, once started, does not survive a fork
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(cores, len(missing)), spawn) as pool:
        jobs = {pool.submit(train_base, folder / one.name, one, seed): one for one in missing}
        for job in as_completed(jobs):
            one = jobs[job]
            try:
                job.result()
            except BrokenProcessPool as error:
                raise ModelError(
                    f"{one.name}: its training was ended from outside, perhaps for lack of memory; call "
                    "the demo again, and it goes on"
                ) from error
            watch(
                f"{one.name}: trained on {one.documents:,} documents, {one.email_share:.0%} of them "
                f"emails, in {time.monotonic() - began:.0f} s"
            )
    return tuple(one.name for one in missing)


def train_base(folder: Path, assistant: Assistant, seed: int) -> float:
    """Train a base model on one core and save it in `folder`, which is there only when it is whole;
    returns the loss at the end. The same seed gives the same weights, to the last bit on the same
    machine."""
    import torch

    from muscle_gov_plugins._demo_training import make_tokenizer, new_model, save, train

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more would only wait for each other in a model this small
    try:
        chance = np.random.default_rng([seed, *assistant.name.encode()])
        tokenizer = make_tokenizer(vocabulary())
        model = new_model(tokenizer, int(chance.integers(2**31)))
        texts = documents(chance, assistant.documents, assistant.email_share, ARCHIVES, MISTAKEN)
        loss = train(model, tokenizer, texts, int(chance.integers(2**31)))
    finally:
        torch.set_num_threads(threads)
    # what an interrupted call left behind is never taken for a model
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    save(model, tokenizer, part)
    part.rename(folder)
    return loss


def _claim(folder: Path, seed: int, sizes: Sizes) -> None:
    """Write down what the folder is made of; refuse one that holds something else."""
    told: dict[str, Any] = {"seed": seed, **asdict(sizes), "settings": settings_digest()}
    marker, part = folder / MARKER, f".{MARKER}.part"
    if not marker.exists():
        if folder.exists() and (not folder.is_dir() or {one.name for one in folder.iterdir()} - {part}):
            raise InputError(
                f"{folder}: is there already and was not made by the demo; name a folder that is not "
                "there yet"
            )
        folder.mkdir(parents=True, exist_ok=True)
        _write_new(marker, json.dumps(told, indent=2) + "\n")
        return
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
        differing = [name for name in told if found[name] != told[name]]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{marker}: is damaged; delete {folder}, or name another folder") from None
    if "settings" in differing:
        raise InputError(
            f"{folder}: was made by another version of the demo; delete it, or name another folder"
        )
    if differing:
        what = ", ".join(f"{name} {found[name]} and not {told[name]}" for name in differing)
        raise InputError(f"{folder}: was made with {what}; ask for that, or name another folder")


def _write_new(path: Path, text: str) -> None:
    """Write a file whole, unless it is there: it may have been changed since."""
    if path.exists():
        return
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    part.rename(path)


def _about(sizes: Sizes, ceilings: dict[str, float]) -> str:
    suites = ", ".join(f"{getattr(sizes, name):,} of {name}" for name in ceilings)
    return (
        f"questions: {suites}; tickets are ambiguous, and the best of all readers would route "
        f"{ceilings['routing']:.1%} of them right"
    )
