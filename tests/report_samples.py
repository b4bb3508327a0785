"""Reports that the tests of the report formats share: an ordinary one, and one full of attacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from muscle_gov import Flip, Measure, Report, stats
from muscle_gov.data import (
    AppliedQuarantine,
    AppliedWaiver,
    Candidate,
    Comparison,
    Evidence,
    Explanation,
    Finding,
    ModelInfo,
    Query,
    Resource,
    RuleResult,
    Status,
    SuiteFigures,
    Verdict,
)
from muscle_gov.settings import Quarantine, Rule, Waiver

BINARY = {"accuracy_old": 0.8, "accuracy_new": 0.75, "accuracy_delta": -0.05, "nfr": 0.1, "pfr": 0.05}
GRADED = {
    "score_old": 31.5,
    "score_new": 30.25,
    "score_delta": -1.25,
    "regression_rate": 0.4,
    "gain_rate": 0.3,
}
HOSTILE = (
    "<script>alert(1)</script>",
    "</testcase></testsuite>]]><failure/>",
    "a | b \\| c \\\\| d",
    "`one` ``two`` ```three",
    "`",
    "x\n\n# heading\n- list\n```\ncode",
    "first\r\nsecond\rthird\u2028fourth\u0085fifth",
    "@octocat @org/team me@example.org",
    "[click](javascript:alert(1)) ![pic](https://evil.example/x.png)",
    "https://evil.example www.evil.example evil.example #123 GH-7 owner/repo#9 deadbeefcafe",
    "&lt;b&gt; &#64;octocat &amp; <!-- comment --> <![CDATA[x]]>",
    ":tada: $x^2$ $`y`$ ~~gone~~ **bold** _it_ ***",
    "\x1b[31mred\x1b[0m\x07\x08",
    "right\u202egnorw\u202c \u2066x\u2069 zero\u200bwidth \ufeff",
    "nul\x00byte \ufffe \uffff \x0b \x7f",
    "lone \ud800 surrogate \udfff",
    '=HYPERLINK("https://evil.example","x")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    "'=1+1",
    "1. not a list",
    "- not a list",
    "   ",
    "\\",
    "日本語 ʼn é 🎉",
)


@dataclass(frozen=True)
class CountedFlips:
    """Flips that may be read again and again, as the store's; counts how many were read."""

    flips: tuple[Flip, ...]
    reads: list[int]

    def __iter__(self) -> Iterator[Flip]:
        for flip in self.flips:
            self.reads.append(flip.instance_id)
            yield flip


def measure(value: float | None, n: int = 100, reach: float = 0.02) -> Measure:
    if value is None:
        return Measure(None, None, None, 0, "undefined: nothing to divide by")
    return Measure(value, value - reach, value + reach, n, "Clopper-Pearson")


def figures(suite: str = "maths", **changes: Any) -> SuiteFigures:
    """Figures of a suite; `values` replaces the measures by metric name."""
    values: Mapping[str, float | None] = changes.pop("values", {})
    kind = changes.get("kind", "binary")
    known = {**(BINARY if kind == "binary" else GRADED), **values}
    made = SuiteFigures(
        suite=suite,
        slice=None,
        kind=kind,
        n_old=100,
        n_new=100,
        n_union=100,
        n_pairs=100,
        outcomes={"right>right": 70, "right>wrong": 10, "wrong>right": 5, "wrong>wrong": 15},
        measures={name: measure(value) for name, value in known.items()},
        p_value=0.03,
        p_method="exact McNemar",
        p_adjusted=0.04,
        mde=0.1,
        metric="acc",
    )
    return replace(made, **changes)


def rule_result(status: Status = Status.FAIL, suite: str = "maths", **changes: Any) -> RuleResult:
    made = RuleResult(
        rule=Rule(metric="nfr", max=0.05, tier=changes.pop("tier", "critical")),
        suite=suite,
        slice=None,
        status=status,
        measure=measure(0.1),
        p_breach=0.01,
        reason=f"{suite}: nfr is 0.1; the policy allows at most 0.05",
        explanation=explanation() if status is Status.FAIL else None,
        place="policy.toml:4",
    )
    return replace(made, **changes)


def explanation(**changes: Any) -> Explanation:
    """Why a limit of 5 % on 100 pairs is broken by 10 flips, and what would pass."""
    made = Explanation(
        why="10 of 100 pairs flipped; the policy allows 5 % and the bound is 16.4 %",
        to_pass="at most 1 flip of 100 pairs would pass",
        flips=10,
        flips_allowed=1,
        items_needed=None,
    )
    return replace(made, **changes)


def listed_result(status: Status = Status.FAIL, **changes: Any) -> RuleResult:
    """A list of 12 instances that must not regress, of which 2 did."""
    broke = 2 if status is Status.FAIL else 0
    made = RuleResult(
        rule=Rule(metric="must_not_regress", max=0, judge="value", name="refusals"),
        suite="maths",
        slice=None,
        status=status,
        measure=Measure(broke, None, None, 12, "counted"),
        p_breach=None,
        reason=f"maths: {broke} of 12 listed instances regressed; none may",
        explanation=Explanation(
            why=f"{broke} of the 12 instances on the list refusals were right and are wrong",
            to_pass="every instance on the list must be right again" if broke else None,
            flips=broke,
            flips_allowed=0,
        ),
        place="policy.toml:12",
    )
    return replace(made, **changes)


def waivers() -> tuple[AppliedWaiver, ...]:
    """One that was applied and one of each that was refused."""
    given = Waiver(
        suite="maths",
        reason="the key of this question is wrong",
        owner="data owner",
        expires="2026-12-31",
        instance="7",
    )
    old = replace(given, instance="8", expires="2025-12-31", reason="known since the last release")
    gone = replace(given, instance="no-such-item")
    wide = replace(given, instance=None, slice="subject=sums", reason="sums are being rewritten")
    return (
        AppliedWaiver(given, 1, "applied"),
        AppliedWaiver(old, 0, "expired"),
        AppliedWaiver(gone, 0, "unmatched"),
        AppliedWaiver(wide, 0, "over-broad"),
    )


def quarantined() -> tuple[AppliedQuarantine, ...]:
    """One item that is set aside and one entry that was refused."""
    entry = Quarantine(
        suite="reading",
        instance="31",
        reason="two right answers",
        owner="data owner",
        expires="2026-12-31",
    )
    return (
        AppliedQuarantine(entry, 3, "applied"),
        AppliedQuarantine(replace(entry, instance="32"), 0, "not-flaky"),
    )


def evidence() -> Evidence:
    """Digests of both models, their predictions, one suite and the policy, and one query."""
    resources = (
        Resource("model", "old-model", "f0" * 32, {"side": "old"}),
        Resource("model", "new-model", "f1" * 32, {"side": "new"}),
        Resource("suite", "maths", "a0" * 32, {"suite": "maths", "rows": 100}),
        Resource("predictions", "maths, old", "b0" * 32, {"side": "old", "suite": "maths", "rows": 100}),
        Resource("predictions", "maths, new", "b1" * 32, {"side": "new", "suite": "maths", "rows": 100}),
        Resource("policy", "policy.toml", "c0" * 32, {"path": "policy.toml"}),
        Resource("waivers", "waivers.toml", "c1" * 32, {"path": "waivers.toml"}),
    )
    sql = "SELECT sum(negative_flip) / count(*) AS value\nFROM pairs\nWHERE suite = 'maths';"
    queries = (Query("NFR of maths", sql, 0.1), Query("Negative flips of maths", "SELECT 10", 10))
    versions = {"muscle-gov": "0.1.0", "Python": "3.11.9", "DuckDB": "1.4.0"}
    return Evidence(resources, queries, versions, judged="2026-01-01T12:00:05Z")


def flip(number: int = 1, **changes: Any) -> Flip:
    made = Flip(
        suite="maths",
        key=str(number),
        instance_id=number,
        kind="negative",
        old_answer="4",
        new_answer="5",
        target="4",
        prompt="What is two and two?",
        new_prompt=None,
        old_output="It is 4.",
        new_output="It is 5.",
        old_score=1.0,
        new_score=0.0,
        tags={"subject": "sums"},
        waived=None,
    )
    return replace(made, **changes)


def verdict(status: Status = Status.FAIL, **changes: Any) -> Verdict:
    made = Verdict(
        status=status,
        reason="maths: nfr is 0.1; the policy allows at most 0.05",
        rules=(
            rule_result(Status.FAIL),
            rule_result(Status.PASS, "reading"),
            listed_result(Status.PASS),
        ),
        findings=(Finding("other-metrics", "notes", "also logged: f1", "maths"),),
        waivers=waivers(),
        policy_digest="c0" * 32,
        quarantined=quarantined(),
    )
    return replace(made, **changes)


def comparison(**changes: Any) -> Comparison:
    made = Comparison(
        id="20260101-abc123",
        created="2026-01-01T12:00:00Z",
        old=ModelInfo("old-model", "f0", {"revision": "1"}),
        new=ModelInfo("new-model", "f1", {"revision": "2"}),
        suites=(figures("maths"), figures("reading", p_value=0.5, p_adjusted=0.5)),
        total=figures("(all)", n_pairs=200, p_adjusted=None),
        slices=(),
        findings=(),
        headers={"maths": ({"model": "old-model"}, {"model": "new-model"})},
        confidence=0.95,
        tool_version="0.1.0",
    )
    return replace(made, **changes)


def report(**changes: Any) -> Report:
    """An ordinary report: one rule failed, one and a list held; three answers broke, one was mended.
    One waiver was applied and three refused, one flaky item is set aside and one entry refused."""
    flips = (flip(1), flip(2), flip(3, suite="reading"), flip(4, kind="positive"))
    made = Report(
        verdict=verdict(),
        comparison=comparison(),
        flips=flips,
        flip_counts={"negative": 3, "positive": 1},
        command="muscle-gov compare old new",
        judged_by="muscle-gov gate --policy policy.toml",
        store="runs.duckdb",
        evidence=evidence(),
    )
    return replace(made, **changes)


def share(count: float, n: int) -> Measure:
    """A share with its exact interval."""
    return Measure(count / n, *stats.clopper_pearson(count, n, 0.95), n, "Clopper-Pearson")


def counted(suite: str, n: int, right: int, broke: int, gained: int) -> SuiteFigures:
    """Figures of a right-or-wrong suite from counts: right before, broken, mended."""
    now = right - broke + gained
    wrong = n - now
    delta = Measure((gained - broke) / n, *stats.tango(gained, broke, n, 0.95), n, "Tango score")
    measures = {
        "accuracy_old": share(right, n),
        "accuracy_new": share(now, n),
        "accuracy_delta": delta,
        "nfr": share(broke, n),
        "pfr": share(gained, n),
        "nfr_mc": share(broke + n // 100, n),
        "nfi": share(broke, wrong) if wrong else measure(None),
        "relative_nfr": measure(broke / n / (right / n * wrong / n) if wrong else None, n, 0.1),
    }
    kept = {"right>wrong": broke, "wrong>right": gained, "right>right": right - broke}
    outcomes = {**kept, "wrong>wrong": n - right - gained}
    sizes = {"n_pairs": n, "n_union": n, "n_old": n, "n_new": n}
    return replace(figures(suite), measures=measures, outcomes=outcomes, **sizes)


def graded(suite: str, n: int, worse: int, score: float) -> SuiteFigures:
    """Figures of a suite scored on a scale."""
    made = figures(suite, kind="graded", n_pairs=n, n_union=n)
    level = Measure(score, score - 0.6, score + 0.6, n, "t")
    return replace(
        made, measures={**made.measures, "regression_rate": share(worse, n), "score_new": level}
    )


MODELS: tuple[tuple[str, str, str, int, int], ...] = (
    # name, role, about, broken and gained answers of 2,000
    ("update", "update", "the candidate as it came", 98, 132),
    ("muscle", "mitigation", "compatibility adapter: KL to the old or the new model (MUSCLE)", 61, 145),
    ("ensemble-distil", "mitigation", "distilled from old and new together", 47, 127),
    ("continued", "control", "cross-entropy on the same data, without the old model", 92, 129),
    ("re-fit", "control", "the update's own training with another seed", 101, 136),
    ("both together", "control", "probabilities of old and new averaged", 43, 138),
)


def candidate(number: int, suites: int = 1) -> Candidate:
    """One of `MODELS`, judged; with three suites the third is scored on a scale."""
    name, role, about, broke, gained = MODELS[number]
    shown = [counted("maths", 2000, 1590, broke, gained)]
    if suites == 3:
        shown = [
            counted("maths", 1200, 954, broke * 6 // 10, gained * 6 // 10),
            counted("reading", 800, 636, broke - broke * 6 // 10, gained - gained * 6 // 10),
            graded("summaries", 500, 40 + broke, 31 - broke / 100),
        ]
    total = counted("(all)", 2000, 1590, broke, gained) if suites == 3 else None
    level = Status.PASS if broke < 60 else Status.INCONCLUSIVE if broke < 90 else Status.FAIL
    noise = {f.suite: share(f.n_pairs * 34 // 1000, f.n_pairs) for f in shown if f.kind == "binary"}
    if total is not None:
        noise["(all)"] = share(68, 2000)
    # the update has the id of `comparison()`, so it is what the report is about
    told = comparison(suites=tuple(shown), total=total, id=f"20260101-abc12{3 + number}")
    return Candidate(
        name=name,
        role=role,
        about=about,
        comparison=told,
        verdict=verdict(level, rules=limits_on(*(f.suite for f in (*shown, total) if f))),
        cost=2.0 if name == "both together" else 1.0,
        noise=noise if name == "re-fit" else None,
    )


def limits_on(*suites: str) -> tuple[RuleResult, ...]:
    """NFR at most 4 %, accuracy at most a point lower, the regression rate at most 25 %."""
    rules = (
        Rule(metric="nfr", max=0.04),
        Rule(metric="accuracy_delta", min=-0.01),
        Rule(metric="regression_rate", max=0.25),
    )
    return tuple(rule_result(rule=rule, suite=suite) for suite in suites for rule in rules)


def mended_report(suites: int = 1, about: int = 0) -> Report:
    """An update, two mitigations and three controls; `about` is the number of the one reported."""
    candidates = tuple(candidate(number, suites) for number in range(len(MODELS)))
    subject = candidates[about]
    return report(comparison=subject.comparison, verdict=subject.verdict, candidates=candidates)


def hostile_report(text: str) -> Report:
    """`text` in every place that a log, a policy or a command line can reach."""
    bad = figures(text, slice=f"{text}={text}", p_adjusted=0.001, metric=text)
    result = RuleResult(
        rule=Rule(metric="nfr", max=0.05, name=text),
        suite=text,
        slice=f"{text}={text}",
        status=Status.FAIL,
        measure=measure(0.1),
        p_breach=0.01,
        reason=f"{text} [{text}={text}]: {text} is 0.1",
        explanation=Explanation(text, text, 1, 0, 500),
        place=text,
    )
    listed = Rule(metric="must_not_regress", max=0, judge="value", name=text)
    mustnot = replace(result, rule=listed, status=Status.PASS, measure=Measure(0, None, None, 12))
    flaky = Quarantine(suite=text, instance=text, reason=text, owner=text, expires="2026-12-31")
    waiver = Waiver(suite=text, reason=text, owner=text, expires="2026-12-31", instance=text)
    told = Verdict(
        status=Status.FAIL,
        reason=f"{text}: {text}",
        rules=(result, replace(result, rule=Rule(metric="nfr", min=0.1), slice=None), mustnot),
        findings=(Finding("code", "blocks", text, text), Finding("code", "warns", text, text)),
        waivers=(AppliedWaiver(waiver, 1, "applied"), AppliedWaiver(waiver, 0, "expired")),
        policy_digest=text,
        quarantined=(AppliedQuarantine(flaky, 2, "applied"), AppliedQuarantine(flaky, 0, "expired")),
    )
    compared = comparison(
        id=text,
        created=text,
        old=ModelInfo(text, text, {text: text}),
        new=ModelInfo(text, text, {text: [text, {text: text}]}),
        suites=(replace(bad, slice=None),),
        total=None,
        slices=(bad,),
        headers={text: ({text: text}, {text: text})},
        tool_version=text,
    )
    made = flip(
        1,
        suite=text,
        key=text,
        old_answer=text,
        new_answer=text,
        target=text,
        prompt=text,
        new_prompt=text,
        old_output=text + text,
        new_output=text + text,
        tags={text: text},
    )
    flips = (made, replace(made, key="waived", waived=text))
    measured = {text: measure(0.05)}
    judged = {"comparison": compared, "verdict": told, "about": text, "of": text}
    kinds = ("model", "predictions", "suite", "policy", "waivers", "quarantine", "config", text)
    proof = Evidence(
        tuple(Resource(kind, text, text, {text: text, "side": text}) for kind in kinds),
        (Query(text, text, 0.1), Query(text, f"SELECT '{text}'", None)),
        {text: text},
        judged=text,
    )
    candidates = (
        Candidate(name=text, role="update", **judged),
        Candidate(name=f"{text}2", role="mitigation", **judged),
        Candidate(name=f"{text}3", role="control", noise=measured, **judged),
    )
    return Report(told, compared, flips, {"negative": 2}, text, text, candidates, proof, text)
