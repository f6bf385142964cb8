"""Hornbook: from raw web text to an aligned language model, with the origin of every token on record."""

__version__ = "0.1.0"
