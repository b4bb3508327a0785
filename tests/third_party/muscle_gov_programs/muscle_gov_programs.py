"""A plugin for muscle-gov: a model may be any program, a suite asks for sums, and an update is mended by
leaving some questions to the old program."""

from __future__ import annotations

import json
import random
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from muscle_gov import (
    Fitting,
    Grade,
    InputError,
    Instance,
    Loader,
    Mitigation,
    Model,
    ModelFacts,
    Outcome,
    Output,
    Request,
    SuiteFacts,
    hookimpl,
)
from muscle_gov.logs import content_hash


@hookimpl
def register_loaders() -> dict[str, type]:
    return {"program": ProgramLoader}


@hookimpl
def register_suites() -> dict[str, type]:
    return {"sums": SumsSuite}


@hookimpl
def register_mitigations() -> dict[str, type]:
    return {"leave-to-old": LeaveToOld}


@dataclass(frozen=True)
class ProgramLoader:
    """A program that reads the prompt and writes the answer."""

    command: tuple[str, ...]
    """The program and its arguments."""
    version: str = ""
    """Answers are kept under it: change it when the program changes."""
    timeout: float = 60.0
    """Most seconds for one answer."""

    def facts(self) -> ModelFacts:
        # all that the answers depend on, and nothing else
        digests = {"command": content_hash(self.command), "version": self.version}
        return ModelFacts(name=self.command[0], engine="program", digests=digests)

    @contextmanager
    def open(self) -> Iterator[Model]:
        yield self  # a model that has to be loaded is loaded here, and let go of afterwards

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Output]]:
        for place, request in enumerate(requests):
            yield place, self._answer(request)

    def _answer(self, request: Request) -> Output:
        if request.choices is not None or not isinstance(request.prompt, str):
            return Output(error="a program takes a plain prompt and writes text")
        try:
            done = subprocess.run(
                self.command,
                input=request.prompt,
                capture_output=True,
                text=True,
                timeout=self.timeout,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return Output(error=f"the program failed: {error}")  # an error, never a wrong answer
        return Output(text=done.stdout, finish_reason="stop")


@dataclass(frozen=True)
class SumsSuite:
    """Sums of two whole numbers."""

    count: int = 100
    """How many."""
    digits: int = 2
    """Most digits of each number."""
    seed: int = 0

    def facts(self) -> SuiteFacts:
        return SuiteFacts(
            task="sums",
            metric="exact_match",
            n_shot=0,
            system_prompt="",
            scorer="the text, stripped, is the sum",
            settings=asdict(self),
        )

    def instances(self) -> Iterator[Instance]:
        chance = random.Random(self.seed)
        for number in range(self.count):
            a, b = (chance.randrange(10**self.digits) for _ in range(2))
            tags = {"carry": "yes" if a % 10 + b % 10 > 9 else "no"}
            yield Instance(str(number), content_hash(a, b), str(a + b), tags, data=(a, b))

    def requests(self, instance: Instance) -> Sequence[Request]:
        a, b = instance.data
        return [Request(f"{a} + {b}\n", max_tokens=8)]

    def grade(self, instance: Instance, outputs: Sequence[Output]) -> Sequence[Grade]:
        answer = (outputs[0].text or "").strip()
        is_right = answer == instance.target
        return [Grade(Outcome.RIGHT if is_right else Outcome.WRONG, float(is_right), answer)]


@dataclass(frozen=True)
class LeaveToOld:
    """Leaves to the old program all questions of a length at which it is right more often."""

    margin: int = 0
    """By how many right answers the old program must be ahead."""

    def fit(self, fitting: Fitting) -> Loader:
        if fitting.old is None:
            raise InputError("leave-to-old: there is no old program to leave anything to")
        ahead: Counter[int] = Counter()
        for suite in fitting.training.values():
            instances = list(suite.instances())
            for loader, sign in ((fitting.old, 1), (fitting.new, -1)):
                ahead.update(_right(loader, suite, instances, sign))
        lengths = tuple(sorted(length for length, count in ahead.items() if count > self.margin))
        fitting.workdir.mkdir(parents=True, exist_ok=True)
        (fitting.workdir / "adapter").write_text(json.dumps(lengths))
        return SplitLoader(fitting.old, fitting.new, lengths)

    def controls(self, fitting: Fitting) -> Mapping[str, Mitigation | Loader]:
        every = tuple(range(1000))
        return {"always the old one": SplitLoader(fitting.old, fitting.new, every)}


def _right(loader: Loader, suite: SumsSuite, instances: list[Instance], sign: int) -> dict[int, int]:
    """Length of the prompt -> right answers, counted as `sign`."""
    requests = [suite.requests(one)[0] for one in instances]
    found: Counter[int] = Counter()
    with loader.open() as model:
        for place, output in model.answer(requests):
            if output.error is None and suite.grade(instances[place], [output])[0].score:
                found[len(requests[place].prompt)] += sign
    return dict(found)


@dataclass(frozen=True)
class SplitLoader:
    """Two programs; prompts of these lengths go to the old one."""

    old: Loader
    new: Loader
    lengths: tuple[int, ...]

    def facts(self) -> ModelFacts:
        of_both = {
            f"{k} {n}": v for n in ("old", "new") for k, v in getattr(self, n).facts().digests.items()
        }
        digests = {**of_both, "lengths": content_hash(self.lengths)}
        return ModelFacts(name="both", engine="program", digests=digests)

    @contextmanager
    def open(self) -> Iterator[Model]:
        with self.old.open() as self_old, self.new.open() as self_new:
            yield SplitModel(self_old, self_new, self.lengths)


@dataclass(frozen=True)
class SplitModel:
    """The two, opened."""

    old: Model
    new: Model
    lengths: tuple[int, ...]

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Output]]:
        to_old = [len(request.prompt) in self.lengths for request in requests]
        for model, is_asked in ((self.old, True), (self.new, False)):
            places = [place for place, given in enumerate(to_old) if given is is_asked]
            for place, output in model.answer([requests[place] for place in places]):
                yield places[place], output
