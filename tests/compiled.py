"""The compiled tokenizer for runs in new folders, each of which would compile it again: 15 s of CPU time."""

import hashlib
import shutil
from pathlib import Path

from libretto.provenance.code_hash import code_hash
from libretto.tokens import compiled
from tests.checkout import ROOT
from tests.smf import midi_file, off, on, track

SOURCE = Path(compiled.__file__)


def lend_compiled(folder: Path, checkout: Path = ROOT) -> None:
    """Put what this process has compiled, or found compiled, where a run in `folder` of a checkout's code looks for it.

    Nothing is lent if a module that the compiled one imports is newer: see NUMBA_CACHE_DIR in common.smk.
    """
    compiled.midi_to_tokens_compiled(midi_file(track((0, on(60)), (5, off(60)))))
    files = sorted((SOURCE.parent / "__pycache__").glob("compiled.*.nb[ci]"))
    newest = max(path.stat().st_mtime for path in SOURCE.parent.glob("*.py"))
    if not files or min(path.stat().st_mtime for path in files) < newest:
        return
    copy = checkout / SOURCE.relative_to(ROOT)
    place = hashlib.sha1(str(copy.parent).encode()).hexdigest()  # as numba has it
    target = folder / ".snakemake" / "numba" / code_hash(SOURCE) / f"{copy.parent.name}_{place}"
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, target)
