#!/bin/sh
# qonnx 1.0.0: a signed Quant of one bit gives 1, which its own largest integer, 0, leaves out.
#
# By the definition of QONNX's Quant, signed integers of b bits reach from -2**(b-1) to 2**(b-1) - 1: one bit holds -1 and
# 0, and qonnx.custom_op.general.quant.max_int says so. The operator itself rounds a signed, one-bit input to -1 and 1.
# BipolarQuant is the operator that is meant to give -1 and 1; with two bits and narrow=1, Quant gives -1, 0 and 1.
#
# Seen on Python 3.11, x86-64 Linux:
#   max_int(signed, not narrow, 1 bit): 0
#   quant of [-2, -0.6, 0, 0.6, 2]:     [-1.0, -1.0, 1.0, 1.0, 1.0]
#
# Usage: sh findings/qonnx-signed-one-bit.sh      makes a temporary environment with the pinned packages
#        PYTHON=... sh findings/qonnx-signed-one-bit.sh   takes an interpreter that has them
# The exit code is 1 if the behaviour has changed.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet qonnx==1.0.0 numpy==2.4.6
    PYTHON="$place/venv/bin/python"
fi
cd "$place"
"$PYTHON" - <<'END'
import sys

import numpy as np
from qonnx.custom_op.general.quant import max_int, quant

largest = float(max_int(True, False, 1))
one, zero = np.float32(1), np.float32(0)
found = quant(np.array([-2, -0.6, 0, 0.6, 2], np.float32), one, zero, np.float32(1), True, False, "ROUND")
print("max_int(signed, not narrow, 1 bit):", largest)
print("quant of [-2, -0.6, 0, 0.6, 2]:    ", found.tolist())
sys.exit(0 if largest == 0 and set(found.tolist()) == {-1.0, 1.0} else 1)
END
