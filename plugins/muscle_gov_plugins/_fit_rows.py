"""Training data as tokens, made by the rules by which predictions are asked for.

A model learns only what it will be asked: the prompt is the very tokens that the loader `hf` would send,
and the answer is what follows them, with an end-of-text token where the suite has the model write. What
is held out is told by a hash of the content, so it is the same whatever the order of the data.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from muscle_gov import InputError, Instance, Request, Suite
from muscle_gov_plugins._fit_encoder import Encoded, Encoder
from muscle_gov_plugins._hf_plan import Tokens
from muscle_gov_plugins._hf_text import Refused

if TYPE_CHECKING:
    from muscle_gov_plugins.loader_hf import HfLoader

Scope = Literal["all", "answer"]


@dataclass(frozen=True, eq=False, slots=True)
class Row:
    """One text to train on. Equal only to itself."""

    suite: str
    key: str
    content: str
    """Content hash of the instance."""
    tokens: Tokens
    """Prompt with what the tokenizer puts in front, answer, end-of-text token. Without an answer: the
    prompt alone."""
    prompt: int
    """How many of the tokens are the prompt: at least 1."""
    group: str = ""
    """What is never torn apart between training and held-out data: the cluster, else the question."""
    request: Request | None = None
    """Of a row without an answer: what is asked, so that it can be filled in."""

    @property
    def is_labelled(self) -> bool:
        return len(self.tokens) > self.prompt


@dataclass(frozen=True, eq=False)
class Data:
    """Rows, in the order of the suites and their instances."""

    train: tuple[Row, ...]
    held_out: tuple[Row, ...]
    unlabelled: tuple[Row, ...]
    """Prompts without an answer; `fill` answers them and `with_filled` takes them in."""
    digest: str
    """SHA-256 over all tokens and the side that they are on."""
    suites: Mapping[str, int]
    """Suite → its rows, on whatever side."""
    notes: tuple[str, ...] = ()
    """What was left out or done otherwise, in sentences for people."""

    def is_by_hash(self, validation: float, seed: int) -> bool:
        """Whether the hash of its group alone says on which side each row is, so that none of them
        would change sides with other data beside it."""
        sides = ((self.train, False), (self.held_out, True))
        return all(_below(r.group, validation, seed) == held for rows, held in sides for r in rows)


# ------------------------------------------------------------------------------------------ reading


def read(
    training: Mapping[str, Suite],
    loader: HfLoader,
    tokenizer: Any,
    *,
    validation: float,
    seed: int,
    limit_tokens: int | None,
) -> Data:
    """All instances of the suites as rows, some of them held out.

    `validation` is about the share of labelled rows to hold out, in (0, 1); `limit_tokens` the most
    tokens of a row. An instance without a reference is unlabelled; where there are labelled ones too, an
    unlabelled one of a held-out cluster will be held out when it is filled in. Raises InputError where
    there is nothing to train on, where a row cannot be put to the model or is too long, and where one
    side would be empty.
    """
    encoder = Encoder(loader, tokenizer)
    found: list[Row] = []
    notes: list[str] = []
    for name, suite in _expanded(training).items():
        found += _rows_of(name, suite, encoder, limit_tokens, notes)
    if not found:
        raise InputError("training: no suite has any instance; there is nothing to train on")
    rows = _each_once(found, notes)
    labelled = [row for row in rows if row.is_labelled]
    train, held_out = split(labelled, validation, seed) if labelled else ((), ())
    unlabelled = tuple(row for row in rows if not row.is_labelled)
    suites = Counter(row.suite for row in rows)
    digest = _digest(train, held_out, unlabelled)
    return Data(train, held_out, unlabelled, digest, dict(suites), tuple(notes))


def _expanded(suites: Mapping[str, Suite]) -> dict[str, Suite]:
    """Suites that stand for several, replaced by these."""
    found: dict[str, Suite] = {}
    for name, suite in suites.items():
        members = getattr(suite, "members", None)
        for member, task in (members() if members else {name: suite}).items():
            if member in found:
                raise InputError(f"training: two suites are called {member!r}; rename or leave out one")
            found[member] = task
    return found


def _rows_of(
    name: str, suite: Suite, encoder: Encoder, limit: int | None, notes: list[str]
) -> list[Row]:
    instances = list(suite.instances())
    reference = getattr(suite, "reference", None)
    answers = [reference(instance) if reference else None for instance in instances]
    requests = [_first_request(name, suite, instance) for instance in instances]
    encoded = encoder.encode(requests, answers)
    _check(name, instances, encoded, limit)
    merged = sum(isinstance(found, Encoded) and found.is_merged for found in encoded)
    if merged:
        notes.append(
            f"{name}: in {merged} of {len(encoded)} rows the first token of the answer begins in the "
            "prompt, so these are not tokenised quite as they will be asked"
        )
    return [
        Row(
            suite=name,
            key=instance.key,
            content=instance.content_hash,
            tokens=found.tokens,
            prompt=found.prompt,
            group=_group(instance),
            request=request if answer is None else None,
        )
        for instance, request, answer, found in zip(instances, requests, answers, encoded, strict=True)
        if isinstance(found, Encoded)  # all are, or _check had raised
    ]


def _first_request(name: str, suite: Suite, instance: Instance) -> Request:
    requests = suite.requests(instance)
    if not requests:
        raise InputError(
            f"training: {name} asks nothing about {instance.key!r}, so there is no prompt to train on; "
            "leave it out"
        )
    return requests[0]


def _group(instance: Instance) -> str:
    if instance.cluster is not None:
        return f"cluster {instance.cluster}"
    return f"item {instance.input_hash or instance.content_hash}"


def _check(
    name: str, instances: Sequence[Instance], encoded: Sequence[Encoded | Refused], limit: int | None
) -> None:
    """Raises InputError if some cannot be put to the model, or are too long for it."""
    refused = [(i.key, e.why) for i, e in zip(instances, encoded, strict=True) if isinstance(e, Refused)]
    if refused:
        raise InputError(
            f"{name}: {len(refused)} of {len(encoded)} rows cannot be put to the model; the first is "
            f"{refused[0][0]!r}: {refused[0][1]}"
        )
    if limit is None:
        return
    long = [
        (i.key, len(e.tokens))
        for i, e in zip(instances, encoded, strict=True)
        if isinstance(e, Encoded) and len(e.tokens) > limit
    ]
    if long:
        raise InputError(
            f"{name}: {len(long)} of {len(encoded)} rows are longer than {limit} tokens; the first is "
            f"{long[0][0]!r} with {long[0][1]}; shorten or leave out these rows, or raise the limit"
        )


def _each_once(rows: Sequence[Row], notes: list[str]) -> list[Row]:
    """The first row of each content; one with an answer goes before one without."""
    kept: dict[str, Row] = {}
    again: list[Row] = []
    for row in rows:
        first = kept.setdefault(row.content, row)
        if first is row:
            continue
        if row.is_labelled and not first.is_labelled:
            kept[row.content], row = row, first
        again.append(row)
    if again:
        some = again[0]
        notes.append(
            f"{len(again)} of {len(rows)} rows are in the training data more than once and count once "
            f"(such as {some.key!r} of {some.suite})"
        )
    return list(kept.values())


# ----------------------------------------------------------------------------- training and held out


def split(rows: Sequence[Row], validation: float, seed: int) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """(training rows, held-out rows), each in the given order.

    A group is held out if its seeded hash is below `validation`, in (0, 1), so a row keeps its side when
    others come or go, and the share of rows is about that. Only where a side would be empty, one group
    changes sides. Raises InputError where there is one group alone.
    """
    if not 0 < validation < 1:
        raise InputError(f"validation: must be between 0 and 1, not {validation:g}")
    groups = sorted({row.group for row in rows}, key=lambda group: _place(group, seed))
    if len(groups) < 2:
        what = "there is one row" if len(rows) == 1 else f"all {len(rows)} rows are of one cluster"
        raise InputError(
            f"training: {what}, so none can be held out; give more data, or leave out the cluster"
        )
    count = sum(_below(group, validation, seed) for group in groups)
    held = set(groups[: min(max(count, 1), len(groups) - 1)])
    train = tuple(row for row in rows if row.group not in held)
    return train, tuple(row for row in rows if row.group in held)


def with_filled(data: Data, filled: Sequence[Row], validation: float, seed: int) -> Data:
    """The data with rows that were filled in: to train on, but for those of held-out clusters. Where
    nothing else is labelled, a share of them is held out as by `read`. None stays unlabelled."""
    if data.train:
        held = {row.group for row in data.held_out}
        train = (*data.train, *(row for row in filled if row.group not in held))
        held_out = (*data.held_out, *(row for row in filled if row.group in held))
    else:
        train, held_out = split(filled, validation, seed)
    suites = dict(Counter(row.suite for row in (*train, *held_out)))
    digest = _digest(train, held_out, ())
    return replace(data, train=train, held_out=held_out, unlabelled=(), digest=digest, suites=suites)


def _below(group: str, validation: float, seed: int) -> bool:
    return _place(group, seed) < validation


def _place(group: str, seed: int) -> float:
    """A number from 0 to 1, fixed by seed and group."""
    digest = hashlib.sha256(f"{seed} {group}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)


def rows_digest(rows: Sequence[Row]) -> str:
    """SHA-256 over the tokens of rows, in their order."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(f"{row.prompt} {len(row.tokens)} ".encode())
        digest.update(row.tokens.astype("<i8").tobytes())
    return digest.hexdigest()


def _digest(*sides: Sequence[Row]) -> str:
    return hashlib.sha256(" ".join(map(rows_digest, sides)).encode()).hexdigest()


# ------------------------------------------------------------------------------------------ batches


def targets(row: Row, scope: Scope) -> Tokens:
    """Places of the tokens to be predicted, ascending; each is predicted from what stands before it.

    `all` is every token but the first, `answer` those of the answer alone.
    """
    return np.arange(first_target(row, scope), len(row.tokens), dtype=np.int64)


def first_target(row: Row, scope: Scope) -> int:
    """Place of the first token to be predicted."""
    return 1 if scope == "all" else row.prompt


def lengths(rows: Sequence[Row]) -> Tokens:
    """Tokens of each row."""
    return np.fromiter((len(row.tokens) for row in rows), np.int64, len(rows))


def by_length(sizes: Tokens, most_tokens: int) -> Iterator[Tokens]:
    """Places of rows in batches, longest first: of one length or nearly, so that little is padding, and
    of at most `most_tokens` with it (a longer row is a batch by itself)."""
    order = np.argsort(-sizes, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, int(most_tokens // max(1, sizes[order[start]])))
        yield order[start : start + count]
        start += count


def collate(rows: Sequence[Row], pad: int) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, int64 of shape (rows, longest), padded on the right."""
    sizes = lengths(rows)
    mask = np.arange(sizes.max(initial=0)) < sizes[:, None]
    ids = np.full(mask.shape, pad, np.int64)
    if len(rows):
        ids[mask] = np.concatenate([row.tokens for row in rows])
    return {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
    }
