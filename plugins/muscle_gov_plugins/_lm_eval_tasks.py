"""Tasks of an installed lm-evaluation-harness, made ready as its own `simple_evaluate` does.

The harness is asked for everything that a task is: documents, prompts, filters, metrics. Its talk (log
lines, progress bars, prints) is kept off both streams, and its seeding of the global random generators
is undone afterwards.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import importlib
import inspect
import io
import json
import logging
import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from muscle_gov import InputError, ModelError
from muscle_gov.logs import content_hash, read_bytes

_RANDOM_SEED, _NUMPY_SEED = 0, 1234
"""What the harness seeds the global generators with; code of some tasks draws from them."""


@dataclass(frozen=True)
class Choice:
    """Which tasks, and where they are looked for."""

    tasks: tuple[str, ...]
    include_path: tuple[Path, ...]
    include_defaults: bool
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Setting:
    """How a task is run: the options of the harness's command line that change prompts."""

    num_fewshot: int | None = None
    fewshot_seed: int = 1234
    apply_chat_template: bool = False
    fewshot_as_multiturn: bool = True
    system_instruction: str | None = None
    limit: int | None = None
    samples: tuple[int, ...] = ()
    gen_kwargs: Mapping[str, Any] | None = None


def harness(module: str) -> Any:
    """A module of the harness. Raises ModelError if it is not installed."""
    try:
        return importlib.import_module(f"lm_eval.{module}")
    except ImportError as error:
        raise ModelError(
            f"the suite lm-eval needs lm-evaluation-harness, which cannot be imported ({error}); "
            "pip install 'muscle-gov[lm-eval]'"
        ) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """While the harness works: nothing that it says reaches the terminal; what it raises does."""
    talk = io.StringIO()
    logger = logging.getLogger("lm_eval")
    handlers, logger.handlers = logger.handlers, [logging.NullHandler()]
    propagates, logger.propagate = logger.propagate, False
    try:
        with (
            contextlib.redirect_stdout(talk),
            contextlib.redirect_stderr(talk),
            warnings.catch_warnings(),
            _compiling_once(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.handlers, logger.propagate = handlers, propagates


@contextlib.contextmanager
def _compiling_once() -> Iterator[None]:
    """The harness compiles a task's templates anew for each document, which is most of the time that
    its prompts and grades take; meanwhile its environment keeps them."""
    environment = getattr(harness("utils"), "env", None)
    if environment is None or "from_string" in vars(environment):
        yield
        return
    environment.from_string = _kept_templates(environment)
    try:
        yield
    finally:
        del environment.from_string


@cache
def _kept_templates(environment: Any) -> Any:
    return lru_cache(maxsize=1024)(environment.from_string)


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    import numpy as np

    python, numpy = random.getstate(), np.random.get_state()
    random.seed(_RANDOM_SEED)
    np.random.seed(_NUMPY_SEED)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


# ------------------------------------------------------------------------------------------- loading


def load(choice: Choice) -> dict[str, Any]:
    """Task name → task, groups, tags and patterns expanded. Raises InputError for what is not there."""
    with quiet():
        manager = _manager(
            tuple(str(path) for path in choice.include_path),
            choice.include_defaults,
            json.dumps(dict(choice.metadata), sort_keys=True),
        )
        specs = [spec for name in choice.tasks for spec in _specs(manager, name)]
    try:
        with quiet(), _seeded():
            tasks: dict[str, Any] = manager.load(list(dict.fromkeys(specs)))["tasks"]
    except Exception as error:  # code of the task, of the harness, of datasets, of the hub
        named = ", ".join(choice.tasks)
        raise InputError(f"lm-eval: the tasks {named} cannot be loaded: {_reason(error)}") from error
    if not tasks:
        raise InputError(f"lm-eval: {', '.join(choice.tasks)} stands for no task")
    return tasks


@cache
def _manager(include_path: tuple[str, ...], include_defaults: bool, metadata: str) -> Any:
    """The harness's index of tasks. Going through its own ten thousand takes some seconds, once."""
    for path in include_path:
        if not Path(path).is_dir():
            raise InputError(f"lm-eval: include_path: there is no directory {path}")
    return harness("tasks").TaskManager(
        include_path=list(include_path) or None,
        include_defaults=include_defaults,
        metadata=json.loads(metadata),
    )


def _specs(manager: Any, name: str) -> Sequence[str]:
    """What the harness is to load for one entry of `tasks`."""
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise InputError(f"lm-eval: tasks: there is no file {name}")
        return [str(Path(name).absolute())]
    found: list[str] = sorted(manager.match_tasks([name]))
    if found:
        return found
    near = difflib.get_close_matches(name, manager.all_tasks, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "no task has a name like it"
    where = "" if manager.include_path else " (tasks of your own are found by include_path)"
    raise InputError(f"lm-eval: there is no task, group or tag {name!r}; {hint}{where}")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:400]}" if text else type(error).__name__


# ------------------------------------------------------------------------------------------ preparing


def prepare(name: str, task: Any, setting: Setting, runs_unsafe_code: bool) -> None:
    """Apply the settings to a task, by the harness's own rules. Raises InputError if it cannot run."""
    if getattr(task, "MULTIMODAL", False):
        raise InputError(f"lm-eval: {name} asks about images or sounds, which no request here can hold")
    if getattr(task, "UNSAFE_CODE", False) and not runs_unsafe_code:
        raise InputError(
            f"lm-eval: {name} runs code that a model wrote; say confirm_run_unsafe_code = true if this "
            "machine may run it"
        )
    if task.get_config("output_type") == "generate_until" and setting.gen_kwargs:
        task.set_config(key="generation_kwargs", value=dict(setting.gen_kwargs), update=True)
    # a task that says 0 itself means it
    own = task.get_config("num_fewshot")
    if setting.num_fewshot is not None and own != 0:
        task.set_config(key="num_fewshot", value=setting.num_fewshot)
    elif own is None:
        task.set_config(key="num_fewshot", value=0)


def build(name: str, task: Any, setting: Setting) -> list[list[Any]]:
    """The harness's instances, those of one document together, in its order. Raises InputError."""
    try:
        with quiet(), _seeded():
            task.set_fewshot_seed(seed=setting.fewshot_seed)
            task.build_all_requests(
                limit=setting.limit,
                samples=list(setting.samples) or None,
                rank=0,
                world_size=1,
                system_instruction=setting.system_instruction,
                apply_chat_template=setting.apply_chat_template,
                fewshot_as_multiturn=setting.fewshot_as_multiturn,
                chat_template=chat if setting.apply_chat_template else None,
            )
    except Exception as error:  # templates and code of the task
        raise InputError(f"lm-eval: {name}: no prompts can be made: {_reason(error)}") from error
    by_doc: dict[int, list[Any]] = {}
    for instance in task.instances:
        by_doc.setdefault(instance.doc_id, []).append(instance)
    return [sorted(instances, key=lambda one: one.idx) for instances in by_doc.values()]


class Chat(str):
    """Chat messages as JSON, which is what the harness logs and hashes where a server templates them."""

    __slots__ = ()


def chat(messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> Chat:  # noqa: ARG001
    """What stands in for a tokenizer's chat template. Whether a turn of the model is to be begun shows
    from the last message: one of the assistant is gone on with."""
    return Chat(json.dumps(messages, ensure_ascii=False))


def results_of(name: str, task: Any, setting: Setting) -> dict[str, Any]:
    """What a results file of the harness would say of this task, as far as comparing needs it."""
    utils = harness("utils")
    system = setting.system_instruction
    told = {
        "configs": {name: task.dump_config()},
        "versions": {name: task.VERSION},
        "n-shot": {name: task.dump_config().get("num_fewshot", 0)},
        "higher_is_better": {name: task.higher_is_better()},
        "config": {"gen_kwargs": dict(setting.gen_kwargs or {})},
        "lm_eval_version": importlib.import_module("lm_eval").__version__,
        "system_instruction": system,
        "system_instruction_sha": utils.hash_string(system) if system else None,
    }
    logged: dict[str, Any] = as_logged(told)
    return logged


def as_logged(value: Any) -> Any:
    """A value as the harness's logs have it: numpy's numbers as numbers, what is no JSON as text."""
    default = harness("utils").handle_non_serializable
    text = json.dumps(value, default=default, ensure_ascii=False)
    return json.loads(text)


def doc_hash(doc: Any) -> str:
    """The hash by which the harness tells a document."""
    utils = harness("utils")
    text = json.dumps(doc, indent=2, default=utils.handle_non_serializable, ensure_ascii=False)
    return str(utils.hash_string(text))


# ------------------------------------------------------------------------------------------ its files


def files_digest(task: Any) -> str | None:
    """Digest of the files that a task is made of; None for a task of the harness itself.

    The harness tells the source of the functions that a task names, but not of what these call. So all
    Python files that lie beside the task's YAML, beside those that it includes and beside its functions
    count. The harness's own files are told by its version. Raises InputError if one cannot be read.
    """
    sources = _yaml_files(task)
    folders = {path.parent for path in sources | _code_files(task)}
    beside = {path for folder in folders for path in folder.glob("*.py") if path.is_file()}
    found = sorted(
        (path.name, hashlib.sha256(read_bytes(path)).hexdigest()) for path in sources | beside
    )
    return content_hash(found) if found else None


def _yaml_files(task: Any) -> set[Path]:
    """The YAML file that the task was loaded from, where the task knows it, and what it includes."""
    load_yaml = harness("tasks._yaml_loader").load_yaml
    told = getattr(task.config, "metadata", None)
    source = str(told.get("config_source", "")) if isinstance(told, Mapping) else ""
    found: set[Path] = set()
    waiting = [Path(source)] if source.endswith((".yaml", ".yml")) else []
    while waiting:
        path = waiting.pop().expanduser().resolve()
        if path in found or _is_of_the_harness(path):
            continue
        found.add(path)
        included = load_yaml(path, resolve_func=False, recursive=False).get("include", [])
        names = included if isinstance(included, list) else [included]
        waiting += [path.parent / name for name in names]
    return found


def _code_files(task: Any) -> set[Path]:
    """Where the functions that the task's config names are written, and the task's own class."""
    named = [type(task), *_functions(vars(task.config))]
    found = set()
    for one in named:
        has_code = inspect.isroutine(one) or inspect.isclass(one)
        with contextlib.suppress(TypeError, OSError):  # written in C, or not in a file
            found.add(Path(inspect.getfile(inspect.unwrap(one) if has_code else type(one))).resolve())
    return {path for path in found if path.is_file() and not _is_of_the_harness(path)}


def _functions(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _functions(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _functions(item)
    elif isinstance(value, functools.partial):
        yield from _functions(value.func)
    elif callable(value):
        yield value


def _is_of_the_harness(path: Path) -> bool:
    return path.is_relative_to(Path(harness("tasks").__file__).resolve().parents[1])
