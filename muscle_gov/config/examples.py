"""The files that `muscle-gov init` writes: an example with one of three policies in it.

A policy that is written is judged as it stands: what cannot be known (tags, golden answers) stands
there commented out, since a rule that matches nothing passes nothing.
"""

from __future__ import annotations

PRESETS = ("default", "strict", "exploratory")
"""Names of the policies."""
_PLACE = "# {what is allowed}\n"
_ABOUT = {
    "default": "A policy for updates of a model: what they must keep to.",
    "strict": "A strict policy for updates of a model: what they must keep to.",
    "exploratory": "A policy to explore updates of a model with: nothing can pass it.",
}


def example_text(runs: bool = False, preset: str = "default") -> str:
    """The commented example of a file that describes an update: of two logs, or of models to run; with
    one of `PRESETS`."""
    name = "example_run.toml" if runs else "example_update.toml"
    return _read(name).replace(_PLACE, _gate(preset))


def policy_text(preset: str = "default") -> str:
    """The commented example of a file that holds nothing but a policy, one of `PRESETS`."""
    return (
        f"# {_ABOUT[preset]} For\n# `muscle-gov gate --policy FILE`, and for compare and run.\n\n"
        "# Signed exceptions, and flaky items that are set aside (no default).\n"
        '#waivers = "waivers.toml"\n#quarantine = "quarantine.toml"\n\n' + _gate(preset)
    )


def _gate(preset: str) -> str:
    return _read(f"presets/{preset}.toml")


def _read(name: str) -> str:
    from importlib.resources import files

    return files("muscle_gov").joinpath(name).read_text(encoding="utf-8")
