"""Runs models with transformers, with an optional peft adapter.

What the answers depend on is told from the files alone, so that a run that finds all its answers in the
store loads no weights. Prompts that begin alike are run once for what they share; where that cannot be
done for a model, it is run in the plain way, and says so.
"""

from __future__ import annotations

import importlib.metadata
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from muscle_gov import Model, ModelError, ModelFacts, hookimpl

if TYPE_CHECKING:
    from muscle_gov_plugins._model_files import Checkpoint


@hookimpl
def register_loaders() -> dict[str, type]:
    return {"hf": HfLoader}


@dataclass(frozen=True)
class HfLoader:
    """A causal language model of transformers, with an optional peft adapter."""

    path: str | Path
    """Directory of the model, or its name on the Hugging Face hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    adapter: str | Path | None = None
    """Directory or hub name of a peft adapter."""
    adapter_revision: str | None = None
    """Branch, tag or commit of the adapter on the hub."""
    merge_adapter: bool = False
    """Whether to merge the adapter into the weights: faster, and not the same to the last digit."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """What to compute in; `auto` is the checkpoint's own."""
    device: str = "auto"
    """`cuda`, `cuda:1`, `mps` or `cpu`; `auto` is the first of them that is there."""
    chat_template: str | Path | None = None
    """File or text of a chat template that replaces the tokenizer's own. Plain prompts use none."""
    quantization: Literal["bitsandbytes-4bit", "bitsandbytes-8bit"] | None = None
    """Quantise the weights when they are loaded; needs bitsandbytes."""
    attention: Literal["auto", "sdpa", "eager"] = "auto"
    """Which implementation of attention transformers uses."""
    batch_tokens: int | None = None
    """Most tokens of one forward pass; default: 512 on a CPU, 4096 elsewhere. Halved where memory
    runs out."""
    max_context: int | None = None
    """Most tokens of prompt and answer; default: what the model's config says."""
    truncate: Literal["error", "left"] = "error"
    """What to do with a prompt that is too long: make it an error, or cut its beginning off."""
    add_bos: Literal["auto", "always", "never"] = "auto"
    """Whether plain prompts get the tokenizer's first token; `auto` is what the tokenizer does."""
    trust_remote_code: bool = False
    """Whether to run Python code that comes with the model."""
    allow_pickle: bool = False
    """Whether to load weights that are not safetensors; loading them can run code."""
    threads: int | None = None
    """Threads of the CPU; default: torch's own choice."""

    def __post_init__(self) -> None:
        problems = []
        kind = self.device.partition(":")[0]
        if kind not in ("auto", "cuda", "mps", "cpu"):
            problems.append(f"device: must be auto, cuda, cuda:N, mps or cpu, not {self.device!r}")
        for name in ("batch_tokens", "max_context", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                problems.append(f"{name}: must be at least 1, not {value}")
        if self.adapter is None and (self.merge_adapter or self.adapter_revision is not None):
            problems.append("adapter: is required with merge_adapter and adapter_revision")
        if problems:
            raise ValueError("; ".join(problems))

    # ------------------------------------------------------------------------------------ protocol

    def facts(self) -> ModelFacts:
        from muscle_gov_plugins import _model_files as files

        version, base, adapter = _version("transformers"), self.checkpoint(), self.adapter_checkpoint()
        digests = {
            "weights": files.weights_digest(base, self.allow_pickle),
            "tokenizer": files.tokenizer_digest(base.folder),
        }
        own = files.chat_template(base.folder)
        if own is not None:
            digests["chat_template"] = files.text_digest(own)
        if adapter is not None:
            digests["adapter"] = files.adapter_digest(adapter)
        other = self.template()
        return ModelFacts(
            name=base.name if adapter is None else f"{base.name}+{adapter.name}",
            engine=f"transformers {version}",
            dtype=self.dtype_name(),
            quantization=self._quantization(files.quantization_of(base.folder)) or "none",
            chat_template=files.text_digest(other) if other is not None else "own" if own else "",
            digests=digests,
            settings=self._settings(base),
            remarks=self._remarks(base),
        )

    def open(self) -> AbstractContextManager[Model]:
        for library in ("torch", "transformers"):
            _version(library)
        self.checkpoint(), self.template()  # what is wrong with them is told before anything is loaded
        from muscle_gov_plugins._hf_load import opened

        return opened(self)

    # -------------------------------------------------------------------------- what options mean

    def checkpoint(self) -> Checkpoint:
        """Where the model is. Raises InputError if it is nowhere, or has an adapter beside it."""
        from muscle_gov_plugins import _model_files as files

        return files.resolve_model(str(self.path), self.revision)

    def adapter_checkpoint(self) -> Checkpoint | None:
        """Where the adapter is; None if there is none."""
        from muscle_gov_plugins import _model_files as files

        if self.adapter is None:
            return None
        return files.resolve(str(self.adapter), self.adapter_revision, "adapter")

    def dtype_name(self) -> str:
        """What is computed in."""
        from muscle_gov_plugins import _model_files as files

        if self.dtype != "auto":
            return self.dtype
        return files.dtype_of(self.checkpoint().folder) or "float32"

    def device_name(self) -> str:
        """The device, `auto` resolved. Raises ModelError if it is not there."""
        if self.device == "cpu":
            return self.device
        import torch

        has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
        if self.device == "auto":
            return next(name for name, is_there in has.items() if is_there)
        kind, _, number = self.device.partition(":")
        is_missing = (
            number and kind == "cuda" and has["cuda"] and int(number) >= torch.cuda.device_count()
        )
        if not has[kind] or is_missing:
            raise ModelError(f"{self.path}: there is no device {self.device!r} here; leave device out")
        return self.device

    def template(self) -> str | None:
        """The chat template that replaces the tokenizer's own. Raises InputError if it is neither a
        file nor a template, or is no valid one."""
        from muscle_gov_plugins._hf_template import replacing_template

        return replacing_template(self.chat_template)

    def _quantization(self, own: str | None) -> str | None:
        if self.quantization is None:
            return own
        return "bitsandbytes 4-bit nf4" if self.quantization.endswith("4bit") else "bitsandbytes 8-bit"

    def _settings(self, base: Checkpoint) -> dict[str, Any]:
        from muscle_gov_plugins import _model_files as files

        context = files.tokenizer_context(base.folder) if self.max_context is None else None
        return {
            "device": self.device_name().partition(":")[0],
            "attention": self.attention,
            "merged": self.merge_adapter,
            "max_context": self.max_context,
            "truncate": self.truncate,
            "add_bos": self.add_bos,
            "trust_remote_code": self.trust_remote_code,
            **({} if context is None else {"tokenizer_context": context}),
        }

    def _remarks(self, base: Checkpoint) -> dict[str, Any]:
        remarks = {
            "path": str(self.path),
            "repository": base.repository,
            "adapter": self.adapter and str(self.adapter),
            "torch": _version("torch"),
            "device": self._device_label(),
        }
        return {name: value for name, value in remarks.items() if value is not None}

    def _device_label(self) -> str | None:
        name = self.device_name()
        if not name.startswith("cuda"):
            return None
        import torch

        return torch.cuda.get_device_name(name)


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelError(
            f"the loader hf needs {library}, which is not installed; pip install 'muscle-gov[hf]'"
        ) from error
