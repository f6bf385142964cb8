"""A model -> the same in 4 or 8 bits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from math import sqrt
from pathlib import Path
from typing import Annotated

from hornbook.config import Takes
from hornbook.errors import InputError
from hornbook.model.adapters.folder import CONFIG
from hornbook.model.bnb import Kind
from hornbook.model.quantize_folder import Written, quantize_folder, size_of
from hornbook.run import Run

MAKES = "model"


@dataclass(frozen=True)
class Quantize:
    """Put a model's projections into 4 or 8 bits, for less memory wherever it is read.

    Embeddings, norms and the head stay in 16 bits. Whatever reads a model reads the folder: `generate`, `evaluate`, and
    training of an adapter on it (QLoRA); so do transformers and vLLM, by bitsandbytes.
    """

    model: Annotated[Path, Takes("model")]
    """A run's folder or name, a recipe's table (demo/align), or a Hugging Face folder."""
    _: KW_ONLY
    to: Kind = "nf4"
    """nf4: 16 values at the quantiles of a normal distribution, a scale for 64 weights (arXiv 2305.14314); int8: whole
    numbers, a scale for each output (arXiv 2208.07339)."""
    double_quantization: bool = True
    """In 4 bits, keep the scales in 8 bits too: 4.13 bits a weight instead of 4.5."""


def quantize(config: Quantize, run: Run) -> None:
    source = run.input("model").folder()
    if (source / CONFIG).is_file():
        raise InputError(
            f"{source} is an adapter, not a whole model",
            hint='quantize its base, or train the adapter on the base in few bits: quantize = "nf4"',
        )
    written: list[Written] = []
    with run.progress("quantize", total=size_of(source) / 1e6, unit="MB") as bar:
        for tensor in quantize_folder(source, run.out, config.to, double=config.double_quantization):
            written.append(tensor)
            bar.advance(tensor.read / 1e6)
    bits, errors = _bits(written), _errors(written)
    run.say(f"{bits['quantized']:.3f} bits a weight where quantized, {bits['model']:.3f} in the whole model")
    run.say("relative error: " + ", ".join(f"{kind} {error:.2%}" for kind, error in errors.items()))
    run.result(bits_per_parameter=bits, relative_error=errors)


def _bits(written: Sequence[Written]) -> dict[str, float]:
    """Bits a number of the projections, and of the whole model."""
    parts = {"quantized": [tensor for tensor in written if tensor.kind], "model": written}
    return {
        name: 8 * sum(tensor.stored for tensor in part) / sum(tensor.numbers for tensor in part)
        for name, part in parts.items()
    }


def _errors(written: Iterable[Written]) -> dict[str, float]:
    """Of each kind of projection, the norm of what its weights changed by to theirs."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for tensor in written:
        if tensor.kind:
            sums[tensor.kind][0] += tensor.error
            sums[tensor.kind][1] += tensor.weight
    return {kind: sqrt(error / weight) if weight else 0.0 for kind, (error, weight) in sums.items()}
