#!/bin/sh
# One and the same 16-bit value comes out white from a gray PNG and black from a color PNG, without a warning.
#
# Versions: Pillow 13.0.0, numpy 2.2.6, Python 3.11.
# Behaviour: a gray PNG of 16 bits opens in mode I;16 with the right value, and convert("L") or convert("RGB"), which
#   torchvision's ImageFolder calls on every image, clips it at 255: whatever is above 255 of 65535 is white.
#   A color PNG of 16 bits opens in mode RGB with the upper 8 bits only; the mode does not tell that there were more.
# Expected: both scaled alike, 384 of 65535 to 1 of 255, or a warning.
# Output seen:
#   gray  I;16 [384] to L 255 to RGB [255, 255, 255]
#   color RGB [1, 1, 1]
# Exits with 1 if Pillow does otherwise.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet Pillow==13.0.0 numpy==2.2.6
"$folder/venv/bin/python" -W error - <<'PYTHON'
import io
import struct
import sys
import zlib

import numpy as np
from PIL import Image


def chunk(kind, held):
    return struct.pack(">I", len(held)) + kind + held + struct.pack(">I", zlib.crc32(kind + held))


def png(color, channels, value):
    """One pixel of 16 bits a channel."""
    head = struct.pack(">IIBBBBB", 1, 1, 16, color, 0, 0, 0)
    row = b"\0" + struct.pack(f">{channels}H", *[value] * channels)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + parts)


gray, color = Image.open(png(0, 1, 384)), Image.open(png(2, 3, 384))
pixel = np.asarray(gray).ravel().tolist()
as_gray, as_color = (np.asarray(gray.convert(mode)).ravel().tolist() for mode in ("L", "RGB"))
found = np.asarray(color).ravel().tolist()
print("gray ", gray.mode, pixel, "to L", as_gray[0], "to RGB", as_color)
print("color", color.mode, found)
sys.exit((gray.mode, pixel, as_gray, as_color, color.mode, found) != ("I;16", [384], [255], [255] * 3, "RGB", [1] * 3))
PYTHON
