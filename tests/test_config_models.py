"""`[models.*]`, `[suites.*]` and `[predict]`: what is run here, and what is told where it cannot be."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from toy_models import Adder, Sums

from muscle_gov import config
from muscle_gov.config import LiveModel
from muscle_gov.errors import ConfigError, UsageError
from muscle_gov.plugins import Plugins, load
from muscle_gov.settings import ImportSettings, PredictSettings, Source


@dataclass(frozen=True)
class AdderAt(Adder):
    """Adds."""

    path: Path | str = ""
    """Where it lies."""


@dataclass(frozen=True)
class Both(Adder):
    """Adds as several do."""

    models: tuple[Any, ...] = field(default=(), metadata={"refers_to": "models"})
    """Other models."""


@dataclass(frozen=True)
class Heard:
    """A log."""

    path: Path

    def source(self) -> Source:
        return Source(self.path, ImportSettings())


@dataclass(frozen=True)
class SumsAt(Sums):
    """Sums."""

    path: Path | None = None


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    loaded = load(allow=())
    offers = {
        **loaded.offers,
        "loaders": {"hf": AdderAt, "both": Both, "heard": Heard},
        "suites": {"table": SumsAt},
    }
    return dataclasses.replace(loaded, offers=offers)


SMALLEST = "[models.old]\nweak = 5\n[models.new]\nweak = 3\n[suites.sums]\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "update.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str, plugins: Plugins) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load_update(write(folder, text), plugins)
    return list(caught.value.problems)


def test_models_and_suites_are_made_with_their_options(tmp_path: Path, plugins: Plugins) -> None:
    text = f"""{SMALLEST}items = 4
        [predict]
        repeats = 2
        seed = 3
        limit = 9
        [models.third]
        name = "a third"
        loader = "both"
        models = ["old", "new"]
    """
    update = config.load_update(write(tmp_path, text), plugins)
    assert update.old == LiveModel("old", None, AdderAt(weak=5))
    assert update.new == LiveModel("new", None, AdderAt(weak=3))
    third = update.models["third"]
    assert isinstance(third, LiveModel)
    assert (third.name, third.loader) == ("a third", Both(models=(AdderAt(weak=5), AdderAt(weak=3))))
    assert update.suites == {"sums": SumsAt(items=4)}
    assert update.predict == PredictSettings(2, 3, 9)


def test_a_path_is_relative_to_the_file_and_a_name_on_a_hub_is_left_alone(
    tmp_path: Path, plugins: Plugins
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "q.jsonl").write_text("")
    text = (
        '[models.old]\npath = "weights"\n[models.new]\npath = "someone/model"\n'
        '[suites.a]\npath = "q.jsonl"\n'
    )
    update = config.load_update(write(tmp_path, text), plugins)
    assert update.old.loader.path == str(tmp_path / "weights")
    assert update.new.loader.path == "someone/model"
    assert update.suites["a"].path == tmp_path / "q.jsonl"


def test_a_side_may_be_a_log_beside_a_model(tmp_path: Path, plugins: Plugins) -> None:
    (tmp_path / "old.csv").write_text("id,correct\n1,1\n")
    for old in ('[old]\npath = "old.csv"\n', '[models.old]\nloader = "heard"\npath = "old.csv"\n'):
        update = config.load_update(
            write(tmp_path, f"{old}[models.new]\nweak = 3\n[suites.s]\n"), plugins
        )
        assert isinstance(update.old, Source)
        assert update.old.path == tmp_path / "old.csv"
        assert isinstance(update.new, LiveModel)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[models.old]\n[models.new]\n",
            "a table [suites.NAME] is required: what the models are run on",
        ),
        (
            "[models.old]\n[suites.s]\n",
            "the table [new] is required, with the path of the new model's log; ",
        ),
        (
            SMALLEST + '[old]\npath = "x"\n',
            "line 6: old: there is [models.old] too; leave one of them out",
        ),
        (
            SMALLEST + "itms = 3\n",
            "line 6: suites.sums.itms: there is no such option; did you mean 'items'?",
        ),
        (SMALLEST + 'items = "x"\n', "line 6: suites.sums.items: "),
        (
            SMALLEST + '[models.x]\nloader = "hg"\n',
            "line 7: models.x.loader: there is no loader 'hg'; known are",
        ),
        (
            SMALLEST + '[suites.x]\nsuite = "tabel"\n',
            "line 7: suites.x.suite: there is no suite 'tabel'; did",
        ),
        (
            SMALLEST + "[models.x]\nwaek = 1\n",
            "line 7: models.x.waek: there is no such option; did you mean",
        ),
        (SMALLEST + "[models.x]\nname = 3\n", "line 7: models.x.name: must be a text in quotes, not 3"),
        ('models.x = "y"\n' + SMALLEST, "line 1: models.x: must be a table, written [models.x]"),
        (SMALLEST + "[predict]\nrepeats = 0\n", "line 7: predict.repeats: 0 must be at least 1"),
        (
            SMALLEST + "[predict]\nlimits = 1\n",
            "line 7: predict.limits: [predict] has no such key; did you",
        ),
        (
            SMALLEST + '[models.x]\nloader = "both"\nmodels = ["odl"]\n',
            "line 8: models.x.models[0]: there is no [models.odl]; did you mean 'old'?",
        ),
        (
            SMALLEST + '[models.x]\nloader = "both"\nmodels = ["old", "x"]\n',
            "line 8: models.x.models[1]: a model cannot be made of itself: x → x",
        ),
        (
            SMALLEST
            + '[models.x]\nloader = "both"\nmodels = ["y"]\n'
            + '[models.y]\nloader = "both"\nmodels = ["x"]\n',
            "line 11: models.y.models[0]: a model cannot be made of itself: x → y → x",
        ),
        (
            SMALLEST
            + '[models.x]\nloader = "both"\nmodels = ["h"]\n'
            + '[models.h]\nloader = "heard"\npath = "update.toml"\n',
            "line 8: models.x.models[0]: models.h is only a log, which cannot answer anew",
        ),
        (
            SMALLEST + '[models.h]\nloader = "heard"\npath = "none.csv"\n',
            "line 8: models.h.path: there is no file or directory",
        ),
        (SMALLEST + '[suites."(all)"]\n', 'line 6: suites."(all)": a suite cannot be called (all)'),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, plugins: Plugins, text: str, told: str
) -> None:
    found = problems(tmp_path, text, plugins)
    assert any(told in problem for problem in found), found


def test_a_faulty_member_is_told_once(tmp_path: Path, plugins: Plugins) -> None:
    text = SMALLEST + '[models.x]\nloader = "both"\nmodels = ["bad"]\n[models.bad]\nweek = 1\n'
    assert len(problems(tmp_path, text, plugins)) == 1


def test_a_command_line_makes_a_model_and_a_suite(plugins: Plugins) -> None:
    model, suites = config.made_here(plugins, {"weak": "5", "name": "v1"}, {"items": "4"})
    assert model == LiveModel("m", "v1", AdderAt(weak=5))
    assert suites == {"sums": SumsAt(items=4)}


@pytest.mark.parametrize(
    ("model", "suite", "told"),
    [
        ({"waek": "5"}, {}, "-m waek: there is no such option; did you mean 'weak'?"),
        ({"loader": "hg"}, {}, "-m loader: there is no loader 'hg'"),
        ({}, {"itms": "5"}, "-s itms: there is no such option; did you mean 'items'?"),
        ({"loader": "heard", "path": "README.md"}, {}, "a log cannot be run"),
    ],
)
def test_what_is_wrong_on_a_command_line_is_told(
    plugins: Plugins, model: dict[str, str], suite: dict[str, str], told: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(told)):
        config.made_here(plugins, model, suite)


# ------------------------------------------------------------------------------ example and schema


@pytest.mark.parametrize("uncommented", [False, True])
def test_the_example_that_runs_is_right_with_the_built_in_plugins(
    tmp_path: Path, uncommented: bool
) -> None:
    text = config.example_text(runs=True)
    if uncommented:
        text = re.sub(r"(?m)^#(?=[\w\[])", "", text)
        text = text.replace('grader = "exact"\n', "").replace('choices = "{{ options }}"\n', "")
        (tmp_path / "examples.jsonl").write_text("{}\n")
    built_in = load(allow=())
    update = config.load_update(write(tmp_path, text), built_in)
    assert isinstance(update.old, LiveModel)
    assert set(update.suites) == ({"questions", "gsm8k"} if uncommented else {"questions"})
    assert update.warnings == ()
    jsonschema.Draft202012Validator(config.json_schema(built_in)).validate(tomllib.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "[models.old]\nwaek = 1",
        "[models.old]\nweak = 'x'",
        "[models.old]\nname = 1",
        "[suites.s]\nitms = 1",
        "[predict]\nrepeat = 1",
        "[predict]\nrepeats = 'x'",
    ],
)
def test_the_schema_refuses_what_the_program_refuses(
    tmp_path: Path, plugins: Plugins, text: str
) -> None:
    validator = jsonschema.Draft202012Validator(config.json_schema(plugins))
    assert not validator.is_valid(tomllib.loads(text))
    assert problems(tmp_path, text, plugins)


def test_loaders_and_suites_of_others_keep_to_the_schema(plugins: Plugins) -> None:
    schema = config.json_schema(plugins)
    for text in ("[models.old]\nloader = 'mine'\nanything = 1", "[suites.s]\nsuite = 'mine'\nx = 1"):
        jsonschema.validate(tomllib.loads(text), schema)
    jsonschema.validate(tomllib.loads(SMALLEST), schema)


def test_types_within_options_stand_in_the_schema() -> None:
    schema = config.json_schema(load(allow=()))
    text = str(schema)
    for reference in set(re.findall(r"'\$ref': '#/\$defs/([^']+)'", text)):
        assert reference in schema["$defs"], reference


def test_a_path_in_a_graders_table_is_relative_to_the_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "s.json").write_text("{}")
    (folder / "q.jsonl").write_text('{"q": "a"}\n')
    (folder / "update.toml").write_text(
        '[suites.s]\npath = "q.jsonl"\nprompt = "{{ q }}"\n'
        'grader = { kind = "json", schema_file = "s.json" }\n'
        '[old]\npath = "q.jsonl"\n[new]\npath = "q.jsonl"\n'
    )
    monkeypatch.chdir(tmp_path)
    update = config.load_update(folder / "update.toml", load(allow=()))
    grader: Any = update.suites["s"].grader  # type: ignore[attr-defined]
    assert Path(grader.schema_file) == folder / "s.json"
