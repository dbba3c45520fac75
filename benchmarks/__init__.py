"""Benchmarks: each figure beside a peer that was measured in the same run. `python -m benchmarks --help`."""
