"""The HTML report of 10,000 flips out of 14,000 pairs: how long it takes to write, open and search.

    python benchmarks/report_html.py [--flips 10000] [--pairs 14000] [--json FILE] [--md FILE]

Logs in lm-evaluation-harness's format are made, compared and reported by the toolkit itself; beside it
the same flips are written as what one would reach for otherwise, pandas' `DataFrame.to_html` with a
few lines of script that hide the rows without the searched text and sort the others. Both files are
opened in one headless Chromium. A time in the browser runs from the event to the second frame after the
page has answered it; ours includes the pause of 80 ms that it waits for a next letter.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests" / "browser")]

from demo_logs import write_run  # noqa: E402
from run import machine  # noqa: E402

SUBJECTS = [f"subject {i}" for i in range(57)]
TIMES = {"muscle-gov": 20, "pandas": 6}
"""Events in the browser; pandas' table takes seconds for one."""
NOT_USED = ("torch", "transformers", "peft", "lm-eval")


# ------------------------------------------------------------------------------------------ the logs


def vocabulary() -> tuple[list[str], list[float]]:
    """4,000 made words, as often as Zipf has it: texts of them compress about as well as prose."""
    chance = random.Random(0)
    parts = "an be co de er fi gal hin ist jo ken lo mun nt or".split()  # noqa: SIM905
    made = {"".join(chance.choices(parts, k=chance.randrange(1, 5))) for _ in range(6000)}
    words = sorted(made)[:4000]
    chance.shuffle(words)
    return words, [1 / rank for rank in range(1, len(words) + 1)]


class Writer:
    """Questions and answers that are the same in each run."""

    def __init__(self) -> None:
        self.chance = random.Random(1)
        self.words, self.weights = vocabulary()

    def text(self, least: int, most: int) -> str:
        n = self.chance.randrange(least, most)
        return " ".join(self.chance.choices(self.words, self.weights, k=n))


def fates(pairs: int, flips: int) -> list[tuple[bool, bool, bool]]:
    """(right before, right now, another wrong answer) of each pair: half of the flips are negative."""
    negative, positive = flips // 2, flips * 2 // 5
    other = flips - negative - positive
    kept = pairs - flips
    found = [(True, False, True)] * negative + [(False, True, True)] * positive
    found += [(False, False, True)] * other + [(True, True, False)] * kept
    random.Random(2).shuffle(found)
    return found


def write_logs(folder: Path, pairs: int, flips: int) -> None:
    """Half multiple choice, half generated with their reasoning: two tasks each."""
    made = Writer()
    sides: list[dict[str, list[dict[str, object]]]] = [{}, {}]
    for i, fate in enumerate(fates(pairs, flips)):
        task = ("knowledge", "reasoning", "commonsense", "arithmetic")[i % 4]
        make = choice_rows if i % 2 == 0 else text_rows
        for side, row in zip(sides, make(made, i, fate), strict=True):
            side.setdefault(task, []).append(row)
    for name, tasks in zip(("model-1", "model-2"), sides, strict=True):
        write_run(folder, name, tasks)


def choice_rows(made: Writer, i: int, fate: tuple[bool, bool, bool]) -> list[dict[str, object]]:
    """One question of four choices, as MMLU's, answered by both."""
    chance = made.chance
    subject = chance.choice(SUBJECTS)
    choices = [f"{made.text(2, 9)} {letter}" for letter in "abcd"]
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCD", choices, strict=True))
    about = f"The following are multiple choice questions (with answers) about {subject}."
    prompt = f"{about}\n\n{made.text(12, 60)}?\n{listed}\nAnswer:"
    target = chance.randrange(4)
    wrong = [k for k in range(4) if k != target]
    doc = {"question": prompt, "choices": choices, "subject": subject}
    rows = []
    for is_right, elsewhere in ((fate[0], False), (fate[1], fate[2] and not fate[0])):
        best = target if is_right else wrong[1 if elsewhere else 0]
        spans = [(0.1, 2.0) if k == best else (2.0, 9.0) for k in range(4)]
        scores = [round(-chance.uniform(*span), 4) for span in spans]
        replies = [[str(score), str(score == max(scores))] for score in scores]
        requests = {
            f"gen_args_{k}": {"arg_0": prompt, "arg_1": f" {choice}"} for k, choice in enumerate(choices)
        }
        row = sample(i, doc, prompt, str(target), "acc", float(is_right))
        row |= {"arguments": requests, "resps": [[r] for r in replies], "filtered_resps": replies}
        rows.append(row)
    return rows


def text_rows(made: Writer, i: int, fate: tuple[bool, bool, bool]) -> list[dict[str, object]]:
    """One question answered by both with some reasoning."""
    prompt = f"Question: {made.text(15, 60)}?\nAnswer:"
    target = str(made.chance.randrange(100, 999))
    doc = {"question": prompt, "subject": made.chance.choice(SUBJECTS)}
    shared = made.text(5, 20)
    rows = []
    for number, is_right in enumerate(fate[:2]):
        said = target if is_right else str(int(target) + 1 + (number if fate[2] else 0))
        reply = f" {shared} {made.text(10, 60)}. So the answer is {said}."
        row = sample(i, doc, prompt, target, "exact_match", float(is_right))
        arguments = {"gen_args_0": {"arg_0": prompt, "arg_1": {"until": ["\n\n"]}}}
        row |= {"arguments": arguments, "resps": [[reply]], "filtered_resps": [said]}
        rows.append(row)
    return rows


def sample(
    i: int, doc: dict[str, Any], prompt: str, target: str, metric: str, score: float
) -> dict[str, object]:
    return {
        "doc_id": i,
        "doc": doc,
        "target": target,
        "filter": "none",
        "metrics": [metric],
        "doc_hash": f"{i:064x}",
        "prompt_hash": f"{hash_of(prompt):064x}",
        "target_hash": f"{hash_of(target):064x}",
        metric: score,
    }


def hash_of(text: str) -> int:
    return zlib.crc32(text.encode())


# ----------------------------------------------------------------------------------------- writing


def write_both(folder: Path, pairs: int, flips: int) -> tuple[list[dict[str, Any]], list[Path]]:
    """Both files, and how long they took."""
    from muscle_gov import pipeline, plugins
    from muscle_gov.report import render
    from muscle_gov.settings import CompareSettings, ImportSettings, Policy, Source
    from muscle_gov.store import open_store

    write_logs(folder, pairs, flips)
    ours, theirs = folder / "report.html", folder / "pandas.html"
    with open_store(folder / "store.duckdb") as store:
        sources = [Source(folder / name, ImportSettings()) for name in ("model-1", "model-2")]
        settings = (CompareSettings(), Policy())
        report = pipeline.compare_logs(store, plugins.load(), *sources, *settings).report
        found = sum(report.flip_counts.values())
        assert found == flips, (found, report.flip_counts)
        render(report)  # templates are compiled once
        rows = [
            timed("muscle-gov: flips read from the store", lambda: len(list(report.flips))),
            timed("muscle-gov: written, reading included", lambda: ours.write_bytes(render(report))),
        ]
        rows.append(timed("pandas: written, reading included", lambda: as_table(report.flips, theirs)))
    for row, file in zip(rows[1:], (ours, theirs), strict=True):
        row["bytes"] = file.stat().st_size
    return rows, [ours, theirs]


def timed(what: str, work: Callable[[], Any], times: int = 5) -> dict[str, Any]:
    walls, cpus = [], []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {
        "way": what,
        "seconds": round(statistics.median(walls), 3),
        "seconds_max": round(max(walls), 3),
        "cpu_seconds": round(statistics.median(cpus), 3),
        "peak_mb": peak,
    }


COLUMNS = ["suite", "key", "kind", "old_answer", "new_answer"]
COLUMNS += ["target", "tags", "prompt", "old_output", "new_output"]
SCRIPT = """
const rows = [...document.querySelectorAll("tbody tr")];
document.getElementById("text").addEventListener("input", (event) => {
  const text = event.target.value.toLowerCase();
  for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(text);
});
document.getElementById("sort").addEventListener("input", (event) => {
  const column = Number(event.target.value);
  const body = document.querySelector("tbody");
  rows.sort((a, b) => a.cells[column].textContent.localeCompare(b.cells[column].textContent));
  body.append(...rows);
});
"""


def as_table(flips: Any, file: Path) -> None:
    """What pandas makes of the same flips, their texts in full."""
    import pandas as pd

    frame = pd.DataFrame([{name: getattr(flip, name) for name in COLUMNS} for flip in flips])
    with pd.option_context("display.max_colwidth", None):
        table = frame.to_html(index=False)
    options = "".join(f"<option value={i}>{name}</option>" for i, name in enumerate(COLUMNS))
    file.write_text(
        f"<!doctype html><meta charset=utf-8><input id=text><select id=sort>{options}</select>"
        f"{table}<script>{SCRIPT}</script>",
        "utf-8",
    )


# ----------------------------------------------------------------------------------- in the browser

LOADED = """
(() => {
  const look = () => {
    const tools = document.getElementById("f-tools") ?? document.getElementById("text");
    const isReady = document.readyState === "complete" && tools && !tools.hidden;
    if (isReady) window.loadedAt = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
})();
"""
ANSWERED = """
([id, value, list, told]) => new Promise((done) => {
  const input = document.getElementById(id);
  const end = () => done(performance.now() - start);
  const frame = () => requestAnimationFrame(() => requestAnimationFrame(end));
  const answer = document.querySelector(told);
  const start = performance.now();
  if (answer) new MutationObserver((_, self) => { self.disconnect(); frame(); }).observe(
    document.querySelector(list), { childList: true });
  input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  if (!answer) frame();
})
"""


def in_browser(file: Path, name: str, orders: Sequence[str], needles: Sequence[str]) -> dict[str, Any]:
    from browsing import started

    ids = ("f-text", "f-sort") if name == "muscle-gov" else ("text", "sort")
    told = ["#flip-list", "#flip-count"]
    with started() as browser:
        loads = []
        for _ in range(5):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(300_000)
            page.add_init_script(LOADED)
            page.goto(file.as_uri())
            page.wait_for_function("() => window.loadedAt")
            loads.append(page.evaluate("window.loadedAt"))
            if len(loads) < 5:
                page.close()
        n = TIMES[name]
        typed = [page.evaluate(ANSWERED, [ids[0], text, *told]) for text in needles[:n]]
        page.evaluate(ANSWERED, [ids[0], "", *told])
        chosen = [orders[i % len(orders)] for i in range(n)]
        sorts = [page.evaluate(ANSWERED, [ids[1], order, *told]) for order in chosen]
    return {
        "way": name,
        **{
            f"{what}_ms_{how}": round(find(values), 1)
            for what, values in (("load", loads), ("keystroke", typed), ("sort", sorts))
            for how, find in (("median", statistics.median), ("max", max))
        },
        "keystroke_first_ms": round(typed[0], 1),
        "browser": browser.version,
    }


# -------------------------------------------------------------------------------------------- main


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--pairs", type=int, default=14_000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--md", type=Path)
    given = parser.parse_args()
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        rows, (ours, theirs) = write_both(Path(folder), given.pairs, given.flips)
        typed = [text[: n + 1] for text in ("so the answer is 1", "co") for n in range(len(text))]
        embedded = held(ours)
        browsed = [
            in_browser(ours, "muscle-gov", ("key", "length", "margin", "suite", ""), typed),
            in_browser(theirs, "pandas", ("1", "7", "0", "2", "3"), typed),
        ]
    about = {
        **{name: value for name, value in machine().items() if name not in NOT_USED},
        "playwright": version("playwright"),
        "load_average": [round(load[0], 2), round(os.getloadavg()[0], 2)],
    }
    result = {"embedded": embedded, "written": rows, "in_browser": browsed}
    print(table(result, about, given.flips, given.pairs))
    if given.json:
        rows = [*result["written"], *result["in_browser"], {"way": "page", **result["embedded"]}]
        rows.append({"way": "machine", "load_average": about["load_average"]})
        given.json.write_text(json.dumps(rows, indent=2) + "\n")
    if given.md:
        given.md.write_text(table(result, about, given.flips, given.pairs), "utf-8")


def held(file: Path) -> dict[str, Any]:
    """How many flips the page holds, and to how many characters their texts are cut."""
    page = file.read_text("utf-8")
    limit = re.search(r"Texts longer than ([\d,]+) characters", page)
    left = re.search(r"holds the ([\d,]+) worst", page)
    return {
        "all": left is None,
        "flips": None if left is None else int(left[1].replace(",", "")),
        "characters": int(limit[1].replace(",", "")) if limit else None,
    }


def table(result: dict[str, Any], about: dict[str, Any], flips: int, pairs: int) -> str:
    today = datetime.now(UTC).date().isoformat()
    kept = "all of them" if result["embedded"]["all"] else f"{result['embedded']['flips']:,} of them"
    lines = [
        f"# The HTML report of {flips:,} flips, {today}",
        "",
        f"`python benchmarks/report_html.py`; {flips:,} flips of {pairs:,} pairs in four suites. "
        f"{about['processor']}, {about['cores']} cores, Python {about['python']}, "
        f"pandas {about['pandas']}, "
        f"Chromium {result['in_browser'][0]['browser']}. Load average before and after: "
        f"{about['load_average'][0]} and {about['load_average'][1]}; what is above 1 is not of this "
        "program.",
        "",
        f"The report holds {kept}, texts cut to {result['embedded']['characters']:,} characters; the "
        "table that pandas writes has them in full, without differences, pages, links or filters by "
        "column.",
        "",
        "| | seconds, median | max | CPU seconds | file, MB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in result["written"]:
        size = f"{row['bytes'] / 1e6:.2f}" if "bytes" in row else ""
        seconds = (f"{row[name]:.2f}" for name in ("seconds", "seconds_max", "cpu_seconds"))
        lines.append(f"| {row['way']} | {' | '.join(seconds)} | {size} |")
    lines += [
        "",
        "In the browser, milliseconds to the second frame after the answer, median and max: loading of "
        f"5, the others of {TIMES['muscle-gov']} (ours) and {TIMES['pandas']}. Ours wait 80 ms for a "
        "next letter before they search, which is included; the first search makes what is searched.",
        "",
        "| | load | keystroke in the text filter | sort |",
        "| --- | --- | --- | --- |",
    ]
    for row in result["in_browser"]:
        whats = ("load", "keystroke", "sort")
        cells = (f"{row[f'{w}_ms_median']:,.0f} ({row[f'{w}_ms_max']:,.0f})" for w in whats)
        lines.append(f"| {row['way']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
