"""The candidates of an update that was mended, and the comparisons that judged them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from muscle_gov.data import Candidate, Measure

if TYPE_CHECKING:
    from muscle_gov.store.connection import Store


@dataclasses.dataclass(frozen=True)
class SavedCandidate:
    """What is kept of a candidate beside its comparison."""

    comparison_id: str
    name: str
    role: str
    about: str
    cost: float
    is_about: bool
    """Whether the mending's verdict is about this one."""
    of: str | None
    noise: Mapping[str, Measure] | None


def save(store: Store, candidates: Sequence[Candidate], about: Candidate) -> None:
    """Keep them under the id of the update's own comparison, that of the first of them, in place of
    what is there. `about` is the one that the verdict is about."""
    mending_id = candidates[0].comparison.id
    with store.transaction():
        store.run("DELETE FROM candidates WHERE mending_id = ?", [mending_id])
        for place, one in enumerate(candidates):
            noise = {suite: dataclasses.asdict(m) for suite, m in (one.noise or {}).items()}
            store.run(
                "INSERT INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    mending_id,
                    place,
                    one.comparison.id,
                    one.name,
                    one.role,
                    one.about,
                    one.cost,
                    one.comparison.id == about.comparison.id,
                    one.of,
                    json.dumps(noise) if noise else None,
                ],
            )


def find(store: Store, comparison_id: str) -> list[SavedCandidate]:
    """The candidates of the newest mending that this comparison is part of, in their order; none if it
    is of none."""
    rows = store.rows(
        """SELECT comparison_id, name, role, about, cost, is_about, control_of, noise FROM candidates
        WHERE mending_id = (SELECT mending_id FROM candidates JOIN comparisons m
                ON m.comparison_id = mending_id
            WHERE candidates.comparison_id = ? ORDER BY m.rowid DESC LIMIT 1)
        ORDER BY place""",
        [comparison_id],
    )
    names = [field.name for field in dataclasses.fields(SavedCandidate)]
    found = []
    for row in rows:
        known: dict[str, Any] = dict(zip(names, row, strict=True))
        noise = json.loads(known["noise"]) if known["noise"] else None
        known["noise"] = noise and {suite: Measure(**told) for suite, told in noise.items()}
        found.append(SavedCandidate(**known))
    return found


def role_of(store: Store, comparison_id: str) -> str | None:
    """As what the comparison's model was judged, where an update was mended; None if it was not."""
    return next(
        (one.role for one in find(store, comparison_id) if one.comparison_id == comparison_id), None
    )
