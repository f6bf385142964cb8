from __future__ import annotations

from collections import Counter

import pytest
import torch

from hornbook.errors import InputError
from hornbook.model.sample import complete, draw, generate, pick
from tests.model import tiny

LENGTHS = (3, 9, 1, 5)


def slow(model: object, prompt: list[int], steps: int) -> list[int]:
    """Greedy decoding by a full forward for every token."""
    row = list(prompt)
    for _ in range(steps):
        row.append(int(model(torch.tensor([row]))[0, -1].argmax()))  # type: ignore[operator]
    return row[len(prompt) :]


def test_greedy_batch_equals_the_full_forward() -> None:
    model, prompts = tiny.model(), tiny.prompts(LENGTHS)
    assert complete(model, prompts, max_new_tokens=8) == [slow(model, prompt, 8) for prompt in prompts]


def test_stop_tokens_end_rows_one_by_one() -> None:
    model, prompts = tiny.model(), tiny.prompts(LENGTHS)
    free = [slow(model, prompt, 8) for prompt in prompts]
    stop = frozenset({free[0][2], free[1][5]})
    wanted = [row[: next((i for i, token in enumerate(row) if token in stop), 7) + 1] for row in free]
    assert complete(model, prompts, max_new_tokens=8, stop=stop) == wanted
    steps = list(generate(model, prompts, max_new_tokens=8, stop=stop))
    assert [[step.tokens[step.rows.index(i)] for step in steps if i in step.rows] for i in range(4)] == wanted


@pytest.mark.parametrize("options", [{"temperature": 1.0}, {"temperature": 0.7, "top_p": 0.8}], ids=str)
def test_batch_composition_changes_no_completion(options: dict[str, float]) -> None:
    model, prompts = tiny.model().double(), tiny.prompts(LENGTHS)
    together = complete(model, prompts, max_new_tokens=12, seed=4, stop=frozenset({7}), **options)
    alone = complete(model, prompts, max_new_tokens=12, seed=4, stop=frozenset({7}), batch_size=1, **options)
    assert together == alone
    assert together != complete(model, prompts, max_new_tokens=12, seed=5, stop=frozenset({7}), **options)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_log_probabilities_of_the_chosen_tokens(temperature: float) -> None:
    model, prompts = tiny.model(), tiny.prompts(LENGTHS)
    said: list[list[int]] = [[] for _ in prompts]
    for step in generate(model, prompts, max_new_tokens=6, temperature=temperature, stop=frozenset({7})):
        found = step.log_probabilities()
        for row, token, log_probability in zip(step.rows, step.tokens, found, strict=True):
            logits = model(torch.tensor([prompts[row] + said[row]]))[0, -1] / temperature
            assert log_probability.item() == pytest.approx(logits.log_softmax(-1)[token].item(), abs=1e-5)
            said[row].append(token)


def test_sampling_follows_the_distribution() -> None:
    probabilities = torch.tensor([0.1, 0.6, 0.05, 0.25])
    draws = [draw(0, index, 3) for index in range(4000)]
    picked, logs = pick(probabilities.log().expand(4000, 4), temperature=1.0, top_p=1.0, draws=draws)
    assert logs is not None
    torch.testing.assert_close(logs, probabilities.log()[picked])
    counts = Counter(picked)
    assert [counts[i] / 4000 for i in range(4)] == pytest.approx(probabilities.tolist(), abs=0.03)


@pytest.mark.parametrize(("top_p", "kept"), [(0.6, {1}), (0.61, {1, 3}), (0.9, {0, 1, 3}), (1.0, {0, 1, 2, 3})])
def test_nucleus(top_p: float, kept: set[int]) -> None:
    logits = torch.tensor([0.1, 0.6, 0.05, 0.25], dtype=torch.float64).log().expand(500, 4)
    draws = [step / 500 for step in range(499)] + [1 - 2**-53]
    assert set(pick(logits, temperature=1.0, top_p=top_p, draws=draws)[0]) == kept


def test_low_temperature_is_greedy() -> None:
    logits = torch.randn(20, 50, generator=torch.Generator().manual_seed(0))
    draws = [draw(1, index, 0) for index in range(20)]
    assert pick(logits, temperature=1e-4, top_p=1.0, draws=draws)[0] == logits.argmax(-1).tolist()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_kernel_and_torch_draw_the_same(temperature: float) -> None:
    logits = 4 * torch.randn(300, 500, generator=torch.Generator().manual_seed(0))
    logits[:, ::7] = -torch.inf
    draws = [draw(2, index, 0) for index in range(300)]
    by_kernel, logs = pick(logits, temperature=temperature, top_p=1.0, draws=draws)
    by_torch, _ = pick(logits.double(), temperature=temperature, top_p=1.0, draws=draws)
    assert by_kernel == by_torch
    assert logs is not None
    torch.testing.assert_close(logs, (logits / temperature).log_softmax(-1)[range(300), by_kernel])


@pytest.mark.parametrize(("logit", "temperature"), [(float("nan"), 1.0), (-float("inf"), 1.0), (1.0, 1e-45)])
def test_of_no_numbers_nothing_is_drawn(logit: float, temperature: float) -> None:
    with pytest.raises(InputError, match="not finite"):
        pick(torch.full((2, 5), logit), temperature=temperature, top_p=1.0, draws=[0.5] * 2)


def test_what_cannot_be_is_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf], [-torch.inf, -torch.inf, -1e4]])
    for mark in (0.0, 1 - 2**-53):
        assert pick(logits, temperature=1.0, top_p=1.0, draws=[mark] * 2)[0] == [1, 2]


def test_positions_end() -> None:
    model = tiny.model(max_position_embeddings=8)
    assert [len(row) for row in complete(model, tiny.prompts((3, 7)), max_new_tokens=20)] == [5, 1]


def test_generate_leaves_no_mode_behind() -> None:
    steps = generate(tiny.model(), [[1]], max_new_tokens=3)
    next(steps)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_nothing_asked_nothing_done() -> None:
    assert complete(tiny.model(), [], max_new_tokens=3) == []
    assert complete(tiny.model(), [[1]], max_new_tokens=0) == [[]]


@pytest.mark.parametrize(
    ("prompt", "options", "message"),
    [
        ([], {}, "prompt 1 is empty"),
        ([1] * 64, {}, "prompt 1 has 64 tokens; the model's 64 positions leave no room"),
        ([61], {}, "outside of the model's vocabulary of 61"),
        ([-1], {}, "outside of the model's vocabulary of 61"),
        ([1], {"temperature": -1.0}, "temperature = -1.0 must be at least 0"),
        ([1], {"temperature": float("nan")}, "temperature = nan"),
        ([1], {"top_p": 0.0}, "top_p = 0.0 must be above 0"),
    ],
)
def test_bad_requests(prompt: list[int], options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(generate(tiny.model(), [[1], prompt], max_new_tokens=2, **options))  # type: ignore[arg-type]
