"""Looks at adapters on the line between two, and writes the chosen one."""

from __future__ import annotations

import gc
import shutil
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muscle_gov import Fitting, InputError
from muscle_gov_plugins import _fit_card as card
from muscle_gov_plugins import _model_files as files
from muscle_gov_plugins._fit_adapters import line
from muscle_gov_plugins._fit_choose import Bools, choose_point, old_right
from muscle_gov_plugins._fit_head import Parts
from muscle_gov_plugins._fit_measure import measure
from muscle_gov_plugins._fit_recipe import Recipe
from muscle_gov_plugins._fit_rows import Data
from muscle_gov_plugins._fit_work import Work, alone, check_data, claim
from muscle_gov_plugins._hf_load import load, settings
from muscle_gov_plugins._hf_memory import release
from muscle_gov_plugins.loader_hf import HfLoader

if TYPE_CHECKING:
    from muscle_gov_plugins.mitigate_interpolate import Interpolate


def interpolate(options: Interpolate, fitting: Fitting) -> HfLoader:
    """Fit the line's end if need be, look at every point, write the chosen one."""
    end = _end(options, fitting)
    recipe = _recipe(options, end)
    work = Work(fitting, recipe, frozenset({"old"}))
    told = _told(options, end)
    key = claim(fitting, "interpolate", told)
    result = work.result()
    if card.is_whole(fitting.workdir / "adapter", key):
        work.tell("done", 1, 1)
        return result
    with alone(fitting.workdir):
        _make(options, work, end, told, key)
    work.tell("done", 1, 1)
    return result


def _make(options: Interpolate, work: Work, end: Path, told: dict[str, Any], key: str) -> None:
    """Look at every point, and put the chosen adapter in its place."""
    fitting = work.fitting
    started = time.monotonic()
    start = work.own_adapter()
    with settings(work.new.threads):
        data = work.read()
        check_data(fitting, data.digest)
        if options.of is None:
            _check_unseen(end, data, fitting)
        if not data.held_out:
            raise InputError(f"{fitting.name}: no rows with right answers are held out to choose by")
        old = old_right(work, data.held_out)
        points = dict(_rights(work, data, start, end, options.points))
        candidate = points[0.0]
        looked = ((point, points[point]) for point in options.points)
        chosen, choice = choose_point(looked, old, candidate, options.tolerance)
    folder = fitting.workdir / "points" / "chosen"
    line(start, end, chosen, folder)
    record = _record(work, told, data, choice)
    record |= {"key": key, "seconds": time.monotonic() - started, "data_read": data.digest}
    card.write(fitting.workdir / "adapter", folder, record)
    shutil.rmtree(fitting.workdir / "points")


def _end(options: Interpolate, fitting: Fitting) -> Path:
    """Folder of the mended adapter."""
    if options.of is None:
        return files.resolve(str(options.adapter), None, "adapter").folder
    made = options.of.fit(options.end(fitting))
    if not isinstance(made, HfLoader) or made.adapter is None:
        raise InputError(f"{fitting.name}: of: must be a mitigation that makes an adapter")
    return Path(made.adapter)


def _recipe(options: Interpolate, end: Path) -> Recipe:
    """How rows were held out when the mended adapter was trained; the rest of it does not matter."""
    if isinstance(options.of, Recipe):
        return options.of
    told: Any = _record_of(end).get("recipe", {})
    return Recipe(
        validation=told.get("validation", options.validation), seed=told.get("seed", options.seed)
    )


def _record_of(end: Path) -> dict[str, Any]:
    """What the adapter's folder says of its training; nothing where the adapter was changed since."""
    return card.read_record(end) if card.is_as_written(end) else {}


def _check_unseen(end: Path, data: Data, fitting: Fitting) -> None:
    """Raises InputError where rows to choose by may be among those that the adapter was trained on."""
    told = _record_of(end)
    is_same = told.get("data_read") == data.digest
    if not told or is_same or told["data"].get("is_held_out_by_hash"):
        return
    raise InputError(
        f"{fitting.name}: {end} was trained on other data, and not so that rows to choose by now were "
        "surely held out then; give the data that it was trained on, or train it again"
    )


def _told(options: Interpolate, end: Path) -> dict[str, Any]:
    """The options with the line's end by its content."""
    known = {name: getattr(options, name) for name in ("points", "tolerance", "validation", "seed")}
    digest = files.adapter_digest(files.resolve(str(end), None, "adapter"))
    return known | {"end": digest, "of": repr(options.of) if options.of is not None else None}


def _rights(
    work: Work, data: Data, start: Path | None, end: Path, points: tuple[float, ...]
) -> Iterator[tuple[float, Bools]]:
    """(point, [rows] is the whole answer right?) for every point, and for the candidate at 0."""
    import peft

    wanted = sorted({0.0, *points})
    model, _ = load(work.base)
    try:
        for number, point in enumerate(wanted):
            work.tell("choosing", number, len(wanted))
            folder = work.fitting.workdir / "points" / f"{point:g}"
            line(start, end, point, folder)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # peft says that the model had an adapter before
                tuned = peft.PeftModel.from_pretrained(model, str(folder))
            parts = Parts(tuned)
            found = measure(parts, data.held_out, work.pad, parts.chunk(work.recipe.chunk))
            yield point, found.right
            model = tuned.unload()
    finally:
        del model
        gc.collect()
        release()


def _record(work: Work, told: dict[str, Any], data: Data, choice: dict[str, Any]) -> dict[str, Any]:
    recipe = work.recipe
    return {
        "format": 1,
        "name": work.fitting.name,
        "mitigation": "interpolate",
        "options": told,
        "recipe": {"validation": recipe.validation, "seed": recipe.seed},
        "models": card.models(work),
        "starts_from": "the candidate" if work.new.adapter is not None else "nothing",
        "data": card.data(data, recipe),
        "settled": {"choice": choice},
        "versions": card.versions(),
        "peak_memory_bytes": card.peak_memory(),
    }
