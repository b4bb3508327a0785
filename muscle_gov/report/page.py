"""One self-contained HTML page from a Report: no network, and nothing that a model wrote can run.

`view` settles every word and number; here the page is put together, and this is the only
module that imports jinja2. Three layers keep model output text: autoescape in the template, JSON in
which no `<` survives, and a Content-Security-Policy that admits the page's own script and style by
their SHA-256 and nothing else. Equal reports give equal bytes.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muscle_gov.data import Report
from muscle_gov.errors import OutputError
from muscle_gov.report.flips import Budget
from muscle_gov.report.view import page_of
from muscle_gov.report.words import clip
from muscle_gov.text import visible

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_PRINTED = 20_000
"""Most characters of any one text on the page, so that no name in a log can swell it."""
STYLES = ("style.css", "sections.css", "print.css")
"""The last one is what paper changes of both."""
SCRIPTS = ("word_diff.js", "flip_rows.js", "report.js")
DEFAULT_BUDGET = Budget(flips=10_000, text=2000, bytes=2_200_000)
"""Leaves 800 kB of 3 MB for all else on the page."""


def render(report: Report, budget: Budget = DEFAULT_BUDGET) -> bytes:
    """The whole page as UTF-8. Raises OutputError if the templates are not installed."""
    most = max(MOST_PRINTED, budget.text)
    return fill("report.html", page_of(report, budget), SCRIPTS, STYLES, most)


def fill(
    template: str,
    page: object,
    scripts: Sequence[str] = (),
    styles: Sequence[str] = ("style.css",),
    most: int = MOST_PRINTED,
) -> bytes:
    """A page of ours as UTF-8: `template` places what `page` holds, texts of at most `most` characters.

    `scripts` and `styles` are files beside the template; without a script none may run.
    """
    folder = templates()
    code = "".join(_asset(folder / name) for name in scripts)
    style = "".join(_asset(folder / name) for name in styles)
    html = _environment(folder, most).get_template(template)
    return html.render(page=page, script=code, style=style, policy=policy(code, style)).encode()


def templates() -> Path:
    """Where the templates are: in the package as installed, or at the root of a checkout."""
    here = Path(__file__).resolve().parent.parent
    places = (here / "templates", here.parent / "reports" / "templates")
    for place in places:
        if (place / "report.html").is_file():
            return place
    raise OutputError(
        f"the report's templates are neither at {places[0]} nor at {places[1]}; install muscle-gov again"
    )


def policy(script: str, style: str) -> str:
    """The Content-Security-Policy: nothing is loaded, and only this script and style are run."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_hash(script)}'" if script else "script-src 'none'",
            f"style-src '{_hash(style)}'",
            "base-uri 'none'",
            "form-action 'none'",
            # strings never become markup, not even by a fault in the script
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _asset(path: Path) -> str:
    """A file as it will stand between its tags; line ends are those that browsers hash."""
    text = path.read_text("utf-8").replace("\r\n", "\n")
    if "</" in text or "<!--" in text:
        raise OutputError(f"{path}: may hold neither '</' nor '<!--', which would end its element")
    return text


@functools.cache  # to compile the templates takes longer than to render them
def _environment(folder: Path, most: int) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    def finalize(value: Any) -> Any:
        # whatever a template prints is of bounded length and has no hidden characters left
        return visible(clip(value, most)) if type(value) is str else value

    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
