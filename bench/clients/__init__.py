"""Participants that speak to an avatar and watch it, for the demo, the benchmarks and tests."""
