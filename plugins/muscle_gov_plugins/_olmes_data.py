"""Where the rows of a task come from: the Hugging Face hub, or files of a directory.

Rows keep the data set's own schema, so that a copy of it can be used as it is. A row that cannot be
read as what the task needs stops the run: a suite that leaves out rows is another suite.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muscle_gov import BadLine, InputError
from muscle_gov.logs import json_lines
from muscle_gov_plugins._olmes_tasks import Item, Task

_ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
_SHARDS = "-?????-of-?????.parquet"
"""How the hub names the parts of a split."""


@dataclass(frozen=True)
class Rows:
    """The splits of one task."""

    task: Task
    data: Path | None = None
    """The directory that holds `<task>/<split>.jsonl`; None: the hub."""
    revision: str | None = None

    @property
    def told(self) -> str:
        """The data in words: free of where the files lie on this machine."""
        name = f"{self.task.hub}/{self.task.config}" if self.task.config else self.task.hub
        if self.data is not None:
            return f"{name}, from files"
        return f"{name}@{self.revision}" if self.revision else name

    def items(self, split: str) -> Iterator[Item]:
        """Every row of a split as an item, in order. Raises InputError."""
        rows = self._hub(split) if self.data is None else self._local(self.data, split)
        empty = True
        for where, row in rows:
            empty = False
            yield item_of(self.task, row, where)
        if empty:
            raise InputError(f"{self.task.name}: its {split} split has no rows")

    def _hub(self, split: str) -> Iterator[tuple[str, Any]]:
        task = self.task
        try:
            import datasets
        except ImportError as error:
            raise InputError(
                f"{task.name}: to load {task.hub} from the hub, the library datasets is needed "
                "(pip install 'muscle-gov[datasets]'), or give data, a directory with the files"
            ) from error
        try:
            found = datasets.load_dataset(task.hub, task.config, split=split, revision=self.revision)
        except Exception as error:  # the library, the hub and the network raise what they like
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise InputError(
                f"{task.name}: the {split} split of {self.told} cannot be loaded ({reason}); if the hub "
                "cannot be reached from here, give data, a directory with the files"
            ) from error
        for place, row in enumerate(found):
            yield f"{task.hub} {split} row {place}", row

    def _local(self, data: Path, split: str) -> Iterator[tuple[str, Any]]:
        for path in self._files(data / self.task.name, split):
            yield from rows_of(path)

    def _files(self, folder: Path, split: str) -> Sequence[Path]:
        found = [path for ending in _ENDINGS if (path := folder / f"{split}{ending}").is_file()]
        shards = sorted(folder.glob(f"{split}{_SHARDS}"))
        if len(found) + bool(shards) > 1:
            names = ", ".join(path.name for path in (*found, *shards[:1]))
            raise InputError(f"{folder}: has its {split} split more than once ({names}); leave one")
        if not found and not shards:
            raise InputError(
                f"{folder}: has no {split} split; put the rows of {self.task.hub} there as "
                f"{split}.jsonl or {split}.parquet"
            )
        return found or shards


def item_of(task: Task, row: Any, where: str) -> Item:
    """Raises InputError naming the row and what is wrong with it."""
    if not isinstance(row, dict):
        raise InputError(f"{where}: is no row of {task.name}: an object was expected")
    try:
        return task.item(row)
    except ValueError as error:
        raise InputError(f"{where}: is no row of {task.name}: {error}") from error


def rows_of(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) of a JSON Lines or parquet file. Raises InputError at what cannot be read."""
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    for found in json_lines(path):
        if isinstance(found, BadLine):
            raise InputError(f"{path.parent / found.where}: {found.why}")
        yield f"{path}:{found[0]}", found[1]


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1024):
                for row in batch.to_pylist():
                    yield f"{path} row {place}", row
                    place += 1
    except (pa.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: cannot be read as parquet ({reason})") from error
