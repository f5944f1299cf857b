"""Early exit: rules worked out by hand, every figure from one run, and the same figures from runs that really stop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.analysis.exits.rules import ExitRule, gammas_of
from bitspike.analysis.exits.study import study
from bitspike.errors import ConstraintError, DataError
from bitspike.nn.every_step import after_every_step
from bitspike.tasks.classify import Classification
from bitspike.train import evaluate
from bitspike.train.answers import StepAnswers

STEPS = 10


def network(encoder: nn.Module | None = None) -> nn.Sequential:
    """Return a network with two norms through time, of different sizes."""
    torch.manual_seed(0)
    return nn.Sequential(
        encoder or bs.Repeat(STEPS),
        bs.TimeDistributed(nn.Conv2d(1, 6, 3, bias=False), bs.BatchNormThroughTime(6, steps=STEPS)),
        bs.LIF(decay=0.95),
        bs.TimeDistributed(nn.Flatten(), nn.Linear(96, 12, bias=False), bs.BatchNormThroughTime(12, steps=STEPS)),
        bs.LIF(decay=0.95),
        bs.TimeDistributed(nn.Linear(12, 3, bias=False)),
        bs.RateReadout(),
    ).eval()


def norms(model: nn.Module) -> list[bs.BatchNormThroughTime]:
    return [m for m in model.modules() if isinstance(m, bs.BatchNormThroughTime)]


def fade(model: nn.Module, at: int, *, low: float = 0.05, high: float = 0.5) -> None:
    """Let the gains of all norms fall at a step, counted from 1; channels differ, their mean does not."""
    with torch.no_grad():
        for norm in norms(model):
            norm.weight[: at - 1], norm.weight[at - 1 :] = high, low
            norm.weight[:, 0] += 0.02
            norm.weight[:, 1] -= 0.02


def batches(sizes: tuple[int, ...] = (8, 8, 1)) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(n, 1, 6, 6, generator=generator), torch.randint(3, (n,), generator=generator)) for n in sizes]


def test_hybrid_check_06_the_network_stops_where_the_gains_of_all_layers_have_faded() -> None:
    model = network()
    assert bs.GammaExit(0.1).step(model) == STEPS  # all gains are 1
    fade(model, 7)
    assert bs.GammaExit(0.1).step(model) == 7
    with torch.no_grad():
        norms(model)[1].weight[6] = 0.2
    assert bs.GammaExit(0.1).step(model) == 8
    assert bs.GammaExit(0.25).step(model) == 7
    assert bs.GammaExit(0.6).step(model) == 1


@pytest.mark.parametrize("random", [False, True])
def test_hybrid_check_06_the_logits_are_the_prefix_of_the_full_run(random: bool) -> None:
    def encoder() -> nn.Module:
        generator = torch.Generator().manual_seed(5)
        return bs.BernoulliCoder(STEPS, divisor=2.0, generator=generator) if random else bs.Repeat(STEPS)

    model, x = network(encoder()), torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    fade(model, 7)
    steps = after_every_step(model, x)
    model[0] = encoder()
    stop = bs.GammaExit(0.1).step(model)
    with bs.set_steps(model, stop):
        assert torch.equal(model(x), steps[stop - 1])


def test_of_a_shorter_run_the_rule_asks_its_steps_only() -> None:
    model = network()
    fade(model, 7)
    with bs.set_steps(model, 5):
        assert bs.GammaExit(0.1).step(model) == 5
        assert gammas_of(model)["1.1"][6] == pytest.approx(0.05)


def test_early_exit_equals_runs_that_really_stop() -> None:
    model, data = network(), batches()
    fade(model, 4)
    exits = bs.early_exit(model, data)
    assert exits.samples == 17
    assert len(exits.by_step) == STEPS
    fixed = exits.curve("fixed")
    assert [r.steps for r in fixed] == list(range(1, STEPS + 1))
    for t, result in enumerate(fixed, start=1):
        with bs.set_steps(model, t):
            assert result.accuracy == exits.by_step[t - 1] == evaluate(model, data).accuracy
        assert result.shares == tuple(float(i == t) for i in range(1, STEPS + 1))
    for result in exits.curve("gamma"):
        step = result.rule.step(model)  # type: ignore[attr-defined]
        assert (result.steps, result.accuracy) == (step, exits.by_step[step - 1])
    assert {result.steps for result in exits.curve("gamma")} == {1, 4}
    assert bs.GammaExit(0.1) in [result.rule for result in exits.results]


def test_each_sample_stops_when_the_network_is_sure_of_it() -> None:
    # T = 3, four samples, each sure at another step; the last one never.
    sure = torch.tensor([[0.9, 0.1, 0.1, 0.1], [0.1, 0.9, 0.1, 0.1], [0.1, 0.1, 0.9, 0.1]])
    right = torch.tensor([[0.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]])
    (result,) = study(StepAnswers(right, sure), {}, [bs.ConfidenceExit(0.9)]).results
    assert result.shares == (0.25, 0.25, 0.5)
    assert result.steps == 2.25
    assert result.accuracy == 0.5
    (later,) = study(StepAnswers(right, sure), {}, [bs.ConfidenceExit(0.9, least=2)]).results
    assert later.shares == (0.0, 0.25, 0.75)
    (never,) = study(StepAnswers(right, sure), {}, [bs.ConfidenceExit(0.9, least=9)]).results
    assert never.shares == (0.0, 0.0, 1.0)


def test_more_confidence_takes_more_steps_and_shares_add_up() -> None:
    exits = bs.early_exit(network(), batches())
    curve = exits.curve("confidence")
    ordered = sorted(curve, key=lambda r: r.rule.value)
    assert len(ordered) == 8
    assert [r.steps for r in ordered] == sorted(r.steps for r in ordered)
    assert all(sum(r.shares) == pytest.approx(1.0) for r in exits.results)
    assert all(1 <= r.steps <= STEPS and 0 <= r.accuracy <= 1 for r in exits.results)


def test_every_exit_that_some_epsilon_gives_is_on_the_curve() -> None:
    gammas = {"a": [0.9, 0.4, 0.6, 0.2, 0.3], "b": [0.1, 0.1, 0.1, 0.1, 0.05]}
    exits = study(StepAnswers(torch.ones(5, 2)), gammas)
    assert [r.steps for r in exits.curve("gamma")] == [1, 2, 4, 5]
    negative = study(StepAnswers(torch.ones(2, 2)), {"a": [-0.5, -0.5]})
    assert [r.steps for r in negative.curve("gamma")] == [1]


def test_a_network_of_one_step_and_one_without_norms_through_time_have_their_curves() -> None:
    model = nn.Sequential(bs.Repeat(1), bs.IF(), bs.TimeDistributed(nn.Linear(4, 3)), bs.RateReadout())
    exits = bs.early_exit(model, [(torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1]))])
    assert exits.curve("gamma") == ()
    assert {r.steps for r in exits.results} == {1.0}
    assert str(exits).startswith("1 steps: ")


def test_modes_and_random_numbers_are_left_alone() -> None:
    model = network(bs.BernoulliCoder(STEPS, divisor=2.0)).train()
    before = torch.get_rng_state()
    first, second = (bs.early_exit(model, batches(), seed=3) for _ in range(2))
    assert first.to_dict() == second.to_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert evaluate(model, batches(), seed=3).accuracy == first.by_step[-1]


def on_grid(channels: int) -> nn.Module:
    return bs.BatchNormThroughTime(channels, steps=6, grid=2**-8)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, on_grid])
def test_a_shorter_network_in_integers_is_the_exit(norm: Any) -> None:
    torch.manual_seed(0)
    layer = bs.TimeDistributed(nn.Conv2d(1, 6, 3, bias=False), norm(6))
    linear = bs.TimeDistributed(nn.Flatten(), nn.Linear(96, 3))
    model = nn.Sequential(bs.Repeat(6), layer, bs.LIF(decay=0.5), linear, bs.SumReadout()).eval()
    x = torch.randint(0, 256, (5, 1, 6, 6)) / 256
    outputs = after_every_step(model, x)
    with bs.set_steps(model, 4):
        net = bs.lower(model, x[:1], grid=bs.Grid(2**-8, 0, 255))
        assert torch.equal(model(x), outputs[3])
    assert net.steps == 4
    assert bs.verify(net, x).equal


class Mixing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: bs.FixedExit(0), r"FixedExit\(0\): a whole number of at least 1[\s\S]*FixedExit\(4\)"),
        (lambda: bs.FixedExit(True), r"FixedExit\(True\)"),
        (lambda: bs.FixedExit(2.0), r"FixedExit\(2\.0\)"),
        (lambda: bs.ConfidenceExit(0.0), r"above 0 and up to 1[\s\S]*ConfidenceExit\(0\.9\)"),
        (lambda: bs.ConfidenceExit(float("nan")), "above 0 and up to 1"),
        (lambda: bs.ConfidenceExit(0.9, least=0), "least=0"),
        (lambda: bs.GammaExit(-1.0), r"a number above 0[\s\S]*GammaExit\(0\.1\)"),
        (lambda: bs.early_exit(network(), batches(), rules=[bs.FixedExit(11)]), r"runs 10 steps[\s\S]*FixedExit\(10\)"),
        (
            lambda: bs.GammaExit().step(nn.Sequential(bs.Repeat(2), bs.RateReadout())),
            r"no bs\.BatchNormThroughTime[\s\S]*bs\.ConfidenceExit\(0\.9\)",
        ),
        (
            lambda: bs.early_exit(nn.Sequential(bs.Repeat(2), Mixing(), bs.RateReadout()), batches()),
            r"depends on later steps[\s\S]*bs\.set_steps",
        ),
        (lambda: bs.early_exit(nn.Sequential(bs.Repeat(2), bs.IF()), batches()), "calls no read-out"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(make: Any, said: str) -> None:
    with pytest.raises(ConstraintError, match=said):
        make()


def test_no_sample_and_labels_that_say_nothing_are_refused() -> None:
    model = network()
    with pytest.raises((ConstraintError, DataError)):
        bs.early_exit(model, [])
    with pytest.raises(DataError):
        bs.early_exit(model, [(torch.rand(2, 1, 6, 6), torch.tensor([7, 8]))])


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_as_many_classes_as_steps_are_not_taken_for_a_time_axis(steps: int) -> None:
    model = nn.Sequential(bs.Repeat(steps), bs.IF(), bs.RateReadout())
    assert bs.early_exit(model, [(torch.eye(2), torch.tensor([0, 1]))]).by_step == (1.0,) * steps


def test_batches_that_can_be_read_once_are_refused_as_the_first_would_be_lost() -> None:
    model = nn.Sequential(bs.Repeat(2), bs.RateReadout())
    batches = [(torch.eye(2), torch.tensor([0, 1])), (torch.eye(2), torch.tensor([1, 0]))]
    for once in (iter(batches), (batch for batch in batches)):
        with pytest.raises(DataError, match="read once") as told:
            bs.early_exit(model, once)
        assert "list(batches)" in str(told.value)
    assert bs.early_exit(model, batches).samples == 4


def test_no_sample_is_said_as_such_and_an_empty_first_batch_tells_nothing() -> None:
    model = nn.Sequential(bs.Repeat(2), bs.RateReadout())
    empty = (torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    for none in ([], [empty]):
        with pytest.raises(DataError, match="no sample"):
            bs.early_exit(model, none)
    assert bs.early_exit(model, [empty, (torch.eye(2), torch.tensor([0, 1]))]).by_step == (1.0, 1.0)


def test_norms_of_more_steps_than_others_are_asked_as_far_as_all_of_them_go() -> None:
    norms = [bs.BatchNormThroughTime(2, steps=steps) for steps in (2, 4)]
    assert bs.GammaExit(0.1).step(nn.Sequential(*norms)) == 2
    model = nn.Sequential(bs.Repeat(2), norms[0], bs.LIF(0.5), norms[1], bs.SumReadout()).eval()
    exits = bs.early_exit(model, [(torch.eye(2), torch.tensor([0, 1]))])
    assert {len(values) for values in exits.gammas.values()} == {2}


@pytest.mark.parametrize("rules", [bs.FixedExit(1), [0.9], [bs.FixedExit]])
def test_what_is_no_list_of_rules_is_refused(rules: Any) -> None:
    with pytest.raises(ConstraintError, match="a list of rules"):
        bs.early_exit(nn.Sequential(bs.Repeat(2), bs.RateReadout()), [], rules=rules)


def test_a_task_without_confidence_has_the_other_rules() -> None:
    class Plain:
        """Classification that does not say how sure it is."""

        def __getattr__(self, name: str) -> Any:
            if name == "confidence":
                raise AttributeError(name)
            return getattr(Classification(), name)

    exits = bs.early_exit(network(), batches(), task=Plain())  # type: ignore[arg-type]
    assert exits.curve("confidence") == ()
    assert len(exits.curve("fixed")) == STEPS
    with pytest.raises(ConstraintError, match=r"does not say how sure[\s\S]*confidence\(outputs\)"):
        bs.early_exit(network(), batches(), task=Plain(), rules=[bs.ConfidenceExit(0.9)])  # type: ignore[arg-type]


def test_a_rule_of_ones_own_takes_part() -> None:
    class EverySecond(ExitRule):
        name = "second"
        value = 2.0

        def exits(self, answers: StepAnswers, gammas: Any) -> Tensor:
            return torch.arange(answers.samples) % 2 + 1

    (result,) = bs.early_exit(network(), batches(), rules=[EverySecond()]).results
    assert result.shares[:2] == (9 / 17, 8 / 17)
    assert result.to_dict()["shares"] == {"1": 9 / 17, "2": 8 / 17}
