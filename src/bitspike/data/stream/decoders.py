"""Readers on the processor: threads that decode plain JPEG files with simplejpeg, and all other files with Pillow.

Both call libjpeg-turbo with its exact transform, so that they give the same pixels; simplejpeg needs less than half the
time. torchvision's decoders are deprecated since 0.29. Decision 0031 has what was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bitspike.data.images.image_file import opened
from bitspike.data.stream.photo import Form, Photo, content_of, decoded, look, plain, size_of
from bitspike.data.stream.threads import read_ahead

Decode = Callable[[bytes], Tensor]
"""From the content of a plain JPEG file to uint8 [H, W, 3]; raises ValueError or RuntimeError where it cannot."""


@dataclass(frozen=True)
class Decoder:
    """Reads photos with a library that decodes JPEG files.

    Args:
        name: the word for it.
        decode: calls the library; None is Pillow.
    """

    name: str
    decode: Decode | None = field(default=None, repr=False)

    def read(
        self, batches: Iterable[Sequence[Photo]], form: Form, *, workers: int, device: torch.device
    ) -> Generator[Tensor, None, None]:
        """Yield each batch: uint8 [n, size, size, channels] on the CPU, in pinned memory where a GPU waits for it."""
        pinned = device.type == "cuda"

        def empty(count: int) -> Tensor:
            return torch.empty((count, form.size, form.size, form.channels), dtype=torch.uint8, pin_memory=pinned)

        def fill(batch: Tensor, place: int, photo: Photo) -> None:
            batch[place] = self.image(photo, form)

        return read_ahead(batches, empty, fill, workers=workers)

    def image(self, photo: Photo, form: Form) -> Tensor:
        """Return the part of one photo that is wanted: uint8 [size, size, channels].

        Raises:
            DataError: the file cannot be used; it is named.
        """
        path = photo.path
        content = content_of(path)
        values = None
        with opened(path, content) as header:
            height, width = size_of(path, header)
            if self.decode is not None and plain(header, form):
                try:
                    values = self.decode(content)
                except (ValueError, RuntimeError):  # Pillow decides what is damaged, so that all readers agree
                    values = None
            if values is None:
                values = decoded(header, form)
        return look(values, photo.window(height, width, form), form)


def by_simplejpeg(content: bytes) -> Tensor:
    """Decode a JPEG file by simplejpeg, which calls libjpeg-turbo and does little else."""
    import simplejpeg

    return torch.from_numpy(simplejpeg.decode_jpeg(content))
