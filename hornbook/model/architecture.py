"""The shape of a decoder: sizes, and the switches by which families differ. Every family is a value of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hornbook.errors import InputError
from hornbook.model.rope import Llama3, LongRope, Rope, RopeScaling

LayerType = Literal["full_attention", "sliding_attention"]
Activation = Literal["silu", "gelu", "gelu_tanh"]


@dataclass(frozen=True)
class LayerKind:
    """What layers may differ in; layers of one kind share masks and rotations."""

    sliding: bool
    rotary: bool


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The shape of a decoder, in Hugging Face's names. Raises InputError where the numbers do not fit together."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int = 2048

    tie_word_embeddings: bool = True
    scale_embeddings: bool = False
    """Embeddings are multiplied by sqrt(hidden_size) (Gemma)."""
    final_logit_softcapping: float | None = None
    """c tanh(logits / c) (Gemma 2, arXiv 2408.00118)."""

    norm: Literal["rms", "layer"] = "rms"
    """RMSNorm, or LayerNorm with a bias (GPT-2, GPT-NeoX)."""
    norm_eps: float = 1e-5
    norm_unit_offset: bool = False
    """A norm's weight w stands for 1 + w (Gemma)."""
    pre_norm: bool = True
    """Norms before attention and MLP; OLMo 2 has none there."""
    post_norm: bool = False
    """Norms after attention and MLP, before they are added (Gemma, OLMo 2)."""
    parallel_residual: bool = False
    """x + attention(norm x) + mlp(norm' x) instead of one after the other (GPT-NeoX)."""

    qk_norm: bool = False
    """RMSNorm over each head's query and key before the rotation (Qwen3)."""
    qk_norm_across_heads: bool = False
    """That norm is over all heads together (OLMo 2)."""
    attention_bias: bool = False
    """Biases on the query, key and value projections (Qwen2)."""
    output_bias: bool = False
    """A bias on the projection after attention."""
    query_pre_attn_scalar: int | None = None
    """Scores are divided by its square root; None: by that of head_dim."""
    attn_logit_softcapping: float | None = None
    """c tanh(scores / c) before the mask (Gemma 2)."""
    sliding_window: int | None = None
    """A token sees itself and the `sliding_window - 1` tokens before it; None: all of them."""
    layer_types: tuple[LayerType, ...] | None = None
    """Which layers have the sliding window; None: all."""

    learned_positions: bool = False
    """An embedding of each position is added to the tokens', and nothing is rotated (GPT-2)."""
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    local_rope_theta: float | None = None
    """Sliding layers turn by this base, unscaled; None: as the others (Gemma 3, OLMo 3)."""
    partial_rotary_factor: float = 1.0
    """The part of each head that is rotated (GPT-NeoX)."""
    nope_layers: tuple[int, ...] = ()
    """Layers that rotate nothing (SmolLM3, arXiv 2501.18795)."""

    activation: Activation = "silu"
    gated_mlp: bool = True
    """down(act(gate x) * up x) (arXiv 2002.05202); else down(act(up x))."""
    mlp_bias: bool = False
    fused_projections: bool = False
    """Query, key and value are one matrix, and so are gate and up (Phi-3; GPT-2, GPT-NeoX)."""

    def __post_init__(self) -> None:
        for name in SIZES:
            if not 1 <= getattr(self, name) <= LARGEST:
                raise InputError(f"architecture: {name} = {getattr(self, name)} must be at least 1, at most {LARGEST}")
        if self.num_attention_heads * self.head_dim > LARGEST:
            raise InputError(f"architecture: num_attention_heads * head_dim must be at most {LARGEST}")
        if self.sliding_window is not None and self.sliding_window < 1:
            raise InputError(f"architecture: sliding_window = {self.sliding_window} must be at least 1")
        if self.num_attention_heads % self.num_key_value_heads:
            raise InputError(
                f"architecture: num_attention_heads = {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads = {self.num_key_value_heads}"
            )
        self._check_layers()
        self._check_rotation()

    def _check_layers(self) -> None:
        """That what is said of single layers is said of layers that exist."""
        types, layers = self.layer_types, self.num_hidden_layers
        if types is not None and len(types) != layers:
            raise InputError(f"architecture: layer_types names {len(types)} layers, num_hidden_layers = {layers}")
        if types is not None and "sliding_attention" in types and self.sliding_window is None:
            raise InputError("architecture: layer_types has sliding_attention, but there is no sliding_window")
        if any(not 0 <= layer < layers for layer in self.nope_layers):
            raise InputError(f"architecture: nope_layers = {self.nope_layers} are not all among {layers} layers")

    def _check_rotation(self) -> None:
        if self.learned_positions:
            return
        if not min(self.rope_theta, self.local_rope_theta or self.rope_theta) > 1:
            raise InputError(f"architecture: rope_theta = {self.rope_theta} must be above 1")
        if not 0 < self.rotary_size <= self.head_dim or self.rotary_size % 2:
            part = "" if self.partial_rotary_factor == 1 else f" * {self.partial_rotary_factor}"
            raise InputError(
                f"architecture: head_dim = {self.head_dim}{part} must be even, rotary embeddings turn pairs"
            )
        scaling = self.rope_scaling
        if isinstance(scaling, Llama3) and not scaling.low_freq_factor < scaling.high_freq_factor:
            raise InputError(
                f"architecture: high_freq_factor = {scaling.high_freq_factor} must be above low_freq_factor"
            )
        if isinstance(scaling, LongRope):
            for name in ("short_factor", "long_factor"):
                if len(getattr(scaling, name)) != self.rotary_size // 2:
                    raise InputError(f"architecture: {name} must hold {self.rotary_size // 2} numbers")

    @property
    def rotary_size(self) -> int:
        """Numbers of each head that are rotated."""
        return int(self.head_dim * self.partial_rotary_factor)

    def kind(self, layer: int) -> LayerKind:
        everywhere = self.sliding_window is not None and self.layer_types is None
        sliding = everywhere or (self.layer_types is not None and self.layer_types[layer] == "sliding_attention")
        return LayerKind(sliding=sliding, rotary=not self.learned_positions and layer not in self.nope_layers)

    def rope(self, kind: LayerKind) -> Rope:
        """How layers of this kind rotate."""
        if kind.sliding and self.local_rope_theta is not None:
            return Rope(theta=self.local_rope_theta, size=self.rotary_size)
        return Rope(theta=self.rope_theta, size=self.rotary_size, scaling=self.rope_scaling)

    def window(self, kind: LayerKind) -> int | None:
        return self.sliding_window if kind.sliding else None


SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)
LARGEST = 2**24
"""No size is larger: a foreign config must not make products overflow."""
