"""Whether an adapter was made for a model: what fits nowhere would be passed over without a word."""

from __future__ import annotations

import re
from pathlib import Path

from muscle_gov import InputError, ModelError
from muscle_gov.logs import read_json
from muscle_gov_plugins._model_files import adapter_files, read_config

_PLACE = re.compile(r"\.layers\.(\d+)\.\w+\.(\w+)\.lora_")


def check_fit(adapter: Path, base: Path) -> None:
    """Raises InputError if the adapter has weights that the model has no place for, or lacks some that
    it names: both are passed over in silence."""
    layers = read_config(base).get("num_hidden_layers")
    names = tensors(adapter)
    found = {(int(m[1]), m[2]) for name in names if (m := _PLACE.search(name))}
    if not isinstance(layers, int) or not found:
        return
    last = max(layer for layer, _ in found)
    if last >= layers:
        raise InputError(
            f"{adapter}: was made for another model: it changes layer {last}, but {base} has {layers} "
            "layers, counted from 0"
        )
    config = read_json(adapter / "adapter_config.json")
    targets = config.get("target_modules")
    if config.get("layers_to_transform") is not None or config.get("exclude_modules"):
        return
    wanted = (
        {(n, name) for n in range(layers) for name in targets if not _is_outside(name, names, found)}
        if isinstance(targets, list)
        else set()
    )
    lacking = sorted(wanted - found)
    if lacking:
        raise InputError(
            f"{adapter}: its config names {lacking[0][1]}, but the file has no weights for it in layer "
            f"{lacking[0][0]}"
        )


def _is_outside(target: str, names: list[str], found: set[tuple[int, str]]) -> bool:
    """Whether a target, such as the output head, is in none of the layers but is there."""
    in_layers = any(name == target for _, name in found)
    return not in_layers and any(f".{target}." in name for name in names)


def tensors(adapter: Path) -> list[str]:
    """Names of the tensors in the adapter's files."""
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise ModelError("adapters need safetensors; pip install 'muscle-gov[hf]'") from error
    names: list[str] = []
    for path in adapter_files(adapter):
        try:
            with safe_open(path, framework="np") as file:
                names += file.keys()
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: cannot be read as safetensors ({error})") from error
    if not names:
        raise InputError(f"{adapter}: the adapter holds no weights")
    return names
