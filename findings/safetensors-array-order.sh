#!/bin/sh
# safetensors 0.8.0 writes a NumPy array as it lies in memory and reads it back with other values.
#
# safetensors.numpy.save and save_file take an array that is not in C order, such as a transposed one, write its bytes in
# memory order and say the shape as if they were in C order. What comes back has the right shape and other values, without
# a warning. 0.4.5 to 0.7.0 copied such an array first. numpy.ascontiguousarray before the writer avoids it.
#
# Seen on Python 3.11, x86-64 Linux:
#   written [[0, 3], [1, 4], [2, 5]]
#   read    [[0, 1], [2, 3], [4, 5]]
#
# Usage: sh findings/safetensors-array-order.sh      makes a temporary environment with the pinned packages
#        PYTHON=... sh findings/safetensors-array-order.sh   takes an interpreter that has them
# The exit code is 1 if the behaviour has changed.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6
    PYTHON="$place/venv/bin/python"
fi
cd "$place"
"$PYTHON" - <<'END'
import sys

import numpy as np
from safetensors.numpy import load, save

array = np.arange(6).reshape(2, 3).T
found = load(save({"a": array}))["a"]
print("written", array.tolist())
print("read   ", found.tolist())
sys.exit(0 if found.shape == array.shape and not np.array_equal(found, array) else 1)
END
