"""From WARC to Parquet, all steps; and how memory grows with the input, which it should not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inputs import pages, texts, write_jsonl
from measure import Measured, Peer, Row, Stopwatch, fresh, main

DATE = "2020-01-01T00:00:00Z"


def archive(*, megabytes: float, folder: Path) -> None:
    """One WARC file with the pages."""
    from hornbook.text.archives.writer import ArchiveWriter, Exchange

    with ArchiveWriter(fresh(folder / "warc") / "pages.warc.gz", software="bench", robots="ignore") as writer:
        for at, page in enumerate(pages(megabytes)):
            writer.append(
                Exchange(
                    url=f"https://example.org/{at}",
                    date=DATE,
                    request_line=f"GET /{at} HTTP/1.1",
                    request_headers=[("host", "example.org")],
                    status_line="HTTP/1.1 200 OK",
                    response_headers=[("content-type", "text/html; charset=utf-8")],
                    body=page["html"].encode(),
                )
            )


def pipeline(*, megabytes: float, folder: Path) -> Measured:
    """Our crawl and curate stages, with the peer's rules, and without what it does not do (masking, duplicates)."""
    options = {"mask": (), "dedup": {}, "filters": _gopher()}
    _curated(folder / "warm", folder / "warc", **options)  # kernels compile once a machine, and are then kept
    with Stopwatch() as watch:
        made = _curated(folder / "runs", folder / "warc", **options)
    return _piped(made, "documents-*.parquet", megabytes, watch.cpu)


def _gopher() -> dict[str, Any]:
    from hornbook.text.rules.quality import FILTERS

    return {one.__name__: {} for one in FILTERS if one.__name__.startswith("gopher_")}


def _curated(runs: Path, source: Path, **options: Any) -> Path:
    from hornbook.execute import execute
    from hornbook.stages import load

    gathering, curating = load("crawl"), load("curate")
    crawl = execute(gathering, gathering.config(source=str(source)), runs=fresh(runs))
    return execute(curating, curating.config(crawl=crawl, workers=1, **options), runs=runs)


def pipeline_datatrove(*, megabytes: float, folder: Path) -> Measured:
    """datatrove: WARC, trafilatura, Gopher repetition, Gopher quality, Parquet."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.readers import WarcReader
    from datatrove.pipeline.writers import ParquetWriter

    work = fresh(folder / "datatrove")
    steps = [
        WarcReader(str(folder / "warc"), default_metadata={"source": "bench"}),
        Trafilatura(favour_precision=True, timeout=10),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        ParquetWriter(str(work / "out")),
    ]
    with Stopwatch() as watch:
        LocalPipelineExecutor(steps, tasks=1, workers=1, logging_dir=str(work / "log")).run()
    return _piped(work / "out", "*.parquet", megabytes, watch.cpu)


def _piped(folder: Path, files: str, megabytes: float, seconds: float) -> Measured:
    import pyarrow.parquet as pq

    size = sum(len(page["html"].encode()) for page in pages(megabytes)) / 1e6
    documents = sum(pq.read_metadata(path).num_rows for path in folder.glob(files))
    return Measured(size / seconds, {"documents": documents})


# -- memory -----------------------------------------------------------------------------------------------------------


def rows(*, megabytes: float, folder: Path) -> None:
    """JSON lines of that many megabytes, in files of 100 MB at most; the later are near duplicates of the first."""
    fresh(folder / "rows")
    step = 100.0
    for at in range(-(-int(megabytes) // int(step))):
        found = texts(min(step, megabytes))
        made = [
            {"id": f"{at}-{n}", "text": f"{text}\nPart {at}.", "url": f"https://x{at}.org/{n}"}
            for n, text in enumerate(found)
        ]
        write_jsonl(folder / "rows" / f"{at:03}.jsonl", made)


def memory(*, megabytes: float, folder: Path) -> Measured:
    """Everything that curation does by default, on one process: its peak memory is what counts."""
    with Stopwatch() as watch:
        made = _curated(folder / "runs", folder / "rows")
    documents = sum(1 for _ in made.glob("documents-*.parquet"))
    return Measured(megabytes / watch.cpu, {"files": documents})


STEPS = "WARC, trafilatura, Gopher rules, Parquet"
ROWS = (
    Row(
        "pipeline",
        "MB of HTML/CPU-s",
        {"10 MB": {"megabytes": 10}, "100 MB": {"megabytes": 100}},
        pipeline,
        (Peer(pipeline_datatrove, "datatrove", config=STEPS),),
        prepare=archive,
    ),
    Row(
        "memory",
        "MB of text/CPU-s",
        {"100 MB": {"megabytes": 100}, "1.2 GB": {"megabytes": 1200}},
        memory,
        prepare=rows,
    ),
)

if __name__ == "__main__":
    main(ROWS)
