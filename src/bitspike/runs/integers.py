"""What a report says of integers: bits of weights, bytes, widths of sums and potentials, agreement with training."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitspike.integer.bounds.widths import widths
from bitspike.integer.network import IntegerNetwork
from bitspike.lowering.agreement import Agreement


def sizes_of(net: IntegerNetwork) -> dict[str, Any]:
    """Return the entries ``bits``, ``bytes`` and ``widths`` of a report.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> sizes_of(one_convolution(threshold=8))["bytes"]
        {'weights_packed': 3, 'weights_float32': 36}
    """
    return {
        "bits": net.weight_bits(),
        "bytes": {"weights_packed": net.weight_bytes(), "weights_float32": 4 * net.weight_count()},
        "widths": [
            {"layer": w.layer, "accumulator_bits": w.accumulator_bits, "membrane_bits": w.membrane_bits}
            | ({} if w.kept_bits is None else {"kept_bits": w.kept_bits})
            for w in widths(net)
        ],
    }


def codes_of(net: IntegerNetwork) -> dict[str, dict[int, int]]:
    """Return by weighted layer how often every code is used."""
    counted = {n.path: np.unique(n.weight.codes, return_counts=True) for n in net.weighted}
    return {path: dict(zip(codes.tolist(), counts.tolist(), strict=True)) for path, (codes, counts) in counted.items()}


def agreement_of(agreement: Agreement, metric: str) -> dict[str, Any]:
    """Return the entry ``agreement`` of a report, whose difference bears the name of the task's metric."""
    return {
        "spikes": agreement.spikes,
        f"{metric}_difference": agreement.accuracy_difference,
        "samples": agreement.samples,
    }
