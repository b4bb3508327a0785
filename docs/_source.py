"""Pages made from source text: hooks and Protocols, the Python names, the store's SQL.

Signatures and comments stand there as their author wrote them, so that is what is shown.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from _markdown import ROOT, block, code, documented, page, table

OTHER_NAMES = {
    "hookimpl": "Marks a function of a plugin as a hook: `@hookimpl` above `def register_readers()`.",
}
"""Public names that can carry no docstring of their own."""

QUERIES = (
    (
        "Where the newest comparison broke most: negative flips by suite and tag.",
        """SELECT suite, tag, value, count(*) AS broken
FROM flips f JOIN tags t ON t.run_id = f.old_run_id AND t.instance_id = f.instance_id
WHERE kind = 'negative'
  AND comparison_id = (SELECT max_by(comparison_id, created_at) FROM comparisons)
GROUP BY ALL ORDER BY broken DESC, suite, tag, value LIMIT 20;""",
    ),
    (
        "How NFR and the verdict went from release to release.",
        """SELECT c.created_at, o.name AS old, n.name AS new, m.suite, m.value AS nfr, m.high AS at_most,
       max_by(v.status, v.given_at) AS verdict
FROM comparisons c
JOIN models o ON o.model_id = c.old_model_id
JOIN models n ON n.model_id = c.new_model_id
JOIN measures m ON m.comparison_id = c.comparison_id AND m.metric = 'nfr' AND m.slice IS NULL
LEFT JOIN verdicts v ON v.comparison_id = c.comparison_id
GROUP BY ALL ORDER BY c.created_at, m.suite;""",
    ),
    (
        "Instances that broke in more than one comparison.",
        """SELECT suite, key, count(DISTINCT comparison_id) AS times, any_value(prompt) AS prompt
FROM flips WHERE kind = 'negative'
GROUP BY suite, key HAVING times > 1 ORDER BY times DESC, suite, key;""",
    ),
)
"""Run by the tests on a store with two comparisons; each must find something there."""

# ---------------------------------------------------------------------------------- hooks, Python names


def parsed(module: str) -> dict[str, ast.ClassDef | ast.FunctionDef]:
    """Name → class or function, in the order of the module."""
    tree = ast.parse((ROOT / "muscle_gov" / f"{module}.py").read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def hooks_page() -> str:
    from muscle_gov import hookspecs

    nodes = parsed("hookspecs")
    parts = ["## Hooks\n"]
    for name, node in nodes.items():
        if isinstance(node, ast.FunctionDef) and name.startswith("register_"):
            about = documented(name, ast.get_docstring(node))
            parts.append(f"### `{signature(node)}`\n\n{about}\n")
    parts.append("## What they offer\n")
    for name, node in nodes.items():
        if isinstance(node, ast.ClassDef):
            parts.append(f"### {name}\n\n{described(node)}")
    return page("Hooks", documented("hookspecs", hookspecs.__doc__), parts)


def python_page() -> str:
    import muscle_gov

    nodes = {**parsed("data"), **parsed("exchange"), **parsed("errors")}
    protocols = parsed("hookspecs")
    parts = ["## What plugins import\n"]
    for name in muscle_gov.__all__:
        node = nodes.get(name)
        if name in protocols:
            text = f"A Protocol, described with the [hooks](hooks.md#{name.lower()}).\n"
        elif isinstance(node, ast.ClassDef):
            text = described(node)
        elif isinstance(node, ast.FunctionDef):
            text = f"`{signature(node)}`\n\n{documented(name, ast.get_docstring(node))}\n"
        else:
            text = documented(name, OTHER_NAMES.get(name)) + "\n"
        parts.append(f"### {name}\n\n{text}")
    parts.append(
        "## What a report is made of\n\nIn `muscle_gov.data`; a report format gets them made.\n"
    )
    for name, node in parsed("data").items():
        if name not in muscle_gov.__all__ and isinstance(node, ast.ClassDef):
            parts.append(f"### {name}\n\n{described(node)}")
    about = (
        "The names that `from muscle_gov import ...` gives, all that a plugin needs. They are resolved "
        "on first use, so importing `muscle_gov` costs next to nothing."
    )
    return page("Python", about, parts)


def signature(node: ast.FunctionDef) -> str:
    arguments = re.sub(r"(?<=[\w\]])=(?=\S)", " = ", ast.unparse(node.args))
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({arguments}){result}"


def described(node: ast.ClassDef) -> str:
    """A class: its docstring, its fields with what stands below them, its methods."""
    parts = [documented(node.name, ast.get_docstring(node)) + "\n"]
    fields, members = [], []
    for one, text in _with_docs(node.body):
        if isinstance(one, ast.AnnAssign):
            default = code(ast.unparse(one.value)) if one.value else ""
            fields.append((*(code(ast.unparse(x)) for x in (one.target, one.annotation)), default, text))
        elif isinstance(one, ast.Assign):
            members.append((code(ast.unparse(one.targets[0])), code(ast.unparse(one.value)), text))
    if fields:
        parts.append(table(("field", "type", "default", "meaning"), fields))
    if members:
        parts.append(table(("member", "value", "meaning"), members))
    for one in node.body:
        if isinstance(one, ast.FunctionDef):
            about = ast.get_docstring(one)
            parts.append(f"#### `{_heading(one)}`\n" + (f"\n{about}\n" if about else ""))
    return "\n".join(parts)


def _with_docs(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """Each statement with the string that stands right below it."""
    for one, below in zip(body, [*body[1:], None], strict=True):
        is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
        yield one, str(below.value.value) if is_text else ""  # type: ignore[union-attr]


def _heading(node: ast.FunctionDef) -> str:
    is_property = any(ast.unparse(mark) == "property" for mark in node.decorator_list)
    return (
        f"{node.name}: {ast.unparse(node.returns)}" if is_property and node.returns else signature(node)
    )


# ------------------------------------------------------------------------------------------- the schema


def schema_page() -> str:
    """Columns as the database has them, after all migrations; words as the migrations have them."""
    from muscle_gov.store import open_store
    from muscle_gov.store.schema import migrations

    about, comments = _sql_comments("\n".join(step.sql for step in migrations()))
    with open_store(":memory:") as store:
        columns = store.rows(
            """SELECT table_name, column_name, data_type, is_nullable FROM duckdb_columns()
            WHERE schema_name = 'main' AND NOT internal ORDER BY table_name, column_index"""
        )
        views = store.rows("SELECT view_name FROM duckdb_views() WHERE NOT internal")
    parts = ["## Tables and views\n"]
    names = [name for name in about if any(name == row[0] for row in columns)]
    for name in [*names, *sorted({row[0] for row in columns} - {*names})]:
        rows = [
            (code(column), _sql_type(kind, nullable), comments.get((name, column), ""))
            for owner, column, kind, nullable in columns
            if owner == name
        ]
        what = " (view)" if (name,) in views else ""
        text = documented(f"the table {name}", about.get(name) or RECORDS.get(name))
        parts.append(f"### {name}{what}\n\n{text}\n")
        parts.append(table(("column", "type", "meaning"), rows))
    parts.append("## Queries\n")
    parts += [f"{title}\n\n{block('sql', sql)}" for title, sql in QUERIES]
    whole = (
        "The store is one DuckDB file that any DuckDB client may read while no muscle-gov command is "
        "writing to it: `duckdb muscle-gov.duckdb`. Released migrations never change, so a column "
        "keeps its meaning. All times are UTC."
    )
    return page("The store", whole, parts)


RECORDS = {
    "candidates": (
        "What was judged when an update was mended: the update itself, what mends it, and the controls "
        "beside them. Each has a comparison of its own with the same old model."
    ),
    "migrations": "Which steps of the schema were applied, and by which version.",
    "compared_runs": "Which run of each side a comparison paired on a suite.",
}
"""What tables are for that no comment in the migrations tells."""


def _sql_type(kind: str, nullable: bool) -> str:
    words = "outcome: " + kind[5:-1].replace("'", "") if kind.startswith("ENUM(") else kind
    return words if nullable else f"{words}, never NULL"


def _sql_comments(sql: str) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """What the comments say of each table (those right above it) and of each column (those behind)."""
    about: dict[str, str] = {}
    columns: dict[tuple[str, str], str] = {}
    above: list[str] = []
    name = ""
    for line in sql.splitlines():
        begun = re.match(r"(?:CREATE (?:TABLE|VIEW)|ALTER TABLE) (\w+)", line)
        if begun:
            name = begun[1]
            about.setdefault(name, " ".join(above))
        column = re.match(r"(?: {4}|ALTER TABLE \w+ ADD COLUMN )(\w+) .*?-- (.*)", line)
        if column:
            columns[name, column[1]] = column[2]
        above = [*above, line.removeprefix("--").strip()] if line.startswith("--") else []
    return about, columns
