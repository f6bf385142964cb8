"""Model folders as Hugging Face writes them: `config.json`, `model.safetensors`, `generation_config.json`, tokenizer.

A folder is foreign input. Nothing in it is run, no path leaves it, and what is missing, left over, misshapen or not
finite is an InputError that names the tensor.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hornbook.errors import InputError
from hornbook.model.architecture import Architecture
from hornbook.model.families import from_config, to_config
from hornbook.model.transformer import Transformer

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
LEFT_OUT = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
"""Derived numbers that old checkpoints store; we compute them."""


def save_model(
    folder: Path,
    model: Transformer,
    *,
    tokenizer: Path | None = None,
    bos: int | None = None,
    eos: Sequence[int] = (),
    pad: int | None = None,
) -> None:
    """Write a model folder that transformers loads; the same model gives the same bytes.

    tokenizer: a folder whose tokenizer files are copied. eos: ids that end an answer; a chat model has two.
    Raises InputError where an adapter is still attached (merge it, or save it as an adapter).
    """
    tensors = plain_tensors(model)
    folder.mkdir(parents=True, exist_ok=True)
    ids = {"bos_token_id": bos, "eos_token_id": eos[0] if len(eos) == 1 else list(eos) or None, "pad_token_id": pad}
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    write_json(folder / "config.json", {**to_config(model.architecture), **ids, "dtype": dtype})
    write_json(folder / "generation_config.json", {name: value for name, value in ids.items() if value is not None})
    write_tensors(folder / WEIGHTS, tensors)
    if tokenizer is not None:
        copy_files(tokenizer, folder, TOKENIZER_FILES)


def load_model(folder: Path, *, dtype: torch.dtype = torch.float32) -> Transformer:
    """Read a model folder, its weights converted to `dtype`. Raises InputError naming file and key or tensor."""
    architecture = load_architecture(folder)
    tensors = load_tensors(folder, dtype=dtype)
    if architecture.tie_word_embeddings:
        check_tied(tensors.pop("lm_head.weight", None), tensors, folder)
    if architecture.num_hidden_layers > len(tensors):
        raise InputError(f"{folder}: config.json has {architecture.num_hidden_layers} layers, the weights fewer")
    with torch.device("meta"):
        model = Transformer(architecture)
    check_tensors(tensors, model.state_dict(), folder)
    model.load_state_dict(tensors, assign=True)
    return model


def load_architecture(folder: Path) -> Architecture:
    """The shape that a model folder's `config.json` describes."""
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder}: not a model folder, it has no config.json")
    return from_config(read_json(inside(folder, "config.json")), where=str(path))


def load_tensors(folder: Path, *, dtype: torch.dtype) -> dict[str, Tensor]:
    """All tensors of the folder's safetensors files, sharded or not."""
    tensors: dict[str, Tensor] = {}
    for path, names in shards(folder).items():
        tensors |= read_tensors(path, dtype=dtype, names=names)
    return {name: tensor for name, tensor in tensors.items() if not LEFT_OUT.fullmatch(name)}


def shards(folder: Path) -> dict[Path, list[str] | None]:
    """Which tensors to take from which file; None: all of them."""
    if (folder / WEIGHTS).exists():
        return {inside(folder, WEIGHTS): None}
    if not (folder / INDEX).exists():
        hint = "weights in pickle files (.bin, .pt) are not read: they can run code" if pickled(folder) else ""
        raise InputError(f"{folder}: not a model folder, it has no {WEIGHTS}", hint=hint)
    names = read_json(inside(folder, INDEX)).get("weight_map")
    if not isinstance(names, Mapping):
        raise InputError(f"{folder / INDEX}: weight_map is missing or no object")
    stored = {str(file): inside(folder, str(file)) for file in sorted(map(str, names.values()))}
    return {path: [name for name, its in names.items() if str(its) == file] for file, path in stored.items()}


def pickled(folder: Path) -> bool:
    return any(path.suffix in (".bin", ".pt", ".pth", ".ckpt") for path in folder.iterdir())


def inside(folder: Path, name: str) -> Path:
    """`folder / name`, a plain name whose file lies in the folder (or among the Hugging Face cache's blobs)."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        raise InputError(f"{folder}: {name!r} is not a plain file name")
    path, home = folder / name, folder.resolve()
    blobs = home.parent.parent / "blobs" if home.parent.name == "snapshots" else home
    target = path.resolve()
    if not (target.is_relative_to(home) or target.is_relative_to(blobs)):
        raise InputError(f"{path}: links to {target}, outside of its folder")
    if not target.is_file():
        raise InputError(f"{path}: no such file")
    return path


def read_tensors(path: Path, *, dtype: torch.dtype, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Tensors of one safetensors file in memory of their own, converted and checked to be finite."""
    with opened(path) as file:
        stored = set(file.keys())
        wanted = sorted(stored if names is None else names)
        for name in wanted:
            if name not in stored:
                raise InputError(f"{path}: tensor {name!r} is missing")
        return {name: convert(file.get_tensor(name), dtype, f"{path}: tensor {name!r}") for name in wanted}


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file: {error}") from error


def convert(tensor: Tensor, dtype: torch.dtype, what: str) -> Tensor:
    if tensor.dtype not in FLOATS:
        raise InputError(f"{what} is stored as {tensor.dtype}, not as floating-point numbers")
    # A copy: the tensor just read is a view of the file, which may change or vanish under us.
    converted = tensor.to(dtype, copy=True)
    if not converted.isfinite().all():
        raise InputError(f"{what} holds values that are not finite")
    return converted


def check_tied(head: Tensor | None, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """A tied head may be stored, if it is the embedding."""
    if head is not None and not torch.equal(head, tensors.get("model.embed_tokens.weight", head)):
        raise InputError(f"{folder}: tensor 'lm_head.weight' differs from the embedding that config.json ties it to")


def check_tensors(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: Path) -> None:
    """Every wanted tensor there, in its shape, and no other. Raises InputError naming the first that is not."""
    missing, extra = [n for n in wanted if n not in tensors], [n for n in tensors if n not in wanted]
    if missing:
        raise InputError(f"{where}: tensor {missing[0]!r} is missing{others(missing)}")
    if extra:
        raise InputError(f"{where}: tensor {extra[0]!r} has no place in this model{others(extra)}")
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            have, want = list(tensor.shape), list(wanted[name].shape)
            raise InputError(f"{where}: tensor {name!r} has shape {have}, the configuration says {want}")


def others(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def plain_tensors(model: Transformer) -> dict[str, Tensor]:
    """The model's own tensors, if it has no others."""
    tensors = model.state_dict()
    with torch.device("meta"):
        plain = Transformer(model.architecture).state_dict()
    added = [name for name in tensors if name not in plain]
    if added:
        raise InputError(
            f"the model carries an adapter (tensor {added[0]!r}) and cannot be saved as a plain model",
            hint="merge the adapter first, or save it by itself",
        )
    return tensors


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """One safetensors file; older readers want `format` in its metadata."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no JSON object")
    return value


def copy_files(source: Path, folder: Path, names: Iterable[str]) -> None:
    """Copy those of `names` that `source` has."""
    for name in names:
        if (source / name).exists() and source.resolve() != folder.resolve():
            shutil.copyfile(inside(source, name), folder / name)
