"""Models of the experiment's real sizes with random weights, and songs of random tokens."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import AutoConfig, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaModel, PretrainedConfig

from libretto.errors import InputError
from libretto.models.amt import AmtForTextToMusic, AmtTextConfig
from libretto.models.attention import CAUSAL
from libretto.models.batches import collate_amt, collate_llama
from libretto.models.device import inference_dtype
from libretto.models.encoder import TextEncoder, text_shape
from libretto.models.llama import LlamaForTextToMusic, LlamaMusicConfig
from libretto.models.prompts import Prompter
from libretto.models.variants import Variant
from libretto.tokens import vocab

PROMPT_TOKENS = 100  # a typical description with the instruction
TEXT_IDS = 250  # random prompts have ids below this, which every tokenizer has

_LLAMA = {"vocab_size": 128_256, "num_key_value_heads": 8, "intermediate_size": 8192, "tie_word_embeddings": True}
# The sizes of the paper's models, by hub repository, for when they are not downloaded yet.
PUBLISHED: dict[str, PretrainedConfig] = {
    "stanford-crfm/music-large-800k": GPT2Config(
        vocab_size=vocab.EMBEDDING_ROWS, n_embd=1280, n_layer=36, n_head=20, bos_token_id=None, eos_token_id=None
    ),
    "meta-llama/Llama-3.2-1B": LlamaConfig(
        hidden_size=2048, num_hidden_layers=16, num_attention_heads=32, head_dim=64, **_LLAMA
    ),
    "meta-llama/Llama-3.2-3B": LlamaConfig(
        hidden_size=3072, num_hidden_layers=28, num_attention_heads=24, head_dim=128, **_LLAMA
    ),
}


def base_config(key: str, entry: dict, path: str, layers: int | None = None) -> PretrainedConfig:
    """The config of a pretrained model: its own, or the published one if it is not there yet.

    Args:
        key: of the model in the config, for errors.
        entry: the model's source.
        path: its folder.
        layers: instead of its own.

    Raises:
        InputError: it is not there, and nothing is known about it.
    """
    if (Path(path) / "config.json").exists():
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    elif entry.get("hub") in PUBLISHED:
        config = type(PUBLISHED[entry["hub"]]).from_dict(PUBLISHED[entry["hub"]].to_dict())
    else:
        raise InputError(f"{key}: there is no {path}/config.json yet, so its size is unknown; put it there first")
    if layers is not None:
        config.num_hidden_layers = layers  # GPT-2 maps it to its own n_layer
    return config


class RandomPrompter(Prompter):
    """Prompts of random tokens, for which no tokenizer is needed."""

    def __init__(self, max_tokens: int):
        self.max_tokens = max_tokens
        self.pad_id = 0

    def __call__(self, caption: str | None) -> list[int]:
        """Random token ids, as many as a typical prompt has."""
        draws = np.random.default_rng(0 if caption is None else len(caption))
        return draws.integers(1, TEXT_IDS, min(PROMPT_TOKENS, self.max_tokens)).tolist()


class RandomSongs(Dataset):
    """Prompts and full chunks of random tokens, as `TrainingChunks` and `MiddleChunks` have them.

    Args:
        n_items: how many.
        chunk_tokens: of each chunk.
        prompt_tokens: of each prompt.
    """

    def __init__(self, n_items: int, chunk_tokens: int = 1_024, prompt_tokens: int = PROMPT_TOKENS):
        self.songs: Sequence[int] = range(n_items)
        self.chunk_tokens = chunk_tokens
        self.prompt_tokens = prompt_tokens

    def __len__(self) -> int:
        return len(self.songs)

    def __getitem__(self, index: int) -> tuple[list[int], np.ndarray]:
        draws = np.random.default_rng(index)
        music = draws.integers(0, vocab.REST, self.chunk_tokens).astype(np.uint16)
        music[0] = vocab.AUTOREGRESS
        return draws.integers(1, TEXT_IDS, self.prompt_tokens).tolist(), music


def random_variant(
    settings: dict, base: PretrainedConfig, text_model: LlamaConfig, max_tokens: int, device: torch.device
) -> Variant:
    """A variant of the size that training would make, with random weights in fp32.

    Args:
        settings: the variant's section of the config.
        base: the config of its pretrained model.
        text_model: that of the Llama that reads its text.
        max_tokens: of a prompt.
        device: where it runs.
    """
    prompter = RandomPrompter(max_tokens)
    torch.manual_seed(0)
    with device:
        if settings["family"] == "amt":
            shape = text_shape(text_model, settings["text_states"])
            model = AmtForTextToMusic(AmtTextConfig.of_base(base, **shape))
            llama = LlamaModel._from_config(text_model, dtype=inference_dtype(device))
            encoder = TextEncoder(llama, settings["text_states"] == "weighted")
            collate = partial(collate_amt, pad_id=prompter.pad_id)
        else:
            model, encoder = LlamaForTextToMusic(LlamaMusicConfig.of_base(base)), None
            collate = partial(collate_llama, pad_id=prompter.pad_id, text_vocab_size=base.vocab_size)
    model.set_attn_implementation(CAUSAL)
    return Variant(model, prompter, collate, encoder)


def random_amt(base: GPT2Config, device: torch.device) -> GPT2LMHeadModel:
    """AMT as published, with random weights, as generation loads it."""
    torch.manual_seed(0)
    with device:
        return GPT2LMHeadModel._from_config(base, dtype=inference_dtype(device)).to(device)
