"""Trained weights in the bits that they need: a file in which quantized weights are codes, and all others floats.

Codes of up to 256 levels are stored as the indices of their levels, next to each other without gaps: index i takes the
bits ``i * b`` to ``(i + 1) * b - 1`` of the stream, bit j being bit ``j % 8``, from the lowest, of byte ``j // 8``. One
scale per layer or channel goes with them, so the weights read back are those of the forward pass, bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from bitspike.errors import ConstraintError, PackageError, some
from bitspike.files import write_whole
from bitspike.ops.wrappers import unwrapped
from bitspike.weights.attach import bias_codes, weight_codes
from bitspike.weights.codes import WeightCodes, along
from bitspike.weights.constraints.failure import constraint_failure
from bitspike.weights.path import path_of, paths

PARTS = ("codes", "levels", "scale", "shape")
"""What stands for a quantized tensor NAME: ``NAME.codes`` and so on; without ``levels`` codes stand as they are."""
_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


@dataclass(frozen=True)
class PackedSize:
    """What the weights of convolutions and linear layers take up; biases, norms and scales are counted apart.

    Args:
        weights: how many there are.
        quantized: how many of them are codes.
        bytes: of all of them in the file.
        others: bytes of everything else in it.
    """

    weights: int
    quantized: int
    bytes: int
    others: int

    @property
    def share(self) -> float:
        """The bytes of the weights next to those of the same weights in float32."""
        return self.bytes / max(1, 4 * self.weights)


def write_packed(model: nn.Module, file: Path | str) -> PackedSize:
    """Write the state of a model as safetensors, every quantized weight and bias in the bits that its codes need.

    The metadata of the file say how far weights under constraints were from their levels before they were rounded
    (:func:`bitspike.weights.constraint_failure`), as JSON under ``constraint_failure``.

    Args:
        model: with or without weight paths; device variation is left out.
        file: where to; it is written whole or not at all.

    Raises:
        ConstraintError: nothing is quantized; a weight is not finite, or a stage has no codes.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from bitspike.weights import Binary, attach
        >>> layer = attach(nn.Linear(32, 10), quantize=Binary())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     size = write_packed(layer, Path(folder) / "layer.safetensors")
        ...     other = read_packed(nn.Linear(32, 10), Path(folder) / "layer.safetensors")
        >>> torch.equal(other.weight, layer.weight), size.bytes, round(size.share, 5)
        (True, 40, 0.03125)
    """
    model = unwrapped(model)
    state, coded = packed_state(model)
    if not coded and (summed := [name for name, _, _, path, _ in paths(model) if path.quantize is not None]):
        raise ConstraintError(
            f"write_packed: the weights of {some(summed, most=3)} are sums of quantized ones and others that have no "
            "unit in common, so that no codes stand for them",
            fix="a recover stage whose scale is that of the codes, such as bs.SRAM(bits) next to bs.Midrise(bits); or "
            "torch.save(model.state_dict(), file)",
        )
    if not coded:
        raise ConstraintError(
            f"write_packed: no weight of {type(model).__name__} is quantized, so none takes fewer bits",
            fix="bs.attach(model, quantize=bs.Binary()) first, or torch.save(model.state_dict(), file)",
        )
    failure = constraint_failure(model)
    about = {} if failure is None else {"constraint_failure": json.dumps(failure.to_dict())}
    write_whole(Path(file), safetensors.torch.save(state, {"format": "bitspike-packed-weights", **about}))
    names = {f"{prefix}weight" for prefix, m in _modules(model) if isinstance(m, _LAYERS)}
    stored = {name: state[f"{name}.codes" if name in coded else name] for name in names}
    taken = sum(t.nbytes for t in stored.values())
    return PackedSize(
        weights=sum(coded[n].codes.numel() if n in coded else stored[n].numel() for n in names),
        quantized=sum(coded[n].codes.numel() for n in names if n in coded),
        bytes=taken,
        others=sum(t.nbytes for t in state.values()) - taken,
    )


def read_packed(model: nn.Module, file: Path | str) -> nn.Module:
    """Load what :func:`write_packed` wrote into a model without weight paths, and return the model.

    Raises:
        PackageError: the file is missing or damaged, or of another model.
        ConstraintError: the model has weight paths, whose scales would be read from rounded weights.
    """
    inner = unwrapped(model)
    if next(paths(inner), None) is not None:
        raise ConstraintError(
            "read_packed: the model has weight paths, and the file holds weights that are rounded already",
            fix="read_packed(bs.detach(model), file), or read it into the model before bs.attach",
        )
    state = unpacked_state(_read(Path(file)), source=str(file))
    try:
        inner.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = "\n".join(str(error).splitlines()[1:4])
        raise PackageError(
            f"{file} belongs to another model:\n{lines}", fix="build the model that was written"
        ) from error
    return model


def failure_of(file: Path | str) -> dict[str, Any] | None:
    """Return how far the weights of a packed file were from their levels; None where none was under constraints.

    Raises:
        PackageError: the file is missing or damaged.
    """
    try:
        with safe_open(str(file), "pt") as opened:
            text = (opened.metadata() or {}).get("constraint_failure")
            return None if text is None else dict(json.loads(text))
    except (SafetensorError, OSError, ValueError) as error:
        raise PackageError(f"{file}: cannot be read as safetensors ({error})", fix="write_packed writes it") from error


def packed_state(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, WeightCodes]]:
    """Return the state of a model with packed codes in the place of quantized tensors, and these codes, by name."""
    coded, latents, stored = dict[str, WeightCodes](), list[str](), dict[str, Tensor]()
    for prefix, module in _modules(model):
        for tensor, codes_of in (("weight", weight_codes), ("bias", bias_codes)):
            if (path_and_latent := path_of(module, tensor)) is None:
                continue
            name, (path, latent) = f"{prefix}{tensor}", path_and_latent
            latents.append(f"{prefix}parametrizations.{tensor}.")
            try:
                codes = codes_of(module)
            except ConstraintError as error:
                said = error.message.replace(f"{type(module).__name__}.{tensor}", name, 1)
                raise ConstraintError(f"write_packed: {said}", fix=error.fix) from None
            if codes is not None:
                coded[name] = codes
                stored |= {f"{name}.{part}": value for part, value in _packed(codes, latent.dtype).items()}
            else:  # a path without codes, such as one that only varies
                stored[name] = _alone(path.ideal(latent))
    rest = {name: _alone(v) for name, v in model.state_dict().items() if not name.startswith(tuple(latents))}
    return rest | stored, coded


def _alone(value: Tensor) -> Tensor:
    """Return a copy on the CPU that shares its memory with no other tensor."""
    return value.detach().to("cpu", copy=True).contiguous()


def unpacked_state(state: Mapping[str, Tensor], *, source: str) -> dict[str, Tensor]:
    """Return a packed state with the weights that its codes stand for."""
    names = {key.removesuffix(".shape") for key in state if key.endswith(".shape")}
    names = {name for name in names if all(f"{name}.{part}" in state for part in PARTS)}
    rest = {key: value for key, value in state.items() if key.rpartition(".")[0] not in names}
    try:
        return rest | {name: _unpacked({p: state[f"{name}.{p}"] for p in PARTS}) for name in sorted(names)}
    except (ValueError, IndexError, RuntimeError, TypeError) as error:
        raise PackageError(f"{source} is damaged: {error}", fix="write_packed writes it again") from error


def _packed(codes: WeightCodes, dtype: torch.dtype) -> dict[str, Tensor]:
    flat = codes.codes.cpu().flatten()
    levels = codes.levels or (tuple(range(codes.low, codes.high + 1)) if codes.high - codes.low < 256 else ())
    if levels:
        index = torch.searchsorted(torch.tensor(levels), flat).to(torch.uint8).numpy()
        planes = (index[:, None] >> np.arange(width_of(levels), dtype=np.uint8)) & 1
        stored = torch.from_numpy(np.packbits(planes, axis=None, bitorder="little"))
    else:
        stored = flat.to(torch.int16 if max(-codes.low, codes.high) < 2**15 else torch.int32)
    shape = torch.tensor([codes.axis, *codes.codes.shape])
    # The scale in the precision of training, which is as exact as the forward pass.
    scale = codes.scale.cpu().to(torch.float64 if dtype == torch.float64 else torch.float32)
    return {"codes": stored, "levels": torch.tensor(levels, dtype=torch.int32), "scale": scale, "shape": shape}


def width_of(levels: tuple[int, ...] | Tensor) -> int:
    """Return the bits of the index of a level, at least 1.

    Example:
        >>> [width_of(tuple(range(n))) for n in (1, 2, 3, 5, 256)]
        [1, 1, 2, 3, 8]
    """
    return max(1, (len(levels) - 1).bit_length())


def _unpacked(parts: Mapping[str, Tensor]) -> Tensor:
    axis, *shape = parts["shape"].tolist()
    count, levels = int(np.prod(shape, dtype=np.int64)), parts["levels"]
    if len(levels):
        width = width_of(levels)
        if len(parts["codes"]) != -(-count * width // 8):
            raise ValueError(f"{len(parts['codes'])} bytes of codes, {-(-count * width // 8)} are needed")
        bits = np.unpackbits(parts["codes"].numpy(), count=count * width, bitorder="little")
        index = (bits.reshape(count, width).astype(np.int64) << np.arange(width)).sum(1)
        codes = levels.long()[torch.from_numpy(index)]
    else:
        codes = parts["codes"].long()
    scale = parts["scale"]
    return codes.reshape(shape).to(scale.dtype) * along(scale, axis, len(shape))


def _modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [
        (f"{name}." if name else "", module)
        for name, module in model.named_modules(remove_duplicate=False)
        if not name.endswith("parametrizations") and ".parametrizations." not in name
    ]


def _read(file: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(file)
    except FileNotFoundError:
        raise PackageError(f"{file}: no such file", fix="bs.weights.write_packed(model, file) writes one") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise PackageError(
            f"{file}: cannot be read as safetensors ({error})", fix="put an undamaged copy there"
        ) from error
