"""Timings of gradfit beside its peers: same data, same objective, same run. No part of the tests.

``python -m tests.benchmarks [NAME ...]`` prints, for each case, the first fit in the process and the median of the
later ones, the ratio to each peer's median, and the quality each reached, measured in float64 with NumPy: the
largest component of the objective's gradient. Machines are noisy: only ratios within one run mean something.
"""
