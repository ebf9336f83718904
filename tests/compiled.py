"""The compiled tokenizer for runs in new folders, each of which would compile it again: 15 s of CPU time."""

import hashlib
import shutil
from pathlib import Path

from libretto.provenance.code_hash import code_hash, imported_files
from libretto.tokens import compiled
from tests.checkout import ROOT
from tests.smf import midi_file, off, on, track

SOURCE = Path(compiled.__file__)


def lend_compiled(folder: Path, checkout: Path = ROOT) -> None:
    """Put what this process has compiled, or found compiled, where a run in `folder` of a checkout's code looks for it.

    Nothing is lent that was compiled before a module that the compiled one imports was written; it is compiled again.
    """
    cache = SOURCE.parent / "__pycache__"
    newest = max(path.stat().st_mtime for path in imported_files(SOURCE))
    for file in cache.glob("compiled.*.nb[ci]"):
        if file.stat().st_mtime < newest:
            file.unlink(missing_ok=True)  # numba itself would only look at the time of the compiled module
    compiled.midi_to_tokens_compiled(midi_file(track((0, on(60)), (5, off(60)))))
    copy = checkout / SOURCE.relative_to(ROOT)
    place = hashlib.sha1(str(copy.parent).encode()).hexdigest()  # as numba has it
    target = folder / ".snakemake" / "numba" / code_hash(SOURCE) / f"{copy.parent.name}_{place}"
    target.mkdir(parents=True, exist_ok=True)
    for file in cache.glob("compiled.*.nb[ci]"):
        shutil.copy(file, target)
