"""What is damaged and how it is read: packages, checkpoints, NIR files, recipes, chips, tables, records, images."""

from __future__ import annotations

import json
import random
import shutil
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn

import bitspike as bs
from benchmarks import mutators as m
from bitspike import digests
from bitspike.analysis.report.report import render, summary
from bitspike.data.images.arrays import read_arrays
from bitspike.data.images.folders import read_folders
from bitspike.errors import BitspikeError
from bitspike.formats.nir.digest import KEY
from bitspike.hardware.chips import chip
from bitspike.hardware.energy import technology
from bitspike.hardware.energy.operations import MemoryModel
from bitspike.integer.examples import convolution_and_pool, one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.entries import entry_of, tensors_of
from bitspike.integer.saved.folder import load, save, tensor_bytes
from bitspike.integer.saved.manifest import MANIFEST, VECTORS, WEIGHTS
from bitspike.integer.saved.replay import replay
from bitspike.integer.saved.vectors import golden
from bitspike.recipe import load as load_recipe
from bitspike.recipe.load import shipped
from bitspike.runs.folder import REPORT, opened, progress
from bitspike.train import AdamW, Observer, fit
from bitspike.train.checkpoint import MODEL, OPTIMIZER, STATE
from bitspike.train.progress import Progress


@dataclass(frozen=True)
class Case:
    """One input: what is damaged, and the seed of the damage."""

    subject: str
    seed: str

    def __str__(self) -> str:
        return f"{self.subject} {self.seed}"


class Subject:
    """Something that is damaged and read.

    Args:
        place: an empty folder's path for its files.
    """

    sealed = False
    """Whether a digest covers every change."""

    def __init__(self, place: Path) -> None:
        self.original, self.damaged = place / "original", place / "damaged"
        self.original.mkdir(parents=True)
        self.make(self.original)
        self.meaning = self.read(self.original)

    def make(self, folder: Path) -> None:
        """Write what is going to be damaged."""
        raise NotImplementedError

    def damage(self, folder: Path, r: random.Random) -> None:
        """Change one place."""
        raise NotImplementedError

    def read(self, folder: Path) -> Any:
        """Read it as users do and return what it means; errors of bitspike refuse it."""
        raise NotImplementedError

    def outcome(self, case: Case) -> tuple[str, str]:
        """Return what became of one input, and a word about it."""
        shutil.rmtree(self.damaged, ignore_errors=True)
        shutil.copytree(self.original, self.damaged)
        self.damage(self.damaged, random.Random(case.seed))
        try:
            found = self.read(self.damaged)
        except BitspikeError as error:
            return ("refused", "") if str(error) else ("raw error", "an error without words")
        except Exception as error:  # noqa: BLE001  this is what is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            return "raw error", f"{type(error).__name__}: {str(error)[:200]} ({where.filename}:{where.lineno})"
        if found == self.meaning:
            return "same", ""
        return ("other meaning", "") if self.sealed else ("accepted", "")


def meaning_of(net: IntegerNetwork) -> str:
    """Return all that a network is, as one digest."""
    tensors = {name: [array.dtype.str, array.tolist()] for node in net.nodes for name, array in tensors_of(node)}
    entries = [entry_of(node) for node in net.nodes]
    return digests.of_values({"T": net.steps, "nodes": entries, "tensors": tensors, "notes": net.notes})


class Package(Subject):
    """A saved network: its certificate must say yes, and what it is must be what was saved."""

    sealed = True

    def make(self, folder: Path) -> None:
        net = convolution_and_pool()
        codes = np.random.default_rng(0).integers(0, 9, (1, 3, *net.input.shape))
        save(net, folder / "network", vectors=golden(net, codes, np.array([0, 3, 1])))

    def damage(self, folder: Path, r: random.Random) -> None:
        path = folder / "network" / r.choice((MANIFEST, MANIFEST, MANIFEST, WEIGHTS, VECTORS))
        if r.random() < 0.02:
            path.unlink()
        elif path.name == MANIFEST:
            path.write_text(m.json_of(path.read_text(), r), encoding="utf-8", errors="replace")
        else:
            path.write_bytes(m.safetensors_of(path.read_bytes(), r))

    def read(self, folder: Path) -> Any:
        certificate = replay(folder / "network")
        loaded: str | BitspikeError
        try:
            loaded = meaning_of(load(folder / "network"))
        except BitspikeError as error:
            loaded = error
        if isinstance(loaded, BitspikeError) or not certificate.equal:
            if self.sealed and certificate.equal != isinstance(loaded, str):
                return f"load and verify disagree: {certificate}, {loaded}"
            raise loaded if isinstance(loaded, BitspikeError) else BitspikeError(str(certificate))
        return loaded


class OldPackage(Package):
    """A package of an earlier version, without a digest."""

    sealed = False

    def make(self, folder: Path) -> None:
        super().make(folder)
        make_old(folder / "network")


def make_old(folder: Path) -> None:
    """Take out of a package what earlier versions did not write: real inputs, decoded outputs and the digest."""
    arrays = load_file(folder / VECTORS)
    kept = {name: a for name, a in arrays.items() if name != "input_values" and not name.endswith(".values")}
    (folder / VECTORS).write_bytes(tensor_bytes(kept))
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["digest"]
    next(f for f in manifest["files"] if f["name"] == VECTORS)["sha256"] = digests.of_file(folder / VECTORS)
    (folder / MANIFEST).write_text(json.dumps(manifest))


class Model(nn.Sequential):
    """A model whose checkpoint is small."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


class _Stop(Observer):
    def epoch_done(self, record: Any) -> None:
        if record.epoch == 2:
            raise KeyboardInterrupt


class Checkpoint(Subject):
    """The checkpoints of a run: model, moments, records and best weights must be what was written."""

    sealed = True

    def make(self, folder: Path) -> None:
        torch.manual_seed(0)
        batches = [(torch.rand(8, 3), torch.arange(8) % 2)]
        try:
            fit(
                Model(), batches, epochs=3, validation=batches, optimizer=AdamW(), folder=folder, observer=_Stop(),
                device="cpu", precision="fp32",
            )  # fmt: skip
        except KeyboardInterrupt:
            return

    def damage(self, folder: Path, r: random.Random) -> None:
        last, best = folder / "checkpoints" / "last", folder / "checkpoints" / "best"
        path = r.choice((last / STATE, last / MODEL, last / OPTIMIZER, best / MODEL, best / STATE))
        if not path.exists():
            return
        if r.random() < 0.03:
            path.unlink()
        elif path.name == STATE:
            path.write_text(m.json_of(path.read_text(), r), encoding="utf-8", errors="replace")
        elif path.name == OPTIMIZER:
            m.torch_of(path, r)
        else:
            path.write_bytes(m.safetensors_of(path.read_bytes(), r))

    def read(self, folder: Path) -> Any:
        torch.manual_seed(1)
        progress(folder)
        model = Model()
        optimizer = AdamW().build(model)
        run = Progress(folder=folder, writes=False, seed=0, epochs=3)
        run.go_on(model, optimizer)
        model(torch.rand(8, 3)).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        values = [*model.state_dict().values(), *(run.best_state or {}).values()]
        return digests.of_values(
            {"values": [v.tolist() for v in values], "records": [str(r) for r in run.records], "best": run.best_epoch}
        )


class OldCheckpoint(Checkpoint):
    """Checkpoints of an earlier version, without digests."""

    sealed = False

    def make(self, folder: Path) -> None:
        super().make(folder)
        (folder / "checkpoints" / "best" / STATE).unlink()
        path = folder / "checkpoints" / "last" / STATE
        state = json.loads(path.read_text())
        path.write_text(json.dumps({k: v for k, v in state.items() if k not in ("digest", "files", "best_digest")}))


class Nir(Subject):
    """A NIR file that bitspike wrote, damaged or edited by another tool."""

    sealed = True
    bytes_changed = 0.5

    def make(self, folder: Path) -> None:
        bs.write_nir(convolution_and_pool(), folder / "x.nir")

    def damage(self, folder: Path, r: random.Random) -> None:
        if r.random() < self.bytes_changed:
            path = folder / "x.nir"
            path.write_bytes(m.bytes_of(path.read_bytes(), r))
        else:
            m.hdf5_of(folder / "x.nir", r)

    def read(self, folder: Path) -> Any:
        return meaning_of(bs.read_nir(folder / "x.nir"))


class OldNir(Nir):
    """A NIR file without digests."""

    sealed = False
    bytes_changed = 0.3

    def make(self, folder: Path) -> None:
        import h5py

        super().make(folder)
        with h5py.File(folder / "x.nir", "r+") as file:
            del file[f"node/metadata/{KEY}"]


class RecipeText(Subject):
    """A recipe: whatever is accepted is a recipe that can be written and read again."""

    def make(self, folder: Path) -> None:
        for name, text in shipped().items():
            (folder / f"{name}.yaml").write_text(text)
        (folder / "chosen").write_text("quickstart")

    def damage(self, folder: Path, r: random.Random) -> None:
        name = r.choice(sorted(shipped()))
        (folder / "chosen").write_text(name)
        path = folder / f"{name}.yaml"
        text = m.lines_of(path.read_text(), r, m.YAML, ":")
        path.write_text(text, encoding="utf-8", errors="replace")

    def read(self, folder: Path) -> Any:
        path = folder / f"{(folder / 'chosen').read_text()}.yaml"
        return load_recipe(path).model_dump_json()


class ChipText(Subject):
    """The profile of a chip, and a network that is checked with it."""

    def make(self, folder: Path) -> None:
        for name in chip.names():
            shutil.copy(chip.PROFILES / f"{name}.toml", folder)
        (folder / "chosen").write_text(chip.names()[0])

    def damage(self, folder: Path, r: random.Random) -> None:
        name = r.choice(chip.names())
        (folder / "chosen").write_text(name)
        path = folder / f"{name}.toml"
        path.write_text(m.lines_of(path.read_text(), r, m.TOML, "="), encoding="utf-8", errors="replace")

    def read(self, folder: Path) -> Any:
        return str(bs.check(one_convolution(), chip=folder / f"{(folder / 'chosen').read_text()}.toml"))


class TechnologyText(Subject):
    """A table of energies, and a network that is billed with it."""

    def make(self, folder: Path) -> None:
        shutil.copy(technology.TABLES / "horowitz-45nm.toml", folder / "x.toml")

    def damage(self, folder: Path, r: random.Random) -> None:
        path = folder / "x.toml"
        path.write_text(m.lines_of(path.read_text(), r, m.TOML, "="), encoding="utf-8", errors="replace")

    def read(self, folder: Path) -> Any:
        net = one_convolution()
        spikes = bs.simulate(net, np.ones((1, 2, *net.input.shape), np.int64))
        return str(bs.energy(net, spikes, table=folder / "x.toml", memory=MemoryModel()))


class Record(Subject):
    """The record of a run and its metrics, from which the report is drawn."""

    def make(self, folder: Path) -> None:
        recipe = load_recipe("quickstart")
        (folder / "recipe.yaml").write_text(shipped()["quickstart"])
        row = {"epoch": 1, "seconds": 1.0, "learning_rate": 0.1, "train_loss": 1.0, "train_accuracy": 0.5}
        row |= {"validation_loss": 1.0, "validation_accuracy": 0.5}
        report = {
            "recipe": recipe.model_dump(mode="json"),
            "accuracy": {"test": 0.98, "by_step": [0.9, 0.98], "lowered": 0.98},
            "certificate": replay(save(one_convolution(), folder / "network")).to_dict(),
            "bits": {"fc": 2},
            "agreement": {"spikes": 1.0, "accuracy_difference": 0.0, "samples": 9},
            "seconds": {"total": 3.0},
            "bytes": {"weights_packed": 10, "weights_float32": 100, "package": 9},
            "epochs": {"run": 2, "best": 1, "kept": 1},
            "widths": [{"layer": "fc", "accumulator_bits": 4, "membrane_bits": 4}],
            "notes": [],
            "metrics": [row, row | {"epoch": 2}],
            "activity": {"neuron": {"rate": 0.1, "silent": 0.0, "saturated": 0.0, "spikes": 3.0, "neurons": 4}},
            "checks": [],
        }
        (folder / REPORT).write_text(json.dumps(report))

    def damage(self, folder: Path, r: random.Random) -> None:
        path = folder / REPORT
        path.write_text(m.json_of(path.read_text(), r), encoding="utf-8", errors="replace")

    def read(self, folder: Path) -> Any:
        _, report = opened(folder)
        return summary(report), render(report, report.get("metrics", ()))


class Images(Subject):
    """A folder of images, and arrays in one file."""

    def make(self, folder: Path) -> None:
        from PIL import Image

        pixels = np.random.default_rng(0).integers(0, 256, (4, 9, 9, 3), dtype=np.uint8)
        for split, suffix in (("train", "png"), ("train", "jpg"), ("train", "bmp"), ("train", "gif"), ("test", "png")):
            (folder / "set" / split / "cat").mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[0]).save(folder / "set" / split / "cat" / f"{suffix}.{suffix}")
        labels = np.arange(4)
        np.savez_compressed(
            folder / "x.npz", train_images=pixels, train_labels=labels, test_images=pixels, test_labels=labels
        )

    def damage(self, folder: Path, r: random.Random) -> None:
        files = sorted(path for path in folder.rglob("*.*") if path.is_file())
        path = r.choice(files)
        path.write_bytes(m.bytes_of(path.read_bytes(), r))

    def read(self, folder: Path) -> Any:
        images, labels, classes = read_folders(folder / "set", "train", size=9, channels=3)
        more, numbers = read_arrays(folder / "x.npz", "train")
        return images.tolist(), labels.tolist(), classes, more.tolist(), numbers.tolist()


SUBJECTS: dict[str, Callable[[Path], Subject]] = {
    "package": Package,
    "old package": OldPackage,
    "checkpoint": Checkpoint,
    "old checkpoint": OldCheckpoint,
    "NIR": Nir,
    "old NIR": OldNir,
    "recipe": RecipeText,
    "chip": ChipText,
    "technology": TechnologyText,
    "record": Record,
    "images": Images,
}
_SHARES = {"package": 6, "checkpoint": 5, "old package": 3, "old checkpoint": 3, "NIR": 4, "recipe": 5, "chip": 5}
"""How many inputs of a subject there are for one of each other."""


def cases(count: int, seed: int, subjects: tuple[str, ...]) -> Iterator[Case]:
    """Yield inputs, the subjects in turn by their shares."""
    turn = [name for name in subjects for _ in range(_SHARES.get(name, 1))]
    for i in range(count):
        yield Case(turn[i % len(turn)], f"{seed}/{i}")
