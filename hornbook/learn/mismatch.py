"""KTO's estimate of how far the policy is from the reference: prompts with the answers to other prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from hornbook.learn.batches import Batch
from hornbook.learn.examples import Example, Examples, batched, longest
from hornbook.learn.loop import answer_log_probabilities, precision
from hornbook.learn.parallel import processes, settle
from hornbook.model.transformer import Transformer
from hornbook.text.document import order_key


def mismatched(examples: Sequence[Example], *, length: int, seed: int) -> dict[str, Example]:
    """For each example, by its id, its prompt with the answer of the one that follows in a shuffled order.

    In arXiv 2402.01306 the order is that of a micro-batch; a fixed one lets the reference be asked once. They are cut
    to `length` positions.
    """
    order = sorted(range(len(examples)), key=lambda i: order_key(examples[i].id, seed=seed, purpose="mismatch"))
    made = {}
    for place, asked in enumerate(order):
        prompt, answer = examples[asked], examples[order[(place + 1) % len(order)]]
        begins, goes_on = int(prompt.answer.argmax()), int(answer.answer.argmax())
        tokens = np.concatenate([prompt.tokens[:begins], answer.tokens[goes_on:]])[: length + 1]
        said = np.concatenate([prompt.answer[:begins], answer.answer[goes_on:]])[: length + 1]
        made[prompt.id] = replace(prompt, id=f"{prompt.id}/mismatched", tokens=tokens, answer=said)
    return made


class Drift:
    """The steps of `examples`, and for the step that was last asked for an estimate of KL(policy || reference).

    It is the mean, over the mismatched examples of all of a step, of the log ratio between policy and reference: so how
    a step is cut into micro-batches does not matter.
    """

    def __init__(
        self,
        model: Transformer,
        examples: Examples,
        others: Mapping[str, Example],
        reference: Mapping[str, float],
        *,
        autocast: torch.dtype | None,
    ) -> None:
        self.model, self.examples, self.others = model, examples, others
        self.reference, self.autocast = reference, autocast
        self.kl = 0.0

    def step(self, step: int) -> tuple[Batch, ...]:
        """The micro-batches of a step, the estimate taken."""
        micro = self.examples.step(step)
        others = [(self.others[name],) for batch in micro for name in batch.document_ids]
        self.kl = self._estimate(batched(others, length=longest(others), rows=self.examples.rows))
        return micro

    @torch.no_grad()
    def _estimate(self, batches: Sequence[Batch]) -> float:
        device = next(self.model.parameters()).device
        sums = torch.zeros(2, dtype=torch.float64)
        for batch, counts in processes().share(batches):
            with precision(device, self.autocast):
                policy = answer_log_probabilities(self.model, batch.to(device)).double().cpu()
            known = torch.tensor([self.reference[name] for name in batch.document_ids], dtype=torch.float64)
            sums += counts * torch.stack([(policy - known).sum(), torch.tensor(float(len(known)))])
        settle(self.model)
        total, count = processes().sum(sums)
        return float(total / count)
