"""Distils the ensemble of old model and update into one adapter.

Running both models and averaging their probabilities flips far fewer answers than any adapter, at twice
the price. Distillation needs questions and no right answers, and of questions a deployed model has
plenty: so the ensemble answers unlabelled ones itself, and the student learns its probabilities there
too. How much the old model counts is chosen on held-out rows of the training data, never on what the
gate judges.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from muscle_gov import Candidate, Fitting, hookimpl
from muscle_gov_plugins._fit_mitigation import conclude, controls
from muscle_gov_plugins._fit_recipe import Recipe
from muscle_gov_plugins._loss_table import ROWS, LossSettings
from muscle_gov_plugins.loader_ensemble import EnsembleLoader
from muscle_gov_plugins.loader_hf import HfLoader

if TYPE_CHECKING:
    from muscle_gov_plugins._fit_rows import Data
    from muscle_gov_plugins._fit_run import Settled
    from muscle_gov_plugins._fit_work import Work


@hookimpl
def register_mitigations() -> dict[str, type]:
    return {"ensemble-distil": EnsembleDistil}


@dataclass(frozen=True, kw_only=True)
class EnsembleDistil(Recipe):
    """Distils the mixture of old model and update, on rows with right answers and on questions without:
    those the mixture answers itself."""

    weight: float | Literal["choose"] = "choose"
    """The old model's share in the mixture, between 0 and 1; `choose` takes the one of `weights` that
    flips least on held-out rows."""
    weights: tuple[float, ...] = (0.4, 0.5, 0.6)
    """What is chosen from. The more the old model counts the fewer answers flip, but where it is the
    weaker one its mistakes come with it, and a few hundred held-out rows do not show that surely."""
    tolerance: float = 0.0
    """How much accuracy on the held-out rows the mixture may lose against the update, as a share."""
    answers: Literal["greedy", "sampled"] = "greedy"
    """How questions without an answer are answered: with the likeliest tokens, or drawn by their
    probability."""
    temperature: float = 1.0
    """Scores of teacher and student are divided by it before the softmax."""
    scale_by_t2: bool = False
    """Whether the divergence is multiplied by temperature squared."""
    direction: Literal["forward", "reverse"] = "forward"
    """`forward` is KL(teacher || student), `reverse` KL(student || teacher)."""
    compat_weight: float = 1.0
    """λ of L = λ·KL + (1-λ)·CE: at 1 there is no cross-entropy."""

    checkpoint_by: Literal["validation", "last"] = "last"
    """Which weights are kept: the last, or those of the least cross-entropy on the held-out answers.
    That is not what is learnt here, so it is a bad judge of it."""

    def problems(self) -> list[str]:
        found = []
        if self.weight != "choose" and not 0 < self.weight < 1:
            found.append(f"weight: must be between 0 and 1, or choose, not {self.weight}")
        if not self.weights or not all(0 < weight < 1 for weight in self.weights):
            found.append("weights: must be numbers between 0 and 1, one at least")
        if not 0 <= self.tolerance < 1:
            found.append(f"tolerance: must be at least 0 and below 1, not {self.tolerance}")
        try:
            ROWS["mixture"].resolve(self.settings(0.5))
        except ValueError as error:
            found.append(str(error))
        return found

    def settings(self, weight: float) -> LossSettings:
        """What this says of the loss, with the old model's share."""
        return LossSettings(
            temperature=self.temperature,
            scale_by_t2=self.scale_by_t2,
            direction=self.direction,
            compat_weight=self.compat_weight,
            old_weight=weight,
        )

    def check(self, fitting: Fitting) -> None:
        """Raises InputError for models that this cannot train or learn from, before anything is run."""
        from muscle_gov_plugins._fit_check import check_models

        check_models(fitting, self, frozenset({"old", "new"}))

    def fit(self, fitting: Fitting) -> HfLoader:
        from muscle_gov_plugins._fit_run import Plan, fit

        plan = Plan(
            kind="ensemble-distil",
            options=dataclasses.asdict(self),
            recipe=self,
            row="mixture",
            settings=self.settings(0.5 if self.weight == "choose" else self.weight),
            settle=self._settle,
        )
        return fit(plan, fitting)

    def controls(self, fitting: Fitting) -> Mapping[str, Any]:
        """As for every mitigation, for as many steps as this takes. Where `steps` does not say, the data
        are read to count them."""
        from muscle_gov_plugins._fit_check import has_answers

        if self.steps is not None or fitting.old is None or not has_answers(fitting.training):
            return controls(self, fitting)
        from muscle_gov_plugins._fit_work import Work

        data = Work(fitting, self, frozenset({"old", "new"})).read()
        return controls(self, fitting, self.total_steps(self._rows_asked(data)))

    def conclude(self, fitting: Fitting, candidates: Sequence[Candidate]) -> None:
        conclude(fitting, candidates)

    def _settle(self, work: Work, data: Data) -> Settled:
        """Choose the weight, then have the mixture answer what has no answer."""
        from muscle_gov_plugins._fit_choose import choose_weight
        from muscle_gov_plugins._fit_run import Settled

        notes: dict[str, Any] = {}
        if self.weight == "choose":
            weight, notes["choice"] = choose_weight(work, data.held_out, self.weights, self.tolerance)
        else:
            weight = self.weight
        steps = self.total_steps(self._rows_asked(data))
        if data.unlabelled:
            data, notes["filled"] = self._fill(work, data, weight)
        return Settled(data, self.settings(weight), steps, notes)

    def _fill(self, work: Work, data: Data, weight: float) -> tuple[Data, dict[str, Any]]:
        from muscle_gov_plugins._fit_encoder import Encoder
        from muscle_gov_plugins._fit_fill import Asking, fill
        from muscle_gov_plugins._fit_rows import with_filled

        both = EnsembleLoader((work.old, work.new), (weight, 1 - weight))
        asking = Asking(
            temperature=1.0 if self.answers == "sampled" else 0.0,
            seed=self.seed,
            limit_tokens=work.limit_tokens,
        )
        found = fill(
            data.unlabelled,
            both,
            Encoder(work.new, work.tokenizer),
            work.fitting.workdir / "answers.jsonl",
            asking,
            lambda done, total: work.tell("asking the ensemble", done, total),
        )
        whole = with_filled(data, found.rows, self.validation, self.seed)
        whole = dataclasses.replace(whole, notes=(*data.notes, *found.notes))
        about = {"rows": len(found.rows), "of": len(data.unlabelled), "answers": self.answers}
        return whole, about

    def _rows_asked(self, data: Data) -> int:
        """Rows to train on once every question has an answer: so the number of steps is known before,
        and does not hang on the few that may get none."""
        if not data.train:
            from muscle_gov_plugins._fit_rows import split

            return len(split(data.unlabelled, self.validation, self.seed)[0])
        held = {row.group for row in data.held_out}
        return len(data.train) + sum(row.group not in held for row in data.unlabelled)
