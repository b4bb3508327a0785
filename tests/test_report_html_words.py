"""Numbers, cuts and diffs of the HTML report: nothing is rounded into a claim, nothing gets lost."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from muscle_gov.data import Measure
from muscle_gov.diff import word_diff
from muscle_gov.report import flip_texts, words
from muscle_gov.report.bars import scale_of

SHARES = st.floats(min_value=0, max_value=1)
TEXTS = st.text(alphabet="ab .,\n12", max_size=60) | st.text(max_size=40)


def plain(text: str) -> str:
    return text.replace("\u202f", " ").replace("\u2212", "-")


# ------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.0667, "6.7 %"),
        (0.0004, "0.04 %"),
        (0.9996, "99.96 %"),
        (0.99999, "99.999 %"),
        (1e-7, "0.00001 %"),
    ],
)
def test_a_share_is_never_rounded_to_none_or_all(share: float, text: str) -> None:
    assert plain(words.percent(share)) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.018, "+1.8 pp"), (-0.104, "-10.4 pp"), (0.0, "0 pp"), (-0.00004, "-0.004 pp")]
)
def test_differences_of_shares_are_points_with_a_sign(value: float, text: str) -> None:
    assert plain(words.points(value)) == text


@given(SHARES, SHARES)
@example(0.0500001, 0.05)
@example(0.04999, 0.05)
def test_a_bound_never_looks_equal_to_a_limit_that_it_misses(value: float, limit: float) -> None:
    if abs(value - limit) > 1e-9:
        assert float(plain(words.apart(value, limit, "share")).split()[0]) != float(
            f"{limit * 100:.10g}"
        )
    assert words.apart(limit, limit, "share") == words.percent(limit)


@pytest.mark.parametrize(
    ("p", "text"),
    [
        *((None, "–"), (0.0, "< 0.0001"), (0.00042, "0.0004"), (0.0123, "0.012"), (0.47, "0.47")),
        *((0.997, "> 0.99"), (1.0, "1")),
    ],
)
def test_p_keeps_the_digits_that_matter(p: float | None, text: str) -> None:
    assert words.p_text(p) == text


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [(0.412, 0.39, 0.43, "0.412"), (41.2, 31.2, 51.3, "41"), (0.4122, 0.41200, 0.41246, "0.41220")],
)
def test_a_score_has_the_digits_that_its_interval_carries(
    value: float, low: float, high: float, text: str
) -> None:
    decimals = words.decimals_of(Measure(value, low, high, 10, "t"))
    assert words.number(value, "score", decimals) == text


def test_a_limit_is_written_as_its_author_wrote_it() -> None:
    assert plain(words.limit_text(0.07, "share")) == "7 %"
    assert plain(words.limit_text(0.0125, "share")) == "1.25 %"
    assert plain(words.limit_text(-0.01, "points")) == "-1 pp"
    assert words.limit_text(1.5, "ratio") == "1.5"


@given(st.lists(SHARES, min_size=1, max_size=6), st.lists(SHARES, max_size=3))
def test_the_scale_of_bars_holds_every_end_and_zero(values: list[float], limits: list[float]) -> None:
    measures = [Measure(v, max(0.0, v - 0.1), min(1.0, v + 0.1), 9, "") for v in values]
    scale = scale_of("nfr", measures, limits)
    assert scale is not None
    assert scale.low == 0.0
    for measure in measures:
        assert measure.high is not None
        assert scale.low <= measure.high <= scale.high * (1 + 1e-9)
    assert scale.high <= 2 * max([m.high or 0.0 for m in measures] + [x for x in limits if x])


# ------------------------------------------------------------------------------------------- the diff


@given(TEXTS, TEXTS)
@example("", "")
@example("a ", "a  ")
@example("one two three", "four five six")
def test_the_parts_of_a_diff_join_to_both_texts(old: str, new: str) -> None:
    parts = word_diff(old, new)
    assert "".join(text for mark, text in parts if mark != "+") == old
    assert "".join(text for mark, text in parts if mark != "-") == new
    assert all(text for _, text in parts)


def test_numbers_and_east_asian_characters_are_words_of_their_own() -> None:
    assert word_diff("it is 12.5 m", "it is 12.7 m") == (
        *(("=", "it is "), ("-", "12.5"), ("+", "12.7"), ("=", " m")),
    )
    assert word_diff("答えは五です", "答えは六です") == (
        *(("=", "答えは"), ("-", "五"), ("+", "六"), ("=", "です")),
    )


def test_texts_with_little_in_common_are_shown_as_replaced() -> None:
    old = "A cat, a dog, a bird and a fish went out."
    new = "Every number here, by contrast, is quite even and a surprise!"
    assert [mark for mark, _ in word_diff(old, new)] == ["-", "+"]


def test_a_diff_of_hostile_repetition_ends_soon() -> None:
    started = time.perf_counter()
    parts = word_diff("a b " * 5000, "b a " * 5000 + "c")
    assert time.perf_counter() - started < 5
    assert "".join(text for mark, text in parts if mark != "+") == "a b " * 5000


def test_a_long_text_keeps_its_beginning_and_more_of_its_end() -> None:
    text = "B" * 100 + "-" * 5000 + "E" * 200
    cut = words.clip(text, 300)
    assert cut.startswith("B" * 100)
    assert cut.endswith("E" * 200)
    assert "[… 5,000 characters left out …]" in cut
    assert words.clip(text, len(text)) == text


def test_the_gist_is_the_end_of_the_prompt_in_one_line() -> None:
    prompt = "Q: old example\nA: 3\n\n" * 50 + "Q: what is\n  asked?\nA:"
    assert flip_texts.one_line_end(prompt).endswith("Q: what is asked? A:")
    assert flip_texts.one_line_end(prompt).startswith("… ")
    assert flip_texts.one_line_end("short\nprompt") == "short prompt"


@pytest.mark.parametrize(
    "prompt", ["[{", "[{}]", '[{"role": 1}]', '[{"role": "u", "content": 5}]', "[[]]"]
)
def test_what_only_looks_like_a_dialogue_is_left_as_it_is(prompt: str) -> None:
    assert flip_texts._dialogue(prompt) == prompt
