"""Run all benchmarks and write `benchmarks/results/<date>-<name>.json` with machine and versions.

python benchmarks/run.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BENCHMARKS = {
    "import": ("import_log.py", ["--times", "1"], ["--times", "1", "10"]),
    "predict": (
        "predict.py",
        ["--size", "tiny", "--questions", "40", "--texts", "16", "--batch-sizes", "8", "--repeat", "1"],
        ["--questions", "200", "--texts", "64", "--batch-sizes", "8", "16", "--threads", "1"],
    ),
    "mitigate": (
        "mitigate.py",
        [
            *("--size", "tiny", "--vocabulary", "2048", "--peak-vocabulary", "0", "--rows", "16"),
            *("--batch-rows", "4", "--lengths", "20", "60", "--repeat", "1"),
        ],
        ["--repeat", "3"],
    ),
    "report-html": ("report_html.py", ["--flips", "500", "--pairs", "700"], []),
    "compare": ("compare_pairs.py", ["--pairs", "14042"], ["--pairs", "14042", "10000000"]),
}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].partition(":")[2].strip() if lines else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ("muscle-gov", "duckdb", "pyarrow", "pandas", "orjson", "scipy")
    packages += ("torch", "transformers", "peft", "lm-eval", "playwright")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="only the small sizes")
    given = parser.parse_args()
    today = datetime.now(UTC).date().isoformat()
    for name, (script, quick, full) in BENCHMARKS.items():
        print(f"== {name}")
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            arguments = quick if given.quick else full
            command = [sys.executable, str(HERE / script), *arguments, "--json", file.name]
            subprocess.run(command, check=True)
            rows = json.loads(Path(file.name).read_text())
        target = HERE / "results" / f"{today}-{name}.json"
        target.write_text(
            json.dumps({"date": today, "machine": machine(), "results": rows}, indent=2) + "\n"
        )
        print(f"wrote {target}")


if __name__ == "__main__":
    main()
