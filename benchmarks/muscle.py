"""How much mending mends: every mitigation beside its controls, in small worlds, over several seeds.

    python benchmarks/muscle.py --seeds 0-7 [--work DIR]      # run; may be stopped and started again
    python benchmarks/muscle.py --seeds 0-7 --merge           # what was found, as a table and as JSON

A seed is a world of its own: two bases trained from scratch on other documents, rows that are trained on
and rows that are judged, and the update between them (see `muscle-gov demo`). In it every mitigation is
trained by one recipe for the same steps, then asked and compared with the old model, all through the
public doors. Beside them stand the untouched update, plain training for the same steps, the same
training with another seed, and both models at once.

Processes on different seeds may run side by side in one folder. Each result is kept as it comes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from _muscle_variants import Settings, variants

HERE = Path(__file__).parent


def seeds_of(text: str) -> list[int]:
    """`0-3,7` are 0, 1, 2, 3 and 7."""
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            found += range(int(first), int(last if dash else first) + 1)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{text!r} are no seeds; give numbers and ranges, as in 0-3,7"
            ) from None
    return found


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds", type=seeds_of, default=list(range(8)), metavar="0-7", help="default: 0-7"
    )
    parser.add_argument("--work", type=Path, default=Path("muscle-work"), help="a folder to work in")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these variants")
    parser.add_argument("--merge", action="store_true", help="run nothing, write the tables")
    parser.add_argument(
        "--out", type=Path, help="without a suffix; default: benchmarks/results/DATE-muscle"
    )
    parser.add_argument("--threads", type=int, default=1)
    for field in dataclasses.fields(Settings):
        kind = float if isinstance(field.default, float) else int
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    return parser


def main() -> None:
    parser = options()
    given = parser.parse_args()
    settings = Settings(**{f.name: getattr(given, f.name) for f in dataclasses.fields(Settings)})
    names = [one.name for one in variants(settings)]
    for name in given.only:
        if name not in names:
            parser.error(f"--only: there is no variant {name!r}; there are {', '.join(names)}")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ["OMP_NUM_THREADS"] = str(given.threads)
    if given.merge:
        merge(given.seeds, settings, given.work, given.out)
        return
    run(given.seeds, settings, given.work, given.only, given.threads)


def run(seeds: list[int], settings: Settings, work: Path, only: list[str], threads: int) -> None:
    import torch
    from _muscle_seed import run_seed
    from transformers.utils import logging as transformers_logging

    logging.disable(logging.WARNING)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(threads)
    for seed in seeds:
        run_seed(seed, settings, work, only, lambda line: print(line, flush=True))


def merge(seeds: list[int], settings: Settings, work: Path, out: Path | None) -> None:
    from _muscle_seed import MADE_OF, read_lines
    from _muscle_tables import markdown, table
    from run import machine

    lines = []
    for seed in seeds:
        folder = work / f"seed-{seed}"
        if not (folder / MADE_OF).exists():
            raise SystemExit(f"{folder}: is not there; run this seed first, or leave it out of --seeds")
        if json.loads((folder / MADE_OF).read_text()) != dataclasses.asdict(settings):
            raise SystemExit(f"{folder}: holds results of other settings than these")
        lines.append(read_lines(folder))
    found = table(lines, settings)
    today = datetime.now(UTC).date().isoformat()
    whole: dict[str, Any] = {
        "date": today,
        "machine": machine() | {"peft": version("peft")},
        "settings": dataclasses.asdict(settings) | {"recipe": settings.recipe(), "seeds": seeds},
        "results": found,
        "seeds": [list(one.values()) for one in lines],
    }
    text = markdown(whole)
    base = out or HERE / "results" / f"{today}-muscle"
    base.with_name(f"{base.name}.json").write_text(json.dumps(whole, indent=1) + "\n")
    base.with_name(f"{base.name}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
