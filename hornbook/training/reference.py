"""What the model that training starts from thinks of the answers: computed once, and kept beside the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from hornbook.learn.batches import Batch
from hornbook.learn.examples import Example, batched, longest
from hornbook.learn.loop import answer_log_probabilities, precision
from hornbook.model.transformer import Transformer
from hornbook.run import Run

FILE = "reference.safetensors"


def reference(
    run: Run,
    model: Transformer,
    groups: Sequence[tuple[Example, ...]],
    *,
    rows: int,
    autocast: torch.dtype | None,
) -> Mapping[str, float]:
    """log p(answer | prompt) in nats of every example, by its id; read again where a killed run had them.

    `rows` are computed at a time. What is read is of this model, these tokens and this precision, or it is
    computed anew.
    """
    examples = [example for group in groups for example in group]
    key = _key(run.input("base").contents, examples, autocast)
    names = [example.id for example in examples]
    stored = _read(run, key)
    if stored is None:
        known = _asked(run, model, groups, rows=rows, autocast=autocast)
        stored = torch.tensor([known[name] for name in names], dtype=torch.float64)
        with run.atomic(run.scratch / FILE) as path:
            save_file({"log_probabilities": stored}, path, {"of": key})
    return dict(zip(names, stored.tolist(), strict=True))


def _asked(
    run: Run,
    model: Transformer,
    groups: Sequence[tuple[Example, ...]],
    *,
    rows: int,
    autocast: torch.dtype | None,
) -> dict[str, float]:
    known: dict[str, float] = {}
    batches = batched(groups, length=longest(groups), rows=rows)
    device = next(model.parameters()).device
    with run.progress("reference", total=len(batches), unit="batches") as bar:
        for batch in batches:
            known |= computed(model, batch.to(device), autocast=autocast)
            bar.advance()
    return known


def computed(model: Transformer, batch: Batch, *, autocast: torch.dtype | None) -> dict[str, float]:
    """log p(answer | prompt) of a batch's examples, by id."""
    # The layers as in training, gradient and all: else other kernels run, and the first loss is further from ln 2.
    with precision(batch.tokens.device, autocast):
        values = answer_log_probabilities(model, batch, learns=False)
    return dict(zip(batch.document_ids, values.tolist(), strict=True))


def _key(base: str, examples: Sequence[Example], autocast: torch.dtype | None) -> str:
    told = sha256(f"{base} {autocast}".encode())
    for example in examples:
        told.update(f"\n{example.id} {len(example.tokens)}\n".encode())
        told.update(example.tokens.tobytes())
        told.update(example.answer.tobytes())
    return told.hexdigest()


def _read(run: Run, key: str) -> torch.Tensor | None:
    """What was stored, if it is of this key."""
    path = run.scratch / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("of") == key:
                stored: torch.Tensor = file.get_tensor("log_probabilities")
                return stored
    except SafetensorError:
        pass
    run.say(f"{path.name} is of other rows or another model: computed anew")
    return None
