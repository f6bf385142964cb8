"""How much running text each element of a page holds, and which of them stand beside the main text."""

from __future__ import annotations

import numpy as np

from hornbook.text.kernel import kernel
from hornbook.text.pages.vocabulary import ASIDES, HIDDEN, LEAST_MASS, TAG_ARTICLE, TAG_MAIN, Record, Records


@kernel
def mass(block: Record) -> int:
    """The length of running text, which a block has where it says something by itself."""
    plain = block.length - block.linked
    return plain if plain >= 80 or (plain >= 40 and block.stops > 0) else 0


@kernel
def _weigh(elements: Records, blocks: Records, everything: bool) -> None:
    """Sum the mass of each element, of the blocks in it that stand beside nothing, or of all."""
    elements.mass[:] = 0
    for block in blocks:
        frame = elements[block.frame]
        if everything or not frame.beside:
            frame.mass += mass(block)
    for e in range(len(elements) - 1, 0, -1):
        elements[elements[e].parent].mass += elements[e].mass


@kernel
def add_up(elements: Records, blocks: Records) -> None:
    """Sum the blocks of each element, within it and the elements in it."""
    for block in blocks:
        frame = elements[block.frame]
        frame.length += block.length
        frame.linked += block.linked
        frame.blocks += 1
    for e in range(len(elements) - 1, 0, -1):
        element, above = elements[e], elements[elements[e].parent]
        above.length += element.length
        above.linked += element.linked
        above.blocks += element.blocks
    _weigh(elements, blocks, True)
    total = elements[0].mass
    for e in range(1, len(elements)):
        element = elements[e]
        aside = (element.hints & np.uint64(ASIDES)) != 0 or (element.hints & np.uint64(HIDDEN)) != 0
        small = element.mass <= 0.4 * total and element.tag != TAG_ARTICLE and element.tag != TAG_MAIN
        element.beside |= elements[element.parent].beside or (aside and small)
    _weigh(elements, blocks, False)
    if elements[0].mass < LEAST_MASS:
        _weigh(elements, blocks, True)
