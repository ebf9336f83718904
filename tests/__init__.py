"""Benchmarks find the library when they are started without pytest, as in `python -m tests.bench.render`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))
