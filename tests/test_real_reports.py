"""Every published pair as a folder that its rows bear out, and as a page that tells its counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_runner import muscle_gov
from html_tree import Node, parse, section
from test_reference_numbers import PAIRS, each_pair, needs_reference, words_of

MOST_BYTES = 3_000_000
VERIFIED = ("inspect_arc_easy", "llmdrift_prime_gpt4", "mmlu_pro_llama2_psychology")
"""Pairs whose folders are verified too: one incomparable, one failed, one open."""


@pytest.fixture(scope="module")
def written(real_logs: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`written(id)`: the folder of a pair, each written once."""
    place = tmp_path_factory.mktemp("real")
    done: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in done:
            folder = place / f"pair-{len(done)}"
            words = [*words_of(PAIRS[name], real_logs), "--max", "nfr=5%", "--folder", folder]
            ran = muscle_gov("compare", *words, "--store", place / "store.duckdb", "-q")
            assert ran.code in (0, 1, 3), ran.err
            done[name] = folder
        return done[name]

    return write


@needs_reference
@each_pair
def test_a_page_tells_the_counts_of_the_reference(written: Any, name: str) -> None:
    content = (written(name) / "report.html").read_bytes()
    assert len(content) < MOST_BYTES
    page = parse(content)
    expected = PAIRS[name]
    broken, mended = expected["negative_flips"], expected["positive_flips"]
    shown = section(page, "verdict").text
    assert f"{broken:,}" in _counts(page, "broke")
    assert f"{mended:,}" in _counts(page, "mended")
    assert shown.split()[1] in ("PASS", "FAIL", "INCONCLUSIVE", "INCOMPARABLE")
    assert section(page, "evidence").all("pre"), "no query leads from a figure to its rows"


def _counts(page: Node, kind: str) -> list[str]:
    (item,) = [node for node in page.all("li", kind) if node.all("b")]
    return [node.text for node in item.all("b")]


@needs_reference
@each_pair
def test_every_form_tells_one_verdict(written: Any, name: str) -> None:
    folder: Path = written(name)
    status = json.loads((folder / "report.json").read_text("utf-8"))["verdict"]["status"]
    assert (folder / "report.md").read_text("utf-8").partition("\n")[0].endswith(status)
    assert json.loads((folder / "manifest.json").read_text("utf-8"))["verdict"]["status"] == status
    sarif = json.loads((folder / "report.sarif").read_text("utf-8"))
    levels = [result["level"] for result in sarif["runs"][0]["results"]]
    assert ("error" in levels) == (status in ("FAIL", "INCOMPARABLE")), levels


@needs_reference
@pytest.mark.parametrize("name", VERIFIED if PAIRS else ["(none)"])
def test_a_folder_is_borne_out_by_its_rows(written: Any, name: str) -> None:
    ran = muscle_gov("verify", written(name))
    assert ran.code == 0, ran.out + ran.err
