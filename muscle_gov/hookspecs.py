"""The whole contract with plugins, on one page: six hooks, all of one form, and what they offer.

A plugin is a module under the entry-point group `muscle_gov`. It defines any of the hooks below,
marked with `muscle_gov.hookimpl`. Each hook takes nothing and returns

    {name used on the command line and in update.toml: frozen dataclass}

and **the dataclass's fields are the options**: their types are validated, their defaults and
docstrings are shown by `muscle-gov plugins NAME`. An instance of the class then does the work, by
the Protocol named in the hook. Hooks are called once, when the program needs the first plugin; they
should import nothing heavy. The built-in readers, metrics and reports come in by these same hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import pluggy

from muscle_gov.data import Measure, RecordedRun, Report
from muscle_gov.exchange import FitStanding, Grade, Instance, ModelFacts, Output, Request, SuiteFacts
from muscle_gov.settings import Source

ENTRY_POINT_GROUP = "muscle_gov"
hookspec = pluggy.HookspecMarker("muscle_gov")
hookimpl = pluggy.HookimplMarker("muscle_gov")

# --------------------------------------------------------------------------- readers, metrics, reports


@runtime_checkable
class Reader(Protocol):
    """Reads the logs of one harness."""

    def detect(self, path: Path) -> bool:
        """Is `path` (a file or a directory) surely of this format?

        Looks at names and the first bytes only; never raises for a file of another format. With
        `--reader auto` exactly one reader must say yes.
        """

    def read(self, path: Path) -> Iterator[RecordedRun]:
        """Every run recorded under `path`, lazily, in the order of the files.

        Unreadable lines are yielded as `BadLine` among the rows, never skipped. Raises
        `muscle_gov.InputError` if `path` as a whole is not what the reader reads.
        """


@runtime_checkable
class Pairs(Protocol):
    """What a metric measures: the pairs of one suite, or of one slice, scored on both sides.

    The joint cells are held as sums over the pairs (`sums`) with their second moments over
    independent units (`moments`), so that any ratio of cells has a right interval whether pairs are
    single answers, averages over repeats, or grouped in clusters.
    """

    kind: Literal["binary", "graded"]
    n: int
    """Number of pairs."""
    units: int
    """Number of independent units: clusters where there are some, else pairs."""
    exact: bool
    """True if each pair is one answer a side and its own unit, so that sums are plain counts."""
    sums: Mapping[str, float]
    """Cell → sum over the pairs; `BINARY_CELLS` and `GRADED_CELLS` in `muscle_gov.data` name them."""

    has_answers: bool
    """Whether both logs give the answers themselves, so that two wrong ones can be told apart."""

    def ratio(
        self,
        over: Mapping[str, float],
        under: Mapping[str, float] | None,
        confidence: float,
        proportion: bool = True,
    ) -> Measure:
        """Weighted sum of cells divided by another (None: by the number of pairs), two-sided.

        `proportion=True` promises a share in [0, 1] and gives a Clopper-Pearson interval (with the
        effective sample size where pairs are not single). False gives a t interval, or Tango's
        score interval where it is the difference of two counts over all pairs.
        """

    def variance(self, weights: Mapping[str, float]) -> float:
        """Variance of a weighted sum of cells over independent units, for metrics of other forms."""

    def arrays(self) -> Mapping[str, Any]:
        """Per-instance numpy arrays, read from the store when asked for. Binary suites: `old_right`,
        `old_repeats`, `new_right`, `new_repeats` (counts). Graded: `old_score`, `new_score`."""


@runtime_checkable
class Metric(Protocol):
    """A figure of merit on pairs. Its class docstring states range, unit and exclusions.

    It may also have `unit` ("share": verdicts show percent; "points": percentage points), and
    `bounds`, the least and the largest value it can take, by which limits in policies are checked.
    """

    direction: ClassVar[Literal["lower", "higher"]]
    """Which way is better for the new model."""
    kinds: ClassVar[tuple[str, ...]]
    """The kinds of suites it is defined for: `binary`, `graded` or both."""
    title: ClassVar[str]
    """What the table's head says."""

    def measure(self, pairs: Pairs, confidence: float) -> Measure:
        """The figure with its two-sided interval at `confidence` (between 0 and 1)."""


@runtime_checkable
class ReportFormat(Protocol):
    """One form of the report."""

    suffix: ClassVar[str]
    """File name ending with its dot, e.g. `.html`."""

    def render(self, report: Report) -> bytes:
        """The whole file. Equal reports give equal bytes. Model output is hostile input."""


# -------------------------------------------------------------------------- models, suites, mitigations


class Model(Protocol):
    """Answers requests; batching, sorting by length and prefix sharing are its own business."""

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Output]]:
        """(place in `requests`, output), each place exactly once, in whatever order suits the engine.

        Lazily: an output is given out as soon as it is there, so that it can be kept. A request that
        cannot be answered gives an output with an `error` and harms no other one. Answers do not
        depend on what else is asked, but for float noise. Raises ModelError if the model is lost.
        """


@runtime_checkable
class Loader(Protocol):
    """Something that can become a model.

    It may also have `cost`, how many models are run for one answer, where it is more than one.
    """

    def facts(self) -> ModelFacts:
        """All that its answers depend on, told without loading it.

        Raises InputError where the model is not there, ModelError where what runs it is not installed.
        """

    def open(self) -> AbstractContextManager[Model]:
        """Load it; device memory is free again when the context ends. Raises ModelError."""


@runtime_checkable
class Recording(Protocol):
    """A loader's other form: a model of which only a log is there."""

    def source(self) -> Source:
        """The log, and how it is read."""


@runtime_checkable
class Suite(Protocol):
    """A set of instances of one task, what is asked about them and how answers are graded.

    It may also have `members()`, a mapping of name → Suite: it then stands for many suites. And
    `reference(instance)`, the right answer as the model should write it, following the prompt of the
    first of `requests(instance)` to the letter (so ` Paris`, with its space), or None where it is not
    known: what models are trained on.
    """

    def facts(self) -> SuiteFacts:
        """All that requests and grades depend on. Raises InputError where its data are not there."""

    def instances(self) -> Iterator[Instance]:
        """All of them, always in the same order."""

    def requests(self, instance: Instance) -> Sequence[Request]:
        """What is asked about an instance: one request, or several that are graded together."""

    def grade(self, instance: Instance, outputs: Sequence[Output]) -> Sequence[Grade]:
        """One grade for each of `facts().parts`. `outputs` answer `requests(instance)`, in their order,
        and none of them is an error. What cannot be judged is `unscored`, with why; never guessed."""


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """What a mitigation is given to train from."""

    name: str
    """What the result is to be called."""
    old: Loader | None
    """The model whose right answers are to be kept; None where a task adapter is made and there is no
    old model."""
    new: Loader
    """The candidate to be mended, or the base that a task adapter is made for. Never changed."""
    training: Mapping[str, Suite]
    """Name → data to train on. None of their instances is judged by the gate; whoever calls has seen to
    that."""
    workdir: Path
    """A folder of this mitigation with these options on these models and data alone, under whatever
    name. What an earlier call left in it may be gone on with."""
    watch: Callable[[FitStanding], None] = lambda _: None
    """Told of progress, often."""
    beside: Callable[[Mitigation], Fitting] | None = None
    """The fitting of another mitigation on the same models and data, for one that goes on from it."""


@runtime_checkable
class Mitigation(Protocol):
    """Trains something that flips fewer answers than the candidate does.

    What it trains is left in `fitting.workdir / "adapter"`. It may also have

    * `controls(fitting)`, a mapping of name → Mitigation or Loader: what its result must be judged
      beside to be believed. A control with `is_refit = True` is the candidate trained once more: the
      flips between the two are noise.
    * `conclude(fitting, candidates)`, called when its result and its controls were judged, to write what
      was measured beside what was trained.
    """

    def fit(self, fitting: Fitting) -> Loader:
        """A model to be judged like any other.

        Called again with the same fitting, it goes on where it stopped, or returns at once what is
        there. Raises InputError for data and models it cannot work with, ModelError where training
        fails.
        """


# ------------------------------------------------------------------------------------------- the hooks


@hookspec
def register_readers() -> Mapping[str, type[Reader]]:
    """Offer readers of other tools' per-instance logs."""
    raise NotImplementedError


@hookspec
def register_metrics() -> Mapping[str, type[Metric]]:
    """Offer figures of merit; each is measured on every suite of its kind and can be gated."""
    raise NotImplementedError


@hookspec
def register_reports() -> Mapping[str, type[ReportFormat]]:
    """Offer report formats: `compare --report NAME=FILE` writes them."""
    raise NotImplementedError


@hookspec
def register_loaders() -> Mapping[str, type[Loader] | type[Recording]]:
    """Offer ways to load a model that answers requests, or of which there is a log."""
    raise NotImplementedError


@hookspec
def register_suites() -> Mapping[str, type[Suite]]:
    """Offer task suites that make requests and grade answers."""
    raise NotImplementedError


@hookspec
def register_mitigations() -> Mapping[str, type[Mitigation]]:
    """Offer trainers that mend a candidate's regressions."""
    raise NotImplementedError
