"""What changed between the two runs besides the answers: differences first, then what is the same.

Everything that either side says of itself, from the runs' headers and from the models as they are in the
store, in five groups that have different owners: the model, how it is served, how it is asked, the suite
and the harness. Nothing that is recorded is left out; what neither side tells is named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from muscle_gov.data import Comparison
from muscle_gov.report import words

GROUPS = ("Model", "Serving", "Prompting", "Suite", "Harness")
_GROUP_OF: Mapping[str, str] = {
    **dict.fromkeys(("model", "fingerprint", "model_details"), "Model"),
    **dict.fromkeys(("engine", "dtype", "quantization", "decoding", "model_settings"), "Serving"),
    **dict.fromkeys(("chat_template", "system_prompt", "n_shot", "task_details"), "Prompting"),
    **dict.fromkeys(("harness", "harness_version", "notes"), "Harness"),
}
"""Whatever is not named is said of the suite."""
_INNER: Mapping[str, str] = {
    **dict.fromkeys(("chat_template", "chat template", "system_prompt"), "Prompting"),
    **dict.fromkeys(("engine", "dtype", "quantization", "device", "batch_size"), "Serving"),
}
"""Details of a model that belong to another group."""
_ORDER = (
    *("model", "fingerprint", "model_details"),
    *("engine", "dtype", "quantization", "decoding", "model_settings"),
    *("chat_template", "system_prompt", "n_shot", "task_details"),
    *("task", "task_version", "dataset", "split", "metric", "higher_is_better", "scorer", "part"),
    *("other_metrics", "expected_rows", "limited_to", "complete"),
    *("harness", "harness_version", "notes"),
)
_DETAILS = ("weights", "base", "adapter", "tokenizer", "chat_template", "revision", "source")
"""What makes a model, before whatever else is said of it."""
_TITLES = {
    "n_shot": "examples in the prompt",
    "expected_rows": "instances evaluated",
    "fingerprint": "fingerprint in the store",
    "model_details": "",
    "model_settings": "setting",
}
_DIGEST = re.compile(r"(?:[a-z0-9-]+:)?[0-9a-fA-F]{32,128}")
_UNKNOWN = "not recorded"


@dataclass(frozen=True)
class Text:
    """A value as it is shown: `short` is the beginning of a long digest, else empty."""

    full: str
    short: str = ""


@dataclass(frozen=True)
class Property:
    """One property of both runs; `suites` is empty where it holds for all of them."""

    name: str
    old: Text
    new: Text
    suites: str


@dataclass(frozen=True)
class Group:
    title: str
    differ: tuple[Property, ...]
    same: tuple[Property, ...]
    unknown: tuple[str, ...]

    @property
    def told(self) -> str:
        """How many properties differ, in a few words."""
        if self.differ:
            return words.plural(len(self.differ), "difference")
        return "the same, as far as recorded" if self.same else _UNKNOWN


@dataclass(frozen=True)
class ComparedView:
    groups: tuple[Group, ...]
    differences: int
    same: int
    unknown: tuple[str, ...]
    """What neither side tells."""
    started: str
    """When the runs began, which says nothing of what they were; empty if neither tells."""


@dataclass(frozen=True)
class _Said:
    group: str
    rank: tuple[int, int, str]
    name: str
    old: str
    new: str


def text_of(value: str) -> Text:
    """Long digests get a short form, for tables; the whole one stays with it."""
    if not _DIGEST.fullmatch(value):
        return Text(value)
    head, colon, digest = value.rpartition(":")
    return Text(value, f"{head}{colon}{digest[: words.SHOWN_OF_A_DIGEST]}…")


def view_compared(comparison: Comparison) -> ComparedView:
    suites = len(comparison.headers)
    found: dict[_Said, list[str] | None] = {}
    for said in _said(_model(comparison, 0), _model(comparison, 1)):
        found[said] = None
    for suite, (old, new) in comparison.headers.items():
        for said in _said(old, new):
            where = found.setdefault(said, [])
            if where is not None:
                where.append(suite)
    placed = [
        (said, "" if where is None or len(where) == suites else words.listed(where))
        for said, where in sorted(found.items(), key=lambda item: (item[0].rank, item[0].name))
    ]
    groups = tuple(_group(title, placed) for title in GROUPS)
    return ComparedView(
        groups,
        sum(len(group.differ) for group in groups),
        sum(len(group.same) for group in groups),
        tuple(name for group in groups for name in group.unknown),
        _started(comparison),
    )


def _started(comparison: Comparison) -> str:
    """The first suite's beginning on either side."""
    told = []
    for side, name in enumerate(("old", "new")):
        begun = [pair[side].get("started") for pair in comparison.headers.values()]
        known = sorted(str(moment) for moment in begun if moment)
        if known:
            told.append(f"the {name} run began {words.moment(known[0])}")
    text = ", ".join(told)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _model(comparison: Comparison, side: int) -> dict[str, Any]:
    """A model as the store knows it, in the form of a header."""
    info = (comparison.old, comparison.new)[side]
    # settings stand among the details as well as on their own, and are told once
    headers = [pair[side] for pair in comparison.headers.values()]
    told = {name for header in headers for name in header.get("model_settings") or ()}
    details = {name: value for name, value in info.details.items() if name not in told}
    return {"model": info.name, "fingerprint": info.fingerprint, "model_details": details}


def _group(title: str, placed: Iterable[tuple[_Said, str]]) -> Group:
    differ, same, unknown = [], [], []
    for said, suites in placed:
        if said.group != title:
            continue
        row = Property(said.name, text_of(said.old), text_of(said.new), suites)
        if said.old != said.new:
            differ.append(row)
        elif said.old == _UNKNOWN:
            unknown.append(said.name if not suites else f"{said.name} ({suites})")
        else:
            same.append(row)
    return Group(title, tuple(differ), tuple(same), tuple(unknown))


def _said(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[_Said]:
    """Every property of either header, one level deep."""
    before, after = _flat(old), _flat(new)
    found = []
    for place in dict.fromkeys([*before, *after]):
        outer, inner = place
        group = _GROUP_OF.get(outer, "Suite")
        if outer == "model_details":
            group = _INNER.get(inner, group)
        rank = _ORDER.index(outer) if outer in _ORDER else len(_ORDER)
        first = _DETAILS.index(inner) if inner in _DETAILS else len(_DETAILS)
        texts = [words.plain(side.get(place)) for side in (before, after)]
        name = _name(outer, inner, any(map(_DIGEST.fullmatch, texts)))
        found.append(_Said(group, (rank, first, inner), name, *texts))
    return found


def _flat(header: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    """(property, "") or (property, property inside it) → value."""
    found: dict[tuple[str, str], Any] = {}
    for name, value in header.items():
        if isinstance(value, Mapping) and value:
            told = (header.get("model_settings") or ()) if name == "model_details" else ()
            inner = {str(key): item for key, item in value.items() if key not in told}
            found |= {(name, key): inner[key] for key in sorted(inner)}
        elif name not in ("model_details", "model_settings", "started"):
            found[name, ""] = value
    return found


def _name(outer: str, inner: str, is_digest: bool) -> str:
    title = _TITLES.get(outer, outer.replace("_", " "))
    if not inner:
        return title
    if outer == "model_details":
        told = inner.replace("_", " ")
        return f"{told}, digest" if is_digest and told != "fingerprint" else told
    return f"{title}: {inner}"
