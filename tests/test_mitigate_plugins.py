"""The mitigations that are offered: by their names and options, with their controls and model cards."""

from __future__ import annotations

import dataclasses
import gc
import json
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from fit_pairs import SHORT, Pair, Zoo, fitting_of, make_pair
from huggingface_hub import ModelCard
from muscle_gov_plugins._loss_table import ROWS, LossSettings
from muscle_gov_plugins.loader_ensemble import EnsembleLoader
from muscle_gov_plugins.loader_hf import HfLoader
from muscle_gov_plugins.mitigate_ensemble import EnsembleDistil
from muscle_gov_plugins.mitigate_interpolate import Interpolate
from muscle_gov_plugins.mitigate_loss import CrossEntropy, LossMitigation, Muscle, Refit
from safetensors.torch import load_file
from tiny_models import make_model

from muscle_gov import Candidate, InputError, Measure, Mitigation, plugins
from muscle_gov.data import Comparison, ModelInfo, Status, SuiteFigures, Verdict

OFFERED = plugins.load().offers["mitigations"]
FEW: Mapping[str, Any] = dict(SHORT) | {"learning_rate": 3e-3, "steps": 3, "validate_steps": 3}
OWN = {"interpolate", "refit", "ensemble-distil"}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = make_pair(tmp_path_factory.getbasetemp() / "pair")
    gc.freeze()
    yield made
    gc.unfreeze()


def weights(loader: HfLoader) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(Path(str(loader.adapter)) / "adapter_model.safetensors")
    return found


def record(loader: HfLoader) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(str(loader.adapter)) / "muscle-gov.json").read_text())
    return found


# ------------------------------------------------------------------------------------ what is offered


def test_each_row_of_the_loss_table_is_offered_with_its_settings_and_defaults() -> None:
    assert set(OFFERED) == {*ROWS, *OWN}
    settings = {field.name for field in dataclasses.fields(LossSettings)}
    for name, row in ROWS.items():
        made = OFFERED[name]()
        assert isinstance(made, LossMitigation)
        assert made.row is row
        own = {n: getattr(made, n) for n in settings if hasattr(made, n)}
        expected = row.defaults.given()
        if name == "self-distil":  # alone it would teach nothing
            expected["compat_weight"] = 0.5
        assert own == expected, name


def test_every_offer_has_the_shape_and_every_option_its_words() -> None:
    for name, cls in OFFERED.items():
        made = cls(of=Muscle()) if name == "interpolate" else cls()
        assert isinstance(made, Mitigation)
        assert {o.name: o.help for o in plugins.options(cls) if not o.help} == {}
        assert (cls.__doc__ or "").strip()
        assert hasattr(made, "conclude")


def test_defaults_are_those_of_the_paper() -> None:
    muscle = Muscle()
    assert (muscle.scope, muscle.temperature, muscle.scale_by_t2, muscle.compat_weight) == (
        "all",
        2.0,
        False,
        1.0,
    )
    assert (muscle.learning_rate, muscle.epochs, muscle.accumulation) == (1e-4, 10, 8)
    assert (muscle.validation, muscle.warmup_steps, muscle.weight_decay, muscle.dropout) == (
        0.2,
        500,
        0,
        0,
    )
    assert muscle.warmup(10_000) == 500
    assert muscle.warmup(100) == 10
    assert muscle.total_steps(1000) == 10 * 16  # 125 batches of 8 in sixteen steps


def test_what_is_imported_to_list_them_is_light() -> None:
    script = (
        "import sys\nfrom muscle_gov import plugins\nplugins.load()\n"
        "print([n for n in ('torch', 'transformers', 'peft', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rank": 0}, "rank: must be above 0, not 0"),
        ({"learning_rate": float("nan")}, "learning_rate: must be above 0, not nan"),
        ({"validation": 1.0}, "validation: must be above 0 and below 1, not 1.0"),
        ({"dropout": -0.1}, "dropout: must be at least 0 and below 1, not -0.1"),
        ({"targets": ("all-linear", "q_proj")}, "targets: must be names of layers, or all-linear alone"),
        ({"temperature": 0.0}, "temperature: must be above 0"),
        ({"compat_weight": 1.5}, "compat_weight: must be from 0 to 1"),
        ({"seed": -1}, "seed: must be at least 0"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], told: str) -> None:
    problems: list[str] = []
    assert plugins.build(Muscle, options, problems) is None
    assert len(problems) == 1
    assert told in problems[0]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "of: give this or adapter, and not both"),
        ({"of": Muscle(), "adapter": "x"}, "of: give this or adapter, and not both"),
        ({"of": 3}, "of: must be a mitigation, not 3"),
        ({"adapter": "x", "points": (3.0,)}, "points: must be numbers from 0 to 2, one at least"),
    ],
)
def test_wrong_options_of_interpolation_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Interpolate(**options)


# ------------------------------------------------------------------------------------ each of them runs


@pytest.mark.parametrize("name", sorted({*ROWS} - {"muscle"}))
def test_each_row_trains(pair: Pair, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """All in one folder, so that teachers are asked once for all of them."""
    workdir = tmp_path_factory.getbasetemp() / "rows" / name
    mended = OFFERED[name](**FEW).fit(fitting_of(workdir, pair.new, pair.old))
    before, after = weights(pair.new), weights(mended)
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[n], after[n]) for n in before)
    assert record(mended)["mitigation"] == name
    loss = record(mended)["training"]["curve"][-1]["loss"]
    assert np.isfinite(loss)
    assert loss > 0


def test_a_refit_is_the_candidates_own_training_with_another_seed(pair: Pair, tmp_path: Path) -> None:
    """By the recipe in the candidate's folder, not by the options given here."""
    refit = Refit(**FEW | {"learning_rate": 1e-5}, seed=0)
    again = refit.fit(fitting_of(tmp_path / "fit", pair.new, pair.old))
    told, own = record(again), record(pair.new)
    assert own["recipe"]["seed"] == 1
    assert told["recipe"]["seed"] == 2
    for name in ("learning_rate", "steps", "rank", "batch_rows", "scope"):
        assert told["recipe"][name] == own["recipe"][name]
    assert told["starts_from"] == "nothing"
    assert told["training"]["curve"][0]["eval_exact_match"] == 0  # not the candidate
    assert told["training"]["curve"][-1]["eval_exact_match"] > 0.3
    assert weights(again).keys() == weights(pair.new).keys()
    with pytest.raises(
        InputError, match="makes the candidate's adapter again, and the candidate has none"
    ):
        refit.fit(fitting_of(tmp_path / "bare", replace(pair.new, adapter=None), pair.old))


def test_a_refit_of_an_unknown_adapter_has_its_shape(pair: Pair, tmp_path: Path) -> None:
    from tiny_models import make_adapter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an older name
        base = Path(str(pair.new.path))
        adapter = make_adapter(base, tmp_path / "adapter", targets=("q_proj", "down_proj"))
    candidate = replace(pair.new, adapter=adapter)
    again = Refit(**FEW | {"rank": None}).fit(fitting_of(tmp_path / "fit", candidate, pair.old))
    assert record(again)["recipe"]["learning_rate"] == FEW["learning_rate"]
    own, made = load_file(adapter / "adapter_model.safetensors"), weights(again)
    assert {n: w.shape for n, w in own.items()} == {n: w.shape for n, w in made.items()}


# -------------------------------------------------------------------------------------- the ensemble


def test_the_mixture_learns_from_questions_without_answers(pair: Pair, tmp_path: Path) -> None:
    training = {"zoo": Zoo(0, 100), "traffic": Zoo(300, 330, is_labelled=False)}
    mitigation = EnsembleDistil(**FEW | {"steps": None, "epochs": 1.0}, weights=(0.3, 0.5, 0.7))
    fitting = fitting_of(tmp_path / "fit", pair.new, pair.old, training=training)
    controls = mitigation.controls(fitting)
    mended = mitigation.fit(fitting)
    told = record(mended)
    assert told["data"]["training_rows"] == 110
    assert told["data"]["suites"] == {"zoo": 100, "traffic": 30}
    assert told["settled"]["filled"]["rows"] == 30
    choice = told["settled"]["choice"]
    assert [one["weight"] for one in choice["tried"]] == [0.3, 0.5, 0.7]
    assert told["loss"]["settings"]["old_weight"] == choice["chosen"]
    assert told["training"]["steps"] == 4  # 110 rows in batches of 16, two of them a step
    assert mitigation.controls(fitting) == controls
    assert controls["cross-entropy"].steps == 4
    answers = [
        json.loads(line) for line in (tmp_path / "fit" / "answers.jsonl").read_text().splitlines()[1:]
    ]
    assert len(answers) == 30
    assert mitigation.fit(fitting) == mended


def test_the_weight_is_chosen_by_what_the_ensemble_really_does(pair: Pair, tmp_path: Path) -> None:
    """Its figures on held-out rows are those of the ensemble's own greedy answers."""
    from muscle_gov_plugins._fit_rows import read
    from transformers import AutoTokenizer

    from muscle_gov import Request

    mended = EnsembleDistil(**FEW | {"steps": 1}, weights=(0.5,)).fit(
        fitting_of(tmp_path / "fit", pair.new, pair.old)
    )
    choice = record(mended)["settled"]["choice"]
    tokenizer = AutoTokenizer.from_pretrained(pair.new.path)
    data = read({"zoo": Zoo(0, 200)}, pair.new, tokenizer, validation=0.2, seed=0, limit_tokens=None)
    held = {row.key for row in data.held_out}
    instances = [one for one in Zoo(0, 200).instances() if one.key in held]
    requests = [Request(prompt=one.data, max_tokens=8) for one in instances]
    right = []
    for loader in (pair.old, EnsembleLoader((pair.old, pair.new)), pair.new):
        with loader.open() as model:
            said = dict(model.answer(requests))
        right.append(np.array([said[n].text == one.target for n, one in enumerate(instances)]))
    old, both, new = right
    assert choice["rows"] == len(instances) > 20
    assert choice["tried"][0]["accuracy"] == pytest.approx(both.mean())
    assert choice["tried"][0]["nfr"] == pytest.approx((old & ~both).mean())
    assert choice["candidate_accuracy"] == pytest.approx(new.mean())


def test_a_mixture_of_the_best_few_is_that_of_all() -> None:
    from muscle_gov_plugins._fit_asker import tokens_of_logits
    from muscle_gov_plugins._fit_choose import _mixture_right

    chance = torch.Generator().manual_seed(0)
    sides = [torch.randn(400, 90, generator=chance) * 3 for _ in range(2)]
    labels = (sides[0] + sides[1]).argmax(1)
    found = {
        form: [tokens_of_logits(side, labels, form, 20, 1.0) for side in sides]
        for form in ("full", "top")
    }
    mixed = {form: _mixture_right(*said, labels, 0.6) for form, said in found.items()}
    crossed = _mixture_right(found["full"][0], found["top"][1], labels, 0.6)
    expected = (0.6 * sides[0].softmax(1) + 0.4 * sides[1].softmax(1)).argmax(1) == labels
    assert 0.3 < float(expected.float().mean()) < 0.99
    assert torch.equal(mixed["full"], expected)
    assert torch.equal(mixed["top"], expected)
    assert torch.equal(crossed, expected)


@pytest.mark.parametrize(
    ("tried", "chosen"),
    [
        ([(0.5, 0.80, 0.02), (0.6, 0.80, 0.01), (0.7, 0.80, 0.03)], 0.6),
        ([(0.5, 0.80, 0.02), (0.6, 0.70, 0.01)], 0.5),  # loses accuracy
        ([(0.5, 0.796, 0.02), (0.6, 0.80, 0.03)], 0.5),  # within the tolerance
        ([(0.5, 0.80, 0.02), (0.6, 0.82, 0.02)], 0.6),  # a tie goes to the higher accuracy
        ([(0.5, 0.80, 0.02), (0.6, 0.80, 0.02)], 0.5),  # then to the first
        ([(0.5, 0.60, 0.02), (0.6, 0.70, 0.05)], 0.6),  # all lose: the least loss
    ],
)
def test_the_rule_of_choice(tried: list[tuple[float, float, float]], chosen: float) -> None:
    from muscle_gov_plugins._fit_choose import Tried, choose

    assert choose([Tried(*one) for one in tried], 0.80, 0.005).value == chosen


def test_nothing_to_choose_by_is_told(pair: Pair, tmp_path: Path) -> None:
    training = {"traffic": Zoo(300, 330, is_labelled=False)}
    with pytest.raises(InputError, match="weight: there are no rows with right answers to choose it by"):
        EnsembleDistil(**FEW).fit(fitting_of(tmp_path / "a", pair.new, pair.old, training=training))
    given = EnsembleDistil(**FEW, weight=0.6)
    mended = given.fit(fitting_of(tmp_path / "b", pair.new, pair.old, training=training))
    told = record(mended)
    assert 0 < told["data"]["held_out_rows"] < told["data"]["training_rows"]
    assert told["data"]["held_out_rows"] + told["data"]["training_rows"] == 30


# --------------------------------------------------------------------------------------- interpolation


def test_a_line_begins_at_the_candidate_and_passes_the_mended_one(pair: Pair, tmp_path: Path) -> None:
    muscle = Muscle(**FEW | {"learning_rate": 1e-2})
    end = muscle.fit(fitting_of(tmp_path / "muscle", pair.new, pair.old))
    looks = record(end)["training"]["curve"]
    line = Interpolate(adapter=str(end.adapter), points=(0.0, 0.5, 1.0), seed=9, tolerance=0.9)
    fitting = fitting_of(tmp_path / "line", pair.new, pair.old)
    found = line.fit(fitting)
    tried = {one["point"]: one for one in record(found)["settled"]["choice"]["tried"]}
    assert list(tried) == [0.0, 0.5, 1.0]
    # the split is the training's own, whatever seed is given here
    assert tried[0.0]["accuracy"] == pytest.approx(looks[0]["eval_exact_match"])
    assert tried[1.0]["accuracy"] == pytest.approx(looks[-1]["eval_exact_match"])
    assert (
        record(found)["settled"]["choice"]["chosen"]
        == min(tried.values(), key=lambda t: (t["nfr"], -t["accuracy"]))["point"]
    )
    assert not (fitting.workdir / "points").exists()
    assert line.fit(fitting) == found
    with pytest.raises(InputError, match="holds the training of other"):
        replace(line, points=(0.0, 1.0)).fit(fitting)


def test_a_line_to_a_mitigation_fits_that_first(pair: Pair, tmp_path: Path) -> None:
    line = Interpolate(of=Muscle(**FEW), points=(1.25,))
    fitting = fitting_of(tmp_path / "line", pair.new, pair.old)
    found = line.fit(fitting)
    end = load_file(tmp_path / "line-end" / "adapter" / "adapter_model.safetensors")
    start, made = weights(pair.new), weights(found)
    name = next(n for n in end if n.endswith("q_proj.lora_A.weight"))

    def change(tensors: Mapping[str, torch.Tensor], scaling: float) -> torch.Tensor:
        return tensors[name.replace("lora_A", "lora_B")] @ tensors[name] * scaling

    # alpha is twice the rank in both; a line's own scaling is 1
    expected = 1.25 * change(end, 2.0) - 0.25 * change(start, 2.0)
    torch.testing.assert_close(change(made, 1.0), expected)
    assert list(line.controls(fitting)) == ["cross-entropy", "refit", "ensemble"]


# ------------------------------------------------------------------------------------------- controls


def test_controls_of_one_recipe_are_equal_whoever_asks(pair: Pair, tmp_path: Path) -> None:
    fitting = fitting_of(tmp_path / "fit", pair.new, pair.old)
    found = [
        OFFERED[name](**FEW | more).controls(fitting)
        for name, more in (
            ("muscle", {}),
            ("kd-old+ce", {"scope": "answer"}),
            ("rcat", {"teachers": "live"}),
            ("mpt", {"teacher_top": 5}),
            ("ensemble-distil", {"weight": 0.5, "checkpoint_by": "validation"}),
        )
    ]
    again = found[0]["refit"]
    assert found[0] == {
        "cross-entropy": CrossEntropy(**FEW),
        "refit": again,
        "ensemble": EnsembleLoader((pair.old, pair.new)),
    }
    assert isinstance(again, Refit)
    assert again.is_refit
    assert again.steps == 40, "as the candidate's own adapter was made"
    assert all(other == found[0] for other in found)
    assert set(CrossEntropy(**FEW).controls(fitting)) == {"refit", "ensemble"}
    bare = replace(fitting, new=replace(pair.new, adapter=None))
    assert set(Muscle().controls(bare)) == {"cross-entropy", "ensemble"}
    assert CrossEntropy().controls(replace(fitting, old=None)) == {}


def test_controls_that_cannot_be_made_are_left_out(pair: Pair, tmp_path: Path) -> None:
    traffic = {"traffic": Zoo(300, 330, is_labelled=False)}
    fitting = fitting_of(tmp_path / "fit", pair.new, pair.old, training=traffic)
    assert set(EnsembleDistil(**FEW, weight=0.5).controls(fitting)) == {"ensemble"}
    epochs = dict(FEW) | {"steps": None, "epochs": 1}
    assert set(EnsembleDistil(**epochs, weight=0.5).controls(fitting)) == {"ensemble"}
    other = HfLoader(make_model(tmp_path / "other", bos=False), device="cpu")
    labelled = replace(fitting, old=other, training={**traffic, "zoo": Zoo(0, 30)})
    assert set(CrossEntropy(**FEW).controls(labelled)) == {"refit"}
    assert set(Muscle(**FEW).controls(labelled)) == {"cross-entropy", "refit"}


def test_a_record_beside_a_changed_adapter_is_no_recipe(pair: Pair, tmp_path: Path) -> None:
    changed = shutil.copytree(Path(str(pair.new.adapter)), tmp_path / "changed")
    fitting = fitting_of(tmp_path / "fit", replace(pair.new, adapter=changed), pair.old)
    assert Muscle(**FEW).controls(fitting)["refit"].steps == 40
    config = changed / "adapter_config.json"
    config.write_text(config.read_text() + " ")
    assert Muscle(**FEW).controls(fitting)["refit"].steps == FEW["steps"]


def test_rows_that_a_line_s_end_may_have_seen_are_not_chosen_by(pair: Pair, tmp_path: Path) -> None:
    """With more data a row keeps its side; where a record says that it may not, the line is refused."""
    end = CrossEntropy(**FEW).fit(fitting_of(tmp_path / "end", pair.new, pair.old))
    line = Interpolate(adapter=str(end.adapter), points=(0.0,), tolerance=0.9)
    more = {"zoo": Zoo(0, 220)}
    line.fit(fitting_of(tmp_path / "line", pair.new, pair.old, training=more))
    path = Path(str(end.adapter)) / "muscle-gov.json"
    told = json.loads(path.read_text())
    assert told["data"]["is_held_out_by_hash"] is True
    told["data"]["is_held_out_by_hash"] = False
    path.write_text(json.dumps(told))
    with pytest.raises(InputError, match="was trained on other data, and not so that rows to choose by"):
        line.fit(fitting_of(tmp_path / "again", pair.new, pair.old, training=more))
    line.fit(fitting_of(tmp_path / "same", pair.new, pair.old))


def test_a_line_is_checked_before_anything_is_run(pair: Pair, tmp_path: Path) -> None:
    fitting = fitting_of(tmp_path / "fit", pair.new, pair.old)
    Interpolate(adapter=str(pair.new.adapter)).check(fitting)
    with pytest.raises(InputError, match="nowhere"):
        Interpolate(adapter=str(tmp_path / "nowhere")).check(fitting)
    with pytest.raises(InputError, match="rank: 1 is below"):
        Interpolate(of=Muscle(**FEW | {"rank": 1})).check(fitting)
    with pytest.raises(InputError, match="the candidate has none"):
        Refit(**FEW).check(replace(fitting, new=replace(pair.new, adapter=None)))
    with pytest.raises(InputError, match="needs an old model"):
        EnsembleDistil(**FEW).check(replace(fitting, old=None))


# ------------------------------------------------------------------------------------------ model card


def candidate(name: str, role: str, nfr: float, **more: Any) -> Candidate:
    measures = {
        "accuracy_new": Measure(0.75, 0.70, 0.80, 400),
        "nfr": Measure(nfr, nfr - 0.01, nfr + 0.01, 400),
    }
    figures = SuiteFigures("zoo|x", None, "binary", 400, 400, 400, 400, {}, measures, None, "")
    model = ModelInfo(name, "f", {})
    comparison = Comparison("c", "2026-01-01", model, model, (figures,), None, (), (), {}, 0.95, "0")
    return Candidate(
        name=name,
        role=role,
        about=more.pop("about", "as it is"),
        comparison=comparison,
        verdict=Verdict(Status.FAIL if nfr > 0.04 else Status.PASS, "because", (), ()),
        **more,
    )


def test_the_card_says_what_was_done_and_then_what_came_of_it(pair: Pair, tmp_path: Path) -> None:
    fitting = fitting_of(tmp_path / "fit", pair.new, pair.old)
    muscle = Muscle(**FEW)
    mended = muscle.fit(fitting)
    card = Path(str(mended.adapter)) / "README.md"
    first = card.read_text()
    head = first.split("---\n")[1]
    assert yaml.safe_load(head)["base_model"] == str(pair.new.path)
    assert "base_model_relation: adapter\nlibrary_name: peft\n" in head
    assert "model-index" not in head
    for words in ("## Loss", "m_i = 1[argmax p_C ≠ y_i]", "## Data", "Not measured yet."):
        assert words in first
    assert "`temperature = 2" in first
    assert "| 3 (kept) |" in first
    digest = mended.facts().digests["adapter"]
    judged = [
        candidate("new", "update", 0.056),
        candidate(fitting.name, "mitigation", 0.031),
        candidate("mended <b>", "mitigation", 0.033),
        candidate("both", "control", 0.024, cost=2.0, about=""),
        candidate("refit", "control", 0.057, noise={"zoo|x": Measure(0.034, 0.02, 0.05, 400)}),
    ]
    muscle.conclude(fitting, judged)
    second = card.read_text()
    muscle.conclude(fitting, judged)
    assert card.read_text() == second
    assert "Not measured yet." not in second
    assert "0.0310 (0.0210 to 0.0410)" in second
    assert "| PASS |" in second
    assert "| FAIL |" in second
    assert "| 2 |" in second
    assert "NFR on `zoo|x` is 0.0340 (0.0200 to 0.0500)" in second
    assert "<b>" not in second.replace("`mended <b>`", "")
    results = ModelCard(second).data.eval_results
    assert results is not None
    assert [(one.dataset_name, one.metric_type, one.metric_value) for one in results] == [
        ("zoo|x", "accuracy", 0.75),
        ("zoo|x", "nfr", 0.031),
    ]
    assert results[1].metric_args["low"] == 0.021
    before = first.partition("## Measured effect")[0].partition("\n---\n")[2]
    assert second.partition("\n---\n")[2].startswith(before)
    assert mended.facts().digests["adapter"] == digest
