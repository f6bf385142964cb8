"""Web archives: WARC, WET and ARC, read as far as damage lets, and WARC written."""
