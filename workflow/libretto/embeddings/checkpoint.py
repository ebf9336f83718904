"""What VGGish and CLAP share: a check of the weights, and an import of laion-clap that needs no network."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from libretto.errors import InputError


def check_weights(path: str | Path, sha256: str | None) -> None:
    """Stop at a file that is not the one meant: these checkpoints are pickles, and loading one can run any code.

    Raises:
        InputError: its SHA-256 is another.
    """
    if sha256 is None:
        return
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise InputError(
            f"{path} has SHA-256 {found}, not {sha256} as the config says; it is not loaded: get the right file, or "
            "set the source's sha256 to that of yours"
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
