"""Where the rows of a suite come from: a file, or a dataset of the library `datasets`.

A suite with a row that cannot be read is refused as a whole: the instances that are left would be
another suite. The data are known by a digest of what they say, never by where they lie.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from muscle_gov import BadLine, InputError, ModelError
from muscle_gov.logs import content_hash
from muscle_gov_plugins._table_files import Row, open_table, stem_of


class Place(NamedTuple):
    """A row, and where it is."""

    where: str
    """`qa.jsonl:3`: for messages."""
    number: int
    """From 0, among all rows."""
    row: Row


@dataclass(frozen=True)
class FileRows:
    """The rows of a table on disk."""

    path: Path
    list_path: str | None = None

    @property
    def task(self) -> str:
        return stem_of(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    split: None = None

    def read(self) -> list[Place]:
        """All rows. Raises InputError for the first that cannot be read."""
        if not self.path.exists():
            raise InputError(f"{self.path}: there is no such file; it should hold the suite's rows")
        table = open_table(self.path, self.list_path)
        if table.has_flat_rows and table.repeated:
            twice = ", ".join(sorted(table.repeated))
            raise InputError(f"{self.path}: more than one column is called {twice}; rename them")
        return list(_numbered(table.rows(), str(self.path)))

    def digest(self, rows: list[Place]) -> str:  # noqa: ARG002 - the file says more than its rows
        """Of the file's bytes."""
        with self.path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _numbered(rows: Iterator[tuple[str, Row] | BadLine], path: str) -> Iterator[Place]:
    for number, found in enumerate(rows):
        if isinstance(found, BadLine):
            raise InputError(
                f"{path}: {found.where}: {found.why}; a suite is run whole or not at all: mend the row"
            )
        yield Place(found[0], number, found[1])


@dataclass(frozen=True)
class DatasetRows:
    """The rows of one split of a dataset: a directory, or a name on the hub."""

    source: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None

    @property
    def is_local(self) -> bool:
        return Path(self.source).is_dir()

    @property
    def task(self) -> str:
        last = Path(self.source).name
        return f"{last}/{self.config}" if self.config else last

    @property
    def name(self) -> str:
        shown = Path(self.source).name if self.is_local else self.source
        shown += f"/{self.config}" if self.config else ""
        return f"{shown}@{self.revision}" if self.revision else shown

    def read(self) -> list[Place]:
        """All rows of the split. Raises InputError if it cannot be had."""
        found = _split_of(self._load(), self)
        where = f"{self.name}[{found.split or self.split or 'rows'}]"
        # as they are stored: no image is unpacked that no template shows
        batches = found.with_format("arrow").iter(batch_size=1000)
        rows = (row for batch in batches for row in batch.to_pylist())
        return [Place(f"{where}:{number}", number, row) for number, row in enumerate(rows)]

    def digest(self, rows: list[Place]) -> str:
        """Of the rows: equal rows may lie in different files."""
        every = hashlib.blake2b(digest_size=16)
        for place in rows:
            every.update(content_hash(place.row).encode())
        return every.hexdigest()

    def _load(self) -> Any:
        try:
            import datasets
        except ImportError as error:
            raise ModelError(
                f"{self.source}: the library datasets is not installed, and it reads such data; "
                "pip install 'muscle-gov[datasets]', or name a file with path"
            ) from error
        datasets.disable_progress_bars()
        try:
            if self.is_local and _is_saved(Path(self.source)):
                return datasets.load_from_disk(self.source)
            return datasets.load_dataset(self.source, self.config, revision=self.revision)
        except Exception as error:  # the library, the hub's client and pyarrow raise their own
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"{self.source}: cannot be loaded as a dataset ({reason})") from error


def _is_saved(folder: Path) -> bool:
    """Was the directory written by `save_to_disk`?"""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def _split_of(found: Any, rows: DatasetRows) -> Any:
    if not isinstance(found, dict):  # one split, saved alone
        if rows.split is not None and str(found.split) != rows.split:
            raise InputError(f"{rows.source}: holds the split {found.split}, not {rows.split}")
        return found
    known = ", ".join(map(str, found))
    if rows.split is None and len(found) == 1:
        return next(iter(found.values()))
    if rows.split is None:
        raise InputError(f"{rows.source}: say which split with split = ...; there are: {known}")
    if rows.split not in found:
        raise InputError(f"{rows.source}: there is no split {rows.split!r}; there are: {known}")
    return found[rows.split]
