"""By what a question is known again, whichever suite asks it and however it is typed.

Two questions with one hash are taken for the same when training data are compared with what is judged.
So what a copy changes by the way is left aside: case, width and form of letters, spacing, marks that do
not show, punctuation of words. What makes another question is kept: `3 - 4` is not `3 + 4`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from muscle_gov.logs import content_hash

_OPERATORS = frozenset("*/%^&@#\\|~")
_FORMULAS = frozenset(("Nd", "Nl", "No", "Sm", "Sc"))
_EDGES = frozenset(("Po", "Pi", "Pf"))


def input_hash(texts: Sequence[str]) -> str | None:
    """Hash of a question alone: of its text, or of those of its messages, or of its variants.

    It is made without the right answer, examples, description and chat template. None where there is no
    text.
    """
    plain = [plain_text(text) for text in texts]
    return content_hash("input", plain) if any(plain) else None


def plain_text(text: str) -> str:
    """A text without what a copy may change; "" where there is nothing to be seen in it."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    if not folded.isascii():
        folded = "".join(one for one in folded if unicodedata.category(one) != "Cf")
    words = folded.split()
    return " ".join(filter(None, map(_bare, words))) or " ".join(words)


@lru_cache(maxsize=1 << 15)
def _bare(word: str) -> str:
    """A word without punctuation and symbols; a number or a formula but for what ends a sentence."""
    kinds = [unicodedata.category(one) for one in word]
    if any(kind[0] == "L" for kind in kinds) and not any(map(_is_of_formulas, word, kinds)):
        return "".join(one for one, kind in zip(word, kinds, strict=True) if kind[0] not in "PS")
    inner = [place for place, one in enumerate(word) if not _is_edge(one, kinds[place])]
    if not inner:
        return ""
    kept = range(inner[0], inner[-1] + 1)
    return "".join("-" if kinds[place] == "Pd" else word[place] for place in kept)


def _is_of_formulas(one: str, kind: str) -> bool:
    return kind in _FORMULAS or one in _OPERATORS


def _is_edge(one: str, kind: str) -> bool:
    return one in "\"'`" or (kind in _EDGES and one not in _OPERATORS)
