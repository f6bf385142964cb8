"""What a model folder holds: its architecture and the names, shapes and types of its tensors, all checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hornbook.errors import InputError
from hornbook.model import bnb
from hornbook.model.architecture import Architecture
from hornbook.model.bnb import Kind
from hornbook.model.configuration import from_config
from hornbook.model.families import family_named
from hornbook.model.folder import Stored, check_shapes, inside, read_json, read_tensors, stored_tensors
from hornbook.model.names import LEFT_OUT, WeightNames
from hornbook.model.quantizing import dense_projections
from hornbook.model.transformer import Transformer

HEAD = "lm_head.weight"


@dataclass(frozen=True, kw_only=True)
class Contents:
    """A model folder before its tensors are read."""

    config: Mapping[str, Any]
    architecture: Architecture
    names: WeightNames
    stored: Mapping[str, Stored]
    dense: Mapping[str, str]
    """Their name of each parameter that is stored as floating-point numbers -> ours, in our order."""
    quantized: Mapping[str, tuple[str, Kind]]
    """Their path of each projection in few bits -> ours, and how it is stored."""

    @property
    def dtype(self) -> torch.dtype:
        """What the configuration says that the weights are, or were."""
        return bnb.DTYPES.get(str(self.config.get("dtype") or self.config.get("torch_dtype")), torch.float32)


def contents(folder: Path, kind: type[Transformer] = Transformer) -> Contents:
    """What a model folder holds for a decoder of some kind. Raises InputError naming file and key or tensor."""
    config, where = load_config(folder), str(folder / "config.json")
    architecture = from_config(config, where=where)
    stored = {name: at for name, at in stored_tensors(folder).items() if not LEFT_OUT.fullmatch(f".{name}")}
    if architecture.num_hidden_layers > len(stored):
        raise InputError(f"{folder}: config.json has {architecture.num_hidden_layers} layers, the weights fewer")
    with torch.device("meta"):
        model = kind(architecture)
    names = family_named(config["model_type"], str(folder)).names
    wanted, head = file_names(model, names, stored), tied_head(model, names, stored)
    quantized = quantized_projections(model, wanted, stored)
    bnb.check_config(config, where, found=list(quantized))
    shapes = {ours: names.to_file(ours, tensor, architecture).shape for ours, tensor in model.state_dict().items()}
    dense = {theirs: ours for theirs, ours in wanted.items() if theirs.removesuffix(".weight") not in quantized}
    own = {name for name in stored if bnb.owner(name) in quantized}
    held = {name: found.shape for name, found in stored.items() if name != head and name not in own}
    check_shapes(held, {theirs: shapes[ours] for theirs, ours in dense.items()}, folder)
    if head is not None:
        check_tied(folder, stored, head, next(iter(dense)))
    return Contents(
        config=config, architecture=architecture, names=names, stored=stored, dense=dense, quantized=quantized
    )


def load_config(folder: Path) -> dict[str, Any]:
    """A model folder's `config.json`."""
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: not a model folder, it has no config.json")
    return read_json(inside(folder, "config.json"))


def is_classifier(config: Mapping[str, Any]) -> bool:
    """Whether a config's `architectures` name a sequence classifier, such as a reward model."""
    names = config.get("architectures")
    return isinstance(names, list) and any(str(name).endswith("ForSequenceClassification") for name in names)


def file_names(model: Transformer, names: WeightNames, stored: Collection[str]) -> dict[str, str]:
    """What the folder's files call each of our parameters -> our name, in our order."""
    bare = bool(stored) and not any(name.startswith(names.prefix) for name in stored)
    wanted = {}
    for ours in model.state_dict():
        theirs = HEAD if ours == HEAD and HEAD in stored else names.tensor(ours)
        wanted[theirs.removeprefix(names.prefix) if bare else theirs] = ours
    return wanted


def quantized_projections(
    model: Transformer, wanted: Mapping[str, str], stored: Mapping[str, Stored]
) -> dict[str, tuple[str, Kind]]:
    """Their path of every projection of the layers that is stored in few bits -> ours, and how."""
    found, projections = bnb.groups(stored), dense_projections(model)
    paths = {theirs: ours.removesuffix(".weight") for theirs, ours in wanted.items() if theirs.endswith(".weight")}
    modules = {theirs.removesuffix(".weight"): path for theirs, path in paths.items() if path in projections}
    return {theirs: (path, found[theirs]) for theirs, path in modules.items() if theirs in found}


def tied_head(model: Transformer, names: WeightNames, stored: Collection[str]) -> str | None:
    """The name under which the files hold a head that the model has none of."""
    if model.lm_head is not None:
        return None
    return next((name for name in (names.tensor(HEAD), HEAD) if name in stored), None)


def check_tied(folder: Path, stored: Mapping[str, Stored], head: str, embedding: str) -> None:
    """A tied head may be stored, if it is the embedding."""
    pair = dict(read_tensors({name: stored[name] for name in (head, embedding)}, dtype=torch.float32))
    if not torch.equal(pair[head], pair[embedding]):
        raise InputError(f"{folder}: tensor {head!r} differs from the embedding that config.json ties it to")
