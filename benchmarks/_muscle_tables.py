"""Figures over the seeds of `muscle.py`: means with 95 % t intervals, and changes paired by seed.

A seed is the unit: whatever is compared is compared within a seed first. Intervals are of single rows;
none is corrected for there being many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from _muscle_variants import CONTROL, UPDATE, Settings, Variant, variants

Line = Mapping[str, Any]

OLD = ("accuracy_old", "score_old")
BINARY = ("accuracy_new", "nfr", "pfr", "nfr_mc", "relative_nfr", "nfi")
GRADED = ("score_new", "gain_rate", "regression_rate", "gain_magnitude", "regression_magnitude")
SHOWN_P = 0.05


def interval(values: Sequence[float]) -> dict[str, Any]:
    """{mean, half, seeds}: the 95 % t interval is mean ± half, None with fewer than two values."""
    from muscle_gov.stats import t_quantile

    count = len(values)
    if not count:
        return {"mean": None, "half": None, "seeds": 0}
    mean = math.fsum(values) / count
    if count < 2:
        return {"mean": mean, "half": None, "seeds": count}
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = t_quantile(0.975, count - 1) * math.sqrt(variance / count)
    return {"mean": mean, "half": half, "seeds": count}


def table(seeds: Sequence[Mapping[str, Line]], settings: Settings) -> list[dict[str, Any]]:
    """One row for each variant that any seed has, in their order. A seed is variant -> line."""
    rows = []
    for variant in variants(settings):
        own = [seed for seed in seeds if variant.name in seed]
        if own:
            rows.append(_row(variant, own))
    return rows


def _row(variant: Variant, seeds: Sequence[Mapping[str, Line]]) -> dict[str, Any]:
    lines = [seed[variant.name] for seed in seeds]
    suites = list(lines[0]["suites"])
    return {
        "variant": variant.name,
        "role": variant.role,
        "note": variant.note,
        "seeds": len(lines),
        "suites": {suite: _means(suite, lines) for suite in suites},
        "change": {suite: _changes(suite, variant.name, UPDATE, seeds) for suite in suites},
        "change_from_control": {
            suite: _changes(suite, variant.name, CONTROL, seeds) for suite in suites
        },
        "against_update": {suite: _against(suite, lines) for suite in suites},
        "noise": {
            suite: interval([line["noise"][suite] for line in lines])
            for suite in suites
            if all(line["noise"] and suite in line["noise"] for line in lines)
        },
        "training_cpu_seconds": interval([_trained(line) for line in lines]),
        "chosen": [line["chosen"] for line in lines if line["chosen"] is not None],
    }


def _means(suite: str, lines: Sequence[Line]) -> dict[str, Any]:
    return {
        metric: interval([line["suites"][suite][metric] for line in lines])
        for metric in (*OLD, *BINARY, *GRADED)
        if all(metric in line["suites"][suite] for line in lines)
    }


def _changes(suite: str, name: str, base: str, seeds: Sequence[Mapping[str, Line]]) -> dict[str, Any]:
    """Metric -> the change from another variant of the same seed: in points, and as a share of it."""
    if name == base:
        return {}
    pairs = [
        (seed[base]["suites"][suite], seed[name]["suites"][suite]) for seed in seeds if base in seed
    ]
    found = {}
    for metric in (*BINARY, *GRADED):
        known = [(its[metric], own[metric]) for its, own in pairs if metric in its and metric in own]
        if known:
            found[metric] = {
                "points": interval([own - its for its, own in known]),
                "relative": interval([own / its - 1 for its, own in known if its]),
                "seeds_down": sum(own < its for its, own in known),
            }
    return found


def _against(suite: str, lines: Sequence[Line]) -> dict[str, Any] | None:
    """The McNemar tests of all seeds: sums of the counts, and how many seeds are below 0.05."""
    tests = [line["against"][suite] for line in lines if suite in line["against"]]
    if not tests:
        return None
    return {
        "recovered": sum(test["recovered"] for test in tests),
        "broken": sum(test["broken"] for test in tests),
        "seeds_below": sum(test["p"] < SHOWN_P for test in tests),
        "seeds": len(tests),
    }


def _trained(line: Line) -> float:
    return float(line["cpu_seconds"]["training as a whole"])


# -------------------------------------------------------------------------------------- as Markdown


def markdown(whole: Mapping[str, Any]) -> str:
    """What `muscle.py` found, as a page."""
    rows, settings = whole["results"], whole["settings"]
    by_name = {row["variant"]: row for row in rows}
    parts = [_head(whole)]
    for suite in by_name[UPDATE]["suites"]:
        is_binary = "nfr" in by_name[UPDATE]["suites"][suite]
        parts.append((_binary if is_binary else _graded)(suite, rows, settings, by_name[UPDATE]))
    parts.append(_noise(rows))
    return "".join(parts)


def _head(whole: Mapping[str, Any]) -> str:
    machine, settings = whole["machine"], whole["settings"]
    recipe = settings["recipe"]
    return (
        f"# What mending mends, {whole['date']}\n\n"
        f"`python benchmarks/muscle.py`; seeds: {', '.join(map(str, settings['seeds']))}. "
        f"{machine['processor']}, torch {machine['torch']}, transformers "
        f"{machine['transformers']}, peft {machine['peft']}.\n\n"
        "Each seed is a world of its own with two bases of 130,000 weights. Every mitigation and "
        f"control is trained for {settings['steps']} steps (rank {recipe['rank']}, learning rate "
        f"{recipe['learning_rate']:g}, {recipe['batch_rows']} rows a step) unless its remark says "
        "otherwise, from the update's own adapter, and the last weights are taken. Divergences have "
        "temperature 1 where nothing else is said, and count on answers alone.\n\n"
        "Means over the seeds with 95 % t intervals; changes are paired by seed. `Δ` is against the "
        "untouched update. `recovered` and `broken` are answers that the old model had right, summed "
        "over the seeds, with the number of seeds in which the exact McNemar test is below "
        f"{SHOWN_P}. No interval is corrected for the number of rows. CPU seconds are of one thread; "
        "the first row that asks a teacher pays for all.\n"
    )


def _binary(
    suite: str,
    rows: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    update: Mapping[str, Any],
) -> str:
    head = (
        f"\n## {suite}\n\n{settings[suite]:,} questions a seed. The old model's accuracy: "
        f"{_percent(update['suites'][suite]['accuracy_old'])}.\n\n"
        "| | accuracy | Δ accuracy, points | NFR | Δ NFR, points | Δ NFR, relative | Δ NFR to "
        "cross-entropy | NFR_mc | Δ NFR_mc, relative | PFR | relative NFR | NFI | seeds down | "
        "recovered / broken | p < 0.05 | CPU s |\n|" + " --- |" * 16 + "\n"
    )
    return head + "".join(_binary_line(suite, row) for row in rows)


def _binary_line(suite: str, row: Mapping[str, Any]) -> str:
    own, change = row["suites"][suite], row["change"].get(suite, {})
    control = row["change_from_control"].get(suite, {})
    test = row["against_update"][suite]
    cells = [
        _name(row),
        _percent(own["accuracy_new"]),
        _points(change, "accuracy_new"),
        _percent(own["nfr"], 2),
        _points(change, "nfr"),
        _relative(change, "nfr"),
        _points(control, "nfr"),
        _percent(own.get("nfr_mc"), 2),
        _relative(change, "nfr_mc"),
        _percent(own["pfr"], 2),
        _plain(own.get("relative_nfr")),
        _percent(own.get("nfi")),
        f"{change['nfr']['seeds_down']}/{row['seeds']}" if change else "",
        f"{test['recovered']} / {test['broken']}" if test else "",
        f"{test['seeds_below']}/{test['seeds']}" if test else "",
        _plain(row["training_cpu_seconds"], 1) if row["training_cpu_seconds"]["mean"] > 0.5 else "",
    ]
    return "| " + " | ".join(cells) + " |\n"


def _graded(
    suite: str,
    rows: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    update: Mapping[str, Any],
) -> str:
    head = (
        f"\n## {suite}\n\n{settings[suite]:,} questions a seed, graded by ROUGE-1 (0 to 1). Gain and "
        "regression: share of answers that became better or worse than the old model's, and by how "
        "much on average where they did. The old model's score: "
        f"{_plain(update['suites'][suite]['score_old'], 4)}.\n\n"
        "| | score | Δ score, points | gain rate | regression rate | Δ regression rate, points | "
        "relative | to cross-entropy | gain size | regression size |\n|" + " --- |" * 10 + "\n"
    )
    return head + "".join(_graded_line(suite, row) for row in rows)


def _graded_line(suite: str, row: Mapping[str, Any]) -> str:
    own, change = row["suites"][suite], row["change"].get(suite, {})
    control = row["change_from_control"].get(suite, {})
    cells = [
        _name(row),
        _plain(own["score_new"], 4),
        _points(change, "score_new"),
        _percent(own["gain_rate"]),
        _percent(own["regression_rate"]),
        _points(change, "regression_rate"),
        _relative(change, "regression_rate"),
        _points(control, "regression_rate"),
        _plain(own["gain_magnitude"], 3),
        _plain(own["regression_magnitude"], 3),
    ]
    return "| " + " | ".join(cells) + " |\n"


def _noise(rows: Sequence[Mapping[str, Any]]) -> str:
    found = []
    for row in rows:
        told = ", ".join(f"{suite} {_percent(value, 2)}" for suite, value in row["noise"].items())
        if told:
            found.append(f"- {row['variant']}: {told}\n")
    if not found:
        return ""
    return (
        "\n## Noise\n\nThe same base and the same rows, trained once more with another seed: answers "
        "that flip from right to wrong by that alone (NFR).\n\n" + "".join(found)
    )


# ------------------------------------------------------------------------------------------ cells


def _name(row: Mapping[str, Any]) -> str:
    kind = "**" if row["role"] == "mitigation" else ""
    return f"{kind}{row['variant']}{kind}" + (f" ({row['note']})" if row["note"] else "")


def _with_half(value: Mapping[str, Any] | None, shown: Callable[[float], str]) -> str:
    if not value or value["mean"] is None:
        return ""
    half = "" if value["half"] is None else f" ± {shown(value['half']).lstrip('+')}"
    return shown(value["mean"]) + half


def _percent(value: Mapping[str, Any] | None, digits: int = 1) -> str:
    return _with_half(value, lambda number: f"{100 * number:.{digits}f} %")


def _plain(value: Mapping[str, Any] | None, digits: int = 2) -> str:
    return _with_half(value, lambda number: f"{number:.{digits}f}")


def _points(change: Mapping[str, Any], metric: str) -> str:
    found = change.get(metric)
    return _with_half(found and found["points"], lambda number: f"{100 * number:+.2f}")


def _relative(change: Mapping[str, Any], metric: str) -> str:
    found = change.get(metric)
    return _with_half(found and found["relative"], lambda number: f"{100 * number:+.0f} %")
