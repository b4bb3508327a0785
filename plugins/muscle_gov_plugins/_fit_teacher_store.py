"""What a teacher said, in a folder: written in the order in which it was computed, and never half read.

Every batch is appended to all files; what is whole is told by a small file that is replaced only after
the data are on the disk, with checksums. Whatever does not agree with it is thrown away and computed
again, so a torn or foreign file is never taken for a whole one.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muscle_gov import InputError
from muscle_gov_plugins._loss_terms import Full, TeacherTokens, Top

_FORMAT = 1
_SYNC_SECONDS = 5.0
_PIECE = 1 << 24
_STORED = {"float32": "<f4", "bfloat16": "<u2", "float16": "<f2"}
"""Bfloat16 is kept as its bits, for numpy has no such type; so all scores are kept exactly."""


@dataclass(frozen=True)
class Layout:
    """Which numbers are kept of every token."""

    form: str
    """`full`, `top` or `none`."""
    width: int
    """Scores of a token in the model."""
    dtype: str
    """Of the scores, as the model gives them."""
    top: int
    """How many are kept where `form` is `top`, else 0."""
    temperature: float
    """That `lse` is for; 1 where there is none."""

    @property
    def fields(self) -> dict[str, tuple[str, int]]:
        """File → (numpy type, numbers for each token)."""
        found = {"right": ("|u1", 1), "logp": ("<f4", 1)}
        if self.form == "full":
            found["logits"] = (_STORED[self.dtype], self.width)
        if self.form == "top":
            found |= {"ids": ("<i4", self.top), "top": ("<f4", self.top), "lse": ("<f4", 1)}
        return found

    @property
    def bytes_per_token(self) -> int:
        return sum(np.dtype(kind).itemsize * count for kind, count in self.fields.values())


@dataclass
class Standing:
    """How much is surely on the disk."""

    key: str
    layout: Layout
    batch_tokens: int
    """By which the rows were put in batches: it decides their order in the files."""
    rows: int = 0
    tokens: int = 0
    checks: dict[str, int] = field(default_factory=dict)
    """CRC-32 of each file so far."""
    sums: dict[str, float] = field(default_factory=dict)
    """Figures summed over the tokens so far."""


class TeacherStore:
    """The files of one teacher on one list of rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[str, Any] = {}
        self._synced = 0.0

    # ------------------------------------------------------------------------------------- reading

    def whole(self, key: str, accepts: Callable[[Layout], bool]) -> Standing | None:
        """What is there, if it is complete, undamaged, of this key and of an accepted layout."""
        standing = self._read("meta.json", key, accepts)
        return standing if standing is not None and self._agrees(standing, exact=True) else None

    def arrays(self, standing: Standing) -> Mapping[str, np.ndarray[Any, Any]]:
        """File → array of shape (tokens,) or (tokens, numbers), mapped into memory."""
        found: dict[str, np.ndarray[Any, Any]] = {}
        for name, (kind, count) in standing.layout.fields.items():
            is_single = name in ("right", "logp", "lse")
            shape = (standing.tokens,) if is_single else (standing.tokens, count)
            found[name] = np.memmap(self._path(name), kind, "r", shape=shape)
        return found

    # ------------------------------------------------------------------------------------- writing

    def part(self, key: str, accepts: Callable[[Layout], bool]) -> Standing | None:
        """What an interrupted run left, if it can be gone on with."""
        standing = self._read("progress.json", key, accepts)
        return standing if standing is not None and self._agrees(standing, exact=False) else None

    def room(self) -> int:
        """Bytes that the files may take: what is free, and what they already take."""
        self.folder.mkdir(parents=True, exist_ok=True)
        taken = sum(path.stat().st_blocks * 512 for path in self.folder.glob("*.bin"))
        return shutil.disk_usage(self.folder).free + taken

    def begin(self, standing: Standing) -> None:
        """Open the files for what follows; what is in them beyond `standing` is cut off."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "meta.json").unlink(missing_ok=True)
        if not standing.rows:
            (self.folder / "progress.json").unlink(missing_ok=True)
            for path in self.folder.glob("*.bin"):
                path.unlink()
        for name, (kind, count) in standing.layout.fields.items():
            file = self._path(name).open("ab")
            file.truncate(standing.tokens * count * np.dtype(kind).itemsize)
            self._files[name] = file
        self._synced = time.monotonic()

    def append(
        self,
        standing: Standing,
        rows: int,
        arrays: Mapping[str, np.ndarray[Any, Any]],
        sums: Mapping[str, float],
    ) -> None:
        """Add the tokens of so many more rows. Raises InputError where the disk is full."""
        checks = {}
        for name, (kind, _) in standing.layout.fields.items():
            content = np.ascontiguousarray(arrays[name]).astype(kind, copy=False).tobytes()
            with self._writing():
                self._files[name].write(content)
            checks[name] = zlib.crc32(content, standing.checks.get(name, 0))
        standing.checks = checks
        standing.sums = {name: standing.sums.get(name, 0.0) + sums[name] for name in sums}
        standing.rows += rows
        standing.tokens += len(arrays["logp"])
        if time.monotonic() - self._synced >= _SYNC_SECONDS:
            self.sync(standing)

    def sync(self, standing: Standing) -> None:
        """Have all of it on the disk, and say so. Raises InputError where the disk is full."""
        with self._writing():
            for file in self._files.values():
                file.flush()
                os.fsync(file.fileno())
            self._write("progress.json", standing)
        self._synced = time.monotonic()

    def finish(self, standing: Standing) -> None:
        """Say that it is complete."""
        self.sync(standing)
        self.close()
        with self._writing():
            self._write("meta.json", standing)
        (self.folder / "progress.json").unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the files; what was not synced may be lost."""
        for file in self._files.values():
            with suppress(OSError):
                file.close()
        self._files = {}

    # ------------------------------------------------------------------------------------- helpers

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self.folder}: cannot be written ({error.strerror}); make room or use another disk"
            ) from error

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.bin"

    def _read(self, name: str, key: str, accepts: Callable[[Layout], bool]) -> Standing | None:
        try:
            found = json.loads((self.folder / name).read_bytes())
            if found.pop("format") != _FORMAT:
                return None
            standing = Standing(**found | {"layout": Layout(**found["layout"])})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # not there, torn, or of another program
        return standing if standing.key == key and accepts(standing.layout) else None

    def _agrees(self, standing: Standing, exact: bool) -> bool:
        """Whether the files hold what was written, and nothing more if `exact`."""
        for name, (kind, count) in standing.layout.fields.items():
            wanted = standing.tokens * count * np.dtype(kind).itemsize
            try:
                size = self._path(name).stat().st_size
            except OSError:
                return False
            if size < wanted or (exact and size != wanted):
                return False
            if _checksum(self._path(name), wanted) != standing.checks.get(name, 0):
                return False
        return True

    def _write(self, name: str, standing: Standing) -> None:
        content = json.dumps(asdict(standing) | {"format": _FORMAT}, indent=1, sort_keys=True)
        fresh = self.folder / f"{name}.new"
        with fresh.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.folder / name)


def arrays_of(found: TeacherTokens) -> dict[str, np.ndarray[Any, Any]]:
    """File → what a teacher says, as it is written."""
    arrays = {"right": found.right, "logp": found.logp}
    if isinstance(found.scores, Full):
        logits = found.scores.logits
        arrays["logits"] = logits.view(torch.int16) if logits.dtype == torch.bfloat16 else logits
    elif isinstance(found.scores, Top):
        arrays |= {
            "ids": found.scores.ids.int(),
            "top": found.scores.logits,
            "lse": found.scores.lse,
        }
    numbers = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
    if "logits" in numbers and numbers["logits"].dtype == np.int16:
        numbers["logits"] = numbers["logits"].view(np.uint16)
    return numbers


def scores_of(array: np.ndarray[Any, Any], dtype: str) -> torch.Tensor:
    """Scores as the model gave them, from what was written; shares its memory."""
    if dtype == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def _checksum(path: Path, size: int) -> int:
    """CRC-32 of the first bytes of a file."""
    found = 0
    with path.open("rb") as file:
        while size > 0:
            piece = file.read(min(size, _PIECE))
            if not piece:
                break
            found = zlib.crc32(piece, found)
            size -= len(piece)
    return found
