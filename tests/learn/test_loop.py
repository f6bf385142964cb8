from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from hornbook.errors import EmptyInput, NonFinite
from hornbook.learn.batches import Batch
from hornbook.learn.carry import Carry, carried
from hornbook.learn.ema import Ema
from hornbook.learn.examples import batched
from hornbook.learn.hyperparameters import rates
from hornbook.learn.loop import Loss, Step, next_token, train
from hornbook.learn.loss_scale import SMALLEST, LossScale
from hornbook.learn.optim import Optimizer, adamw, muon
from hornbook.learn.spikes import IN_A_ROW, Spikes
from hornbook.model.transformer import Transformer
from tests.learn import tiny
from tests.learn.test_examples import examples

torch.set_num_threads(1)
GROUPS = examples([5, 9, 3, 14, 6, 7, 4, 10])


def run(model: Transformer, optimizer: Optimizer, *, rows: int = 8, length: int = 14, steps: int = 3) -> list[Step]:
    def batches(step: int) -> Sequence[Batch]:
        return batched(GROUPS, length=length, rows=rows)

    return list(train(model, batches=batches, loss=next_token, optimizer=optimizer, schedule=constant, steps=steps))


MAKERS: dict[str, Callable[[Transformer], Optimizer]] = {
    "adamw": lambda m: adamw(m, learning_rate=1e-3),
    "muon": lambda m: muon(m, rates=rates(2e-4)),
}


def constant(step: int) -> float:
    return 1.0


def weights(model: Transformer) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("make", ["adamw", "muon"])
@pytest.mark.parametrize(("rows", "length"), [(1, 14), (2, 14), (3, 30), (8, 200)])
def test_accumulation_and_packing_are_the_big_batch(make: str, rows: int, length: int) -> None:
    models = [tiny.model(), tiny.model()]
    build = MAKERS[make]
    whole = run(models[0], build(models[0]), rows=8, length=14, steps=1)
    parts = run(models[1], build(models[1]), rows=rows, length=length, steps=1)
    # Elsewhere in a row means other rotary angles, and those are rounded to single precision.
    close = 1e-12 if length == 14 else 1e-9
    assert parts[0].loss == pytest.approx(whole[0].loss, rel=close)
    assert parts[0].grad_norm == pytest.approx(whole[0].grad_norm, rel=close)
    # Adam's first step is sign(gradient), which magnifies rounding where the gradient is nearly zero; Muon
    # orthogonalizes in bfloat16.
    torch.testing.assert_close(weights(models[1]), weights(models[0]), rtol=0, atol=1e-8 if make == "adamw" else 1e-4)


def test_the_gradient_is_that_of_the_mean_over_the_whole_step() -> None:
    model, plain = tiny.model(), tiny.model()
    optimizer = adamw(model, learning_rate=0.0)
    taken = []
    optimizer.zero_grad = lambda: taken.append([p.grad for p in model.parameters()])  # type: ignore[method-assign]
    run(model, optimizer, rows=2, steps=1)
    parts = [next_token(plain, batch) for batch in batched(GROUPS, length=14, rows=2)]
    loss = sum((s for s, _ in parts), torch.zeros(())) / sum(float(n) for _, n in parts)
    expected = torch.autograd.grad(loss, list(plain.parameters()))
    norm = torch.nn.utils.get_total_norm(expected)
    expected = tuple(g * min(1.0, 1.0 / float(norm)) for g in expected)
    torch.testing.assert_close(taken[-1], list(expected), rtol=1e-9, atol=1e-12)


def test_it_learns_and_says_what_it_did() -> None:
    model = tiny.model(exact=False)
    optimizer = adamw(model, learning_rate=1e-2)
    steps = run(model, optimizer, steps=40)
    assert [step.step for step in steps] == list(range(1, 41))
    assert steps[-1].loss < 0.5 * steps[0].loss
    assert steps[0].count == sum(int(group[0].answer[1:].sum()) for group in GROUPS)
    assert steps[0].learning_rates == {"matrices": 1e-2, "rest": 1e-2}
    assert all(step.seconds > 0 and step.tokens >= step.count for step in steps)


def test_a_large_gradient_is_clipped() -> None:
    loud, quiet = tiny.model(), tiny.model()

    def tenfold(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
        total, count = next_token(model, batch)
        return total * 1000, count

    def batches(step: int) -> Sequence[Batch]:
        return batched(GROUPS, length=14, rows=8)

    for model, loss in ((loud, tenfold), (quiet, next_token)):
        optimizer = adamw(model, learning_rate=1e-3)
        (done,) = train(model, batches=batches, loss=loss, optimizer=optimizer, schedule=constant, steps=1, clip=1e-3)
        assert done.grad_norm > 1e-3
    torch.testing.assert_close(weights(loud), weights(quiet), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("where", "word"), [("loss", "loss"), ("gradient", "gradient")])
def test_what_is_not_finite_stops_before_anything_changes(where: str, word: str) -> None:
    model = tiny.model()
    optimizer = adamw(model, learning_rate=1e-3)
    calls = 0

    def bad(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        total, count = next_token(model, batch)
        if calls < 6:
            return total, count
        root = (model.model.norm.weight[0] - model.model.norm.weight[0].detach()).sqrt()
        return (total * torch.inf if where == "loss" else total + root * 0), count

    def batches(step: int) -> Sequence[Batch]:
        return batched(GROUPS, length=14, rows=2)

    steps = train(model, batches=batches, loss=bad, optimizer=optimizer, schedule=constant, steps=5)
    per_step = len(batches(0))
    for _ in range(5 // per_step):
        next(steps)
    before, state = weights(model), {k: v.clone() for k, v in optimizer.state().items()}
    with pytest.raises(NonFinite, match=f"the {word} of step {5 // per_step + 1} is not finite") as raised:
        next(steps)
    assert "e0" in raised.value.hint
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(state.values(), optimizer.state().values(), strict=True))
    assert all(p.grad is None for p in model.parameters())


def test_a_step_without_a_learned_token_is_an_error() -> None:
    model = tiny.model()
    optimizer = adamw(model, learning_rate=1e-3)

    def silent(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
        total, count = next_token(model, batch)
        return total * 0, count * 0

    def batches(step: int) -> Sequence[Batch]:
        return batched(GROUPS, length=14, rows=8)

    with pytest.raises(EmptyInput, match="step 1 has nothing to learn from: e"):
        next(train(model, batches=batches, loss=silent, optimizer=optimizer, schedule=constant, steps=1))


def test_bf16_autocast_learns_too() -> None:
    model = tiny.model(exact=False)
    optimizer = adamw(model, learning_rate=1e-2)

    def batches(step: int) -> Sequence[Batch]:
        return batched(GROUPS, length=14, rows=8)

    steps = list(
        train(
            model,
            batches=batches,
            loss=next_token,
            optimizer=optimizer,
            schedule=constant,
            steps=30,
            autocast=torch.bfloat16,
        )
    )
    assert steps[-1].loss < 0.6 * steps[0].loss
    assert all(p.dtype == torch.float32 for p in model.parameters())


def sabotaged(at: set[int], *, where: str = "loss") -> Loss:
    """Next-token loss that is not finite, or whose gradient is not, in the calls numbered `at`."""
    calls = 0

    def loss(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        total, count = next_token(model, batch)
        if calls - 1 not in at:
            return total, count
        root = (model.model.norm.weight[0] - model.model.norm.weight[0].detach()).sqrt()
        return (total * torch.nan if where == "loss" else total + root * 0), count

    return loss


def one_batch(step: int) -> Sequence[Batch]:
    return batched(GROUPS, length=14, rows=8)


def stepping(model: Transformer, loss: Loss, *, steps: int, carry: Carry, **options: Any) -> Iterator[Step]:
    optimizer = MAKERS["adamw"](model)
    return train(
        model, batches=one_batch, loss=loss, optimizer=optimizer, schedule=constant, steps=steps, carry=carry, **options
    )


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_is_left_out_and_changes_nothing(where: str) -> None:
    model, plain = tiny.model(), tiny.model()
    carry, untouched = Carry(spikes=Spikes(), average=Ema(model, decay=0.9)), Carry(average=Ema(plain, decay=0.9))
    done = list(stepping(model, sabotaged({3, 4}, where=where), steps=12, carry=carry))
    assert [step.step for step in done if step.skipped] == [4, 5]
    assert done[3].skipped == f"the {where} is not finite"
    assert set(done[3].documents) == {f"e{n}" for n in range(len(GROUPS))}
    assert not done[2].documents
    list(stepping(plain, next_token, steps=10, carry=untouched))
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(plain), strict=True))
    assert carry.average is not None
    assert untouched.average is not None
    assert carry.average.updates == untouched.average.updates == 10
    assert all(torch.equal(a, b) for a, b in zip(carry.tensors().values(), untouched.tensors().values(), strict=True))


def test_too_many_in_a_row_end_the_run() -> None:
    model = tiny.model()
    steps = stepping(model, sabotaged(set(range(2, 50))), steps=50, carry=Carry(spikes=Spikes()))
    for _ in range(2):
        assert next(steps).skipped is None
    before = weights(model)
    for _ in range(IN_A_ROW):
        assert next(steps).skipped
    with pytest.raises(NonFinite, match=rf"the loss of step {IN_A_ROW + 3} is not finite, nor were the {IN_A_ROW} "):
        next(steps)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_a_spike_is_left_out_and_a_lasting_rise_is_not() -> None:
    def louder(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        total, count = next_token(model, batch)
        return (total * 20 if calls == 60 or calls > 80 else total), count

    calls = 0
    done = list(stepping(tiny.model(), louder, steps=100, carry=Carry(spikes=Spikes())))
    skipped = [step.step for step in done if step.skipped]
    assert skipped == [60, *range(81, 81 + IN_A_ROW)]


def test_norms_and_rates_are_told_by_kind_and_group() -> None:
    model = tiny.model()
    (step,) = run(model, MAKERS["muon"](model), steps=1)
    assert step.grad_norms.keys() == {"attention", "embedding", "mlp", "norms"}
    assert step.grad_norm**2 == pytest.approx(sum(norm**2 for norm in step.grad_norms.values()))
    assert step.learning_rates.keys() == {"embeddings", "vectors", "hidden"}


def test_fp16_learns_what_fp32_learns() -> None:
    losses = {}
    for dtype in (None, torch.float16):
        model = tiny.model(exact=False)
        carry = carried(model, autocast=dtype)
        assert (carry.scale is None) == (dtype is None)
        losses[dtype] = [step.loss for step in stepping(model, next_token, steps=20, carry=carry, autocast=dtype)]
        assert all(p.dtype == torch.float32 for p in model.parameters())
    assert losses[torch.float16] == pytest.approx(losses[None], rel=2e-3)
    assert losses[None][-1] < losses[None][0]


@pytest.mark.parametrize("value", [2.0**24, 2.0**-3])
def test_an_overflow_makes_the_scale_smaller_and_loses_no_step(value: float) -> None:
    model, plain = tiny.model(exact=False), tiny.model(exact=False)
    scale = LossScale()
    scale.value = value
    carry = Carry(spikes=Spikes(), scale=scale)
    done = list(stepping(model, next_token, steps=5, carry=carry, autocast=torch.float16))
    assert not any(step.skipped for step in done)
    assert scale.value < 2.0**20
    other = list(stepping(plain, next_token, steps=5, carry=Carry(scale=LossScale()), autocast=torch.float16))
    assert [step.loss for step in done] == pytest.approx([step.loss for step in other], rel=1e-3)
    assert [step.grad_norm for step in done] == pytest.approx([step.grad_norm for step in other], rel=1e-2)


def test_a_gradient_that_no_scale_helps_is_not_finite() -> None:
    model = tiny.model(exact=False)
    scale = LossScale()
    steps = stepping(
        model,
        sabotaged(set(range(100)), where="gradient"),
        steps=1,
        carry=Carry(scale=scale),
        autocast=torch.float16,
    )
    with pytest.raises(NonFinite, match="the gradient of step 1 is not finite"):
        next(steps)
    assert scale.value == SMALLEST


FIRST_STEP = """
import sys, torch
import hornbook.stages.pretrain
from hornbook.learn.parallel import settle, sharded
from hornbook.model.cost import training_flops
from tests.learn import tiny
from tests.learn.test_loop import MAKERS, run
model = tiny.model()
training_flops(model.architecture, length=8)
with sharded(model, torch.device("cpu")):
    settle(model)
    run(model, MAKERS["muon"](model), steps=1)
print(*({"numba", "torch._dynamo", "torch.distributed.fsdp", "torch.distributed.tensor"} & set(sys.modules)))
"""


def test_the_first_step_of_one_process_imports_neither_compilers_nor_tensors_of_several() -> None:
    """They took more than three seconds."""
    done = subprocess.run([sys.executable, "-c", FIRST_STEP], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
