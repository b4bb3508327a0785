"""The data that flows, as frozen values: rows in, paired figures, a verdict out.

Nothing here computes and nothing here imports more than the standard library, so that a plugin
author can read this page and know every value that a hook takes or gives. Values that a reader
makes by the million (`RecordedRow`) are named tuples, since those are the cheapest to make.

`None` always means "not known" or "not applicable"; a missing number is never NaN.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from muscle_gov.settings import Quarantine, Rule, Waiver

NOTHING: Mapping[str, Any] = {}


class Outcome(StrEnum):
    """What became of one answer. Missing is none of these, and none of these is missing."""

    RIGHT = "right"
    WRONG = "wrong"
    GRADED = "graded"
    """Scored on a scale (ROUGE, partial credit) without a threshold, so neither right nor wrong."""
    UNSCORED = "unscored"
    """An answer that the scorer could not or did not judge. Not wrong."""
    ERROR = "error"
    """No answer: the request, the scorer or the machine failed. Not wrong."""


def outcome_of(score: float | None, higher_is_better: bool = True) -> Outcome:
    """The state that a score on [0, 1] stands for: 1 is right, 0 is wrong, between is graded.

    With `higher_is_better=False` (an error rate, say) 0 is right and 1 is wrong.
    None and NaN are unscored.
    """
    if score is None or score != score:
        return Outcome.UNSCORED
    if score == 1.0:
        return Outcome.RIGHT if higher_is_better else Outcome.WRONG
    if score == 0.0:
        return Outcome.WRONG if higher_is_better else Outcome.RIGHT
    return Outcome.GRADED


# ---------------------------------------------------------------------------- recorded predictions


class RecordedRow(NamedTuple):
    """One answer as some harness logged it."""

    key: str
    """The harness's own name of the instance (doc id, sample id): shown to people."""
    outcome: Outcome
    score: float | None = None
    """The primary score as logged; None where there is none."""
    answer: str | None = None
    """The extracted answer that was scored; two answers are the same if these strings are."""
    content_hash: str | None = None
    """Hash of the instance itself (question, target, choices), free of its position.
    Rows with equal hashes are the same instance, whatever their keys."""
    prompt_hash: str | None = None
    """Hash of what the model was really sent; tells a changed prompt."""
    repeat: int | None = None
    """Number of the repeat (epoch, trial) from 0, or None where the log knows no repeats."""
    part: str = ""
    """The filter, sub-task or scorer inside one log; the suite is then called `task/part`."""
    prompt: str | None = None
    target: str | None = None
    output: str | None = None
    """The model's raw text, or its log-likelihoods for multiple choice."""
    scores: Mapping[str, float] = NOTHING
    """Further scores by name, the primary one left out."""
    tags: Mapping[str, str] = NOTHING
    """What slices are made of (subject, language, difficulty)."""
    cluster: str | None = None
    """Instances of one cluster (one passage, one conversation) are not independent."""
    why: str | None = None
    """For `unscored` and `error`: the reason as logged."""


class BadLine(NamedTuple):
    """A part of a log that could not be read. It is counted and named, and the run is no pass."""

    where: str
    """`file:line` or `archive!member`."""
    why: str


@dataclass(frozen=True, kw_only=True)
class RunHeader:
    """What a log says of itself: the model, the task, and all that must be equal to compare.

    Fields left None are unknown and can't be compared; the report says so.
    """

    model: str
    task: str
    """Name of the suite; may be empty where each row's `part` names it."""
    harness: str
    """Name of the tool that wrote the log, e.g. `lm-evaluation-harness`."""
    metric: str | None = None
    """Name of the primary score."""
    other_metrics: tuple[str, ...] = ()
    """Scores that could be chosen as the primary one instead."""
    higher_is_better: bool = True
    harness_version: str | None = None
    task_version: str | None = None
    dataset: str | None = None
    split: str | None = None
    n_shot: int | None = None
    chat_template: str | None = None
    """Digest of the chat template ("" = none was used)."""
    system_prompt: str | None = None
    """Digest or text of the system instruction ("" = none)."""
    scorer: str | None = None
    """Digest or description of how answers are extracted and scored."""
    decoding: Mapping[str, Any] = field(default_factory=dict)
    """Temperature, stop strings, token limits: whatever the log gives."""
    task_details: Mapping[str, Any] = field(default_factory=dict)
    """Further choices of the task, such as the prompt's template: shown."""
    dtype: str | None = None
    quantization: str | None = None
    """`none` if the weights are as they were trained."""
    engine: str | None = None
    model_settings: Mapping[str, Any] = field(default_factory=dict)
    """How the model was run, as far as it changes answers; a difference is told."""
    limited_to: int | None = None
    """Only so many of the first instances were asked, for a try."""
    model_details: Mapping[str, Any] = field(default_factory=dict)
    """Revision, digest, adapter, arguments: shown, and part of the model's fingerprint."""
    expected_rows: int | None = None
    """How many instances the log says were evaluated; fewer rows make the run partial."""
    complete: bool = True
    """False for a log that says itself that it was not finished."""
    started: str | None = None
    """When the run began, ISO 8601, as logged."""
    notes: tuple[str, ...] = ()
    """What the reader had to assume; shown as findings."""


@dataclass(frozen=True)
class RecordedRun:
    """One model on one task, as logged. `rows` may be read once, and is read lazily."""

    header: RunHeader
    rows: Iterator[RecordedRow | BadLine]
    sources: tuple[Path, ...]
    """The files behind it; their digests are kept."""


# --------------------------------------------------------------------------------- paired figures

BINARY_CELLS = (
    "both_right",
    "negative_flip",
    "positive_flip",
    "both_wrong_same",
    "both_wrong_different",
)
"""The joint cells of a suite whose answers are right or wrong; they sum to the number of pairs.

With repeats a pair adds the product of its shares to each cell: an instance right in 3 of 4 old and
in 1 of 2 new answers adds 3/4 · 1/2 to `negative_flip`. Beside them stand, with repeats only,
`robust_negative_flip` (right in every old repeat, wrong in some new one), `old_noise` and
`new_noise` (chance that two repeats of the same model are right, then wrong).
"""

GRADED_CELLS = ("gain", "loss", "same", "gain_size", "loss_size", "old_score", "new_score")
"""Names of the joint sums of a suite scored on a scale: three counts, then four sums of scores.
Sizes are absolute differences in the suite's score, signed so that `gain` is always better."""


@dataclass(frozen=True)
class Measure:
    """A figure with its interval.

    `value` is None where the figure is undefined (nothing to divide by); `low` and `high` are then
    None too. `n` is the number of pairs (or of pairs in the denominator) it rests on.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    method: str = ""
    """Which interval this is, e.g. `Clopper-Pearson`."""


@dataclass(frozen=True)
class Finding:
    """Something a reader of the verdict must know.

    `level` is `blocks` (the runs may not be compared as they are: never a pass), `warns` or `notes`.
    """

    code: str
    level: str
    message: str
    suite: str | None = None


@dataclass(frozen=True)
class SuiteFigures:
    """Everything measured on the pairs of one suite, one slice of it, or all suites together."""

    suite: str
    """Name of the suite; `(all)` for all together."""
    slice: str | None
    """`tag=value`, or None for the whole."""
    kind: str
    """`binary` or `graded`."""
    n_old: int
    n_new: int
    n_union: int
    """Instances seen by either model: the closed denominator of coverage."""
    n_pairs: int
    """Instances scored on both sides: the denominator of every rate."""
    outcomes: Mapping[str, int]
    """Counts by `old outcome>new outcome`, `missing` among the outcomes; they sum to n_union."""
    measures: Mapping[str, Measure]
    p_value: float | None
    """Two-sided p of "no net change": exact McNemar, or a t test where pairs are not single."""
    p_method: str
    p_adjusted: float | None = None
    """After Holm over suites or Benjamini-Hochberg over slices."""
    mde: float | None = None
    """Smallest true change of accuracy (or mean score) that this n would show in 4 of 5 trials."""
    metric: str | None = None
    """Name of the primary score."""

    @property
    def coverage(self) -> float:
        """Share of the instances seen by either model that both answered with a score; 0 if none."""
        return self.n_pairs / self.n_union if self.n_union else 0.0


@dataclass(frozen=True)
class ModelInfo:
    """A model as the report names it."""

    name: str
    fingerprint: str
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Comparison:
    """OLD against NEW on every suite they share. Figures only: texts stay in the store."""

    id: str
    created: str
    """UTC, ISO 8601."""
    old: ModelInfo
    new: ModelInfo
    suites: tuple[SuiteFigures, ...]
    total: SuiteFigures | None
    """All binary suites pooled, each pair counting once; None with fewer than two."""
    slices: tuple[SuiteFigures, ...]
    findings: tuple[Finding, ...]
    headers: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]
    """For each suite the old and the new run's header, as plain mappings."""
    confidence: float
    """Of every two-sided interval in `measures`, e.g. 0.95."""
    tool_version: str


@dataclass(frozen=True)
class Flip:
    """One instance whose answer changed, with the texts to see why."""

    suite: str
    key: str
    instance_id: int
    kind: str
    """`negative`, `positive`, `wrong_to_wrong`, `loss` or `gain`."""
    old_answer: str | None
    new_answer: str | None
    target: str | None
    prompt: str | None
    new_prompt: str | None
    """Only where the new model was sent another prompt."""
    old_output: str | None
    new_output: str | None
    old_score: float | None
    new_score: float | None
    tags: Mapping[str, str]
    waived: str | None = None
    """The waiver's reason, where one covers this instance."""
    size: float | None = None
    """How much changed, never negative: the share of answers that flipped (1 without repeats, 0 for
    `wrong_to_wrong`), or for `loss` and `gain` the difference of the scores in the suite's unit. None:
    not known."""
    old_margin: float | None = None
    """How much surer the old model was of the right choice than of the best other one: the difference of
    their log-probabilities, in nats, before any division by length. Below 0 another choice was likelier.
    None where choices were not scored by log-probabilities."""
    new_margin: float | None = None
    """The same of the new model."""


# ---------------------------------------------------------------------------------------- verdict


class Status(StrEnum):
    """The verdict. Only PASS may ship; NOT_JUDGED means that no rule was asked for."""

    PASS = "PASS"  # noqa: S105
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    INCOMPARABLE = "INCOMPARABLE"
    NOT_JUDGED = "NOT JUDGED"

    @property
    def exit_code(self) -> int:
        """0 pass (or compared without being judged), 1 the gate failed, 3 no verdict."""
        return {"PASS": 0, "NOT JUDGED": 0, "FAIL": 1}.get(self.value, 3)


@dataclass(frozen=True)
class Explanation:
    """What `gate --explain` says of one rule on one suite or slice, so that whoever reads it can act."""

    why: str
    """One sentence: how the figure, its bound and the limit lie."""
    to_pass: str | None
    """What would make it pass, in one sentence; None where it passes."""
    flips: int | None = None
    """The flips (or pairs that got worse) that were seen; None where the metric counts no flips."""
    flips_allowed: int | None = None
    """The most that would pass on so many pairs; -1 if not even none would."""
    items_needed: int | None = None
    """Pairs in all that would settle an inconclusive rule if the figure stayed what it is; None where
    it is settled, or where no number of pairs would do."""


@dataclass(frozen=True)
class RuleResult:
    """What a rule found on one suite or slice."""

    rule: Rule
    suite: str
    slice: str | None
    status: Status
    measure: Measure | None
    """At the rule's confidence: `low` and `high` are the two one-sided bounds."""
    p_breach: float | None
    """p of "the limit is kept", after Holm over all rules; the rule fails below 1 - confidence."""
    reason: str
    explanation: Explanation | None = None
    place: str | None = None
    """`file:line` of the rule in the policy; None for one from the command line."""
    set_aside: int = 0
    """Instances of a must-not-regress list that were not judged, since an exception names each."""


@dataclass(frozen=True)
class AppliedWaiver:
    """A waiver and what it did."""

    waiver: Waiver
    flips: int
    """How many negative flips it set aside."""
    status: str
    """`applied`; or refused, so that it sets nothing aside: `expired`, `unmatched` (covers nothing) or
    `over-broad` (with the other waived slices it holds more than half of the suite, and does not say so
    with `whole_suite`)."""


@dataclass(frozen=True)
class AppliedQuarantine:
    """An entry that sets a flaky item aside, and what it did."""

    quarantine: Quarantine
    seen: int
    """How many times the item's outcome differed between two answers of one and the same model."""
    status: str
    """`applied`; or refused: `expired`, `unmatched` (no such item), `not-flaky` (the store holds no two
    answers of one model that differ on it) or `too-many` (with the others it is too large a share of the
    suite)."""


@dataclass(frozen=True)
class Verdict:
    """The answer to "may it ship?" and why."""

    status: Status
    reason: str
    """One sentence in plain words."""
    rules: tuple[RuleResult, ...]
    findings: tuple[Finding, ...]
    waivers: tuple[AppliedWaiver, ...] = ()
    policy_digest: str | None = None
    quarantined: tuple[AppliedQuarantine, ...] = ()

    @property
    def exit_code(self) -> int:
        return self.status.exit_code


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One model that was judged against the old one: the update itself, a mended one, or a control."""

    name: str
    """As shown, unique among the candidates of an update."""
    role: str
    """`update` (the candidate as it came), `mitigation`, or `control` (never meant to ship)."""
    about: str
    """One line: what it is."""
    comparison: Comparison
    verdict: Verdict
    cost: float = 1.0
    """Models that are run for one answer: 2 for an ensemble of two."""
    of: str | None = None
    """For a control: the mitigation it belongs to, where it belongs to one alone."""
    noise: Mapping[str, Measure] | None = None
    """For a control that is a mere re-fit of the update: suite → NFR from the update to it, the flips
    that training again makes by itself (the noise floor)."""


# --------------------------------------------------------------------------------------- evidence


@dataclass(frozen=True)
class Resource:
    """Something that a verdict rests on, named by a digest of its content."""

    kind: str
    """`model`, `log`, `predictions`, `suite`, `policy`, `waivers`, `quarantine` or `config`."""
    name: str
    """As people call it: a model's name, a file, `routing, old`."""
    digest: str
    """SHA-256 in hex; for a model its fingerprint in the store, for predictions that of all their
    rows."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Side, suite, rows, path: whatever tells which one it is."""


@dataclass(frozen=True)
class Query:
    """SQL that gives one headline figure again from the store's rows."""

    title: str
    """Which figure, e.g. `NFR of routing`."""
    sql: str
    """Runs as it stands in the duckdb shell on the store."""
    value: float | int | None
    """What it gives."""


@dataclass(frozen=True)
class Evidence:
    """What a verdict rests on: digests, versions, and queries that lead from figures to rows."""

    resources: tuple[Resource, ...]
    queries: tuple[Query, ...]
    versions: Mapping[str, str]
    """muscle-gov, Python and DuckDB as they were when the comparison was made."""
    judged: str | None = None
    """When the verdict was given, UTC, ISO 8601."""


@dataclass(frozen=True)
class Report:
    """Everything a report format may show: one verdict, one comparison, and the flips."""

    verdict: Verdict
    comparison: Comparison
    flips: Iterable[Flip]
    """All of them, worst first. May be iterated more than once; read from the store each time."""
    flip_counts: Mapping[str, int]
    """By kind, over all suites."""
    command: str | None = None
    """The command line that made the comparison."""
    store: str | None = None
    candidates: tuple[Candidate, ...] = ()
    """Where an update was mended: every model that was judged, the update first, then mitigations and
    controls. One of them is what this report is about."""
    evidence: Evidence | None = None
    """None where it was not collected, as for a report that is only printed."""
    judged_by: str | None = None
    """The command line that gave the verdict, which may be a later one than `command`. None where
    nothing was judged, where no command line was, and for a verdict from before it was kept."""
