"""Files of tensors beside safetensors' own writer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hornbook.model.folder import ORDER, write_tensors


def test_bytes_are_those_of_safetensors(tmp_path: Path) -> None:
    tensors = {f"{name}.ä": torch.arange(n).to(kind) for n, kind in enumerate(ORDER) for name in "ba"}
    tensors |= {"scalar": torch.tensor(1.5), "empty": torch.zeros(0, 3), "turned": torch.arange(6.0).view(2, 3).T}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, tmp_path / "theirs", {"format": "pt"})
    write_tensors(tmp_path / "ours", tensors)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("tensors", [{}, {"a": torch.zeros(2)}], ids=len)
def test_few_tensors(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "theirs", {"format": "pt"})
    write_tensors(tmp_path / "ours", tensors)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
