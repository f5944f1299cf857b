"""Device and precision are chosen by what is there and what is asked for."""

from __future__ import annotations

import pytest
import torch

from bitspike.devices import choose_device, choose_precision
from bitspike.errors import ConstraintError


def test_the_device_is_what_is_there_unless_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [choose_device(d) for d in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [choose_device(d) for d in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(ConstraintError, match="no CUDA device"):
        choose_device("cuda")


def test_bf16_is_taken_where_the_hardware_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for amx, avx in ((True, True), (True, False), (False, True), (False, False)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx, raising=False)
        assert choose_precision("auto", "cpu") == ("bf16" if amx or avx else "fp32")
        assert choose_precision("fp32", "cpu") == "fp32"
        assert choose_precision("bf16", "cpu") == "bf16"
    for capability, chosen in (((7, 5), "fp32"), ((8, 0), "bf16"), ((9, 0), "bf16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda c=capability: c)
        assert choose_precision("auto", "cuda") == chosen
