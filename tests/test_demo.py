"""`muscle-gov demo`, whole and for real, on fewer questions; and the words it tells the result in."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cli_runner import muscle_gov, muscle_gov_apart
from report_samples import mended_report

from muscle_gov.cli import _story

pytest.importorskip("torch")
QUESTIONS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo that came to its end."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    ran = muscle_gov_apart("demo", folder, "--questions", QUESTIONS, "--seed", 3, timeout=900)
    assert ran.code == 0, ran.err
    (folder / "told.txt").write_text(ran.out)
    (folder / "talk.txt").write_text(ran.err)
    return folder


def test_it_says_what_it_does_and_what_came_of_it(folder: Path) -> None:
    talk, told = (folder / "talk.txt").read_text(), (folder / "told.txt").read_text()
    stages = re.findall(r"^\[ *\d+ s\] (\d)\. (.+)", talk, re.MULTILINE)
    assert [number for number, _ in stages] == ["1", "2", "3", "4"]
    assert "What the update does" in told
    assert "What mending does to routing" in told
    assert "What may ship" in told
    assert re.search(r"routing: on average the update is .+ \(.+ of the answers were right", told)
    assert re.search(r"But of all 200 answers \d+ that were\s+right are wrong now", told)
    for name in ("muscle", "ensemble-distil", "cross-entropy", "refit", "ensemble"):
        assert re.search(rf"• {name}( \([^)]+\))?:\s+\d+ of 200", told), name
    assert re.search(r"that\s+much\s+is\s+noise", told)
    assert str(folder / "report.html") in told
    assert "Traceback" not in talk


def test_what_it_leaves_is_real_and_can_be_run_again(folder: Path) -> None:
    assert (folder / "report.html").stat().st_size > 50_000
    for name in ("assistant-1.0", "assistant-1.1"):
        assert (folder / "bases" / name / "model.safetensors").is_file()
        assert (folder / "adapters" / name / "adapter_model.safetensors").is_file()
    adapters = sorted(path.parent.name.rpartition("-")[0] for path in folder.glob("mended/*/adapter"))
    # two task adapters, what mends, and the controls of each
    assert {"muscle", "ensemble-distil", "cross-entropy", "refit"} <= set(adapters)
    before = {path: path.stat().st_mtime_ns for path in folder.glob("mended/*/adapter/*.safetensors")}
    ran = muscle_gov("run", "--mend", folder / "update.toml", "--json", "-", "--quiet")
    assert ran.code in (0, 1, 3)
    found = ran.json["candidates"]
    assert [one["role"] for one in found][:3] == ["update", "mitigation", "mitigation"]
    assert {one["role"] for one in found[3:]} == {"control"}
    assert [one["name"] for one in found if one["noise"]] == ["refit"]
    assert before == {path: path.stat().st_mtime_ns for path in before}, "nothing is trained twice"
    card = next(folder.glob("mended/muscle-*/adapter/README.md")).read_text()
    assert "Measured effect" in card
    assert "ensemble-distil" in card


def test_the_mended_model_is_better_than_no_model(folder: Path) -> None:
    """Nothing is rigged, so little can be promised; but both models have learnt the task."""
    report = json.loads(muscle_gov("run", folder / "update.toml", "--json", "-", "--quiet").out)
    routing = next(one for one in report["comparison"]["suites"] if one["suite"] == "routing")
    assert routing["measures"]["accuracy_old"]["value"] > 0.6
    assert routing["measures"]["accuracy_new"]["value"] > 0.6


def test_another_seed_in_the_same_folder_is_one_sentence(folder: Path) -> None:
    ran = muscle_gov("demo", folder, "--questions", QUESTIONS, "--seed", 4)
    assert ran.code == 2
    assert "seed" in ran.err


def test_the_story_is_written_from_the_figures() -> None:
    found = mended_report().candidates
    suite = found[0].comparison.suites[0].suite
    told = " ".join(
        [*_story.of_update(found[0]), *_story.of_mending(found, suite), *_story.of_verdicts(found)]
    )
    for one in found[1:]:
        assert one.name in told
    assert "None" not in told
    assert "nan" not in told
    assert list(_story.of_mending(found[:1], suite)) == []
