"""Damaged files of every kind are refused in one clear error, and never taken for whole where a digest covers them.

The large version is ``python -m benchmarks.mutations --count 10000``.
"""

from __future__ import annotations

import random

import pytest
from benchmarks import mutators
from benchmarks.mutated import SUBJECTS, cases
from benchmarks.mutations import BAD, run, table


def test_damage_is_refused_and_nothing_damaged_is_taken_for_whole() -> None:
    outcomes = list(run(330, 0))
    wrong = [f"{o.case}: {o.kind}: {o.detail}" for o in outcomes if o.kind in BAD and o.kind != "slow"]
    assert not wrong, "\n".join([*wrong, table(outcomes)])
    assert len(outcomes) == 330
    assert {o.case.subject for o in outcomes} == set(SUBJECTS)
    refused = {o.case.subject for o in outcomes if o.kind == "refused"}
    assert refused == set(SUBJECTS), "every reader was given something that it has to refuse"


def test_the_inputs_are_the_same_for_the_same_seed() -> None:
    assert list(cases(40, 3, tuple(SUBJECTS))) == list(cases(40, 3, tuple(SUBJECTS)))
    text = '{"a": [1, 2.5, {"b": "c"}], "d": null}'
    changed = [mutators.json_of(text, random.Random(seed)) for seed in range(50)]
    assert changed == [mutators.json_of(text, random.Random(seed)) for seed in range(50)]
    assert len(set(changed)) > 25


@pytest.mark.parametrize("kind", BAD)
def test_what_may_not_happen_is_told_apart(kind: str) -> None:
    assert f"| {kind} |" in table([])
