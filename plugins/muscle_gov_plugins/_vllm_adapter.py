"""How an adapter is served by vLLM: as LoRA if vLLM would apply all of it, else merged, else not at all.

vLLM leaves out, without a word, the parts of an adapter that lie outside the modules it wraps, and it
cannot give prompt log-probabilities while the output head is wrapped. So only modules that it surely
wraps are served as LoRA, and what decides is which tensors the adapter's file holds, not what its
config says. All else is merged into a copy of the model's weights, which then is an ordinary model.
"""

from __future__ import annotations

import re
import shutil
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple

from muscle_gov import InputError, ModelError
from muscle_gov.logs import read_json
from muscle_gov_plugins._adapter_fit import check_fit, tensors
from muscle_gov_plugins._model_files import adapter_config, quantization_of

WRAPPED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The modules to which vLLM is told to apply LoRA; never the output head."""

_SERVED = re.compile(
    r"base_model\.model\.(?:.+\.)?layers\.\d+\.(?:self_attn\.[qkvo]_proj|mlp\.(?:gate|up|down)_proj)"
    r"\.lora_[AB]\.weight"
)
_PART = re.compile(r"\.(?:lora_\w+|base_layer|modules_to_save|weight|bias)\b.*")
_WHOLE = re.compile(r"(?:\.base_layer|embed_tokens|lm_head|wte|embed_in|embed_out)\.weight$")
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_PROMPT_LEARNING = ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "MULTITASK_PROMPT_TUNING", "CPT")
_PLAIN: dict[str, tuple[Any, ...]] = {
    "use_dora": (None, False),
    "lora_bias": (None, False),
    "bias": (None, "none"),
    "init_lora_weights": (None, True, False, "gaussian"),
    "modules_to_save": (None, []),
    "layer_replication": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "alora_invocation_tokens": (None, []),
    "trainable_token_indices": (None, [], {}),
    "target_parameters": (None, []),
    "use_qalora": (None, False),
    "use_bdlora": (None, False),
    "arrow_config": (None,),
    "corda_config": (None,),
    "eva_config": (None,),
}
"""Settings of peft under which an adapter is low-rank weights in some modules and nothing else."""


_MAY_BE_UNTIED = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM")
"""Architectures of which vLLM reads whether head and embedding are one, instead of knowing it."""


class Serving(NamedTuple):
    """How an adapter is served."""

    how: Literal["lora", "merged"]
    why: str
    """Why it is merged; "" for LoRA."""
    rank: int
    """The least rank that vLLM offers and the adapter fits in."""


def plan(adapter: Path, base: Path, merge: bool | None, quantization: str | None = None) -> Serving:
    """How to serve it. `merge` True merges always, False never, None where vLLM cannot serve all of it.

    Raises InputError where the adapter can be neither served nor merged, or only merged and `merge` is
    False.
    """
    config = adapter_config(adapter)
    if config.kind in _PROMPT_LEARNING:
        raise InputError(
            f"{adapter}: is a {config.kind} adapter, which vLLM cannot apply and which cannot be merged "
            "into the weights"
        )
    why = _unserved(adapter, config.kind, config.rank)
    rank = next((offered for offered in _RANKS if offered >= (config.rank or 0)), _RANKS[-1])
    if why and merge is False:
        raise InputError(
            f"{adapter}: vLLM would leave out part of the adapter ({why}); merge it "
            "(leave out merge_adapter = false), or use the loader hf"
        )
    if not why:
        check_fit(adapter, base)
        if not merge:
            return Serving("lora", "", rank)
    quantised = quantization_of(base) or quantization
    if quantised:
        wanted = f"vLLM would leave out part of it ({why})" if why else "merge_adapter asks for it"
        raise InputError(
            f"{adapter}: must be merged, since {wanted}, but into quantised weights ({quantised}) it "
            "cannot be; use the model's unquantised weights, or the loader hf"
        )
    return Serving("merged", why or "merge_adapter asks for it", rank)


def _unserved(adapter: Path, kind: str, rank: int | None) -> str:
    """What of the adapter vLLM would leave out or refuse; "" if nothing."""
    if kind != "LORA":
        return f"it is of the kind {kind}"
    settings = read_json(adapter / "adapter_config.json")
    for name, plain in _PLAIN.items():
        if settings.get(name) not in plain:
            return f"{name} = {settings[name]!r}"
    outside = sorted({name for name in tensors(adapter) if not _SERVED.fullmatch(name)})
    if outside:
        modules = sorted({_PART.sub("", name.removeprefix("base_model.model.")) for name in outside})
        return f"it changes {modules[0]}" + (" and others" if len(modules) > 1 else "")
    if not isinstance(rank, int) or rank > _RANKS[-1]:
        return f"its rank is {rank}"
    return ""


def merge(base: Path, adapter: Path, folder: Path, dtype: str, trust_remote_code: bool) -> None:
    """Write the model with the adapter merged, and its tokenizer, into `folder`.

    The sum is made in float32 and rounded once, to `dtype`. Needs memory for the weights in float32.
    Raises ModelError if peft cannot merge it.
    """
    try:
        import peft
        import torch
        import transformers
    except ImportError as error:
        raise ModelError(
            f"{adapter}: merging an adapter needs {error.name}; pip install 'muscle-gov[vllm]'"
        ) from error
    for path in base.iterdir():
        is_weights = path.suffix in (".safetensors", ".bin", ".pt", ".pth", ".gguf")
        if path.is_file() and not is_weights and not path.name.endswith(".index.json"):
            shutil.copyfile(path, folder / path.name)
    shown = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            base,
            dtype=torch.float32,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            local_files_only=True,
        )
        if _touches_head(adapter):
            _untie(model, base, adapter, torch)
        tuned = _tuned(peft, model, adapter)
        merged = tuned.merge_and_unload(safe_merge=True)
        merged.to(getattr(torch, dtype)).save_pretrained(folder)
    except (MemoryError, ModelError):
        raise
    except Exception as error:  # peft and transformers raise many kinds
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{adapter}: cannot be merged into {base} ({reason})") from error
    finally:
        if shown:
            transformers.utils.logging.enable_progress_bar()


def _tuned(peft: Any, model: Any, adapter: Path) -> Any:
    """The model with the adapter. What peft only warns of, weights that did not find their place, is an
    error: they would change nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tuned = peft.PeftModel.from_pretrained(model, str(adapter))
    lacking = [str(w.message) for w in caught if "adapter keys" in str(w.message)]
    known = set(peft.get_peft_model_state_dict(tuned, save_embedding_layers=False))
    # whole layers stand beside the changes of an embedding, as peft saves it
    over = [name for name in tensors(adapter) if name not in known and not _WHOLE.search(name)]
    if lacking or over:
        problem = lacking[0][:300] if lacking else f"it changes {over[0]}, which the model does not have"
        raise ModelError(f"{adapter}: the adapter does not fit the model: {problem}")
    return tuned


def _touches_head(adapter: Path) -> bool:
    return any(part in name for name in tensors(adapter) for part in ("lm_head", "embed"))


def _untie(model: Any, base: Path, adapter: Path, torch: Any) -> None:
    """Give the output head weights of its own: merged into tied ones, an adapter of the head would
    change the embedding too, and one of the embedding the head."""
    if read_json(adapter / "adapter_config.json").get("ensure_weight_tying"):
        raise ModelError(
            f"{adapter}: changes head and embedding as one (ensure_weight_tying), which cannot be "
            "merged; use the loader hf"
        )
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or head.weight.data_ptr() != embedding.weight.data_ptr():
        return
    architecture = type(model).__name__
    if architecture not in _MAY_BE_UNTIED:
        raise ModelError(
            f"{base}: the adapter changes its output head or embedding, which are one, and vLLM may not "
            f"run a {architecture} in which they are two; use the loader hf"
        )
    head.weight = torch.nn.Parameter(embedding.weight.detach().clone())
    model.config.tie_word_embeddings = False
