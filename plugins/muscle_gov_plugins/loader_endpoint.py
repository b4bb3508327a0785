"""Runs a model behind any OpenAI-compatible server: vLLM, TGI, llama.cpp, or a hosted one.

What serves there cannot be looked at, so its identity is what the user says of it: the address, the
name at the server, and `revision`. The key never enters an option, the store or a message: an option
holds the name of the environment variable that has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from muscle_gov import Model, ModelError, ModelFacts, hookimpl
from muscle_gov_plugins._endpoint_secrets import is_secret_name, secret_names

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWN_FIELDS = frozenset(
    [
        *("model", "prompt", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p"),
        *("stop", "seed", "logprobs", "stream", "n", "echo", "prompt_logprobs"),
        *("continue_final_message", "add_generation_prompt"),
    ]
)
"""Fields of the request's body that the loader sets itself."""
_OF_THE_ANSWERS = ("api", "continuation", "leave_out", "max_tokens_field", "extra_body", "headers")
"""Options that change what is asked."""


@hookimpl
def register_loaders() -> dict[str, type]:
    return {"endpoint": Endpoint}


@dataclass(frozen=True)
class Endpoint:
    """Any server that speaks the OpenAI protocol for chat or text completions."""

    url: str
    """Base address, up to and with `/v1`: `http://localhost:8000/v1`."""
    model: str
    """The model's name at the server."""
    revision: str | None = None
    """What serves there, in your words: a commit, a version, a date. The weights cannot be seen from
    here, so answers are kept under address, name and this; change it when the server's model changes."""
    api: Literal["auto", "chat", "completions"] = "auto"
    """`auto`: messages are sent as chat, plain prompts as text completions. `chat`: a plain prompt is
    sent as one user message. `completions`: messages are an error, since the template is unknown."""
    key_variable: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; if it is not set, no key is sent."""
    key_header: str = "Authorization"
    """The header that carries the key: in `Authorization` it is `Bearer KEY`, in another KEY alone."""
    concurrency: int = 8
    """Most requests under way at once."""
    timeout: float = 120.0
    """Seconds that one try may take, from connecting to the last byte."""
    retries: int = 5
    """How often a request that failed for now (timeout, no connection, 408, 409, 425, 429, 5xx) is
    tried again."""
    backoff: float = 1.0
    """Seconds before the first new try; doubled for each further one, less up to a half by chance. A
    `Retry-After` of the server counts instead."""
    max_wait: float = 60.0
    """Most seconds between two tries; a longer `Retry-After` is cut to it."""
    give_up_after: int = 16
    """So many requests in a row that failed for good, by the server's fault, end the asking: all others
    become errors at once."""
    continuation: Literal["refuse", "fields", "as_is"] = "refuse"
    """Messages that end with one of the assistant are to be gone on with, which not every server does.
    `refuse`: an error; `fields`: asked for with `continue_final_message` (vLLM, SGLang); `as_is`: the
    server does it unasked."""
    leave_out: tuple[Literal["temperature", "top_p", "seed", "stop"], ...] = ()
    """Fields that the server refuses. Without `stop` the text is cut here, after it was generated."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the limit of tokens in chat."""
    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Further fields for the body of every request; none that holds a secret."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers; none that holds a secret."""
    engine: str = "OpenAI-compatible endpoint"
    """What runs there, as far as you know, `vllm 0.32.0`: told beside the answers, never checked."""
    dtype: str | None = None
    """What it computes in, as far as you know."""
    quantization: str | None = None
    """How it is quantised, as far as you know."""

    def __post_init__(self) -> None:
        problems = [*self._wrong_address(), *self._wrong_numbers(), *self._wrong_mappings()]
        if problems:
            raise ValueError("; ".join(problems))

    # ----------------------------------------------------------------------------------- protocol

    def facts(self) -> ModelFacts:
        """What the user says of the model; the server is not asked."""
        _need_httpx()
        settings = {name: self._stated(name) for name in _OF_THE_ANSWERS if self._is_changed(name)}
        stated = {"revision": self.revision} if self.revision is not None else {}
        return ModelFacts(
            name=self.model.rstrip("/").rpartition("/")[2],
            engine=self.engine,
            dtype=self.dtype,
            quantization=self.quantization,
            chat_template="" if self.api == "completions" else None,
            digests={"endpoint": self.base, "model": self.model, **stated},
            settings={"api": self.api, **settings},
        )

    def open(self) -> AbstractContextManager[Model]:
        """A model that asks the server. Nothing is sent before the first request is."""
        _need_httpx()
        from muscle_gov_plugins._endpoint_client import key_headers
        from muscle_gov_plugins._endpoint_model import opened

        return opened(self, key_headers(self.key_variable, self.key_header))

    @property
    def base(self) -> str:
        """The address without a slash at its end."""
        return self.url.rstrip("/")

    # ------------------------------------------------------------------------------------ options

    def _is_changed(self, name: str) -> bool:
        declared = next(f for f in fields(self) if f.name == name)
        make = declared.default_factory
        default = declared.default if make is MISSING else make()
        return bool(getattr(self, name) != default)

    def _stated(self, name: str) -> Any:
        from muscle_gov.logs import content_hash

        value = getattr(self, name)
        if name == "headers":  # their values are nobody's business
            return content_hash(dict(value))
        return dict(value) if isinstance(value, Mapping) else value

    def _wrong_address(self) -> Iterator[str]:
        try:
            parts = urlsplit(self.url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            yield f"url: is no address ({error})"
            return
        if "@" in parts.netloc or parts.query or parts.fragment:  # never shown: it may hold a secret
            yield "url: must hold no user, password, ? or #; name the key's variable in key_variable"
        elif parts.scheme not in ("http", "https") or not host:
            yield f"url: must be like http://localhost:8000/v1, not {self.url!r}"
        elif parts.path.rstrip("/").endswith("/completions"):
            yield f"url: must be the base address, without what follows /v1, not {self.url!r}"
        if not self.model:
            yield "model: must not be empty; the server's list of models has its names"

    def _wrong_numbers(self) -> Iterator[str]:
        for name, least in (("concurrency", 1), ("retries", 0), ("give_up_after", 1), ("backoff", 0)):
            if getattr(self, name) < least:
                yield f"{name}: must be at least {least}, not {getattr(self, name)}"
        for name in ("timeout", "max_wait"):
            if not 0 < getattr(self, name) < float("inf"):
                yield f"{name}: must be a number of seconds above 0, not {getattr(self, name)}"

    def _wrong_mappings(self) -> Iterator[str]:
        for name in sorted(_OWN_FIELDS & set(self.extra_body)):
            yield f"extra_body: {name!r} is set by the suite's requests and by other options"
        for name in dict.fromkeys(secret_names(self.extra_body)):
            yield f"extra_body: {name!r} holds a secret; name its variable in key_variable"
        for name, value in self.headers.items():
            if name.lower() == self.key_header.lower() or is_secret_name(name):
                yield f"headers: {name!r} holds a secret; name its variable in key_variable"
            elif not (name.isascii() and name.isprintable() and value.isascii() and value.isprintable()):
                yield f"headers: {name!r} has characters that no header may hold"


def _need_httpx() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("httpx", "anyio") if find_spec(name) is None]
    if missing:
        raise ModelError(
            f"the loader 'endpoint' needs {' and '.join(missing)}; pip install 'muscle-gov[endpoint]'"
        )
