"""The drawing of what was made from what, as one inline SVG in the page's colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markupsafe import Markup, escape

from hornbook.manifest import is_run_name
from hornbook.report.folder import Run
from hornbook.report.wording import svg

_BOX = (122, 60)
_GAP = (30, 18)
_LANE = 14


@dataclass(kw_only=True)
class Node:
    """A run in the drawing of the lineage: three lines of text, and the names of what it was made from."""

    name: str
    heading: str
    detail: str = ""
    kind: str = ""
    parents: Sequence[str] = ()
    link: str = ""
    outside: bool = False
    layer: int = field(default=0, init=False)
    y: float = field(default=0.0, init=False)


def lineage(runs: Sequence[Run]) -> Markup:
    """The drawing of what was made from what; inputs from elsewhere are dashed."""
    given = {run.name: [entry["name"] for entry in run.manifest.inputs.values()] for run in runs}
    outside = [name for name in dict.fromkeys(name for names in given.values() for name in names) if name not in given]
    nodes = [
        Node(name=name, heading=name.partition("-")[0], outside=True, link=_beside(name, runs)) for name in outside
    ]
    nodes += [
        Node(
            name=run.name,
            heading=run.table,
            detail=run.amount.replace("\u00a0million", "\u00a0M"),
            kind=run.manifest.makes,
            parents=given[run.name],
            link=run.link if len(runs) > 1 else "",
        )
        for run in runs
    ]
    return draw(nodes, title="What was made from what") if nodes else Markup()


def _beside(name: str, runs: Sequence[Run]) -> str:
    """Where the page of a run lies, seen from the page of one other run or of a recipe; empty for what is no run."""
    return f"{'../' if len(runs) == 1 else ''}{name}/report.html" if is_run_name(name) else ""


def draw(nodes: Sequence[Node], *, title: str) -> Markup:
    """What was made from what, left to right: a run stands to the right of all that it was made from.

    Layers by longest path, lanes of their own for long edges, order within a layer by barycentre
    (Sugiyama, Tagawa and Toda 1981).
    """
    spoken = "; ".join(f"{n.heading} {n.name} from {', '.join(n.parents) or 'nothing else'}" for n in nodes)
    layers = _layers({node.name: node for node in nodes})
    height = _place(layers)
    width = len(layers) * (_BOX[0] + _GAP[0]) - _GAP[0]
    shapes = [_edge(a, b) for layer in layers[1:] for b in layer for a in _above(b, layers)]
    shapes += [_box(node) for node in nodes]
    view = f"-1 -1 {width + 2} {height + 2:g}"
    return svg(
        "".join(shapes),
        view=view,
        title=title,
        description=spoken,
        style=f' style="max-width:{width + 2}px;min-width:{width * 0.7:.0f}px"',
    )


def _layers(known: dict[str, Node]) -> list[list[Node]]:
    """Nodes by layer, with a lane, a node without heading, wherever an edge passes a layer."""

    def depth(node: Node) -> int:
        return max((depth(known[name]) + 1 for name in node.parents if name in known), default=0)

    for node in known.values():
        node.layer = depth(node)
    layers: list[list[Node]] = [[] for _ in range(max(node.layer for node in known.values()) + 1)]
    for node in known.values():
        layers[node.layer].append(node)
    for node in list(known.values()):
        node.parents = [_lanes(known[name], node, layers) for name in dict.fromkeys(node.parents) if name in known]
    return layers


def _lanes(parent: Node, child: Node, layers: list[list[Node]]) -> str:
    """The last stop before the child on the way from its parent; edges from one parent share their lanes."""
    previous = parent.name
    for layer in range(parent.layer + 1, child.layer):
        name = f"{parent.name}\0{layer}"
        if all(node.name != name for node in layers[layer]):
            lane = Node(name=name, heading="", parents=[previous])
            lane.layer = layer
            layers[layer].append(lane)
        previous = name
    return previous


def _above(node: Node, layers: list[list[Node]]) -> list[Node]:
    return [other for other in layers[node.layer - 1] if other.name in node.parents] if node.layer else []


def _below(node: Node, layers: list[list[Node]]) -> list[Node]:
    return (
        [other for other in layers[node.layer + 1] if node.name in other.parents]
        if node.layer + 1 < len(layers)
        else []
    )


def _place(layers: list[list[Node]]) -> float:
    """Give every node its height; the height of the whole."""
    for layer in layers:
        _stack(layer)
    for sweep in range(12):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            near = {n.name: _above(n, layers) if sweep % 2 == 0 else _below(n, layers) for n in layer}
            wanted = {n.name: _mean([m.y for m in near[n.name]], n.y) for n in layer}
            layer.sort(key=lambda n, wanted=wanted: wanted[n.name])  # type: ignore[misc]
            _settle(layer, wanted)
    return _close_gaps([node for layer in layers for node in layer])


def _close_gaps(nodes: list[Node]) -> float:
    """Move everything up over each band that no node is in, such as one between parts without a connection."""
    bottom = up = 0.0
    for node in sorted(nodes, key=lambda node: node.y - _tall(node) / 2):
        top = node.y - _tall(node) / 2
        allowed = bottom + _GAP[1] if bottom else 0.0
        if not bottom or top - up > allowed:
            up = top - allowed
        node.y -= up
        bottom = max(bottom, node.y + _tall(node) / 2)
    return bottom


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _tall(node: Node) -> int:
    return _BOX[1] if node.heading else _LANE


def _distance(upper: Node, lower: Node) -> float:
    return (_tall(upper) + _tall(lower)) / 2 + (_GAP[1] if upper.heading or lower.heading else 0)


def _stack(layer: list[Node]) -> None:
    for upper, lower in pairwise(layer):
        lower.y = upper.y + _distance(upper, lower)


def _settle(layer: list[Node], wanted: Mapping[str, float]) -> None:
    """Heights as near to those wanted as the order and the distances allow: pushed down, then moved back as one."""
    for index, node in enumerate(layer):
        node.y = wanted[node.name]
        if index:
            node.y = max(node.y, layer[index - 1].y + _distance(layer[index - 1], node))
    shift = _mean([wanted[node.name] - node.y for node in layer], 0.0)
    for node in layer:
        node.y += shift


def _left(node: Node) -> int:
    return node.layer * (_BOX[0] + _GAP[0])


def _edge(a: Node, b: Node) -> str:
    """From the right side of a to the left side of b; through a lane it runs straight."""
    x0, x1 = _left(a) + _BOX[0], _left(b)
    middle = (x0 + x1) / 2
    lane = f"M{_left(a)} {a.y:.1f}H{x0}" if not a.heading else ""
    return f'<path class="edge" d="{lane}M{x0} {a.y:.1f}C{middle:g} {a.y:.1f} {middle:g} {b.y:.1f} {x1} {b.y:.1f}"/>'


def _box(node: Node) -> str:
    x, y = _left(node), node.y - _BOX[1] / 2
    look = "outside" if node.outside else f"box {node.kind}" if node.kind.isalpha() else "box"
    lines = (
        (20, "heading", _cut(node.heading, 15)),
        (35, "hash", _cut(node.name.rpartition("-")[2], 17)),
        (50, "detail", _cut(node.detail, 19)),
    )
    text = "".join(
        f'<text x="{x + 11}" y="{y + dy:.1f}" class="{kind}">{escape(line)}</text>' for dy, kind, line in lines
    )
    drawn = f'<rect x="{x}" y="{y:.1f}" width="{_BOX[0]}" height="{_BOX[1]}" rx="6" class="{look}"/>{text}'
    return f'<a href="{escape(node.link)}">{drawn}</a>' if node.link else drawn


def _cut(line: str, most: int) -> str:
    return line if len(line) <= most else line[: most - 1] + "…"
