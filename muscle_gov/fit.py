"""What is trained: fittings, the folders they have, and the proof that nothing judged is trained on.

A fitting's folder is named after all that its result depends on: the mitigation with its options, the
models, the data. So a result is found again, and never overwritten by another.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from muscle_gov.config import Finetune, LiveModel, Mending, Update
from muscle_gov.errors import InputError, OutputError, UsageError
from muscle_gov.exchange import FitStanding, Instance
from muscle_gov.hookspecs import Fitting, Loader, Mitigation, Suite
from muscle_gov.logs import content_hash
from muscle_gov.plugins import Plugins
from muscle_gov.predict import expanded, fingerprint
from muscle_gov.questions import input_hash

WatchFit = Callable[[FitStanding], None]
ADAPTER = "adapter"
"""Where in its folder a mitigation leaves what it trained."""
_OF_AN_ADAPTER = frozenset(
    ("adapter_config.json", "adapter_model.safetensors", "muscle-gov.json", "README.md")
)
"""What may be replaced with a new adapter."""


def fitting_of(
    update: Update, plugins: Plugins, mending: Mending, watch: WatchFit = lambda _: None
) -> Fitting:
    """What a mitigation is given: models, data, and a folder for these and its options alone.

    Raises UsageError if a side of the update is a log.
    """
    old, new = sides_of(update)
    training = {name: update.training[name] for name in mending.training}
    given = _Given(old.loader, new.loader, training, update.mend.folder, plugins, watch)
    return given.fitting(mending.key, mending.mitigation)


def finetune(
    update: Update,
    plugins: Plugins,
    made: Finetune,
    replace: bool = False,
    watch: WatchFit = lambda _: None,
) -> bool:
    """Make the task adapter, in its folder `out`; returns whether it was made now.

    An adapter that is there and was made of the same is left as it is. Raises UsageError if `out` holds
    another one and `replace` is not given, InputError if what is trained on is judged too.
    """
    training = {name: update.training[name] for name in made.training}
    given = _Given(None, made.model.loader, training, update.mend.folder, plugins, watch)
    fitting = given.fitting(made.key, made.trainer)
    check_training(update)
    trained = fitting.workdir / ADAPTER
    out = made.out.resolve()
    if out.exists():
        _check_place(made, out)
        if trained.is_dir() and _contents(trained) == _contents(out):
            return False
        if not replace:
            raise UsageError(
                f"finetune.{made.key}: {made.out} is there already, but was not made of what the file "
                "says now; give --replace to put a new adapter in its place, or another out"
            )
    made.trainer.fit(fitting)
    try:
        _put(trained, out)
    except OSError as error:
        raise OutputError(
            f"finetune.{made.key}: {made.out} cannot be written ({error.strerror or error}); the "
            f"adapter is at {trained}"
        ) from error
    return True


def is_stale(update: Update, plugins: Plugins, made: Finetune) -> bool:
    """Whether the adapter that is there was made of something else than what the file says now."""
    training = {name: update.training[name] for name in made.training}
    given = _Given(None, made.model.loader, training, update.mend.folder, plugins, lambda _: None)
    trained = given.fitting(made.key, made.trainer).workdir / ADAPTER
    return not trained.is_dir() or not made.out.is_dir() or _contents(trained) != _contents(made.out)


def refitting(update: Update, fitting: Fitting) -> Fitting:
    """The fitting of a re-fit of the candidate: on the data that its adapter was made of, where the file
    says which, else on those of the mitigation."""
    _, new = sides_of(update)
    adapter = getattr(new.loader, "adapter", None)
    for made in update.finetune.values():
        if adapter is not None and Path(adapter).resolve() == made.out.resolve():
            training = {name: update.training[name] for name in made.training}
            told = json.dumps([fitting.workdir.name, training_digest(training)])
            digest = hashlib.sha256(told.encode()).hexdigest()[:12]
            kind = fitting.workdir.name.rpartition("-")[0]
            folder = fitting.workdir.with_name(f"{kind}-{digest}")
            return dataclasses.replace(fitting, training=training, workdir=folder)
    return fitting


def _check_place(made: Finetune, out: Path) -> None:
    """Refuse to take a folder for an adapter that holds anything else: it would be lost."""
    strange = (
        sorted(path.name for path in out.iterdir() if path.name not in _OF_AN_ADAPTER)
        if out.is_dir()
        else [out.name]
    )
    if strange or not (out / "adapter_config.json").is_file():
        raise UsageError(
            f"finetune.{made.key}: out: {made.out} is there and is not an adapter alone "
            f"({strange[0] if strange else 'it has no adapter_config.json'}); give another folder"
        )


def missing_adapters(update: Update) -> list[str]:
    """Names of the `[finetune]` tables whose adapters are not there yet."""
    return [key for key, made in update.finetune.items() if not made.out.exists()]


def sides_of(update: Update) -> tuple[LiveModel, LiveModel]:
    """(old, new), both of which must be models that can be run. Raises UsageError."""
    old, new = update.old, update.new
    if not isinstance(old, LiveModel) or not isinstance(new, LiveModel):
        raise UsageError(f"{update.path}: a side is a log, and only models that are run can be mended")
    return old, new


class _Given:
    """What all fittings of an update have in common."""

    def __init__(
        self,
        old: Loader | None,
        new: Loader,
        training: Mapping[str, Suite],
        folder: Path,
        plugins: Plugins,
        watch: WatchFit,
    ) -> None:
        self.old, self.new, self.training = old, new, training
        self.folder, self.plugins, self.watch = folder, plugins, watch
        self.digests = [
            old and fingerprint(old.facts()),
            fingerprint(new.facts()),
            training_digest(training),
        ]

    def fitting(self, name: str, mitigation: Mitigation) -> Fitting:
        told = json.dumps([options_of(mitigation), *self.digests], sort_keys=True)
        digest = hashlib.sha256(told.encode()).hexdigest()[:12]
        kind = self.kind(mitigation)
        return Fitting(
            name=name,
            old=self.old,
            new=self.new,
            training=self.training,
            workdir=self.folder / f"{kind}-{digest}",
            watch=self.watch,
            beside=lambda other: self.fitting(self.kind(other), other),
        )

    def kind(self, mitigation: Mitigation) -> str:
        """The name under which it is offered."""
        offers = self.plugins.offers["mitigations"]
        return next(
            (n for n, cls in offers.items() if cls is type(mitigation)), type(mitigation).__name__
        )


def options_of(offer: Any) -> Any:
    """A mitigation with all its options, those that are mitigations too, as JSON has them."""
    told = {
        f.name: options_of(value) if dataclasses.is_dataclass(value) else value
        for f in dataclasses.fields(offer)
        for value in [getattr(offer, f.name)]
    }
    kind = f"{type(offer).__module__}.{type(offer).__qualname__}"
    return json.loads(json.dumps([kind, told], sort_keys=True, default=str))


# ------------------------------------------------------------------------------------- the data


def training_digest(training: Mapping[str, Suite]) -> str:
    """Of all that is trained on: what is asked, and the right answers."""
    digest = hashlib.sha256()
    for name, suite in expanded(training).items():
        reference = getattr(suite, "reference", None)
        for instance in suite.instances():
            asked = [
                [
                    r.prompt,
                    r.choices,
                    *(() if r.choices else (r.max_tokens, r.temperature, r.top_p, r.stop)),
                ]
                for r in suite.requests(instance)
            ]
            answer = reference(instance) if reference else None
            digest.update(content_hash(name, instance.content_hash, asked, answer).encode())
    return digest.hexdigest()


def check_training(update: Update) -> None:
    """Raises InputError if anything that the file says is trained on, for task adapters too, is in any
    of its suites."""
    used = {name for one in update.finetune.values() for name in one.training}
    used |= {name for one in update.mitigations.values() for name in one.training}
    check_disjoint(
        {name: update.training[name] for name in update.training if name in used}, update.suites
    )


def check_disjoint(training: Mapping[str, Suite], judged: Mapping[str, Suite]) -> None:
    """Raises InputError if anything that is trained on is judged too: the same content, the same
    question however its letters and spaces are, or one that stands as an example in a prompt."""
    known: dict[str, str] = {}
    for name, suite in expanded(judged).items():
        for instance in suite.instances():
            known |= dict.fromkeys(_marks(suite, instance), f"{instance.key} of suites.{name}")
    for name, suite in expanded(training).items():
        hits, total = [], 0
        for instance in suite.instances():
            total += 1
            hit = next((known[mark] for mark in _marks(suite, instance) if mark in known), None)
            if hit is not None:
                hits.append(f"{instance.key} is {hit}")
        shown = getattr(suite, "shown", None)
        examples = [
            known[f"input {one}"] for one in (shown() if shown else ()) if f"input {one}" in known
        ]
        if hits or examples:
            what = f"{len(hits):,} of its {total:,} instances are judged too ({(hits or [''])[0]})"
            if not hits:
                what = f"{len(examples):,} of the examples in its prompts are judged ({examples[0]})"
            raise InputError(
                f"training.{name}: {what}; what a model is judged by must not be what it was trained "
                "on: take them out of one"
            )


def _marks(suite: Suite, instance: Instance) -> set[str]:
    """By what an instance is known again, in whatever table it stands."""
    requests = suite.requests(instance)
    if not requests:
        raise InputError(f"nothing is asked about the instance {instance.key!r}")
    prompt = requests[0].prompt
    texts = [prompt] if isinstance(prompt, str) else [one["content"] for one in prompt]
    marks = {f"content {instance.content_hash}"}
    asked = input_hash(texts)
    if asked is not None:  # of an empty prompt all are alike
        marks.add(f"prompt {asked}")
    return marks | ({f"input {instance.input_hash}"} if instance.input_hash else set())


# ------------------------------------------------------------------------------------- the folder


def _contents(folder: Path) -> dict[str, bytes]:
    """What an adapter is: its weights and config; a card beside them may say more by now."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.name.startswith("adapter_") and path.is_file()
    }


def _put(trained: Path, out: Path) -> None:
    """Copy a finished adapter to where it is wanted: there is always a whole one, or none."""
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh, aside = out.with_name(f".{out.name}.new"), out.with_name(f".{out.name}.old")
    for left in (fresh, aside):
        if left.is_dir():
            shutil.rmtree(left)
    shutil.copytree(trained, fresh)
    if out.exists():
        out.rename(aside)
    fresh.rename(out)
    if aside.is_dir():
        shutil.rmtree(aside)
