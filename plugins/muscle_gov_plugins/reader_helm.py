"""Reads the runs of HELM (`crfm-helm`): a run directory, or a suite directory with many runs.

HELM's own key is (instance id, perturbation, train trial). Here a perturbation is a part of its own
(`task/typos`), since a perturbed question is another question; trials are repeats where a run has
more than one. Identity is the content: the input and the references with their tags.

`result.success` says that the request went through, and nothing of the answer. HELM scores an
allowed failure as an empty answer, hence wrong; here it is an error. Scores come from
per_instance_stats.json, one entry per instance and *metric class*, which are joined. For
`multiple_choice_separate_*` one request was made per reference; calibration requests are dropped
and the answer is the reference that `predicted_index` names.

Without scenario_state.json the smaller display_*.json files are read, which know no failures.
Format: src/helm/benchmark/{runner,run_spec}.py, adaptation/, presentation/run_display.py of HELM.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muscle_gov import (
    BadLine,
    InputError,
    Outcome,
    RecordedRow,
    RecordedRun,
    RunHeader,
    hookimpl,
    outcome_of,
)
from muscle_gov.logs import as_text, content_hash, read_json
from muscle_gov_plugins._helm_files import (
    DISPLAY,
    SPEC,
    STATE,
    STATS,
    Stats,
    Trial,
    is_run,
    mapping,
    read_displayed,
    read_states,
    read_stats,
)
from muscle_gov_plugins._helm_header import judging, main_metric, run_header

_PLAIN_PERTURBATION = frozenset(("name", "robustness", "fairness", "computed_on", "seed"))
_FILES = (SPEC, STATE, STATS, DISPLAY)


@hookimpl
def register_readers() -> dict[str, type]:
    return {"helm": HelmReader}


@dataclass(frozen=True)
class HelmReader:
    """HELM: a run directory (with run_spec.json) or a suite directory of runs."""

    metric: str | None = None
    """The metric that decides right or wrong; default: the first known main metric there is."""
    model: str | None = None
    """Read only the runs of this model, where a directory holds several."""

    def detect(self, path: Path) -> bool:
        try:
            if not path.is_dir():
                return path.name in _FILES and is_run(path.parent)
            # a run, a suite of runs, the folder of suites, and HELM's output folder above that
            patterns = ("", "*/", "*/*/", "*/*/*/")
            found = (next(path.glob(pattern + SPEC), None) for pattern in patterns)
            return any(spec is not None and is_run(spec.parent) for spec in found)
        except OSError:
            return False

    def read(self, path: Path) -> Iterator[RecordedRun]:
        root = path if path.is_dir() else path.parent
        specs = sorted(root.rglob(SPEC)) if path.is_dir() else [root / SPEC]
        folders = [spec.parent for spec in specs if is_run(spec.parent)]
        if not folders:
            raise InputError(f"{path}: holds no run_spec.json of HELM")
        found = 0
        for folder in folders:
            spec = mapping(read_json(folder / SPEC))
            adapter = mapping(spec.get("adapter_spec"))
            model = str(adapter.get("model") or adapter.get("model_deployment") or "unknown")
            if self.model is None or model == self.model:
                found += 1
                yield self._run(folder, spec, model)
        if not found:
            raise InputError(f"{path}: holds no run of the model {self.model!r}")

    def _run(self, folder: Path, spec: Mapping[str, Any], model: str) -> RecordedRun:
        stats, stats_file = read_stats(folder)
        names = list(dict.fromkeys(name for found in stats.values() for name in found))
        if self.metric is not None and stats and self.metric not in names:
            there = ", ".join(sorted(names))
            raise InputError(f"{folder}: has no metric {self.metric!r}; it has {there}")
        metric = self.metric or main_metric(names)
        texts_file = next(
            (folder / name for name in (STATE, DISPLAY) if (folder / name).is_file()), None
        )
        if texts_file is None:
            raise InputError(f"{folder}: has neither {STATE} nor {DISPLAY}, so no answers")
        others = [name for name in judging(names) if name != metric]
        header = run_header(folder, spec, model, metric, others)
        rows = _rows(texts_file, header, stats, spec)
        files = [folder / SPEC, texts_file, *([stats_file] if stats_file else [])]
        return RecordedRun(header, rows, tuple(dict.fromkeys(files)))


# --------------------------------------------------------------------------------------------- rows


def _rows(
    file: Path, header: RunHeader, stats: Stats, spec: Mapping[str, Any]
) -> Iterator[RecordedRow | BadLine]:
    trials = read_states(file) if file.name == STATE else read_displayed(file)
    adapter = mapping(spec.get("adapter_spec"))
    has_repeats = int(adapter.get("num_train_trials") or 1) > 1 or any(key[2] for key in trials)
    pattern = as_text(adapter.get("output_mapping_pattern"))
    for key, trial in trials.items():
        if isinstance(trial, BadLine):
            yield trial
            continue
        row: RecordedRow | BadLine
        try:
            row = _row(trial, header, stats.pop(key, {}), pattern)
            row = row._replace(repeat=key[2] if has_repeats else None)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, re.error) as error:
            row = BadLine(f"{file.name}!{key[0]}", f"not an instance as HELM logs it: {error!r}")
        yield row
    for instance, _, _ in stats:
        yield BadLine(f"{STATS}!{instance}", f"has scores, but {file.name} has no such instance")


def _row(
    trial: Trial, header: RunHeader, stats: Mapping[str, float], pattern: str | None
) -> RecordedRow:
    instance, states = trial
    perturbation = mapping(instance.get("perturbation"))
    seed = perturbation.get("seed")
    outcome, score, why = _judged(states, header, stats)
    chosen = _chosen(states, stats)
    answer, output = _answer(chosen, trial, pattern)
    asked = mapping(instance.get("input"))
    correct = [_text(one) for one in _references(instance) if "correct" in one.get("tags", ())]
    requests = [_prompt(mapping(state.get("request"))) for state in states]
    has_prompt = any(request is not None for request in requests)
    return RecordedRow(
        key=f"{instance['id']}" if seed is None else f"{instance['id']} seed {seed}",
        outcome=outcome,
        score=score,
        answer=None if outcome is Outcome.ERROR else answer,
        content_hash=content_hash(_plain(asked), _tagged(instance)) if asked else None,
        prompt_hash=content_hash(requests) if has_prompt else None,
        part=_part(perturbation),
        prompt=as_text(_prompt(mapping(chosen.get("request")))) or as_text(asked.get("text")),
        target=correct[0] if len(correct) == 1 else as_text(correct or None),
        output=output,
        scores={name: stats[name] for name in header.other_metrics if name in stats},
        tags={k: str(instance[k]) for k in ("split", "sub_split") if instance.get(k)},
        why=why,
    )


def _judged(
    states: list[Mapping[str, Any]], header: RunHeader, stats: Mapping[str, float]
) -> tuple[Outcome, float | None, str | None]:
    """(state, score, why there is none)."""
    for state in states:
        if "predicted_text" in state:  # from a display file, which has no results
            continue
        result = state.get("result")
        if result is None:
            return Outcome.ERROR, None, "the request was never made"
        if result["success"] is not True:
            return Outcome.ERROR, None, as_text(result.get("error")) or "the request failed"
    score = stats.get(header.metric) if header.metric else None
    if score is None:
        return Outcome.UNSCORED, None, f"{header.metric or 'no metric'} was not computed for it"
    return outcome_of(score, header.higher_is_better), score, None


def _chosen(states: list[Mapping[str, Any]], stats: Mapping[str, float]) -> Mapping[str, Any]:
    """The request whose answer counts: of one per reference that of the predicted reference."""
    index = stats.get("predicted_index")
    return next(
        (s for s in states if index is not None and s.get("reference_index") == index), states[0]
    )


def _answer(
    chosen: Mapping[str, Any], trial: Trial, pattern: str | None
) -> tuple[str | None, str | None]:
    """(what was scored, the model's raw text or the log-probabilities of what it was asked)."""
    references = _references(trial.instance)
    if chosen.get("reference_index") is not None and references:
        states = [state for state in trial.states if "result" in state]
        indices = [state["reference_index"] for state in states]
        logprobs = [float(_completion(state).get("logprob") or 0) for state in states]
        texts = [_text(references[index]) for index in indices]
        shown = [f"{logprob:.4f}  {text}" for logprob, text in zip(logprobs, texts, strict=True)]
        return _text(references[chosen["reference_index"]]), "\n".join(shown) or None
    if "predicted_text" in chosen:
        output = as_text(chosen["predicted_text"]) or ""
        return as_text(chosen.get("mapped_output")) or output.strip(), output
    output = as_text(_completion(chosen).get("text")) or ""
    letter = output.strip()
    if pattern is not None:
        match = re.search(pattern, letter)
        letter = match[(match.lastindex and 1) or 0] if match else ""
    return as_text(mapping(chosen.get("output_mapping")).get(letter)) or output.strip(), output


def _completion(state: Mapping[str, Any]) -> Mapping[str, Any]:
    completions = mapping(state.get("result")).get("completions") or [{}]
    return mapping(completions[0])


def _prompt(request: Mapping[str, Any]) -> Any:
    return request.get("messages") or request.get("prompt") or request.get("multimodal_prompt")


def _references(instance: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [mapping(reference) for reference in instance.get("references") or ()]


def _text(reference: Mapping[str, Any]) -> str:
    return str(mapping(reference.get("output")).get("text") or "")


def _tagged(instance: Mapping[str, Any]) -> list[Any]:
    return [[_plain(mapping(r.get("output"))), r.get("tags")] for r in _references(instance)]


def _plain(content: Mapping[str, Any]) -> Any:
    """An input or output by what it says; the multimedia of one may lie elsewhere on another disk."""
    return [content.get("text"), content.get("messages"), content.get("multimedia_content")]


def _part(perturbation: Mapping[str, Any]) -> str:
    """The perturbation's name, with what it was given (`misspelling(prob=0.5)`)."""
    if not perturbation:
        return ""
    given = {k: v for k, v in sorted(perturbation.items()) if k not in _PLAIN_PERTURBATION}
    inside = ",".join(f"{name}={as_text(value)}" for name, value in given.items())
    return f"{perturbation.get('name')}({inside})" if inside else str(perturbation.get("name"))
