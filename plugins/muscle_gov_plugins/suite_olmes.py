"""The ten tasks of the OLMES standard (arXiv:2406.08446), each under one frozen formulation.

The standard scores a model by the better of two formulations, chosen per model and task. Flips cannot
be counted that way: if the old model is scored by letters and the new one by continuations, what flips
is the format. So each formulation is a suite of its own, `olmes/arc_easy:mcf` and `olmes/arc_easy:cf`,
and the standard's number is read off the two accuracies afterwards (`better_of_two`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from muscle_gov import Grade, InputError, Instance, Output, Request, SuiteFacts, hookimpl
from muscle_gov_plugins._olmes_data import Rows
from muscle_gov_plugins._olmes_score import StandardScore, better_of_two, macro_average
from muscle_gov_plugins._olmes_suite import OlmesTask, Source
from muscle_gov_plugins._olmes_tasks import TASKS, Formulation, TaskName

__all__ = ["Olmes", "StandardScore", "better_of_two", "macro_average", "register_suites"]


@hookimpl
def register_suites() -> dict[str, type]:
    return {"olmes": Olmes}


@dataclass(frozen=True)
class Olmes:
    """OLMES: ten multiple-choice tasks, five curated examples each, answers scored by log-likelihood."""

    tasks: tuple[TaskName, ...] = get_args(TaskName)
    """Which of the ten; default: all."""
    formulation: Literal["mcf", "cf", "both"] = "mcf"
    """`mcf`: options are listed and the model chooses a letter; `cf`: each answer is scored as a
    continuation (small base models need it); `both`: one suite of each."""
    data: Path | None = None
    """Directory that holds `<task>/<split>.jsonl` or `.parquet`; default: the Hugging Face hub."""
    revision: str | dict[TaskName, str] | None = None
    """Revision of the data set on the hub; for several tasks a table, task → revision."""
    shots: Literal["standard", "first-balanced"] = "standard"
    """The five examples: the standard's own, looked up in the train split; or the first five of the
    train split with balanced labels, which is not the standard's choice."""
    shots_file: Path | None = None
    """The five examples from a JSON Lines or parquet file in the task's schema; for several tasks a
    directory that holds `<task>.jsonl`."""
    sample: Literal["standard", "all"] | int = "standard"
    """`standard`: 1,000 where there are more than 1,500, as the standard draws them; `all`; or how many
    to draw so. Of MMLU: of each subject."""
    limit: int | None = None
    """Only the first so many of the sample (of MMLU: of each subject), to try things out."""

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))

    def _problems(self) -> Iterator[str]:
        if not self.tasks:
            yield f"tasks: name at least one of {', '.join(TASKS)}"
        if len(set(self.tasks)) < len(self.tasks):
            yield "tasks: a task is named twice"
        if isinstance(self.sample, int) and self.sample < 1:
            yield "sample: must be standard, all or at least 1"
        if self.limit is not None and self.limit < 1:
            yield "limit: must be at least 1"
        if self.data is not None and self.revision is not None:
            yield "revision: is of the hub, but data names a directory"
        if isinstance(self.revision, str) and len(self.tasks) > 1:
            yield "revision: for several tasks give a table, task = revision"
        if self.shots_file is not None and self.shots != "standard":
            yield "shots: give shots or shots_file, not both"
        curated = [task for task in self.tasks if task != "mmlu"]
        if self.shots_file is not None and len(curated) > 1 and self.shots_file.is_file():
            yield "shots_file: for several tasks give a directory that holds <task>.jsonl of each"
        if self.tasks == ("mmlu",) and (self.shots_file is not None or self.shots != "standard"):
            yield "shots: MMLU takes its examples from the dev split of each subject"

    def members(self) -> Mapping[str, OlmesTask]:
        """One suite for each task and formulation, by name."""
        formulations: tuple[Formulation, ...] = ("mcf", "cf")
        if self.formulation != "both":
            formulations = (self.formulation,)
        found: dict[str, OlmesTask] = {}
        for name in self.tasks:
            source = self._source(name)
            for formulation in formulations:
                member = OlmesTask(source, formulation)
                found[member.name] = member
        return found

    def _source(self, name: str) -> Source:
        revision = self.revision
        if isinstance(revision, Mapping):
            revision = {str(task): given for task, given in revision.items()}.get(name)
        shots_file = self.shots_file
        if shots_file is not None and shots_file.is_dir():
            shots_file = shots_file / f"{name}.jsonl"
        if name == "mmlu":
            shots_file = None
        rows = Rows(TASKS[name], self.data, revision)
        return Source(rows, self.shots, shots_file, self.sample, self.limit)

    # one task under one formulation can be used as the suite it is

    def facts(self) -> SuiteFacts:
        """Of the only member; where there are several, only what they are called together."""
        members = list(self.members().values())
        if len(members) == 1:
            return members[0].facts()
        return SuiteFacts(task="olmes", metric="acc", notes=(f"stands for {len(members)} suites",))

    def instances(self) -> Iterator[Instance]:
        """Those of the only member."""
        return self._only().instances()

    def requests(self, instance: Instance) -> Sequence[Request]:
        """Those of the only member."""
        return self._only().requests(instance)

    def reference(self, instance: Instance) -> str | None:
        """That of the only member."""
        return self._only().reference(instance)

    def shown(self) -> Iterable[str]:
        """Those of the only member."""
        return self._only().shown()

    def grade(self, instance: Instance, outputs: Sequence[Output]) -> Sequence[Grade]:
        """That of the only member."""
        return self._only().grade(instance, outputs)

    def _only(self) -> OlmesTask:
        members = list(self.members().values())
        if len(members) != 1:
            raise InputError(f"olmes: this stands for {len(members)} suites: ask for its members()")
        return members[0]
