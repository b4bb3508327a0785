"""The block that people sign: what exactly they sign, by its digests, and lines to fill in by hand.

Nothing in it is an input of the page: a signature that a script could write is none. Whoever approves
what the gate did not pass is told so in the block itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from muscle_gov.data import Report, Resource, Status
from muscle_gov.report import words
from muscle_gov.report.compared import Text, text_of
from muscle_gov.report.status import STATUSES, StatusWords

MOST_PREDICTIONS = 8
SIGNERS = ("Release owner", "Second signature")
DECISIONS = ("Approve", "Reject", "Approve with these conditions")


@dataclass(frozen=True)
class SignoffView:
    status: StatusWords
    judged: str
    facts: tuple[tuple[str, tuple[tuple[str, Text], ...]], ...]
    """(title, [(name, value)]): what is signed."""
    left_out: str
    """Digests that are only in the evidence; empty if none is."""
    caution: str
    """What an approval would mean where the verdict is no pass; empty where it is one."""
    signers: tuple[str, ...]
    decisions: tuple[str, ...]


def view_signoff(report: Report) -> SignoffView:
    comparison, verdict, proof = report.comparison, report.verdict, report.evidence
    resources = proof.resources if proof else ()
    predictions = [r for r in resources if r.kind == "predictions"]
    shown, rest = predictions[:MOST_PREDICTIONS], predictions[MOST_PREDICTIONS:]
    policy = verdict.policy_digest
    facts: list[tuple[str, tuple[tuple[str, Text], ...]]] = [
        ("Comparison", (("", Text(comparison.id)),)),
        ("Policy", (("", text_of(policy) if policy else Text("none")),)),
    ]
    for title, kind in (("Models", "model"), ("Waivers", "waivers"), ("Quarantine", "quarantine")):
        found = [_named(r) for r in resources if r.kind == kind]
        if found:
            facts.append((title, tuple(found)))
    if not any(r.kind == "model" for r in resources):
        models = (comparison.old, comparison.new)
        facts.append(("Models", tuple((m.name, text_of(m.fingerprint)) for m in models)))
    if shown:
        facts.append(("Predictions", tuple(_named(r) for r in shown)))
    return SignoffView(
        STATUSES[verdict.status],
        words.moment(proof.judged) if proof and proof.judged else words.moment(comparison.created),
        tuple(facts),
        f"{words.plural(len(rest), 'further digest')} of predictions" if rest else "",
        _caution(report),
        SIGNERS,
        DECISIONS,
    )


def _named(resource: Resource) -> tuple[str, Text]:
    return resource.name, text_of(resource.digest)


def _caution(report: Report) -> str:
    status = report.verdict.status
    if status is Status.PASS:
        return ""
    if status is Status.NOT_JUDGED:
        return "No rule was applied: an approval rests on the signer's own reading of the figures."
    return (
        f"The verdict is {status.value}, not PASS. Approving it is an exception to the policy: write "
        "down why, under what conditions, and until when."
    )
