"""What a model is made of, as far as digests tell: what attestations and bills of materials name.

Only digests that were computed here, from the files of a model that was run here, are told as SHA-256:
a log gives at best a name. The store's fingerprint says whether two runs were of one and the same
model as logged; it is the digest of no file, and has a name of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muscle_gov.data import ModelInfo

FINGERPRINT = "muscleGovFingerprint"
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Parts:
    """The parts of one model."""

    name: str
    fingerprint: str
    weights: str | None
    """SHA-256 over the names and digests of the files of the weights; None if not known."""
    adapter: str | None
    """The same of the adapter's files; None if there is none, or it is not known."""


def parts_of(model: ModelInfo) -> Parts:
    """The model's parts by the digests that its loader told."""
    return Parts(
        clean(model.name),
        clean(model.fingerprint),
        sha256(model.details.get("weights")),
        sha256(model.details.get("adapter")),
    )


def sha256(value: Any) -> str | None:
    """The value if it is a SHA-256 in hex, else None."""
    return value if isinstance(value, str) and _SHA256.fullmatch(value) else None


def clean(value: Any) -> Any:
    """Plain values as JSON that any reader takes: no lone surrogates, no numbers that are none."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return {str(clean(str(name))): clean(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [clean(one) for one in value]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return clean(str(value))


def document(value: Any) -> bytes:
    """A document as a file: equal values give equal bytes."""
    import json

    return json.dumps(clean(value), indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
