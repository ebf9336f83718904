"""Tiny models and splits in the real formats: AMT's vocabulary, Llama with its own small one, songs of a few chunks."""

import gc
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from filelock import FileLock

from libretto.tables import CHUNKS
from libretto.tokens import vocab
from tests.checkout import ROOT, copy_checkout, dry_run, job_counts, shorten, snakemake
from tests.compiled import lend_compiled

SPECIAL_TOKENS = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
CAPTIONS = [
    "A calm piano piece in C major.",
    "An energetic rock song with drums, electric guitar and bass in 4/4.",
    "A waltz.",
    "Slow strings and a solo flute play a sad melody in A minor, 70 beats per minute.",
    "A cheerful pop song with synthesizers.",
]
TEXT = {
    "max_tokens": 256,
    "instruction": "Please compose some music according to the following description: ",
    "instruction_without_description": "Please compose some music.",
    "description_dropout": 0.1,
}


@pytest.fixture
def config():
    """The shipped config as its file has it: defaults are not filled in."""
    return yaml.safe_load((ROOT / "config.yaml").read_text())


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def few_objects_to_collect():
    """Each training collects garbage: not among the million objects that the imports have made, which takes 0.3 s."""
    gc.freeze()


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """A copy of the checkout in which `snakemake --profile demo` has run, with a shorter experiment.

    One worker runs it, the others wait; each has a copy of its own.
    """
    base = tmp_path_factory.getbasetemp()
    first = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "demo"
    with FileLock(f"{first}.lock"):
        if not first.exists():
            checkout = copy_checkout(tmp_path_factory.mktemp("demo"))
            shorten(checkout)
            lend_compiled(checkout, checkout)
            run = snakemake(checkout, "--profile", "demo")
            assert run.returncode == 0, run.stdout[-5000:]
            checkout.rename(first)
    return shutil.copytree(first, tmp_path_factory.mktemp("copy") / "demo", symlinks=True)


@pytest.fixture(scope="session")
def shipped_plan(tmp_path_factory):
    """The jobs of the shipped config, by rule; for tests in the group `plan`, so that one worker makes it."""
    return job_counts(dry_run(copy_checkout(tmp_path_factory.mktemp("plan"))))


@pytest.fixture(scope="session")
def tokenizer():
    """A byte-level BPE tokenizer with Llama's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL_TOKENS, initial_alphabet=alphabet)
    bpe.train_from_iterator(CAPTIONS * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token=SPECIAL_TOKENS[0], eos_token=SPECIAL_TOKENS[1])


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory, tokenizer):
    """A Llama checkpoint of random weights in bf16, as Llama 3.2's is, with its tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=1,
    )
    folder = tmp_path_factory.mktemp("llama")
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def amt_folder(tmp_path_factory):
    """An AMT checkpoint of random weights: GPT-2 with AMT's 55,030 rows and 96 positions."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(2)
    config = GPT2Config(
        vocab_size=vocab.EMBEDDING_ROWS,
        n_positions=96,
        n_embd=16,
        n_layer=2,
        n_head=2,
        resid_pdrop=0.1,
        embd_pdrop=0.1,
        attn_pdrop=0.1,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
    )
    folder = tmp_path_factory.mktemp("amt")
    GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


def make_chunk(draws: np.random.Generator, n_events: int) -> list[int]:
    """The start token and events of a scale: onsets rise, one instrument."""
    tokens = [vocab.AUTOREGRESS]
    for i in range(n_events):
        duration = int(draws.choice([10, 20]))
        note = vocab.NOTE_OFFSET + 60 + int(draws.integers(8))
        tokens += [vocab.TIME_OFFSET + 10 * i, vocab.DURATION_OFFSET + duration, note]
    return tokens


def write_split(path, n_songs: int, seed: int) -> str:
    """A split of songs of one to four chunks, the last one shorter."""
    draws = np.random.default_rng(seed)
    rows = {"lmd_id": [], "caption": [], "chunks": []}
    for index in range(n_songs):
        rows["lmd_id"].append(f"{seed:016x}{index:016x}")
        rows["caption"].append(CAPTIONS[index % len(CAPTIONS)])
        full = [make_chunk(draws, 21) for _ in range(int(draws.integers(0, 4)))]
        rows["chunks"].append([*full, make_chunk(draws, int(draws.integers(4, 21)))])
    pq.write_table(pa.table(rows, CHUNKS), path)
    return str(path)


@pytest.fixture(scope="session")
def splits(tmp_path_factory):
    """Paths of a training split of 12 songs and of validation and test splits of 5."""
    folder = tmp_path_factory.mktemp("splits")
    sizes = {"train": 12, "valid": 5, "test": 5}
    return {name: write_split(folder / f"{name}.parquet", n, seed) for seed, (name, n) in enumerate(sizes.items())}


def variant_settings(family: str, **training) -> dict:
    """A variant's section of the config, for the tiny models."""
    settings = {
        "batch_size": 4,
        "micro_batch_size": 2,
        "learning_rate": 1e-3,
        "max_steps": 6,
        "warmup_steps": 2,
        "eval_steps": 2,
        "precision": "fp32",
        "gradient_checkpointing": False,
        "compile": True,
        "shard": False,
        **training,
    }
    kind = {"text_states": "weighted"} if family == "amt" else {"init": "gaussian"}
    return {"family": family, **kind, "descriptions": "own", "chunks": "in-turn", "training": settings}


@pytest.fixture(params=["amt", "llama"])
def family(request):
    return request.param


@pytest.fixture
def make_tiny(amt_folder, llama_folder):
    """A function of a family (and text_states or init) that gives a fresh tiny Variant on the CPU."""
    import torch

    from libretto.models.variants import base_model, make_variant

    def make(family: str, **kind):
        settings = {**variant_settings(family), **kind}
        torch.manual_seed(0)
        base = amt_folder if family == "amt" else llama_folder
        model = base_model(settings, base, llama_folder, amt_folder)
        return make_variant(model, settings, TEXT, llama_folder, torch.device("cpu"))

    return make
