"""Adapter folders as PEFT writes them: `adapter_config.json` and `adapter_model.safetensors`."""

from __future__ import annotations

from pathlib import Path

import torch

from hornbook.errors import InputError
from hornbook.model.adapters.attached import Part, Update, parts
from hornbook.model.adapters.formats import FORMATS, Format
from hornbook.model.folder import check_shapes, held_tensors, inside, read_json, read_tensors, write_json, write_tensors
from hornbook.model.transformer import Transformer

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def save_adapter(model: Transformer, folder: Path, *, base_name: str = "") -> None:
    """Write PEFT's adapter folder. base_name: where PEFT will look for the base model.

    Raises:
        InputError: the model carries no adapter, or several.
    """
    carried = list(parts(model).values())
    names = sorted({part.adapter.name for part in carried})
    if len(names) != 1:
        what = f"carries several adapters: {', '.join(names)}" if names else "carries no adapter to save"
        raise InputError(f"the model {what}", hint="a folder holds one adapter")
    form = _format(carried[0])
    folder.mkdir(parents=True, exist_ok=True)
    common = {"task_type": "CAUSAL_LM", "base_model_name_or_path": base_name, "inference_mode": True}
    write_json(folder / CONFIG, {"peft_type": form.peft_type, **common, **form.config(model, carried)})
    write_tensors(folder / WEIGHTS, form.tensors(model, carried))


def load_adapter(model: Transformer, folder: Path, *, name: str = "default") -> None:
    """Put the adapter of PEFT's folder, ours or theirs, on its base.

    Raises:
        InputError: names the key or tensor that is wrong.
    """
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder}: not an adapter folder, it has no {CONFIG}")
    where, config = folder / CONFIG, read_json(inside(folder, CONFIG))
    kind = config.get("peft_type")
    form = next((form for form in FORMATS if form.peft_type == kind), None)
    if form is None:
        hint = f"supported: {', '.join(form.peft_type for form in FORMATS)}"
        raise InputError(f"{where}: peft_type = {kind!r} is not supported", hint=hint)
    for key in form.refused(model):
        if config.get(key):
            raise InputError(f"{where}: {key} = {config[key]!r} is not supported")
    tensors = dict(read_tensors(held_tensors(inside(folder, WEIGHTS)), dtype=torch.float32))
    added = form.put(model, config, list(tensors), where=where, name=name)
    wanted = form.tensors(model, added)
    check_shapes({k: t.shape for k, t in tensors.items()}, {k: t.shape for k, t in wanted.items()}, folder / WEIGHTS)
    with torch.no_grad():
        form.fill(model, added, config, tensors)


def kind_merges(folder: Path) -> bool:
    """Whether the adapter of a folder is a change of weights."""
    kind = read_json(inside(folder, CONFIG)).get("peft_type")
    return any(form.peft_type == kind and all(issubclass(k, Update) for k in form.kinds) for form in FORMATS)


def _format(part: Part) -> Format:
    return next(form for form in FORMATS if isinstance(part, form.kinds))
