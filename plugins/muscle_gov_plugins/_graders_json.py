"""The `json` grader: is the answer JSON, of the asked shape, and of the asked value?

Stricter than Python's own reader: NaN and Infinity are no JSON. Values are compared as JSON compares
them: the order of an object's members does not count, 1 is 1.0, and true is not 1.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from muscle_gov import Grade, InputError
from muscle_gov.logs import read_json
from muscle_gov_plugins._graders_base import (
    INVALID,
    Grader,
    Solution,
    right_or_wrong,
    unscored,
    versions,
)

_BLOCK = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Json(Grader):
    """Right if the text is JSON, fits the schema if one is given, and equals the target if asked."""

    metric: ClassVar[str] = "json"
    needs_target: ClassVar[bool] = False

    kind: Literal["json"] = "json"
    schema: Mapping[str, Any] | None = None
    """A JSON Schema; formats (date, email) are checked as far as the library jsonschema does."""
    schema_file: Path | None = None
    """A file with the JSON Schema; in a config file, relative to that file."""
    equal: bool = False
    """Must the value equal the target (a value of the row, or JSON text in it)?"""
    block: bool = True
    """If the text has fenced code blocks, is the first of them the answer?"""

    def __post_init__(self) -> None:
        if self.schema is not None and self.schema_file is not None:
            raise ValueError("schema: give schema or schema_file, not both")

    def other_names(self) -> tuple[str, ...]:
        asked = {"schema": self._has_schema, "equal": self.equal}
        return ("valid", *(name for name, is_asked in asked.items() if is_asked))

    def package(self) -> str | None:
        if not self._has_schema:
            return None
        found = versions("jsonschema")
        self._validator  # noqa: B018 - a wrong schema is told before any model runs
        return found

    @property
    def _has_schema(self) -> bool:
        return self.schema is not None or self.schema_file is not None

    @cached_property
    def whole_schema(self) -> Any:
        """The schema, wherever it is from; None if there is none."""
        return read_json(self.schema_file) if self.schema_file is not None else self.schema

    @cached_property
    def _validator(self) -> Any:
        from jsonschema import SchemaError
        from jsonschema.validators import validator_for

        cls = validator_for(self.whole_schema)
        try:
            cls.check_schema(self.whole_schema)
        except SchemaError as error:
            where = self.schema_file or "grader json, option schema"
            raise InputError(f"{where}: is no JSON Schema ({error.message})") from error
        return cls(self.whole_schema, format_checker=cls.FORMAT_CHECKER)

    def judge(self, text: str, solution: Solution) -> Grade:
        wanted = _targets(solution) if self.equal else []
        if self.equal and not wanted:
            has_target = solution.value is not None
            return unscored("the target is no JSON" if has_target else "the item has no target")
        block = _BLOCK.search(text) if self.block else None
        found = _parsed(block[1] if block else text)
        if found is None:
            grade = right_or_wrong(False, INVALID)
            return grade._replace(scores=dict.fromkeys(self.other_names(), 0.0))
        (value,) = found
        scores = {"valid": True}
        if self._has_schema:
            scores["schema"] = self._fits(value)
        if self.equal:
            scores["equal"] = any(_same(value, one) for one in wanted)
        shown = json.dumps(value, sort_keys=True, ensure_ascii=False)
        grade = right_or_wrong(all(scores.values()), shown)
        return grade._replace(scores={name: float(is_so) for name, is_so in scores.items()})

    def _fits(self, value: Any) -> bool:
        return bool(self._validator.is_valid(value))


def _targets(solution: Solution) -> list[Any]:
    """The accepted values. Text is read as JSON; what is no text is itself the value."""
    if solution.value is not None and not isinstance(solution.value, str | tuple):
        return [solution.value]
    found = [_parsed(text) for text in solution.texts]
    return [one[0] for one in found if one is not None]


def _parsed(text: str) -> tuple[Any] | None:
    try:
        return (json.loads(text, parse_constant=_refuse),)
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
