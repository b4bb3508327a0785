"""What the terminal shows: progress and remarks on stderr, tables and verdicts on stdout."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muscle_gov.cli._options import STORE
from muscle_gov.cli._style import LEVELS, styled
from muscle_gov.diff import word_diff
from muscle_gov.errors import OutputError
from muscle_gov.text import one_line, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from muscle_gov.data import Flip, Measure, Report, SuiteFigures
    from muscle_gov.plugins import Plugins
    from muscle_gov.settings import Policy


def console(stderr: bool = False) -> Console:
    """A console that is plain and wide enough where nobody looks at a terminal."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # rich would exit with 1, which means that the gate failed

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 120
    return Plain(stderr=stderr, highlight=False, width=width, soft_wrap=False)


def say(message: str, quiet: bool = False) -> None:
    """A remark."""
    if not quiet:
        with suppress(OSError):
            print(visible(message), file=sys.stderr)


@contextmanager
def progress(what: str, quiet: bool) -> Iterator[Callable[[int], None] | None]:
    """A counter of rows, shown if the work takes longer than a moment and somebody looks on."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console(stderr=True), transient=True) as bar:
        task = bar.add_task(what)
        yield lambda rows: bar.update(task, description=f"{what}: {rows:,} rows")


def warn_of_broken(plugins: Plugins, quiet: bool) -> None:
    """One line for each plugin that was set aside."""
    for info in plugins.infos:
        if info.error:
            say(f"muscle-gov: plugin {info.name} was set aside: {info.error}", quiet)


def warn_of_policy(policy: Policy, plugins: Plugins, quiet: bool) -> None:
    """One line for each thing that a policy may ask but that is hardly meant."""
    from muscle_gov.config import warnings_of

    for warning in warnings_of(policy, plugins):
        say(f"muscle-gov: {warning}", quiet)


# ------------------------------------------------------------------------------------- a comparison


def show_report(report: Report, worst: int, quiet: bool, explain: bool = False) -> None:
    """A comparison with its verdict, for a person at a terminal; with `explain` what to do about it."""
    from muscle_gov.cli import _verdict

    out = console()
    comparison = report.comparison
    out.print(styled(f"{visible(comparison.old.name)}  →  {visible(comparison.new.name)}", "bold"))
    for kind, columns in (("binary", _BINARY), ("graded", _GRADED)):
        figures = [f for f in comparison.suites if f.kind == kind]
        if figures:
            total = comparison.total if kind == "binary" else None
            shown = columns if out.width >= 90 else [c for c in columns if c[0] not in _SPARED]
            out.print(_suites_table([*figures, *([total] if total else [])], shown))
    _show_noise(out, comparison.suites)
    if not quiet:
        _show_findings(out, report)
        _show_worst(out, report, worst)
    _verdict.show_verdict(out, report, explain)


def _show_noise(out: Console, suites: Sequence[SuiteFigures]) -> None:
    for one in suites:
        floor, excess = one.measures.get("noise_floor"), one.measures.get("nfr_excess")
        if floor and floor.value is not None:
            words = (
                f"{one.suite}: {number(floor, 'percent')} would flip without any update (noise floor)"
            )
            if (
                excess
                and excess.value is not None
                and excess.low is not None
                and excess.high is not None
            ):
                words += f"; above it NFR has {100 * excess.value:+.1f} points"
                words += f" [{100 * excess.low:+.1f}, {100 * excess.high:+.1f}]"
            out.print(styled(visible(words)))


_SPARED = ("pfr", "nfr_mc", "gain_rate", "regression_magnitude", "accuracy_old", "score_old")
"""Columns that a narrow terminal goes without."""
_BINARY = (
    ("accuracy_old", "old", "percent"),
    ("accuracy_new", "new", "percent"),
    ("accuracy_delta", "Δ", "points"),
    ("nfr", "NFR", "interval"),
    ("pfr", "PFR", "percent"),
    ("nfr_mc", "NFR_mc", "percent"),
)
_GRADED = (
    ("score_old", "old", "number"),
    ("score_new", "new", "number"),
    ("score_delta", "Δ", "signed"),
    ("regression_rate", "regressed", "interval"),
    ("regression_magnitude", "by", "number"),
    ("gain_rate", "gained", "percent"),
)


def _suites_table(figures: Sequence[SuiteFigures], columns: Sequence[tuple[str, str, str]]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("suite", overflow="fold")
    table.add_column("pairs", justify="right", no_wrap=True)
    for _, title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("p adj.", justify="right", no_wrap=True)
    for one in figures:
        cells = [number(one.measures.get(name), form) for name, _, form in columns]
        p = one.p_adjusted if one.p_adjusted is not None else one.p_value
        pairs = f"{one.n_pairs:,}"
        if one.coverage < 1:
            pairs += f" of {one.n_union:,}"
        table.add_row(styled(visible(one.suite)), pairs, *cells, pstyled(p))
    return table


def number(measure: Measure | None, form: str) -> str:
    """A figure as tables show it; `–` where it is undefined."""
    if measure is None or measure.value is None:
        return "–"
    value = measure.value
    if form == "percent":
        return f"{100 * value:.1f}%"
    if form == "points":
        return f"{100 * value:+.1f}"
    if form == "signed":
        return f"{value:+.4g}"
    if form == "interval" and measure.low is not None and measure.high is not None:
        return f"{100 * value:.1f}% [{100 * measure.low:.1f}, {100 * measure.high:.1f}]"
    return f"{100 * value:.1f}%" if form == "interval" else f"{value:.4g}"


def pstyled(p: float | None) -> str:
    """A p value in few characters."""
    if p is None:
        return "–"
    return f"{p:.1e}" if p < 0.0001 else f"{p:.4f}"


def _show_findings(out: Console, report: Report) -> None:
    for finding in report.comparison.findings:
        sign, style = LEVELS[finding.level]
        where = f"{finding.suite}: " if finding.suite else ""
        code = f" [{finding.code}]" if finding.level == "blocks" else ""
        out.print(styled(f"{sign} {visible(where + finding.message)}{code}", style))


def _show_worst(out: Console, report: Report, worst: int) -> None:
    counts = ", ".join(f"{n:,} {kind.replace('_', ' ')}" for kind, n in report.flip_counts.items())
    total = sum(report.flip_counts.values())
    where = f" --store {report.store}" if report.store not in (None, STORE) else ""
    more = f" (the worst {worst}; `muscle-gov flips{where}` lists all)" if total > worst > 0 else ""
    out.print(styled(f"flips: {counts or 'none'}{more}"))
    for flip, _ in zip(report.flips, range(worst), strict=False):
        line = (
            f"  {flip.kind.replace('_', ' '):<15}{one_line(flip.suite, 40)}  {one_line(flip.key, 24)}  "
        )
        line += f"{one_line(flip.old_answer, 28)} → {one_line(flip.new_answer, 28)}"
        if flip.target is not None:
            line += f"  (target {one_line(flip.target, 28)})"
        out.print(styled(line, "dim"), no_wrap=True, overflow="ellipsis")


def show_flip(flip: Flip) -> None:
    """One flip in full, its two outputs as a word diff."""
    from rich.text import Text

    out = console()
    out.print(styled(f"{flip.kind}  {visible(flip.suite)}  {visible(flip.key)}", "bold"))
    for name, value in flip.tags.items():
        out.print(styled(f"  {visible(name)}: {visible(str(value))}", "dim"))
    texts: tuple[tuple[str, str | None], ...] = (
        ("prompt", flip.prompt),
        ("prompt of the new model", flip.new_prompt),
        ("target", flip.target),
        ("old answer", flip.old_answer),
        ("new answer", flip.new_answer),
    )
    for title, text in texts:
        if text is not None:
            out.print(styled(f"── {title}", "bold dim"))
            out.print(styled(visible(text)))
    if flip.waived:
        out.print(styled(f"waived: {visible(flip.waived)}", "yellow"))
    if flip.old_output is None or flip.new_output is None:
        return
    out.print(styled("── output: [-only old-] {+only new+}", "bold dim"))
    diff = Text()
    marks = {"=": ("", "", ""), "-": ("[-", "-]", "red"), "+": ("{+", "+}", "green")}
    for kind, piece in word_diff(flip.old_output, flip.new_output):
        before, after, style = marks[kind]
        diff.append(f"{before}{visible(piece)}{after}", style=style)
    out.print(diff)


# ------------------------------------------------------------------------------------------- files


def write_reports(
    formats: Mapping[str, Any], report: Report, wanted: Mapping[str, str], quiet: bool
) -> None:
    """Render and write each format. A file is whole or not there at all."""
    for name, file in wanted.items():
        content: bytes = formats[name].render(report)
        if file == "-":
            print_bytes(content)
        else:
            write_file(Path(file), content)
            say(f"{name} report: {file}", quiet)


def write_file(path: Path, content: bytes) -> None:
    """Write beside the place and move there, so that nothing half-written is ever found."""
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)  # a device or a pipe, which must not be replaced
        else:
            _write_beside(path.resolve(), content)
    except OSError as error:
        raise OutputError(f"{path}: could not be written ({error.strerror})") from error


def _write_beside(path: Path, content: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        passing = Path(file.name)
        try:
            file.write(content)
            file.flush()
            umask = os.umask(0)
            os.umask(umask)
            passing.chmod(0o666 & ~umask)
            passing.replace(path)
        except BaseException:
            passing.unlink(missing_ok=True)
            raise


def print_json(value: Any) -> None:
    """JSON on stdout, in UTF-8 whatever the locale."""
    import json

    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str)
    print_bytes(text.encode("utf-8", "replace") + b"\n")


def print_bytes(content: bytes) -> None:
    """Bytes on stdout, all of them: without a buffer, as in many a container, a write may be partial."""
    sys.stdout.flush()
    rest = memoryview(content)
    while rest:
        rest = rest[sys.stdout.buffer.write(rest) :]
    sys.stdout.buffer.flush()
