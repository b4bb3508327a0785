"""The demo's training is real and repeatable, its folder is the user's, and its update.toml runs."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from cli_runner import muscle_gov
from muscle_gov_plugins import _demo_tasks as tasks
from muscle_gov_plugins import _demo_world as world
from muscle_gov_plugins import demo_models as demo
from muscle_gov_plugins._demo_config import update_text

from muscle_gov import InputError, ModelError, OutputError

SMALL = demo.Sizes(40, 40, 30, 60, 40, 30, 50)
LITTLE = tuple(dataclasses.replace(one, documents=480) for one in demo.ASSISTANTS)
"""Models that have read next to nothing."""


@pytest.fixture(scope="module")
def tokenizer():
    from muscle_gov_plugins._demo_training import make_tokenizer

    return make_tokenizer(tasks.vocabulary())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[demo.Made, list[str]]:
    """A whole world, made as the command makes it, and what was told."""
    told: list[str] = []
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(demo, "ASSISTANTS", LITTLE)
        found = demo.make_world(tmp_path_factory.mktemp("demo") / "here", 0, SMALL, told.append)
    return found, told


@pytest.fixture
def folder(made, tmp_path: Path) -> Path:
    """A copy of that world's folder."""
    return Path(shutil.copytree(made[0].update.parent, tmp_path / "copy"))


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def everything(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def again(folder: Path, seed: int = 0, sizes: demo.Sizes = SMALL) -> demo.Made:
    """A further call, that must find nothing to train or trains in this very process."""
    return demo.make_world(folder, seed, sizes)


# --------------------------------------------------------------------------------------- the training


def test_the_tokenizer_gives_back_every_text_to_the_letter_one_token_a_word(tokenizer, tmp_path):
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    layouts = {**tasks.ARCHIVES, **{task.layout: 1.0 for task in tasks.TASKS.values()}}
    shares = dict.fromkeys(layouts, 1 / len(layouts))
    for prompt, answer in world.documents(np.random.default_rng(0), 60, 0.5, shares, 0.08):
        ids = loaded(prompt + answer).input_ids
        assert ids == tokenizer(prompt + answer).input_ids
        assert ids[0] == loaded.bos_token_id
        assert loaded.unk_token_id not in ids
        assert loaded.decode(ids[1:]) == prompt + answer
        assert ids == loaded(prompt).input_ids + loaded(answer, add_special_tokens=False).input_ids
    assert len(loaded(" invoice refund-ish", add_special_tokens=False).input_ids) == 4
    assert loaded.unk_token_id in loaded(" zebra").input_ids


def test_training_teaches(tokenizer):
    import torch
    from muscle_gov_plugins._demo_training import new_model, train

    torch.set_num_threads(1)
    model = new_model(tokenizer, seed=0)
    before = [weight.clone() for weight in model.parameters()]
    routes = {tasks.TASKS["routing"].layout: 1.0}
    texts = world.documents(np.random.default_rng(0), 2400, 0.5, routes, 0.0)
    first = train(new_model(tokenizer, seed=0), tokenizer, texts[:48], seed=0)
    assert first == pytest.approx(np.log(len(tokenizer)), abs=0.5)  # it knows nothing yet
    assert train(model, tokenizer, texts, seed=0) < first - 1.5
    assert not any(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_the_same_seed_trains_the_same_weights_and_another_one_others(made, tmp_path):
    import torch

    bases = made[0].update.parent / demo.BASES
    threads = torch.get_num_threads()
    old, new = LITTLE
    demo.train_base(tmp_path / "again", old, seed=0)
    demo.train_base(tmp_path / "other", old, seed=1)
    assert everything(tmp_path / "again") == everything(bases / old.name)
    assert weights(tmp_path / "other") != weights(bases / old.name)
    assert weights(bases / new.name) != weights(bases / old.name)
    assert torch.get_num_threads() == threads


def test_a_base_loads_as_any_other_and_has_heads_that_vllm_can_run(made):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for one in LITTLE:
        base = made[0].update.parent / demo.BASES / one.name
        model = AutoModelForCausalLM.from_pretrained(base)
        tokenizer = AutoTokenizer.from_pretrained(base)
        assert model.config.head_dim >= 32
        assert model.config.vocab_size == len(tokenizer)
        for config in (model.config, model.generation_config):
            assert config.eos_token_id == tokenizer.eos_token_id
            assert config.pad_token_id == tokenizer.pad_token_id


# ---------------------------------------------------------------------------------------- the folder


def test_a_world_has_all_that_is_said_and_says_what_it_does(made):
    found, told = made
    folder = found.update.parent
    assert {path.name for path in folder.iterdir()} == {
        "bases",
        "demo.json",
        "routing.jsonl",
        "summary.jsonl",
        "topic.jsonl",
        "traffic.jsonl",
        "train.jsonl",
        "train_summary.jsonl",
        "train_topic.jsonl",
        "update.toml",
    }
    assert {path.name for path in (folder / "bases").iterdir()} == {one.name for one in LITTLE}
    assert found.trained == tuple(one.name for one in LITTLE)
    assert found.ceilings.keys() == {"routing", "topic", "summary"}
    assert told[0].startswith("questions: 40 of routing, 40 of topic, 30 of summary; tickets are")
    assert any("trained on 480 documents, 90% of them emails" in line for line in told)
    for name, rows in tasks.rows_of(0, SMALL):
        lines = (folder / f"{name}.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == rows


def test_the_same_call_gives_the_same_files_to_the_last_bit(made, tmp_path):
    demo.write_files(tmp_path / "again", 0, SMALL)
    mine = everything(made[0].update.parent)
    assert all(mine[name] == content for name, content in everything(tmp_path / "again").items())


def test_a_further_call_changes_nothing_not_even_what_the_user_changed(folder):
    update = folder / "update.toml"
    update.write_text(update.read_text() + "# mine\n")
    before = everything(folder)
    assert again(folder).trained == ()
    assert everything(folder) == before


def test_an_interrupted_call_is_gone_on_with(folder, monkeypatch):
    """What is half-made is made anew; what is finished stays."""
    whole = everything(folder)
    old, new = (folder / demo.BASES / one.name for one in LITTLE)
    shutil.move(new, new.with_name(f".{new.name}.part"))
    weights_of_new = new.with_name(f".{new.name}.part") / "model.safetensors"
    weights_of_new.write_bytes(weights_of_new.read_bytes()[:100])
    (folder / "traffic.jsonl").rename(folder / ".traffic.jsonl.part")
    old_state = (old / "model.safetensors").stat()
    monkeypatch.setattr(demo, "ASSISTANTS", LITTLE)
    assert again(folder).trained == (new.name,)
    assert everything(folder) == whole
    assert (old / "model.safetensors").stat().st_mtime_ns == old_state.st_mtime_ns


def test_a_call_that_was_cut_off_at_its_very_beginning_is_gone_on_with(tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / ".demo.json.part").write_text("{")
    demo.write_files(tmp_path / "w", 0, SMALL)
    assert json.loads((tmp_path / "w" / "demo.json").read_text())["seed"] == 0


def test_a_folder_of_another_world_is_refused(folder):
    before = everything(folder)
    with pytest.raises(InputError, match="was made with seed 0 and not 1; ask for that"):
        again(folder, seed=1)
    with pytest.raises(InputError, match="was made with topic 40 and not 41; ask"):
        again(folder, sizes=dataclasses.replace(SMALL, topic=41))
    assert everything(folder) == before


def test_a_folder_of_another_version_of_the_demo_is_refused(folder, monkeypatch):
    monkeypatch.setattr(tasks, "PROCEDURE", tasks.PROCEDURE + 1)
    with pytest.raises(InputError, match="made by another version of the demo; delete it"):
        again(folder)


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"seed": 0}'])
def test_a_damaged_marker_is_told(folder, text):
    (folder / "demo.json").write_text(text)
    with pytest.raises(InputError, match=r"demo\.json: is damaged; delete"):
        again(folder)


def test_what_the_demo_did_not_make_is_left_alone(tmp_path):
    (tmp_path / "update.toml").write_text("mine")
    for place in (tmp_path, tmp_path / "update.toml"):
        with pytest.raises(InputError, match="was not made by the demo; name a folder"):
            demo.make(place, 0, questions=20, watch=print)
    assert everything(tmp_path) == {"update.toml": b"mine"}


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="the demo cannot be written here: Not a directory"):
        demo.make(tmp_path / "file" / "in", 0, questions=20, watch=print)


def test_without_torch_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"needs torch; pip install 'muscle-gov\[hf\]'"):
        demo.make(tmp_path / "w", 0, questions=20, watch=print)


def test_a_training_that_is_killed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "train_base", _dies)
    with pytest.raises(ModelError, match=r"was ended from outside.*call the demo again"):
        demo.train_bases(tmp_path, 0, LITTLE, print)


def _dies(folder: Path, assistant: demo.Assistant, seed: int) -> float:
    """A stand-in that dies as a process does that the system kills for lack of memory."""
    import os

    os.kill(os.getpid(), 9)
    return 0.0


# ---------------------------------------------------------------------------------------- the update


@pytest.mark.parametrize("with_summary", [False, True])
def test_both_sides_are_fitted_by_the_same_procedure_and_mended_by_the_same(with_summary):
    update = tomllib.loads(update_text(with_summary=with_summary))
    old, new = update["finetune"]["old"], update["finetune"]["new"]
    assert {k for k in old if old[k] != new[k]} == {"model", "out"}
    for side in ("old", "new"):
        model, made = update["models"][side], update["finetune"][side]
        assert model["adapter"] == made["out"]
        assert model["path"] == update["models"][made["model"]]["path"]
    labelled = [name for name, table in update["training"].items() if table.get("labelled", True)]
    assert old["training"] == update["mitigations"]["muscle"]["training"] == labelled
    assert update["mitigations"]["ensemble-distil"]["training"] == [*labelled, "traffic"]
    assert len(labelled) == len(update["suites"]) == (3 if with_summary else 2)


@pytest.mark.parametrize("sizes", [SMALL, dataclasses.replace(SMALL, summary=0, train_summary=0)])
def test_the_update_has_no_problem_before_the_adapters_are_made(sizes, tmp_path):
    demo.write_files(tmp_path / "w", 0, sizes)
    for one in LITTLE:
        demo.train_base(tmp_path / "w" / demo.BASES / one.name, one, 0)
    ran = muscle_gov("check", "update.toml", cwd=tmp_path / "w")
    assert (ran.code, ran.out, ran.err) == (0, "update.toml: no problem found\n", "")


def test_a_mistake_in_the_update_is_told(folder):
    update = folder / "update.toml"
    update.write_text(update.read_text().replace("max_tokens", "max_tokns"))
    ran = muscle_gov("check", "update.toml", cwd=folder)
    assert ran.code == 2
    assert "suites.routing.max_tokns" in ran.err


def test_the_suites_ask_in_the_layouts_that_the_tasks_have(made):
    """The file's templates say again what the layouts say; both must come to the same text."""
    from muscle_gov.config import load_update
    from muscle_gov.plugins import load

    update = load_update(made[0].update, load())
    rows = dict(tasks.rows_of(0, SMALL))
    for name, task in tasks.TASKS.items():
        files = {name: update.suites[name]}
        files |= {t: s for t, s in update.training.items() if _file(s) == task.labelled}
        assert len(files) == 2
        for suite in files.values():
            for row, instance in zip(rows[_file(suite)], suite.instances(), strict=True):
                prompt, answer = task.layout.prompt.format_map(row), task.layout.answer.format_map(row)
                assert suite.requests(instance)[0].prompt == prompt
                assert suite.reference(instance) == answer
    traffic = update.training["traffic"]
    texts = [traffic.requests(one)[0].prompt for one in traffic.instances()]
    routing = tasks.TASKS["routing"].layout
    assert texts == [routing.prompt.format_map(row) for row in rows["traffic"]]
    assert {traffic.reference(one) for one in traffic.instances()} == {None}


def _file(suite) -> str:
    return suite.path.stem


def test_the_update_is_fitted_and_runs_from_wherever_it_is_called(folder, tmp_path):
    update = folder / "update.toml"
    update.write_text(re.sub(r"steps = \d\d+", "steps = 2", update.read_text()))
    fitted = muscle_gov("finetune", update, cwd=tmp_path)
    assert fitted.code == 0, fitted.err
    ran = muscle_gov("run", update, "--json", tmp_path / "r.json", cwd=tmp_path)
    assert ran.code in (1, 3), ran.err  # such models know nothing, and forty questions decide little
    found = json.loads((tmp_path / "r.json").read_text())["comparison"]
    pairs = {one["suite"]: one["n_pairs"] for one in found["suites"]}
    assert pairs == {"routing": 40, "topic": 40, "summary": 30}
    assert (folder / "report.html").stat().st_size > 50_000
    assert "assistant-1.1" in (folder / "report.md").read_text()
