"""LoRA adapters on disk: what they add to each module's weights, and lines between two of them.

An adapter is read as matrices A and B and a factor for each module, so whatever way peft has of stating
ranks and factors, sums of adapters are exact: ranks are put one after the other, and factors go into B.
peft's own `linear` combination is no such sum. What an adapter may be besides, such as DoRA, is refused.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from muscle_gov import InputError
from muscle_gov_plugins._fit_check import lora_config, unsupported
from muscle_gov_plugins._model_files import adapter_files

Tensor = torch.Tensor

_NAME = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


class Low(NamedTuple):
    """What an adapter adds to one module's weights: `scaling` · B · A."""

    a: Tensor
    """[r, in] float32."""
    b: Tensor
    """[out, r] float32."""
    scaling: float


def read_lora(folder: Path) -> dict[str, Low]:
    """Module, by its name in the model → what is added there, in the order of the names.

    Raises InputError where the adapter is missing, or is more than plain LoRA.
    """
    from peft.utils.other import get_pattern_key
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = lora_config(folder)
    found: dict[str, dict[str, Tensor]] = {}
    for path in adapter_files(folder):
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: cannot be read as safetensors ({error})") from error
        for name, tensor in tensors.items():
            match = _NAME.fullmatch(name)
            if match is None:
                raise unsupported(folder, f"the weights {name}")
            found.setdefault(match[1], {})[match[2]] = tensor.float()
    if not found:
        raise InputError(f"{folder}: the adapter holds no weights")
    lone = [module for module, parts in found.items() if len(parts) < 2]
    if lone:
        raise InputError(f"{folder}: the adapter has one of two matrices for {lone[0]}; is it cut off?")
    alphas = config.get("alpha_pattern") or {}
    low = {}
    for module, parts in sorted(found.items()):
        alpha = alphas.get(get_pattern_key(list(alphas), module), config.get("lora_alpha", 8))
        rank = parts["A"].shape[0]
        scaling = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
        low[module] = Low(parts["A"], parts["B"], scaling)
    return low


def adapter_targets(folder: Path) -> tuple[str, ...]:
    """Names, in the model, of the modules that the adapter changes. Raises as `read_lora`."""
    return tuple(read_lora(folder))


def effective_delta(folder: Path) -> dict[str, Tensor]:
    """Module → what the adapter adds to its weights, [out, in] float32. Raises as `read_lora`."""
    return {module: low.scaling * (low.b @ low.a) for module, low in read_lora(folder).items()}


def line(new: Path | None, compat: Path, t: float, out: Path) -> None:
    """Write the adapter that adds (1 − t) of `new` and t of `compat`, exactly, as plain LoRA.

    `t` from 0 to 2, where more than 1 is beyond `compat`; `new` None stands for the model as it is.
    Both adapters are of one base model, which is named as `compat` names it. A straight line between two
    models' weights, as in WiSE-FT (arXiv:2109.01903). Raises InputError for adapters that are not plain
    LoRA or do not fit together.
    """
    if not 0 <= t <= 2:
        raise InputError(f"line: t must be from 0 to 2, not {t:g}")
    ours = read_lora(compat)
    theirs = read_lora(new) if new is not None else {}
    weighed = [(part, weight) for part, weight in ((theirs, 1 - t), (ours, t)) if part and weight]
    weighed = weighed or [(ours, 0.0)]
    rank = sum(_rank(part) for part, _ in weighed)
    modules = sorted({module for part, _ in weighed for module in part})
    tensors = {}
    for module in modules:
        a, b = _in_a_row(module, weighed, rank, compat)
        tensors[f"base_model.model.{module}.lora_A.weight"] = a
        tensors[f"base_model.model.{module}.lora_B.weight"] = b
    config = lora_config(compat)
    has_all = set(modules) == set(ours) and not _is_selective(config)
    targets = config["target_modules"] if has_all else modules
    base = config.get("base_model_name_or_path")
    flipped = bool(config.get("fan_in_fan_out"))
    write_adapter(out, tensors, plain_config(base, targets, rank, rank, flipped=flipped))


def _in_a_row(
    module: str, weighed: Sequence[tuple[Mapping[str, Low], float]], rank: int, where: Path
) -> tuple[Tensor, Tensor]:
    """A and B of one module, those of each adapter beside each other, zeros where one has none."""
    shapes = {(p[module].a.shape[1], p[module].b.shape[0]) for p, _ in weighed if module in p}
    if len(shapes) > 1:
        raise InputError(f"{where}: {module} is of another size in the other adapter; give one base")
    width, height = shapes.pop()
    a, b = torch.zeros(rank, width), torch.zeros(height, rank)
    start = 0
    for part, weight in weighed:
        low = part.get(module)
        if low is not None:
            end = start + low.a.shape[0]
            a[start:end], b[:, start:end] = low.a, low.b * (low.scaling * weight)
        start += _rank(part)
    return a, b


def _rank(part: Mapping[str, Low]) -> int:
    return max(low.a.shape[0] for low in part.values())


def _is_selective(config: Mapping[str, Any]) -> bool:
    """Whether more than `target_modules` says where the adapter is."""
    return config.get("layers_to_transform") is not None or bool(config.get("exclude_modules"))


# ------------------------------------------------------------------------------------------- configs


def plain_config(
    base: str | None,
    targets: str | Sequence[str],
    rank: int,
    alpha: float,
    *,
    dropout: float = 0.0,
    flipped: bool = False,
) -> dict[str, Any]:
    """What `adapter_config.json` says of a plain LoRA adapter. `flipped`: weights are [in, out]."""
    from peft import LoraConfig

    config = LoraConfig(
        r=rank,
        lora_alpha=int(alpha) if float(alpha).is_integer() else alpha,
        lora_dropout=dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        fan_in_fan_out=flipped,
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        inference_mode=True,
    )
    told = config.to_dict()
    return {
        name: sorted(value) if isinstance(value, set | tuple) else value
        for name, value in sorted(told.items())
    }


def write_adapter(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
    """Write both files of an adapter; while its config is not there, it is none."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    final = folder / "adapter_config.json"
    final.unlink(missing_ok=True)
    weights = folder / "adapter_model.safetensors"
    fresh = folder / "adapter_model.safetensors.new"
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    save_file(whole, fresh, metadata={"format": "pt"})
    _to_disk(fresh)
    fresh.replace(weights)
    told = folder / "adapter_config.json.new"
    told.write_text(json.dumps(dict(config), indent=2, default=str) + "\n", encoding="utf-8")
    _to_disk(told)
    told.replace(final)


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
