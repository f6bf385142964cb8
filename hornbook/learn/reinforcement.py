"""Learning from what the policy itself says: rollouts are what the training loop's batches are made of.

    learning = Reinforcement(model, prompts, judge=..., method=METHODS["grpo"], ...)
    train(model, batches=learning.batches, loss=learning.loss, ...)

A rollout is a function of the weights and its number. Where several steps learn from one, it is also kept, since the
weights that made it are gone by the time a resumed run asks for it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from hornbook.learn.batches import Batch
from hornbook.learn.examples import Example, batched, longest
from hornbook.learn.lessons import Lesson, Logs, Rollout, lessons, restored, stored
from hornbook.learn.loop import precision
from hornbook.learn.losses import token_log_probabilities
from hornbook.learn.methods import Method
from hornbook.learn.objective import joined, objective, told
from hornbook.learn.parallel import processes, settle, whole
from hornbook.learn.rollout import Completion, Group, Judge, Prompt, Sampling, answer
from hornbook.model.decode import decoder
from hornbook.model.transformer import Transformer, keyed_seed
from hornbook.text.document import order_key

CRITIC = "critic"
"""Name of the value head, a module of the model while it learns."""

Reference = Callable[[], AbstractContextManager[Transformer]]
"""The model that the policy is held to, for the length of a `with`."""


class Keep(Protocol):
    """Where rollouts are kept that more than one step learns from."""

    def read(self, number: int) -> Any: ...
    def write(self, number: int, rollout: Any) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much is said and learned in a step."""

    questions: int
    samples: int
    """Completions of each."""
    updates: int = 1
    """Steps that learn from a rollout, each from all of it."""
    rows: int = 8
    """Completions in a micro-batch, or as many positions in shorter ones."""
    resample: int = 0
    """Times that questions whose completions all earn the same are replaced by others (DAPO's dynamic sampling)."""
    overlong: int = 0
    """Tokens before the last possible one from which on length is punished (DAPO); 0: it is not."""
    seed: int = 0


def add_critic(model: Transformer) -> None:
    """A value head on the policy's own last hidden state; it begins with 0 everywhere."""
    head = nn.Linear(model.architecture.hidden_size, 1, device=model.head_weight.device)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    model.add_module(CRITIC, head)


def drop_critic(model: Transformer) -> None:
    """The model as it is written to files."""
    if hasattr(model, CRITIC):
        delattr(model, CRITIC)


class Reinforcement:
    """Batches and loss of a policy that learns from its own completions."""

    def __init__(
        self,
        model: Transformer,
        prompts: Sequence[Prompt],
        *,
        judge: Judge,
        method: Method,
        sampling: Sampling,
        plan: Plan,
        reference: Reference,
        autocast: torch.dtype | None = None,
        keep: Keep | None = None,
    ) -> None:
        self.model, self.prompts, self.judge, self.method = model, list(prompts), judge, method
        self.sampling, self.plan, self.reference = sampling, plan, reference
        self.autocast, self.keep = autocast, keep
        # Where the policy is shared out among processes, each speaks by a whole copy of its own.
        self.speaker = model if processes().size == 1 else copy.deepcopy(model).requires_grad_(False)
        self.decoder = decoder(self.speaker)
        self._counted: dict[str, int] = {}
        self._now: tuple[int, Rollout, dict[str, Lesson]] | None = None

    # -- what is said -------------------------------------------------------------------------------------------------

    def batches(self, step: int) -> tuple[Batch, ...]:
        """The micro-batches of a step: completions of the policy as it is, or of the rollout that it is in."""
        number = step // self.plan.updates
        self._counted = {"prompt": 0, "sampled": 0}
        if self._now is None or self._now[0] != number:
            rollout = self._rollout(number, begins=step % self.plan.updates == 0)
            most = self.sampling.max_new_tokens
            self._now = number, rollout, lessons(rollout, method=self.method, most=most, buffer=self.plan.overlong)
        made = self._batched(self._now[1].completions)
        self._counted["padded"] = sum(int((batch.documents == len(batch.document_ids)).sum()) for batch in made)
        self._counted["learned"] = sum(int(batch.weights.sum()) for batch in made)
        return made

    def _rollout(self, number: int, *, begins: bool) -> Rollout:
        if self.keep is None or self.plan.updates == 1:
            return self._made(number)
        if not begins:
            return restored(self.keep.read(number))
        rollout = self._made(number)
        self.keep.write(number, stored(rollout))
        return rollout

    def _made(self, number: int) -> Rollout:
        self.refresh()
        groups = self._say(self.asked(number), number)
        replaced = 0
        for attempt in range(self.plan.resample):
            dull = [prompt for prompt, group in groups.items() if len({earned.total for _, earned in group}) == 1]
            more = self._say(self._others(number, attempt, known=list(groups), most=len(dull)), number)
            for prompt, _ in zip(dull, more, strict=False):
                del groups[prompt]
            groups |= more
            replaced += len(more)
        said, judged = zip(*(pair for group in groups.values() for pair in group), strict=True)
        return self._scored(Rollout(said, judged, self.plan.samples, replaced))

    def asked(self, number: int) -> list[Prompt]:
        """The questions of a rollout, in the order of a keyed hash of (seed, epoch, id); none of them twice."""
        places = range(number * self.plan.questions, (number + 1) * self.plan.questions)
        epochs = [divmod(place, len(self.prompts)) for place in places]
        orders = {epoch: self._ordered(f"epoch {epoch}") for epoch, _ in epochs}
        return list(dict.fromkeys(orders[epoch][at] for epoch, at in epochs))

    def _others(self, number: int, attempt: int, *, known: Sequence[Prompt], most: int) -> list[Prompt]:
        ordered = self._ordered(f"rollout {number}, again {attempt}") if most else []
        return [prompt for prompt in ordered if prompt not in known][:most]

    def _ordered(self, purpose: str) -> list[Prompt]:
        return sorted(self.prompts, key=lambda prompt: order_key(prompt.id, seed=self.plan.seed, purpose=purpose))

    def _say(self, asked: Sequence[Prompt], number: int) -> dict[Prompt, Group]:
        groups = self.say(asked, samples=self.plan.samples, seed=keyed_seed(self.plan.seed, f"rollout {number}"))
        self._counted["prompt"] += sum(len(prompt.tokens) for prompt in asked)
        self._counted["sampled"] += sum(len(completion.tokens) for group in groups for completion, _ in group)
        return dict(zip(asked, groups, strict=True))

    def say(self, asked: Sequence[Prompt], *, samples: int, seed: int) -> list[Group]:
        """Completions by the policy as it was at the last `refresh`, and what they earn."""
        self.speaker.eval()
        groups = answer(self.decoder, asked, judge=self.judge, samples=samples, seed=seed, sampling=self.sampling)
        self.speaker.train()
        return groups

    @torch.no_grad()
    def refresh(self) -> None:
        """Let the policy as it is now be the one that speaks."""
        if self.speaker is not self.model:
            settle(self.model)
            held = dict(self.speaker.named_parameters())
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    held[name].copy_(whole(parameter))
        self.decoder.refresh()

    # -- what models say of it ----------------------------------------------------------------------------------------

    def _scored(self, rollout: Rollout) -> Rollout:
        method = self.method
        if self.plan.updates > 1 or method.critic or (method.beta and method.kl == "reward"):
            scores = self.score(self.model, rollout.completions)
            rollout = replace(rollout, old=scores["old"], values=scores.get("values"))
        if method.beta:
            with self.reference() as reference:
                rollout = replace(rollout, reference=self.score(reference, rollout.completions)["old"])
        return rollout

    @torch.no_grad()
    def score(self, model: Transformer, completions: Sequence[Completion]) -> dict[str, Logs]:
        """log p of every token of every completion (`old`) by the forward pass of training; `values` of a critic.

        Each process computes its share of them, and hears of the others'.
        """
        sizes = {completion.id: len(completion.tokens) for completion in completions}
        found: dict[str, dict[str, list[float]]] = {}
        device, us = next(model.parameters()).device, processes()
        for batch, counts in us.share(self._batched(completions)):
            with precision(device, self.autocast):
                logs, _, values = self._forward(model, batch.to(device))
            for name, column in (("old", logs), ("values", values)):
                if counts and column is not None:
                    parts = torch.split(column.float().cpu(), [sizes[document] for document in batch.document_ids])
                    found.setdefault(name, {}).update(zip(batch.document_ids, map(Tensor.tolist, parts), strict=True))
        settle(model)
        known: dict[str, dict[str, list[float]]] = {}
        for share in us.exchange(found):
            for name, column in share.items():
                known.setdefault(name, {}).update(column)
        return {name: [torch.tensor(column[one.id]) for one in completions] for name, column in known.items()}

    def _batched(self, completions: Sequence[Completion]) -> tuple[Batch, ...]:
        """Micro-batches of no more positions than `rows` of the longest: completions of a prompt share its positions.

        Under a mask attention is square in all that is in a row, so there each completion has one of its own.
        """
        most, groups = self.plan.rows, list[tuple[Example, ...]]()
        together = most if self.model.attends_by_document else 1
        for _, answers in groupby(completions, key=lambda completion: completion.prompt):
            examples = tuple(completion.example() for completion in answers)
            groups += [examples[at : at + together] for at in range(0, len(examples), together)]
        return batched(groups, length=longest(groups), rows=max(1, most // max(map(len, groups))))

    def _forward(self, model: Transformer, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """log p and entropy of every learned token [N], and its value where there is a critic."""
        places, critic = batch.learned, getattr(model, CRITIC, None)
        hidden = model.hidden(batch.tokens, documents=batch.documents, prefixes=batch.prefixes, places=places)
        logs, entropy = token_log_probabilities(
            hidden,
            batch.targets.flatten()[places],
            head=model.head_weight,
            temperature=self.sampling.temperature,
            softcap=model.architecture.final_logit_softcapping,
        )
        return logs, entropy, None if critic is None else critic(hidden.float())[:, 0]

    # -- what is learned ----------------------------------------------------------------------------------------------

    def loss(self, model: Transformer, batch: Batch) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """(sum, count) of the method's loss, and sums of what is told of the step.

        tokens/prompt (each prompt once) and tokens/sampled are of the step that sampled; padded and learned of each.
        """
        assert self._now is not None
        held = [self._now[2][name] for name in batch.document_ids]
        policy, entropy, values = self._forward(model, batch)
        lesson = joined(held, like=policy)
        total = objective(lesson, policy, values, method=self.method)
        known = told(held, lesson, policy, entropy, method=self.method)
        counted = {f"tokens/{kind}": policy.new_tensor(lesson.share * n) for kind, n in self._counted.items()}
        return total, policy.new_tensor(lesson.share), known | counted
