"""Mend an update and judge it again, beside the controls that show what the mending is worth.

A mended model is judged like any other: by the same comparison with the old model, the same rules and
the same answers in the store. What it was trained on is never what it is judged by; that is looked at
before anything is trained. If the update does not pass, the first mitigation of the file that does is
the one the verdict is about: their order is given before their results are known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from muscle_gov import compare as comparing
from muscle_gov.compare import Sides
from muscle_gov.config import LiveModel, Update
from muscle_gov.data import Candidate, Measure, Status
from muscle_gov.errors import UsageError
from muscle_gov.fit import WatchFit, check_training, fitting_of, refitting, sides_of
from muscle_gov.hookspecs import Fitting, Loader, Mitigation
from muscle_gov.pipeline import (
    Judged,
    Predicting,
    check_all,
    compare_runs,
    facts,
    judge_again,
    predict_model,
)
from muscle_gov.plugins import Plugins
from muscle_gov.settings import CompareSettings, Policy
from muscle_gov.store import Store, candidates, records


@dataclass(frozen=True)
class Bench:
    """What candidates are judged with."""

    store: Store
    plugins: Plugins
    predicting: Predicting
    settings: CompareSettings
    policy: Policy
    command: str | None


@dataclass(frozen=True)
class Tried:
    """A candidate with the runs that its comparison rests on."""

    candidate: Candidate
    runs: tuple[int, ...]


def run_mend(
    store: Store,
    plugins: Plugins,
    update: Update,
    predicting: Predicting,
    command: str | None = None,
    watch: WatchFit = lambda _: None,
) -> Judged:
    """Judge the update, then what mends it, then the controls; everything is kept as it comes.

    Returns the verdict on the update if it passes, if it cannot be compared, or if nothing passes, else
    on the first mitigation that passes; its report lists all candidates. Raises InputError if anything
    is trained on what is judged, UsageError if the file has no mitigations or a side is a log.
    """
    old, new = sides_of(update)
    if not update.mitigations:
        raise UsageError(f"{update.path}: has no [mitigations.NAME] to mend the update with")
    check_all([old, new], predicting.suites)
    check_training(update)
    fittings = {key: fitting_of(update, plugins, one, watch) for key, one in update.mitigations.items()}
    for key, mending in update.mitigations.items():
        check = getattr(mending.mitigation, "check", None)
        if check is not None:
            check(fittings[key])  # what is known to be wrong is told before hours are spent
    bench = Bench(store, plugins, predicting, update.compare, update.policy, command)
    old_runs = _runs(bench, old)
    first = _tried(bench, old_runs, new, role="update", about="the update as it came")
    tried: list[Tried] = []

    def keep(one: Tried) -> None:
        tried.append(one)
        found = [each.candidate for each in tried]
        candidates.save(store, found, chosen(found))

    keep(first)
    trained: list[tuple[Mitigation, Fitting]] = []
    mended: list[str] = []
    for key, mending in update.mitigations.items():
        if update.mend.stop == "passed" and tried[-1].candidate.verdict.status is Status.PASS:
            break
        model = LiveModel(key, key, mending.mitigation.fit(fittings[key]))
        keep(_tried(bench, old_runs, model, role="mitigation", about=_about(mending.mitigation)))
        mended.append(key)
        trained.append((mending.mitigation, fittings[key]))
    if update.mend.controls:
        asking = {key: fittings[key] for key in mended}
        for control in _controls(bench, update, asking, old_runs, first, trained):
            keep(control)
    found = tuple(one.candidate for one in tried)
    for mitigation, fitting in trained:
        conclude = getattr(mitigation, "conclude", None)
        if conclude is not None:
            conclude(fitting, found)
    policy = dataclasses.replace(update.policy, given_by=command)
    return with_candidates(store, plugins, chosen(found), policy, update.compare.allow)


def chosen(found: Sequence[Candidate]) -> Candidate:
    """Whom the verdict is about: the update if it passes, if it cannot be compared with the old model,
    or if nothing passes; else the first mitigation that passes. A control never ships."""
    if found[0].verdict.status in (Status.PASS, Status.INCOMPARABLE):
        return found[0]
    passing = (one for one in found if one.role == "mitigation" and one.verdict.status is Status.PASS)
    return next(passing, found[0])


# -------------------------------------------------------------------------------- what is judged


def _runs(bench: Bench, model: LiveModel) -> tuple[int, ...]:
    return tuple(one.run.run_id for one in predict_model(bench.store, model, bench.predicting))


def _tried(
    bench: Bench,
    old_runs: Sequence[int],
    model: LiveModel,
    *,
    role: str,
    about: str,
    of: str | None = None,
    noise_from: Sequence[int] | None = None,
) -> Tried:
    """A model, run on the suites and judged against the old one."""
    runs = _runs(bench, model)
    judged = compare_runs(
        bench.store, bench.plugins, (old_runs, runs), bench.settings, bench.policy, bench.command
    )
    candidate = Candidate(
        name=model.name or model.loader.facts().name,
        role=role,
        about=about,
        comparison=judged.comparison,
        verdict=judged.verdict,
        cost=float(getattr(model.loader, "cost", 1.0)),
        of=of,
        noise=None if noise_from is None else _noise(bench, noise_from, runs),
    )
    return Tried(candidate, runs)


def _noise(bench: Bench, update: Sequence[int], refit: Sequence[int]) -> Mapping[str, Measure]:
    """Suite → NFR from the update to its re-fit."""
    sides = Sides(facts(bench.store, update), facts(bench.store, refit))
    id_ = records.new_id(bench.store)
    _, comparison = comparing.compare(bench.store, bench.plugins, sides, id_, bench.settings)
    every = [*comparison.suites, *([comparison.total] if comparison.total else [])]
    return {one.suite: one.measures["nfr"] for one in every if "nfr" in one.measures}


def _controls(
    bench: Bench,
    update: Update,
    fittings: Mapping[str, Fitting],
    old_runs: Sequence[int],
    first: Tried,
    trained: list[tuple[Mitigation, Fitting]],
) -> Iterator[Tried]:
    """The controls of all mitigations that were tried, each once; those that are trained are added to
    `trained`."""
    for name, (control, askers) in _wanted(update, fittings).items():
        is_refit = bool(getattr(control, "is_refit", False))
        if isinstance(control, Loader):
            loader: Loader = control
        else:
            fitting = _beside(fittings[askers[0]], control, name)
            if is_refit:
                fitting = refitting(update, fitting)
            loader = control.fit(fitting)
            trained.append((control, fitting))
        yield _tried(
            bench,
            old_runs,
            LiveModel(name, name, loader),
            role="control",
            about=_about(control),
            of=askers[0] if len(askers) == 1 and len(fittings) > 1 else None,
            noise_from=first.runs if is_refit else None,
        )


def _wanted(
    update: Update, fittings: Mapping[str, Fitting]
) -> dict[str, tuple[Mitigation | Loader, list[str]]]:
    """Name → (control, the mitigations that ask for it); equal ones on equal data once."""
    wanted: dict[str, tuple[Mitigation | Loader, list[str]]] = {}
    for key in fittings:
        for name, control in _controls_of(update, fittings, key).items():
            askers = next(
                (a for c, a in wanted.values() if _is_same(update, c, control, a[0], key)), None
            )
            if askers is not None:
                askers.append(key)
                continue
            is_free = name not in wanted and name not in {*update.mitigations, _name_of(update)}
            wanted[name if is_free else f"{name} of {key}"] = (control, [key])
    return wanted


def _name_of(update: Update) -> str:
    new = update.new
    return "" if not isinstance(new, LiveModel) else new.name or new.loader.facts().name


def _is_same(update: Update, one: Any, other: Any, of_one: str, of_other: str) -> bool:
    """Whether two mitigations ask for the same control. One that is trained is another on other data;
    a re-fit repeats what is recorded."""
    if one != other:
        return False
    is_trained = not isinstance(one, Loader) and not getattr(one, "is_refit", False)
    training = [set(update.mitigations[key].training) for key in (of_one, of_other)]
    return not is_trained or training[0] == training[1]


def _controls_of(
    update: Update, fittings: Mapping[str, Fitting], key: str
) -> Mapping[str, Mitigation | Loader]:
    controls = getattr(update.mitigations[key].mitigation, "controls", None)
    return controls(fittings[key]) if controls is not None else {}


def _beside(fitting: Fitting, control: Mitigation, name: str) -> Fitting:
    assert fitting.beside is not None  # noqa: S101 - fitting_of sets it
    return dataclasses.replace(fitting.beside(control), name=name)


def _about(offer: Any) -> str:
    """What a mitigation or loader is, in one line: its class's own words."""
    stated = getattr(offer, "about", None)
    words = " ".join(str(stated or type(offer).__doc__ or type(offer).__name__).split())
    return words.partition(". ")[0].rstrip(".").replace("`", "")


def with_candidates(
    store: Store, plugins: Plugins, about: Candidate, policy: Policy, allow: Sequence[str] = ()
) -> Judged:
    """The judged comparison of one of them, its report listing all, made anew from the store."""
    saved = records.find_comparison(store, about.comparison.id)
    found = list_candidates(store, plugins, saved.id, policy, allow)
    judged = judge_again(store, plugins, saved, policy, keep=False, allow=allow)
    return dataclasses.replace(judged, report=dataclasses.replace(judged.report, candidates=found))


def list_candidates(
    store: Store, plugins: Plugins, comparison_id: str, policy: Policy, allow: Sequence[str] = ()
) -> tuple[Candidate, ...]:
    """All candidates of the mending that a comparison is part of, each judged by this policy; none if
    the comparison is of no mending."""
    found = []
    for kept in candidates.find(store, comparison_id):
        saved = records.find_comparison(store, kept.comparison_id)
        judged = judge_again(store, plugins, saved, policy, keep=False, allow=allow)
        told = {f.name: getattr(kept, f.name) for f in dataclasses.fields(kept)}
        del told["comparison_id"], told["is_about"]
        found.append(Candidate(**told, comparison=judged.comparison, verdict=judged.verdict))
    return tuple(found)
