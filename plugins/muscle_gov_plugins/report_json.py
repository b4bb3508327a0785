"""The report as JSON: the verdict and the comparison field for field, and the flips behind them.

The dataclasses of `muscle_gov.data` are the format. The JSON Schema is made from them and never
written by hand, so the two cannot part; whoever changes a field that readers rely on raises
`SCHEMA_VERSION`. What came after a version's first release is written always and demanded never, so
that older documents stay valid. What JSON cannot say is never written: a figure that is not a number
is null, and a whole number too big for the floating point of other readers is a string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from io import BytesIO
from itertools import islice
from typing import Any, ClassVar, Literal

from muscle_gov import Report, hookimpl
from muscle_gov.data import (
    Candidate,
    Comparison,
    Evidence,
    Flip,
    Measure,
    Status,
    SuiteFigures,
    Verdict,
)

SCHEMA = "muscle-gov/report"
SCHEMA_VERSION = 1
SCHEMA_ID = f"urn:muscle-gov:schema:report:{SCHEMA_VERSION}"
"""Name of the schema, the same for as long as the version is."""
_ADDED: Mapping[str, tuple[str, ...]] = {
    "ReportDocument": ("candidates", "evidence", "judged_by"),
    "Flip": ("size", "old_margin", "new_margin"),
    "RuleResult": ("explanation", "place", "set_aside"),
    "Verdict": ("quarantined",),
    "Waiver": ("whole_suite",),
}
"""Fields that version 1 had not at first. Whoever adds one to something older adds it here."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_EXACT_IN_FLOATS = 2**53


@hookimpl
def register_reports() -> dict[str, type]:
    return {"json": JsonReport}


@dataclass(frozen=True)
class JsonReport:
    """JSON by a published schema: everything that is known, for other programs."""

    flips: int | None = None
    """How many flips to include, worst first; all of them if not given."""

    suffix: ClassVar[str] = ".json"

    def __post_init__(self) -> None:
        if self.flips is not None and self.flips < 0:
            raise ValueError(f"flips: {self.flips} must be at least 0")

    def render(self, report: Report) -> bytes:
        import orjson

        head = {name: plain(value) for name, value in _head(report).items()}
        written = orjson.dumps(head, option=orjson.OPT_INDENT_2)
        out = BytesIO()
        # the flips are the last field, and go out one a line without being held all at once
        out.write(written.removesuffix(b"\n}"))
        out.write(b',\n  "flips": [')
        sign = b"\n    "
        for flip in islice(report.flips, self.flips):
            out.write(sign + orjson.dumps(_flip(flip)))
            sign = b",\n    "
        out.write(b"\n  ]\n}\n")
        return out.getvalue()


@dataclass(frozen=True, kw_only=True)
class CandidateDocument:
    """One model that was judged against the same old one; its rules and slices are in its own report."""

    name: str
    role: str
    """`update` (the candidate as it came), `mitigation`, or `control` (never meant to ship)."""
    about: str
    """One line: what it is."""
    is_subject: bool
    """Whether it is the one whose verdict and comparison this document holds."""
    cost: float
    """Models that are run for one answer: 2 for an ensemble of two."""
    of: str | None
    """For a control: the mitigation it belongs to, where it belongs to one alone."""
    comparison_id: str
    """Its comparison in the store; `muscle-gov report ID` writes the report of it."""
    status: Status
    """Its verdict."""
    reason: str
    """One sentence in plain words."""
    exit_code: int
    """0 pass (or compared without being judged), 1 the gate failed, 3 no verdict."""
    suites: tuple[SuiteFigures, ...]
    total: SuiteFigures | None
    """All its binary suites pooled; null with fewer than two."""
    noise: Mapping[str, Measure] | None
    """For a control that is a mere re-fit of the update: suite → NFR from the update to it."""


@dataclass(frozen=True, kw_only=True)
class ReportDocument:
    """One comparison of an OLD and a NEW model, its verdict, and the answers that changed."""

    schema: Literal["muscle-gov/report"]
    """Tells this kind of document from all others."""
    schema_version: Literal[1]
    """Raised when a field goes away or changes its meaning; new fields may come without it."""
    exit_code: int
    """0 pass (or compared without being judged), 1 the gate failed, 3 no verdict."""
    verdict: Verdict
    comparison: Comparison
    command: str | None
    """The command line that made the comparison."""
    judged_by: str | None
    """The command line that gave the verdict, which may be a later one than `command`. Null where
    nothing was judged or it is not known; not there in older documents."""
    store: str | None
    """The file that the comparison is kept in."""
    candidates: tuple[CandidateDocument, ...]
    """Where an update was mended: every model that was judged, the update first, then mitigations and
    controls. Empty where none was; not there in documents of versions that could not mend."""
    evidence: Evidence | None
    """What the verdict rests on: digests, versions, and queries that give the figures again. Null where
    it was not collected; not there in older documents."""
    flip_counts: Mapping[str, int]
    """By kind, over all suites, whether listed below or not."""
    flips: Iterable[Flip]
    """The answers that changed, worst first; `flip_counts` tells whether these are all."""

    __pydantic_config__: ClassVar[dict[str, bool]] = {
        "use_attribute_docstrings": True,
        "json_schema_serialization_defaults_required": True,
    }


def _head(report: Report) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "exit_code": report.verdict.exit_code,
        "verdict": report.verdict,
        "comparison": report.comparison,
        "command": report.command,
        "judged_by": report.judged_by,
        "store": report.store,
        "candidates": [_candidate(report, one) for one in report.candidates],
        "evidence": report.evidence,
        "flip_counts": report.flip_counts,
    }


def _candidate(report: Report, one: Candidate) -> CandidateDocument:
    return CandidateDocument(
        name=one.name,
        role=one.role,
        about=one.about,
        is_subject=one.comparison.id == report.comparison.id,
        cost=one.cost,
        of=one.of,
        comparison_id=one.comparison.id,
        status=one.verdict.status,
        reason=one.verdict.reason,
        exit_code=one.verdict.exit_code,
        suites=one.comparison.suites,
        total=one.comparison.total,
        noise=one.noise,
    )


def _flip(flip: Flip) -> Any:
    made = plain(flip)
    made["instance_id"] = str(flip.instance_id)
    return made


def plain(value: Any) -> Any:
    """The value as JSON knows it; mappings but not dataclasses are sorted by key.

    Lone surrogates, which no UTF-8 file can hold, become U+FFFD. Everything else in a text stays as
    it is, NUL included.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _EXACT_IN_FLOATS else str(value)
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        named = {plain(str(key)): item for key, item in value.items()}
        return {name: plain(named[name]) for name in sorted(named)}
    if isinstance(value, set | frozenset):
        return sorted(plain(str(item)) for item in value)
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        return [plain(item) for item in value]
    return plain(str(value))


# -------------------------------------------------------------------------------------------- schema


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of what `JsonReport` writes, made from the dataclasses."""
    import pydantic

    made = pydantic.TypeAdapter(ReportDocument).json_schema(mode="serialization")
    made["$defs"]["Flip"]["properties"]["instance_id"] = {
        "description": "The store's own number of the instance: 64 bits, so a string.",
        "pattern": "^-?[0-9]+$",
        "title": "Instance Id",
        "type": "string",
    }
    for name, added in _ADDED.items():
        part = made if name == "ReportDocument" else made["$defs"][name]
        part["required"] = [field for field in part["required"] if field not in added]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA_ID, **made}


def schema_text() -> str:
    """What `docs/schemas/report.schema.json` holds."""
    import json

    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
