"""Caches for work without a network: planned, built, verified, reported and exported."""
