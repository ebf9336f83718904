"""Tests and benchmarks find the library when they are started by themselves, such as `python -m tests.bench.render`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))
