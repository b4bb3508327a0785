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
        asked = self.text.read([_as_asked(*pair) for pair in zip(requests, answers, strict=True)])
        wholes = self._wholes(requests, answers)
        done = [
            self._joined(request, answer, found, wholes.get(place))
            for place, (request, answer, found) in enumerate(zip(requests, answers, asked, strict=True))
        ]
        settled = self._settled(done, answers)
        ended = are_ended if are_ended is not None else [True] * len(settled)
        return [
            self._ended(request, one)
            if isinstance(one, Encoded) and answer is not None and request.choices is None and is_ended
            else one
            for request, answer, one, is_ended in zip(requests, answers, settled, ended, strict=True)
        ]

    def _wholes(
        self, requests: Sequence[Request], answers: Sequence[str | None]
    ) -> dict[int, Tokens | Refused]:
        """Place → prompt and answer tokenised together, where an answer is to be written."""
        plain: list[tuple[int, Request]] = []
        chats: list[tuple[int, str]] = []
        for place, (request, answer) in enumerate(zip(requests, answers, strict=True)):
            if request.choices is not None or not answer:
                continue
            if not request.prompt:
                plain.append((place, Request("", choices=(answer,))))
            elif isinstance(request.prompt, str):
                plain.append((place, Request(request.prompt + answer)))
            else:
                text = self.text._fill_template(request.prompt)
                if isinstance(text, str):  # else the prompt alone is refused too
                    chats.append((place, text + answer))
        unreadable = [place for place, text in chats if not _is_unicode(text)]
        chats = [(place, text) for place, text in chats if _is_unicode(text)]
        read = self.text.read([request for _, request in plain])
        found: dict[int, Tokens | Refused] = {
            place: one
            if isinstance(one, Refused)
            else np.concatenate((one.prompt, *(one.choices or ())))
            for (place, _), one in zip(plain, read, strict=True)
        }
        for (place, _), ids in zip(chats, self._tokenised([text for _, text in chats]), strict=True):
            found[place] = np.array(ids, np.int64)
        why = "prompt or answer has a lone surrogate, which no tokenizer reads"
        return found | dict.fromkeys(unreadable, Refused(why))

    def _joined(
        self,
        request: Request,
        answer: str | None,
        found: Asked | Refused,
        whole: Tokens | Refused | None,
    ) -> Encoded | Refused | _Open:
        if isinstance(found, Refused):
            return found
        prompt = found.prompt
        if request.choices is not None and answer is not None:  # as they are scored
            return Encoded(np.concatenate((prompt, *(found.choices or ())[:1])), len(prompt))
        if whole is None:
            return Encoded(prompt, len(prompt))
        if isinstance(whole, Refused):
            return whole
        if len(whole) > len(prompt) and common(whole, prompt) == len(prompt):
            return Encoded(whole, len(prompt))
        return _Open(prompt, whole)

    def _settled(
        self, done: Sequence[Encoded | Refused | _Open], answers: Sequence[str | None]
    ) -> list[Encoded | Refused]:
        """Where the prompt's tokens are no beginning of the whole: the answer's own tokens follow the
        prompt's if that is the same text, else the prompt ends where they part."""
        places = [place for place, one in enumerate(done) if isinstance(one, _Open)]
        alone = dict(zip(places, self._tokenised([answers[p] or "" for p in places]), strict=True))
        return [
            self._closed(one, alone[place]) if isinstance(one, _Open) else one
            for place, one in enumerate(done)
        ]

    def _closed(self, one: _Open, answer: Sequence[int]) -> Encoded | Refused:
        tokens = np.concatenate((one.prompt, np.array(answer, np.int64)))
        decode = self.text.tokenizer.decode
        if len(answer) and decode(tokens.tolist()) == decode(one.whole.tolist()):
            return Encoded(tokens, len(one.prompt))
        start = common(one.whole, one.prompt)
        if 0 < start < len(one.whole):
            return Encoded(one.whole, start, is_merged=True)
        return Refused("prompt and answer are one token, so there is nothing to predict it from")

    def _tokenised(self, texts: Sequence[str]) -> list[list[int]]:
        """Each text's tokens, with nothing put in front."""
        if not texts:
            return []
        found: list[list[int]] = self.text.tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return found

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
        ids = self._tokenised([tail])[0] if found and tail else []
        return int(ids[0]) if ids else -1


@dataclass(frozen=True, eq=False, slots=True)
class _Open:
    """Prompt, and prompt with answer, of which the first is no beginning of the second."""

    prompt: Tokens
    whole: Tokens


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_asked(request: Request, answer: str | None) -> Request:
    """The request as far as the prompt's tokens depend on it; of choices, the answer alone."""
    if request.choices is None:
        return Request(request.prompt)
    return Request(request.prompt, choices=request.choices if answer is None else (answer,))


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
