"""The plugin host, in this process: packages are made on the spot and found through their metadata."""

from __future__ import annotations

import itertools
import json
import textwrap
from collections.abc import Callable, Iterable
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path
from typing import Any

import pytest

from muscle_gov import plugins
from muscle_gov.errors import PluginError, UsageError
from muscle_gov.hookspecs import ENTRY_POINT_GROUP
from muscle_gov.plugins import ALLOW_VARIABLE, BLOCK_VARIABLE, KINDS, PluginInfo, Plugins

NUMBERS = itertools.count()

READER = """
    @dataclass(frozen=True)
    class Reads:
        '''Reads nothing.'''
        def detect(self, path): return False
        def read(self, path): return iter(())
    @hookimpl
    def register_readers(): return {"nothing": Reads}
"""
METRIC = """
    @dataclass(frozen=True)
    class Counts:
        title: ClassVar[str] = "Pairs"
        direction: ClassVar[str] = "higher"
        kinds: ClassVar[tuple[str, ...]] = ("binary",)
        def measure(self, pairs, confidence): return Measure(pairs.n, None, None, pairs.n)
    @hookimpl
    def register_metrics(): return {"counted": Counts}
"""
REPORT = """
    @dataclass(frozen=True)
    class Writes:
        suffix: ClassVar[str] = ".txt"
        def render(self, report): return b""
    @hookimpl
    def register_reports(): return {"empty": Writes}
"""
LOADER = """
    @dataclass(frozen=True)
    class Loads:
        path: str
        def facts(self): return self.path
        def open(self): raise NotImplementedError
    @hookimpl
    def register_loaders(): return {"weights": Loads}
"""
SUITE = """
    @dataclass(frozen=True)
    class Asks:
        def facts(self): return ""
        def instances(self): return iter(())
        def requests(self, instance): raise NotImplementedError
        def grade(self, instance, outputs): raise NotImplementedError
    @hookimpl
    def register_suites(): return {"questions": Asks}
"""
MITIGATION = """
    @dataclass(frozen=True)
    class Mends:
        def fit(self, old, new, suites, workdir): return new
    @hookimpl
    def register_mitigations(): return {"adapter": Mends}
"""
IMPORTS = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal
from muscle_gov import Measure, hookimpl
"""

Make = Callable[..., list[EntryPoint]]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes a package with one module a plugin; gives its entry points."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv(BLOCK_VARIABLE, raising=False)
    monkeypatch.delenv(ALLOW_VARIABLE, raising=False)

    def make(
        distribution: str = "pack", version: str = "1.0", imports: str = IMPORTS, **sources: str
    ) -> list[EntryPoint]:
        lines = ["[muscle_gov]"]
        for name, source in sources.items():
            module = f"made_{next(NUMBERS)}"
            (tmp_path / f"{module}.py").write_text(imports + textwrap.dedent(source))
            lines.append(f"{name.replace('_', '-')} = {module}")
        folder = tmp_path / f"{distribution}-{version}" / f"{distribution}-{version}.dist-info"
        folder.mkdir(parents=True)
        about = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
        (folder / "METADATA").write_text(about)
        (folder / "entry_points.txt").write_text("\n".join(lines))
        (found,) = distributions(path=[str(folder.parent)])
        assert isinstance(found, Distribution)
        return list(found.entry_points)

    return make


def built_ins() -> list[EntryPoint]:
    """Entry points of muscle-gov itself, whatever else is installed."""
    found = entry_points(group=ENTRY_POINT_GROUP)
    return [one for one in found if one.dist is not None and one.dist.name == "muscle-gov"]


def loaded(made: Iterable[EntryPoint], name: str) -> tuple[Plugins, PluginInfo]:
    """All plugins, and what became of the one of this name."""
    found = plugins.load(made)
    (info,) = (info for info in found.infos if info.name == name)
    return found, info


def reason(made: Iterable[EntryPoint]) -> str:
    """Why the only plugin was set aside."""
    found = plugins.load(made)
    (info,) = found.infos
    assert not info.offers
    assert all(not offers for offers in found.offers.values())
    assert info.error is not None
    return info.error


# --------------------------------------------------------------------------------------- the six hooks


def collected(package: Make, hook: str, source: str) -> type[Any]:
    """The only thing that a plugin with this one hook offers."""
    found, info = loaded(package(plug=source), "plug")
    assert info.error is None
    assert info.hooks == (hook,)
    kind = hook.removeprefix("register_")
    (name,) = found.names(kind)
    assert info.offers == (f"{kind}/{name}",)
    assert found.owners == {(kind, name): "plug"}
    assert [k for k in KINDS if found.offers[k]] == [kind]
    return found.get(kind, name)


def test_register_readers_is_collected(package: Make) -> None:
    assert collected(package, "register_readers", READER).__doc__ == "Reads nothing."


def test_register_metrics_is_collected(package: Make) -> None:
    assert collected(package, "register_metrics", METRIC).title == "Pairs"


def test_register_reports_is_collected(package: Make) -> None:
    assert collected(package, "register_reports", REPORT).suffix == ".txt"


def test_register_loaders_is_collected(package: Make) -> None:
    assert collected(package, "register_loaders", LOADER)("x").facts() == "x"


def test_a_loader_may_be_a_recording_instead(package: Make) -> None:
    recording = """
    @dataclass(frozen=True)
    class Heard:
        path: str
        def source(self): return self.path
    @hookimpl
    def register_loaders(): return {"heard": Heard}
    """
    assert collected(package, "register_loaders", recording)("x").source() == "x"


def test_register_suites_is_collected(package: Make) -> None:
    assert list(collected(package, "register_suites", SUITE)().instances()) == []


def test_register_mitigations_is_collected(package: Make) -> None:
    assert collected(package, "register_mitigations", MITIGATION)().fit(1, 2, (), None) == 2


def test_one_plugin_may_offer_several_kinds(package: Make) -> None:
    _, info = loaded(package(plug=READER + METRIC), "plug")
    assert info.offers == ("metrics/counted", "readers/nothing")
    assert info.hooks == ("register_metrics", "register_readers")


def test_built_in_plugins_come_in_by_the_same_hooks() -> None:
    found = plugins.load(built_ins())
    hooks = {hook for info in found.infos for hook in info.hooks}
    kinds = ("readers", "loaders", "suites", "metrics", "reports", "mitigations")
    assert hooks == {f"register_{kind}" for kind in kinds}
    assert [info.error for info in found.infos if info.error] == []
    assert {("readers", "lm-eval"), ("metrics", "nfr"), ("reports", "html")} <= {*found.owners}


# -------------------------------------------------------------------------------------------- clashes


def test_a_clash_names_both_owners_and_how_to_block_one(package: Make) -> None:
    both = [*package("alpha", "1.1", first=READER), *package("beta", "2.2", second=READER)]
    with pytest.raises(PluginError) as told:
        plugins.load(both)
    assert str(told.value) == (
        "two plugins offer the reader 'nothing': first (of alpha 1.1) and second (of beta 2.2); "
        f"block one of them, e.g. with {BLOCK_VARIABLE}=second"
    )


@pytest.mark.parametrize(("blocked", "left"), [("first", "second"), ("beta", "first")])
def test_blocking_one_side_ends_a_clash(
    package: Make, monkeypatch: pytest.MonkeyPatch, blocked: str, left: str
) -> None:
    both = [*package("alpha", first=READER), *package("beta", second=READER)]
    monkeypatch.setenv(BLOCK_VARIABLE, blocked)
    assert plugins.load(both).owners == {("readers", "nothing"): left}


def test_two_packages_whose_plugins_have_one_name_clash_only_over_what_they_offer(
    package: Make,
) -> None:
    found = plugins.load([*package("alpha", plug=READER), *package("beta", plug=METRIC)])
    assert [info.error for info in found.infos] == [None, None]
    assert found.names("readers") == ("nothing",)
    assert found.names("metrics") == ("counted",)


def test_a_clash_of_plugins_of_one_name_is_told_apart_by_their_packages(package: Make) -> None:
    both = [*package("alpha", plug=READER), *package("beta", plug=READER)]
    with pytest.raises(PluginError, match=rf"e\.g\. with {BLOCK_VARIABLE}=beta$"):
        plugins.load(both)
    assert plugins.load(both, block=["beta"]).owners == {("readers", "nothing"): "plug"}


def test_a_name_of_a_built_in_cannot_be_taken(package: Make) -> None:
    taking = package(plug=READER.replace('"nothing"', '"table"'))
    with pytest.raises(PluginError, match="two plugins offer the reader 'table'"):
        plugins.load([*built_ins(), *taking])


def test_a_clash_is_returned_beside_what_could_be_loaded(package: Make) -> None:
    found, clashes = plugins.survey([*package("a", first=READER), *package("b", second=READER + METRIC)])
    assert len(clashes) == 1
    assert found.owners == {("readers", "nothing"): "first", ("metrics", "counted"): "second"}


# --------------------------------------------------------------------------------------- who is let in


@pytest.mark.parametrize("name", ["plug-in", "Plug_In", "some-pack", "SOME.pack"])
def test_blocking_goes_by_plugin_or_package_however_it_is_spelt(package: Make, name: str) -> None:
    made = package("some_pack", plug_in=READER)
    (info,) = plugins.load(made, block=[name]).infos
    assert info.blocked
    assert not info.offers


def test_a_blocked_module_is_not_even_imported(package: Make) -> None:
    (info,) = plugins.load(package(plug="raise AssertionError"), block=["plug"]).infos
    assert info.blocked
    assert info.error is None


def test_an_allow_list_shuts_out_all_others_but_no_built_in(package: Make) -> None:
    own = [entry_point for entry_point in built_ins() if entry_point.name == "table"]
    made = [*package("one", first=READER), *package("two", second=METRIC)]
    found = plugins.load([*own, *made], allow=["two"])
    assert {info.name for info in found.infos if info.blocked} == {"first"}
    assert found.names("readers") == ("table",)
    assert found.names("metrics") == ("counted",)


def test_an_empty_allow_list_shuts_out_every_third_party(
    package: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = package(plug=READER)
    monkeypatch.setenv(ALLOW_VARIABLE, "")
    assert plugins.load(made).infos[0].blocked


def test_the_variables_add_to_the_lists(package: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [
        *package("one", first=READER),
        *package("two", second=METRIC),
        *package("three", third=SUITE),
    ]
    monkeypatch.setenv(ALLOW_VARIABLE, "one, two")
    monkeypatch.setenv(BLOCK_VARIABLE, "second")
    found = plugins.load(made, allow=["three"], block=["third"])
    assert {info.name for info in found.infos if info.blocked} == {"second", "third"}


def test_asking_for_what_a_blocked_plugin_offers_names_it(package: Make) -> None:
    found = plugins.load(package(plug=READER), block=["plug"])
    with pytest.raises(PluginError, match=r"no reader 'nothing'; .*blocked and may offer it: plug\."):
        found.get("readers", "nothing")


# ------------------------------------------------------------------------------------- broken plugins

BROKEN = {
    "raises": ("raise RuntimeError('no such device')", "RuntimeError: no such device"),
    "exits": ("import sys; sys.exit(7)", "SystemExit: 7"),
    "syntax": ("def (", "SyntaxError: invalid syntax"),
    "import": ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
    "hook_raises": ("@hookimpl\ndef register_readers(): raise OSError('x')", "OSError: x"),
    "no_hook": ("answer = 42", "defines none of the hooks: register_readers, register_metrics"),
    "misspelt": (
        "@hookimpl\ndef register_raeders(): return {}",
        "unknown hook 'register_raeders' in plugin",
    ),
    "argument": (
        "@hookimpl\ndef register_readers(path): return {}",
        "Argument(s) {'path'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "unmarked": (
        "def register_readers(): return {}",
        "register_readers is not marked with muscle_gov.hookimpl",
    ),
    "one_unmarked": (
        METRIC + "    def register_readers(): return {}",
        "register_readers is not marked with muscle_gov.hookimpl",
    ),
    "no_mapping": (
        "@hookimpl\ndef register_readers(): return ['table']",
        "register_readers returned list, not a mapping of names",
    ),
    "no_dataclass": (
        "class Plain: pass\n@hookimpl\ndef register_readers(): return {'plain': Plain}",
        "register_readers must map names to dataclasses, but 'plain' is <class",
    ),
    "instance": (
        READER.replace('"nothing": Reads', '"nothing": Reads()'),
        "register_readers must map names to dataclasses, but 'nothing' is Reads()",
    ),
    "no_name": (
        READER.replace('"nothing"', "7"),
        "register_readers must map names to dataclasses, but 7 is",
    ),
    "lacks_method": (
        READER.replace("def detect", "def detects"),
        "register_readers: 'nothing' lacks detect",
    ),
    "lacks_attributes": (
        METRIC.replace("title:", "head:").replace("kinds:", "kind:"),
        "register_metrics: 'counted' lacks kinds, title",
    ),
    "requires_options": (
        METRIC.replace("title:", "level: int\n        title:"),
        "'counted' cannot be made without options: Counts.__init__() missing 1 required",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_set_aside_with_its_reason(package: Make, case: str) -> None:
    source, expected = BROKEN[case]
    assert expected in reason(package(plug=source))


def test_a_broken_plugin_takes_nothing_else_down(package: Make) -> None:
    made = package(broken="import sys; sys.exit(1)", good=READER)
    found = plugins.load(made)
    assert found.names("readers") == ("nothing",)


@pytest.mark.parametrize("case", ["misspelt", "argument", "lacks_method"])
def test_a_plugin_that_fails_late_leaves_no_hook_behind(package: Make, case: str) -> None:
    # each plugin is checked with those before it; a remainder would set all later ones aside as well
    made = package(a_broken=BROKEN[case][0], z_good=METRIC)
    found, info = loaded(made, "z-good")
    assert info.error is None
    assert found.names("metrics") == ("counted",)


def test_a_broken_plugin_is_fatal_only_when_something_is_asked_for_that_it_might_offer(
    package: Make,
) -> None:
    found = plugins.load(package(broken="raise RuntimeError('no such device')", good=READER))
    assert found.make("readers", "nothing") is not None
    with pytest.raises(PluginError) as told:
        found.get("readers", "special")
    assert str(told.value) == (
        "there is no reader 'special'; known are: nothing. These plugins could not be loaded and may "
        "offer it: broken (RuntimeError: no such device)."
    )


def test_a_module_named_twice_is_loaded_once_and_the_second_name_told(package: Make) -> None:
    (one,) = package(plug=READER)
    found, info = loaded([one, EntryPoint("again", one.value, one.group)], "again")
    # the entry point without a package sorts by its name, in front
    assert info.error is None
    (other,) = (info for info in found.infos if info.name == "plug")
    assert other.error == "is one and the same module as again (of (unknown))"
    assert found.owners == {("readers", "nothing"): "again"}


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "MemoryError"])
def test_an_interrupt_is_no_fault_of_a_plugin(package: Make, error: str) -> None:
    with pytest.raises((KeyboardInterrupt, MemoryError)):
        plugins.load(package(plug=f"raise {error}"))


# ---------------------------------------------------------------------------------------------- options

OPTIONS = """
    @dataclass(frozen=True)
    class Reads:
        '''Reads with options.'''
        column: str = "id"
        '''Name of the column.'''
        skip: int = 0
        tags: tuple[str, ...] = ()
        '''Columns of tags;
        several may be given.'''
        case: Literal["keep", "fold"] = "keep"
        rest: dict[str, Any] = field(default_factory=dict)
        strict: bool = False

        def __post_init__(self):
            if self.skip < 0:
                raise ValueError(f"skip: {self.skip} must not be negative")
        def detect(self, path): return False
        def read(self, path): return iter(())
    @hookimpl
    def register_readers(): return {"optional": Reads}
"""


def test_options_are_taken_by_their_declared_types(package: Make) -> None:
    found = plugins.load(package(plug=OPTIONS))
    given = {"skip": "3", "tags": "subject", "strict": "true", "case": "fold"}
    made = found.make("readers", "optional", given)
    assert (made.skip, made.tags, made.strict, made.case) == (3, ("subject",), True, "fold")
    assert made.column == "id"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"colum": "x"}, "reader optional: colum: there is no such option; did you mean 'column'?"),
        ({"zzz": 1}, "reader optional: zzz: there is no such option; known are: case, column,"),
        ({"skip": "many"}, "skip: input should be a valid integer"),
        ({"case": "upper"}, "case: input should be 'keep' or 'fold', not 'upper'"),
        ({"skip": "-1"}, "skip: -1 must not be negative"),
        ({"colum": "x", "skip": "many"}, "did you mean 'column'?; skip: input should be"),
    ],
)
def test_a_wrong_option_is_told(package: Make, options: dict[str, Any], expected: str) -> None:
    found = plugins.load(package(plug=OPTIONS))
    with pytest.raises(UsageError) as told:
        found.make("readers", "optional", options)
    assert expected in str(told.value)


def test_a_missing_option_is_told(package: Make) -> None:
    found = plugins.load(package(plug=LOADER))
    with pytest.raises(UsageError, match=r"^loader weights: path: is required$"):
        found.make("loaders", "weights")


def test_an_option_of_a_type_that_cannot_be_checked_is_the_plugin_s_fault(package: Make) -> None:
    source = OPTIONS.replace("column: str", "column: Somewhere.Else")
    found = plugins.load(package(plug=source))
    with pytest.raises(PluginError, match=r"the options of Reads \(in made_\d+\) cannot be checked: "):
        found.make("readers", "optional", {"skip": "1"})


def test_options_are_listed_with_types_defaults_and_docs(package: Make) -> None:
    cls = plugins.load(package(plug=OPTIONS)).get("readers", "optional")
    shown = {option.name: option for option in plugins.options(cls)}
    assert [*shown] == ["column", "skip", "tags", "case", "rest", "strict"]
    assert shown["column"] == plugins.Option("column", "str", "'id'", "Name of the column.")
    assert shown["tags"].help == "Columns of tags;\nseveral may be given."
    assert shown["rest"].default == "{}"
    assert shown["skip"].help == ""
    required = plugins.load(package("loads", plug=LOADER)).get("loaders", "weights")
    assert plugins.options(required)[0].default == "(required)"


def test_types_are_readable_in_a_module_whose_annotations_are_no_strings(package: Make) -> None:
    made = package(imports=IMPORTS.replace("from __future__ import annotations", ""), plug=OPTIONS)
    shown = {
        option.name: option.type
        for option in plugins.options(plugins.load(made).get("readers", "optional"))
    }
    assert shown["skip"] == "int"
    assert shown["tags"] == "tuple[str, ...]"


def test_field_docs_are_inherited_and_may_be_overridden(package: Make) -> None:
    source = """
        @dataclass(frozen=True)
        class Base:
            a: int = 0
            '''Of the base.'''
            b: int = 0
            '''Of the base.'''
        @dataclass(frozen=True)
        class Reads(Base):
            b: int = 1
            '''Of the child.'''
            c: int = 2
            def detect(self, path): return False
            def read(self, path): return iter(())
        @hookimpl
        def register_readers(): return {"child": Reads}
    """
    cls = plugins.load(package(plug=source)).get("readers", "child")
    assert plugins.field_docs(cls) == {"a": "Of the base.", "b": "Of the child."}


def test_field_docs_of_a_class_without_source_are_empty() -> None:
    made: dict[str, Any] = {}
    exec("from dataclasses import dataclass\n@dataclass\nclass Bare:\n    a: int = 0", made)
    assert plugins.field_docs(made["Bare"]) == {}


def test_every_option_of_a_built_in_is_documented() -> None:
    found = plugins.load(built_ins())
    bare = [
        f"{kind}/{name}.{option.name}"
        for kind in KINDS
        for name in found.names(kind)
        for option in plugins.options(found.get(kind, name))
        if not option.help
    ]
    assert not bare


# ------------------------------------------------------------------------------- `muscle-gov plugins`


def shown(
    capsys: pytest.CaptureFixture[str], *args: str, made: Iterable[EntryPoint] | None = None
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `muscle-gov plugins`."""
    from muscle_gov import cli

    with pytest.MonkeyPatch.context() as patch:
        if made is not None:
            listed = list(made)
            patch.setattr("importlib.metadata.entry_points", lambda group: listed)
        with pytest.raises(SystemExit) as left:
            cli.main(["plugins", *args])
    out, err = capsys.readouterr()
    assert isinstance(left.value.code, int)
    return left.value.code, out, err


def test_the_list_shows_what_each_offers_and_what_failed(
    package: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = package("pack", "3.1", good=READER, broken="raise RuntimeError('no such device')")
    code, out, _ = shown(capsys, made=made)
    assert code == 0
    assert [line.split(maxsplit=3) for line in out.splitlines()] == [
        ["broken", "pack", "3.1", "FAILED: RuntimeError: no such device"],
        ["good", "pack", "3.1", "readers/nothing"],
    ]


def test_the_list_tells_of_a_clash_and_exits_2(
    package: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = shown(capsys, made=package(first=READER, second=READER))
    assert code == 2
    assert len(out.splitlines()) == 2
    assert "two plugins offer the reader 'nothing'" in err


def test_the_list_as_json_has_hooks_and_versions(
    package: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = shown(capsys, "--json", made=package("pack", "3.1", good=READER))
    assert json.loads(out) == [
        {
            "name": "good",
            "distribution": "pack",
            "version": "3.1",
            "hooks": ["register_readers"],
            "offers": ["readers/nothing"],
            "error": None,
            "blocked": False,
        }
    ]


@pytest.mark.parametrize("variable", [BLOCK_VARIABLE, ALLOW_VARIABLE])
def test_a_name_in_a_variable_that_no_plugin_has_is_remarked_upon(
    package: Make,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    made = package("pack", good=READER)
    monkeypatch.setenv(variable, "pakc")
    code, _, err = shown(capsys, made=made)
    assert code == 0
    assert (
        err
        == f"muscle-gov: {variable}: no plugin or package 'pakc' is installed; did you mean 'pack'?\n"
    )


def test_one_offer_is_shown_with_its_docs_and_options(
    package: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = shown(capsys, "optional", made=package(plug=OPTIONS))
    assert code == 0
    assert out.startswith("reader optional, from the plugin plug\n\nReads with options.\n")
    assert "\n  column: str = 'id'\n      Name of the column.\n" in out
    assert "\n  tags: tuple[str, ...] = ()\n      Columns of tags;\n      several may be given.\n" in out


def test_one_offer_as_json_has_its_options(package: Make, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = shown(capsys, "weights", "--json", made=package(plug=LOADER))
    (offer,) = json.loads(out)["offers"]
    assert (offer["kind"], offer["name"], offer["plugin"]) == ("loader", "weights", "plug")
    assert offer["options"] == [
        {"name": "path", "type": "str", "default": "(required)", "help": ""},
    ]


def test_a_plugin_can_be_asked_for_by_its_own_name(
    package: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = package(plug="raise RuntimeError('no such device')")
    code, out, _ = shown(capsys, "plug", made=made)
    assert code == 0
    assert "FAILED: RuntimeError: no such device" in out


def test_asking_for_nothing_that_is_there_names_what_is_near_or_broken(
    package: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made = package(good=READER, broken="raise RuntimeError('no such device')")
    code, out, err = shown(capsys, "nothign", made=made)
    assert (code, out) == (2, "")
    assert "nothing is called 'nothign'; did you mean 'nothing'?" in err
    assert "may offer it: broken (RuntimeError: no such device)" in err
