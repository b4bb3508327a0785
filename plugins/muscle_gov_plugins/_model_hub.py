"""The hub that models come from: files are brought into its local cache, and what goes wrong is told.

The library's own errors run over many lines, of which the first says what happened. Only that is shown,
so that what to do stands where it is read.
"""

from __future__ import annotations

import re
from pathlib import Path

from muscle_gov import InputError, ModelError

_LONGEST_REASON = 120


def snapshot(name: str, revision: str | None, patterns: list[str], option: str) -> Path:
    """The local folder with those files of a hub's repository that match one of `patterns`.

    Raises InputError, naming `option`, where they cannot be had, ModelError without the hub's library.
    """
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise ModelError(
            f"{name}: there is no such directory, and models of the hub need huggingface_hub; "
            "pip install 'muscle-gov[hf]'"
        ) from error
    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (errors.HFValidationError, errors.RepositoryNotFoundError) as error:
        message = f"{name}: there is neither such a directory nor such a model on the hub"
        raise InputError(f"{message} (option {option})") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{name}: the hub has no revision {revision!r} of it") from error
    except Exception as error:  # no network, no cache, no permission: the library raises many kinds
        raise InputError(
            f"{name}: there is no such directory, and it could not be had from the hub "
            f"({_reason(error)}); give a directory, or fetch the model first (option {option})"
        ) from error


def _reason(error: Exception) -> str:
    """The first sentence of an error, cut where it is long; its kind if it says nothing."""
    line = str(error).strip().partition("\n")[0]
    sentence = re.split(r"(?<=[.!?])\s", line, maxsplit=1)[0].strip().rstrip(".")
    if not sentence:
        return type(error).__name__
    return sentence if len(sentence) <= _LONGEST_REASON else f"{sentence[: _LONGEST_REASON - 1]}…"
