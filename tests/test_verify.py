"""A report folder that holds is verified; each way of tampering with one is found and named."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_runner import muscle_gov
from helpers import all_plugins
from report_folders import keys, make

from muscle_gov.errors import InputError, StoreError
from muscle_gov.proof import folder as folders
from muscle_gov.proof import signing, verify
from muscle_gov.proof.signing import Signer, Trust
from muscle_gov.store import open_store
from muscle_gov.store.foreign import open_foreign

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


@pytest.mark.parametrize("option", ["--public-key", "--certificate-chain"])
@pytest.mark.parametrize(("name", "why"), [("no.pub", "no such file"), ("bad.pub", "cannot be used")])
def test_a_key_that_cannot_be_read_is_a_wrong_call_even_where_nothing_is_signed(
    there: Path, option: str, name: str, why: str
) -> None:
    (there.parent / "bad.pub").write_text("no key")
    ran = muscle_gov("verify", there, option, there.parent / name)
    assert ran.code == 2
    assert why in ran.sentence


def test_the_last_line_tells_the_verdict_and_whether_a_signature_was_checked(
    whole: Path, there: Path
) -> None:
    told = f"verified: {there} holds in all that was checked; its verdict is PASS"
    last = " ".join(muscle_gov("verify", there).out.split("✓")[-1].split())
    assert last.endswith(f"{told}; no signature was checked")
    assert muscle_gov("verify", there, "--json").json["verdict"] == "PASS"
    signing.sign(there, Signer(whole / "mine.pem"))
    signed = muscle_gov("verify", there, "--public-key", whole / "mine.pub.pem").out
    assert " ".join(signed.split()).endswith(told)
    manifest_verdict(there)
    assert muscle_gov("verify", there, "--json").json["verdict"] is None


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
    assert checks["reports"].outcome is verify.Outcome.FAILS
    assert "muscle-gov 0.1.0 then, 9.9 here" in checks["reports"].told
    assert checks["verdict"].outcome is verify.Outcome.HOLDS
    assert muscle_gov("verify", there).code == 3
    allowed = muscle_gov("verify", there, "--allow-other-version")
    last = " ".join(allowed.out.split("–")[-1].split())
    assert allowed.code == 0
    assert "verified in part: " in last
    assert "its reports were not checked; its verdict is PASS" in last


def version(value: Any) -> Edit:
    """The manifest tells another version of this program, or none."""

    def edit(folder: Path) -> None:
        manifest = json.loads((folder / folders.MANIFEST).read_text("utf-8"))
        manifest["written_by"] = value if value is None else {**manifest["written_by"], **value}
        if value == {}:
            manifest["written_by"] = {}
        (folder / folders.MANIFEST).write_text(json.dumps(manifest), "utf-8")

    return edit


def unlisted(*names: str) -> Edit:
    """These files are gone, from the manifest too."""

    def edit(folder: Path) -> None:
        manifest = json.loads((folder / folders.MANIFEST).read_text("utf-8"))
        manifest["files"] = [one for one in manifest["files"] if one["path"] not in names]
        for name in names:
            (folder / name).unlink()
        (folder / folders.MANIFEST).write_text(json.dumps(manifest), "utf-8")

    return edit


def added(folder: Path) -> None:
    (folder / "sign-off.pdf").write_text("approved")
    manifest = json.loads((folder / folders.MANIFEST).read_text("utf-8"))
    manifest["files"].append({"path": "sign-off.pdf", "format": "pdf", "sha256": "", "bytes": 0})
    (folder / folders.MANIFEST).write_text(json.dumps(manifest), "utf-8")
    mend_manifest(folder)


OLDER: dict[str, tuple[Edit, str]] = {
    "a file more": (added, "sign-off.pdf: nothing here writes it"),
    "a report less": (unlisted("report.html"), "report.html: is missing, but follows"),
    "no list of rows": (unlisted(folders.ROWS), "rows.parquet: is missing, but follows"),
    "another list of rows": (
        mended(lambda folder: shutil.copy(folder / "flips.parquet", folder / folders.ROWS)),
        "rows.parquet: differs",
    ),
    "another policy": (mended(in_file("policy.json", '"max": 0.5', '"max": 0.9')), "policy.json: line"),
    "another waiver": (mended(in_file("waivers.json", "data owner", "x")), "waivers.json: line"),
    "another quarantine": (
        mended(in_file("quarantine.json", "two answers", "x")),
        "quarantine.json: line",
    ),
    "another format": (in_file(folders.MANIFEST, '"format": "html"', '"format": "pdf"'), ""),
}


@pytest.mark.parametrize("what", OLDER)
def test_telling_of_another_version_excuses_the_reports_alone(there: Path, what: str) -> None:
    edit, words = OLDER[what]
    edit(there)
    version({"muscle-gov": "0.0.9"})(there)
    checks = verify.verify(there, Trust(), None, all_plugins(), may_be_other=True)
    assert not verify.holds(checks)
    assert words in failed(checks).get("reports", "")


def test_another_version_alone_is_excused_only_if_asked(there: Path) -> None:
    mended(html_number)(there)
    version({"muscle-gov": "0.0.9"})(there)
    assert "reports" in failed(checked(there))
    checks = verify.verify(there, Trust(), None, all_plugins(), may_be_other=True)
    assert verify.holds(checks)
    assert checks[-1].outcome is verify.Outcome.SKIPPED


@pytest.mark.parametrize("value", [None, {}, {"muscle-gov": 9}])
def test_a_manifest_must_tell_what_wrote_it(there: Path, value: Any) -> None:
    version(value)(there)
    assert "written_by" in failed(checked(there))["files"]


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


def in_manifest(change: Callable[[dict[str, Any]], Any]) -> Edit:
    def edit(folder: Path) -> None:
        manifest = json.loads((folder / folders.MANIFEST).read_text("utf-8"))
        change(manifest)
        (folder / folders.MANIFEST).write_text(json.dumps(manifest), "utf-8")

    return edit


def twice(manifest: dict[str, Any]) -> None:
    manifest["files"].insert(0, manifest["files"][0] | {"sha256": "0" * 64})


UNTRUE: dict[str, tuple[Edit, str]] = {
    "bytes": (in_manifest(lambda m: m["files"][0].update(bytes=1)), "bytes; the manifest tells 1"),
    "format": (in_manifest(lambda m: m["files"][1].update(format="pdf")), "is 'pdf'; the rows give"),
    "path of the store": (in_manifest(lambda m: m["store"].update(path="x")), "store.path: is 'x'"),
    "a key more": (in_manifest(lambda m: m.update(signed_off_by="x")), "'signed_off_by': is no part"),
    "a key less": (in_manifest(lambda m: m.pop("not_made")), "not_made: is missing"),
    "a key more of a file": (in_manifest(lambda m: m["files"][0].update(ok=1)), "does not tell of"),
    "a file twice": (in_manifest(twice), "twice"),
    "a library less": (
        in_manifest(lambda m: m["written_by"].pop("duckdb")),
        "does not tell of 'duckdb'",
    ),
    "a library more": (in_manifest(lambda m: m["written_by"].update(evil="6")), "tells of 'evil'"),
    "a version as a float": (in_manifest(lambda m: m.update(schema_version=1.0)), "in another form"),
    "an unknown option": (in_manifest(lambda m: m["options"].update(x={"y": 1})), "'x' is no format"),
    "a key twice": (
        in_file(folders.MANIFEST, '"status": "PASS"', '"status": "FAIL", "status": "PASS"'),
        "has the key 'status' twice",
    ),
    "no number": (in_file(folders.MANIFEST, '"exit_code": 0', '"exit_code": NaN'), "NaN is no number"),
    "when the store was made": (
        in_store("UPDATE migrations SET applied_at = '1999-01-01'"),
        "table migrations: was edited",
    ),
    "what made the store": (
        in_store("UPDATE migrations SET tool_version = 'x'"),
        "table migrations: was edited",
    ),
}


@pytest.mark.parametrize("what", UNTRUE)
def test_every_field_of_the_manifest_is_compared(there: Path, what: str) -> None:
    edit, words = UNTRUE[what]
    edit(there)
    checks = checked(there)
    assert not verify.holds(checks)
    assert words in "\n".join(failed(checks).values())


def test_a_manifest_that_is_a_pipe_a_link_or_endless_ends_verify(there: Path) -> None:
    manifest = there / folders.MANIFEST
    content = manifest.read_bytes()
    (there.parent / "outside.json").write_bytes(content)

    def becomes(make: Callable[[], object]) -> str:
        manifest.unlink()
        make()
        ran = muscle_gov("verify", there, "--json")
        assert ran.code == 3
        return str(ran.json["checks"][1]["problems"])

    assert "is a link, a folder or a pipe" in becomes(lambda: os.mkfifo(manifest))
    assert "is a link" in becomes(lambda: manifest.symlink_to(there.parent / "outside.json"))
    assert "nested too deeply" in becomes(lambda: manifest.write_text("[" * 200_000))
    assert "is larger than 64 MiB" in becomes(lambda: manifest.write_bytes(b" " * (64 * 2**20 + 1)))
    manifest.write_bytes(content)
    (there / "report.md").unlink()
    os.mkfifo(there / "report.md")
    assert "report.md: is missing" in failed(checked(there))["files"]


def test_a_link_shows_nothing_of_what_it_leads_to(there: Path) -> None:
    (there.parent / "secret").write_text("the secret")
    for name in ("report.md", folders.ROWS, folders.STORE):
        (there / name).unlink()
        (there / name).symlink_to(there.parent / "secret")
    found = failed(checked(there))
    assert "evidence.duckdb: is a link" in found["rows"]
    assert "report.md: is a link" in found["files"]
    assert "the secret" not in str(found)


def test_with_a_signature_that_does_not_hold_the_store_is_not_opened(
    whole: Path, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signing.sign(there, Signer(whole / "other.pem"))
    monkeypatch.setattr(verify, "open_foreign", None)  # so that opening one would break
    checks = checked(there, Trust(whole / "mine.pub.pem"), there.parent / "store.duckdb")
    assert list(failed(checks)) == ["signature"]
    skipped = [check.name for check in checks if check.outcome is verify.Outcome.SKIPPED]
    assert skipped == ["rows", "verdict", "queries", "reports", "store"]


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


HIDDEN = "A perfectly fine answer"
SHADOWS = (
    f"""CREATE MACRO sha256(x) AS
    system.main.sha256(replace(x::VARCHAR, '{HIDDEN}', 'The answer of new to 1'))""",
    """CREATE MACRO duckdb_functions() AS TABLE
    SELECT * FROM system.main.duckdb_functions() WHERE internal""",
)
"""Macros that give an edited row the digest it had, and hide themselves."""


def forge(folder: Path) -> None:
    """An answer becomes another one, macros hide it, and the folder is made again from that."""
    id_ = json.loads((folder / folders.MANIFEST).read_text("utf-8"))["comparison"]["id"]
    in_store(f"UPDATE prediction_texts SET output = '{HIDDEN}' WHERE output = 'The answer of new to 1'")(
        folder
    )
    for macro in SHADOWS:
        in_store(macro)(folder)
    with open_store(folder / folders.STORE, read_only=True) as store:
        made = folders.contents_of(store, all_plugins(), id_)
    for name, content in made.files.items():
        (folder / name).write_bytes(content)
    (folder / folders.MANIFEST).write_bytes(folders.as_json(made.manifest))


def test_macros_cannot_hide_an_edited_row_even_from_the_original_store(there: Path) -> None:
    forge(there)
    assert HIDDEN in (there / "report.html").read_text("utf-8")
    checks = checked(there, original=there.parent / "store.duckdb")
    assert not verify.holds(checks)
    assert "macro sha256 is added" in failed(checks)["rows"]
    assert "macro duckdb_functions is added" in failed(checks)["rows"]


def test_macros_in_the_store_to_compare_with_are_refused(there: Path) -> None:
    original = there.parent / "store.duckdb"
    with open_store(original) as store:
        store.run(SHADOWS[0])
    assert "holds macros" in failed(checked(there, original=original))["store"]


STRANGE = {
    "a schema": ("CREATE SCHEMA evil", "schema evil is added"),
    "a table of another schema": (
        "CREATE SCHEMA evil; CREATE TABLE evil.predictions AS FROM main.predictions",
        "table evil.predictions is added",
    ),
    "a table": ("CREATE TABLE more (x INTEGER)", "table more is added"),
    "a type": ("CREATE TYPE more AS ENUM ('a')", "type more is added"),
    "a sequence": ("CREATE SEQUENCE more", "sequence more is added"),
    "an index": ("CREATE INDEX more ON runs (run_id)", "index more is added"),
    "a view": ("CREATE VIEW more AS SELECT 1", "view more is added"),
    "another view": ("CREATE OR REPLACE VIEW flips AS SELECT 1", "view flips is changed"),
    "a column": ("ALTER TABLE tags ADD COLUMN more INTEGER", "table tags is changed"),
    "a comment": ("COMMENT ON TABLE runs IS 'approved'", "table runs is changed"),
    "a table macro": ("CREATE MACRO avg(x) AS TABLE SELECT 0", "macro avg is added"),
    "a table less": ("DROP TABLE prompts", "table prompts is missing"),
}


@pytest.mark.parametrize("what", STRANGE)
def test_whatever_a_new_store_has_not_is_refused(there: Path, what: str) -> None:
    sql, words = STRANGE[what]
    in_store(sql)(there)
    assert words in failed(checked(there))["rows"]


@pytest.mark.parametrize(
    "source", ["SELECT trim(content)::INTEGER FROM read_text('{}')", "SELECT count(*) FROM glob('{}*')"]
)
def test_a_view_in_the_place_of_the_migrations_reads_no_file(
    there: Path, tmp_path: Path, source: str
) -> None:
    """They are the first that is looked at when a store is opened."""
    secret = tmp_path / "secret.txt"
    secret.write_text("4242")
    with open_store(there / folders.STORE) as store:
        store.run("ALTER TABLE migrations RENAME TO others")
        store.run(
            f"""CREATE VIEW migrations AS SELECT ({source.format(secret)}) AS number, '' AS name,
            TIMESTAMP '2020-01-01' AS applied_at, '' AS tool_version"""
        )
    found = failed(checked(there))
    assert "migrations is" in found["rows"]
    assert "4242" not in str(found)
    with (
        pytest.raises(StoreError, match="other tables"),
        open_foreign(there / folders.STORE),
    ):
        pass


def test_a_foreign_store_reaches_no_file_from_its_first_moment(there: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("x")
    with open_foreign(there / folders.STORE) as store:
        assert store.rows("SELECT count(*) FROM predictions")[0][0] > 0
        for sql in (
            f"SELECT * FROM read_text('{tmp_path}/secret.txt')",
            f"SELECT * FROM glob('{tmp_path}/*')",
            "SET enable_external_access = true",
        ):
            with pytest.raises(StoreError):
                store.rows(sql)
