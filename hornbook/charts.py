"""Pictures for the report: curves by matplotlib, and the drawing of what was made from what.

Each function returns one inline SVG without script, external reference or fixed colour: strokes and fills are CSS variables
of the page, so the same picture serves the light and the dark page. The same numbers give the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Sequence[tuple[float, float]]
"""(step, value) pairs in order of step."""

SERIES = 6
"""How many colours the page has for lines; more lines than that begin again."""

_INK, _RULE, _FAINT = "#010101", "#020202", "#030303"
_VARIABLES = {_INK: "var(--muted)", _RULE: "var(--rule)", _FAINT: "var(--faint)"} | {
    f"#0a0a{n:02x}": f"var(--series-{n})" for n in range(SERIES)
}
_MOST_POINTS = 240


def curve(lines: Mapping[str, Points], *, title: str, smooth: bool = False, small: bool = False) -> Markup:
    """Lines over training steps.

    Args:
        title: what a reader who cannot see the picture is told, with the first and last value of each line.
        smooth: draw the values faintly and their running mean over them.
        small: for a narrow column beside others.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    width, height = (240, 92) if small else (390, 206)
    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": title, "svg.fonttype": "none", "axes.formatter.useoffset": False}):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, frameon=False)
        axes = figure.add_axes((44 / width, 22 / height, 1 - 54 / width, 1 - 32 / height))
        _frame(axes, ticks=2 if small else 4)
        for index, points in enumerate(lines.values()):
            _line(axes, finite(points), colour=f"#0a0a{index % SERIES:02x}", smooth=smooth)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    description = "; ".join(_spoken(name, finite(points)) for name, points in lines.items())
    return _inline(buffer.getvalue().decode(), title=title, description=description)


def finite(points: Points) -> list[tuple[float, float]]:
    """The points whose value is a number."""
    return [(step, value) for step, value in points if math.isfinite(value)]


def _spoken(name: str, points: Points) -> str:
    return f"{name}: {points[0][1]:.4g} at step {points[0][0]:g}, {points[-1][1]:.4g} at step {points[-1][0]:g}"


def _frame(axes: Axes, *, ticks: int) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.patch.set_visible(False)
    for side in ("top", "left", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set(color=_RULE, linewidth=1)
    axes.grid(axis="y", color=_RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=11, labelcolor=_INK, pad=6)
    axes.xaxis.set_major_locator(MaxNLocator(ticks + 1, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(ticks))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axes.margins(x=0.01, y=0.08)


def _tick(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _line(axes: Axes, points: Points, *, colour: str, smooth: bool) -> None:
    thin = _thinned(points)
    x, y = zip(*thin, strict=True)
    if smooth and len(points) > 20:
        axes.plot(x, y, color=colour, linewidth=0.9, alpha=0.3, clip_on=False)
        x, y = zip(*_thinned(_running_mean(points)), strict=True)
    few = len(thin) <= 30 and not smooth
    marker = "o" if few else None
    axes.plot(x, y, color=colour, linewidth=1.8, marker=marker, markersize=3.4, markeredgewidth=0, clip_on=False)


def _running_mean(points: Points) -> list[tuple[float, float]]:
    """Mean over a centred window of about a thirtieth of the run, narrower towards both ends, so that it does not lag."""
    sums = list(accumulate((value for _, value in points), initial=0.0))
    means: list[tuple[float, float]] = []
    for index, (step, _) in enumerate(points):
        reach = min(len(points) // 60 + 1, index, len(points) - 1 - index)
        means.append((step, (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1)))
    return means


def _thinned(points: Points) -> list[tuple[float, float]]:
    """At most a few hundred points: of each stretch its lowest and highest, so that no spike is lost."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    size = math.ceil(2 * len(points) / _MOST_POINTS)
    stretches = [points[start : start + size] for start in range(0, len(points), size)]
    chosen = {pick(stretch, key=lambda p: (p[1], p[0])) for stretch in stretches for pick in (min, max)}
    return sorted(chosen | {points[0], points[-1]})


def _inline(svg: str, *, title: str, description: str) -> Markup:
    """matplotlib's file as a part of a page: named, in the page's colours and typeface, ids only where they are used."""
    start = svg.index("<svg")
    body = svg[svg.index(">", start) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<clipPath.*?</clipPath>", "", body, flags=re.DOTALL)
    body = re.sub(r' clip-path="[^"]*"| transform="rotate\(-0[^"]*"|font-family: [^;]*; |<g/>', "", body)
    body = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d)\d+", r"\1", tag[0]), body)
    used = set(re.findall(r"#([\w-]+)", body))
    body = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    body = re.sub(r"\s*\n\s*", "\n", body.replace("xlink:href", "href"))
    view = re.search(r'viewBox="([\d. ]+)"', svg)
    assert view is not None
    return _svg(body.strip().removesuffix("</svg>"), view=view[1], title=title, description=description)


def _svg(body: str, *, view: str, title: str, description: str, style: str = "") -> Markup:
    head = f'<svg class="chart" viewBox="{view}" role="img"{style}>'
    return Markup(f"{head}<title>{escape(title)}</title><desc>{escape(description)}</desc>{body}</svg>")


@dataclass(kw_only=True)
class Node:
    """A run in the drawing of the lineage: three lines of text, and the names of what it was made from."""

    name: str
    heading: str
    detail: str
    kind: str = ""
    parents: Sequence[str] = ()
    link: str = ""
    outside: bool = False
    layer: int = field(default=0, init=False)
    y: float = field(default=0.0, init=False)


_BOX = (122, 60)
_GAP = (30, 18)
_LANE = 14


def lineage(nodes: Sequence[Node], *, title: str) -> Markup:
    """What was made from what, left to right: a run stands to the right of all that it was made from.

    Layers by longest path, long edges routed through lanes of their own, order within a layer by barycentre (Sugiyama 1981).
    """
    known = {node.name: node for node in nodes}
    layers = _layers(known)
    height = _place(layers)
    width = len(layers) * (_BOX[0] + _GAP[0]) - _GAP[0]
    shapes = [_edge(a, b) for layer in layers[1:] for b in layer for a in _above(b, layers)]
    shapes += [_box(node) for node in nodes]
    spoken = "; ".join(f"{n.heading} {n.name} from {', '.join(n.parents) or 'nothing else'}" for n in nodes)
    view = f"-1 -1 {width + 2} {height + 2:g}"
    return _svg("".join(shapes), view=view, title=title, description=spoken, style=f' style="max-width:{width + 2}px;min-width:{width * 0.7:.0f}px"')


def _layers(known: dict[str, Node]) -> list[list[Node]]:
    """Nodes by layer, with an unnamed-in-the-page lane node wherever an edge passes a layer."""

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
            lane = Node(name=name, heading="", detail="", parents=[previous])
            lane.layer = layer
            layers[layer].append(lane)
        previous = name
    return previous


def _above(node: Node, layers: list[list[Node]]) -> list[Node]:
    return [other for other in layers[node.layer - 1] if other.name in node.parents] if node.layer else []


def _below(node: Node, layers: list[list[Node]]) -> list[Node]:
    return [other for other in layers[node.layer + 1] if node.name in other.parents] if node.layer + 1 < len(layers) else []


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
    top = min(node.y - _tall(node) / 2 for layer in layers for node in layer)
    for node in (node for layer in layers for node in layer):
        node.y -= top
    return max(node.y + _tall(node) / 2 for layer in layers for node in layer)


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
    lines = ((20, "heading", node.heading), (35, "hash", node.name.rpartition("-")[2]), (50, "detail", node.detail))
    text = "".join(f'<text x="{x + 11}" y="{y + dy:.1f}" class="{kind}">{escape(_cut(line))}</text>' for dy, kind, line in lines)
    drawn = f'<rect x="{x}" y="{y:.1f}" width="{_BOX[0]}" height="{_BOX[1]}" rx="6" class="{look}"/>{text}'
    return f'<a href="{escape(node.link)}">{drawn}</a>' if node.link else drawn


def _cut(line: str, most: int = 18) -> str:
    return line if len(line) <= most else line[: most - 1] + "…"


def listed(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """The (step, value) pairs of one number of `metrics.jsonl`."""
    return list(_pairs(rows, key))


def _pairs(rows: Sequence[Mapping[str, Any]], key: str) -> Iterator[tuple[float, float]]:
    for row in rows:
        value, step = row.get(key), row.get("step")
        if isinstance(value, int | float) and isinstance(step, int | float):
            yield float(step), float(value)
