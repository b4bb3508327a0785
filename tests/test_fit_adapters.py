"""Students begin as the candidate, to the bit; lines between adapters are exact; the base is never
touched."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_adapter, make_model

from muscle_gov import InputError, Request

pytest.importorskip("peft")

import peft
import torch
from muscle_gov_plugins import _hf_load
from muscle_gov_plugins._fit_adapters import (
    Lora,
    adapter_targets,
    as_teacher,
    base_of,
    effective_delta,
    line,
    save,
    student_of,
)
from muscle_gov_plugins.loader_hf import HfLoader
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
IDS = torch.randint(3, 400, (4, 17), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("adapters") / "m")


@pytest.fixture(scope="module")
def task(base: Path) -> Path:
    return make_adapter(base, base.parent / "task")


@pytest.fixture(scope="module")
def compat(base: Path) -> Path:
    return make_adapter(base, base.parent / "compat", seed=9, targets=ALL)


def loaded(base: Path, adapter: Path | None = None) -> Any:
    return _hf_load.load(HfLoader(path=base, adapter=adapter, device="cpu", threads=1))[0]


def logits(model: Any, ids: torch.Tensor = IDS) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=ids).logits
    return found


def trainable(student: Any) -> set[str]:
    return {name for name, weight in student.named_parameters() if weight.requires_grad}


def base_digest(model: Any) -> str:
    """Of all weights that are no adapter's."""
    plain = model.get_base_model() if hasattr(model, "peft_config") else model
    weights = {
        name.replace(".base_layer", ""): weight.detach().numpy().tobytes()
        for name, weight in plain.named_parameters()
        if "lora_" not in name
    }
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode() + weights[name])
    return digest.hexdigest()


def assert_alike(first: torch.Tensor, second: torch.Tensor) -> None:
    """Equal but for what float32 rounds."""
    gap, size = (first - second).abs().max(), second.abs().max()
    assert gap <= 2e-6 * size, f"{gap} of {size}"


def edited(adapter: Path, folder: Path, **config: Any) -> Path:
    shutil.copytree(adapter, folder)
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return folder


def train(student: Any, steps: int = 3) -> None:
    student.train()
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, 1e-2)
    for _ in range(steps):
        student(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    student.eval()


# --------------------------------------------------------------------------------------- the beginning


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj"), ("down_proj",), r".*q_proj"])
def test_a_student_begins_as_the_candidate_to_the_bit(base: Path, task: Path, targets: Any) -> None:
    student = student_of(loaded(base), task, Lora(targets=targets))
    assert torch.equal(logits(student), logits(loaded(base, task)))
    assert not torch.equal(logits(student), logits(loaded(base)))
    names = {name.split(".")[-4] for name in trainable(student)}
    wanted = {"all-linear": set(ALL), ("down_proj",): {"q_proj", "v_proj", "down_proj"}}
    assert names == wanted.get(targets, {"q_proj", "v_proj"})
    assert all(".default." in name for name in trainable(student))


def test_without_an_adapter_it_begins_as_the_model(base: Path) -> None:
    student = student_of(loaded(base), None, Lora(rank=4))
    assert torch.equal(logits(student), logits(loaded(base)))
    with as_teacher(student):
        assert torch.equal(logits(student), logits(loaded(base)))


@pytest.mark.parametrize("lora", [Lora(rank=12), Lora(rank=20, alpha=7), Lora(alpha=3.3)])
def test_a_larger_rank_or_another_scaling_changes_nothing(base: Path, task: Path, lora: Lora) -> None:
    student = student_of(loaded(base), task, lora).double()
    assert_alike(logits(student), logits(loaded(base, task).double()))
    layer = student.get_base_model().model.layers[0].self_attn.q_proj
    rank = lora.rank or 8
    assert layer.lora_A["default"].weight.shape[0] == rank
    assert layer.scaling["default"] == pytest.approx((lora.alpha or 2 * rank) / rank)
    if rank > 8:
        assert layer.lora_A["default"].weight[8:].abs().min() > 0
        assert torch.all(layer.lora_B["default"].weight[:, 8:] == 0)


@pytest.mark.parametrize(
    "config",
    [
        {"use_rslora": True},
        {"alpha_pattern": {"v_proj": 3}},
        {"alpha_pattern": {r"layers\.1\.self_attn\.q_proj": 5}},
        {"lora_alpha": 24},
    ],
)
def test_other_ways_of_stating_the_scaling(
    base: Path, task: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    other = edited(task, tmp_path / "other", **config)
    student = student_of(loaded(base), other, Lora())
    found = logits(student)
    assert_alike(found, logits(loaded(base, other)))
    assert not torch.allclose(found, logits(loaded(base, task)), atol=1e-3)


def test_ranks_that_differ_by_module(base: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"], rank_pattern={"up_proj": 9}
    )
    tuned = peft.get_peft_model(model, config)
    for name, weight in tuned.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.2
    tuned.save_pretrained(tmp_path / "a")
    student = student_of(loaded(base), tmp_path / "a", Lora())
    wanted = logits(loaded(base, tmp_path / "a"))
    assert_alike(logits(student), wanted)
    assert student.peft_config["default"].r == 9


def test_weights_that_lie_the_other_way_round(tmp_path: Path) -> None:
    """GPT-2's linear layers hold their weights as [in, out]."""
    model = GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=32, vocab_size=420)).eval()
    model.requires_grad_(False)
    plain = logits(model)
    student = student_of(model, None, Lora(rank=4, seed=1))
    assert torch.equal(logits(student), plain)
    train(student)
    assert not torch.allclose(logits(student), plain, atol=1e-3)
    save(student, tmp_path / "a", "gpt2")
    trained = logits(student)
    again = peft.PeftModel.from_pretrained(student.unload(), str(tmp_path / "a")).eval()
    torch.testing.assert_close(logits(again), trained)
    line(None, tmp_path / "a", 1.0, tmp_path / "line")
    again = peft.PeftModel.from_pretrained(again.unload(), str(tmp_path / "line")).eval()
    torch.testing.assert_close(logits(again), trained, rtol=1e-5, atol=1e-5)


def test_the_seed_decides_and_no_other_chance_is_touched(base: Path) -> None:
    def random_rows(seed: int) -> torch.Tensor:
        student = student_of(loaded(base), None, Lora(seed=seed))
        weight = student.get_base_model().model.layers[1].mlp.up_proj.lora_A["default"].weight
        found: torch.Tensor = weight.detach().clone()
        return found

    torch.manual_seed(123)
    first = random_rows(0)
    after = torch.rand(3)
    torch.manual_seed(123)
    assert torch.equal(after, torch.rand(3))
    assert torch.equal(first, random_rows(0))
    assert not torch.equal(first, random_rows(1))


# -------------------------------------------------------------------------------------- the teacher


@pytest.mark.parametrize("has_task", [True, False])
def test_the_candidate_is_still_there_when_the_student_has_learned(
    base: Path, task: Path, has_task: bool
) -> None:
    adapter = task if has_task else None
    student = student_of(loaded(base), adapter, Lora(dropout=0.5))
    before = base_digest(student)
    candidate = logits(loaded(base, adapter))
    mine = trainable(student)
    train(student)
    student.train()
    changed = logits(student.eval())
    student.train()
    assert not torch.allclose(changed, candidate, atol=1e-3)
    with as_teacher(student) as teacher:
        found = teacher(input_ids=IDS).logits
        assert not trainable(student) or has_task is False
    assert torch.equal(found, candidate)
    assert not found.requires_grad
    assert student.training
    assert trainable(student) == mine
    assert torch.equal(logits(student.eval()), changed)
    assert base_digest(student) == before == base_digest(loaded(base))


def test_gradients_flow_after_the_teacher_was_asked(base: Path, task: Path) -> None:
    student = student_of(loaded(base), task, Lora())
    with pytest.raises(RuntimeError, match="inside"), as_teacher(student):
        raise RuntimeError("inside")
    with as_teacher(student):
        target = student(input_ids=IDS).logits.softmax(-1)
    own = student(input_ids=IDS).logits.log_softmax(-1)
    torch.nn.functional.cross_entropy(own.flatten(0, 1), target.flatten(0, 1).roll(1, 0)).backward()
    without = [n for n, w in student.named_parameters() if w.requires_grad and w.grad is None]
    assert without == []
    assert any(w.grad.abs().max() > 0 for w in student.parameters() if w.requires_grad)


# ------------------------------------------------------------------------------------------- on disk


def test_what_is_saved_is_what_was_trained(base: Path, task: Path, tmp_path: Path) -> None:
    student = student_of(loaded(base), task, Lora(rank=12, dropout=0.1))
    train(student)
    save(student, tmp_path / "a", "org/the-model")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "org/the-model"
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (12, 24, 0.1)
    assert config["target_modules"] == sorted(ALL)
    plain = peft.PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "a")
    )
    assert torch.equal(logits(plain.eval()), logits(student))
    assert torch.equal(logits(loaded(base, tmp_path / "a")), logits(student))
    with HfLoader(path=base, adapter=tmp_path / "a", device="cpu", threads=1).open() as model:
        ((_, output),) = model.answer([Request("the cat", choices=(" sits", " eats"))])
    assert output.error is None
    assert len(adapter_targets(tmp_path / "a")) == 14
    first = (tmp_path / "a" / "adapter_model.safetensors").read_bytes()
    save(student, tmp_path / "a", "org/the-model")
    assert (tmp_path / "a" / "adapter_model.safetensors").read_bytes() == first


def test_targets_that_short_names_cannot_tell(base: Path, tmp_path: Path) -> None:
    student = student_of(loaded(base), None, Lora(targets=r"model\.layers\.1\.self_attn\.q_proj"))
    train(student)
    save(student, tmp_path / "a", "m")
    assert adapter_targets(tmp_path / "a") == ("model.layers.1.self_attn.q_proj",)
    assert torch.equal(logits(loaded(base, tmp_path / "a")), logits(student))


# ---------------------------------------------------------------------------------------------- lines


def deltas(folder: Path, base: Path) -> dict[str, torch.Tensor]:
    """What peft itself adds to the weights."""
    model = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder))
    return {
        name.removeprefix("base_model.model."): module.get_delta_weight("default").detach()
        for name, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }


def test_the_delta_is_what_peft_adds(base: Path, task: Path, tmp_path: Path) -> None:
    other = edited(task, tmp_path / "o", use_rslora=True, alpha_pattern={"v_proj": 5})
    found, wanted = effective_delta(other), deltas(other, base)
    assert found.keys() == wanted.keys()
    for name, delta in found.items():
        torch.testing.assert_close(delta, wanted[name])


@pytest.mark.parametrize("t", [0.0, 0.3, 0.5, 1.0, 1.5])
def test_a_line_is_exact(base: Path, task: Path, compat: Path, tmp_path: Path, t: float) -> None:
    other = edited(task, tmp_path / "new", lora_alpha=3)
    line(other, compat, t, tmp_path / "out")
    new, ours, found = deltas(other, base), deltas(compat, base), deltas(tmp_path / "out", base)
    for name in new.keys() | ours.keys():
        zero = torch.zeros_like(ours[name])
        wanted = (1 - t) * new.get(name, zero) + t * ours[name]
        torch.testing.assert_close(found.get(name, zero), wanted, rtol=1e-5, atol=1e-6)
        own = effective_delta(tmp_path / "out").get(name, zero)
        torch.testing.assert_close(own, found.get(name, zero))
    ends = {0.0: other, 1.0: compat}
    if t in ends:
        found_logits = logits(loaded(base, tmp_path / "out"))
        assert_alike(found_logits, logits(loaded(base, ends[t])))
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == (8 if t in ends else 16)
    assert config["rank_pattern"] == config["alpha_pattern"] == {}


def test_a_line_from_the_model_as_it_is(base: Path, compat: Path, tmp_path: Path) -> None:
    line(None, compat, 0.0, tmp_path / "zero")
    assert torch.equal(logits(loaded(base, tmp_path / "zero")), logits(loaded(base)))
    line(None, compat, 0.5, tmp_path / "half")
    half = effective_delta(tmp_path / "half")
    for name, delta in effective_delta(compat).items():
        torch.testing.assert_close(half[name], delta / 2)


def test_a_line_between_adapters_of_two_models(compat: Path, tmp_path: Path) -> None:
    small = make_adapter(make_model(tmp_path / "m", hidden=32), tmp_path / "small")
    with pytest.raises(InputError, match="is of another size"):
        line(small, compat, 0.5, tmp_path / "out")
    with pytest.raises(InputError, match="t must be from 0 to 2"):
        line(None, compat, 2.5, tmp_path / "out")


# ---------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"use_dora": True}, "use_dora = true"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "bias"),
        ({"peft_type": "LOHA"}, "the type LOHA"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"target_parameters": ["x"]}, "target_parameters"),
    ],
)
def test_adapters_that_are_more_than_plain_lora(
    base: Path, task: Path, tmp_path: Path, config: dict[str, Any], what: str
) -> None:
    other = edited(task, tmp_path / "other", **config)
    with pytest.raises(InputError, match=f"{what}.*merge the adapter"):
        student_of(loaded(base), other, Lora())


def test_weights_that_are_no_lora_of_linear_modules(base: Path, task: Path, tmp_path: Path) -> None:
    other = edited(task, tmp_path / "other")
    file = other / "adapter_model.safetensors"
    tensors = load_file(file)
    save_file(tensors | {"base_model.model.model.embed_tokens.lora_embedding_A": torch.ones(2, 2)}, file)
    with pytest.raises(InputError, match=r"the weights base_model.model.model.embed_tokens"):
        adapter_targets(other)
    tensors.pop(next(iter(tensors)))
    save_file(tensors, file)
    with pytest.raises(InputError, match="one of two matrices"):
        adapter_targets(other)
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        adapter_targets(other)


def test_an_adapter_of_another_model(task: Path, tmp_path: Path) -> None:
    small = make_model(tmp_path / "small", hidden=32)
    with pytest.raises(InputError, match="made for another model"):
        student_of(loaded(small), task, Lora())
    shallow = make_model(tmp_path / "shallow", layers=1)
    with pytest.raises(InputError, match="no such linear module"):
        student_of(loaded(shallow), task, Lora())


def test_ranks_and_targets_that_cannot_be(base: Path, task: Path) -> None:
    with pytest.raises(InputError, match=r"rank: 4 is below .* which is 8"):
        student_of(loaded(base), task, Lora(rank=4))
    with pytest.raises(InputError, match="no linear module 'q_prj'; it has down_proj, gate_proj"):
        student_of(loaded(base), None, Lora(targets=("q_proj", "q_prj")))
    with pytest.raises(InputError, match="no linear module"):
        student_of(loaded(base), None, Lora(targets="nothing"))
    with pytest.raises(InputError, match="no regular expression"):
        student_of(loaded(base), None, Lora(targets="("))


def test_bases_that_cannot_be_trained_on(base: Path, task: Path, tmp_path: Path) -> None:
    loader = HfLoader(path=base, adapter=task, device="cpu")
    assert base_of(loader) == HfLoader(path=base, device="cpu")
    with pytest.raises(InputError, match="leave merge_adapter out"):
        base_of(HfLoader(path=base, adapter=task, merge_adapter=True))
    with pytest.raises(InputError, match="quantised weights"):
        base_of(HfLoader(path=base, quantization="bitsandbytes-4bit"))
    own = tmp_path / "awq"
    shutil.copytree(base, own)
    config = json.loads((own / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "awq", "bits": 4}
    (own / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="awq 4-bit"):
        base_of(HfLoader(path=own))
