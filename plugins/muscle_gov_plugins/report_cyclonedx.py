"""The comparison as a CycloneDX 1.6 bill of materials: which models, made of what, measured how.

The new model is what the bill is of; its model card holds every figure with its interval, for each
suite and slice. Nothing is declared that was not measured or computed here: hashes are those of files
that were run here, and that one model was made from another is said only of adapters.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from muscle_gov import Report, hookimpl
from muscle_gov_plugins._model_parts import Parts, clean, document, parts_of

if TYPE_CHECKING:
    from muscle_gov.data import SuiteFigures

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
MODEL = "machine-learning-model"
ON_SLICES = ("nfr", "pfr", "nfr_mc", "accuracy_old", "accuracy_new", "regression_rate", "gain_rate")
"""Metrics that are told of slices, too; suites have all."""


@hookimpl
def register_reports() -> dict[str, type]:
    return {"cyclonedx": CycloneDxReport}


@dataclass(frozen=True)
class CycloneDxReport:
    """A CycloneDX 1.6 ML-BOM: both models, their adapters, and what was measured."""

    slices: bool = True
    """Whether to tell the figures of slices beside those of suites."""

    suffix: ClassVar[str] = ".cdx.json"

    def render(self, report: Report) -> bytes:
        comparison = report.comparison
        new, old = parts_of(comparison.new), parts_of(comparison.old)
        subject = _component("new", new, _base_of(report, new))
        subject["description"] = f"the update of {old.name}"
        subject["modelCard"] = self._card(report)
        number = uuid.uuid5(uuid.NAMESPACE_OID, clean(f"muscle-gov {comparison.id}"))
        bill = {
            "$schema": SCHEMA,
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{number}",
            "version": 1,
            "metadata": {
                "timestamp": comparison.created,
                "tools": {
                    "components": [
                        {
                            "type": "application",
                            "name": "muscle-gov",
                            "version": comparison.tool_version,
                        }
                    ]
                },
                "component": subject,
                "properties": _properties(_verdict(report)),
            },
            "components": [_component("old", old, None)],
        }
        return document(bill)

    def _card(self, report: Report) -> Mapping[str, Any]:
        comparison = report.comparison
        total = (comparison.total,) if comparison.total is not None else ()
        metrics = [one for figures in (*comparison.suites, *total) for one in _metrics(figures, None)]
        if self.slices:
            metrics += [one for figures in comparison.slices for one in _metrics(figures, ON_SLICES)]
        return {
            "bom-ref": "new-card",
            "modelParameters": {"datasets": [_dataset(figures) for figures in comparison.suites]},
            "quantitativeAnalysis": {"performanceMetrics": metrics},
        }


def _component(side: str, parts: Parts, base: str | None) -> dict[str, Any]:
    """A model, its adapter in it."""
    made: dict[str, Any] = {"type": MODEL, "bom-ref": side, "name": parts.name}
    if parts.adapter is None:
        made |= _hashes(parts.weights)
    else:
        # the weights that were hashed are the base's
        ancestor = {"type": MODEL, "bom-ref": f"{side}-base", "name": base or f"base of {parts.name}"}
        pedigree = {"ancestors": [{**ancestor, **_hashes(parts.weights)}]}
        adapter = {"type": MODEL, "bom-ref": f"{side}-adapter", "name": f"{parts.name} (adapter)"}
        made["pedigree"] = pedigree
        made["components"] = [{**adapter, **_hashes(parts.adapter)}]
    made["properties"] = _properties({"fingerprint": parts.fingerprint})
    return made


def _hashes(digest: str | None) -> dict[str, Any]:
    return {"hashes": [{"alg": "SHA-256", "content": digest}]} if digest is not None else {}


def _base_of(report: Report, new: Parts) -> str | None:
    """The update that a mended model was made from, where it has the same weights below its adapter."""
    update = next((one for one in report.candidates if one.role == "update"), None)
    if update is None or update.comparison.id == report.comparison.id or new.weights is None:
        return None
    parts = parts_of(update.comparison.new)
    return parts.name if parts.weights == new.weights and parts.adapter is None else None


def _metrics(figures: SuiteFigures, chosen: tuple[str, ...] | None) -> Iterator[Mapping[str, Any]]:
    where = figures.suite + (f" [{figures.slice}]" if figures.slice is not None else "")
    for name, measure in figures.measures.items():
        if measure.value is None or (chosen is not None and name not in chosen):
            continue
        told: dict[str, Any] = {"type": name, "value": repr(measure.value), "slice": where}
        if measure.low is not None and measure.high is not None:
            bounds = {"lowerBound": repr(measure.low), "upperBound": repr(measure.high)}
            told["confidenceInterval"] = bounds
        yield told


def _dataset(figures: SuiteFigures) -> Mapping[str, Any]:
    about = f"evaluated on: {figures.n_pairs} instances with a score of both models"
    return {"type": "dataset", "name": figures.suite, "description": about}


def _verdict(report: Report) -> dict[str, str]:
    verdict, proof = report.verdict, report.evidence
    told = {
        "verdict": verdict.status.value,
        "reason": verdict.reason,
        "comparison": report.comparison.id,
        "confidence": repr(report.comparison.confidence),
    }
    if proof is not None and proof.judged is not None:
        told["judged"] = proof.judged
    if verdict.policy_digest is not None:
        told["policy-digest"] = verdict.policy_digest
    return told


def _properties(values: Mapping[str, str]) -> list[Mapping[str, str]]:
    return [{"name": f"muscle-gov:{name}", "value": value} for name, value in values.items()]
