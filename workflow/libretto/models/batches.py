"""What a model reads in training and validation: prompts and chunks of music, from the Parquet splits.

The i-th chunk of a song is read in the i-th epoch, modulo its number of chunks; an epoch goes through all songs in the
file's order (paper, section 5.2). Chunks can be drawn at random instead. Everything depends on the seed and the
position alone, so a resumed run reads what an uninterrupted one would have read.
"""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from libretto.data.middle import middle_chunk
from libretto.models import IGNORED
from libretto.models.prompts import Prompter
from libretto.seeds import derangement, stable_seed
from libretto.tokens import vocab


def load_split(path: str, cache: str):
    """A Parquet split as a `datasets.Dataset` whose rows come as Arrow: a song's chunks are cut out without a copy.

    Args:
        path: the split's file.
        cache: folder for the memory-mapped copy that `datasets` makes.
    """
    import datasets

    return datasets.Dataset.from_parquet(path, cache_dir=cache).with_format("arrow")


def read_song(
    songs, index: int, pick: Callable[[Sequence], Any], described: Sequence[int] | None = None
) -> tuple[str, np.ndarray]:
    """The caption of song `index`, or of song `described[index]`, and the chunk that `pick` selects: uint16 tokens."""
    row = songs[index]
    texts = row if described is None else songs[described[index]]
    return texts["caption"][0].as_py(), pick(row["chunks"][0]).values.to_numpy()


class TrainingChunks(Dataset):
    """All epochs in a row: item `epoch * songs + index` is song `index` in `epoch`.

    Args:
        songs: from `load_split`, or anything like it.
        n_items: how many items training takes.
        prompter: makes the prompts.
        dropout: share of the items that lose their description.
        seed: of the draw.
        shuffled: whether each song has the description of another one.
        random_chunks: whether an epoch reads any chunk of a song, instead of the next one.
    """

    def __init__(
        self,
        songs,
        n_items: int,
        prompter: Prompter,
        dropout: float,
        seed: int,
        shuffled: bool = False,
        random_chunks: bool = False,
    ):
        self.songs = songs
        self.n_items = n_items
        self.prompter = prompter
        self.dropout = dropout
        self.seed = seed
        self.described = derangement(len(songs), stable_seed(seed, "descriptions")) if shuffled else None
        self.random_chunks = random_chunks
        self.n_ahead = 2  # batches that a thread prepares
        self._thread = ThreadPoolExecutor(1)
        self._previous: int | None = None  # the first item of the batch before
        self._ahead: dict[tuple[int, ...], Future] = {}

    def __len__(self) -> int:
        return self.n_items

    def __getitems__(self, items: list[int]) -> list[tuple[list[int], np.ndarray]]:
        """The items of a batch; a thread prepares the next ones, so that the GPU need not wait for them."""
        waiting, previous = self._ahead.pop(tuple(items), None), self._previous
        if waiting is None:
            self._ahead.clear()
        rows = waiting.result() if waiting else self._read(items)
        # With several processes, those of the others lie between two batches.
        stride = len(items) if previous is None or items[0] <= previous else items[0] - previous
        for place in range(1, self.n_ahead + 1):
            following = tuple(item + place * stride for item in items if item + place * stride < self.n_items)
            if following and following not in self._ahead:
                self._ahead[following] = self._thread.submit(self._read, following)
        self._previous = items[0]
        return rows

    def _read(self, items: Sequence[int]) -> list[tuple[list[int], np.ndarray]]:
        return [self[item] for item in items]

    def __getitem__(self, item: int) -> tuple[list[int], np.ndarray]:
        epoch, index = divmod(item, len(self.songs))
        draw = random.Random(f"{self.seed}/{epoch}/{index}")
        dropped = draw.random() < self.dropout
        pick = draw.choice if self.random_chunks else lambda chunks: chunks[epoch % len(chunks)]
        caption, chunk = read_song(self.songs, index, pick, self.described)
        return self.prompter(None if dropped else caption), chunk


class MiddleChunks(Dataset):
    """The items for validation: one per song, its middle chunk with its description.

    Args:
        songs: from `load_split`, or anything like it.
        prompter: makes the prompts.
        described: for each song, the index of the song whose description it gets; its own by default.
    """

    def __init__(self, songs, prompter: Prompter, described: Sequence[int] | None = None):
        self.songs = songs
        self.prompter = prompter
        self.described = described

    def __len__(self) -> int:
        return len(self.songs)

    def __getitem__(self, index: int) -> tuple[list[int], np.ndarray]:
        caption, chunk = read_song(self.songs, index, middle_chunk, self.described)
        return self.prompter(caption), chunk


def collate_amt(items: list[tuple[list[int], np.ndarray]], pad_id: int) -> dict[str, torch.Tensor]:
    """A batch for `AmtForTextToMusic`, all of it right-padded.

    Returns:
        text_ids and text_mask [batch, P]; input_ids and labels [batch, T], label t being music token t + 1.
    """
    prompts, chunks = zip(*items, strict=True)
    text_ids, text_mask = pad_prompts(prompts, pad_id)
    music = [torch.from_numpy(chunk.astype(np.int64)) for chunk in chunks]
    return {
        "text_ids": text_ids,
        "text_mask": text_mask,
        "input_ids": _pad([row[:-1] for row in music], vocab.SEPARATOR),
        "labels": _pad([row[1:] for row in music], IGNORED),
    }


def collate_llama(
    items: list[tuple[list[int], np.ndarray]], pad_id: int, text_vocab_size: int
) -> dict[str, torch.Tensor]:
    """A batch for `LlamaForTextToMusic`, right-padded: the prompt, then the music shifted past the text vocabulary.

    Returns:
        input_ids and labels [batch, L], label i being id i + 1.
    """
    rows = [
        torch.cat([torch.tensor(prompt), torch.from_numpy(chunk.astype(np.int64)) + text_vocab_size])
        for prompt, chunk in items
    ]
    return {
        "input_ids": _pad([row[:-1] for row in rows], pad_id),
        "labels": _pad([row[1:] for row in rows], IGNORED),
    }


def pad_prompts(prompts, pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Prompts of several lengths as ids and mask [batch, P], right-padded."""
    rows = [torch.tensor(prompt) for prompt in prompts]
    return _pad(rows, pad_id), _pad([torch.ones_like(row) for row in rows], 0)


def _pad(rows: list[torch.Tensor], value: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
