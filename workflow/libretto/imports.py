"""Importing transformers without what it looks for in passing."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# transformers imports these where they are installed, for parts of it that nothing here calls.
UNUSED = ("scipy", "sklearn", "torchvision")


@contextmanager
def lean_imports() -> Iterator[None]:
    """Import torch and transformers in 5 s instead of 7: without `UNUSED`, and without collecting garbage meanwhile.

    A module of ours that is imported in the block cannot import `UNUSED` either: ModuleNotFoundError. Afterwards it
    can, but transformers remembers that it found none of them, for the rest of the process.
    """
    hidden = [name for name in UNUSED if name not in sys.modules]
    was_enabled = gc.isenabled()
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
        for name in hidden:
            del sys.modules[name]
