"""The flips as CSV and parquet: nothing lost, nothing run by a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from muscle_gov_plugins import report_table
from muscle_gov_plugins.report_table import COLUMNS, CsvReport, ParquetReport, defuse, undefuse
from report_samples import HOSTILE, flip, hostile_report, report

from muscle_gov.data import Flip, Report

TEXTS = st.text(alphabet=st.characters())
STARTS = st.text(alphabet="'=+-@\t\r\n＝＋－＠ 15.e;,\"", max_size=6)


def rows_of(given_: Report) -> list[dict[str, str]]:
    written = CsvReport().render(given_).decode("utf-8", "strict")
    return list(csv.DictReader(io.StringIO(written, newline=""), strict=True))


def table_of(given_: Report) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(ParquetReport().render(given_)))


# ----------------------------------------------------------------------------------------------- CSV


def test_a_row_a_flip_with_all_its_columns() -> None:
    made = flip(new_prompt="Two and two?", waived="known", old_score=0.5, tags={"b": "2", "a": "1"})
    (row,) = rows_of(report(flips=(made,)))
    assert row == {
        "suite": "maths",
        "key": "1",
        "kind": "negative",
        "old_answer": "4",
        "new_answer": "5",
        "target": "4",
        "old_score": "0.5",
        "new_score": "0.0",
        "tags": '{"a": "1", "b": "2"}',
        "prompt": "What is two and two?",
        "new_prompt": "Two and two?",
        "old_output": "It is 4.",
        "new_output": "It is 5.",
        "waived": "known",
        "size": "",
        "old_margin": "",
        "new_margin": "",
    }


def test_sizes_and_margins_are_numbers_in_both_tables() -> None:
    flips = (flip(1, size=0.5, old_margin=2.25, new_margin=-1e-7), flip(2, new_margin=-math.inf))
    names = ("size", "old_margin", "new_margin")
    cells = [[row[name] for name in names] for row in rows_of(report(flips=flips))]
    assert cells == [["0.5", "2.25", "-1e-07"], ["", "", ""]]
    table = table_of(report(flips=flips))
    assert [table.column(name).to_pylist() for name in names] == [
        [0.5, None],
        [2.25, None],
        [-1e-7, None],
    ]


def test_the_file_is_rfc_4180() -> None:
    written = CsvReport().render(report(flips=(flip(prompt='say "hi",\nthen ; go'),)))
    assert written.count(b"\r\n") == 2
    assert b',"say ""hi"",\nthen ; go",' in written
    assert not written.startswith(b"\xef\xbb\xbf")


def test_what_is_not_known_is_an_empty_cell() -> None:
    (row,) = rows_of(report(flips=(flip(old_answer=None, old_score=None, new_score=math.nan, tags={}),)))
    assert (row["old_answer"], row["old_score"], row["new_score"], row["tags"]) == ("", "", "", "{}")


def test_no_flips_make_a_table_without_rows() -> None:
    assert rows_of(report(flips=())) == []
    assert CsvReport().render(report(flips=())).endswith(b'"new_margin"\r\n')


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("https://evil.example","x")',
        "+1+cmd|' /C calc'!A0",
        "-2+3",
        "-",
        "- a list",
        "@SUM(1+1)",
        "\t=1+1",
        "\r=1+1",
        "\n=1+1",
        "＝1+1",
        "'=1+1",
        "''=1+1",
        "-1.2.3",
        "-٣",
        "-5 ",
    ],
)
def test_what_a_spreadsheet_could_run_gets_an_apostrophe(text: str) -> None:
    (row,) = rows_of(report(flips=(flip(key=text, tags={"t": text}),)))
    assert row["key"][:2] == "'" + text[0]
    assert undefuse(row["key"]) == text
    assert json.loads(undefuse(row["tags"])) == {"t": text}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("answer;=1+1", "answer;'=1+1"),
        ("answer\n=1+1\n- item", "answer\n'=1+1\n'- item"),
        ("a\r\n@x;'+1", "a\r\n'@x;''+1"),
        ("a\t=1", "a\t'=1"),
        ("\t=1", "'\t'=1"),
        ("5;-5", "5;'-5"),
        ('a;"=1', "a;'\"=1"),
        ("a, =1; b = 2\nc", "a, =1; b = 2\nc"),
    ],
)
def test_a_formula_that_another_separator_would_lay_bare_is_defused_too(text: str, shown: str) -> None:
    (row,) = rows_of(report(flips=(flip(old_output=text),)))
    assert row["old_output"] == shown
    assert undefuse(shown) == text


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@given(text=TEXTS | STARTS)
def test_no_cell_is_a_formula_whatever_separator_a_spreadsheet_takes(separator: str, text: str) -> None:
    made = flip(key=text, old_answer=text, old_output=text, new_output=text, tags={text: text})
    written = CsvReport().render(report(flips=(made,))).decode()
    # a spreadsheet starts rows at line ends even where its quotes no longer match
    lines = [written] if separator == "," else re.split(r"(?<=[\r\n])", written)
    for line in lines:
        for row in csv.reader(io.StringIO(line, newline=""), delimiter=separator):
            assert [cell for cell in row if is_formula(cell.lstrip("\t\r\n"))] == []


def is_formula(cell: str) -> bool:
    number = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", cell)
    return number is None and cell.startswith(tuple("=+-@＝＋－＠"))


def test_a_nul_before_a_formula_does_not_hide_it() -> None:
    (row,) = rows_of(report(flips=(flip(key="\0=1+1"),)))
    assert row["key"] == "'=1+1"


@pytest.mark.parametrize(
    "text", ["-5", "+5", "-0.5", "-.5", "-5.", "+1e9", "-1.5E-3", "5", "a=b", "'quoted'"]
)
def test_numbers_and_harmless_texts_stay_as_they_are(text: str) -> None:
    (row,) = rows_of(report(flips=(flip(new_answer=text),)))
    assert row["new_answer"] == text
    assert undefuse(text) == text


@given(TEXTS | STARTS)
def test_defusing_can_be_undone_exactly(text: str) -> None:
    assert undefuse(defuse(text)) == text


@given(TEXTS | STARTS)
def test_no_defused_text_starts_a_formula(text: str) -> None:
    assert not is_formula(defuse(text).lstrip("\t\r\n"))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_comes_back_from_csv(text: str) -> None:
    expected = re.sub("[\ud800-\udfff]", "\ufffd", text.replace("\0", ""))
    first, second = rows_of(hostile_report(text))
    for column in ("suite", "key", "old_answer", "target", "prompt", "new_prompt"):
        assert undefuse(first[column]) == expected
    assert json.loads(undefuse(first["tags"])) == {expected: expected}
    assert undefuse(second["waived"]) == expected


@given(TEXTS)
def test_any_text_comes_back_from_csv(text: str) -> None:
    expected = re.sub("[\ud800-\udfff]", "\ufffd", text.replace("\0", ""))
    (row,) = rows_of(report(flips=(flip(old_output=text),)))
    assert undefuse(row["old_output"]) == expected


# ------------------------------------------------------------------------------------------- parquet


def test_columns_are_typed_and_null_is_not_empty() -> None:
    made = (flip(1, old_answer=None, old_score=None), flip(2, old_answer="", old_score=math.nan))
    table = table_of(report(flips=made))
    types = {field.name: str(field.type) for field in table.schema}
    assert types["tags"].startswith("map<string, string")
    texts = dict.fromkeys(COLUMNS, "string")
    numbers = ("old_score", "new_score", "size", "old_margin", "new_margin")
    scores = {**dict.fromkeys(numbers, "double"), "tags": types["tags"]}
    assert types == {**texts, **scores, "instance_id": "int64"}
    assert table.column("old_answer").to_pylist() == [None, ""]
    assert table.column("old_score").to_pylist() == [None, None]
    assert table.column("new_score").to_pylist() == [0.0, 0.0]
    assert table.column("tags").to_pylist() == [[("subject", "sums")]] * 2
    assert table.column("instance_id").to_pylist() == [1, 2]


def test_the_file_says_what_it_is_of_and_is_packed_by_zstd() -> None:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(ParquetReport().render(report())))
    about = file.schema_arrow.metadata
    assert about[b"muscle_gov.comparison"] == b"20260101-abc123"
    assert about[b"muscle_gov.verdict"] == b"FAIL"
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("limit", ["_ROWS_AT_ONCE", "_CHARACTERS_AT_ONCE"])
def test_flips_go_out_in_batches(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    size = {"_ROWS_AT_ONCE": 2, "_CHARACTERS_AT_ONCE": 100}[limit]
    monkeypatch.setattr(report_table, limit, size)
    written = ParquetReport().render(report(flips=tuple(flip(n) for n in range(5))))
    file = pq.ParquetFile(io.BytesIO(written))
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2, 2, 1]
    assert file.read().column("key").to_pylist() == ["0", "1", "2", "3", "4"]


def test_no_flips_make_an_empty_table_with_its_columns() -> None:
    table = table_of(report(flips=()))
    assert table.num_rows == 0
    assert set(COLUMNS) < set(table.column_names)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_kept_as_it_is_in_parquet(text: str) -> None:
    expected = re.sub("[\ud800-\udfff]", "\ufffd", text)
    first = table_of(hostile_report(text)).to_pylist()[0]
    assert first["prompt"] == expected
    assert first["key"] == expected
    assert first["tags"] == [(expected, expected)]


# ------------------------------------------------------------------------------------------ sameness


@pytest.mark.parametrize("kind", [CsvReport, ParquetReport])
def test_equal_reports_give_equal_bytes(kind: Any) -> None:
    def made(tags: dict[str, str]) -> tuple[Flip, ...]:
        return tuple(flip(n, tags=tags, old_output="x" * n) for n in range(300))

    one = report(flips=made({"a": "1", "b": "2"}))
    other = report(flips=made({"b": "2", "a": "1"}))
    assert one == other
    assert kind().render(one) == kind().render(other)


def test_real_flips_come_back_from_both_tables(real_logs: Path) -> None:
    from muscle_gov import pipeline, plugins
    from muscle_gov.settings import CompareSettings, ImportSettings, Policy, Source
    from muscle_gov.store import open_store

    base = real_logs / "lm_eval_toy_dev"
    old, new = (Source(p, ImportSettings()) for p in sorted(p for p in base.iterdir() if p.is_dir()))
    with open_store(":memory:") as store:
        judged = pipeline.compare_logs(store, plugins.load(), old, new, CompareSettings(), Policy())
        flips = list(judged.report.flips)
        rows = rows_of(judged.report)
        table = table_of(judged.report).to_pylist()
    assert len(flips) == sum(judged.report.flip_counts.values()) == 121
    outputs = [one.old_output for one in flips]
    assert [undefuse(row["old_output"]) for row in rows] == outputs
    assert [row["old_output"] for row in table] == outputs
    assert [row["instance_id"] for row in table] == [one.instance_id for one in flips]
