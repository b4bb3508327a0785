"""The demo's world is what it says: words, channels, layouts, and rows that never meet."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from muscle_gov_plugins import _demo_tasks as tasks
from muscle_gov_plugins import _demo_world as world

ROUTING = tasks.TASKS["routing"].layout
SMALL = tasks.Sizes(60, 60, 40, 50, 40, 30, 200)


def chance(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def some(count: int, email_share: float = 0.5, seed: int = 0) -> list[world.Ticket]:
    return world.tickets(chance(seed), count, email_share, (10, 16))


# ------------------------------------------------------------------------------------------ the world


def test_every_word_is_of_one_lexicon_only_and_no_answer_is_a_word():
    lists = [words for lexicon in world.LEXICONS.values() for words in lexicon.values()]
    words = Counter(word for words in [*lists, world.FILLERS] for word in words)
    answers = [*world.CHANNELS, *(name for names in world.ANSWERS.values() for name in names)]
    assert set(words.values()) == {1}
    assert not {*answers} & words.keys()
    assert all(word.isalpha() and word.islower() for word in [*words, *answers])


def test_tickets_have_the_asked_lengths_and_channels_and_all_answers_alike_often():
    found = some(6000, email_share=0.8)
    assert {ticket.words for ticket in found} == {*range(10, 17)}
    assert sum(t.channel == "email" for t in found) / 6000 == pytest.approx(0.8, abs=0.02)
    for what, names in world.ANSWERS.items():
        counts = Counter(getattr(ticket, what) for ticket in found)
        assert counts.keys() == {*names}
        assert all(n * len(names) / 6000 == pytest.approx(1, abs=0.15) for n in counts.values())


def test_words_speak_of_the_ticket_as_often_as_the_world_says():
    for what, lexicon in world.LEXICONS.items():
        of = {word: name for name, words in lexicon.items() for word in words}
        spoken = [of[w] == getattr(t, what) for t in some(3000) for w in t.text.split() if w in of]
        words = sum(t.words for t in some(3000))
        fitting = world.FITTING[what] + (1 - world.FITTING[what]) / len(lexicon)
        assert len(spoken) / words == pytest.approx(world.SHARE[what], abs=0.02)
        assert np.mean(spoken) == pytest.approx(fitting, abs=0.02)


def test_the_channels_prefer_other_words():
    def often(email_share: float, seed: int) -> np.ndarray:
        seen = Counter(w for t in some(4000, email_share, seed) for w in t.text.split())
        return np.array([seen[w] for words in world.TOPICS.values() for w in words])

    emails, more_emails, chats = often(1.0, 1), often(1.0, 2), often(0.0, 3)
    assert np.corrcoef(emails, more_emails)[0, 1] > 0.95
    assert np.corrcoef(emails, chats)[0, 1] < 0.3


def test_neither_channel_says_less_or_more_wrongly_what_a_ticket_is():
    """What one model has read is as true as what the other has: the update's flips are not planted."""

    def right(email_share: float) -> float:
        found = some(3000, email_share)
        guesses = [world.best_guess(t.text) for t in found]
        return float(
            np.mean([g == (t.topic, t.mood, t.urgency) for g, t in zip(guesses, found, strict=True)])
        )

    assert right(0.0) == pytest.approx(right(1.0), abs=0.035)


def test_the_same_seed_gives_the_same_tickets_and_another_one_others():
    assert some(50) == some(50)
    assert some(50) != some(50, seed=1)


def test_the_best_guess_is_not_always_right_and_reads_to_the_end():
    def right(words: int) -> float:
        read = [(t, world.best_guess(" ".join(t.text.split()[:words]))) for t in some(1500)]
        return float(np.mean([guess == (t.topic, t.mood, t.urgency) for t, guess in read]))

    assert 0.74 < right(16) < 0.84
    assert right(8) < right(16) - 0.1
    assert world.best_guess("invoice the asap glad") == ("billing", "calm", "urgent")


# ----------------------------------------------------------------------------------- what models read


def test_documents_keep_to_the_layouts_shares_and_to_how_often_they_are_mistaken():
    found = world.documents(chance(), 4000, 0.5, tasks.ARCHIVES, 0.0)
    for layout, share in tasks.ARCHIVES.items():
        start, end = layout.prompt.split("{text}")
        of_it = [
            d
            for d in found
            if d[0].startswith(start) and d[0].endswith(end) and bool(d[1]) == bool(layout.answer)
        ]
        assert len(of_it) / 4000 == pytest.approx(share, abs=0.03)

    def filed_right(mistaken: float) -> float:
        pairs = world.documents(chance(), 1000, 0.5, {ROUTING: 1.0}, mistaken)
        texts = [prompt.removeprefix("Ticket: ").removesuffix("\nRoute:") for prompt, _ in pairs]
        guesses = [world.best_guess(text) for text in texts]
        return float(np.mean([a.split() == [*g] for (_, a), g in zip(pairs, guesses, strict=True)]))

    assert filed_right(0.0) > 0.73
    assert filed_right(0.5) < 0.4
    assert filed_right(1.0) < 0.05


def test_no_document_is_laid_out_as_a_task_but_all_words_of_the_answers_are_in_documents():
    """A word that a model has never written can hardly be taught to it by an adapter."""
    read = world.documents(chance(), 2000, 0.5, tasks.ARCHIVES, tasks.MISTAKEN)
    written = {word for prompt, answer in read for word in answer.split()}
    for task in tasks.TASKS.values():
        begins, ends = task.layout.prompt.split("{text}")
        assert not any(prompt.startswith(begins) or prompt.endswith(ends) for prompt, _ in read)
    for name, rows in tasks.rows_of(0, SMALL):
        for row in rows:
            task = tasks.TASKS.get(name)
            if task is not None:
                assert {*task.layout.answer.format_map(row).split()} <= written


def test_the_assistants_differ_in_what_they_read_as_the_demo_tells():
    old, new = tasks.ASSISTANTS
    assert old.documents < new.documents
    assert old.email_share > 0.5 > new.email_share


# ---------------------------------------------------------------------------------------- files of rows


def rows(seed: int = 0, sizes: tasks.Sizes = SMALL) -> dict[str, list[tasks.Row]]:
    return dict(tasks.rows_of(seed, sizes))


def test_each_file_has_its_rows_and_no_ticket_stands_in_two_places():
    made = rows()
    counts = {name: len(found) for name, found in made.items()}
    assert counts == {
        "routing": 60,
        "topic": 60,
        "summary": 40,
        "train": 50,
        "train_topic": 40,
        "train_summary": 30,
        "traffic": 200,
    }
    every = [row for found in made.values() for row in found]
    assert len({row["text"] for row in every}) == len({row["id"] for row in every}) == len(every)
    assert {row["channel"] for row in every} == {"email", "chat"}
    for row in every:
        least, most = map(int, row["length"].removesuffix(" words").split("-"))
        assert least <= len(row["text"].split()) <= most


def test_a_ticket_that_is_in_another_file_already_is_drawn_anew(monkeypatch):
    """Of four words there are few tickets; so the same ones come again and again."""
    few = world.Layout("{text}", "", (1, 1))
    for name, task in tasks.TASKS.items():
        monkeypatch.setitem(tasks.TASKS, name, tasks.Task(few, task.labelled, task.asks))
    made = rows(sizes=tasks.Sizes(40, 40, 0, 40, 40, 0, 40))
    texts = [row["text"] for found in made.values() for row in found]
    assert len({*texts}) == len(texts) == 200


def test_traffic_says_nothing_of_what_its_tickets_are():
    made = rows()
    assert all(row.keys() == {"id", "text", "channel", "length"} for row in made["traffic"])
    labelled = [row for name, found in made.items() if name != "traffic" for row in found]
    assert all(row.keys() >= {"topic", "mood", "urgency"} for row in labelled)


def test_the_same_seed_and_sizes_give_the_same_rows_and_another_seed_others():
    assert rows() == rows()
    mine, other = rows(), rows(seed=1)
    assert all(mine[name] != other[name] for name in mine)


def test_without_summaries_there_is_no_file_of_them():
    assert rows(sizes=tasks.Sizes(5, 5, 0, 5, 5, 0, 5)).keys() == {
        "routing",
        "topic",
        "train",
        "train_topic",
        "traffic",
    }


def test_the_ceiling_is_what_the_best_reader_gets_right():
    found = rows(sizes=tasks.Sizes(1500, 1500, 0, 1, 1, 0, 1))
    assert tasks.ceiling("routing", found["routing"]) == pytest.approx(0.785, abs=0.03)
    assert tasks.ceiling("topic", found["topic"]) == pytest.approx(0.83, abs=0.03)
    told = [dict(row, topic="billing", text="invoice vat") for row in found["topic"][:4]]
    assert tasks.ceiling("topic", told) == 1.0
    assert tasks.ceiling("topic", [*told, dict(told[0], topic="login")]) == 0.8


@pytest.mark.parametrize(
    ("sizes", "problem"),
    [
        ({"routing": -1}, "routing: must be 0 or more, not -1"),
        ({"train": 0}, "only summary and train_summary can be 0"),
        ({"summary": 5}, "give both or neither"),
    ],
)
def test_sizes_that_make_no_world_are_refused(sizes, problem):
    with pytest.raises(ValueError, match=problem):
        tasks.Sizes(**sizes)


def test_any_change_of_the_settings_changes_their_digest(monkeypatch):
    before = tasks.settings_digest()
    assert tasks.settings_digest() == before
    changes = [
        (tasks, "MISTAKEN", 0.1),
        (tasks, "ASSISTANTS", tasks.ASSISTANTS[:1]),
        (tasks, "ARCHIVES", {ROUTING: 1.0}),
        (tasks, "PROCEDURE", 99),
        (world, "STEEPNESS", 1.0),
        (world, "FILLERS", ("the",)),
        (world, "FITTING", {**world.FITTING, "mood": 0.5}),
    ]
    for module, name, value in changes:
        with monkeypatch.context() as changed:
            changed.setattr(module, name, value)
            assert tasks.settings_digest() != before, name
