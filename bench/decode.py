"""prompts -> tokens: greedy decoding of a model of 30 million parameters, one thread."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inputs import texts
from measure import Measured, Peer, Row, Stopwatch, main

if TYPE_CHECKING:
    from hornbook.model.transformer import Transformer

VOCABULARY, LENGTH, PROMPT = 8192, 1024, 32


def model(depth: int) -> Transformer:
    """Of the family Llama, which every peer reads: 30 million parameters at depth 8."""
    from dataclasses import replace

    from hornbook.model.dial import shape
    from hornbook.model.transformer import Transformer

    llama = replace(shape(depth, vocabulary=VOCABULARY, length=LENGTH), qk_norm=False)
    return Transformer(llama).initialize(0).eval()


def saved(*, folder: Path, depth: int, **_: object) -> None:
    """The model's folder, which all sides read, with a tokenizer of as many words: a converter wants one."""
    from tokenizers import Tokenizer, models

    from hornbook.model.folder import write_json
    from hornbook.model.weights import save_model

    save_model(folder, model(depth), bos=0, eos=[0])
    Tokenizer(models.WordLevel({f"t{token}": token for token in range(VOCABULARY)}, "t0")).save(
        str(folder / "tokenizer.json")
    )
    special = dict.fromkeys(("unk_token", "bos_token", "eos_token"), "t0")
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **special})


@cache
def prompts(batch: int) -> list[list[int]]:
    """The first words of documents; a token is a word's checksum."""
    begun = (text.split()[:PROMPT] for text in texts(2))
    rows = [[zlib.crc32(word.encode()) % VOCABULARY for word in words] for words in begun if len(words) == PROMPT]
    return rows[:batch]


# -- sides ------------------------------------------------------------------------------------------------------------


def ours(*, folder: Path, batch: int, tokens: int, weights: str, **_: object) -> Measured:
    import torch

    from hornbook.model.decode import decoder
    from hornbook.model.int8 import quantize
    from hornbook.model.sample import complete
    from hornbook.model.weights import load_model

    loaded = load_model(folder, dtype=torch.bfloat16 if weights == "bf16" else torch.float32)
    if weights == "int8":
        quantize(loaded)
    made = decoder(loaded)
    return _decoded(lambda number: complete(made, prompts(batch), max_new_tokens=number), batch=batch, tokens=tokens)


def transformers(*, folder: Path, batch: int, tokens: int, weights: str, **_: object) -> Measured:
    """generate, greedy, in the same precision."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if weights == "bf16" else torch.float32
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    def work(number: int) -> list[list[int]]:
        ids = torch.tensor(prompts(batch))
        limits = {"max_new_tokens": number, "min_new_tokens": number}
        out = loaded.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, pad_token_id=0, **limits)
        said: list[list[int]] = out[:, ids.shape[1] :].tolist()
        return said

    return _decoded(work, batch=batch, tokens=tokens)


def ctranslate2(*, folder: Path, batch: int, tokens: int, **_: object) -> Measured:
    """int8 weights, greedy, converted by its own converter; its prompts go in batched, as ours do."""
    import ctranslate2

    generator = ctranslate2.Generator(str(_converted(folder)), compute_type="int8", inter_threads=1, intra_threads=1)
    rows = [[f"t{token}" for token in prompt] for prompt in prompts(batch)]

    def work(number: int) -> list[list[int]]:
        limits = {"max_length": number, "min_length": number}
        found = generator.generate_batch(rows, beam_size=1, include_prompt_in_result=False, end_token=[], **limits)
        return [result.sequences_ids[0] for result in found]

    return _decoded(work, batch=batch, tokens=tokens)


def _converted(folder: Path) -> Path:
    from ctranslate2.converters import TransformersConverter

    target = folder / "ctranslate2"
    if not target.is_dir():
        TransformersConverter(str(folder)).convert(str(target), quantization="int8")
    return target


def _decoded(work: Callable[[int], list[list[int]]], *, batch: int, tokens: int) -> Measured:
    """Tokens a CPU-second, prompts included, after a short run that warms up."""
    work(4)
    with Stopwatch() as watch:
        said = work(tokens)
    return Measured(batch * tokens / watch.cpu, {"_said": said})


def same_tokens(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """The share of tokens that both chose."""
    pairs = [(a, b) for x, y in zip(ours["_said"], theirs["_said"], strict=True) for a, b in zip(x, y, strict=True)]
    return {"same_tokens": round(sum(a == b for a, b in pairs) / len(pairs), 4)}


# -- rows -------------------------------------------------------------------------------------------------------------


def _sizes(*kinds: str) -> dict[str, dict[str, Any]]:
    return {
        f"30 M {weights}, batch {batch}": {"depth": 8, "batch": batch, "tokens": 96, "weights": weights}
        for weights in kinds
        for batch in (1, 8)
    }


HF = Peer(transformers, "transformers", config="generate, greedy, the same precision, 1 thread")
CT2 = Peer(ctranslate2, "ctranslate2", config="int8, greedy, 1 thread")
ROWS: Sequence[Row] = (
    Row("decode-hf", "tokens/CPU-s", _sizes("fp32", "bf16"), ours, (HF,), prepare=saved, compare=same_tokens),
    Row("decode-ct2", "tokens/CPU-s", _sizes("int8"), ours, (CT2,), prepare=saved, compare=same_tokens),
)

if __name__ == "__main__":
    main(ROWS)
