"""Rules from a file or a command line; nothing that could be meant otherwise is accepted.

A gate carries the digest of all that it asks for, so that a verdict says which policy it followed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

from muscle_gov.config.lines import KeyPath
from muscle_gov.config.lists import lists_of
from muscle_gov.config.tables import GATE, RULES, Document, check_keys, make
from muscle_gov.errors import UsageError
from muscle_gov.plugins import Plugins
from muscle_gov.settings import Gate, MustNotRegress, Policy, Rule, check_rule

FORMS = "nfr=0.02, nfr=2%, gsm8k*:nfr=0.02, gsm8k[subject=math]:nfr=0.02 or (all):nfr=0.01"
_NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)\s*(%?)")
_SLICE = re.compile(r"(?P<suites>.*?)\[(?P<slice>[^\[\]=]+=.*)\]", re.DOTALL)


# -------------------------------------------------------------------------------- on the command line


def parse_rule(
    text: str,
    side: Literal["max", "min"],
    *,
    confidence: float = 0.95,
    plugins: Plugins | None = None,
) -> Rule:
    """A rule as written on a command line: `[SUITES:]METRIC=LIMIT`.

    SUITES is a name or shell pattern, with `[tag=value]` behind it for a slice; LIMIT is a number or
    a percentage. With `plugins` the metric must be one of theirs and the limit within its range.

    Raises UsageError for anything else.
    """
    left, equals, limit = text.rpartition("=")
    place, colon, metric = left.rpartition(":")
    if not equals or not metric.strip() or (colon and not place.strip()):
        raise UsageError(f"rule {text!r}: must read [SUITES:]METRIC=LIMIT, e.g. {FORMS}")
    suites, slice_ = place.strip() or "*", None
    if found := _SLICE.fullmatch(suites):
        suites, slice_ = found["suites"] or "*", found["slice"]
    number = _limit(text, limit.strip())
    rule = Rule(
        metric=metric.strip(),
        max=number if side == "max" else None,
        min=number if side == "min" else None,
        suites=(suites,),
        slice=slice_,
        confidence=confidence,
    )
    if problems := check_rule(rule, [rule.metric]) if plugins is None else rule_problems(rule, plugins):
        raise UsageError(f"rule {text!r}: " + "; ".join(problems))
    return rule


def _limit(rule: str, text: str) -> float:
    found = _NUMBER.fullmatch(text)
    value = float(Decimal(found[1]) / (100 if found[2] else 1)) if found else math.nan
    if not math.isfinite(value):
        raise UsageError(f"rule {rule!r}: the limit {text!r} is not a number like 0.02 or 2%")
    return value


# ------------------------------------------------------------------------------------------ in a file


def make_gate(
    rules: Sequence[Rule],
    coverage: float = 0.99,
    lists: Sequence[MustNotRegress] = (),
    places: Sequence[str | None] = (),
) -> Gate:
    """A gate with the digest of what it asks for; `places` are those of the rules.

    Raises UsageError for a coverage that is no share.
    """
    for problem in check_coverage(coverage):
        raise UsageError(problem)
    digest = digest_of(rules, coverage, lists)
    return Gate(tuple(rules), coverage, digest, tuple(lists), tuple(places))


def add_rules(gate: Gate, rules: Sequence[Rule], coverage: float | None = None) -> Gate:
    """The gate with further rules of a command line, made anew so that its digest is of all of them."""
    places = (*gate.places, *[None] * (len(gate.rules) - len(gate.places) + len(rules)))
    least = gate.coverage if coverage is None else coverage
    return make_gate((*gate.rules, *rules), least, gate.must_not_regress, places)


def check_coverage(coverage: float) -> list[str]:
    return [] if 0 < coverage <= 1 else [f"coverage: {coverage:g} must be above 0 and at most 1"]


def digest_of(rules: Sequence[Rule], coverage: float, lists: Sequence[MustNotRegress] = ()) -> str:
    """SHA-256 of the canonical JSON of the rules, the coverage and the lists: keys sorted, no white
    space.

    The order of the rules is that of the file. Comments, layout and names of files do not count; of a
    list its instances do, in whatever order. A policy without lists has the digest that it always had.
    """
    asked: dict[str, Any] = {
        "coverage": float(coverage),
        "rules": [dataclasses.asdict(rule) for rule in rules],
    }
    if lists:
        asked["must_not_regress"] = [
            {
                "name": one.name,
                "suites": one.suites,
                "slice": one.slice,
                "tier": one.tier,
                "listed": sorted({(suite or "", key) for suite, key in one.listed}),
            }
            for one in lists
        ]
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def gate_of(document: Document, plugins: Plugins) -> Gate | None:
    """The gate of a file, whose `[gate]` may be missing; None if anything is wrong with it."""
    problems = document.problems
    table = document.table("gate")
    check_keys(table, GATE, ("gate",), problems)
    listed = table.get("rules", [])
    if not isinstance(listed, list):
        problems.add(("gate", "rules"), "must be tables written [[gate.rules]], with two brackets")
        listed = [None]
    rules = [_rule(value, ("gate", "rules", i), document, plugins) for i, value in enumerate(listed)]
    lists, are_sound = lists_of(document)
    bare = {**table, "rules": [], "must_not_regress": []}
    gate = make(Gate, bare, ("gate",), problems, lambda made: check_coverage(made.coverage))
    sound = [rule for rule in rules if rule is not None]
    if gate is None or len(sound) < len(rules) or not are_sound:
        return None
    places = [problems.place(("gate", "rules", i)) for i in range(len(rules))]
    return make_gate(sound, gate.coverage, lists, places)


def _rule(value: Any, path: KeyPath, document: Document, plugins: Plugins) -> Rule | None:
    problems = document.problems
    if not isinstance(value, dict):
        if value is not None:
            problems.add(path, "must be a table with the keys metric and max or min")
        return None
    check_keys(value, RULES, path, problems)
    return make(Rule, value, path, problems, lambda rule: rule_problems(rule, plugins))


def rule_problems(rule: Rule, plugins: Plugins) -> list[str]:
    """What is wrong with a rule, given the metrics that there are; `key: what is wrong` sentences."""
    problems = check_rule(rule, plugins.names("metrics"))
    for side, limit in (("max", rule.max), ("min", rule.min)):
        span = range_of(rule.metric, plugins)
        if span and limit is not None and not span[0] <= limit <= span[1]:
            # a limit of 2 where 2 % is meant would let everything pass
            ask = f"; is {limit / 100:g} meant?" if span[0] <= limit / 100 <= span[1] else ""
            problems.append(
                f"{side}: {limit:g} is outside the range of {rule.metric}, "
                f"{span[0]:g} to {span[1]:g}{ask}"
            )
    return problems


def range_of(metric: str, plugins: Plugins) -> tuple[float, float] | None:
    """The bounds that the metric states; None if it states none."""
    bounds: tuple[float, float] | None = getattr(plugins.offers["metrics"].get(metric), "bounds", None)
    return bounds


# ------------------------------------------------------------------------------------------- warnings


def warnings_of(policy: Policy, plugins: Plugins) -> tuple[str, ...]:
    """What is allowed but hardly meant, one sentence each."""
    gate = policy.gate
    if gate is None:
        idle = []
        if policy.waivers:
            idle.append("waivers are given but no gate: nothing is judged, so nothing is waived")
        if policy.quarantine:
            idle.append("a quarantine is given but no gate: nothing is judged, so nothing is set aside")
        return tuple(idle)
    found = []
    asked: list[Rule | MustNotRegress] = [*gate.rules, *gate.must_not_regress]
    if all(one.tier == "advisory" for one in asked):
        what = "only advisory rules" if asked else "no rules"
        found.append(f"the gate has {what}, so no update can pass it")
    for rule in gate.rules:
        low, high = range_of(rule.metric, plugins) or (-math.inf, math.inf)
        for side, limit, end in (("max", rule.max, high), ("min", rule.min, low)):
            if limit == end:
                found.append(f"{rule.metric}: with {side} = {limit:g} the rule holds for any update")
    return tuple(found)
