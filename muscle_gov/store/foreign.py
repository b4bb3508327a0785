"""Whether a store that somebody else made holds what a store holds and nothing besides.

A macro in a file shadows the built-in function of its name, `sha256` and even the one that lists macros,
and a view in the place of a table can read any file. So before such a file is opened as a store, it is
attached to an empty database, where nothing of it is in reach of a bare name and no other file may be
opened, and its catalogue is compared with that of a new store. Whether an entry calls itself built in
is not asked: the file says that of itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from muscle_gov.errors import StoreError
from muscle_gov.store.connection import IN_MEMORY, LOCKED, Store, open_store, sentence_of
from muscle_gov.text import one_line

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_KNOWN_AS = "checked"
_ENTRIES = """
SELECT 'schema' AS kind, schema_name AS name, to_json([comment, tags::VARCHAR])::VARCHAR AS made
    FROM duckdb_schemas() WHERE database_name = $1
UNION ALL SELECT 'macro', concat(schema_name, '.', function_name), to_json([macro_definition])
    FROM duckdb_functions() WHERE database_name = $1
UNION ALL SELECT 'view', concat(schema_name, '.', view_name), to_json([sql, comment, tags::VARCHAR])
    FROM duckdb_views() WHERE database_name = $1
UNION ALL SELECT 'table', concat(schema_name, '.', table_name), to_json([sql, comment, tags::VARCHAR])
    FROM duckdb_tables() WHERE database_name = $1
UNION ALL SELECT 'column', concat(schema_name, '.', table_name, '.', column_name), to_json([comment])
    FROM duckdb_columns() WHERE database_name = $1
UNION ALL SELECT 'index', concat(schema_name, '.', index_name), to_json([sql, comment])
    FROM duckdb_indexes() WHERE database_name = $1
UNION ALL SELECT 'type', concat(schema_name, '.', type_name),
        to_json([logical_type, labels::VARCHAR, comment, tags::VARCHAR])
    FROM duckdb_types() WHERE database_name = $1
UNION ALL SELECT 'sequence', concat(schema_name, '.', sequence_name), to_json([min_value::VARCHAR,
        max_value::VARCHAR, increment_by::VARCHAR, cycle::VARCHAR, comment, tags::VARCHAR])
    FROM duckdb_sequences() WHERE database_name = $1
ORDER BY ALL
"""
_MOST = 5


@contextmanager
def open_foreign(path: Path) -> Iterator[Store]:
    """Open a store whose maker is not trusted: read-only, and with no other file within its reach.

    Raises StoreError as `open_store` does, and for anything in it that a new store does not hold.
    """
    if path.is_file() and path.stat().st_size:
        refuse_strange(path)
    with open_store(path, read_only=True, is_locked=True) as store:
        yield store


def refuse_strange(path: Path) -> None:
    """Raise StoreError, which names what is strange, if the file's catalogue is not that of a store."""
    found = list(strange_entries(path))
    if found:
        more = f" and {len(found) - _MOST:,} more" if len(found) > _MOST else ""
        raise StoreError(
            f"{path}: has other tables, views or columns than a store of this version: "
            f"{', '.join(found[:_MOST])}{more}; so it was not read"
        )


def strange_entries(path: Path) -> Iterator[str]:
    """Each entry of the file's catalogue that a new store does not have so, and each that it lacks."""
    has, should = entries_of(path), _of_a_new_store()
    other = {key for key in (*has, *should) if has.get(key) != should.get(key)}
    for kind, name in sorted(other, key=lambda key: (key[0] == "column", key)):  # tables say it first
        how = "is changed" if (kind, name) in has and (kind, name) in should else "is added"
        how = how if (kind, name) in has else "is missing"
        yield f"{kind} {one_line(name.removeprefix('main.'), 60)} {how}"


def macros_of(path: Path) -> list[str]:
    """Names of the macros in a file; each may stand in the place of a built-in function."""
    return [
        one_line(name.removeprefix("main."), 60) for kind, name in entries_of(path) if kind == "macro"
    ]


def entries_of(path: Path) -> dict[tuple[str, str], list[str]]:
    """(kind, name) → how it is made, of all that is in a file. Raises StoreError for no database."""
    import duckdb

    place = str(path.absolute())
    try:
        with duckdb.connect(":memory:") as connection:
            connection.execute(f"SET allowed_paths = [{_quoted(place)}, {_quoted(place + '.wal')}]")
            for name, value in LOCKED.items():
                connection.execute(f"SET {name} = {value}")
            connection.execute("SET lock_configuration = true")
            connection.execute(f"ATTACH {_quoted(place)} AS {_KNOWN_AS} (READ_ONLY, TYPE duckdb)")
            return _entries(connection, _KNOWN_AS)
    except duckdb.Error as error:
        raise StoreError(sentence_of(str(path), error)) from error


def _of_a_new_store() -> dict[tuple[str, str], list[str]]:
    with open_store(IN_MEMORY) as store:
        return _entries(store.connection, "memory")


def _entries(connection: DuckDBPyConnection, database: str) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    for kind, name, made in connection.execute(_ENTRIES, [database]).fetchall():
        found.setdefault((kind, name), []).append(made)  # a macro of one name may have several forms
    return found


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
