"""One seed of `muscle.py`: a world of its own, an update in it, and all that mends it, judged.

Everything goes through the doors that users have: the world's update.toml, mitigations by name, the
store, the comparison. What is found is kept line by line, so a run that is stopped goes on.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _muscle_variants import UPDATE, Settings, Variant, variants

RESULTS, MADE_OF = "results.jsonl", "settings.json"
FINETUNING = "fine-tuning"
"""What the seconds of the task adapters are kept under, beside the variants."""


class Seed:
    """A world in a folder, with its store open."""

    def __init__(self, seed: int, settings: Settings, folder: Path, store: Any, plugins: Any) -> None:
        from muscle_gov.config import load_update
        from muscle_gov.pipeline import Predicting

        self.seed, self.settings, self.folder, self.store = seed, settings, folder, store
        self.plugins = plugins
        self.update = load_update(folder / "world" / "update.toml", plugins)
        self.predicting = Predicting(self.update.suites, self.update.predict)
        self.runs: dict[str, dict[str, int]] = {}
        self.adapters: dict[str, Path] = {}

    # ------------------------------------------------------------------------------- what is judged

    def loader(self, variant: Variant, watch: Callable[[Any], None]) -> Any:
        """The model of a variant; trained, if it was not yet."""
        from muscle_gov.config import Mending
        from muscle_gov.fit import fitting_of

        old, new = self.update.old.loader, self.update.new.loader
        if variant.share is not None:
            ensemble = self.plugins.get("loaders", "ensemble")
            return ensemble((old, new), (variant.share, 1 - variant.share))
        if variant.kind is None:
            return new
        options = {**self.settings.recipe(), **variant.options}
        if variant.end is not None:
            options = {"adapter": str(self.adapters[variant.end])}
        mitigation = self.plugins.make("mitigations", variant.kind, options)
        mending = Mending(variant.name, mitigation, variant.training)
        update = self.update
        if variant.of == "old":
            update = dataclasses.replace(update, new=update.old)
        return mitigation.fit(fitting_of(update, self.plugins, mending, watch))

    def try_(self, variant: Variant) -> dict[str, Any]:
        """Train, ask, compare: a line of the result."""
        clock = Clock()
        with clock.on("training as a whole"):
            loader = self.loader(variant, clock.watch)
        if variant.kind is not None:
            self.adapters[variant.name] = Path(loader.adapter)
        with clock.on("asking it"):
            self.runs[variant.name] = self.ask(variant.name, loader)
        return {
            "seed": self.seed,
            "variant": variant.name,
            "suites": self.compared(self.runs["old"], self.runs[variant.name]),
            "against": {
                suite: self.paired(suite, variant.name)
                for suite in self.runs[variant.name]
                if variant.name != UPDATE
            },
            "noise": self.noise(variant),
            "chosen": _chosen(loader),
            "cpu_seconds": {name: round(took, 2) for name, took in clock.took.items()},
            "figures": clock.figures,
        }

    def recall(self, variant: Variant) -> None:
        """A variant that was tried before, and that others are compared with or made of: nothing is
        trained or asked again."""
        loader = self.loader(variant, lambda _: None)
        if variant.kind is not None:
            self.adapters[variant.name] = Path(loader.adapter)
        self.runs[variant.name] = self.ask(variant.name, loader)

    def ask(self, name: str, loader: Any) -> dict[str, int]:
        """Suite -> number of the run."""
        from muscle_gov.config import LiveModel
        from muscle_gov.pipeline import predict_model

        found = predict_model(self.store, LiveModel(name, name, loader), self.predicting)
        for one in found:
            if one.errors:
                raise SystemExit(f"seed {self.seed}, {name}: {one.errors} errors: {one.first_error}")
        return {one.run.suite: one.run.run_id for one in found}

    def compared(self, old: Mapping[str, int], new: Mapping[str, int]) -> dict[str, Any]:
        """Suite -> metric -> value, as `muscle-gov compare` measures them."""
        from muscle_gov.pipeline import compare_runs
        from muscle_gov.settings import CompareSettings, Policy

        sides = list(old.values()), list(new.values())
        settings = CompareSettings(slices=False)
        comparison = compare_runs(self.store, self.plugins, sides, settings, Policy()).comparison
        return {
            figures.suite: {
                "n": figures.n_pairs,
                **{name: m.value for name, m in figures.measures.items() if m.value is not None},
            }
            for figures in comparison.suites
        }

    def paired(self, suite: str, name: str) -> dict[str, Any]:
        """A variant and the untouched update on the answers that the old model had right: how many it
        recovers, how many it breaks anew, and the exact McNemar test of "as many"."""
        from muscle_gov.stats import mcnemar_exact

        ((recovered, broken, kept),) = self.store.rows(
            """SELECT count(*) FILTER (WHERE u.outcome = 'wrong' AND v.outcome = 'right'),
                count(*) FILTER (WHERE u.outcome = 'right' AND v.outcome = 'wrong'),
                count(*) FILTER (WHERE u.outcome = v.outcome)
            FROM predictions o JOIN predictions u USING (instance_id, repeat)
            JOIN predictions v USING (instance_id, repeat)
            WHERE o.run_id = ? AND u.run_id = ? AND v.run_id = ? AND o.outcome = 'right'""",
            [self.runs["old"][suite], self.runs[UPDATE][suite], self.runs[name][suite]],
        )
        p = mcnemar_exact(broken, recovered)
        return {"recovered": recovered, "broken": broken, "alike": kept, "p": p}

    def noise(self, variant: Variant) -> dict[str, float] | None:
        """For a refit: suite -> NFR from what was made again to it."""
        if variant.kind != "refit":
            return None
        first = self.runs["old" if variant.of == "old" else UPDATE]
        found = self.compared(first, self.runs[variant.name])
        return {suite: figures["nfr"] for suite, figures in found.items() if "nfr" in figures}


class Clock:
    """CPU seconds of this process, with all its threads, by what it was doing."""

    def __init__(self) -> None:
        self.took: dict[str, float] = {}
        self.figures: dict[str, float] = {}
        self._phase, self._since = "", 0.0

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self._turn("")
        self.took[what] = time.process_time() - began

    def watch(self, told: Any) -> None:
        if told.phase != self._phase:
            self._turn(told.phase)
        if told.phase == "training":
            self.figures = dict(told.figures)

    def _turn(self, phase: str) -> None:
        now = time.process_time()
        if self._phase:
            self.took[self._phase] = self.took.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now


def _chosen(loader: Any) -> Any:
    """What was chosen on held-out rows, by the record beside the adapter; None if nothing was."""
    from muscle_gov_plugins import _fit_card as card

    folder = Path(getattr(loader, "adapter", None) or "")
    if not (folder / card.RECORD).is_file():
        return None
    return _find(card.read_record(folder), "chosen")


def _find(told: Any, name: str) -> Any:
    """The first value of that name in nested mappings, None if there is none."""
    if not isinstance(told, Mapping):
        return None
    if name in told:
        return told[name]
    return next((found for value in told.values() if (found := _find(value, name)) is not None), None)


# ----------------------------------------------------------------------------------------- the whole


def run_seed(
    seed: int, settings: Settings, work: Path, only: Sequence[str], tell: Callable[[str], None]
) -> None:
    """Do what of a seed is not done yet; results are in `work/seed-N`. `only` names variants, all if
    empty; the update, and what these are made of, are always among them."""
    from muscle_gov import plugins as plugin_lists
    from muscle_gov.store import open_store

    folder = work / f"seed-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, settings)
    lines = read_lines(folder)
    began = time.process_time()
    make_world(folder / "world", seed, settings, tell)
    plugins = plugin_lists.load()
    with open_store(folder / "store.duckdb") as store:
        if FINETUNING not in lines:
            took = finetune_both(folder / "world", plugins, settings)
            _add(folder, {"seed": seed, "variant": FINETUNING, "cpu_seconds": took})
            tell(f"seed {seed}: task adapters, {sum(took.values()):.1f} s")
        every = variants(settings)
        ends = {one.end for one in every}
        wanted = {one.name for one in every if not only or one.name in only}
        wanted |= {UPDATE, *(one.end for one in every if one.end and one.name in wanted)}
        world = Seed(seed, settings, folder, store, plugins)
        world.runs["old"] = world.ask("old", world.update.old.loader)
        for variant in every:
            if variant.name in lines:
                if variant.name == UPDATE or variant.name in ends:
                    world.recall(variant)
            elif variant.name in wanted:
                found = world.try_(variant)
                _add(folder, found)
                tell(_told(found))
    shutil.rmtree(folder / "world" / "mended" / "teachers", ignore_errors=True)
    tell(f"seed {seed}: done, {time.process_time() - began:.0f} CPU seconds")


def make_world(folder: Path, seed: int, settings: Settings, tell: Callable[[str], None]) -> None:
    """Bases, rows and the update.toml; what is there is left as it is."""
    from muscle_gov_plugins import demo_models as demo

    sizes = demo.Sizes(
        **{field.name: getattr(settings, field.name) for field in dataclasses.fields(demo.Sizes)}
    )
    demo.write_files(folder, seed, sizes)
    every = [
        dataclasses.replace(one, documents=round(one.documents * settings.documents))
        for one in demo.ASSISTANTS
    ]
    # one after the other: seeds run side by side already
    for one in every:
        if not (folder / demo.BASES / one.name).exists():
            began = time.process_time()
            demo.train_base(folder / demo.BASES / one.name, one, seed)
            tell(f"seed {seed}: {one.name} trained, {time.process_time() - began:.1f} s")


def finetune_both(world: Path, plugins: Any, settings: Settings) -> dict[str, float]:
    """Make the task adapters, both by one recipe, where the world's update.toml wants them; returns CPU
    seconds."""
    from muscle_gov.config import load_update
    from muscle_gov.fit import finetune

    took = {}
    update = load_update(world / "update.toml", plugins)
    for name, made in update.finetune.items():
        steps = settings.finetune_steps
        trainer = dataclasses.replace(made.trainer, steps=steps, validate_steps=steps, save_steps=steps)
        began = time.process_time()
        finetune(update, plugins, dataclasses.replace(made, trainer=trainer))
        took[name] = round(time.process_time() - began, 2)
    return took


def read_lines(folder: Path) -> dict[str, dict[str, Any]]:
    """Variant -> its result, of a seed; a line that was cut off is left out."""
    path = folder / RESULTS
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            told = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[told["variant"]] = told
    return found


def _add(folder: Path, line: Mapping[str, Any]) -> None:
    path = folder / RESULTS
    is_torn = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write(("\n" if is_torn else "") + json.dumps(line) + "\n")


def _claim(folder: Path, settings: Settings) -> None:
    """A folder holds results of one kind of settings alone."""
    path, told = folder / MADE_OF, dataclasses.asdict(settings)
    if not path.exists():
        path.write_text(json.dumps(told) + "\n")
    elif json.loads(path.read_text()) != told:
        raise SystemExit(f"{folder}: holds results of other settings; give another --work")


def _told(line: Mapping[str, Any]) -> str:
    parts = []
    for suite, figures in line["suites"].items():
        if "nfr" in figures:
            parts.append(f"{suite} acc {figures['accuracy_new']:.4f} nfr {figures['nfr']:.4f}")
        else:
            parts.append(
                f"{suite} score {figures['score_new']:.4f} reg {figures['regression_rate']:.4f}"
            )
    took = line["cpu_seconds"]
    return (
        f"seed {line['seed']}: {line['variant']:<28} {'; '.join(parts)}; trained in "
        f"{took['training as a whole']:.1f} s, asked in {took['asking it']:.1f} s"
    )
