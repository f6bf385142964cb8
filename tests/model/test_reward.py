from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hornbook.errors import InputError
from hornbook.model.adapters import lora
from hornbook.model.adapters.merging import merge
from hornbook.model.families import FAMILIES
from hornbook.model.reward import load_reward_model, reward_model, save_reward_model
from hornbook.model.weights import load_model, save_model
from tests.model import tiny

ROWS = list({kind: (kind, changes) for kind, changes in reversed(tiny.ROWS)}.values())
PAD = 60


def judged(kind: str, changes: dict[str, Any], folder: Path) -> Any:
    """A tiny random sequence classifier of transformers, saved too."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": PAD}
    config = AutoConfig.for_model(kind, **{**tiny.shape_of(kind), **ids, **changes}, num_labels=1)
    made = tiny.enlarge(AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)).eval()
    made.save_pretrained(folder)
    return made


def test_there_is_a_row_for_every_family() -> None:
    assert {kind for kind, _ in ROWS} == FAMILIES.keys()


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
@pytest.mark.parametrize("row", ROWS, ids=tiny.row_name)
def test_scores_are_those_of_transformers_both_ways(row: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    theirs = judged(*row, tmp_path / "theirs")
    ours = load_reward_model(tmp_path / "theirs").eval()
    tokens = tiny.tokens(3, 12) % PAD
    lengths = torch.tensor([12, 7, 9])
    tokens[torch.arange(12) >= lengths[:, None]] = PAD
    with torch.no_grad():
        expected = theirs(tokens, attention_mask=(tokens != PAD).long()).logits[:, 0]
        found = ours(tokens)[torch.arange(3), lengths - 1]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)

    save_reward_model(tmp_path / "ours", ours, pad=PAD)
    again, loading = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(loading[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(again) is type(theirs)
    with torch.no_grad():
        assert torch.equal(again.eval()(tokens, attention_mask=(tokens != PAD).long()).logits[:, 0], expected)
    assert (
        load_file(tmp_path / "ours/model.safetensors").keys() == load_file(tmp_path / "theirs/model.safetensors").keys()
    )


def test_packed_conversations_have_the_scores_of_single_ones() -> None:
    model = reward_model(tiny.model(tie_word_embeddings=False), seed=0).double()
    rows = [tiny.tokens(1, n, seed=n)[0] for n in (5, 3, 7)]
    documents = torch.repeat_interleave(torch.arange(3), torch.tensor([5, 3, 7]))[None]
    packed = model(torch.cat(rows)[None], documents=documents)[0]
    torch.testing.assert_close(packed, torch.cat([model(row[None])[0] for row in rows]), atol=1e-8, rtol=1e-8)


def test_it_has_the_layers_of_the_language_model_and_a_head_that_the_seed_makes() -> None:
    language = tiny.model()
    first, same, other = (reward_model(language, seed=seed) for seed in (0, 0, 1))
    assert first.model is language.model
    assert torch.equal(first.score.weight, same.score.weight)
    assert not torch.equal(first.score.weight, other.score.weight)
    assert 0.005 < first.score.weight.std().item() < 0.05


def test_scores_are_exact_under_autocast() -> None:
    model = reward_model(tiny.model(), seed=0)
    hidden = torch.randn(4, model.architecture.hidden_size)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model.scores(hidden)
    assert found.dtype == torch.float32
    assert torch.equal(found, model.scores(hidden))


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_reward_model(tmp_path / name, reward_model(tiny.model(), seed=0), pad=PAD)
    files = [sorted(path.read_bytes() for path in (tmp_path / name).iterdir()) for name in ("one", "two")]
    assert files[0] == files[1]


def test_an_adapter_is_merged_before_it_is_saved(tmp_path: Path) -> None:
    model = reward_model(tiny.model(), seed=0)
    lora.attach(model, r=2, alpha=4, targets="attention", seed=0)
    with pytest.raises(InputError, match="carries an adapter"):
        save_reward_model(tmp_path, model)
    merge(model)
    save_reward_model(tmp_path, model)


def test_what_is_no_reward_model_is_told_apart(tmp_path: Path) -> None:
    save_model(tmp_path / "language", tiny.model())
    save_reward_model(tmp_path / "reward", reward_model(tiny.model(), seed=0))
    with pytest.raises(InputError, match="language is not a reward model"):
        load_reward_model(tmp_path / "language")
    with pytest.raises(InputError, match="reward is a reward model: it judges texts and writes none"):
        load_model(tmp_path / "reward")
    config = json.loads((tmp_path / "reward/config.json").read_text())
    for labels in (None, {"0": "bad", "1": "good"}):
        (tmp_path / "reward/config.json").write_text(json.dumps({**config, "id2label": labels}))
        with pytest.raises(InputError, match="a reward model has one label"):
            load_reward_model(tmp_path / "reward")
