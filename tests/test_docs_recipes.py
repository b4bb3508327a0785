"""The recipes for CI and releases are well-formed: files parse, scripts are bash, every flag exists.

That the scripts do what the pages say is tested in test_docs_recipes_run.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import click
import pytest
import yaml
from recipe_pages import DOCS, EXPRESSION, FENCE, PAGES, Script, blocks, scripts, steps, workflows

from muscle_gov.cli import cli

SCRIPTS = [pytest.param(one, id=one.name) for one in scripts()]
"""Every script of these pages."""


# ---------------------------------------------------------------------------------- they are well-formed


def test_every_block_of_the_pages_is_of_a_language_that_is_tested() -> None:
    for page in PAGES:
        text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
        assert {language for _, language, _ in FENCE.findall(text)} <= {"sh", "console", "yaml", "toml"}
        assert text.count("```") == 2 * len(FENCE.findall(text))


@pytest.mark.parametrize("page", PAGES)
def test_every_yaml_example_is_a_mapping_without_doubled_keys(page: str) -> None:
    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key) for key, _ in node.value]
            assert len(keys) == len(set(keys)), f"{page}: {keys}"
            return super().construct_mapping(node, deep)

    for content in blocks(page, "yaml"):
        assert isinstance(yaml.load(content, Strict), dict)  # a safe one, but stricter


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_is_bash(script: Script) -> None:
    text = re.sub(r"^\$ ", "", script.text, flags=re.MULTILINE)
    done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def commands(text: str) -> Iterator[list[str]]:
    """The words of each call of muscle-gov in a script."""
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="|&;<>(){}")
        lexer.whitespace_split = True
        try:
            words = list(lexer)
        except ValueError:  # a quoted text that goes on in the next line
            assert "muscle-gov " not in line
            continue
        while "muscle-gov" in words:
            rest = words[words.index("muscle-gov") + 1 :]
            ends = [i for i, word in enumerate(rest) if re.fullmatch(r"[|&;<>(){}]+", word)]
            yield rest[: ends[0]] if ends else rest
            words = rest


CALLS = [
    pytest.param(words, id=f"{one.name}: {' '.join(words)}")
    for one in scripts()
    for words in commands(one.text)
]


@pytest.mark.parametrize("words", CALLS)
def test_every_command_and_flag_exists(words: list[str]) -> None:
    top = click.Context(cli, **cli.context_settings)
    command = cli.get_command(top, words[0])
    assert command is not None, words[0]
    command.make_context(words[0], words[1:], parent=top)


@pytest.mark.parametrize("page", PAGES[:3])
def test_the_pages_call_the_program(page: str) -> None:
    assert any(str(one.id).startswith(page.replace("ci-gitlab", ".gitlab")) for one in CALLS)


# ----------------------------------------------------------------------------- the workflows are careful


WRITES = {"pull-requests": "gh api --method POST", "security-events": "codeql-action/upload-sarif"}
"""What a job may write, and what in it needs that."""


@pytest.mark.parametrize("file", workflows())
def test_a_workflow_has_no_right_that_it_does_not_need(file: str) -> None:
    workflow = workflows()[file]
    asked = workflow[True]  # YAML takes the key `on` for a truth value
    assert "pull_request_target" not in asked
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        rights = job["permissions"]
        may_write = "write" in rights.values()
        text = json.dumps(job)
        needs = {right for right, sign in WRITES.items() if sign in text}
        assert {right for right, level in rights.items() if level == "write"} == needs
        assert not (may_write and "secrets." in text), f"{name} has a secret and may write"
        assert not (may_write and "muscle-gov run" in text), f"{name} runs models and may write"
        assert job["timeout-minutes"] <= 360


@pytest.mark.parametrize("file", workflows())
def test_a_workflow_puts_nothing_from_outside_into_a_script(file: str) -> None:
    for job in workflows()[file]["jobs"].values():
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert not EXPRESSION.search(step.get("run", ""))
            if "uses" in step:
                assert re.fullmatch(r"[\w.-]+(/[\w.-]+)+@v\d+", step["uses"])
            if str(step.get("uses")).startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("file", workflows())
def test_a_workflow_refers_to_what_it_has(file: str) -> None:
    jobs = workflows()[file]["jobs"]
    for job in jobs.values():
        ids = {step["id"] for step in job["steps"] if "id" in step}
        text = json.dumps(job)
        assert {*re.findall(r"steps\.(\w+)\.", text)} <= ids
        for needed, output in re.findall(r"needs\.(\w+)\.outputs\.(\w+)", text):
            assert needed == job["needs"]
            assert output in jobs[needed]["outputs"]
        for step in job["steps"]:
            given = {*step.get("env", {}), *job.get("env", {})}
            for name in re.findall(r"\$\{?([A-Z_]+)", step.get("run", "")):
                assert name in given or name.startswith("GITHUB_"), name


def test_what_is_handed_on_is_what_was_kept() -> None:
    kept = steps("gate.yml", "judge")["Keep the report"]["with"]
    taken = steps("gate.yml", "publish")["actions/download-artifact@v7"]["with"]
    assert (kept["name"], kept["path"].strip("/")) == (taken["name"], taken["path"])
    history = steps("nightly.yml", "watch")
    assert (
        f"--name {history['Keep the history']['with']['name']} " in history["Restore the history"]["run"]
    )
