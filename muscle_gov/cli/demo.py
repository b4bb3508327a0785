"""`muscle-gov demo`: a whole update, made here and now, found wanting, mended and judged again."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from muscle_gov.cli import Command, _candidates, _fitting, _options, _show, _story, _writing
from muscle_gov.errors import ModelError, PluginError

if TYPE_CHECKING:
    from muscle_gov.config import Update
    from muscle_gov.pipeline import Judged
    from muscle_gov.plugins import Plugins

GROUP = "muscle_gov.demo"
"""The entry point `world` of this group makes the world: `make(folder, seed, questions, watch)`."""


@click.command(cls=Command, short_help="See it all on two small models that are made here.")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("demo"))
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything.")
@click.option(
    "--questions", type=click.IntRange(100), default=4000, show_default=True, help="In each suite."
)
@_options.quiet_option
def demo(folder: Path, seed: int, questions: int, quiet: bool) -> int:
    """Make a small world, update a model in it, judge the update, mend it, and judge it again.

    In FOLDER (default: demo) two tiny language models are trained on support tickets, an old one and
    its update; both are fitted to a task, asked, compared and judged. What breaks is mended in two ways
    and judged again beside the controls. Nothing is downloaded and nothing is made up: the models, the
    adapters, the store and the update.toml are real and stay in the folder, to be looked at, changed
    and run again. It takes some three minutes on two idle cores; once interrupted, it goes on.

    The exit code is 0 when it comes to its end, whatever the verdict.

    \b
    Examples:
      muscle-gov demo
      muscle-gov demo other-world --seed 1
    """
    began = time.monotonic()
    stages = _Stages(quiet, began)
    stages.say("making a small world: support tickets, and two language models that have read of them")
    _make(folder, seed, questions, stages.tell)
    plugins, update = _loaded(folder / "update.toml")
    stages.say("fitting both to the task, by one and the same procedure: muscle-gov finetune")
    _side_by_side("finetune", update.finetune, update.path)
    stages.say(
        f"training what may mend the update ({', '.join(update.mitigations)}): muscle-gov mitigate"
    )
    _side_by_side("mitigate", update.mitigations, update.path)
    plugins, update = _loaded(folder / "update.toml")
    stages.say("asking all, training the controls, comparing, judging: muscle-gov run --mend")
    judged = _run(plugins, update, quiet)
    _tell(judged, update, folder, time.monotonic() - began)
    return 0


class _Stages:
    """Says what is being done, and since when."""

    def __init__(self, quiet: bool, began: float) -> None:
        self.quiet, self.began, self.number = quiet, began, 0

    def say(self, what: str) -> None:
        self.number += 1
        _show.say(f"[{time.monotonic() - self.began:3.0f} s] {self.number}. {what}", self.quiet)

    def tell(self, what: str) -> None:
        _show.say(f"         {what}", self.quiet)


def _make(folder: Path, seed: int, questions: int, tell: Callable[[str], None]) -> None:
    from importlib.metadata import entry_points

    found = [point for point in entry_points(group=GROUP) if point.name == "world"]
    if not found:
        raise PluginError("the demo's world is not installed; install muscle-gov anew")
    found[0].load()(folder, seed, questions=questions, watch=tell)


def _loaded(config: Path) -> tuple[Plugins, Update]:
    from muscle_gov.config import load_update

    plugins = _options.load_plugins(config)
    return plugins, load_update(config, plugins)


def _side_by_side(command: str, names: Iterable[str], config: Path) -> None:
    """Run a command for each name, each in a process of its own: models this small have no use for a
    second core. Raises ModelError with what the first that failed had to say."""
    import os
    import subprocess
    import sys
    from concurrent.futures import ThreadPoolExecutor

    def run(name: str) -> str | None:
        words = [sys.executable, "-m", "muscle_gov", command, str(config), "--only", name, "--quiet"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
        return None if done.returncode == 0 else done.stderr.strip().removeprefix("muscle-gov: ")

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for failure in pool.map(run, names):
            if failure is not None:
                raise ModelError(failure)


def _run(plugins: Plugins, update: Update, quiet: bool) -> Judged:
    from muscle_gov.mend import run_mend
    from muscle_gov.pipeline import Predicting
    from muscle_gov.predict import expanded
    from muscle_gov.store import open_store

    outputs = {name: str(file) for name, file in update.reports.items()}
    formats = _options.formats_of(plugins, {"report_options": ()}, outputs)
    with open_store(str(update.store)) as store:
        with _fitting.watching_both(quiet) as ((watch, _), watch_fit):
            predicting = Predicting(expanded(update.suites), update.predict, watch)
            command = f"muscle-gov run --mend {update.path}"
            judged = run_mend(store, plugins, update, predicting, command, watch_fit)
        given = {"quiet": quiet, "config": update.path, "folder": None}
        _writing.write(store, plugins, judged.report, (formats, outputs), given)
    return judged


def _tell(judged: Judged, update: Update, folder: Path, seconds: float) -> None:
    found = judged.report.candidates
    print()
    _paragraph("What the update does", [_story.TERMS, *_story.of_update(found[0])])
    for suite in update.suites:
        _paragraph(f"What mending does to {suite}", _story.of_mending(found, suite))
    _paragraph("What may ship", _story.of_verdicts(found))
    _candidates.show(found, judged.comparison)
    config, program = folder / "update.toml", _program()
    print(f"\nAll of it took {seconds:.0f} s. Nothing here was made up; another --seed, other figures.")
    for what, where in (
        ("the report", update.reports.get("html", folder)),
        ("what broke", f"{program} flips --store {update.store}"),
        ("what was asked for", f"{config}  (change it, then: {program} run --mend {config})"),
    ):
        print(f"  {what + ':':<20} {where}")


def _program() -> str:
    """How this program is called from here."""
    import shutil
    import sys

    own = Path(sys.argv[0])
    return "muscle-gov" if shutil.which("muscle-gov") or own.name != "muscle-gov" else str(own)


def _paragraph(title: str, sentences: Iterable[str]) -> None:
    print(title)
    for sentence in sentences:
        print(textwrap.fill(sentence, 100, initial_indent="  • ", subsequent_indent="    "))
    print()
