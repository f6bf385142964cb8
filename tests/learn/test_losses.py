from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hornbook.learn import losses
from hornbook.learn.losses import cross_entropy, sequence_log_probability, token_log_probabilities

torch.set_num_threads(1)


def problem(positions: int, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """hidden [positions, 8], targets, weights, head [11, 8]."""
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(positions, 8, dtype=torch.float64, generator=g).requires_grad_()
    head = torch.randn(11, 8, dtype=torch.float64, generator=g).requires_grad_()
    targets = torch.randint(11, (positions,), generator=g)
    return hidden, targets, torch.randint(2, (positions,), generator=g).float(), head


def gradients(loss: Tensor, *of: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, of))


@settings(max_examples=25)
@given(positions=st.integers(0, 27), chunk=st.integers(1, 30), seed=st.integers(0, 99),
       softcap=st.sampled_from([None, 2.0]))  # fmt: skip
def test_chunked_cross_entropy_is_cross_entropy(positions: int, chunk: int, seed: int, softcap: float | None) -> None:
    hidden, targets, weights, head = problem(positions, seed=seed)
    logits = F.linear(hidden, head)
    logits = logits if softcap is None else softcap * (logits / softcap).tanh()
    each = F.cross_entropy(logits, targets, reduction="none")
    plain = (each * weights).sum() / 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "FEWEST", chunk)
        patch.setattr(losses, "LOGITS_ON_CPU", chunk * len(head))
        assert losses.positions_at_once(head) == chunk
        total, count = cross_entropy(hidden, targets, weights, head=head, softcap=softcap)
        ours = gradients(total / 3, hidden, head)
    assert count.item() == weights.sum().item()
    torch.testing.assert_close(total / 3, plain, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(ours, gradients(plain, hidden, head), atol=1e-12, rtol=1e-12)


def test_fractional_weights_scale_the_loss() -> None:
    hidden, targets, _, head = problem(10)
    weights = torch.rand(10, dtype=torch.float64)
    each = F.cross_entropy(F.linear(hidden, head), targets, reduction="none")
    total, count = cross_entropy(hidden, targets, weights, head=head)
    torch.testing.assert_close(total, (each * weights).sum())
    torch.testing.assert_close(count, weights.sum())


def test_a_frozen_head_gets_no_gradient_and_changes_no_other() -> None:
    hidden, targets, weights, head = problem(10)
    free = gradients(cross_entropy(hidden, targets, weights, head=head)[0], hidden)
    frozen = gradients(cross_entropy(hidden, targets, weights, head=head.detach())[0], hidden)
    torch.testing.assert_close(free, frozen, atol=0, rtol=0)


def test_nothing_to_learn_is_a_count_of_zero() -> None:
    hidden, targets, weights, head = problem(10)
    total, count = cross_entropy(hidden, targets, weights * 0, head=head)
    assert (total.item(), count.item()) == (0.0, 0.0)
    assert not gradients(total, hidden)[0].any()


def test_bf16_autocast_is_close_and_keeps_a_single_precision_sum() -> None:
    hidden, targets, weights, head = (t.detach() for t in problem(200))
    hidden, head = hidden.float().requires_grad_(), head.float().requires_grad_()
    exact, _ = cross_entropy(hidden, targets, weights, head=head)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = cross_entropy(hidden, targets, weights, head=head)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, exact, rtol=0.01, atol=0)
    torch.testing.assert_close(gradients(total, hidden, head), gradients(exact, hidden, head), rtol=0.1, atol=0.1)


def test_sequence_log_probability_sums_each_examples_answer() -> None:
    hidden, targets, weights, head = problem(12)
    examples = torch.tensor([0, 0, 0, 1, 1, 3, 2, 2, 2, 2, 3, 3])
    each = F.linear(hidden, head).log_softmax(-1).gather(-1, targets[..., None])[..., 0] * weights
    plain = torch.stack([each[examples == i].sum() for i in range(4)])
    ours = sequence_log_probability(hidden, targets, weights, head=head, examples=examples, count=4)
    torch.testing.assert_close(ours, plain, atol=1e-12, rtol=1e-12)
    mix = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    torch.testing.assert_close(gradients(ours @ mix, hidden, head), gradients(plain @ mix, hidden, head))


def test_a_token_whose_probability_is_no_float_has_its_loss() -> None:
    hidden, head = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0], [400.0, 0.0], [0.0, 0.0]])
    total, _ = cross_entropy(hidden, torch.tensor([2]), torch.ones(1), head=head)
    assert total.item() == 400.0


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_in_bfloat16_loss_and_gradients_are_those_of_its_logits(softcap: float | None) -> None:
    g = torch.Generator().manual_seed(0)
    hidden, head = torch.randn(40, 16, generator=g).requires_grad_(), torch.randn(50, 16, generator=g).requires_grad_()
    targets, weights = torch.randint(50, (40,), generator=g), torch.rand(40, generator=g)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = cross_entropy(hidden, targets, weights, head=head, softcap=softcap)
        logits = F.linear(hidden, head)
        logits = logits if softcap is None else softcap * (logits / softcap).tanh()
        plain = logits.float().log_softmax(1).gather(1, targets[:, None]).squeeze(1)
    expected = -(plain * weights).sum()
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
    for found, wanted in zip(gradients(total, hidden, head), gradients(expected, hidden, head), strict=True):
        assert (found - wanted).norm() < 0.01 * wanted.norm()


@settings(max_examples=20)
@given(length=st.integers(1, 20), chunk=st.integers(1, 9), temperature=st.sampled_from([1.0, 0.7]),
       softcap=st.sampled_from([None, 2.0]))  # fmt: skip
def test_log_probabilities_are_those_of_the_softmax(
    length: int, chunk: int, temperature: float, softcap: float | None
) -> None:
    g = torch.Generator().manual_seed(length)
    hidden = torch.randn(length, 8, dtype=torch.float64, generator=g).requires_grad_()
    head = torch.randn(11, 8, dtype=torch.float64, generator=g).requires_grad_()
    targets = torch.randint(11, (length,), generator=g)
    weights = torch.randn(length, dtype=torch.float64, generator=g)
    logits = F.linear(hidden, head)
    logits = logits if softcap is None else softcap * (logits / softcap).tanh()
    logs = (logits / temperature).log_softmax(1)
    plain = logs.gather(1, targets[:, None])[:, 0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(losses, "positions_at_once", lambda head: chunk)
        found, entropy = token_log_probabilities(
            hidden, targets, head=head, temperature=temperature, softcap=softcap
        )
        ours = torch.autograd.grad((found * weights).sum(), (hidden, head))
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(entropy, torch.distributions.Categorical(logits=logs).entropy())
    torch.testing.assert_close(ours, torch.autograd.grad((plain * weights).sum(), (hidden, head)))
    assert not entropy.requires_grad


def test_a_frozen_head_gets_no_gradient_of_log_probabilities() -> None:
    hidden, head = torch.randn(3, 8).requires_grad_(), torch.randn(11, 8)
    token_log_probabilities(hidden, torch.tensor([1, 2, 3]), head=head)[0].sum().backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None


def test_where_nothing_learns_no_gradient_is_formed(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, targets, weights, head = problem(10)
    monkeypatch.setattr(losses, "add_product", None)
    monkeypatch.setattr(torch, "mm", None)
    with torch.no_grad():
        total, _ = cross_entropy(hidden, targets, weights, head=head)
        logs, _ = token_log_probabilities(hidden, targets, head=head)
    torch.testing.assert_close(total, -(weights * logs).sum())


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_the_entropy_does_not_depend_on_where_logits_lie(offset: float) -> None:
    g = torch.Generator().manual_seed(0)
    head = torch.cat([5 * torch.randn(500, 7, generator=g), torch.full((500, 1), offset)], 1)
    hidden = torch.cat([torch.randn(40, 7, generator=g), torch.ones(40, 1)], 1)
    _, entropy = token_log_probabilities(hidden, torch.zeros(40, dtype=torch.int64), head=head)
    exact = torch.distributions.Categorical(logits=F.linear(hidden, head).double()).entropy()
    torch.testing.assert_close(entropy.double(), exact, atol=3e-6, rtol=0)
