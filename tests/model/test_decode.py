"""Decoding by kernels is decoding by the model's own forward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hornbook.model.adapters import ia3
from hornbook.model.adapters.attached import adapter_off, trainable
from hornbook.model.adapters.lora import attach
from hornbook.model.adapters.soft import attach_prefix, attach_prompt
from hornbook.model.compiled.decoder import AT_ONCE, CompiledDecoder
from hornbook.model.decode import PlainDecoder, decoder, why_plain
from hornbook.model.int8 import quantize
from hornbook.model.rope import Llama3, LongRope
from hornbook.model.sample import complete
from hornbook.model.transformer import Transformer
from tests.model import tiny

LENGTHS = (3, 9, 1, 5, 9)
VARIANTS: list[dict[str, Any]] = [
    *tiny.SWITCHES,
    {"sliding_window": 20, "max_position_embeddings": 300},
    {"hidden_size": 40, "intermediate_size": 27, "head_dim": 10, "num_key_value_heads": 1},
    {"qk_norm": True, "head_dim": 16, "num_key_value_heads": 4},
    {"rope_scaling": Llama3(factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                            original_max_position_embeddings=16)},
    {"rope_scaling": LongRope(short_factor=(1.0,) * 4, long_factor=(2.0, 3.0, 4.0, 5.0), attention_factor=1.2,
                              original_max_position_embeddings=16)},
]  # fmt: skip
PLAIN: list[dict[str, Any]] = []
"""Those that the kernels do not compute."""
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.2}


def variant_name(changes: dict[str, Any]) -> str:
    return "-".join(changes)


def reference(model: Transformer, row: list[int]) -> torch.Tensor:
    """Logits [T, V] of the full forward pass."""
    with torch.no_grad():
        return model(torch.tensor([row]))[0].float()  # type: ignore[no-any-return]


@pytest.mark.parametrize("changes", VARIANTS, ids=variant_name)
@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8"])
def test_logits_equal_the_full_forward(changes: dict[str, Any], weights: str) -> None:
    """Prompts of different lengths, then steps; two rows leave on the way."""
    model = tiny.model(**changes).requires_grad_(False)
    if weights == "int8":
        quantize(model)
    model = model.bfloat16() if weights == "bfloat16" else model
    tolerance = TOLERANCE[torch.bfloat16 if weights == "bfloat16" else torch.float32]
    texts = tiny.prompts([length + 30 for length in LENGTHS])
    assert bool(why_plain(model)) == (changes in PLAIN)
    rows, logits = decoder(model).begin([t[:n] for t, n in zip(texts, LENGTHS, strict=True)], capacity=39)
    wanted, alive = [reference(model, text) for text in texts], [0, 1, 2, 3, 4]
    for step in range(30):
        for row, found in zip(alive, logits, strict=True):
            torch.testing.assert_close(found, wanted[row][LENGTHS[row] + step - 1], atol=tolerance, rtol=tolerance)
        if step == 10:
            rows.select([0, 1, 3])
            alive = [0, 1, 3]
        logits = rows.advance([texts[row][LENGTHS[row] + step] for row in alive])


def test_hundreds_of_greedy_steps_equal_the_full_forward() -> None:
    model = tiny.model(max_position_embeddings=400, qk_norm=True, tie_word_embeddings=False)
    (said,) = complete(model, tiny.prompts([7]), max_new_tokens=300)
    assert len(set(said)) > 10
    assert reference(model, tiny.prompts([7])[0] + said)[6:-1].argmax(-1).tolist() == said


@pytest.mark.parametrize("count", [2, 3, 4, 5, 9])
@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_a_row_is_the_same_to_the_bit_in_any_batch(count: int, weights: str) -> None:
    model = tiny.model(max_position_embeddings=300)
    if weights == "int8":
        quantize(model)
    made = CompiledDecoder(model)
    prompts = tiny.prompts([AT_ONCE + 5, *range(2, 2 + count)])
    rows, together = made.begin(prompts, capacity=200)
    alone, single = made.begin(prompts[-1:], capacity=200)
    for token in range(4):
        assert torch.equal(together[-1], single[0])
        together, single = rows.advance([token] * len(prompts)), alone.advance([token])


@pytest.mark.parametrize("changes", [{}, {"sliding_window": 5}, {"sliding_window": 20}], ids=variant_name)
@pytest.mark.parametrize("length", [6, 16, 37])
def test_equal_prompts_are_read_once_and_go_their_own_ways(length: int, changes: dict[str, Any]) -> None:
    model = tiny.model(**changes)
    made, (first, second) = CompiledDecoder(model), tiny.prompts([length, 4])
    rows, logits = made.begin([first, second, first], capacity=length + 26)
    alone, single = made.begin([first], capacity=length + 26)
    assert torch.equal(logits[0], logits[2])
    assert torch.equal(logits[2], single[0])
    for step, tokens in enumerate(([1, 2, 3], [4, 5, 6])):
        logits, single = rows.advance(tokens), alone.advance(tokens[-1:])
        assert torch.equal(logits[2], single[0]), step
    for row, text in enumerate([[*first, 1, 4], [*second, 2, 5], [*first, 3, 6]]):
        torch.testing.assert_close(logits[row], reference(model, text)[-1], atol=1e-4, rtol=1e-4)
    rows.select([2])
    for token in range(22):
        assert torch.equal(rows.advance([token])[0], alone.advance([token])[0])
    torch.testing.assert_close(
        alone.advance([7])[0], reference(model, [*first, 3, 6, *range(22), 7])[-1], atol=1e-4, rtol=1e-4
    )


def test_rows_have_the_room_that_was_asked_for() -> None:
    rows, _ = CompiledDecoder(tiny.model()).begin([[1, 2, 3]], capacity=4)
    rows.advance([1])
    with pytest.raises(ValueError, match="4 \\+ 1 tokens in room for 4"):
        rows.advance([1])


def adapted(model: Transformer, kind: str) -> Transformer:
    """With an adapter that changes what it says."""
    if kind == "ia3":
        ia3.attach(model)
    else:
        attach(model, r=2, alpha=4, targets="all-linear", seed=0, dora=kind == "dora")
    for parameter in trainable(model).values():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    return model


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (tiny.model().double(), "model.embed_tokens is in torch.float64"),
        (tiny.model().to("meta"), "it is on meta"),
    ],
)
def test_what_the_kernels_do_not_know_is_decoded_plainly(model: Transformer, why: str) -> None:
    assert why_plain(model) == why
    assert isinstance(decoder(model), PlainDecoder)


@pytest.mark.parametrize("changes", [{}, *tiny.SWITCHES], ids=variant_name)
def test_refreshed_kernels_see_the_weights_as_they_are(changes: dict[str, Any]) -> None:
    model, (text,) = tiny.model(**changes), tiny.prompts([9])
    made = CompiledDecoder(model)
    held = [part.lanes.data_ptr() for layer in made.layers for part in layer.parts() if hasattr(part, "lanes")]
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(made.begin([text], capacity=9)[1][0], reference(model, text)[-1], atol=1e-3)
    made.refresh()
    torch.testing.assert_close(made.begin([text], capacity=9)[1][0], reference(model, text)[-1], atol=1e-4, rtol=1e-4)
    assert held == [part.lanes.data_ptr() for layer in made.layers for part in layer.parts() if hasattr(part, "lanes")]


@pytest.mark.parametrize("kind", ["lora", "dora", "ia3"])
@pytest.mark.parametrize("changes", [{}, {"fused_projections": True}, {"attention_bias": True}], ids=variant_name)
def test_an_adapter_of_weights_is_decoded_by_kernels_and_can_be_off(changes: dict[str, Any], kind: str) -> None:
    model, (text,) = adapted(tiny.model(**changes), kind), tiny.prompts([9])
    made = decoder(model)
    assert isinstance(made, CompiledDecoder)
    with_it = reference(model, text)[-1]
    torch.testing.assert_close(made.begin([text], capacity=9)[1][0], with_it, atol=1e-4, rtol=1e-4)
    with adapter_off(model):
        made.refresh()
        without = reference(model, text)[-1]
    assert not torch.allclose(with_it, without, atol=1e-3)
    torch.testing.assert_close(made.begin([text], capacity=9)[1][0], without, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [attach_prompt, attach_prefix])
@pytest.mark.parametrize("changes", [{}, {"sliding_window": 4}, {"learned_positions": True}], ids=variant_name)
def test_texts_go_on_from_a_soft_prompt(changes: dict[str, Any], kind: Any) -> None:
    model, texts = tiny.model(**changes), tiny.prompts([9, 24])
    texts.append(texts[1])
    kind(model, tokens=18, seed=0)
    made = decoder(model)
    assert isinstance(made, CompiledDecoder)
    rows, logits = made.begin([text[:-1] for text in texts], capacity=25)
    for step in range(2):
        wanted = torch.stack([reference(model, text)[len(text) - 2 + step] for text in texts])
        torch.testing.assert_close(logits, wanted, atol=1e-4, rtol=1e-4)
        logits = rows.advance([text[-1] for text in texts])


def test_the_plain_decoder_reads_equal_prompts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (first, second) = tiny.model(), tiny.prompts([6, 4])
    seen: list[int] = []
    hidden = model.hidden
    monkeypatch.setattr(model, "hidden", lambda tokens, **given: seen.append(len(tokens)) or hidden(tokens, **given))
    rows, logits = PlainDecoder(model).begin([first, second, first], capacity=10)
    assert seen == [2]
    assert torch.equal(logits[0], logits[2])
    for row, text in zip(rows.advance([1, 2, 3]), [[*first, 1], [*second, 2], [*first, 3]], strict=True):
        torch.testing.assert_close(row, reference(model, text)[-1], atol=1e-4, rtol=1e-4)
