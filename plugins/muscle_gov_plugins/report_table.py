"""The flips as a table, one row each: CSV for spreadsheets, parquet for programs.

A spreadsheet runs a cell that begins like a formula, and a model can be made to write one; so the
CSV report puts an apostrophe before whatever could become one, which can be undone exactly. Parquet is
not opened by a double click and keeps every text as it is, typed, with null where CSV has an empty
cell. Both are written flip by flip, so that a million long outputs need no memory of their own.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from muscle_gov import Flip, Report, hookimpl

COLUMNS = (
    "suite",
    "key",
    "kind",
    "old_answer",
    "new_answer",
    "target",
    "old_score",
    "new_score",
    "tags",
    "prompt",
    "new_prompt",
    "old_output",
    "new_output",
    "waived",
    "size",
    "old_margin",
    "new_margin",
)
"""Columns of the CSV report, named as the fields of `muscle_gov.Flip`. New ones come last."""
_NUMBERS = ("old_score", "new_score", "size", "old_margin", "new_margin")
# Apostrophes that were there before count as well, or undoing would take one too many.
# Within a cell so do quotes: written twice, they are an empty beginning to whoever misreads the line.
_START, _INNER = r"'*[=+\-@＝＋－＠\t\r\n]", r"['\"]*[=+\-@＝＋－＠]"
_FORMULA = re.compile(rf"\A(?={_START})|(?<=[;\t\r\n])(?={_INNER})")
_DEFUSED = re.compile(rf"\A'(?={_START})|(?<=[;\t\r\n])'(?={_INNER})")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_SURROGATES = re.compile("[\ud800-\udfff]")
_ROWS_AT_ONCE = 20_000
_CHARACTERS_AT_ONCE = 64_000_000


@hookimpl
def register_reports() -> dict[str, type]:
    return {"csv": CsvReport, "parquet": ParquetReport}


# ----------------------------------------------------------------------------------------------- CSV


@dataclass(frozen=True)
class CsvReport:
    """The flips as CSV (RFC 4180, UTF-8), every cell quoted and formulas defused."""

    suffix: ClassVar[str] = ".csv"

    def render(self, report: Report) -> bytes:
        out = io.BytesIO()
        text = io.TextIOWrapper(out, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        writer.writerows(map(_csv_row, report.flips))
        text.flush()
        return out.getvalue()


def _csv_row(flip: Flip) -> list[str]:
    return [_cell(getattr(flip, name)) for name in COLUMNS]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        tags = {_clean(str(key)): _clean(str(item)) for key, item in value.items()}
        return defuse(json.dumps(tags, ensure_ascii=False, sort_keys=True))
    if isinstance(value, float | int):
        return repr(float(value)) if abs(value) < float("inf") else ""
    return defuse(_clean(value))


def _clean(text: str) -> str:
    """Without NUL, at which many CSV readers stop, and without lone surrogates, which UTF-8 lacks."""
    return _SURROGATES.sub("\ufffd", text.replace("\0", ""))


def defuse(text: str) -> str:
    """The text with an apostrophe wherever a spreadsheet could start a formula in it.

    That is at the start of the cell, and after each line end, semicolon and tab within: a spreadsheet
    that takes another separator than the comma loses the quotes and starts new cells there. A cell
    that is nothing but a number stays one.
    """
    return text if _is_number(text) else _FORMULA.sub("'", text)


def undefuse(text: str) -> str:
    """The text that `defuse` was given."""
    return text if _is_number(text) else _DEFUSED.sub("", text)


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text.lstrip("'")) is not None


# ------------------------------------------------------------------------------------------- parquet


@dataclass(frozen=True)
class ParquetReport:
    """The flips as parquet: typed columns, tags as a map, texts as they are, compressed by zstd."""

    suffix: ClassVar[str] = ".parquet"

    def render(self, report: Report) -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = _schema(report)
        out = io.BytesIO()
        with pq.ParquetWriter(out, schema, compression="zstd") as writer:
            for rows in _batches(report):
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        return out.getvalue()


def _schema(report: Report) -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    types: dict[str, Any] = dict.fromkeys(_NUMBERS, number)
    types["tags"] = pa.map_(text, text)
    required = ("suite", "key", "kind")
    columns = [pa.field(name, types.get(name, text), name not in required) for name in COLUMNS]
    columns.insert(2, pa.field("instance_id", pa.int64(), nullable=False))
    about = {
        "muscle_gov.comparison": report.comparison.id,
        "muscle_gov.old": report.comparison.old.name,
        "muscle_gov.new": report.comparison.new.name,
        "muscle_gov.verdict": report.verdict.status.value,
        "muscle_gov.version": report.comparison.tool_version,
    }
    return pa.schema(columns, metadata={name: _typed(value) for name, value in about.items()})


def _batches(report: Report) -> Iterator[list[dict[str, Any]]]:
    """Rows of one row group each: many, but not more text than fits easily into memory."""
    rows: list[dict[str, Any]] = []
    characters = 0
    for flip in report.flips:
        row = {name: _typed(getattr(flip, name)) for name in COLUMNS}
        row["instance_id"] = flip.instance_id
        rows.append(row)
        characters += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(rows) >= _ROWS_AT_ONCE or characters >= _CHARACTERS_AT_ONCE:
            yield rows
            rows, characters = [], 0
    if rows:
        yield rows


def _typed(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, Mapping):
        return sorted((_typed(str(key)), _typed(str(item))) for key, item in value.items())
    if isinstance(value, float | int):
        return float(value) if abs(value) < float("inf") else None
    return value
