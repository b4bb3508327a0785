"""What a model is made of, told from its files alone: without torch, and without loading it.

The digest of the weights decides whether an answer in the store is still this model's, so it is made
from the files' contents, never from names or dates. A model of the hub is known by its commit. Weights
that are not safetensors can run code when they are loaded, and are refused unless asked for in so many
words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muscle_gov import InputError
from muscle_gov.logs import content_hash, parse_json, read_json
from muscle_gov_plugins._file_digests import file_digests
from muscle_gov_plugins._model_hub import snapshot

_SMALL_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py"]
_PICKLES = "pytorch_model*.bin"
_TOKENIZER_FILES = (
    *("tokenizer.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt"),
    *("vocab.txt", "spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "tekken.json"),
)
_NO_PART_OF_TOKENS = frozenset(
    [
        *("chat_template", "name_or_path", "model_max_length", "padding_side", "truncation_side"),
        *("transformers_version", "processor_class", "tokenizer_file", "is_local", "local_files_only"),
    ]
)
_CONTEXT_NAMES = ("n_positions", "max_position_embeddings", "n_ctx")
_NO_PART_OF_WEIGHTS = frozenset(("_name_or_path", "transformers_version", "dtype", "torch_dtype"))
_NO_PART_OF_ADAPTER = frozenset(
    ("base_model_name_or_path", "revision", "inference_mode", "auto_mapping", "peft_version")
)


@dataclass(frozen=True)
class Checkpoint:
    """Where a model's or an adapter's files are."""

    name: str
    """What to call it: the last part of the path or of the hub's name."""
    folder: Path
    commit: str | None = None
    """Of the hub's repository; None for a directory of the user's."""
    repository: str | None = None
    """The hub's name of it."""


@dataclass(frozen=True)
class Adapter:
    """What `adapter_config.json` says."""

    kind: str
    """`LORA` and the like."""
    base: str | None
    """The model that it was trained on, as its maker called it."""
    targets: tuple[str, ...]
    """Names of the modules that it changes; one pattern if it was given as a regular expression."""
    rank: int | None
    saved_modules: tuple[str, ...] = ()
    """Modules that it brings whole, such as `lm_head`."""


# ------------------------------------------------------------------------------------ where it is


def resolve(name: str, revision: str | None = None, option: str = "path") -> Checkpoint:
    """The checkpoint in a directory, or the hub's repository of that name with its small files.

    Weights of a hub model are not fetched: see `fetch_weights`. Without a network the hub's local
    cache is used. Raises InputError, naming `option`, where there is no such model.
    """
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        if revision is not None:
            raise InputError(f"{name}: is a directory, which has no revisions; leave out the revision")
        return Checkpoint(folder.resolve().name, folder)
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name
    if looks_local or folder.exists() or not name:
        raise InputError(f"{name or '(empty)'}: there is no such model directory (option {option})")
    found = snapshot(name, revision, _SMALL_FILES, option)
    return Checkpoint(name.rpartition("/")[2], found, found.name, name)


def resolve_model(name: str, revision: str | None = None) -> Checkpoint:
    """As `resolve`. Raises InputError too where the model's own directory holds an adapter, which
    transformers would apply without a word, or holds nothing but an adapter."""
    found = resolve(name, revision)
    if not (found.folder / "adapter_config.json").exists():
        return found
    if not (found.folder / "config.json").exists():
        raise InputError(
            f"{name}: is an adapter (it has adapter_config.json and no config.json); give the model "
            "it was made for as `path`, and this as `adapter`"
        )
    raise InputError(
        f"{name}: holds adapter_config.json beside the model, which transformers would apply unasked; "
        "name the adapter with `adapter`, in a directory of its own, or remove the file"
    )


def fetch_weights(checkpoint: Checkpoint, allow_pickle: bool = False) -> None:
    """Bring a hub model's weights into the local cache; a directory has them already.

    Raises InputError where there are no safetensors (see `weight_files`).
    """
    if checkpoint.repository is not None:
        snapshot(checkpoint.repository, checkpoint.commit, ["*.safetensors"], "path")
        if allow_pickle and not any(checkpoint.folder.glob("*.safetensors")):
            snapshot(checkpoint.repository, checkpoint.commit, [_PICKLES], "path")
    weight_files(checkpoint.folder, allow_pickle)


def fetch_adapter(checkpoint: Checkpoint) -> None:
    """Bring a hub adapter's weights into the local cache. Raises InputError if they are pickled."""
    if checkpoint.repository is not None:
        snapshot(checkpoint.repository, checkpoint.commit, ["*.safetensors"], "adapter")
    adapter_files(checkpoint.folder)


# --------------------------------------------------------------------------------------- contents


def read_config(folder: Path) -> Mapping[str, Any]:
    """`config.json`. Raises InputError if it is missing or no JSON object."""
    return _read_object(folder / "config.json", "a model directory has one; is this an adapter?")


def dtype_of(folder: Path) -> str | None:
    """The checkpoint's own dtype, `bfloat16` and the like: config.json's, else the stored tensors'."""
    config = read_config(folder)
    inner = config.get("text_config") if isinstance(config.get("text_config"), dict) else {}
    for part in (config, inner or {}):
        stated = part.get("dtype") or part.get("torch_dtype")
        if isinstance(stated, str):
            return stated.removeprefix("torch.")
    return _stored_dtype(folder)


def tokenizer_context(folder: Path) -> int | None:
    """Most tokens of a sequence as the tokenizer's settings state them, where they may decide since the
    config states none; None if it does, or if neither does."""
    config = read_config(folder)
    inner = config.get("text_config")
    for part in (inner if isinstance(inner, dict) else {}, config):
        for name in _CONTEXT_NAMES:
            if part.get(name) is not None:
                return None
    settings = folder / "tokenizer_config.json"
    stated = _read_object(settings).get("model_max_length") if settings.is_file() else None
    # transformers writes 1e30 where there is no limit
    return int(stated) if isinstance(stated, int | float) and stated < 1 << 40 else None


def quantization_of(folder: Path) -> str | None:
    """How the checkpoint itself is quantised, e.g. `awq 4-bit`; None if it is not."""
    stated = read_config(folder).get("quantization_config")
    if not isinstance(stated, dict):
        return None
    bits = stated.get("bits") or (4 if stated.get("load_in_4bit") else None)
    bits = bits or (8 if stated.get("load_in_8bit") else None)
    kind = str(stated.get("quant_method") or "unknown method")
    return f"{kind} {bits}-bit" if bits else kind


def weight_files(folder: Path, allow_pickle: bool = False) -> tuple[Path, ...]:
    """The files of weights that are loaded: all that an index names, or the one file.

    Raises InputError if one of them is missing, or if there are only pickles and they are not allowed.
    """
    found = _safetensors(folder, "model")
    if found:
        return found
    pickles = tuple(sorted(folder.glob(_PICKLES)))
    if pickles and allow_pickle:
        return pickles
    if pickles:
        raise InputError(
            f"{folder}: its weights ({pickles[0].name}) are pickled and could run code when loaded; "
            "convert them to safetensors, or set allow_pickle = true if you trust them"
        )
    raise InputError(f"{folder}: there are no weights (model.safetensors or its index) in it")


def weights_digest(checkpoint: Checkpoint, allow_pickle: bool = False) -> str:
    """The hub's commit, or the SHA-256 over the contents of weights, config.json and Python files."""
    if checkpoint.commit is not None:
        return f"commit {checkpoint.commit}"
    folder = checkpoint.folder
    files = weight_files(folder, allow_pickle)
    parts = [content_hash(_without(read_config(folder), _NO_PART_OF_WEIGHTS))]
    generation = folder / "generation_config.json"
    if generation.is_file():  # it names the tokens that end a text
        parts.append(content_hash(_without(_read_object(generation), _NO_PART_OF_WEIGHTS)))
    code = sorted(folder.glob("*.py"))  # run where remote code is trusted
    return _digest([*parts, *_named_digests([*files, *code])])


def adapter_config(folder: Path) -> Adapter:
    """What the adapter's config says. Raises InputError if there is none."""
    config = _read_object(folder / "adapter_config.json", "a peft adapter has one")
    targets = config.get("target_modules") or ()
    saved = config.get("modules_to_save") or ()
    rank = config.get("r")
    return Adapter(
        kind=str(config.get("peft_type") or "LORA"),
        base=config.get("base_model_name_or_path"),
        targets=(targets,) if isinstance(targets, str) else tuple(sorted(map(str, targets))),
        rank=rank if isinstance(rank, int) else None,
        saved_modules=tuple(sorted(map(str, saved))),
    )


def adapter_digest(checkpoint: Checkpoint) -> str:
    """The hub's commit, or the SHA-256 over the adapter's weights and config, whatever its base is
    called. Raises InputError if its weights are not safetensors."""
    if checkpoint.commit is not None:
        return f"commit {checkpoint.commit}"
    config = _read_object(checkpoint.folder / "adapter_config.json", "a peft adapter has one")
    files = adapter_files(checkpoint.folder)
    return _digest([content_hash(_without(config, _NO_PART_OF_ADAPTER)), *_named_digests(files)])


def adapter_files(folder: Path) -> tuple[Path, ...]:
    """The adapter's weights. Raises InputError if they are not safetensors."""
    found = _safetensors(folder, "adapter_model")
    if not found:
        what = "pickled, which could run code" if any(folder.glob("*.bin")) else "missing"
        raise InputError(
            f"{folder}: the adapter's weights are {what}; adapter_model.safetensors is needed"
        )
    return found


def tokenizer_digest(folder: Path) -> str:
    """SHA-256 over all that turns text into tokens and back; the chat template apart.

    Raises InputError if there is no tokenizer.
    """
    settings = folder / "tokenizer_config.json"
    parts = (
        [content_hash(_without(_read_object(settings), _NO_PART_OF_TOKENS))]
        if settings.is_file()
        else []
    )
    files = [folder / name for name in _TOKENIZER_FILES if (folder / name).is_file()]
    if not any(path.suffix in (".json", ".txt", ".model") for path in files):
        raise InputError(f"{folder}: there is no tokenizer (tokenizer.json) in it")
    return _digest([*parts, *_named_digests(files)])


def chat_template(folder: Path) -> str | None:
    """The tokenizer's own chat template (the one called `default` where it has several); None if it
    has none."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text("utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        stated = _read_object(folder / name).get("chat_template") if (folder / name).is_file() else None
        if isinstance(stated, list):
            named = {item.get("name"): item.get("template") for item in stated if isinstance(item, dict)}
            stated = named.get("default")
        if isinstance(stated, str):
            return stated
    return None


def text_digest(text: str) -> str:
    """SHA-256 of a text, for templates."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


# ---------------------------------------------------------------------------------------- helpers


def _safetensors(folder: Path, stem: str) -> tuple[Path, ...]:
    single = folder / f"{stem}.safetensors"
    if single.is_file():
        return (single,)
    index = folder / f"{stem}.safetensors.index.json"
    if not index.is_file():
        return ()
    names = sorted(set(_read_object(index).get("weight_map", {}).values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        raise InputError(
            f"{folder}: {index.name} names {missing[0] if missing else 'no file'}, which is not there"
        )
    return tuple(folder / name for name in names)


def _stored_dtype(folder: Path) -> str | None:
    """The dtype of the first tensor, read from the safetensors header."""
    known = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}
    for path in _safetensors(folder, "model")[:1]:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = parse_json(stream.read(min(length, 1 << 27)), str(path))
        for name, tensor in header.items():
            if name != "__metadata__" and tensor.get("dtype") in known:
                return known[tensor["dtype"]]
    return None


def _read_object(path: Path, hint: str = "") -> Mapping[str, Any]:
    if not path.is_file():
        raise InputError(f"{path.parent}: there is no {path.name} in it{'; ' + hint if hint else ''}")
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: must hold a JSON object")
    return value


def _without(values: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _named_digests(files: Iterable[Path]) -> list[str]:
    files = list(files)
    digests = file_digests(files)
    return [f"{path.name} {digests[path]}" for path in files]
