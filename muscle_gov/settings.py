"""What people ask for, as frozen values: how to read, how to measure, what to allow.

These are the tables of a config file, the options of the command line and the arguments of the
pipeline, all three. A field's docstring is its help text and its line in the config reference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from muscle_gov.errors import did_you_mean

PairBy = Literal["auto", "content", "key"]
Duplicates = Literal["refuse", "first", "last", "repeats"]
Tier = Literal["critical", "supporting", "advisory"]
Judge = Literal["interval", "value"]


PREDICTED = "predict"
"""What stands in the place of a reader where a run was predicted here."""

CODES: Mapping[str, str] = {
    "harness-differs": "the logs were written by different tools",
    "task-version-changed": "the task's version differs",
    "dataset-changed": "the data set differs",
    "split-changed": "the split differs",
    "metric-changed": "the score that decides is another one",
    "scorer-changed": "answers are extracted or scored differently",
    "fewshot-changed": "the number of examples in the prompt differs",
    "template-changed": "the chat template differs",
    "system-prompt-changed": "the system prompt differs",
    "prompt-changed": "instances were asked with other prompts",
    "content-changed": "instances with one key have other content",
    "target-changed": "instances have another right answer in the new log",
    "repeats-missing": "some instances of a run were answered more often than others",
    "rerun-partial": "a further run of a model lacks instances of the first one, or has others",
    "threshold-splits-nothing": "the threshold calls every answer right, or every answer wrong",
    "malformed-lines": "lines of a log could not be read",
    "unfinished-run": "a log says itself that it was not finished, or lacks rows",
    "no-pairs": "no instance has a score on both sides",
    "suite-missing": "a suite that the old model was judged on is missing from the new log",
    "same-run": "old and new are one and the same run",
    "same-model": "old and new are one and the same model, run in the same way",
    "limited-run": "only the first instances of a suite were asked, for a try",
}
"""Codes of findings that forbid to compare, unless they are allowed by name."""


@dataclass(frozen=True)
class ImportSettings:
    """How a log is read."""

    reader: str = "auto"
    """Name of a reader, or `auto`: the one that knows the format."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The reader's own options."""
    pair_by: PairBy = "auto"
    """What makes two rows the same instance: `content` (the hash of the item), `key` (the harness's
    own id), or `auto`: content where the log gives it, else key."""
    duplicates: Duplicates = "refuse"
    """An instance that comes twice with different results: `refuse`, keep the `first` or the `last`,
    or take them as `repeats`. The same result twice is always dropped and counted."""


@dataclass(frozen=True)
class Source:
    """Where a side's predictions come from."""

    path: Path
    """A log: a file or a directory."""
    settings: ImportSettings
    """How it is read."""
    model: str | None = None
    """Which model to take, where the path holds several."""
    reruns: tuple[Path, ...] = ()
    """Further runs of the very same model: repeats, for the noise floor."""


@dataclass(frozen=True)
class PredictSettings:
    """How models are run on suites."""

    repeats: int = 1
    """How often each instance is answered. Two or more give the noise floor: the flips between two
    runs of one model. Sampled answers differ by their seeds, greedy ones by the order and the
    batches in which they are asked."""
    seed: int = 0
    """Of sampled answers; each instance and repeat has a seed of its own, made from this one."""
    limit: int | None = None
    """Only the first so many instances of each suite: for a try, never for a verdict."""

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise ValueError(f"repeats: {self.repeats} must be at least 1")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit: {self.limit} must be at least 1")


@dataclass(frozen=True)
class MendSettings:
    """How an update is mended."""

    folder: Path = Path("mended")
    """Where what is trained is kept; each mitigation with its options on these models and data has a
    folder of its own in it."""
    stop: Literal["never", "passed"] = "never"
    """Try all mitigations, or stop at the first that passes."""
    controls: bool = True
    """Whether to judge, beside each mitigation, what it must be compared with to be believed: plain
    training for as long, another seed, both models at once."""


@dataclass(frozen=True)
class CompareSettings:
    """How pairs are measured."""

    confidence: float = 0.95
    """Of the two-sided intervals shown."""
    threshold: float | None = None
    """Turns graded scores into right (at least this good) and wrong."""
    suites: tuple[str, ...] = ()
    """Only these suites; all that both sides have if empty."""
    allow: tuple[str, ...] = ()
    """Codes of findings that are known and accepted: they warn instead of forbidding to compare."""
    slices: bool = True
    """Whether to measure every value of every tag."""

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence: {self.confidence:g} must be at least 0.5 and below 1")
        for code in self.allow:
            if code not in CODES:
                near = did_you_mean(code, CODES)
                raise ValueError(f"allow: there is no such finding as {code!r}; {near}")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One condition of a gate: a figure that must stay inside a limit, shown by its interval."""

    metric: str
    """Name of a metric, e.g. `nfr`."""
    max: float | None = None
    """The figure must be at most this. Exactly one of `max` and `min` is given."""
    min: float | None = None
    """The figure must be at least this."""
    suites: tuple[str, ...] = ("*",)
    """Names or shell patterns of the suites it is applied to, each on its own.
    `(all)` means all suites pooled."""
    slice: str | None = None
    """`tag=value`: only this slice, to the letter; `tag=*`: each value of the tag on its own."""
    tier: Tier = "critical"
    """`critical`: must hold. `supporting`: fails the gate where it surely does not hold, but does not
    hold it up where the data do not decide. `advisory`: is only shown."""
    judge: Judge = "interval"
    """`interval`: the one-sided bound must be inside; `value`: the figure itself is judged."""
    confidence: float = 0.95
    """Of the one-sided bound, between 0.5 and 1."""
    coverage: float | None = None
    """Least share of old-or-new instances with a score on both sides; None takes the gate's own."""
    name: str | None = None
    """Shown instead of the rule's own wording."""


Listed = tuple[str | None, str]
"""A listed instance: (name of its suite, or None for any suite of the list; its key)."""


@dataclass(frozen=True, kw_only=True)
class MustNotRegress:
    """Instances none of which may get worse: no negative flip, on a scale no lower score."""

    name: str
    """What verdicts call the list."""
    suites: tuple[str, ...] = ("*",)
    """Names or shell patterns of the suites its instances are in."""
    slice: str | None = None
    """`tag=value`: all instances of this slice. Exactly one of `slice`, `instances` and `file` is
    given."""
    instances: tuple[str, ...] = ()
    """Keys of the instances, as the old log has them."""
    file: str | None = None
    """A text file with one key in each line, or a suite's name, a tab and a key; lines that begin with
    `#` are comments."""
    tier: Tier = "critical"
    """As that of a rule. Whether an instance got worse is seen, so a list is never undecided."""
    listed: tuple[Listed, ...] = ()
    """What `instances` or the file say, read; empty for a slice."""
    place: str | None = field(default=None, compare=False)
    """`file:line` of the list in the policy; None where it came from elsewhere."""


@dataclass(frozen=True)
class Gate:
    """Rules and what they have in common."""

    rules: tuple[Rule, ...]
    """All must hold; a gate without rules and lists passes nothing."""
    coverage: float = 0.99
    """Least share of the instances seen by either model that must have a score on both sides."""
    digest: str | None = None
    """Of the rules, the lists with their instances, and the coverage, for the record."""
    must_not_regress: tuple[MustNotRegress, ...] = ()
    """Lists of instances that may not get worse."""
    places: tuple[str | None, ...] = field(default=(), compare=False)
    """`file:line` of each rule, None for one from a command line; empty where none is known."""

    def __post_init__(self) -> None:
        if not 0 < self.coverage <= 1:
            raise ValueError(f"coverage: {self.coverage:g} must be above 0 and at most 1")


@dataclass(frozen=True)
class Waiver:
    """An owner's signed exception: one instance or one slice of one suite, until a day."""

    suite: str
    """Name of the suite."""
    reason: str
    """Why the flips are acceptable."""
    owner: str
    """Who answers for it."""
    expires: str
    """ISO date, the last day on which it holds."""
    instance: str | None = None
    """Key of the instance. Exactly one of `instance` and `slice` is given."""
    slice: str | None = None
    """`tag=value`. Together the slices that are waived may hold at most half of a suite's pairs."""
    whole_suite: bool = False
    """Says in so many words that this slice may hold more than half of the suite, or all of it."""


@dataclass(frozen=True)
class Quarantine:
    """A flaky item that is set aside, whichever way it flips: known to differ between two answers of one
    model, and owned by somebody who mends it until a day."""

    suite: str
    """Name of the suite."""
    instance: str
    """Key of the instance."""
    reason: str
    """Why it is flaky, as far as is known."""
    owner: str
    """Who answers for it."""
    expires: str
    """ISO date, the last day on which it holds."""


@dataclass(frozen=True)
class Policy:
    """What is asked of a comparison: a gate (or none) and the exceptions to it."""

    gate: Gate | None = None
    waivers: tuple[Waiver, ...] = ()
    today: date | None = None
    """The day on which waivers and quarantine are looked at; the machine's own if None."""
    quarantine: tuple[Quarantine, ...] = ()
    """Flaky items that are set aside."""
    known_by: datetime | None = None
    """Only what the store held at this time (UTC) shows that an item is flaky, so that a verdict comes
    out the same later; all that it holds if None."""
    given_by: str | None = None
    """The command line that asks for it, kept with the verdict; None where there is none."""


MOST_QUARANTINED = 0.05
"""Largest share of a suite's pairs that may be in quarantine."""
MOST_WAIVED = 0.5
"""Largest share of a suite's pairs that waived slices may hold without saying `whole_suite`."""
EXPIRES_SOON = 14
"""Days before the last day of a waiver or quarantine entry from which on it is warned of."""


def check_rule(rule: Rule, metrics: Sequence[str]) -> list[str]:
    """What is wrong with a rule, one sentence each."""
    problems = []
    if rule.metric not in metrics:
        problems.append(
            f"metric: there is no metric {rule.metric!r}; {did_you_mean(rule.metric, metrics)}"
        )
    if (rule.max is None) == (rule.min is None):
        problems.append("max, min: give exactly one of them")
    if not 0.5 < rule.confidence < 1:
        problems.append(f"confidence: {rule.confidence:g} must be above 0.5 and below 1")
    if rule.coverage is not None and not 0 < rule.coverage <= 1:
        problems.append(f"coverage: {rule.coverage:g} must be above 0 and at most 1")
    if rule.slice is not None and "=" not in rule.slice:
        problems.append(f"slice: {rule.slice!r} must read tag=value or tag=*")
    if not rule.suites:
        problems.append("suites: must name at least one suite or pattern")
    limit = rule.max if rule.max is not None else rule.min
    if limit is not None and not math.isfinite(limit):
        problems.append("max, min: must be a finite number")
    return problems


def check_list(listed: MustNotRegress) -> list[str]:
    """What is wrong with a list of instances that must not regress, one sentence each."""
    problems = []
    if not listed.name.strip():
        problems.append("name: must not be empty")
    given = (listed.slice is not None, bool(listed.instances), listed.file is not None)
    if sum(given) != 1:
        problems.append("slice, instances, file: give exactly one of them")
    if listed.slice is not None and "=" not in listed.slice:
        problems.append(f"slice: {listed.slice!r} must read tag=value")
    elif listed.slice is not None and listed.slice.endswith("=*"):
        problems.append("slice: must name one value; write a list for each, or leave the slice out")
    if not listed.suites:
        problems.append("suites: must name at least one suite or pattern")
    if "(all)" in listed.suites:
        problems.append("suites: (all) is no suite; a list without `suites` looks in all of them")
    if any(not key.strip() for key in listed.instances):
        problems.append("instances: must not hold an empty key")
    return problems


def check_waiver(waiver: Waiver) -> list[str]:
    """What is wrong with a waiver, one sentence each."""
    problems = []
    if (waiver.instance is None) == (waiver.slice is None):
        problems.append("instance, slice: give exactly one; a whole suite cannot be waived")
    problems += _unsigned(waiver, ("reason", "owner", "suite"))
    if waiver.slice is not None and "=" not in waiver.slice:
        problems.append(f"slice: {waiver.slice!r} must read tag=value")
    if waiver.whole_suite and waiver.instance is not None:
        problems.append("whole_suite: is said of a slice, not of one instance")
    return problems + _no_day(waiver.expires)


def check_quarantine(entry: Quarantine) -> list[str]:
    """What is wrong with an entry of a quarantine, one sentence each."""
    if not (entry.reason.strip() or entry.owner.strip() or entry.expires.strip()):
        # as `muscle-gov flaky` proposes it
        return [
            f"reason, owner, expires: nobody has signed for {entry.instance!r} of {entry.suite!r} yet; "
            "fill in all three, or remove the entry"
        ]
    return _unsigned(entry, ("suite", "instance", "reason", "owner")) + _no_day(entry.expires)


def _unsigned(entry: Waiver | Quarantine, names: Sequence[str]) -> list[str]:
    return [f"{name}: must not be empty" for name in names if not getattr(entry, name).strip()]


def _no_day(text: str) -> list[str]:
    try:
        if date.fromisoformat(text).isoformat() != text:
            raise ValueError
    except ValueError:
        return [f"expires: {text!r} is not a day like 2027-01-31"]
    return []


def is_expired(entry: Waiver | Quarantine, today: date) -> bool:
    return date.fromisoformat(entry.expires) < today


def days_left(entry: Waiver | Quarantine, today: date) -> int:
    """Days until the last one on which it holds; negative for what has expired."""
    return (date.fromisoformat(entry.expires) - today).days
