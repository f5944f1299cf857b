"""Device, precision and processes: the one file that calls Lightning Fabric.

Fabric is used for placement, mixed precision, data parallelism and collectives, nothing else. Several processes come
from ``torchrun``; its environment variables are the only sign of them.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sized
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from bitspike.errors import RunError
from bitspike.ops import pixels_first
from bitspike.weights import WeightPath


def rank() -> int:
    """Return the number of this process among those that ``torchrun`` started, from 0; 0 when it started none."""
    return _from_torchrun("RANK", 0)


def world_size() -> int:
    """Return how many processes ``torchrun`` started; 1 when it started none."""
    return _from_torchrun("WORLD_SIZE", 1)


def launcher() -> list[str]:
    """Return the words by which this process was started, or processes like it under ``torchrun``.

    Example:
        >>> launcher()
        ['bitspike']
    """
    world, local = world_size(), _from_torchrun("LOCAL_WORLD_SIZE", 1)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return ["bitspike"]
    nodes = [f"--nnodes={world // local}"] if world > local else []
    return ["torchrun", *nodes, f"--nproc-per-node={local}", "-m", "bitspike"]


def leave() -> None:
    """Leave the processes that train together; nothing common is possible afterwards."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # Nobody leaves while another still talks: without this, gloo of torch 2.6 waits for ever.
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _from_torchrun(name: str, default: int) -> int:
    return int(os.environ.get(name, default)) if "TORCHELASTIC_RUN_ID" in os.environ else default


def _length(batches: object) -> int | None:
    """Return how many batches there are; None where nobody knows."""
    try:
        return len(batches) if isinstance(batches, Sized) else None
    except TypeError:  # a DataLoader has a length by its class, and not where its data set has none
        return None


def lay_out(model: nn.Module, layout: torch.memory_format) -> list[nn.Parameter]:
    """Bring the kernels of 2d convolutions into a layout, in place; return those that were changed.

    Values, names and identities stay, so an optimizer made before finds its parameters.

    Example:
        >>> conv = nn.Conv2d(3, 8, 3)
        >>> changed = lay_out(conv, torch.channels_last)
        >>> conv.weight.is_contiguous(memory_format=torch.channels_last), changed[0] is conv.weight
        (True, True)
    """
    changed = [p for p in model.parameters() if p.dim() == 4 and not _lies(p, layout)]
    for p in changed:
        p.data = p.data.to(memory_format=layout)
    return changed


def _lies(p: Tensor, layout: torch.memory_format) -> bool:
    # A kernel of one pixel lies in both layouts at once; torch then goes by its strides.
    plain = torch.empty(p.shape, device="meta").stride()
    return p.stride() == plain if layout == torch.contiguous_format else p.is_contiguous(memory_format=layout)


class Workers:
    """The processes that train together, of which this is one.

    Args:
        precision: of convolutions and products.
        device: ``cpu`` or ``cuda``.

    Raises:
        RunError: the processes of ``torchrun`` cannot be joined.
    """

    def __init__(self, precision: Literal["fp32", "bf16"], device: str) -> None:
        self.precision = precision
        # How images and kernels lie in memory. In bf16 channels last is several times as fast; in fp32 a CPU's
        # convolutions are as fast or faster with contiguous channels.
        self.layout = torch.channels_last if precision == "bf16" else torch.contiguous_format
        self._laid: list[nn.Parameter] = []
        fabric_class, environments = _fabric()
        world, local = world_size(), _from_torchrun("LOCAL_WORLD_SIZE", 1)
        try:
            with warnings.catch_warnings():
                # Fabric advises on other devices of the machine; the choice was made above.
                warnings.simplefilter("ignore")
                self._fabric = fabric_class(
                    accelerator=device,
                    devices=local,
                    num_nodes=world // local,
                    strategy="ddp" if world > 1 else "auto",
                    precision="bf16-mixed" if precision == "bf16" else "32-true",
                    plugins=[
                        environments.TorchElasticEnvironment() if world > 1 else environments.LightningEnvironment()
                    ],
                )
                self._fabric.launch()
        except (RuntimeError, ValueError) as error:
            raise RunError(
                f"the {world} processes of torchrun could not be joined: {error}",
                fix="see that every process of torchrun reaches the others; without torchrun one process trains alone",
            ) from error
        self.count: int = self._fabric.world_size
        self.rank: int = self._fabric.global_rank
        self.first = self.rank == 0
        self.device: torch.device = self._fabric.device

    def setup(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, Any]:
        """Place model and optimizer; return what to call in their stead, in mixed precision and over all processes."""
        # In fp32 the user's own layout is as good, except where channels last is not safe.
        if self.layout == torch.channels_last or pixels_first.needed():
            self._laid = lay_out(model, self.layout)
        # Fabric would compile anew what is compiled, and asks for options that only it has written down.
        more = {"_reapply_compile": False} if hasattr(model, "_orig_mod") else {}
        wrapped, stepper = self._fabric.setup(model, optimizer, **more)
        return cast(nn.Module, wrapped), stepper

    def send(self, x: Tensor) -> Tensor:
        """Move a tensor to the device, images [N, C, H, W] into the layout of the run: once, and never again inside."""
        x = x.to(self.device, non_blocking=True)
        return x.contiguous(memory_format=self.layout) if x.dim() == 4 and x.is_floating_point() else x

    @contextmanager
    def placed(self, model: nn.Module) -> Iterator[None]:
        """Keep another network, which is not trained, on the device and in the layout of the run for a block."""
        home = next((t.device for t in (*model.parameters(), *model.buffers())), torch.device("cpu"))
        model.to(self.device)
        laid = lay_out(model, self.layout) if self.layout == torch.channels_last else []
        try:
            yield
        finally:
            for p in laid:
                p.data = p.data.to(memory_format=torch.contiguous_format)
            model.to(home)

    def mixed_precision(self) -> AbstractContextManager[Any]:
        """Return the context in which the trained network computes."""
        return cast(AbstractContextManager[Any], self._fabric.autocast())

    def give_back(self) -> None:
        """Bring the weights back into the layout in which they came."""
        came = torch.contiguous_format if self.layout == torch.channels_last else torch.channels_last
        for p in self._laid:
            p.data = p.data.to(memory_format=came)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Leave a warning of torch about several processes unsaid for a block.

        The block is a whole training: with every change of its filters Python shows again what it has shown already.
        """
        if self.count == 1:
            yield
            return
        with warnings.catch_warnings():
            # Said of kernels of one input channel, whose gradient lies in memory as the kernel does, by other strides.
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
            yield

    def backward(self, loss: Tensor) -> None:
        """Compute gradients: their mean over the processes."""
        self._fabric.backward(loss)

    def add_up(self, x: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.count == 1:
            return x
        return cast(Tensor, self._fabric.all_reduce(x.to(self.device), reduce_op="sum"))

    def share(self, samples: int) -> float | Tensor:
        """Return the factor that turns this process's mean loss into its part of the mean over all samples.

        The processes' gradients are averaged, so the factor is ``count * samples / total``; 1 for equal shares.
        """
        if self.count == 1:
            return 1.0
        total = self.add_up(torch.tensor(float(samples), dtype=torch.float64))
        return (self.count * samples / total).float()

    def agreed_length(self, batches: object) -> int | None:
        """Return the number of batches per epoch, None if the loader does not know it.

        Raises:
            RunError: the processes would read different numbers of batches, and one would wait for ever.
        """
        own = _length(batches)
        if own is not None:
            way = "bs.data.Batches(..., rank=, world_size=) deals them out evenly"
            self.need_equal(own, "read different numbers of batches", fix=way)
        return own

    def need_equal(self, number: int, otherwise: str, *, fix: str) -> None:
        """Raise RunError, saying ``otherwise``, unless all processes have the same number."""
        if self.count == 1:
            return
        own = torch.zeros(self.count, dtype=torch.int64)  # Fabric gathers by a function that torch has deprecated
        own[self.rank] = number
        numbers = self.add_up(own).tolist()
        if len(set(numbers)) > 1:
            raise RunError(f"the processes {otherwise}: {numbers}", fix=fix)

    def average_buffers(self, model: nn.Module) -> None:
        """Give all processes the same running statistics: their mean; counters and flags come from the first.

        So does what weight paths hold, which is equal everywhere: a mean of three equal numbers may be another one.
        """
        if self.count == 1:
            return
        equal = {id(b) for m in model.modules() if isinstance(m, WeightPath) for b in m.buffers()}
        for buffer in model.buffers():
            if buffer.is_floating_point() and id(buffer) not in equal:
                buffer.copy_(self.add_up(buffer) / self.count)
            else:
                buffer.copy_(self._fabric.broadcast(buffer))


def _fabric() -> tuple[Any, Any]:
    try:
        import lightning_fabric as package
        from lightning_fabric.plugins import environments
    except ModuleNotFoundError:
        # The same code under the name that the whole Lightning package gives it.
        import lightning.fabric as package  # type: ignore[import-not-found, no-redef, unused-ignore]
        from lightning.fabric.plugins import environments  # type: ignore[import-not-found, no-redef, unused-ignore]
    # Fabric announces its settings on stderr at every start; here the command line speaks, and says what matters.
    logging.getLogger(package.__name__).setLevel(logging.WARNING)
    return package.Fabric, environments
