"""The decoder: one Transformer, of which every family is a value (`families.py`).

Shapes: B rows, T tokens, S keys, D hidden size, H query heads, K key/value heads, C head size, V vocabulary.
Module names are Hugging Face's Llama names, so that a state dict here is a `model.safetensors` there; what other
families call theirs is in `names.py`. The transformer knows no adapters, no losses and no files.
"""

from __future__ import annotations

import math
from dataclasses import replace
from hashlib import blake2b

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hornbook.model.architecture import Architecture, LayerKind
from hornbook.model.attention import (
    compute_dtype,
    document_positions,
    one_document,
    plan_attention,
    row_mask,
    row_places,
    soft_cap,
)
from hornbook.model.beginning import Begun
from hornbook.model.cache import Cache
from hornbook.model.layers import Context, Layer, Past
from hornbook.model.norms import make_norm
from hornbook.model.rope import rotation
from hornbook.model.segments import segments


class Decoder(nn.Module):
    """Embeddings, layers and last norm; what Hugging Face names `model`."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.embed_tokens = _embedding(a.vocab_size, a.hidden_size)
        if a.learned_positions:
            self.embed_positions = _embedding(a.max_position_embeddings, a.hidden_size)
        self.layers = nn.ModuleList(Layer(a) for _ in range(a.num_hidden_layers))
        self.norm = make_norm(a, a.hidden_size)


def _embedding(rows: int, size: int) -> nn.Embedding:
    """Not filled: torch would draw it, on the meta device by way of its compiler, which takes a second to import."""
    return nn.Embedding(rows, size, _weight=torch.empty(rows, size))


class Transformer(nn.Module):
    """A decoder-only language model. A new one is filled by `initialize` or by `weights.load_model`."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.kinds = tuple(architecture.kind(layer) for layer in range(architecture.num_hidden_layers))
        self.model = Decoder(architecture)
        tied = architecture.tie_word_embeddings
        self.lm_head = None if tied else nn.Linear(architecture.hidden_size, architecture.vocab_size, bias=False)
        self.start: nn.Module | None = None
        """Computes from the model what all documents begin with (`beginning.py`), or None."""
        self.masked = False
        """Attend to packed rows under one mask on a CPU too: for code that is compiled, once for all of them."""

    def initialize(self, seed: int) -> Transformer:
        """Matrices from N(0, 0.02), those that write into the residual stream scaled by 1/sqrt(2 layers) (GPT-2).

        The numbers are a function of (seed, parameter name): same seed, same bytes, and no layer depends on another.
        """
        for name, parameter in self.named_parameters():
            fill(name, parameter.data, seed=seed, architecture=self.architecture)
        return self

    def hidden(
        self,
        tokens: Tensor,
        *,
        documents: Tensor | None = None,
        prefixes: Tensor | None = None,
        cache: Cache | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """int64[B, T] -> [B, T, D], after the last norm; at `places`, int64[N] of the B T positions, only: [N, D].

        documents, int64[B, T]: a token sees only earlier tokens of the same id, which lie together; None is one
        document a row. prefixes, int64[B, T, 2]: it sees those at [start, end) of its row too, the beginning of another
        document, and its own goes on from there (start = end: it does not). Padding on the right needs no mask: no real
        token sees it. With a cache the rows go on from what it holds, which grows.
        """
        if cache is not None and documents is not None:
            raise ValueError("a cached row holds one document")
        beginning = self.beginning() if cache is None else None
        past = cache if beginning is None else Begun(beginning, tokens, documents, prefixes)
        x = self.embed(tokens, self._positions(tokens, documents, prefixes, past))
        return self.through(x, documents=documents, prefixes=prefixes, past=past, places=places)

    def through(
        self,
        x: Tensor,
        *,
        documents: Tensor | None = None,
        prefixes: Tensor | None = None,
        past: Past | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """[B, T, D], as embedded -> after the last norm [B, T, D] or, at `places`, [N, D]."""
        length = x.shape[1]
        made = {kind: self._context(kind, x, documents, prefixes, past) for kind in dict.fromkeys(self.kinds)}
        contexts = [made[kind] for kind in self.kinds]
        # Of other places the last layer needs keys and values, and nothing else.
        contexts[-1] = replace(contexts[-1], places=places)
        for index, layer in enumerate(self.model.layers):
            x = layer(x, contexts[index], None if past is None else past.layers[index])
        if past is not None:
            past.advance(length)
        out: Tensor = self.model.norm(x)
        return out

    def beginning(self) -> Tensor | None:
        """[L, 2, K, P, C]: keys and values that every document begins with."""
        return None if self.start is None else self.start(self)

    def new_cache(self, *, rows: int, capacity: int) -> Cache:
        """Room for `capacity` tokens in each of the rows, after what every document begins with."""
        beginning = self.beginning()
        begun = 0 if beginning is None else beginning.shape[3]
        device = self.head_weight.device
        cache = Cache(layers=len(self.model.layers), rows=rows, capacity=capacity + begun, device=device)
        if beginning is not None:
            cache.begin(beginning)
        return cache

    def _positions(
        self, tokens: Tensor, documents: Tensor | None, prefixes: Tensor | None, past: Past | None
    ) -> Tensor | None:
        """int64[T] or [B, T], where they are embedded."""
        if not self.architecture.learned_positions:
            return None
        return document_positions(tokens, documents, prefixes) if past is None else past.positions(tokens.shape[1])

    def embed(self, tokens: Tensor, positions: Tensor | None) -> Tensor:
        """int64[...] -> [..., D]: what the first layer reads; positions count where they are learned."""
        return self.placed(self.scaled(self.model.embed_tokens(tokens)), positions)

    def scaled(self, x: Tensor) -> Tensor:
        """Embeddings as large as the first layer wants them."""
        if self.architecture.scale_embeddings:
            # Rounded to the type of the weights, as Gemma was trained.
            x = x * torch.tensor(self.architecture.hidden_size**0.5, dtype=x.dtype, device=x.device)
        return x

    def placed(self, x: Tensor, positions: Tensor | None) -> Tensor:
        """With the positions, where they are learned."""
        return x + self.model.embed_positions(positions) if self.architecture.learned_positions else x

    def _context(
        self, kind: LayerKind, x: Tensor, documents: Tensor | None, prefixes: Tensor | None, past: Past | None
    ) -> Context:
        length, window = x.shape[1], self.architecture.window(kind)
        if past is None:
            positions, before, longest = torch.arange(length, device=x.device), 0, length
            if documents is not None and prefixes is not None:
                positions = row_places(documents, prefixes)
        else:
            positions, before, longest = past.positions(length), past.longest, past.capacity
        rope = self.architecture.rope(kind)
        turn = rotation(positions, rope, length=longest, dtype=compute_dtype(x)) if kind.rotary else None
        if documents is not None and self.attends_by_document and not one_document(documents):
            dtype = compute_dtype(x)
            seen = segments(documents, prefixes, before=before, window=window, dtype=dtype)
            return Context(turn=turn, mask=None, by_matmul=False, segments=seen)
        mask = row_mask(x, documents, window, prefixes) if past is None else past.mask(positions, window)
        capped = self.architecture.attn_logit_softcapping is not None
        planned, by_matmul = plan_attention(mask, queries=length, keys=before + length, like=x, capped=capped)
        return Context(turn=turn, mask=planned, by_matmul=by_matmul)

    @property
    def attends_by_document(self) -> bool:
        """Whether documents that share a row are attended to one by one: on a CPU, which runs loops well.

        Else it is under a mask: on a GPU, where there would be many small kernels (not measured), and where code is
        compiled or scores are capped.
        """
        capped = self.architecture.attn_logit_softcapping is not None
        return not self.masked and not capped and self.model.embed_tokens.weight.device.type == "cpu"

    @property
    def head_weight(self) -> Tensor:
        """[V, D]: logits are hidden @ head_weight.T, soft-capped; the embedding where the head is tied."""
        head = self.model.embed_tokens if self.lm_head is None else self.lm_head
        return head.weight

    def head(self, hidden: Tensor) -> Tensor:
        """[..., D] -> logits [..., V]."""
        logits = F.linear(hidden, self.head_weight)
        cap = self.architecture.final_logit_softcapping
        return logits if cap is None else soft_cap(logits, cap)

    def forward(self, tokens: Tensor, *, documents: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """int64[B, T] -> logits [B, T, V]; see `hidden`."""
        return self.head(self.hidden(tokens, documents=documents, cache=cache))


def fill(name: str, tensor: Tensor, *, seed: int, architecture: Architecture) -> None:
    """Starting values of one parameter, in place."""
    if tensor.ndim == 1:
        tensor.fill_(0.0 if name.endswith("bias") or architecture.norm_unit_offset else 1.0)
        return
    residual = name.endswith(("o_proj.weight", "down_proj.weight"))
    generator = torch.Generator().manual_seed(keyed_seed(seed, name))
    std = 0.02 / math.sqrt(2 * architecture.num_hidden_layers) if residual else 0.02
    tensor.copy_(torch.empty(tensor.shape).normal_(0.0, std, generator=generator))


def keyed_seed(seed: int, name: str) -> int:
    """A 63-bit seed for one named use of randomness."""
    return int.from_bytes(blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "big") >> 1
