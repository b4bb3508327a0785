"""A stranger's package, built, installed and found as any other: nothing of it is known to the core.

`third_party` holds the packages that the documentation shows. They are installed into a folder of their
own, offline, and each command below runs as a program that finds that folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from muscle_gov.plugins import ALLOW_VARIABLE, BLOCK_VARIABLE

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGES = CHECKOUT / "tests" / "third_party"
RIGHT, WRONG = 190, 10
"""Of 200 instances the old model answers this many right; the new one breaks as many as it mends."""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the example packages were installed into."""
    folder = tmp_path_factory.mktemp("third_party")
    # built from a copy, so that a build never writes into the checkout
    copy = shutil.copytree(PACKAGES, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    sources = [str(copy / name) for name in ("muscle_gov_example", "muscle_gov_programs")]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder / "site")]
    done = subprocess.run([*pip, *offline, *sources], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`old.txt` and `new.txt`: 5 of 200 answers break and 5 are mended, so net flips are 0."""
    folder = tmp_path_factory.mktemp("logs")
    old = [("right", "yes")] * RIGHT + [("wrong", "no")] * WRONG
    new = [*old]
    new[:5], new[-5:] = [("wrong", "no")] * 5, [("right", "yes")] * 5
    for name, rows in (("old", old), ("new", new)):
        lines = [f"{i}|{outcome}|{answer}\n" for i, (outcome, answer) in enumerate(rows)]
        (folder / f"{name}.txt").write_text("".join(lines))
    return folder


@dataclass(frozen=True)
class Ran:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(installed: Path, *args: object, cwd: Any = None, **environment: str) -> Ran:
    """Run `muscle-gov` as a program that finds the package."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MUSCLE_GOV_")}
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "muscle_gov", *(str(arg) for arg in args)],
        cwd=cwd,
        env={**kept, "PYTHONPATH": path, **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def compare(installed: Path, logs: Path, *args: object, **environment: str) -> Ran:
    where = ("old.txt", "new.txt", "--store", ":memory:")
    return run(installed, "compare", *where, *args, cwd=logs, **environment)


def test_it_is_listed_with_its_name_version_hooks_and_offers(installed: Path) -> None:
    listed = run(installed, "plugins", "--json")
    (info,) = (info for info in listed.json if info["distribution"] == "muscle-gov-example")
    assert info == {
        "name": "example",
        "distribution": "muscle-gov-example",
        "version": "1.2.0",
        "hooks": ["register_metrics", "register_readers", "register_reports"],
        "offers": ["metrics/net_flips", "readers/piped", "reports/line"],
        "error": None,
        "blocked": False,
    }
    lines = run(installed, "plugins").out.splitlines()
    (line,) = (line for line in lines if line.startswith("example"))
    assert line.split(maxsplit=3) == [
        "example",
        "muscle-gov-example",
        "1.2.0",
        "metrics/net_flips, readers/piped, reports/line",
    ]


def test_its_reader_is_shown_with_its_option(installed: Path) -> None:
    shown = run(installed, "plugins", "piped")
    assert shown.out.startswith("reader piped, from the plugin example\n")
    assert "  task: str = 'piped'\n      Name of the suite.\n" in shown.out


def test_its_reader_is_found_by_the_log_and_its_metric_is_measured(installed: Path, logs: Path) -> None:
    ran = compare(installed, logs, "--json", "-")
    assert ran.code == 0, ran.err
    (suite,) = ran.json["comparison"]["suites"]
    assert suite["suite"] == "piped"
    assert suite["n_pairs"] == RIGHT + WRONG
    net, delta = suite["measures"]["net_flips"], suite["measures"]["accuracy_delta"]
    assert (net["value"], net["n"], net["method"]) == (0.0, 200, "Tango score")
    assert net["low"] == pytest.approx(-delta["high"])
    assert net["high"] == pytest.approx(-delta["low"])


def test_its_reader_takes_its_option(installed: Path, logs: Path) -> None:
    ran = compare(installed, logs, "-o", "task=sums", "--json", "-")
    assert [suite["suite"] for suite in ran.json["comparison"]["suites"]] == ["sums"]
    wrong = compare(installed, logs, "-o", "taks=sums", "--reader", "piped")
    assert wrong.code == 2
    assert "taks: there is no such option; did you mean 'task'?" in wrong.err


@pytest.mark.parametrize(("limit", "code"), [("5%", 0), ("2%", 3), ("-5%", 1)])
def test_its_metric_can_be_gated(installed: Path, logs: Path, limit: str, code: int) -> None:
    ran = compare(installed, logs, "--max", f"net_flips={limit}")
    assert ran.code == code, ran.out + ran.err


def test_its_metric_s_range_guards_a_policy(installed: Path, logs: Path, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[[gate.rules]]\nmetric = "net_flips"\nmax = 2\n')
    ran = compare(installed, logs, "--policy", policy)
    assert ran.code == 2
    assert "2 is outside the range of net_flips, -1 to 1; is 0.02 meant?" in ran.err


def test_its_report_is_written(installed: Path, logs: Path, tmp_path: Path) -> None:
    file = tmp_path / "line.txt"
    ran = compare(installed, logs, "--max", "net_flips=5%", "--report", f"line={file}")
    assert ran.code == 0, ran.err
    assert file.read_text().startswith("PASS old -> new: piped: Net flips is 0%, at most 2.892%")
    assert file.read_text().count("\n") == 1


def test_a_line_that_it_cannot_read_keeps_the_run_from_passing(
    installed: Path, logs: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "new.txt"
    broken.write_text((logs / "new.txt").read_text() + "201|maybe|yes\n")
    ran = run(
        *(installed, "compare", logs / "old.txt", broken, "--store", ":memory:"),
        *("--max", "net_flips=5%", "--json", "-"),
    )
    assert ran.code == 3
    assert ran.json["verdict"]["status"] == "INCOMPARABLE"
    assert "new.txt:201: is not id|right or wrong|answer" in ran.json["verdict"]["reason"]


@pytest.mark.parametrize(
    "environment",
    [
        {BLOCK_VARIABLE: "example"},
        {BLOCK_VARIABLE: "muscle-gov-example"},
        {BLOCK_VARIABLE: "muscle_gov_example"},
        {ALLOW_VARIABLE: "some-other-package"},
        {ALLOW_VARIABLE: ""},
    ],
    ids=["by-name", "by-package", "by-package-spelt-otherwise", "not-on-the-list", "empty-list"],
)
def test_it_can_be_shut_out_while_built_ins_stay(
    installed: Path, logs: Path, environment: dict[str, str]
) -> None:
    infos = {info["name"]: info for info in run(installed, "plugins", "--json", **environment).json}
    assert infos["example"]["blocked"]
    assert infos["example"]["offers"] == []
    strangers = ("example", "programs")
    assert not any(info["blocked"] for name, info in infos.items() if name not in strangers)
    refused = compare(installed, logs, **environment)
    assert refused.code == 2
    assert refused.err.startswith("muscle-gov: old.txt: no reader knows this format")
    named = compare(installed, logs, "--reader", "piped", **environment)
    assert named.code == 2
    assert "These are blocked and may offer it: example" in named.err


def test_an_allow_list_that_names_it_lets_it_in(installed: Path, logs: Path) -> None:
    ran = compare(installed, logs, "--json", "-", **{ALLOW_VARIABLE: "muscle-gov-example"})
    assert "net_flips" in ran.json["comparison"]["suites"][0]["measures"]


def test_without_it_nothing_of_it_is_there(logs: Path, tmp_path: Path) -> None:
    ran = run(tmp_path, "plugins", "--json")
    assert "example" not in {info["name"] for info in ran.json}
    assert compare(tmp_path, logs).code == 2
    assert "no metric 'net_flips'" in compare(tmp_path, logs, "--max", "net_flips=1%").err


def test_nothing_of_it_is_special_cased() -> None:
    words = ("net_flips", "piped", "muscle_gov_example", "LineReport")
    sources = [*(CHECKOUT / "muscle_gov").rglob("*.py"), *(CHECKOUT / "plugins").rglob("*.py")]
    assert len(sources) > 50
    found = [
        f"{path.name}: {word}"
        for path in sources
        for word in words
        if word in path.read_text(encoding="utf-8")
    ]
    assert found == []


def test_it_imports_public_names_alone() -> None:
    import ast

    import muscle_gov

    tree = ast.parse((PACKAGES / "muscle_gov_example" / "muscle_gov_example.py").read_text())
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imported if (node.module or "").startswith("muscle_gov")]
    assert [node.module for node in ours] == ["muscle_gov"]
    assert {alias.name for node in ours for alias in node.names} <= {*muscle_gov.__all__}


def test_its_hooks_load_nothing_heavy(installed: Path) -> None:
    code = (
        "import sys, muscle_gov.plugins as p; p.load(); "
        "print(*sorted({'numpy', 'duckdb', 'pydantic', 'scipy', 'pyarrow', 'jinja2'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""


# ------------------------------------------------------------------------------- a loader and a suite

PROGRAMS = f"""
[models.old]
loader = "program"
command = [{sys.executable!r}, "-c", "print(eval(input()))"]
name = "python"
[models.new]
loader = "program"
command = [{sys.executable!r}, "-c", "print(eval(input().replace('+', '|')))"]
name = "a hasty rewrite"
[suites.sums]
suite = "sums"
count = 12
[gate]
[[gate.rules]]
metric = "nfr"
max = 0.02
"""


def test_programs_are_run_as_models_on_its_suite(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "update.toml").write_text(PROGRAMS)
    ran = run(installed, "run", "update.toml", "--json", "-", cwd=tmp_path)
    assert ran.code == 1, ran.err
    (suite,) = ran.json["comparison"]["suites"]
    assert (suite["suite"], suite["n_pairs"]) == ("sums", 12)
    assert suite["measures"]["accuracy_old"]["value"] == 1.0
    assert suite["measures"]["nfr"]["value"] > 0.5
    slices = {one["slice"] for one in ran.json["comparison"]["slices"]}
    assert slices == {"carry=no", "carry=yes"}
    again = run(installed, "predict", "-c", "update.toml", cwd=tmp_path)
    assert again.code == 0
    assert again.out.count("(0 answers asked for, 12 were there)") == 2


def test_a_program_that_fails_is_an_error_and_its_other_version_another_model(
    installed: Path, tmp_path: Path
) -> None:
    given = ["predict", "-m", "loader=program", "-m", f"command={sys.executable}", "-m", "command=-c"]
    given += ["-m", "command=raise SystemExit(3)", "-s", "suite=sums", "-s", "count=2"]
    ran = run(installed, *given, cwd=tmp_path)
    assert ran.code == 3
    assert "2 requests have no answer: the program failed: Command" in ran.out
    mended = [word.replace("raise SystemExit(3)", "print(1)") for word in given]
    for version in ("1", "2"):
        ran = run(installed, *mended, "-m", f"version={version}", cwd=tmp_path)
        assert ran.code == 0, ran.err
        assert "2 predictions (2 answers asked for, 0 were there)" in ran.out


def test_the_options_of_its_loader_are_checked(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "update.toml").write_text(PROGRAMS.replace("command", "comand", 1))
    ran = run(installed, "run", "update.toml", cwd=tmp_path)
    assert ran.code == 2
    assert "line 4: models.old.comand: there is no such option; did you mean 'command'?" in ran.err


MENDING = (
    PROGRAMS
    + """
[training.sums]
suite = "sums"
count = 30
digits = 3
seed = 9

[mitigations.leave-to-old]
"""
)


def test_its_mitigation_mends_the_update_and_is_judged_beside_its_control(
    installed: Path, tmp_path: Path
) -> None:
    text = MENDING.replace('suite = "sums"', 'suite = "sums"\ndigits = 3\nseed = 1', 1)
    (tmp_path / "update.toml").write_text(text.replace("count = 12\n", "count = 40\n"))
    ran = run(installed, "run", "update.toml", "--mend", "--json", "-", cwd=tmp_path)
    assert ran.code in (0, 1), ran.err
    update, mended, control = ran.json["candidates"]
    assert (update["role"], mended["role"], control["role"]) == ("update", "mitigation", "control")
    nfr = [one["suites"][0]["measures"]["nfr"]["value"] for one in (update, mended, control)]
    assert nfr[0] > nfr[1] >= nfr[2] == 0
    assert list((tmp_path / "mended").glob("leave-to-old-*/adapter"))


def test_its_training_data_may_not_be_judged(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "update.toml").write_text(
        PROGRAMS + '[training.sums]\nsuite = "sums"\n[mitigations.leave-to-old]\n'
    )
    ran = run(installed, "run", "update.toml", "--mend", cwd=tmp_path)
    assert ran.code == 2
    assert "training.sums: 12 of its 100 instances are judged too (0 is 0 of suites.sums)" in ran.err
    assert not (tmp_path / "mended").exists()
