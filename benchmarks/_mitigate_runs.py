"""One run of `mitigate.py` in this process: by a mitigation or by plain Trainer, timed and measured."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _mitigate_made import Bench, fitting

PLAIN = "plain"


@dataclass(frozen=True)
class Way:
    """A way to train."""

    shown: str
    mitigation: str | None = None
    """Its name; None for plain training."""
    options: Mapping[str, Any] = field(default_factory=dict)


WAYS = {
    PLAIN: Way("peft and Trainer"),
    "muscle-top": Way("muscle, teachers' best 64 kept", "muscle", {"teacher_form": "top"}),
    "muscle-full": Way("muscle, all scores kept", "muscle", {"teacher_form": "full"}),
    "muscle-live": Way("muscle, live update", "muscle", {"teacher_form": "top", "teachers": "live"}),
    "cross-entropy": Way("cross-entropy, same engine", "cross-entropy"),
}


@dataclass
class Meter:
    """Times and peaks from `begin` to `end`, and of whatever `phase` says it is in."""

    device: str
    found: dict[str, Any] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)
    _phase: str = ""
    _began: float = 0.0
    _since: tuple[float, float] = (0.0, 0.0)

    def now(self) -> tuple[float, float]:
        """CPU and wall seconds, all work of the device done."""
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()
        return time.process_time(), time.perf_counter()

    def phase(self, name: str) -> None:
        """What is being done from now on. Its seconds are the CPU's, or on a GPU those of the clock."""
        if name == self._phase:
            return
        now = self.now()[0 if self.device == "cpu" else 1]
        if self._phase:
            self.phases[self._phase] = self.phases.get(self._phase, 0.0) + now - self._began
        self._phase, self._began = name, now

    def begin(self) -> None:
        if self.device != "cpu":
            import torch

            torch.cuda.reset_peak_memory_stats()
            self.found["bytes_before"] = torch.cuda.memory_allocated()
        else:
            # from now on the kernel's high-water mark is that of the training loop alone
            Path("/proc/self/clear_refs").write_text("5")
            self.found["bytes_before"] = _memory("VmRSS")
        self._since = self.now()

    def end(self) -> None:
        cpu, wall = self.now()
        self.found["cpu_seconds"] = cpu - self._since[0]
        self.found["wall_seconds"] = wall - self._since[1]
        if self.device != "cpu":
            import torch

            self.found["peak_bytes"] = torch.cuda.max_memory_allocated()
            return
        self.found["peak_bytes"] = _memory("VmHWM")
        self.found["mapped_files_bytes"] = _memory("RssFile")


def _memory(what: str) -> int:
    """Bytes of this process, as the kernel counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{what}:"))
    return int(line.split()[1]) * 1024


def run_mitigation(bench: Bench, name: str, number: int, steps: int | None) -> dict[str, Any]:
    """Train by a mitigation, through its public door; `steps` for a try that fills what is kept."""
    from muscle_gov import plugins

    way = WAYS[name]
    assert way.mitigation is not None
    meter = Meter(bench.device)

    def watch(told: Any) -> None:
        meter.phase(told.phase)
        if told.phase != "training":
            return
        if told.done == 0:
            meter.begin()
        elif told.done == told.total:
            meter.end()
            meter.phase("looking at held-out rows")
            meter.found |= {"steps": told.total, "figures": dict(told.figures)}

    whole = {**bench.recipe(), **way.options, **({} if steps is None else {"steps": steps})}
    mitigation = plugins.load().make("mitigations", way.mitigation, whole)
    mitigation.fit(fitting(bench, f"{name}-{number}", watch))
    return meter.found | {"phases": meter.phases}


def run_plain(bench: Bench) -> dict[str, Any]:
    """Train with peft and transformers' Trainer, on the batches that the mitigations have."""
    import peft
    import torch
    import transformers
    from muscle_gov_plugins._fit_batches import Batches, Order
    from muscle_gov_plugins._fit_rows import read

    if bench.device == "cpu":
        torch.set_num_threads(bench.threads)
    given = fitting(bench, "plain", lambda _: None)
    tokenizer = transformers.AutoTokenizer.from_pretrained(bench.folder / "new")
    data = read(given.training, given.new, tokenizer, validation=0.2, seed=0, limit_tokens=4096)
    base = transformers.AutoModelForCausalLM.from_pretrained(
        bench.folder / "new", dtype=getattr(torch, bench.dtype)
    ).to(bench.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # as above
        model = peft.PeftModel.from_pretrained(base, bench.folder / "new-adapter", is_trainable=True)
    meter, batches = Meter(bench.device), Batches(data.train, "all", tokenizer.pad_token_id)
    steps = -(-len(data.train) // bench.batch_rows)

    class Watched(transformers.TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            meter.begin()

        def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
            if state.global_step == steps:
                meter.end()

    class SameOrder(transformers.Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, *_: Any) -> Any:
            return Order(data.train, bench.batch_rows, 1, 0)

    def collate(places: Sequence[int]) -> dict[str, Any]:
        whole = batches(places)
        return {name: whole[name] for name in ("input_ids", "attention_mask", "labels")}

    SameOrder(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(bench.folder / "plain"),
            num_train_epochs=1,
            per_device_train_batch_size=bench.batch_rows,
            learning_rate=1e-4,
            weight_decay=0.0,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=bench.device == "cpu",
            remove_unused_columns=False,
            dataloader_pin_memory=bench.device != "cpu",
        ),
        data_collator=collate,
        train_dataset=range(len(data.train)),
        callbacks=[Watched()],
    ).train()
    tokens = sum(len(row.tokens) - 1 for row in data.train)
    return meter.found | {"steps": steps, "tokens": tokens, "phases": {}}
