"""A reward model that scores conversations: with its own tokenizer and template, whatever the model it judges has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hornbook.judge.rewards import conversation_rewards
from hornbook.learn.chat import encode
from hornbook.learn.turns import Message
from hornbook.manifest import Input
from hornbook.model.reward import RewardModel, load_reward_model
from hornbook.training.opening import Opened, opened_with


@dataclass(frozen=True)
class Judge:
    """A reward model, ready to score."""

    model: RewardModel
    opened: Opened

    def rewards(
        self, conversations: Sequence[Sequence[Message]], *, autocast: torch.dtype | None = None
    ) -> list[float]:
        """The reward of each conversation; one that is too long for the model loses its beginning, not its answer."""
        most = self.model.architecture.max_position_embeddings
        template, special = self.opened.template, self.opened.special
        rows = [encode(c, self.opened.tokenizer, template=template, special=special)[0][-most:] for c in conversations]
        return conversation_rewards(self.model, rows, autocast=autocast)


def open_judge(source: Input, *, device: torch.device) -> Judge:
    """The reward model of a run of `reward`, or of a folder that holds a sequence classifier with one label."""
    model = load_reward_model(source.folder()).to(device)
    return Judge(model, opened_with(model, source.folder()))
