"""Every output of one fixed comparison, byte for byte, as kept in `tests/gold/`.

A change of any byte that a user would get is seen here first. After one that is meant:

    python tests/test_gold.py        writes the gold files anew, to be looked at and committed

Time is passed in (SOURCE_DATE_EPOCH). Versions of Python and DuckDB are part of the evidence and differ
from machine to machine; they alone are replaced before bytes are compared. Parquet's own bytes depend on
the version of Arrow, so its rows are compared.
"""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import gold_world
import pytest

GOLD = Path(__file__).parent / "gold"
COLUMNS = {
    "suite_column": "task",
    "key": "id",
    "score": "score",
    "target": "gold",
    "answer": "answer",
    "output": "output",
    "prompt": "prompt",
    "repeat": "repeat",
}
OTHER_MACHINE = {
    "TZ": "Pacific/Kiritimati",
    "LC_ALL": "C",
    "LANG": "C",
    "PYTHONHASHSEED": "7",
    "COLUMNS": "60",
    "OMP_NUM_THREADS": "2",
    "HOME": "/nonexistent",
    "NO_COLOR": "1",
}
"""A clock, a language, an order of sets, a terminal and a home as another machine has them."""
TEXTS = {"parquet": "parquet.jsonl"}


def formats() -> list[str]:
    from muscle_gov.plugins import load

    return sorted(load().offers["reports"])


def gold_name(name: str) -> str:
    from muscle_gov.plugins import load

    return TEXTS.get(name) or f"{name}{load().get('reports', name).suffix}"


def make(folder: Path, environment: dict[str, str]) -> dict[str, bytes]:
    """What the command line writes in this folder: format → bytes, `terminal` for what it prints."""
    gold_world.write(folder)
    words = [f"{model}.jsonl" for model, _ in gold_world.MODELS]
    words += ["--reader", "table", "--policy", "policy.toml", "--waivers", "waivers.toml"]
    words += ["--quarantine", "quarantine.toml", "--store", "store.duckdb"]
    words += [word for name, column in COLUMNS.items() for word in ("-o", f"{name}={column}")]
    words += ["-o", "tags=language", "-o", "tags=kind"]
    words += [word for name in formats() for word in ("--report", f"{name}=out.{name}")]
    words += ["--report-option", "eval-results.benchmarks=sums=example/sums:main"]
    known = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    known |= {"SOURCE_DATE_EPOCH": gold_world.EPOCH, "PYTHONUTF8": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "muscle_gov", "compare", *words],
        cwd=folder,
        env=known,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 1, ran.stderr.decode()
    made = {name: (folder / f"out.{name}").read_bytes() for name in formats()}
    return {name: comparable(name, content) for name, content in made.items()}


def comparable(name: str, content: bytes) -> bytes:
    """Free of the versions of this machine; a parquet file as its rows."""
    import duckdb

    if name == "parquet":
        import pyarrow.parquet as pq

        rows = pq.read_table(io.BytesIO(content)).to_pylist()
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    for version, mark in ((platform.python_version(), "PYTHON"), (duckdb.__version__, "DUCKDB")):
        content = content.replace(version.encode(), mark.encode())
    return content


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return make(tmp_path_factory.mktemp("gold"), {})


@pytest.mark.parametrize("name", formats())
def test_the_bytes_are_those_of_the_gold_file(made: dict[str, bytes], name: str) -> None:
    gold = (GOLD / gold_name(name)).read_bytes()
    if made[name] != gold:
        now, before = made[name].splitlines(), gold.splitlines()
        differ = [(b, a) for b, a in zip(before, now, strict=False) if a != b]
        first = differ[0] if differ else (len(before), len(now))
        pytest.fail(
            f"{name} differs from {gold_name(name)}, first: {first}; if that is meant, write the gold "
            "files anew: python tests/test_gold.py"
        )


def test_no_gold_file_is_left_over() -> None:
    assert {path.name for path in GOLD.iterdir()} == {gold_name(name) for name in formats()}


def test_another_machine_makes_the_same_bytes(made: dict[str, bytes], tmp_path: Path) -> None:
    elsewhere = tmp_path / "another place with a longer name"
    elsewhere.mkdir()
    again = make(elsewhere, OTHER_MACHINE)
    assert [name for name in made if made[name] != again[name]] == []


if __name__ == "__main__":
    import tempfile

    GOLD.mkdir(exist_ok=True)
    for stale in GOLD.iterdir():
        stale.unlink()
    with tempfile.TemporaryDirectory() as place:
        for which, written in make(Path(place), {}).items():
            (GOLD / gold_name(which)).write_bytes(written)
            print(f"wrote {gold_name(which)}, {len(written):,} bytes")
