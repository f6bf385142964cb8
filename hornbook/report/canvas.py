"""Where the report's charts are drawn: matplotlib's axes that become one inline SVG.

It has no script, external reference or fixed colour: strokes are CSS variables of the page, so the same picture serves
the light and the dark page. The same numbers give the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from markupsafe import Markup

from hornbook.report.wording import svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SERIES = 6
"""How many colours the page has for lines; more lines than that begin again."""

_INK, _RULE, _FAINT = "#010101", "#020202", "#030303"
_VARIABLES = {_INK: "var(--muted)", _RULE: "var(--rule)", _FAINT: "var(--faint)"} | {
    f"#0a0a{n:02x}": f"var(--series-{n})" for n in range(SERIES)
}


def series(place: int) -> str:
    """The colour of a line, by its place among the lines."""
    return f"#0a0a{place % SERIES:02x}"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart with its caption and the last value of each line."""

    title: str
    unit: str
    picture: Markup
    legend: Sequence[tuple[str, str]]
    aside: bool
    """Of interest to who looks for what went wrong, and drawn smaller."""


@dataclass
class Canvas:
    """Axes to draw on and, once that is done, the picture."""

    axes: Axes
    picture: Markup = field(default_factory=Markup)


@contextmanager
def canvas(
    width: int, height: int, *, title: str, description: str, ticks: int, unit: Callable[[float], str] | None = None
) -> Iterator[Canvas]:
    """A chart of so many points, drawn in the `with` block.

    Args:
        title: what a reader who cannot see the picture is told it is.
        description: and what it shows.
        ticks: numbers beside it, at most.
        unit: how they are written; plainly where it is None.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    with rc_context({"svg.hashsalt": title, "svg.fonttype": "none", "axes.formatter.useoffset": False}):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, frameon=False)
        drawing = Canvas(figure.add_axes((44 / width, 22 / height, 1 - 54 / width, 1 - 32 / height)))
        _frame(drawing.axes, ticks=ticks, unit=unit or plain)
        yield drawing
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawing.picture = _inline(buffer.getvalue().decode(), title=title, description=description)


def _frame(axes: Axes, *, ticks: int, unit: Callable[[float], str]) -> None:
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
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: whole(value)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: unit(value)))
    axes.margins(x=0.01, y=0.08)


def numbered(axes: Axes) -> None:
    """Numbers of any kind below the chart, where it is not steps that are counted there."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def number(axes: Axes, points: Sequence[tuple[float, float]], *, away: float) -> None:
    """Write each point's number beside it, counted from 1, so many points away where there is most room."""
    axes.autoscale_view()
    placed = [complex(x, y) for x, y in axes.transData.transform(points)]
    taken = list(placed)
    for place, at in enumerate(placed):
        others = taken[:place] + taken[place + 1 :]
        sides = [at + away * 1j**quarter for quarter in range(4)]
        freest = max(sides, key=lambda side: min(abs(side - other) for other in others))
        taken.append(freest)
        offset = ((freest - at).real, (freest - at).imag)
        axes.annotate(
            str(place + 1),
            points[place],
            xytext=offset,
            textcoords="offset points",
            fontsize=11,
            color=_INK,
            ha="center",
            va="center",
        )


def whole(value: float) -> str:
    """A count beside a chart: 12000 as `12k`."""
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"


def plain(value: float) -> str:
    """Any number beside a chart, in four digits."""
    mantissa, _, exponent = f"{value:.4g}".partition("e")
    return (f"{mantissa}e{int(exponent)}" if exponent else mantissa).replace("-", "\u2212")


def _inline(drawn: str, *, title: str, description: str) -> Markup:
    """matplotlib's file as a part of a page: in its colours and typeface, ids only where they are used."""
    start = drawn.index("<svg")
    body = drawn[drawn.index(">", start) + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<clipPath.*?</clipPath>", "", body, flags=re.DOTALL)
    body = re.sub(r' clip-path="[^"]*"| transform="rotate\(-0[^"]*"|font-family: [^;]*; |<g/>', "", body)
    body = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d)\d+", r"\1", tag[0]), body)
    used = set(re.findall(r"#([\w-]+)", body))
    body = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    body = re.sub(r"\s*\n\s*", "\n", body.replace("xlink:href", "href"))
    view = re.search(r'viewBox="([\d. ]+)"', drawn)
    assert view is not None
    return svg(body.strip().removesuffix("</svg>"), view=view[1], title=title, description=description)
