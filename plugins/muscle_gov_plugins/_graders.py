"""All graders, as one option: `grader = "exact"`, or `grader = {kind = "regex", pattern = "..."}`.

They are a union told apart by the field `kind`, so that a misspelt option is told by the grader it was
meant for. pydantic is only imported where options are checked.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

from muscle_gov_plugins._graders_base import Grader as GraderBase
from muscle_gov_plugins._graders_choice import Choice
from muscle_gov_plugins._graders_json import Json
from muscle_gov_plugins._graders_numeric import Numeric
from muscle_gov_plugins._graders_overlap import F1, Bleu, Chrf, Rouge
from muscle_gov_plugins._graders_text import Contains, Exact, Letter, Regex

CLASSES: tuple[type[GraderBase], ...] = (
    *(Exact, Contains, Regex, Letter, Numeric, Choice),
    *(F1, Rouge, Bleu, Chrf, Json),
)
BY_KIND: dict[str, type[GraderBase]] = {
    str(next(f.default for f in dataclasses.fields(cls) if f.name == "kind")): cls for cls in CLASSES
}


class _ByKind:
    """Tells pydantic that `kind` says which grader it is, and that its name alone is enough."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        import pydantic
        from pydantic_core import core_schema

        union = handler.generate_schema(Annotated[source, pydantic.Field(discriminator="kind")])
        shown = core_schema.union_schema([core_schema.literal_schema(list(BY_KIND)), union])
        return core_schema.no_info_before_validator_function(
            _named, union, json_schema_input_schema=shown
        )


def _named(value: Any) -> Any:
    """A name stands for the grader with its defaults. Raises ValueError for what is none."""
    if isinstance(value, GraderBase):
        return value
    kind = value if isinstance(value, str) else value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or kind not in BY_KIND:
        raise ValueError(f"must be, or have as its kind, one of {', '.join(BY_KIND)}; not {value!r}")
    options = {} if isinstance(value, str) else value
    cls = BY_KIND[kind]
    known = [field.name for field in dataclasses.fields(cls)]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise ValueError(f"{kind} has no option {unknown[0]!r}; it has {', '.join(known)}")
    return {"kind": kind, **options}


Grader = Annotated[
    Exact | Contains | Regex | Letter | Numeric | Choice | F1 | Rouge | Bleu | Chrf | Json, _ByKind()
]


def described(grader: GraderBase) -> str:
    """The grader with all its options, and the version of what does the work."""
    options = {f.name: getattr(grader, f.name) for f in dataclasses.fields(grader)}
    kind = options.pop("kind")
    if isinstance(grader, Json):
        options.pop("schema_file")
        options["schema"] = grader.whole_schema
    told = ", ".join(f"{name}={json.dumps(value)}" for name, value in options.items())
    package = grader.package()
    return f"{kind}({told})" + (f" by {package}" if package else "")
