"""The tables that a file may have, and how plain TOML values become the frozen dataclasses.

Each table's keys are the fields of dataclasses and are declared nowhere else. Types are strict: TOML
tells a number from a text, so a text is never taken for a number. Every fault is collected, and a
faulty key does not hide the faults of its neighbours.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from muscle_gov.config.lines import KeyPath, key_lines, line_of
from muscle_gov.errors import ConfigError, did_you_mean
from muscle_gov.plugins import Option, options
from muscle_gov.settings import (
    CompareSettings,
    Gate,
    ImportSettings,
    MendSettings,
    MustNotRegress,
    PredictSettings,
    Quarantine,
    Rule,
    Source,
    Waiver,
)

T = TypeVar("T")  # a dataclass


# ------------------------------------------------------------------------------- what a file may hold


@dataclass(frozen=True)
class TopKeys:
    """Keys that stand above the first table."""

    store: str | None = None
    """The DuckDB file that keeps runs, comparisons and verdicts, e.g. `muscle-gov.duckdb`;
    `:memory:` keeps nothing."""
    waivers: str | None = None
    """A TOML file of `[[waiver]]` tables: signed exceptions to the gate."""
    quarantine: str | None = None
    """A TOML file of `[[quarantine]]` tables: flaky items that are set aside, as `muscle-gov flaky`
    proposes them."""


@dataclass(frozen=True)
class PluginLists:
    """Which third-party plugins are let in."""

    block: tuple[str, ...] = ()
    """Names of plugins or of packages that are not loaded, built-in ones included."""
    allow: tuple[str, ...] | None = None
    """Names of the only plugins or packages, besides the built-in ones, that are loaded. Not given:
    all that are installed; `[]`: none."""


@dataclass(frozen=True)
class ModelKeys:
    """A model that is run here, or of which there is a log. Its loader's options stand beside these."""

    loader: str = "hf"
    """Name of a loader: what runs the model."""
    name: str | None = None
    """What reports call it; default: the loader's own name for it."""


@dataclass(frozen=True)
class SuiteKeys:
    """Instances, what is asked about them, and how answers are graded. The suite's own options stand
    beside this."""

    suite: str = "table"
    """Name of a suite: what makes the requests and grades the answers."""


@dataclass(frozen=True)
class TrainingKeys:
    """Data that models are trained on, read as a suite reads them. None of them may be judged. The
    suite's own options stand beside these."""

    suite: str = "table"
    """Name of a suite: what reads the data."""
    like: str | None = None
    """Name of one of `[suites]`, all of whose options hold here too unless they are given anew: so only
    `path` is left to say."""


@dataclass(frozen=True)
class FinetuneKeys:
    """A task adapter for a model, trained with `muscle-gov finetune`. The trainer's own options stand
    beside these."""

    model: str
    """Name of one of `[models]`: the base, without an adapter."""
    out: str
    """The folder of the adapter that is made."""
    trainer: str = "cross-entropy"
    """Name of a mitigation that needs no old model."""
    training: tuple[str, ...] | None = None
    """Names of `[training]` tables; all of them by default."""


@dataclass(frozen=True)
class MitigationKeys:
    """A way to mend the update, tried by `muscle-gov run --mend`. The mitigation's own options stand
    beside these."""

    mitigation: str | None = None
    """Name of a mitigation; default: that of the table."""
    training: tuple[str, ...] | None = None
    """Names of `[training]` tables; all of them by default."""


@dataclass(frozen=True)
class Table:
    """One table of a file: its keys are fields of dataclasses."""

    header: str
    """As it is written, e.g. `[[gate.rules]]`; empty for the keys above the first table."""
    about: str
    parts: tuple[type, ...]
    hidden: tuple[str, ...] = ()
    """Fields that are no keys."""

    def keys(self) -> tuple[str, ...]:
        return tuple(f.name for part in self.parts for f in self._shown(part))

    def options(self) -> tuple[Option, ...]:
        """Name, type, default and help of each key, for references."""
        return tuple(o for part in self.parts for o in options(part) if o.name not in self.hidden)

    def _shown(self, part: type) -> list[dataclasses.Field[Any]]:
        return [f for f in dataclasses.fields(part) if f.name not in self.hidden]


TOP = Table("", "Keys that stand above the first table.", (TopKeys,))
OLD = Table(
    "[old]", "Where the old model's predictions come from.", (Source, ImportSettings), ("settings",)
)
NEW = Table(
    "[new]", "Where the new model's predictions come from.", (Source, ImportSettings), ("settings",)
)
MODELS = Table("[models.NAME]", " ".join(str(ModelKeys.__doc__).split()), (ModelKeys,))
SUITES = Table("[suites.NAME]", " ".join(str(SuiteKeys.__doc__).split()), (SuiteKeys,))
PREDICT = Table("[predict]", "How models are run on suites.", (PredictSettings,))
TRAINING = Table("[training.NAME]", " ".join(str(TrainingKeys.__doc__).split()), (TrainingKeys,))
FINETUNE = Table("[finetune.NAME]", " ".join(str(FinetuneKeys.__doc__).split()), (FinetuneKeys,))
MITIGATIONS = Table(
    "[mitigations.NAME]", " ".join(str(MitigationKeys.__doc__).split()), (MitigationKeys,)
)
MEND = Table("[mend]", str(MendSettings.__doc__), (MendSettings,))
COMPARE = Table("[compare]", "How pairs are measured.", (CompareSettings,))
GATE = Table("[gate]", "Rules and what they have in common.", (Gate,), ("digest", "places"))
RULES = Table("[[gate.rules]]", str(Rule.__doc__), (Rule,))
LISTS = Table(
    "[[gate.must_not_regress]]", str(MustNotRegress.__doc__), (MustNotRegress,), ("listed", "place")
)
PLUGINS = Table("[plugins]", str(PluginLists.__doc__), (PluginLists,))
WAIVER = Table("[[waiver]]", str(Waiver.__doc__), (Waiver,))
QUARANTINE = Table("[[quarantine]]", " ".join(str(Quarantine.__doc__).split()), (Quarantine,))

TABLES = (
    *(TOP, OLD, NEW, MODELS, SUITES, PREDICT, COMPARE, GATE, RULES, LISTS),
    *(TRAINING, FINETUNE, MITIGATIONS, MEND, PLUGINS, WAIVER, QUARANTINE),
)
"""All tables whose keys are fixed, in the order of a file. Beside them stand `[old.options]` and
`[new.options]`, whose keys are the reader's options, and `[reports]`, whose keys are the names of
report formats. `[models.NAME]`, `[suites.NAME]`, `[training.NAME]`, `[finetune.NAME]` and
`[mitigations.NAME]` have the keys of the loader, suite or mitigation besides. `[[waiver]]` and
`[[quarantine]]` stand in files of their own."""

TABLE_NAMES = (
    "old",
    "new",
    "models",
    "suites",
    "predict",
    "compare",
    "gate",
    "training",
    "finetune",
    "mitigations",
    "mend",
    "reports",
    "plugins",
)


# --------------------------------------------------------------------------------------- what is wrong


class Problems:
    """Collects what is wrong with one file, each with its line."""

    def __init__(self, where: str, lines: dict[KeyPath, int]) -> None:
        self.where = where
        self._lines = lines
        self._found: list[tuple[int, str]] = []

    def add(self, path: KeyPath, message: str) -> None:
        line = line_of(self._lines, path)
        text = f"{spelt(path)}: {message}" if path else message
        found = (line or 0, f"line {line}: {text}" if line else text)
        if found not in self._found:
            self._found.append(found)

    def add_sentence(self, table: KeyPath, sentence: str) -> None:
        """Add `key: what is wrong` for a key (`tags.0` for an item) of a table."""
        head, colon, rest = sentence.partition(": ")
        if colon and all(part.isidentifier() or part.isdigit() for part in head.split(".")):
            inner = [int(part) if part.isdigit() else part for part in head.split(".")]
            self.add((*table, *inner), rest)
        else:
            self.add(table, sentence)

    def place(self, path: KeyPath) -> str:
        """`file:line` of a key; the file alone where its line is not known."""
        line = line_of(self._lines, path)
        return f"{self.where}:{line}" if line else self.where

    def listed(self) -> list[str]:
        """One line for each problem, in the order of the file."""
        return [text for _, text in sorted(self._found, key=lambda found: found[0])]

    def tell(self) -> None:
        """Raise ConfigError with all of them, if there are any."""
        if self._found:
            raise ConfigError(self.where, self.listed())


def spelt(path: KeyPath) -> str:
    """`gate.rules[0].metric`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            is_bare = part.replace("-", "_").isidentifier() and part.isascii()
            text += ("." if text else "") + (part if is_bare else json.dumps(part, ensure_ascii=False))
    return text


# ------------------------------------------------------------------------------------ reading the file


@dataclass(frozen=True)
class Document:
    """A parsed file and what is wrong with it so far."""

    path: Path
    data: Mapping[str, Any]
    problems: Problems

    def table(self, name: str) -> Mapping[str, Any]:
        """The table of that name; empty if it is missing or (a problem) something else."""
        value = self.data.get(name, {})
        if isinstance(value, dict):
            return value
        self.problems.add((name,), f"must be a table, written [{name}]")
        return {}

    def located(self, path: str | Path) -> Path:
        """A path of the file: relative ones are relative to the file itself."""
        return self.path.parent / path


def read_document(path: Path) -> Document:
    """Parse a TOML file. Raises ConfigError with one sentence if it cannot be read as TOML."""
    text = _read(path)
    try:
        data = tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(str(path), ["is nested too deeply to be read"]) from error
    except ValueError as error:  # TOMLDecodeError, and numbers too long for int()
        raise ConfigError(str(path), [_syntax(str(error), text)]) from error
    return Document(path, data, Problems(str(path), key_lines(text)))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        problem = "there is no such file"
    except IsADirectoryError:
        problem = "is a directory; give the TOML file in it"
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = f"line {line}: is not UTF-8 text; save it as UTF-8"
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        problem = f"cannot be read ({getattr(error, 'strerror', None) or error})"
    raise ConfigError(str(path).replace("\0", "\\0"), [problem])


def _syntax(message: str, text: str) -> str:
    what, _, place = message.rstrip(")").partition(" (at ")
    what = what[:1].lower() + what[1:]
    if place.startswith("line "):
        line, _, column = place.removeprefix("line ").partition(", column ")
        return f"line {line}: is not valid TOML: {what}, at column {column}"
    if place == "end of document":
        last = text.rstrip("\n").count("\n") + 1
        return f"line {last}: is not valid TOML: {what}, at the end of the file"
    return f"is not valid TOML: {what}"


# ---------------------------------------------------------------------------------- values to dataclass


def check_keys(
    given: Iterable[str],
    table: Table,
    path: KeyPath,
    problems: Problems,
    known: Collection[str] = (),
    elsewhere: Mapping[str, str] | None = None,
) -> None:
    """Each key that the table does not have is a problem.

    `known` are keys it may have besides; `elsewhere` says of keys where they belong instead.
    """
    keys = (*table.keys(), *known)
    whole = dict.fromkeys(TOP.keys(), "belongs to the whole file: move it above the first table")
    belongs = {**whole, **(elsewhere or {})}
    for name in given:
        if name not in keys:
            missing = f"{table.header or 'the file'} has no such key; {did_you_mean(name, keys)}"
            problems.add((*path, name), belongs.get(name, missing))


def make(
    cls: type[T],
    values: Mapping[str, Any],
    path: KeyPath,
    problems: Problems,
    check: Callable[[T], Iterable[str]] = lambda _: (),
) -> T | None:
    """The dataclass of plain TOML values; None if anything is wrong, and all of it is told.

    `values` may hold keys that `cls` has not; they are left aside. `check` gives `key: what is wrong`
    sentences about a value whose types are right. It is asked even where some keys are faulty, with
    those left out, and what it then says of the faulty ones is left out too.
    """
    import pydantic

    adapter = pydantic.TypeAdapter(cls)
    required, known = _fields(cls)
    good = {name: value for name, value in values.items() if name in known}
    faulty = {name for name, value in good.items() if _is_endless(value)}
    for name in faulty:
        problems.add((*path, name), f"must be a finite number, not {_shown(good[name])}")
    while True:
        given = {name: value for name, value in good.items() if name not in faulty}
        # an empty text stands in for a required key, so that its neighbours are checked all the same
        given |= dict.fromkeys(required & faulty, "")
        try:
            made = adapter.validate_json(json.dumps(given, default=str), strict=True)
            break
        except pydantic.ValidationError as error:
            faults = [(fault["loc"], _in_words(fault)) for fault in error.errors()]
        for place, words in faults:
            if place:
                problems.add((*path, *place), words)
            else:
                problems.add_sentence(path, words)
        newly = {str(place[0]) for place, _ in faults if place} - faulty
        if not newly:
            return None
        faulty |= newly
    sentences = list(check(made))
    for sentence in sentences:
        if faulty.isdisjoint(sentence.partition(":")[0].split(", ")):
            problems.add_sentence(path, sentence)
    return None if faulty or sentences else made


def _is_endless(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return True


def _fields(cls: type[Any]) -> tuple[set[str], set[str]]:
    """Names of the required fields, and of all."""
    missing = dataclasses.MISSING
    fields = dataclasses.fields(cls)
    required = {f.name for f in fields if f.default is missing and f.default_factory is missing}
    return required, {f.name for f in fields}


_WORDS = {
    "missing": "is required",
    "string_type": "must be a text in quotes",
    "path_type": "must be a path in quotes",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "tuple_type": 'must be a list, like ["a", "b"]',
    "dict_type": "must be a table",
}


def _in_words(fault: Any) -> str:
    kind, message = fault["type"], str(fault["msg"])
    if kind == "missing":
        return _WORDS[kind]
    if kind in ("value_error", "assertion_error"):
        return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if kind == "literal_error":
        return f"{_shown(fault['input'])} is none of {fault['ctx']['expected']}"
    words = _WORDS.get(kind) or message[:1].lower() + message[1:]
    return f"{words}, not {_shown(fault['input'])}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"
