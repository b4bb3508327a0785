"""Reading what lies in a report folder that nobody trusts yet: its manifest, and any file of it.

Only regular files are read: a link would show what lies outside, and a pipe would never end. What JSON
leaves open is refused, since two readers could take it for two different things.
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from muscle_gov.errors import InputError
from muscle_gov.proof import folder as folders

MOST_BYTES = 64 * 2**20
"""Of a manifest; those of large comparisons have some hundred thousand."""
_FILE_KEYS = {"path", "format", "sha256", "bytes"}


def is_regular(path: Path) -> bool:
    """Whether it is a file itself, and no link, folder or pipe."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def content_of(path: Path) -> bytes | None:
    """None for what is no file of the folder: a link would show, in a difference, what lies outside."""
    return path.read_bytes() if is_regular(path) else None


def parsed(content: bytes) -> Any:
    """JSON with each key once and without NaN. Raises ValueError, also for what is nested too deeply."""
    try:
        return json.loads(content, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"it has the key {name[:80]!r} twice in one place")
        found[name] = value
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def read(folder: Path) -> Mapping[str, Any]:
    """The manifest, with all that `verify` looks up in it. Raises InputError."""
    path = folder / folders.MANIFEST
    if not is_regular(path):
        raise InputError(f"{folders.MANIFEST}: is a link, a folder or a pipe, and no file")
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{folders.MANIFEST}: is larger than {MOST_BYTES // 2**20} MiB")
        found = parsed(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{folders.MANIFEST}: cannot be read ({error})") from error
    if not isinstance(found, dict) or found.get("schema") != folders.SCHEMA:
        raise InputError(f"{folders.MANIFEST}: is no manifest of a report folder")
    if found.get("schema_version") != folders.SCHEMA_VERSION:
        raise InputError(
            f"{folders.MANIFEST}: has version {found.get('schema_version')}, but this muscle-gov knows "
            f"version {folders.SCHEMA_VERSION}"
        )
    try:
        _check_files(found["files"])
        _check_versions(found["written_by"])
        str(found["comparison"]["id"]), found["store"]["tables"], found["evidence"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folders.MANIFEST}: lacks what a manifest has ({error!r})") from error
    return found


def _check_files(files: Any) -> None:
    paths = set()
    for one in files:
        path = one["path"]
        if not isinstance(path, str) or path in ("", ".", "..") or Path(path).name != path:
            raise InputError(f"{folders.MANIFEST}: names {path!r}, which is no file in it")
        if path in paths:
            raise InputError(f"{folders.MANIFEST}: names {path!r} twice")
        if set(one) != _FILE_KEYS or not isinstance(one["format"], str):
            raise InputError(f"{folders.MANIFEST}: does not tell of {path!r} what it tells of a file")
        paths.add(path)


def _check_versions(versions: Any) -> None:
    """Without the version of this program, nobody could say whether the reports can be made again."""
    if not isinstance(versions, dict) or not all(isinstance(one, str) for one in versions.values()):
        raise InputError(f"{folders.MANIFEST}: written_by does not tell versions")
    if "muscle-gov" not in versions:
        raise InputError(f"{folders.MANIFEST}: written_by does not tell the version of muscle-gov")
