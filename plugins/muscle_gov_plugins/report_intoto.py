"""The verdict as an in-toto attestation: Statement v1 with the predicate test-result v0.1.

The subject is the new model; rules are the tests. The predicate knows PASSED, WARNED and FAILED and no
word for "not decided". So a verdict that is none (INCONCLUSIVE, INCOMPARABLE, NOT JUDGED) makes no
attestation at all: an admission controller must find none, rather than one that it could misread. The
statement is not signed; the report folder's signature covers it, and so can `cosign attest-blob`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from muscle_gov import OutputError, Report, hookimpl
from muscle_gov_plugins import _verdict_words as words
from muscle_gov_plugins._model_parts import FINGERPRINT, clean, document, parts_of, sha256

if TYPE_CHECKING:
    from muscle_gov.data import Evidence, ModelInfo, RuleResult, Verdict

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
_KINDS = ("policy", "waivers", "quarantine", "config", "suite", "predictions", "log")


@hookimpl
def register_reports() -> dict[str, type]:
    return {"in-toto": InTotoReport}


@dataclass(frozen=True)
class InTotoReport:
    """An in-toto attestation (Statement v1, test-result v0.1) of a verdict that is PASS or FAIL."""

    valid_days: int | None = None
    """Say that the attestation is valid for so many days after the verdict was given, so that an old one
    cannot be shown again for ever; it says nothing of it if not given."""

    suffix: ClassVar[str] = ".intoto.json"

    def __post_init__(self) -> None:
        if self.valid_days is not None and not 1 <= self.valid_days <= 36_500:
            raise ValueError(f"valid_days: {self.valid_days} must be between 1 and 36,500")

    def render(self, report: Report) -> bytes:
        if report.evidence is None:
            raise OutputError("an attestation needs the evidence behind it, and none was collected")
        tests = _tests(report.verdict)
        statement = {
            "_type": STATEMENT,
            "subject": list(_subjects(report.comparison.new)),
            "predicateType": PREDICATE,
            "predicate": {
                "result": _result(report.verdict, tests),
                "configuration": list(self._configuration(report, report.evidence)),
                **tests,
            },
        }
        return document(statement)

    def _configuration(self, report: Report, proof: Evidence) -> Iterator[Mapping[str, Any]]:
        yield self._verdict(report, proof)
        for part in _subjects(report.comparison.old):
            yield {**part, "name": f"old model: {part['name']}"}
        for one in proof.resources:
            if one.kind in _KINDS and (digest := sha256(one.digest)) is not None:
                name, told = f"{one.kind}: {one.name}", {k: str(v) for k, v in one.details.items()}
                yield {"name": name, "digest": {"sha256": digest}, "annotations": told}
        version = report.comparison.tool_version
        yield {
            "name": "muscle-gov",
            "uri": f"pkg:pypi/muscle-gov@{version}",
            "annotations": proof.versions,
        }

    def _verdict(self, report: Report, proof: Evidence) -> Mapping[str, Any]:
        """The verdict by its digest, and the time that the attestation is bound to."""
        comparison, verdict = report.comparison, report.verdict
        whole = json.dumps(clean(asdict(verdict)), sort_keys=True, separators=(",", ":"))
        told = {
            "status": verdict.status.value,
            "reason": verdict.reason,
            "comparison": comparison.id,
            "compared": comparison.created,
            "judged": proof.judged or "not recorded",
        }
        if self.valid_days is not None:
            told["validUntil"] = _until(proof.judged, self.valid_days)
        digest = hashlib.sha256(whole.encode()).hexdigest()
        return {"name": "verdict", "digest": {"sha256": digest}, "annotations": told}


def _until(judged: str | None, days: int) -> str:
    try:
        given = datetime.fromisoformat((judged or "").removesuffix("Z"))
        return f"{(given + timedelta(days=days)).isoformat()}Z"
    except (ValueError, OverflowError):
        raise OutputError(f"valid_days: counts from when the verdict was given, {judged!r}") from None


def _subjects(model: ModelInfo) -> Iterator[dict[str, Any]]:
    """The model, then its adapter."""
    parts = parts_of(model)
    weights = {"sha256": parts.weights} if parts.weights is not None else {}
    yield {"name": parts.name, "digest": {**weights, FINGERPRINT: parts.fingerprint}}
    if parts.adapter is not None:
        yield {"name": f"{parts.name} (adapter)", "digest": {"sha256": parts.adapter}}


def _tests(verdict: Verdict) -> dict[str, list[str]]:
    """Rules by what became of them. What does not hold but does not fail the gate is a warning."""
    names: dict[str, list[str]] = {"passedTests": [], "warnedTests": [], "failedTests": []}
    for result in verdict.rules:
        kind = _kind(result)
        name = f"{words.where(result)}: {words.rule_title(result.rule)}"
        if name not in names[kind]:
            names[kind].append(name)
    for waived in verdict.waivers:
        if waived.status == "applied":
            one = waived.waiver
            names["warnedTests"].append(_aside(one.suite, one.instance or one.slice, one.owner))
    for flaky in verdict.quarantined:
        if flaky.status == "applied":
            entry = flaky.quarantine
            names["warnedTests"].append(_aside(entry.suite, entry.instance, entry.owner))
    if verdict.status.value == "FAIL" and not names["failedTests"]:
        names["failedTests"].append(f"verdict: {verdict.reason}")
    return names


def _aside(suite: str, what: str | None, owner: str) -> str:
    return f"{suite}: {what} is set aside ({owner})"


def _kind(result: RuleResult) -> str:
    status, is_advisory = result.status.value, result.rule.tier == "advisory"
    if status == "PASS":
        return "passedTests"
    return "failedTests" if status == "FAIL" and not is_advisory else "warnedTests"


def _result(verdict: Verdict, tests: Mapping[str, list[str]]) -> str:
    status = verdict.status.value
    if status == "FAIL":
        return "FAILED"
    if status != "PASS":
        raise OutputError(
            f"the verdict is {status}, for which attestations of test results have no word; none is made"
        )
    if tests["failedTests"]:
        raise OutputError(f"the verdict is PASS, but {tests['failedTests'][0]} failed; none is made")
    return "WARNED" if tests["warnedTests"] else "PASSED"
