"""A page as a tree, so that tests ask what a browser would see and not how the markup is spelt."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any

from muscle_gov.data import Report
from muscle_gov.report import page, render

VOID = {"meta", "input", "br", "hr", "img", "link", "path", "circle", "rect", "line"}
HIDDEN = {"script", "style", "template"}


@dataclass
class Node:
    tag: str
    attributes: dict[str, str]
    children: list[Node | str] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """This node and all below it, in the order of the page."""
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def all(self, tag: str = "", css: str = "", **attributes: str) -> list[Node]:
        """Every node below (or this one) with this tag, class and attributes (`_` stands for `-`)."""
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [
            node
            for node in self.walk()
            if tag in ("", node.tag)
            and (not css or css in node.attributes.get("class", "").split())
            and all(node.attributes.get(name) == value for name, value in wanted.items())
        ]

    def one(self, tag: str = "", css: str = "", **attributes: str) -> Node:
        (found,) = self.all(tag, css, **attributes)
        return found

    @property
    def raw(self) -> str:
        """All text below, as it is."""
        return "".join(c if isinstance(c, str) else c.raw for c in self.children)

    @property
    def text(self) -> str:
        """All text below that is on the page, in single spaces."""
        return " ".join("".join(self._visible()).split())

    def _visible(self) -> Iterator[str]:
        for child in self.children:
            if isinstance(child, str):
                yield child
            elif child.tag not in HIDDEN and "hidden" not in child.attributes:
                yield from child._visible()
                yield " " if child.tag in ("td", "th", "li", "p", "h2", "h3", "h4", "option") else ""


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(page: bytes) -> Node:
    """The tree of a page whose elements are all closed in their order."""
    builder = _Builder()
    builder.feed(page.decode())
    builder.close()
    assert builder.open == [builder.root], "an element is never closed"
    return builder.root


def tree(given: Report, **budget: int) -> Node:
    """The page of a report, with other limits on what it embeds."""
    return parse(render(given, replace(page.DEFAULT_BUDGET, **budget)))


def section(root: Node, name: str) -> Node:
    return root.one("section", id=name)


def embedded(root: Node) -> dict[str, Any]:
    """The flips as the page's script reads them, a mapping for each under `flips`."""
    source = root.one("script", id="flip-data")
    raw = source.raw
    if source.attributes["data-packing"]:
        raw = zlib.decompress(base64.b64decode(raw)).decode()
    data = json.loads(raw)
    return {**data, "flips": [_flip(data, place) for place in range(data["n"])]}


def _flip(data: Any, place: int) -> dict[str, Any]:
    def told(text: str) -> str:
        def note(mark: re.Match[str]) -> str:
            ends = ("\n" if mark.start() else "", "\n" if mark.end() < len(text) else "")
            return f"{ends[0]}[… {int(mark[1]):,} characters left out …]{ends[1]}"

        return re.sub("\x08([0-9]+)\x08", note, text)

    def both(four: Any) -> tuple[str, str]:
        start, old, new, end = (four, "", "", "") if isinstance(four, str) else four
        return told(start + old + end), told(start + new + end)

    asked, outputs = data["texts"][place]

    def word(name: str) -> Any:
        value = data[name][place]
        if value == -1 and name != "target":
            return both(outputs)[name == "after"]
        value = data["words"][value] if isinstance(value, int) else value
        return None if value is None else told(value)

    return {
        "id": f"flip-{data['id'][12 * place : 12 * place + 12]}",
        "kind": list(data["kinds"])[int(data["kind"][place])],
        "suite": data["suites"][data["suite"][place]],
        "key": data["key"][place],
        **{name: word(name) for name in ("before", "after", "target")},
        "prompt": told(asked) if isinstance(asked, str) else None,
        "prompts": both(asked) if isinstance(asked, list) else None,
        "outputs": both(outputs),
        "tags": [data["tags"][tag] for tag in data["tag"][place]],
        "margins": [(data[f"{side}_margins"] or {place: None})[place] for side in ("old", "new")],
    }
