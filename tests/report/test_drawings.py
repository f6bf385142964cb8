"""Numbers, curves and the lineage, each by itself."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from hornbook.report.charts import curve
from hornbook.report.lineage import Node, draw
from hornbook.report.scores import Improvement, change
from hornbook.report.wording import compact, duration, name_of, score, size


@pytest.mark.parametrize(
    ("metric", "better", "before", "after", "told", "achieved"),
    [
        ("bits_per_byte", "lower", 8.0, 2.0, "falls by 75%", True),
        ("bits_per_byte", "lower", 2.0, 2.5, "rises by 25%", False),
        ("answer_log_likelihood", "higher", -3.0, -2.0, "rises by 1.000 nats per token", True),
        ("preference_accuracy", "higher", 0.5, 0.75, "rises by 25.0 points", True),
        ("preference_accuracy", "higher", 0.5, 0.5, "stays the same", False),
    ],
)
def test_change(metric: str, better: str, before: float, after: float, told: str, achieved: bool) -> None:
    row = Improvement(stage="s", metric=metric, better=better, before=before, after=after)
    assert (change(row), row.achieved) == (told, achieved)


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (compact(9_999), "9,999"),
        (compact(1_234_567), "1.23\u00a0million"),
        (compact(7e9), "7\u00a0billion"),
        (size(999), "999\u00a0bytes"),
        (size(21_403_112), "21.4\u00a0MB"),
        (duration(3.21), "3.2\u00a0s"),
        (duration(504), "8\u00a0min 24\u00a0s"),
        (duration(59.97), "1\u00a0min 00\u00a0s"),
        (duration(7_500), "2\u00a0h 05\u00a0min"),
        (score(-3.4123, "answer_log_likelihood"), "\u22123.412"),
        (score(0.8611, "preference_accuracy"), "86.1%"),
        (score(3e-4, "learning_rate"), "0.0003"),
        (score(True, "x"), "True"),
        (name_of("bits_per_byte/docs"), "Bits per byte, docs"),
        (name_of("odd_thing"), "Odd thing"),
    ],
)
def test_numbers_for_people(written: str, wanted: str) -> None:
    assert written == wanted


def test_a_curve_is_well_formed_and_takes_the_colours_of_the_page() -> None:
    points = [(float(step), math.sin(step / 50)) for step in range(2000)]
    picture = curve({"a": [*points, (2000.0, math.nan)], "b<c>": points}, title="Loss & more", smooth=True)
    names = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(picture).iter()}
    assert names <= {"svg", "title", "desc", "g", "path", "text", "defs", "use"}
    assert not re.search(r"#[0-9a-f]{6}\b", picture)
    assert "var(--series-1)" in picture
    assert len(picture) < 40_000


def test_lineage_places_a_run_right_of_what_it_was_made_from() -> None:
    nodes = [Node(name=f"n-{n}", heading=str(n), parents=[f"n-{m}" for m in range(n)]) for n in range(6)]
    picture = draw(nodes, title="Lineage")
    boxes = [element for element in ElementTree.fromstring(picture).iter() if element.tag == "rect"]
    lefts = [float(box.attrib["x"]) for box in boxes]
    assert lefts == sorted(set(lefts))
    assert draw([Node(name="n-0", heading="0")], title="Lineage").count("<rect") == 1
