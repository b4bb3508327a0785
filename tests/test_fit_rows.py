"""Training data: tokens as predictions meet them, what is held out, and answers that are filled in."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import make_model

from muscle_gov import Grade, InputError, Instance, ModelError, Outcome, Output, Request, SuiteFacts
from muscle_gov.logs import content_hash

pytest.importorskip("peft")

from muscle_gov_plugins import _fit_rows as fit
from muscle_gov_plugins._fit_encoder import Encoded, Encoder
from muscle_gov_plugins._fit_fill import Asking, fill
from muscle_gov_plugins._hf_text import Asked, Text
from muscle_gov_plugins.loader_ensemble import EnsembleLoader
from muscle_gov_plugins.loader_hf import HfLoader
from transformers import AutoTokenizer

Item = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Toy:
    """Items given as they are: prompt, answer, choices, cluster."""

    items: tuple[Item, ...]
    max_tokens: int = 12

    def facts(self) -> SuiteFacts:
        return SuiteFacts(task="toy", metric="acc")

    def instances(self) -> Iterator[Instance]:
        for number, item in enumerate(self.items):
            asked = content_hash(str(item["prompt"]))
            yield Instance(
                key=str(item.get("key", number)),
                content_hash=content_hash(asked, str(item.get("answer"))),
                cluster=item.get("cluster"),
                input_hash=asked,
                data=item,
            )

    def requests(self, instance: Instance) -> Sequence[Request]:
        item = instance.data
        return [Request(item["prompt"], item.get("choices"), max_tokens=self.max_tokens)]

    def reference(self, instance: Instance) -> str | None:
        return instance.data.get("answer")

    def grade(self, instance: Instance, outputs: Sequence[Output]) -> Sequence[Grade]:
        return [Grade(Outcome.CORRECT)]


@dataclasses.dataclass(frozen=True)
class Several:
    """Stands for two suites."""

    parts: Mapping[str, Toy]

    def members(self) -> Mapping[str, Toy]:
        return self.parts


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> HfLoader:
    folder = tmp_path_factory.mktemp("rows")
    return HfLoader(path=make_model(folder / "m", chat=True), device="cpu", threads=1)


@pytest.fixture(scope="module")
def tokenizer(loader: HfLoader) -> Any:
    return AutoTokenizer.from_pretrained(loader.path)


def many(count: int, **more: Any) -> tuple[Item, ...]:
    return tuple({"prompt": f"Q: {n} plus {n}", "answer": f" {2 * n}", **more} for n in range(count))


def read(suites: Mapping[str, Any], loader: HfLoader, tokenizer: Any, **given: Any) -> fit.Data:
    options: dict[str, Any] = {"validation": 0.2, "seed": 0, "limit_tokens": None}
    return fit.read(suites, loader, tokenizer, **options | given)


def only(item: Item, loader: HfLoader, tokenizer: Any) -> fit.Row:
    data = read({"toy": Toy((item, *many(4)))}, loader, tokenizer)
    return next(r for r in (*data.train, *data.held_out, *data.unlabelled) if r.key == "0")


# ------------------------------------------------------------------------------------------- tokens


@pytest.mark.parametrize(
    "prompt",
    [
        "Question: the cat",
        "Question: the cat ",
        "Question:\n",
        "",
        ({"role": "user", "content": "the cat"},),
        ({"role": "system", "content": "red"}, {"role": "user", "content": "blue"}),
        ({"role": "user", "content": "the cat"}, {"role": "assistant", "content": "Answer:"}),
    ],
)
def test_the_prompt_is_what_a_prediction_sends_and_the_answer_goes_on(
    loader: HfLoader, tokenizer: Any, prompt: Any
) -> None:
    row = only({"prompt": prompt, "answer": " sits and eats"}, loader, tokenizer)
    (asked,) = Text(tokenizer, loader.add_bos, loader.template()).read([Request(prompt)])
    assert isinstance(asked, Asked)
    assert row.tokens[: row.prompt].tolist() == asked.prompt.tolist()
    assert row.tokens[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(row.tokens[row.prompt : -1].tolist()) == " sits and eats"
    assert row.is_labelled


def test_rows_with_choices_are_tokenised_as_they_are_scored_and_do_not_end(
    loader: HfLoader, tokenizer: Any
) -> None:
    choices = (" red", " blue")
    item = {"prompt": "the sky is ", "answer": " blue", "choices": choices}
    row = only(item, loader, tokenizer)
    (asked,) = Text(tokenizer).read([Request("the sky is ", choices)])
    assert isinstance(asked, Asked)
    assert asked.choices is not None
    assert row.tokens.tolist() == [*asked.prompt.tolist(), *asked.choices[1].tolist()]
    assert row.prompt == len(asked.prompt)


def test_an_answer_that_merges_with_the_prompt_is_told(loader: HfLoader, tokenizer: Any) -> None:
    """A word cut in two: asked, the model meets the halves' own tokens, and these are kept."""
    row = only({"prompt": "the questi", "answer": "on"}, loader, tokenizer)
    (asked,) = Text(tokenizer).read([Request("the questi")])
    assert isinstance(asked, Asked)
    assert row.tokens[: row.prompt].tolist() == asked.prompt.tolist()
    whole = tokenizer("the question")["input_ids"]
    assert row.tokens.tolist()[:-1] != whole
    assert tokenizer.decode(row.tokens[:-1].tolist()) == tokenizer.decode(whole)


def test_an_answer_that_begins_in_the_prompt_is_told(loader: HfLoader, tmp_path: Path) -> None:
    """A tokenizer that puts a space before every text: the answer cannot be tokenised alone."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["</s>", "<unk>", "▁the", "▁cat", "▁cats", "▁s", "▁Q", ":", "▁"]
    core = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    core.decoder = decoders.Metaspace(prepend_scheme="always")
    own = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>", unk_token="<unk>")
    encoder = Encoder(loader, own)
    plain, merged = encoder.encode([Request("the cat"), Request("the cat")], [" s", "s"])
    assert isinstance(plain, Encoded)
    assert isinstance(merged, Encoded)
    assert (plain.tokens.tolist(), plain.prompt, plain.is_merged) == ([2, 3, 5, 0], 2, False)
    assert (merged.tokens.tolist(), merged.prompt, merged.is_merged) == ([2, 4, 0], 1, True)
    items = ({"prompt": "the cat", "answer": "s"}, {"prompt": "the", "answer": " cat"})
    data = read({"toy": Toy(items)}, loader, own)
    assert data.notes[0].startswith("toy: in 1 of 2 rows the first token of the answer begins in")


def test_a_chat_ends_with_what_its_template_puts_after_an_answer(tmp_path: Path, tokenizer: Any) -> None:
    """Where the model stops at another token than EOS, as many chat models do."""
    folder = make_model(tmp_path / "m", chat=True)
    turn = AutoTokenizer.from_pretrained(folder)
    turn.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    turn.chat_template = str(turn.chat_template).replace("</s>", "<turn>")
    turn.save_pretrained(folder)
    special = turn.convert_tokens_to_ids("<turn>")
    messages = ({"role": "user", "content": "the cat"},)
    ends: dict[str, int] = {}
    for name, stops in (("stops", [1, special]), ("goes on", [1])):
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}))
        encoder = Encoder(HfLoader(path=folder, device="cpu"), turn)
        (found,) = encoder.encode([Request(messages)], [" sits"])
        ends[name] = int(found.tokens[-1])  # type: ignore[union-attr]
    assert ends == {"stops": special, "goes on": 1}


def test_an_answer_that_ends_itself_gets_no_second_end(loader: HfLoader, tokenizer: Any) -> None:
    row = only({"prompt": "the cat", "answer": " sits</s>"}, loader, tokenizer)
    assert row.tokens.tolist().count(tokenizer.eos_token_id) == 1


def test_suites_that_stand_for_several_are_expanded(loader: HfLoader, tokenizer: Any) -> None:
    whole = Several({"one": Toy(many(3)), "two": Toy(many(5)[3:])})
    data = read({"whole": whole}, loader, tokenizer)
    assert data.suites == {"one": 3, "two": 2}
    with pytest.raises(InputError, match="two suites are called 'one'"):
        read({"whole": whole, "one": Toy(many(2))}, loader, tokenizer)


# ------------------------------------------------------------------------------------ what is wrong


def test_a_row_that_is_too_long_is_named(loader: HfLoader, tokenizer: Any) -> None:
    long = {"key": "the-long-one", "prompt": "cat " * 40, "answer": "dog"}
    with pytest.raises(InputError, match=r"toy: 1 of 5 rows are longer than 30 .*the-long-one"):
        read({"toy": Toy((*many(4), long))}, loader, tokenizer, limit_tokens=30)


@pytest.mark.parametrize(
    "bad",
    [
        {"prompt": "a lone \ud800", "answer": "x"},
        {"prompt": "x", "answer": "a lone \ud800"},
        {"prompt": ({"role": "user", "content": "x"},), "answer": "a lone \ud800"},
        {"prompt": "x", "answer": "a lone \ud800", "choices": ("x", "y")},
    ],
)
def test_a_row_that_the_model_cannot_be_asked_is_named(
    loader: HfLoader, tokenizer: Any, bad: Item
) -> None:
    bad = {"key": "bad", **bad}
    with pytest.raises(InputError, match=r"toy: 1 of 5 rows cannot be put .*'bad': .*surrogate"):
        read({"toy": Toy((*many(4), bad))}, loader, tokenizer)


def test_nothing_to_train_on(loader: HfLoader, tokenizer: Any) -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        read({"toy": Toy(())}, loader, tokenizer)


def test_one_cluster_leaves_nothing_to_hold_out(loader: HfLoader, tokenizer: Any) -> None:
    with pytest.raises(InputError, match="all 6 rows are of one cluster"):
        read({"toy": Toy(many(6, cluster="a"))}, loader, tokenizer)


def test_rows_that_are_there_twice_count_once_and_are_told(loader: HfLoader, tokenizer: Any) -> None:
    data = read({"a": Toy(many(4)), "b": Toy(many(6))}, loader, tokenizer)
    assert data.suites == {"a": 4, "b": 2}
    assert [note for note in data.notes if note.startswith("4 of 10 rows")]


# ------------------------------------------------------------------------------------- what is held out


def test_the_order_of_the_data_does_not_matter(loader: HfLoader, tokenizer: Any) -> None:
    items = many(40)
    first = read({"toy": Toy(items)}, loader, tokenizer)
    other = read({"toy": Toy(items[::-1])}, loader, tokenizer)
    assert {row.content for row in first.held_out} == {row.content for row in other.held_out}
    assert len(first.held_out) + len(first.train) == 40
    another = read({"toy": Toy(items)}, loader, tokenizer, seed=1)
    assert {row.content for row in first.held_out} != {row.content for row in another.held_out}


def test_a_row_keeps_its_side_when_others_come(loader: HfLoader, tokenizer: Any) -> None:
    few, more = (read({"toy": Toy(many(count))}, loader, tokenizer) for count in (60, 200))

    def sides(data: fit.Data) -> dict[str, bool]:
        held = {row.content: True for row in data.held_out}
        return held | {row.content: False for row in data.train}

    assert sides(few).items() <= sides(more).items()
    assert 0.1 < len(more.held_out) / 200 < 0.3
    assert few.is_by_hash(0.2, 0)
    assert not few.is_by_hash(0.2, 1)


@pytest.mark.parametrize("validation", [1e-9, 1 - 1e-9])
def test_no_side_is_ever_empty(loader: HfLoader, tokenizer: Any, validation: float) -> None:
    data = read({"toy": Toy(many(5))}, loader, tokenizer, validation=validation)
    assert sorted((len(data.train), len(data.held_out))) == [1, 4]
    assert (len(data.held_out) == 1) == (validation < 0.5)
    assert not data.is_by_hash(validation, 0)


def test_a_suite_that_asks_nothing_is_told(loader: HfLoader, tokenizer: Any) -> None:
    class Silent(Toy):
        def requests(self, instance: Instance) -> list[Request]:
            return []

    with pytest.raises(InputError, match="toy asks nothing about '0', so there is no prompt to train"):
        read({"toy": Silent(many(3))}, loader, tokenizer)


def test_clusters_and_questions_stay_together(loader: HfLoader, tokenizer: Any) -> None:
    items = [
        {"prompt": f"Q{n}", "answer": f" {n}", "cluster": f"c{n % 7}" if n < 35 else None}
        for n in range(40)
    ]
    items += [{"prompt": "Q39", "answer": " another answer to one question"}]
    data = read({"toy": Toy(tuple(items))}, loader, tokenizer, validation=0.4)
    assert not {row.group for row in data.train} & {row.group for row in data.held_out}
    assert len({row.group for row in (*data.train, *data.held_out)}) == 12


def test_the_digest_tells_tokens_and_sides_apart(loader: HfLoader, tokenizer: Any) -> None:
    digests = {
        read({"toy": Toy(many(9))}, loader, tokenizer).digest,
        read({"toy": Toy(many(9))}, loader, tokenizer, seed=5).digest,
        read({"toy": Toy(many(10))}, loader, tokenizer).digest,
    }
    assert len(digests) == 3
    assert read({"toy": Toy(many(9))}, loader, tokenizer).digest in digests


# ------------------------------------------------------------------------------------------ batches


def test_targets_and_batches(loader: HfLoader, tokenizer: Any) -> None:
    rows = [
        fit.Row("s", "a", "a", np.array([5, 6, 7, 8]), 2),
        fit.Row("s", "b", "b", np.array([9, 10]), 1),
    ]
    assert fit.targets(rows[0], "all").tolist() == [1, 2, 3]
    assert fit.targets(rows[0], "answer").tolist() == [2, 3]
    batch = fit.collate(rows, 3)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [9, 10, 3, 3]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    sizes = np.array([3, 9, 1, 9, 4])
    found = [part.tolist() for part in fit.by_length(sizes, 10)]
    assert found == [[1], [3], [4, 0], [2]]


# ----------------------------------------------------------------------------------------- filled in


@dataclasses.dataclass
class Writer:
    """A model that writes what is in a table, and counts what it is asked."""

    texts: Mapping[str, Output]
    name: str = "writer"
    fails_after: int | None = None
    asked: list[Request] = dataclasses.field(default_factory=list)

    def facts(self) -> Any:
        from muscle_gov import ModelFacts

        return ModelFacts(name="writer", engine="toy", digests={"weights": self.name})

    @contextmanager
    def open(self) -> Iterator[Writer]:
        yield self

    def answer(self, requests: Sequence[Request]) -> Iterator[tuple[int, Output]]:
        for place in reversed(range(len(requests))):
            if self.fails_after is not None and len(self.asked) >= self.fails_after:
                raise RuntimeError("killed")
            self.asked.append(requests[place])
            yield place, self.texts[str(requests[place].prompt)]


def unlabelled(count: int) -> tuple[Item, ...]:
    return tuple({"prompt": f"U: {n}", "key": f"u{n}"} for n in range(count))


def test_filled_rows_end_where_the_model_ended(loader: HfLoader, tokenizer: Any, tmp_path: Path) -> None:
    data = read({"toy": Toy(unlabelled(4))}, loader, tokenizer)
    assert (len(data.unlabelled), data.train, data.held_out) == (4, (), ())
    outputs = {
        "U: 0": Output(text=" one", finish_reason="stop"),
        "U: 1": Output(text=" two three", finish_reason="length"),
        "U: 2": Output(error="too hard"),
        "U: 3": Output(text="", finish_reason="stop"),
    }
    encoder = Encoder(loader, tokenizer)
    filled = fill(data.unlabelled, Writer(outputs), encoder, tmp_path / "f.jsonl", Asking())
    texts = {row.key: tokenizer.decode(row.tokens[row.prompt :].tolist()) for row in filled.rows}
    assert texts == {"u0": " one</s>", "u1": " two three", "u3": "</s>"}
    assert "1 of 4 rows without an answer got none" in filled.notes[0]
    assert "too hard" in filled.notes[0]
    assert "1 of 4 answers" in filled.notes[1]
    done = fit.with_filled(data, filled.rows, 0.3, 0)
    assert len(done.train) + len(done.held_out) == 3
    assert done.held_out
    assert done.unlabelled == ()
    assert done.digest != data.digest


def test_filled_rows_of_held_out_clusters_are_held_out(
    loader: HfLoader, tokenizer: Any, tmp_path: Path
) -> None:
    items = [
        {"prompt": f"U: {n}", "cluster": f"c{n % 6}", **({"answer": f" {n}"} if n < 12 else {})}
        for n in range(24)
    ]
    data = read({"toy": Toy(tuple(items))}, loader, tokenizer, validation=0.3)
    outputs = {f"U: {n}": Output(text=" x", finish_reason="stop") for n in range(24)}
    writer = Writer(outputs)
    filled = fill(data.unlabelled, writer, Encoder(loader, tokenizer), tmp_path / "f", Asking())
    done = fit.with_filled(data, filled.rows, 0.3, 0)
    assert len(filled.rows) == 12
    assert len(done.train) + len(done.held_out) == 24
    assert not {row.group for row in done.train} & {row.group for row in done.held_out}
    assert set(data.held_out) < set(done.held_out)


def test_answers_are_asked_for_once(loader: HfLoader, tokenizer: Any, tmp_path: Path) -> None:
    """A killed run asks only for the rest; a torn last line is asked for again; another model's
    answers are never taken."""
    data = read({"toy": Toy(unlabelled(5))}, loader, tokenizer)
    outputs = {f"U: {n}": Output(text=f" {n}", finish_reason="stop") for n in range(5)}
    encoder, file = Encoder(loader, tokenizer), tmp_path / "kept" / "f.jsonl"
    killed = Writer(outputs, fails_after=3)
    with pytest.raises(RuntimeError, match="killed"):
        fill(data.unlabelled, killed, encoder, file, Asking())
    content = file.read_bytes()
    file.write_bytes(content[:-4])
    second = Writer(outputs)
    filled = fill(data.unlabelled, second, encoder, file, Asking())
    assert len(second.asked) == 3  # two that were never asked, and the torn one
    third = Writer(outputs)
    again = fill(data.unlabelled, third, encoder, file, Asking())
    assert third.asked == []
    assert [r.tokens.tolist() for r in again.rows] == [r.tokens.tolist() for r in filled.rows]
    fill(data.unlabelled, third, encoder, file, Asking(temperature=0.5))
    assert len(third.asked) == 5
    assert len({request.seed for request in third.asked}) == 5
    other = Writer(outputs, name="other")
    fill(data.unlabelled, other, encoder, file, Asking())
    assert len(other.asked) == 5


def test_no_answer_at_all_is_an_error(loader: HfLoader, tokenizer: Any, tmp_path: Path) -> None:
    data = read({"toy": Toy(unlabelled(2))}, loader, tokenizer)
    writer = Writer({f"U: {n}": Output(error="no") for n in range(2)})
    with pytest.raises(ModelError, match="none of the 2 rows"):
        fill(data.unlabelled, writer, Encoder(loader, tokenizer), tmp_path / "f", Asking())


def test_of_choices_the_likeliest_is_taken(loader: HfLoader, tokenizer: Any, tmp_path: Path) -> None:
    choices = (" red", " blue", " green")
    items = tuple({"prompt": f"U: {n}", "choices": choices} for n in range(20))
    data = read({"toy": Toy(items)}, loader, tokenizer)
    outputs = {f"U: {n}": Output(choice_logprobs=(-2.0, -0.5, -1.0)) for n in range(20)}
    encoder = Encoder(loader, tokenizer)

    def answers(asking: Asking, file: str) -> list[str]:
        filled = fill(data.unlabelled, Writer(outputs), encoder, tmp_path / file, asking)
        return [tokenizer.decode(row.tokens[row.prompt :].tolist()) for row in filled.rows]

    assert answers(Asking(), "a") == [" blue"] * 20
    sampled = answers(Asking(temperature=1.0), "b")
    assert set(sampled) >= {" blue", " green"}
    assert sampled == answers(Asking(temperature=1.0), "c")


def test_an_ensemble_fills_in_what_it_writes(loader: HfLoader, tokenizer: Any, tmp_path: Path) -> None:
    other = HfLoader(path=make_model(tmp_path / "other", seed=3, chat=True), device="cpu", threads=1)
    both = EnsembleLoader(models=(loader, other))
    data = read({"toy": Toy(unlabelled(6))}, loader, tokenizer)
    filled = fill(data.unlabelled, both, Encoder(loader, tokenizer), tmp_path / "f", Asking())
    with both.open() as model:
        said = dict(model.answer([Request(f"U: {n}", max_tokens=12) for n in range(6)]))
    assert len(filled.rows) == 6
    for number, row in enumerate(filled.rows):
        text = tokenizer.decode(row.tokens[row.prompt :].tolist(), skip_special_tokens=True)
        assert text == said[number].text
