"""Makes a suite of any table of questions: a file, or a dataset of the library `datasets`.

Prompt, target and choices are templates over a row's columns. The whole table is read and every row is
rendered before any model is asked: a row that lacks something ends the run with its place, instead of
leaving a smaller suite behind. Items are paired by the columns that their templates refer to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from muscle_gov import GovError, Grade, Instance, Outcome, Output, Request, SuiteFacts, hookimpl
from muscle_gov_plugins._graders import Grader
from muscle_gov_plugins._graders_base import Grader as GraderBase
from muscle_gov_plugins._graders_choice import Choice
from muscle_gov_plugins._graders_text import Exact, Letter

if TYPE_CHECKING:
    from muscle_gov_plugins._suite_items import Loaded
    from muscle_gov_plugins._suite_rows import DatasetRows, FileRows
    from muscle_gov_plugins._suite_wording import Wording


@hookimpl
def register_suites() -> dict[str, type]:
    return {"table": TableSuite}


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str
    """A template over the row's columns."""


@dataclass(frozen=True, kw_only=True)
class TableSuite:
    """Questions from a CSV, TSV, JSON, JSON Lines or parquet file, or a Hugging Face dataset."""

    path: Path | None = None
    """The file. This or `dataset` is required."""
    rows: str | None = None
    """Where in a JSON file the list of rows is."""
    dataset: str | Path | None = None
    """A directory written by `save_to_disk` or readable by `load_dataset`, or a name on the hub."""
    config: str | None = None
    """The dataset's configuration (subset)."""
    split: str | None = None
    """The dataset's split; not needed if there is one alone."""
    revision: str | None = None
    """Commit, tag or branch of a dataset on the hub."""

    prompt: str | None = None
    """Template of what the model is asked: Jinja over the row's columns, `Q: {{ question }}\\nA:`."""
    chat: bool = False
    """Send the prompt as a user's message, through the model's chat template, and each example as a
    turn of both? `system` and `messages` imply it."""
    system: str | None = None
    """Template of the system message of a chat."""
    messages: tuple[Message, ...] = ()
    """Instead of `prompt`: the messages of a chat, each with `role` and `content` (a template). A last
    message of the assistant is gone on with."""
    preamble: str = ""
    """Template of what stands in plain text before examples and question."""
    target: tuple[str, ...] | str = ()
    """Template of the right answer, or several of them. One expression that gives a list gives several
    accepted answers. With choices: the right one's text, letter or index from 0."""
    choices: str | tuple[str, ...] | None = None
    """The choices: one expression that gives a list, `{{ options }}`, or a template for each."""
    target_delimiter: str | None = None
    """What stands between the prompt and a choice or an example's answer. Default: a space in plain
    text, unless the prompt ends or the answer begins with white space; nothing in a chat."""
    labelled: bool = True
    """Whether the rows have right answers. Without them `target`, `grader` and `tags` are left aside,
    and nothing can be judged: for training on mere questions."""
    grader: Grader | None = None
    """How answers are judged: a name, or a table with `kind` and options. Default: `choice` with
    choices, else `exact`."""

    key: str | None = None
    """Column of the item's name, which must be unique. Default: the row's number, from 0."""
    tags: tuple[str, ...] | Mapping[str, str] = ()
    """Columns that slices are made of, or a table of tag = column."""
    cluster: str | None = None
    """Column of the group (passage, conversation) within which items are not independent."""
    content: tuple[str, ...] = ()
    """Columns that identify an item, besides its target. Default: those that the templates refer to."""

    where: str | None = None
    """Ask only about the rows for which this Jinja expression holds: `level > 2 and lang == "en"`."""
    sample: int | None = None
    """Ask only about so many rows, drawn by seed and content: the same whatever the order."""
    limit: int | None = None
    """Ask only about the first so many of these rows."""
    seed: int = 0
    """Of `sample` and of the examples."""

    shots: int = 0
    """Number of examples before each question."""
    shots_from: str | Path | None = None
    """The file, or the dataset's split, that examples are taken from. Default: the suite's own rows; a
    row that is everyone's example is then not asked about."""
    shots_choice: Literal["first", "seeded", "per-item"] = "first"
    """The first rows; rows drawn by seed, the same for all items; or drawn for each item by its
    content. No item is ever its own example."""
    shot: str | None = None
    """Template of a whole example in plain text. Default: the prompt with the right answer."""
    shot_target: str | None = None
    """Template of the answer in an example. Default: the first target, or the right choice."""
    separator: str = "\n\n"
    """What stands between examples in plain text, and before the question."""

    max_tokens: int = 256
    """Most tokens to generate."""
    temperature: float = 0.0
    """0 is greedy decoding."""
    top_p: float = 1.0
    """Sample only among the likeliest tokens that have this share of the probability together."""
    stop: tuple[str, ...] = ()
    """Strings that end the generated text."""

    def __post_init__(self) -> None:
        problems = [*self._wrong_numbers(), *self._wrong_combinations()]
        if problems:
            raise ValueError("; ".join(problems))
        try:
            _ = self.wording, self._where
        except GovError as error:  # a template with a fault
            raise ValueError(str(error)) from error

    # ------------------------------------------------------------------------------------ protocol

    def facts(self) -> SuiteFacts:
        """All that requests and grades depend on; reads and renders the whole table, once."""
        from muscle_gov_plugins._suite_items import facts_of

        return facts_of(self, self._loaded)

    def instances(self) -> Iterator[Instance]:
        """The items in the order of the rows."""
        return iter(self._loaded.instances)

    def requests(self, instance: Instance) -> Sequence[Request]:
        """One request; two for `choice` with `pmi`."""
        item = instance.data
        prompt = item.opening + self._loaded.examples_of(instance.content_hash) + item.question
        if item.continuations is None:
            return (self._asked._replace(prompt=prompt),)
        asked = Request(prompt, item.continuations)
        bare = self._bare
        return (asked,) if bare is None else (asked, Request(bare, item.continuations))

    def reference(self, instance: Instance) -> str | None:
        """The right answer as it follows the prompt; the first, where there are several."""
        reference: str | None = instance.data.reference
        return reference

    def shown(self) -> Iterable[str]:
        """Input hashes of the rows that may stand as examples in prompts, which are trained on where
        prompts are."""
        return self._loaded.shown

    def grade(self, instance: Instance, outputs: Sequence[Output]) -> Sequence[Grade]:
        if not self.labelled:
            return (Grade(Outcome.UNSCORED, why="the suite has no right answers (labelled = false)"),)
        return (self.judge.grade(outputs, instance.data.solution),)

    # ------------------------------------------------------------------------ what the options mean

    @cached_property
    def judge(self) -> GraderBase:
        """The grader that is meant."""
        return self.grader or (Choice() if self.choices else Exact())

    @property
    def is_chat(self) -> bool:
        return self.chat or self.system is not None or bool(self.messages)

    @property
    def targets(self) -> tuple[str, ...]:
        """The target's templates."""
        given = (self.target,) if isinstance(self.target, str) else self.target
        return given if self.labelled else ()

    @property
    def tag_columns(self) -> Mapping[str, str]:
        """Tag → column."""
        if not self.labelled:
            return {}
        return self.tags if isinstance(self.tags, Mapping) else {name: name for name in self.tags}

    @cached_property
    def wording(self) -> Wording:
        """The templates, compiled."""
        from muscle_gov_plugins._suite_wording import Wording

        return Wording(
            prompt=self.prompt,
            messages=tuple((one.role, one.content) for one in self.messages),
            is_chat=self.is_chat,
            system=self.system,
            preamble=self.preamble,
            target=self.targets,
            choices=self.choices,
            delimiter=self.target_delimiter,
            shot=self.shot,
            shot_target=self.shot_target,
            letters=self.judge.letters if isinstance(self.judge, Letter) and self.choices else "",
            content=self.content,
        )

    @cached_property
    def _where(self) -> Any:
        from muscle_gov.prompts import Template

        if self.where is None:
            return None
        expression = self.where.strip().removeprefix("{{").removesuffix("}}")
        return Template("{{ true if (" + expression + ") else false }}", "where")

    @cached_property
    def source(self) -> FileRows | DatasetRows:
        """Where the items come from."""
        from muscle_gov_plugins._suite_rows import DatasetRows, FileRows

        if self.path is not None:
            return FileRows(self.path, self.rows)
        return DatasetRows(str(self.dataset), self.config, self.split, self.revision)

    @cached_property
    def pool(self) -> FileRows | DatasetRows | None:
        """Where the examples come from; None for the suite's own rows."""
        from muscle_gov_plugins._suite_rows import DatasetRows, FileRows

        if self.shots_from is None or not self.shots:
            return None
        given = Path(self.shots_from)
        if self.path is not None:
            rows = self.rows if given.suffix == self.path.suffix else None
            return None if given == self.path else FileRows(given, rows)
        # a folder beside the config may have the split's name, and is then put in its place
        split = given.name
        if split == self.split:
            return None
        return DatasetRows(str(self.dataset), self.config, split, self.revision)

    @cached_property
    def _loaded(self) -> Loaded:
        from muscle_gov_plugins._suite_items import load

        return load(self, self._where)

    @cached_property
    def _asked(self) -> Request:
        return Request("", None, self.max_tokens, self.temperature, self.top_p, self.stop)

    @cached_property
    def _bare(self) -> Any:
        if not isinstance(self.judge, Choice) or self.judge.normalisation != "pmi":
            return None
        bare = self.judge.bare
        return ({"role": "user", "content": bare},) if self.is_chat else bare

    # ------------------------------------------------------------------------------ wrong options

    def _wrong_numbers(self) -> Iterator[str]:
        for option, least in (("sample", 1), ("limit", 1), ("max_tokens", 1), ("shots", 0)):
            value = getattr(self, option)
            if value is not None and value < least:
                yield f"{option}: must be {least} or more, not {value}"
        if not 0 <= self.temperature < float("inf"):
            yield f"temperature: must be 0 or more, not {self.temperature}"
        if not 0 < self.top_p <= 1:
            yield f"top_p: must be above 0 and at most 1, not {self.top_p}"
        if "" in self.stop:
            yield "stop: an empty string would end every text before it began"

    def _wrong_combinations(self) -> Iterator[str]:
        if (self.path is None) == (self.dataset is None):
            yield "give path (a file) or dataset (a directory or a name on the hub), one of them"
        for option in ("config", "split", "revision"):
            if self.path is not None and getattr(self, option) is not None:
                yield f"{option}: belongs to dataset, not to path"
        if self.prompt is not None and self.messages:
            yield "give prompt or messages, not both"
        if self.is_chat and (self.preamble or self.shot is not None):
            named = "preamble" if self.preamble else "shot"
            yield f"{named}: is for plain text; in a chat use {_IN_CHAT[named]}"
        yield from self._wrong_judging()

    def _wrong_judging(self) -> Iterator[str]:
        if not self.labelled:
            if self.shots and self.shots_from is None:
                yield "shots: need right answers, which these rows lack; give shots_from"
            return
        kind = getattr(self.judge, "kind", "")
        if self.judge.scores_choices and not self.choices:
            yield f"choices: are required by the grader {kind}"
        if self.choices and not self.judge.scores_choices and not isinstance(self.judge, Letter):
            yield f"choices: are for the graders choice and letter, not for {kind}"
        # without a prompt too, the rows are looked at first: they show what both could be
        needs = self.judge.needs_target or getattr(self.judge, "equal", False)
        if needs and not self.targets and (self.prompt is not None or self.messages):
            yield f"target: is required by the grader {kind}: a template of the right answer"
        if self.shots and not self.targets and self.shot is None and self.shot_target is None:
            yield "target: is required by shots, or give shot_target"


_IN_CHAT = {"preamble": "system", "shot": "shot_target"}
