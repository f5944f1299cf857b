"""What a report is drawn from: the few facts of ``report.json`` that several of its parts speak about, and pictures.

A record may come from an unfinished run, an older version or a hand: whatever is missing is None or empty here,
never an error, so a report can always be drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitspike.analysis.drawing.words import bits, count, known, plain
from bitspike.errors import some
from bitspike.tasks.report import Exhibit, Wording, wording_of


def mapping(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return a mapping inside a record, empty where it is missing.

    Example:
        >>> mapping({"bytes": None}, "bytes")
        {}
    """
    value = record.get(key)
    return value if isinstance(value, Mapping) else {}


def listed(record: Mapping[str, Any], key: str) -> Sequence[Any]:
    """Return a list inside a record, empty where it is missing or something else.

    Example:
        >>> listed({"by_step": [0.9, 1.0]}, "by_step"), listed({"by_step": 3}, "by_step")
        ([0.9, 1.0], ())
    """
    value = record.get(key)
    return value if isinstance(value, list | tuple) else ()


def rows_of(record: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return the mappings in a list inside a record."""
    return [row for row in listed(record, key) if isinstance(row, Mapping)]


def idle(record: Mapping[str, Any]) -> str:
    """Say which layers never fired on the test images, or always; empty where there are none.

    Example:
        >>> idle({"activity": {"neuron1": {"silent": 1.0}, "neuron2": {"silent": 0.5, "saturated": 0.5}}})
        'neuron1 never fires'
    """
    said = []
    for state, key in (("never", "silent"), ("always", "saturated")):
        layers = mapping(record, "activity").items()
        names = [name for name, layer in layers if isinstance(layer, Mapping) and known(layer.get(key)) == 1]
        if names:
            said.append(f"{some(names)} {state} fire{'s' * (len(names) == 1)}")
    return "; ".join(said)


def idle_everywhere(record: Mapping[str, Any]) -> list[str]:
    """Say the same of every stage of a run, whose own layers are those of the last one.

    Example:
        >>> idle_everywhere({"stages": [{"folder": "w4", "idle": "neuron1 never fires"}, {"folder": "w3", "idle": ""}]})
        ['w4: neuron1 never fires']
    """
    stages = [row for row in rows_of(record, "stages") if "idle" in row]  # earlier versions kept it of none
    if stages:
        return [f"{row.get('folder')}: {row['idle']}" for row in stages if row["idle"]]
    own = idle(record)
    return [own] if own else []


def fired_said(proof: Mapping[str, Any]) -> str:
    """Say how many of the compared values were spikes; empty of a certificate of an earlier version.

    Example:
        >>> fired_said({"spikes_fired": 1234}), fired_said({"spikes_fired": 0}), fired_said({})
        ('1,234', 'none', '')
        >>> fired_said({"spikes_fired": 1234, "spikes_compared": 1234})
        'all'
    """
    fired = known(proof.get("spikes_fired"))
    if not fired:
        return "" if fired is None else "none"
    return "all" if fired == known(proof.get("spikes_compared")) else count(fired)


@dataclass(frozen=True)
class Facts:
    """The result of a run in a few values.

    Args:
        name: name of the recipe.
        question: what the recipe asks, in one sentence; may be empty.
        changed: what this run says otherwise than its recipe, as ``--set`` does.
        wording: how to speak of the task; its metric is what is called accuracy below.
        test: test accuracy of the trained network as a fraction.
        lowered: test accuracy of the integer network as a fraction.
        by_step: test accuracy after 1, 2, ... time steps.
        steps: how many time steps the network takes.
        published: the figure of the paper as a fraction.
        source: where that figure is printed, and its setting.
        expected: the test accuracy that the recipe promises as a fraction.
        weights: how wide the weights are, in words.
        before: of a converted network, the test accuracy of the float network that it was made from.
        finetuned: of a converted network, the test accuracy after fine-tuning, before it was made to spike.
        trained_as: what the network of ``finetuned`` is called: ``quantized`` where stages of a recipe trained it.
    """

    name: str
    question: str
    wording: Wording
    test: float | None
    lowered: float | None
    by_step: tuple[float | None, ...]
    steps: int | None
    published: float | None
    source: str
    expected: float | None
    weights: str
    before: float | None = None
    finetuned: float | None = None
    trained_as: str = "fine-tuned"
    changed: tuple[str, ...] = ()

    @property
    def setting(self) -> str:
        """The weights and the time steps in words.

        Example:
            >>> facts({"recipe": {"model": {"steps": 1}}, "bits": {"fc": 2}}).setting
            '2-bit weights and 1 time step'
        """
        if self.steps is None:
            return self.weights
        return f"{self.weights} and {self.steps} time step{'' if self.steps == 1 else 's'}"


def _weights(recipe: Mapping[str, Any], widths: Mapping[str, Any]) -> str:
    """Say how wide the weights are; those that no scheme quantizes are float, whatever their codes became."""
    said = bits(int(width) for width in widths.values() if known(width) is not None)
    trained_as_floats = "weights" in recipe and recipe["weights"] is None
    return f"float weights ({said.removesuffix(' weights')} codes)" if trained_as_floats and widths else said


def facts(record: Mapping[str, Any]) -> Facts:
    """Collect the facts of one run record.

    Example:
        >>> run = facts({"recipe": {"name": "quickstart"}, "accuracy": {"test": 0.98}, "bits": {"fc": 2}})
        >>> run.name, run.test, run.published, run.weights
        ('quickstart', 0.98, None, '2-bit weights')
    """
    recipe, wording = mapping(record, "recipe"), wording_of(record)
    accuracy = mapping(record, wording.metric)
    # A stage has figures of its own, or none: those of its recipe are of the last one.
    published = mapping(record, "published") if "published" in record else mapping(recipe, "published")
    expected = mapping(record, "expected") if "expected" in record else mapping(recipe, "expect")
    by_step = tuple(known(value) for value in listed(accuracy, "by_step"))
    steps = known(mapping(recipe, "model").get("steps")) or len(by_step)
    said = [str(published[key]) for key in ("source", "setting") if published.get(key)]
    return Facts(
        name=str(recipe.get("name") or "run"),
        question=str(recipe.get("question") or ""),
        wording=wording,
        test=known(accuracy.get("test")),
        lowered=known(accuracy.get("lowered")),
        by_step=by_step,
        steps=int(steps) or None,
        published=known(published.get("value")),
        source=", ".join(said),
        expected=known(expected.get(f"test_{wording.metric}")),
        weights=_weights(recipe, mapping(record, "bits")),
        before=known(accuracy.get("float")),
        finetuned=known(accuracy.get("finetuned")),
        trained_as="quantized" if mapping(record, "stage") else "fine-tuned",
        changed=tuple(f"{key}={plain(value)}" for key, value in mapping(recipe, "changed").items()),
    )


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One neuron over the T steps of one image.

    Args:
        potential: [T], before the reset.
        threshold: [T].
        spikes: [T]; -1, 0 or 1.
    """

    potential: NDArray[Any]
    threshold: NDArray[Any]
    spikes: NDArray[Any]


@dataclass(frozen=True, eq=False)
class ImageShown:
    """One test image and what it causes.

    Args:
        pixels: [H, W] or [H, W, C].
        label: the right answer for it, in words.
        prediction: the answer of the network, in words.
        spikes: layer -> [T, neurons] of -1, 0 and 1, in the order of the network.
        potentials: layer -> one neuron of it; layers whose potentials are not known are missing.
    """

    pixels: NDArray[np.uint8] | None = None
    label: str = ""
    prediction: str = ""
    spikes: Mapping[str, NDArray[np.int8]] = field(default_factory=dict)
    potentials: Mapping[str, Trajectory] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ReportDetail:
    """Pictures of one run that ``report.json`` is too small to keep, handed over in memory; every part may be missing.

    Args:
        images: some test images, with the spikes that they cause.
        code_histograms: layer -> weight code -> how often it occurs.
        exhibits: what the task shows of the answers over the test images.
        samples: how many test images there are; None if not known.
    """

    images: Sequence[ImageShown] = ()
    code_histograms: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    exhibits: Sequence[Exhibit] = ()
    samples: int | None = None
