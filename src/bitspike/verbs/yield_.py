"""What the chips of a network reach: many of them measured, each with devices of its own, and their statistics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from bitspike import digests
from bitspike.analysis.chips.result import Yield, write
from bitspike.analysis.chips.statistics import statistics
from bitspike.arguments import checked
from bitspike.errors import ConstraintError, DataError, RunError, short
from bitspike.files import locked, write_whole
from bitspike.lowering.fit_neuron import Precision
from bitspike.ops.grids import Grid
from bitspike.recipe import AnyRecipe
from bitspike.recipe.kinds.train import TrainRecipe
from bitspike.runs.folder import need_place
from bitspike.runs.job import finished
from bitspike.runs.many_chips import ManyChips
from bitspike.tasks.batches import need_loader, pairs, samples_of
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Task
from bitspike.train import Observer, evaluate
from bitspike.train.checkpoint import state_of
from bitspike.train.evaluate import Batches
from bitspike.weights.chips import varies, varying
from bitspike.weights.devices.variation import check_resolution

CHIPS = "chips.jsonl"
"""The file of the chips that are measured: a line of settings, and a line for each."""


@checked
def yield_(
    network: nn.Module | str | Path,
    batches: Batches | None = None,
    *,
    chips: int = 20,
    seed: int = 0,
    required: float | None = None,
    samples: int | None = None,
    resolution: int | None = 7,
    integers: bool = True,
    adapt: int | Batches | None = None,
    grid: Grid | None = None,
    precision: Precision | None = None,
    task: Task | None = None,
    out: str | Path | None = None,
    set: Iterable[str] = (),
    observer: Observer | None = None,
) -> Yield:
    """Measure many chips of a network, each with draws of its own, and say what they reach.

    The chips are those of the seeds ``seed``, ``seed + 1``, ...: the same on every machine. A spiking network is
    lowered once; every chip then has weight codes of its own and runs on the integer engine, as it would in hardware.
    What has no integers runs by torch, and the result says why. Chips that were measured before stay in the folder:
    a command that was stopped goes on, and one with more chips measures only those that are new.

    Args:
        network: the folder of a finished run whose recipe has ``weights.vary``; or a model with variation in memory.
        batches: for a model in memory, pairs of inputs and labels, read once for every chip. A run has its test images.
        chips: how many, at least 1.
        seed: of the first chip.
        required: the accuracy from which a chip is good; None asks for no yield.
        samples: of a run, the first so many test images; None is all of them.
        resolution: the bits with which cells are read, 2 to 15; None leaves levels as real numbers. 7 is a step of 1/64
            of the largest weight, whose codes the engine multiplies as bytes.
        integers: False runs spiking networks by torch as well.
        adapt: measure the norms of every chip again: with so many training images of a run, or with batches. Such chips
            run by torch.
        grid, precision: of a model in memory, as ``bs.lower`` takes them; a run has its own.
        task: of a model in memory; None is classification.
        out: folder for ``yield.json``, ``yield.csv`` (a line for each chip) and ``yield.svg``; None is ``yield`` in the
            folder of a run, and writes nothing for a model in memory.
        set: changes to the recipe of a run, such as ``weights.vary.sigma=0.5``.
        observer: hears how far it is.

    Raises:
        ConstraintError: no weight varies, or a number outside what is allowed. DataError: there is no sample.
        RunError: there is no finished run, or the folder holds chips of another network or setting.

    Example:
        >>> import bitspike as bs
        >>> model = bs.attach(nn.Linear(2, 2, bias=False), quantize=bs.Midrise(1), vary=bs.Lognormal(0.3))
        >>> with torch.no_grad():
        ...     model.weight = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
        >>> chips = yield_(model, [(torch.eye(2), torch.tensor([0, 1]))], chips=3)
        >>> chips.accuracies, chips.by
        ((1.0, 1.0, 1.0), 'torch')
    """
    if not isinstance(network, nn.Module | str | Path):
        raise ConstraintError(
            f"bs.yield_({type(network).__name__}): a network of torch, whose weights vary, or a run is needed",
            fix="bs.yield_(model, loader), the model that was lowered",
        )
    _check(chips, seed, required, samples, resolution)
    if out is not None:
        need_place(Path(out))
    if isinstance(network, nn.Module):
        if batches is None:
            raise DataError("bs.yield_(model): a model in memory needs data", fix="bs.yield_(model, loader)")
        many = ManyChips(
            network,
            batches,
            task or Classification(),
            resolution,
            grid=grid,
            precision=precision,
            integers=integers,
            adapting=_in_memory(adapt),
        )
        name, key = type(network).__name__, _digest_of(network) if out is not None else ""
    else:
        many, key = _of_run(network, set, samples, resolution, integers, adapt)
        name, out = str(Path(network)), Path(network) / "yield" if out is None else out
    varying(many.model)  # of a model in memory
    reads = [many.batches, *([] if many.adapting is None else [many.adapting])]
    for several in reads:
        need_loader(several)
    adapted = 0 if many.adapting is None else sum(samples_of(x, y) for x, y in pairs(many.adapting))
    measured = evaluate(many.model, many.batches, seed=many.seed, task=many.task)
    settings = {"network": key, "samples": measured.samples, "resolution": resolution, "by": many.by}
    settings["adapted"] = adapted
    if isinstance(network, nn.Module) and out is not None:  # the recipe of a run says all of this
        settings["data"] = " ".join(_digest_of_data(several) for several in reads)
        settings["setting"] = f"{grid} {precision} {type(many.task).__name__}"
    seeds = tuple(range(seed, seed + chips))
    folder = None if out is None else Path(out)
    with _kept(folder, settings) as known:
        _measure(many, [s for s in seeds if s not in known], known, folder, observer or Observer())
        accuracies = tuple(known[s] for s in seeds)
        result = Yield(
            network=name,
            metric=many.task.wording.metric,
            samples=measured.samples,
            ideal=measured.accuracy,
            seeds=seeds,
            accuracies=accuracies,
            resolution=resolution,
            by=many.by,
            reason=many.reason,
            adapted=adapted,
            statistics=statistics(accuracies, required),
            folder=None if folder is None else str(folder),
        )
        if folder is not None:
            write(result, folder)
    return result


def _check(chips: int, seed: int, required: float | None, samples: int | None, resolution: int | None) -> None:
    for name, value, least in (("chips", chips, 1), ("seed", seed, 0), ("samples", samples, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise ConstraintError(
                f"yield: {name} is {value!r}; a whole number of at least {least} is needed",
                fix=f"{name}={max(least, 20)}",
            )
    if required is not None and not 0 <= required <= 1:
        raise ConstraintError(f"yield: required is {required!r}; a fraction from 0 to 1 is needed", fix="required=0.9")
    if resolution is not None:
        check_resolution(resolution, "yield_")


def _in_memory(adapt: int | Batches | None) -> Batches | None:
    if isinstance(adapt, int):
        raise ConstraintError(
            f"yield: adapt={adapt} counts training images, which a run has; a model in memory needs batches",
            fix="adapt=calibration_loader",
        )
    return adapt


def _of_run(
    run: str | Path,
    set: Iterable[str],
    samples: int | None,
    resolution: int | None,
    integers: bool,
    adapt: int | Batches | None,
) -> tuple[ManyChips, str]:
    """Return the network of a run, and a digest of its weights and recipe."""
    job, _ = finished(Path(run), set)
    assert job.folder is not None
    spiking = job.spiking
    adapting = job.data.calibration_batches(most=adapt) if isinstance(adapt, int) else adapt
    spiking.network.to("cpu")
    if not varies(spiking.network):
        raise ConstraintError(f"{run}: no weight varies, so all chips are alike", fix=_way_to_vary(job.recipe))
    many = ManyChips(
        spiking.network,
        job.data.test_batches(samples),
        job.task,
        resolution,
        seed=job.recipe.seed,
        grid=spiking.grid,
        precision=spiking.precision,
        integers=integers and not spiking.partial,
        adapting=adapting,
    )
    weights = digests.of_file(job.folder / "model.safetensors")
    # Values that are the default say nothing: a key that a later version brings must not part a run from its chips.
    asked = job.recipe.model_dump(mode="json", exclude_defaults=True, exclude={*job.recipe.noted})
    recipe = digests.of_values(asked)
    return many, f"{weights} {recipe}"


def _way_to_vary(recipe: AnyRecipe) -> str:
    """Say how the weights of a run can vary: by its recipe, or in memory where its kind has no word for that."""
    if not isinstance(recipe, TrainRecipe):
        return "bs.attach(network, vary=bs.Lognormal.for_bits(4)), then bs.yield_(network, batches) of it in memory"
    stages, stage = recipe.stages or (), recipe.chosen
    own = stage is not None and stage.weights is not None  # otherwise its weights are those of the section
    place = f"stages.{stages.index(stage)}." if own else ""
    return f"--set '{place}weights.vary={{kind: rram, bits: 4}}', for weights of 4 bits"


def _digest_of(model: nn.Module) -> str:
    parts = {name: digests.of_bytes(_bytes(value)) for name, value in state_of(model).items()}
    return digests.of_values({**parts, "model": repr(model)})


def _bytes(value: Tensor) -> bytes:
    content: bytes = value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
    return content


def _digest_of_data(batches: Batches) -> str:
    """Return a digest of samples and labels in any order, as a loader that shuffles gives them."""

    def plain(value: Any) -> Any:
        return (value.dtype, list(value.shape), _bytes(value)) if isinstance(value, Tensor) else value

    total = 0
    for x, y in pairs(batches):
        parts = list(zip(x, y, strict=True)) if len(x) == len(y) else [(x, y)]
        total += sum(int(digests.of_bytes(repr(tree_map(plain, part)).encode()), 16) for part in parts)
    return f"{total % 2**256:064x}"


@contextmanager
def _kept(folder: Path | None, settings: dict[str, Any]) -> Iterator[dict[int, float]]:
    """Keep the folder to this process for a block and give the chips that were measured before, by seed.

    Raises:
        RunError: the folder holds chips of another network or setting, or another process is at work in it.
    """
    if folder is None:
        yield {}
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder} cannot be made: {error.strerror}", fix="--out ANOTHER_FOLDER") from None
    with locked(folder) as mine:
        if not mine:
            raise RunError(f"another process is at work in {folder}", fix="wait until it has ended, or --out ANOTHER")
        file = folder / CHIPS
        if not file.exists():
            write_whole(file, json.dumps(settings) + "\n")
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        # The last line of a command that was killed may be half of one.
        rows = [_row(file, number, line) for number, line in enumerate(lines) if line.endswith("\n")]
        if len(rows) < len(lines):
            write_whole(file, "".join(json.dumps(row) + "\n" for row in rows))
        before = rows[0] if rows else {}
        if before != settings:
            other = ", ".join(n for n in settings if before.get(n) != settings[n])
            raise RunError(
                f"{folder} holds chips that were measured with another setting ({other})",
                fix=f"--out ANOTHER_FOLDER, or remove {folder}",
            )
        yield {row["seed"]: row["accuracy"] for row in rows[1:]}


def _row(file: Path, number: int, line: str) -> dict[str, Any]:
    """Return the settings, which stand first, or a chip."""
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    seed, accuracy = (row.get(name) for name in ("seed", "accuracy")) if isinstance(row, dict) else (None, None)
    if not isinstance(row, dict) or (number and not (isinstance(seed, int) and isinstance(accuracy, int | float))):
        raise RunError(
            f"{file} is damaged: line {number + 1} is {short(line.rstrip())}, and neither settings nor a chip",
            fix=f"remove that line, or --out ANOTHER_FOLDER, or remove {file.parent}",
        )
    return row


def _measure(
    many: ManyChips, seeds: list[int], known: dict[int, float], folder: Path | None, observer: Observer
) -> None:
    """Measure the chips of these seeds, and write each down as soon as it is known."""
    often = max(1, len(seeds) // 10)
    for number, (seed, accuracy) in enumerate(many.accuracies(seeds), 1):
        known[seed] = accuracy
        if folder is not None:
            with (folder / CHIPS).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"seed": seed, "accuracy": accuracy}) + "\n")
        if number % often == 0:
            observer.note(f"{number:,} of {len(seeds):,} chips, the last one {accuracy:.2%}")
