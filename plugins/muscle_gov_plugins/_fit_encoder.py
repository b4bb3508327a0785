"""Prompt and answer in the tokens that a prediction would meet.

A prompt that is to be gone on with is tokenised alone when the model is asked, so it is here, and the
answer is what follows these very tokens. Where the suite scores choices, prompt and choice are tokenised
as they are scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from muscle_gov import InputError, Request
from muscle_gov.logs import read_json
from muscle_gov_plugins._hf_plan import Tokens, common
from muscle_gov_plugins._hf_text import Asked, Refused, Text

if TYPE_CHECKING:
    from muscle_gov_plugins.loader_hf import HfLoader

_MARK = "answer"


@dataclass(frozen=True, eq=False, slots=True)
class Encoded:
    """A prompt and, if there is one, the answer after it."""

    tokens: Tokens
    prompt: int
    """How many of the tokens are the prompt."""
    is_merged: bool = False
    """Whether the answer's first token begins in the prompt's text, so that the prompt is cut short."""


class Encoder:
    """Makes rows of requests and answers as the model of `loader` is asked."""

    def __init__(self, loader: HfLoader, tokenizer: Any) -> None:
        self.name = str(loader.path)
        self.text = Text(tokenizer, loader.add_bos, loader.template())
        self._ends = _stated_ends(loader) | {tokenizer.eos_token_id}
        self._turn_end: int | None = None

    def encode(
        self,
        requests: Sequence[Request],
        answers: Sequence[str | None],
        are_ended: Sequence[bool] | None = None,
    ) -> list[Encoded | Refused]:
        """Each request with its answer, or the prompt alone where that is None.

        Written answers get an end-of-text token, but for those that `are_ended` calls unfinished.
        Raises InputError if the tokenizer has none.
        """
        asked: list[Request] = []
        places: list[tuple[int, int]] = []
        for request, answer in zip(requests, answers, strict=True):
            parts = _parts(request, answer)
            places.append((len(asked), len(asked) + len(parts)))
            asked += parts
        found = self.text.read(asked)
        done = [
            self._joined(request, answer, found[start:end])
            for request, answer, (start, end) in zip(requests, answers, places, strict=True)
        ]
        self._resolve(done, answers)
        ended = are_ended if are_ended is not None else [True] * len(done)
        return [
            self._ended(request, one)
            if isinstance(one, Encoded) and answer is not None and request.choices is None and is_ended
            else one
            for request, answer, one, is_ended in zip(requests, answers, done, ended, strict=True)
            if not isinstance(one, _Open)  # none is left
        ]

    def _joined(
        self, request: Request, answer: str | None, parts: Sequence[Asked | Refused]
    ) -> Encoded | Refused | _Open:
        refused = next((part for part in parts if isinstance(part, Refused)), None)
        if refused is not None:
            return refused
        read = [part for part in parts if isinstance(part, Asked)]
        prompt = read[0].prompt
        if answer is None or (request.choices is None and not answer):
            return Encoded(prompt, len(prompt))
        choices = read[-1].choices or ()
        whole = np.concatenate((read[-1].prompt, choices[0]))
        if request.choices is not None:
            return Encoded(whole, len(prompt))
        if len(whole) > len(prompt) and common(whole, prompt) == len(prompt):
            return Encoded(whole, len(prompt))
        return _Open(prompt, whole)

    def _resolve(self, done: list[Encoded | Refused | _Open], answers: Sequence[str | None]) -> None:
        """Settle those of which the prompt's tokens are no beginning of the whole: the answer's own
        tokens follow the prompt's if the text is the same, else the prompt ends where they part."""
        open_ones = [(place, one) for place, one in enumerate(done) if isinstance(one, _Open)]
        if not open_ones:
            return
        tokenizer = self.text.tokenizer
        alone = tokenizer(
            [answers[place] for place, _ in open_ones],
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        for (place, one), ids in zip(open_ones, alone, strict=True):
            tokens = np.concatenate((one.prompt, np.array(ids, np.int64)))
            if ids and tokenizer.decode(tokens.tolist()) == tokenizer.decode(one.whole.tolist()):
                done[place] = Encoded(tokens, len(one.prompt))
                continue
            start = common(one.whole, one.prompt)
            done[place] = (
                Encoded(one.whole, start, is_merged=True)
                if 0 < start < len(one.whole)
                else Refused("prompt and answer are one token, so there is nothing to predict it from")
            )

    # ------------------------------------------------------------------------------------ the end

    def _ended(self, request: Request, one: Encoded) -> Encoded:
        end = self._end(request)
        if len(one.tokens) > one.prompt and one.tokens[-1] in self._ends:
            return one  # the answer says itself that it ends
        return Encoded(np.append(one.tokens, np.int64(end)), one.prompt, one.is_merged)

    def _end(self, request: Request) -> int:
        """What ends the text: for messages what the template puts after an answer, if the model stops
        there; else EOS."""
        if not isinstance(request.prompt, str):
            if self._turn_end is None:
                self._turn_end = self._end_of_turn()
            if self._turn_end in self._ends:
                return self._turn_end
        eos: int | None = self.text.tokenizer.eos_token_id
        if eos is None:
            raise InputError(
                f"{self.name}: the tokenizer has no EOS token, so the model cannot learn where an "
                "answer ends; set eos_token in tokenizer_config.json"
            )
        return eos

    def _end_of_turn(self) -> int:
        """The first token after an answer in the chat template; -1 if that cannot be told."""
        messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": _MARK}]
        try:
            text = str(
                self.text.tokenizer.apply_chat_template(
                    messages, chat_template=self.text.template, tokenize=False
                )
            )
        except Exception:  # a template raises what it likes; predicting says so where it matters
            return -1
        _, found, tail = text.rpartition(_MARK)
        ids = self.text.tokenizer(tail, add_special_tokens=False)["input_ids"] if found and tail else []
        return int(ids[0]) if ids else -1


@dataclass(frozen=True, eq=False, slots=True)
class _Open:
    """Prompt, and prompt with answer, of which the first is no beginning of the second."""

    prompt: Tokens
    whole: Tokens


def _parts(request: Request, answer: str | None) -> list[Request]:
    """What has to be tokenised: the prompt as it is asked, and the prompt with the answer."""
    if request.choices is not None:
        shown = request.choices if answer is None else (answer,)
        return [Request(request.prompt, choices=shown)]
    asked = Request(request.prompt)
    return [asked, Request(request.prompt, choices=(answer,))] if answer else [asked]


def _stated_ends(loader: HfLoader) -> set[int | None]:
    """Tokens that the checkpoint says end a text."""
    ends: set[int | None] = set()
    for name in ("generation_config.json", "config.json"):
        file = loader.checkpoint().folder / name
        stated = read_json(file).get("eos_token_id") if file.is_file() else None
        ends.update(stated if isinstance(stated, list) else [stated])
        if stated is not None:
            break
    return ends - {None}
