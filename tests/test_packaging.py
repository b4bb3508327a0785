"""Wheel, sdist and checkout all carry the plugins, the templates and the migrations."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from shared_data import CHECKOUT

NEEDED = (
    "muscle_gov/cli/compare.py",
    "muscle_gov/store/migrations/0001_initial.sql",
    "muscle_gov/templates/report.html",
    "muscle_gov/templates/style.css",
    "muscle_gov/example_update.toml",
    "muscle_gov/example_run.toml",
    "muscle_gov/store/migrations/0002_answers.sql",
    "muscle_gov/py.typed",
    "muscle_gov_plugins/reader_lm_eval.py",
    "muscle_gov_plugins/report_html.py",
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_wheel_holds_everything_and_nothing_else_at_the_top(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        entry_points = wheel.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert [name for name in NEEDED if name not in names] == []
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "muscle_gov",
        "muscle_gov_plugins",
    }
    assert "[muscle_gov]" in entry_points
    assert "muscle-gov = muscle_gov.cli:main" in entry_points


def test_every_plugin_module_is_an_entry_point(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        entry_points = wheel.read(
            next(n for n in wheel.namelist() if n.endswith("entry_points.txt"))
        ).decode()
    modules = [p.stem for p in (CHECKOUT / "plugins/muscle_gov_plugins").glob("[!_]*.py")]
    assert [m for m in modules if f"muscle_gov_plugins.{m}" not in entry_points] == []


def test_the_sdist_holds_what_building_and_testing_need(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    for name in ("pyproject.toml", "README.md", "LICENSE", "Makefile", "constraints.txt"):
        assert name in names
    for name in ("reports/templates/report.html", "plugins/muscle_gov_plugins/metric_flips.py"):
        assert name in names
    assert not [name for name in names if name.startswith((".venv", "demo/", "dist/", "build/"))]
