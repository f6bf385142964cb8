"""Model folders as Hugging Face writes them: `config.json`, `model.safetensors`, `generation_config.json`, tokenizer.

Tensors have the names and the layout of the model's family in files, and ours in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from hornbook.errors import InputError
from hornbook.model.configuration import family_of, from_config, to_config
from hornbook.model.families import family_named
from hornbook.model.folder import (
    Stored,
    check_shapes,
    copy_files,
    inside,
    read_json,
    read_tensors,
    stored_tensors,
    write_json,
    write_shards,
)
from hornbook.model.names import LEFT_OUT, WeightNames
from hornbook.model.transformer import Transformer

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
HEAD = "lm_head.weight"
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
    write_json(folder / "config.json", {**to_config(model.architecture), **ids, "dtype": dtype})
    write_json(folder / GENERATION, {name: value for name, value in ids.items() if value is not None})
    write_shards(folder, tensors, most=shard_bytes)
    if tokenizer is not None:
        copy_files(tokenizer, folder, TOKENIZER_FILES)


def file_tensors(model: Transformer) -> dict[str, Tensor]:
    """The model's own tensors as its family's files hold them. Raises InputError where it carries an adapter."""
    names = family_of(model.architecture).names
    return {
        names.tensor(name): names.to_file(name, tensor, model.architecture)
        for name, tensor in plain_tensors(model).items()
    }


def load_model(folder: Path, *, dtype: torch.dtype = torch.float32) -> Transformer:
    """Read a model folder, its weights converted to `dtype`. Raises InputError naming file and key or tensor."""
    if is_classifier(load_config(folder)):
        raise InputError(f"{folder} is a reward model: it judges texts and writes none")
    return load_decoder(Transformer, folder, dtype=dtype)


def load_decoder(kind: type[Model], folder: Path, *, dtype: torch.dtype) -> Model:
    """Read a folder into a decoder of some kind: with one head or another.

    Names and shapes are checked before a tensor is read, and tensors are read one at a time into their places.
    """
    config = load_config(folder)
    architecture = from_config(config, where=str(folder / "config.json"))
    stored = {name: at for name, at in stored_tensors(folder).items() if not LEFT_OUT.fullmatch(f".{name}")}
    if architecture.num_hidden_layers > len(stored):
        raise InputError(f"{folder}: config.json has {architecture.num_hidden_layers} layers, the weights fewer")
    with torch.device("meta"):
        model = kind(architecture)
    names = family_named(config["model_type"], str(folder)).names
    wanted, head = file_names(model, names, stored), tied_head(model, names, stored)
    shapes = {ours: names.to_file(ours, tensor, architecture).shape for ours, tensor in model.state_dict().items()}
    held = {name: found.shape for name, found in stored.items() if name != head}
    check_shapes(held, {theirs: shapes[ours] for theirs, ours in wanted.items()}, folder)
    if head is not None:
        check_tied(folder, stored, head, next(iter(wanted)), dtype=dtype)
    tensors: dict[str, Tensor] = {}
    for name, tensor in read_tensors({name: stored[name] for name in wanted}, dtype=dtype):
        ours = wanted[name]
        # Laid out anew one by one, so that there are never two copies of the model.
        tensors[ours] = names.from_file(ours, tensor, architecture).contiguous()
    model.load_state_dict(tensors, assign=True)
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


def file_names(model: Transformer, names: WeightNames, stored: Collection[str]) -> dict[str, str]:
    """What the folder's files call each of our parameters -> our name, in our order."""
    bare = bool(stored) and not any(name.startswith(names.prefix) for name in stored)
    wanted = {}
    for ours in model.state_dict():
        theirs = HEAD if ours == HEAD and HEAD in stored else names.tensor(ours)
        wanted[theirs.removeprefix(names.prefix) if bare else theirs] = ours
    return wanted


def tied_head(model: Transformer, names: WeightNames, stored: Collection[str]) -> str | None:
    """The name under which the files hold a head that the model has none of."""
    if model.lm_head is not None:
        return None
    return next((name for name in (names.tensor(HEAD), HEAD) if name in stored), None)


def load_config(folder: Path) -> dict[str, Any]:
    """A model folder's `config.json`."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: not a model folder, it has no config.json")
    return read_json(inside(folder, "config.json"))


def is_classifier(config: Mapping[str, Any]) -> bool:
    """Whether a config's `architectures` name a sequence classifier, such as a reward model."""
    names = config.get("architectures")
    return isinstance(names, list) and any(str(name).endswith("ForSequenceClassification") for name in names)


def check_tied(folder: Path, stored: Mapping[str, Stored], head: str, embedding: str, *, dtype: torch.dtype) -> None:
    """A tied head may be stored, if it is the embedding."""
    pair = dict(read_tensors({name: stored[name] for name in (head, embedding)}, dtype=dtype))
    if not torch.equal(pair[head], pair[embedding]):
        raise InputError(f"{folder}: tensor {head!r} differs from the embedding that config.json ties it to")


def plain_tensors(model: Transformer) -> dict[str, Tensor]:
    """The model's own tensors, if it has no others."""
    tensors = model.state_dict()
    with torch.device("meta"):
        plain = type(model)(model.architecture).state_dict()
    added = [name for name in tensors if name not in plain]
    if added:
        raise InputError(
            f"the model carries an adapter (tensor {added[0]!r}) and cannot be saved as a plain model",
            hint="merge the adapter first, or save it by itself",
        )
    return tensors
