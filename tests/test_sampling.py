"""Sampling: what is drawn, from which distribution, and what is written."""

import contextlib
import json
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats
from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params, Wildcards
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from libretto.errors import InputError
from libretto.generation import decoding
from libretto.generation.constraints import grammatical
from libretto.generation.nucleus import Nucleus, Streams
from libretto.generation.samples import read_songs, write_samples
from libretto.generation.sampling import conditioned, make_draw, sample, unconditional
from libretto.lock import LOCK
from libretto.models.amt import AmtForTextToMusic
from libretto.models.batches import collate_llama, pad_prompts
from libretto.seeds import stable_seed
from libretto.tokens import vocab
from libretto.tokens.reference import midi_to_tokens_mido, valid_events
from tests.checkout import ROOT, jobs_of
from tests.conftest import CAPTIONS, TEXT, variant_settings, write_split

SETTINGS = {"batch_size": 3, "max_new_tokens": 9, "top_p": 0.98, "top_k": 0}
SETTINGS |= {"constraint": "none", "instruments": [], "guidance": 1.0, "best_of": 1}


@pytest.fixture
def draw(tmp_path_factory):
    """A function from a generator to its pieces, by default all newly sampled."""

    def draw(generator, captions=CAPTIONS, seed=0, name="system", temperature=1.0, folder=None, **settings):
        folder = folder or tmp_path_factory.mktemp("batches")
        return list(sample(generator, captions, {**SETTINGS, **settings}, temperature, seed, name, folder))

    return draw


def greedy(seen):
    """Takes the likeliest token and keeps the logits that it saw."""

    def draw(logits, step):
        assert step == len(seen)
        seen.append(logits.clone())
        return logits.argmax(-1)

    return draw


@torch.no_grad()
def full_logits(variant, captions, music):
    """Logits [captions, n, music tokens] at `music` [captions, n], from right-padded batches without a cache."""
    prompts = [variant.prompter(caption) for caption in captions]
    if isinstance(variant.model, AmtForTextToMusic):
        text_ids, text_mask = pad_prompts(prompts, variant.prompter.pad_id)
        return variant.model(music, **variant.encode({"text_ids": text_ids, "text_mask": text_mask})).logits
    size = variant.model.config.vocab_size
    # The collator drops the last token of each row, which is never an input: so one more is added.
    items = [(prompt, np.append(row.numpy(), 0)) for prompt, row in zip(prompts, music, strict=True)]
    full = variant.model(collate_llama(items, variant.prompter.pad_id, size)["input_ids"]).logits[..., size:]
    return torch.stack([full[row, len(p) : len(p) + music.shape[1]] for row, p in enumerate(prompts)])


PROMPTS = ["A", "A waltz.", *(" ".join(CAPTIONS * n)[: 60 * n] for n in (1, 2, 7))]  # up to the longest


@pytest.mark.parametrize("bucket", [4, decoding.BUCKET])
def test_decoding_sees_what_the_full_forward_sees(make_tiny, family, bucket, monkeypatch):
    """Prompts of several lengths, padded at the left and cached, against right-padded batches without a cache."""
    monkeypatch.setattr(decoding, "BUCKET", bucket)
    variant, seen = make_tiny(family), []
    tokens = conditioned(variant)(PROMPTS, 30, greedy(seen))
    assert tokens.shape == (len(PROMPTS), 30)
    lengths = [len(variant.prompter(prompt)) for prompt in PROMPTS]
    assert max(lengths) - min(lengths) > 80, lengths
    music = torch.cat([torch.full((len(PROMPTS), 1), vocab.AUTOREGRESS), tokens[:, :-1]], dim=1)
    logits = full_logits(variant, PROMPTS, music)
    torch.testing.assert_close(torch.stack(seen, 1), logits, atol=2e-5, rtol=1e-5)
    assert tokens.equal(logits.argmax(-1))


@torch.no_grad()
def test_decoding_of_the_published_amt_sees_what_the_full_forward_sees(amt_folder, monkeypatch):
    monkeypatch.setattr(decoding, "BUCKET", 4)
    model, seen = AutoModelForCausalLM.from_pretrained(amt_folder), []
    tokens = unconditional(model)(["", ""], 96, greedy(seen))
    music = torch.cat([torch.full((2, 1), vocab.AUTOREGRESS), tokens[:, :-1]], dim=1)
    torch.testing.assert_close(torch.stack(seen, 1), model(music).logits, atol=2e-5, rtol=1e-5)


@pytest.fixture
def nan_without_keys(monkeypatch):
    """SDPA returns NaN for queries with no key to attend to, as some kernels do."""
    attention = functional.scaled_dot_product_attention

    def with_nan(*args, attn_mask=None, **kwargs):
        outputs = attention(*args, attn_mask=attn_mask, **kwargs)
        return outputs if attn_mask is None else outputs.masked_fill(~attn_mask.any(-1, keepdim=True), torch.nan)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", with_nan)


@pytest.mark.usefixtures("nan_without_keys")
def test_padding_attends_to_something(make_tiny, draw, family):
    """And what padding attends to changes no token."""
    alone = [draw(conditioned(make_tiny(family)), [caption])[0] for caption in CAPTIONS[:1]]
    assert draw(conditioned(make_tiny(family)))[:1] == alone


def test_a_piece_does_not_depend_on_its_batch(make_tiny, draw, family):
    variant = make_tiny(family)
    variant.model.double()  # in fp32, rounding can move a draw to the next token, which differs between processors
    captions = [f"{CAPTIONS[i % len(CAPTIONS)]} Number {i}." for i in range(32)]
    pieces = draw(conditioned(variant), captions, batch_size=32)
    assert len({tuple(tokens) for tokens, _ in pieces}) == 32
    for batch_size in (1, 7):
        assert draw(conditioned(variant), captions, batch_size=batch_size) == pieces


@pytest.mark.parametrize("temperature", [1.0, 1.1])
@pytest.mark.parametrize(("top_p", "top_k"), [(0.9, 0), (0.98, 0), (0.9, 5), (1e-9, 0), (1.0, 0)])
@pytest.mark.parametrize("spread", [0.5, 3.0, 8.0])
def test_draws_are_distributed_as_transformers_has_it(temperature, top_p, top_k, spread):
    """All draws are in transformers' nucleus, and their counts fit its probabilities (chi-squared)."""
    torch.manual_seed(0)
    logits = spread * torch.randn(1, 300)
    warpers = [TemperatureLogitsWarper(temperature), TopPLogitsWarper(top_p)]
    if top_k:
        warpers.insert(1, TopKLogitsWarper(top_k))
    expected = LogitsProcessorList(warpers)(None, logits).softmax(-1)[0].double().numpy()
    n = 20_000
    drawn = Nucleus(temperature, top_p, top_k, Streams(range(n), 1))(logits.expand(n, -1), 0)
    counts = np.bincount(drawn.numpy(), minlength=300)
    assert not counts[expected == 0].any()
    often = n * expected >= 5
    observed = np.append(counts[often], counts[~often].sum())
    wanted = n * np.append(expected[often], expected[~often].sum())
    kept = wanted > 0
    if kept.sum() > 1:
        assert stats.chisquare(observed[kept], wanted[kept] * n / wanted.sum()).pvalue > 1e-3


def test_a_nucleus_over_many_equal_tokens_keeps_them_all():
    """Of 1,000 equal tokens, none is likelier than another: their order does not decide which are drawn."""
    drawn = Nucleus(1.0, 0.1, 0, Streams(range(20_000), 1))(torch.zeros(20_000, 1000), 0)
    assert len(drawn.unique()) == 1000


def test_logits_that_are_nan_stop_the_run():
    scores = torch.zeros(2, 10)
    scores[1, 3] = torch.nan
    with pytest.raises(FloatingPointError, match="nan"):
        Nucleus(1.0, 0.9, 0, Streams(range(2), 1))(scores, 0)


def test_samples_are_music_and_end_at_the_length(draw, make_tiny, family):
    pieces = draw(conditioned(make_tiny(family)))
    assert len(pieces) == len(CAPTIONS)
    for tokens, stop in pieces:
        assert stop == "length"
        assert len(tokens) == 9
        assert 0 <= min(tokens) <= max(tokens) < vocab.EMBEDDING_ROWS
    assert len({tuple(tokens) for tokens, _ in pieces}) == len(pieces)


def test_the_separator_ends_a_piece(draw, make_tiny, family, monkeypatch):
    """Others continue."""
    plain = Nucleus.__call__

    def force(self, logits, step):
        tokens = plain(self, logits, step)
        tokens[1] = vocab.SEPARATOR if step == 3 else tokens[1]
        return tokens

    monkeypatch.setattr(Nucleus, "__call__", force)
    pieces = draw(conditioned(make_tiny(family)), CAPTIONS[:3])
    assert [(len(tokens), stop) for tokens, stop in pieces] == [(9, "length"), (3, "separator"), (9, "length")]


def test_decoding_stops_when_all_pieces_have_ended(make_tiny, family):
    steps = []
    ends = lambda logits, step: steps.append(step) or torch.full((2,), vocab.SEPARATOR if step % 2 else 7)  # noqa: E731
    assert conditioned(make_tiny(family))(CAPTIONS[:2], 9, ends).tolist() == [[7, vocab.SEPARATOR]] * 2
    assert steps == [0, 1]


def test_draws_follow_from_seed_system_and_index(draw, make_tiny):
    generator = conditioned(make_tiny("llama"))
    first = draw(generator)
    torch.manual_seed(1234)
    assert draw(generator) == first
    assert draw(generator, CAPTIONS[:3]) == first[:3]
    assert draw(generator, seed=1) != first
    assert draw(generator, name="another") != first


def test_candidates_have_streams_of_their_own_and_the_first_is_what_there_would_be_alone(draw, make_tiny):
    generator = conditioned(make_tiny("llama"))
    alone = []
    for index, caption in enumerate(CAPTIONS):  # with the seeds that there were before there were candidates
        drawing = make_draw(SETTINGS, 1.0, [stable_seed(0, "system", index)])
        alone += generator([caption], 9, drawing).tolist()
    # One at a time: in another batch, logits round otherwise.
    assert [tokens for tokens, _ in draw(generator, batch_size=1)] == alone
    several = draw(generator, best_of=3, batch_size=1)
    assert [tokens for tokens, _ in several[::3]] == alone
    assert several[1::3] == draw(generator, best_of=2, batch_size=1)[1::2]
    assert len({tuple(tokens) for tokens, _ in several}) == len(several) == 3 * len(CAPTIONS)


def test_the_published_amt_needs_no_text(draw, amt_folder):
    generator = unconditional(AutoModelForCausalLM.from_pretrained(amt_folder))
    pieces = draw(generator)
    assert [len(tokens) for tokens, _ in pieces] == [9] * len(CAPTIONS)
    assert draw(generator, ["other", "captions", "change", "nothing", "here"]) == pieces


# ---- Constraints and guidance ----


def event_parts(tokens):
    """Onsets, durations and instruments of tokens that must be whole events."""
    onsets, durations, notes = np.array(tokens).reshape(-1, 3).T
    assert ((onsets >= 0) & (onsets < 10_000)).all()
    assert ((durations >= 10_000) & (durations < 11_000)).all()
    assert ((notes >= 11_000) & (notes < 27_512)).all()
    return onsets, durations, (notes - 11_000) // 128


def test_grammar_makes_every_event_valid(make_tiny, draw, family):
    """Random weights: without the grammar, hardly any event is."""
    generator = conditioned(make_tiny(family))
    captions = [f"{i}" for i in range(50)]
    pieces = draw(generator, captions, batch_size=50, max_new_tokens=90, constraint="grammar")
    most = 0
    for tokens, _ in pieces:
        onsets, _, instruments = event_parts(tokens)
        assert (np.diff(onsets) >= 0).all()
        melodic = set(instruments) - {128}
        assert len(melodic) <= 15
        most = max(most, len(melodic))
    assert most == 15  # of 30 notes: the bound was reached
    free = [tokens for tokens, _ in draw(generator, captions[:5], max_new_tokens=90)]
    assert sum(valid_events(tokens)[1] for tokens in free) > 100


def test_a_thousand_pieces_under_the_grammar_are_valid():
    """Of logits that rise and fall at random, and favour what is not allowed."""
    draws = torch.Generator().manual_seed(0)
    draw = grammatical(Nucleus(1.0, 0.98, 0, Streams(range(1000), 51)))
    tokens, logits = [], torch.empty(1000, vocab.EMBEDDING_ROWS)
    for step in range(51):
        piece, token = (torch.randn(shape, generator=draws) for shape in ((1000, 1), (1, vocab.EMBEDDING_ROWS)))
        tokens.append(draw(torch.mul(3 * piece, token, out=logits), step))
    pieces = torch.stack(tokens, 1).tolist()
    pieces = [piece[: piece.index(vocab.SEPARATOR)] if vocab.SEPARATOR in piece else piece for piece in pieces]
    assert sum(valid_events(piece)[1] for piece in pieces) == 0
    assert all((np.diff(event_parts(piece)[0]) >= 0).all() for piece in pieces)
    assert max(len(set(event_parts(piece)[2]) - {128}) for piece in pieces) == 15  # of 17 notes


def test_what_the_grammar_allows_keeps_its_probabilities():
    """A note after an onset and a duration: the model's distribution over notes, scaled up."""
    torch.manual_seed(0)
    n, logits = 20_000, torch.randn(vocab.EMBEDDING_ROWS)
    notes = torch.arange(vocab.NOTE_OFFSET, vocab.NOTE_OFFSET + 8)
    logits[vocab.NOTE_OFFSET : vocab.REST] = -torch.inf
    logits[notes] = torch.randn(8)
    counts = np.zeros(8)
    for start in range(0, n, 1000):
        draw = grammatical(Nucleus(1.0, 1.0, 0, Streams(range(start, start + 1000), 3)))
        drawn = [draw(logits.expand(1000, -1), step) for step in range(3)]
        counts += np.bincount(drawn[2] - vocab.NOTE_OFFSET, minlength=8)
    assert stats.chisquare(counts, n * logits[notes].double().softmax(0).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("constraint", ["none", "grammar"])
def test_only_the_chosen_instruments_sound(make_tiny, draw, family, constraint):
    settings = {"constraint": constraint, "instruments": [0, 40, "drums"], "max_new_tokens": 90}
    heard = set()
    for tokens, _ in draw(conditioned(make_tiny(family)), **settings):
        tokens = np.array(tokens)
        notes = tokens[(tokens >= 11_000) & (tokens < 27_512)] - 11_000
        anticipated = tokens[(tokens >= 38_513) & (tokens < 55_025)] - 38_513
        heard |= set(notes // 128) | set(anticipated // 128)
    assert heard == {0, 40, 128}


@pytest.mark.parametrize("scale", [0.0, 1.5])
def test_guidance_is_the_formula_of_two_passes(make_tiny, family, scale):
    variant, seen = make_tiny(family), []
    tokens = conditioned(variant, scale)(PROMPTS, 12, greedy(seen))
    music = torch.cat([torch.full((len(PROMPTS), 1), vocab.AUTOREGRESS), tokens[:, :-1]], dim=1)
    described = full_logits(variant, PROMPTS, music)
    plain = full_logits(variant, [None] * len(PROMPTS), music)
    expected = plain + scale * (described - plain)
    torch.testing.assert_close(torch.stack(seen, 1), expected, atol=5e-5, rtol=1e-5)


def test_more_music_than_amt_has_positions_for_is_refused(draw, make_tiny, amt_folder):
    published = unconditional(AutoModelForCausalLM.from_pretrained(amt_folder))
    for generator in (published, conditioned(make_tiny("amt"))):
        with pytest.raises(InputError, match=r"97 music tokens, .* 96 positions: lower sampling\.max_new_tokens"):
            draw(generator, CAPTIONS[:1], max_new_tokens=97)


def test_the_prompts_logits_are_not_computed(draw, make_tiny, family, monkeypatch):
    """A prompt has up to 256 tokens, 55,030 logits each; only the last one's are sampled from."""
    columns, shapes = 55_032, []  # 55,030 rows, aligned
    linear = functional.linear

    def spy(states, weight, *bias):
        if len(weight) == columns:
            shapes.append(states.shape[:-1])
        return linear(states, weight, *bias)

    monkeypatch.setattr(functional, "linear", spy)
    draw(conditioned(make_tiny(family)), CAPTIONS[:3])
    assert shapes == [(3,)] * 9


def test_samples_are_written_with_their_midi(tmp_path):
    songs = [{"lmd_id": letter * 32, "caption": f"Song {letter}."} for letter in "abc"]
    note = vocab.NOTE_OFFSET + 60
    event = [5, vocab.DURATION_OFFSET + 50, note]
    pieces = [(event * 2, "length"), ([note, note, note], "length"), ([*event, 7], "separator")]
    write_samples(songs, songs[1:] + songs[:1], pieces, tmp_path / "tokens.parquet", tmp_path / "midi")
    rows = pq.read_table(tmp_path / "tokens.parquet").to_pylist()
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert [row["lmd_id"][0] + row["prompt_lmd_id"][0] for row in rows] == ["ab", "bc", "ca"]
    assert [row["prompt"] for row in rows] == ["Song b.", "Song c.", "Song a."]
    assert [row["tokens"] for row in rows] == [tokens for tokens, _ in pieces]
    assert [(row["n_events"], row["n_invalid"], row["stop"]) for row in rows] == [
        (2, 0, "length"),
        (0, 1, "length"),
        (1, 0, "separator"),
    ]
    assert sorted(path.name for path in (tmp_path / "midi").iterdir()) == ["0000.mid", "0002.mid"]
    assert midi_to_tokens_mido((tmp_path / "midi" / "0002.mid").read_bytes()).tolist() == event
    assert "candidate" not in rows[0]
    kept = [(*piece, number) for piece, number in zip(pieces, (2, 0, 1), strict=True)]
    write_samples(songs, songs[1:] + songs[:1], kept, tmp_path / "tokens.parquet", tmp_path / "midi")
    found = pq.read_table(tmp_path / "tokens.parquet").to_pylist()
    assert [row.pop("candidate") for row in found] == [2, 0, 1]
    assert found == rows


def test_the_first_songs_of_a_split_are_read(splits):
    found = [song["lmd_id"] for song in read_songs(splits["test"], 3, ["lmd_id"])]
    assert found == [f"{2:016x}{index:016x}" for index in range(3)]
    assert len(read_songs(splits["test"], None, ["lmd_id"])) == 5
    with pytest.raises(InputError, match=r"sampling\.n to at most 5"):
        read_songs(splits["test"], 6, ["lmd_id"])


# ---- Interrupted generations ----


def stop_after(generator, n):
    """The generator, interrupted after `n` batches, and the batches requested from it."""
    calls = []

    def generate(captions, *arguments):
        if len(calls) == n:
            raise KeyboardInterrupt
        calls.append(captions)
        return generator(captions, *arguments)

    return generate, calls


def test_a_generation_resumes_after_its_finished_batches(make_tiny, draw, family, tmp_path, capsys):
    generator = conditioned(make_tiny(family))
    expected = draw(generator, batch_size=1)
    interrupted, _ = stop_after(generator, 3)
    with pytest.raises(KeyboardInterrupt):
        draw(interrupted, folder=tmp_path, batch_size=1)
    capsys.readouterr()
    resumed, calls = stop_after(generator, 5)
    assert draw(resumed, folder=tmp_path, batch_size=1) == expected
    assert calls == [[caption] for caption in CAPTIONS[3:]]
    bar = capsys.readouterr().err
    assert "3/5" in bar
    assert "0/5" not in bar


def test_a_generation_resumes_on_a_card_of_another_size(make_tiny, draw, tmp_path):
    """Where the batch is what fits the memory, it may differ; a damaged batch is sampled again with its own size."""
    generator = conditioned(make_tiny("llama"))
    expected = draw(generator, batch_size=1)
    interrupted, _ = stop_after(generator, 2)
    with pytest.raises(KeyboardInterrupt):
        draw(interrupted, folder=tmp_path, batch_size=2)
    next(tmp_path.glob("000000*")).write_bytes(b"damaged")
    resumed, calls = stop_after(generator, 3)
    resumed.batch_size = lambda n, n_tokens: 3
    assert draw(resumed, folder=tmp_path, batch_size=None) == expected
    assert calls == [CAPTIONS[:2], CAPTIONS[4:]]


def test_batches_are_equal_and_fit_the_free_memory(make_tiny, family, monkeypatch):
    decoder = conditioned(make_tiny(family)).decoder
    decoder(conditioned(make_tiny(family)).make_prompts(CAPTIONS[:2]), 20, greedy([]), vocab.SEPARATOR)
    cached = sum(layer.keys.nbytes + layer.values.nbytes for layer in decoder._steps.layers)
    assert cached / 2 < decoder.row_bytes(20) < cached / 2 + 3e6  # the rest: the prompt's states, the logits
    assert decoder.batch_size(1000, 20) == 32  # on a CPU: 32 batches
    monkeypatch.setattr(type(decoder.core), "device", torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (1000 * decoder.row_bytes(20), 0))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 300 * decoder.row_bytes(20))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 50 * decoder.row_bytes(20))
    assert [decoder.batch_size(n, 20) for n in (5, 1000, 1001, 1500)] == [5, 1000, 501, 750]


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 32), (2.0, 16)])
def test_guidance_takes_half_as_many(scale, expected, make_tiny):
    assert conditioned(make_tiny("llama"), scale).batch_size(1000, 9) == expected


def test_the_separator_is_kept_with_the_batch(draw, tmp_path):
    rows = torch.tensor([[5, vocab.SEPARATOR, vocab.SEPARATOR], [5, 6, 7]])
    pieces = [draw(lambda *args, **kwargs: rows, CAPTIONS[:2], folder=tmp_path) for _ in range(2)]
    assert pieces == [[([5], "separator"), ([5, 6, 7], "length")]] * 2


def test_a_damaged_batch_is_sampled_again(draw, tmp_path, caplog):
    """Every truncation, every byte changed, and what a power cut leaves: zeros."""
    rows = torch.arange(6).reshape(2, 3)
    generator, calls = stop_after(lambda *args, **kwargs: rows, 1)
    expected = draw(generator, CAPTIONS[:2], folder=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    draws = random.Random(0)
    damaged = [whole[:n] for n in range(len(whole))] + [bytes(len(whole))]
    for i, byte in enumerate(whole):
        damaged.append(whole[:i] + bytes([byte ^ draws.randrange(1, 256)]) + whole[i + 1 :])
    for content in damaged:
        path.write_bytes(content)
        calls.clear()
        assert draw(generator, CAPTIONS[:2], folder=tmp_path) == expected
        assert len(calls) == 1
        assert path.read_bytes() == whole
    assert f"{path} is damaged" in caplog.text


def as_events(generator):
    """The generator, its tokens moved to where those of an event belong, so that every piece has a MIDI file."""

    def generate(*args, **kwargs):
        rows = generator(*args, **kwargs).unflatten(1, (-1, 3)) % 100
        return (rows + torch.tensor([0, vocab.DURATION_OFFSET, vocab.NOTE_OFFSET])).flatten(1)

    return generate


@pytest.fixture
def generate(make_tiny, llama_folder, splits, tmp_path, monkeypatch):
    """A function that runs generate.py as its rule does, and returns the batches that it sampled.

    It is interrupted after `n` batches; `changes` are of the inputs and the params, `sampling` of that param.
    """
    monkeypatch.setattr("libretto.job.start_job", lambda job: None)
    make_tiny("llama").model.save_pretrained(tmp_path / "model")
    text = {key: TEXT[key] for key in ("max_tokens", "instruction", "instruction_without_description")}

    def generate(folder, n=None, sampling=(), **changes):
        inputs = {"model": str(tmp_path / "model"), "text_model": llama_folder, "test": splits["test"]}
        files = InputFiles(fromdict={name: str(changes.pop(name, path)) for name, path in inputs.items()})
        if pairs := list(map(str, changes.pop("pairs", []))):
            files.extend(pairs)
            files._set_name("pairs", len(inputs), end=len(files))  # as Snakemake does with a list
        params = {
            "settings": {"variant": {"family": "llama"}, "text": text},
            "sampling": {**SETTINGS, "n": 5, "batch_size": 2, **dict(sampling)},
            "temperature": 1.0,
            "seed": 0,
            "batches": "batches",
            "code": "0123456789abcdef",
        }
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)  # a MIDI file names its path
        job = SimpleNamespace(
            input=files,
            output=OutputFiles(fromdict={"tokens": "tokens.parquet", "midi": "midi"}),
            params=Params(fromdict={**params, **changes}),
            wildcards=Wildcards(fromdict={"system": "llama-t1.0"}),
            log=Log(toclone=["generate.log"]),
        )
        sampled = []

        def stopping(variant, guidance):
            generator, calls = stop_after(as_events(conditioned(variant, guidance)), n)
            sampled.append(calls)
            return generator

        monkeypatch.setattr("libretto.generation.sampling.conditioned", stopping)
        with contextlib.nullcontext() if n is None else pytest.raises(KeyboardInterrupt):
            runpy.run_path(str(ROOT / "workflow/scripts/generate.py"), {"snakemake": job})
        return sampled[0]

    return generate


def outputs(folder):
    """The bytes of every file below `folder`."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_an_interrupted_generation_writes_the_same_files(generate, tmp_path):
    undisturbed, interrupted = tmp_path / "undisturbed", tmp_path / "interrupted"
    assert len(generate(undisturbed)) == 3
    assert len(list(undisturbed.glob("midi/*.mid"))) == 5
    generate(interrupted, n=2)
    shutil.rmtree(interrupted / "midi")  # as Snakemake does
    assert generate(interrupted) == [CAPTIONS[4:]]
    assert outputs(interrupted) == outputs(undisturbed)
    assert len(generate(interrupted)) == 3  # nothing is kept of a finished one


def test_a_generation_keeps_the_best_candidate(generate, splits, tmp_path, monkeypatch):
    ids = pq.read_table(splits["test"])["lmd_id"].to_pylist()
    known = [{"lmd_id": lmd_id, "instrument_summary": ["Drums"], "key": None, "tempo": 90} for lmd_id in ids]
    pq.write_table(pa.Table.from_pylist(known[::-1]), tmp_path / "pairs.parquet")
    asked = []

    def agreement(tokens, description):
        asked.append(description["lmd_id"])
        return sum(tokens)

    monkeypatch.setattr("libretto.generation.selection.agreement", agreement)
    generate(tmp_path / "one")
    one = pq.read_table(tmp_path / "one/tokens.parquet").to_pylist()
    assert not asked
    assert len(generate(tmp_path / "best", sampling={"best_of": 3}, pairs=[tmp_path / "pairs.parquet"])) == 8  # of 2
    best = pq.read_table(tmp_path / "best/tokens.parquet").to_pylist()
    assert asked == [lmd_id for lmd_id in ids[:5] for _ in range(3)]
    for first, kept in zip(one, best, strict=True):
        assert sum(kept["tokens"]) >= sum(first["tokens"])
        assert (kept["candidate"] == 0) == (kept["tokens"] == first["tokens"])
    assert {row["candidate"] for row in best} != {0}


def test_no_batch_is_taken_for_another_generations(generate, splits, llama_folder, make_tiny, tmp_path):
    generate(tmp_path, n=2)
    assert len(outputs(tmp_path / "batches")) == 2
    model = make_tiny("llama").model
    with torch.no_grad():
        model.music_embedding.weight[0, 0] += 1
    model.save_pretrained(tmp_path / "other_model")
    copies = {
        "text_model": shutil.copytree(llama_folder, tmp_path / "text_model"),
        "test": shutil.copyfile(splits["test"], tmp_path / "test.parquet"),
    }
    shutil.copytree(llama_folder, tmp_path / "other_text_model")
    (tmp_path / "other_text_model" / "another_file").touch()
    changes = [
        *({"sampling": change} for change in ({"top_p": 0.9}, {"top_k": 5}, {"guidance": 2.0}, {"max_new_tokens": 6})),
        {"sampling": {"batch_size": 3}},
        {"temperature": 1.1},
        {"seed": 1},
        {"code": "another"},
        {"model": tmp_path / "other_model"},
        {"text_model": tmp_path / "other_text_model"},
        {"test": write_split(tmp_path / "other.parquet", 5, 7)},
    ]
    for n_others, change in enumerate(changes, 1):
        assert len(generate(tmp_path, n=1, **change)) == 1, change
        assert len(outputs(tmp_path / "batches")) == 2 + n_others, change
    assert generate(tmp_path, **copies) == [CAPTIONS[4:]]  # the same content under another name is the same


SAMPLES = "results/kill/samples/killed-t1.0"
KILLED = {"n": 12, "batch_size": 1, "max_new_tokens": 30, "top_k": 50}


@pytest.fixture
def snakemake_command(make_tiny, llama_folder, splits, tmp_path):
    """The call of Snakemake that samples 12 batches of a tiny model in `tmp_path`, with two retries."""
    (tmp_path / "results/kill/data/splits").mkdir(parents=True)
    shutil.copyfile(splits["train"], tmp_path / "results/kill/data/splits/test.parquet")
    make_tiny("llama").model.save_pretrained(tmp_path / "results/kill/train/killed/model")
    (tmp_path / "results/kill/train/killed/best.json").write_text("{}")
    source = {"path": str(ROOT / "README.md")}  # generation reads no archive and no soundfont; a path that exists
    experiment = {
        "run": "kill",
        "sources": {
            **dict.fromkeys(("lmd", "midicaps", "soundfont"), source),
            "models": {"tiny-llama": {"path": llama_folder}},
        },
        "text": TEXT,
        "data": {"chunk_tokens": 64},  # the splits' own
        "variants": {"killed": {**variant_settings("llama"), "base": "tiny-llama", "temperatures": [1.0]}},
        "sampling": KILLED,
        "metrics": {"fad_sub": {"size": 2}},
    }
    (tmp_path / "experiment.json").write_text(json.dumps(experiment))
    files = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(ROOT / "config.yaml"), "experiment.json"]
    options = ["--cores", "1", "--retries", "2", "--allowed-rules", "generate"]
    return [sys.executable, "-m", "snakemake", *files, *options, "--", f"{SAMPLES}/tokens.parquet"]


@pytest.mark.slow
def test_a_killed_job_ends_like_an_undisturbed_one(snakemake_command, make_tiny, config, splits, tmp_path, draw):
    log = tmp_path / "output"
    with log.open("w") as output:
        process = subprocess.Popen(snakemake_command, cwd=tmp_path, stdout=output, stderr=subprocess.STDOUT)
    seen = [0]
    for number in (signal.SIGKILL, signal.SIGTERM):
        while len(list(tmp_path.glob(f"{SAMPLES}/batches/*/*.xz"))) < seen[-1] + 3:
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.01)
        jobs = jobs_of(process, ".snakemake/scripts")
        for job in jobs:  # the shell too, as a scheduler does
            with contextlib.suppress(psutil.NoSuchProcess):
                job.send_signal(number)
        _, alive = psutil.wait_procs(jobs, timeout=5)
        assert not alive
        seen.append(len(list(tmp_path.glob(f"{SAMPLES}/batches/*/*.xz"))))
    assert process.wait() == 0, log.read_text()[-3000:]
    assert seen[-1] < 12
    assert all(f": {n} of 12 pieces are sampled" in log.read_text() for n in seen[1:])
    assert not list((tmp_path / SAMPLES).glob("batches"))

    songs = read_songs(splits["train"], 12, ["lmd_id", "caption"])  # undisturbed, in this process
    captions = [song["caption"] for song in songs]
    pieces = draw(conditioned(make_tiny("llama")), captions, name="killed-t1.0", **{**config["sampling"], **KILLED})
    write_samples(songs, songs, pieces, tmp_path / "tokens.parquet", tmp_path / "midi")
    assert (tmp_path / SAMPLES / "tokens.parquet").read_bytes() == (tmp_path / "tokens.parquet").read_bytes()
