"""Compile the kernels of `curate`, once: two test processes would each do it. `python -m tests.kernels`"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hornbook.errors import EmptyInput
from hornbook.execute import execute
from hornbook.stages import load
from hornbook.stages.curate import Curate
from hornbook.text.archives.writer import ArchiveWriter
from hornbook.text.duplicates.ways import WAYS
from hornbook.text.rules.quality import FILTERS
from tests.stages.test_curate import html, page

if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        with ArchiveWriter(Path(folder) / "page.warc.gz", software="test") as archive:
            archive.append(page("http://x.org/", html("The mill stands by the river, and nobody knows why.")))
        rules: dict[str, dict[str, Any]] = {rule.__name__: {} for rule in FILTERS}
        config = Curate(crawl=Path(folder), filters=rules, dedup={way: {} for way in WAYS}, workers=1)
        with suppress(EmptyInput):  # There is a rule against everything.
            execute(load("curate"), config, runs=Path(folder) / "runs")
