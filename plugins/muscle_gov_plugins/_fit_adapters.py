"""The student: the candidate with an adapter that is trained, and that changes nothing at first.

The new adapter begins as a copy of the candidate's own, so that training starts from what the candidate
says and only its regressions have to be mended. The candidate's own adapter stays beside it, frozen: the
student can be asked what the candidate says by switching adapters, without a second model in memory.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from muscle_gov import InputError, ModelError
from muscle_gov_plugins._fit_check import base_of, rank_below
from muscle_gov_plugins._fit_lora_files import (
    Low,
    adapter_targets,
    effective_delta,
    line,
    plain_config,
    read_lora,
    write_adapter,
)

__all__ = [
    "Lora",
    "adapter_targets",
    "as_teacher",
    "base_of",
    "effective_delta",
    "line",
    "save",
    "student_of",
]

_TRAINED, _FROZEN = "default", "task"


@dataclass(frozen=True)
class Lora:
    """How a student's adapter is made."""

    rank: int | None = None
    """Default: that of the candidate's adapter, else 8. Never below the candidate's."""
    alpha: float | None = None
    """The adapter counts `alpha / rank` times. Default: as much as the candidate's, else twice."""
    targets: str | Sequence[str] = "all-linear"
    """Ends of the names of linear modules, a regular expression of whole names, or `all-linear` for
    all but the output head. Those of the candidate's adapter are added to them."""
    dropout: float = 0.0
    """Share of the adapter's inputs left out at random in training."""
    seed: int = 0


# ------------------------------------------------------------------------------------------ students


def student_of(model: Any, adapter: Path | None, lora: Lora) -> Any:
    """A peft model over `model`, the base as loaded, with the trainable adapter `default`.

    It says exactly what the candidate says: the base with `adapter`, or alone where that is None. Where
    the rank is larger than the candidate's, the rows of A beyond are random and the columns of B are
    zero; so is all of B in modules that the candidate's adapter does not change. The base's weights are
    never changed. Given in evaluation mode. Raises InputError where the adapter is not plain LoRA, does
    not fit the model or has a larger rank, or where no module is targeted.
    """
    import peft

    task = read_lora(adapter) if adapter is not None else {}
    linear = _linear_modules(model)
    _check_fit(task, linear, adapter)
    modules = sorted({*_chosen(model, linear, lora.targets), *task})
    rank, alpha = _size(lora, task, adapter)
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=lora.dropout,
        target_modules=_short(modules, model),
        fan_in_fan_out=_are_flipped(linear[name] for name in modules),
        task_type="CAUSAL_LM",
    )
    with _seeded(lora.seed), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if adapter is None:
            student = peft.get_peft_model(model, config, _TRAINED)
        else:
            student = peft.PeftModel.from_pretrained(model, str(adapter), _FROZEN)
            student.add_adapter(_TRAINED, config)
    lacking = [str(w.message) for w in caught if "missing adapter keys" in str(w.message)]
    if lacking:
        raise ModelError(f"{adapter}: the adapter does not fit the model: {lacking[0][:300]}")
    _copy(task, student, alpha / rank)
    student.set_adapter(_TRAINED)
    return student.eval()


@contextmanager
def as_teacher(student: Any) -> Iterator[Any]:
    """Within it, the student says what the candidate says; without gradients.

    Afterwards the student's own adapter is active and trainable again. Never enter it between the
    student's forward and backward pass: peft freezes what is not active, and the gradients would be
    lost without a word.
    """
    was_training = student.training
    student.eval()
    try:
        with torch.no_grad():
            if _FROZEN in student.peft_config:
                student.set_adapter(_FROZEN, inference_mode=True)
                yield student
            else:
                with student.disable_adapter():
                    yield student
    finally:
        student.set_adapter(_TRAINED)
        student.train(was_training)


def save(student: Any, folder: Path, base: str) -> None:
    """Write the trained adapter as peft and vLLM load it; `base` is the model's name as the user gave
    it. A folder without adapter_config.json holds no whole adapter."""
    import peft

    tensors = peft.get_peft_model_state_dict(student, adapter_name=_TRAINED, save_embedding_layers=False)
    config = student.peft_config[_TRAINED]
    targets = config.target_modules
    told = plain_config(
        base,
        targets if isinstance(targets, str) else sorted(targets),
        config.r,
        config.lora_alpha,
        dropout=config.lora_dropout,
        flipped=config.fan_in_fan_out,
    )
    write_adapter(folder, tensors, told)


# ------------------------------------------------------------------------------------------- modules


def _linear_modules(model: Any) -> dict[str, Any]:
    from transformers.pytorch_utils import Conv1D

    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
    }


def _are_flipped(modules: Iterator[Any]) -> bool:
    """Whether weights are [in, out], as in models that descend from GPT-2."""
    kinds = {isinstance(module, torch.nn.Linear) for module in modules}
    return kinds == {False}


def _chosen(model: Any, linear: Mapping[str, Any], targets: str | Sequence[str]) -> list[str]:
    """Names of the linear modules that are asked for."""
    if targets == "all-linear":
        head = model.get_output_embeddings()
        return [name for name, module in linear.items() if module is not head]
    if isinstance(targets, str):
        try:
            found = [name for name in linear if re.fullmatch(targets, name)]
        except re.error as error:
            raise InputError(f"targets: {targets!r} is no regular expression ({error})") from error
        lacking = [] if found else [targets]
    else:
        found = [name for name in linear if any(_ends(name, target) for target in targets)]
        lacking = [t for t in targets if not any(_ends(name, t) for name in linear)] or (
            [] if targets else ["(none)"]
        )
    if lacking:
        known = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
        raise InputError(f"targets: the model has no linear module {lacking[0]!r}; it has {known}")
    return found


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _short(modules: Sequence[str], model: Any) -> list[str]:
    """Last parts of the names if they say the same, as people and engines like them, else the names."""
    lasts = sorted({name.rpartition(".")[2] for name in modules})
    matched = {name for name, _ in model.named_modules() if any(_ends(name, last) for last in lasts)}
    return lasts if matched == set(modules) else list(modules)


def _check_fit(task: Mapping[str, Low], linear: Mapping[str, Any], adapter: Path | None) -> None:
    for name, low in task.items():
        module = linear.get(name)
        if module is None:
            raise InputError(
                f"{adapter}: changes {name}, but the model has no such linear module; was it made for "
                "another model?"
            )
        shape = tuple(module.weight.shape)
        if sorted(shape) != sorted((low.b.shape[0], low.a.shape[1])):
            raise InputError(
                f"{adapter}: is for a module {name} of {low.b.shape[0]} by {low.a.shape[1]}, but the "
                f"model's has {shape[0]} by {shape[1]}; was it made for another model?"
            )


def _size(lora: Lora, task: Mapping[str, Low], adapter: Path | None) -> tuple[int, float]:
    """Rank and alpha of the student's adapter."""
    least = max((low.a.shape[0] for low in task.values()), default=0)
    rank = lora.rank if lora.rank is not None else (least or 8)
    if rank < least:
        raise rank_below(rank, least, adapter)
    if rank < 1 or (lora.alpha is not None and not lora.alpha > 0):
        raise InputError(f"rank and alpha: must be above 0, not {rank} and {lora.alpha}")
    if lora.alpha is not None:
        return rank, lora.alpha
    scaling = next(iter(task.values())).scaling if task else 2.0
    return rank, scaling * rank


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers of torch by a seed, and afterwards as if none had been drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def _copy(task: Mapping[str, Low], student: Any, scaling: float) -> None:
    """Begin with the candidate's adapter; its scaling goes into B where the student's is another."""
    base = student.get_base_model()
    for name, low in task.items():
        layer = base.get_submodule(name)
        a, b = layer.lora_A[_TRAINED].weight, layer.lora_B[_TRAINED].weight
        rank = low.a.shape[0]
        a[:rank] = low.a.to(a)
        b.zero_()
        factor = low.scaling / scaling
        b[:, :rank] = (low.b if factor == 1 else low.b * factor).to(b)
