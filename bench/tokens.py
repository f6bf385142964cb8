"""corpus -> tokens: our stage against the same tokenizer over batches of documents, as `datasets` maps them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inputs import texts
from measure import Measured, Peer, Row, Stopwatch, main

VOCABULARY = 8192
BATCH = 1000
"""Documents that `datasets` hands to a function at a time, by default."""


def prepare(*, folder: Path, megabytes: float) -> None:
    """A corpus in files of 500 documents, and a tokenizer learned from some of it."""
    from hornbook.text import bpe
    from hornbook.text.document import Document, write_documents

    documents = [Document(f"{at:08}", text, "all") for at, text in enumerate(texts(megabytes))]
    (folder / "corpus").mkdir()
    (folder / "tokenizer").mkdir()
    for at in range(0, len(documents), 500):
        write_documents(folder / "corpus" / f"documents-{at:08}.parquet", documents[at : at + 500])
    bpe.save(bpe.train((d.text for d in documents[:200]), vocabulary=VOCABULARY), folder / "tokenizer")


def tokenize(*, folder: Path, megabytes: float) -> Measured:
    """`hornbook tokenize` with one worker, its run folder and checksums included."""
    from tempfile import TemporaryDirectory

    from hornbook.execute import execute
    from hornbook.stages import load
    from hornbook.stages.tokenize import Tokenize

    config = Tokenize(corpus=folder / "corpus", tokenizer=folder / "tokenizer", workers=1)
    with TemporaryDirectory() as runs, Stopwatch() as watch:
        execute(load("tokenize"), config, runs=Path(runs))
    return Measured(megabytes / watch.cpu)


def batches(*, folder: Path, megabytes: float) -> Measured:
    """Batches of documents encoded and appended to one flat file, without index, split or checksums."""
    from tempfile import TemporaryFile

    import numpy as np
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    with TemporaryFile() as file, Stopwatch() as watch:
        for given in _read(folder / "corpus"):
            for encoding in tokenizer.encode_batch(given):
                file.write(np.array(encoding.ids, np.uint16).tobytes())
    return Measured(megabytes / watch.cpu)


def _read(corpus: Path) -> Any:
    import pyarrow.parquet as pq

    for path in sorted(corpus.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(BATCH, columns=["text"]):
            yield batch.column("text").to_pylist()


SIZES = {"10 MB": {"megabytes": 10}, "100 MB": {"megabytes": 100}}
CONFIG = f"encode_batch on {BATCH} documents, ids to a flat file"
ROWS = (
    Row(
        "tokenize", "MB of text/CPU-s", SIZES, tokenize, (Peer(batches, "tokenizers", config=CONFIG),), prepare=prepare
    ),
)

if __name__ == "__main__":
    main(ROWS)
