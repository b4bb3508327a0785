"""May these two runs be compared at all? Each doubt is a finding with a code.

A finding that `blocks` makes the verdict INCOMPARABLE: a difference that would be counted as the
model's although it is the harness's. Whoever knows better accepts it by its code, in so many words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

from muscle_gov.data import Finding, SuiteFigures
from muscle_gov.settings import CODES, PREDICTED, CompareSettings
from muscle_gov.store import Store, pairing
from muscle_gov.store.pairing import SuitePair

_FIELDS = (
    ("harness", "harness-differs"),
    ("task_version", "task-version-changed"),
    ("dataset", "dataset-changed"),
    ("split", "split-changed"),
    ("metric", "metric-changed"),
    ("higher_is_better", "scorer-changed"),
    ("scorer", "scorer-changed"),
    ("n_shot", "fewshot-changed"),
    ("chat_template", "template-changed"),
    ("system_prompt", "system-prompt-changed"),
)
_WARNED = (
    ("harness_version", "harness-version-differs"),
    ("decoding", "decoding-differs"),
    ("dtype", "dtype-differs"),
    ("quantization", "quantization-differs"),
    ("engine", "engine-differs"),
)
_CHECKED = ("task_version", "n_shot", "chat_template", "system_prompt", "scorer")


@dataclass(frozen=True)
class RunFacts:
    """What the store knows of a run that comparing needs."""

    run_id: int
    suite_id: int
    suite: str
    model: str
    model_fingerprint: str
    model_details: Mapping[str, Any]
    header: Mapping[str, Any]
    reader: str
    n_rows: int
    n_instances: int
    n_repeats: int
    n_duplicates: int
    n_bad_lines: int
    is_graded: bool
    has_clusters: bool
    has_answers: bool
    bad_lines: tuple[str, ...]
    """The first few, as `file:line: why`."""


def findings_of(
    store: Store,
    chosen: Sequence[tuple[SuitePair, RunFacts, RunFacts]],
    figures: Sequence[SuiteFigures],
    sides: Any,
    settings: CompareSettings,
) -> tuple[Finding, ...]:
    """Everything that a reader of the figures must know, what forbids to compare first."""
    found = [*_missing_suites(chosen, sides, settings.suites)]
    for pair, old, new in chosen:
        if old.run_id == new.run_id:
            message = f"{CODES['same-run']}, so nothing can have changed"
            found.append(Finding("same-run", "blocks", message, pair.suite))
        print_ = old.model_details.get("fingerprint")
        if print_ is not None and print_ == new.model_details.get("fingerprint"):
            message = f"{CODES['same-model']}, so nothing can have changed"
            found.append(Finding("same-model", "blocks", message, pair.suite))
        elif old.model == new.model and old.run_id != new.run_id:
            message = f"both logs call their model {_short(old.model)}, so nothing tells the two apart"
            found.append(Finding("same-name", "warns", message, pair.suite))
    mismatches = pairing.mismatches(store, [pair for pair, _, _ in chosen])
    targets = pairing.other_targets(store, [pair for pair, _, _ in chosen])
    for (pair, old, new), figure in zip(chosen, figures, strict=True):
        if targets.get(pair.suite_id):
            message = f"{targets[pair.suite_id]} pairs have another target in the new log"
            found.append(Finding("target-changed", "blocks", message, pair.suite))
        found += _threshold_findings(pair, figure, settings)
        found += _header_findings(old, new)
        found += _run_findings("old", old)
        found += _run_findings("new", new)
        for side, first, runs in (("old", old, sides.old), ("new", new, sides.new)):
            for again in runs:
                if again.suite == pair.suite and again.run_id != first.run_id:
                    found += _header_findings(first, again)
                    found += _run_findings(f"{side}, further run", again)
                    if again.n_instances != first.n_instances:
                        message = (
                            f"{side}: a further run has {again.n_instances} instances, the first one "
                            f"{first.n_instances}; repeats of some answers alone would shift the figures"
                        )
                        found.append(Finding("rerun-partial", "blocks", message, pair.suite))
        found += _pair_findings(store, pair, figure, mismatches.get(pair.suite_id, (0, 0, 0)))
    found = [_allowed(finding, settings.allow) for finding in _merged(found)]
    order = {"blocks": 0, "warns": 1, "notes": 2}
    return tuple(sorted(found, key=lambda f: order[f.level]))


def _missing_suites(chosen: Sequence[Any], sides: Any, asked: Sequence[str]) -> Iterable[Finding]:
    compared = {pair.suite for pair, _, _ in chosen}
    for pattern in asked:
        if not any(fnmatchcase(suite, pattern) for suite in compared):
            message = f"asked for was {pattern!r}, but the two logs share no such suite"
            yield Finding("suite-missing", "blocks", message, None)
    old = {run.suite for run in sides.old}
    new = {run.suite for run in sides.new}
    for suite in sorted(old - new):
        if asked and not any(fnmatchcase(suite, pattern) for pattern in asked):
            continue
        yield Finding("suite-missing", "blocks", "the new log has no such suite", suite)
    for suite in sorted(new - old):
        yield Finding("suite-new", "notes", "only the new log has it; nothing to compare", suite)
    for suite in sorted((old & new) - compared):
        yield Finding("suite-left-out", "notes", "left out, as asked", suite)


def _header_findings(old: RunFacts, new: RunFacts) -> Iterable[Finding]:
    for fields, level in ((_FIELDS, "blocks"), (_WARNED, "warns")):
        for name, code in fields:
            before, after = old.header.get(name), new.header.get(name)
            if before != after and not _unknown(before) and not _unknown(after):
                words = CODES.get(code, f"the {name.replace('_', ' ')} differs")
                change = f"{_short(before)} → {_short(after)}"
                yield Finding(code, level, f"{words}: {change}", old.suite)
    yield from _settings_findings(old, new)
    unchecked = [n for n in _CHECKED if _unknown(old.header.get(n)) or _unknown(new.header.get(n))]
    if unchecked:
        names = ", ".join(name.replace("_", " ") for name in unchecked)
        yield Finding("not-recorded", "notes", f"not logged, so not checked: {names}", old.suite)


def _settings_findings(old: RunFacts, new: RunFacts) -> Iterable[Finding]:
    """How the two models were run, where both say it."""
    before, after = (run.header.get("model_settings") or {} for run in (old, new))
    changed = [name for name in before if name in after and before[name] != after[name]]
    if changed:
        words = "; ".join(f"{name}: {_short(before[name])} → {_short(after[name])}" for name in changed)
        message = f"the models were run with other settings: {words.replace('_', ' ')}"
        yield Finding("settings-differ", "warns", message, old.suite)


def _unknown(value: Any) -> bool:
    return value is None or value == {}


def _short(value: Any, most: int = 60) -> str:
    text = " ".join(str(value).split()) if value != "" else "(none)"
    return text if len(text) <= most else f"{text[: most - 3]}…"


def _run_findings(side: str, run: RunFacts) -> Iterable[Finding]:
    header = run.header
    if run.n_bad_lines:
        places = "; ".join(run.bad_lines)
        more = f"; and {run.n_bad_lines - len(run.bad_lines)} more" if run.n_bad_lines > 3 else ""
        yield Finding(
            "malformed-lines",
            "blocks",
            f"{side}: {run.n_bad_lines} lines of the log could not be read ({places}{more})",
            run.suite,
        )
    if not header.get("complete", True):
        yield Finding("unfinished-run", "blocks", f"{side}: the log says it was not finished", run.suite)
    expected = header.get("expected_rows")
    if expected and run.n_instances < expected:
        yield Finding(
            "unfinished-run",
            "blocks",
            f"{side}: the log has {run.n_instances} of the {expected} instances it says were evaluated",
            run.suite,
        )
    if limit := header.get("limited_to"):
        message = f"{side}: only the first {limit} instances were asked, for a try"
        yield Finding("limited-run", "blocks", message, run.suite)
    if run.n_rows < run.n_instances * run.n_repeats:
        yield Finding(
            "repeats-missing",
            "blocks",
            f"{side}: not every instance has {run.n_repeats} repeats ({run.n_rows} rows for "
            f"{run.n_instances} instances)",
            run.suite,
        )
    yield from _run_remarks(side, run)


def _run_remarks(side: str, run: RunFacts) -> Iterable[Finding]:
    """What is worth knowing of a run, but forbids nothing."""
    header = run.header
    if run.n_duplicates:
        yield Finding(
            "duplicate-rows",
            "warns",
            f"{side}: {run.n_duplicates} rows say the same result again and were dropped "
            "(was the log appended to?)",
            run.suite,
        )
    for note in header.get("notes", ()):
        by_position = "by position" in note
        code, level = ("paired-by-position", "warns") if by_position else ("reader-note", "notes")
        yield Finding(code, level, f"{side}: {note}", run.suite)
    others = header.get("other_metrics") or ()
    if others and side == "old":
        names = ", ".join(others)
        # of a log another score may be read; what was predicted here is graded as the suite says
        also = "also scored" if run.reader == PREDICTED else "also logged, for --metric"
        message = f"judged by {header.get('metric')}; {also}: {names}"
        yield Finding("other-metrics", "notes", message, run.suite)


def _threshold_findings(
    pair: SuitePair, figure: SuiteFigures, settings: CompareSettings
) -> Iterable[Finding]:
    if pair.threshold is None or not figure.n_pairs:
        return
    states = {state for name, n in figure.outcomes.items() if n for state in name.split(">")}
    judged = states & {"right", "wrong"}
    if len(judged) == 1:
        message = (
            f"with the threshold {settings.threshold:g} every answer is {judged.pop()} on both sides"
        )
        yield Finding("threshold-splits-nothing", "blocks", message, pair.suite)


def _pair_findings(
    store: Store, pair: SuitePair, figure: SuiteFigures, mismatch: tuple[int, int, int]
) -> Iterable[Finding]:
    changed, known, content = mismatch
    if changed:
        message = f"{changed} of {known} pairs were asked with other prompts"
        yield Finding("prompt-changed", "blocks", message, pair.suite)
    elif not known and figure.n_pairs:
        message = "at least one log gives no prompts, so equal prompts were not checked"
        yield Finding("prompts-not-recorded", "notes", message, pair.suite)
    if content:
        message = f"{content} pairs have the same key but other content"
        yield Finding("content-changed", "blocks", message, pair.suite)
    if not figure.n_pairs:
        why = "" if figure.n_union else " (both are empty)"
        yield Finding("no-pairs", "blocks", f"no instance has a score on both sides{why}", pair.suite)
    missing = sum(n for name, n in figure.outcomes.items() if "missing" in name.split(">"))
    if missing:
        message = f"{missing} of {figure.n_union} instances are in one log only"
        same = pairing.same_keys_unpaired(store, pair)
        if same:
            message += (
                f"; {same} of them have the same key on both sides but other content: was the data "
                "set changed? (--pair-by key pairs them all the same)"
            )
        yield Finding("unpaired", "warns", message, pair.suite)
    for state, one, many in (
        ("error", "1 answer ended in an error", "answers ended in an error"),
        ("unscored", "1 answer was not scored", "answers were not scored"),
    ):
        for place, side in ((0, "old"), (1, "new")):
            n = sum(c for name, c in figure.outcomes.items() if name.split(">")[place] == state)
            if n:
                message = f"{side}: {one if n == 1 else f'{n} {many}'}"
                reason = pairing.why(store, pair.old_runs if side == "old" else pair.new_runs, state)
                message += f" (mostly: {_short(reason, 160)})" if reason else ""
                yield Finding(f"{state}-rows", "warns", message, pair.suite)


def _merged(findings: Iterable[Finding]) -> list[Finding]:
    """One finding where many suites have the same thing to say."""
    by_text: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        by_text.setdefault((finding.code, finding.level, finding.message), []).append(finding)
    merged = []
    for same in by_text.values():
        names = [f.suite for f in same if f.suite]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        merged.append(replace(same[0], suite=shown or None))
    return merged


def _allowed(finding: Finding, allow: Sequence[str]) -> Finding:
    if finding.level == "blocks" and finding.code in allow:
        return replace(finding, level="warns", message=f"{finding.message} (allowed)")
    return finding
