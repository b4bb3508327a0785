"""The verdict as JUnit XML, which every CI server reads: one test suite a suite, one case a rule.

A CI server knows no verdict of its own, only cases, so the cases must never look better than the
verdict. A failed rule is a failure; what could not be compared is an error; what the data do not
decide, and what nobody asked to be judged, is skipped with its reason. Advisory rules decide nothing,
so they can be skipped but never fail. Where no case says what the verdict says, one more case does.
An exception that was refused is no case, since the flips it was to cover have failed their rule.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, ClassVar

from muscle_gov import Flip, Measure, Report, hookimpl
from muscle_gov.text import one_line, visible
from muscle_gov_plugins import _verdict_words as words

if TYPE_CHECKING:
    from muscle_gov.data import Finding, RuleResult, SuiteFigures

FINDINGS = "(findings)"
"""Name of the test suite that speaks of the whole comparison."""
_ALL = "(all)"
_HARMFUL = ("negative", "loss", "wrong_to_wrong")
_ELEMENT = {"FAIL": "failure", "INCOMPARABLE": "error", "INCONCLUSIVE": "skipped"}
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_ATTRIBUTE = 500
_NAME = 200
_VALUE = 80

Target = tuple[str, str | None]
"""Suite and slice that a rule was applied to."""
Xml = Any
"""An element of junitparser, whose methods are typed only in part."""


@hookimpl
def register_reports() -> dict[str, type]:
    return {"junit": JunitReport}


@dataclass(frozen=True)
class JunitReport:
    """JUnit XML for CI servers: each rule on each suite is a test case."""

    flips: int = 10
    """How many of the worst flips to list below a failed rule."""

    suffix: ClassVar[str] = ".xml"

    def __post_init__(self) -> None:
        if self.flips < 0:
            raise ValueError(f"flips: {self.flips} must be at least 0")

    def render(self, report: Report) -> bytes:
        from junitparser import JUnitXml

        flips = _worst_flips(report, self.flips)
        xml: Xml = JUnitXml(_attribute(f"muscle-gov: {_versus(report)}"))
        xml.append(_findings(report))
        for name, figures in _suites(report).items():
            results = [result for result in report.verdict.rules if result.suite == name]
            xml.append(_suite(report, name, figures, results, flips))
        xml.update_statistics()
        out = BytesIO()
        # pretty goes through the standard library's writer, so lxml being there changes no byte
        xml.write(out, pretty=True)
        return out.getvalue()


# ------------------------------------------------------------------------------------------- suites


def _suites(report: Report) -> dict[str, SuiteFigures | None]:
    """Every suite compared, then whatever else a rule speaks of."""
    comparison = report.comparison
    found: dict[str, SuiteFigures | None] = {figures.suite: figures for figures in comparison.suites}
    if comparison.total is not None:
        found[comparison.total.suite] = comparison.total
    for result in report.verdict.rules:
        found.setdefault(result.suite, None)
    return found


def _suite(
    report: Report,
    name: str,
    figures: SuiteFigures | None,
    results: Sequence[RuleResult],
    flips: Mapping[Target, Sequence[str]],
) -> Xml:
    suite = _new_suite(report, name, {} if figures is None else _figures(figures))
    titles = _told_apart([_title(result) for result in results])
    for result, title in zip(results, titles, strict=True):
        case = _case(name, title, words.line_of(result))
        element = _element(result)
        if element is not None:
            details = _details(result, flips.get((result.suite, result.slice), ()))
            note = "advisory, decides nothing: " if result.rule.tier == "advisory" else ""
            case.append(_outcome(element, result.status.value, note + result.reason, details))
        suite.append(case)
    return suite


def _new_suite(report: Report, name: str, properties: Mapping[str, str]) -> Xml:
    from junitparser import TestSuite

    suite: Xml = TestSuite(_attribute(name, _NAME))
    moment = _SECONDS.match(report.comparison.created)
    if moment:
        suite.timestamp = moment[0]
    # a case has no properties in the JUnit schema, and those of a suite stand before its cases
    for key, value in properties.items():
        suite.add_property(_attribute(key, _NAME), _attribute(value))
    return suite


def _figures(figures: SuiteFigures) -> dict[str, str]:
    told = {
        "kind": figures.kind,
        "pairs": str(figures.n_pairs),
        "coverage": f"{figures.coverage:.6g}",
    }
    if figures.p_value is not None:
        told["p"] = f"{figures.p_value:.4g} ({figures.p_method})"
    if figures.p_adjusted is not None:
        told["p_adjusted"] = f"{figures.p_adjusted:.4g}"
    for name in sorted(figures.measures):
        told[name] = _measure(figures.measures[name])
    return told


def _measure(measure: Measure) -> str:
    if measure.value is None:
        return measure.method or "undefined"
    interval = ""
    if measure.low is not None and measure.high is not None:
        interval = f" [{measure.low:.6g}, {measure.high:.6g}]"
    return f"{measure.value:.6g}{interval}, n={measure.n}, {measure.method}"


# -------------------------------------------------------------------------------------------- cases


def _case(suite: str, title: str, line: tuple[str, int] | None = None) -> Xml:
    from junitparser import TestCase

    case: Xml = TestCase(_attribute(title, _NAME), _attribute(f"muscle-gov.{suite}", _NAME))
    if line is not None:  # of the rule in the policy
        case._elem.set("file", _attribute(line[0], _NAME))
        case._elem.set("line", str(line[1]))
    return case


def _told_apart(titles: Sequence[str]) -> list[str]:
    """The second of a name gets `#2`: CI servers follow a case through time by its name."""
    seen: Counter[str] = Counter()
    found = []
    for title in titles:
        seen[title] += 1
        found.append(title if seen[title] == 1 else f"{title} #{seen[title]}")
    return found


def _title(result: RuleResult) -> str:
    place = f" [{result.slice}]" if result.slice is not None else ""
    tier = "" if result.rule.tier == "critical" else f" ({result.rule.tier})"
    return f"{words.rule_title(result.rule)}{place}{tier}"


def _element(result: RuleResult) -> str | None:
    """Which element says this result; None for a case that passed."""
    if result.status.value == "PASS":
        return None
    advisory = result.rule.tier == "advisory"
    return "skipped" if advisory else _ELEMENT.get(result.status.value, "skipped")


def _outcome(element: str, kind: str, message: str, text: str = "") -> Xml:
    from junitparser import Error, Failure, Skipped

    made = {"failure": Failure, "error": Error, "skipped": Skipped}[element](
        _attribute(message), _attribute(kind)
    )
    if text:
        made.text = _text(text)
    return made


def _details(result: RuleResult, flips: Sequence[str]) -> str:
    lines = [result.reason]
    if result.measure is not None:
        lines.append(f"measured: {_measure(result.measure)}")
    if result.p_breach is not None:
        lines.append(f"p that the limit is kept: {result.p_breach:.4g}")
    if result.explanation is not None:
        lines.append(result.explanation.why)
    if better := words.to_pass(result):
        lines.append(f"to pass: {better}")
    if flips and result.status.value == "FAIL":
        lines += ["worst flips:", *(f"  {line}" for line in flips)]
    return "\n".join(lines)


def _worst_flips(report: Report, most: int) -> dict[Target, list[str]]:
    """For each place where a rule failed the first flips there; reads no more than it must."""
    failed = [r for r in report.verdict.rules if _element(r) == "failure"]
    found: dict[Target, list[str]] = {(r.suite, r.slice): [] for r in failed}
    open_: dict[str, list[Target]] = {}
    for target in found:
        open_.setdefault(target[0], []).append(target)
    for flip in report.flips if most and found else ():
        if flip.kind not in _HARMFUL or flip.waived is not None:
            continue
        for suite in (flip.suite, _ALL):
            for target in list(open_.get(suite, ())):
                if _is_in(flip, target[1]):
                    found[target].append(_flip_line(flip))
                if len(found[target]) == most:
                    open_[suite].remove(target)
        if not any(open_.values()):
            break
    return found


def _is_in(flip: Flip, slice_: str | None) -> bool:
    # a tag's name may hold a "=" of its own, so the slice is put together and not taken apart
    return slice_ is None or any(f"{tag}={value}" == slice_ for tag, value in flip.tags.items())


def _flip_line(flip: Flip) -> str:
    old = flip.old_output if flip.old_answer is None else flip.old_answer
    new = flip.new_output if flip.new_answer is None else flip.new_answer
    told = (flip.suite, flip.key, flip.kind, old, new, flip.target)
    suite, key, kind, before, after, target = (one_line(text, _VALUE) for text in told)
    return f"{suite} {key} {kind}: {before} → {after} (wanted {target})"


# ----------------------------------------------------------------------------- the whole comparison


def _findings(report: Report) -> Xml:
    """The test suite of what speaks of the whole: findings, waivers, and the verdict if need be."""
    from junitparser import SystemOut

    verdict, comparison = report.verdict, report.comparison
    about = {
        "verdict": verdict.status.value,
        "reason": verdict.reason,
        "exit_code": str(verdict.exit_code),
        "old": comparison.old.name,
        "new": comparison.new.name,
        "comparison": comparison.id,
        "confidence": f"{comparison.confidence:.6g}",
        "muscle_gov": comparison.tool_version,
    }
    if verdict.policy_digest is not None:
        about["policy_digest"] = verdict.policy_digest
    about |= {name: str(count) for name, count in words.exceptions(verdict).items()}
    suite = _new_suite(report, FINDINGS, about)
    blocking = _blocking(report)
    titles = [f.code + (f" in {f.suite}" if f.suite else "") for f in blocking]
    for finding, title in zip(blocking, _told_apart(titles), strict=True):
        case = _case(FINDINGS, title)
        case.append(_outcome("error", finding.code, finding.message, finding.message))
        suite.append(case)
    if not _is_told(report):
        suite.append(_verdict_case(report))
    talk = "\n".join(_talk(report))
    if talk:
        suite.append(SystemOut(_text(talk)))
    return suite


def _blocking(report: Report) -> list[Finding]:
    return [finding for finding in report.verdict.findings if finding.level == "blocks"]


def _is_told(report: Report) -> bool:
    """Do the cases of rules and findings say by themselves what the verdict says?"""
    status, rules = report.verdict.status.value, report.verdict.rules
    deciding = [result for result in rules if result.rule.tier != "advisory"]
    if status == "PASS":
        return bool(deciding)
    wanted = _ELEMENT.get(status)
    told = {_element(result) for result in deciding} | ({"error"} if _blocking(report) else set())
    return wanted is not None and wanted in told


def _verdict_case(report: Report) -> Xml:
    status, reason = report.verdict.status.value, report.verdict.reason
    if status in ("NOT JUDGED", "PASS"):  # a pass that no rule stands behind is none
        case = _case(FINDINGS, "not judged")
        case.append(_outcome("skipped", "NOT JUDGED", f"not judged: {reason}"))
        return case
    case = _case(FINDINGS, "verdict")
    case.append(_outcome(_ELEMENT[status], status, reason))
    return case


def _talk(report: Report) -> Iterable[str]:
    for finding in report.verdict.findings:
        if finding.level != "blocks":
            place = f" ({finding.suite})" if finding.suite else ""
            yield f"{finding.level} {finding.code}{place}: {finding.message}"
    yield from map(words.waiver_line, report.verdict.waivers)
    yield from map(words.quarantine_line, report.verdict.quarantined)


def _versus(report: Report) -> str:
    return f"{report.comparison.new.name} against {report.comparison.old.name}"


# --------------------------------------------------------------------------------------- characters


def _text(text: str) -> str:
    """The text with every hidden character shown, and none that XML 1.0 forbids."""
    return _NOT_XML.sub("\ufffd", visible(text))


def _attribute(text: str, chars: int = _ATTRIBUTE) -> str:
    """The same for an attribute, on one line, since XML readers turn line ends there into spaces."""
    shown = _text(text[:chars]).replace("\n", "⏎").replace("\t", "␉")
    return shown + "…" if len(text) > chars else shown
