"""Loads a table suite: rows are read, drawn, rendered and checked, all before any model is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import muscle_gov
from muscle_gov import InputError, Instance, SuiteFacts
from muscle_gov.logs import as_text
from muscle_gov.prompts import Template
from muscle_gov.questions import input_hash
from muscle_gov_plugins._graders import described
from muscle_gov_plugins._suite_rows import Place
from muscle_gov_plugins._suite_shots import PerItem, fixed
from muscle_gov_plugins._suite_wording import Messages, suggestion
from muscle_gov_plugins._table_paths import MISSING, look_up
from muscle_gov_plugins._table_values import key_of, text

if TYPE_CHECKING:
    from muscle_gov_plugins.suite_table import TableSuite

Examples = str | Messages
Known = tuple[str, Place]
"""A row with its content hash."""


@dataclass(frozen=True)
class Loaded:
    """A suite that is ready to be asked."""

    instances: tuple[Instance, ...]
    examples_of: Callable[[str], Any]
    """Content hash → what stands between opening and question."""
    digests: Mapping[str, str]
    notes: tuple[str, ...]
    shown: frozenset[str]
    """Input hashes of the rows that stand, or may stand, as examples in prompts."""


def load(suite: TableSuite, where: Template | None) -> Loaded:
    """Everything that requests need. Raises InputError for any row that cannot be asked about."""
    suite.judge.package()  # what grades is looked for before what answers
    every = suite.source.read()
    _check_rows(suite, every)
    kept = every if where is None else [place for place in every if where.value(place.row, place.where)]
    if not kept:
        raise InputError(f"{suite.source.name}: where holds for none of its {len(every)} rows")
    known = _each(kept, lambda place: (suite.wording.identity(place), place))
    pool_rows = suite.pool.read() if suite.pool else []
    pool = (
        known
        if suite.pool is None
        else _each(pool_rows, lambda place: (suite.wording.identity(place), place))
    )
    examples_of, taken, notes, examples = _examples(suite, known, pool)
    items = _chosen(suite, [one for one in known if one[0] not in taken])
    instances = _each(items, lambda one: _instance(suite, *one))
    _check_keys(suite, instances, items)
    digests = {"data": suite.source.digest(every)}
    if suite.pool:
        digests["shots_data"] = suite.pool.digest(pool_rows)
    asked = (_hash_of(suite.wording.asked_by_example(place)) for place in examples)
    shown = frozenset(one for one in asked if one is not None)
    return Loaded(tuple(instances), examples_of, digests, notes, shown)


def _check_rows(suite: TableSuite, every: Sequence[Place]) -> None:
    name = suite.source.name
    if not every:
        raise InputError(f"{name}: holds no rows")
    if suite.prompt is None and not suite.messages:
        columns = ", ".join(every[0].row)
        hint = suggestion(every[0].row) or f"; the columns are {columns}"
        raise InputError(f"{name}: give prompt, the template of what the model is asked{hint}")
    for option, column in _named_columns(suite):
        if all(look_up(place.row, column) is MISSING for place in every):
            columns = ", ".join(every[0].row)
            raise InputError(f"{name}: no row has the column {column} ({option}); they have {columns}")


def _named_columns(suite: TableSuite) -> Iterator[tuple[str, str]]:
    if suite.key is not None:
        yield "key", suite.key
    if suite.cluster is not None:
        yield "cluster", suite.cluster
    for column in suite.tag_columns.values():
        yield "tags", column
    for column in suite.content:
        yield "content", column


def _each(values: Sequence[Any], make: Callable[[Any], Any]) -> list[Any]:
    """What is made of each. If some cannot be made: one InputError, the first, saying how many."""
    found, first, faults = [], None, 0
    for value in values:
        try:
            found.append(make(value))
        except InputError as error:
            place = value if isinstance(value, Place) else value[1]
            first = first or InputError(f"{error}{suggestion(place.row)}")
            faults += 1
    if first is None:
        return found
    more = f" (and {faults - 1} more rows of {len(values)})" if faults > 1 else ""
    raise InputError(f"{first}{more}") from first


# --------------------------------------------------------------------------------------- the examples


def _examples(
    suite: TableSuite, known: Sequence[Known], pool: Sequence[Known]
) -> tuple[Callable[[str], Any], frozenset[str], tuple[str, ...], Sequence[Place]]:
    """(content hash → examples, content hashes that are not asked about, notes, all rows that may be
    an example)."""
    empty: Examples = () if suite.is_chat else ""
    if not suite.shots:
        return (lambda _: empty), frozenset(), (), ()
    hashes = [one for one, _ in pool]
    if suite.shots_choice == "per-item":
        shown = _each(pool, lambda one: _shown(suite, one[1]))
        draw = PerItem(hashes, suite.shots, suite.seed).of
        every = [place for _, place in pool]
        joined = lambda item: _joined([shown[place] for place in draw(item)], empty)  # noqa: E731
        return joined, frozenset(), (), every
    is_own = suite.pool is None
    items = frozenset() if is_own else frozenset(one for one, _ in known)
    seed = suite.seed if suite.shots_choice == "seeded" else None
    places = fixed(hashes, suite.shots, seed, items)
    rows = [pool[place] for place in places]
    same = _joined(_each(rows, lambda one: _shown(suite, one[1])), empty)
    taken = frozenset(hashes[place] for place in places) if is_own else frozenset()
    notes = _notes(is_own, taken, known, items, hashes)
    return (lambda _: same), taken, notes, [place for _, place in rows]


def _shown(suite: TableSuite, place: Place) -> Examples:
    shown = suite.wording.example(place)
    return shown + suite.separator if isinstance(shown, str) else shown


def _joined(examples: Sequence[Any], empty: Examples) -> Any:
    if isinstance(empty, str):
        return "".join(examples)
    return tuple(message for example in examples for message in example)


def _notes(
    is_own: bool,
    taken: frozenset[str],
    known: Sequence[Known],
    items: frozenset[str],
    hashes: Sequence[str],
) -> tuple[str, ...]:
    if is_own:
        count = sum(one in taken for one, _ in known)
        return (f"{count} rows are everyone's examples and are not asked about",)
    overlap = sum(one in items for one in hashes)
    return (f"{overlap} rows of the pool of examples are items and are never shown",) if overlap else ()


# ------------------------------------------------------------------------------------------ the items


def _chosen(suite: TableSuite, known: Sequence[Known]) -> Sequence[Known]:
    """Those that are asked about, in the order of the rows."""
    if not known:
        raise InputError(f"{suite.source.name}: no row is left to ask about, all are examples")
    if suite.sample is not None and suite.sample < len(known):
        rank = [hashlib.blake2b(f"{suite.seed}:{one}".encode()).digest() for one, _ in known]
        drawn = sorted(range(len(known)), key=rank.__getitem__)[: suite.sample]
        known = [known[place] for place in sorted(drawn)]
    return known if suite.limit is None else known[: suite.limit]


def _instance(suite: TableSuite, known_hash: str, place: Place) -> Instance:
    item = suite.wording.item(place)
    texts = item.solution.texts
    cluster = None if suite.cluster is None else text(_cell(place, suite.cluster))
    tags = {tag: text(_cell(place, column)) for tag, column in suite.tag_columns.items()}
    return Instance(
        key=_key(suite, place),
        content_hash=known_hash,
        target=texts[0] if len(texts) == 1 else as_text(list(texts)) if texts else None,
        tags={tag: value for tag, value in tags.items() if value is not None},
        cluster=cluster,
        input_hash=_hash_of(item.question),
        data=item,
    )


def _hash_of(question: str | Messages) -> str | None:
    """Of the question as it is asked, without opening and examples."""
    texts = [question] if isinstance(question, str) else [one["content"] for one in question]
    return input_hash(texts)


def _cell(place: Place, column: str) -> Any:
    found = look_up(place.row, column)
    return None if found is MISSING else found


def _key(suite: TableSuite, place: Place) -> str:
    if suite.key is None:
        return str(place.number)
    key = key_of([_cell(place, suite.key)])
    if key is None:
        raise InputError(f"key: {place.where} has nothing in the column {suite.key}")
    return key


def _check_keys(suite: TableSuite, instances: Sequence[Instance], items: Sequence[Known]) -> None:
    seen: dict[str, str] = {}
    for instance, (_, place) in zip(instances, items, strict=True):
        first = seen.setdefault(instance.key, place.where)
        if first != place.where:
            raise InputError(
                f"key: {first} and {place.where} both have {instance.key!r} in the column {suite.key}; "
                "keys must be unique (without key, the rows' numbers are used)"
            )


# ------------------------------------------------------------------------------------------ the facts

_NOT_WORDING = frozenset(
    ("path", "rows", "dataset", "config", "split", "revision", "grader", "shots_from")
)
_DECODING = ("max_tokens", "temperature", "top_p", "stop")


def facts_of(suite: TableSuite, loaded: Loaded) -> SuiteFacts:
    """What the suite says of itself."""
    import dataclasses

    defaults = {f.name: f.default for f in dataclasses.fields(suite)}
    given = {name: getattr(suite, name) for name in defaults if name not in {*_NOT_WORDING, *_DECODING}}
    settings = {name: _plain(value) for name, value in given.items() if value != defaults[name]}
    judge = suite.judge
    return SuiteFacts(
        task=suite.source.task,
        metric=judge.metric_name(),
        other_metrics=judge.other_names(),
        harness_version=muscle_gov.__version__,
        dataset=suite.source.name,
        split=suite.split,
        n_shot=suite.shots,
        system_prompt=suite.wording.system_text,
        scorer=described(judge),
        decoding={} if judge.scores_choices else {n: _plain(getattr(suite, n)) for n in _DECODING},
        settings={**settings, **loaded.digests},
        notes=loaded.notes,
    )


def _plain(value: Any) -> Any:
    """A value of an option as JSON has it."""
    import dataclasses

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return dict(value) if isinstance(value, Mapping) else value
