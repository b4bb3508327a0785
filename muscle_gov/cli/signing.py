"""`muscle-gov sign` and `muscle-gov verify`: whose a folder is, and whether it is what it says."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from muscle_gov.cli import Command, _options, _show
from muscle_gov.errors import UsageError
from muscle_gov.text import visible

if TYPE_CHECKING:
    from muscle_gov.proof.verify import Check

MOST = 12
"""Problems of one check that are printed: from one edited row a great many follow."""
_FILE = click.Path(path_type=Path)
_SIGNS = {"holds": ("✓", "green"), "fails": ("✗", "bold red"), "not checked": ("–", "dim")}


@click.command(cls=Command, short_help="Sign a report folder, or an adapter's.")
@click.argument("folder", metavar="DIR", type=_FILE)
@click.option("--key", type=_FILE, required=True, help="Private key on an elliptic curve, PEM.")
@click.option(
    "--password-env",
    metavar="NAME",
    help="Environment variable with the password of the key, where it has one.",
)
@click.option("--certificate", type=_FILE, help="Certificate of the key, PEM.")
@click.option(
    "--certificate-chain",
    "chain",
    type=_FILE,
    multiple=True,
    help="Certificates between that one and the root, PEM.",
)
@_options.quiet_option
def sign(folder: Path, **given: Any) -> int:
    """Sign every file in DIR, by the OpenSSF Model Signing specification; it makes DIR/model.sig.

    Works on a report folder, on an adapter's, on any folder, and offline. Needs the extra `signing`.

    \b
    Make a key once, keep the private half to yourself and hand out the public one:
      openssl ecparam -name prime256v1 -genkey -noout -out key.pem
      openssl ec -in key.pem -pubout -out pub.pem

    \b
    Examples:
      muscle-gov sign release-2.1 --key key.pem
      muscle-gov sign mended/muscle-1c9f/adapter --key key.pem
      muscle-gov sign release-2.1 --key key.pem --certificate owner.pem --certificate-chain ca.pem
    """
    from muscle_gov.proof import signing

    if given["chain"] and given["certificate"] is None:
        raise UsageError("--certificate-chain: belongs to a --certificate")
    signer = signing.Signer(
        given["key"], _password(given["password_env"]), given["certificate"], given["chain"]
    )
    place = signing.sign(folder, signer)
    _show.say(f"signed: {place}", given["quiet"])
    return 0


def _password(variable: str | None) -> str | None:
    import os

    if variable is not None and variable not in os.environ:
        raise UsageError(f"--password-env: there is no environment variable {variable}")
    return os.environ[variable] if variable is not None else None


@click.command(cls=Command, short_help="Check that a report folder is what it says.")
@click.argument("folder", metavar="DIR", type=_FILE)
@click.option(
    "--public-key", type=_FILE, help="DIR must be signed with the other half of this key, PEM."
)
@click.option(
    "--certificate-chain",
    "certificates",
    type=_FILE,
    multiple=True,
    help="DIR must be signed with a certificate below this one, PEM.",
)
@click.option("--store", "original", type=_FILE, help="Compare it with the store it was made from, too.")
@click.option(
    "--allow-other-version",
    "may_be_other",
    is_flag=True,
    help="Let a folder of another version of muscle-gov hold, though its reports cannot be checked.",
)
@_options.json_option
def verify(folder: Path, **given: Any) -> int:
    """Check that DIR, a report folder, is what it says, trusting neither it nor whoever made it.

    Every file must be there with its digest and no other; the rows of its store must be those that were
    digested; from these rows, under the policy as it was judged, the verdict and every figure are made
    again and every report is rendered again, and compared to the byte. With a key or certificate the
    signature must be theirs. A signed folder of another kind, such as an adapter's, is checked by its
    signature alone.

    Reports can only be rendered again by the version that wrote them, so a folder of another version
    does not hold unless --allow-other-version is given; the last line then tells that they were not
    checked.

    Exits 0 if all holds, whatever the verdict is; the last line tells it. What fails is named, and exits
    3, since no verdict can be relied on; it never exits 1, which is a gate that failed.

    \b
    Examples:
      muscle-gov verify release-2.1
      muscle-gov verify release-2.1 --public-key pub.pem
      muscle-gov verify release-2.1 --public-key pub.pem --store muscle-gov.duckdb
    """
    from muscle_gov.proof import verify as verifying
    from muscle_gov.proof.signing import Trust

    if given["public_key"] is not None and given["certificates"]:
        raise UsageError("give either --public-key or --certificate-chain, not both")
    trust = Trust(given["public_key"], given["certificates"])
    checks = verifying.verify(folder, trust, given["original"], may_be_other=given["may_be_other"])
    is_good = verifying.holds(checks)
    if given["as_json"]:
        _show.print_json(
            {
                "folder": str(folder),
                "holds": is_good,
                "verdict": verifying.status_of(folder, checks),
                "checks": [asdict(c) for c in checks],
            }
        )
    else:
        _tell(folder, checks, is_good, verifying.status_of(folder, checks))
    return 0 if is_good else 3


def _tell(folder: Path, checks: list[Check], is_good: bool, status: str | None) -> None:
    from rich.text import Text

    out = _show.console()
    for check in checks:
        sign, style = _SIGNS[check.outcome.value]
        skipped = "not checked: " if check.outcome.value == "not checked" else ""
        out.print(Text(f"{sign} {check.name:<10}{skipped}{visible(check.told)}", style))
        for problem in check.problems[:MOST]:
            out.print(Text(f"    {visible(problem)}"))
        if len(check.problems) > MOST:
            out.print(
                Text(f"    … and {len(check.problems) - MOST} more lines; --json has them all", "dim")
            )
    failed = [check.name for check in checks if check.outcome.value == "fails"]
    name = visible(str(folder))
    if is_good:
        # whoever reads this line alone must not take a folder that holds for an update that passed
        said = [f"verified: {name} holds in all that was checked"]
        if any(c.name == "reports" and c.outcome.value == "not checked" for c in checks):
            said = [f"verified in part: {name} holds in the rest, but its reports were not checked"]
        said += [f"its verdict is {visible(status)}"] if status is not None else []
        if any(c.name == "signature" and c.outcome.value == "not checked" for c in checks):
            said.append("no signature was checked")
        out.print(Text("; ".join(said), "bold green"))
    elif failed:
        text = f"not verified: {name} is not what it says ({', '.join(failed)}; exit code 3)"
        out.print(Text(text, "bold red"))
    else:
        out.print(Text(f"not verified: nothing of {name} could be checked (exit code 3)", "bold red"))
