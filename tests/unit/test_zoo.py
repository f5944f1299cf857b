"""The networks that come with the package: every one is what its record says, and can be used at once."""

from __future__ import annotations

import errno
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from benchmarks.zoo import put
from click.testing import Result
from typer.testing import CliRunner

import bitspike as bs
from bitspike import digests, zoo
from bitspike.cli import app
from bitspike.errors import ConstraintError, PackageError, RunError
from bitspike.files import whole_folder
from bitspike.recipe import shipped
from bitspike.zoo import catalog, shelf

NAMES = zoo.names()
TRAINED = [name for name in NAMES if zoo.about(name).recipe.kind == "train"]
HOUSE = Path(zoo.__file__).parent / "networks"


def call(*words: str) -> Result:
    return CliRunner().invoke(app, ["zoo", *words])


def test_every_file_is_listed_and_every_listed_one_is_there() -> None:
    assert [file.stem for file in sorted(HOUSE.glob("*.zip"))] == NAMES
    assert {"quickstart", "resnet20-cifar10-w4-t3"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_the_one_that_its_certificate_names(name: str) -> None:
    entry = zoo.about(name)
    with shelf._laid_out(name) as folder:
        manifest = json.loads((folder / "network" / "manifest.json").read_text())
        weights = digests.of_file(folder / "network" / "weights.safetensors")
    assert digests.of_values(manifest) == entry.digest
    assert weights in {file["sha256"] for file in manifest["files"]}
    assert entry.report["certificate"]["equal"] is True
    assert entry.recipe.name in shipped()


@pytest.mark.parametrize("name", NAMES)
def test_a_network_runs_and_is_as_wide_as_its_record_says(name: str) -> None:
    net, entry = zoo.load(name), zoo.about(name)
    assert net.steps == entry.steps
    assert net.weight_bits() == entry.report["bits"]
    assert net.weight_bytes() == entry.packed_bytes
    source = net.input
    codes = torch.randint(source.grid.low, source.grid.high + 1, (1, 1, *source.shape)).numpy()
    (output,) = net.outputs
    assert bs.simulate(net, codes).outputs[output.id].shape[-1] == 10


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_network_tells_of_the_machine_that_made_it(name: str) -> None:
    entry = zoo.about(name)
    assert entry.report["recipe"]["data"].get("root") is None
    assert "platform" not in entry.report["environment"]
    assert entry.report["command"].startswith(f"bitspike run {entry.recipe.name}")
    assert entry.licence


@pytest.mark.parametrize("name", TRAINED)
def test_the_network_of_torch_lowers_to_the_package_that_was_proven(name: str, tmp_path: Path) -> None:
    net, model = zoo.load(name), zoo.module(name)
    assert not model.training
    bs.save(bs.lower(model, torch.zeros(1, *net.input.shape), grid=net.input.grid), tmp_path / "again")
    manifest = json.loads((tmp_path / "again" / "manifest.json").read_text())
    with shelf._laid_out(name) as folder:
        older = json.loads((folder / "network" / "manifest.json").read_text())
    assert manifest["files"] == older["files"]
    assert manifest["nodes"] == older["nodes"]


def test_a_converted_network_comes_as_the_one_that_was_converted() -> None:
    model = zoo.module("digits-progressive-t3")
    assert any(isinstance(module, bs.QuantReLU) for module in model.modules())
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_an_unpacked_network_is_a_finished_run(tmp_path: Path) -> None:
    name = "digits-progressive-t3"
    run = zoo.unpack(name, tmp_path / "run")
    assert bs.verify(run, expect=zoo.about(name).digest).equal  # golden vectors are those of the package, to the byte
    assert bs.evaluate(run)["accuracy"] == pytest.approx(zoo.about(name).accuracy, abs=0.02)
    assert "<html" in (run / "report.html").read_text()
    with pytest.raises(RunError, match="exists, and nothing is overwritten"):
        zoo.unpack(name, run)


def test_two_that_unpack_into_one_folder_do_not_meet(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with whole_folder(run), pytest.raises(RunError, match=r"(?s)another process is writing it.*fix: wait until"):
        zoo.unpack("quickstart", run)
    assert list(run.iterdir()) == []
    with pytest.raises(RunError, match="exists, and nothing is overwritten"):
        zoo.unpack("quickstart", run)


def test_one_that_was_faster_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, read = tmp_path / "run", shelf._integers

    def slowly(folder: Path) -> bs.IntegerNetwork:
        run.mkdir()
        (run / "mine").write_text("")
        return read(folder)

    monkeypatch.setattr(shelf, "_integers", slowly)
    with pytest.raises(RunError, match="exists, and nothing is overwritten"):
        zoo.unpack("quickstart", run)
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "mine"]


def test_what_there_is_is_listed_without_torch() -> None:
    calls = "[c.main(['zoo', *words]) for words in ([], ['quickstart'])]"
    code = f"import sys, bitspike.cli as c; {calls}; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, "licence" in done.stdout) == (0, True), done.stderr


def test_the_verb_lists_shows_and_unpacks(tmp_path: Path) -> None:
    listed = call()
    assert listed.exit_code == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()[1:]] == NAMES
    assert max(map(len, listed.stdout.splitlines())) <= 80
    shown = call("quickstart", "--out", str(tmp_path / "run"))
    assert shown.exit_code == 0
    assert str(zoo.about("quickstart")) in shown.stdout
    assert (tmp_path / "run" / "report.json").is_file()
    assert json.loads(call("quickstart", "--json").stdout) == zoo.about("quickstart").to_dict()


def test_wrong_words_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConstraintError, match=r"(?s)no network 'quikstart'.*fix: 'quickstart'"):
        zoo.load("quikstart")
    assert call("quikstart").exit_code == 2
    assert call("--out", str(tmp_path / "run")).exit_code == 2


def test_a_damaged_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(HOUSE, tmp_path / "networks")
    monkeypatch.setattr(catalog, "_HOUSE", copy)
    file = copy / "quickstart.zip"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(PackageError, match="not what the package came with"):
        zoo.load("quickstart")
    file.unlink()
    with pytest.raises(PackageError, match="cannot be read"):
        zoo.about("quickstart")


def test_a_full_folder_for_temporary_files_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        for use in (zoo.load, zoo.module, lambda name: zoo.unpack(name, tmp_path / "run")):
            with pytest.raises(RunError, match=r"(?s)laid out in .*No space left.*fix: a folder with room.*TMPDIR="):
                use("quickstart")
    assert list(tmp_path.iterdir()) == []
    assert zoo.load("quickstart").steps == 4


def test_a_network_that_is_put_in_comes_out_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = zoo.unpack("digits-progressive-t3", tmp_path / "run")
    place = tmp_path / "networks"
    put(run, "again", about="The same.", licence="free", shelf=place)
    monkeypatch.setattr(catalog, "_HOUSE", place)
    assert zoo.names() == ["again"]
    assert zoo.about("again").licence == "free"
    net, older = zoo.load("again"), bs.load(run / "network")
    assert [repr(node) for node in net.nodes] == [repr(node) for node in older.nodes]
    assert zoo.about("again").digest == json.loads((run / "network" / "manifest.json").read_text())["digest"]
