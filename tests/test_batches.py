"""Prompts, the order of songs and chunks, and batches."""

import itertools
from threading import current_thread, main_thread

import numpy as np
import pytest
import torch

from libretto.errors import InputError
from libretto.models import IGNORED
from libretto.models.batches import MiddleChunks, TrainingChunks, collate_amt, collate_llama, load_split
from libretto.models.prompts import Prompter
from libretto.seeds import derangement, stable_seed
from libretto.tokens import vocab
from tests.conftest import CAPTIONS, TEXT


@pytest.fixture
def songs(splits, tmp_path):
    return load_split(splits["train"], str(tmp_path))


def test_prompts_of_both_families(tokenizer):
    amt, llama = (Prompter(tokenizer, family, TEXT) for family in ("amt", "llama"))
    begin = "<|begin_of_text|>"
    assert tokenizer.decode(amt(CAPTIONS[0])) == begin + CAPTIONS[0]
    assert tokenizer.decode(llama(CAPTIONS[0])) == begin + TEXT["instruction"] + CAPTIONS[0]
    assert tokenizer.decode(amt(None)) == begin
    assert tokenizer.decode(llama(None)) == begin + TEXT["instruction_without_description"]


def test_long_prompts_are_cut_at_the_right(tokenizer):
    whole = Prompter(tokenizer, "llama", TEXT)(CAPTIONS[1])
    cut = Prompter(tokenizer, "llama", {**TEXT, "max_tokens": 10})(CAPTIONS[1])
    assert len(whole) > 10
    assert cut == whole[:10]


def test_special_tokens_in_a_caption_are_plain_text(tokenizer):
    prompter = Prompter(tokenizer, "amt", TEXT)
    assert prompter.pad_id not in prompter("An <|eot_id|> in a caption.")


def test_a_tokenizer_without_llamas_tokens_is_an_input_error():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    with pytest.raises(InputError, match="begin_of_text"):
        Prompter(plain, "amt", TEXT)


def test_epochs_walk_songs_in_order_and_chunks_in_turn(songs, tokenizer, splits):
    import pyarrow.parquet as pq

    rows = pq.read_table(splits["train"]).to_pylist()
    items = TrainingChunks(songs, 60, Prompter(tokenizer, "amt", TEXT), 0.0, 0)
    assert len(items) == 60
    for i in range(60):
        epoch, index = divmod(i, len(rows))
        prompt, chunk = items[i]
        chunks = rows[index]["chunks"]
        assert chunk.tolist() == chunks[epoch % len(chunks)]
        assert tokenizer.decode(prompt).endswith(rows[index]["caption"])


def test_random_chunks_are_each_as_likely_and_drawn_again_in_every_epoch(songs, tokenizer, splits):
    import pyarrow.parquet as pq

    rows = pq.read_table(splits["train"]).to_pylist()
    n_epochs = 200
    prompter = Prompter(tokenizer, "amt", TEXT)
    items = TrainingChunks(songs, n_epochs * len(rows), prompter, 0.5, 3, random_chunks=True)
    in_turn = TrainingChunks(songs, n_epochs * len(rows), prompter, 0.5, 3)
    several = 0
    for index, row in enumerate(rows):
        read = [items[epoch * len(rows) + index] for epoch in range(n_epochs)]
        drawn = [row["chunks"].index(chunk.tolist()) for _, chunk in read]
        n = len(row["chunks"])
        expected = n_epochs / n
        assert all(abs(drawn.count(chunk) - expected) < 5 * expected**0.5 for chunk in range(n))
        if n > 1:
            several += 1
            assert any(a == b for a, b in itertools.pairwise(drawn))  # in turn, never
        # Which descriptions are dropped does not change.
        assert [prompt for prompt, _ in read] == [in_turn[e * len(rows) + index][0] for e in range(n_epochs)]
    assert several > 3


def test_items_do_not_depend_on_what_was_read_before(songs, tokenizer):
    def make():
        return TrainingChunks(songs, 60, Prompter(tokenizer, "llama", TEXT), 0.5, 3)

    forwards = [make()[i] for i in range(60)]
    one = make()
    for i in reversed(range(60)):
        prompt, chunk = one[i]
        assert prompt == forwards[i][0]
        assert np.array_equal(chunk, forwards[i][1])


@pytest.mark.parametrize(
    ("batches", "n_waited_for"),
    [
        ([range(i, i + 4) for i in range(0, 60, 4)], 1),  # as one process reads them
        ([range(i, i + 4) for i in range(4, 60, 12)], 2),  # as the second of three does: it learns the stride
        ([range(8, 12), range(0, 4), range(4, 8), range(40, 44), range(56, 60)], 4),  # in no order
    ],
    ids=["one process", "three processes", "no order"],
)
@pytest.mark.parametrize("n_ahead", [1, 5])
def test_batches_prepared_ahead_are_those_that_were_asked_for(
    songs, tokenizer, batches, n_waited_for, n_ahead, monkeypatch
):
    prompter = Prompter(tokenizer, "llama", TEXT)
    plain = TrainingChunks(songs, 60, prompter, 0.5, 3)
    expected = [[plain[item] for item in items] for items in batches]
    ahead = TrainingChunks(songs, 60, prompter, 0.5, 3)
    ahead.n_ahead = n_ahead
    readers = []
    read = TrainingChunks._read
    monkeypatch.setattr(TrainingChunks, "_read", lambda *args: (readers.append(current_thread()), read(*args))[1])
    for items, rows in zip(batches, expected, strict=True):
        found = ahead.__getitems__(list(items))
        assert [prompt for prompt, _ in found] == [prompt for prompt, _ in rows]
        assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(found, rows, strict=True))
    assert readers.count(main_thread()) <= n_waited_for


def test_descriptions_are_dropped_at_the_configured_share(songs, tokenizer):
    prompter = Prompter(tokenizer, "llama", TEXT)
    bare = prompter(None)

    def dropped(share, seed):
        items = TrainingChunks(songs, 1200, prompter, share, seed)
        return [items[i][0] == bare for i in range(1200)]

    assert sum(dropped(0.0, 0)) == 0
    assert 80 < sum(dropped(0.1, 0)) < 160
    assert sum(dropped(1.0, 0)) == 1200
    assert dropped(0.5, 0) != dropped(0.5, 1)
    halves = dropped(0.5, 0)
    assert halves[:12] != halves[12:24]  # drawn again in every epoch


def test_validation_reads_the_middle_chunk_with_its_description(splits, tokenizer, tmp_path):
    import pyarrow.parquet as pq

    rows = pq.read_table(splits["valid"]).to_pylist()
    items = MiddleChunks(load_split(splits["valid"], str(tmp_path)), Prompter(tokenizer, "llama", TEXT))
    assert len(items) == len(rows)
    for i, row in enumerate(rows):
        prompt, chunk = items[i]
        assert chunk.tolist() == row["chunks"][len(row["chunks"]) // 2]
        assert tokenizer.decode(prompt).endswith(TEXT["instruction"] + row["caption"])


def test_validation_may_read_the_descriptions_of_other_songs(splits, tokenizer, tmp_path):
    songs, prompter = load_split(splits["valid"], str(tmp_path)), Prompter(tokenizer, "amt", TEXT)
    own, other = MiddleChunks(songs, prompter), MiddleChunks(songs, prompter, [1, 2, 3, 4, 0])
    for index in range(5):
        assert other[index][0] == own[(index + 1) % 5][0]
        assert other[index][1].tolist() == own[index][1].tolist()


ITEMS = [
    ([0, 5, 6], np.array([vocab.AUTOREGRESS, 1, 10_001, 11_001], np.uint16)),
    ([0], np.array([55_026, 2], np.uint16)),
]


def test_amt_batch():
    batch = {name: tensor.tolist() for name, tensor in collate_amt(ITEMS, pad_id=2).items()}
    assert batch == {
        "text_ids": [[0, 5, 6], [0, 2, 2]],
        "text_mask": [[1, 1, 1], [1, 0, 0]],
        "input_ids": [[vocab.AUTOREGRESS, 1, 10_001], [vocab.AUTOREGRESS, vocab.SEPARATOR, vocab.SEPARATOR]],
        "labels": [[1, 10_001, 11_001], [2, IGNORED, IGNORED]],
    }


def test_llama_batch():
    batch = collate_llama(ITEMS, pad_id=2, text_vocab_size=400)
    start = 400 + vocab.AUTOREGRESS
    assert batch["input_ids"].tolist() == [[0, 5, 6, start, 401, 10_401], [0, start, 2, 2, 2, 2]]
    assert batch["labels"].tolist() == [[5, 6, start, 401, 10_401, 11_401], [start, 402, *[IGNORED] * 4]]
    assert batch["labels"].dtype == torch.int64


def test_seeds_are_stable():
    assert stable_seed(0, "amt-t1.0", 3) == stable_seed("0", "amt-t1.0", "3") == 5868068436073932473
    assert len({stable_seed(seed, name) for seed in range(100) for name in "ab"}) == 200
    assert stable_seed("ab", "c") != stable_seed("a", "bc")


def test_random_descriptions_are_all_of_other_songs():
    for seed in range(50):
        order = derangement(7, seed)
        assert sorted(order) == list(range(7))
        assert all(i != j for i, j in enumerate(order))
    assert derangement(7, 1) == derangement(7, 1)
    assert len({tuple(derangement(7, seed)) for seed in range(50)}) > 40
    with pytest.raises(InputError):
        derangement(1, 0)


def test_shuffled_descriptions_are_another_songs_each(songs, tokenizer):
    prompter = Prompter(tokenizer, "amt", TEXT)
    own, shuffled = (TrainingChunks(songs, 60, prompter, 0.0, 3, is_shuffled) for is_shuffled in (False, True))
    n = len(songs)
    captions = [own[i][0] for i in range(n)]
    given = [shuffled[i][0] for i in range(2 * n)]
    assert sorted(given[:n]) == sorted(captions)
    assert given[:n] == given[n:]  # the same wrong one in each epoch
    assert given[:n] == [captions[other] for other in shuffled.described]
    assert all(index != other for index, other in enumerate(shuffled.described))
    assert all(np.array_equal(own[i][1], shuffled[i][1]) for i in range(n))
