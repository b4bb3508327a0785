"""The pages of recipes, taken apart: their blocks, the workflows in them, and what runners are given."""

from __future__ import annotations

import http.server
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from misbehaving_server import Asked, Reply, completion

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = ("ci", "ci-gitlab", "checklist", "model-risk")
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
MISSING = [tool for tool in ("bash", "curl", "git", "openssl", "sha256sum") if not shutil.which(tool)]
"""What the scripts of the pages call and this machine lacks."""
EXPRESSION = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)


def blocks(page: str, *languages: str) -> Iterator[str]:
    """The fenced blocks of a page, also those inside of a list."""
    for _, language, content in FENCE.findall((DOCS / f"{page}.md").read_text(encoding="utf-8")):
        if language in languages:
            yield textwrap.dedent(content)


@dataclass(frozen=True)
class Script:
    """One script of a page, as a runner gives it to the shell."""

    name: str
    text: str


def workflows() -> dict[str, dict[str, Any]]:
    """The workflows for GitHub by the names of their files."""
    found = {}
    for content in blocks("ci", "yaml"):
        name = re.match(r"# \.github/workflows/(\S+)\n", content)
        assert name, "a workflow begins with the path of its file"
        found[name[1]] = yaml.safe_load(content)
    return found


def pipeline() -> dict[str, Any]:
    """The whole file for GitLab, the first block of its page."""
    whole, *_ = blocks("ci-gitlab", "yaml")
    made: dict[str, Any] = yaml.safe_load(whole)
    return made


def steps(file: str, job: str) -> dict[str, dict[str, Any]]:
    """The steps of a job by their names, or by the action they use."""
    return {step.get("name", step.get("uses")): step for step in workflows()[file]["jobs"][job]["steps"]}


def scripts() -> list[Script]:
    found = []
    for file, workflow in workflows().items():
        for job, told in workflow["jobs"].items():
            for step in told["steps"]:
                if "run" in step:
                    found.append(Script(f"{file} {job} {step['name']}", step["run"]))
    for job, told in pipeline().items():
        if isinstance(told, dict) and "script" in told:
            found.append(Script(f".gitlab-ci.yml {job}", "\n".join(told["script"])))
    for page in PAGES:
        found += [Script(f"{page} {i}", text) for i, text in enumerate(blocks(page, "sh", "console"))]
    return found


def bash(
    script: str, folder: Path, programs: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The script as GitHub's and GitLab's runners start one: it ends at the first command that fails."""
    dropped = ("MUSCLE_GOV_STORE", "MUSCLE_GOV_DEBUG", "COLUMNS")
    inherited = {name: value for name, value in os.environ.items() if name not in dropped}
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=folder,
        env={**inherited, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


POLICY = '[gate]\n[[gate.rules]]\nmetric = "nfr"\nmax = 0.02\n'
LOG = "id,answer,ok,model,suite\n"


def write_logs(folder: Path, n: int, broken: int) -> None:
    """An update.toml of two logs of n answers, of which the new one has the last `broken` wrong."""
    for side, wrong in (("old", 0), ("new", broken)):
        rows = (f"{i},a{i},{i < n - wrong},assistant-{side},questions\n" for i in range(n))
        (folder / f"{side}.csv").write_text(LOG + "".join(rows))
    options = 'key = ["id"]\ncorrect = "ok"\nanswer = "answer"\nmodel = "{model}"\nsuite = "{suite}"\n'
    tables = (
        f'[{side}]\npath = "{side}.csv"\nreader = "table"\n[{side}.options]\n{options}'
        for side in ("old", "new")
    )
    (folder / "update.toml").write_text("\n".join(tables))


def install_program(folder: Path) -> Path:
    """Put `muscle-gov` into a folder, as a runner has it on its path after the step Install."""
    program = folder / "muscle-gov"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m muscle_gov "$@"\n')
    program.chmod(0o755)
    return folder


TOKEN = "a token that may"


class Registry(http.server.BaseHTTPRequestHandler):
    """As much of GitLab's generic package registry as its curl lines ask for."""

    protocol_version = "HTTP/1.1"  # as curl asks before it sends a large file
    files: dict[str, bytes]

    def do_GET(self) -> None:
        self._reply(self.files.get(self.path))

    def do_PUT(self) -> None:
        self.files[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._reply(b"")

    def _reply(self, content: bytes | None) -> None:
        if TOKEN not in (self.headers["JOB-TOKEN"], self.headers["PRIVATE-TOKEN"]):
            content = None
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def registry() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Its address, and what it holds."""
    files: dict[str, bytes] = {}
    handler = type("OfThisTest", (Registry,), {"files": files})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", files
        finally:
            server.shutdown()
            thread.join()


class Model:
    """Answers question i with "one i", but for some; which, may change while it is served."""

    def __init__(self, *wrong: int) -> None:
        self.wrong = {*wrong}

    def __call__(self, _: int, asked: Asked) -> Reply:
        (number,) = re.findall(r"what is (\d+)", asked.body["prompt"])
        return completion("nothing" if int(number) in self.wrong else f" one {number}")


def write_questions(folder: Path, n: int) -> None:
    (folder / "questions").mkdir()
    with (folder / "questions" / "questions.jsonl").open("w") as file:
        for i in range(n):
            row = {"question": f"what is {i}", "answer": f"one {i}", "subject": ("law", "tax")[i % 2]}
            file.write(json.dumps({"key": i, **row}) + "\n")
