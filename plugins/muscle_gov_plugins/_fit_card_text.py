"""The model card of a trained adapter, as the hub reads it: a YAML head, then Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from muscle_gov_plugins import _markdown_text as markdown
from muscle_gov_plugins._model_index import model_index, yaml_text

if TYPE_CHECKING:
    from muscle_gov import Candidate, Measure
    from muscle_gov.data import SuiteFigures

_ABOUT = {
    "update": "the update as it came",
    "mitigation": "the mended update",
    "control": "a control",
}
_MOST_LOOKS = 12


def card_text(
    record: Mapping[str, Any], candidates: Sequence[Candidate], name: str | None = None
) -> str:
    """The whole card, from the record of the training and from what was measured after it. `name` is
    that of the candidate which this adapter is, whose results the hub is then told."""
    parts = [
        _head(record, next((one for one in candidates if one.name == name), None)),
        f"# {prose(str(record['name']))}\n",
        _what(record),
        _models(record),
        _loss(record),
        _recipe(record),
        _data(record),
        _settled(record),
        _curve(record),
        _effect(record, candidates),
        _versions(record),
    ]
    return "\n".join(part for part in parts if part)


def _head(record: Mapping[str, Any], judged: Candidate | None) -> str:
    head: dict[str, Any] = {
        "base_model": str(record["models"]["new"]["path"]),
        "base_model_relation": "adapter",
        "library_name": "peft",
        "tags": ["lora", "muscle-gov", str(record["mitigation"])],
    }
    if judged is not None:
        comparison, findings = judged.comparison, judged.verdict.findings
        head["model-index"] = model_index(comparison, str(record["name"]), findings=findings)
    return f"---\n{yaml_text(head)}---\n"


def _what(record: Mapping[str, Any]) -> str:
    new = record["models"]["new"]
    if "old" not in record["models"]:
        return f"A LoRA adapter of the model {span(new['path'])}, trained on answers.\n"
    if record["mitigation"] in ("cross-entropy", "refit"):
        return (
            f"A LoRA adapter for the model {span(new['path'])}, trained on right answers alone: a "
            "control, beside which mended updates are judged. It is not meant to ship.\n"
        )
    return (
        f"A LoRA adapter for the model {span(new['path'])}, to be used in place of the update's own. "
        f"It was trained by {span(record['mitigation'])} so that fewer answers that the old model had "
        "right are wrong in the new one.\n"
    )


def _models(record: Mapping[str, Any]) -> str:
    rows = []
    for which, model in record["models"].items():
        rows.append(
            (
                f"{which} model",
                span(model["path"]),
                span(model["adapter"]) if model["adapter"] else "none",
                model["dtype"],
                span(_short(model["digests"].get("weights", ""))),
                span(_short(model["digests"].get("adapter", ""))) if model["adapter"] else "",
            )
        )
    head = ("", "Base", "Adapter", "Computed in", "Weights' digest", "Adapter's digest")
    return f"## Models\n\n{_table(head, rows)}\nThe adapter starts from {record['starts_from']}.\n"


def _loss(record: Mapping[str, Any]) -> str:
    loss = record.get("loss")
    if not loss:
        return ""
    settings = ", ".join(span(f"{name} = {_plain(value)}") for name, value in loss["settings"].items())
    return f"## Loss\n\n{span(loss['name'])} ({prose(loss['source'])}):\n\n    {loss['equation']}\n" + (
        f"\nWith {settings}.\n" if settings else ""
    )


def _recipe(record: Mapping[str, Any]) -> str:
    rows = [(span(name), span(_plain(value))) for name, value in record["recipe"].items()]
    return f"## Recipe\n\n{_table(('Option', 'Value'), rows)}"


def _data(record: Mapping[str, Any]) -> str:
    data = record["data"]
    counts = _table(
        ("Suite", "Rows"), [(span(name), f"{count:,}") for name, count in data["suites"].items()]
    )
    notes = "".join(f"- {prose(note)}\n" for note in data["notes"])
    return (
        f"## Data\n\n{counts}\n{data['training_rows']:,} rows were trained on, "
        f"{data['held_out_rows']:,} held out to choose by. Digest of the tokens: "
        f"{span(_short(data['digest']))}.\n" + (f"\n{notes}" if notes else "")
    )


def _settled(record: Mapping[str, Any]) -> str:
    """What was chosen on held-out rows, if something was."""
    found = record["settled"].get("choice")
    if not found:
        return ""
    names = list(found["tried"][0])
    rows = [tuple(_plain(tried[name]) for name in names) for tried in found["tried"]]
    return (
        f"## Choice\n\n{prose(found['rule'])}\n\n{_table([prose(name) for name in names], rows)}\n"
        f"Chosen: {span(_plain(found['chosen']))}.\n"
    )


def _curve(record: Mapping[str, Any]) -> str:
    training = record.get("training")
    if not training:
        return ""
    looks = _thinned(training["curve"], training["step"])
    rows = [
        (
            f"{look['step']:,}" + (" (kept)" if look["step"] == training["step"] else ""),
            _number(look.get("loss")),
            _number(look["eval_loss"]),
            _share(look["eval_exact_match"]),
        )
        for look in looks
    ]
    head = ("Step", "Loss", "Validation cross-entropy", "Validation exact match")
    return f"## Training\n\n{_table(head, rows)}"


def _thinned(curve: Sequence[Mapping[str, Any]], kept: int) -> list[Mapping[str, Any]]:
    """At most a dozen looks: the first, the last, the one kept, and some between."""
    gap = max(1, -(-len(curve) // _MOST_LOOKS))
    last = len(curve) - 1
    return [
        look
        for number, look in enumerate(curve)
        if number % gap == 0 or number == last or look["step"] == kept
    ]


# ----------------------------------------------------------------------------------- what was measured


def _effect(record: Mapping[str, Any], candidates: Sequence[Candidate]) -> str:
    if "old" not in record["models"] and not candidates:
        return ""
    if not candidates:
        return "## Measured effect\n\nNot measured yet.\n"
    parts = ["## Measured effect\n"]
    confidence = candidates[0].comparison.confidence
    for suite in dict.fromkeys(s.suite for c in candidates for s in c.comparison.suites):
        parts.append(f"### {prose(suite)}\n\n{_table(_EFFECT_HEAD, _suite_rows(suite, candidates))}")
    parts += _noise(candidates)
    parts.append(
        f"Intervals are two-sided at {100 * confidence:g} %. NFR is the share of answers that the old "
        "model has right and this one wrong; of graded suites, the share whose score fell.\n"
    )
    return "\n".join(parts)


def _noise(candidates: Sequence[Candidate]) -> Iterable[str]:
    for candidate in candidates:
        for suite, flips in (candidate.noise or {}).items():
            yield (
                f"Noise floor: from the update to {span(candidate.name)} (its training with another "
                f"seed), NFR on {span(suite)} is {_measure(flips)}.\n"
            )


_EFFECT_HEAD = ("Model", "What it is", "Accuracy or score", "NFR", "Models run", "Verdict")


def _suite_rows(suite: str, candidates: Sequence[Candidate]) -> Iterable[tuple[str, ...]]:
    for candidate in candidates:
        for figures in candidate.comparison.suites:
            if figures.suite == suite:
                yield (
                    span(candidate.name),
                    prose(candidate.about) if candidate.about else _ABOUT.get(candidate.role, ""),
                    _measure(_first(figures, "accuracy_new", "score_new")),
                    _measure(_first(figures, "nfr", "regression_rate")),
                    f"{candidate.cost:g}",
                    str(candidate.verdict.status),
                )


def _first(figures: SuiteFigures, *names: str) -> Measure | None:
    return next((figures.measures[name] for name in names if name in figures.measures), None)


def _measure(found: Measure | None) -> str:
    if found is None or found.value is None:
        return "not defined"
    if found.low is None or found.high is None:
        return f"{found.value:.4f}"
    return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"


def _versions(record: Mapping[str, Any]) -> str:
    named = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    memory = record.get("peak_memory_bytes")
    used = f" Peak memory: {memory / 2**30:.2f} GiB." if memory else ""
    return f"## Made with\n\n{prose(named)}. {record['seconds']:.0f} seconds.{used}\n"


# ------------------------------------------------------------------------------------------- pieces


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return markdown.table(*head) + "".join(markdown.row(*cells) for cells in rows)


def prose(text: str) -> str:
    """A sentence in which nothing is taken for markup."""
    return markdown.prose(text, 2000)


def span(text: str) -> str:
    """A name in a code span."""
    return markdown.span(str(text), 300)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    return "default" if value is None else str(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _short(digest: str) -> str:
    return digest[:16]
