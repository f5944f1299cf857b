"""Images as sequences: a part of an image at every time step, as sequential MNIST is read."""

from __future__ import annotations

from bitspike.arguments import checked
from bitspike.data.events.event_set import EventSet
from bitspike.data.images.image_set import ImageSet
from bitspike.errors import ConstraintError, some


@checked
def as_sequence(images: ImageSet, steps: int) -> EventSet:
    """Show images a part at a time: T parts of as many pixels each, row by row from the top left.

    With as many steps as rows a step shows a row, with as many steps as pixels it shows a pixel, and with fewer steps
    than rows it shows several rows. :class:`bitspike.nn.Frames` is the encoder of networks that read such a set.

    Args:
        images: uint8 [N, H, W, C].
        steps: T, which divides H, or is a multiple of H that divides H * W.

    Returns:
        The same images as frames: uint8 [N, T, H / T, W, C], or [N, T, 1, H * W / T, C]. They share their memory.

    Raises:
        ConstraintError: the steps do not divide the images; those that do are named. Or it is no set of images.

    Example:
        >>> from bitspike.data import load
        >>> as_sequence(load("digits", "test"), steps=8)
        EventSet(digits: 359 images in 8 parts of 1 x 8 x 1, 10 classes)
        >>> as_sequence(load("digits", "test"), steps=2).shape
        (4, 8, 1)
    """
    if not isinstance(images, ImageSet):
        raise ConstraintError(
            f"as_sequence of a {type(images).__name__}; needed is an ImageSet, whole images with their labels",
            fix='bs.data.load("digits"), or bs.data.ImageSet(images, labels, classes, name)',
        )
    height, width, channels = images.shape
    allowed = steps_of(height, width)
    if steps not in allowed:
        raise ConstraintError(
            f"{steps} steps do not divide images of {height} x {width} pixels; these do: "
            f"{some([str(n) for n in allowed], 20)}",
            fix=f"{height} steps, a row at each",
        )
    rows, columns = (height // steps, width) if steps <= height else (1, height * width // steps)
    frames = images.images.reshape(len(images), steps, rows, columns, channels)
    return EventSet(
        frames, images.labels, images.classes, images.name, largest=images.brightest(), whole=(height, width)
    )


def steps_of(height: int, width: int) -> list[int]:
    """Return the numbers of steps in which images can be shown, from all at once to a pixel at a time.

    Example:
        >>> steps_of(4, 6)
        [1, 2, 4, 8, 12, 24]
    """
    by_rows = [n for n in range(1, height + 1) if height % n == 0]
    return by_rows + [height * n for n in range(2, width + 1) if width % n == 0]
