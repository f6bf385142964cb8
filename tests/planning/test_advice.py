"""What is decided in which situation: one row a situation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hornbook.planning.advice import RULES, decide, supported
from hornbook.planning.situation import Fit, Situation, Way

YES, NO = Fit(fits=True, needed=20e9, tokens=1e12), Fit(fits=False, needed=141e9, tokens=0)
DOCUMENTS = Situation(
    kind="documents",
    tokens=20_000_000,
    documents=10_000,
    words=20_000,
    fits={"full": NO, "lora": NO, "qlora": YES, "pretrain": YES},
    parameters=8e9,
    positions=8192,
    memory=24e9,
)
CHATS = replace(DOCUMENTS, kind="conversations", tokens=2_000_000, documents=5000)
NEW = replace(DOCUMENTS, parameters=None, positions=0, fits={"pretrain": YES})
ALL = {"full": YES, "lora": YES, "qlora": YES, "pretrain": YES}


@pytest.mark.parametrize(("way", "situation"), [
    ("QLoRA", DOCUMENTS),
    ("LoRA", replace(DOCUMENTS, fits=ALL)),
    ("retrieve", replace(DOCUMENTS, tokens=200_000)),
    ("prompt", replace(DOCUMENTS, tokens=4000)),
    ("as is", replace(DOCUMENTS, bits_per_byte=0.90, general_bits_per_byte=0.90)),
    ("QLoRA", replace(DOCUMENTS, bits_per_byte=7.5, general_bits_per_byte=7.9)),
    ("QLoRA", replace(DOCUMENTS, bits_per_byte=1.30, general_bits_per_byte=0.90)),
    ("continued pretraining", replace(DOCUMENTS, tokens=2_000_000_000, fits=ALL)),
    ("LoRA", replace(DOCUMENTS, tokens=2_000_000_000, fits=ALL | {"full": replace(YES, tokens=1e8)})),
    ("from scratch", replace(DOCUMENTS, tokens=2_000_000_000, parameters=1e8, fits=ALL)),
    ("continued pretraining", replace(
        DOCUMENTS, tokens=2_000_000_000, parameters=1e8, fits=ALL, bits_per_byte=1.1, general_bits_per_byte=0.9)),
    ("another machine", replace(DOCUMENTS, fits={"full": NO, "lora": NO, "qlora": NO})),
    ("prompt", replace(CHATS, documents=12)),
    ("QLoRA", CHATS),
    ("LoRA", replace(CHATS, fits=ALL)),
    ("full finetuning", replace(CHATS, documents=500_000, fits=ALL)),
    ("QLoRA", replace(CHATS, documents=500_000)),
    ("LoRA", replace(CHATS, documents=500_000, fits=ALL | {"full": NO})),
    ("from scratch", replace(NEW, supported=4e6)),
    ("retrieve", replace(NEW, tokens=600_000, supported=1.2e5)),
    ("another machine", replace(NEW, fits={"pretrain": NO}, supported=4e6)),
])  # fmt: skip
def test_a_situation_is_decided(way: Way, situation: Situation) -> None:
    assert decide(situation).way == way


def test_a_decision_says_what_would_change_it() -> None:
    """As the issue's example has it: what full finetuning would need, and how much more data would pay for it."""
    told = decide(replace(DOCUMENTS, tokens=2_500_000)).would_change
    assert "full finetuning would need 141 GB" in told
    assert "at 40 times this data continued pretraining starts to pay" in told


def test_hours_that_buy_less_than_an_epoch_are_told() -> None:
    reasons = decide(replace(DOCUMENTS, fits={"qlora": replace(YES, tokens=5e6)})).because
    assert any("25% of one epoch" in reason for reason in reasons)


def test_a_narrow_domain_is_told_with_the_size_that_the_tokens_support() -> None:
    """TinyStories (arXiv 2305.07759): some ten million parameters write stories of a few thousand words fluently."""
    (reason, *_) = decide(replace(NEW, words=3800, supported=33e6)).because
    assert "33 million parameters" in reason
    assert "the domain is narrow (3,800 words" in reason
    assert "fluently" in reason


def test_the_size_of_a_new_model_is_that_of_data_or_of_hours_whichever_is_less() -> None:
    """Chinchilla (arXiv 2203.15556, table 3): 67 billion parameters and 1.5 trillion tokens for 5.76e23 FLOPs."""
    assert supported(1.5e12, affordable=5.76e23) == pytest.approx(69e9, rel=0.05)
    assert supported(1e6, affordable=1e30) == pytest.approx(200_000)


def test_every_rule_names_its_source() -> None:
    assert all(rule.source for rule in RULES)
