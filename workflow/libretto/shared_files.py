"""Small files that several processes, on several machines, may write at once: readers see one of them, whole."""

import os
import socket
from pathlib import Path


def write_shared(path: Path, text: str) -> None:
    """Make or replace a file, and its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.part")
    try:
        part.write_text(text)
        part.replace(path)
    finally:  # after an error, such as a full disk
        part.unlink(missing_ok=True)
