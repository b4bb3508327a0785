"""The command line. Each command reads its options, calls one function, and prints.

stdout is the result, stderr is talk. Exit codes: 0 pass; 1 the gate failed, and nothing else ever;
2 usage, config or input; 3 no verdict (inconclusive, incomparable, infrastructure, or a crash).
click's own exceptions would exit with 1, as would its way with a broken pipe and any SystemExit of a
plugin, so nothing at all passes `main` on its own.
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

import click

from muscle_gov import __version__
from muscle_gov.errors import GovError

COMMANDS = {
    "compare": "compare:compare",
    "demo": "demo:demo",
    "run": "running:run",
    "predict": "running:predict",
    "finetune": "mending:finetune",
    "mitigate": "mending:mitigate",
    "import": "importing:import_logs",
    "gate": "judging:gate",
    "report": "judging:report",
    "sign": "signing:sign",
    "verify": "signing:verify",
    "flips": "flips:flips",
    "flaky": "flaky:flaky",
    "history": "history:history",
    "plan": "plan:plan",
    "export": "export:export",
    "plugins": "plugins:show_plugins",
    "check": "config:check",
    "init": "config:init",
}
"""Command → `module:function` under muscle_gov.cli, imported when it is needed."""


class Command(click.Command):
    """A command whose body returns its exit code, and has no other way to leave with one."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            code: object = super().invoke(ctx)
        except click.exceptions.Exit as left:
            raise RuntimeError(f"something asked to exit with {left.exit_code}") from left
        return code


class Commands(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, function = COMMANDS[cmd_name].partition(":")
        found = getattr(importlib.import_module(f"muscle_gov.cli.{module}"), function)
        assert isinstance(found, Command)  # noqa: S101 - COMMANDS is on this page
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from muscle_gov.errors import did_you_mean

        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"there is no command {args[0]!r}; {did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="muscle-gov")
def cli() -> None:
    """Which answers did the model update break, is it more than noise, and may it ship?

    \b
    Compare the logs of the old and the new model, whatever harness wrote them:
      muscle-gov compare old/ new/ --max nfr=2% --html report.html

    \b
    Or run both models here, as an update.toml describes it:
      muscle-gov init --run && muscle-gov run update.toml

    \b
    Exit codes: 0 pass, 1 the gate failed, 2 usage or input,
    3 no verdict (inconclusive, incomparable, or something broke).
    """


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with the right code."""
    _mend_streams()
    # the library behind numpy ends the program with 1 where it cannot have the memory for its threads
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        with _told_to_end():
            code = _run(sys.argv[1:] if args is None else args)
        sys.stdout.flush()
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        code = 2
    except GovError as error:
        _say(str(error))
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted; what was finished is kept, nothing is half-written")
        code = 3
    except BrokenPipeError:
        _forget_stdout()  # whoever read the output has left; there is nobody to tell
        code = 3
    except MemoryError:
        _say("out of memory; read fewer logs at a time")
        code = 3
    except BaseException as error:  # SystemExit too: a plugin may call sys.exit(1)
        _tell_crash(error)
        code = 3
    raise SystemExit(code)


def _run(args: Sequence[str]) -> int:
    """What `click.Command.main` does, but for its exits with 1."""
    completing = os.environ.get("_MUSCLE_GOV_COMPLETE")
    if completing:
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "muscle-gov", "_MUSCLE_GOV_COMPLETE", completing)
    try:
        with cli.make_context("muscle-gov", list(args)) as context:
            code = cli.invoke(context)
    except click.exceptions.Exit as left:  # --help and --version
        return left.exit_code
    return code if isinstance(code, int) else 3


@contextmanager
def _told_to_end() -> Iterator[None]:
    """SIGTERM, as CI servers send it, ends the program like Ctrl-C does: nothing is left half-written.

    A process that was forked from this one keeps the system's way with it, and so does a program that
    was started with SIGTERM ignored.
    """
    is_ours = threading.current_thread() is threading.main_thread()
    if not is_ours or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    process = os.getpid()

    def end(*_: object) -> None:
        if os.getpid() != process:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _mend_streams() -> None:
    """Streams that are closed, or cannot write a character, must not cost a verdict."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _say(message: str) -> None:
    from muscle_gov.text import visible

    with suppress(OSError):
        # it may quote a log, and a log is hostile input
        print(visible(f"muscle-gov: {message}"), file=sys.stderr)


def _tell_crash(error: BaseException) -> None:
    if os.environ.get("MUSCLE_GOV_DEBUG"):
        import traceback

        traceback.print_exception(error)
    summary = " ".join(str(error).split())[:300]
    if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
        _forget_stdout()
        _say(f"the output could not be written ({error.strerror}); no verdict was given")
        return
    _say(
        f"crashed: {type(error).__name__}: {summary} (a fault of this program or of a plugin, no "
        "verdict was given; MUSCLE_GOV_DEBUG=1 shows where)"
    )


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def _forget_stdout() -> None:
    """Let what is still to be written go nowhere, or the interpreter would fail over it at its end."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
