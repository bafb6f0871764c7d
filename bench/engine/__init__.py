"""Benchmarks of the engine alone, without rooms."""
