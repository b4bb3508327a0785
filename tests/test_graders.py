"""Graders of text and of choices: what is right, what is wrong, and what is never guessed."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from muscle_gov_plugins._graders import BY_KIND, Grader, described
from muscle_gov_plugins._graders_base import INVALID, Solution
from muscle_gov_plugins._graders_base import Grader as GraderBase
from muscle_gov_plugins._graders_choice import Choice
from muscle_gov_plugins._graders_json import Json
from muscle_gov_plugins._graders_overlap import F1, Bleu, Chrf, Rouge
from muscle_gov_plugins._graders_text import Contains, Exact, Letter, Regex

from muscle_gov import Grade, InputError, ModelError, Outcome, Output
from muscle_gov.plugins import build


@dataclass(frozen=True)
class Holder:
    grader: Grader | None = None


def judged(grader: GraderBase, text: str, *targets: str, **more: Any) -> Grade:
    return grader.grade([Output(text=text)], Solution(targets, **more))


def is_right(grader: GraderBase, text: str, *targets: str, **more: Any) -> bool:
    outcome = judged(grader, text, *targets, **more).outcome
    assert outcome in (Outcome.RIGHT, Outcome.WRONG)
    return outcome is Outcome.RIGHT


def made(option: Any) -> GraderBase:
    problems: list[str] = []
    holder = build(Holder, {"grader": option}, problems)
    assert not problems, problems
    found = holder.grader
    assert isinstance(found, GraderBase)
    return found


def refused(option: Any) -> str:
    problems: list[str] = []
    assert build(Holder, {"grader": option}, problems) is None
    return "; ".join(problems)


# ------------------------------------------------------------------------------------- as an option


@pytest.mark.parametrize("kind", [kind for kind in BY_KIND if kind != "regex"])
def test_a_grader_is_given_by_its_name_alone(kind: str) -> None:
    assert made(kind) == BY_KIND[kind]() == made({"kind": kind})


def test_a_grader_is_given_with_options() -> None:
    assert made({"kind": "regex", "pattern": "(x)", "which": "last"}) == Regex(
        pattern="(x)", which="last"
    )
    assert made(Exact(ignore_case=True)) == Exact(ignore_case=True)
    assert made({"kind": "json", "schema": {"type": "object"}}).package().startswith("jsonschema ")


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("exat", "grader: must be, or have as its kind, one of exact, contains, "),
        ({"pattern": "x"}, "grader: must be, or have as its kind, one of"),
        ({"kind": ["exact"]}, "grader: must be, or have as its kind, one of exact, contains, "),
        (3, "not 3"),
        ("regex", "grader.regex.pattern: is required"),
        ({"kind": "exact", "case": True}, "exact has no option 'case'; it has strip, ignore_case"),
        ({"kind": "regex", "pattern": "("}, "pattern: is no regular expression (missing )"),
        ({"kind": "regex", "pattern": "(a)", "group": 2}, "group: pattern has no group 2"),
        ({"kind": "regex", "pattern": "(?P<n>a)", "group": "m"}, "pattern has no group 'm'"),
        ({"kind": "letter", "letters": "AAB"}, "letters: must be different letters"),
        ({"kind": "rouge", "threshold": 1.5}, "threshold: must be above 0 and at most 1, not 1.5"),
        ({"kind": "bleu", "threshold": 0}, "threshold: must be above 0 and at most 100"),
        ({"kind": "chrf", "word_order": -1}, "word_order: must be 0 or more"),
        ({"kind": "numeric", "tolerance": -1}, "tolerance: must be a number from 0 on"),
        ({"kind": "json", "schema": {}, "schema_file": "x"}, "give schema or schema_file, not both"),
    ],
)
def test_a_wrong_option_is_told_by_the_grader_it_was_meant_for(option: Any, words: str) -> None:
    assert words in refused(option)


def test_editors_are_told_both_forms() -> None:
    schema = pydantic.TypeAdapter(Holder).json_schema()
    field = json.dumps(schema["properties"]["grader"])
    assert '"enum": ["exact", "contains"' in field
    assert '"discriminator"' in field
    assert "pattern" in schema["$defs"]["Regex"]["required"]


def test_what_it_says_of_itself_changes_with_each_option() -> None:
    said = described(Exact())
    assert said == (
        "exact(strip=true, ignore_case=false, ignore_punctuation=false, ignore_articles=false, "
        "collapse_spaces=false)"
    )
    assert described(Exact(ignore_case=True)) != said
    assert described(Rouge()).endswith(" by rouge-score 0.1.2")


def test_a_library_that_is_not_there_is_told_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def nothing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nothing)
    for grader in (Rouge(), Bleu(), Chrf(), Json(schema={})):
        with pytest.raises(ModelError, match=r"not installed; pip install 'muscle-gov\[scores\]'"):
            grader.package()
    assert Exact().package() is Json().package() is None


# ------------------------------------------------------------------------------------- never guessed


@pytest.mark.parametrize("kind", [k for k in BY_KIND if k not in ("regex", "json")])
def test_without_a_target_nothing_is_judged(kind: str) -> None:
    output = Output(text="x", choice_logprobs=(-1.0, -2.0))
    grade = BY_KIND[kind]().grade([output], Solution(choices=("a", "b")))
    assert (grade.outcome, grade.why, grade.score) == (Outcome.UNSCORED, "the item has no target", None)


def test_likelihoods_are_no_text_and_text_is_no_likelihood() -> None:
    assert Exact().grade([Output(choice_logprobs=(-1.0,))], Solution(("a",))).why == (
        "the model gave no text"
    )
    solution = Solution(("a",), choices=("a", "b"), right=(0,))
    assert Choice().grade([Output(text="a")], solution).why == "the model gave no log-likelihoods"


# --------------------------------------------------------------------------------------------- exact


def test_exact_strips_and_else_changes_nothing() -> None:
    assert is_right(Exact(), " Paris\n", "Paris")
    assert not is_right(Exact(), "paris", "Paris")
    assert not is_right(Exact(), "Paris.", "Paris")
    assert not is_right(Exact(strip=False), " Paris", "Paris")
    assert judged(Exact(), " Paris\n", "Rome").answer == "Paris"


@pytest.mark.parametrize(
    ("options", "text", "target"),
    [
        ({"ignore_case": True}, "STRASSE", "straße"),
        ({"ignore_punctuation": True}, "«Paris», France!", "Paris France"),
        ({"ignore_punctuation": True}, "$5", "5"),
        ({"ignore_articles": True}, "The cat on a mat", "cat on mat"),
        ({"collapse_spaces": True}, "a \n\t b", "a b"),
        ({"collapse_spaces": True, "strip": False}, " a  b", " a b"),
    ],
)
def test_exact_normalises_both_sides(options: dict[str, Any], text: str, target: str) -> None:
    assert not is_right(Exact(), text, target)
    assert is_right(Exact(**options), text, target)
    assert is_right(Exact(**options), target, text)


def test_punctuation_is_not_what_makes_a_word_in_another_script() -> None:
    grader = Exact(ignore_punctuation=True)
    assert is_right(grader, "हिन्दी।", "हिन्दी")  # vowel signs stay, the danda goes
    assert not is_right(grader, "हनद", "हिन्दी")


def test_any_accepted_answer_is_right() -> None:
    assert is_right(Exact(), "NYC", "New York", "NYC")
    assert not is_right(Exact(), "LA", "New York", "NYC")


# ------------------------------------------------------------------------------------------ contains


def test_contains() -> None:
    assert is_right(Contains(), "It is Paris, of course", "Paris")
    assert is_right(Contains(), "the category", "cat")
    assert not is_right(Contains(whole_words=True), "the category", "cat")
    assert is_right(Contains(whole_words=True), "the cat.", "cat")
    assert is_right(Contains(), "red", "blue", "red")
    assert not is_right(Contains(need="all"), "red", "blue", "red")
    assert judged(Contains(need="all"), "red and blue", "blue", "red").answer == "blue, red"


def test_an_empty_target_is_in_every_text_and_so_says_nothing() -> None:
    assert judged(Contains(), "x", " ").outcome is Outcome.UNSCORED


# --------------------------------------------------------------------------------------------- regex


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ({"pattern": r"\d"}, "1"),
        ({"pattern": r"\d", "which": "last"}, "3"),
        ({"pattern": r"\d", "which": "all"}, "1, 2, 3"),
        ({"pattern": r"(x)?(\d)"}, "1"),
        ({"pattern": r"(\w)=(\d)", "group": 1, "which": "last"}, "c"),
        ({"pattern": r"(?P<name>\w)=(?P<value>\d)", "group": "value"}, "1"),
        ({"pattern": r"=", "group": 0}, "="),
        ({"pattern": r"(?i)C=(.)"}, "3"),
    ],
)
def test_regex_picks_one_match_and_one_group(options: dict[str, Any], answer: str) -> None:
    grade = judged(Regex(**options), "a=1 b=2 c=3", answer)
    assert (grade.outcome, grade.answer) == (Outcome.RIGHT, answer)


def test_an_answer_without_the_asked_form_is_wrong_unless_said_otherwise() -> None:
    grade = judged(Regex(pattern=r"\d"), "none", "1")
    assert (grade.outcome, grade.answer) == (Outcome.WRONG, INVALID)
    grade = judged(Regex(pattern=r"\d", no_match="unscored"), "none", "1")
    assert (grade.outcome, grade.why) == (Outcome.UNSCORED, "the pattern finds nothing in the answer")


def test_the_pattern_of_the_target() -> None:
    grader = Regex(pattern=r"(\d+)", target_pattern=r"#### (\d+)")
    assert is_right(grader, "it is 12", "3 * 4\n#### 12")
    assert judged(grader, "it is 12", "twelve").why == "target_pattern finds nothing in the target"


# -------------------------------------------------------------------------------------------- letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        (" B.", "B"),
        ("(B) because", "B"),
        ("**B**", "B"),
        ("B\n\nQuestion: what", "B"),
        ("Answer: B", "B"),
        ("The answer is B because of D", "B"),
        ("the correct answer is option (C).", "C"),
        ("First I thought the answer is A. No: the answer is **D**", "D"),
        ("So \\boxed{C}", "C"),
        ("\\boxed{\\text{(C)}}", "C"),
        ("Some think (A), but it is (B)", "B"),
        ("rome", "C"),
        ("A cat sat on a mat", INVALID),
        ("Because", INVALID),
        ("E", INVALID),
        ("the answer is a secret", INVALID),
        ("", INVALID),
    ],
)
def test_the_letter_is_found(text: str, letter: str) -> None:
    choices = ("Paris", "Oslo", "Rome", "Bern")
    grade = judged(Letter(), text, "Oslo", choices=choices, right=(1,))
    assert grade.answer == letter
    assert grade.outcome is (Outcome.RIGHT if letter == "B" else Outcome.WRONG)


def test_without_choices_the_target_is_a_letter() -> None:
    assert is_right(Letter(), "Answer: J", "J")
    assert judged(Letter(letters="ABC"), "A", "D").why == "the target is none of the letters ABC"
    nine = Solution(("a",), choices=tuple("abcdefghi"), right=(0,))
    few = Letter(letters="ABC").grade([Output(text="A")], nine)
    assert few.why == "9 choices for 3 letters"
    assert judged(Letter(no_match="unscored"), "no idea", "A").outcome is Outcome.UNSCORED


# ---------------------------------------------------------------------------------------- on a scale


def test_f1_is_graded_and_takes_the_best_target() -> None:
    grade = judged(F1(), "The cat sat!", "a dog", "cat")
    assert grade.outcome is Outcome.GRADED
    assert grade.score == pytest.approx(2 * 1 / 3)
    assert (grade.answer, grade.scores) == ("cat sat", {"exact_match": 0.0})
    assert judged(F1(), "THE CAT", "cat").scores == {"exact_match": 1.0}
    assert judged(F1(), "the", "").score == 1.0  # SQuAD 2.0: no answer is no answer
    assert judged(F1(), "the", "x").score == 0.0


words = st.lists(
    st.sampled_from(["the", "a", "cat", "Cat,", "dog", "AN", "-", "don't", "é"]), max_size=9
)


@given(words, words)
def test_f1_is_that_of_the_official_script(answer: list[str], target: list[str]) -> None:
    squad = pytest.importorskip("lm_eval.tasks.qasper.metrics", reason="lm-eval is not installed")
    said, wanted = " ".join(answer), " ".join(target)
    ours = judged(F1(), said, wanted).score
    if squad.normalize_answer(said) or squad.normalize_answer(wanted):
        assert ours == pytest.approx(squad.f1_abstractive([said], [wanted]))
    else:
        assert ours == 1.0


def test_a_threshold_makes_it_right_or_wrong() -> None:
    assert is_right(F1(threshold=0.5), "cat sat", "cat")
    assert not is_right(F1(threshold=0.7), "cat sat", "cat")
    assert judged(F1(threshold=0.7), "cat sat", "cat").score == pytest.approx(2 / 3)


def test_rouge_is_that_of_its_library_for_the_best_target() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    text, targets = "the cats sat on the mat", ("a dog ran", "a cat sat on a mat")
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL", "rougeLsum"], use_stemmer=True)
    wanted = scorer.score(targets[1], text)
    grade = judged(Rouge(stemmer=True), text, *targets)
    assert grade.outcome is Outcome.GRADED
    assert grade.score == wanted["rougeL"].fmeasure > 0.5
    assert set(grade.scores) == {"rouge1", "rouge2", "rougeLsum"} == set(Rouge().other_names())
    assert grade.scores["rouge2"] == wanted["rouge2"].fmeasure
    assert judged(Rouge(variant="rouge1", stemmer=True), text, *targets).score == (
        wanted["rouge1"].fmeasure
    )


def test_the_best_target_is_that_of_the_variant_asked_for() -> None:
    text, same_words, same_pair = "a b c d", "d c b a", "a b x y"
    assert judged(Rouge(variant="rouge1"), text, same_words, same_pair).score == 1.0
    assert judged(Rouge(variant="rouge2"), text, same_words, same_pair).score == pytest.approx(1 / 3)


def test_a_short_text_can_be_all_right() -> None:
    assert judged(Bleu(), "Paris", "Paris").score == pytest.approx(100)  # without any four words


def test_bleu_and_chrf_are_those_of_sacrebleu() -> None:
    import sacrebleu

    text, targets = "the cat sat on the mat", ["the cat sat on a mat", "a cat sat on the mat"]
    assert judged(Bleu(), text, *targets).score == sacrebleu.sentence_bleu(text, targets).score > 50
    assert judged(Bleu(), text, text).score == pytest.approx(100)
    assert judged(Chrf(), text, *targets).score == sacrebleu.sentence_chrf(text, targets).score > 50
    plus = sacrebleu.sentence_chrf(text, targets, word_order=2).score
    assert judged(Chrf(word_order=2), text, *targets).score == plus
    assert [Chrf().metric_name(), Chrf(word_order=2).metric_name()] == ["chrf", "chrf++"]


@pytest.mark.parametrize("grader", [Rouge(), Rouge(stemmer=True), Bleu(), Chrf(), F1()])
def test_an_empty_answer_scores_nothing(grader: GraderBase) -> None:
    assert judged(grader, "", "a cat").score == 0


# ---------------------------------------------------------------------------------------------- json


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ('{"a": 1}', True),
        (" [1, 2]\n", True),
        ('Here it is:\n```json\n{"a": 1}\n```\nEnjoy', True),
        ("```\n{}\n```", True),
        ("{'a': 1}", False),
        ('{"a": NaN}', False),
        ('{"a": 1} and more', False),
        ("[" * 200_000, False),
        ("", False),
    ],
)
def test_json_is_valid_or_not(text: str, right: bool) -> None:
    grade = judged(Json(), text)
    assert (grade.outcome is Outcome.RIGHT) is right
    assert grade.scores == {"valid": float(right)}


def test_json_that_does_not_fit_the_schema_is_wrong() -> None:
    grader = Json(schema={"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}})
    assert is_right(grader, '{"a": 1}')
    grade = judged(grader, '{"a": "1"}')
    assert grade.outcome is Outcome.WRONG
    assert grade.scores == {"valid": 1.0, "schema": 0.0}
    assert grader.other_names() == ("valid", "schema")


def test_a_schema_that_is_none_is_told_before_any_model_runs(tmp_path: Any) -> None:
    with pytest.raises(InputError, match=r"option schema: is no JSON Schema \('objekt' is not valid"):
        Json(schema={"type": "objekt"}).package()
    file = tmp_path / "schema.json"
    file.write_text('{"type": "array"}')
    assert is_right(Json(schema_file=file), "[]")
    assert 'schema={"type": "array"}' in described(Json(schema_file=file))
    with pytest.raises(InputError, match="cannot be read"):
        Json(schema_file=tmp_path / "none.json").package()


@pytest.mark.parametrize(
    ("text", "value", "right"),
    [
        ('{"b": [1.0, null], "a": "x"}', {"a": "x", "b": [1, None]}, True),
        ('{"a": "x"}', '{"a": "x"}', True),
        ("true", 1, False),
        ("1", True, False),
        ("[1, 2]", [2, 1], False),
        ("[1]", [1, 2], False),
        ('{"a": 1, "b": 2}', {"a": 1}, False),
        ("12345678901234567890", 12345678901234567891, False),
    ],
)
def test_json_is_compared_as_values(text: str, value: Any, right: bool) -> None:
    said = value if isinstance(value, str) else json.dumps(value)
    assert is_right(Json(equal=True), text, said, value=value) is right


def test_a_target_that_is_no_json_cannot_be_compared() -> None:
    assert judged(Json(equal=True), "{}", "x", value="x").why == "the target is no JSON"
    assert judged(Json(equal=True), "{}").why == "the item has no target"


# -------------------------------------------------------------------------------------------- choice

FOUR = Solution(("bb",), 1, ("a", "bb", "cccc"), (1,))


def chosen(how: str, *outputs: Output, solution: Solution = FOUR) -> Grade:
    return Choice(normalisation=how).grade(outputs, solution)  # type: ignore[arg-type]


def test_each_normalisation_may_choose_another() -> None:
    given = Output(choice_logprobs=(-2.0, -3.0, -5.0), choice_tokens=(1, 4, 3))
    bare = Output(choice_logprobs=(-1.0, -2.5, -5.5))
    answers = {how: chosen(how, given, bare).answer for how in ("none", "char", "token", "pmi")}
    assert answers == {"none": "a", "char": "cccc", "token": "bb", "pmi": "cccc"}
    grade = chosen("none", given)
    assert grade.outcome is Outcome.WRONG
    assert grade.scores == {"accuracy_char": 0.0, "accuracy_token": 1.0}
    assert chosen("token", given).outcome is Outcome.RIGHT


def test_ties_go_to_the_first() -> None:
    assert chosen("none", Output(choice_logprobs=(-1.0, -1.0, -1.0))).answer == "a"


def test_any_right_choice_is_right() -> None:
    solution = FOUR._replace(right=(0, 2))
    assert chosen("none", Output(choice_logprobs=(-2.0, -3.0, -1.0)), solution=solution).score == 1.0


@pytest.mark.parametrize(
    ("how", "output", "why"),
    [
        ("none", Output(choice_logprobs=(-1.0, math.nan, -3.0)), "choice 2 of the log-probabilities"),
        ("none", Output(choice_logprobs=(-1.0, -2.0)), "2 log-probabilities for 3 choices"),
        ("none", Output(choice_logprobs=(-math.inf,) * 3), "every choice has probability 0"),
        ("token", Output(choice_logprobs=(-1.0, -2.0, -3.0)), "does not tell how many tokens"),
        ("pmi", Output(choice_logprobs=(-1.0, -2.0, -3.0)), "without the question are missing"),
    ],
)
def test_likelihoods_that_say_nothing_are_unscored(how: str, output: Output, why: str) -> None:
    grade = chosen(how, output)
    assert grade.outcome is Outcome.UNSCORED
    assert why in (grade.why or "")
