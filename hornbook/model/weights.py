"""Model folders as Hugging Face writes them: `config.json`, `model.safetensors`, `generation_config.json`, tokenizer.

Tensors have the names and the layout of the model's family in files, and ours in memory; of projections in few bits,
those of bitsandbytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from hornbook.errors import InputError
from hornbook.model.bnb import Kind, Parts
from hornbook.model.configuration import family_of, to_config
from hornbook.model.contents import contents, is_classifier, load_config
from hornbook.model.folder import FLOATS, copy_files, inside, read_json, read_tensors, write_json, write_shards
from hornbook.model.quantizing import (
    dense_projections,
    parts_of,
    quantization_config,
    quantize_projection,
    quantized,
    read_projection,
    rounded_to,
)
from hornbook.model.transformer import Transformer

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
GENERATION = "generation_config.json"
Model = TypeVar("Model", bound=Transformer)
SHARD_BYTES = 5_000_000_000
"""As in transformers."""


def save_model(
    folder: Path,
    model: Transformer,
    *,
    tokenizer: Path | None = None,
    bos: int | None = None,
    eos: Sequence[int] = (),
    pad: int | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a model folder that transformers loads; the same model gives the same bytes.

    tokenizer: a folder whose tokenizer files are copied. eos: ids that end an answer; a chat model has two.
    shard_bytes: a file of weights is at most this large, or holds one tensor; past it there are several, with an index.
    Raises InputError where an adapter is still attached (merge it, or save it as an adapter).
    """
    tensors = file_tensors(model)
    folder.mkdir(parents=True, exist_ok=True)
    ids = {"bos_token_id": bos, "eos_token_id": eos[0] if len(eos) == 1 else list(eos) or None, "pad_token_id": pad}
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    config = {**to_config(model.architecture), **ids, "dtype": dtype, **quantization_config(model)}
    write_json(folder / "config.json", config)
    write_json(folder / GENERATION, {name: value for name, value in ids.items() if value is not None})
    write_shards(folder, tensors, most=shard_bytes)
    if tokenizer is not None:
        copy_files(tokenizer, folder, TOKENIZER_FILES)


def load_model(
    folder: Path, *, dtype: torch.dtype = torch.float32, quantize: Kind | None = None, double: bool = True
) -> Transformer:
    """Read a model folder, its weights converted to `dtype`. Raises InputError naming file and key or tensor.

    Projections that are stored in few bits stay so; `quantize` puts those of other folders into few bits as they are
    read (`double`: see `nf4`).
    """
    if is_classifier(load_config(folder)):
        raise InputError(f"{folder} is a reward model: it judges texts and writes none")
    return load_decoder(Transformer, folder, dtype=dtype, quantize=quantize, double=double)


def load_decoder(
    kind: type[Model], folder: Path, *, dtype: torch.dtype, quantize: Kind | None = None, double: bool = True
) -> Model:
    """Read a folder into a decoder of some kind: with one head or another.

    Names and shapes are checked before a tensor is read, and tensors are read one at a time into their places.
    """
    held = contents(folder, kind)
    with torch.device("meta"):
        model = kind(held.architecture)
    names = held.names
    if quantize is not None and held.quantized:
        raise InputError(f"{folder}: its projections are quantized already", hint="leave out quantize")
    for theirs, (path, bits) in held.quantized.items():
        parts = Parts(held.stored, theirs)
        module = read_projection(model, path, parts, bits, stored_as=held.dtype, names=names)
        model.set_submodule(path, module)
    to_quantize = {} if quantize is None else dense_projections(model)
    tensors: dict[str, Tensor] = {}
    for theirs, tensor in read_tensors({name: held.stored[name] for name in held.dense}, dtype=dtype):
        ours = held.dense[theirs]
        path = ours.removesuffix(".weight")
        if quantize is not None and path in to_quantize:
            rows = names.as_rows(tensor).to(rounded_to(FLOATS[held.stored[theirs].kind]))
            model.set_submodule(path, quantize_projection(model, path, rows, quantize, double=double, names=names))
            continue
        # Laid out anew one by one, so that there are never two copies of the model.
        tensors[ours] = names.from_file(ours, tensor, held.architecture).contiguous()
    # What is not in `tensors` is in few bits, and filled: the names were checked.
    model.load_state_dict(tensors, assign=True, strict=False)
    return model


def generation_ends(folder: Path) -> tuple[int, ...]:
    """Ids that end a text, as a folder's `generation_config.json` names them: a chat model has several.

    Raises:
        InputError: what it names is no token.
    """
    path = folder / GENERATION
    if not path.is_file():
        return ()
    held = read_json(inside(folder, GENERATION)).get("eos_token_id")
    ids = held if isinstance(held, list) else [] if held is None else [held]
    for id in ids:
        if isinstance(id, bool) or not isinstance(id, int) or id < 0:
            raise InputError(f"{path}: eos_token_id = {held!r} must be a token's number, or a list of some")
    return tuple(ids)


def file_tensors(model: Transformer) -> dict[str, Tensor]:
    """The model's own tensors as its family's files hold them. Raises InputError where it carries an adapter."""
    names = family_of(model.architecture).names
    few_bits = quantized(model)
    dtype = next((module.stored_as for module in few_bits.values()), None)
    found: dict[str, Tensor] = {}
    for name, tensor in plain_tensors(model).items():
        laid_out = names.to_file(name, tensor, model.architecture)
        found[names.tensor(name)] = laid_out if dtype is None else laid_out.to(dtype)
    for path, module in few_bits.items():
        parts = parts_of(model, path, module, names)
        found |= {f"{names.module(path)}.{part}": tensor for part, tensor in parts.items()}
    return found


def plain_tensors(model: Transformer) -> dict[str, Tensor]:
    """The model's own tensors but those in few bits, if it has no others."""
    buffers = {f"{path}.{name}" for path, module in quantized(model).items() for name, _ in module.named_buffers()}
    tensors = {name: tensor for name, tensor in model.state_dict().items() if name not in buffers}
    with torch.device("meta"):
        plain = type(model)(model.architecture).state_dict()
    added = [name for name in tensors if name not in plain]
    if added:
        raise InputError(
            f"the model carries an adapter (tensor {added[0]!r}) and cannot be saved as a plain model",
            hint="merge the adapter first, or save it by itself",
        )
    return tensors
