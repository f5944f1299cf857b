"""Pictures made of cells, without axes: spike rasters, code histograms, confusion matrices, images.

They are written as SVG by hand because a cell then costs ten bytes, takes the colors of the page and stretches
with it; a network of forty layers still fits in a report.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitspike.analysis.drawing.markup import Html, html, join
from bitspike.analysis.drawing.words import percent

MOST_CLASSES = 100
_SHADES = 12
SPIKES = 40_000  # some ten bytes each


def raster(spikes: NDArray[Any], label: str) -> Html:
    """Draw the spikes of one layer: a row per time step (first on top), a column per neuron; those of -1 are thinner.

    Args:
        spikes: [T, neurons]; -1, 0 or 1.

    Example:
        >>> "M1 0.5h.8" in raster(np.array([[0, 1]]), "fc")
        True
    """
    steps, neurons = spikes.shape
    above, below = (
        "".join(f"M{n} {t}.5h.8" for t, n in np.argwhere(sent).tolist()) for sent in (spikes > 0, spikes < 0)
    )
    return html(
        '<svg class="raster" viewBox="0 0 {n} {t}" preserveAspectRatio="none" role="img" aria-label="{label}"'
        ' style="height:{height}px;max-width:{width}px"><path d="{above}"/>{below}</svg>',
        n=max(neurons, 1),
        t=max(steps, 1),
        label=f"spikes of {label}",
        width=16 * max(neurons, 1),
        height=min(max(9 * steps, 18), 120),
        above=above,
        below=html('<path class="below" d="{d}"/>', d=below) if below else "",
    )


def membrane(potential: NDArray[Any], threshold: NDArray[Any], spikes: NDArray[Any], label: str) -> Html:
    """Draw the potential of one neuron over the time steps, its threshold, and its spikes: +1 above, -1 below.

    Args:
        potential, threshold, spikes: [T].

    Example:
        >>> svg = membrane(np.array([0.5, 1.0]), np.ones(2), np.array([0, 1]), "fc")
        >>> 'class="up" d="M1.5 0v3"' in svg, "down" in svg
        (True, False)
    """
    low, high = (float(end(np.concatenate([potential, threshold, [0.0]]))) for end in (np.min, np.max))

    def line(values: NDArray[Any]) -> str:
        heights = 4 + 32 * (high - values) / ((high - low) or 1.0)
        steady = [*(heights[1:] == heights[:-1]), False]  # one mark for steps of one height
        ends = [(y, t + 1) for t, (y, on) in enumerate(zip(heights.tolist(), steady, strict=True)) if not on]
        return "M0 " + "V".join(f"{y:.1f}H{t}" for y, t in ends)

    up, down = (
        "".join(f"M{t}.5 {y}v3" for (t,) in np.argwhere(spikes == sign).tolist()) for sign, y in ((1, 0), (-1, 37))
    )
    paths = {"bar": line(threshold), "line": line(potential), "up": up, "down": down}
    drawn = [html('<path class="{kind}" d="{d}"/>', kind=kind, d=d) for kind, d in paths.items() if d]
    return html(
        '<svg class="membrane" viewBox="0 0 {n} 40" preserveAspectRatio="none" role="img" aria-label="{label}">'
        "<title>{label}</title>{paths}</svg>",
        n=max(len(potential), 1),
        label=f"potential of one neuron of {label}",
        paths=join(drawn, ""),
    )


def thinned(rasters: Mapping[str, NDArray[Any]], most: int = SPIKES) -> dict[str, NDArray[Any]]:
    """Leave out neurons of every layer, at even distances, until about ``most`` spikes remain in all.

    Example:
        >>> thinned({"fc": np.ones((2, 6), np.int8)}, most=4)["fc"].shape
        (2, 2)
    """
    every = max(1, -(-sum(int((spikes != 0).sum()) for spikes in rasters.values()) // most))
    return {name: spikes[:, ::every] for name, spikes in rasters.items()}


def steps(rates: Sequence[float | None], name: str) -> Html:
    """Draw one value per time step as bars; nothing where there is none.

    Example:
        >>> steps([0.0, 0.1, 0.2], "fc").count("h.8")
        2
        >>> steps([], "fc") == ""
        True
    """
    values = [rate or 0.0 for rate in rates]
    if not values:
        return Html("")
    most = max(values) or 1.0
    path = "".join(f"M{t}.1 20h.8v{-20 * v / most:.1f}h-.8z" for t, v in enumerate(values) if v > 0)
    said = f"{name}: {percent(values[0], 1)} at the first of {len(values)} steps, {percent(values[-1], 1)} at the last"
    return html(
        '<svg class="steps" viewBox="0 0 {n} 20" preserveAspectRatio="none" role="img" aria-label="{said}"'
        ' style="width:{width}px"><title>{said}</title><path d="{path}"/></svg>',
        n=len(values),
        said=said,
        width=min(max(6 * len(values), 24), 180),
        path=path,
    )


def histogram(counts: Mapping[int, int]) -> Html:
    """Draw how often every weight code occurs; more than 64 codes are drawn in ranges of equal width.

    Example:
        >>> histogram({-1: 10, 0: 30, 1: 10}).count("<rect")
        3
    """
    codes = np.array(sorted(counts), dtype=np.int64)
    weights = np.array([counts[int(code)] for code in codes], dtype=np.float64)
    low, high = int(codes[0]), int(codes[-1])
    # Grids such as mid-rise hold only odd codes: bars stand side by side there too.
    steps = int(np.gcd.reduce(np.diff(codes))) if len(codes) > 1 else 1
    bins = min((high - low) // steps + 1, 64)
    where = ((codes - low) // steps) * bins // ((high - low) // steps + 1)
    shares = np.bincount(where, weights=weights, minlength=bins) / weights.sum()
    width, tall = 240.0 / bins, 78.0
    gap = min(width * 0.18, 8.0)
    bars, labels = [], []
    for index, share in enumerate(shares.tolist()):
        height = tall * share / float(shares.max())
        x = index * width
        bars.append(
            f'<rect x="{x + gap / 2:.2f}" y="{92 - height:.2f}" width="{width - gap:.2f}" height="{height:.2f}"/>'
        )
        if bins <= 5:
            labels.append(_text(x + width / 2, 88 - height, percent(share, 0 if share >= 0.095 else 1), "soft"))
        if bins <= 9:
            labels.append(_text(x + width / 2, 107, str(low + index * steps), "ink"))
    if bins > 9:
        labels.append(_text(0, 107, str(low), "ink", "start"))
        labels.append(_text(240, 107, str(high), "ink", "end"))
        if low < 0 < high:
            labels.append(_text((0.5 - low / steps) * 240 / ((high - low) / steps + 1), 107, "0", "ink"))
    return Html(
        '<svg class="bars" viewBox="0 0 240 112" role="img" aria-label="histogram of the weight codes">'
        f'<path class="base" d="M0 92.5H240"/>{"".join(bars)}{"".join(labels)}</svg>'
    )


def _text(x: float, y: float, text: str, tone: str, anchor: str = "middle") -> str:
    escaped = html("{t}", t=text)
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{tone}" text-anchor="{anchor}">{escaped}</text>'


def confusion(matrix: NDArray[np.int64], classes: Sequence[str]) -> Html:
    """Draw a confusion matrix: a row per true class, a column per predicted one, each row shaded by its shares.

    Right answers take the accent color and errors the second one, so that few errors stay visible. Up to 20 classes
    are labeled and the counts are written into the cells.

    Args:
        matrix: [true, predicted], up to ``MOST_CLASSES`` classes.
        classes: the name of each.
    """
    size = len(matrix)
    total = np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    shade = np.ceil(np.sqrt(matrix / total) * _SHADES).astype(np.int64)  # the root lets one error in a hundred be seen
    right = np.eye(size, dtype=np.bool_)
    marks = []
    for level in range(1, _SHADES + 1):
        for kind, mask in (("right", right), ("wrong", ~right)):
            cells = np.argwhere((shade == level) & mask).tolist()
            if cells:
                d = "".join(f"M{c} {r}h1v1h-1z" for r, c in cells)
                marks.append(f'<path class="{kind}" fill-opacity="{0.1 + 0.9 * level / _SHADES:.2f}" d="{d}"/>')
    left = below = 0.02
    if size <= 20:
        names = [name[:12] for name in classes]
        longest = max(len(name) for name in names)
        left = 0.3 + 0.27 * longest
        below = 0.65 if longest <= 3 else left
        for index, name in enumerate(names):
            marks.append(html('<text x="-.2" y="{y}" class="axis end">{name}</text>', y=index + 0.65, name=name))
            x = index + 0.5
            upright = longest <= 3
            turn = f"translate({x} {size + 0.5})" if upright else f"translate({x + 0.15} {size + 0.2}) rotate(-90)"
            kind = "axis" if upright else "axis end"
            marks.append(html('<text transform="{turn}" class="{kind}">{name}</text>', turn=turn, kind=kind, name=name))
        for r, c in np.argwhere(matrix > 0).tolist():
            tone = "on" if shade[r, c] > _SHADES * 0.6 else "ink"
            font = 0.42 if matrix[r, c] < 1000 else 0.32
            marks.append(f'<text x="{c + 0.5}" y="{r + 0.65}" class="{tone}" font-size="{font}">{matrix[r, c]}</text>')
    return Html(
        f'<svg class="confusion" role="img" aria-label="confusion matrix"'
        f' viewBox="{-left:.2f} -0.02 {size + left + 0.02:.2f} {size + below + 0.02:.2f}">'
        f'<rect class="frame" width="{size}" height="{size}"/>{"".join(marks)}</svg>'
    )


def picture(pixels: NDArray[np.uint8], label: str, *, most: int = 256) -> Html:
    """Put an image into the page as it is, pixel by pixel.

    Args:
        pixels: [H, W], [H, W, 1] or [H, W, 3].
        label: what it is, for those who do not see it.
        most: larger sides are thinned.
    """
    thin = max(1, -(-max(pixels.shape[:2]) // most))
    data = base64.b64encode(png(pixels[::thin, ::thin])).decode("ascii")
    return html('<img class="pixels" alt="{label}" src="data:image/png;base64,{data}">', label=label, data=data)


def png(pixels: NDArray[np.uint8]) -> bytes:
    r"""Write 8-bit gray or RGB pixels as a PNG file (ISO/IEC 15948).

    Args:
        pixels: [H, W], [H, W, 1] or [H, W, 3].

    Example:
        >>> png(np.zeros((2, 2), np.uint8))[:8]
        b'\x89PNG\r\n\x1a\n'
    """
    gray = pixels.ndim == 2 or pixels.shape[2] == 1
    height, width = pixels.shape[:2]
    rows = np.ascontiguousarray(pixels, dtype=np.uint8).reshape(height, -1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()  # filter 0 before each row

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0 if gray else 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def meter(share: float, text: str) -> Html:
    """Write a number, and after it a bar of its share of the full width."""
    width = f"{100 * min(max(share, 0.0), 1.0):.1f}"
    return html('<span class="meter"><span>{t}</span><i><b style="width:{w}%"></b></i></span>', t=text, w=width)


def ratio(part: float, whole: float) -> str:
    """Say how many times smaller a part is.

    Example:
        >>> ratio(10, 160), ratio(0, 1)
        ('16.0 times smaller', '')
    """
    return f"{whole / part:.1f} times smaller" if part > 0 and whole > part else ""
