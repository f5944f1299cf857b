"""The reader of NVIDIA DALI: decodes and resizes on a CUDA device, or on the processor where there is none.

The boxes are drawn here and handed over, so that an epoch is the same as with the other readers. On a processor
pixels differ from theirs by at most 1, from rounding after the resize; a device decodes by itself and differs more.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.data.images.image_file import opened
from bitspike.data.stream.photo import Form, Photo, content_of, decoded, plain, size_of
from bitspike.data.stream.threads import read_ahead
from bitspike.errors import DataError

Ready = list[tuple[np.ndarray, ...]]
"""Of every photo: encoded bytes; start and size of the box; its new size; where the image begins in the result."""


class Dali:
    """Reads photos with DALI; threads read the files and look at their headers."""

    name = "dali"

    def read(
        self, batches: Iterable[Sequence[Photo]], form: Form, *, workers: int, device: torch.device
    ) -> Generator[Tensor, None, None]:
        """Yield each batch: uint8 [n, size, size, channels] on the device."""
        from nvidia.dali.plugin.pytorch import feed_ndarray

        waiting: list[Sequence[Photo]] = []

        def noted() -> Generator[Sequence[Photo], None, None]:
            for photos in batches:
                waiting.append(photos)
                yield photos

        def fill(batch: Ready, place: int, photo: Photo) -> None:
            batch[place] = _prepared(photo, form)

        def empty(count: int) -> Ready:
            return [()] * count

        with closing(read_ahead(noted(), empty, fill, workers=workers)) as prepared:
            first = next(prepared, None)
            if first is None:
                return
            pipeline = _pipeline(first, prepared, form, threads=max(1, workers), device=device)
            while waiting:
                photos = waiting[0]
                try:
                    (images,) = pipeline.run()
                except StopIteration:
                    return
                except RuntimeError as error:
                    raise _culprit(waiting, form, error) from None
                batch = torch.empty(
                    (len(photos), form.size, form.size, form.channels), dtype=torch.uint8, device=device
                )
                waiting.pop(0)
                stream = torch.cuda.current_stream(device) if device.type == "cuda" else None
                feed_ndarray(images.as_tensor(), batch, cuda_stream=stream)
                yield batch


def _prepared(photo: Photo, form: Form) -> tuple[np.ndarray, ...]:
    """Read a file and decide which part of it is wanted; what DALI might read otherwise comes as plain pixels."""
    path = photo.path
    content = content_of(path)
    with opened(path, content) as header:
        height, width = size_of(path, header)
        if not plain(header, form):
            pixels = decoded(header, form)
            content = b"P%d %d %d 255\n" % (6 if form.channels == 3 else 5, width, height) + pixels.numpy().tobytes()
    top, left, rows, columns, scaled, corner = photo.window(height, width, form)
    numbers = (np.array(pair, dtype=np.int32) for pair in ((top, left), (rows, columns)))
    encoded = np.frombuffer(content, dtype=np.uint8)
    return encoded, *numbers, np.array(scaled, dtype=np.float32), np.array(corner, dtype=np.int32)


def _pipeline(first: Ready, rest: Iterable[Ready], form: Form, *, threads: int, device: torch.device) -> Any:
    """Return DALI's pipeline over prepared batches, of which the first one is the largest."""
    from nvidia.dali import fn, pipeline_def, types

    gpu = device.type == "cuda"

    def source() -> Generator[tuple[list[np.ndarray], ...], None, None]:
        yield tuple(map(list, zip(*first, strict=True)))
        for batch in rest:
            yield tuple(map(list, zip(*batch, strict=True)))

    @pipeline_def(  # type: ignore[untyped-decorator, unused-ignore]
        batch_size=len(first),
        num_threads=threads,
        device_id=(torch.cuda.current_device() if device.index is None else device.index) if gpu else None,
    )
    def images() -> Any:
        encoded, start, box, scaled, corner = fn.external_source(source=source(), num_outputs=5)
        part = fn.decoders.image_slice(
            encoded,
            start=start,
            shape=box,
            axes=[0, 1],
            device="mixed" if gpu else "cpu",
            output_type=types.RGB if form.channels == 3 else types.GRAY,
        )
        resized = fn.resize(part, size=scaled, interp_type=types.INTERP_TRIANGULAR, antialias=True)
        return fn.slice(resized, start=corner, shape=[form.size, form.size], axes=[0, 1])

    pipeline = images()
    pipeline.build()
    return pipeline


def _culprit(waiting: Sequence[Sequence[Photo]], form: Form, error: RuntimeError) -> DataError:
    """Return the error for the file that Pillow cannot decode either, of those that DALI was given."""
    for photos in waiting:
        for photo in photos:
            try:
                with opened(photo.path) as image:
                    decoded(image, form)
            except DataError as found:
                return found
    said = " ".join(str(error).split())
    first, last = waiting[0][0].path, waiting[-1][-1].path
    return DataError(
        f"DALI could not read one of the files from {first} to {last}, which Pillow can: {said[:300]}",
        fix="reader='pillow'",
    )
