"""What a run of HELM says of itself, and which of its metrics decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from muscle_gov import RunHeader
from muscle_gov.logs import as_text, content_hash, read_json
from muscle_gov_plugins._helm_files import DISPLAY, STATE, STATS, mapping

MAIN_METRICS = (
    # made for one kind of task: where one of these stands, exact match beside it means little
    "chain_of_thought_correctness",
    "ifeval_strict_accuracy",
    "omni_math_accuracy",
    "wildbench_score_rescaled",
    "math_equiv_chain_of_thought",
    "math_equiv",
    "final_number_exact_match",
    "exact_match_indicator",
    "execution_accuracy",
    "program_accuracy",
    "bbq_accuracy",
    "safety_score",
    "test_avg",
    "pass",
    # general ones
    "exact_match",
    "quasi_exact_match",
    "prefix_exact_match",
    "quasi_prefix_exact_match",
    "f1_score",
    "squad_f1_score",
    "rouge_2",
    "rouge_l",
    "rougeL",
    "bleu_4",
    "bleu",
    "chr_f_plus_plus",
    "accuracy",
    "wer_score",
    "bits_per_byte",
)
"""Names that HELM's schemas give as `main_name`, in the order in which the default is looked for."""

LOWER_IS_BETTER = frozenset(
    ("wer_score", "cer_score", "mer_score", "bits_per_byte", "perplexity", "toxic_frac", "nsfw_frac")
)


def main_metric(names: Sequence[str]) -> str | None:
    """The metric that decides where none is asked for: the first known one, else the first that may."""
    known = [name for name in MAIN_METRICS if name in names]
    return next(iter(known or judging(names)), None)


def judging(names: Sequence[str]) -> list[str]:
    """Metrics that may judge an answer: no counts, times, log-probabilities or `@5` variants."""
    costs = ("num_", "finish_reason", "training_", "inference_", "batch_size", "prompt_truncated")
    sizes = ("logprob", "max_prob", "predicted_index")
    return [n for n in names if not n.startswith(costs) and n not in sizes and "@" not in n]


def run_header(
    folder: Path, spec: Mapping[str, Any], model: str, metric: str | None, others: Sequence[str]
) -> RunHeader:
    """The header of a run whose answers `metric` judges, with `others` beside it."""
    adapter, scenario = mapping(spec.get("adapter_spec")), mapping(spec.get("scenario_spec"))
    scenario_name = str(scenario.get("class_name") or "").rpartition(".")[2]
    arguments = as_text(scenario["args"]) if scenario.get("args") else ""
    decoding = ("temperature", "max_tokens", "stop_sequences", "num_outputs", "random")
    parsing = ("method", "output_mapping_pattern", "multi_label")
    judges = [spec.get("metric_specs"), spec.get("annotators"), [adapter.get(k) for k in parsing]]
    deployment = str(adapter.get("model_deployment") or "")
    has_stats = any((folder / name).is_file() for name in (STATS, DISPLAY))
    return RunHeader(
        model=model,
        task=_task(str(spec.get("name") or folder.name)),
        harness="helm",
        metric=metric,
        other_metrics=tuple(others),
        higher_is_better=metric not in LOWER_IS_BETTER,
        dataset=f"{scenario_name} {arguments}".strip() or None,
        split=", ".join(adapter.get("eval_splits") or ()) or None,
        n_shot=adapter.get("max_train_instances"),
        scorer=content_hash(judges),
        decoding={name: adapter[name] for name in decoding if adapter.get(name) is not None},
        engine=deployment.partition("/")[0] or None,
        model_details={"model_deployment": deployment} if deployment else {},
        expected_rows=_expected(folder, spec),
        complete=has_stats,
        notes=tuple(_notes(folder, has_stats)),
    )


def _notes(folder: Path, has_stats: bool) -> Iterator[str]:
    if not has_stats:
        yield f"{folder.name} has no {STATS}: its metrics were never computed"
    if not (folder / STATE).is_file():
        yield (
            f"{folder.name} has no {STATE}: a request that failed cannot be told from an empty, "
            "wrong answer"
        )


def _task(name: str) -> str:
    """The run's name without its model: `mmlu:subject=law,model=a_b` is the suite of every model."""
    scenario, colon, arguments = name.partition(":")
    kept = [one for one in arguments.split(",") if not one.startswith(("model=", "model_deployment="))]
    return scenario + colon + ",".join(kept) if any(kept) else scenario


def _expected(folder: Path, spec: Mapping[str, Any]) -> int | None:
    """The instances that HELM itself counted; with perturbations its count has another meaning."""
    augmenter = mapping(spec.get("data_augmenter_spec"))
    if augmenter.get("perturbation_specs") or not (folder / "stats.json").is_file():
        return None
    stats = [mapping(stat) for stat in read_json(folder / "stats.json")]
    counts = [s.get("mean") for s in stats if mapping(s.get("name")).get("name") == "num_instances"]
    total = sum(int(count) for count in counts if isinstance(count, int | float))
    return total or None
