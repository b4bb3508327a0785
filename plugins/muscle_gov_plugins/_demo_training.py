"""Tiny language models, trained in seconds on one core: real checkpoints that any loader reads.

The tokenizer takes each word, with the space before it, as one token, so that tokens and text are the
same thing and decoding gives back the text to the letter. Each document is a row of its own: nothing in
one document tells of another, and a model this small would first have to unlearn what stands before.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

UNKNOWN, PAD, BEGIN, END = "<unk>", "<pad>", "<s>", "</s>"
PIECES = r" ?[A-Za-z]+|\n|\s|[^A-Za-z\s]"
"""A word with the space before it, or any other character."""
SPREAD = 0.06
"""Standard deviation of the first weights. With the usual 0.02, meant for wide models, one this narrow
reads three times as many documents before it answers at all, and when it does is a matter of luck."""


def make_tokenizer(texts: Iterable[str]) -> Any:
    """A tokenizer that knows every piece of these texts, and takes anything else as unknown. Texts begin
    with `<s>`; `</s>` is left to the caller."""
    split = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    pieces = {piece for text in texts for piece, _ in split.pre_tokenize_str(text)}
    names = [UNKNOWN, PAD, BEGIN, END, *sorted(pieces)]
    core = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=UNKNOWN))
    core.pre_tokenizer = split
    core.decoder = decoders.Fuse()
    core.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, names.index(BEGIN))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token=UNKNOWN,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: Any, seed: int, hidden: int = 64, layers: int = 2, context: int = 256) -> Any:
    """An untrained Llama with heads of 32, the smallest that vLLM runs on a CPU."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
        head_dim=32,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        initializer_range=SPREAD,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def train(
    model: Any,
    tokenizer: Any,
    texts: Sequence[tuple[str, str]],
    seed: int,
    *,
    rate: float = 3e-3,
    rows: int = 48,
    prompt_weight: float = 0.3,
) -> float:
    """Read every (prompt, answer) once, `rows` of them a step. A prompt's token counts `prompt_weight`
    of what an answer's counts: prompts show which words belong together, but hold most tokens.
    Returns the mean loss of the last 50 steps, in nats a token so weighted."""
    encoded = _encoded(tokenizer, texts)
    batches = _batches([len(ids) for ids, _ in encoded], rows, seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    model.train()
    losses: list[float] = []
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = rate * _warmth(step, len(batches))
        ids, weights = _padded(
            [encoded[place] for place in batch], prompt_weight, tokenizer.pad_token_id
        )
        # padding stands at the end, where causal attention never looks from a real token
        counts = weights[:, 1:] > 0
        states = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
        each = cross_entropy(model.lm_head(states[counts]), ids[:, 1:][counts], reduction="none")
        loss = (each * weights[:, 1:][counts]).sum() / weights[:, 1:].sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return sum(losses[-50:]) / len(losses[-50:])


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """A directory that transformers and vLLM load."""
    logging.disable_progress_bar()
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _encoded(tokenizer: Any, texts: Sequence[tuple[str, str]]) -> list[tuple[list[int], int]]:
    """(tokens, how many of them are the prompt) of each text; an answer includes the end."""
    core = tokenizer.backend_tokenizer
    prompts = core.encode_batch([prompt for prompt, _ in texts])
    answers = core.encode_batch([answer for _, answer in texts], add_special_tokens=False)
    end = tokenizer.eos_token_id
    return [(p.ids + a.ids + [end], len(p.ids)) for p, a in zip(prompts, answers, strict=True)]


def _padded(rows: Sequence[tuple[list[int], int]], prompt_weight: float, pad: int) -> tuple[Any, Any]:
    """(tokens, weights) of a batch; padding weighs nothing."""
    longest = max(len(ids) for ids, _ in rows)
    tokens = torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in rows])
    weights = [
        [prompt_weight] * asked + [1.0] * (len(ids) - asked) + [0.0] * (longest - len(ids))
        for ids, asked in rows
    ]
    return tokens, torch.tensor(weights)


def _batches(lengths: Sequence[int], rows: int, seed: int) -> list[list[int]]:
    """The places of all texts in batches of about equal length, so that there is little padding: sorted
    within stretches of 16 batches, then shuffled."""
    chance = random.Random(seed)  # noqa: S311 - an order, not a secret
    batches = []
    for start in range(0, len(lengths), 16 * rows):
        stretch = sorted(range(start, min(start + 16 * rows, len(lengths))), key=lengths.__getitem__)
        some = [stretch[at : at + rows] for at in range(0, len(stretch), rows)]
        chance.shuffle(some)
        batches += some
    return batches


def _warmth(step: int, steps: int) -> float:
    """The learning rate as a share of its highest: up over 50 steps, then down along a cosine."""
    return min(1.0, (step + 1) / 50) * (0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * step / steps)))
