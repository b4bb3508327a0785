"""Goes part of the way from the candidate's adapter to a mended one, or a little beyond.

A mended adapter trades accuracy for consistency by the loss that it was trained with. On the straight
line between the candidate and it lie models with every share of that trade, and none of them has to be
trained: they are written down exactly and looked at on held-out rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from muscle_gov import Candidate, Fitting, hookimpl
from muscle_gov_plugins._fit_mitigation import conclude
from muscle_gov_plugins.loader_hf import HfLoader


@hookimpl
def register_mitigations() -> dict[str, type]:
    return {"interpolate": Interpolate}


@dataclass(frozen=True, kw_only=True)
class Interpolate:
    """The best adapter on the line from the candidate's to a mended one, by held-out rows."""

    of: Any = field(default=None, metadata={"refers_to": "mitigations"})
    """Name of the mitigation whose adapter is the line's end; it is fitted first."""
    adapter: str | Path | None = None
    """Directory of a mended adapter, in the place of `of`."""
    points: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
    """Where on the line to look: 0 is the candidate, 1 the mended adapter, and more is beyond it."""
    tolerance: float = 0.005
    """How much accuracy on the held-out rows may be lost against the candidate, as a share."""
    validation: float = 0.2
    """About the share of the labelled rows that is looked at. With `of`, and where the adapter's folder
    says how it was trained, that training's own: rows that were trained on tell nothing."""
    seed: int = 0
    """Of that split, in the same way."""

    def __post_init__(self) -> None:
        problems = []
        if (self.of is None) == (self.adapter is None):
            problems.append("of: give this or adapter, and not both")
        if self.of is not None and not hasattr(self.of, "fit"):
            problems.append(f"of: must be a mitigation, not {self.of!r}")
        if not self.points or not all(0 <= point <= 2 for point in self.points):
            problems.append("points: must be numbers from 0 to 2, one at least")
        if not 0 <= self.tolerance < 1:
            problems.append(f"tolerance: must be at least 0 and below 1, not {self.tolerance}")
        if not 0 < self.validation < 1:
            problems.append(f"validation: must be above 0 and below 1, not {self.validation}")
        if problems:
            raise ValueError("; ".join(problems))

    def check(self, fitting: Fitting) -> None:
        """Raises InputError for models that this cannot work with, before anything is run."""
        from muscle_gov_plugins._fit_check import check_line

        check_line(fitting, self.adapter)
        own = getattr(self.of, "check", None)
        if own is not None:
            own(self.end(fitting))

    def fit(self, fitting: Fitting) -> HfLoader:
        from muscle_gov_plugins._fit_interpolate import interpolate

        return interpolate(self, fitting)

    def end(self, fitting: Fitting) -> Fitting:
        """The fitting of the mitigation at the line's end, in a folder beside."""
        if fitting.beside is not None:
            return fitting.beside(self.of)  # where it is fitted for its own sake too
        folder = fitting.workdir.with_name(f"{fitting.workdir.name}-end")
        return dataclasses.replace(fitting, workdir=folder)

    def controls(self, fitting: Fitting) -> Mapping[str, Any]:
        """Those of the mitigation at the line's end, which the line must be judged beside too."""
        own = getattr(self.of, "controls", None)
        return own(self.end(fitting)) if own is not None else {}

    def conclude(self, fitting: Fitting, candidates: Sequence[Candidate]) -> None:
        conclude(fitting, candidates)
