"""What teachers say: the model's own numbers, computed once, and never taken from a damaged file."""

from __future__ import annotations

import json
import multiprocessing
from collections import namedtuple
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import make_adapter, make_model

from muscle_gov import InputError, ModelError

pytest.importorskip("peft")

import torch
from muscle_gov_plugins import _fit_asker, _fit_teachers, _hf_load
from muscle_gov_plugins import _fit_teacher_store as store
from muscle_gov_plugins._fit_adapters import Lora, as_teacher, student_of
from muscle_gov_plugins._fit_rows import Row, targets
from muscle_gov_plugins._fit_teachers import CachedTeacher, Keeping, LiveTeacher, cached_teacher
from muscle_gov_plugins._loss_terms import Full, Top
from muscle_gov_plugins.loader_hf import HfLoader
from transformers import AutoConfig, AutoModelForCausalLM

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> HfLoader:
    folder = make_model(tmp_path_factory.mktemp("teachers") / "m")
    return HfLoader(path=folder, device="cpu", threads=1, batch_tokens=64)


def make_rows(count: int = 13, seed: int = 0, highest: int = 400) -> tuple[Row, ...]:
    chance = np.random.default_rng(seed)
    sizes = chance.integers(4, 30, count)
    return tuple(
        Row(
            "toy", f"k{n}", f"c{n}", chance.integers(3, highest, size), int(chance.integers(1, size - 1))
        )
        for n, size in enumerate(sizes)
    )


ROWS = make_rows()


def teacher(loader: HfLoader, folder: Path, rows: Any = ROWS, **more: Any) -> CachedTeacher:
    keeping = Keeping(**{k: v for k, v in more.items() if k not in ("watch", "opened")})
    rest = {k: v for k, v in more.items() if k in ("watch", "opened")}
    return cached_teacher(loader, rows, folder, keeping, which="old", **rest)


def truth(model: Any, row: Row, scope: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """(scores, labels) of one row by itself, straight from the model."""
    wanted = torch.from_numpy(targets(row, scope))
    ids = torch.from_numpy(row.tokens)
    with torch.no_grad():
        logits = model(input_ids=ids[None]).logits[0]
    return logits[wanted - 1], ids[wanted]


@pytest.fixture(scope="module")
def model(loader: HfLoader) -> Any:
    return AutoModelForCausalLM.from_pretrained(loader.path).eval()


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# ------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize("scope", ["all", "answer"])
@pytest.mark.parametrize("form", ["full", "top", "none", "auto"])
def test_what_is_kept_is_what_the_model_says(
    loader: HfLoader, model: Any, tmp_path: Path, scope: Any, form: Any
) -> None:
    kept = teacher(loader, tmp_path, scope=scope, form=form, top=7, temperature=2.0)
    places = [4, 0, 12, 4, 7]
    found = kept.of(places, "cpu")
    parts = [truth(model, ROWS[place], scope) for place in places]
    logits, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    assert torch.equal(found.right, logits.argmax(1) == labels)
    wanted = logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(found.logp, wanted, rtol=1e-5, atol=1e-5)
    if form in ("full", "auto"):
        assert isinstance(found.scores, Full)
        torch.testing.assert_close(found.scores.logits[:], logits, rtol=1e-5, atol=1e-5)
    elif form == "top":
        assert isinstance(found.scores, Top)
        best, ids = logits.topk(7, 1)
        torch.testing.assert_close(found.scores.logits, best, rtol=1e-5, atol=1e-5)
        assert torch.equal(found.scores.ids, ids)
        torch.testing.assert_close(found.scores.lse, (logits / 2).logsumexp(1), rtol=1e-5, atol=1e-5)
        assert (found.scores.temperature, found.scores.width) == (2.0, logits.shape[1])
        every = torch.cat([truth(model, row, scope)[0] for row in ROWS])
        outside = 1 - (every / 2).softmax(1).topk(7, 1).values.sum(1)
        assert kept.about["outside"] == pytest.approx(float(outside.mean()), rel=1e-4)
    else:
        assert found.scores is None
    assert kept.about["tokens"] == sum(len(targets(row, scope)) for row in ROWS)
    assert kept.about["bytes"] == sum(path.stat().st_size for path in tmp_path.glob("*.bin"))


def test_bfloat16_is_kept_to_the_bit(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    loader = HfLoader(path=folder, device="cpu", threads=1, dtype="bfloat16", batch_tokens=1)
    kept = teacher(loader, tmp_path / "kept", form="full").of(range(len(ROWS)), "cpu")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    logits = torch.cat([truth(model, row, "answer")[0] for row in ROWS])
    assert isinstance(kept.scores, Full)
    assert kept.scores.logits[:].dtype == torch.bfloat16
    assert torch.equal(kept.scores.logits[:], logits)  # batch_tokens = 1: no row has company


def test_a_live_teacher_says_the_same(loader: HfLoader, model: Any, tmp_path: Path) -> None:
    for form in ("full", "top", "none"):
        keeping = Keeping(form=form, top=5, temperature=1.5)  # type: ignore[arg-type]
        kept = cached_teacher(loader, ROWS, tmp_path / form, keeping, which="old").of([3, 1], "cpu")
        live = LiveTeacher(model, ROWS, keeping, which="old").of([3, 1], "cpu")
        assert torch.equal(kept.right, live.right)
        torch.testing.assert_close(kept.logp, live.logp, rtol=1e-5, atol=1e-5)
        assert type(kept.scores) is type(live.scores)
        if isinstance(kept.scores, Top) and isinstance(live.scores, Top):
            assert torch.equal(kept.scores.ids, live.scores.ids)
            torch.testing.assert_close(kept.scores.lse, live.scores.lse, rtol=1e-5, atol=1e-5)
        live.logp.requires_grad_()  # usable in a loss: no inference tensor


def test_the_student_is_asked_as_the_candidate(tmp_path: Path) -> None:
    """By switching adapters: what is kept is the candidate's, not the trained student's."""
    base = make_model(tmp_path / "m")
    adapter = make_adapter(base, tmp_path / "a")
    loader = HfLoader(path=base, adapter=adapter, device="cpu", threads=1)
    wanted = teacher(loader, tmp_path / "own", form="full").of([2, 5], "cpu")
    model, _ = _hf_load.load(HfLoader(path=base, device="cpu"))
    student = student_of(model, adapter, Lora())
    with torch.no_grad():
        for name, weight in student.named_parameters():
            if ".default." in name:
                weight.add_(0.1)

    def inside() -> Any:
        return as_teacher(student)

    found = teacher(loader, tmp_path / "inside", form="full", opened=inside).of([2, 5], "cpu")
    live = LiveTeacher(student, ROWS, Keeping(form="full"), around=inside).of([2, 5], "cpu")
    for one in (found, live):
        assert isinstance(one.scores, Full)
        assert isinstance(wanted.scores, Full)
        torch.testing.assert_close(one.scores.logits[:], wanted.scores.logits[:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cuts", [True, False])
def test_a_model_that_does_more_to_its_scores_is_run_whole(
    loader: HfLoader, model: Any, tmp_path: Path, cuts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that is followed by something unknown: the parts must not be believed."""

    class Odd(type(model)):  # type: ignore[misc]
        def forward(self, *given: Any, **options: Any) -> Any:
            if not cuts:
                assert "logits_to_keep" not in options
            found = super().forward(*given, **options)
            found.logits = found.logits[:] * 0.5 + 1
            return found

    if cuts:
        Odd.forward.__signature__ = __import__("inspect").signature(type(model).forward)  # type: ignore[attr-defined]
    odd = AutoModelForCausalLM.from_pretrained(loader.path).eval()
    odd.__class__ = Odd
    asker = _fit_asker.Asker(odd, ROWS, "odd")
    assert asker.parts is None
    assert _fit_asker.Asker(model, ROWS, "plain").parts is not None
    found = torch.cat(list(asker.answer(ROWS[:3], "answer")))
    logits = torch.cat([truth(odd, row, "answer")[0] for row in ROWS[:3]])
    torch.testing.assert_close(found, logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["gemma2", "cohere", "granite", "gpt2", "opt", "olmo2"])
def test_models_that_scale_their_scores(kind: str) -> None:
    """Softcaps and factors after the head; learned positions, projections, other names of parts."""
    sizes: dict[str, Any] = {
        "vocab_size": 420,
        "hidden_size": 32,
        "intermediate_size": 48,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "initializer_range": 0.5,
        "max_position_embeddings": 64,
    }
    own: dict[str, dict[str, Any]] = {
        "gemma2": {"final_logit_softcapping": 3.0},
        "cohere": {"logit_scale": 0.3},
        "granite": {"logits_scaling": 7.0},
        "opt": {"word_embed_proj_dim": 16},
    }
    config = AutoConfig.for_model(kind, **sizes | own.get(kind, {}))
    torch.manual_seed(0)
    odd = AutoModelForCausalLM.from_config(config).eval()
    asker = _fit_asker.Asker(odd, ROWS, kind)
    assert asker.parts is not None
    found = torch.cat(list(asker.answer(ROWS[:4], "all")))
    wanted = torch.cat([truth(odd, row, "all")[0] for row in ROWS[:4]])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_memory_that_runs_out_halves_the_batch(
    loader: HfLoader, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker = _fit_asker.Asker(model, ROWS, "m")
    whole = torch.cat(list(asker.answer(ROWS[:5], "all")))
    run = asker.parts.hidden  # type: ignore[union-attr]
    seen: list[int] = []

    def small(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen.append(len(ids))
        if len(ids) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return run(ids, mask)

    monkeypatch.setattr(asker.parts, "hidden", small)
    halved = torch.cat(list(asker.answer(ROWS[:5], "all")))
    assert seen == [5, 2, 3, 1, 2]
    torch.testing.assert_close(halved, whole, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------------------- the store


def unloadable() -> Any:
    raise AssertionError("the model was loaded")


def test_what_is_there_is_not_computed_again(loader: HfLoader, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    first = teacher(loader, tmp_path, watch=lambda *at: told.append(at))
    assert told[-1] == (13, 13)
    assert len(told) > 2
    second = teacher(loader, tmp_path, opened=unloadable)
    assert torch.equal(first.of([1, 2], "cpu").logp, second.of([1, 2], "cpu").logp)
    assert first.about == second.about


class Killed(Exception):
    pass


@pytest.mark.parametrize("form", ["full", "top"])
@pytest.mark.parametrize("how", ["error", "power"])
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(
    loader: HfLoader, tmp_path: Path, form: Any, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an error, and as by a power cut: with no last word, and half a batch more on the disk."""
    teacher(loader, tmp_path / "whole", form=form)
    monkeypatch.setattr(store, "_SYNC_SECONDS", 0.0)
    snapshots: list[dict[str, bytes]] = []
    cut = tmp_path / "cut"

    def watch(done: int, total: int) -> None:
        snapshots.append(files(cut))
        if len(snapshots) == 3:
            raise Killed

    with pytest.raises(Killed):
        teacher(loader, cut, form=form, watch=watch)
    assert "meta.json" not in files(cut)
    if how == "power":
        for name, content in snapshots[1].items():
            more = b"half a batch" if name.endswith(".bin") else b""
            (cut / name).write_bytes(content + more)
    asked: list[int] = []
    run = _fit_asker.Asker._run

    def counting(self: Any, rows: Any, scope: Any) -> Any:
        asked.append(len(rows))
        return run(self, rows, scope)

    monkeypatch.setattr(_fit_asker.Asker, "_run", counting)
    teacher(loader, cut, form=form)
    assert files(cut) == files(tmp_path / "whole")
    assert 0 < sum(asked) < len(ROWS)


@pytest.mark.parametrize("name", ["logp.bin", "right.bin", "logits.bin", "meta.json"])
@pytest.mark.parametrize("damage", ["short", "long", "flipped", "gone", "empty"])
def test_a_damaged_file_is_computed_anew(
    loader: HfLoader, tmp_path: Path, name: str, damage: str
) -> None:
    teacher(loader, tmp_path, form="full")
    before = files(tmp_path)
    content = bytearray(before[name])
    if damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    changed = {
        "short": content[:-3],
        "long": content + b"123",
        "flipped": content,
        "empty": b"",
    }
    if damage == "gone":
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(changed[damage])
    loads: list[int] = []

    @contextmanager
    def opened() -> Iterator[Any]:
        loads.append(1)
        with _fit_teachers._loaded(loader) as model:
            yield model

    teacher(loader, tmp_path, form="full", opened=opened)
    assert loads == [1]
    assert files(tmp_path) == before


def test_a_damaged_part_is_not_gone_on_with(
    loader: HfLoader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_SYNC_SECONDS", 0.0)
    teacher(loader, tmp_path / "whole", form="full")

    def watch(done: int, total: int) -> None:
        if done > 6:
            raise Killed

    with pytest.raises(Killed):
        teacher(loader, tmp_path / "cut", form="full", watch=watch)
    file = tmp_path / "cut" / "logits.bin"
    content = bytearray(file.read_bytes())
    content[100] ^= 0xFF
    file.write_bytes(content)
    teacher(loader, tmp_path / "cut", form="full")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_another_model_rows_scope_or_form_is_computed_anew(loader: HfLoader, tmp_path: Path) -> None:
    other = HfLoader(path=make_model(tmp_path / "m2", seed=5), device="cpu", threads=1, batch_tokens=64)
    kept = tmp_path / "kept"
    first = teacher(loader, kept, form="top", top=4)
    with pytest.raises(AssertionError, match="was loaded"):
        teacher(other, kept, form="top", top=4, opened=unloadable)
    for more in (
        {"rows": make_rows(seed=1)},
        {"rows": ROWS[::-1]},
        {"scope": "all"},
        {"top": 5},
        {"temperature": 3.0},
        {"form": "full"},
    ):
        with pytest.raises(AssertionError, match="was loaded"):
            teacher(loader, kept, **{"form": "top", "top": 4, "opened": unloadable, **more})
    again = teacher(loader, kept, form="top", top=4, opened=unloadable)
    assert first.about == again.about
    swapped = teacher(other, kept, form="top", top=4)
    assert not torch.equal(swapped.of([0], "cpu").logp, first.of([0], "cpu").logp)


def test_auto_keeps_the_best_where_all_are_too_many(loader: HfLoader, tmp_path: Path) -> None:
    kept = teacher(loader, tmp_path, form="auto", top=3, most_bytes=1000)
    assert (kept.about["kept"], kept.about["top"]) == ("top", 3)
    assert 0 < kept.about["outside"] < 1
    # what there is decides, whatever is free later
    assert teacher(loader, tmp_path, top=3, opened=unloadable).about == kept.about


def test_a_disk_without_room_is_told_before_the_work(
    loader: HfLoader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(store.shutil, "disk_usage", lambda _: usage(10, 10, 10))
    with pytest.raises(InputError, match=r"takes 0\.00 GB, and the disk has 0\.00 GB free"):
        teacher(loader, tmp_path, form="full")
    assert not list(tmp_path.glob("*.bin"))


def test_a_disk_that_fills_up_is_told_and_what_was_done_stays(
    loader: HfLoader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_SYNC_SECONDS", 0.0)
    real, calls = store.os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(1)
        if len(calls) > 9:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        teacher(loader, tmp_path / "kept", form="full")
    monkeypatch.undo()
    rows_done = json.loads((tmp_path / "kept" / "progress.json").read_bytes())["rows"]
    assert 0 < rows_done < len(ROWS)
    teacher(loader, tmp_path / "kept", form="full")
    teacher(loader, tmp_path / "whole", form="full")
    assert files(tmp_path / "kept") == files(tmp_path / "whole")


# --------------------------------------------------------------------------------------- what is wrong


def test_tokens_that_the_model_does_not_know(loader: HfLoader, tmp_path: Path) -> None:
    strange = Row("toy", "odd", "c", np.array([5, 6, 100_000]), 2)
    with pytest.raises(InputError, match=r"toy: row 'odd' has the token 100000"):
        teacher(loader, tmp_path, rows=(*ROWS, strange))


def test_rows_without_an_answer(loader: HfLoader, tmp_path: Path) -> None:
    bare = Row("toy", "bare", "c", np.array([5, 6]), 2)
    with pytest.raises(InputError, match="'bare' has no token to be predicted"):
        teacher(loader, tmp_path, rows=(*ROWS, bare))
    with pytest.raises(InputError, match="no rows"):
        teacher(loader, tmp_path, rows=())


def test_scores_that_are_no_numbers(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    broken = AutoModelForCausalLM.from_pretrained(folder)
    broken.lm_head.weight.data[7, 0] = float("nan")
    broken.save_pretrained(folder)
    loader = HfLoader(path=folder, device="cpu", threads=1)
    with pytest.raises(ModelError, match="scores that are no numbers"):
        teacher(loader, tmp_path / "kept")


def _asked(given: tuple[HfLoader, Path]) -> bytes:
    loader, folder = given
    return teacher(loader, folder).of(range(len(ROWS)), "cpu").logp.numpy().tobytes()


def test_mitigations_side_by_side_share_a_teacher(loader: HfLoader, tmp_path: Path) -> None:
    """Two that write the same files at once tore them."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        first, second = pool.map(_asked, [(loader, tmp_path / "t")] * 2)
    assert first == second == _asked((loader, tmp_path / "alone"))
