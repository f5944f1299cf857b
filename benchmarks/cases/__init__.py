"""Every case by its name; a new one is a module here and a line in :data:`CASES`."""

from __future__ import annotations

from benchmarks.case import Case
from benchmarks.cases import (
    chips,
    data,
    events,
    first_call,
    gpu,
    growth,
    inference,
    neuron,
    over_time,
    photos,
    qat,
    startup,
    training,
)

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        neuron.CASE,
        neuron.AS_IT_COMES,
        training.VGG9,
        training.VGG11,
        qat.CASE,
        over_time.CASE,
        growth.CASE,
        inference.RESNET20,
        inference.VGG11,
        inference.LATENCY,
        first_call.CASE,
        chips.CHIPS,
        data.CASE,
        photos.CASE,
        events.CASE,
        startup.CASE,
        gpu.LAYER,
        gpu.VGG9,
        gpu.RESNET,
    )
}
