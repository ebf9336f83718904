"""Halves what torch and transformers cost each process that a test starts; Python imports it where PYTHONPATH says.

transformers imports scikit-learn and torchvision where it finds them, for what Libretto does not use, and Python looks
for garbage among the million objects that the imports make and keep.
"""

import gc
import importlib.util

UNUSED = {"sklearn", "torchvision"}
find_spec = importlib.util.find_spec

importlib.util.find_spec = lambda name, package=None: None if name in UNUSED else find_spec(name, package)
gc.set_threshold(100_000)
