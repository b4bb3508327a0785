"""A report folder that holds is verified; each way of tampering with one is found and named."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_runner import muscle_gov
from helpers import all_plugins
from report_folders import keys, make

from muscle_gov.errors import InputError
from muscle_gov.proof import folder as folders
from muscle_gov.proof import signing, verify
from muscle_gov.proof.signing import Signer, Trust
from muscle_gov.store import open_store

Edit = Callable[[Path], None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report folder, the store it was made from, and two pairs of keys. Not to be changed."""
    place = tmp_path_factory.mktemp("whole")
    with open_store(place / "store.duckdb") as store:
        make(store, place / "report", place / "logs")
    for name in ("mine", "other"):
        keys(place, name)
    return place


@pytest.fixture
def there(whole: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy that a test may spoil."""
    shutil.copytree(whole / "report", tmp_path / "report")
    shutil.copy(whole / "store.duckdb", tmp_path / "store.duckdb")
    return tmp_path / "report"


def checked(
    folder: Path, trust: Trust | None = None, original: Path | None = None
) -> list[verify.Check]:
    return verify.verify(folder, trust or Trust(), original, all_plugins())


def failed(checks: list[verify.Check]) -> dict[str, str]:
    """Check that fails → its problems."""
    return {c.name: "\n".join(c.problems) for c in checks if c.outcome is verify.Outcome.FAILS}


def in_store(sql: str) -> Edit:
    def edit(folder: Path) -> None:
        with open_store(folder / folders.STORE) as store:
            store.run(sql)

    return edit


def in_file(name: str, old: str, new: str) -> Edit:
    def edit(folder: Path) -> None:
        text = (folder / name).read_text("utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1), "utf-8")

    return edit


def mend_manifest(folder: Path) -> None:
    """Give every file in the manifest the digest that it has now."""
    manifest = json.loads((folder / folders.MANIFEST).read_text("utf-8"))
    for one in manifest["files"]:
        content = (folder / one["path"]).read_bytes()
        one |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / folders.MANIFEST).write_text(json.dumps(manifest), "utf-8")


def mended(edit: Edit) -> Edit:
    def both(folder: Path) -> None:
        edit(folder)
        mend_manifest(folder)

    return both


def html_number(folder: Path) -> None:
    """The first percentage on the page becomes another one."""
    text = (folder / "report.html").read_text("utf-8")
    body = text.index("<body")
    match = re.compile(r">(\d+(?:\.\d+)?)\s?%").search(text, body)
    assert match is not None
    changed = f"{text[: match.start(1)]}77.7{text[match.end(1) :]}"
    (folder / "report.html").write_text(changed, "utf-8")


def json_verdict(folder: Path) -> None:
    document = json.loads((folder / "report.json").read_text("utf-8"))
    document["verdict"]["status"] = "FAIL"
    (folder / "report.json").write_text(json.dumps(document), "utf-8")


def another_report(folder: Path) -> None:
    """The report of another comparison of the same models."""
    with open_store(":memory:") as store:
        make(store, folder.parent / "other", folder.parent / "logs")
    shutil.copy(folder.parent / "other" / "report.html", folder / "report.html")


def deep_file(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "x").write_text("x")


def write(name: str, content: str) -> Edit:
    def edit(folder: Path) -> None:
        (folder / name).write_text(content)

    return edit


def manifest_verdict(folder: Path) -> None:
    manifest = json.loads((folder / folders.MANIFEST).read_text("utf-8"))
    manifest["verdict"]["reason"] = "all is well"
    (folder / folders.MANIFEST).write_text(json.dumps(manifest), "utf-8")


TAMPERINGS: dict[str, tuple[Edit, dict[str, list[str]]]] = {
    # what is done → check that must fail → words that it must say
    "a score": (
        in_store("UPDATE predictions SET score = 0.25 WHERE ordinal = 5"),
        {"rows": ["law, old: answer '4': was edited", "table predictions: was edited"]},
    ),
    "an outcome": (
        in_store(
            """UPDATE predictions SET outcome = 'right' WHERE outcome = 'wrong' AND ordinal = 2
            AND run_id IN (SELECT new_run_id FROM compared_runs)"""
        ),
        {
            "rows": ["law, new: answer '1': was edited", "routing, new"],
            "verdict": ["measures of", "[law accuracy_new].value: is 0.", "report.json.comparison"],
            "reports": ["report.html", "report.md"],
        },
    ),
    "an answer's text": (
        in_store("UPDATE prediction_texts SET answer = 'b!' WHERE answer = 'b'"),
        {"rows": ["was edited"], "reports": ["flips.csv"]},
    ),
    "a deleted row": (
        in_store(
            """DELETE FROM predictions WHERE ordinal = 9 AND run_id =
            (SELECT new_run_id FROM compared_runs JOIN suites USING (suite_id) WHERE name = 'law')"""
        ),
        {
            "rows": [
                "answers of law, new: 59 rows, should be 60",
                "law, new: answer '8': was deleted",
                "table predictions: has",
            ]
        },
    ),
    "a tag": (
        in_store("UPDATE tags SET value = '9' WHERE value = '2'"),
        {"rows": ["instances of", "instance '2': was edited", "table tags"]},
    ),
    "a number in the page": (html_number, {"files": ["report.html: was changed"], "reports": ["77.7"]}),
    "a number in the page and the manifest": (mended(html_number), {"reports": ["report.html", "77.7"]}),
    "the verdict in the JSON and the manifest": (
        mended(json_verdict),
        {
            "verdict": ["report.json.verdict.status: is 'FAIL'; the rows give 'PASS'"],
            "reports": ["report.json"],
        },
    ),
    "a waiver": (
        mended(in_file("waivers.json", "data owner", "somebody")),
        {"verdict": ["waivers.json", "owner: is 'somebody'; the rows give 'data owner'"]},
    ),
    "a limit of the policy": (
        mended(in_file("policy.json", '"max": 0.5', '"max": 0.9')),
        {"verdict": ["policy.json.gate.rules[0: nfr].max: is 0.9; the rows give 0.5"]},
    ),
    "a limit of the policy in the store": (
        in_store(
            "UPDATE verdicts SET policy = replace(policy::VARCHAR, '\"max\": 0.5', '\"max\": 0.001')"
        ),
        {
            "rows": ["table verdicts: was edited"],
            "verdict": [
                "verdicts of",
                "status: is 'PASS'; the rows give 'FAIL'",
                "manifest.json verdict.status",
            ],
        },
    ),
    "the verdict in the store": (
        in_store("UPDATE verdicts SET status = 'FAIL', exit_code = 1"),
        {"rows": ["table verdicts"], "verdict": ["status: is 'FAIL'; the rows give 'PASS'"]},
    ),
    "a figure in the store": (
        in_store("UPDATE measures SET value = 0.001 WHERE metric = 'nfr' AND suite = 'law'"),
        {"verdict": ["measures of", "law nfr", "is 0.001; the rows give"]},
    ),
    "the view of flips": (
        in_store("CREATE OR REPLACE VIEW flips AS SELECT 1 AS nothing"),
        {"rows": ["other tables, views or columns"]},
    ),
    "another report": (mended(another_report), {"reports": ["report.html"]}),
    "an extra file": (
        write("note.txt", "x"),
        {"files": ["note.txt: is not in the manifest"]},
    ),
    "a link": (
        lambda folder: (folder / "link").symlink_to("report.md"),
        {"files": ["link: is a link"]},
    ),
    "a file in a folder of its own": (
        deep_file,
        {"files": ["deep: is not in the manifest", "deep/x"]},
    ),
    "a removed file": (
        lambda folder: (folder / "flips.csv").unlink(),
        {"files": ["flips.csv: is missing"], "reports": ["flips.csv: is missing"]},
    ),
    "a removed store": (
        lambda folder: (folder / folders.STORE).unlink(),
        {"files": ["evidence.duckdb: is missing"], "rows": ["there is no store"]},
    ),
    "a store that is none": (
        write(folders.STORE, "x" * 5000),
        {"rows": ["is not a muscle-gov store"]},
    ),
    "the manifest": (
        manifest_verdict,
        {"verdict": ["manifest.json verdict.reason: is 'all is well'; the rows give"]},
    ),
    "a manifest that is none": (
        write(folders.MANIFEST, "{}"),
        {"files": ["manifest.json: is no manifest"]},
    ),
    "no manifest": (
        lambda folder: (folder / folders.MANIFEST).unlink(),
        {"files": ["manifest.json: is missing"]},
    ),
    "a path out of the folder": (
        in_file(folders.MANIFEST, '"flips.csv"', '"../flips.csv"'),
        {"files": ["'../flips.csv', which is no file in it"]},
    ),
}


def test_what_was_not_touched_holds(there: Path) -> None:
    checks = checked(there, original=there.parent / "store.duckdb")
    assert failed(checks) == {}
    assert verify.holds(checks)
    outcomes = {check.name: check.outcome.value for check in checks}
    assert outcomes.pop("signature") == "not checked"
    assert outcomes == dict.fromkeys(
        ("files", "rows", "verdict", "queries", "reports", "store"), "holds"
    )


@pytest.mark.parametrize("what", TAMPERINGS)
def test_tampering_is_found_and_named(there: Path, what: str) -> None:
    edit, expected = TAMPERINGS[what]
    edit(there)
    if not (there / folders.MANIFEST).exists():
        signing.sign(there, Signer(keys(there.parent)[0]))  # else there would be nothing to check at all
    checks = checked(there)
    assert not verify.holds(checks)
    found = failed(checks)
    for name, wanted in expected.items():
        for words in wanted:
            assert words in found.get(name, ""), (words, found)


@pytest.mark.parametrize("what", TAMPERINGS)
def test_a_signature_finds_each_of_them_by_itself(whole: Path, there: Path, what: str) -> None:
    signing.sign(there, Signer(whole / "mine.pem"))
    assert signing.problems_of(there, Trust(whole / "mine.pub.pem")) == []
    TAMPERINGS[what][0](there)
    problems = signing.problems_of(there, Trust(whole / "mine.pub.pem"))
    assert problems
    assert all(re.search("was changed|was added|is missing|is a link", one) for one in problems)


def test_a_signature_by_another_key(whole: Path, there: Path) -> None:
    signing.sign(there, Signer(whole / "other.pem"))
    found = failed(checked(there, Trust(whole / "mine.pub.pem")))
    assert "model.sig: was made with another key" in found["signature"]


def test_a_signature_that_is_asked_for_must_be_there(whole: Path, there: Path) -> None:
    found = failed(checked(there, Trust(whole / "mine.pub.pem")))
    assert found == {"signature": "model.sig: is missing"}


def test_a_signature_that_nobody_asks_for_is_told(whole: Path, there: Path) -> None:
    signing.sign(there, Signer(whole / "mine.pem"))
    checks = checked(there)
    assert verify.holds(checks)
    assert checks[0].outcome is verify.Outcome.SKIPPED
    assert "model.sig is there" in checks[0].told


def test_an_adapters_folder_is_checked_by_its_signature(whole: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="nothing to check"):
        checked(adapter)
    signing.sign(adapter, Signer(whole / "mine.pem"))
    assert verify.holds(checked(adapter, Trust(whole / "mine.pub.pem")))
    assert not verify.holds(checked(adapter))  # a signature that was not looked at shows nothing
    (adapter / "adapter_model.safetensors").write_bytes(b"others")
    found = failed(checked(adapter, Trust(whole / "mine.pub.pem")))
    assert found["signature"] == "adapter_model.safetensors: was changed after it was signed"


STORE_EDITS = {
    "a row": ("UPDATE predictions SET score = 0.5 WHERE ordinal = 3", "answers of law, new"),
    "the verdict": ("UPDATE verdicts SET status = 'FAIL'", "status: is 'FAIL'; the folder says 'PASS'"),
    "no verdict": ("DELETE FROM verdicts", "no verdict on"),
    "no comparison": ("DELETE FROM comparison_runs", "holds no comparison"),
}


@pytest.mark.parametrize("what", STORE_EDITS)
def test_the_original_store_must_tell_the_same(there: Path, what: str) -> None:
    original = there.parent / "store.duckdb"
    sql, words = STORE_EDITS[what]
    with open_store(original) as store:
        store.run(sql)
    assert words in failed(checked(there, original=original))["store"]


def test_another_version_does_not_pass_for_checked(there: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(*_: Any) -> dict[str, str]:
        return {"muscle-gov": "9.9"}

    monkeypatch.setattr(folders, "_written_by", other)
    checks = {check.name: check for check in checked(there)}
    assert checks["reports"].outcome is verify.Outcome.SKIPPED
    assert "muscle-gov 0.1.0 then, 9.9 here" in checks["reports"].told
    assert checks["verdict"].outcome is verify.Outcome.HOLDS


def test_the_command_names_what_fails_and_exits_3(whole: Path, there: Path) -> None:
    # the folder was judged with a reader of the tests, its metrics and formats are installed
    good = muscle_gov("verify", there)
    assert good.code == 0, good.out
    assert "verified:" in good.out
    assert "✓ reports" in good.out
    html_number(there)
    bad = muscle_gov("verify", there, "--json")
    assert bad.code == 3
    assert bad.json["holds"] is False
    assert [c["name"] for c in bad.json["checks"] if c["outcome"] == "fails"] == ["files", "reports"]
    told = muscle_gov("verify", there, "--public-key", whole / "mine.pub.pem")
    assert told.code == 3
    assert "✗ signature" in told.out
    assert "report.html: was changed" in told.out
    assert "not verified" in told.out


def test_the_commands_sign_and_verify(whole: Path, there: Path) -> None:
    assert muscle_gov("sign", there, "--key", whole / "mine.pem").code == 0
    assert muscle_gov("verify", there, "--public-key", whole / "mine.pub.pem").code == 0
    assert muscle_gov("verify", there, "--public-key", whole / "other.pub.pem").code == 3


BAD = {
    ("verify", "nowhere"): "is not a folder",
    ("sign", "nowhere", "--key", "mine.pem"): "is not a folder",
    ("sign", "report", "--key", "nowhere.pem"): "there is no such file",
    ("sign", "report", "--key", "mine.pub.pem"): "cannot be used as a key",
    ("sign", "report", "--key", "mine.pem", "--password-env", "NOT_THERE"): "no environment variable",
    (
        "sign",
        "report",
        "--key",
        "mine.pem",
        "--certificate-chain",
        "mine.pem",
    ): "belongs to a --certificate",
    ("verify", "report", "--public-key", "a", "--certificate-chain", "b"): "not both",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input_is_one_sentence(whole: Path, words: tuple[str, ...]) -> None:
    ran = muscle_gov(*(whole / w if w.endswith(("report", "pem", "nowhere")) else w for w in words))
    assert ran.code == 2
    assert BAD[words] in ran.sentence


def test_a_link_is_not_signed(whole: Path, there: Path) -> None:
    (there / "link").symlink_to("report.md")
    ran = muscle_gov("sign", there, "--key", whole / "mine.pem")
    assert ran.code == 2
    assert "is a link" in ran.sentence


def manifest_with(part: str, value: Any) -> Edit:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / folders.MANIFEST).read_text("utf-8"))
        manifest[part] = value
        (folder / folders.MANIFEST).write_text(json.dumps(manifest), "utf-8")

    return edit


BROKEN: dict[str, Edit] = {
    **{
        f"manifest {part} {value!r}": manifest_with(part, value)
        for part in ("comparison", "verdict", "files", "not_made", "options", "config", "written_by")
        for value in ("x", [1])
    },
    "manifest evidence": manifest_with("evidence", [{"kind": "suite"}]),
    "manifest store": manifest_with("store", {"tables": {"predictions": 3}}),
    "manifest schema": manifest_with("schema_version", 2),
    "manifest bytes": write(folders.MANIFEST, "\ud7ff["),
    "rows": write(folders.ROWS, "no parquet"),
    "rules": in_store("UPDATE verdicts SET rules = '[1]'"),
    "policy": in_store("UPDATE verdicts SET policy = '{}'"),
    "settings": in_store("UPDATE comparisons SET settings = '{}'"),
    "header": in_store("UPDATE runs SET header = '[]'"),
    "sources": in_store("UPDATE imports SET sources = '[3]'"),
    "no runs": in_store("DELETE FROM runs"),
    "no comparisons": in_store("DELETE FROM comparisons"),
    "no verdicts": in_store("DELETE FROM verdicts"),
    "a table less": in_store("DROP TABLE prompts"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_whatever_is_broken_fails_in_a_sentence(there: Path, what: str) -> None:
    BROKEN[what](there)
    checks = checked(there)
    assert not verify.holds(checks)
    assert all(problem and "\n" not in problem for check in checks for problem in check.problems)


def test_a_hostile_store_reaches_nothing_outside(there: Path, tmp_path: Path) -> None:
    """A view in the place of a table could read any file of whoever verifies."""
    secret = tmp_path / "secret.csv"
    secret.write_text("run_id,place\n1,2\n")
    with open_store(there / folders.STORE) as store:
        store.run("DROP TABLE bad_lines")
        store.run(f"CREATE VIEW bad_lines AS SELECT * FROM read_csv('{secret}')")
        store.run(f"CREATE VIEW more AS SELECT * FROM read_csv('{secret}')")
    found = failed(checked(there))
    assert "rows" in found
    assert "other tables" in found["rows"] or "bad_lines" in found["rows"]
    assert "run_id,place" not in str(found)
