"""How much surer a model was of the right choice than of the best other one.

Readers and our own predictions write what was found for multiple choice into the raw output as one line
a choice, `<log-likelihood>  <choice>`. Here those lines are read back. A model that generates text
could write such lines itself, so nothing is believed that has not the same choices on both sides, the
right one among them, with logarithms of probabilities beside each.
"""

from __future__ import annotations

import math
import re

# what a choice may say goes on over further lines, as long as they do not begin with a number
_LINE = re.compile(r"^(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|-inf)  (?=\S| \S)", re.MULTILINE)
_FLOAT_NOISE = 1e-3
"""A certain choice may lie a little above probability 1."""

Choices = tuple[tuple[str, float], ...]
"""(choice, log-likelihood) in the order of the output"""


def margins(
    old_output: str | None, new_output: str | None, target: str | None
) -> tuple[float | None, float | None]:
    """The log-probability margin of both sides in nats: right choice less the best other, whole sums.

    Above 0 the right choice was the likelier one, before any division by length, so in a suite that
    divides (`acc_norm`) the sign need not be that of the outcome. Several choices that read like the
    target all count as right. (None, None) where the outputs do not hold log-likelihoods of the same
    choices, or none of these is the target; one None where a side gives a choice no probability at all.
    """
    old, new = _choices(old_output), _choices(new_output)
    if target is None or old is None or new is None:
        return None, None
    names = [name for name, _ in old]
    right = target.strip()
    if sorted(names) != sorted(name for name, _ in new) or right not in names:
        return None, None
    return _margin(old, right), _margin(new, right)


def _margin(choices: Choices, right: str) -> float | None:
    wanted = [score for name, score in choices if name == right]
    others = [score for name, score in choices if name != right]
    if not others:
        return None
    found = max(wanted) - max(others)
    return found if math.isfinite(found) else None


def _choices(output: str | None) -> Choices | None:
    """The choices that an output lists; None if it is a text."""
    if output is None or not (output[:1] == "-" or output[:1].isdigit()):
        return None
    pieces = _LINE.split(output)
    if pieces[0] or len(pieces) < 5:
        return None
    scores = [float(piece) for piece in pieces[1::2]]
    if any(score > _FLOAT_NOISE for score in scores):
        return None
    names = [piece.strip() for piece in pieces[2::2]]
    half = len(names) // 2
    if len(names) % 2 == 0 and names[:half] == names[half:] and half > 1:
        # the second half are the bare choices of mutual information
        return tuple(zip(names[:half], scores[:half], strict=True))
    return tuple(zip(names, scores, strict=True))
