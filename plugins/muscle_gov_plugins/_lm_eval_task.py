"""One task of lm-evaluation-harness as a suite: asked through our loaders, graded by the harness itself.

A grade is read out of the very sample that the harness would have logged, by the functions that read its
logs (`_lm_eval_rows`). Filters are applied to one document at a time: those of the harness and of its
tasks look at nothing else.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from muscle_gov import Grade, InputError, Instance, Outcome, Output, Request, SuiteFacts
from muscle_gov.logs import content_hash
from muscle_gov.questions import input_hash
from muscle_gov_plugins._lm_eval_requests import Asked, asked_of, responses, tells_greedy
from muscle_gov_plugins._lm_eval_rows import (
    HARNESS,
    NO_FILTER,
    Reading,
    choices_of,
    delimiter_of,
    metrics_of,
    part_of,
    row_of,
    shown_target,
    tags_of,
    task_facts,
    without_addresses,
)
from muscle_gov_plugins._lm_eval_tasks import (
    Setting,
    as_logged,
    build,
    doc_hash,
    files_digest,
    harness,
    quiet,
    results_of,
)


@dataclass(frozen=True)
class LmEvalTask:
    """One task of the harness, ready to be run."""

    name: str
    task: Any
    """The harness's own."""
    setting: Setting
    metric: str | None = None
    filter: str | None = None

    def facts(self) -> SuiteFacts:
        results, reading = self._results, self._reading
        told = task_facts(results, self.name, reading.metric)
        setting = self.setting
        notes = []
        if setting.limit is not None:
            notes.append(f"only the first {setting.limit} documents of the task are asked")
        if setting.samples:
            notes.append(f"only {len(setting.samples)} chosen documents of the task are asked")
        return SuiteFacts(
            task=self.name,
            metric=reading.metric or "",
            other_metrics=reading.other_metrics,
            higher_is_better=told.higher_is_better,
            parts=tuple(part_of(name) for name in self._filters),
            harness=HARNESS,
            harness_version=told.harness_version,
            version=told.task_version,
            dataset=told.dataset,
            split=told.split,
            n_shot=told.n_shot,
            system_prompt=told.system_prompt,
            scorer=told.scorer,
            decoding=told.decoding,
            settings=self._settings(),
            notes=tuple(notes),
        )

    def _settings(self) -> dict[str, Any]:
        setting = self.setting
        config = {k: v for k, v in self._results["configs"][self.name].items() if k != "metadata"}
        files = {"files": self._files} if self._files else {}
        return {
            "fewshot_seed": setting.fewshot_seed,
            "apply_chat_template": setting.apply_chat_template,
            "fewshot_as_multiturn": setting.fewshot_as_multiturn,
            "config": content_hash(without_addresses(config)),
            **files,
        }

    def instances(self) -> Iterator[Instance]:
        delimiter = self._reading.delimiter
        for asked in self._asked:
            first = asked.instances[0]
            with quiet():
                target = str(self.task.doc_to_target(first.doc))
            choices = choices_of(_arguments(asked), list(asked.places), delimiter)
            yield Instance(
                key=str(self._number(first.doc_id)),
                content_hash=doc_hash(first.doc),
                target=shown_target(target, choices),
                tags=tags_of(first.doc),
                data=asked,
                input_hash=self._input_hash(first.doc),
                prompt_hash=str(harness("utils").hash_string(first.args[0])),
            )

    def _input_hash(self, doc: Any) -> str | None:
        """Of the question alone; of all its variants, where each choice has one of its own."""
        with quiet():
            doc = copy.deepcopy(doc)  # code of the task may change it
            text = self.task.doc_to_text(doc)
            has_variants = getattr(self.task, "multiple_input", False) and isinstance(text, int)
            texts = self.task.doc_to_choice(doc) if has_variants else [text]
        return input_hash([str(one) for one in texts])

    def shown(self) -> Iterable[str]:
        """Input hashes of the documents that may stand as examples in prompts."""
        task = self.task
        if not task.get_config("num_fewshot"):
            return frozenset()
        with quiet():
            docs = list(task.fewshot_docs())
        # a document of the split that is asked is never its own example; the next one is shown then
        if type(task.sampler) is harness("api.samplers").FirstNSampler:
            docs = docs[: task.get_config("num_fewshot") + 1]
        try:
            return {found for doc in docs if (found := self._input_hash(doc)) is not None}
        except Exception as error:  # code of the task, and examples may have a shape of their own
            raise InputError(
                f"lm-eval: {self.name}: its examples cannot be compared with what is judged, since they "
                f"are no documents of the task ({error!r}); set num_fewshot = 0"
            ) from error

    def requests(self, instance: Instance) -> Sequence[Request]:
        asked: Asked = instance.data
        return asked.requests

    def reference(self, instance: Instance) -> str | None:
        """The right answer as it follows the prompt; None where each choice has a prompt of its own."""
        asked: Asked = instance.data
        with quiet():
            target = self.task.doc_to_target(copy.deepcopy(asked.instances[0].doc))
        first = asked.requests[0]
        if isinstance(target, list):
            target = target[0] if target else None
        if first.choices is None:
            return None if target is None else f"{self._reading.delimiter}{target}"
        if len(first.choices) == 1:
            return first.choices[0] if len(asked.requests) == 1 else None
        is_place = isinstance(target, int) and 0 <= target < len(first.choices)
        return first.choices[target] if is_place else None

    def grade(self, instance: Instance, outputs: Sequence[Output]) -> Sequence[Grade]:
        asked: Asked = instance.data
        samples = self._samples(asked, outputs, greedy=False)
        unknown: dict[str, set[str]] = {}
        if not tells_greedy(outputs):
            # what comes out the other way round depends on what the model did not tell
            for name, other in self._samples(asked, outputs, greedy=True).items():
                sample = samples[name]
                unknown[name] = {m for m in sample["metrics"] if sample[m] != other.get(m)}
        return [
            self._grade(name, samples[name], unknown.get(name, set()), tells_greedy(outputs))
            for name in self._filters
        ]

    def _grade(
        self, filter_name: str, sample: dict[str, Any], unknown: set[str], is_greedy_told: bool
    ) -> Grade:
        part, metric = part_of(filter_name), self._reading.metric
        if metric in unknown:
            why = f"{metric} needs to know what greedy decoding gives, which this model does not tell"
            return Grade(Outcome.UNSCORED, why=why, part=part)
        known = {name: value for name, value in sample.items() if name not in unknown}
        row = row_of(known, part, self._reading)
        answer = row.answer if is_greedy_told or len(sample["arguments"]) > 1 else None
        return Grade(row.outcome, row.score, answer, row.scores, row.why, part)

    # ------------------------------------------------------------------------------ as the harness does

    def _samples(
        self, asked: Asked, outputs: Sequence[Output], greedy: bool | None = None
    ) -> dict[str, dict[str, Any]]:
        """Filter → the sample that the harness would log."""
        found = responses(asked, outputs, greedy)
        instances = [
            replace(one, resps=resps, filtered_resps={})
            for one, resps in zip(asked.instances, found, strict=True)
        ]
        with quiet():
            self.task._instances = instances
            self.task.apply_filters()
            return {name: self._sample(instances, name) for name in self._filters}

    def _sample(self, instances: Sequence[Any], filter_name: str) -> dict[str, Any]:
        sanitize = harness("utils").sanitize_list
        doc = copy.deepcopy(instances[0].doc)  # code of the task may change it
        filtered = [one.filtered_resps[filter_name] for one in instances]
        metrics = self.task.process_results(doc, filtered)
        return {
            "doc_id": instances[0].doc_id,
            "doc": None,
            "doc_hash": "-",  # the instance has it already, and so has it the prompt's
            "prompt_hash": "-",
            "arguments": [list(one.args) for one in instances],
            "resps": sanitize([one.resps for one in instances]),
            "filtered_resps": as_logged(sanitize(filtered)),
            "metrics": list(metrics),
            **as_logged(metrics),
        }

    # -------------------------------------------------------------------------------- what is kept

    @cached_property
    def _asked(self) -> list[Asked]:
        groups = build(self.name, self.task, self.setting)
        return [asked_of(self.name, instances) for instances in groups]

    @cached_property
    def _filters(self) -> tuple[str, ...]:
        names = [one.name for one in self.task._filters]
        wanted = [name for name in names if self.filter in (None, name) or name == NO_FILTER]
        if not wanted:
            raise InputError(
                f"lm-eval: {self.name} has no filter {self.filter!r}; it has {', '.join(names)}"
            )
        return tuple(wanted)

    @cached_property
    def _reading(self) -> Reading:
        names, default = self._metrics
        if self.metric is not None and self.metric not in names:
            raise InputError(
                f"lm-eval: {self.name} has no metric {self.metric!r}; it has {', '.join(names)}"
            )
        metric = self.metric or default
        others = tuple(name for name in names if name != metric)
        better = task_facts(self._results, self.name, metric).higher_is_better
        return Reading(metric, others, better, delimiter_of(self._results, self.name))

    @cached_property
    def _results(self) -> dict[str, Any]:
        _ = self._metrics  # some metrics get their names, and their direction, as they are computed
        return results_of(self.name, self.task, self.setting)

    @cached_property
    def _files(self) -> str | None:
        return files_digest(self.task)

    @cached_property
    def _metrics(self) -> tuple[list[str], str | None]:
        """(metrics that a sample of the task lists, the one that decides by default).

        The harness knows the names only when it has scored something, so made-up answers to the first
        document are scored.
        """
        asked = self._asked[0]
        for text in ("", "0", "A"):
            made_up = [_made_up(request, text) for request in asked.requests]
            try:
                samples = self._samples(asked, made_up)
            except Exception:  # noqa: S112 -- code of the task, which may not take just any answer
                continue
            return metrics_of(samples[self._filters[0]])
        names = list(self.task.higher_is_better())
        return metrics_of({"metrics": names})

    def _number(self, place: int) -> int:
        return self.setting.samples[place] if self.setting.samples else place


def _arguments(asked: Asked) -> list[list[Any]]:
    return [list(one.args) for one in asked.instances]


def _made_up(request: Request, text: str) -> Output:
    if request.choices is None:
        return Output(text=text)
    count = len(request.choices)
    logprobs = tuple(-1.0 - place for place in range(count))
    return Output(choice_logprobs=logprobs, choice_greedy=(False,) * count)
