"""Which rows of a report folder's store are not those that it was made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from muscle_gov.errors import GovError
from muscle_gov.proof.differences import between, few, shown
from muscle_gov.proof.evidence import label_of, row_resources
from muscle_gov.proof.manifest import is_regular
from muscle_gov.store import Store, digests, open_store, proofs
from muscle_gov.store.foreign import macros_of

Row = tuple[str, str, str, int | None]
"""(run, `answer` or `instance`, key, repeat)."""


def edited_rows(path: Path, store: Store, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Each answer and instance that was edited, added or deleted, by its run and key.

    `path` is the folder's list of row digests. Nothing is named by it that the digests of the manifest
    do not bear out: whoever edits a row could edit the list, too.
    """
    runs = proofs.runs_of(store, manifest["comparison"]["id"])
    found = _whole(store, runs)
    told = {
        (one["kind"], one["name"]): (one["digest"], one["details"].get("rows"))
        for one in manifest["evidence"]
        if one["kind"] in ("predictions", "suite")
    }
    wrong = []
    for key in sorted({*told, *found}):
        if told.get(key) != found.get(key):
            wrong.append(key)
            yield _whole_run(key, told.get(key), found.get(key))
    if wrong:
        yield from few(_by_row(path, store, runs))


def _whole(store: Store, runs: Sequence[proofs.ProvedRun]) -> dict[tuple[str, str], tuple[str, int]]:
    """(kind, name) → (digest, rows), as `evidence` tells them."""
    return {
        (one.kind, one.name): (one.digest, one.details["rows"]) for one in row_resources(store, runs)
    }


def _whole_run(key: tuple[str, str], told: Any, found: Any) -> str:
    kind, name = key
    what = "answers" if kind == "predictions" else "instances"
    if found is None:
        return f"{what} of {name}: are not in the store"
    if told is None:
        return f"{what} of {name}: are not in the manifest"
    if told[1] != found[1]:
        return f"{what} of {name}: {found[1]:,} rows, should be {told[1]:,}"
    return f"{what} of {name}: have another digest than in the manifest"


def _by_row(path: Path, store: Store, runs: Sequence[proofs.ProvedRun]) -> Iterator[str]:
    """Rows whose digests are not in the folder's list of them."""
    try:
        from pyarrow import parquet

        if not is_regular(path):
            raise OSError("it is no file")
        wanted = _counted(parquet.read_table(path))
    except (OSError, ValueError, KeyError, TypeError) as error:  # pyarrow's own errors are these
        yield f"{path.name}: cannot be read, so edited rows cannot be named ({error})"
        return
    labels = {run.run_id: label_of(run) for run in runs}
    there = _counted(digests.of_rows(store, labels))
    for row in sorted({*there, *wanted}, key=str):
        has, should = there.get(row, Counter()), wanted.get(row, Counter())
        if has == should:
            continue
        run, what, key, repeat = row
        again = f" (repeat {repeat})" if repeat else ""
        how = "was edited" if has and should else "was added" if has else "was deleted"
        yield f"{run}: {what} {shown(key)}{again}: {how}"


def same_rows(content: bytes, other: bytes) -> bool:
    """Whether two lists of row digests, as parquet, tell the same: other versions write other bytes."""
    from io import BytesIO

    from pyarrow import parquet

    try:
        return bool(parquet.read_table(BytesIO(content)).equals(parquet.read_table(BytesIO(other))))
    except (OSError, ValueError, KeyError, TypeError):  # pyarrow's own errors are these
        return False


def _counted(table: Any) -> dict[Row, Counter[str]]:
    found: dict[Row, Counter[str]] = {}
    columns = [table.column(name).to_pylist() for name in ("run", "what", "key", "repeat", "digest")]
    for run, what, key, repeat, digest in zip(*columns, strict=True):
        found.setdefault((run, what, key, repeat), Counter())[digest] += 1
    return found


def edited_tables(store: Store, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Each table whose rows, and the definitions if they, are not those of the manifest."""
    told = manifest["store"]
    if digests.of_schema(store) != told.get("schema"):
        yield f"{store.path}: has other tables, views or columns than it was made with"
    found = {name: (one.rows, one.sha256) for name, one in digests.of_tables(store).items()}
    listed = {name: (one["rows"], one["sha256"]) for name, one in told["tables"].items()}
    for name in sorted({*found, *listed}):
        has, should = found.get(name), listed.get(name)
        if has is None or should is None:
            yield f"table {name}: is {'missing' if has is None else 'not in the manifest'}"
        elif has[0] != should[0]:
            yield f"table {name}: has {has[0]:,} rows, should have {should[0]:,}"
        elif has != should:
            yield f"table {name}: was edited"


def other_store(original: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Where another store does not bear out a folder: rows of its comparison, and the verdict on it."""
    id_, told = manifest["comparison"]["id"], manifest["verdict"]
    try:
        # it is the caller's own and may hold views of theirs, but a macro can stand for a built-in
        macros = macros_of(original) if original.is_file() else []
        if macros:
            yield f"{original}: holds macros, which may hide what its rows are: {', '.join(macros[:5])}"
            return
        with open_store(original, read_only=True) as store:
            runs = proofs.runs_of(store, id_)
            if not runs:
                yield f"{original}: holds no comparison {id_}"
                return
            has = _whole(store, runs)
            kept = proofs.kept_verdict(store, id_, told.get("judged"))
    except GovError as error:
        yield str(error)
        return
    should = {
        (one["kind"], one["name"]): (one["digest"], one["details"].get("rows"))
        for one in manifest["evidence"]
        if one["kind"] in ("predictions", "suite")
    }
    for key in sorted({*has, *should}):
        if has.get(key) != should.get(key):
            yield f"{original}: {_whole_run(key, should.get(key), has.get(key))}"
    if kept is None:
        yield f"{original}: no verdict on {id_} was given at {told.get('judged')}"
    else:
        mine = {"status": kept.status, "reason": kept.reason, "exit_code": kept.exit_code}
        wanted = {name: told.get(name) for name in mine}
        yield from between(mine, wanted, f"{original}, verdict on {id_}", "the folder says")
