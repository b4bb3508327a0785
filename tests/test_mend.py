"""`run_mend`, `finetune` and what keeps training and judging apart, on models one can see through."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cli_runner import muscle_gov
from toy_models import Adder, Sums

from muscle_gov import Candidate, Fitting, InputError, Loader, Mitigation
from muscle_gov.config import Update, load_update
from muscle_gov.data import Status
from muscle_gov.errors import ConfigError, UsageError
from muscle_gov.fit import (
    check_disjoint,
    finetune,
    fitting_of,
    is_stale,
    missing_adapters,
    options_of,
)
from muscle_gov.mend import list_candidates, run_mend
from muscle_gov.pipeline import Predicting
from muscle_gov.plugins import Plugins, load
from muscle_gov.predict import expanded
from muscle_gov.store import Store, candidates, open_store, records

FITS: list[str] = []
"""What was trained, in order, by its folder's name."""
TOLD: list[tuple[str, list[str]]] = []
"""(folder, names of the candidates) of each `conclude`."""


@dataclass(frozen=True)
class Better:
    """Is wrong more seldom."""

    weak: int = 11
    boost: int = 1

    def fit(self, fitting: Fitting) -> Loader:
        FITS.append(fitting.workdir.name)
        (fitting.workdir / "adapter").mkdir(parents=True, exist_ok=True)
        (fitting.workdir / "adapter" / "adapter_config.json").write_text(json.dumps(self.weak))
        return Adder(self.weak)

    def controls(self, fitting: Fitting) -> Mapping[str, Mitigation | Loader]:
        return {
            "as long": Control(self.boost),
            "again": Again(),
            "both": Two(),
        }

    def conclude(self, fitting: Fitting, found: tuple[Candidate, ...]) -> None:
        TOLD.append((fitting.workdir.name, [one.name for one in found]))


@dataclass(frozen=True)
class Control:
    """Trained as long."""

    boost: int

    def fit(self, fitting: Fitting) -> Loader:
        FITS.append(fitting.workdir.name)
        return Adder(3)

    def conclude(self, fitting: Fitting, found: tuple[Candidate, ...]) -> None:
        TOLD.append((fitting.workdir.name, [one.name for one in found]))


@dataclass(frozen=True)
class Again:
    """Trained once more."""

    is_refit = True

    def fit(self, fitting: Fitting) -> Loader:
        FITS.append(fitting.workdir.name)
        return Adder(5)


@dataclass(frozen=True)
class Two(Adder):
    """Two models at once."""

    weak: int = 13
    cost: float = 2.0


@dataclass(frozen=True)
class Upon:
    """Goes on from another mitigation."""

    of: Any = field(metadata={"refers_to": "mitigations"})

    def fit(self, fitting: Fitting) -> Loader:
        FITS.append(fitting.workdir.name)
        assert fitting.beside is not None
        return self.of.fit(fitting.beside(self.of))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Learnt(Sums):
    """Sums, with their answers."""

    of: int = 1000

    def instances(self) -> Any:
        for one in super().instances():
            a, b = one.data[0] + self.of, one.data[1]
            yield one._replace(content_hash=f"{one.content_hash}{self.of}", data=(a, b))


CONFIG = """
[models.old]
loader = "adder"
weak = 97
name = "old"
[models.new]
loader = "adder"
weak = 4
name = "new"
[suites.sums]
suite = "sums"
[training.more]
suite = "learnt"
[gate]
[[gate.rules]]
metric = "nfr"
max = 0.1
judge = "value"
"""
MENDED = CONFIG + "[mitigations.a]\nmitigation='better'\nweak = 5\n[mitigations.better]\nweak = 23\n"


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    loaded = load(allow=())
    offers = {
        **loaded.offers,
        "loaders": {**loaded.offers["loaders"], "adder": Adder},
        "suites": {**loaded.offers["suites"], "sums": Sums, "learnt": Learnt},
        "mitigations": {"better": Better, "upon": Upon, "control": Control, "again": Again},
    }
    return dataclasses.replace(loaded, offers=offers)


@pytest.fixture(autouse=True)
def _forget() -> None:
    FITS.clear()
    TOLD.clear()


def update_of(folder: Path, plugins: Plugins, text: str = MENDED) -> Update:
    (folder / "update.toml").write_text(text)
    return load_update(folder / "update.toml", plugins)


def mended(store: Store, plugins: Plugins, update: Update) -> Any:
    predicting = Predicting(expanded(update.suites), update.predict)
    return run_mend(store, plugins, update, predicting, "muscle-gov mend update.toml")


def test_the_update_its_mitigations_and_each_control_once(tmp_path: Path, plugins: Plugins) -> None:
    update = update_of(tmp_path, plugins)
    with open_store(":memory:") as store:
        judged = mended(store, plugins, update)
    assert judged.report.judged_by == judged.report.command == "muscle-gov mend update.toml"
    found = judged.report.candidates
    assert [(one.name, one.role) for one in found] == [
        ("new", "update"),
        ("a", "mitigation"),
        ("better", "mitigation"),
        ("as long", "control"),
        ("again", "control"),
        ("both", "control"),
    ]
    assert [one.cost for one in found] == [1, 1, 1, 1, 1, 2]
    assert [one.of for one in found] == [None] * 6
    assert len(FITS) == len(set(FITS)) == 4
    noise = found[4].noise
    assert noise is not None
    # 4 divides 5 of the 20 sums, and 5 those that the re-fit gets wrong; some of these were right
    assert 0 < (noise["sums"].value or 0) < 0.3
    assert all(one.noise is None for one in found if one.name != "again")
    assert judged.verdict.status is Status.PASS
    assert judged.comparison.id == found[2].comparison.id, "the first that passes, in the file's order"
    # both mitigations, and the control that is trained, in its own folder
    assert [names for _, names in TOLD] == [[one.name for one in found]] * 3
    assert [folder for folder, _ in TOLD] == FITS[:3]


def test_what_the_verdict_is_about_when_nothing_passes(tmp_path: Path, plugins: Plugins) -> None:
    update = update_of(tmp_path, plugins, MENDED.replace("weak = 23", "weak = 4\nboost = 2"))
    with open_store(":memory:") as store:
        judged = mended(store, plugins, update)
    assert judged.verdict.status is Status.FAIL
    assert judged.comparison.id == judged.report.candidates[0].comparison.id
    names = [one.name for one in judged.report.candidates]
    assert names[3:] == ["as long", "again", "both", "as long of better"]
    assert [one.of for one in judged.report.candidates][3:] == ["a", None, None, "better"]


@pytest.mark.parametrize(
    ("text", "tried"),
    [
        ("[mend]\nstop = 'passed'\n", ["new", "a", "better"]),
        ("[mend]\nstop = 'passed'\ncontrols = false\n", ["new", "a", "better"]),
        ("[mend]\ncontrols = false\n", ["new", "a", "better"]),
    ],
)
def test_stopping_and_leaving_controls_out(
    tmp_path: Path, plugins: Plugins, text: str, tried: list[str]
) -> None:
    update = update_of(tmp_path, plugins, MENDED + text)
    with open_store(":memory:") as store:
        found = mended(store, plugins, update).report.candidates
    assert [one.name for one in found if one.role != "control"] == tried
    assert any(one.role == "control" for one in found) is ("controls = false" not in text)


def test_an_update_that_passes_is_not_mended_where_that_is_asked_for(
    tmp_path: Path, plugins: Plugins
) -> None:
    text = MENDED.replace("weak = 4", "weak = 41") + "[mend]\nstop = 'passed'\n"
    with open_store(":memory:") as store:
        judged = mended(store, plugins, update_of(tmp_path, plugins, text))
    assert [one.name for one in judged.report.candidates] == ["new"]
    assert FITS == []
    assert judged.verdict.status is Status.PASS


def test_candidates_are_listed_again_from_the_store(tmp_path: Path, plugins: Plugins) -> None:
    update = update_of(tmp_path, plugins)
    with open_store(str(tmp_path / "s.duckdb")) as store:
        found = mended(store, plugins, update).report.candidates
    with open_store(str(tmp_path / "s.duckdb"), read_only=True) as store:
        for one in found:
            again = list_candidates(store, plugins, one.comparison.id, update.policy)
            assert [c.name for c in again] == [c.name for c in found]
            assert [c.verdict.status for c in again] == [c.verdict.status for c in found]
            assert [c.noise for c in again] == [c.noise for c in found]
        assert list_candidates(store, plugins, "20200101-abcdef", update.policy) == ()
        rows = store.rows("SELECT count(*) FROM candidates")
    assert rows == [(len(found),)]


def test_nothing_is_asked_or_trained_twice(tmp_path: Path, plugins: Plugins) -> None:
    update = update_of(tmp_path, plugins)
    with open_store(":memory:") as store:
        first = mended(store, plugins, update).report.candidates
        asked = len(store.rows("SELECT 1 FROM answers"))
        second = mended(store, plugins, update).report.candidates
        assert len(store.rows("SELECT 1 FROM answers")) == asked
    assert [c.comparison.suites for c in first] == [c.comparison.suites for c in second]
    assert len(set(FITS)) == 4, "the same folders, so that what is there can be found"


# ------------------------------------------------------------------------------- data and folders


def test_training_on_what_is_judged_is_refused_before_anything_is_trained(
    tmp_path: Path, plugins: Plugins
) -> None:
    update = update_of(tmp_path, plugins, MENDED.replace('suite = "learnt"', 'suite = "sums"'))
    with open_store(":memory:") as store, pytest.raises(InputError, match="are judged too") as told:
        mended(store, plugins, update)
    assert "training.more: 20 of its 20 instances are judged too (0 is 0 of suites.sums)" in str(
        told.value
    )
    assert FITS == []


def table(folder: Path, name: str, rows: list[dict[str, str]], **options: Any) -> Any:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"path": path, "prompt": "Q: {{ q }}\nA:", "target": "{{ a }}", **options}
    return load(allow=()).make("suites", "table", given)


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ([{"q": "one  plus\none", "a": "two"}], {}),
        ([{"q": "one plus one", "a": "another answer"}], {}),
        ([{"q": "one plus one"}], {"labelled": False}),
        ([{"q": "one plus one", "a": "two"}], {"shots": 1, "shots_from": "pool.jsonl"}),
        ([{"x": "one plus one", "a": "two"}], {"prompt": "Q: {{ x }}\nA:"}),
    ],
)
def test_the_same_question_is_found_in_whatever_table(
    tmp_path: Path, rows: list[dict[str, str]], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pool.jsonl").write_text('{"q": "two plus two", "a": "four"}\n')
    judged = table(tmp_path, "judged", [{"q": "one plus one", "a": "two"}, {"q": "else", "a": "x"}])
    with pytest.raises(
        InputError, match=r"training\.t: 1 of its 1 instances are judged too \(0 is 0 of"
    ):
        check_disjoint({"t": table(tmp_path, "t", rows, **options)}, {"s": judged})
    other = [{name: text.replace("one", "three") for name, text in row.items()} for row in rows]
    check_disjoint({"t": table(tmp_path, "u", other, **options)}, {"s": judged})


def test_folders_depend_on_options_models_and_data(tmp_path: Path, plugins: Plugins) -> None:
    def folder(text: str) -> str:
        update = update_of(tmp_path, plugins, text)
        return fitting_of(update, plugins, update.mitigations["a"]).workdir.name

    first = folder(MENDED)
    assert first.startswith("better-")
    assert folder(MENDED.replace("[mitigations.a]", "[mitigations.a]\ntraining = ['more']")) == first
    others = [
        folder(MENDED.replace("weak = 5", "weak = 6")),
        folder(MENDED.replace("weak = 97", "weak = 89")),
        folder(MENDED.replace("weak = 4", "weak = 9")),
        folder(MENDED.replace('suite = "learnt"', 'suite = "learnt"\nitems = 19')),
    ]
    assert len({first, *others}) == 5


def test_a_mitigation_goes_on_from_another(tmp_path: Path, plugins: Plugins) -> None:
    text = CONFIG + "[mitigations.upon]\nof = 'base'\n[mitigations.base]\nmitigation = 'better'\n"
    update = update_of(tmp_path, plugins, text)
    upon = update.mitigations["upon"].mitigation
    assert isinstance(upon, Upon)
    assert upon.of == update.mitigations["base"].mitigation
    upon.fit(fitting_of(update, plugins, update.mitigations["upon"]))
    assert FITS[1] == fitting_of(update, plugins, update.mitigations["base"]).workdir.name
    assert "Better" in json.dumps(options_of(upon))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[mitigations.bettr]\n", "mitigations.bettr: there is no mitigation 'bettr'"),
        ("[mitigations.a]\nmitigation = 'bettr'\n", "mitigations.a.mitigation: there is no mitigation"),
        ("[mitigations.better]\nweek = 3\n", "mitigations.better.week: there is no such option"),
        ("[mitigations.better]\ntraining = ['les']\n", "training: there is no [training.les]"),
        ("[mitigations.better]\ntraining = []\n", "training: must name at least one"),
        ("[mitigations.upon]\nof = 'upon'\n", "made of itself: upon → upon"),
        ("[mitigations.upon]\nof = 'none'\n", "there is no [mitigations.none]"),
        ("[training.x]\nlike = 'sum'\n", "training.x.like: there is no [suites.sum]"),
        ("[mend]\nstopp = 'never'\n", "mend.stopp: [mend] has no such key; did you mean 'stop'"),
        ("[finetune.x]\nmodel = 'base'\nout = 'o'\n", "finetune.x.trainer: there is no mitigation"),
        (
            "[finetune.x]\nmodel = 'new'\nout = 'update.toml/o'\ntrainer = 'control'\nboost = 1\n",
            "update.toml is a file, and a folder is wanted",
        ),
        ("[mend]\nfolder = 'update.toml'\n", "update.toml is a file, and a folder is wanted"),
        ("[mitigations.new]\nmitigation = 'better'\n", "is what a model is called, too"),
        (
            "[finetune.x]\nmodel = 'base'\nout = 'o'\ntrainer = 'control'\nboost = 1\n",
            "finetune.x.model: there is no [models.base]",
        ),
    ],
)
def test_faulty_tables_are_told(tmp_path: Path, plugins: Plugins, text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as told:
        update_of(tmp_path, plugins, CONFIG + text)
    assert problem in str(told.value)


def test_without_training_data_nothing_is_mended(tmp_path: Path, plugins: Plugins) -> None:
    text = MENDED.replace('[training.more]\nsuite = "learnt"\n', "")
    with pytest.raises(ConfigError, match=r"a table \[training.NAME\] is required"):
        update_of(tmp_path, plugins, text)


def test_like_takes_the_suites_options_over(tmp_path: Path, plugins: Plugins) -> None:
    text = CONFIG.replace('suite = "sums"\n', 'suite = "sums"\nitems = 7\n')
    text += "[training.x]\nlike = 'sums'\nscorer = 'other'\n"
    assert update_of(tmp_path, plugins, text).training["x"] == Sums(items=7, scorer="other")


# ----------------------------------------------------------------------------------- task adapters

FINETUNED = (
    CONFIG
    + """
[models.base]
loader = "adder"
weak = 2
[finetune.old]
model = "base"
out = "adapters/old"
trainer = "better"
"""
)


def test_a_task_adapter_is_made_once_and_never_overwritten_unasked(
    tmp_path: Path, plugins: Plugins
) -> None:
    update = update_of(tmp_path, plugins, FINETUNED)
    made = update.finetune["old"]
    assert missing_adapters(update) == ["old"]
    assert finetune(update, plugins, made) is True
    assert (tmp_path / "adapters" / "old" / "adapter_config.json").read_text() == "11"
    assert missing_adapters(update) == []
    assert finetune(update, plugins, made) is False
    assert len(FITS) == 1
    other = update_of(tmp_path, plugins, FINETUNED + "weak = 12\n")
    with pytest.raises(UsageError, match="is there already, but was not made of what the file says"):
        finetune(other, plugins, other.finetune["old"])
    assert len(FITS) == 1, "refused before hours are spent"
    assert finetune(other, plugins, other.finetune["old"], replace=True) is True
    assert (tmp_path / "adapters" / "old" / "adapter_config.json").read_text() == "12"
    assert [path.name for path in (tmp_path / "adapters").iterdir()] == ["old"]


def test_a_task_adapter_is_not_trained_on_what_is_judged(tmp_path: Path, plugins: Plugins) -> None:
    update = update_of(tmp_path, plugins, FINETUNED.replace('suite = "learnt"', 'suite = "sums"'))
    with pytest.raises(InputError, match="are judged too"):
        finetune(update, plugins, update.finetune["old"])
    assert FITS == []


def test_what_is_kept_of_candidates_is_replaced_not_doubled(tmp_path: Path, plugins: Plugins) -> None:
    with open_store(":memory:") as store:
        found = mended(store, plugins, update_of(tmp_path, plugins)).report.candidates
        candidates.save(store, found[:2], found[0])
        assert len(candidates.find(store, found[0].comparison.id)) == 2


# ------------------------------------------------------------------------------------ no false pass


def test_a_control_is_never_what_is_judged_or_shown_by_default(tmp_path: Path, plugins: Plugins) -> None:
    update = update_of(tmp_path, plugins, MENDED.replace("weak = 23", "weak = 4\nboost = 2"))
    with open_store(str(tmp_path / "s.duckdb")) as store:
        found = mended(store, plugins, update).report.candidates
        assert records.find_comparison(store, None).id == found[0].comparison.id
        roles = {row.new_model: row.role for row in records.history(store)}
        assert (roles["new"], roles["a"], roles["both"]) == (None, "mitigation", "control")
        control = next(one for one in found if one.name == "both")
        assert candidates.role_of(store, control.comparison.id) == "control"
    given = ["--store", tmp_path / "s.duckdb", "--max", "nfr=90%"]
    refused = muscle_gov("gate", control.comparison.id, *given)
    assert (refused.code, "is of a control" in refused.err) == (2, True)
    assert "old  →  new" in muscle_gov("gate", *given).out


def test_an_update_that_cannot_be_compared_is_the_verdict(tmp_path: Path, plugins: Plugins) -> None:
    text = MENDED.replace("weak = 4", "weak = 97").replace('name = "new"', 'name = "newer"')
    with open_store(":memory:") as store:
        judged = mended(store, plugins, update_of(tmp_path, plugins, text))
    assert any(one.verdict.status is Status.PASS for one in judged.report.candidates)
    assert judged.verdict.status is Status.INCOMPARABLE


def test_what_task_adapters_are_trained_on_is_looked_at_too(tmp_path: Path, plugins: Plugins) -> None:
    text = FINETUNED + "training = ['judged']\n[training.judged]\nsuite = 'sums'\n"
    text += "[mitigations.better]\ntraining = ['more']\n"
    update = update_of(tmp_path, plugins, text)
    with (
        open_store(":memory:") as store,
        pytest.raises(InputError, match=r"training\.judged: 20 of its"),
    ):
        mended(store, plugins, update)


def test_the_check_does_not_shrink_with_what_is_asked_for(tmp_path: Path, plugins: Plugins) -> None:
    text = MENDED + "[suites.hidden]\nsuite = 'learnt'\n"
    update = update_of(tmp_path, plugins, text)
    only = {"sums": update.suites["sums"]}
    with open_store(":memory:") as store, pytest.raises(InputError, match=r"of suites\.hidden"):
        run_mend(store, plugins, update, Predicting(only, update.predict))


@dataclass(frozen=True)
class WithExamples(Learnt):
    """Shows a judged sum in its prompts."""

    def shown(self) -> list[str]:
        return ["the judged one"]


@dataclass(frozen=True)
class Marked(Sums):
    """Says what its questions are known by."""

    def instances(self) -> Any:
        for one in super().instances():
            yield one._replace(input_hash="the judged one" if one.key == "3" else None)


def test_examples_in_prompts_are_trained_on_too() -> None:
    with pytest.raises(
        InputError, match=r"1 of the examples in its prompts are judged \(3 of suites\.s\)"
    ):
        check_disjoint({"t": WithExamples()}, {"s": Marked()})
    check_disjoint({"t": WithExamples()}, {"s": Sums()})


@pytest.mark.parametrize(
    "text", ["ONE plus one", "one plus one?", "one\u00ad plus one", "ｏｎｅ plus one."]
)
def test_other_letters_do_not_make_another_question(tmp_path: Path, text: str) -> None:
    judged = table(tmp_path, "judged", [{"q": "one plus one", "a": "two"}])
    with pytest.raises(InputError, match="judged too"):
        check_disjoint({"t": table(tmp_path, "t", [{"q": text, "a": "x"}])}, {"s": judged})


def test_replacing_deletes_adapters_alone(tmp_path: Path, plugins: Plugins) -> None:
    update = update_of(tmp_path, plugins, FINETUNED)
    (tmp_path / "adapters" / "old").mkdir(parents=True)
    (tmp_path / "adapters" / "old" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match=r"is not an adapter alone \(thesis.txt\); give another folder"):
        finetune(update, plugins, update.finetune["old"], replace=True)
    assert (tmp_path / "adapters" / "old" / "thesis.txt").read_text() == "years of work"


def test_an_adapter_behind_a_link_is_replaced_where_it_is(tmp_path: Path, plugins: Plugins) -> None:
    update = update_of(tmp_path, plugins, FINETUNED)
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "adapter_config.json").write_text("0")
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "old").symlink_to(tmp_path / "real")
    assert finetune(update, plugins, update.finetune["old"], replace=True) is True
    assert (tmp_path / "real" / "adapter_config.json").read_text() == "11"
    assert [path.name for path in (tmp_path / "adapters").iterdir()] == ["old"]


def test_a_stale_task_adapter_is_known(tmp_path: Path, plugins: Plugins) -> None:
    update = update_of(tmp_path, plugins, FINETUNED)
    finetune(update, plugins, update.finetune["old"])
    assert not is_stale(update, plugins, update.finetune["old"])
    other = update_of(tmp_path, plugins, FINETUNED + "weak = 12\n")
    assert is_stale(other, plugins, other.finetune["old"])


def test_a_failing_control_leaves_what_was_judged(
    tmp_path: Path, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Again, fitting: Fitting) -> Loader:
        raise InputError("again: cannot be")

    monkeypatch.setattr(Again, "fit", fail)
    update = update_of(tmp_path, plugins)
    with open_store(":memory:") as store:
        with pytest.raises(InputError, match="again: cannot be"):
            mended(store, plugins, update)
        saved = candidates.find(store, records.find_comparison(store, None).id)
    assert [one.name for one in saved] == ["new", "a", "better", "as long"]
    assert [one.name for one in saved if one.is_about] == ["better"]
