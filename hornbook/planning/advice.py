"""What to do, as rules: the first that holds decides, and says why, on whose word, and what would change it.

They are the field's usual strategy written out; the numbers in them are the published or measured ones named beside
them. Whoever disagrees changes a number here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from hornbook.learn.hyperparameters import TOKENS_PER_PARAMETER
from hornbook.planning.situation import Decision, Situation, Way

HALF_CONTEXT = 0.5
"""Of a model's positions, what may be filled with examples and facts; the rest is for the question and its answer."""
FACTS = 1e6
"""Tokens of documents below which looking up beats learning: finetuning on little text teaches form, not facts
(Ovadia et al., arXiv 2312.05934; Gekhman et al., arXiv 2405.05904)."""
AS_GOOD = 1.05
"""Bits per byte, relative to general text, up to which a base knows a domain already: assumed, about what two samples
of one source differ by."""
CAPABLE = 1.5
"""Bits per byte of general text above which a base knows too little to be used as it is: assumed; an untrained one
needs about 8."""
FEW_ROWS = 50
"""Conversations below which they serve better as examples in the prompt (Brown et al., arXiv 2005.14165)."""
MANY_ROWS = 100_000
"""Conversations from which all weights learn more than a low-rank adapter of the usual size can hold (Biderman et al.,
arXiv 2405.09673; Schulman et al., LoRA Without Regret, 2025)."""
ADAPTS = 1e8
"""Tokens of documents from which continued pretraining of all weights pays: the domains of DAPT (arXiv 2004.10964) have
billions; with fewer, an adapter learns as much and forgets less (arXiv 2405.09673)."""
REPEATS = 4
"""Epochs that are nearly as good as new text (Muennighoff et al., arXiv 2305.16264)."""
SMALLEST = 1_000_000
"""Parameters below which a new model writes no sentence, even of a narrow domain (TinyStories, arXiv 2305.07759)."""
FLUENT_NARROW = 30_000_000
"""Parameters with which a narrow domain is written fluently (the same, section 3)."""
NARROW = 6000
"""Different words that make up 95 in 100 of a narrow domain's text: assumed; TinyStories, as measured, has 3,800."""
PROMPT_TUNES = 10e9
"""Parameters from which tuning a prompt reaches what finetuning does (Lester et al., arXiv 2104.08691, figure 1)."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line of the strategy."""

    way: Way
    when: Callable[[Situation], bool]
    because: Callable[[Situation], str]
    change: Callable[[Situation], str]
    source: str


def _more(s: Situation) -> str:
    if s.kind == "conversations":
        times = MANY_ROWS / s.documents
        return f"at {times:,.0f} times these conversations full finetuning starts to pay" if times > 1 else ""
    times = ADAPTS / s.tokens
    return f"at {times:,.0f} times this data continued pretraining starts to pay" if times > 1 else ""


RULES: tuple[Rule, ...] = (
    # -- without a base ---------------------------------------------------------------------------------------------
    Rule(
        way="from scratch",
        when=lambda s: s.parameters is None and s.supported >= SMALLEST and s.fit("pretrain").fits,
        because=lambda s: (
            f"there is no base, and {_count(s.tokens)} tokens, read {REPEATS} times at most, support a "
            f"model of {_count(s.supported)} parameters at {TOKENS_PER_PARAMETER} tokens each" + _narrow(s)
        ),
        change=lambda s: "adapting a base of your language (--base FOLDER) would reach more with the same text",
        source="Chinchilla, arXiv 2203.15556; TinyStories, arXiv 2305.07759",
    ),
    Rule(
        way="another machine",
        when=lambda s: s.parameters is None and not s.fit("pretrain").fits,
        because=lambda s: (
            f"even the smallest new model needs {_gb(s.fit('pretrain').needed)}, the machine has {_gb(s.memory)}"
        ),
        change=lambda s: f"a machine with {_gb(s.fit('pretrain').needed)}",
        source="memory, counted",
    ),
    Rule(
        way="retrieve",
        when=lambda s: s.parameters is None,
        because=lambda s: (
            f"{_count(s.tokens)} tokens support only {_count(s.supported)} parameters, and a model of under "
            f"{_count(SMALLEST)} writes no sentence: take a base that is there, and look passages up for it"
        ),
        change=lambda s: (
            f"{_count(SMALLEST * TOKENS_PER_PARAMETER / REPEATS)} tokens would support a smallest model of "
            "a narrow domain"
        ),
        source="TinyStories, arXiv 2305.07759",
    ),
    # -- too little to learn from -----------------------------------------------------------------------------------
    Rule(
        way="prompt",
        when=lambda s: s.kind == "conversations" and s.documents < FEW_ROWS,
        because=lambda s: f"{s.documents:,} conversations serve better as examples in the prompt",
        change=lambda s: f"{FEW_ROWS} conversations or more: then an adapter learns from them",
        source="few-shot learning, arXiv 2005.14165",
    ),
    Rule(
        way="prompt",
        when=lambda s: s.kind == "documents" and s.tokens <= HALF_CONTEXT * s.positions,
        because=lambda s: (
            f"all {_count(s.tokens)} tokens fit into half of the model's {s.positions:,} positions: put "
            "them into the prompt"
        ),
        change=lambda s: f"more than {_count(HALF_CONTEXT * s.positions)} tokens: then passages are looked up",
        source="the model's length",
    ),
    # -- known already ----------------------------------------------------------------------------------------------
    Rule(
        way="as is",
        when=lambda s: (
            s.kind == "documents"
            and s.known is not None
            and s.known <= AS_GOOD
            and (s.general_bits_per_byte or 0) <= CAPABLE
        ),
        because=lambda s: (
            f"the base needs {s.bits_per_byte:.2f} bits a byte for it, and {s.general_bits_per_byte:.2f} "
            "for general text: it knows this kind of text; for its facts, look them up"
        ),
        change=lambda s: f"text that it needs more than {AS_GOOD * (s.general_bits_per_byte or 0):.2f} bits a byte for",
        source="measured on a sample",
    ),
    Rule(
        way="retrieve",
        when=lambda s: s.kind == "documents" and s.tokens < FACTS,
        because=lambda s: (
            f"{_count(s.tokens)} tokens are few to learn facts from: look passages up, and give them in the prompt"
        ),
        change=lambda s: (
            f"at {_count(FACTS)} tokens, {FACTS / s.tokens:,.0f} times this, adapting to the language of the "
            "domain starts to pay"
        ),
        source="arXiv 2312.05934, 2405.05904",
    ),
    # -- enough for all weights -------------------------------------------------------------------------------------
    Rule(
        way="from scratch",
        when=lambda s: (
            s.kind == "documents"
            and s.tokens * REPEATS >= TOKENS_PER_PARAMETER * (s.parameters or 0)
            and s.fit("pretrain").fits
            and s.fit("pretrain").tokens >= TOKENS_PER_PARAMETER * (s.parameters or 0)
            and (s.known or 2.0) > 1.5
        ),
        because=lambda s: (
            f"{_count(s.tokens)} tokens are as many as a new model of the base's size can use, and what "
            "the base knows is of little help here"
        ),
        change=lambda s: "less text, or a base that knows this kind of text",
        source="Chinchilla, arXiv 2203.15556",
    ),
    Rule(
        way="continued pretraining",
        when=lambda s: (
            s.kind == "documents" and s.tokens >= ADAPTS and s.fit("full").fits and s.fit("full").tokens >= s.tokens
        ),
        because=lambda s: (
            f"{_count(s.tokens)} tokens are enough for all weights to move, and they fit: {_gb(s.fit('full').needed)}"
        ),
        change=lambda s: f"under {_count(ADAPTS)} tokens an adapter learns as much and forgets less",
        source="arXiv 2004.10964, 2405.09673",
    ),
    Rule(
        way="full finetuning",
        when=lambda s: (
            s.kind == "conversations"
            and s.documents >= MANY_ROWS
            and s.fit("full").fits
            and s.fit("full").tokens >= s.tokens
        ),
        because=lambda s: (
            f"{s.documents:,} conversations are more than an adapter of the usual rank can hold, and all "
            f"weights fit: {_gb(s.fit('full').needed)}"
        ),
        change=lambda s: f"under {MANY_ROWS:,} conversations LoRA is as good",
        source="arXiv 2405.09673; LoRA Without Regret, 2025",
    ),
    # -- adapters ---------------------------------------------------------------------------------------------------
    Rule(
        way="LoRA",
        when=lambda s: s.fit("lora").fits and s.fit("lora").tokens > 0,
        because=lambda s: (
            f"at this size an adapter learns what all weights would, and fits: {_gb(s.fit('lora').needed)} "
            f"of {_gb(s.memory)}"
        ),
        change=_more,
        source="arXiv 2106.09685, 2405.09673",
    ),
    Rule(
        way="QLoRA",
        when=lambda s: s.fit("qlora").fits,
        because=lambda s: (
            f"with the frozen weights in 4 bits it fits: {_gb(s.fit('qlora').needed)} of {_gb(s.memory)}; "
            f"LoRA would need {_gb(s.fit('lora').needed)}"
        ),
        change=_more,
        source="arXiv 2305.14314",
    ),
    Rule(
        way="another machine",
        when=lambda s: True,
        because=lambda s: (
            f"nothing that learns fits {_gb(s.memory)}: the least, QLoRA, needs {_gb(s.fit('qlora').needed)}"
        ),
        change=lambda s: f"a machine with {_gb(s.fit('qlora').needed)}, a smaller base, or shorter rows",
        source="memory, counted",
    ),
)


def decide(situation: Situation) -> Decision:
    """The first rule that holds."""
    rule = next(rule for rule in RULES if rule.when(situation))
    changes = [rule.change(situation), *_always(situation, rule.way)]
    return Decision(
        way=rule.way,
        because=(rule.because(situation), *_beside(situation, rule.way)),
        would_change=tuple(dict.fromkeys(filter(None, changes))),
        source=rule.source,
    )


def supported(tokens: float, *, affordable: float) -> float:
    """Parameters of a new model: 20 tokens for each, of the text read at most 4 times and of what the hours buy.

    affordable: FLOPs of the hours; 6 N D = C with D = 20 N.
    """
    by_data = tokens * REPEATS / TOKENS_PER_PARAMETER
    by_time = math.sqrt(affordable / (6 * TOKENS_PER_PARAMETER))
    return min(by_data, by_time)


def _always(s: Situation, way: Way) -> list[str]:
    """What a person wants to know whatever was decided."""
    told = []
    full = s.fit("full")
    if s.parameters is not None and not full.fits and full.needed and way in ("LoRA", "QLoRA", "another machine"):
        told.append(f"full finetuning would need {_gb(full.needed)}")
    return told


def _beside(s: Situation, way: Way) -> list[str]:
    """Reasons that add to the rule's."""
    told = []
    if s.known is not None and way in ("LoRA", "QLoRA", "continued pretraining", "full finetuning"):
        told.append(f"the base needs {s.known:.2f} times the bits a byte that it needs for general text")
    bought = {"LoRA": "lora", "QLoRA": "qlora", "full finetuning": "full", "continued pretraining": "full"}.get(way)
    if bought and s.fit(bought).tokens < s.tokens:
        share = s.fit(bought).tokens / s.tokens
        told.append(f"the hours buy {share:.0%} of one epoch: take a part of the data, or more hours")
    if s.kind == "conversations" and (s.parameters or 0) >= PROMPT_TUNES and way == "another machine":
        told.append("a tuned prompt alone reaches nearly as much at this size, where somebody serves the model")
    return told


def _narrow(s: Situation) -> str:
    if s.words > NARROW:
        return ""
    size = "enough to write it fluently" if s.supported >= FLUENT_NARROW else "small, but enough for simple sentences"
    return f"; the domain is narrow ({s.words:,} words make up 95% of it), and that is {size}"


def _gb(size: float) -> str:
    return f"{size / 1e9:.3g} GB"


def _count(value: float) -> str:
    for unit, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if value >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:,.0f}"
