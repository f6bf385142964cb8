from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from hornbook.execute import lock
from hornbook.live import find_going, follow
from hornbook.report import render_live
from hornbook.report.live import load_going

NAME = "pretrain-0a1b2c3d"


@pytest.fixture
def going(tmp_path: Path) -> Path:
    """The folder of a run after 40 of 100 steps, the last row of which is not all there yet."""
    folder = tmp_path / f".tmp-{NAME}"
    (folder / "scratch").mkdir(parents=True)
    (folder / "out").mkdir()
    (folder / "out" / "config.toml").write_text("[pretrain]\ndepth = 2\n")
    (folder / "scratch" / "progress.json").write_text('{"label": "pretrain", "total": 100, "unit": "steps"}')
    (folder / "scratch" / "occasion.json").write_text('{"resumed": 1}')
    write(folder, 40)
    return folder


def write(folder: Path, steps: int) -> None:
    learned = [
        {"step": n, "loss": 4 - n / 40, "grad_norm": 1.0, "grad_norm/mlp": 0.5, "learning_rate/hidden": 1e-3}
        for n in range(1, steps + 1)
    ]
    judged = [{"step": n, "bits_per_byte/docs": 3 - n / 50} for n in (0, 20, 40)]
    rows = "".join(json.dumps(row) + "\n" for row in sorted([*learned, *judged], key=lambda row: row["step"]))
    (folder / "scratch" / "metrics.jsonl").write_text(rows + '{"step": 41, "lo')
    speeds = [
        {"step": n, "seconds": 2.0, "tokens_per_second": 5000.0, "mfu": 0.41, "memory/process": 512_000_000}
        for n in range(1, steps + 1)
    ]
    (folder / "scratch" / "timings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in speeds))
    skipped = {"step": 7, "reason": "the loss is not finite", "documents": ["<b>one</b>", *map(str, range(9))]}
    (folder / "scratch" / "skipped.jsonl").write_text(json.dumps(skipped) + "\n")


def test_the_page_of_a_run_at_work(going: Path) -> None:
    run = load_going(going)
    assert (run.table, run.step, run.total, run.seconds_left) == ("pretrain", 40, 100, 120.0)
    page = render_live(going, refresh=5)
    assert '<meta http-equiv="refresh" content="5">' in page
    for told in (
        "Step 40 of 100",
        "2\u00a0min 00\u00a0s",
        "5,000",
        "41.0%",
        "512\u00a0MB",
        "Times resumed",
        "depth = 2",
    ):
        assert told in page
    assert "the loss is not finite" in page
    assert "&lt;b&gt;one&lt;/b&gt;" in page
    assert "and 2 more" in page
    titles = re.findall(r"<figcaption>(.*?)(?: <span>.*?</span>)?</figcaption>", page)
    assert titles == [
        *("Loss", "Bits per byte", "Gradient norm", "Learning rate", "Tokens per second"),
        *("Model FLOPs utilization", "Memory"),
    ]


def test_a_run_that_nobody_makes_does_not_load_itself_again(going: Path) -> None:
    page = render_live(going, refresh=None)
    assert 'http-equiv="refresh"' not in page
    assert "Nobody is making this run now" in page


@pytest.mark.parametrize("part", ["scratch/metrics.jsonl", "scratch/progress.json", "scratch/occasion.json", "out"])
def test_a_run_that_has_only_begun_has_a_page_too(going: Path, part: str) -> None:
    path = going / part
    if path.is_dir():
        (path / "config.toml").unlink()
    else:
        path.unlink()
    assert NAME in render_live(going, refresh=5)


def test_only_a_run_at_work_is_found(going: Path) -> None:
    runs = going.parent
    assert find_going(runs, Path("pretrain")) is None
    with lock(runs, NAME):
        assert find_going(runs, Path("pretrain")) == going
        assert find_going(runs, Path(NAME)) == going
        assert find_going(runs, Path("sft")) is None
        assert find_going(runs, Path("demo/pretrain")) is None


@pytest.mark.parametrize("ends", ["finished", "killed"])
def test_it_is_followed_to_its_end(
    going: Path, ends: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, page = going.parent, going.parent / f"{NAME}.html"
    drawn: list[str] = []
    with ExitStack() as held:
        held.enter_context(lock(runs, NAME))

        def meanwhile(seconds: float) -> None:
            """What the run does while nobody draws: a few steps, and then it ends."""
            assert seconds >= 5
            drawn.append(page.read_text())
            write(going, 40 + 10 * len(drawn))
            if len(drawn) == 3:
                if ends == "finished":
                    going.rename(runs / NAME)
                held.close()

        monkeypatch.setattr("time.sleep", meanwhile)
        follow(runs, going)
    assert capsys.readouterr().out.strip() == str(page)
    assert [f"Step {n} of 100" in text for n, text in zip((40, 50, 60), drawn, strict=True)] == [True] * 3
    last = page.read_text()
    expected = f'content="0; url={NAME}/report.html"' if ends == "finished" else "Nobody is making this run now"
    assert expected in last
    assert not list(runs.glob(".*.tmp"))
