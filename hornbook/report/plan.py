"""A plan as a page: what memory each way takes, drawn against what there is, and the decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup, escape

from hornbook.report.wording import size, svg

Json = Mapping[str, Any]
WIDTH, BAR, GAP, LEFT = 720, 22, 16, 150
"""Of the drawing, in points: of all, of a bar, between bars, and of their names."""


def memory_bars(plan: Json) -> Markup:
    """A bar for each way, in the kinds that its peak is made of, and a line where the machine's memory ends."""
    options, most = plan["options"], plan["machine"]["memory"]
    widest = max([most, *(one["needed"] for one in options)]) * 1.02
    height = len(options) * (BAR + GAP) + 30
    scale = (WIDTH - LEFT - 70) / widest
    body = "".join(_bars(options, scale))
    at = LEFT + most * scale
    body += f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{height - 22}" stroke="var(--ink)" stroke-dasharray="4 3"/>'
    side = "end" if at > WIDTH / 2 else "start"
    body += _text(f"{plan['machine']['name']}: {size(most)}", at, height - 6, anchor=side)
    spoken = "; ".join(f"{one['title']}: {size(one['needed'])}" for one in options)
    return svg(body, view=f"0 0 {WIDTH} {height}", title="Memory that each way needs", description=spoken)


def _bars(options: list[Json], scale: float) -> Iterator[str]:
    for place, one in enumerate(options):
        top, at = place * (BAR + GAP), float(LEFT)
        yield _text(one["title"], 0, top + BAR - 6)
        for number, taken in enumerate(one["kinds"].values()):
            width = taken * scale
            fill = f"var(--series-{number % 6})"
            yield f'<rect x="{at:.1f}" y="{top}" width="{width:.1f}" height="{BAR}" fill="{fill}"/>'
            at += width
        rest = max(0.0, LEFT + one["needed"] * scale - at)
        yield f'<rect x="{at:.1f}" y="{top}" width="{rest:.1f}" height="{BAR}" fill="var(--rule)"/>'
        yield _text(size(one["needed"]), at + rest + 6, top + BAR - 6, colour="--muted" if one["fits"] else "--bad")


def decision_drawn(plan: Json) -> Markup:
    """Data, base and machine, and where they lead."""
    decision = plan["decision"]
    boxes = [("data", _amount(plan)), ("base", _base(plan)), ("machine", plan["machine"]["name"])]
    body = ""
    for place, (name, what) in enumerate(boxes):
        top = place * 46
        body += _box(0, top, 300, 36, f"{name}: {what}")
        body += f'<path d="M300 {top + 18} C 360 {top + 18}, 360 64, 420 64" fill="none" stroke="var(--faint)"/>'
    body += '<rect x="420" y="40" width="300" height="48" rx="8" fill="var(--good-wash)" stroke="var(--good)"/>'
    body += _text(decision["way"], 570, 69, anchor="middle", bold=True)
    return svg(body, view="0 0 720 130", title="The decision", description="; ".join(decision["because"]))


def _amount(plan: Json) -> str:
    return f"{plan['data']['documents']:,} {plan['data']['kind']}, {size(plan['data']['bytes'])}"


def _base(plan: Json) -> str:
    base = plan["base"]
    return f"{base['family']}, {base['parameters'] / 1e6:,.0f} million" if base else "none"


def _box(x: float, y: float, width: float, height: float, text: str) -> str:
    shape = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="var(--card)" stroke="var(--rule)"/>'
    return shape + _text(text, x + 14, y + height / 2 + 5)


def _text(text: str, x: float, y: float, *, anchor: str = "start", colour: str = "--ink", bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="13" fill="var({colour})" text-anchor="{anchor}"{weight}>'
        f"{escape(text)}</text>"
    )
