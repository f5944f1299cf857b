"""Small folders of photos in the layout of ImageNet, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def photo(height: int, width: int, seed: int = 0) -> Image.Image:
    """Draw smooth colors with some noise, as photos have."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    values = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int64)
    return Image.fromarray(np.clip(values + generator.integers(-9, 10, values.shape), 0, 255).astype(np.uint8))


def lay_out(root: Path, train: dict[str, int], val: dict[str, int], *, other: str = "val", side: int = 24) -> Path:
    """Write JPEG files of different sizes: so many of each class in each split."""
    seed = 0
    for split, classes in (("train", train), (other, val)):
        for name, count in classes.items():
            for number in range(count):
                path = root / split / name / f"{name}_{number}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                photo(side + 3 * (seed % 4), side + 5 * (seed % 3), seed).save(path, quality=90)
                seed += 1
    return root
