"""Training: what it may change and what it may not, and what a kill may cost."""

from __future__ import annotations

import gc
import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from fit_pairs import SHORT, Pair, Zoo, fitting_of, make_pair
from muscle_gov_plugins._fit_mitigation import CrossEntropy, LossMitigation
from muscle_gov_plugins.loader_hf import HfLoader
from muscle_gov_plugins.mitigate_loss import DistilOldAndTrain, DistilSelf, Muscle, OldCorrect
from safetensors.torch import load_file

from muscle_gov import FitStanding, InputError, ModelError, Request

FEW: Mapping[str, Any] = dict(SHORT) | {
    "learning_rate": 3e-3,
    "steps": 8,
    "validate_steps": 2,
    "save_steps": 3,
}


class _Unreadable(Zoo):
    def instances(self) -> Any:
        raise AssertionError("the data are not to be read")


UNREADABLE: Mapping[str, Any] = {"zoo": _Unreadable()}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    made = make_pair(tmp_path_factory.getbasetemp() / "pair")
    gc.freeze()  # what was imported is not looked through at each end of a training
    yield made
    gc.unfreeze()


def weights(loader: HfLoader) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(Path(str(loader.adapter)) / "adapter_model.safetensors")
    return found


def record(loader: HfLoader) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(str(loader.adapter)) / "muscle-gov.json").read_text())
    return found


def curve(loader: HfLoader) -> list[dict[str, float]]:
    looks: list[dict[str, float]] = record(loader)["training"]["curve"]
    return looks


def equal(left: Mapping[str, torch.Tensor], right: Mapping[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def stopping_at(step: int) -> Callable[[FitStanding], None]:
    """A watcher that kills the training as soon as it is told of this step."""

    def watch(standing: FitStanding) -> None:
        if standing.phase == "training" and standing.done >= step:
            raise KeyboardInterrupt

    return watch


# ------------------------------------------------------------------------------- what training does


def test_a_task_adapter_learns_its_task(pair: Pair) -> None:
    for loader in (pair.old, pair.new):
        first, *_, last = curve(loader)
        assert last["eval_loss"] < first["eval_loss"] / 3
        assert first["eval_exact_match"] < 0.1
        assert last["eval_exact_match"] > 0.4
        assert last["step"] == 40


def test_what_is_said_of_held_out_rows_is_what_the_model_then_does(pair: Pair) -> None:
    """The exact match by teacher forcing is that of greedy answers, and of the very rows held out."""
    from muscle_gov_plugins._fit_rows import read

    tokenizer = transformers.AutoTokenizer.from_pretrained(pair.new.path)
    training = {"zoo": Zoo(60, 200)}  # what the pair's new model was trained on, by seed 1
    data = read(training, pair.new, tokenizer, validation=0.2, seed=1, limit_tokens=None)
    asked = {row.key for row in data.held_out}
    suite = training["zoo"]
    instances = [one for one in suite.instances() if one.key in asked]
    with pair.new.open() as model:
        requests = [Request(prompt=one.data, max_tokens=8) for one in instances]
        said = dict(model.answer(requests))
    right = [said[place].text == one.target for place, one in enumerate(instances)]
    assert 14 < len(right) < 56
    assert np.mean(right) == pytest.approx(curve(pair.new)[-1]["eval_exact_match"])


def test_muscle_changes_the_adapter_and_nothing_else(pair: Pair, tmp_path: Path) -> None:
    folders = [Path(str(p)) for loader in (pair.old, pair.new) for p in (loader.path, loader.adapter)]
    before = [contents(folder) for folder in folders]
    mended = Muscle(**FEW).fit(fitting_of(tmp_path / "fit", pair.new, pair.old))
    assert [contents(folder) for folder in folders] == before
    assert replace(mended, adapter=pair.new.adapter) == pair.new
    old, new = weights(pair.new), weights(mended)
    assert old.keys() == new.keys()
    assert all(not torch.equal(old[name], new[name]) for name in old)
    told = curve(mended)
    assert told[-1]["loss"] < told[1]["loss"]
    assert told[-1]["aligned to old"] + told[-1]["aligned to new"] == pytest.approx(1)


def test_the_student_starts_as_the_candidate(pair: Pair, tmp_path: Path) -> None:
    """Its own rank or a larger one: what it does on the held-out rows at step 0 is one and the same."""
    losses = [
        curve(
            Muscle(**FEW | {"rank": rank, "steps": 1}).fit(
                fitting_of(tmp_path / str(rank), pair.new, pair.old)
            )
        )[0]["eval_loss"]
        for rank in (4, 9)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)


def test_no_gradient_leaks_into_base_or_candidate(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After training in memory: base and frozen adapter bit for bit as loaded, the student's moved."""
    from muscle_gov_plugins import _fit_train

    seen: dict[str, Any] = {}
    run = _fit_train._run

    def watched(lesson: Any, *rest: Any) -> None:
        def state() -> dict[str, torch.Tensor]:
            return {n: p.detach().clone() for n, p in lesson.student.named_parameters()}

        seen["before"] = state()
        run(lesson, *rest)
        seen["after"] = state()
        seen["gradients"] = {n for n, p in lesson.student.named_parameters() if p.grad is not None}

    monkeypatch.setattr(_fit_train, "_run", watched)
    options = FEW | {"teachers": "live", "steps": 3}
    Muscle(**options).fit(fitting_of(tmp_path / "fit", pair.new, pair.old))
    moved = {n for n in seen["before"] if not torch.equal(seen["before"][n], seen["after"][n])}
    assert moved == {n for n in seen["before"] if ".default." in n}
    assert moved
    assert any(".task." in n for n in seen["before"])
    assert seen["gradients"] <= moved


def test_cached_and_live_teachers_teach_the_same(pair: Pair, tmp_path: Path) -> None:
    looks, ends = [], []
    for teachers in ("cached", "live"):
        mended = Muscle(**FEW | {"steps": 3, "teachers": teachers}).fit(
            fitting_of(tmp_path / teachers, pair.new, pair.old)
        )
        looks.append(curve(mended))
        ends.append(weights(mended))
    for cached, live in zip(*looks, strict=True):
        for name, value in cached.items():
            assert live[name] == pytest.approx(value, abs=1e-4), name
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, atol=2e-3, rtol=0)


def test_a_step_does_not_depend_on_how_it_is_cut(pair: Pair, tmp_path: Path) -> None:
    """All rows at once, or in batches of 8 of unequal lengths and chunks of 5 tokens: the mean is over
    all tokens of the step, not a mean of means."""
    looks, ends = [], []
    for rows, accumulation, chunk in ((160, 1, 1024), (8, 20, 5)):
        options = FEW | {"steps": 1, "batch_rows": rows, "accumulation": accumulation, "chunk": chunk}
        made = DistilOldAndTrain(**options).fit(fitting_of(tmp_path / str(rows), pair.new, pair.old))
        looks.append(curve(made)[-1])
        ends.append(weights(made))
    for name in ("loss", "KL to old", "cross-entropy"):
        assert looks[0][name] == pytest.approx(looks[1][name], rel=1e-5)
    # the first step of Adam is the gradient's sign, so only sizes near 0 may tell the two apart
    far = sum(int(((ends[0][n] - ends[1][n]).abs() > 1e-4).sum()) for n in ends[0])
    assert far < 0.01 * sum(value.numel() for value in ends[0].values())


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")
def test_memory_may_be_saved_by_computing_twice(pair: Pair, tmp_path: Path) -> None:
    ends = [
        weights(
            CrossEntropy(**FEW | {"steps": 2, "gradient_checkpointing": saves}).fit(
                fitting_of(tmp_path / str(saves), pair.new)
            )
        )
        for saves in (False, True)
    ]
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, atol=1e-5, rtol=0)


def test_half_precision_trains_weights_in_float32(pair: Pair, tmp_path: Path) -> None:
    mended = Muscle(**FEW | {"precision": "bfloat16"}).fit(
        fitting_of(tmp_path / "fit", pair.new, pair.old)
    )
    assert {value.dtype for value in weights(mended).values()} == {torch.float32}
    assert mended.dtype == pair.new.dtype  # the result is run as the candidate is
    looks = curve(mended)
    assert looks[-1]["loss"] < looks[1]["loss"]
    assert record(mended)["models"]["new"]["dtype"] == "bfloat16"


# -------------------------------------------------------------------------------- kills and repeats


@pytest.fixture(scope="module")
def unbroken(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> tuple[Muscle, HfLoader]:
    """A mitigation, and what comes of it where nothing goes wrong."""
    muscle = Muscle(**FEW | {"dropout": 0.1})
    return muscle, muscle.fit(fitting_of(tmp_path_factory.mktemp("whole") / "fit", pair.new, pair.old))


@pytest.mark.parametrize("step", [0, 2, 4, 7])
def test_a_killed_run_ends_as_if_it_had_not_been(
    pair: Pair, unbroken: tuple[Muscle, HfLoader], tmp_path: Path, step: int
) -> None:
    """Saved at 2, 3, 4, 6 and 8 of two epochs, with dropout; killed where it is told of a step, which is
    before that is saved."""
    muscle, whole = unbroken
    killed = fitting_of(tmp_path / "killed", pair.new, pair.old, watch=stopping_at(step))
    with pytest.raises(KeyboardInterrupt):
        muscle.fit(killed)
    assert not (killed.workdir / "adapter").exists()
    steps: list[int] = []

    def watch(standing: FitStanding) -> None:
        if standing.phase == "training":
            steps.append(standing.done)

    again = muscle.fit(replace(killed, watch=watch))
    assert steps[0] == {0: 0, 2: 0, 4: 3, 7: 6}[step]
    assert equal(weights(again), weights(whole))
    assert curve(again) == curve(whole)


def test_a_torn_checkpoint_is_not_gone_on_with(pair: Pair, tmp_path: Path) -> None:
    options = dict(FEW) | {"validate_steps": 8, "checkpoint_by": "last"}
    whole = Muscle(**options).fit(fitting_of(tmp_path / "whole", pair.new, pair.old))
    fitting = fitting_of(tmp_path / "fit", pair.new, pair.old, watch=stopping_at(7))
    with pytest.raises(KeyboardInterrupt):
        Muscle(**options).fit(fitting)
    folder = fitting.workdir / "training"
    assert {p.name for p in folder.iterdir()} == {"checkpoint-6"}
    shutil.copytree(folder / "checkpoint-6", folder / "checkpoint-7")
    state = folder / "checkpoint-7" / "trainer_state.json"
    state.write_bytes(state.read_bytes()[:100])
    (folder / "checkpoint-7" / "adapter_model.safetensors").write_bytes(b"torn")
    (folder / "best-7").mkdir()
    again = Muscle(**options).fit(fitting_of(tmp_path / "fit", pair.new, pair.old))
    assert equal(weights(again), weights(whole))


def test_what_is_done_is_returned_at_once(pair: Pair, tmp_path: Path) -> None:
    fitting = fitting_of(tmp_path / "fit", pair.new, pair.old)
    first = Muscle(**FEW | {"steps": 2}).fit(fitting)
    before = contents(fitting.workdir)
    phases: list[str] = []
    again = Muscle(**FEW | {"steps": 2}).fit(
        replace(fitting, training={"zoo": Zoo(0, 200)}, watch=lambda s: phases.append(s.phase))
    )
    assert (again, phases) == (first, ["done"])
    assert contents(fitting.workdir) == before
    assert not (fitting.workdir / "training").exists()
    with pytest.raises(InputError, match="holds the training of other models or options"):
        Muscle(**FEW | {"steps": 3}).fit(fitting)


def test_how_training_data_would_be_judged_is_no_part_of_a_fit(pair: Pair, tmp_path: Path) -> None:
    class Regraded(Zoo):
        def facts(self) -> Any:
            return replace(super().facts(), scorer="another")

    fitting = fitting_of(tmp_path / "fit", pair.new)
    first = CrossEntropy(**FEW | {"steps": 1}).fit(fitting)
    regraded = replace(fitting, training={"zoo": Regraded(0, 200)})
    assert CrossEntropy(**FEW | {"steps": 1}).fit(regraded) == first


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_an_adapter_that_was_changed_is_not_taken_for_its_own(
    pair: Pair, tmp_path: Path, name: str
) -> None:
    mitigation = CrossEntropy(**FEW | {"steps": 1})
    fitting = fitting_of(tmp_path / "fit", pair.new)
    made = mitigation.fit(fitting)
    folder = Path(str(made.adapter))
    (folder / "README.md").write_text("a card of my own")
    assert mitigation.fit(fitting) == made
    with (folder / name).open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(InputError, match="was changed after it was trained; remove the folder, or keep"):
        mitigation.fit(fitting)


def test_mitigations_share_what_teachers_said(pair: Pair, tmp_path: Path) -> None:
    phases: list[str] = []
    Muscle(**FEW | {"steps": 1}).fit(fitting_of(tmp_path / "one", pair.new, pair.old))
    kept = contents(tmp_path / "teachers")
    assert {name.partition("-")[0] for name in kept} == {"old", "new"}
    told = fitting_of(
        tmp_path / "two", pair.new, pair.old, watch=lambda s: phases.append(f"{s.phase} {s.done}")
    )
    OldCorrect(**FEW | {"steps": 1}, temperature=1.0).fit(told)
    assert contents(tmp_path / "teachers") == kept
    assert [phase for phase in phases if phase.startswith("asking")] == [
        "asking the old model 159",
        "asking the new model 159",
    ]


def test_the_best_weights_are_kept_unless_the_last_are_asked_for(pair: Pair, tmp_path: Path) -> None:
    wild = FEW | {"learning_rate": 0.05, "steps": 6, "schedule": "constant", "validate_steps": 1}
    best = CrossEntropy(**wild).fit(fitting_of(tmp_path / "best", pair.new))
    last = CrossEntropy(**wild, checkpoint_by="last").fit(fitting_of(tmp_path / "last", pair.new))
    looks = curve(best)
    least = min(looks[1:], key=lambda look: look["eval_loss"])
    assert least["step"] != looks[-1]["step"]
    assert record(best)["training"]["step"] == least["step"]
    assert record(last)["training"]["step"] == 6
    assert curve(last) == looks
    assert not equal(weights(best), weights(last))
    # the kept weights are really those of that look
    again = CrossEntropy(**wild | {"steps": 1, "learning_rate": 1e-9}).fit(
        fitting_of(tmp_path / "again", best)
    )
    assert curve(again)[0]["eval_loss"] == pytest.approx(least["eval_loss"], rel=1e-5)


def test_random_numbers_of_others_are_left_alone(pair: Pair, tmp_path: Path) -> None:
    import random

    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    expected = random.random(), np.random.random(), torch.rand(1).item()
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    CrossEntropy(**FEW | {"steps": 1}).fit(fitting_of(tmp_path / "fit", pair.new))
    assert (random.random(), np.random.random(), torch.rand(1).item()) == expected


# ----------------------------------------------------------------------------------- the result


def test_the_result_is_a_plain_adapter_for_all_who_load_them(pair: Pair, tmp_path: Path) -> None:
    mended = Muscle(**FEW | {"rank": 6, "steps": 3}).fit(
        fitting_of(tmp_path / "fit", pair.new, pair.old)
    )
    folder = Path(str(mended.adapter))
    assert {p.name for p in folder.iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "muscle-gov.json",
        "README.md",
    }
    base = transformers.AutoModelForCausalLM.from_pretrained(pair.new.path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an older name
        tuned = peft.PeftModel.from_pretrained(base, str(folder)).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(pair.new.path)
    prompt, choices = "the big red cat eats. where", (" grass", " city", " sky", " water")
    with mended.open() as model:
        [(_, output)] = list(model.answer([Request(prompt=prompt, choices=choices)]))
    own = []
    for choice in choices:
        start, ids = len(tokenizer(prompt).input_ids), tokenizer(prompt + choice).input_ids
        with torch.no_grad():
            scores = tuned(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        own.append(sum(float(scores[i - 1, ids[i]]) for i in range(start, len(ids))))
    assert output.choice_logprobs == pytest.approx(own, abs=1e-4)


def test_the_record_says_what_made_it(pair: Pair, tmp_path: Path) -> None:
    mended = Muscle(**FEW | {"steps": 2}).fit(fitting_of(tmp_path / "fit", pair.new, pair.old))
    told = record(mended)
    assert (told["mitigation"], told["loss"]["name"], told["recipe"]["steps"]) == ("muscle", "muscle", 2)
    assert told["loss"]["settings"]["temperature"] == 2.0
    assert told["models"]["new"]["digests"] == dict(pair.new.facts().digests)
    assert told["data"]["suites"] == {"zoo": 200}
    assert (told["data"]["training_rows"], told["data"]["held_out_rows"]) == (159, 41)
    assert told["teachers"]["old"]["rows"] == 159
    assert told["versions"]["torch"] == torch.__version__
    assert told["seconds"] > 0
    assert told["peak_memory_bytes"] > 10**8


# ------------------------------------------------------------------------------------ what goes wrong


def test_a_loss_that_is_no_number_ends_the_run(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"at step \d+ is not a finite number; lower learning_rate"):
        CrossEntropy(**FEW | {"learning_rate": 1e30, "warmup_steps": 0}).fit(
            fitting_of(tmp_path / "fit", pair.new)
        )


def test_nothing_to_learn_is_told(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of nothing but zeros, as of a student that already is what it is to become."""
    from muscle_gov_plugins import _fit_train

    monkeypatch.setattr(_fit_train, "_SILENT_STEPS", 2)
    still = DistilSelf(**FEW | {"teachers": "live", "learning_rate": 1e-9}, compat_weight=1.0)

    def no_gradient(self: Any, *rest: Any, **given: Any) -> Any:
        return compute(self, *rest, **given) * 0

    compute = _fit_train._Fitter.compute_loss
    monkeypatch.setattr(_fit_train._Fitter, "compute_loss", no_gradient)
    with pytest.raises(ModelError, match="there was nothing to learn in the first 2 steps"):
        still.fit(fitting_of(tmp_path / "fit", pair.new, pair.old))


def test_a_student_that_is_cut_off_from_its_loss_is_found(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a teacher's adapter is switched on between the way forward and the way back."""
    from muscle_gov_plugins import _fit_train

    compute = _fit_train._Fitter.compute_loss

    def switched(self: Any, *rest: Any, **given: Any) -> Any:
        found = compute(self, *rest, **given)
        self.lesson.student.set_adapter("task", inference_mode=True)
        return found

    monkeypatch.setattr(_fit_train._Fitter, "compute_loss", switched)
    with pytest.raises(ModelError, match="no gradient reached the adapter"):
        Muscle(**FEW | {"accumulation": 1}).fit(fitting_of(tmp_path / "fit", pair.new, pair.old))


def test_a_logger_that_is_not_there_is_told(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^loggers: .*nosuch"):
        CrossEntropy(**FEW, loggers=("nosuch",)).fit(fitting_of(tmp_path / "fit", pair.new))


def test_two_processes_do_not_train_in_one_folder(pair: Pair, tmp_path: Path) -> None:
    from muscle_gov_plugins._fit_work import alone

    fitting = fitting_of(tmp_path / "fit", pair.new)
    fitting.workdir.mkdir()
    with (
        alone(fitting.workdir),
        pytest.raises(InputError, match="another process is training here; wait until it has ended"),
    ):
        CrossEntropy(**FEW).fit(fitting)


def test_one_process_trains(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="training runs in one process; start it without torchrun"):
        CrossEntropy(**FEW).fit(fitting_of(tmp_path / "fit", pair.new))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"merge_adapter": True}, "merge_adapter"),
        ({"quantization": "bitsandbytes-4bit"}, "quantised"),
        ({"dtype": "float16"}, "float16 is too narrow to train in"),
    ],
)
def test_candidates_that_cannot_be_trained_are_refused(
    pair: Pair, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        Muscle(**FEW).fit(fitting_of(tmp_path / "fit", replace(pair.new, **change), pair.old))


def test_models_that_do_not_fit_together_are_refused(pair: Pair, tmp_path: Path) -> None:
    from muscle_gov_plugins.loader_ensemble import EnsembleLoader
    from tiny_models import make_model

    other = HfLoader(make_model(tmp_path / "other", bos=False), device="cpu")
    with pytest.raises(InputError, match="have different tokenizers"):
        Muscle(**FEW).fit(fitting_of(tmp_path / "a", pair.new, other))
    both: Any = EnsembleLoader((pair.old, pair.new))
    with pytest.raises(InputError, match="the old model: mitigations train models of the loader hf"):
        Muscle(**FEW).fit(fitting_of(tmp_path / "b", pair.new, both))
    with pytest.raises(InputError, match="this needs an old model, and there is none"):
        Muscle(**FEW).fit(fitting_of(tmp_path / "c", pair.new))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"merge_adapter": True}, "merge_adapter"),
        ({"quantization": "bitsandbytes-8bit"}, "quantised"),
        ({"dtype": "float16"}, "float16 is too narrow to train in"),
        ({"adapter": "base"}, "there is no adapter_config.json"),
    ],
)
def test_models_are_checked_before_anything_is_run(
    pair: Pair, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    if change.get("adapter") == "base":
        change = {"adapter": pair.new.path}
    fitting = fitting_of(tmp_path / "fit", replace(pair.new, **change), pair.old, training=UNREADABLE)
    with pytest.raises(InputError, match=told):
        Muscle(**FEW).check(fitting)
    assert not fitting.workdir.exists()


def test_what_a_loss_needs_is_checked_before_anything_is_run(pair: Pair, tmp_path: Path) -> None:
    from muscle_gov_plugins.loader_ensemble import EnsembleLoader
    from tiny_models import make_model

    def given(old: Any, new: Any = pair.new) -> Any:
        return fitting_of(tmp_path / "fit", new, old, training=UNREADABLE)

    other = HfLoader(make_model(tmp_path / "other", bos=False), device="cpu")
    both: Any = EnsembleLoader((pair.old, pair.new))
    Muscle(**FEW).check(given(pair.old))
    for old, told in ((other, "different tokenizers"), (both, "loader hf"), (None, "needs an old")):
        with pytest.raises(InputError, match=told):
            Muscle(**FEW).check(given(old))
        CrossEntropy(**FEW).check(given(old))
        DistilSelf(**FEW).check(given(old))
        DistilOldAndTrain(**FEW, compat_weight=0.0).check(given(old))  # nothing of the old one counts
    with pytest.raises(InputError, match="the new model: mitigations train models of the loader hf"):
        Muscle(**FEW).check(given(pair.old, both))
    with pytest.raises(InputError, match="rank: 2 is below that of the candidate's adapter"):
        Muscle(**{**FEW, "rank": 2}).check(given(pair.old))


def test_the_check_knows_what_a_loss_needs() -> None:
    from muscle_gov_plugins._loss_batch import Loss
    from muscle_gov_plugins.mitigate_loss import RobustnessCongruent, register_mitigations

    offered = [cls() for cls in register_mitigations().values() if issubclass(cls, LossMitigation)]
    some = [RobustnessCongruent(old_weight=0.0), RobustnessCongruent(new_weight=0.0)]
    for one in (*offered, *some, Muscle(compat_weight=0.0)):
        assert one.needs() == Loss(one.row, one.settings()).needs
    assert {frozenset(one.needs()) for one in offered} >= {frozenset(), frozenset({"old"})}


def test_controls_ask_nothing_of_the_old_model(pair: Pair, tmp_path: Path) -> None:
    """They are made even where the old model is one that no adapter can learn from."""
    from muscle_gov_plugins.loader_ensemble import EnsembleLoader

    both: Any = EnsembleLoader((pair.old, pair.new))
    made = CrossEntropy(**FEW | {"steps": 1}).fit(fitting_of(tmp_path / "fit", pair.new, both))
    assert set(record(made)["models"]) == {"new"}
    assert record(made)["teachers"] == {}


def test_rows_that_are_passed_over_are_told(pair: Pair, tmp_path: Path) -> None:
    training = {"zoo": Zoo(0, 50), "traffic": Zoo(60, 70, is_labelled=False)}
    made = CrossEntropy(**FEW | {"steps": 1}).fit(
        fitting_of(tmp_path / "a", pair.new, training=training)
    )
    assert record(made)["data"]["unlabelled_rows"] == 10
    assert any("10 rows have no answer" in note for note in record(made)["data"]["notes"])


def test_rows_without_answers_are_nothing_to_train_on(pair: Pair, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of the training rows has an answer"):
        CrossEntropy(**FEW).fit(
            fitting_of(tmp_path / "fit", pair.new, training={"zoo": Zoo(0, 50, is_labelled=False)})
        )


def test_data_that_changed_below_a_started_run_are_refused(pair: Pair, tmp_path: Path) -> None:
    class Changing(Zoo):
        def facts(self) -> Any:
            return Zoo().facts()

    def fitting(last: int, watch: Any) -> Any:
        return fitting_of(tmp_path / "fit", pair.new, training={"zoo": Changing(0, last)}, watch=watch)

    with pytest.raises(KeyboardInterrupt):
        CrossEntropy(**FEW).fit(fitting(200, stopping_at(4)))
    with pytest.raises(InputError, match="training data have changed"):
        CrossEntropy(**FEW).fit(fitting(190, lambda standing: None))


def test_a_row_of_a_third_party_is_a_few_lines(pair: Pair, tmp_path: Path) -> None:
    from dataclasses import dataclass
    from typing import ClassVar

    from muscle_gov_plugins._loss_table import EVERYWHERE
    from muscle_gov_plugins.mitigate_loss import LossSettings, Row, Term

    @dataclass(frozen=True, kw_only=True)
    class Mine(LossMitigation):
        row: ClassVar[Row] = Row(
            name="mine",
            equation="L = 2 KL(old||C)",
            source="here",
            terms=(Term("KL to old", "old", EVERYWHERE, lambda _: 2.0),),
            defaults=LossSettings(temperature=1.0, scale_by_t2=False, direction="forward"),
        )
        temperature: float = 3.0

    mended = Mine(**FEW | {"steps": 2}).fit(fitting_of(tmp_path / "fit", pair.new, pair.old))
    assert record(mended)["loss"]["settings"]["temperature"] == 3.0
    assert record(mended)["mitigation"] == "mine"
