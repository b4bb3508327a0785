"""The real entry point, run in this process (quick) or as a program of its own (signals, pipes, limits).

In this process the command line is put where the console script finds it, and nothing is stubbed:
exit code and both streams are what a shell would see.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from muscle_gov import cli

TROUBLE = ("Traceback (most recent call last)", "crashed:")


@dataclass(frozen=True)
class Ran:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as JSON; anything else on stdout is a fault."""
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """What stderr says, which must be one clear sentence and no traceback."""
        lines = self.err.splitlines()
        assert not any(trouble in self.err for trouble in TROUBLE), self.err
        assert len(lines) == 1, self.err
        assert lines[0].startswith("muscle-gov: "), self.err
        assert self.out == "", self.out
        return lines[0]


def muscle_gov(*args: Any, cwd: Path | None = None, **environment: str) -> Ran:
    """Run the command line in this process."""
    words = [str(arg) for arg in args]
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, environment))
        for name in ("COLUMNS", "MUSCLE_GOV_STORE", "MUSCLE_GOV_DEBUG"):
            if name not in environment:
                os.environ.pop(name, None)
        stack.enter_context(mock.patch.object(sys, "argv", ["muscle-gov", *words]))
        stack.enter_context(contextlib.chdir(cwd or Path.cwd()))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        try:
            cli.main()
        except SystemExit as left:
            code = left.code
    assert isinstance(code, int), code
    return Ran(code, _text(out), _text(err))


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    written: bytes = stream.buffer.getvalue()  # type: ignore[attr-defined]
    return written.decode()


def program(*args: Any) -> list[str]:
    """The words that start the command line as a program of its own."""
    return [sys.executable, "-m", "muscle_gov", *(str(arg) for arg in args)]


def environment(plugins: Path | None = None, **more: str) -> dict[str, str]:
    """What such a program is given: this process's, but for what would change its output.

    `plugins` is a folder that `install` has put some into.
    """
    dropped = ("COLUMNS", "MUSCLE_GOV_STORE", "MUSCLE_GOV_DEBUG")
    found = {name: value for name, value in os.environ.items() if name not in dropped} | more
    if plugins is not None:
        before = os.environ.get("PYTHONPATH")
        found["PYTHONPATH"] = os.pathsep.join([str(plugins), *([before] if before else [])])
    return found


def muscle_gov_apart(
    *args: Any,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 60,
    **options: Any,
) -> Ran:
    """Run the command line as a program of its own; `options` go to `subprocess.run`."""
    done = subprocess.run(
        program(*args),
        cwd=cwd,
        env={**environment(), **(env or {})},
        capture_output=True,
        timeout=timeout,
        check=False,
        **options,
    )
    return Ran(done.returncode, *(s.decode("utf-8", "replace") for s in (done.stdout, done.stderr)))


# --------------------------------------------------------------------- plugins of a stranger


def install(folder: Path, name: str, source: str) -> Path:
    """Put a plugin into `folder` as a package manager would; it is found once that is on the path."""
    module = name.replace("-", "_")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[muscle_gov]\n{name} = {module}\n")
    return folder


STALLING = '''
"""Reads "logs" that hold a number of rows; stops in front of the end where the environment says so."""

import os
import time
from dataclasses import dataclass

from muscle_gov import Outcome, RecordedRow, RecordedRun, RunHeader, hookimpl


@hookimpl
def register_readers():
    return {"stalling": StallingReader}


@dataclass(frozen=True)
class StallingReader:
    """A number of rows, right but for every tenth."""

    def detect(self, path):
        return path.suffix == ".stalling"

    def read(self, path):
        header = RunHeader(model=path.stem, task="stalling", harness="stalling")
        yield RecordedRun(header, self._rows(path), (path,))

    def _rows(self, path):
        for i in range(int(path.read_text())):
            outcome = Outcome.RIGHT if i % 10 else Outcome.WRONG
            yield RecordedRow(str(i), outcome, float(i % 10 > 0), f"answer {i}", prompt=f"prompt {i}")
        if "STALL" in os.environ:
            path.with_suffix(".reached").touch()
            time.sleep(60)
'''


def start_and_stall(folder: Path, log: Path, *args: Any) -> subprocess.Popen[bytes]:
    """Start the command line in a folder with `STALLING` in `plugins`, and wait until it stalls."""
    reached = log.with_suffix(".reached")
    reached.unlink(missing_ok=True)
    env = environment(folder / "plugins", STALL="1")
    started = subprocess.Popen(
        program(*args), cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    patience = time.monotonic() + 60
    while not reached.exists():
        assert started.poll() is None, started.communicate()
        assert time.monotonic() < patience
        time.sleep(0.01)
    return started
