"""How long a training waits for its batches: with the next one prepared in a thread, and without.

    python -m tests.bench.batches [--step 0.5] [--batch-size 64] [--steps 20]

Songs and captions are composed, the tokenizer is a stand-in of Llama's. A step is a pause, in which the CPU is free, as
it is while a GPU works.
"""

import argparse
import tempfile
import time
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.data import DataLoader

from libretto.models.batches import TrainingChunks, collate_llama, load_split
from libretto.models.prompts import Prompter, load_tokenizer
from libretto.preflight.models import RandomSongs
from libretto.standins.checkpoints import make_llama
from libretto.standins.corpus import compose_corpus
from libretto.tables import CHUNKS
from tests.conftest import TEXT


def waiting(songs, prompter: Prompter, batch_size: int, steps: int, step: float, ahead: bool) -> float:
    """Seconds of waiting per step."""
    items = TrainingChunks(songs, batch_size * steps, prompter, 0.1, 0)
    dataset = items if ahead else _OneByOne(items)
    collate = partial(collate_llama, pad_id=prompter.pad_id, text_vocab_size=128_256)
    batches, seconds = iter(DataLoader(dataset, batch_size, collate_fn=collate)), 0.0
    for _ in range(steps):
        start = time.perf_counter()
        next(batches)
        seconds += time.perf_counter() - start
        time.sleep(step)
    return seconds / steps


class _OneByOne:
    """A dataset without `__getitems__`."""

    def __init__(self, items: TrainingChunks):
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        return self.items[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=float, default=0.5, help="seconds of a step")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        captions = [file.row["caption"] for file in compose_corpus(320, 0) if file.row]
        music = RandomSongs(len(captions))
        rows = {"lmd_id": [str(i) for i in range(len(captions))], "caption": captions}
        rows["chunks"] = [[music[i][1].tolist()] for i in range(len(captions))]
        pq.write_table(pa.table(rows, CHUNKS), f"{folder}/train.parquet")
        make_llama(f"{folder}/llama", 0, {"width": 64, "layers": 2})
        prompter = Prompter(load_tokenizer(f"{folder}/llama"), "llama", TEXT)
        songs = load_split(f"{folder}/train.parquet", f"{folder}/cache")
        without, with_thread = (
            waiting(songs, prompter, options.batch_size, options.steps, options.step, ahead) for ahead in (False, True)
        )
    print(
        f"waiting per step of {options.batch_size}: {1000 * without:.1f} ms without, {1000 * with_thread:.1f} ms with"
    )
    print(f"ratio: {without / with_thread:.1f}")


if __name__ == "__main__":
    main()
