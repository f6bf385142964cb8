"""What a step of pretraining learns from, as a pure function of the step: to resume is to ask for the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hornbook.errors import EmptyInput, InputError
from hornbook.learn.batches import Batch, Row, stack
from hornbook.learn.curriculum import Draw, Phase, stretches
from hornbook.learn.sequences import Packing, Sequences, sequences
from hornbook.learn.sources import Source


class Pretraining:
    """Sequences of `length` positions, each from one source; source and epoch fix the order of its documents.

    Args:
        sources: by name.
        phases: weights of the sources by fraction of training; a source without weight is left out.
        steps: of training; only phases and limits ask how long it is.
        sequences: in a step.
        rows: sequences in a micro-batch, at most.
        epochs: how often a source is read, at most; without limit, those that are not there.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        *,
        phases: Sequence[Phase],
        steps: int,
        length: int,
        sequences: int,
        rows: int,
        seed: int,
        packing: Packing = "stream",
        epochs: Mapping[str, float] | None = None,
    ) -> None:
        self.length, self.sequences, self.rows = length, sequences, rows
        self.packing = packing
        self.streams = _streams(sources, phases, packing, length=length, seed=seed)
        limits = {
            name: most * stream.an_epoch
            for name, most in (epochs or {}).items()
            if (stream := self.streams.get(name)) is not None
        }
        planned = stretches(phases, total=steps * sequences, limits=limits)
        self._draw = Draw(planned, list(self.streams), seed=seed)

    def step(self, step: int) -> tuple[Batch, ...]:
        """The micro-batches, of at most `rows` sequences, of one step of `sequences` sequences; steps count from 0."""
        first = step * self.sequences
        drawn = [self._sequence(number) for number in range(first, first + self.sequences)]
        return tuple(stack(drawn[i : i + self.rows], width=self.length) for i in range(0, len(drawn), self.rows))

    def epochs(self, steps: int) -> dict[str, float]:
        """How often each source will have been read after `steps` steps."""
        counts = self._draw.counts(steps * self.sequences).tolist()
        return {
            name: count / stream.an_epoch for (name, stream), count in zip(self.streams.items(), counts, strict=True)
        }

    def _sequence(self, number: int) -> Row:
        source, place = self._draw(number)
        return list(self.streams.values())[source].row(place)


def _streams(
    sources: Mapping[str, Source], phases: Sequence[Phase], packing: Packing, *, length: int, seed: int
) -> dict[str, Sequences]:
    """The sequences of each source with weight, by name; a weight for a source that has no tokens is an error."""
    hint = f"the sources are: {', '.join(sorted(sources)) or 'none'}"
    wanted = sorted({name for phase in phases for name, weight in phase.weights.items() if weight > 0})
    for name in wanted:
        if name not in sources:
            raise InputError(f"no tokens of source {name!r} to train on", hint=hint)
    for phase in phases:
        if not any(weight > 0 for weight in phase.weights.values()):
            raise EmptyInput("no source has a weight above 0", hint=hint)
    return {name: sequences(sources[name], packing, length=length, seed=seed) for name in wanted}
