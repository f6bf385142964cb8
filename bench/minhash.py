"""Near duplicates: MinHash signatures of 112 values over runs of 5 words, 14 bands of 8, and clusters."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from inputs import TEXTS, made_up, rows, write_jsonl
from measure import Measured, Peer, Row, Stopwatch, fresh, main

WORDS, BANDS, VALUES = 5, 14, 8


def documents(megabytes: float) -> list[str]:
    """Texts, every tenth followed by a copy without one word in two hundred: so alike that chance decides nothing."""
    draw, found, left = random.Random(0), list[str](), megabytes * 1e6
    for at, text in enumerate(_endless_texts()):
        found.append(text)
        if at % 10 == 0:
            found.append(" ".join(word for word in text.split() if draw.random() > 0.005))
        left -= sum(len(one.encode()) for one in found[-1 - (at % 10 == 0) :])
        if left <= 0:
            break
    return found


def _endless_texts() -> Iterator[str]:
    """Real texts, once each; then the same with their words in another order, so that none is another's copy."""
    real = [row["text"] for name in TEXTS for row in rows(name)]
    yield from real or map(made_up, count())
    draw = random.Random(1)
    while True:
        for text in real:
            words = text.split()
            draw.shuffle(words)
            yield " ".join(words)


def minhash(*, megabytes: float) -> Measured:
    """Ours, in memory: every pair that agrees in a band is believed, as by the peers."""
    from hornbook.text.duplicates.minhash import clusters

    return _measured(documents(megabytes), 0.0, clusters)


def minhash_confirmed(*, megabytes: float) -> Measured:
    """Ours as it is used: pairs are confirmed by their Jaccard similarity."""
    from hornbook.text.duplicates.minhash import clusters

    return _measured(documents(megabytes), 0.8, clusters)


def _measured(texts: Sequence[str], threshold: float, clusters: Any) -> Measured:
    clusters(texts[:3], threshold=0.01)  # compiles
    with Stopwatch() as watch:
        survivors = clusters(texts, words=WORDS, bands=BANDS, rows=VALUES, threshold=threshold)
    return _found(texts, len(set(survivors)), watch.cpu, {"_survivors": survivors})


def minhash_rensa(*, megabytes: float) -> Measured:
    """Shingles as strings, signatures and one query of the index; no clusters, the first found stays.

    Its calls for many texts at once (digest matrices) were slower: 20 instead of 25 MB per CPU-second.
    """
    from rensa import RMinHash, RMinHashLSH

    texts = documents(megabytes)
    with Stopwatch() as watch:
        index = RMinHashLSH(threshold=0.8, num_perm=BANDS * VALUES, num_bands=BANDS)
        left = 0
        for at, text in enumerate(texts):
            signature = RMinHash(num_perm=BANDS * VALUES, seed=1)
            signature.update(_shingles(text))
            left += not index.query(signature)
            index.insert(at, signature)
    return _found(texts, left, watch.cpu, {})


def _shingles(text: str) -> list[str]:
    words = text.casefold().split()
    return [" ".join(words[at : at + WORDS]) for at in range(max(1, len(words) - WORDS + 1))]


def minhash_datatrove(*, megabytes: float, folder: Path) -> Measured:
    """datatrove's four stages, one task each, from and to JSONL."""
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

    config = MinhashConfig(n_grams=WORDS, num_buckets=BANDS, hashes_per_bucket=VALUES)
    texts, work = documents(megabytes), fresh(folder / "datatrove")
    write_jsonl(fresh(work / "in") / "rows.jsonl", [{"id": str(at), "text": text} for at, text in enumerate(texts)])

    def reader() -> JsonlReader:
        return JsonlReader(str(work / "in"))

    signatures, buckets, ids = (str(work / name) for name in ("signatures", "buckets", "ids"))
    writer = JsonlWriter(str(work / "out"), compression=None)
    pipelines: list[tuple[list[Any], int]] = [
        ([reader(), MinhashDedupSignature(signatures, config)], 1),
        ([MinhashDedupBuckets(signatures, buckets, config=config)], config.num_buckets),
        ([MinhashDedupCluster(buckets, ids, config, save_cluster_id=True)], 1),
        ([reader(), MinhashDedupFilter(ids), writer], 1),
    ]
    with Stopwatch() as watch:
        for at, (pipeline, tasks) in enumerate(pipelines):
            LocalPipelineExecutor(pipeline, tasks=tasks, workers=1, logging_dir=str(work / f"log{at}")).run()
    left = sum(1 for path in (work / "out").glob("*") for _ in path.open())
    return _found(texts, left, watch.cpu, {"_survivors": _survivors(work / "ids", len(texts))})


def _survivors(folder: Path, size: int) -> list[int]:
    """For each document the first of its cluster, from datatrove's pairs of document and cluster."""
    found, first = list(range(size)), dict[int, int]()
    for path in folder.glob("*.clusters"):
        for document, cluster in sorted(struct.iter_unpack("<2I", path.read_bytes())):
            found[document] = first.setdefault(cluster, document)
    return found


def _found(texts: Sequence[str], left: int, seconds: float, notes: dict[str, Any]) -> Measured:
    size = sum(len(text.encode()) for text in texts) / 1e6
    return Measured(size / seconds, {"documents": len(texts), "left": left, **notes})


def agreement(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """The share of documents that both count to the same cluster."""
    if "_survivors" not in theirs:
        return {}
    same = [a == b for a, b in zip(ours["_survivors"], theirs["_survivors"], strict=True)]
    return {"agreement": round(sum(same) / len(same), 4)}


def no_preparation(*, megabytes: float, folder: Path) -> None:
    """Nothing but a folder to work in."""
    (folder / "ready").touch()


UNIT = "MB of text/CPU-s"
LARGE = {"10 MB": {"megabytes": 10}, "100 MB": {"megabytes": 100}}
RENSA = (Peer(minhash_rensa, "rensa", config="RMinHash, LSH"),)
ROWS = (
    Row(
        "minhash-datatrove",
        UNIT,
        # A slice: at 0.4 MB per CPU-second, the sizes of the other rows would take the peer minutes a run.
        {"1 MB": {"megabytes": 1}, "3 MB": {"megabytes": 3}},
        lambda megabytes, folder: minhash(megabytes=megabytes),
        (Peer(minhash_datatrove, "datatrove", config="four stages"),),
        prepare=no_preparation,
        compare=agreement,
    ),
    Row("minhash-rensa", UNIT, LARGE, minhash, RENSA),
    Row("minhash-confirmed", UNIT, LARGE, minhash_confirmed, RENSA),
)

if __name__ == "__main__":
    main(ROWS)
