"""Instruments: benchmarks, the demo, simulators, the conformance suite. The product imports none."""
