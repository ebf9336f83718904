"""What VGGish and CLAP share: loading of weights that are not trusted, and an import of laion-clap without network."""

import contextlib
import hashlib
import logging
import os
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from libretto.errors import InputError

# Beside its weights, CLAP's checkpoint holds NumPy numbers, such as its accuracy.
NUMPY_NUMBERS = [np.core.multiarray.scalar, np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.int64))]

logger = logging.getLogger("libretto")


@contextlib.contextmanager
def untrusted_weights(path: str | Path, sha256: str | None) -> Iterator[None]:
    """Check a checkpoint; whatever loads it inside gets tensors and numbers only.

    These checkpoints are pickles, which can run any code, and both packages load them without `weights_only`.

    Args:
        path: of the checkpoint.
        sha256: what it must hash to; None where the config does not say.

    Raises:
        InputError: it is another file, or holds more than weights.
    """
    check_weights(path, sha256)
    variable = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        with torch.serialization.safe_globals(NUMPY_NUMBERS):
            yield
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{path} is not a checkpoint of weights alone, and is not loaded: {reason}") from None
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def check_weights(path: str | Path, sha256: str | None) -> None:
    """Stop at a file that is not the one that the config means; say so where it does not tell.

    Raises:
        InputError: its SHA-256 is another.
    """
    if sha256 is None:
        logger.warning("%s has no sha256: in the config; it is trusted to be the right file", path)
        return
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise InputError(
            f"{path} has SHA-256 {found}, not {sha256} as the config says, and is not loaded: get the right file, or "
            "set the source's sha256: to that of yours"
        )


@contextlib.contextmanager
def tokenizers_of_laion_clap(roberta: str | Path | None = None) -> Iterator[None]:
    """A working directory in which `import laion_clap` finds the tokenizers that it loads by their hub names.

    Transformers takes a folder of the working directory before it asks the hub. CLAP only ever uses RoBERTa's tokenizer
    and configuration; for BERT's and BART's, which are loaded and left, a few special tokens do.

    Args:
        roberta: the snapshot of roberta-base; None where CLAP's model is not used.
    """
    special = '{"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4}'
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bert, bart = folder / "bert-base-uncased", folder / "facebook" / "bart-base"
        placeholders = {bert: "bert", bart: "bart"}
        if roberta is None:
            placeholders[folder / "roberta-base"] = "roberta"
        else:
            (folder / "roberta-base").symlink_to(Path(roberta).resolve())
        for path, kind in placeholders.items():
            path.mkdir(parents=True)
            (path / "config.json").write_text(f'{{"model_type": "{kind}"}}')
            (path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n")
            (path / "vocab.json").write_text(special)
            (path / "merges.txt").write_text("#version: 0.2\n")
        with contextlib.chdir(folder):
            yield
