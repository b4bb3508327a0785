"""`muscle-gov run` and `muscle-gov predict`: models are run on suites, and what is missing filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muscle_gov.cli import Command, _fitting, _options, _predicting, _show, _update
from muscle_gov.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from muscle_gov.config import LiveModel
    from muscle_gov.hookspecs import Suite
    from muscle_gov.settings import PredictSettings

predict_options = _options.chain(
    click.option(
        "--repeats",
        type=click.IntRange(1),
        help="Answer each instance so often; two or more give the noise floor.",
    ),
    click.option("--seed", type=int, help="Of sampled answers and of the order of repeats."),
    click.option(
        "--limit",
        type=click.IntRange(1),
        help="Only the first so many instances of each suite: for a try, never a verdict.",
    ),
)


@click.command(cls=Command, short_help="Run what an update.toml describes: predict, compare, judge.")
@click.argument("config", type=click.Path(path_type=Path), default=Path("update.toml"))
@click.option(
    "--mend",
    is_flag=True,
    help="Then train the mitigations of the file and judge them, and their controls, likewise.",
)
@_options.compare_options
@predict_options
@_options.gate_options
@_options.output_options
@_options.store_option
@_options.worst_option
@_options.quiet_option
def run(config: Path, **given: Any) -> int:
    """Run what CONFIG (default: update.toml) describes: predict what is missing, compare, judge.

    Models stand in [models.old] and [models.new], what they are run on in [suites.NAME]; a side may be
    a log instead. Answers are kept as they come: a run that was stopped goes on where it was, and a
    second one asks nothing twice. With --mend the verdict is on the update if it passes or nothing
    does, else on the first of the mitigations that passes; all of them are listed.

    \b
    Examples:
      muscle-gov run
      muscle-gov run --mend
      muscle-gov run update.toml --repeats 3 --max nfr=2% --html report.html
      muscle-gov run update.toml --suite gsm8k --limit 20      (a try)
    """
    from muscle_gov.cli.mending import check_adapters
    from muscle_gov.fit import check_training
    from muscle_gov.mend import run_mend
    from muscle_gov.pipeline import Predicting, run_update
    from muscle_gov.store import open_store

    plugins, update, outputs, store_path = _update.configured(config, given)
    formats = _options.formats_of(plugins, given, outputs)
    quiet = given["quiet"]
    _show.warn_of_broken(plugins, quiet)
    for warning in update.warnings:
        _show.say(f"{config}: {warning}", quiet)
    check_adapters(update, plugins, config, quiet)
    if update.finetune:
        check_training(update)
    settings = _settings(given, update.predict)
    suites = _suites(update.suites, update.compare.suites)
    command = _update.command_line()
    with open_store(store_path) as store:
        with _fitting.watching_both(quiet) as ((watch, counter), watch_fit):
            predicting = Predicting(suites, settings, watch)
            if given["mend"]:
                judged = run_mend(store, plugins, update, predicting, command, watch_fit)
            else:
                judged = run_update(store, plugins, update, predicting, command, counter)
        return _update.tell(store, plugins, judged, (formats, outputs), {**given, "config": config})


@click.command(cls=Command, short_help="Run models on suites and keep their answers.")
@click.option("-c", "--config", type=click.Path(path_type=Path), help="An update.toml.")
@click.option("--model", "models", multiple=True, help="Only this one of [models]; name or pattern.")
@click.option("--suite", "suites", multiple=True, help="Only this one of [suites]; name or pattern.")
@click.option(
    "-m",
    "--model-option",
    "model_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Without --config: a key of the model's table, e.g. loader=hf or path=models/v1.",
)
@click.option(
    "-s",
    "--suite-option",
    "suite_options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Without --config: a key of the suite's table, e.g. suite=table or path=questions.jsonl.",
)
@predict_options
@_options.store_option
@_options.json_option
@_options.quiet_option
def predict(config: Path | None, **given: Any) -> int:
    """Run models on suites and keep every answer, as far as the store has none.

    Answers are kept as they come. Requests that fail are errors, never wrong answers; they are asked
    again by the next call, and the exit code is 3 as long as there are any.

    \b
    Examples:
      muscle-gov predict -c update.toml
      muscle-gov predict -c update.toml --model new --suite gsm8k
      muscle-gov predict -m path=models/v1 -s path=questions.jsonl \\
          -s 'prompt={{ question }}' -s 'target={{ answer }}'
    """
    from muscle_gov.pipeline import Predicting, check_all, predict_model
    from muscle_gov.store import open_store

    quiet = given["quiet"]
    models, suites, settings, store_path = _asked(config, given)
    found = []
    check_all(models, suites)
    with open_store(store_path) as store, _predicting.watching(quiet) as (watch, _):
        for model in models:
            found += predict_model(store, model, Predicting(suites, settings, watch))
    if given["as_json"]:
        _show.print_json([asdict(one) for one in found])
    else:
        for line in _predicting.summary(found):
            print(line)
    lacking = sum(one.errors for one in found)
    if lacking:
        _show.say("muscle-gov: some requests have no answer; the same command asks for them again")
    return 3 if lacking else 0


def _asked(
    config: Path | None, given: dict[str, Any]
) -> tuple[Sequence[LiveModel], Mapping[str, Suite], PredictSettings, str]:
    """(models, suites, settings, store) of a config or of the command line alone."""
    from muscle_gov.config import LiveModel, load_update, made_here
    from muscle_gov.settings import PredictSettings

    if config is None:
        model_keys = _options.nested_options(given["model_options"], "-m")
        suite_keys = _options.nested_options(given["suite_options"], "-s")
        if not model_keys or not suite_keys or given["models"] or given["suites"]:
            raise UsageError("give --config, or both -m NAME=VALUE and -s NAME=VALUE (see --help)")
        plugins = _options.load_plugins()
        _show.warn_of_broken(plugins, given["quiet"])
        model, here = made_here(plugins, model_keys, suite_keys)
        return [model], here, _settings(given, PredictSettings()), given["store"]
    if given["model_options"] or given["suite_options"]:
        raise UsageError("-m and -s describe a model and a suite instead of --config, not beside it")
    plugins = _options.load_plugins(config)
    _show.warn_of_broken(plugins, given["quiet"])
    update = load_update(config, plugins)
    live = {key: model for key, model in update.models.items() if isinstance(model, LiveModel)}
    wanted = given["models"] or [key for key in ("old", "new") if key in live]
    models = [live[key] for key in _chosen(live, wanted, "model")]
    if not models:
        raise UsageError(f"{config}: has no model to run: both sides are logs")
    suites = _suites(update.suites, given["suites"])
    return models, suites, _settings(given, update.predict), _update.store_of(given, update)


def _settings(given: Mapping[str, Any], base: PredictSettings) -> PredictSettings:
    names = ("repeats", "seed", "limit")
    return replace(base, **{name: given[name] for name in names if given[name] is not None})


def _chosen(there: Mapping[str, Any], wanted: Sequence[str], what: str) -> list[str]:
    for pattern in wanted:
        if not any(fnmatchcase(key, pattern) for key in there):
            raise UsageError(f"there is no {what} {pattern!r} to run; {did_you_mean(pattern, there)}")
    return [key for key in there if any(fnmatchcase(key, pattern) for pattern in wanted)]


def _suites(suites: Mapping[str, Suite], wanted: Sequence[str]) -> Mapping[str, Suite]:
    """Those suites that the patterns ask for, by their own name or that of one of their parts."""
    from muscle_gov.predict import expanded

    members = expanded(suites)
    if not wanted:
        return members
    patterns = [pattern for want in wanted for pattern in (want, want.rpartition("/")[0]) if pattern]
    found = {
        name: suite
        for name, suite in members.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    if members and not found:
        raise UsageError(f"there is no suite {wanted[0]!r} to run; {did_you_mean(wanted[0], members)}")
    return found
