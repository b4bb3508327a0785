"""One task of OLMES under one formulation, as a suite."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from muscle_gov import Grade, Instance, Outcome, Output, Request, SuiteFacts
from muscle_gov.questions import input_hash
from muscle_gov_plugins._choice_scores import Normalisation, best, scores
from muscle_gov_plugins._olmes_data import Rows
from muscle_gov_plugins._olmes_shots import (
    Shots,
    first_balanced,
    first_of_each_subject,
    shots_from,
    standard_shots,
)
from muscle_gov_plugins._olmes_tasks import (
    BARE,
    SHOTS,
    Formulation,
    Item,
    Task,
    continuations,
    description,
    prompts,
    shot,
)

VERSION = "0.1"
SEED, DRAWN, WHERE_MORE_THAN = 1234, 1000, 1500
METRICS: Mapping[Normalisation, str] = {
    "none": "acc_raw",
    "token": "acc_per_token",
    "char": "acc_per_char",
    "pmi": "acc_uncond",
}
"""The standard's names of an accuracy by how choices are scored."""


class Sample(NamedTuple):
    """The instances that are judged."""

    keyed: tuple[tuple[str, Item], ...]
    total: int
    """How many the split has."""


@dataclass(frozen=True)
class Source:
    """The instances and examples of a task: what its two formulations share, read once."""

    rows: Rows
    shots_from: Literal["standard", "first-balanced"] = "standard"
    shots_file: Path | None = None
    sample: Literal["standard", "all"] | int = "standard"
    limit: int | None = None

    @property
    def task(self) -> Task:
        return self.rows.task

    @cached_property
    def shots(self) -> Shots:
        """Raises InputError where they cannot be had."""
        if self.task.name == "mmlu":
            return first_of_each_subject(self.rows)
        if self.shots_file is not None:
            return shots_from(self.task, self.shots_file)
        return (
            first_balanced(self.rows)
            if self.shots_from == "first-balanced"
            else standard_shots(self.rows)
        )

    @cached_property
    def judged(self) -> Sample:
        """In the order in which they are drawn. Raises InputError."""
        items = list(self.rows.items(self.task.split))
        by_subject: dict[str | None, list[tuple[str, Item]]] = {}
        for key, item in zip(_keys(items), items, strict=True):
            by_subject.setdefault(item.subject, []).append((key, item))
        keyed = (pair for pairs in by_subject.values() for pair in self._drawn(pairs)[: self.limit])
        return Sample(tuple(keyed), len(items))

    def _drawn(self, pairs: list[tuple[str, Item]]) -> list[tuple[str, Item]]:
        count = self.sample if isinstance(self.sample, int) else len(pairs)
        if self.sample == "standard" and self.task.samples and len(pairs) > WHERE_MORE_THAN:
            count = DRAWN
        return pairs if count >= len(pairs) else random.Random(SEED).sample(pairs, count)  # noqa: S311

    @property
    def sampling(self) -> str | None:
        """In words, if not all of the split is judged."""
        judged, total = len(self.judged.keyed), self.judged.total
        if judged == total:
            return None
        how = "as the standard draws them" if self.sample == "standard" and self.limit is None else ""
        words = f"{judged:,} of the {total:,} instances of the split are judged"
        return f"{words}, {how}" if how else f"{words}, which is not the standard's choice"


@dataclass(frozen=True)
class OlmesTask:
    """One of the ten tasks under `mcf` or `cf`."""

    source: Source
    formulation: Formulation

    @property
    def task(self) -> Task:
        return self.source.task

    @property
    def name(self) -> str:
        """`olmes/arc_easy:mcf`."""
        return f"olmes/{self.task.name}:{self.formulation}"

    @property
    def how(self) -> Normalisation:
        """How choices are scored: the standard's way for the task."""
        return "none" if self.formulation == "mcf" else self.task.cf_scores

    @property
    def _ways(self) -> tuple[Normalisation, ...]:
        """All ways that are told. Letters are all of one length; `pmi` costs a request more."""
        if self.formulation == "mcf":
            return ("none",)
        return ("none", "token", "char", "pmi") if self.how == "pmi" else ("none", "token", "char")

    def facts(self) -> SuiteFacts:
        """Raises InputError where instances or examples cannot be had."""
        task = self.task
        return SuiteFacts(
            task=self.name,
            metric=METRICS[self.how],
            other_metrics=tuple(METRICS[how] for how in self._ways if how != self.how),
            version=f"OLMES {VERSION}",
            dataset=self.source.rows.told,
            split=task.split,
            n_shot=SHOTS,
            system_prompt="",
            scorer=f"most likely choice, normalised by {self.how}",
            settings={
                "formulation": self.formulation,
                "shots": self.source.shots.digest,
            },
            notes=tuple(self._notes()),
        )

    def _notes(self) -> Iterator[str]:
        yield (
            "this is one formulation of the task; the standard's score of a model is the better of its "
            f"accuracies on olmes/{self.task.name}:mcf and olmes/{self.task.name}:cf"
        )
        if self.task.name == "mmlu":
            yield "the standard averages MMLU over its subjects; here each question weighs the same"
        yield from self.source.shots.notes
        if self.source.sampling:
            yield self.source.sampling

    def instances(self) -> Iterator[Instance]:
        """In the order of the sample. Raises InputError where the data are not there."""
        for key, item in self.source.judged.keyed:
            yield Instance(
                key=key,
                content_hash=item.content_hash,
                target=item.shown(item.gold),
                tags={"subject": item.subject} if item.subject else {},
                cluster=item.cluster,
                input_hash=self._input_hash(item),
                data=item,
            )

    def _input_hash(self, item: Item) -> str | None:
        """Of the question, without description and examples."""
        return input_hash(prompts(self.task, self.formulation, item))

    def shown(self) -> Iterable[str]:
        """Input hashes of the examples. Raises InputError where they cannot be had."""
        shots = (item for items in self.source.shots.by_subject.values() for item in items)
        return {found for item in shots if (found := self._input_hash(item)) is not None}

    def requests(self, instance: Instance) -> Sequence[Request]:
        """One; WinoGrande under `cf` one for each choice; with `pmi` one more, without the question."""
        item: Item = instance.data
        head = self._head(item)
        choices = continuations(self.task, self.formulation, item)
        asked = [
            Request(head + prompt, choices) for prompt in prompts(self.task, self.formulation, item)
        ]
        return [*asked, Request(BARE, choices)] if self.how == "pmi" else asked

    def reference(self, instance: Instance) -> str | None:
        """The right choice as it follows the prompt; None where each choice has a prompt of its own."""
        item: Item = instance.data
        asked = prompts(self.task, self.formulation, item)
        return continuations(self.task, self.formulation, item)[item.gold] if len(asked) == 1 else None

    def _head(self, item: Item) -> str:
        """What stands before the question."""
        if item.subject not in self._heads:
            shots = (shot(self.task, self.formulation, one) for one in self.source.shots.of(item))
            text = "".join(f"{one}\n\n" for one in shots)
            self._heads[item.subject] = description(self.task, item.subject) + text
        return self._heads[item.subject]

    @cached_property
    def _heads(self) -> dict[str | None, str]:
        return {}

    def grade(self, instance: Instance, outputs: Sequence[Output]) -> Sequence[Grade]:
        """Right if the choice with the highest score is the right one; of equal ones the first."""
        item: Item = instance.data
        picks: dict[Normalisation, int] = {}
        reason = ""
        for how in self._ways:
            try:
                picks[how] = best(self._scores(item, outputs, how))
            except ValueError as error:
                reason = str(error) if how == self.how else reason
        if self.how not in picks:
            return [Grade(Outcome.UNSCORED, why=reason)]
        pick = picks[self.how]
        return [
            Grade(
                outcome=Outcome.RIGHT if pick == item.gold else Outcome.WRONG,
                score=float(pick == item.gold),
                answer=item.shown(pick),
                scores={
                    METRICS[how]: float(p == item.gold) for how, p in picks.items() if how != self.how
                },
            )
        ]

    def _scores(self, item: Item, outputs: Sequence[Output], how: Normalisation) -> list[float]:
        choices = continuations(self.task, self.formulation, item)
        bare = outputs[-1].choice_logprobs if self.how == "pmi" else None
        asked = outputs[:-1] if self.how == "pmi" else outputs
        if len(choices) < len(item.choices):  # each request scored the one continuation after its choice
            choices *= len(item.choices)
        logprobs = [number for output in asked for number in output.choice_logprobs or ()]
        counts = [count for output in asked for count in output.choice_tokens or ()]
        return scores(logprobs, choices, how, tokens=counts or None, bare=bare)


def _keys(items: Sequence[Item]) -> Iterator[str]:
    """The data set's own names where they are unique in the split, else the place in it."""
    seen = Counter(item.id for item in items)
    places: Counter[str] = Counter()
    for place, item in enumerate(items):
        if item.subject:
            yield f"{item.subject}/{places[item.subject]}"
            places[item.subject] += 1
        elif item.id is not None and seen[item.id] == 1:
            yield item.id
        else:
            yield f"#{place}" if item.id is None else f"{item.id}#{place}"
