"""Digests of what a model is made of: they change with the contents, and with nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from muscle_gov_plugins import _file_digests, _model_files
from muscle_gov_plugins._model_files import (
    adapter_config,
    adapter_digest,
    chat_template,
    dtype_of,
    quantization_of,
    resolve,
    resolve_model,
    tokenizer_context,
    tokenizer_digest,
    weight_files,
    weights_digest,
)
from tiny_models import make_adapter, make_model

from muscle_gov import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("made"), chat=True)


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the model, and a cache of digests of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(made, tmp_path / "model"))


def edit(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def flip_last_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def age(file: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(file, (then, then))


def test_the_digest_of_weights_is_that_of_their_contents(folder: Path, tmp_path: Path) -> None:
    before = weights_digest(resolve(str(folder)))
    assert len(before) == 64
    moved = tmp_path / "moved"
    folder.rename(moved)
    age(moved / "model.safetensors", 5000)
    edit(moved / "config.json", transformers_version="4.0", dtype="bfloat16")
    assert weights_digest(resolve(str(moved))) == before
    edit(moved / "config.json", rms_norm_eps=0.5)
    changed = weights_digest(resolve(str(moved)))
    assert changed != before
    flip_last_byte(moved / "model.safetensors")
    assert weights_digest(resolve(str(moved))) not in (before, changed)


def test_tokens_that_end_a_text_are_part_of_the_digest(folder: Path) -> None:
    before = weights_digest(resolve(str(folder)))
    edit(folder / "generation_config.json", eos_token_id=[1, 5])
    assert weights_digest(resolve(str(folder))) != before


def test_python_files_that_trust_would_run_are_part_of_the_digest(folder: Path) -> None:
    edit(folder / "config.json", auto_map={"AutoModelForCausalLM": "own.Model"})
    found = {weights_digest(resolve(str(folder)))}
    for code in ("Model = 1", "Model = 2"):
        (folder / "own.py").write_text(code)
        found.add(weights_digest(resolve(str(folder))))
    assert len(found) == 3


def test_a_file_replaced_in_place_is_read_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Size and time of modification can be the same, as copying tools leave them."""
    monkeypatch.setattr(_file_digests, "_SETTLED", -1)  # keep digests of files changed just now too
    file = folder / "model.safetensors"
    age(file, 5000)
    found, before = [weights_digest(resolve(str(folder)))], file.stat()
    for way in ("rewritten", "renamed"):
        time.sleep(0.05)  # file systems tell changes apart by some milliseconds
        if way == "renamed":
            shutil.copy2(file, folder / "new")
            flip_last_byte(folder / "new")
            (folder / "new").replace(file)
        else:
            flip_last_byte(file)
            file.write_bytes(file.read_bytes()[:-2] + b"ab")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        now = file.stat()
        assert (now.st_size, now.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        found.append(weights_digest(resolve(str(folder))))
    assert len(set(found)) == 3


def test_digests_are_kept_by_the_state_of_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_file_digests, "_SETTLED", -1)
    age(folder / "model.safetensors", 100)
    read: list[Path] = []
    plain = _file_digests._sha256
    monkeypatch.setattr(_file_digests, "_sha256", lambda path: (read.append(path), plain(path))[1])
    before = weights_digest(resolve(str(folder)))
    assert weights_digest(resolve(str(folder))) == before
    assert len(read) == 1
    flip_last_byte(folder / "model.safetensors")
    assert weights_digest(resolve(str(folder))) != before
    assert len(read) == 2


def test_a_file_changed_moments_ago_is_not_kept(folder: Path, tmp_path: Path) -> None:
    age(folder / "model.safetensors", 100)  # which is itself a change
    weights_digest(resolve(str(folder)))
    assert not (tmp_path / "cache" / "muscle-gov" / "digests.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a": 1}', '{"a": [1, 2]}', "null"])
def test_a_broken_cache_is_ignored(
    folder: Path, tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_file_digests, "_SETTLED", -1)
    before = weights_digest(resolve(str(folder)))
    cache = tmp_path / "cache" / "muscle-gov" / "digests.json"
    cache.write_text(content)
    assert weights_digest(resolve(str(folder))) == before
    assert str(folder / "model.safetensors") in json.loads(cache.read_text())
    assert [path.name for path in cache.parent.iterdir()] == ["digests.json"]


def test_a_cache_of_another_form_is_ignored(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_file_digests, "_SETTLED", -1)
    before, file = weights_digest(resolve(str(folder))), folder / "model.safetensors"
    cache = tmp_path / "cache" / "muscle-gov" / "digests.json"
    stat = file.stat()
    cache.write_text(json.dumps({str(file): [stat.st_size, stat.st_mtime_ns, "0" * 64]}))
    assert weights_digest(resolve(str(folder))) == before
    assert len(json.loads(cache.read_text())[str(file)]) == 5


def test_a_cache_that_cannot_be_written_is_done_without(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_file_digests, "_SETTLED", -1)
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert len(weights_digest(resolve(str(folder)))) == 64


def test_weights_in_several_files(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    single = folder / "model.safetensors"
    weights = load_file(single)
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, mine in parts.items():
        save_file({name: weights[name] for name in mine}, folder / file)
    single.unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {n: file for file, mine in parts.items() for n in mine}}))
    assert [path.name for path in weight_files(folder)] == ["a.safetensors", "b.safetensors"]
    before = weights_digest(resolve(str(folder)))
    flip_last_byte(folder / "b.safetensors")
    assert weights_digest(resolve(str(folder))) != before
    (folder / "b.safetensors").unlink()
    with pytest.raises(InputError, match=r"names b.safetensors, which is not there"):
        weights_digest(resolve(str(folder)))


def test_pickles_are_refused_unless_allowed(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="allow_pickle = true"):
        weights_digest(resolve(str(folder)))
    assert len(weights_digest(resolve(str(folder)), allow_pickle=True)) == 64
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(InputError, match="there are no weights"):
        weights_digest(resolve(str(folder)), allow_pickle=True)


def test_the_tokenizer_and_its_chat_template_have_digests_of_their_own(folder: Path) -> None:
    before = tokenizer_digest(folder)
    template = folder / "chat_template.jinja"
    assert chat_template(folder) == template.read_text()
    template.write_text("{{ messages }}")
    edit(folder / "tokenizer_config.json", model_max_length=5, name_or_path="elsewhere")
    assert tokenizer_digest(folder) == before
    assert chat_template(folder) == "{{ messages }}"
    edit(folder / "tokenizer_config.json", eos_token="<s>")
    changed = tokenizer_digest(folder)
    assert changed != before
    flip_last_byte(folder / "tokenizer.json")
    assert tokenizer_digest(folder) not in (before, changed)


def test_chat_templates_where_older_tokenizers_have_them(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    assert chat_template(folder) is None
    edit(folder / "tokenizer_config.json", chat_template="one")
    assert chat_template(folder) == "one"
    several = [{"name": "rag", "template": "no"}, {"name": "default", "template": "two"}]
    edit(folder / "tokenizer_config.json", chat_template=several)
    assert chat_template(folder) == "two"


def test_the_dtype_of_config_or_of_the_stored_tensors(folder: Path) -> None:
    assert dtype_of(folder) == "float32"
    edit(folder / "config.json", dtype=None, torch_dtype="torch.bfloat16")
    assert dtype_of(folder) == "bfloat16"
    edit(folder / "config.json", torch_dtype=None)
    assert dtype_of(folder) == "float32"
    assert quantization_of(folder) is None
    edit(folder / "config.json", quantization_config={"quant_method": "awq", "bits": 4})
    assert quantization_of(folder) == "awq 4-bit"


def test_the_context_that_the_tokenizer_decides(folder: Path) -> None:
    edit(folder / "tokenizer_config.json", model_max_length=77)
    assert tokenizer_context(folder) is None
    edit(folder / "config.json", max_position_embeddings=None, text_config={"n_positions": 55})
    assert tokenizer_context(folder) is None
    edit(folder / "config.json", text_config=None)
    assert tokenizer_context(folder) == 77
    edit(folder / "tokenizer_config.json", model_max_length=1e30)
    assert tokenizer_context(folder) is None


def test_an_adapter_in_the_models_own_directory_is_told(folder: Path, tmp_path: Path) -> None:
    assert resolve_model(str(folder)) == resolve(str(folder))
    adapter = make_adapter(folder, tmp_path / "adapter")
    with pytest.raises(InputError, match=r"adapter: is an adapter .* and this as `adapter`"):
        resolve_model(str(adapter))
    shutil.copytree(adapter, folder, dirs_exist_ok=True)
    with pytest.raises(
        InputError, match=r"model: holds adapter_config\.json beside the model, .*remove"
    ):
        resolve_model(str(folder))


def test_adapters(folder: Path, tmp_path: Path) -> None:
    adapter = make_adapter(folder, tmp_path / "adapter", targets=("v_proj", "q_proj"))
    stated = adapter_config(adapter)
    assert (stated.kind, stated.targets, stated.rank) == ("LORA", ("q_proj", "v_proj"), 8)
    assert stated.base == str(folder)
    before = adapter_digest(resolve(str(adapter)))
    edit(adapter / "adapter_config.json", base_model_name_or_path="elsewhere")
    assert adapter_digest(resolve(str(adapter))) == before
    edit(adapter / "adapter_config.json", lora_alpha=99)
    changed = adapter_digest(resolve(str(adapter)))
    assert changed != before
    flip_last_byte(adapter / "adapter_model.safetensors")
    assert adapter_digest(resolve(str(adapter))) not in (before, changed)
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(InputError, match="pickled"):
        adapter_digest(resolve(str(adapter)))
    with pytest.raises(InputError, match="is this an adapter"):
        _model_files.read_config(adapter)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "a/b/c", ""])
def test_a_directory_that_is_not_there(name: str) -> None:
    with pytest.raises(InputError, match=r"there is no such model directory \(option path\)"):
        resolve(name)


def test_a_directory_has_no_revision(folder: Path) -> None:
    with pytest.raises(InputError, match="leave out the revision"):
        resolve(str(folder), "main")


def test_a_damaged_config_is_one_sentence(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json"):
        weights_digest(resolve(str(folder)))


HUB_SCRIPT = """
import sys
from muscle_gov import InputError
from muscle_gov_plugins import _model_files as files
found = files.resolve("maker/tiny")
files.fetch_weights(found)
print(found.name, found.commit, files.weights_digest(found), files.tokenizer_digest(found.folder))
for name, revision in (("maker/other", None), ("maker/tiny", "v2")):
    try:
        files.resolve(name, revision)
    except InputError as error:
        print(error)
print(*{"torch", "transformers"} & {*sys.modules})
"""


def test_a_model_of_the_hubs_local_cache_is_known_by_its_commit(made: Path, tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--maker--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(made, repository / "snapshots" / commit)
    surroundings = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", HUB_SCRIPT], env=surroundings, capture_output=True, text=True, check=True
    )
    found, other, revision, heavy = done.stdout.split("\n")[:4]
    assert found == f"tiny {commit} commit {commit} {tokenizer_digest(made)}"
    assert other.startswith("maker/other: there is no such directory, and it could not be had from the")
    assert other.endswith("…); give a directory, or fetch the model first (option path)")
    assert len(other) < 280
    assert "maker/tiny" in revision
    assert heavy == ""


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "Got: ConnectError: [Errno -2] No such name\nAn error.",
            "Got: ConnectError: [Errno -2] No such name",
        ),
        ("The cache is full. Please delete something. Or buy a disk.", "The cache is full"),
        ("\n\n  403: version 1.5 is refused.\nDetails: ...", "403: version 1.5 is refused"),
        ("word " * 60, "word " * 23 + "word…"),
        ("", "OSError"),
    ],
)
def test_of_what_the_hubs_library_says_the_first_sentence_is_shown(
    said: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")

    def fail(*_: object, **__: object) -> None:
        raise OSError(said)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(InputError) as refusal:
        resolve("models/tpyo")
    assert str(refusal.value) == (
        f"models/tpyo: there is no such directory, and it could not be had from the hub ({shown}); give "
        "a directory, or fetch the model first (option path)"
    )
