#!/bin/sh
# tonic 1.7.0: the readers of AEDAT 2.0 and 3.1 raise on every file, as their header gives three values and they take two.
#
# tonic.io.read_aedat_header_from_file returns version, start and time of creation. read_davis_346 takes all three;
# read_dvs_128, read_dvs_ibm (DVS128 Gesture), read_dvs_red and read_dvs_346mini take two.
#
# Seen on Python 3.11, x86-64 Linux, for read_dvs_128 on AEDAT 2.0 and read_dvs_ibm on AEDAT 3.1:
#   read_dvs_128: ValueError: too many values to unpack (expected 2)
#   read_dvs_ibm: ValueError: too many values to unpack (expected 2)
#
# Usage: sh findings/tonic-aedat-readers.sh      makes a temporary environment with the pinned packages
#        PYTHON=... sh findings/tonic-aedat-readers.sh   takes an interpreter that has them
# The exit code is 1 if the behaviour has changed.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet tonic==1.7.0
    PYTHON="$place/venv/bin/python"
fi
cd "$place"
"$PYTHON" - <<'END'
import struct
import sys

from tonic import io

with open("2.aedat", "wb") as file:
    file.write(b"#!AER-DAT2.0\r\n" + struct.pack(">II", 3 << 8 | 5 << 1, 10))
with open("3.aedat", "wb") as file:
    file.write(b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n")
    file.write(struct.pack("<hhiiiiiiII", 1, 1, 8, 4, 0, 1, 1, 1, 5 << 17 | 3 << 2 | 3, 10))
raised = []
for read, name in ((io.read_dvs_128, "2.aedat"), (io.read_dvs_ibm, "3.aedat")):
    try:
        read(name)
    except ValueError as error:
        raised.append(read.__name__)
        print(f"{read.__name__}: ValueError: {error}")
sys.exit(0 if raised == ["read_dvs_128", "read_dvs_ibm"] else 1)
END
