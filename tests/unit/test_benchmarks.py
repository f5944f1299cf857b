"""Benchmarks without peers or a clock: every case runs, every line is valid, the document is what the lines say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import conversion, document, lines, load, measure, memory, peers, plots, run, tables
from benchmarks.__main__ import main
from benchmarks.case import Case, Group, Target, Variant
from benchmarks.cases import CASES, startup


@pytest.fixture(autouse=True)
def _gentle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the allocator of the test process alone, and measure memory without starting processes."""
    torch.use_deterministic_algorithms(False)
    monkeypatch.setattr(run, "keep_memory", lambda: False)
    monkeypatch.setattr(memory, "_map_blocks", lambda: None)
    monkeypatch.setattr(run, "in_own_process", lambda case, group, variant, *, tiny: memory.rise(variant))


def tiny(case: Case, **changes: Any) -> list[dict[str, Any]]:
    said: list[str] = []
    settings = {"effort": measure.TINY, "tiny": True, "present": lambda name: False, "say": said.append, **changes}
    return list(run.measure(case, run.Plan(**settings)))


def made(times: dict[str, float], *targets: Target, unit: str = "s", peer: str | None = "peer") -> list[dict[str, Any]]:
    """Return the lines of a case whose medians are given."""
    variants = [Variant(name=name, build=lambda: lambda: None, images=1) for name in times]
    group = Group(name="g", shape="1", variants=variants, peer=peer, targets=targets, unit=unit)  # type: ignore[arg-type]
    case = Case(name="made", title="Made up", about="About.", groups=lambda tiny: [group])
    with pytest.MonkeyPatch.context() as patch:
        timings = {name: measure.Timing(kept=[seconds]) for name, seconds in times.items()}
        patch.setattr(run, "alternate", lambda calls, effort: timings)
        patch.setattr(run, "in_own_process", lambda case, group, variant, *, tiny: times[variant.name])
        patch.setattr(run.machine, "describe", lambda: PLACE)
        return tiny(case)


PLACE = {
    "hardware": "Example, 2 cores",
    "instruction_sets": ["avx2"],
    "threads": 2,
    "versions": {"torch": "2.6"},
    "commit": "abc",
}


@pytest.mark.parametrize("name", CASES)
def test_every_case_runs_at_a_tiny_size_without_peers(name: str, tmp_path: Path) -> None:
    found = tiny(CASES[name])
    needed = {v.name for g in CASES[name].groups(True) for v in g.variants if v.needs is None}
    assert {line["variant"] for line in found} == needed
    assert any(line["variant"].startswith(("Bitspike", "LIF", "bitspike")) for line in found)
    lines.append(found, tmp_path)
    assert lines.latest(tmp_path) == json.loads(json.dumps(found))


@pytest.mark.parametrize("name", CASES)
def test_a_case_has_a_place_in_the_document_and_groups_of_different_names(name: str) -> None:
    case = CASES[name]
    groups = case.groups(False)
    assert len({g.name for g in groups}) == len(groups)
    assert f"<!-- benchmarks:{name} -->" in document.DOCUMENT.read_text(encoding="utf-8")


def test_the_first_fused_call_of_a_process_runs() -> None:
    startup.process(["-c", startup.FIRST_CALL])()


def test_what_cannot_end_in_its_budget_is_called_once_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], {"fast": 0, "slow": 0}

    def variant(name: str, seconds: float) -> Variant:
        def call() -> None:
            calls[name] += 1
            now[0] += seconds

        return Variant(name=name, build=lambda: call)

    variants = [variant("fast", 0.1), variant("slow", 300.0)]
    group = Group(
        name="g", shape="1", variants=variants, peer="slow", targets=[Target(variant="fast", against="slow", bound=2)]
    )
    case = Case(name="made", title="Made up", about="About.", groups=lambda tiny: [group])
    plain = measure.alternate
    monkeypatch.setattr(run, "alternate", lambda them, effort: plain(them, effort, clock=lambda: now[0]))
    monkeypatch.setattr(load, "available", lambda: False)
    said: list[str] = []
    (line,) = run.measure(case, run.Plan(effort=measure.Effort(blocks=3), say=said.append))
    assert (calls["slow"], line["variant"], line["blocks"], line["comparisons"]) == (1, "fast", 3, [])
    words = "one call took 300 s, its blocks would take over 600 s"
    assert line["left_out"] == {"slow": words}
    assert f"  slow: left out: {words}" in said
    lines.check(line)
    assert f"left out, g, slow: {words}" in tables.details([line])


def test_classes_of_processors_stand_side_by_side(tmp_path: Path) -> None:
    target = Target(variant="ours", against="peer", bound=10)
    case = Case(name="made", title="Made up", about="", groups=lambda tiny: [Group(
        name="g", shape="1", variants=[Variant(name=n, build=lambda: lambda: None) for n in ("ours", "peer")],
        targets=[target],
    )])  # fmt: skip
    held = []
    for day, sets, peer in ((1, ["avx2"], 8.0), (2, ["avx2", "avx512", "bf16"], 12.0), (3, ["avx2"], 9.0)):
        found = made({"ours": 1.0, "peer": peer}, target)
        held += [line | {"run": f"2026-01-0{day}T00:00:00", "instruction_sets": sets} for line in found]
    lines.append(held, tmp_path)
    shown = lines.latest(tmp_path)
    assert [line["run"][9] for line in shown] == ["2", "2", "3", "3"], "the newest of each class"
    rows = tables.summary(shown, [case], {}).splitlines()[2:]
    assert [row.split(" | ")[3:5] for row in rows] == [["AVX-512 with bf16", "12 ×"], ["AVX2", "9 ×"]]
    words = tables.details(shown)
    assert words.index("**AVX-512 with bf16**") < words.index("**AVX2**")
    assert document._one_processor([*shown, *shown[:2]]) == [*shown[:2], *shown[:2]]


def test_a_missing_peer_is_one_sentence_with_the_way_out() -> None:
    said: list[str] = []
    tiny(CASES["neuron"], say=said.append, only="LIF")
    about = [text for text in said if "not installed" in text]
    assert about == [peers.absence("SpikingJelly"), peers.absence("snnTorch")]
    assert all("pip install 'bitspike[bench]'" in text for text in about)


def test_the_ratio_is_that_of_medians_and_larger_is_better() -> None:
    asked = (
        Target(variant="ours", against="peer", bound=4),
        Target(variant="ours", against="copy", bound=1.5, sense="at most"),
        Target(variant="ours", against=None, bound=0.4, sense="at most"),
    )
    ours = next(line for line in made({"ours": 0.5, "peer": 2.0, "copy": 0.25}, *asked) if line["variant"] == "ours")
    assert [(c["ratio"], c["met"]) for c in ours["comparisons"]] == [(4.0, True), (2.0, False), (0.5, False)]


def test_more_images_per_second_are_better_and_more_memory_is_worse() -> None:
    for unit, ours, peer in (("images/s", 0.1, 0.8), ("MB", 10.0, 80.0)):
        (line, _) = made({"ours": ours, "peer": peer}, Target(variant="ours", against="peer", bound=7.9), unit=unit)
        (found,) = line["comparisons"]
        assert found["ratio"] == pytest.approx(8.0)
        assert found["met"]


def test_a_target_whose_other_variant_was_not_measured_is_not_judged() -> None:
    variants = [
        Variant(name="ours", build=lambda: lambda: None),
        Variant(name="peer", needs="SpikingJelly", build=lambda: lambda: None),
    ]
    group = Group(
        name="g", shape="1", variants=variants, peer="peer", targets=[Target(variant="ours", against="peer", bound=4)]
    )
    (line,) = tiny(Case(name="made", title="Made up", about="", groups=lambda tiny: [group]))
    assert line["comparisons"] == []


def test_a_missed_target_is_shown_as_missed_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(variant="ours", against="peer", bound=12)
    variants = [Variant(name=n, build=lambda: lambda: None) for n in ("ours", "peer")]
    group = Group(name="g", shape="1", variants=variants, peer="peer", targets=[target])
    case = Case(name="made", title="Made up", about="", groups=lambda tiny: [group])
    found = made({"ours": 1.0, "peer": 11.999}, target)
    shown = tables.summary(found, [case], {})
    assert "| at least 12 × as fast | AVX2 | 11.9 × | **MISSED**: the reason has not been found yet |" in shown
    assert tables.missed(found) == ["made / g / ours / peer"]
    assert "**MISSED**: it is slow |" in tables.summary(found, [case], {"made / g / ours / peer": "it is slow"})
    assert "12 × | reached |" in tables.summary(made({"ours": 1.0, "peer": 12.0}, target), [case], {})
    assert "| not measured |" in tables.summary([], [case], {})


def test_lines_refuse_what_is_missing_unknown_or_contradictory() -> None:
    (good, _) = made({"ours": 1.0, "peer": 2.0}, Target(variant="ours", against="peer", bound=3))
    lines.check(good)
    wrong = [
        {k: v for k, v in good.items() if k != "commit"},
        {**good, "feeling": "fast"},
        {**good, "median": "1"},
        {**good, "low": 5.0},
        {**good, "comparisons": [{**good["comparisons"][0], "met": True}]},
    ]
    for line in wrong:
        with pytest.raises(ValueError, match=r"missing or unknown|should be|quartiles|contradicts"):
            lines.check(line)


def test_the_last_run_of_a_case_is_shown(tmp_path: Path) -> None:
    found = made({"ours": 1.0, "peer": 2.0})
    old, new = ([{**line, "run": when} for line in found] for when in ("2026-01-01T00:00:00", "2026-01-02T00:00:00"))
    lines.append(new, tmp_path)
    lines.append(old, tmp_path)
    assert {line["run"] for line in lines.latest(tmp_path)} == {"2026-01-02T00:00:00"}
    lines.append([{**line, "group": "another", "run": "2026-01-03T00:00:00"} for line in found], tmp_path)
    assert {line["run"] for line in lines.latest(tmp_path)} == {"2026-01-02T00:00:00", "2026-01-03T00:00:00"}


class Busy:
    """A clock and a machine on which others are busy during chosen readings."""

    def __init__(self, busy: set[int]) -> None:
        self.now, self.blocks, self.busy = 0.0, 0, busy

    def call(self) -> None:
        self.now += 1.0

    def read(self) -> load.Reading:
        return load.Reading(self.now, self.now + 2.0 * (self.blocks in self.busy), self.now)

    def foreign(self, before: load.Reading, after: load.Reading) -> float:
        self.blocks += 1
        return 0.5 if self.blocks in self.busy else 0.0


@pytest.mark.parametrize(("busy", "dropped", "accepted"), [({2}, 1, 0), (set(range(100)), 6, 3), (set(), 0, 0)])
def test_disturbed_blocks_are_repeated_and_only_accepted_for_want_of_quiet_ones(
    busy: set[int], dropped: int, accepted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Busy(busy)
    monkeypatch.setattr(load, "available", lambda: True)
    monkeypatch.setattr(load, "read", machine.read)
    monkeypatch.setattr(load, "foreign", machine.foreign)
    effort = measure.Effort(blocks=3, seconds=2.0, patience=2, strict=False)
    (timing,) = measure.alternate({"x": machine.call}, effort, clock=lambda: machine.now).values()
    assert (timing.kept, len(timing.dropped), timing.accepted) == ([1.0] * 3, dropped, accepted)


def test_a_machine_that_stays_busy_gives_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Busy(set(range(100)))
    monkeypatch.setattr(load, "available", lambda: True)
    monkeypatch.setattr(load, "read", machine.read)
    monkeypatch.setattr(load, "foreign", machine.foreign)
    with pytest.raises(measure.BusyError, match="6 of 6 blocks; measure again"):
        measure.alternate({"x": machine.call}, measure.Effort(blocks=3, patience=2), clock=lambda: machine.now)


def test_variants_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "available", lambda: False)
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    measure.alternate(calls, measure.Effort(blocks=2, seconds=0.0, patience=9, settling=1))  # type: ignore[arg-type]
    assert "".join(order) == "aabb" + "ab" + "abab", "two calls each and a round to warm up, then blocks in turns"


def test_only_the_work_of_others_is_foreign() -> None:
    before, after = load.Reading(0.0, 10.0, 5.0), load.Reading(1.0, 12.0, 6.5)
    assert load.foreign(before, after) == pytest.approx(0.5 / (os.cpu_count() or 1))
    assert load.foreign(before, load.Reading(1.0, 11.0, 6.5)) == 0.0, "counters of the machine are coarse"


@pytest.mark.skipif(not load.available(), reason="only Linux tells what all processes use")
def test_what_a_child_does_is_our_own_work() -> None:
    before = load.read()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert load.read().own > before.own


def test_memory_counts_what_a_call_needs_at_its_peak() -> None:
    program = f"""
import torch
from benchmarks import memory
from benchmarks.case import Variant

print(memory.rise(Variant(name="x", build=lambda: lambda: torch.ones({64 * 2**20}, dtype=torch.uint8).max())))
"""
    root = Path(memory.__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, check=True, capture_output=True, text=True)
    assert 60 < float(done.stdout) < 90, "measured in a process of its own: the allocator of this one is already set up"


def test_a_group_refuses_targets_of_variants_that_it_does_not_have() -> None:
    with pytest.raises(ValueError, match="nobody"):
        Group(name="g", shape="", variants=[], peer="nobody")


def test_the_document_holds_what_the_lines_generate() -> None:
    text = document.DOCUMENT.read_text(encoding="utf-8")
    held = document.parts(lines.latest(), tables.reasons())
    assert document.put(text, held) == text, "run python -m benchmarks table"
    for figure in plots.FIGURES:
        assert (f"figures/{figure.name}" in text) == (document.FIGURES / figure.name).is_file()


def test_the_conversion_results_hold_what_the_lines_generate() -> None:
    held = conversion.latest()
    assert held
    every = [*held, *(line for name in conversion.ORDER for line in conversion.latest(conversion.file_of(name)))]
    assert all(line["certificate"] and not line["lowering_notes"] for line in every)
    assert conversion.DOCUMENT.read_text(encoding="utf-8") == conversion.document(held), "conversion table"
    drawn = conversion.figure(held)
    assert drawn is not None
    assert drawn.startswith("<?xml")
    assert conversion.FIGURE.is_file()


def test_the_generator_and_the_figures_give_the_same_twice() -> None:
    found = made({"ours": 1.0, "peer": 2.0}, Target(variant="ours", against="peer", bound=3))
    growth = [
        {**found[0], "case": "growth", "group": group, "variant": f"{library} T={steps}", "median": float(steps)}
        for group in ("time", "memory")
        for library in ("Bitspike", "SpikingJelly")
        for steps in (1, 2)
    ]
    for draw, given in ((plots.targets, found), (plots.growth, growth)):
        drawn = draw(given)
        assert drawn is not None
        assert drawn.startswith("<?xml")
        assert drawn == draw(given)
        assert draw([]) is None
    assert tables.details(found) == tables.details(found)


def test_every_missed_target_has_a_reason_and_reasons_hold_no_measured_numbers() -> None:
    known = {
        tables.key(case.name, group.name, t.variant, t.against)
        for case in CASES.values()
        for group in case.groups(False)
        for t in group.targets
    }
    why = tables.reasons()
    assert set(why) <= known, "a reason for a target that does not exist"
    assert set(tables.missed(lines.latest())) <= set(why), "say why in benchmarks/reasons.toml"
    measured = re.compile(r"\d+(\.\d+)?\s*(%|x\b|×|ms\b|s\b|seconds|MB\b|GB\b|times\b)")
    assert not [reason for reason in why.values() if measured.search(reason)]


def test_the_command_line_lists_measures_and_says_what_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["list"]) == 0
    assert [text.split()[0] for text in capsys.readouterr().out.splitlines()] == list(CASES)
    assert main(["nonsense"]) == 2
    assert "neuron" in capsys.readouterr().err
    monkeypatch.setattr(peers, "installed", lambda name: False)
    monkeypatch.setitem(CASES, "data", Case(name="data", title="", about="", groups=lambda tiny: [QUICK_GROUP]))
    assert main(["data", "--tiny", "--out", str(tmp_path)]) == 0
    printed = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert printed == lines.latest(tmp_path)
    assert main(["point", "data", "g", "x", "--tiny"]) == 0
    assert json.loads(capsys.readouterr().out)["MB"] >= 0


QUICK_GROUP = Group(name="g", shape="1", variants=[Variant(name="x", build=lambda: lambda: None)])


def test_documents_need_one_place_for_every_part() -> None:
    with pytest.raises(ValueError, match="places"):
        document.put("nothing", {"x": "new"})
    with pytest.raises(ValueError, match="not closed"):
        document.put("<!-- benchmarks:x -->", {"x": "new"})
