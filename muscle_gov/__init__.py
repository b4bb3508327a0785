"""muscle-gov: which answers broke, is it more than noise, may the update ship, can it be mended?

This module holds the names a plugin author needs, and nothing else. They are resolved on first use,
so that `import muscle_gov` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muscle_gov.data import BadLine as BadLine
    from muscle_gov.data import Candidate as Candidate
    from muscle_gov.data import Flip as Flip
    from muscle_gov.data import Measure as Measure
    from muscle_gov.data import Outcome as Outcome
    from muscle_gov.data import RecordedRow as RecordedRow
    from muscle_gov.data import RecordedRun as RecordedRun
    from muscle_gov.data import Report as Report
    from muscle_gov.data import RunHeader as RunHeader
    from muscle_gov.data import outcome_of as outcome_of
    from muscle_gov.errors import GovError as GovError
    from muscle_gov.errors import InputError as InputError
    from muscle_gov.errors import ModelError as ModelError
    from muscle_gov.errors import OutputError as OutputError
    from muscle_gov.exchange import FitStanding as FitStanding
    from muscle_gov.exchange import Grade as Grade
    from muscle_gov.exchange import Instance as Instance
    from muscle_gov.exchange import ModelFacts as ModelFacts
    from muscle_gov.exchange import Output as Output
    from muscle_gov.exchange import Request as Request
    from muscle_gov.exchange import SuiteFacts as SuiteFacts
    from muscle_gov.hookspecs import Fitting as Fitting
    from muscle_gov.hookspecs import Loader as Loader
    from muscle_gov.hookspecs import Metric as Metric
    from muscle_gov.hookspecs import Mitigation as Mitigation
    from muscle_gov.hookspecs import Model as Model
    from muscle_gov.hookspecs import Pairs as Pairs
    from muscle_gov.hookspecs import Reader as Reader
    from muscle_gov.hookspecs import Recording as Recording
    from muscle_gov.hookspecs import ReportFormat as ReportFormat
    from muscle_gov.hookspecs import Suite as Suite
    from muscle_gov.hookspecs import hookimpl as hookimpl

__version__ = "0.1.0"

_HOME = {
    "data": (
        "BadLine",
        "Candidate",
        "Flip",
        "Measure",
        "Outcome",
        "RecordedRow",
        "RecordedRun",
        "Report",
        "RunHeader",
        "outcome_of",
    ),
    "errors": ("GovError", "InputError", "ModelError", "OutputError"),
    "exchange": (
        "FitStanding",
        "Grade",
        "Instance",
        "ModelFacts",
        "Output",
        "Request",
        "SuiteFacts",
    ),
    "hookspecs": (
        "Fitting",
        "Loader",
        "Metric",
        "Mitigation",
        "Model",
        "Pairs",
        "Reader",
        "Recording",
        "ReportFormat",
        "Suite",
        "hookimpl",
    ),
}

__all__ = [
    "BadLine",
    "Candidate",
    "FitStanding",
    "Fitting",
    "Flip",
    "GovError",
    "Grade",
    "InputError",
    "Instance",
    "Loader",
    "Measure",
    "Metric",
    "Mitigation",
    "Model",
    "ModelError",
    "ModelFacts",
    "Outcome",
    "Output",
    "OutputError",
    "Pairs",
    "Reader",
    "RecordedRow",
    "RecordedRun",
    "Recording",
    "Report",
    "ReportFormat",
    "Request",
    "RunHeader",
    "Suite",
    "SuiteFacts",
    "hookimpl",
    "outcome_of",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for module, names in _HOME.items():
        if name in names:
            return getattr(import_module(f"muscle_gov.{module}"), name)
    raise AttributeError(f"module 'muscle_gov' has no attribute {name!r}")
