"""Signatures of folders by the OpenSSF Model Signing specification, offline, by key or by certificate.

The signature lies in the folder as `model.sig` and covers every other file in it; `model_signing verify`
checks it as well as `muscle-gov verify` does. Needs the extra `signing`, loaded when it is used.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muscle_gov.errors import InputError, OutputError, UsageError

SIGNATURE = "model.sig"
_MISSING = (
    "signatures need the extra `signing`, which is not installed: pip install 'muscle-gov[signing]'"
)


@dataclass(frozen=True)
class Signer:
    """Who signs."""

    key: Path
    """Private key on an elliptic curve, PEM."""
    password: str | None = None
    """Of the key, where it is encrypted."""
    certificate: Path | None = None
    """The certificate of the key, PEM; None where whoever verifies has the public key."""
    chain: tuple[Path, ...] = ()
    """Certificates between that one and a root, PEM."""


@dataclass(frozen=True)
class Trust:
    """Whom a signature must be of: the holder of a key, or of a certificate below these."""

    public_key: Path | None = None
    certificates: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return self.public_key is not None or bool(self.certificates)


def sign(folder: Path, signer: Signer) -> Path:
    """Sign every file in the folder; returns where the signature is. An earlier one is replaced.

    Raises UsageError without the extra or for a key that cannot sign, InputError for a folder that
    cannot be signed (links, no files), OutputError if the signature could not be written.
    """
    signing, _, hashing = _library()
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder")
    if not any(path.name != SIGNATURE for path in folder.iterdir()):
        raise InputError(f"{folder}: is empty, so there is nothing to sign")
    _refuse_links(folder)
    for path in (signer.key, signer.certificate, *signer.chain):
        _check_file(path)
        if path is not None and path.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"{path}: lies in the folder that is to be signed; keep keys elsewhere")
    config = signing.Config().set_hashing_config(_hashed(hashing))
    with _told_key(signer.key):
        if signer.certificate is None:
            # the library says text, and hands it on to what takes bytes
            password = signer.password.encode() if signer.password is not None else None
            config.use_elliptic_key_signer(private_key=signer.key, password=password)
        elif signer.password is not None:
            raise UsageError("--certificate: takes a key without a password")
        else:
            config.use_certificate_signer(
                private_key=signer.key,
                signing_certificate=signer.certificate,
                # the library wants at least one; the certificate itself adds nothing
                certificate_chain=signer.chain or (signer.certificate,),
            )
    place, passing = folder / SIGNATURE, folder.parent / f".{folder.name}-{SIGNATURE}"
    try:
        config.sign(folder, passing)
        passing.replace(place)
    except OSError as error:
        raise OutputError(f"{place}: could not be written ({error.strerror})") from error
    finally:
        passing.unlink(missing_ok=True)
    return place


def problems_of(folder: Path, trust: Trust) -> list[str]:
    """What is wrong with the signature of a folder, one sentence each; empty if it holds.

    Raises UsageError without the extra, or for a key or a certificate that cannot be read.
    """
    config = _verifier(trust)
    links = _links(folder)
    if links:
        return [f"{link}: is a link, which no signature covers" for link in links]
    try:
        config.verify(folder, folder / SIGNATURE)
    except Exception as error:  # the library raises whatever its parts do
        return list(_sentences(error, folder, trust))
    return [f"{path}: is left out by the signature, so it is not covered" for path in _left_out(folder)]


def check_trust(trust: Trust) -> None:
    """Refuse keys and certificates that cannot be used, whether or not there is a signature.

    Raises UsageError, also without the extra.
    """
    if trust:
        _verifier(trust)


def _verifier(trust: Trust) -> Any:
    _, verifying, hashing = _library()
    for path in (trust.public_key, *trust.certificates):
        _check_file(path)
    config = verifying.Config().set_hashing_config(_hashed(hashing))
    with _told_key(trust.public_key or trust.certificates[0]):
        if trust.public_key is not None:
            config.use_elliptic_key_verifier(public_key=trust.public_key)
        else:
            config.use_certificate_verifier(certificate_chain=trust.certificates)
    return config


def _library() -> tuple[Any, Any, Any]:
    try:
        from model_signing import hashing, signing, verifying
    except ImportError as error:
        raise UsageError(f"{_MISSING} ({error})") from error
    return signing, verifying, hashing


def _hashed(hashing: Any) -> Any:
    """All files but the signature; paths are relative to the folder."""
    return hashing.Config().set_ignored_paths(paths=[Path(SIGNATURE)], ignore_git_paths=False)


def _check_file(path: Path | None) -> None:
    if path is not None and not path.is_file():
        raise UsageError(f"{path}: there is no such file")


@contextmanager
def _told_key(path: Path) -> Iterator[None]:
    try:
        yield
    except UsageError:
        raise
    except Exception as error:  # the library raises whatever its parts do
        reason = " ".join(str(error).split()).partition(". See ")[0]
        if isinstance(error, AttributeError | TypeError) and "password" not in reason.lower():
            reason = "it is no key on an elliptic curve"
        raise UsageError(f"{path}: cannot be used as a key or certificate: {reason[:200]}") from error


def _links(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_symlink())


def _refuse_links(folder: Path) -> None:
    links = _links(folder)
    if links:
        raise InputError(
            f"{folder / links[0]}: is a link, which a signature cannot cover; copy the file"
        )


def _sentences(error: Exception, folder: Path, trust: Trust) -> Iterator[str]:
    """The library's error as one sentence for each file."""
    text = " ".join(str(error).split())
    if "Signature mismatch" in text:  # the signature is good, and so is its list of files
        yield from list(_edited(folder)) or [f"{SIGNATURE}: {text[:300]}"]
    elif "Key mismatch" in text:
        yield f"{SIGNATURE}: was made with another key than {trust.public_key}"
    elif "no attribute 'hint'" in text:
        yield f"{SIGNATURE}: was made with a certificate and not with a bare key"
    elif isinstance(
        error, KeyError | ValueError | TypeError | AttributeError | IndexError
    ) and not text.startswith("Signing certificate"):
        why = f"{type(error).__name__}: {text[:160]}"
        yield f"{SIGNATURE}: is no signature of this kind, or is damaged ({why})"
    elif type(error).__name__ == "InvalidSignature":
        yield f"{SIGNATURE}: was edited, or made with another key"
    else:
        yield f"{SIGNATURE}: does not hold ({type(error).__name__}: {text[:160]})"


def _edited(folder: Path) -> Iterator[str]:
    """Each file that is not as it was signed; nothing where it was signed by other than whole files."""
    told = _predicate(folder)["resources"]
    signed = {one["name"]: one["digest"] for one in told if one["algorithm"] == "sha256"}
    if len(signed) < len(told):
        return
    there = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / SIGNATURE
    }
    for name in dict.fromkeys([*signed, *there]):
        if name not in there:
            yield f"{name}: is missing, but was signed"
        elif name not in signed:
            yield f"{name}: was added after the rest was signed"
        elif hashlib.sha256(there[name].read_bytes()).hexdigest() != signed[name]:
            yield f"{name}: was changed after it was signed"


def _left_out(folder: Path) -> Sequence[str]:
    """Paths that whoever signed excepted, the signature's own apart, as far as there is anything."""
    ignored = _predicate(folder)["serialization"].get("ignore_paths", [])
    return [path for path in ignored if Path(path).name != SIGNATURE and (folder / path).exists()]


def _predicate(folder: Path) -> Any:
    """What a signature says that it covers; to be trusted once the signature is."""
    bundle = json.loads((folder / SIGNATURE).read_bytes())
    return json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))["predicate"]
