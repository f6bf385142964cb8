"""crawl -> corpus: quality rules, near duplicates, extraction, and all of it from WARC to Parquet."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from inputs import pages, texts, write_jsonl
from measure import Measured, Peer, Row, Stopwatch, fresh, main

# -- rules ------------------------------------------------------------------------------------------------------------

C4 = ("c4_terminal_punctuation", "c4_sentences", "c4_lorem_ipsum", "c4_curly_bracket", "c4_javascript", "c4_policy")


def rules(*, megabytes: float) -> Measured:
    """Our Gopher and C4 rules."""
    from hornbook.stages.curate import GOPHER
    from hornbook.text.document import Document
    from hornbook.text.quality import chosen

    filters = chosen({**GOPHER, **{name: {} for name in C4}})
    documents = [Document(str(at), text, "") for at, text in enumerate(texts(megabytes))]

    def verdict(document: Document) -> bool:
        return not any(check(document) for check in filters)

    return _judged(documents, verdict)


def rules_datatrove(*, megabytes: float) -> Measured:
    """datatrove's Gopher repetition, Gopher quality and C4 filters."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter, GopherRepetitionFilter

    filters = (GopherRepetitionFilter(), GopherQualityFilter(), C4QualityFilter())
    documents = [Document(text=text, id=str(at)) for at, text in enumerate(texts(megabytes))]

    def verdict(document: Document) -> bool:
        return all(check.filter(document) is True for check in filters)

    verdict(Document(text="Load the tokenizer, now. " * 20, id=""))
    return _judged(documents, verdict)


def _judged(documents: list[Any], verdict: Callable[[Any], bool]) -> Measured:
    size = sum(len(document.text.encode()) for document in documents) / 1e6
    with Stopwatch() as watch:
        kept = [verdict(document) for document in documents]
    return Measured(size / watch.cpu, {"documents": len(kept), "kept": sum(kept), "_kept": kept})


def agreement(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """The share of documents on which both decide the same."""
    same = [a == b for a, b in zip(ours["_kept"], theirs["_kept"], strict=True)]
    return {"agreement": round(sum(same) / len(same), 4)}


# -- near duplicates --------------------------------------------------------------------------------------------------


def _with_copies(megabytes: float) -> list[str]:
    """Texts, every tenth of them followed by a copy in which two words in a hundred are left out."""
    draw, found = random.Random(0), []
    for at, text in enumerate(texts(megabytes)):
        found.append(text)
        if at % 10 == 0:
            found.append(" ".join(word for word in text.split() if draw.random() > 0.02))
    return found


def minhash(*, megabytes: float) -> Measured:
    """Shingles, signatures and clusters, pairs confirmed by their Jaccard similarity."""
    from hornbook.text.minhash import clusters, shingles

    documents = _with_copies(megabytes)
    with Stopwatch() as watch:
        survivors = clusters([shingles(text) for text in documents])
    return _deduplicated(documents, len(set(survivors)), watch.cpu)


def minhash_rensa(*, megabytes: float) -> Measured:
    """Shingles as strings, signatures and one query of the LSH index; candidates are not confirmed."""
    from rensa import RMinHash, RMinHashLSH

    documents = _with_copies(megabytes)
    with Stopwatch() as watch:
        index = RMinHashLSH(threshold=0.8, num_perm=112, num_bands=14)
        left = 0
        for at, text in enumerate(documents):
            signature = RMinHash(num_perm=112, seed=1)
            words = text.casefold().split()
            signature.update([" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))])
            left += not index.query(signature)
            index.insert(at, signature)
    return _deduplicated(documents, left, watch.cpu)


def minhash_datatrove(*, megabytes: float, folder: Path) -> Measured:
    """datatrove's four stages, one task each."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    config, work = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8), fresh(folder / "datatrove")
    documents = _with_copies(megabytes)
    rows = [{"id": str(at), "text": text} for at, text in enumerate(documents)]
    write_jsonl(fresh(work / "in") / "rows.jsonl", rows)

    def reader() -> JsonlReader:
        return JsonlReader(str(work / "in"))

    signatures, buckets, ids = (str(work / name) for name in ("signatures", "buckets", "ids"))
    writer = JsonlWriter(str(work / "out"), compression=None)
    pipelines: list[tuple[list[Any], int]] = [
        ([reader(), MinhashDedupSignature(signatures, config)], 1),
        ([MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets),
        ([MinhashDedupCluster(buckets, ids, config)], 1),
        ([reader(), MinhashDedupFilter(ids), writer], 1),
    ]
    with Stopwatch() as watch:
        for at, (pipeline, tasks) in enumerate(pipelines):
            LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(work / f"log{at}")).run()
    left = sum(1 for path in (work / "out").glob("*") for _ in path.open())
    return _deduplicated(documents, left, watch.cpu)


def _deduplicated(documents: list[str], left: int, seconds: float) -> Measured:
    size = sum(len(text.encode()) for text in documents) / 1e6
    return Measured(size / seconds, {"documents": len(documents), "left": left})


# -- extraction -------------------------------------------------------------------------------------------------------


def extract(*, megabytes: float) -> Measured:
    """Our main text, title, language, licence and meta."""
    from hornbook.text.extract import extract_html

    return _extracted(megabytes, lambda html: extract_html(html, main_content=True).text)


def extract_trafilatura(*, megabytes: float) -> Measured:
    """trafilatura in its fast mode."""
    from trafilatura import extract

    return _extracted(megabytes, lambda html: extract(html, fast=True, include_comments=False) or "")


def extract_resiliparse(*, megabytes: float) -> Measured:
    """resiliparse's main content, nothing else."""
    from resiliparse.extract.html2text import extract_plain_text

    return _extracted(megabytes, lambda html: extract_plain_text(html, main_content=True, alt_texts=False))


def _extracted(megabytes: float, work: Callable[[str], str]) -> Measured:
    found = pages(megabytes)
    size = sum(len(page["html"].encode()) for page in found) / 1e6
    work(found[0]["html"])
    with Stopwatch() as watch:
        said = [work(page["html"]) for page in found]
    golds = [(page["gold"], text) for page, text in zip(found, said, strict=True) if "gold" in page]
    return Measured(size / watch.cpu, {"pages": len(found), **(scores(golds) if golds else {})})


def scores(pairs: Iterable[tuple[str, str]]) -> dict[str, float]:
    """Precision, recall and F1 of runs of four words, every page with equal weight (Article Extraction Benchmark)."""
    right = wrong = missed = 0.0
    for gold, text in pairs:
        wanted, found = _runs(gold), _runs(text)
        total = (wanted | found).total() or 1
        right += (wanted & found).total() / total
        wrong += (found - wanted).total() / total
        missed += (wanted - found).total() / total
    precision, recall = right / ((right + wrong) or 1), right / ((right + missed) or 1)
    f1 = 2 * right / ((2 * right + wrong + missed) or 1)
    return {"f1": round(f1, 4), "precision": round(precision, 4), "recall": round(recall, 4)}


def _runs(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    size = max(1, min(4, len(words)))
    return Counter(zip(*(words[at:] for at in range(size)), strict=False))


# -- WARC to Parquet --------------------------------------------------------------------------------------------------


def archive(*, megabytes: float, folder: Path) -> None:
    """One WARC file with the pages."""
    from hornbook.text.warc import ArchiveWriter, Exchange

    date = "2020-01-01T00:00:00Z"
    with ArchiveWriter(fresh(folder / "warc") / "pages.warc.gz", software="bench", robots="ignore") as writer:
        for at, page in enumerate(pages(megabytes)):
            writer.append(
                Exchange(
                    url=f"https://example.org/{at}",
                    date=date,
                    request_line=f"GET /{at} HTTP/1.1",
                    request_headers=[("host", "example.org")],
                    status_line="HTTP/1.1 200 OK",
                    response_headers=[("content-type", "text/html; charset=utf-8")],
                    body=page["html"].encode(),
                )
            )


def pipeline(*, megabytes: float, folder: Path) -> Measured:
    """Our crawl and curate stages, without what the peer's steps do not do (masking, duplicates)."""
    from hornbook.execute import execute
    from hornbook.stages import load

    runs = fresh(folder / "runs")
    gathering, curating = load("crawl"), load("curate")
    with Stopwatch() as watch:
        crawl = execute(gathering, gathering.config(source=str(folder / "warc")), runs=runs)
        made = execute(curating, curating.config(crawl=crawl, mask=(), dedup={}, workers=1), runs=runs)
    return _piped(made, "documents.parquet", megabytes, watch.cpu)


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


def no_preparation(*, megabytes: float, folder: Path) -> None:
    """Nothing but a folder to work in."""
    (folder / "ready").touch()


TEXT, HTML = "MB of text/CPU-s", "MB of HTML/CPU-s"
TWO = {"1 MB": {"megabytes": 1}, "4 MB": {"megabytes": 4}}
RULES = "Gopher repetition, Gopher quality, C4"
STEPS = "WARC, trafilatura, Gopher rules, Parquet"
ROWS = (
    Row("rules-datatrove", TEXT, TWO, rules, (Peer(rules_datatrove, "datatrove", config=RULES),), compare=agreement),
    Row(
        "minhash-datatrove",
        TEXT,
        TWO,
        lambda megabytes, folder: minhash(megabytes=megabytes),
        (Peer(minhash_datatrove, "datatrove", config="four stages"),),
        prepare=no_preparation,
    ),
    Row("minhash-rensa", TEXT, TWO, minhash, (Peer(minhash_rensa, "rensa", config="RMinHash, LSH"),)),
    Row(
        "extract",
        HTML,
        {"6 MB": {"megabytes": 6}, "24 MB": {"megabytes": 24}},
        extract,
        (
            Peer(extract_trafilatura, "trafilatura", config="fast"),
            Peer(extract_resiliparse, "resiliparse", label="resiliparse", config="main content"),
        ),
    ),
    Row(
        "pipeline",
        HTML,
        {"6 MB": {"megabytes": 6}, "24 MB": {"megabytes": 24}},
        pipeline,
        (Peer(pipeline_datatrove, "datatrove", config=STEPS),),
        prepare=archive,
    ),
)

if __name__ == "__main__":
    main(ROWS)
