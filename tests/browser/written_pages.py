"""The pages that are tried in a browser, each written into a folder by a small function.

To have a page checked (console, network, policy, accessibility, width, pictures, paper), add it to
`PAGES`; tests/browser/test_any_page.py does the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from cli_runner import muscle_gov
from report_samples import flip, hostile_report, mended_report, report

from muscle_gov import Report
from muscle_gov.report import render

CHECKOUT = Path(__file__).resolve().parent.parent.parent
ATTACK = (
    "</script></template></style><script>alert(1);window.hacked=1</script>"
    '<img src=x onerror="alert(2);window.hacked=2"><svg onload=alert(3)>'
    "<a href='javascript:alert(4)'>x</a>\u202e{{7*7}}<base href=//evil.example><meta http-equiv=refresh "
    "content='0;url=https://evil.example'>\" onmouseover=\"alert(5)\" x='"
)


@cache
def logs(items: int = 300) -> Path:
    """Logs of two small classifiers, as benchmarks/demo_logs.py makes them."""
    import subprocess

    folder = Path(mkdtemp(prefix="muscle-gov-logs-"))
    script = CHECKOUT / "benchmarks" / "demo_logs.py"
    command = [sys.executable, str(script), str(folder), "--items", str(items)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


def judged(folder: Path) -> Path:
    """The report of a real comparison that failed its gate, written by the command line."""
    file = folder / "judged.html"
    old, new = (logs() / name for name in ("assistant-1.0", "assistant-1.1"))
    store = folder / "judged.duckdb"
    rules = ("--max", "nfr=2%", "--min", "accuracy_delta=-1%")
    ran = muscle_gov("compare", old, new, "--store", store, *rules, "--html", file, "--explain")
    assert ran.code in (1, 3), ran.err
    assert file.is_file(), ran.err
    return file


def history(folder: Path) -> Path:
    """Two verdicts on one update and a way back: what the command line makes of the store."""
    file, store = folder / "history.html", folder / "history.duckdb"
    old, new = (logs() / name for name in ("assistant-1.0", "assistant-1.1"))
    for sides, limit in (((old, new), "2%"), ((old, new), "30%"), ((new, old), "2%")):
        ran = muscle_gov("compare", *sides, "--store", store, "--max", f"nfr={limit}", "-q")
        assert ran.code in (0, 1, 3), ran.err
    ran = muscle_gov("history", "--store", store, "--html", file)
    assert ran.code == 0, ran.err
    return file


def ordinary(folder: Path) -> Path:
    return write(folder / "ordinary.html", report())


def mended(folder: Path) -> Path:
    return write(folder / "mended.html", mended_report(3))


def hostile(folder: Path) -> Path:
    return write(folder / "hostile.html", hostile_report(ATTACK))


def many_flips(folder: Path) -> Path:
    """So many that they are compressed and shortened."""
    flips = tuple(
        flip(
            i,
            suite=("maths", "reading", "law")[i % 3],
            kind=("negative", "negative", "positive", "wrong_to_wrong")[i % 4],
            prompt=f"{' '.join(str(i * k * 7919) for k in range(90))} What is number {i}?",
            old_output=f"{' '.join(str(i * k) for k in range(60))} so it is {i}.",
            new_output=f"{' '.join(str(i * k) for k in range(58))} hence it is {i + 1}.",
            tags={"subject": f"subject {i % 40}"},
            old_margin=(i % 17) / 4,
            new_margin=-(i % 23) / 5,
        )
        for i in range(3000)
    )
    counts = {"negative": 1500, "positive": 750, "wrong_to_wrong": 750}
    return write(folder / "many.html", replace(report(), flips=flips, flip_counts=counts))


def write(file: Path, given: Report) -> Path:
    file.write_bytes(render(given))
    return file


PAGES: dict[str, Callable[[Path], Path]] = {
    "judged": judged,
    "history": history,
    "ordinary": ordinary,
    "mended": mended,
    "hostile": hostile,
    "many": many_flips,
}
