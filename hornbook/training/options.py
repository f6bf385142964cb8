"""Options that stages which train have in common.

Annotations here are types, not strings: a class that inherits them lives where their names mean nothing.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from hornbook.config import Bounds, Count, Positive, Unhashed
from hornbook.device import Device, Precision, choose_device
from hornbook.errors import UsageError
from hornbook.model.adapters.initial import Init
from hornbook.model.bnb import Kind
from hornbook.trackers import TrackerName

ADAPTERS = ("lora", "prefix", "prompt", "ia3")
"""Options of which one at most is given."""


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters: W = W0 + (alpha / r) B A, with W0 frozen (arXiv 2106.09685)."""

    r: Count = 8
    """Rank."""
    alpha: Positive = 16.0
    """Scale, divided by the rank."""
    targets: tuple[str, ...] = ("all-linear",)
    """Projections to adapt: names such as `q_proj`, `attention` for those of attention, `all-linear` for all."""
    rank_pattern: dict[str, Count] = field(default_factory=dict)
    """Other ranks, by projection: `q_proj`, or a regular expression for the end of its path."""
    alpha_pattern: dict[str, Positive] = field(default_factory=dict)
    """Other scales, by projection."""
    init: Init = "kaiming"
    """Where A begins (B is 0): kaiming, gaussian; pissa begins with the principal part of W0 (arXiv 2404.02948)."""
    dropout: Annotated[float, Bounds(least=0, below=1)] = 0.0
    """Fraction of what an adapter reads that is left out while training."""
    rslora: bool = False
    """Scale by alpha / sqrt(r): for high ranks (arXiv 2312.03732)."""
    dora: bool = False
    """Learn the length of each row of W beside its direction (arXiv 2402.09353)."""
    loraplus: Positive = 1.0
    """Learning rate of B in multiples of A's (LoRA+, arXiv 2402.12354, which takes 16)."""


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """Learn keys and values that every document begins with, in every layer (arXiv 2101.00190)."""

    tokens: Count = 16
    """Positions of the prefix."""
    text: str = ""
    """Begin as what the model makes of this text (default: of tokens drawn from the vocabulary)."""
    hidden: Count | None = None
    """Learn the prefix through an MLP with so many units, which is not needed afterwards."""


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Learn embeddings that every document begins with (arXiv 2104.08691)."""

    tokens: Count = 16
    """Embeddings of the prompt."""
    text: str = ""
    """Begin as the embeddings of this text (default: of tokens drawn from the vocabulary)."""


@dataclass(frozen=True, kw_only=True)
class Ia3:
    """Learn factors for keys, values and what is inside the MLP (arXiv 2205.05638)."""

    targets: tuple[str, ...] = ("keys-values-mlp",)
    """Projections to scale; `keys-values-mlp` are those of the paper."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What of a model learns, and where it is computed: for every stage that trains one."""

    lora: Lora | None = None
    """Train only a low-rank adapter."""
    prefix: Prefix | None = None
    """Train only a prefix: keys and values before every document."""
    prompt: Prompt | None = None
    """Train only a prompt: embeddings before every document."""
    ia3: Ia3 | None = None
    """Train only factors for keys, values and the MLP."""
    quantize: Kind | None = None
    """Keep the base, which does not learn, in 4 or 8 bits (QLoRA, arXiv 2305.14314); only with an adapter."""
    device: Device = "auto"
    """Where to compute."""
    precision: Precision = "auto"
    """Of matrix products; weights and optimizer are kept in fp32."""
    deterministic: bool = False
    """On a GPU use only kernels that give the same bytes each time, which may be slower; a CPU's always do."""
    recompute: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, a third more work."""
    track: Annotated[tuple[TrackerName, ...], Unhashed()] = ()
    """Trackers to tell of it, besides TensorBoard."""

    def __post_init__(self) -> None:
        given = [name for name in ADAPTERS if getattr(self, name) is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} are adapters, and a model learns one", hint="give one of them")
        if self.quantize is not None and not given:
            raise UsageError(
                f"quantize = {self.quantize!r} freezes the base in few bits, so only an adapter can learn",
                hint="give one: --lora.r 8, or in a recipe lora = {}",
            )

    @property
    def adapts(self) -> bool:
        """Whether the model itself is frozen, and only what is put on it learns."""
        return any(getattr(self, name) is not None for name in ADAPTERS)

    @property
    def begun(self) -> int:
        """Positions that are put before every document."""
        soft = self.prefix or self.prompt
        return 0 if soft is None else soft.tokens


@dataclass(frozen=True, kw_only=True)
class Divisible(Training):
    """The same where several processes may compute each layer together."""

    tensor_parallel: Annotated[Count, Unhashed()] = 1
    """Processes that share each layer's matrices, each some heads and some of the MLP; groups of so many share out the
    batch (arXiv 1909.08053). Of those that torchrun starts, next to each other; without it FSDP2 alone shares."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tensor_parallel > 1 and (self.adapts or self.quantize):
            raise UsageError(
                "tensor_parallel divides matrices that learn, and with an adapter they do not",
                hint="leave tensor_parallel out: an adapter learns on several processes without it",
            )


@dataclass(frozen=True, kw_only=True)
class FromRows(Training):
    """Options of the stages that train on rows of a file."""

    bad_rows: Literal["error", "skip"] = "error"
    """What to do with a row that cannot be learned from: end, or set it aside and count it."""


@dataclass(frozen=True, kw_only=True)
class FromConversations(FromRows, Divisible):
    """The same where rows are conversations, or pairs of them, that are learned from as they stand."""

    length: Count = 512
    """Tokens of a conversation; a longer one is cut, and counted."""
    evaluation_rows: Count = 200
    """Held-out rows that are measured while training, at most."""
    micro: Count | None = None
    """Rows computed at a time: less memory, same result up to rounding (default: 1 on a CPU, 8 on a GPU)."""

    @property
    def rows_at_once(self) -> int:
        """One keeps a CPU busy; more would only fill its memory."""
        device = choose_device(self.device, deterministic=self.deterministic)
        return self.micro or (1 if device.type == "cpu" else 8)
