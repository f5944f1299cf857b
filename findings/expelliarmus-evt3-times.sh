#!/bin/sh
# expelliarmus 1.1.12 counts every turn of the lower bits of EVT 3.0 twice: recordings seem to last twice as long.
#
# A time of EVT 3.0 has 24 bits: 12 upper ones in words of kind 8, 12 lower ones in words of kind 6. When the lower ones go
# around, the camera sends the upper ones, larger by 1, and then the lower ones, which are smaller than before. expelliarmus
# takes the new upper bits, and for the smaller lower ones adds 4,096 microseconds once more, to this and all later times.
#
# Seen on Python 3.11, x86-64 Linux, for one event every 4,000 microseconds:
#   written:  [0, 4000, 8000, 12000, 16000]
#   read:     [0, 4000, 12096, 20192, 28288]
#
# Usage: sh findings/expelliarmus-evt3-times.sh      makes a temporary environment with the pinned packages
#        PYTHON=... sh findings/expelliarmus-evt3-times.sh   takes an interpreter that has them
# The exit code is 1 if the behaviour has changed.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet expelliarmus==1.1.12 numpy==2.4.6
    PYTHON="$place/venv/bin/python"
fi
cd "$place"
"$PYTHON" - <<'END'
import struct
import sys

from expelliarmus import Wizard

times = [0, 4000, 8000, 12000, 16000]
words, upper = [], -1
for t in times:
    if t >> 12 != upper:
        upper = t >> 12
        words.append(0x8000 | upper)
    words += [0x6000 | t & 0xFFF, 7, 0x2000 | 9]  # lower bits, row 7, one event of column 9
with open("a.raw", "wb") as file:
    file.write(b"% evt 3.0\n% geometry 1280x720\n" + struct.pack(f"<{len(words)}H", *words))
read = Wizard(encoding="evt3").read("a.raw")["t"].tolist()
print("written: ", times)
print("read:    ", read)
sys.exit(0 if read == [0, 4000, 12096, 20192, 28288] else 1)
END
