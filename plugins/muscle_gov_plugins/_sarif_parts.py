"""The small parts of a SARIF file: texts, places, fingerprints and descriptions of rules.

No text is empty, since GitHub refuses those. In messages the format has a syntax of its own, for
placeholders and links, so what a log or a policy says is written so that neither comes of it.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import quote

from muscle_gov.text import one_line

MOST_TEXT = 1_000
"""Most characters of a message or a description; GitHub takes 1,024 of the latter."""
_DRIVE = re.compile(r"[A-Za-z]:/")
_NO_ID = re.compile(r"[^A-Za-z0-9_.-]+")


# -------------------------------------------------------------------------------------------- texts


def message(text: str) -> dict[str, str]:
    """The text as a SARIF message: on one line, braces doubled, no links."""
    shown = one_line(text, MOST_TEXT) or "∅"
    return {"text": shown.replace("{", "{{").replace("}", "}}").replace("](", "] (")}


def slug(text: str) -> str:
    """The text as part of an id: letters, digits, `_`, `.` and `-`."""
    return _NO_ID.sub("-", text)[:100].strip("-") or "unnamed"


def solid(value: Any) -> Any:
    """The value without what is unknown or empty, texts on one line; None if nothing is left."""
    if isinstance(value, str):
        return one_line(value, MOST_TEXT) or None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        named = {one_line(str(key), 100): solid(item) for key, item in value.items()}
        return {key: item for key, item in named.items() if key and item is not None} or None
    if isinstance(value, list | tuple):
        return [item for item in map(solid, value) if item is not None] or None
    return value


# -------------------------------------------------------------------------------------------- places


def physical(file: str, line: int) -> dict[str, Any]:
    """A line of a file."""
    return {"artifactLocation": artifact(file), "region": {"startLine": line}}


def artifact(path: str) -> dict[str, str]:
    """A file: relative ones are taken from the root of the repository."""
    slashed = path.replace("\\", "/").removeprefix("./")
    coded = quote(slashed, safe="/", errors="replace")
    if slashed.startswith("/"):
        return {"uri": f"file://{coded}"}
    if _DRIVE.match(slashed):
        return {"uri": f"file:///{slashed[0]}:{coded[4:]}"}
    return {"uri": coded, "uriBaseId": "%SRCROOT%"}


def logical(suite: str, slice_: str | None) -> dict[str, str]:
    """A suite, or a slice of one, which is where a rule looks whatever its line in the policy."""
    name = one_line(suite, MOST_TEXT) or "∅"
    if slice_ is None:
        return {"name": name, "fullyQualifiedName": name, "kind": "suite"}
    part = one_line(slice_, MOST_TEXT) or "∅"
    return {"name": part, "fullyQualifiedName": f"{name}[{part}]", "kind": "slice"}


def fingerprint(*identity: str | None) -> str:
    """The same for the same thing in every run, whatever was measured and wherever its line stands."""
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]


# -------------------------------------------------------------------------------------- descriptions

_TAGS = ("llm-update", "regression")
_TODO = (
    "Look at the answers that changed in the HTML report (muscle-gov report ID --html FILE). Mend the "
    "update, or let whoever owns the data sign a waiver for what is accepted."
)
_KINDS: Mapping[str, tuple[str, str, str]] = {
    "finding": (
        "The runs may not be compared",
        "The two models were not asked or scored alike, so no figure about them can be believed.",
        "Run both models in the same way, or accept the difference by name with --allow CODE.",
    ),
    "waiver": (
        "A waiver was refused",
        "A waiver does not hold, so it sets no regression aside.",
        "Have its owner sign it again, make it narrower, or remove it.",
    ),
    "quarantine": (
        "An entry of the quarantine was refused",
        "An entry does not hold, so its item is judged like any other.",
        "Have its owner sign it again, or remove it.",
    ),
    "verdict": (
        "The update may not ship by this verdict",
        "The verdict is no pass, and no single rule or finding says why.",
        "Give the policy at least one critical rule that matches a suite of the comparison.",
    ),
    "must-not-regress": (
        "A listed instance got worse",
        "The policy lists instances none of which may get worse, and at least one did, or the list "
        "could not be judged.",
        _TODO,
    ),
}


@cache
def descriptor(rule_id: str) -> dict[str, Any]:
    """What GitHub shows of all results of one id."""
    kind, _, rest = rule_id.removeprefix("muscle-gov/").partition("/")
    title, about, help_ = _KINDS.get(kind) or _of_metric(rest)
    named = f"{title}: {rest}" if rest and kind in _KINDS else title
    return {
        "id": rule_id,
        "name": slug(rest or kind),
        "shortDescription": {"text": one_line(named, MOST_TEXT)},
        "fullDescription": {"text": one_line(about, MOST_TEXT)},
        "help": {"text": one_line(f"{about} {help_}", MOST_TEXT)},
        "defaultConfiguration": {"level": "warning" if kind in ("waiver", "quarantine") else "error"},
        "properties": {"tags": [*_TAGS, kind]},
    }


def _of_metric(name: str) -> tuple[str, str, str]:
    from muscle_gov_plugins import metric_flips, metric_graded

    known = {**metric_flips.register_metrics(), **metric_graded.register_metrics()}
    told = " ".join((known[name].__doc__ or "").split()) if name in known else ""
    about = f"The policy sets a limit on {name}, which is not kept, or not surely kept. {told}"
    return f"A limit on {name}", about, _TODO
