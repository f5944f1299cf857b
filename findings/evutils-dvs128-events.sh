#!/bin/sh
# evutils 0.3.18 takes half of the events of a DVS128 camera in AEDAT 2.0 for triggers.
#
# In addresses of DAVIS cameras bits 10 and 11 tell triggers from events. In those of the DVS128, which layout="dvs128" asks
# for, the same bits belong to the row (bits 8 to 14). evutils looks at them all the same: of the rows 4 to 7, 12 to 15 and
# so on nothing is read, and nothing is said.
#
# Seen on Python 3.11, x86-64 Linux, for one event in each row from 0 to 15:
#   rows written:  [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
#   rows read:     [0, 1, 2, 3, 8, 9, 10, 11]
#
# Usage: sh findings/evutils-dvs128-events.sh      makes a temporary environment with the pinned packages
#        PYTHON=... sh findings/evutils-dvs128-events.sh   takes an interpreter that has them
# The exit code is 1 if the behaviour has changed.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet evutils==0.3.18 numpy==2.4.6
    PYTHON="$place/venv/bin/python"
fi
cd "$place"
"$PYTHON" - <<'END'
import struct
import sys

from evutils.io import EventReader

rows = list(range(16))
pairs = b"".join(struct.pack(">II", y << 8 | 5 << 1, 10 * y) for y in rows)
with open("a.aedat", "wb") as file:
    file.write(b"#!AER-DAT2.0\r\n# camera: DVS128\r\n" + pairs)
read = EventReader("a.aedat", mode="all", layout="dvs128").read()["y"].tolist()
print("rows written: ", rows)
print("rows read:    ", read)
sys.exit(0 if read == [0, 1, 2, 3, 8, 9, 10, 11] else 1)
END
