"""Instruments: benchmarks, demo, simulators, conformance suite. The product imports none."""
