"""What a reward model thinks of conversations, and which of two models' answers it prefers."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hornbook.judge.metrics import Accuracy, accuracy, preferred
from hornbook.judge.score import Tokens, at_once, by_length, evaluating
from hornbook.model.reward import RewardModel


def conversation_rewards(
    model: RewardModel,
    conversations: Sequence[Tokens],
    *,
    positions: int | None = None,
    autocast: torch.dtype | None = None,
) -> list[float]:
    """The reward of each conversation, given as its token ids: the score of its last token.

    About `positions` tokens (or `at_once`), padding included, are computed at a time.
    """
    found = [0.0] * len(conversations)
    with evaluating(model, autocast=autocast):
        most = at_once(next(model.parameters()).device) if positions is None else positions
        for group in by_length([len(tokens) for tokens in conversations], most):
            for i, reward in zip(group, _rewards(model, [conversations[i] for i in group]), strict=True):
                found[i] = reward
    return found


def win_rate(ours: Sequence[float], theirs: Sequence[float]) -> Accuracy:
    """How often the answer of the first has the higher reward, prompt by prompt; a tie counts half.

    Raises:
        EmptyInput: there is no prompt.
    """
    return accuracy(preferred(a, b) for a, b in zip(ours, theirs, strict=True))


def _rewards(model: RewardModel, rows: Sequence[Tokens]) -> list[float]:
    """Padding is on the right, where no real token sees it."""
    device = next(model.parameters()).device
    tokens = torch.zeros(len(rows), max(len(row) for row in rows), dtype=torch.int64)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = torch.as_tensor(row)
    last = torch.tensor([len(row) - 1 for row in rows], device=device)
    hidden = model.hidden(tokens.to(device))
    found: list[float] = model.scores(hidden[torch.arange(len(rows), device=device), last]).tolist()
    return found
