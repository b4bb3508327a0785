"""Loads a model of transformers and lets it go again.

What would be wrong in silence is an error: weights that the checkpoint lacks would be made up at random,
and an adapter that does not match would change nothing.
"""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from muscle_gov import GovError, ModelError
from muscle_gov_plugins import _model_files as files
from muscle_gov_plugins._adapter_fit import check_fit
from muscle_gov_plugins._hf_check import can_try, reach, why_not
from muscle_gov_plugins._hf_generate import Generator
from muscle_gov_plugins._hf_memory import release
from muscle_gov_plugins._hf_model import Engine, EngineModel, Limits
from muscle_gov_plugins._hf_network import Network, TransformersNetwork
from muscle_gov_plugins._hf_run import Runner
from muscle_gov_plugins._hf_text import Text
from muscle_gov_plugins._hf_whole import WholeGenerator, WholeNetwork, WholeRunner

if TYPE_CHECKING:
    from muscle_gov_plugins.loader_hf import HfLoader

_log = logging.getLogger("muscle_gov")
_ALWAYS_KNOWN = ("n_positions", "max_position_embeddings", "n_ctx")


@contextmanager
def opened(loader: HfLoader) -> Iterator[EngineModel]:
    """The model, ready to answer; its memory is free again when the context ends."""
    with settings(loader.threads):
        model = None
        try:
            model = make_model(loader, *load(loader))
            yield model
        finally:
            if model is not None:
                model.close()
            gc.collect()
            release()


@contextmanager
def settings(threads: int | None) -> Iterator[None]:
    """Torch and transformers as they should be while a model is used, and as they were afterwards."""
    from transformers.utils import logging as hub_logging

    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    verbosity, has_bars = hub_logging.get_verbosity(), hub_logging.is_progress_bar_enabled()
    if threads is not None:
        torch.set_num_threads(threads)
    torch.set_float32_matmul_precision("highest")
    hub_logging.set_verbosity_error()
    hub_logging.disable_progress_bar()
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
        hub_logging.set_verbosity(verbosity)
        if has_bars:
            hub_logging.enable_progress_bar()


def load(loader: HfLoader) -> tuple[Any, Any]:
    """(model in evaluation mode on its device, tokenizer). Raises ModelError saying what went wrong."""
    base, adapter = loader.checkpoint(), loader.adapter_checkpoint()
    files.fetch_weights(base, loader.allow_pickle)
    if adapter is not None:
        files.fetch_adapter(adapter)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            base.folder, trust_remote_code=loader.trust_remote_code
        )
        model = _with_adapter(_load_base(loader, base), base.folder, adapter, loader.merge_adapter)
    except GovError:
        raise
    except Exception as error:  # transformers raises whatever it meets
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ModelError(f"{loader.path}: the model could not be loaded ({reason})") from error
    model.eval().requires_grad_(False)
    return model, tokenizer


def _load_base(loader: HfLoader, base: files.Checkpoint) -> Any:
    device = loader.device_name()
    given: dict[str, Any] = {}
    if loader.attention != "auto":
        given["attn_implementation"] = loader.attention
    quantization = _quantization(loader)
    if quantization is not None:
        given |= {"quantization_config": quantization, "device_map": {"": device}}
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        base.folder,
        dtype=getattr(torch, loader.dtype_name()),
        trust_remote_code=loader.trust_remote_code,
        use_safetensors=None if loader.allow_pickle else True,
        output_loading_info=True,
        **given,
    )
    missing = sorted(info.get("missing_keys", ()))
    if missing:
        raise ModelError(
            f"{loader.path}: the checkpoint lacks {len(missing)} of the model's weights ({missing[0]} "
            "and so on); they would be made up at random"
        )
    if model.config.is_encoder_decoder:
        raise ModelError(f"{loader.path}: is an encoder-decoder model; only causal ones can be run")
    return model if quantization is not None else model.to(device)


def _with_adapter(model: Any, base: Path, adapter: files.Checkpoint | None, merge: bool) -> Any:
    """The model with the adapter in its layers, or merged into its weights."""
    if adapter is None:
        return model
    check_fit(adapter.folder, base)
    try:
        import peft
    except ImportError as error:
        raise ModelError(f"{adapter.name}: adapters need peft; pip install 'muscle-gov[hf]'") from error
    config = peft.PeftConfig.from_pretrained(str(adapter.folder))
    if config.is_prompt_learning:
        raise ModelError(
            f"{adapter.name}: adapters of the type {config.peft_type.value} are not supported"
        )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tuned = peft.PeftModel.from_pretrained(model, str(adapter.folder))
    lacking = [str(w.message) for w in caught if "missing adapter keys" in str(w.message)]
    if lacking:
        raise ModelError(f"{adapter.name}: the adapter does not fit the model: {lacking[0][:300]}")
    return tuned.merge_and_unload() if merge else tuned.get_base_model()


def _quantization(loader: HfLoader) -> Any:
    if loader.quantization is None:
        return None
    try:
        import bitsandbytes  # type: ignore[import-not-found,unused-ignore] # noqa: F401
    except ImportError as error:
        raise ModelError(
            f"{loader.path}: quantization = {loader.quantization!r} needs bitsandbytes, which is not "
            "installed"
        ) from error
    if loader.quantization == "bitsandbytes-8bit":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=getattr(torch, loader.dtype_name()),
    )


# ------------------------------------------------------------------------------------- the engines


def make_model(loader: HfLoader, model: Any, tokenizer: Any) -> EngineModel:
    """The loaded model behind the engines that suit it."""
    network, most, reason = packed_network(model)
    budget = loader.batch_tokens or default_budget(network.device)
    _, is_unsteady = reach(model.config)
    engines = [_whole_engine(model, budget, is_unsteady)]
    if reason is None:
        engines.insert(0, packed_engine(network, budget, most))
    else:
        _log.warning("%s: every sequence is run whole, which is slower: %s", loader.path, reason)
    text = Text(tokenizer, loader.add_bos, loader.template())
    return EngineModel(str(loader.path), text, limits(loader, model, tokenizer), engines)


def limits(loader: HfLoader, model: Any, tokenizer: Any) -> Limits:
    """What may be asked of the loaded model."""
    return Limits(
        context=loader.max_context or _context(model.config, tokenizer),
        known=int(model.get_input_embeddings().weight.shape[0]),
        ends=_ends(model, tokenizer),
        truncate=loader.truncate,
    )


def packed_network(model: Any) -> tuple[TransformersNetwork, int | None, str | None]:
    """(the model as a network, tokens up to which it may be used, why it may not be used at all)."""
    network = TransformersNetwork(model)
    most, _ = reach(model.config)
    if not can_try(network):  # then only sequences that fit into the window are run in packs
        most, network.window = min(most or 1 << 62, network.window or 1 << 62), None
    return network, most, why_not(network)


def packed_engine(network: Network, budget: int, most: int | None) -> Engine:
    """Sequences of at most `most` tokens run in packs and rows."""
    runner = Runner(network, budget, _most_wanted(network.device, network.width))
    is_cpu = network.device.type == "cpu"
    generator = Generator(network, runner, 64 if is_cpu else 256, _row_memory(network.device))
    return Engine(runner, generator, network, most)


def _whole_engine(model: Any, budget: int, alone: bool) -> Engine:
    whole = WholeNetwork(model)
    return Engine(
        WholeRunner(whole, budget, 1 << 30, alone), WholeGenerator(whole, 4 * budget, alone), whole
    )


def default_budget(device: torch.device) -> int:
    """Tokens of a forward pass that keep the device busy."""
    return 512 if device.type == "cpu" else 4096


def _most_wanted(device: torch.device, width: int) -> int:
    """Tokens whose scores are held at once: 128 MB of them on a CPU, 1 GB elsewhere, in float32."""
    return max(64, (1 << 25 if device.type == "cpu" else 1 << 28) // width)


def _row_memory(device: torch.device) -> int:
    """Bytes that the rows of generated texts may take."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * 0.5)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() * 0.25)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    except (ValueError, OSError, AttributeError):
        return 2 << 30


def _context(config: Any, tokenizer: Any) -> int:
    """Most tokens of a sequence, looked up where lm-evaluation-harness looks."""
    text = config.get_text_config(decoder=True)
    for name in _ALWAYS_KNOWN:
        value = getattr(text, name, None)
        if value is not None:
            return int(value)
    stated = getattr(tokenizer, "model_max_length", None)
    return int(stated) if stated is not None and stated < 1 << 40 else 2048


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a text: the model's own, and the tokenizer's."""
    stated = getattr(model.generation_config, "eos_token_id", None)
    if stated is None:
        stated = getattr(model.config, "eos_token_id", None)
    own = stated if isinstance(stated, list | tuple) else [stated]
    return frozenset(int(token) for token in (*own, tokenizer.eos_token_id) if token is not None)
