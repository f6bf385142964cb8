"""Duplicates: the ways to find them, kernels, and keys that meet on disk."""
