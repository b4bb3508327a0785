"""The documentation says what the program does: pages are fresh, examples parse, links resolve."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import click
import pytest

import muscle_gov
from muscle_gov import config, hookspecs, mend, pipeline, plugins, settings
from muscle_gov.cli import cli
from muscle_gov.config import TABLES, parse_rule
from muscle_gov.errors import ConfigError
from muscle_gov.store import open_store
from muscle_gov.store.schema import migrations

CHECKOUT = Path(__file__).resolve().parent.parent
DOCS = CHECKOUT / "docs"
PAGES = [CHECKOUT / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")


def names(pages: list[Path]) -> list[str]:
    return [str(page.relative_to(CHECKOUT)) for page in pages]


@pytest.fixture(scope="module")
def built_in() -> plugins.Plugins:
    found = entry_points(group=hookspecs.ENTRY_POINT_GROUP)
    return plugins.load([e for e in found if e.dist is not None and e.dist.name == "muscle-gov"])


# ------------------------------------------------------------------------------------- the generator


def generate(*args: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), *(str(arg) for arg in args)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_generated_docs_are_up_to_date() -> None:
    started = time.monotonic()
    done = generate("--check")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    assert time.monotonic() - started < 20


def test_generated_docs_show_what_is_built_in_whoever_runs_it() -> None:
    done = generate("--check", MUSCLE_GOV_BLOCK_PLUGINS="helm,table", COLUMNS="40", PYTHONHASHSEED="7")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return shutil.copytree(DOCS, tmp_path / "docs")


def test_a_stale_page_is_shown_and_written_anew(copy: Path) -> None:
    page = copy / "reference" / "cli.md"
    fresh = page.read_text(encoding="utf-8")
    page.write_text(fresh.replace("--no-slices", "--no-slivers"), encoding="utf-8")
    done = generate("--check", "--docs", copy)
    assert done.returncode == 1
    assert re.search(r"^-  --no-slivers", done.stdout, re.MULTILINE)
    assert re.search(r"^\+  --no-slices", done.stdout, re.MULTILINE)
    assert generate("--docs", copy).returncode == 0
    assert page.read_text(encoding="utf-8") == fresh


def test_a_shown_file_that_changed_is_stale(copy: Path) -> None:
    guide = copy / "writing-plugins.md"
    guide.write_text(guide.read_text(encoding="utf-8").replace("PipedReader", "PopedReader"))
    done = generate("--check", "--docs", copy)
    assert done.returncode == 1
    assert "+class PipedReader:" in done.stdout


def test_a_page_that_nothing_makes_is_told(copy: Path) -> None:
    (copy / "reference" / "left.md").write_text("# Left\n")
    done = generate("--check", "--docs", copy)
    assert done.returncode == 1
    assert "left.md: nothing makes it any more" in done.stdout


# ----------------------------------------------------------------------------------- nothing is left out


def commands() -> dict[str, click.Command]:
    top = click.Context(cli, **cli.context_settings)
    found = {name: cli.get_command(top, name) for name in cli.list_commands(top)}
    return {name: command for name, command in found.items() if command is not None}


@pytest.mark.parametrize("name", commands())
def test_every_command_is_documented_with_every_option(name: str) -> None:
    section = re.search(
        rf"^## muscle-gov {name}$(.*?)(?=^## |\Z)", read("reference/cli.md"), re.MULTILINE | re.DOTALL
    )
    assert section is not None
    command = commands()[name]
    assert command.help, f"{name} has no help"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts} has no help"
            for flag in parameter.opts:
                assert re.search(rf"(?<![\w-]){flag}(?![\w-])", section[1]), f"{name} {flag}"


HOOKS = [name for name in vars(hookspecs) if name.startswith("register_")]


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_is_documented_with_its_exact_arguments(name: str) -> None:
    arguments = ", ".join(inspect.signature(getattr(hookspecs, name)).parameters)
    assert f"### `{name}({arguments}) ->" in read("reference/hooks.md")


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_has_a_test_that_bears_its_name(name: str) -> None:
    tests = [
        node.name
        for path in (CHECKOUT / "tests").glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert any(name in test for test in tests)


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_every_protocol_is_documented_with_the_exact_arguments_of_its_methods(kind: str) -> None:
    protocol = plugins.KINDS[kind]
    section = (
        read("reference/hooks.md").partition(f"\n### {protocol.__name__}\n")[2].partition("\n### ")[0]
    )
    methods = [n for n, v in vars(protocol).items() if callable(v) and not n.startswith("_")]
    assert methods
    for method in methods:
        (signature,) = re.findall(rf"^#### `{method}\((.*)\) ->", section, re.MULTILINE)
        shown = [part.partition(":")[0] for part in re.split(r", (?=\w+:)", signature)]
        assert shown == [*inspect.signature(getattr(protocol, method)).parameters]
    for attribute in protocol.__annotations__:
        assert f"| `{attribute}` |" in section


def test_every_offer_and_option_is_documented(built_in: plugins.Plugins) -> None:
    text = read("reference/plugins.md")
    for kind in plugins.KINDS:
        part = text.partition(f"\n## {kind.capitalize()}\n")[2].partition("\n## ")[0]
        shared = part.partition("\n### Options of training\n")[2].partition("\n### ")[0]
        for name in built_in.names(kind):
            section = part.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
            assert section, name
            shown = section + (shared if "(#options-of-training)" in section else "")
            for option in plugins.options(built_in.get(kind, name)):
                assert f"| `{option.name}` |" in shown, f"{name}.{option.name}"


def test_every_metric_is_defined_with_title_and_direction(built_in: plugins.Plugins) -> None:
    text = read("reference/metrics.md")
    for name in built_in.names("metrics"):
        cls = built_in.get("metrics", name)
        assert f"| `{name}` | {cls.title} | {cls.direction} |" in text


def test_every_key_of_a_config_is_documented() -> None:
    text = read("reference/settings.md")
    for table in TABLES:
        title = f"`{table.header}`" if table.header else "Above the first table"
        section = text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
        keys = table.keys()
        assert keys
        for key in keys:
            assert f"| `{key}` |" in section, f"{title} {key}"


def test_every_finding_that_the_code_makes_is_documented() -> None:
    text = read("reference/findings.md")
    documented = {*re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)}
    assert settings.CODES.keys() <= documented
    made = set()
    for path in (CHECKOUT / "muscle_gov").rglob("*.py"):
        for call in re.findall(r"Finding\(\s*f?\"([^\"]+)\"", path.read_text(encoding="utf-8")):
            made.add(call)
    assert len(made) > 15
    for code in made:
        ending = code.rpartition("}")[2]
        assert code in documented or any(d.endswith(ending) for d in documented if "{" in code), code


@pytest.mark.parametrize("name", muscle_gov.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert f"\n### {name}\n" in read("reference/python.md")


def test_every_table_and_column_of_the_store_is_documented() -> None:
    text = read("reference/schema.md")
    with open_store(":memory:") as store:
        columns = store.rows("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal")
    assert {table for table, _ in columns} >= {"runs", "predictions", "flips", "verdicts"}
    for table, column in columns:
        section = re.search(rf"^### {table}(?: \(view\))?$(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)
        assert section is not None, table
        assert f"| `{column}` |" in section[1], f"{table}.{column}"


def test_every_comment_of_the_migrations_is_shown() -> None:
    text = read("reference/schema.md").replace("\\|", "|")
    for step in migrations():
        behind = re.findall(r"^    \w+ .*?-- (.*)$", step.sql, re.MULTILINE)
        above = re.findall(r"^-- (.*)\nCREATE (?:TABLE|VIEW)", step.sql, re.MULTILINE)
        assert [words for words in (*behind, *above) if " ".join(words.split()) not in text] == []


# ------------------------------------------------------------------------------------------- examples


def fenced(page: Path, *languages: str) -> Iterator[str]:
    for language, content in FENCE.findall(page.read_text(encoding="utf-8")):
        if language in languages:
            yield content


def shell_lines(page: Path) -> Iterator[str]:
    """Every shell command of a page, continued lines joined; also those in code spans."""
    outside = FENCE.sub("", page.read_text(encoding="utf-8"))
    for span in re.findall(r"(?<!`)`(muscle-gov [^`]+)`(?!`)", outside):
        yield " ".join(span.split())
    indented = "\n".join(re.findall(r"^ {4}.*$", outside, re.MULTILINE))
    for content in (indented, *fenced(page, "sh", "console", "text")):
        for line in re.sub(r"\\\n\s*", " ", content).splitlines():
            if re.match(r"(\$ +| {2,})?([A-Z_]+=\S+ )?muscle-gov ", line):
                yield re.sub(r" {2,}\(.*\)$", "", line.strip().removeprefix("$ "))


def invocations() -> list[Any]:
    found = []
    for page in PAGES:
        for line in dict.fromkeys(shell_lines(page)):
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, "&&"]:
                if not re.fullmatch(r"[|&;<>]+", word):
                    words.append(word)
                    continue
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    del words[0]
                if words[:1] == ["muscle-gov"]:
                    found.append(pytest.param(words[1:], id=f"{page.name}: {' '.join(words)}"))
                words = []
    return found


@pytest.mark.parametrize("words", invocations())
def test_every_shell_example_parses(words: list[str], built_in: plugins.Plugins) -> None:
    if words[0].startswith("-"):
        assert words[0] in ("--help", "-h", "--version")
        return
    known = commands()
    assert words[0] in known, f"there is no command {words[0]}"
    if not words[1:]:
        return  # the command is spoken of, not called
    top = click.Context(cli, **cli.context_settings)  # it says how help is asked for
    context = known[words[0]].make_context(words[0], words[1:], parent=top)
    maxima, minima = (context.params.get(name) or () for name in ("maxima", "minima"))
    rules = [parse_rule(text, "max") for text in maxima] + [parse_rule(text, "min") for text in minima]
    assert {rule.metric for rule in rules} <= {*built_in.names("metrics"), "net_flips"}
    for option in ("reader", "old_reader", "new_reader"):
        reader = context.params.get(option)
        if reader not in (None, "auto", "NAME", "READER"):
            fields = {o.name for o in plugins.options(built_in.get("readers", reader))}
            given = context.params[option.replace("reader", "options")]
            assert {pair.partition("=")[0] for pair in given} <= fields


def test_there_are_shell_examples_of_every_command_but_help() -> None:
    spoken = {parameter.values[0][0] for parameter in invocations()}
    assert commands().keys() <= spoken


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_toml_examples_are_toml(page: Path) -> None:
    for content in fenced(page, "toml"):
        tomllib.loads(content)


PARTS = {
    r"\[(models\.)?old\]": '[models.old]\npath = "models/assistant-1.0"\n',
    r"\[(models\.)?new\]": '[models.new]\npath = "models/assistant-1.1"\n',
    r"\[suites\.": '[suites.questions]\npath = "q.jsonl"\nprompt = "{{ q }}"\ntarget = "{{ a }}"\n',
    r"\[training\.": '[training.examples]\nlike = "questions"\npath = "examples.jsonl"\n',
}
"""Tables of a file that runs models, for the examples that show only what they are about."""
SHOWN = [
    pytest.param(content, id=f"{page.relative_to(CHECKOUT)}-{i}")
    for page in PAGES
    if page != DOCS / "config.md"  # its examples have a test of their own
    for i, content in enumerate(fenced(page, "toml"))
    if re.search(r"^\[(models|suites|training|mitigations)\.", content, re.MULTILINE)
]


@pytest.mark.parametrize("content", SHOWN)
def test_every_example_of_a_configuration_is_right(
    content: str, with_programs: plugins.Plugins, tmp_path: Path
) -> None:
    missing = [text for head, text in PARTS.items() if not re.search(f"^{head}", content, re.MULTILINE)]
    if "[mitigations." not in content and "[finetune." not in content:
        missing = [text for text in missing if "[training." not in text]
    (tmp_path / "update.toml").write_text("\n".join([content, *missing]))
    problems: tuple[str, ...] = ()
    try:
        config.load_update(tmp_path / "update.toml", with_programs)
    except ConfigError as error:
        problems = tuple(error.problems)
    assert [told for told in problems if "there is no file or directory" not in told] == []


@pytest.fixture(scope="module")
def with_programs() -> Iterator[plugins.Plugins]:
    """The built-in plugins and the second one of the guide to writing them."""
    folder = CHECKOUT / "tests" / "third_party" / "muscle_gov_programs"
    group = hookspecs.ENTRY_POINT_GROUP
    mine = EntryPoint("programs", "muscle_gov_programs", group)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield plugins.load([*entry_points(group=group), mine])


def test_the_mitigation_in_the_guide_mends_what_the_guide_shows(
    with_programs: plugins.Plugins, tmp_path: Path
) -> None:
    (content,) = (one for one in fenced(DOCS / "writing-plugins.md", "toml") if "[mitigations." in one)
    fewer = content.replace('"sums"\n', '"sums"\ncount = 25\n')
    (tmp_path / "update.toml").write_text(fewer.replace('"python"', json.dumps(sys.executable)))
    update = config.load_update(tmp_path / "update.toml", with_programs)
    predicting = pipeline.Predicting(update.suites, update.predict)
    with open_store(":memory:") as store:
        candidates = mend.run_mend(store, with_programs, update, predicting).report.candidates
    before, after, control = (one.comparison.suites[0].measures["nfr"].value for one in candidates)
    assert before > after >= control == 0


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_python_examples_compile(page: Path) -> None:
    for content in fenced(page, "python"):
        compile(content, page.name, "exec")


def test_the_plugin_in_the_readme_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = fenced(CHECKOUT / "README.md", "python")
    (tmp_path / "plugin_of_the_readme.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    group = hookspecs.ENTRY_POINT_GROUP
    found = plugins.load([EntryPoint("net-flips", "plugin_of_the_readme", group)])
    assert [info.error for info in found.infos] == [None]
    metric = found.make("metrics", "net_flips")
    assert (metric.title, metric.direction, metric.kinds) == ("Net flips", "lower", ("binary",))

    class Spy:
        def ratio(self, over: object, under: object, confidence: float, proportion: bool) -> object:
            return over, under, confidence, proportion

    over = {"negative_flip": 1.0, "positive_flip": -1.0}
    assert metric.measure(Spy(), 0.9) == (over, None, 0.9, False)


def test_the_loss_in_the_guide_is_the_sum_that_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    from muscle_gov_plugins._loss_batch import Loss
    from muscle_gov_plugins._loss_terms import BatchTokens, Full, judge

    (source,) = (one for one in fenced(DOCS / "writing-plugins.md", "python") if "LossMitigation" in one)
    (tmp_path / "plugin_of_the_guide.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    found = plugins.load([EntryPoint("keep", "plugin_of_the_guide", hookspecs.ENTRY_POINT_GROUP)])
    assert [info.error for info in found.infos] == [None]
    mine = found.make("mitigations", "keep-right", {"distance_weight": 3.0, "steps": 5})
    loss = Loss(mine.row, mine.settings())
    assert (loss.needs, mine.steps) == ({"old"}, 5)

    chance = torch.Generator().manual_seed(0)
    scores, hidden = (torch.randn(40, 7, generator=chance) for _ in range(2))
    labels, rows = torch.randint(7, (40,), generator=chance), torch.arange(40) // 8
    old = judge(scores, labels)
    old.scores = Full(scores)
    tokens = BatchTokens(labels, rows, torch.ones(40, dtype=torch.bool), old, None)
    given, _ = loss(hidden.clone().requires_grad_(), lambda some: some, tokens, 40.0, 16)
    right = scores.argmax(1) == labels
    assert 0 < right.sum() < 40
    log_p, log_old = (torch.log_softmax(some / 2.0, 1) for some in (hidden, scores))
    pull = (log_old.exp() * (log_old - log_p)).sum(1)
    plain = -torch.log_softmax(hidden, 1).gather(1, labels[:, None])[:, 0]
    assert given.item() == pytest.approx((plain + 3.0 * pull * right).mean().item(), rel=1e-5)


def test_what_is_derived_from_the_tables_of_the_paper_follows_from_them() -> None:
    page = read("mending.md")
    rows = re.findall(r"^\| \w+, [^|]+→[^|]+ \|(.*)\|$", page, re.MULTILINE)
    assert len(rows) == 12
    for row in rows:
        told = [float(cell.strip(" %").replace("−", "-")) for cell in row.split("|")]
        old, new, mended, nfr, change = told[:5]
        factors = (nfr + change) / nfr, (100 - mended) / (100 - new)

        def relative(acc: float, rate: float, acc_old: float = old) -> float:
            return rate / (acc_old / 100 * (100 - acc))

        derived = factors[0], relative(mended, nfr + change) / relative(new, nfr), factors[1]
        assert told[5:] == pytest.approx([100 * (one - 1) for one in derived], abs=0.0501), row
        assert derived[0] == pytest.approx(derived[1] * derived[2])


def test_the_worked_example_of_mending_runs(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from cli_runner import muscle_gov
    from tiny_models import make_model

    for seed, version in enumerate(("1.0", "1.1")):
        make_model(tmp_path / "models" / f"assistant-{version}", seed=seed)
    for name, first, last in (("questions", 0, 12), ("examples", 12, 42), ("traffic", 42, 48)):
        rows = ({"question": f"what is {i}", "answer": f"one {i % 3}"} for i in range(first, last))
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (content,) = fenced(DOCS / "mending.md", "toml")
    shorter = re.sub(r"(?m)^rank = \d+$", "rank = 2\nsteps = 2\nscope = 'answer'", content)
    shorter = shorter.replace("max_tokens = 16", "max_tokens = 4")
    (tmp_path / "update.toml").write_text(shorter)
    made = muscle_gov("finetune", "update.toml", "--quiet", cwd=tmp_path)
    assert made.code == 0, made.err
    ran = muscle_gov("run", "--mend", "update.toml", "--quiet", "--json", "-", cwd=tmp_path)
    assert "crashed" not in ran.err
    listed = [(one["name"], one["role"]) for one in ran.json["candidates"]]
    assert listed[1:3] == [("muscle", "mitigation"), ("ensemble-distil", "mitigation")]
    controls = {name for name, role in listed if role == "control"}
    assert controls == {"cross-entropy", "cross-entropy of ensemble-distil", "refit", "ensemble"}
    assert (tmp_path / "report.html").stat().st_size > 10_000
    for name in ("muscle", "ensemble-distil"):
        (folder,) = (tmp_path / "mended").glob(f"{name}-*/adapter")
        assert {"README.md", "muscle-gov.json", "adapter_model.safetensors"} <= {
            path.name for path in folder.iterdir()
        }


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's logs in `logs`, as the README has them, and in `old` and `new`, as the
    recipes have them."""
    folder = tmp_path_factory.mktemp("demo")
    maker = [sys.executable, str(CHECKOUT / "benchmarks" / "demo_logs.py"), "logs"]
    subprocess.run(maker, cwd=folder, capture_output=True, check=True)
    for version, name in (("1.0", "old"), ("1.1", "new")):
        shutil.copytree(folder / "logs" / f"assistant-{version}", folder / name)
    return folder


def test_the_output_in_the_readme_is_what_the_program_prints(demo: Path) -> None:
    (session,) = fenced(CHECKOUT / "README.md", "console")
    command, _, rest = session.removeprefix("$ ").partition("\n")
    shown, _, code = rest.partition("$ echo $?\n")
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command.replace("muscle-gov", "muscle_gov", 1))],
        cwd=demo,
        env={**os.environ, "COLUMNS": "96"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert str(done.returncode) == code.strip()
    assert _form(done.stdout + done.stderr) == _form(shown)


def test_the_python_recipes_run(demo: Path) -> None:
    reading, driving = fenced(DOCS / "recipes.md", "python")
    for source in (driving, reading + "\nprint(len(broken))"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", source],
            cwd=demo,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("FAIL ") or int(done.stdout) > 0


def test_the_recipe_across_harnesses_compares(demo: Path) -> None:
    (log,) = (demo / "old").rglob("samples_number_questions_*.jsonl")
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    lines = ["id,ok", *(f"{row['doc_id']},{bool(row['acc'])}" for row in rows)]
    (demo / "old.csv").write_text("\n".join(lines))
    (recipe,) = (line for line in shell_lines(DOCS / "recipes.md") if "harness-differs" in line)
    words = shlex.split(recipe)[1:]
    for accepted, code in ((words, 0), (words[:-2], 3)):
        done = subprocess.run(
            [sys.executable, "-m", "muscle_gov", *accepted, "--store", ":memory:"],
            cwd=demo,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr


def _form(text: str) -> str:
    """The text without what a training on another processor may change: figures, answers, wrapping."""
    text = re.sub(r"kept as \S+", "kept as #", text)
    return re.sub(r"\b(yes|no)\b", "answer", " ".join(re.sub(r"\d[\d,.]*", "#", text).split()))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A store with two comparisons of three releases, the second judged; instance 1 breaks in both."""
    folder = tmp_path_factory.mktemp("queries")
    for name, answers in (("v1", "1111"), ("v2", "0011"), ("v3", "1001")):
        lines = [
            json.dumps(
                {"id": i, "correct": a == "1", "subject": f"s{i % 2}", "prompt": f"q{i}", "answer": a}
            )
            for i, a in enumerate(answers)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "v2b.jsonl").write_text((folder / "v2.jsonl").read_text().replace("false", "true", 2))
    base = ["compare", "--store", str(folder / "s.duckdb"), "--reader", "table", "-o", "key=id"]
    base += ["-o", "tags=subject", "-o", "prompt=prompt", "-o", "answer=answer", "-o", "suite=s", "-q"]
    for old, new in (("v1", "v2"), ("v2b", "v3")):
        sides = [str(folder / f"{name}.jsonl") for name in (old, new)]
        done = subprocess.run(
            [sys.executable, "-m", "muscle_gov", *base, *sides, "--max", "nfr=10%"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in (1, 3), done.stderr
        assert "crashed" not in done.stderr
    with open_store(folder / "s.duckdb", read_only=True) as opened:
        yield opened


QUERIES = [
    pytest.param(query, id=f"{page.name}-{i}")
    for page in PAGES
    for i, query in enumerate(fenced(page, "sql"))
]


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_in_the_docs_finds_something(query: str, store: Any) -> None:
    assert store.rows(query)


def test_there_are_queries_in_the_docs() -> None:
    assert len(QUERIES) >= 5


def test_the_queries_find_what_they_say(store: Any) -> None:
    broken, verdicts, again = fenced(DOCS / "reference" / "schema.md", "sql")
    assert store.rows(broken) == [("s", "subject", "s0", 1), ("s", "subject", "s1", 1)]
    assert [(row[1], row[2], row[4]) for row in store.rows(verdicts)] == [
        ("v1", "v2", 0.5),
        ("v2b", "v3", 0.5),
    ]
    assert all(row[6] == "INCONCLUSIVE" for row in store.rows(verdicts))
    assert store.rows(again) == [("s", "1", 2, "q1")]


# ---------------------------------------------------------------------------------- links, lists, paths


def slugs(page: Path) -> set[str]:
    """Anchors of the headings of a page, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_internal_links_resolve(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), target
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        assert found.is_relative_to(CHECKOUT)
        if anchor:
            assert anchor in slugs(found), f"{page.name}: {target}"


MACHINE = re.compile(r"(?<![\w.])(?:/(?:home|root|work|tmp|Users|mnt|opt|usr|var|private)/|[A-Z]:\\)\S*")


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_no_page_mentions_a_path_of_a_machine(page: Path) -> None:
    assert MACHINE.findall(page.read_text(encoding="utf-8")) == []


def test_every_page_is_linked_from_the_index() -> None:
    linked = {
        (DOCS / t.partition("#")[0]).resolve() for t in re.findall(r"\]\(([^)\s]+)\)", read("index.md"))
    }
    pages = [page for page in DOCS.rglob("*.md") if page != DOCS / "index.md"]
    assert [page.name for page in pages if page.resolve() not in linked] == []


def test_every_reader_has_a_page_and_stands_in_the_readme(built_in: plugins.Plugins) -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    for name in built_in.names("readers"):
        assert (DOCS / "readers" / f"{name}.md").is_file(), name
        assert f"[`{name}`](docs/readers/{name}.md)" in readme
    assert {p.stem for p in (DOCS / "readers").glob("*.md")} == {*built_in.names("readers")}


def test_the_readme_maps_every_module_and_folder() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    mapped = readme.partition("## What is where")[2].partition("## ")[0]
    core = [p for p in (CHECKOUT / "muscle_gov").iterdir() if p.suffix in (".py", ".toml")]
    core += [p.parent for p in (CHECKOUT / "muscle_gov").glob("*/__init__.py")]
    wanted = {f"  {path.name}{'/' if path.is_dir() else ''} " for path in core}
    wanted |= {f"\n{name}/ " for name in ("muscle_gov", "plugins", "tests", "docs", "benchmarks")}
    assert sorted(line for line in wanted if line not in mapped) == []
    named = re.findall(r"^  (\S+?)/? ", mapped, re.MULTILINE)
    assert [name for name in named if not (CHECKOUT / "muscle_gov" / name).exists()] == []


def test_the_readme_names_every_extra_and_every_target_of_make() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (
        sorted(e for e in project["optional-dependencies"] if f"`muscle-gov[{e}]`" not in readme) == []
    )
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`|, |  )make (\w+)", readme, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_changelog_tells_of_this_version() -> None:
    text = read("changelog.md")
    assert "\n## Unreleased\n" in text
    assert f"\n## {muscle_gov.__version__}\n" in text
