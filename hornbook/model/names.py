"""What the tensors of a family's files are called and how they lie there.

Our names are Llama's (`transformer.py`). A family names the modules that it calls otherwise; `*` is a layer's number.
GPT-2 stores the matrices of its layers turned (Conv1D); GPT-NeoX stores query, key and value head by head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from hornbook.model.architecture import Architecture

LAYER = re.compile(r"(?<=\.layers\.)\d+(?=\.)")
LEFT_OUT = re.compile(r".*\.(rotary_emb\.inv_freq|(attn|attention)\.(masked_)?bias)")
"""Derived numbers and masks that old checkpoints store; we compute them."""


@dataclass(frozen=True, kw_only=True)
class WeightNames:
    """The name map of a family."""

    modules: Mapping[str, str] = field(default_factory=dict)
    """Our path of a module -> theirs, where they differ."""
    prefix: str = "model."
    """What all names but the head's begin with; a file of the decoder alone leaves it out."""
    turned: bool = False
    """Matrices of layers are stored [in, out] (GPT-2)."""
    by_head: bool = False
    """Rows of the fused projection are stored [heads, 3, C] instead of [3, heads, C] (GPT-NeoX)."""

    def module(self, path: str) -> str:
        """Their path of our module."""
        found = LAYER.search(path)
        if found is None:
            return self.modules.get(path, path)
        named = self.modules.get(LAYER.sub("*", path))
        return path if named is None else named.replace("*", found.group())

    def tensor(self, name: str) -> str:
        """Their name of our parameter."""
        path, _, kind = name.rpartition(".")
        return f"{self.module(path)}.{kind}"

    def to_file(self, name: str, tensor: Tensor, architecture: Architecture) -> Tensor:
        """Our parameter as their file holds it."""
        if self._turns(name, tensor):
            return tensor.T
        return self.rows_to_file(name, tensor, architecture)

    def from_file(self, name: str, tensor: Tensor, architecture: Architecture) -> Tensor:
        """`to_file` the other way round."""
        if self._turns(name, tensor):
            return tensor.T
        return self.rows_from_file(name, tensor, architecture)

    def as_rows(self, matrix: Tensor) -> Tensor:
        """A layer's matrix as their file holds it -> [out, in], the rows in the file's order."""
        return matrix.T if self.turned else matrix

    def rows_to_file(self, name: str, tensor: Tensor, architecture: Architecture) -> Tensor:
        """What has a row for each output of the projection that is called so, as their file holds it."""
        return regroup(tensor, 3, architecture.num_attention_heads) if self._regroups(name) else tensor

    def rows_from_file(self, name: str, tensor: Tensor, architecture: Architecture) -> Tensor:
        """`rows_to_file` the other way round."""
        return regroup(tensor, architecture.num_attention_heads, 3) if self._regroups(name) else tensor

    def _turns(self, name: str, tensor: Tensor) -> bool:
        return self.turned and tensor.ndim == 2 and LAYER.search(name) is not None

    def _regroups(self, name: str) -> bool:
        return self.by_head and ".qkv_proj" in name


def regroup(rows: Tensor, outer: int, inner: int) -> Tensor:
    """[outer * inner * C, ...] -> [inner * outer * C, ...]."""
    return rows.reshape(outer, inner, -1, *rows.shape[1:]).transpose(0, 1).reshape(rows.shape)


LLAMA = WeightNames()
POST_NORMS = WeightNames(
    modules={
        "model.layers.*.self_attn_output_norm": "model.layers.*.post_attention_layernorm",
        "model.layers.*.post_attention_layernorm": "model.layers.*.pre_feedforward_layernorm",
        "model.layers.*.mlp_output_norm": "model.layers.*.post_feedforward_layernorm",
    }
)
"""Gemma and OLMo 2: what Llama calls the norm after attention is the one before the MLP."""
GPT2 = WeightNames(
    modules={
        "model.embed_tokens": "transformer.wte",
        "model.embed_positions": "transformer.wpe",
        "model.layers.*.input_layernorm": "transformer.h.*.ln_1",
        "model.layers.*.self_attn.qkv_proj": "transformer.h.*.attn.c_attn",
        "model.layers.*.self_attn.o_proj": "transformer.h.*.attn.c_proj",
        "model.layers.*.post_attention_layernorm": "transformer.h.*.ln_2",
        "model.layers.*.mlp.up_proj": "transformer.h.*.mlp.c_fc",
        "model.layers.*.mlp.down_proj": "transformer.h.*.mlp.c_proj",
        "model.norm": "transformer.ln_f",
    },
    prefix="transformer.",
    turned=True,
)
GPT_NEOX = WeightNames(
    modules={
        "model.embed_tokens": "gpt_neox.embed_in",
        "model.layers.*.input_layernorm": "gpt_neox.layers.*.input_layernorm",
        "model.layers.*.self_attn.qkv_proj": "gpt_neox.layers.*.attention.query_key_value",
        "model.layers.*.self_attn.o_proj": "gpt_neox.layers.*.attention.dense",
        "model.layers.*.post_attention_layernorm": "gpt_neox.layers.*.post_attention_layernorm",
        "model.layers.*.mlp.up_proj": "gpt_neox.layers.*.mlp.dense_h_to_4h",
        "model.layers.*.mlp.down_proj": "gpt_neox.layers.*.mlp.dense_4h_to_h",
        "model.norm": "gpt_neox.final_layer_norm",
        "lm_head": "embed_out",
    },
    prefix="gpt_neox.",
    by_head=True,
)
