"""What the networks share: loading untrusted weights, and importing laion-clap without network."""

import contextlib
import logging
import os
import re
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from libretto.errors import InputError
from libretto.files import file_sha256

# Other users report that CLAP's checkpoint holds NumPy numbers beside its weights. We have not checked
# which types the file itself needs, so all common ones are allowed.
NUMPY_TYPES = [np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]
NUMPY_NUMBERS = [
    np.core.multiarray.scalar,  # type: ignore[attr-defined]  # missing in NumPy's stubs
    np.dtype,
    *(type(np.dtype(kind)) for kind in NUMPY_TYPES),
]
REFUSED_GLOBAL = re.compile(r"GLOBAL ([\w.]+) (?:was not|whose)")  # in torch's messages
FORCED, FORCED_OFF = "TORCH_FORCE_WEIGHTS_ONLY_LOAD", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"

logger = logging.getLogger("libretto")


@contextlib.contextmanager
def untrusted_weights(path: str | Path, model: str) -> Iterator[None]:
    """A context in which checkpoints load as tensors and numbers only; do nothing but load one inside it.

    These checkpoints are pickles, which can run any code, and the packages load most of them without `weights_only`.

    Args:
        path: of the checkpoint.
        model: the model that it should be of, for messages.

    Raises:
        InputError: it is damaged, another model's, or holds more than weights.
    """
    before = {name: os.environ.pop(name, None) for name in (FORCED, FORCED_OFF)}
    os.environ[FORCED] = "1"
    try:
        with torch.serialization.safe_globals(NUMPY_NUMBERS):
            yield
    except (OSError, MemoryError, torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except Exception as error:  # what a damaged file raises depends on where it is damaged
        raise InputError(
            f"{path} is not a checkpoint of {model}, and is not loaded ({_reason(error)}): get the right file"
        ) from None
    finally:
        del os.environ[FORCED]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _reason(error: Exception) -> str:
    """Why a file is not loaded; without torch's advice, which is to load it without protection."""
    text = str(error)
    if found := REFUSED_GLOBAL.search(text):
        return f"it asks for {textwrap.shorten(found[1], 100)}, which is neither a weight nor a number"
    if "weights_only" in text:
        return "it is not in torch's current format, or damaged"
    return textwrap.shorten(f"{type(error).__name__}: {text}", 200).rstrip(": ")


def check_weights(path: str | Path, sha256: str | None) -> None:
    """Check a file against the config's SHA-256; warn if the config gives none.

    Raises:
        InputError: it is not a file, or its SHA-256 differs.
    """
    if not Path(path).is_file():
        raise InputError(f"{path} is not a file: set the source's path: to its checkpoint")
    if sha256 is None:
        logger.warning("%s has no sha256: in the config; it is trusted to be the right file", path)
        return
    if (found := file_sha256(path)) != sha256:
        raise InputError(
            f"{path} has SHA-256 {found}, not {sha256} as the config says, and is not loaded: get the right file, or "
            "set the source's sha256: to your file's"
        )


@contextlib.contextmanager
def tokenizers_of_laion_clap(roberta: str | Path | None = None) -> Iterator[None]:
    """A working directory in which `import laion_clap` finds the tokenizers that it loads by their hub names.

    Transformers takes a folder in the working directory before it asks the hub. CLAP only ever uses RoBERTa's tokenizer
    and configuration; for BERT's and BART's, which are loaded but never used, a few special tokens suffice.

    Args:
        roberta: the snapshot of roberta-base; None if CLAP's model is not used.
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
