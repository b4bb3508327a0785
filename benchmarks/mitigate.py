"""What mending costs: an epoch of `muscle` beside an epoch of plain LoRA training, in time and memory.

    python benchmarks/mitigate.py [--size small] [--device cpu] [--rows 48] [--repeat 3] [--json FILE]

Both train the same adapter of the same model on the same batches by the same recipe:

1. `peft and Trainer`: transformers' Trainer on the model's own loss, as anyone would write it.
2. `muscle`, what teachers say being kept beforehand: all scores, or the best 64 of each token. That one
   pass over the data is timed apart; all mitigations and all epochs share it.
3. `muscle` whose second teacher, the update itself, is run at each step (`live`).
4. `cross-entropy` by the same engine as `muscle`: what the engine does to time and memory by itself.

Each run is a process of its own, so that its peak of memory is its own, and they take turns. What is
timed is the training loop: from the first batch to the last update of the weights. Loading is left out,
and so is looking at held-out rows, which plain training does not do; that is told apart. CPU seconds
are those of the process with all its threads. Peaks are of the training loop too; on a CPU they are the
process's whole resident memory, the interpreter and the libraries included.

A larger vocabulary is then measured once, on fewer rows, for its peak of memory.

Models have random weights. They repeat the word that they have just read, and so does the text now and
then: so a part of the tokens is right, and both of MUSCLE's cases occur.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SIZES = {
    "tiny": {"hidden": 64, "layers": 2},
    "small": {"hidden": 320, "layers": 6},
    "1b": {"hidden": 2048, "layers": 16},
}
SYLLABLES = "kalominerutasopeviduharitonasemolibakufe"
"""Of two letters each."""
PLAIN = "peft and Trainer"
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "muscle, teachers' best 64 kept": ("muscle", {"teacher_form": "top"}),
    "muscle, all scores kept": ("muscle", {"teacher_form": "full"}),
    "muscle, live update": ("muscle", {"teacher_form": "top", "teachers": "live"}),
    "cross-entropy, same engine": ("cross-entropy", {}),
}
"""What is shown as -> the mitigation and its options."""
TIME_TARGET, MEMORY_TARGET = 1.15, 1.1
"""Of `muscle` with kept teachers, relative to plain training."""
PEAK_ROWS = 2
"""Batches of the run on a larger vocabulary."""


@dataclass(frozen=True)
class Bench:
    """What is run, where."""

    folder: Path
    size: str
    vocabulary: int
    device: str
    dtype: str
    rows: int
    """Rows that are trained on; a fifth of all rows is held out besides."""
    batch_rows: int
    lengths: tuple[int, int]
    rank: int
    threads: int
    chunk: int

    def recipe(self) -> dict[str, Any]:
        """Options that all mitigations and plain training have in common."""
        return {
            "rank": self.rank,
            "batch_rows": self.batch_rows,
            "accumulation": 1,
            "epochs": 1.0,
            "scope": "all",
            "chunk": self.chunk,
            "validate_steps": 1_000_000,
            "save_steps": 1_000_000,
        }


# ------------------------------------------------------------------------------- what is run on what


def word(number: int) -> str:
    """A made-up word, another one for each number below 160,000."""
    digits = (number // 20**place % 20 for place in range(4))
    return "".join(SYLLABLES[2 * digit : 2 * digit + 2] for digit in digits)


def make_tokenizer(folder: Path, size: int) -> None:
    """Each word with the space before it is one token."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    names = ["<unk>", "<pad>", "<s>", "</s>", *(f" {word(number)}" for number in range(size - 4))]
    core = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r" [a-z]+"), behavior="isolated")
    core.decoder = decoders.Fuse()
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 2)])
    special = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=core, **special).save_pretrained(folder)


def make_models(bench: Bench) -> int:
    """An old and a new Llama of random weights, each with a LoRA adapter; returns their parameters."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = SIZES[bench.size]
    config = LlamaConfig(
        vocab_size=bench.vocabulary,
        hidden_size=shape["hidden"],
        intermediate_size=shape["hidden"] * 11 // 4 // 8 * 8,
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["hidden"] // 64,
        num_key_value_heads=shape["hidden"] // 64,
        max_position_embeddings=4096,
        bos_token_id=2,
        eos_token_id=3,
        pad_token_id=1,
        initializer_range=0.05,
    )
    lora = LoraConfig(r=bench.rank, lora_alpha=2 * bench.rank, target_modules="all-linear")
    parameters = 0
    for seed, name in enumerate(("old", "new")):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).to(getattr(torch, bench.dtype))
        with torch.no_grad():  # apart in memory, as in large models, yet likely to repeat a word
            model.lm_head.weight.copy_(model.model.embed_tokens.weight)
            model.model.embed_tokens.weight *= 10
        model.generation_config.pad_token_id = 1
        parameters = sum(weight.numel() for weight in model.parameters())
        model.save_pretrained(bench.folder / name)
        make_tokenizer(bench.folder / name, bench.vocabulary)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an older name
            tuned = get_peft_model(model, lora)
        for key, weight in tuned.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(weight, std=1e-3)
        tuned.save_pretrained(bench.folder / f"{name}-adapter")
    return parameters


def write_rows(bench: Bench) -> None:
    """Questions with answers, as a table; of each text half is the answer."""
    chance = random.Random(1)

    def text() -> list[str]:
        found: list[str] = []
        while len(found) < chance.randint(*bench.lengths):
            again = bool(found) and chance.random() < 0.5
            found.append(found[-1] if again else word(chance.randrange(bench.vocabulary - 4)))
        return found

    lines = []
    for _ in range(round(bench.rows / 0.8)):
        words = text()
        cut = len(words) // 2
        row = {"question": " " + " ".join(words[:cut]), "answer": " ".join(words[cut:])}
        lines.append(json.dumps(row) + "\n")
    (bench.folder / "rows.jsonl").write_text("".join(lines))


def fitting(bench: Bench, name: str, watch: Callable[[Any], None]) -> Any:
    from muscle_gov import Fitting, plugins

    offers = plugins.load()
    common = {"device": bench.device, "dtype": bench.dtype}
    common |= {"threads": bench.threads} if bench.device == "cpu" else {}
    options = {
        "path": str(bench.folder / "rows.jsonl"),
        "prompt": "{{ question }}",
        "target": "{{ answer }}",
    }
    sides = {
        side: offers.make(
            "loaders",
            "hf",
            common
            | {"path": str(bench.folder / side), "adapter": str(bench.folder / f"{side}-adapter")},
        )
        for side in ("old", "new")
    }
    return Fitting(
        name=name,
        old=sides["old"],
        new=sides["new"],
        training={"rows": offers.make("suites", "table", options)},
        workdir=bench.folder / "mended" / name,
        watch=watch,
    )


# ------------------------------------------------------------------------------------ what is measured


@dataclass
class Meter:
    """Times and peaks from `begin` to `end`, and of whatever `phase` says it is in."""

    device: str
    found: dict[str, Any] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)
    _phase: str = ""
    _since: tuple[float, float] = (0.0, 0.0)

    def now(self) -> tuple[float, float]:
        if self.device != "cpu":
            import torch

            torch.cuda.synchronize()
        return time.process_time(), time.perf_counter()

    def phase(self, name: str) -> None:
        """The one before it has ended."""
        if name == self._phase:
            return
        cpu, wall = self.now()
        if self._phase:
            kept = self.phases.setdefault(self._phase, 0.0)
            self.phases[self._phase] = kept + (cpu if self.device == "cpu" else wall) - self._since_phase
        self._phase, self._since_phase = name, cpu if self.device == "cpu" else wall

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

    kind, options = VARIANTS[name]
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

    whole = bench.recipe() | options | ({} if steps is None else {"steps": steps})
    mitigation = plugins.load().make("mitigations", kind, whole)
    mitigation.fit(fitting(bench, f"{list(VARIANTS).index(name)}-{number}", watch))
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


# ------------------------------------------------------------------------------------------ main


def child(bench: Bench, name: str, number: int, steps: int | None) -> dict[str, Any]:
    """The same in a process of its own."""
    told = {**vars(bench), "folder": str(bench.folder)}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        job = json.dumps({"bench": told, "name": name, "number": number, "steps": steps})
        done = subprocess.run(
            [sys.executable, __file__, "--job", job, "--json", str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{name}: failed\n{done.stderr}")
        found: dict[str, Any] = json.loads(out.read_text())
    return found


def run_job(text: str) -> dict[str, Any]:
    job = json.loads(text)
    told = job["bench"] | {
        "folder": Path(job["bench"]["folder"]),
        "lengths": tuple(job["bench"]["lengths"]),
    }
    bench = Bench(**told)
    if job["name"] == PLAIN:
        return run_plain(bench)
    return run_mitigation(bench, job["name"], job["number"], job["steps"])


def measure(bench: Bench, names: Sequence[str], repeat: int) -> list[dict[str, Any]]:
    """Rows of the result, plain training first: medians over the repeats, which take turns."""
    parameters = make_models(bench)
    write_rows(bench)
    teachers = {}
    for name in names:
        if name != PLAIN:
            phases = child(bench, name, -1, 1)["phases"]
            teachers[name] = {key: phases[key] for key in phases if key.startswith("asking")}
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(repeat):
        for name in names:
            runs[name].append(child(bench, name, number, None))
    common = {
        "parameters": parameters,
        "vocabulary": bench.vocabulary,
        "device": bench.device,
        "dtype": bench.dtype,
        "threads": bench.threads if bench.device == "cpu" else None,
        "rows": bench.rows,
        "tokens": runs[PLAIN][0]["tokens"],
        "batch_rows": bench.batch_rows,
        "rank": bench.rank,
        "chunk": bench.chunk,
        "repeats": repeat,
    }
    return [_row(name, runs, teachers.get(name, {}), bench.device) | common for name in names]


def _row(
    name: str, runs: dict[str, list[dict[str, Any]]], teachers: dict[str, float], device: str
) -> dict[str, Any]:
    clock = "cpu_seconds" if device == "cpu" else "wall_seconds"
    pairs = list(zip(runs[name], runs[PLAIN], strict=True))
    return {
        "with": name,
        "cpu_seconds": round(statistics.median(run["cpu_seconds"] for run in runs[name]), 3),
        "wall_seconds": round(statistics.median(run["wall_seconds"] for run in runs[name]), 3),
        "peak_bytes": round(statistics.median(run["peak_bytes"] for run in runs[name])),
        "bytes_before": runs[name][0]["bytes_before"],
        "mapped_files_bytes": runs[name][0].get("mapped_files_bytes"),
        "times_plain": round(statistics.median(own[clock] / its[clock] for own, its in pairs), 3),
        "times_plain_each": [round(own[clock] / its[clock], 3) for own, its in pairs],
        "peak_of_plain": round(
            statistics.median(own["peak_bytes"] / its["peak_bytes"] for own, its in pairs), 3
        ),
        "teachers_seconds": {key: round(value, 3) for key, value in teachers.items()},
        "held_out_seconds": round(runs[name][0]["phases"].get("looking at held-out rows", 0.0), 3),
        "steps": runs[name][0]["steps"],
        "figures": runs[name][0].get("figures", {}),
    }


def show(rows: Sequence[dict[str, Any]]) -> None:
    first = rows[0]
    print(
        f"\n{first['parameters'] / 1e6:.1f}M parameters, vocabulary {first['vocabulary']:,}, "
        f"{first['tokens']:,} tokens in {first['steps']} steps, {first['device']}, {first['dtype']}"
    )
    print(f"  {'':<32} {'CPU s':>8} {'wall s':>8} {'× plain':>8} {'peak MiB':>9} {'× plain':>8}")
    for row in rows:
        print(
            f"  {row['with']:<32} {row['cpu_seconds']:>8.2f} {row['wall_seconds']:>8.2f} "
            f"{row['times_plain']:>8.3f} {row['peak_bytes'] / 2**20:>9.0f} {row['peak_of_plain']:>8.3f}"
        )
    for row in rows:
        if row["teachers_seconds"]:
            told = ", ".join(f"{what} {took:.2f} s" for what, took in row["teachers_seconds"].items())
            print(f"  once, before {row['with']}: {told}")
    for row in rows:
        if row["with"].startswith("muscle") and "live" not in row["with"]:
            time_kept = row["times_plain"] <= TIME_TARGET
            memory_kept = row["peak_of_plain"] <= MEMORY_TARGET
            print(
                f"  {row['with']}: at most {TIME_TARGET} times the time: "
                f"{'yes' if time_kept else 'NO'}; at most {MEMORY_TARGET} times the peak: "
                f"{'yes' if memory_kept else 'NO'}"
            )


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--vocabulary", type=int, default=32768)
    parser.add_argument("--peak-vocabulary", type=int, default=131072, help="0 for none")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rows", type=int, default=48, help="trained on in the epoch")
    parser.add_argument("--batch-rows", type=int, default=8)
    parser.add_argument("--lengths", type=int, nargs=2, default=(100, 300), help="tokens of a row")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--chunk", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser


def main() -> None:
    given = options().parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    if given.job:
        given.json.write_text(json.dumps(run_job(given.job)))
        return
    rows: list[dict[str, Any]] = []
    for vocabulary in filter(None, (given.vocabulary, given.peak_vocabulary)):
        is_peak = vocabulary != given.vocabulary
        with tempfile.TemporaryDirectory() as name:
            bench = Bench(
                folder=Path(name),
                size=given.size,
                vocabulary=vocabulary,
                device=given.device,
                dtype=given.dtype,
                rows=PEAK_ROWS * given.batch_rows if is_peak else given.rows,
                batch_rows=given.batch_rows,
                lengths=tuple(given.lengths),
                rank=given.rank,
                threads=given.threads,
                chunk=given.chunk,
            )
            found = measure(bench, [PLAIN, *given.only], 1 if is_peak else given.repeat)
        show(found)
        rows += found
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
