"""From WARC to Parquet, all steps; and how memory grows with the input, which it should not."""

from __future__ import annotations

import math
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
    """Our crawl and curate stages, with the peer's rules and its ways of removing duplicates and masking."""
    rules = {name: {} for name in _rules(("gopher_", "c4_sentences", "c4_lorem", "c4_curly"))}
    rules |= {name: {"after_c4": True} for name in _rules(("fineweb_",))}
    ungated = {name: {"terminal_punctuation": False} for name in rules if name.startswith(("c4_", "fineweb_"))}
    filters = {name: {**options, **ungated.get(name, {})} for name, options in rules.items()}
    options = {"filters": filters, "dedup": {"minhash": {"threshold": 0.0}}, "mask": ("email", "ipv4")}
    _curated(folder / "warm", folder / "warc", **options)  # kernels compile once a machine, and are then kept
    with Stopwatch() as watch:
        made = _curated(folder / "runs", folder / "warc", **options)
    return _piped(made, "documents-*.parquet", megabytes, watch.cpu)


def _rules(beginnings: tuple[str, ...]) -> list[str]:
    from hornbook.text.rules.quality import FILTERS

    return [one.__name__ for one in FILTERS if one.__name__.startswith(beginnings)]


def _curated(runs: Path, source: Path, **options: Any) -> Path:
    from hornbook.execute import execute
    from hornbook.stages import load

    gathering, curating = load("crawl"), load("curate")
    crawl = execute(gathering, gathering.config(source=str(source)), runs=fresh(runs))
    return execute(curating, curating.config(crawl=crawl, workers=1, **options), runs=runs)


def pipeline_datatrove(*, megabytes: float, folder: Path) -> Measured:
    """datatrove: the steps of its FineWeb example but for URL lists and language, which want downloads."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.formatters import PIIFormatter
    from datatrove.pipeline.readers import ParquetReader, WarcReader
    from datatrove.pipeline.writers import ParquetWriter

    work, config = fresh(folder / "datatrove"), MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    judged, signed, buckets, ids, out = (str(work / name) for name in ("judged", "signed", "buckets", "ids", "out"))
    phases: list[tuple[list[Any], int]] = [
        (
            [
                WarcReader(str(folder / "warc"), default_metadata={"source": "bench"}),
                Trafilatura(favour_precision=True, timeout=10),
                GopherRepetitionFilter(),
                GopherQualityFilter(),
                C4QualityFilter(filter_no_terminal_punct=False),
                FineWebQualityFilter(),
                ParquetWriter(judged),
            ],
            1,
        ),
        ([ParquetReader(judged), MinhashDedupSignature(signed, config)], 1),
        ([MinhashDedupBuckets(signed, buckets, config=config)], config.num_buckets),
        ([MinhashDedupCluster(buckets, ids, config)], 1),
        ([ParquetReader(judged), MinhashDedupFilter(ids), PIIFormatter(), ParquetWriter(out)], 1),
    ]
    with Stopwatch() as watch:
        for at, (steps, tasks) in enumerate(phases):
            LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=str(work / f"log{at}")).run()
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
    for at in range(math.ceil(megabytes / step)):
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


STEPS = "its FineWeb steps: WARC, trafilatura (precise), Gopher, C4, FineWeb rules, MinHash, PII, Parquet"
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
