"""Opening the file: who holds it, which schema it has, and what its errors mean to a person.

A `Store` is a connection with its path. Writers hold the file alone (DuckDB's own lock); readers
open it read-only, and any number of them may.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muscle_gov.errors import StoreError
from muscle_gov.store.schema import migrate, pending

if TYPE_CHECKING:
    import duckdb

DEFAULT_STORE = Path("muscle-gov.duckdb")
IN_MEMORY = ":memory:"
LOCKED: Mapping[str, str] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
"""With these from its very first moment, a database can reach no file but its own."""
SETTINGS = (
    "preserve_insertion_order = false",
    # each batch is safe in the log once it is committed; folding it into the file can wait a while
    "checkpoint_threshold = '256MB'",
)


class Store:
    """An open store. `rows` and `run` are all that the rest of the package needs of DuckDB."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: str) -> None:
        self.connection = connection
        self.path = path

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query. DuckDB streams results, so a partly read one would block the next."""
        with self.told():
            return self.connection.execute(sql, _bound(parameters)).fetchall()

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        with self.told():
            self.connection.execute(sql, _bound(parameters)).fetchall()

    def arrow(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """The result as a pyarrow Table."""
        with self.told():
            return self.connection.sql(sql, params=_bound(parameters)).to_arrow_table()

    def insert(self, sql: str, batch: Any) -> None:
        """Run an INSERT that selects from `batch`, a pyarrow Table."""
        with self.registered(batch):
            self.run(sql)

    @contextmanager
    def registered(self, batch: Any) -> Iterator[None]:
        """For a while, statements may select from `batch`, a pyarrow Table."""
        import duckdb

        with self.told():
            self.connection.register("batch", batch)
            try:
                yield
            except BaseException:
                # in a transaction that has failed this fails too, and would hide why
                with suppress(duckdb.Error):
                    self.connection.unregister("batch")
                raise
            self.connection.unregister("batch")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, an interrupt included."""
        self.run("BEGIN TRANSACTION")
        try:
            yield
        except BaseException:
            self._roll_back()
            raise
        self.run("COMMIT")

    def _roll_back(self) -> None:
        import duckdb

        # the failed statement may have ended the transaction already
        with suppress(duckdb.Error):
            self.connection.execute("ROLLBACK").fetchall()

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn DuckDB's errors into sentences."""
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            raise StoreError(sentence_of(self.path, error)) from error
        except RuntimeError as error:
            if "interrupted" in str(error):  # how DuckDB passes on a Ctrl-C
                raise KeyboardInterrupt from error
            raise

    def close(self) -> None:
        self.connection.close()


def _bound(parameters: Sequence[Any]) -> list[Any]:
    """Parameters that DuckDB takes: a lone surrogate, as in the name of a file, becomes `?`."""
    return [p.encode("utf-8", "replace").decode() if isinstance(p, str) else p for p in parameters]


@contextmanager
def open_store(
    path: Path | str = DEFAULT_STORE,
    read_only: bool = False,
    make: bool = True,
    is_locked: bool = False,
) -> Iterator[Store]:
    """Open the store at `path` (made if it is not there), or a passing one for `:memory:`.

    `is_locked`: it reaches no other file from the first moment on (`open_foreign` is for files of
    others). Raises StoreError if another program holds it, if it is newer than this program, no store at
    all, or, for `read_only` or `make=False`, not there.
    """
    import duckdb

    name = str(path)
    in_memory = name == IN_MEMORY
    if not in_memory:
        _check_place(Path(name), read_only or not make)
    config: dict[str, Any] = {**LOCKED} if is_locked else {}
    try:
        connection = duckdb.connect(name, read_only=read_only and not in_memory, config=config)
    except duckdb.Error as error:
        raise StoreError(sentence_of(name, error)) from error
    store = Store(connection, name)
    try:
        for setting in SETTINGS:
            store.run(f"SET {setting}")
        if not read_only or in_memory:
            migrate(store)
        elif pending(store):
            raise StoreError(f"{name}: has an older schema; run `muscle-gov import` on it once")
        yield store
    finally:
        store.close()


def _check_place(path: Path, must_exist: bool) -> None:
    if path.is_dir():
        raise StoreError(f"{path}: is a directory, not a store")
    is_empty = path.is_file() and path.stat().st_size == 0
    if must_exist and (is_empty or not path.is_file()):
        raise StoreError(
            f"{path}: there is no store here; name another with --store, or make it with "
            f"`muscle-gov run` or `muscle-gov compare OLD NEW --store {path}`"
        )
    if not path.parent.is_dir():
        raise StoreError(f"{path}: the directory {path.parent} does not exist")
    if is_empty:
        path.unlink()  # an empty file is what a killed first start leaves behind


_HOLDER = re.compile(r"lock is held in (?P<program>.*?) ?\(PID (?P<pid>\d+)\)")


def sentence_of(path: str, error: Exception) -> str:
    """What an error of DuckDB means to a person."""
    text = " ".join(str(error).split())
    holder = _HOLDER.search(text)
    if holder:
        program = Path(holder["program"]).name
        named = f" ({program})" if program else ""
        return (
            f"{path}: is in use by process {holder['pid']}{named}; wait until it ends, or give "
            "another file with --store"
        )
    if "Could not set lock" in text:
        return f"{path}: is in use by another process; wait until it ends, or give another --store"
    if "No space left" in text or "failed to offload" in text:
        return f"{path}: the disk is full; nothing of the last step was kept: free some room and repeat"
    if "File too large" in text or "quota" in text.lower():
        return (
            f"{path}: a limit on its size or a disk quota is reached; nothing of the last step was "
            "kept: raise the limit and repeat, or give another file with --store"
        )
    if "Could not read enough bytes" in text:
        return (
            f"{path}: is cut off, so it is no whole store; restore a copy of it, or give another file "
            "with --store"
        )
    if "not a valid DuckDB database" in text:
        return f"{path}: is not a muscle-gov store; give another file with --store"
    if "version number" in text and "read" in text:
        return f"{path}: was written by a newer DuckDB than this one; upgrade duckdb ({text[:160]})"
    if "Permission denied" in text or "read-only" in text.lower():
        return f"{path}: may not be written here; give another file with --store"
    if "different configuration" in text:
        return f"{path}: is already open in this process in another mode; close it first"
    return f"{path}: the store failed: {text[:400]}"
