"""What passes between suites and models: requests, outputs, grades, and what each says of itself.

A suite makes instances, asks requests about each and grades the outputs; a model answers requests.
Neither knows the other, and both know only this page. Values made by the thousand are named tuples.

`None` always means "not known" or "not applicable".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from muscle_gov.data import NOTHING, Outcome


class Request(NamedTuple):
    """What a model is asked: to go on with a text, or how likely given continuations are."""

    prompt: str | tuple[Mapping[str, str], ...]
    """Plain text, or chat messages `{"role": ..., "content": ...}`. A last message of the role
    `assistant` is gone on with, not answered. "" is allowed with `choices`: the model then starts
    from its first token (BOS, or EOS where it has none)."""
    choices: tuple[str, ...] | None = None
    """Continuations, to be scored by log-likelihood, each taken to follow the prompt to the letter (so
    ` Paris`, with its space). None asks for generated text, and the fields below apply."""
    max_tokens: int = 256
    """Most tokens to generate."""
    temperature: float = 0.0
    """0 is greedy decoding."""
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    """Strings that end the text; the text is cut before the first of them."""
    seed: int | None = None
    """Of this request alone: equal seeds give equal samples, whatever else is in the batch."""
    logprobs: bool = False
    """Whether the log-probabilities of the generated tokens are wanted."""


class Output(NamedTuple):
    """What a model answered: exactly one of `text`, `choice_logprobs` and `error` is set."""

    text: str | None = None
    """The generated text, cut before the stop string, special tokens left out."""
    choice_logprobs: tuple[float, ...] | None = None
    """Natural logarithm of each choice's probability given the prompt, summed over its tokens."""
    choice_tokens: tuple[int, ...] | None = None
    """Tokens in each choice, for normalising."""
    choice_greedy: tuple[bool, ...] | None = None
    """Whether greedy decoding would have given the choice."""
    tokens: int | None = None
    """Tokens generated, the end-of-text token included."""
    token_logprobs: tuple[float, ...] | None = None
    """Natural logarithms of the generated tokens' probabilities, where they were asked for."""
    prompt_tokens: int | None = None
    """Tokens in the prompt, and in all choices together."""
    finish_reason: str | None = None
    """`stop` (the model ended it, or a stop string did) or `length` (cut at `max_tokens`)."""
    seconds: float | None = None
    """How long this answer took, where the engine can tell."""
    error: str | None = None
    """Why there is no answer; the prediction's outcome is then `error`."""


class Instance(NamedTuple):
    """One item of a suite."""

    key: str
    """The suite's own name of it, unique in the suite: shown to people."""
    content_hash: str
    """Hash of the item itself (question, target, choices), free of its position and of the prompt:
    by it old and new answers are paired."""
    target: str | None = None
    """The right answer, as shown."""
    tags: Mapping[str, str] = NOTHING
    """What slices are made of."""
    cluster: str | None = None
    """Instances of one cluster are not independent."""
    input_hash: str | None = None
    """Hash of the question alone, without the right answer and without examples: by it, training data
    that overlap what is judged are found even where they have no answers. None: made from the first
    request."""
    data: Any = None
    """Whatever the suite needs to make the requests and to grade."""
    prompt_hash: str | None = None
    """Of what the model is asked, where another harness's hash is to be matched; None: made from the
    requests."""


class Grade(NamedTuple):
    """How the outputs for one instance were judged."""

    outcome: Outcome
    score: float | None = None
    """The primary score."""
    answer: str | None = None
    """The extracted answer; two answers are the same if these strings are."""
    scores: Mapping[str, float] = NOTHING
    """Further scores by name."""
    why: str | None = None
    """For `unscored`: the reason."""
    part: str = ""
    """Which of `SuiteFacts.parts` this is."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a loader says of its model without loading it: all that the answers depend on.

    Equal facts promise equal answers, but for float noise; `name` and `remarks` apart, their digest is
    the model's fingerprint, and an answer is kept under it.
    """

    name: str
    """Shown unless the user gives another; the last part of a path, say."""
    engine: str
    """What runs it, with its version: `transformers 5.23.0`."""
    dtype: str | None = None
    """What it computes in: `float32`, `bfloat16`; never `auto`."""
    quantization: str | None = None
    """`bitsandbytes 4-bit nf4`; `none` for weights as they were trained; None if that is not known."""
    chat_template: str | None = None
    """For messages: `own` for the tokenizer's own, the digest of another, "" if there is none. Old and
    new must agree in it where messages are sent; the digest of an own one stands in `digests`."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """What the model is made of (weights, adapter, tokenizer, chat_template) → digest or revision."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further choices that change answers: device type, truncation, attention."""
    remarks: Mapping[str, Any] = field(default_factory=dict)
    """What does not change answers: where it lies, the device's name. No part of the fingerprint."""


@dataclass(frozen=True, kw_only=True)
class SuiteFacts:
    """What a suite says of itself: all that its requests and grades depend on, besides its instances.

    Equal facts promise equal grades of equal outputs.
    """

    task: str
    """Shown unless the user gives another name."""
    metric: str
    """Name of the primary score."""
    other_metrics: tuple[str, ...] = ()
    higher_is_better: bool = True
    parts: tuple[str, ...] = ("",)
    """Where one instance is graded in several ways (filters), each of which is a suite of its own,
    `task/part`: their names. Each instance gives one `Grade` for each of them."""
    harness: str = "muscle-gov"
    """Whose rules it follows; runs of different harnesses are not compared."""
    harness_version: str | None = None
    version: str | None = None
    """Of the task."""
    dataset: str | None = None
    """Name of the data, with its revision where there is one."""
    split: str | None = None
    n_shot: int | None = None
    """Number of examples in the prompt."""
    system_prompt: str | None = None
    """Text or digest; "" if there is none."""
    scorer: str | None = None
    """How answers are extracted and scored, in words or as a digest."""
    decoding: Mapping[str, Any] = field(default_factory=dict)
    """Temperature, stop strings, token limits."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further choices that change requests or grades, e.g. the prompt's template."""
    notes: tuple[str, ...] = ()
    """What whoever reads the verdict must know of it."""


@dataclass
class FitStanding:
    """How far a mitigation's training has come; the same object is told again and again."""

    name: str
    """Of what is being trained."""
    phase: str = "preparing"
    """What is being done: `preparing`, `asking the old model`, `training`, `choosing`, `done`."""
    done: int = 0
    """Steps, or rows, of this phase that are done; what an earlier call did is counted."""
    total: int = 0
    """Of this phase; 0 where it is not known."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """What is worth watching, by name: `loss`, `KL to old`, `aligned to old` (a share of the tokens)."""
