"""Sampling: what is drawn, from which distribution, and what is written."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional
from transformers import (
    AutoModelForCausalLM,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from libretto import device, sampling, vocab
from libretto.chunks import collate_llama, pad_prompts
from libretto.errors import InputError
from libretto.midi import midi_to_tokens
from libretto.samples import middle_chunk, read_songs, write_samples
from libretto.sampling import Nucleus, conditioned, sample, unconditional
from tests.conftest import CAPTIONS

SETTINGS = {"batch_size": 3, "max_new_tokens": 9, "top_p": 0.98, "top_k": 0}


def draw(generator, captions=CAPTIONS, seed=0, name="system", temperature=1.0, **settings):
    return list(sample(generator, captions, {**SETTINGS, **settings}, temperature, seed, name))


class Greedy(Nucleus):
    """Takes the likeliest token and keeps the scores that it saw."""

    def __init__(self, first_music_row, seen):
        super().__init__(first_music_row, 1.0, 1e-9, 0)
        self.seen = seen

    def __call__(self, input_ids, scores):
        self.seen.append(scores.clone())
        return super().__call__(input_ids, scores)


@torch.no_grad()
def test_generation_with_a_cache_sees_what_the_full_forward_sees(make_tiny, family):
    """Captions of several lengths, padded at the left and cached, against right-padded batches without a cache."""
    variant, seen = make_tiny(family), []
    tokens = conditioned(variant)(CAPTIONS[:3], max_new_tokens=9, nucleus=lambda first: Greedy(first, seen))
    assert tokens.shape == (3, 9)
    music = torch.cat([torch.full((3, 1), vocab.AUTOREGRESS), tokens[:, :-1]], dim=1)
    prompts = [variant.prompter(caption) for caption in CAPTIONS[:3]]
    assert len({len(prompt) for prompt in prompts}) > 1
    if family == "amt":
        text_ids, text_mask = pad_prompts(prompts, variant.prompter.pad_id)
        inputs = variant.encode({"text_ids": text_ids, "text_mask": text_mask})
        logits = variant.model(music, **inputs).logits
    else:
        items = [(prompt, row.numpy()) for prompt, row in zip(prompts, music, strict=True)]
        size = variant.model.config.vocab_size
        # The collator drops the last token of each row, which is never an input: one more stands there.
        items = [(prompt, np.append(row, 0)) for prompt, row in items]
        ids = collate_llama(items, variant.prompter.pad_id, size)["input_ids"]
        full = variant.model(ids, use_cache=False).logits
        logits = torch.stack([full[r, len(p) : len(p) + 9] for r, p in enumerate(prompts)])
    torch.testing.assert_close(torch.stack(seen, 1), logits, atol=2e-5, rtol=1e-5)


@pytest.fixture(params=[None, "static"])
def cache(request, monkeypatch):
    """The cache on the CPU, and the one on a GPU."""
    options = sampling._options
    changes = {"cache_implementation": request.param, "max_cache_len": 200 if request.param else None}
    monkeypatch.setattr(sampling, "_options", lambda *args: {**options(*args), **changes})


@pytest.fixture
def nan_without_keys(monkeypatch):
    """A function that makes SDPA return NaN for queries with no key to attend to, as some kernels do."""
    attention = functional.scaled_dot_product_attention

    def with_nan(*args, attn_mask=None, **kwargs):
        outputs = attention(*args, attn_mask=attn_mask, **kwargs)
        return outputs if attn_mask is None else outputs.masked_fill(~attn_mask.any(-1, keepdim=True), torch.nan)

    return lambda: monkeypatch.setattr(functional, "scaled_dot_product_attention", with_nan)


@pytest.mark.usefixtures("cache")
def test_padding_attends_to_something(make_tiny, family, nan_without_keys):
    """And the tokens are those with transformers' own mask, in which it attends to nothing."""

    def with_transformers_mask():
        variant = make_tiny(family)
        generator = conditioned(variant)
        variant.model.set_attn_implementation("sdpa")
        return generator

    expected = draw(with_transformers_mask())
    assert draw(conditioned(make_tiny(family))) == expected
    nan_without_keys()
    assert draw(conditioned(make_tiny(family))) == expected
    with pytest.raises(RuntimeError, match="nan"):
        draw(with_transformers_mask())


@pytest.mark.usefixtures("cache")
def test_the_published_amt_has_no_padding(amt_folder, nan_without_keys):
    generator = unconditional(AutoModelForCausalLM.from_pretrained(amt_folder))
    expected = draw(generator)
    nan_without_keys()
    assert draw(generator) == expected


@pytest.mark.parametrize("temperature", [1.0, 1.1])
@pytest.mark.parametrize("top_k", [0, 5])
@pytest.mark.parametrize("spread", [0.5, 3.0, 8.0])
def test_nucleus_is_that_of_transformers(temperature, top_k, spread, monkeypatch):
    monkeypatch.setattr(Nucleus, "CANDIDATES", 50)
    torch.manual_seed(0)
    scores = spread * torch.randn(6, 400)
    warpers = [TemperatureLogitsWarper(temperature), TopPLogitsWarper(0.9)]
    if top_k:
        warpers.insert(1, TopKLogitsWarper(top_k))
    expected = LogitsProcessorList(warpers)(None, scores[:, 100:]).softmax(-1)
    ours = Nucleus(100, temperature, 0.9, top_k)(None, scores).softmax(-1)
    assert not ours[:, :100].any()
    torch.testing.assert_close(ours[:, 100:], expected)


def test_samples_are_music_and_end_at_the_length(make_tiny, family):
    pieces = draw(conditioned(make_tiny(family)))
    assert len(pieces) == len(CAPTIONS)
    for tokens, stop in pieces:
        assert stop == "length"
        assert len(tokens) == 9
        assert 0 <= min(tokens) <= max(tokens) < vocab.EMBEDDING_ROWS
    assert len({tuple(tokens) for tokens, _ in pieces}) == len(pieces)


def test_the_separator_ends_a_piece(make_tiny, family, monkeypatch):
    """A row that ended is padded with separators while the others go on."""
    plain = Nucleus.__call__
    steps = []

    def force(self, input_ids, scores):
        steps.append(1)
        scores = plain(self, input_ids, scores)
        if len(steps) == 4:
            scores[1] = -torch.inf
            scores[1, self.first + vocab.SEPARATOR] = 0
        return scores

    monkeypatch.setattr(Nucleus, "__call__", force)
    pieces = draw(conditioned(make_tiny(family)), CAPTIONS[:3])
    assert [(len(tokens), stop) for tokens, stop in pieces] == [(9, "length"), (3, "separator"), (9, "length")]
    assert vocab.SEPARATOR not in pieces[1][0]


def test_draws_follow_from_seed_system_and_batch(make_tiny):
    generator = conditioned(make_tiny("llama"))
    first = draw(generator)
    torch.manual_seed(1234)
    assert draw(generator) == first
    assert draw(generator, CAPTIONS[:3]) == first[:3]
    assert draw(generator, seed=1) != first
    assert draw(generator, name="another") != first


def test_the_published_amt_needs_no_text(amt_folder):
    generator = unconditional(AutoModelForCausalLM.from_pretrained(amt_folder))
    pieces = draw(generator)
    assert [len(tokens) for tokens, _ in pieces] == [9] * len(CAPTIONS)
    assert draw(generator, ["other", "captions", "change", "nothing", "here"]) == pieces


def test_more_music_than_amt_has_positions_for_is_refused(make_tiny, amt_folder):
    published = unconditional(AutoModelForCausalLM.from_pretrained(amt_folder))
    for generator in (published, conditioned(make_tiny("amt"))):
        with pytest.raises(InputError, match=r"97 music tokens, .* 96 positions: lower sampling\.max_new_tokens"):
            draw(generator, CAPTIONS[:1], max_new_tokens=97)


def test_the_prompts_logits_are_not_computed(make_tiny, family, monkeypatch):
    """A prompt has up to 256 tokens, 55,030 logits each; only the last one's are sampled from."""
    variant, shapes = make_tiny(family), []
    head = variant.model.lm_head if family == "amt" else variant.model.expanded_lm_head
    head.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape[1]))
    draw(conditioned(variant), CAPTIONS[:3])
    assert shapes == [1] * 9


@pytest.mark.parametrize(
    ("compiler", "header", "missing"),
    [("clang", "Python.h", None), (None, "Python.h", "C compiler"), ("clang", "no.h", "Python.h")],
)
def test_without_a_compiler_nothing_is_compiled(compiler, header, missing, monkeypatch, tmp_path, caplog):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("shutil.which", lambda name: name if name == compiler else None)
    monkeypatch.setattr("sysconfig.get_paths", lambda: {"include": tmp_path})
    (tmp_path / header).touch()
    assert device.can_compile.__wrapped__() == (missing is None)
    if missing:
        assert missing in caplog.text


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
    assert midi_to_tokens((tmp_path / "midi" / "0002.mid").read_bytes()).tolist() == event


def test_human_music_is_the_middle_chunk(splits):
    songs = read_songs(splits["test"], 3, ["lmd_id", "chunks"])
    assert len(songs) == 3
    for song in songs:
        assert middle_chunk(song) == song["chunks"][len(song["chunks"]) // 2][1:]
    assert len(read_songs(splits["test"], None, ["lmd_id"])) == 5
    with pytest.raises(InputError, match=r"sampling\.n to at most 5"):
        read_songs(splits["test"], 6, ["lmd_id"])
