"""A model folder -> the same with its projections in few bits, a tensor at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hornbook.errors import InputError
from hornbook.model import bnb, nf4
from hornbook.model.bnb import Kind
from hornbook.model.contents import contents, is_classifier, load_config
from hornbook.model.folder import FLOATS, Shards, Stored, check_finite, copy_files, read, write_json
from hornbook.model.int8 import from_int8, to_int8
from hornbook.model.nf4 import Nf4
from hornbook.model.quantizing import dense_projections, rounded_to
from hornbook.model.transformer import Transformer
from hornbook.model.weights import GENERATION, SHARD_BYTES, TOKENIZER_FILES


@dataclass(frozen=True, kw_only=True)
class Written:
    """One tensor that was written."""

    kind: str
    """What a quantized projection is called; "" for a tensor that stays as it is."""
    read: int
    """Bytes, as the model had it."""
    numbers: int
    stored: int
    """Bytes of codes and scales, or of the numbers that stay."""
    weight: float
    """The sum of squares of the weights,"""
    error: float
    """and of what they have changed by, where they are quantized."""


def size_of(folder: Path) -> int:
    """Bytes of the tensors that `quantize_folder` will read. Raises InputError where it cannot."""
    held = contents(folder)
    return sum(nbytes(held.stored[name]) for name in held.dense)


def nbytes(stored: Stored) -> int:
    """Of a tensor of floating-point numbers in a file."""
    return torch.Size(stored.shape).numel() * FLOATS[stored.kind].itemsize


def quantize_folder(
    source: Path, folder: Path, kind: Kind, *, double: bool = True, shard_bytes: int = SHARD_BYTES
) -> Iterator[Written]:
    """Quantize the projections of the model in `source` into `folder`, yielding each tensor that was written.

    What stays is in 16 bits: a model in float32 is rounded to bfloat16, before its projections are quantized. One
    tensor at a time is in memory.
    """
    if is_classifier(load_config(source)):
        raise InputError(f"{source} is a reward model: it judges texts and writes none")
    held = contents(source)
    if held.quantized:
        raise InputError(f"{source}: its projections are quantized already", hint="name the model that it was made of")
    with torch.device("meta"):
        projections = dense_projections(Transformer(held.architecture))
    folder.mkdir(parents=True, exist_ok=True)
    shards = Shards(folder, most=shard_bytes, spooled=True)
    stored_as = torch.bfloat16
    memory = torch.empty(max(map(nbytes, held.stored.values())), dtype=torch.uint8)
    for theirs, ours in held.dense.items():
        stored = held.stored[theirs]
        what = f"{stored.path}: tensor {theirs!r}"
        tensor = read(stored, what, into=memory)
        check_finite(tensor, what)
        stored_as = rounded_to(tensor.dtype)
        path = ours.removesuffix(".weight")
        if path in projections:
            rows = held.names.as_rows(tensor)
            yield _quantize(shards, theirs.removesuffix(".weight"), rows, kind, double=double)
        else:
            kept = tensor.to(stored_as)
            shards.add(theirs, kept)
            numbers = kept.numel()
            yield Written(kind="", read=nbytes(stored), numbers=numbers, stored=kept.nbytes, weight=0.0, error=0.0)
    shards.close()
    config = {key: value for key, value in held.config.items() if key != "torch_dtype"}
    told = bnb.to_config(kind, double=double, stored_as=stored_as)
    write_json(folder / "config.json", {**config, "dtype": bnb.NAMES[stored_as], "quantization_config": told})
    copy_files(source, folder, (GENERATION, *TOKENIZER_FILES))


def _quantize(shards: Shards, module: str, weight: Tensor, kind: Kind, *, double: bool) -> Written:
    """Write one projection, whose weights are [N, K]."""
    stored_as = rounded_to(weight.dtype)
    made = _int8(weight) if kind == "int8" else nf4.quantize(weight, double=double, rounded_to=stored_as)
    if isinstance(made, Nf4):
        parts, stored = bnb.nf4_parts(made, stored_as=stored_as), made.nbytes
    else:
        parts, stored = bnb.int8_parts(*made), sum(tensor.nbytes for tensor in made)
    squares = error = 0.0
    for rows in row_pieces(weight):
        dense = weight[rows].to(stored_as).float()
        squares += float(dense.square().sum())
        error += float(dense.sub_(_back(made, rows)).square_().sum())
    for name, part in parts.items():
        shards.add(f"{module}.{name}", part)
    return Written(
        kind=module.rpartition(".")[2],
        read=weight.nbytes,
        numbers=weight.numel(),
        stored=stored,
        weight=squares,
        error=error,
    )


def _int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """`to_int8` of the weights rounded to 16 bits, a few rows at a time."""
    whole, largest = torch.empty(weight.shape, dtype=torch.int8), torch.empty(len(weight))
    for rows in row_pieces(weight):
        whole[rows], largest[rows] = to_int8(weight[rows].to(rounded_to(weight.dtype)))
    return whole, largest


def _back(made: Nf4 | tuple[Tensor, Tensor], rows: slice) -> Tensor:
    """float32: what rows stand for."""
    if isinstance(made, Nf4):
        size = made.shape[1]
        return nf4.weights(made, rows.start * size, rows.stop * size).view(-1, size)
    whole, largest = made
    return from_int8(whole[rows], largest[rows])


def row_pieces(weight: Tensor) -> Iterator[slice]:
    """Rows whose float32 is about as large as that of a piece that is quantized."""
    step = max(1, nf4.PIECE // weight.shape[1])
    return (slice(begin, min(begin + step, len(weight))) for begin in range(0, len(weight), step))
