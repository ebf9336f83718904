"""Libretto's library: pure functions and model classes, importable without Snakemake."""
