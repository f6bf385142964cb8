"""Loss and gradient of SFT and of every preference loss beside TRL's own, on one batch of a tiny Llama.

    .venv-bench/bin/python -m bench.parity

TRL's trainers compute theirs, padded, in fp32; ours is packed, with the prompt of a pair computed once, in fp32 and in
fp64. What TRL said is pinned in `tests/learn/test_parity.py`, which runs without it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hornbook.learn.batches import Batch
from hornbook.learn.examples import Example, Examples, batched, longest
from hornbook.learn.loop import next_token
from hornbook.learn.mismatch import Drift, mismatched
from hornbook.learn.preferences import LOSSES, REFERENCE_FREE
from hornbook.model.architecture import Architecture
from hornbook.model.transformer import Transformer
from hornbook.model.weights import save_model
from hornbook.text import bpe
from hornbook.training.preferring import judged_loss, paired_loss
from hornbook.training.reference import computed

VOCABULARY = 270
SHAPE = Architecture(
    vocab_size=VOCABULARY,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=8,
)
POLICY, REFERENCE = 0, 1
"""Seeds of the two models."""
SHARP = 4.0
"""Times their usual weights, so that log-probabilities differ by as much as they do in practice."""
PROMPTS, CHOSEN, REJECTED = (1, 4, 3, 6), (5, 5, 5, 5), (3, 6, 2, 7)
"""Tokens of each of the four pairs."""
NAMES = ("sft", *LOSSES)
SHOWN = "model.layers.1.self_attn.q_proj.weight"
"""Of whose gradient two entries are pinned."""
Found = tuple[float, dict[str, Tensor]]
"""Mean loss, and its gradient by each parameter."""


def model(seed: int) -> Transformer:
    made = Transformer(SHAPE).initialize(seed)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.mul_(1.0 if "norm" in name else SHARP)
    return made


def tokens(name: str) -> list[dict[str, list[int]]]:
    """Prompt, chosen and rejected ids of each pair.

    Of ORPO the prompts are one token: TRL's likelihood is of a prompt's tokens too, but of the first, which nothing
    predicts. Its mean over tokens is a mean over answers, since these are equally long.
    """
    drawn = np.random.default_rng(0)
    pairs = [
        {f"{side}_ids": drawn.integers(4, VOCABULARY, size).tolist() for side, size in zip(sides, sizes, strict=True)}
        for sizes in zip(PROMPTS, CHOSEN, REJECTED, strict=True)
        for sides in [("prompt", "chosen", "rejected")]
    ]
    return [pair | {"prompt_ids": pair["prompt_ids"][:1]} for pair in pairs] if name == "orpo" else pairs


def examples(name: str) -> list[tuple[Example, Example]]:
    made = []
    for place, pair in enumerate(tokens(name)):
        sides = []
        for side in ("chosen", "rejected"):
            ids = np.array([*pair["prompt_ids"], *pair[f"{side}_ids"]])
            answer = np.arange(len(ids)) >= len(pair["prompt_ids"])
            sides.append(Example(f"{place}/{side}", ids, answer))
        made.append((sides[0], sides[1]))
    return made


# -- ours -------------------------------------------------------------------------------------------------------------


def ours(name: str, dtype: torch.dtype) -> Found:
    policy, reference = model(POLICY).to(dtype), model(REFERENCE).to(dtype)
    loss, batches = _ours(name, policy, reference)
    sums = [loss(policy, batch) for batch in batches]
    mean = sum(total for total, *_ in sums) / sum(count for _, count, *_ in sums)
    mean.backward()
    return mean.item(), {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}


def _ours(name: str, policy: Transformer, reference: Transformer) -> tuple[Callable[..., Any], Sequence[Batch]]:
    pairs = examples(name)
    if name == "sft":
        return next_token, batched([(chosen,) for chosen, _ in pairs], length=16, rows=2)
    if name == "kto":
        return _kto(policy, reference, [example for pair in pairs for example in pair])
    batches = batched(pairs, length=longest(pairs), rows=2)
    known = None if name in REFERENCE_FREE else _known(reference, batches)
    function = LOSSES[name]
    return partial(paired_loss, function=function, reference=known, beta=0.1), batches


def _kto(
    policy: Transformer, reference: Transformer, judged: Sequence[Example]
) -> tuple[Callable[..., Any], Sequence[Batch]]:
    others = mismatched(judged, length=99, seed=0)
    data = Examples([(e,) for e in judged], length=16, groups_per_step=len(judged), rows=2, seed=0)
    known = _known(reference, batched([(e,) for e in (*judged, *others.values())], length=16, rows=2))
    drift = Drift(policy, data, others, known, autocast=None)
    good = {example.id: example.id.endswith("chosen") for example in judged}
    loss = partial(judged_loss, function=LOSSES["kto"], reference=known, good=good, drift=drift, beta=0.1)
    return loss, drift.step(0)


def _known(reference: Transformer, batches: Sequence[Batch]) -> dict[str, float]:
    return {name: value for batch in batches for name, value in computed(reference, batch, autocast=None).items()}


# -- TRL's ------------------------------------------------------------------------------------------------------------

DPO: Mapping[str, Mapping[str, Any]] = {
    "dpo": {"loss_type": "sigmoid"},
    "robust": {"loss_type": "robust", "label_smoothing": 0.1},
    **{name: {"loss_type": name} for name in ("ipo", "hinge", "apo_zero", "apo_down")},
}
"""What DPOTrainer calls ours."""


def theirs(name: str, folder: Path) -> Found:
    """What TRL's trainer of a loss makes of the batch."""
    from transformers import AutoModelForCausalLM

    policy, reference = (
        AutoModelForCausalLM.from_pretrained(folder / str(seed), dtype=torch.float32) for seed in (POLICY, REFERENCE)
    )
    make = {"sft": _sft_trl, "kto": _kto_trl, "orpo": _orpo_trl, "simpo": _simpo_trl}.get(name, partial(_dpo_trl, name))
    trainer, batch = make(policy, reference, folder)
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return loss.item(), {name: p.grad for name, p in policy.named_parameters() if p.grad is not None}


def _made(trainer: Any, config: Any, columns: Mapping[str, Any], folder: Path, *models: Any, **options: Any) -> Any:
    """A trainer with a data set that has a row, which it asks for; the batch is made by hand."""
    from datasets import Dataset
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(folder / str(POLICY))
    args = config(output_dir=str(folder / "out"), report_to=[], use_cpu=True, bf16=False, **options)
    return trainer(*models, args=args, train_dataset=Dataset.from_list([dict(columns)] * 2), processing_class=words)


def _padded(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


def _labelled(prompts: Sequence[list[int]], answers: Sequence[list[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, attention mask and labels, -100 where nothing is learned."""
    whole = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    labels = [[-100] * len(prompt) + answer for prompt, answer in zip(prompts, answers, strict=True)]
    return _padded(whole, 3), _padded([[1] * len(row) for row in whole], 0), _padded(labels, -100)


def _sft_trl(policy: Any, reference: Any, folder: Path) -> tuple[Any, Any]:
    from trl import SFTConfig, SFTTrainer

    trainer = _made(SFTTrainer, SFTConfig, {"text": "a b"}, folder, policy)
    rows = tokens("sft")
    found = _labelled([row["prompt_ids"] for row in rows], [row["chosen_ids"] for row in rows])
    return trainer, dict(zip(("input_ids", "attention_mask", "labels"), found, strict=True))


def _dpo_trl(name: str, policy: Any, reference: Any, folder: Path) -> tuple[Any, Any]:
    from trl import DPOConfig, DPOTrainer

    row = {"prompt": "a", "chosen": " b", "rejected": " a"}
    trainer = _made(DPOTrainer, DPOConfig, row, folder, policy, reference, beta=0.1, **DPO[name])
    return trainer, trainer.data_collator(tokens(name))


def _kto_trl(policy: Any, reference: Any, folder: Path) -> tuple[Any, Any]:
    from trl import KTOConfig, KTOTrainer

    row = {"prompt": "a", "completion": " b", "label": True}
    trainer = _made(KTOTrainer, KTOConfig, row, folder, policy, reference, beta=0.1, per_device_train_batch_size=2)
    judged = [example for pair in examples("kto") for example in pair]
    others = mismatched(judged, length=99, seed=0)
    rows = [
        {
            "prompt_ids": example.tokens[~example.answer].tolist(),
            "completion_ids": example.tokens[example.answer].tolist(),
            "KL_completion_ids": others[example.id].tokens[others[example.id].answer].tolist(),
            "label": example.id.endswith("chosen"),
        }
        for example in judged
    ]
    return trainer, trainer.data_collator(rows)


def _sides(name: str) -> dict[str, Tensor]:
    rows, made = tokens(name), {}
    for side in ("chosen", "rejected"):
        found = _labelled([row["prompt_ids"] for row in rows], [row[f"{side}_ids"] for row in rows])
        made |= {
            f"{side}_{key}": part for key, part in zip(("input_ids", "attention_mask", "labels"), found, strict=True)
        }
    return made


def _orpo_trl(policy: Any, reference: Any, folder: Path) -> tuple[Any, Any]:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    row = {"prompt": "a", "chosen": " b", "rejected": " a"}
    return _made(ORPOTrainer, ORPOConfig, row, folder, policy, beta=0.1), _sides("orpo")


def _simpo_trl(policy: Any, reference: Any, folder: Path) -> tuple[Any, Any]:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    row = {"prompt": "a", "chosen": " b", "rejected": " a"}
    options = {"loss_type": "simpo", "cpo_alpha": 0.0, "simpo_gamma": 1.0, "beta": 2.0}
    return _made(CPOTrainer, CPOConfig, row, folder, policy, **options), _sides("simpo")


# -- side by side -----------------------------------------------------------------------------------------------------


def norm(gradient: Mapping[str, Tensor]) -> float:
    return float(torch.stack([part.double().norm() for part in gradient.values()]).norm())


def apart(one: Found, other: Found) -> tuple[float, float]:
    """|difference| of losses, and the norm of the gradients' difference relative to that of the second."""
    difference = {name: one[1][name].double() - part.double() for name, part in other[1].items()}
    return abs(one[0] - other[0]), norm(difference) / norm(other[1])


def main() -> None:
    import trl

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bpe.save(bpe.train(["a b"], vocabulary=VOCABULARY), folder)
        for seed in (POLICY, REFERENCE):
            save_model(folder / str(seed), model(seed), tokenizer=folder, bos=0, eos=[0], pad=3)
        print(f"TRL {trl.__version__}: name, loss, norm of its gradient; ours beside it in fp32 and fp64")
        pinned = {}
        for name in NAMES:
            found = theirs(name, folder)
            pinned[name] = (found[0], norm(found[1]), float(found[1][SHOWN][0, 0]), float(found[1][SHOWN][3, 5]))
            beside = [apart(ours(name, dtype), found) for dtype in (torch.float32, torch.float64)]
            told = "  ".join(f"loss {loss:.1e} gradient {gradient:.1e}" for loss, gradient in beside)
            print(f"{name:9} {found[0]:.7f} {pinned[name][1]:.7f}  {told}")
    print(json.dumps(pinned, indent=1))


if __name__ == "__main__":
    main()
