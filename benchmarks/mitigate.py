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
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _mitigate_made import SIZES, Bench, make_models, write_rows
from _mitigate_runs import PLAIN, WAYS, run_mitigation, run_plain

TIME_TARGET, MEMORY_TARGET = 1.15, 1.1
"""Of `muscle` with kept teachers, relative to plain training."""
JUDGED = ("muscle-top", "muscle-full")
"""What is held to the targets."""
PEAK_ROWS = 2
"""Batches of the run on a larger vocabulary."""


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
        "with": WAYS[name].shown,
        "way": name,
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
        if row["way"] in JUDGED:
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
    mended = [name for name in WAYS if name != PLAIN]
    parser.add_argument(
        "--only", nargs="+", choices=mended, default=mended, help="beside plain training"
    )
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
