"""What is written beside a trained adapter: a record for programs, a model card for people.

The record, `muscle-gov.json`, says all that made the adapter, so that it can be made again. The card,
`README.md`, is made from the record and from what was measured, and from nothing else, so it can be
written again at any time and is the same. A folder is put in its place whole or not at all.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from muscle_gov import Candidate, InputError
from muscle_gov.logs import read_json
from muscle_gov_plugins._fit_card_text import card_text

if TYPE_CHECKING:
    from muscle_gov_plugins._fit_recipe import Recipe
    from muscle_gov_plugins._fit_rows import Data
    from muscle_gov_plugins._fit_run import Plan, Settled
    from muscle_gov_plugins._fit_train import Trained
    from muscle_gov_plugins._fit_work import Work
    from muscle_gov_plugins._loss_batch import Loss

RECORD = "muscle-gov.json"
CARD = "README.md"
_ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
_LIBRARIES = ("muscle-gov", "torch", "transformers", "peft", "accelerate")


def record(
    work: Work, plan: Plan, loss: Loss, settled: Settled, trained: Trained, more: Mapping[str, Any]
) -> dict[str, Any]:
    """All that made an adapter, as JSON."""
    recipe = plan.recipe
    return {
        "format": 1,
        "name": work.fitting.name,
        "mitigation": plan.kind,
        "options": dict(plan.options),
        "recipe": recipe.values() | {"steps": trained.steps},
        "loss": {
            "name": loss.row.name,
            "equation": loss.row.equation,
            "source": loss.row.source,
            "settings": loss.settings.given(),
        },
        "models": models(work),
        "starts_from": "nothing" if plan.is_fresh or work.new.adapter is None else "the candidate",
        "data": data(settled.data, recipe),
        "settled": dict(settled.notes),
        "training": {
            "step": trained.step,
            "steps": trained.steps,
            "warmup_steps": recipe.warmup(trained.steps),
            "curve": [dict(look) for look in trained.curve],
        },
        "versions": versions(),
        "peak_memory_bytes": peak_memory(),
        **more,
    }


def models(work: Work) -> dict[str, Any]:
    """What was trained from."""
    loaders = {"old": work.old, "new": work.new}
    return {which: _model(loader) for which, loader in loaders.items() if loader is not None}


def data(found: Data, recipe: Recipe) -> dict[str, Any]:
    """What was trained on: counts and digests, no texts."""
    return {
        "digest": found.digest,
        "suites": dict(found.suites),
        "training_rows": len(found.train),
        "held_out_rows": len(found.held_out),
        "unlabelled_rows": len(found.unlabelled),
        "is_held_out_by_hash": found.is_by_hash(recipe.validation, recipe.seed),
        "notes": list(found.notes),
    }


def _model(loader: Any) -> dict[str, Any]:
    facts = loader.facts()
    return {
        "name": facts.name,
        "path": str(loader.path),
        "adapter": None if loader.adapter is None else str(loader.adapter),
        "dtype": facts.dtype,
        "digests": dict(facts.digests),
    }


def versions() -> dict[str, str]:
    """Of Python and of what trains."""
    found = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def peak_memory() -> int | None:
    """Most memory that this process has had, in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


# ------------------------------------------------------------------------------------------- folders


def write(folder: Path, source: Path, content: Mapping[str, Any]) -> None:
    """Put an adapter, its record and its card into `folder`, which appears whole."""
    part = folder.with_name(f"{folder.name}.part")
    for stale in (part, folder):
        if stale.exists():
            shutil.rmtree(stale)
    part.mkdir(parents=True)
    for name in _ADAPTER_FILES:
        shutil.copyfile(source / name, part / name)
        _to_disk(part / name)
    told = _json({**content, "files": file_digests(part)})
    write_bytes(part / RECORD, told)
    write_bytes(part / CARD, card_text(orjson.loads(told), ()).encode())
    part.rename(folder)


def is_whole(folder: Path, key: str) -> bool:
    """Whether the folder holds the adapter of this key. Raises InputError where that was changed since
    it was written; only the card may be."""
    if not all((folder / name).is_file() for name in (RECORD, *_ADAPTER_FILES)):
        return False
    if read_record(folder).get("key") != key:
        return False
    if not is_as_written(folder):
        raise InputError(
            f"{folder}: the adapter was changed after it was trained; remove the folder, or keep the "
            "changed adapter elsewhere"
        )
    return True


def is_as_written(folder: Path) -> bool:
    """Whether a folder has a record, and the adapter beside it is the one that the record tells of."""
    if not all((folder / name).is_file() for name in (RECORD, *_ADAPTER_FILES)):
        return False
    return bool(read_record(folder).get("files") == file_digests(folder))


def file_digests(folder: Path) -> dict[str, str]:
    """File of the adapter → SHA-256 of its bytes."""
    found = {}
    for name in _ADAPTER_FILES:
        with (folder / name).open("rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def read_record(folder: Path) -> dict[str, Any]:
    """What `write` wrote. Raises InputError if it is no record."""
    found = read_json(folder / RECORD)
    if not isinstance(found, dict) or found.get("format") != 1:
        raise InputError(f"{folder / RECORD}: is no record of a training by muscle-gov")
    return found


def conclude(folder: Path, candidates: Sequence[Candidate], name: str) -> None:
    """Write the card again, with what was measured; `name` is the candidate that the folder holds. The
    same candidates give the same bytes."""
    write_bytes(folder / CARD, card_text(read_record(folder), candidates, name).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    _to_disk(part)
    part.replace(path)


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _json(content: Mapping[str, Any]) -> bytes:
    return orjson.dumps(
        content,
        option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS,
        default=str,
    )
