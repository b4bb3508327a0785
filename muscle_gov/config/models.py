"""`[models.*]` and `[suites.*]`: what is run here, as loaders and suites with their options checked.

The options of a loader or suite stand in its own table, beside the few keys that all of them have. A
loader whose options are other models (an ensemble) names them; they are made before it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from muscle_gov.config.lines import KeyPath
from muscle_gov.config.sources import no_such, unreadable
from muscle_gov.config.tables import Document, ModelKeys, Problems, SuiteKeys, make
from muscle_gov.errors import GovError, UsageError, did_you_mean
from muscle_gov.hookspecs import Loader, Recording, Suite
from muscle_gov.plugins import Plugins, build
from muscle_gov.settings import Source

REFERENCE = "models"
"""`field(metadata={"refers_to": "models"})` marks an option that holds names of other models."""


@dataclass(frozen=True)
class LiveModel:
    """A model that can be run here."""

    key: str
    """As in `[models.KEY]`."""
    name: str | None
    loader: Loader


def models_of(document: Document, plugins: Plugins) -> dict[str, LiveModel | Source]:
    """Every table of `[models]`: a model to run, or a log. What is faulty is told and left out."""
    tables = tables_of(document, "models")
    made: dict[str, LiveModel | Source] = {}
    failed: set[str] = set()

    def made_of(key: str, asking: tuple[str, ...]) -> LiveModel | Source | None:
        if key not in made and key not in failed:
            found = _model(document, plugins, key, tables[key], (*asking, key), made_of)
            if found is None:
                failed.add(key)
            else:
                made[key] = found
        return made.get(key)

    for key in tables:
        made_of(key, ())
    return made


def suites_of(document: Document, plugins: Plugins) -> dict[str, Suite]:
    """Every table of `[suites]`. What is faulty is told and left out."""
    found: dict[str, Suite] = {}
    for key, table in tables_of(document, "suites").items():
        path = ("suites", key)
        keys = make(SuiteKeys, table, path, document.problems)
        if keys is None:
            continue
        suite = offer(document, plugins, "suites", keys.suite, path, own_options(table, SuiteKeys))
        if key == "(all)":
            document.problems.add(path, "a suite cannot be called (all), which means all suites")
        if suite is not None:
            found[key] = suite
    return found


def made_here(
    plugins: Plugins, model: Mapping[str, Any], suite: Mapping[str, Any]
) -> tuple[LiveModel, dict[str, Suite]]:
    """A model and a suite of a command line, whose keys are those of the tables; the suite's name is
    its own. Raises UsageError for what is wrong with them."""
    data = {"models": {"m": dict(model)}, "suites": {"s": dict(suite)}}
    document = Document(Path(), data, Problems("command line", {}))
    models, suites = models_of(document, plugins), suites_of(document, plugins)
    if problems := document.problems.listed():
        flags = (p.replace("models.m.", "-m ").replace("suites.s.", "-s ") for p in problems)
        raise UsageError("; ".join(flags))
    made = models["m"]
    if isinstance(made, Source):
        raise UsageError("-m loader: a log cannot be run; read it with muscle-gov import")
    task = suites["s"]
    return made, {task.facts().task: task}


def tables_of(document: Document, kind: str) -> dict[str, Mapping[str, Any]]:
    """Every table `[kind.NAME]`, by name."""
    found: dict[str, Mapping[str, Any]] = {}
    for key, table in document.table(kind).items():
        if isinstance(table, dict):
            found[key] = table
        else:
            document.problems.add((kind, key), f"must be a table, written [{kind}.{key}]")
    return found


def own_options(table: Mapping[str, Any], keys: type) -> dict[str, Any]:
    """What of a table is no key that all such tables have: the plugin's own options."""
    common = {field.name for field in dataclasses.fields(keys)}
    return {name: value for name, value in table.items() if name not in common}


def _model(
    document: Document,
    plugins: Plugins,
    key: str,
    table: Mapping[str, Any],
    asking: tuple[str, ...],
    made_of: Callable[[str, tuple[str, ...]], Any],
) -> LiveModel | Source | None:
    path = ("models", key)
    keys = make(ModelKeys, table, path, document.problems)
    if keys is None:
        return None
    own = own_options(table, ModelKeys)
    if wrong := no_such("loaders", keys.loader, plugins):
        document.problems.add((*path, "loader"), wrong)
        return None
    for field in dataclasses.fields(plugins.get("loaders", keys.loader)):
        if field.metadata.get("refers_to") == REFERENCE and field.name in own:
            members = _members(document, (*path, field.name), own[field.name], asking, made_of)
            if members is None:
                return None
            own[field.name] = members
    loader = offer(document, plugins, "loaders", keys.loader, path, own)
    if loader is None:
        return None
    if isinstance(loader, Recording):
        return _located(document, path, loader.source())
    return LiveModel(key, keys.name, loader)


def _members(
    document: Document,
    path: KeyPath,
    names: Any,
    asking: tuple[str, ...],
    made_of: Callable[[str, tuple[str, ...]], Any],
) -> tuple[Loader, ...] | None:
    """The loaders of other models of the file."""
    known = document.table("models")
    found = []
    for number, name in enumerate(names if isinstance(names, list) else [names]):
        where = (*path, number) if isinstance(names, list) else path
        if not isinstance(name, str) or name not in known:
            document.problems.add(
                where, f"there is no [models.{name}]; {did_you_mean(str(name), known)}"
            )
            return None
        if name in asking:
            circle = " → ".join((*asking, name))
            document.problems.add(where, f"a model cannot be made of itself: {circle}")
            return None
        member = made_of(name, asking)
        if isinstance(member, Source):
            document.problems.add(where, f"models.{name} is only a log, which cannot answer anew")
        if not isinstance(member, LiveModel):
            return None
        found.append(member.loader)
    return tuple(found)


def offer(
    document: Document, plugins: Plugins, kind: str, name: str, path: KeyPath, options: dict[str, Any]
) -> Any:
    """A loader, suite or mitigation with its options; None if anything is wrong with them."""
    if wrong := no_such(kind, name, plugins):
        document.problems.add((*path, kind.removesuffix("s")), wrong)
        return None
    cls = plugins.get(kind, name)
    given = {option: _found(document, cls, option, value) for option, value in options.items()}
    found: list[str] = []
    try:
        made = build(cls, given, found)
    except GovError as error:
        found, made = [str(error)], None
    for sentence in found:
        document.problems.add_sentence(path, sentence)
    return made


def _found(document: Document, cls: type[Any], option: str, value: Any) -> Any:
    """Options that are paths (by their type) are relative to the file; what is not there is left as it
    is, since it may be the name of something on a hub, unless it is to be made by `[finetune]`."""
    if isinstance(value, dict):
        inner = _table_of(cls, option, value)
        return value if inner is None else {k: _found(document, inner, k, v) for k, v in value.items()}
    types = {field.name: str(field.type) for field in dataclasses.fields(cls)}
    if re.search(r"\bPath\b", types.get(option, "")) is None:
        return value
    if isinstance(value, list):
        return [_found(document, cls, option, one) for one in value]
    if not isinstance(value, str) or not value:
        return value
    path = document.located(value)
    made = (table.get("out") for table in document.table("finetune").values() if isinstance(table, dict))
    is_ours = unreadable(path) is None or any(
        isinstance(out, str) and document.located(out) == path for out in made
    )
    return str(path.absolute()) if is_ours else value


def _table_of(cls: type[Any], option: str, table: Mapping[str, Any]) -> type[Any] | None:
    """The dataclass that an option's table is made into (a grader); of several the one of its `kind`."""
    try:
        declared: list[Any] = [get_type_hints(cls).get(option)]
    except (NameError, TypeError):
        return None  # told where the options are checked
    for one in declared:
        declared += get_args(one)
    offered = [one for one in declared if isinstance(one, type) and dataclasses.is_dataclass(one)]
    kind = table.get("kind")
    return next((o for o in offered if len(offered) == 1 or getattr(o, "kind", None) == kind), None)


def _located(document: Document, path: KeyPath, source: Source) -> Source:
    """A recorded model's log, as seen from the file."""
    for one in (source.path, *source.reruns):
        if wrong := unreadable(document.located(one)):
            document.problems.add((*path, "path" if one == source.path else "reruns"), wrong)
    return dataclasses.replace(
        source,
        path=document.located(source.path),
        reruns=tuple(document.located(rerun) for rerun in source.reruns),
    )
