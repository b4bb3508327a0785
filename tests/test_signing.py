"""Signatures: by the specification, so that its own tool checks them, and told in sentences."""

from __future__ import annotations

import base64
import datetime
import json
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from report_folders import keys

from muscle_gov.errors import InputError, UsageError
from muscle_gov.proof import signing
from muscle_gov.proof.signing import SIGNATURE, Signer, Trust


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "it's a folder"
    (made / "deep").mkdir(parents=True)
    (made / "a").write_text("a")
    (made / ".hidden").write_text("h")
    (made / "deep" / "b, c").write_text("b")
    return made


def test_the_specifications_own_tool_takes_it(folder: Path, tmp_path: Path) -> None:
    secret, public = keys(tmp_path)
    place = signing.sign(folder, Signer(secret))
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(folder)]
    command += ["--signature", str(place), "--public_key", str(public)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    statement = json.loads(base64.b64decode(json.loads(place.read_text())["dsseEnvelope"]["payload"]))
    assert [one["name"] for one in statement["predicate"]["resources"]] == [".hidden", "a", "deep/b, c"]
    assert statement["predicate"]["serialization"]["ignore_paths"] == [SIGNATURE]


def test_a_folder_may_be_moved_and_signed_again(folder: Path, tmp_path: Path) -> None:
    secret, public = keys(tmp_path)
    signing.sign(folder, Signer(secret))
    moved = folder.rename(tmp_path / "elsewhere")
    assert signing.problems_of(moved, Trust(public)) == []
    (moved / "new").write_text("x")
    signing.sign(moved, Signer(secret))
    assert signing.problems_of(moved, Trust(public)) == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["elsewhere"]


def test_each_changed_file_is_named(folder: Path, tmp_path: Path) -> None:
    secret, public = keys(tmp_path)
    signing.sign(folder, Signer(secret))
    (folder / "a").write_text("b")
    (folder / "deep" / "b, c").unlink()
    (folder / "more").write_text("x")
    assert signing.problems_of(folder, Trust(public)) == [
        "a: was changed after it was signed",
        "deep/b, c: is missing, but was signed",
        "more: was added after the rest was signed",
    ]


DAMAGE = ("", "{}", "[]", "junk", '{"dsseEnvelope": {}}')


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_signature_is_a_sentence(folder: Path, tmp_path: Path, damage: str) -> None:
    secret, public = keys(tmp_path)
    signing.sign(folder, Signer(secret)).write_text(damage)
    (problem,) = signing.problems_of(folder, Trust(public))
    assert problem.startswith("model.sig: is no signature of this kind, or is damaged")


def test_an_edited_signature_does_not_hold(folder: Path, tmp_path: Path) -> None:
    secret, public = keys(tmp_path)
    place = signing.sign(folder, Signer(secret))
    bundle = json.loads(place.read_text())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["serialization"]["ignore_paths"].append("a")
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    place.write_text(json.dumps(bundle))
    (folder / "a").write_text("changed")
    assert signing.problems_of(folder, Trust(public)) == [
        "model.sig: was edited, or made with another key"
    ]


def test_what_whoever_signed_left_out_is_told(folder: Path, tmp_path: Path) -> None:
    from model_signing import hashing
    from model_signing import signing as library

    secret, public = keys(tmp_path)
    config = hashing.Config().set_ignored_paths(paths=[Path(SIGNATURE), Path("a")])
    made = library.Config().set_hashing_config(config)
    made.use_elliptic_key_signer(private_key=secret).sign(folder, folder / SIGNATURE)
    (folder / "a").write_text("changed")
    assert signing.problems_of(folder, Trust(public)) == [
        "a: is left out by the signature, so it is not covered"
    ]


# -------------------------------------------------------------------------------------- certificates


def certificate(
    folder: Path,
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: tuple[str, ec.EllipticCurvePrivateKey],
) -> Path:
    """A certificate of a key; its own issuer is a root."""
    is_root = issuer[0] == name
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer[0])]
    begin = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "crl_sign",
         "encipher_only", "decipher_only"), False
    )  # fmt: skip
    made = (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(len(name) + 1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=3650))
        .add_extension(x509.BasicConstraints(is_root, None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not is_root, key_cert_sign=is_root, **usage), critical=True
        )
        .sign(issuer[1], hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_certificate_below_a_root_that_is_trusted(folder: Path, tmp_path: Path) -> None:
    secret, public = keys(tmp_path)
    key = serialization.load_pem_private_key(secret.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    roots = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("root", "another")}
    trusted, other = (certificate(tmp_path, name, of, (name, of)) for name, of in roots.items())
    mine = certificate(tmp_path, "release owner", key, ("root", roots["root"]))
    signing.sign(folder, Signer(secret, certificate=mine))
    assert signing.problems_of(folder, Trust(certificates=(trusted,))) == []
    (problem,) = signing.problems_of(folder, Trust(certificates=(other,)))
    assert "unable to get local issuer certificate" in problem
    assert signing.problems_of(folder, Trust(public)) == [
        "model.sig: was made with a certificate and not with a bare key"
    ]


# ------------------------------------------------------------------------------------ keys that cannot


def test_a_key_with_a_password(folder: Path, tmp_path: Path) -> None:
    _, public = keys(tmp_path)
    key = ec.generate_private_key(ec.SECP256R1())
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    for password in (None, "wrong"):
        with pytest.raises(UsageError, match=r"locked\.pem: cannot be used"):
            signing.sign(folder, Signer(locked, password))
    signing.sign(folder, Signer(locked, "secret"))
    assert "another key" in signing.problems_of(folder, Trust(public))[0]


def test_a_key_of_another_kind(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "rsa.pem"
    path.write_bytes(
        rsa.generate_private_key(65537, 2048).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    with pytest.raises(UsageError, match="no key on an elliptic curve"):
        signing.sign(folder, Signer(path))
    assert not (folder / SIGNATURE).exists()


def test_a_key_is_not_signed_along(folder: Path) -> None:
    secret, _ = keys(folder)
    with pytest.raises(UsageError, match="keep keys elsewhere"):
        signing.sign(folder, Signer(secret))


def test_nothing_to_sign(tmp_path: Path) -> None:
    secret, _ = keys(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="is empty"):
        signing.sign(tmp_path / "empty", Signer(secret))


def test_without_the_extra_it_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, public = keys(tmp_path)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(UsageError, match=r"pip install 'muscle-gov\[signing\]'"):
        signing.sign(folder, Signer(secret))
    with pytest.raises(UsageError, match=r"pip install 'muscle-gov\[signing\]'"):
        signing.problems_of(folder, Trust(public))
