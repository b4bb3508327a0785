"""The verdict as SARIF 2.1.0, so that a code-scanning page shows what broke at the policy's own line.

A result is something wrong: a rule that does not hold, a finding that forbids to compare, an exception
that was refused. What holds is no result, since GitHub would show it as an alert. All results are of
the kind `fail`, also those that the data do not decide: any other kind may have no level, and would be
seen by nobody. As in JUnit, the results never look better than the verdict, so where none of them says
what it says, one more does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from muscle_gov import Report, hookimpl
from muscle_gov_plugins import _sarif_parts as parts
from muscle_gov_plugins import _verdict_words as words

if TYPE_CHECKING:
    from muscle_gov.data import RuleResult, Verdict

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
MOST_RESULTS = 25_000
"""GitHub refuses a run with more."""
MOST_BYTES = 8_000_000
"""Of the results before they are packed, so that the packed file is surely below GitHub's 10 MB."""
_RANK = ("error", "warning", "note")
_LEVELS = {
    "critical": {"FAIL": "error", "INCOMPARABLE": "error", "INCONCLUSIVE": "warning"},
    "supporting": {"FAIL": "error", "INCOMPARABLE": "error", "INCONCLUSIVE": "note"},
}
_VERDICT = {"FAIL": "error", "INCOMPARABLE": "error"}


@hookimpl
def register_reports() -> dict[str, type]:
    return {"sarif": SarifReport}


@dataclass(frozen=True)
class SarifReport:
    """SARIF 2.1.0 for code scanning: rules that do not hold, at their lines in the policy."""

    category: str = "muscle-gov"
    """What a code-scanning page files the results under; a later file of a category replaces the
    earlier one."""
    file: str | None = None
    """File of the repository that results without a line of their own are shown at; the policy's file
    if not given."""
    results: int = MOST_RESULTS
    """Most results in the file, the worst ones; how many more there are is told."""

    suffix: ClassVar[str] = ".sarif"

    def __post_init__(self) -> None:
        if not 1 <= self.results <= MOST_RESULTS:
            raise ValueError(f"results: {self.results} must be between 1 and {MOST_RESULTS:,}")
        for name in ("category", "file"):
            given = getattr(self, name)
            if given is not None and not given.strip():
                raise ValueError(f"{name}: must not be empty")

    def render(self, report: Report) -> bytes:
        import orjson

        found = list(_results(report.verdict))
        fallback = _fallback(report.verdict, self.file)
        kept = _kept(_finished(_told_apart(found), fallback), self.results)
        run = _run(report, self.category, kept, len(found) - len(kept))
        log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
        return orjson.dumps(log, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


# ------------------------------------------------------------------------------------------- results


@dataclass(frozen=True)
class _Result:
    """Something wrong, before it has a number among its like."""

    rule_id: str
    level: str
    text: str
    identity: tuple[str | None, ...]
    place: tuple[str, int] | None = None
    logical: dict[str, str] | None = None
    figures: dict[str, Any] | None = None


def level_of(result: RuleResult) -> str | None:
    """`error`, `warning` or `note`; None for a rule that holds."""
    status = result.status.value
    if status == "PASS":
        return None
    tier = _LEVELS.get(result.rule.tier)
    # a tier that is not known must not make light of anything, and an advisory rule decides nothing
    if tier is None:
        return "note" if result.rule.tier == "advisory" else "error"
    return tier.get(status, "warning")


def _results(verdict: Verdict) -> Iterator[_Result]:
    """Everything that is wrong, the worst first."""
    found = [made for result in verdict.rules for made in _of_rule(result)]
    found += _of_findings(verdict)
    found += _of_refusals(verdict)
    if not _is_told(verdict):
        found.append(_of_verdict(verdict))
    yield from sorted(found, key=lambda one: _RANK.index(one.level))


def _of_rule(result: RuleResult) -> Iterable[_Result]:
    rule, level = result.rule, level_of(result)
    if level is None:
        return
    listed = rule.metric == words.LISTED
    kind = "must-not-regress" if listed else f"rule/{parts.slug(rule.metric)}"
    note = "advisory, decides nothing: " if rule.tier == "advisory" else ""
    better = words.to_pass(result)
    text = f"{note}{result.reason}" + (f". To pass: {better}" if better else "")
    side = "max" if rule.max is not None else "min"
    yield _Result(
        f"muscle-gov/{kind}",
        level,
        text,
        (rule.metric, side, rule.tier, rule.name, result.suite, result.slice),
        words.line_of(result),
        parts.logical(result.suite, result.slice),
        _figures(result),
    )


def _figures(result: RuleResult) -> dict[str, Any]:
    rule, measure, told = result.rule, result.measure, result.explanation
    limit = rule.max if rule.max is not None else rule.min
    found: dict[str, Any] = {
        "status": result.status.value,
        "tier": rule.tier,
        "rule": words.rule_title(rule),
        "metric": rule.metric,
        "limit": limit,
        "side": "at most" if rule.max is not None else "at least",
        "confidence": rule.confidence if rule.judge == "interval" else None,
        "pBreach": result.p_breach,
    }
    if measure is not None:
        found |= {"value": measure.value, "low": measure.low, "high": measure.high, "n": measure.n}
    if told is not None:
        found |= {
            "flips": told.flips,
            "flipsAllowed": told.flips_allowed,
            "itemsNeeded": told.items_needed,
        }
    return found


def _of_findings(verdict: Verdict) -> Iterator[_Result]:
    for finding in verdict.findings:
        if finding.level == "blocks":
            place = f"{finding.suite}: " if finding.suite else ""
            yield _Result(
                f"muscle-gov/finding/{parts.slug(finding.code)}",
                "error",
                f"{place}{finding.message}",
                (finding.code, finding.suite),
                logical=parts.logical(finding.suite, None) if finding.suite else None,
            )


def _of_refusals(verdict: Verdict) -> Iterator[_Result]:
    for applied in verdict.waivers:
        if words.is_refused(applied):
            waiver = applied.waiver
            yield _Result(
                f"muscle-gov/waiver/{parts.slug(applied.status)}",
                "warning",
                words.waiver_line(applied),
                (waiver.suite, waiver.instance, waiver.slice, waiver.expires),
                logical=parts.logical(waiver.suite, waiver.slice),
            )
    for entry in verdict.quarantined:
        if words.is_refused(entry):
            item = entry.quarantine
            yield _Result(
                f"muscle-gov/quarantine/{parts.slug(entry.status)}",
                "warning",
                words.quarantine_line(entry),
                (item.suite, item.instance, item.expires),
                logical=parts.logical(item.suite, None),
            )


def _is_told(verdict: Verdict) -> bool:
    """Do the results by themselves say what the verdict says?"""
    deciding = [result for result in verdict.rules if result.rule.tier != "advisory"]
    levels = {level_of(result) for result in deciding}
    if any(finding.level == "blocks" for finding in verdict.findings):
        levels.add("error")
    if verdict.status.value == "PASS":
        return bool(deciding)
    wanted = {"error"} if verdict.status.value in _VERDICT else {"error", "warning"}
    return bool(levels & wanted)


def _of_verdict(verdict: Verdict) -> _Result:
    status = verdict.status.value
    # a pass that no rule stands behind is none
    text = "not judged" if status == "PASS" else status
    level = _VERDICT.get(status, "warning")
    return _Result("muscle-gov/verdict", level, f"{text}: {verdict.reason}", (status,))


# ------------------------------------------------------------------------------------------- writing


def _fallback(verdict: Verdict, file: str | None) -> tuple[str, int] | None:
    """Where results without a line are shown: the first line of the policy, for the whole of it."""
    if file is not None:
        return file, 1
    first = next(filter(None, map(words.line_of, verdict.rules)), None)
    return None if first is None else (first[0], 1)


def _told_apart(found: Iterable[_Result]) -> Iterator[tuple[_Result, str]]:
    """Each result with its fingerprint; the second of an identity gets `:2`."""
    seen: Counter[str] = Counter()
    for one in found:
        mark = parts.fingerprint(one.rule_id, *one.identity)
        seen[mark] += 1
        yield one, f"{mark}:{seen[mark]}"


def _finished(
    found: Iterable[tuple[_Result, str]], fallback: tuple[str, int] | None
) -> Iterator[dict[str, Any]]:
    for one, mark in found:
        where: dict[str, Any] = {}
        if place := one.place or fallback:
            where["physicalLocation"] = parts.physical(*place)
        if one.logical is not None:
            where["logicalLocations"] = [one.logical]
        made = {
            "ruleId": one.rule_id,
            "level": one.level,
            "message": parts.message(one.text),
            "locations": [where] if where else None,
            "partialFingerprints": {"primaryLocationLineHash": mark},
            "properties": parts.solid(one.figures or {}),
        }
        yield {name: value for name, value in made.items() if value is not None}


def _kept(results: Iterable[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """As many as GitHub takes."""
    import orjson

    kept: list[dict[str, Any]] = []
    left = MOST_BYTES
    for result in results:
        left -= len(orjson.dumps(result, option=orjson.OPT_INDENT_2))
        if len(kept) == most or left < 0:
            break
        kept.append(result)
    return kept


def _run(
    report: Report, category: str, results: Sequence[dict[str, Any]], left_out: int
) -> dict[str, Any]:
    comparison, verdict = report.comparison, report.verdict
    rule_ids = sorted({result["ruleId"] for result in results})
    numbers = {rule_id: number for number, rule_id in enumerate(rule_ids)}
    about = {
        "verdict": verdict.status.value,
        "reason": verdict.reason,
        "exitCode": verdict.exit_code,
        "old": comparison.old.name,
        "new": comparison.new.name,
        "comparison": comparison.id,
        "policyDigest": verdict.policy_digest,
        "rules": dict(sorted(Counter(result.status.value for result in verdict.rules).items())),
        "exceptions": words.exceptions(verdict),
        "flips": dict(sorted(report.flip_counts.items())),
        "resultsLeftOut": left_out or None,
    }
    driver = {
        "name": "muscle-gov",
        "version": parts.solid(comparison.tool_version) or "unknown",
        "rules": [parts.descriptor(rule_id) for rule_id in rule_ids],
    }
    return {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"{parts.slug(category)}/{parts.slug(comparison.id)}"},
        "invocations": [_invocation(report, left_out)],
        "results": [{**one, "ruleIndex": numbers[one["ruleId"]]} for one in results],
        "columnKind": "unicodeCodePoints",
        "properties": parts.solid(about),
    }


def _invocation(report: Report, left_out: int) -> dict[str, Any]:
    told = [{"level": level, "message": parts.message(text)} for level, text in _notes(report, left_out)]
    made = {
        "executionSuccessful": True,
        "exitCode": report.verdict.exit_code,
        "exitCodeDescription": report.verdict.status.value,
        # the exit code is that of the verdict, so the command line is too
        "commandLine": parts.solid(report.judged_by or report.command or ""),
        "toolExecutionNotifications": told or None,
    }
    return {name: value for name, value in made.items() if value is not None}


def _notes(report: Report, left_out: int) -> Iterator[tuple[str, str]]:
    """What is not wrong and yet must be known."""
    if left_out:
        yield "warning", f"{left_out:,} more results are not in this file, which holds the worst ones"
    for finding in report.verdict.findings:
        if finding.level != "blocks":
            place = f" ({finding.suite})" if finding.suite else ""
            level = "warning" if finding.level == "warns" else "note"
            yield level, f"{finding.code}{place}: {finding.message}"
    for applied in report.verdict.waivers:
        if not words.is_refused(applied):
            yield "note", words.waiver_line(applied)
    for entry in report.verdict.quarantined:
        if not words.is_refused(entry):
            yield "note", words.quarantine_line(entry)
