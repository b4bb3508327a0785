"""What is known to be wrong with a fit before anything is read or run: models that cannot be trained.

All of it is told by files of a few kilobytes, so a mistake costs seconds, and torch is not imported.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from muscle_gov import Fitting, InputError, Suite
from muscle_gov.logs import read_json
from muscle_gov_plugins._fit_recipe import Recipe
from muscle_gov_plugins._model_files import Checkpoint, quantization_of, resolve
from muscle_gov_plugins.loader_hf import HfLoader

_PLAIN: dict[str, tuple[Any, ...]] = {
    "bias": (None, "none"),
    "init_lora_weights": (None, True, False, "gaussian"),
    **dict.fromkeys(("use_dora", "lora_bias", "use_qalora", "use_bdlora"), (None, False)),
    **dict.fromkeys(("modules_to_save", "layer_replication", "target_parameters"), (None, [])),
    **dict.fromkeys(("alora_invocation_tokens", "trainable_token_indices"), (None, [], {})),
    **dict.fromkeys(("arrow_config", "kasa_config", "monteclora_config", "velora_config"), (None,)),
}
"""Settings of peft under which an adapter is low-rank weights in some modules and nothing else."""


@dataclasses.dataclass(frozen=True)
class Models:
    """The models of a fit, as they are trained on."""

    candidate: HfLoader
    """The new one as it was given."""
    new: HfLoader
    """The same in the precision of the training."""
    base: HfLoader
    """That without its adapter: what the student stands on."""
    old: HfLoader | None
    """None too where it is not of the loader hf and not needed."""


def models_of(fitting: Fitting, recipe: Recipe, needs: frozenset[str]) -> Models:
    """The models, in the precision of the training; `needs` holds "old" where it must be there.

    Raises InputError for models that cannot be trained on or learnt from.
    """
    candidate = _hf(fitting.new, "new")
    new = _in_precision(candidate, recipe)
    old = _in_precision(fitting.old, recipe) if isinstance(fitting.old, HfLoader) else None
    base = base_of(new)
    if "old" in needs:
        if fitting.old is None:
            raise InputError(f"{fitting.name}: this needs an old model, and there is none")
        given = _hf(fitting.old, "old")
        if not is_one_tokenizer(given, new):
            raise InputError(
                f"{given.path} and {new.path}: the old and the new model have different "
                "tokenizers; to learn from the old one token by token needs one tokenizer"
            )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("training runs in one process; start it without torchrun or accelerate launch")
    return Models(candidate, new, base, old)


def check_models(
    fitting: Fitting, recipe: Recipe, needs: frozenset[str], is_fresh: bool = False
) -> None:
    """Raises InputError, as `models_of`, and where the candidate's adapter cannot be gone on from:
    it is not there, is more than plain LoRA, or has a larger rank than the recipe's."""
    models = models_of(fitting, recipe, needs)
    own = models.new.adapter_checkpoint()
    if own is None or is_fresh:
        return
    least = _rank(lora_config(own.folder))
    if recipe.rank is not None and recipe.rank < least:
        raise rank_below(recipe.rank, least, own.folder)


def check_line(fitting: Fitting, adapter: str | Path | None) -> None:
    """Raises InputError as `check_models` does for a line between adapters, and for an end of the line
    that is not there or is more than plain LoRA."""
    check_models(fitting, Recipe(), frozenset({"old"}))
    if adapter is not None:
        lora_config(resolve(str(adapter), None, "adapter").folder)


def check_refit(fitting: Fitting) -> Checkpoint:
    """The candidate's adapter. Raises InputError where there is none to make again."""
    own = fitting.new.adapter_checkpoint() if isinstance(fitting.new, HfLoader) else None
    if own is None:
        raise InputError(
            f"{fitting.name}: refit makes the candidate's adapter again, and the candidate has none"
        )
    return own


def has_answers(training: Mapping[str, Suite]) -> bool:
    """Whether any row has a right answer; reads no further than the first one."""
    for suite in training.values():
        members = getattr(suite, "members", None)
        for task in members().values() if members else (suite,):
            reference = getattr(task, "reference", None)
            if reference and any(reference(one) is not None for one in task.instances()):
                return True
    return False


def is_one_tokenizer(old: HfLoader, new: HfLoader) -> bool:
    """Whether two models have the same tokenizer, so that one can be learnt from token by token."""
    return old.facts().digests["tokenizer"] == new.facts().digests["tokenizer"]


def base_of(loader: HfLoader) -> HfLoader:
    """The loader of the weights that the student stands on: the candidate without its adapter.

    Raises InputError where these cannot be trained on: quantised, or with an adapter that is merged.
    """
    if loader.merge_adapter:
        raise InputError(
            f"{loader.path}: merge_adapter = true cannot be trained on, since the result would not "
            "start from the same numbers; leave merge_adapter out"
        )
    kind = loader.quantization or quantization_of(loader.checkpoint().folder)
    if kind is not None:
        raise InputError(
            f"{loader.path}: training on quantised weights ({kind}) is not supported; give the model in "
            "bfloat16 or float32"
        )
    return dataclasses.replace(loader, adapter=None, adapter_revision=None)


def _hf(loader: Any, which: str) -> HfLoader:
    if not isinstance(loader, HfLoader):
        raise InputError(
            f"the {which} model: mitigations train models of the loader hf, and this is "
            f"{type(loader).__name__}"
        )
    return loader


def _in_precision(loader: HfLoader, recipe: Recipe) -> HfLoader:
    if recipe.precision != "auto":
        return dataclasses.replace(loader, dtype=recipe.precision)
    if loader.dtype_name() == "float16":
        raise InputError(
            f'{loader.path}: float16 is too narrow to train in; set precision = "bfloat16" or "float32"'
        )
    return loader


# ------------------------------------------------------------------------------------------ adapters


def lora_config(folder: Path) -> Mapping[str, Any]:
    """The config of an adapter that is plain LoRA. Raises InputError for any other, and for none."""
    file = folder / "adapter_config.json"
    if not file.is_file():
        raise InputError(f"{folder}: there is no adapter_config.json in it; a peft adapter has one")
    config = read_json(file)
    if not isinstance(config, dict):
        raise InputError(f"{file}: must hold a JSON object")
    kind = config.get("peft_type") or "LORA"
    if kind != "LORA":
        raise unsupported(folder, f"the type {kind}")
    for name, plain in _PLAIN.items():
        value = config.get(name)
        # 0 == False, but no setting is a number where a truth value is meant
        if not any(value == one for one in plain):
            raise unsupported(folder, f"{name} = {json.dumps(value)}")
    return config


def unsupported(folder: Path, what: str) -> InputError:
    """That an adapter is more than plain LoRA."""
    return InputError(
        f"{folder}: adapters with {what} are not supported in training, only plain LoRA is; merge the "
        "adapter into its model, and give the merged model instead"
    )


def rank_below(rank: int, least: int, adapter: Path | None) -> InputError:
    """That a rank is too small to begin as a copy of the candidate's adapter."""
    return InputError(
        f"rank: {rank} is below that of the candidate's adapter {adapter}, which is {least}; give "
        "at least that, or leave it out"
    )


def _rank(config: Mapping[str, Any]) -> int:
    """The rank that all modules have; patterns are looked at with the weights."""
    rank = config.get("r")
    return rank if isinstance(rank, int) and not config.get("rank_pattern") else 0
