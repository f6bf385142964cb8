from __future__ import annotations

import math
import os
from functools import partial
from pathlib import Path

import pytest

from hornbook.errors import UsageError
from hornbook.text.engine import Local, Workplace, written
from hornbook.text.files import find_files


def noted(folder: Path, number: int) -> list[int]:
    (folder / f"{number}-{os.getpid()}").touch()
    return [number]


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_arguments(workers: int) -> None:
    assert list(Local(workers).run(math.factorial, range(20))) == [math.factorial(number) for number in range(20)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_is_an_error_of_the_whole(workers: int, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(UsageError, match="there is no file or folder nowhere") as caught:
        list(Local(workers).run(find_files, [str(tmp_path), "nowhere", str(tmp_path)]))
    assert caught.value.hint.startswith("readable: ")


def test_what_was_made_is_not_made_again(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    place, ticks = Workplace(Local(), tmp_path / "work"), list[int]()
    (tmp_path / "work" / "count").mkdir(parents=True)
    (tmp_path / "work" / "count" / "00001.json").write_text("[100]")
    made = list(place.phase("count", partial(noted, notes), range(3), lambda: ticks.append(1)))
    assert made == [[0], [100], [2]]
    assert len(ticks) == 3
    assert list(place.phase("count", partial(noted, notes), range(3), lambda: None)) == made
    assert len(list(notes.iterdir())) == 2


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), written(tmp_path / "a") as path:
        path.write_text("half") and (tmp_path / "b").read_text()
    assert list(tmp_path.iterdir()) == []
    with written(tmp_path / "a") as path:
        path.write_text("whole")
    assert (tmp_path / "a").read_text() == "whole"
