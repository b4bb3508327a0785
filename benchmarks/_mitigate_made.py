"""What `mitigate.py` trains: two models of random weights with adapters, and rows for them.

Weights are random, but a model repeats the word that it has just read, and so does the text now and
then: a part of the tokens is right, and both of MUSCLE's cases occur.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SIZES = {
    "tiny": {"hidden": 64, "layers": 2},
    "small": {"hidden": 320, "layers": 6},
    "1b": {"hidden": 2048, "layers": 16},
}
SYLLABLES = "kalominerutasopeviduharitonasemolibakufe"
"""Of two letters each."""


@dataclass(frozen=True)
class Bench:
    """What is run, where."""

    folder: Path
    size: str
    vocabulary: int
    device: str
    dtype: str
    rows: int
    """Rows that are trained on; a fifth of all rows is held out besides."""
    batch_rows: int
    lengths: tuple[int, int]
    rank: int
    threads: int
    chunk: int

    def recipe(self) -> dict[str, Any]:
        """Options that all mitigations and plain training have in common."""
        return {
            "rank": self.rank,
            "batch_rows": self.batch_rows,
            "accumulation": 1,
            "epochs": 1.0,
            "scope": "all",
            "chunk": self.chunk,
            "validate_steps": 1_000_000,
            "save_steps": 1_000_000,
        }


def word(number: int) -> str:
    """A made-up word, another one for each number below 160,000."""
    digits = (number // 20**place % 20 for place in range(4))
    return "".join(SYLLABLES[2 * digit : 2 * digit + 2] for digit in digits)


def make_tokenizer(folder: Path, size: int) -> None:
    """Each word with the space before it is one token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<unk>", "<pad>", "<s>", "</s>", *(f" {word(number)}" for number in range(size - 4))]
    core = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r" [a-z]+"), behavior="isolated")
    core.decoder = decoders.Fuse()
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=core, **special).save_pretrained(folder)


def make_models(bench: Bench) -> int:
    """An old and a new Llama of random weights, each with a LoRA adapter; returns their parameters."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = SIZES[bench.size]
    config = LlamaConfig(
        vocab_size=bench.vocabulary,
        hidden_size=shape["hidden"],
        intermediate_size=shape["hidden"] * 11 // 4 // 8 * 8,
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["hidden"] // 64,
        num_key_value_heads=shape["hidden"] // 64,
        max_position_embeddings=4096,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=1,
        initializer_range=0.05,
    )
    lora = LoraConfig(r=bench.rank, lora_alpha=2 * bench.rank, target_modules="all-linear")
    parameters = 0
    for seed, name in enumerate(("old", "new")):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(getattr(torch, bench.dtype))
        with torch.no_grad():  # apart in memory, as in large models, yet likely to repeat a word
            model.lm_head.weight.copy_(model.model.embed_tokens.weight)
            model.model.embed_tokens.weight *= 10
        model.generation_config.pad_token_id = 1
        parameters = sum(weight.numel() for weight in model.parameters())
        model.save_pretrained(bench.folder / name)
        make_tokenizer(bench.folder / name, bench.vocabulary)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an older name
            tuned = get_peft_model(model, lora)
        for key, weight in tuned.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(weight, std=1e-3)
        tuned.save_pretrained(bench.folder / f"{name}-adapter")
    return parameters


def write_rows(bench: Bench) -> None:
    """Questions with answers, as a table; of each text half is the answer."""
    chance = random.Random(1)

    def text() -> list[str]:
        found: list[str] = []
        while len(found) < chance.randint(*bench.lengths):
            again = bool(found) and chance.random() < 0.5
            found.append(found[-1] if again else word(chance.randrange(bench.vocabulary - 4)))
        return found

    lines = []
    for _ in range(round(bench.rows / 0.8)):
        words = text()
        cut = len(words) // 2
        row = {"question": " " + " ".join(words[:cut]), "answer": " ".join(words[cut:])}
        lines.append(json.dumps(row) + "\n")
    (bench.folder / "rows.jsonl").write_text("".join(lines))


def fitting(bench: Bench, name: str, watch: Callable[[Any], None]) -> Any:
    from muscle_gov import Fitting, plugins

    offers = plugins.load()
    common = {"device": bench.device, "dtype": bench.dtype}
    common |= {"threads": bench.threads} if bench.device == "cpu" else {}
    options = {
        "path": str(bench.folder / "rows.jsonl"),
        "prompt": "{{ question }}",
        "target": "{{ answer }}",
    }
    sides = {
        side: offers.make(
            "loaders",
            "hf",
            common
            | {"path": str(bench.folder / side), "adapter": str(bench.folder / f"{side}-adapter")},
        )
        for side in ("old", "new")
    }
    return Fitting(
        name=name,
        old=sides["old"],
        new=sides["new"],
        training={"rows": offers.make("suites", "table", options)},
        workdir=bench.folder / "mended" / name,
        watch=watch,
    )
