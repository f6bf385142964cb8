from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from hornbook.errors import InputError
from hornbook.model.adapters.attached import adapter_off, switch, trainable
from hornbook.model.adapters.folder import load_adapter, save_adapter
from hornbook.model.adapters.merging import merge
from hornbook.model.adapters.soft import attach_prefix, attach_prompt
from hornbook.model.decode import PlainDecoder
from hornbook.model.recompute import recompute_layers
from hornbook.model.sample import complete
from hornbook.model.transformer import Transformer
from hornbook.model.weights import load_model, save_model
from tests.model import tiny
from tests.model.adapters.test_lora import OLD_NAME, edit_config

WAYS: list[Callable[[Transformer], None]] = [
    lambda model: attach_prefix(model, tokens=3, seed=0),
    lambda model: attach_prefix(model, tokens=3, hidden=5, seed=0),
    lambda model: attach_prompt(model, tokens=3, seed=0),
]
NAMES = ["prefix", "projected", "prompt"]
each_way = pytest.mark.parametrize("attach", WAYS, ids=NAMES)


def with_soft(attach: Callable[[Transformer], None], **changes: Any) -> Transformer:
    model = tiny.model(**changes)
    attach(model)
    return model


@each_way
@pytest.mark.parametrize("changes", tiny.SWITCHES, ids=str)
def test_packed_documents_begin_alike_and_see_only_themselves(
    attach: Callable[[Transformer], None], changes: dict[str, Any]
) -> None:
    model = with_soft(attach, **changes)
    rows, documents = tiny.tokens(2, 12), torch.tensor([[0] * 5 + [1] * 7, [2] * 4 + [3] * 1 + [4] * 7])
    packed = model(rows, documents=documents)
    for index in range(5):
        alone = rows[documents == index][None]
        torch.testing.assert_close(packed[documents == index], model(alone)[0], atol=1e-5, rtol=1e-4)
    with adapter_off(model):
        assert torch.equal(model(rows), tiny.model(**changes)(rows))
    assert not torch.allclose(model(rows[:, :5]), tiny.model(**changes)(rows[:, :5]), atol=1e-3)


@each_way
@pytest.mark.parametrize("changes", [{}, {"sliding_window": 4}, {"learned_positions": True}], ids=str)
def test_documents_with_a_shared_prompt_begin_alike(
    attach: Callable[[Transformer], None], changes: dict[str, Any]
) -> None:
    """A row of [shared, one answer, another answer], as pairs of preferences are laid."""
    model, row = with_soft(attach, **changes), tiny.tokens(1, 9)
    documents = torch.tensor([[0] * 6 + [1] * 3])
    prefixes = torch.tensor([[[0, 0]] * 6 + [[0, 4]] * 3])
    packed = model.head(model.hidden(row, documents=documents, prefixes=prefixes))
    torch.testing.assert_close(packed[:, :6], model(row[:, :6]), atol=1e-5, rtol=1e-4)
    other = model(torch.cat((row[:, :4], row[:, 6:]), 1))
    torch.testing.assert_close(packed[:, 6:], other[:, 4:], atol=1e-5, rtol=1e-4)


@each_way
def test_only_the_beginning_learns(attach: Callable[[Transformer], None]) -> None:
    model = with_soft(attach)
    model(tiny.tokens(2, 9)).log_softmax(-1)[..., 3].sum().backward()
    assert trainable(model).keys() == {name for name in model.state_dict() if name.startswith("start.")}
    assert {name for name, p in model.named_parameters() if p.grad is not None} == trainable(model).keys()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trainable(model).values())


@each_way
@pytest.mark.parametrize("changes", [{}, {"sliding_window": 2}], ids=str)
def test_layers_computed_again_give_the_same_gradients(
    attach: Callable[[Transformer], None], changes: dict[str, Any]
) -> None:
    gradients = []
    for recompute in (False, True):
        model = with_soft(attach, **changes)
        if recompute:
            recompute_layers(model)
        model(tiny.tokens(2, 6)).square().sum().backward()
        gradients.append([p.grad for p in trainable(model).values()])
    for plain, again in zip(*gradients, strict=True):
        assert plain is not None
        assert torch.equal(plain, again)


def test_a_prompt_is_tokens_before_each_document() -> None:
    """Embeddings of a text as the prompt: the same as the text itself."""
    model, text, rows = tiny.model(learned_positions=True), [5, 6, 7], tiny.tokens(2, 9)
    whole = model(torch.cat((torch.tensor([text, text]), rows), 1))[:, 3:]
    attach_prompt(model, tokens=3, text=text, seed=0)
    torch.testing.assert_close(model(rows), whole, atol=1e-5, rtol=1e-4)


def test_a_prefix_begins_as_what_the_model_makes_of_a_text() -> None:
    model, text, rows = tiny.model(), [5, 6], tiny.tokens(2, 9)
    whole = model(torch.cat((torch.tensor([[5, 6, 5]] * 2), rows), 1))[:, 3:]
    attach_prefix(model, tokens=3, text=text, seed=0)
    torch.testing.assert_close(model(rows), whole, atol=1e-5, rtol=1e-4)


@each_way
def test_decoding_keeps_the_beginning(attach: Callable[[Transformer], None]) -> None:
    model, prompts = with_soft(attach), tiny.prompts([2, 7, 4])
    rows, logits = PlainDecoder(model).begin(prompts, capacity=12)
    for prompt, found in zip(prompts, logits, strict=True):
        torch.testing.assert_close(found, model(torch.tensor([prompt]))[0, -1], atol=1e-5, rtol=1e-4)
    after = rows.advance([1, 2, 3])
    for prompt, token, found in zip(prompts, [1, 2, 3], after, strict=True):
        torch.testing.assert_close(found, model(torch.tensor([[*prompt, token]]))[0, -1], atol=1e-5, rtol=1e-4)
    texts = complete(PlainDecoder(model), prompts, max_new_tokens=4, temperature=0, top_p=1, seed=0, stop=frozenset())
    step = [*prompts[1]]
    for token in texts[1]:
        assert int(model(torch.tensor([step]))[0, -1].argmax()) == token
        step.append(token)


def peft_config(kind: str) -> Any:
    import peft

    if kind == "prompt":
        return peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    projected = {"prefix_projection": True, "encoder_hidden_size": 8} if kind == "projected" else {}
    return peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3, **projected)


FAMILY_ROWS = [(kind, *row) for row in {row[0]: row for row in tiny.ROWS}.values() for kind in ("prefix", "prompt")]


# PEFT 0.21 hands the prefix over by a name that transformers 5.24 changed.
@pytest.mark.filterwarnings(OLD_NAME, "ignore:`past_key_values` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("method", "kind", "changes"),
    [*FAMILY_ROWS, ("projected", "llama", {}), ("prefix", "mistral", {"sliding_window": 50})],
    ids=str,
)
def test_families_with_peft_both_ways(method: str, kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    peft, rows = pytest.importorskip("peft"), tiny.tokens(2, 9)
    base = tiny.saved(kind, changes, tmp_path / "base")
    theirs = peft.get_peft_model(base, peft_config(method)).eval()
    theirs.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        logits = theirs(rows).logits[:, -9:]
    ours = load_model(tmp_path / "base")
    load_adapter(ours, tmp_path / "adapter")
    torch.testing.assert_close(ours(rows), logits, atol=1e-4, rtol=1e-4)
    save_adapter(ours, tmp_path / "again", base_name="base")
    stored = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("adapter", "again")]
    assert stored[0].keys() == stored[1].keys() == {"prompt_embeddings"}
    assert torch.equal(stored[0]["prompt_embeddings"], stored[1]["prompt_embeddings"])
    again = peft.PeftModel.from_pretrained(tiny.theirs(kind, changes), tmp_path / "again").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(rows).logits[:, -9:], logits, atol=1e-4, rtol=1e-4)


def test_a_prefix_that_was_learned_through_an_mlp_is_saved_without_it(tmp_path: Path) -> None:
    model, rows = with_soft(WAYS[1]), tiny.tokens(2, 9)
    save_adapter(model, tmp_path)
    loaded = tiny.model()
    load_adapter(loaded, tmp_path)
    torch.testing.assert_close(loaded(rows), model(rows))
    assert len(trainable(loaded)) == 1


def edit_prompt(tensor: torch.Tensor) -> Callable[[Path], None]:
    return lambda folder: save_file({"prompt_embeddings": tensor}, folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (edit_prompt(torch.ones(3, 31)), r"has shape \[3, 31\], the configuration says \[3, 32\]"),
        (edit_prompt(torch.full((3, 32), torch.nan)), "not finite"),
        (edit_config(num_virtual_tokens=4), r"has shape \[3, 32\], the configuration says \[4, 32\]"),
        (edit_config(num_virtual_tokens=None), "num_virtual_tokens = None must be a whole number"),
        (edit_config(peft_type="PREFIX_TUNING"), r"the configuration says \[3, 64\]"),
    ],
    ids=["shape", "finite", "more", "none", "kind"],
)
def test_damaged_prompts(damage: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    save_adapter(with_soft(WAYS[2]), tmp_path)
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        load_adapter(tiny.model(), tmp_path)


def test_what_soft_prompts_cannot_do(tmp_path: Path) -> None:
    model = with_soft(WAYS[2])
    with pytest.raises(InputError, match="a prompt is no change of weights"):
        merge(model)
    with pytest.raises(InputError, match="which is used whole and alone"):
        switch(model, {"default": 0.5})
    with pytest.raises(InputError, match="carries an adapter"):
        save_model(tmp_path, model)
    with pytest.raises(InputError, match="already carries an adapter 'default'"):
        attach_prefix(model, tokens=2, seed=0)
    with pytest.raises(InputError, match="tokens = 0 must be"):
        attach_prompt(tiny.model(), tokens=0, seed=0)
    with pytest.raises(InputError, match="with a hidden layer it cannot begin as a text"):
        attach_prefix(tiny.model(), tokens=2, text=[1], hidden=4, seed=0)


def test_two_prompts_are_switched(tmp_path: Path) -> None:
    rows, logits = tiny.tokens(1, 6), []
    for name, attach in (("one", WAYS[0]), ("two", WAYS[2])):
        save_adapter(model := with_soft(attach), tmp_path / name)
        logits.append(model(rows))
    both = tiny.model()
    for name in ("one", "two"):
        load_adapter(both, tmp_path / name, name=name)
    for name, expected in zip(("one", "two", "one"), (*logits, logits[0]), strict=True):
        switch(both, name)
        assert torch.equal(both(rows), expected)
