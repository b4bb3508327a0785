"""`[training.*]`, `[finetune.*]`, `[mitigations.*]` and `[mend]`: what is trained, and on what.

Training data are read as suites read them. Whether they overlap what is judged cannot be told from the
file; that is looked at before anything is trained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muscle_gov.config.lines import KeyPath
from muscle_gov.config.models import LiveModel, offer, own_options, tables_of
from muscle_gov.config.sources import no_such
from muscle_gov.config.tables import (
    MEND,
    Document,
    FinetuneKeys,
    MitigationKeys,
    TrainingKeys,
    check_keys,
    make,
)
from muscle_gov.errors import did_you_mean
from muscle_gov.hookspecs import Mitigation, Suite
from muscle_gov.plugins import Plugins
from muscle_gov.settings import MendSettings, Source

REFERENCE = "mitigations"
"""`field(metadata={"refers_to": "mitigations"})` marks an option that holds the name of another
mitigation; it is given that mitigation itself."""


@dataclass(frozen=True)
class Mending:
    """A way to mend the update."""

    key: str
    """As in `[mitigations.KEY]`."""
    mitigation: Mitigation
    training: tuple[str, ...]
    """Names of the data it is trained on."""


@dataclass(frozen=True)
class Finetune:
    """A task adapter to be made."""

    key: str
    """As in `[finetune.KEY]`."""
    model: LiveModel
    out: Path
    """The adapter's folder."""
    trainer: Mitigation
    training: tuple[str, ...]


def training_of(document: Document, plugins: Plugins) -> dict[str, Suite]:
    """Every table of `[training]`. What is faulty is told and left out."""
    found: dict[str, Suite] = {}
    suites = document.table("suites")
    for key, table in tables_of(document, "training").items():
        path = ("training", key)
        like = table.get("like")
        if isinstance(like, str) and not isinstance(suites.get(like), dict):
            document.problems.add(
                (*path, "like"), f"there is no [suites.{like}]; {did_you_mean(like, suites)}"
            )
            continue
        whole = {**(suites[like] if isinstance(like, str) else {}), **table}
        keys = make(TrainingKeys, whole, path, document.problems)
        if keys is None:
            continue
        suite = offer(document, plugins, "suites", keys.suite, path, own_options(whole, TrainingKeys))
        if suite is not None:
            found[key] = suite
    return found


def finetunes_of(
    document: Document, plugins: Plugins, models: Mapping[str, LiveModel | Source]
) -> dict[str, Finetune]:
    """Every table of `[finetune]`. What is faulty is told and left out."""
    found: dict[str, Finetune] = {}
    outs: dict[Path, str] = {}
    for key, table in tables_of(document, "finetune").items():
        path = ("finetune", key)
        keys = make(FinetuneKeys, table, path, document.problems)
        if keys is None:
            continue
        own = own_options(table, FinetuneKeys)
        if wrong := no_such("mitigations", keys.trainer, plugins):
            document.problems.add((*path, "trainer"), wrong)
            continue
        trainer = offer(document, plugins, "mitigations", keys.trainer, path, own)
        training = _training(document, path, keys.training)
        model = models.get(keys.model)
        if keys.model not in document.table("models"):
            hint = did_you_mean(keys.model, document.table("models"))
            document.problems.add((*path, "model"), f"there is no [models.{keys.model}]; {hint}")
        elif isinstance(model, Source):
            document.problems.add((*path, "model"), f"models.{keys.model} is only a log")
        out = document.located(keys.out).absolute()
        if wrong := no_folder(out):
            document.problems.add((*path, "out"), wrong)
        if (other := outs.setdefault(out, key)) != key:
            document.problems.add((*path, "out"), f"is the folder of finetune.{other} too")
        if trainer is not None and training is not None and isinstance(model, LiveModel):
            found[key] = Finetune(key, model, out, trainer, training)
    return found


def mendings_of(document: Document, plugins: Plugins) -> dict[str, Mending]:
    """Every table of `[mitigations]`. What is faulty is told and left out."""
    tables = tables_of(document, "mitigations")
    made: dict[str, Mending | None] = {}

    def made_of(key: str, asking: tuple[str, ...]) -> Mending | None:
        if key not in made:
            made[key] = _mending(document, plugins, key, tables[key], (*asking, key), made_of)
        return made[key]

    return {key: found for key in tables if (found := made_of(key, ())) is not None}


def mend_of(document: Document) -> MendSettings:
    """`[mend]`; its folder is as seen from the file."""
    table = document.table("mend")
    check_keys(table, MEND, ("mend",), document.problems)
    settings = make(MendSettings, table, ("mend",), document.problems) or MendSettings()
    folder = document.located(settings.folder)
    if wrong := no_folder(folder):
        document.problems.add(("mend", "folder"), wrong)
    return dataclasses.replace(settings, folder=folder)


def no_folder(path: Path) -> str | None:
    """Why nothing can be put into a folder of this name; None if it can, as far as one sees."""
    for one in (path, *path.parents):
        try:
            if one.is_symlink() and not one.exists():
                return f"{one} is a link that leads nowhere"
            if one.exists():
                return None if one.is_dir() else f"{one} is a file, and a folder is wanted"
        except OSError as error:
            return f"{one} cannot be looked at ({error.strerror})"
    return None


def _mending(
    document: Document,
    plugins: Plugins,
    key: str,
    table: Mapping[str, Any],
    asking: tuple[str, ...],
    made_of: Callable[[str, tuple[str, ...]], Mending | None],
) -> Mending | None:
    path: KeyPath = ("mitigations", key)
    keys = make(MitigationKeys, table, path, document.problems)
    training = None if keys is None else _training(document, path, keys.training)
    if keys is None or training is None:
        return None
    name = keys.mitigation or key
    if wrong := no_such("mitigations", name, plugins):
        where = (*path, "mitigation") if keys.mitigation else path
        document.problems.add(where, wrong)
        return None
    own = own_options(table, MitigationKeys)
    for field in dataclasses.fields(plugins.get("mitigations", name)):
        if field.metadata.get("refers_to") == REFERENCE and field.name in own:
            other = _referred(document, (*path, field.name), own[field.name], asking, made_of)
            if other is None:
                return None
            own[field.name] = other.mitigation
    mitigation = offer(document, plugins, "mitigations", name, path, own)
    return None if mitigation is None else Mending(key, mitigation, training)


def _referred(
    document: Document,
    path: KeyPath,
    name: Any,
    asking: tuple[str, ...],
    made_of: Callable[[str, tuple[str, ...]], Mending | None],
) -> Mending | None:
    known = document.table("mitigations")
    if not isinstance(name, str) or not isinstance(known.get(name), dict):
        hint = did_you_mean(str(name), known)
        document.problems.add(path, f"there is no [mitigations.{name}]; {hint}")
        return None
    if name in asking:
        circle = " → ".join((*asking, name))
        document.problems.add(path, f"a mitigation cannot be made of itself: {circle}")
        return None
    return made_of(name, asking)


def _training(
    document: Document, path: KeyPath, names: Collection[str] | None
) -> tuple[str, ...] | None:
    """The data that are asked for, or all there are; None if there are none."""
    known = document.table("training")
    if not known:
        document.problems.add(path, "a table [training.NAME] is required: what is trained on")
        return None
    for name in names or ():
        if name not in known:
            document.problems.add(
                (*path, "training"), f"there is no [training.{name}]; {did_you_mean(name, known)}"
            )
            return None
    if names is not None and not names:
        document.problems.add((*path, "training"), "must name at least one [training] table")
        return None
    return tuple(known) if names is None else tuple(names)
