"""The benchmarks of mending: figures that are right, no mitigation left out, and nothing done twice."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from muscle_gov import plugins
from muscle_gov.store import open_store

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT / "benchmarks"))

import _mitigate_made as made  # noqa: E402
import _mitigate_runs as runs  # noqa: E402
import _muscle_seed as seeds  # noqa: E402
import _muscle_tables as tables  # noqa: E402
import muscle  # noqa: E402
from _muscle_variants import CONTROL, UPDATE, Settings, variants  # noqa: E402

SMALL = Settings(
    routing=60,
    topic=40,
    summary=30,
    train=60,
    train_topic=40,
    train_summary=30,
    traffic=40,
    finetune_steps=12,
    steps=2,
    distil_steps=2,
    documents=0.01,
)


# ------------------------------------------------------------------------------------- what is tried


def test_every_mitigation_that_is_offered_is_tried_with_options_that_it_has():
    offers = plugins.load()
    every = variants(Settings())
    assert {one.kind for one in every if one.kind} == set(offers.names("mitigations"))
    for one in every:
        if one.kind and one.end is None:
            offers.make("mitigations", one.kind, {**Settings().recipe(), **one.options})


def test_names_are_unique_and_what_a_variant_is_made_of_stands_before_it():
    names = [one.name for one in variants(Settings())]
    assert len(set(names)) == len(names)
    assert names[0] == UPDATE
    for place, one in enumerate(variants(Settings())):
        assert one.end is None or one.end in names[:place]


@pytest.mark.parametrize(
    ("text", "found"), [("3", [3]), ("0-3", [0, 1, 2, 3]), ("0-1,7,9-10", [0, 1, 7, 9, 10])]
)
def test_seeds_are_numbers_and_ranges(text: str, found: list[int]):
    assert muscle.seeds_of(text) == found


@pytest.mark.parametrize("text", ["", "a", "1-", "-", "1,,2"])
def test_what_is_no_seed_is_refused(text: str):
    with pytest.raises(argparse.ArgumentTypeError, match="no seeds"):
        muscle.seeds_of(text)


def test_a_variant_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["muscle.py", "--only", "muscel"])
    with pytest.raises(SystemExit):
        muscle.main()
    assert "there is no variant 'muscel'" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- figures


def test_the_interval_is_that_of_a_t_test():
    values = [0.051, 0.062, 0.058, 0.049, 0.066]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    found = tables.interval(values)
    assert found["mean"] - found["half"] == pytest.approx(low)
    assert found["mean"] + found["half"] == pytest.approx(high)
    assert found["seeds"] == 5


def test_one_seed_has_no_interval_and_none_has_no_mean():
    assert tables.interval([0.3]) == {"mean": 0.3, "half": None, "seeds": 1}
    assert tables.interval([]) == {"mean": None, "half": None, "seeds": 0}


def line(name: str, accuracy: float, nfr: float, recovered: int = 0, p: float = 1.0) -> dict[str, Any]:
    figures = {"accuracy_new": accuracy, "nfr": nfr, "pfr": 0.08, "nfr_mc": nfr, "nfi": 0.2}
    test = {"recovered": recovered, "broken": 1, "alike": 90, "p": p}
    return {
        "variant": name,
        "suites": {"routing": {**figures, "n": 100, "relative_nfr": 0.3}},
        "against": {} if name == UPDATE else {"routing": test},
        "noise": None,
        "chosen": None,
        "cpu_seconds": {"training as a whole": 3.0, "asking it": 1.0},
    }


def three_seeds() -> list[dict[str, Any]]:
    updates, controls, mended = (0.05, 0.06, 0.07), (0.05, 0.05, 0.06), (0.04, 0.05, 0.08)
    return [
        {
            UPDATE: line(UPDATE, 0.70, u),
            CONTROL: line(CONTROL, 0.71, c),
            "muscle": line("muscle", 0.72, m, recovered=4, p=0.01 if m < u else 0.5),
        }
        for u, c, m in zip(updates, controls, mended, strict=True)
    ]


def test_changes_are_paired_by_seed():
    by_name = {row["variant"]: row for row in tables.table(three_seeds(), Settings())}
    assert list(by_name) == [UPDATE, CONTROL, "muscle"]
    change = by_name["muscle"]["change"]["routing"]["nfr"]
    paired = stats.ttest_rel([0.04, 0.05, 0.08], [0.05, 0.06, 0.07])
    low, high = paired.confidence_interval(0.95)
    points = change["points"]
    assert points["mean"] - points["half"] == pytest.approx(low)
    assert points["mean"] + points["half"] == pytest.approx(high)
    shares = [0.04 / 0.05 - 1, 0.05 / 0.06 - 1, 0.08 / 0.07 - 1]
    assert change["relative"]["mean"] == pytest.approx(np.mean(shares))
    assert change["seeds_down"] == 2
    from_control = by_name["muscle"]["change_from_control"]["routing"]["nfr"]
    assert from_control["points"]["mean"] == pytest.approx((-0.01 + 0 + 0.02) / 3)
    assert by_name[UPDATE]["change"]["routing"] == {}
    assert by_name["muscle"]["against_update"]["routing"] == {
        "recovered": 12,
        "broken": 3,
        "seeds_below": 2,
        "seeds": 3,
    }


def test_a_seed_that_lacks_a_variant_is_left_out_of_its_row_alone():
    some = three_seeds()
    del some[1]["muscle"]
    by_name = {row["variant"]: row for row in tables.table(some, Settings())}
    assert (by_name["muscle"]["seeds"], by_name[UPDATE]["seeds"]) == (2, 3)
    mean = by_name["muscle"]["change"]["routing"]["nfr"]["points"]["mean"]
    assert mean == pytest.approx((-0.01 + 0.01) / 2)


# ------------------------------------------------------------------------------------------ a real seed


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seed in which little was read and learnt: the update, three controls and two mitigations."""
    folder = tmp_path_factory.mktemp("muscle")
    # the update, and muscle at the end of interpolate's line, come by themselves
    only = [name for name in NAMES if name not in (UPDATE, "muscle")]
    seeds.run_seed(5, SMALL, folder, only, lambda _: None)
    return folder


NAMES = [UPDATE, CONTROL, "muscle", "interpolate", "refit of the old model", "ensemble, w = 0.5"]


def test_each_variant_has_a_line_with_figures_of_every_suite(work: Path):
    lines = seeds.read_lines(work / "seed-5")
    assert [*lines] == [seeds.FINETUNING, *NAMES]
    for name in NAMES:
        assert {suite: told["n"] for suite, told in lines[name]["suites"].items()} == {
            "routing": 60,
            "topic": 40,
            "summary": 30,
        }
        assert lines[name]["suites"]["topic"].keys() >= {*tables.BINARY} - {"nfi", "relative_nfr"}
        assert lines[name]["suites"]["summary"].keys() >= {*tables.GRADED}
    assert {"routing", "topic"} == lines["refit of the old model"]["noise"].keys()
    assert lines[CONTROL]["cpu_seconds"]["training"] > 0
    assert lines["interpolate"]["chosen"] is not None


def test_recovered_and_broken_answers_are_the_change_in_negative_flips(work: Path):
    lines = seeds.read_lines(work / "seed-5")
    for name in NAMES[1:]:
        for suite in ("routing", "topic"):
            first, own = (lines[one]["suites"][suite] for one in (UPDATE, name))
            test = lines[name]["against"][suite]
            fewer = (first["nfr"] - own["nfr"]) * own["n"]
            assert test["recovered"] - test["broken"] == pytest.approx(fewer, abs=1e-6)
            old_right = own["accuracy_old"] * own["n"]
            assert test["recovered"] + test["broken"] + test["alike"] == pytest.approx(old_right)
            if test["recovered"] + test["broken"]:
                p = stats.binomtest(test["broken"], test["recovered"] + test["broken"]).pvalue
                assert test["p"] == pytest.approx(p)


def test_what_is_done_is_not_done_again(work: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    again = tmp_path / "again"
    shutil.copytree(work, again)
    before = (again / "seed-5" / seeds.RESULTS).read_text()
    monkeypatch.setattr(seeds.Seed, "try_", None)
    seeds.run_seed(5, SMALL, again, NAMES[1:], lambda _: None)
    assert (again / "seed-5" / seeds.RESULTS).read_text() == before


def test_a_torn_line_is_done_again(work: Path, tmp_path: Path):
    again = tmp_path / "again"
    shutil.copytree(work, again)
    path = again / "seed-5" / seeds.RESULTS
    whole = path.read_text()
    path.write_text(whole[:-40])
    seeds.run_seed(5, SMALL, again, NAMES[1:], lambda _: None)
    lines = seeds.read_lines(again / "seed-5")
    first = seeds.read_lines(work / "seed-5")[NAMES[-1]]
    assert lines[NAMES[-1]]["suites"] == first["suites"]
    with open_store(again / "seed-5" / "store.duckdb", read_only=True) as store:
        asked = store.rows("SELECT count(*) FROM answering_models")
    assert asked == [(len(NAMES) + 1,)]


def test_results_of_other_settings_are_refused(work: Path):
    other = dataclasses.replace(SMALL, steps=3)
    with pytest.raises(SystemExit, match="other settings"):
        seeds.run_seed(5, other, work, [], lambda _: None)


def test_the_tables_show_what_the_lines_say(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    muscle.merge([5], SMALL, work, tmp_path / "found")
    page, found = (tmp_path / "found.md").read_text(), json.loads((tmp_path / "found.json").read_text())
    assert capsys.readouterr().out == page + "\n"
    own = seeds.read_lines(work / "seed-5")["muscle"]["suites"]["routing"]
    (row,) = [one for one in found["results"] if one["variant"] == "muscle"]
    assert row["suites"]["routing"]["nfr"]["mean"] == own["nfr"]
    (shown,) = [one for one in page.splitlines() if one.startswith("| **muscle** ")][:1]
    assert f"| {100 * own['accuracy_new']:.1f} % |" in shown
    assert f"| {100 * own['nfr']:.2f} % |" in shown
    for heading in ("## routing", "## topic", "## summary", "## Noise"):
        assert heading in page
    assert found["settings"]["seeds"] == [5]


def test_merging_names_the_seed_that_is_not_there(work: Path, tmp_path: Path):
    with pytest.raises(SystemExit, match="seed-6: is not there"):
        muscle.merge([5, 6], SMALL, work, tmp_path / "found")


# -------------------------------------------------------------------------------------- time and memory


def test_words_are_all_different():
    assert len({made.word(number) for number in range(131072)}) == 131072


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> made.Bench:
    bench = made.Bench(
        folder=tmp_path_factory.mktemp("mitigate"),
        size="tiny",
        vocabulary=256,
        device="cpu",
        dtype="float32",
        rows=16,
        batch_rows=4,
        lengths=(10, 20),
        rank=4,
        threads=1,
        chunk=64,
    )
    made.make_models(bench)
    made.write_rows(bench)
    return bench


def test_plain_training_and_mending_train_on_the_same_batches(
    bench: made.Bench, monkeypatch: pytest.MonkeyPatch
):
    import transformers

    seen: list[list[list[int]]] = []
    batches = transformers.Trainer.training_step

    def watched(self: Any, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        seen[-1].append(inputs["input_ids"].tolist())
        return batches(self, model, inputs, *rest, **named)

    monkeypatch.setattr(transformers.Trainer, "training_step", watched)
    seen.append([])
    plain = runs.run_plain(bench)
    seen.append([])
    mended = runs.run_mitigation(bench, "muscle-top", 0, None)
    assert len(seen[0]) >= 3
    assert seen[0] == seen[1]
    assert plain["steps"] == mended["steps"] == len(seen[0])
    for found in (plain, mended):
        assert found["cpu_seconds"] > 0
        assert found["peak_bytes"] >= found["bytes_before"] > 0
    assert mended["phases"].keys() >= {"asking the old model", "asking the new model", "training"}


def test_both_of_muscles_cases_occur(bench: made.Bench):
    found = runs.run_mitigation(bench, "muscle-top", 1, None)
    assert 0.1 < found["figures"]["aligned to old"] < 0.9
