"""Writing what was trained."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from hornbook.model.adapters import folder as adapter_folder
from hornbook.model.adapters.attached import adapters
from hornbook.model.adapters.merging import merge
from hornbook.model.bnb import Kind
from hornbook.model.folder import copy_files
from hornbook.model.transformer import Transformer
from hornbook.model.weights import TOKENIZER_FILES, generation_ends, save_model
from hornbook.run import Run
from hornbook.text import bpe
from hornbook.training.opening import QUANTIZED, Opened


def save(
    run: Run,
    model: Transformer,
    *,
    tokenizer: Tokenizer,
    folder: Path,
    base: str | None = None,
    template: str | None = None,
    quantize: Kind | None = None,
) -> None:
    """Write what was trained: a Hugging Face folder or, where only an adapter was, a PEFT folder that names its base.

    `folder` holds the tokenizer's files; `template` is that of a chat model; `quantize` is what the base was put into.
    """
    if base is not None and (run.input(base).path / adapter_folder.CONFIG).is_file() and adapters(model):
        run.say("the base is an adapter itself, and peft puts none on another: both are merged into a whole model")
        merge(model)
    if base is not None and adapters(model):
        adapter_folder.save_adapter(model, run.out, base_name=run.input(base).name)
        if quantize is not None:
            run.result(**{QUANTIZED: quantize})
        copy_files(folder, run.out, TOKENIZER_FILES)
    else:
        save_model(
            run.out,
            model,
            tokenizer=folder,
            bos=bpe.begin_id(tokenizer, folder),
            eos=_ends(tokenizer, folder, chat=bool(template)),
            pad=tokenizer.token_to_id(bpe.PAD),
        )
    if template and not (run.out / "chat_template.jinja").exists():
        (run.out / "chat_template.jinja").write_text(template)


def save_on_base(run: Run, opened: Opened, *, quantize: Kind | None) -> None:
    """Write what was trained of the model that was opened from `base`, with its own tokenizer and template."""
    save(
        run,
        opened.model,
        tokenizer=opened.tokenizer,
        folder=opened.folder,
        base="base",
        template=opened.template,
        quantize=quantize,
    )


def _ends(tokenizer: Tokenizer, folder: Path, *, chat: bool) -> list[int]:
    """Ids that end what the model writes: the end of a turn first, then those of its base, then what ends a text."""
    turn_end = tokenizer.token_to_id(bpe.TURN_END) if chat else None
    ends = [] if turn_end is None else [turn_end]
    return list(dict.fromkeys([*ends, *generation_ends(folder), bpe.separator_id(tokenizer, folder)]))
