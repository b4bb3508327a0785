"""Every published pair through the command line, against numbers that another program computed.

The reference numbers were counted with plain Python from the very files, so nothing of this project
stands behind them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_runner import Ran, muscle_gov
from shared_data import shared_folder
from table_mappings import MAPPINGS

N_PAIRS = 19
"""Pairs that the reference has. A file with fewer would silently test less."""
_FILE = shared_folder() / "reference_numbers.json"
PAIRS: dict[str, Any] = (
    {pair["id"]: pair for pair in json.loads(_FILE.read_text())["pairs"]} if _FILE.is_file() else {}
)
needs_reference = pytest.mark.skipif(not PAIRS, reason=f"no reference numbers at {_FILE}")
each_pair = pytest.mark.parametrize("name", list(PAIRS) or ["(none)"])


def words_of(pair: Any, folder: Path) -> list[str]:
    """OLD, NEW and the options with which the command line reads this pair."""
    name, _, what = pair["id"].rpartition(":")
    logs = [str(folder / file) for file in pair["files"]]
    if pair["id"] == "inspect_arc_easy":
        return logs
    if pair["id"].startswith("lm_eval"):
        is_metric = what.startswith("acc")
        choice = what if name else "custom-extract"
        return [*logs, "--metric" if is_metric else "--filter", choice]
    known = (
        m for beginning, m in MAPPINGS.items() if pair["id"].split(":strict")[0].startswith(beginning)
    )
    mapping, words = next(known), ["--reader", "table"]
    for side in ("old", "new"):
        file, options = mapping[side]
        words.append(str(folder / file))
        words += [word for option in options for word in (f"--{side}-option", option)]
    return words


@pytest.fixture(scope="module")
def compared(real_logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`compared(id)`: (what the command said, its JSON), each pair compared once, all in one store."""
    store = tmp_path_factory.mktemp("reference") / "store.duckdb"
    done: dict[str, tuple[Ran, Any]] = {}

    def compare(name: str) -> tuple[Ran, Any]:
        if name not in done:
            words = words_of(PAIRS[name], real_logs)
            ran = muscle_gov("compare", *words, "--json", "-", "--store", store, "-q")
            assert ran.code in (0, 3), ran.err
            done[name] = ran, ran.json
        return done[name]

    return compare


@needs_reference
def test_the_reference_has_all_pairs() -> None:
    assert len(PAIRS) == N_PAIRS


@needs_reference
@each_pair
def test_counts_are_those_of_the_reference(compared: Any, name: str) -> None:
    expected, found = PAIRS[name], compared(name)[1]
    (suite,) = found["comparison"]["suites"]
    measures = {metric: measure["value"] for metric, measure in suite["measures"].items()}
    n = suite["n_pairs"]
    counts = {
        "n_old": suite["n_old"],
        "n_new": suite["n_new"],
        "n_common": n,
        "old_correct": measures["accuracy_old"] * n,
        "new_correct": measures["accuracy_new"] * n,
        "both_correct": (measures["accuracy_old"] - measures["nfr"]) * n,
        "negative_flips": measures["nfr"] * n,
        "positive_flips": measures["pfr"] * n,
        "both_wrong": (1 - measures["accuracy_new"] - measures["nfr"]) * n,
        "both_wrong_different_answer": (measures["nfr_mc"] - measures["nfr"]) * n,
    }
    for count, value in counts.items():
        assert value == pytest.approx(expected[count], abs=1e-9), count


@needs_reference
@each_pair
def test_outcomes_by_pairs_are_those_of_the_reference(compared: Any, name: str) -> None:
    expected, found = PAIRS[name], compared(name)[1]
    outcomes = found["comparison"]["suites"][0]["outcomes"]
    seen = {
        key: outcomes.get(key, 0) for key in ("right>right", "right>wrong", "wrong>right", "wrong>wrong")
    }
    assert list(seen.values()) == [
        expected[key] for key in ("both_correct", "negative_flips", "positive_flips", "both_wrong")
    ]
    counts = found["flip_counts"]
    assert counts.get("negative", 0) == expected["negative_flips"]
    assert counts.get("positive", 0) == expected["positive_flips"]
    assert counts.get("wrong_to_wrong", 0) == expected["both_wrong_different_answer"]


@needs_reference
@each_pair
def test_rates_and_p_value_are_those_of_the_reference(compared: Any, name: str) -> None:
    expected, found = PAIRS[name], compared(name)[1]
    (suite,) = found["comparison"]["suites"]
    measures = {metric: measure["value"] for metric, measure in suite["measures"].items()}
    close: dict[str, Any] = {"rel": 1e-12, "abs": 1e-15}
    assert measures["accuracy_old"] == pytest.approx(
        expected["old_correct"] / expected["n_common"], **close
    )
    assert measures["nfr"] == pytest.approx(expected["nfr"], **close)
    assert measures["pfr"] == pytest.approx(expected["pfr"], **close)
    assert 1 - measures["btc"] == pytest.approx(expected["nfr_over_old_correct"], **close)
    assert suite["p_method"] == "exact McNemar"
    assert suite["p_value"] == pytest.approx(expected["mcnemar_exact_p"], rel=1e-9)


@needs_reference
@each_pair
def test_negative_flips_are_the_instances_of_the_reference(compared: Any, name: str) -> None:
    """In the order of the old log, which is that of the reference."""
    expected, found = PAIRS[name], compared(name)[1]
    keys = [flip["key"] for flip in found["flips"] if flip["kind"] == "negative"]
    assert len(keys) == expected["negative_flips"]
    first = [str(key) for key in expected["first_negative_flip_keys"]]
    assert keys[: len(first)] == first


@needs_reference
@each_pair
def test_every_interval_holds_its_figure(compared: Any, name: str) -> None:
    (suite,) = compared(name)[1]["comparison"]["suites"]
    for metric, measure in suite["measures"].items():
        if measure["low"] is not None:
            assert measure["low"] <= measure["value"] <= measure["high"], metric
