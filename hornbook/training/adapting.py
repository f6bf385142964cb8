"""What of a model is to learn, and by which optimizer."""

from __future__ import annotations

from typing import Literal

from tokenizers import Tokenizer

from hornbook.errors import UsageError
from hornbook.learn.hyperparameters import rates
from hornbook.learn.optim import Optimizer, adamw, muon
from hornbook.manifest import Input
from hornbook.model.adapters import ia3, lora
from hornbook.model.adapters.attached import adapters
from hornbook.model.adapters.folder import CONFIG, kind_merges
from hornbook.model.adapters.lora import faster
from hornbook.model.adapters.soft import attach_prefix, attach_prompt
from hornbook.model.quantizing import quantized
from hornbook.model.transformer import Transformer
from hornbook.text.bpe import encode_texts
from hornbook.training.opening import base_of
from hornbook.training.options import Training


def prepare(model: Transformer, options: Training, *, seed: int, tokenizer: Tokenizer | None = None) -> None:
    """Make the model ready to learn: whole, or only a new adapter.

    tokenizer: of the text that a soft prompt begins as, and needed where there is one.

    Raises:
        UsageError: it is in few bits, and is to learn whole.
    """
    if not options.adapts and quantized(model):
        hint = "give an adapter (--lora.r 8, or in a recipe lora = {}), or start from the model that it was made of"
        raise UsageError("the base's projections are in few bits, which do not learn", hint=hint)
    if (given := options.lora) is not None:
        lora.attach(
            model,
            r=given.r,
            alpha=given.alpha,
            targets=given.targets,
            seed=seed,
            init=given.init,
            rank_pattern=given.rank_pattern,
            alpha_pattern=given.alpha_pattern,
            rslora=given.rslora,
            dora=given.dora,
            dropout=given.dropout,
            loraplus=given.loraplus,
        )
    elif (soft := options.prefix) is not None:
        ids = _ids(soft.text, tokenizer)
        attach_prefix(model, tokens=soft.tokens, text=ids, hidden=soft.hidden, seed=seed)
    elif (prompt := options.prompt) is not None:
        attach_prompt(model, tokens=prompt.tokens, text=_ids(prompt.text, tokenizer), seed=seed)
    elif options.ia3 is not None:
        ia3.attach(model, targets=options.ia3.targets)


def _ids(text: str, tokenizer: Tokenizer | None) -> list[int]:
    if not text:
        return []
    if tokenizer is None:
        raise ValueError("a soft prompt that begins as a text needs the model's tokenizer")
    return encode_texts(tokenizer, [text])[0]


def check_base(base: Input, options: Training) -> None:
    """That what is to be trained can be saved beside its base.

    Raises:
        UsageError: the base is an adapter, and what is to be trained, or the base itself, cannot be merged.
    """
    if not (base.path / CONFIG).is_file():
        return
    if not kind_merges(base.path):
        hint = f"train from its base: {base_of(base).path}"
        raise UsageError(f"{base.path} is a soft prompt on a model, and nothing is trained through one", hint=hint)
    if options.begun:
        hint = "merge it into a model first: hornbook merge"
        raise UsageError(f"{base.path} is an adapter, and a soft prompt needs a whole model below it", hint=hint)


OptimizerName = Literal["muon", "adamw"]


def make_optimizer(model: Transformer, kind: OptimizerName, *, learning_rate: float, decay: float = 0.0) -> Optimizer:
    """AdamW; or Muon for the hidden matrices with AdamW for the rest.

    Raises:
        UsageError: Muon for an adapter, whose factors it would orthogonalize one by one.
    """
    if kind == "adamw":
        return adamw(model, learning_rate=learning_rate, decay=decay, faster=faster(model))
    if adapters(model):
        raise UsageError("Muon does not suit adapters", hint='optimizer = "adamw"')
    return muon(model, rates=rates(learning_rate), decay=decay)
