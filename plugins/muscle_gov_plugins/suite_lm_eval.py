"""Tasks of lm-evaluation-harness, run through our loaders and graded by the harness itself.

What we predict is to pair with what the harness logs: a suite has the harness's name of the task (with
its filter), an instance its document hash and its prompt hash, and the deciding metric is chosen as the
reader of its logs chooses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from muscle_gov import Grade, InputError, Instance, Output, Request, SuiteFacts, hookimpl
from muscle_gov_plugins._lm_eval_rows import HARNESS
from muscle_gov_plugins._lm_eval_task import LmEvalTask
from muscle_gov_plugins._lm_eval_tasks import Choice, Setting, load, prepare


@hookimpl
def register_suites() -> dict[str, type]:
    return {"lm-eval": LmEvalSuite}


@dataclass(frozen=True)
class LmEvalSuite:
    """Tasks of an installed lm-evaluation-harness, with their own prompts, filters and metrics.

    Needs `pip install 'muscle-gov[lm-eval]'`. Each task is a suite of its own, called as the harness
    calls it, whatever the table here is called.
    """

    tasks: tuple[str, ...]
    """Names of tasks, groups or tags, patterns such as `mmlu_*`, or paths of YAML files."""
    include_path: tuple[Path, ...] = ()
    """Directories in which further tasks lie. Their YAML files may name Python code, which is run."""
    include_defaults: bool = True
    """Whether the harness's own tasks are known; without them, some seconds are saved."""
    num_fewshot: int | None = None
    """Number of examples in the prompt; default: the task's own. A task that says 0 keeps it."""
    fewshot_seed: int = 1234
    """Of the choice of examples."""
    apply_chat_template: bool = False
    """Ask by chat messages, which the loader puts into the model's template."""
    fewshot_as_multiturn: bool = True
    """In a chat, whether each example is a turn of its own."""
    system_instruction: str | None = None
    """Stands before the task's own description."""
    limit: int | None = None
    """Only the first so many documents of each task."""
    samples: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Task → numbers of the documents to take, from 0; the other tasks are taken whole."""
    gen_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Settings of generation that replace the tasks' own: `temperature`, `max_gen_toks`, `until` ..."""
    metric: str | None = None
    """The metric that decides right or wrong; default: the first one that scores a single answer."""
    filter: str | None = None
    """Where a task has filters, take only this one; default: each is a suite of its own."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Handed to the tasks; some need it to make their data."""
    confirm_run_unsafe_code: bool = False
    """Whether tasks may run code that a model wrote, on this machine and unprotected."""

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("tasks: must name at least one task, group or file")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit: {self.limit} must be at least 1")
        if self.limit is not None and self.samples:
            raise ValueError("limit, samples: give one of them")
        if self.num_fewshot is not None and self.num_fewshot < 0:
            raise ValueError(f"num_fewshot: {self.num_fewshot} must not be negative")

    def members(self) -> Mapping[str, LmEvalTask]:
        """Task name → suite. Raises InputError for tasks that are not there or cannot be run."""
        return self._members

    @cached_property
    def _members(self) -> dict[str, LmEvalTask]:
        paths = self.include_path
        loaded = load(Choice(self.tasks, paths, self.include_defaults, self.metadata))
        if strange := sorted(set(self.samples) - set(loaded)):
            raise InputError(
                f"lm-eval: samples: {strange[0]!r} is none of the tasks {', '.join(loaded)}"
            )
        found = {}
        for name, task in loaded.items():
            setting = self._setting(name)
            prepare(name, task, setting, self.confirm_run_unsafe_code)
            found[name] = LmEvalTask(name, task, setting, self.metric, self.filter)
        return found

    def _setting(self, name: str) -> Setting:
        return Setting(
            num_fewshot=self.num_fewshot,
            fewshot_seed=self.fewshot_seed,
            apply_chat_template=self.apply_chat_template,
            fewshot_as_multiturn=self.fewshot_as_multiturn,
            system_instruction=self.system_instruction,
            limit=self.limit,
            samples=tuple(sorted(set(self.samples.get(name, ())))),
            gen_kwargs=self.gen_kwargs,
        )

    def facts(self) -> SuiteFacts:
        """Those of the only task; of several, their names alone."""
        members = self.members()
        if len(members) == 1:
            return self._only.facts()
        return SuiteFacts(task=", ".join(self.tasks), metric=self.metric or "", harness=HARNESS)

    def instances(self) -> Iterator[Instance]:
        return self._only.instances()

    def requests(self, instance: Instance) -> Sequence[Request]:
        return self._only.requests(instance)

    def reference(self, instance: Instance) -> str | None:
        return self._only.reference(instance)

    def shown(self) -> Iterable[str]:
        return self._only.shown()

    def grade(self, instance: Instance, outputs: Sequence[Output]) -> Sequence[Grade]:
        return self._only.grade(instance, outputs)

    @property
    def _only(self) -> LmEvalTask:
        members = self.members()
        if len(members) != 1:
            raise InputError(f"lm-eval: {', '.join(members)} are several suites; run members() of it")
        return next(iter(members.values()))
