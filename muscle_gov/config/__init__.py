"""TOML in, frozen settings out: an update, a policy, waivers or a quarantine, all problems at once.

A file describes what is asked for and nothing else is looked up in it: it has no variables, no
includes and no code. Relative paths are relative to the file, so that a checklist may be run from
anywhere. What a file asks for and the loaded plugins do not have is a problem of the file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from muscle_gov.config.examples import PRESETS, example_text, policy_text
from muscle_gov.config.lists import list_files
from muscle_gov.config.mending import (
    Finetune,
    Mending,
    finetunes_of,
    mend_of,
    mendings_of,
    training_of,
)
from muscle_gov.config.models import LiveModel, made_here, models_of, suites_of
from muscle_gov.config.rules import (
    add_rules,
    check_coverage,
    gate_of,
    make_gate,
    parse_rule,
    warnings_of,
)
from muscle_gov.config.schema import json_schema, write_schema
from muscle_gov.config.signed import (
    beside,
    load_quarantine,
    load_waivers,
    quarantine_of,
    waivers_of,
)
from muscle_gov.config.sources import no_such, source_of, unreadable
from muscle_gov.config.tables import (
    COMPARE,
    NEW,
    OLD,
    PLUGINS,
    PREDICT,
    TABLE_NAMES,
    TABLES,
    TOP,
    Document,
    PluginLists,
    Table,
    TopKeys,
    check_keys,
    make,
    read_document,
)
from muscle_gov.errors import did_you_mean
from muscle_gov.hookspecs import Suite
from muscle_gov.plugins import ALLOW_VARIABLE, OWN_DISTRIBUTION, Plugins, listed, normal
from muscle_gov.settings import (
    CompareSettings,
    Gate,
    MendSettings,
    Policy,
    PredictSettings,
    Source,
)

__all__ = [
    "PRESETS",
    "TABLES",
    "Finetune",
    "LiveModel",
    "Mending",
    "PluginLists",
    "Table",
    "Update",
    "add_rules",
    "check_coverage",
    "example_text",
    "json_schema",
    "load_policy",
    "load_quarantine",
    "load_update",
    "load_waivers",
    "made_here",
    "make_gate",
    "parse_rule",
    "plugin_lists",
    "policy_text",
    "warnings_of",
    "write_schema",
]

IN_MEMORY = ":memory:"


@dataclass(frozen=True)
class Update:
    """All that a file says of an update."""

    path: Path
    """The file itself."""
    old: Source | LiveModel
    new: Source | LiveModel
    models: Mapping[str, LiveModel | Source]
    """All of `[models]`, by their keys."""
    suites: Mapping[str, Suite]
    """What live models are run on, by name."""
    predict: PredictSettings
    compare: CompareSettings
    policy: Policy
    """Its gate is None if the file has no `[gate]`: nothing is then judged."""
    training: Mapping[str, Suite]
    """What is trained on, by name."""
    finetune: Mapping[str, Finetune]
    """Task adapters to be made, by name."""
    mitigations: Mapping[str, Mending]
    """Ways to mend the update, by name, in the order in which they are tried."""
    mend: MendSettings
    reports: Mapping[str, Path]
    """Name of a report format → the file to write."""
    store: Path | None
    """None: the file does not say."""
    plugins: PluginLists
    warnings: tuple[str, ...] = ()
    """What is allowed but hardly meant."""


def load_update(path: Path, plugins: Plugins) -> Update:
    """Read a file that describes an update. `plugins` must be loaded with its `plugin_lists`.

    Raises ConfigError with all that is wrong: keys, types, values, names that no plugin offers, and
    files that are not there.
    """
    document = read_document(path)
    top = _top(document)
    lists = _lists(document, plugins)
    models = models_of(document, plugins)
    suites = suites_of(document, plugins)
    old = _side(document, "old", OLD, plugins, models)
    new = _side(document, "new", NEW, plugins, models)
    if any(isinstance(side, LiveModel) for side in (old, new)) and not document.table("suites"):
        document.problems.add((), "a table [suites.NAME] is required: what the models are run on")
    check_keys(document.table("predict"), PREDICT, ("predict",), document.problems)
    predict = make(PredictSettings, document.table("predict"), ("predict",), document.problems)
    check_keys(document.table("compare"), COMPARE, ("compare",), document.problems)
    settings = make(CompareSettings, document.table("compare"), ("compare",), document.problems)
    policy = _policy(document, top, plugins)
    training = training_of(document, plugins)
    finetune = finetunes_of(document, plugins, models)
    mitigations = mendings_of(document, plugins)
    if mitigations and not (isinstance(old, LiveModel) and isinstance(new, LiveModel)):
        told = old is not None and new is not None
        if told:
            document.problems.add(("mitigations",), "need models to train, but a side is only a log")
    for side in (old, new):
        name = side.name if isinstance(side, LiveModel) else None
        if name in mitigations:
            document.problems.add(
                ("mitigations", name), "is what a model is called, too; give one of them another name"
            )
    mend = mend_of(document)
    reports = _reports(document, top, plugins)
    document.problems.tell()
    if old is None or new is None or settings is None or predict is None:
        raise AssertionError("a part is missing only where a problem was told")
    store = None if top.store is None else _store(document, top.store)
    warnings = (*_unknown_plugins(lists, plugins), *warnings_of(policy, plugins))
    return Update(
        path=path,
        old=old,
        new=new,
        models=models,
        suites=suites,
        predict=predict,
        compare=settings,
        policy=policy,
        training=training,
        finetune=finetune,
        mitigations=mitigations,
        mend=mend,
        reports=reports,
        store=store,
        plugins=lists,
        warnings=warnings,
    )


def load_policy(path: Path, plugins: Plugins) -> Policy:
    """Read the gate and the waivers of a policy file, or of a file that describes a whole update.

    Whoever asks for a policy asks to be judged, so the gate is never None: without `[gate]` it has no
    rules, and nothing passes it. Tables that are no part of a policy are not looked into.

    Raises ConfigError with all that is wrong.
    """
    document = read_document(path)
    top = _top(document)
    _lists(document, plugins)
    policy = _policy(document, top, plugins)
    document.problems.tell()
    return policy if policy.gate else dataclasses.replace(policy, gate=make_gate(()))


def plugin_lists(path: Path) -> PluginLists:
    """Only `[plugins]` of a file, for loading plugins before the rest is read. Raises ConfigError."""
    document = read_document(path)
    lists = _lists(document, None)
    document.problems.tell()
    return lists


# ------------------------------------------------------------------------------------- its single parts


def _side(
    document: Document,
    side: str,
    table: Table,
    plugins: Plugins,
    models: Mapping[str, LiveModel | Source],
) -> LiveModel | Source | None:
    """`[old]` with a log, or `[models.old]`; None if anything is wrong with it."""
    if side not in document.table("models"):
        return source_of(document, side, table, plugins)
    if side in document.data:
        document.problems.add((side,), f"there is [models.{side}] too; leave one of them out")
    return models.get(side)


def _top(document: Document) -> TopKeys:
    check_keys(document.data, TOP, (), document.problems, TABLE_NAMES)
    for key in ("store", "waivers", "quarantine"):
        if document.data.get(key) == "":
            document.problems.add((key,), "must not be empty; leave the key out instead")
    return make(TopKeys, document.data, (), document.problems) or TopKeys()


def _lists(document: Document, plugins: Plugins | None) -> PluginLists:
    """The lists of `[plugins]`; that the loaded plugins break them is a problem, never passed over."""
    problems = document.problems
    table = document.table("plugins")
    check_keys(table, PLUGINS, ("plugins",), problems)
    lists = make(PluginLists, table, ("plugins",), problems) or PluginLists()
    block = {normal(name) for name in lists.block}
    allow = {normal(name) for name in (*(lists.allow or ()), *listed(ALLOW_VARIABLE))}
    for info in plugins.infos if plugins else ():
        names = {normal(info.name), normal(info.distribution)}
        if info.blocked:
            continue
        if names & block:
            problems.add(("plugins", "block"), f"{info.name!r} was loaded all the same")
        is_own = info.distribution == OWN_DISTRIBUTION
        if lists.allow is not None and not is_own and not names & allow:
            problems.add(("plugins", "allow"), f"{info.name!r} is not on the list, but was loaded")
    return lists


def _unknown_plugins(lists: PluginLists, plugins: Plugins) -> Iterable[str]:
    installed = {normal(name) for info in plugins.infos for name in (info.name, info.distribution)}
    for key, names in (("block", lists.block), ("allow", lists.allow or ())):
        for name in names:
            if normal(name) not in installed:
                hint = did_you_mean(name, installed)
                yield f"plugins.{key}: no plugin or package {name!r} is installed; {hint}"


def _policy(document: Document, top: TopKeys, plugins: Plugins) -> Policy:
    gate: Gate | None = gate_of(document, plugins) if "gate" in document.data else None
    return Policy(
        gate,
        waivers=beside(document, "waivers", top.waivers, waivers_of),
        quarantine=beside(document, "quarantine", top.quarantine, quarantine_of),
    )


def _reports(document: Document, top: TopKeys, plugins: Plugins) -> Mapping[str, Path]:
    problems = document.problems
    made: dict[str, Path] = {}
    taken = _inputs(document, top)
    for name, value in document.table("reports").items():
        if wrong := no_such("reports", name, plugins):
            problems.add(("reports", name), wrong)
        if not isinstance(value, str) or not value:
            problems.add(("reports", name), f'must be the file to write, like {name} = "report.{name}"')
            continue
        path = document.located(value)
        real = _real(path)
        if unreadable(path) is None and path.is_dir():
            problems.add(("reports", name), f"{path} is a directory; give the file to write")
        if owner := taken.get(real):
            problems.add(("reports", name), f"{path} is taken: it is the file of {owner}")
        taken[real] = f"reports.{name}"
        made[name] = path
    return made


def _inputs(document: Document, top: TopKeys) -> dict[Path, str]:
    """Files that no report may overwrite, and what they are."""
    taken = {_real(document.path): "this configuration"}
    for key in ("store", "waivers", "quarantine"):
        if value := getattr(top, key):
            taken[_real(document.located(value))] = key
    for place in list_files(document):
        taken[_real(place)] = "gate.must_not_regress"
    for side in ("old", "new"):
        given = document.table(side).get("path")
        if isinstance(given, str) and given:
            taken[_real(document.located(given))] = f"{side}.path"
    return taken


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, or no name that a file can have
        return path.absolute()


def _store(document: Document, given: str) -> Path:
    return Path(given) if given == IN_MEMORY else document.located(given)
