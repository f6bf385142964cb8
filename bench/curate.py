"""crawl -> corpus: reading, extraction, rules, personal data, near duplicates, and all of it from WARC to Parquet."""

from __future__ import annotations

import extract
import minhash
import pipeline
import privacy
import quality
import reading
import rules
from measure import main

ROWS = (*rules.ROWS, *minhash.ROWS, *extract.ROWS, *privacy.ROWS, *quality.ROWS, *reading.ROWS, *pipeline.ROWS)

if __name__ == "__main__":
    main(ROWS)
