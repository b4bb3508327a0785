"""The HTML report as a page: nothing in it runs or loads, it is readable for all, and it is packaged."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from html_tree import Node, embedded, parse, tree
from report_samples import (
    HOSTILE,
    hostile_report,
    report,
)

from muscle_gov import plugins
from muscle_gov.errors import OutputError, UsageError
from muscle_gov.report import page, render, templates
from muscle_gov.text import visible

# ---------------------------------------------------------------------------- nothing runs or loads

ATTACKS = (
    *HOSTILE,
    "</script><script>alert(1)</script>",
    "</SCRIPT ><script>alert(1)</script><!--",
    "<!--<script>",
    "</style><style>*{display:none}</style>",
    '"><img src=x onerror=alert(1)><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "</pre></template></details><iframe src=//evil.example></iframe>",
    "{{ 7 * 7 }} {% include '/etc/passwd' %} {{ page.__class__ }} {# gone #}",
    "${7*7} #{7*7} `${alert(1)}`",
    "javascript:alert(1)",
    "__proto__",
    "A" * 30_000,
    "\u202egnp.exe\u202c \u2066 \u200f",
)
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def test_the_policy_admits_this_script_and_style_and_nothing_else() -> None:
    made = render(hostile_report("<script>alert(1)</script>")).decode()
    root = parse(made.encode())
    told = root.one("meta", http_equiv="Content-Security-Policy").attributes["content"]
    rules = dict(rule.split(" ", 1) for rule in told.split("; "))
    for name, tag in (("script-src", "script"), ("style-src", "style")):
        (between,) = re.findall(rf"<{tag}>(.*?)</{tag}>", made, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(between.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in told
    assert "\r" not in made
    # the policy must stand before whatever it rules
    head = [node.tag for node in root.one("head").walk()]
    assert head.index("meta") < head.index("style")
    assert root.one("head").all("meta")[1].attributes["http-equiv"] == "Content-Security-Policy"
    runs = [n for n in root.all("script") if n.attributes.get("type") != "application/json"]
    assert len(runs) == 1


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: repr(attack[:24]))
def test_hostile_text_is_text_wherever_it_stands(attack: str) -> None:
    root, tame = tree(hostile_report(attack)), tree(hostile_report("tame"))
    assert [node.tag for node in root.walk()] == [node.tag for node in tame.walk()]
    for node, other in zip(root.walk(), tame.walk(), strict=True):
        assert {*node.attributes} - {"hidden"} == {*other.attributes} - {"hidden"}
        assert not any(name.startswith("on") or name == "style" for name in node.attributes)
        for name in ("href", "src", "action"):
            assert node.attributes.get(name, "#").startswith("#")
    page_text = render(hostile_report(attack)).decode()
    assert not UNSEEN.search(page_text)
    assert page_text.count("A" * 25_000) == 0


def test_an_attack_is_readable_as_what_it_is() -> None:
    attack = "{{ 7 * 7 }} </script><b>x</b> \u202eevil\u202c \x1b[31m\x00"
    seen = "{{ 7 * 7 }} </script><b>x</b> ⟨U+202E⟩evil⟨U+202C⟩ ␛[31m␀"
    root = tree(hostile_report(attack))
    assert seen in root.one("h1").text
    assert root.one("ol", id="flip-list").all("pre", data_slot="prompt")[0].raw == f"\n{seen}"
    assert embedded(root)["flips"][0]["key"] == seen
    for place in root.all("h1"):
        assert all(node.tag == "bdi" for node in place.walk() if seen in "".join(_own(node)))


def _own(node: Node) -> list[str]:
    return [child for child in node.children if isinstance(child, str)]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: repr(attack[:24]))
def test_embedded_data_cannot_end_its_element(attack: str) -> None:
    raw = tree(hostile_report(attack)).one("script", id="flip-data").raw
    assert not set("<>&\u2028\u2029") & set(raw)
    assert json.loads(raw)["key"][0] == visible(attack[:400]) or len(attack) > 400


def test_nothing_is_loaded_from_anywhere() -> None:
    root = tree(report())
    for node in root.walk():
        assert node.tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "srcset", "action", "style", "ping"} & node.attributes.keys()
    style, script = root.one("style").raw, root.all("script")[-1].raw
    assert not re.search(r"url\(|@import|https?:|expression", style)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|fetch|XMLHttp|import\(", script
    )


def test_an_asset_that_would_end_its_element_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    shutil.copytree(templates(), tmp_path / "templates")
    (tmp_path / "templates" / "report.js").write_text("// </script>")
    monkeypatch.setattr(page, "templates", lambda: tmp_path / "templates")
    with pytest.raises(OutputError, match=r"report\.js: may hold neither"):
        render(report())


# ------------------------------------------------------------------------------------ for any reader


def test_equal_reports_give_equal_bytes_in_any_process() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import hashlib, report_samples as s;"
        "from muscle_gov.report import render;"
        "r = s.report(comparison=s.comparison(slices=(s.figures(slice='b=1'), s.figures(slice='a=1'))));"
        "print(hashlib.sha256(render(r)).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_the_page_can_be_read_with_a_keyboard_and_a_screen_reader() -> None:
    root = tree(report())
    ids = [node.attributes["id"] for node in root.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for link in root.all("a"):
        assert link.attributes["href"].removeprefix("#") in {*ids, ""}, link.attributes
    for table in root.all("table"):
        assert table.one("caption").text
        assert all("scope" in head.attributes for head in table.all("th"))
    for drawing in root.all("svg"):
        assert drawing.attributes.get("aria-label") or drawing.attributes.get("aria-hidden") == "true"
    for region in root.all(css="scroll"):
        assert region.attributes["tabindex"] == "0"
        assert region.attributes["aria-label"]
    levels = [int(node.tag[1]) for node in root.walk() if re.fullmatch("h[1-6]", node.tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert {label.text.split()[0] for label in root.all("label")} >= {"Suite", "Kind", "Text", "Order"}
    assert root.one("html").attributes["lang"] == "en"
    assert root.one("main").attributes["id"] == root.one("a", css="skip").attributes["href"][1:]


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(scheme: int) -> None:
    style = (templates() / "style.css").read_text("utf-8")
    root = re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", root))
    grounds = ("bg", "panel", "sunk")
    pairs = [(ink, ground) for ink in ("ink", "muted", "link") for ground in grounds]
    tones = ("fail", "pass", "open", "apart", "none", "mended")
    pairs += [(tone, ground) for tone in tones for ground in (f"{tone}-bg", "bg", "sunk")]
    pairs += [(ink, f"{tone}-bg") for ink in ("ink", "muted") for tone in tones]
    pairs += [("ink", "del-bg"), ("ink", "ins-bg")]
    for ink, ground in pairs:
        bright, dark = sorted((_luminance(colours[ink]), _luminance(colours[ground])), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, (ink, ground)


# --------------------------------------------------------------------------------- plugin and package


def test_the_plugin_offers_html_with_checked_options() -> None:
    loaded = plugins.load()
    made = loaded.make("reports", "html", {"max_flips": 1})
    assert made.suffix == ".html"
    assert len(embedded(parse(made.render(report())))["flips"]) == 1
    with pytest.raises(UsageError, match="max_text: 5 must be at least 100"):
        loaded.make("reports", "html", {"max_text": 5})


def test_loading_the_plugin_does_not_load_jinja() -> None:
    code = "import sys, muscle_gov_plugins.report_html; print('jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_templates_are_found_in_a_wheel_and_told_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "__file__", str(tmp_path / "muscle_gov" / "report" / "page.py"))
    with pytest.raises(OutputError, match="install muscle-gov again"):
        templates()
    inside = tmp_path / "muscle_gov" / "templates"
    inside.mkdir(parents=True)
    (inside / "report.html").touch()
    assert templates() == inside.resolve()
