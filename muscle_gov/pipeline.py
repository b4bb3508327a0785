"""The whole way of the data on one page: logs or models → store → comparison → verdict → report.

The command line calls these functions and prints; whoever drives muscle-gov from Python may call
them too. Each step leaves its result in the store, so each can be repeated on its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from muscle_gov import compare as comparing
from muscle_gov import gate as gating
from muscle_gov.aside import day_of, set_aside
from muscle_gov.comparability import RunFacts
from muscle_gov.compare import Sides
from muscle_gov.config import LiveModel, Update
from muscle_gov.data import Comparison, Report, SuiteFigures, Verdict
from muscle_gov.errors import InputError, UsageError, did_you_mean
from muscle_gov.hookspecs import Suite
from muscle_gov.ingest import ImportedRun, Progress, ingest
from muscle_gov.plugins import Plugins
from muscle_gov.predict import PredictedRun, Watch, check_suites, expanded, predict
from muscle_gov.settings import (
    CompareSettings,
    Gate,
    MustNotRegress,
    Policy,
    PredictSettings,
    Quarantine,
    Rule,
    Source,
    Waiver,
)
from muscle_gov.store import Store, clock, flips, pairing, records

EDITION = 2
"""Of what tiers and waivers mean. It is kept with a verdict, so that a report of it says the same later;
in the first, supporting rules decided like critical ones and a waived slice might be of any size."""


@dataclass(frozen=True)
class Predicting:
    """What live models are run on, and how."""

    suites: Mapping[str, Suite]
    settings: PredictSettings
    watch: Watch | None = None


@dataclass(frozen=True)
class Judged:
    """A comparison with its verdict and its flips."""

    report: Report
    flips: flips.FlipList

    @property
    def comparison(self) -> Comparison:
        return self.report.comparison

    @property
    def verdict(self) -> Verdict:
        return self.report.verdict


def compare_logs(
    store: Store,
    plugins: Plugins,
    old: Source,
    new: Source,
    settings: CompareSettings,
    policy: Policy,
    command: str | None = None,
    progress: Progress | None = None,
) -> Judged:
    """Read both logs, compare, judge, and keep everything in the store."""
    old_runs = read_side(store, plugins, old, "old", progress)
    new_runs = read_side(store, plugins, new, "new", progress)
    return compare_runs(store, plugins, (old_runs, new_runs), settings, policy, command)


def run_update(
    store: Store,
    plugins: Plugins,
    update: Update,
    predicting: Predicting,
    command: str | None = None,
    progress: Progress | None = None,
) -> Judged:
    """Fill in the predictions that are missing on both sides, compare, judge, keep everything.

    A side that is a log is read; a model is asked only what the store has no answer to.
    """
    live = [given for given in (update.old, update.new) if isinstance(given, LiveModel)]
    check_all(live, predicting.suites if live else {})
    runs = []
    for side, given in (("old", update.old), ("new", update.new)):
        if isinstance(given, Source):
            runs.append(read_side(store, plugins, given, side, progress))
        else:
            runs.append([one.run.run_id for one in predict_model(store, given, predicting)])
    sides = runs[0], runs[1]
    return compare_runs(store, plugins, sides, update.compare, update.policy, command)


def check_all(models: Sequence[LiveModel], suites: Mapping[str, Suite]) -> None:
    """Look at every model and every suite before the first is asked: what is wrong with the last one
    must not cost the hours of the first."""
    for model in models:
        model.loader.facts()
    check_suites(expanded(suites))


def predict_model(store: Store, model: LiveModel, predicting: Predicting) -> list[PredictedRun]:
    """Run a model on all suites, as far as answers are missing."""
    return predict(
        store, model.name, model.loader, predicting.suites, predicting.settings, predicting.watch
    )


def compare_runs(
    store: Store,
    plugins: Plugins,
    run_ids: tuple[Sequence[int], Sequence[int]],
    settings: CompareSettings,
    policy: Policy,
    command: str | None = None,
) -> Judged:
    """Compare runs of the old and of the new model that the store holds, judge, and keep it all."""
    old_runs, new_runs = run_ids
    policy = dataclasses.replace(_dated(policy), given_by=command)
    id_ = records.new_id(store)
    sides = Sides(facts(store, old_runs), facts(store, new_runs))
    bench, comparison = comparing.compare(store, plugins, sides, id_, settings)
    runs = {
        "old": [dataclasses.asdict(run) for run in sides.old],
        "new": [dataclasses.asdict(run) for run in sides.new],
    }
    blocked = sorted(info.name for info in plugins.infos if info.blocked)
    kept = {"compare": dataclasses.asdict(settings), "blocked": blocked}
    records.save_comparison(store, comparison, runs, kept, command)
    judged = _judge(store, bench, comparison, policy, command)
    _keep(store, judged, policy, settings.allow)
    return judged


def judge_again(
    store: Store,
    plugins: Plugins,
    saved: records.SavedComparison,
    policy: Policy,
    keep: bool,
    allow: Sequence[str] = (),
) -> Judged:
    """Make a stored comparison again from its rows and judge it. `keep=False` changes nothing.

    `policy.given_by` is the command line that gives, or gave, the verdict.
    """
    policy = _dated(policy)
    sides, settings = sides_of(store, saved, allow)
    bench, comparison = comparing.compare(store, plugins, sides, saved.id, settings)
    comparison = dataclasses.replace(comparison, created=saved.created)
    judged = _judge(store, bench, comparison, policy, saved.command)
    if keep:
        _keep(store, judged, policy, settings.allow)
    return judged


def sides_of(
    store: Store, saved: records.SavedComparison, allow: Sequence[str] = ()
) -> tuple[Sides, CompareSettings]:
    """What a stored comparison was made of."""
    lists = {name: tuple(saved.settings.get(name, ())) for name in ("suites", "allow")}
    lists["allow"] = tuple(dict.fromkeys([*lists["allow"], *allow]))
    settings = CompareSettings(**{**saved.settings, **lists})
    return Sides(facts(store, saved.old_runs), facts(store, saved.new_runs)), settings


def policy_of_verdict(store: Store, comparison_id: str) -> tuple[Policy, tuple[str, ...]]:
    """(policy, allowed findings) under which the newest verdict was given, on the day it was given."""
    kept = records.last_policy(store, comparison_id)
    if kept is None:
        return Policy(), ()
    return _policy_again(kept), tuple(kept.allow)


def _policy_again(kept: records.SavedPolicy) -> Policy:
    """The policy of a stored verdict, meaning what it meant when the verdict was given."""
    rules = tuple(Rule(**{**rule, "suites": tuple(rule["suites"])}) for rule in kept.gate["rules"])
    waivers = tuple(Waiver(**waiver) for waiver in kept.waivers)
    if kept.edition < 2:
        # supporting rules decided like critical ones, and a waived slice might be of any size
        rules = tuple(
            dataclasses.replace(rule, tier="critical") if rule.tier == "supporting" else rule
            for rule in rules
        )
        waivers = tuple(
            dataclasses.replace(waiver, whole_suite=waiver.slice is not None) for waiver in waivers
        )
    gate = Gate(
        rules,
        kept.gate["coverage"],
        kept.gate["digest"],
        tuple(_list_again(one) for one in kept.gate.get("must_not_regress", ())),
        tuple(kept.gate.get("places", ())),
    )
    entries = tuple(Quarantine(**entry) for entry in kept.quarantine)
    return Policy(gate, waivers, kept.today, entries, kept.given_at, kept.command)


def _list_again(kept: Mapping[str, Any]) -> MustNotRegress:
    listed = tuple((suite, key) for suite, key in kept["listed"])
    suites, instances = tuple(kept["suites"]), tuple(kept["instances"])
    return MustNotRegress(**{**kept, "listed": listed, "suites": suites, "instances": instances})


def read_side(
    store: Store, plugins: Plugins, source: Source, side: str, progress: Progress | None
) -> list[int]:
    """Run ids of one side: one model, one run a suite, and its repeats behind it."""
    imported = ingest(store, plugins, source.path, source.settings, progress, source.model)
    found = _only_model(imported, source)
    by_suite: dict[str, ImportedRun] = {}
    for run in found:
        first = by_suite.setdefault(run.suite, run)
        if first is not run:
            raise InputError(
                f"{source.path}: holds several runs of {run.model} on {run.suite} "
                f"({first.sources[0]} and {run.sources[0]}); give the file of one, and further ones "
                f"of the same model with --{side}-rerun"
            )
    runs = [run.run_id for run in found]
    for path in source.reruns:
        again = ingest(store, plugins, path, source.settings, progress, source.model)
        for run in _only_model(again, dataclasses.replace(source, path=path)):
            if run.model != found[0].model:
                raise InputError(
                    f"{path}: is a run of {run.model!r}, but reruns (--{side}-rerun) are runs of "
                    f"the same model, {found[0].model!r}"
                )
            if run.run_id in runs:
                raise InputError(f"{path}: is a run that is given already, so it is no repeat of it")
            runs.append(run.run_id)
    return runs


def _only_model(runs: list[ImportedRun], source: Source) -> list[ImportedRun]:
    models = sorted({run.model for run in runs})
    if source.model is not None:
        chosen = [run for run in runs if run.model == source.model]
        if chosen:
            return chosen
        raise InputError(f"{source.path}: holds no model {source.model!r}, but {', '.join(models)}")
    if len(models) > 1:
        raise InputError(
            f"{source.path}: holds several models ({', '.join(models)}); say which with --old-model "
            "or --new-model"
        )
    return runs


def facts(store: Store, run_ids: Sequence[int]) -> list[RunFacts]:
    """What comparing needs to know of these runs."""
    return [RunFacts(**known) for known in records.run_facts(store, run_ids)]


# ------------------------------------------------------------------------------------------ judging


def _judge(
    store: Store,
    bench: comparing.Bench,
    comparison: Comparison,
    policy: Policy,
    command: str | None,
) -> Judged:
    counts = flips.list_flips(store, bench.pairs)
    aside = set_aside(store, policy)
    if aside.why and policy.gate is not None:
        pairing.drop_pairs(store, list(aside.why))
        bench.measure_again()

    for rule in policy.gate.rules if policy.gate else ():
        if rule.metric not in bench.metrics:
            near = did_you_mean(rule.metric, bench.metrics)
            raise UsageError(f"there is no metric {rule.metric!r} to judge by; {near}")

    def remeasure(rule: Rule, figures: SuiteFigures, confidence: float) -> Any:
        return bench.measure(rule.metric, figures, confidence)

    exceptions = gating.Exceptions(
        aside.waivers, aside.quarantined, aside.lists, aside.today, aside.findings
    )
    verdict = gating.judge(comparison, policy.gate, remeasure, exceptions, bench.metrics)
    flip_list = flips.FlipList(store, waived=aside.why)
    judged_by = policy.given_by if policy.gate is not None else None
    report = Report(verdict, comparison, flip_list, counts, command, store.path, judged_by=judged_by)
    return Judged(report, flip_list)


def _dated(policy: Policy) -> Policy:
    """The policy with the day on which it is judged and the time by which its evidence was known, so
    that what is kept is those very ones, and judging again sees what was seen."""
    known_by = policy.known_by or clock.now()
    return dataclasses.replace(policy, today=day_of(policy), known_by=known_by)


def _keep(store: Store, judged: Judged, policy: Policy, allow: Sequence[str]) -> None:
    kept = None
    if policy.gate is not None:
        kept = {
            "gate": dataclasses.asdict(policy.gate),
            "allow": list(allow),
            "quarantine": [dataclasses.asdict(entry) for entry in policy.quarantine],
            "today": day_of(policy).isoformat(),
            "edition": EDITION,
            "command": policy.given_by,
        }
    waivers = [dataclasses.asdict(waiver) for waiver in policy.waivers]
    records.save_verdict(store, judged.comparison.id, judged.verdict, kept, waivers)
