"""Saves a quarter of what importing torch and transformers costs the processes that tests start.

Python imports this first where PYTHONPATH has this folder. transformers imports scikit-learn and torchvision where it
finds them, for what Libretto does not use, and Python looks for garbage among the million objects that the imports make
and keep. pytest's own processes, and CI's `make demo`, do without this.
"""

import gc
import importlib.util

UNUSED = {"sklearn", "torchvision"}
find_spec = importlib.util.find_spec

importlib.util.find_spec = lambda name, package=None: None if name in UNUSED else find_spec(name, package)
gc.set_threshold(100_000)
