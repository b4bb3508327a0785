"""Pages on what muscle-gov offers: commands, readers, metrics, reports, settings, findings.

They are made from the objects themselves, and show only what muscle-gov itself offers, whatever else
is installed.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.metadata
import inspect
import json
import os
import re
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from _markdown import ROOT, DocsError, block, code, documented, page, table

from muscle_gov import plugins, settings

WIDTH = 100

NOTICES = {
    "harness-version-differs": ("warns", "the logs were written by different versions of one tool"),
    "decoding-differs": ("warns", "temperature, stop strings or token limits differ"),
    "dtype-differs": ("warns", "the number format of the weights differs"),
    "quantization-differs": (
        "warns",
        "the weights of one model are quantised, or otherwise than those of the other",
    ),
    "engine-differs": ("warns", "the inference engine differs"),
    "settings-differ": ("warns", "how the models were run differs: device type, truncation, attention"),
    "same-name": ("warns", "both logs call their model by one name, so nothing tells the two apart"),
    "duplicate-rows": ("warns", "rows that say the same result again were dropped"),
    "paired-by-position": ("warns", "instances were paired by their row number alone"),
    "unpaired": ("warns", "instances are in one log only"),
    "error-rows": ("warns", "requests or scorers failed; such answers are not wrong and not right"),
    "unscored-rows": ("warns", "answers that nothing judged; they are not wrong and not right"),
    "not-recorded": ("notes", "facts that a log does not state, and that were not compared"),
    "prompts-not-recorded": ("notes", "equal prompts were not checked, since a log gives none"),
    "other-metrics": ("notes", "further scores that the log has, to be chosen with `--metric`"),
    "reader-note": ("notes", "what the reader had to assume"),
    "suite-new": ("notes", "a suite that only the new log has"),
    "suite-left-out": ("notes", "a suite that was left out, as asked with `--suite`"),
    "not-pooled": ("notes", "there is no total over all suites, since some share their instances"),
    "tag-not-sliced": ("notes", "a tag with too many values makes no slices"),
    "waiver-refused": ("warns", "a waiver has expired, or covers nothing or too much"),
    "waiver-expiring": ("warns", "a waiver holds for 14 days or less"),
    "waived-tags-differ": ("warns", "the two logs do not put the same pairs into a waived slice"),
    "quarantine-refused": (
        "warns",
        "a quarantine entry has expired, names no flaky item, or is one of too many",
    ),
    "quarantine-expiring": ("warns", "a quarantine entry holds for 14 days or less"),
}
"""Codes of findings that do not forbid to compare; one that the code has and this lacks is an error."""

EVIDENT = {
    "suite": "Name of the suite.",
    "reason": "Why the exception is made.",
    "owner": "Who answers for it.",
}
"""What keys mean whose fields have no docstring, since their names say it all."""


def cli_page() -> str:
    import click

    from muscle_gov.cli import cli

    top = click.Context(cli, info_name="muscle-gov", terminal_width=WIDTH, **cli.context_settings)
    parts = [block("text", cli.get_help(top))]
    for name in cli.list_commands(top):
        command = cli.get_command(top, name)
        if command is None:
            raise DocsError(f"the command {name} cannot be loaded")
        inner = click.Context(command, parent=top, info_name=name, terminal_width=WIDTH)
        parts.append(f"## muscle-gov {name}\n\n{block('text', command.get_help(inner))}")
    return page("Command line", "What `--help` says of each command.", parts)


def built_ins() -> plugins.Plugins:
    """What muscle-gov itself offers."""
    for variable in (plugins.BLOCK_VARIABLE, plugins.ALLOW_VARIABLE):
        os.environ.pop(variable, None)
    found = importlib.metadata.entry_points(group="muscle_gov")
    own = [e for e in found if e.dist is not None and e.dist.name == plugins.OWN_DISTRIBUTION]
    loaded = plugins.load(own)
    broken = [f"{info.name}: {info.error}" for info in loaded.infos if info.error]
    if broken or not own:
        raise DocsError(f"built-in plugins are missing or broken: {'; '.join(broken)}")
    return loaded


def plugins_page() -> str:
    loaded = built_ins()
    parts = []
    for kind in ("readers", "loaders", "suites", "metrics", "reports"):
        parts.append(f"## {kind.capitalize()}\n")
        for name in loaded.names(kind):
            cls = loaded.get(kind, name)
            parts.append(f"### {name}\n\n{documented(name, cls.__doc__)}\n")
            if kind == "readers":
                parts.append(f"How its logs are mapped: [{name}](../readers/{name}.md)\n")
            if kind in ("loaders", "suites"):
                parts.append(f"How to use it: [{name}](../{kind}/{name}.md)\n")
            parts += _options(name, plugins.options(cls))
    parts += _mitigations(loaded)
    about = (
        "What muscle-gov itself offers; `muscle-gov plugins NAME` says the same, and of third-party "
        "plugins too. Options of readers are given with `-o NAME=VALUE` or in `[old.options]` and "
        "`[new.options]`, those of loaders and suites in `[models.NAME]` and `[suites.NAME]` or with "
        "`-m NAME=VALUE` and `-s NAME=VALUE`, those of mitigations in `[mitigations.NAME]` and "
        "`[finetune.NAME]`."
    )
    return page("Built-in plugins", about, parts)


def _options(owner: str, options: Iterable[plugins.Option]) -> list[str]:
    rows = [
        (code(o.name), code(o.type), code(o.default), documented(f"{owner}.{o.name}", o.help))
        for o in options
    ]
    return [table(("option", "type", "default", "meaning"), rows)] if rows else []


def _mitigations(loaded: plugins.Plugins) -> list[str]:
    """Mitigations, the options that all training has told once."""
    from muscle_gov_plugins._fit_recipe import Recipe

    shared = plugins.options(Recipe)
    parts = [
        "## Mitigations\n\nHow they are used: [mending an update](../mending.md). Their losses, with "
        "equations and sources: [losses](../mitigations/losses.md).\n",
        "### Options of training\n\nAll that train have these; what one of them has otherwise, its own "
        "table says.\n",
        *_options("training", shared),
    ]
    for name in loaded.names("mitigations"):
        cls = loaded.get("mitigations", name)
        parts.append(f"### {name}\n\n{documented(name, cls.__doc__)}\n")
        trains = issubclass(cls, Recipe)
        own = [o for o in plugins.options(cls) if not (trains and o in shared)]
        if trains:
            more = ", and" if own else ""
            parts.append(f"Has the [options of training](#options-of-training){more}\n")
        parts += _options(name, own)
    return parts


def metrics_page() -> str:
    loaded = built_ins()
    parts = []
    for kind, title in (("binary", "Right or wrong"), ("graded", "Scored on a scale")):
        rows = []
        for name in loaded.names("metrics"):
            cls = loaded.get("metrics", name)
            if kind in cls.kinds:
                row = (code(name), cls.title, cls.direction, _bounds(cls))
                rows.append((*row, documented(name, cls.__doc__)))
        head = ("name", "title", "better", "range", "definition")
        parts.append(f"## {title} (`{kind}` suites)\n\n{table(head, rows)}")
    about = (
        "The names that rules use. Each is measured on every suite and slice of its kind, with a "
        "two-sided interval; [statistics](../statistics.md) says which."
    )
    return page("Metrics", about, parts)


def _bounds(metric: type[Any]) -> str:
    low, high = getattr(metric, "bounds", None) or (None, None)
    unit = "" if getattr(metric, "unit", None) == "share" else ", in its own unit"
    return f"{low:g} to {high:g}{unit}" if low is not None else "any" + unit


# -------------------------------------------------------------------------------------------- settings


def settings_page() -> str:
    from muscle_gov.config import TABLES

    parts = []
    for one in TABLES:
        rows = [row for part in one.parts for row in _keys(part, one.hidden)]
        title = code(one.header) if one.header else "Above the first table"
        parts.append(f"## {title}\n\n{inspect.cleandoc(one.about)}\n")
        parts.append(table(("key", "type", "default", "meaning"), rows))
    parts.append(
        "## `[old.options]`, `[new.options]`, `[reports]`\n\nThe keys of the first two are the "
        "[reader's options](plugins.md#readers); those of `[reports]` are the names of "
        "[report formats](plugins.md#reports), and their values the files to write.\n"
    )
    about = (
        "Every key of an `update.toml`, a policy or a file of waivers; [config](../config.md) tells how "
        "they go together. Command-line options of the same names mean the same."
    )
    return page("Settings", about, parts)


def _keys(part: type[Any], hidden: tuple[str, ...]) -> list[tuple[str, ...]]:
    docs, hints = plugins.field_docs(part), typing.get_type_hints(part)
    rows = []
    for f in dataclasses.fields(part):
        if f.name not in hidden:
            about = documented(f"{part.__name__}.{f.name}", docs.get(f.name) or EVIDENT.get(f.name))
            rows.append((code(f.name), _toml_type(hints[f.name]), _toml_default(f), about))
    return rows


def _toml_type(hint: Any) -> str:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " or ".join(code(json.dumps(choice)) for choice in inner)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_toml_type(one) for one in inner if one is not type(None))
    if origin is tuple:
        return f"list of {_toml_type(inner[0])}s"
    names = {str: "text", Path: "path", float: "number", int: "whole number", bool: "true or false"}
    return names.get(hint, "table")


def _toml_default(f: dataclasses.Field[Any]) -> str:
    if f.name == "rules":
        return code("[]")  # a gate that lists none has none, and passes nothing
    if f.default is dataclasses.MISSING:
        return "(required)" if f.default_factory is dataclasses.MISSING else "(empty)"
    if f.default is None:
        return "–"
    return code("[]" if f.default == () else json.dumps(f.default, default=str))  # a path is a text


# -------------------------------------------------------------------------------------------- findings


def findings_page() -> str:
    unknown = codes_in_source() - settings.CODES.keys() - NOTICES.keys()
    if unknown:
        raise DocsError(f"NOTICES says nothing of the findings {', '.join(sorted(unknown))}")
    blocking = table(("code", "what was found"), [(code(c), text) for c, text in settings.CODES.items()])
    rows = [(code(c), level, text) for c, (level, text) in NOTICES.items()]
    about = (
        "What a reader of the figures must know of the two logs. A finding that `blocks` makes the "
        "verdict INCOMPARABLE, with or without a gate."
    )
    parts = [
        "## Findings that forbid to compare\n\nWhoever knows better accepts one by its code, with "
        "`--allow CODE` or `allow` in `[compare]`: it then warns, and stays in the report.\n",
        blocking,
        f"## Warnings and notes\n\n{table(('code', 'level', 'what was found'), rows)}",
    ]
    return page("Findings", about, parts)


def codes_in_source() -> set[str]:
    """Every text of the form of a code in the modules that make findings; endings where it is built."""
    found = set()
    for module in ("comparability", "compare"):
        tree = ast.parse((ROOT / "muscle_gov" / f"{module}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {*re.findall(r"\A[a-z]+(?:-[a-z]+)+\Z", node.value)}
            elif isinstance(node, ast.JoinedStr) and isinstance(node.values[-1], ast.Constant):
                end = str(node.values[-1].value)
                is_code = re.fullmatch(r"(-[a-z]+)+", end)
                found |= {c for c in NOTICES if c.endswith(end)} or {end} if is_code else set()
    return found
