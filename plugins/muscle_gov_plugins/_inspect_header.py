"""What a log of Inspect says of its run: model, task, settings, and how far it came.

Settings of the connection are left out, since they change no answer and may hold credentials. A
task's arguments are part of its version: `-T subset=hard` makes another suite of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from muscle_gov import RunHeader
from muscle_gov.logs import as_text, content_hash
from muscle_gov_plugins._inspect_logs import Log, mapping
from muscle_gov_plugins._inspect_scoring import Scoring, definition

_LIMITS = ("message_limit", "token_limit", "turn_limit", "time_limit", "working_limit")
_SHOTS = ("fewshot", "num_fewshot", "n_shot", "num_shots")
# settings of the connection: they change no answer, and headers may hold credentials
_CONNECTION = (
    "max_retries",
    "timeout",
    "attempt_timeout",
    "max_connections",
    "adaptive_connections",
    "cache",
    "cache_prompt",
    "batch",
    "extra_headers",
)
_SECRET = re.compile(r"key|secret|password|token$", re.IGNORECASE)
LONGEST_TAG = 200
"""Characters of a value that is kept as it is."""


def run_header(log: Log, scoring: Scoring, notes: Sequence[str]) -> RunHeader:
    """The run's header, with these notes and its own."""
    data, spec = log.data, mapping(log.data.get("eval"))
    arguments, dataset = mapping(spec.get("task_args")), mapping(spec.get("dataset"))
    model, model_args = str(spec.get("model") or "unknown"), mapping(spec.get("model_args"))
    decoding = _decoding(spec, mapping(data.get("plan")))
    shots = [arguments[name] for name in _SHOTS if isinstance(arguments.get(name), int)]
    scorer = scoring.scorer
    return RunHeader(
        model=model,
        task=str(spec.get("task") or ""),
        harness="inspect_ai",
        harness_version=as_text(mapping(spec.get("packages")).get("inspect_ai")),
        metric=f"{scorer}/{scoring.key}" if scorer and scoring.key else scorer,
        other_metrics=scoring.others,
        task_version=_task_version(spec, arguments),
        dataset=as_text(dataset.get("name") or dataset.get("location")),
        split=as_text(arguments.get("split")),
        n_shot=int(shots[0]) if shots else None,
        system_prompt=as_text(decoding.pop("system_message", None)),
        scorer=_scorer_digest(data, scorer),
        decoding=decoding,
        dtype=as_text(model_args.get("dtype") or model_args.get("torch_dtype")),
        engine=model.partition("/")[0] if "/" in model else None,
        model_details=_model_details(spec, model_args),
        expected_rows=_expected(data, dataset, mapping(spec.get("config"))),
        complete=log.is_finished and data.get("status") == "success",
        started=as_text(spec.get("created")),
        notes=(*notes, *_notes(log)),
    )


def _notes(log: Log) -> Iterator[str]:
    data = log.data
    status = data.get("status")
    if not log.is_finished:
        yield "the log has no header.json: its run was not over, or crashed"
    elif status != "success":
        message = mapping(data.get("error")).get("message")
        yield f"the run ended with status {status}" + (f": {message}" if message else "")
    if data.get("invalidated"):
        yield "samples of this log were invalidated by hand; they count as unscored"
    if mapping(mapping(data.get("eval")).get("config")).get("log_samples") is False:
        yield "the run was told not to log its samples (--no-log-samples)"
    updates = data.get("config_updates") or ()
    changes = [change for update in updates for change in update.get("changes") or ()]
    retuned = sorted({str(c.get("name")) for c in changes if c.get("config") == "generate"})
    if retuned:
        yield f"generation settings were changed while it ran: {', '.join(retuned)}"


def _expected(
    data: Mapping[str, Any], dataset: Mapping[str, Any], config: Mapping[str, Any]
) -> int | None:
    """Instances, so epochs divided out; `dataset.samples` also counts what `limit` left out."""
    total = mapping(data.get("results")).get("total_samples")
    if isinstance(total, int):
        return total // (config.get("epochs") or 1)
    ids = dataset.get("sample_ids")
    return len(ids) if isinstance(ids, list) else None


def _task_version(spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """The version with the task's arguments: `-T subset=hard` makes another suite of it."""
    given = {name: value for name, value in arguments.items() if value is not None}
    parts = (as_text(spec.get("task_version")), as_text(given) if given else None)
    return " ".join(part for part in parts if part) or None


def _decoding(spec: Mapping[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """The model's settings, the task's over them, the limits of a sample, and the solvers."""
    config = mapping(spec.get("config"))
    given = {**mapping(spec.get("model_generate_config")), **_set(plan.get("config"))}
    solvers = [str(mapping(step).get("solver")) for step in plan.get("steps") or ()]
    given |= {name: config.get(name) for name in _LIMITS}
    given["solver"] = ", ".join(solvers) or None
    return {name: value for name, value in _set(given).items() if name not in _CONNECTION}


def _set(value: Any) -> dict[str, Any]:
    return {name: one for name, one in mapping(value).items() if one is not None}


def _model_details(spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as they are if short, else their digest; what looks like a credential stays out."""
    given = {f"model_args.{k}": v for k, v in arguments.items() if not _SECRET.search(k)}
    for role, model in mapping(spec.get("model_roles")).items():
        given[f"model_roles.{role}"] = mapping(model).get("model", model)
    given["model_base_url"] = spec.get("model_base_url")
    texts = {name: as_text(value) or "" for name, value in _set(given).items()}
    return {k: text if len(text) <= LONGEST_TAG else content_hash(text) for k, text in texts.items()}


def _scorer_digest(data: Mapping[str, Any], scorer: str | None) -> str | None:
    stated = definition(data, scorer)
    if stated:
        return content_hash([scorer, stated.get("options"), stated.get("metadata")])
    for one in mapping(data.get("results")).get("scores") or ():
        if scorer in (mapping(one).get("name"), mapping(one).get("scorer")):
            return content_hash([scorer, one.get("params"), one.get("metadata")])
    return None
