"""What a model writes is hostile, and goes through the real command line into every output there is.

Two logs hold attacks in every field that a log has: names of model and suite, keys, tags, prompts,
targets, answers and outputs; the waiver has one in its reason. Each output format has a check of its own
kind (a browser's parser, a Markdown renderer, an XML parser, a spreadsheet's rule ...), and a format
without a check fails, so that a new one cannot come without.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from cli_runner import Ran, muscle_gov
from html_tree import Node, embedded, parse

ATTACKS = {
    "script": "<script>alert('s1')</script>",
    "end": "</script></style></textarea><img src=x onerror=alert('s2')>",
    "handler": "\" onmouseover=alert('s3') autofocus x='",
    "svg": "<svg onload=alert('s4')><animate onbegin=alert('s5')></svg>",
    "template": "{{ 7 * 7 }}{% raw %}${7*7}#{7*7}<%= 7 %>",
    "bidi": "safe \u202etxt.exe\u202c \u2066hidden\u2069",
    "nul": "nul\x00byte and \x07 bell",
    "formula": '=HYPERLINK("https://evil.example","x")',
    "command": "+1+cmd|' /C calc'!A0",
    "ansi": "\x1b]0;owned\x07\x1b[2J\x1b[31mPASS\x1b[0m",
    "xml": "\ufffe\uffff\x0b\x1f ]]><failure/>",
    "cdata": "<![CDATA[x]]><!-- --><!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>&e;",
    "markdown": "[x](javascript:alert(1)) ![p](https://evil.example/p.png) <b>b</b> | cell | @octocat",
    "yaml": "- !!python/object/apply:os.system ['id']\n...\n---\nkey: &a [*a]",
    "lines": "one\r\ntwo\u2028three\u2029four\u0085five",
}
LONG = "A" * 1_000_000 + " <script>alert('long')</script>"
HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
OBEYED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")
SUITE = "suite <script>alert('name')</script> =1+1 \u202e"


def _row(number: int, attack: str, model: str, is_right: bool) -> dict[str, Any]:
    return {
        "task": SUITE,
        "id": f"{number} {attack}",
        "model": f"{model} <img src=x onerror=alert('m')> \x1b[31m",
        "correct": is_right,
        "prompt": f"Asked: {attack}",
        "gold": f"gold {attack}",
        "answer": attack if is_right else f"{attack} no",
        "output": f"{attack} output of {model}",
        "slice": attack[:60],
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logs in which every second answer breaks, and waivers with an attack for a reason."""
    folder = tmp_path_factory.mktemp("hostile")
    texts = [*ATTACKS.values(), LONG]
    for model, side in (("old", 0), ("new", 1)):
        rows = [
            _row(i, text, model, is_right=(i + side) % 2 == 0 or i % 3 == 0)
            for i, text in enumerate(texts * 2)
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{model}.jsonl").write_text(lines, "utf-8")
    reason = json.dumps("<script>alert('w')</script> \u202e =1+1 | @octocat", ensure_ascii=True)
    key = json.dumps(f"1 {ATTACKS['end']}", ensure_ascii=True)
    suite = json.dumps(SUITE, ensure_ascii=True)
    (folder / "waivers.toml").write_text(
        f"[[waiver]]\nsuite = {suite}\ninstance = {key}\nreason = {reason}\nowner = {reason}\n"
        'expires = "2999-12-31"\n'
    )
    return folder


def _reports() -> list[str]:
    from muscle_gov.plugins import load

    return sorted(load().offers["reports"])


@pytest.fixture(scope="module")
def compared(world: Path) -> tuple[Ran, dict[str, bytes]]:
    """What the terminal shows, and the bytes of every format that there is."""
    words = ["compare", "old.jsonl", "new.jsonl", "--reader", "table", "--store", "store.duckdb"]
    for name, column in {"suite_column": "task", "key": "id", "target": "gold", "tags": "slice"}.items():
        words += ["-o", f"{name}={column}"]
    for name in ("correct", "answer", "output", "prompt", "model_column"):
        words += ["-o", f"{name}={name.removesuffix('_column')}"]
    for side in ("old", "new"):
        model = json.loads((world / f"{side}.jsonl").read_text().partition("\n")[0])["model"]
        words += [f"--{side}-option", f"model={model}"]
    words += ["--max", "nfr=1%", "--max", "[slice=*]:nfr=1%", "--waivers", "waivers.toml"]
    # the one format that cannot guess what it is of
    words += ["--report-option", f"eval-results.benchmarks={SUITE}=org/name:task"]
    made = [f"{name}=out.{name}" for name in _reports()]
    ran = muscle_gov(*words, *(word for one in made for word in ("--report", one)), cwd=world)
    assert ran.code == 1, ran.err
    return ran, {name: (world / f"out.{name}").read_bytes() for name in _reports()}


# ------------------------------------------------------------------------------- a check for each kind


def _html(content: bytes) -> None:
    root = parse(content)
    scripts = root.all("script")
    assert {node.attributes.get("type", "") for node in scripts} <= {"", "application/json"}
    assert not [node for tag in ("img", "iframe", "object", "form") for node in root.all(tag)]
    for node in root.walk():
        assert not [name for name in node.attributes if name.startswith("on") or name == "style"], node
        assert not node.attributes.get("href", "").strip().lower().startswith("javascript:")
    code = [node for node in scripts if node.attributes.get("type", "") != "application/json"]
    assert not [node for node in code if "alert(" in node.raw]
    policy = root.one("meta", http_equiv="Content-Security-Policy").attributes["content"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    text = content.decode()
    assert not HIDDEN.search(text), ascii(HIDDEN.search(text))
    assert "alert('s1')" in _everything(root)
    assert "⟨U+202E⟩" in root.text
    assert len(content) < 3_000_000


def _everything(root: Node) -> str:
    return root.text + json.dumps(embedded(root), ensure_ascii=False)


def _json(content: bytes) -> None:
    def no_such(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    json.loads(content.decode(), parse_constant=no_such)
    assert not re.search(rb"[\x00-\x08\x0b-\x1f]", content)


def _markdown(content: bytes) -> None:
    from markdown_it import MarkdownIt

    text = content.decode()
    assert not HIDDEN.search(text)
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    inner = [child for token in tokens for child in (token, *(token.children or ()))]
    tags = [token.content for token in inner if token.type in ("html_inline", "html_block")]
    assert not [tag for tag in tags if re.search(r"script|img|svg|onerror|alert", tag)], tags
    links = [str(token.attrs.get("href", "")) for token in inner if token.type == "link_open"]
    assert not [link for link in links if "evil" in link or "javascript" in link]
    assert not [token for token in inner if token.type == "image"]


def _xml(content: bytes) -> None:
    root = ElementTree.fromstring(content)
    assert {node.tag for node in root.iter()} <= {
        *(
            "testsuites",
            "testsuite",
            "testcase",
            "properties",
            "property",
            "failure",
            "error",
            "skipped",
        ),
        *("system-out", "system-err"),
    }
    assert b"<!DOCTYPE" not in content
    assert not HIDDEN.search(content.decode())


def _csv(content: bytes) -> None:
    before = csv.field_size_limit(2_000_000)
    try:
        rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    finally:
        csv.field_size_limit(before)
    assert len(rows) > 10
    for cell in (cell for row in rows for cell in row):
        assert not re.match(r"[=+\-@\t\r\n]", cell) or re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", cell)
    assert "\0" not in content.decode()


def _parquet(content: bytes) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    found = " ".join(str(value) for value in table.column("old_output").to_pylist())
    assert ATTACKS["script"] in found
    assert ATTACKS["bidi"] in found


def _yaml(content: bytes) -> None:
    import yaml

    text = content.decode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", text)
    front = text.split("---\n")[1] if text.startswith("---\n") else text
    assert yaml.safe_load(front)


CHECKS: dict[str, Callable[[bytes], None]] = {
    "html": _html,
    "json": _json,
    "markdown": _markdown,
    "junit": _xml,
    "csv": _csv,
    "parquet": _parquet,
    "sarif": _json,
    "in-toto": _json,
    "cyclonedx": _json,
    "every-eval-ever": _json,
    "model-card": _yaml,
    "eval-results": _yaml,
}


def test_every_format_has_a_check() -> None:
    assert set(_reports()) <= CHECKS.keys()


@pytest.mark.parametrize("name", _reports())
def test_attacks_are_inert_in(compared: Any, name: str) -> None:
    CHECKS[name](compared[1][name])


@pytest.mark.parametrize("name", ["html", "json", "csv", "parquet"])
def test_no_attack_is_lost_where_flips_are_listed(compared: Any, name: str) -> None:
    content = compared[1][name]
    if name == "parquet":
        import pyarrow.parquet as pq

        text = " ".join(map(str, pq.read_table(io.BytesIO(content)).to_pylist()))
    else:
        text = _everything(parse(content)) if name == "html" else content.decode()
    words = {"alert('s1')", "alert('s2')", "onmouseover", "7 * 7", "evil.example", "DOCTYPE", "octocat"}
    assert not {word for word in words if word not in text}


def test_the_terminal_shows_hidden_characters_and_obeys_none(compared: Any) -> None:
    ran = compared[0]
    for text in (ran.out, ran.err):
        assert not OBEYED.search(text), ascii(OBEYED.search(text))
    assert "⟨U+202E⟩" in ran.out


@pytest.mark.parametrize(
    "words",
    [
        ["flips", "--limit", "40"],
        ["flips", "--key", f"1 {ATTACKS['end']}"],
        ["history"],
        ["gate", "--max", "nfr=1%", "--waivers", "waivers.toml"],
        ["plan", "--power"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_that_shows_a_log_is_as_careful(
    world: Path, compared: Any, words: list[str]
) -> None:
    ran = muscle_gov(*words, "--store", "store.duckdb", cwd=world)
    assert ran.code in (0, 1), ran.err
    for text in (ran.out, ran.err):
        assert not OBEYED.search(text), ascii(OBEYED.search(text))
    assert "alert(" in ran.out or "suite <script>" in ran.out
