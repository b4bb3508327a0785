"""`muscle-gov run` and `muscle-gov predict` on real, tiny models, as a user runs them."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from cli_runner import environment, install, muscle_gov, muscle_gov_apart, program
from tiny_models import make_model

from muscle_gov.cli._predicting import summary
from muscle_gov.ingest import ImportedRun
from muscle_gov.predict import PredictedRun
from muscle_gov.store import open_store

pytest.importorskip("torch")

QUESTIONS = [
    {"id": i, "q": f"the {a} sees a {b} and", "a": a, "pick": [a, b, "moon"], "kind": a}
    for i, (a, b) in enumerate(
        (a, b) for a in ("cat", "dog", "bird", "fish") for b in ("sun", "sky", "water", "fire")
    )
]
CONFIG = """
store = "s.duckdb"
[models.old]
path = "v1"
device = "cpu"
[models.new]
path = "v2"
device = "cpu"
[suites.write]
path = "q.jsonl"
prompt = "{{ q }}"
target = "{{ a }}"
grader = "contains"
key = "id"
tags = ["kind"]
max_tokens = 6
[suites.pick]
path = "q.jsonl"
prompt = "{{ q }}"
target = "{{ a }}"
choices = "{{ pick }}"
key = "id"
[gate]
[[gate.rules]]
metric = "nfr"
max = 0.9
judge = "value"
[reports]
html = "report.html"
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_model(folder / "v1", seed=0)
    make_model(folder / "v2", seed=1)
    return folder


@pytest.fixture
def folder(tmp_path: Path, models: Path) -> Path:
    for name in ("v1", "v2"):
        shutil.copytree(models / name, tmp_path / name)
    (tmp_path / "q.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in QUESTIONS))
    (tmp_path / "update.toml").write_text(CONFIG)
    return tmp_path


def edit(folder: Path, before: str, after: str) -> None:
    text = (folder / "update.toml").read_text()
    assert before in text
    (folder / "update.toml").write_text(text.replace(before, after, 1))


def test_a_file_is_run_and_judged_and_nothing_is_asked_twice(folder):
    ran = muscle_gov("run", cwd=folder)
    assert ran.code == 0, ran.err
    assert "verdict: ✓ PASS" in ran.out
    assert "v1  →  v2" in ran.out
    assert "write" in ran.out
    assert "pick" in ran.out
    assert (folder / "report.html").stat().st_size > 10_000
    with open_store(folder / "s.duckdb") as store:
        answers = store.rows("SELECT count(*), count(text), count(choice_logprobs) FROM answers")
        assert answers == [(64, 32, 32)]
        before = store.rows("SELECT max(answered_at) FROM answers")
    again = muscle_gov("run", cwd=folder)
    assert again.code == 0
    assert again.err.startswith("v1 on write: all 16 answers were there\n")
    assert "loading" not in again.err
    with open_store(folder / "s.duckdb") as store:
        assert store.rows("SELECT max(answered_at) FROM answers") == before
        assert store.rows("SELECT count(*) FROM runs") == [(4,)]
        assert store.rows("SELECT count(*) FROM comparisons") == [(2,)]


def test_what_was_run_can_be_judged_again_and_its_flips_listed(folder):
    assert muscle_gov("run", cwd=folder).code == 0
    assert muscle_gov("gate", "--max", "nfr=0%", "--store", "s.duckdb", cwd=folder).code in (1, 3)
    flips = muscle_gov("flips", "--store", "s.duckdb", "--json", cwd=folder).json["flips"]
    assert flips
    assert all(flip["prompt"].startswith("the ") for flip in flips)


def test_predict_fills_in_and_says_what_is_there(folder):
    first = muscle_gov("predict", "-c", "update.toml", "--suite", "pick", "--model", "old", cwd=folder)
    assert first.code == 0, first.err
    assert first.out == "pick  v1  16 predictions (16 answers asked for, 0 were there)\n"
    assert first.err.startswith("v1 on pick: loading the model\nv1 on pick: 16 of 16 answers")
    second = muscle_gov("predict", "-c", "update.toml", "--json", "-q", cwd=folder)
    assert (second.code, second.err) == (0, "")
    found = {(one["run"]["model"], one["run"]["suite"]): one["found"] for one in second.json}
    assert found == {("v1", "write"): 0, ("v1", "pick"): 16, ("v2", "write"): 0, ("v2", "pick"): 0}


def test_a_model_and_a_suite_may_stand_on_the_command_line(folder):
    given = ["-m", "path=v1", "-m", "device=cpu", "-m", "name=first", "-s", "path=q.jsonl"]
    given += ["-s", "prompt={{ q }}", "-s", "target={{ a }}", "-s", "grader.kind=contains"]
    given += ["-s", "max_tokens=4"]
    ran = muscle_gov("predict", *given, "--limit", "5", "--repeats", "2", cwd=folder)
    assert ran.code == 0, ran.err
    assert "first  10 predictions (10 answers asked for, 0 were there)" in ran.out


def test_repeats_show_a_noise_floor(folder):
    ran = muscle_gov("run", "--repeats", "2", "--suite", "pick", cwd=folder)
    assert ran.code == 0, ran.err
    assert "pick: 0.0% would flip without any update (noise floor)" in ran.out


def test_changed_weights_are_another_model(folder, models):
    assert muscle_gov("run", "-q", cwd=folder).code == 0
    shutil.rmtree(folder / "v2")
    shutil.copytree(models / "v1", folder / "v2")
    ran = muscle_gov("run", cwd=folder)
    # the weights of both are now the same, and so are all answers: none is asked for
    assert "loading" not in ran.err
    assert "flips: none" in ran.out
    assert (ran.code, "[same-model]" in ran.out) == (3, True)  # a path that was not changed looks so


def test_a_log_stands_beside_a_model(folder):
    rows = [{"id": row["id"], "ok": True, "said": row["a"]} for row in QUESTIONS]
    (folder / "old.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    edit(
        folder,
        '[models.old]\npath = "v1"\ndevice = "cpu"',
        '[models.old]\nloader = "recorded"\npath = "old.jsonl"\nreader = "table"\n'
        'options = { key = "id", correct = "ok", answer = "said", suite = "write" }',
    )
    ran = muscle_gov("run", "--suite", "write", cwd=folder)
    assert ran.code == 3, ran.err
    assert "harness-differs" in ran.out  # legal if it is allowed, and never passed over
    assert "old" in ran.out


def test_settings_that_change_answers_are_told(folder):
    edit(folder, 'path = "v2"', 'path = "v2"\nattention = "eager"\nadd_bos = "never"')
    ran = muscle_gov("run", cwd=folder)
    told = "the models were run with other settings: attention: auto → eager; add bos: auto → never"
    assert told in " ".join(ran.out.split())


def test_a_limited_run_is_for_a_try_and_never_a_verdict(folder):
    ran = muscle_gov("run", "--limit", "5", cwd=folder)
    assert ran.code == 3
    assert "only the first 5 instances were asked, for a try [limited-run]" in ran.out
    assert muscle_gov("run", "--limit", "5", "--allow", "limited-run", cwd=folder).code == 0


def test_a_fault_in_the_second_model_is_told_before_the_first_is_asked(folder):
    edit(folder, 'path = "v2"', 'path = "nowhere/v2"')
    ran = muscle_gov("run", cwd=folder)
    assert ran.code == 2
    assert "loading" not in ran.err


def test_an_engine_or_a_number_format_of_its_own_is_told(folder):
    edit(folder, 'path = "v2"', 'path = "v2"\ndtype = "bfloat16"')
    ran = muscle_gov("run", cwd=folder)
    assert "! pick, write: the dtype differs: float32 → bfloat16" in ran.out


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('path = "v2"', 'path = "nowhere/v2"', "nowhere/v2"),
        ('path = "q.jsonl"', 'path = "none.jsonl"', "none.jsonl"),
        ('prompt = "{{ q }}"', 'prompt = "{{ question }}"', "'question' is undefined"),
        ('loader = "hf"', 'loader = "hfs"', "did you mean 'hf'"),
    ],
)
def test_what_cannot_be_run_is_one_sentence_and_exit_2(folder, before, after, words):
    edit(folder, "[models.new]\n", '[models.new]\nloader = "hf"\n')
    edit(folder, before, after)
    ran = muscle_gov("run", cwd=folder)
    assert ran.code == 2, ran.err
    assert words in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""


def test_a_model_that_is_no_model_is_told(folder):
    (folder / "v2" / "model.safetensors").write_bytes(b"\0" * 100)
    ran = muscle_gov("run", cwd=folder)
    assert ran.code in (2, 3)
    assert "v2" in ran.err.splitlines()[-1]
    assert "Traceback" not in ran.err


def test_compare_says_that_models_are_to_be_run(folder):
    ran = muscle_gov("compare", "-c", "update.toml", cwd=folder)
    assert ran.code == 2
    assert ran.sentence.endswith("has models to run; use: muscle-gov run update.toml")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["predict"], "give --config, or both -m NAME=VALUE and -s NAME=VALUE"),
        (["predict", "-m", "path=v1"], "give --config, or both"),
        (["predict", "-c", "update.toml", "-m", "path=v1"], "instead of --config, not beside it"),
        (
            ["predict", "-c", "update.toml", "--model", "odl"],
            "there is no model 'odl' to run; did you mean",
        ),
        (
            ["predict", "-c", "update.toml", "--suite", "pikc"],
            "there is no suite 'pikc' to run; did you",
        ),
        (["run", "--suite", "pikc"], "there is no suite 'pikc' to run; did you mean 'pick'?"),
        (["run", "nothing.toml"], "there is no such file"),
    ],
)
def test_wrong_usage_is_told(folder, words, told):
    ran = muscle_gov(*words, cwd=folder)
    assert ran.code == 2
    assert told in ran.err


def test_requests_that_fail_are_errors_and_exit_3(folder):
    row = {**QUESTIONS[0], "id": 99, "q": "the cat " * 2000}
    with (folder / "q.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    ran = muscle_gov("predict", "-c", "update.toml", "--model", "old", cwd=folder)
    assert ran.code == 3
    assert ran.out.count("; 1 request has no answer: ") == 2
    with open_store(folder / "s.duckdb") as store:
        states = dict(store.rows("SELECT outcome, count(*) FROM predictions GROUP BY ALL"))
    assert states["error"] == 2
    assert sum(states.values()) == 34


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (1, "1 prediction (1 answer asked for, 1 was there); 1 request has no answer: too long"),
        (
            1200,
            "1,200 predictions (1,200 answers asked for, 1,200 were there); "
            "1,200 requests have no answer: too long",
        ),
        (0, "0 predictions (0 answers asked for, 0 were there)"),
    ],
)
def test_what_is_counted_is_named_in_singular_or_plural(number, told):
    run = ImportedRun(1, 1, "v1", "pick", number, number, 0, (), False)
    assert summary([PredictedRun(run, number, number, number, "too long")]) == [f"pick  v1  {told}"]


def test_a_dead_endpoint_gives_errors_and_never_wrong_answers(folder):
    edit(
        folder,
        'path = "v2"\ndevice = "cpu"',
        'loader = "endpoint"\nurl = "http://127.0.0.1:9/v1"\nmodel = "v2"\nretries = 0',
    )
    ran = muscle_gov("run", cwd=folder)
    assert ran.code == 3
    assert "INCOMPARABLE" in ran.out
    assert "new: 16 answers ended in an error (mostly: " in ran.out  # and why
    with open_store(folder / "s.duckdb") as store:
        states = store.rows(
            """SELECT DISTINCT outcome FROM predictions JOIN runs USING (run_id)
            JOIN models m USING (model_id) WHERE m.name = 'v2'"""
        )
    assert states == [("error",)]


SLOW = '''
"""A model that takes its time."""

import time
from contextlib import contextmanager
from dataclasses import dataclass

from muscle_gov import ModelFacts, Output, hookimpl


@hookimpl
def register_loaders():
    return {"slow": Slow}


@dataclass(frozen=True)
class Slow:
    """Says what it was asked."""

    def facts(self):
        return ModelFacts(name="slow", engine="slow 1")

    @contextmanager
    def open(self):
        yield self

    def answer(self, requests):
        for place, request in enumerate(requests):
            time.sleep(0.05)
            yield place, Output(text=request.prompt, tokens=3, prompt_tokens=4)
'''


def test_an_interrupt_keeps_what_has_come_and_says_so(folder):
    """With a loader of a stranger, which comes in by the same door as ours."""
    plugins = install(folder / "plugins", "slow-loader", SLOW)
    (folder / "q.jsonl").write_text(
        "".join(f"{json.dumps({**QUESTIONS[0], 'id': i, 'q': f'number {i}'})}\n" for i in range(100))
    )
    given = ["predict", "-m", "loader=slow", "-s", "path=q.jsonl", "-s", "prompt={{ q }}"]
    given += ["-s", "target={{ a }}", "--store", "slow.duckdb"]
    env = environment(plugins)
    started = subprocess.Popen(
        program(*given), cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert started.stderr is not None
    assert started.stderr.readline().endswith(b"loading the model\n")
    time.sleep(1)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=30)
    assert (started.returncode, out) == (3, b"")
    assert (
        err.decode() == "muscle-gov: interrupted; what was finished is kept, nothing is half-written\n"
    )
    with open_store(folder / "slow.duckdb") as store:
        (kept,) = store.rows("SELECT count(*) FROM answers")[0]
    assert 5 <= kept < 100
    ran = muscle_gov_apart(*given, cwd=folder, env={"PYTHONPATH": env["PYTHONPATH"]})
    assert ran.code == 0, ran.err
    assert f"({100 - kept} answers asked for, {kept} were there)" in ran.out
