"""Tiny base checkpoints in the hub's own format, so that the demo loads models the way the full experiment does."""

import json
import math
import random
from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch.nn import functional as F
from tqdm import tqdm
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from libretto.files import follow_umask
from libretto.standins.captions import midicaps_row
from libretto.standins.composer import Piece, compose
from libretto.tokens.vocab import (
    AUTOREGRESS,
    DURATION_OFFSET,
    EMBEDDING_ROWS,
    MAX_DURATION,
    MAX_TIME,
    NOTE_OFFSET,
    PITCHES,
    TICKS_PER_SECOND,
    TIME_OFFSET,
    TOKENS_PER_EVENT,
)

TEXT_VOCABULARY = 2000
TEXT_CAPTIONS = 100
# Llama 3's special tokens, of which it has 256 with the reserved ones; they follow the text vocabulary.
SPECIAL_TOKENS = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>"),
    *("<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eom_id|>", "<|eot_id|>", "<|python_tag|>"),
)
# As Llama 3 splits text before it merges bytes: contractions, words, numbers of up to three digits, punctuation, space.
_PRE_TOKENS = "|".join(
    (
        *(r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", r"[^\r\n\p{L}\p{N}]?\p{L}+", r"\p{N}{1,3}"),
        *(r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"),
    )
)
HEADS, KV_HEADS = 4, 2
# What random attention and MLPs add to the embeddings is noise until they have learned something: they start quiet.
LLAMA_RESIDUAL_SCALE = 0.2
LLAMA_ROPE = {
    **{"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 32.0},
    **{"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
}


def make_amt(folder: str | Path, seed: int, size: Mapping[str, int]) -> float:
    """Save a small GPT-2 with AMT's vocabulary, trained for a short while on pieces that are not in the corpus.

    Args:
        folder: where `from_pretrained` will find it.
        seed: of the pieces, the weights and the order of training.
        size: `width`, `layers` and `context` of the model; `pieces`, `batch_size` and `steps` of its training.

    Returns:
        The loss of the last steps, in nats a token.
    """
    torch.manual_seed(seed)
    chunks, steps = _music_chunks(seed, size["pieces"], size["context"]), size["steps"]
    used, compact = torch.unique(chunks, return_inverse=True)
    # With 55,030 rows a step takes a second on a CPU. So only the rows that occur are trained, with one more that
    # stands for all the others and is weighted by their number: they, too, learn to be improbable.
    unused = EMBEDDING_ROWS - len(used)
    config = _amt_config(len(used) + 1, size)
    config.activation_function = "gelu_pytorch_tanh"  # as gelu_new, in one kernel
    model = GPT2LMHeadModel(config)
    _give_a_start(model, used)
    bias = torch.zeros(len(used) + 1)
    bias[-1] = math.log(unused)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    losses = []
    model.train()
    for _ in tqdm(range(steps), desc="training the stand-in AMT", mininterval=5):
        batch = compact[torch.randint(len(compact), (size["batch_size"],))]
        logits = model(batch).logits[:, :-1] + bias
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    _all_rows(model, used).save_pretrained(folder)
    follow_umask(folder)
    return sum(losses[-20:]) / 20


def _amt_config(rows: int, size: Mapping[str, int]) -> GPT2Config:
    return GPT2Config(
        vocab_size=rows,
        n_positions=size["context"],
        n_embd=size["width"],
        n_layer=size["layers"],
        n_head=HEADS,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=AUTOREGRESS if rows == EMBEDDING_ROWS else None,
        eos_token_id=AUTOREGRESS if rows == EMBEDDING_ROWS else None,
    )


def _music_chunks(seed: int, pieces: int, context: int) -> torch.Tensor:
    """int64 [chunks, T]: AUTOREGRESS and as many events as `context` holds, times relative to the first."""
    events = (context - 1) // TOKENS_PER_EVENT
    chunks = []
    for number in range(pieces):
        tokens = torch.tensor(_events(compose(random.Random(f"amt/{seed}/{number}"))))
        for chunk in tokens[: len(tokens) // events * events].view(-1, events, TOKENS_PER_EVENT):
            times = chunk[:, 0] - chunk[0, 0]
            chunk = torch.stack((times, chunk[:, 1], chunk[:, 2]), dim=1)
            chunks.append(torch.cat((torch.tensor([AUTOREGRESS]), chunk.flatten())))
    return torch.stack(chunks)


def _events(piece: Piece) -> list[tuple[int, int, int]]:
    """A piece as AMT's events, without the detour through MIDI, which takes ten times as long."""
    events = []
    for part in piece.parts:
        for note in part.notes:
            onset, end = (round(TICKS_PER_SECOND * piece.seconds(t)) for t in (note.onset, note.onset + note.length))
            duration = min(end - onset, MAX_DURATION - 1)
            number = PITCHES * part.program + note.pitch
            events.append((TIME_OFFSET + onset, DURATION_OFFSET + duration, NOTE_OFFSET + number))
    return sorted(events, key=lambda event: event[0])


def _give_a_start(model: GPT2LMHeadModel, used: torch.Tensor) -> None:
    """Initialise the embeddings with what a short training would hardly learn by itself.

    Neighbouring times, durations and places are alike (sines and cosines, as in the first transformers). Times,
    durations and notes have a direction each, and every place has the direction of the kind that comes
    next.
    """
    kinds = torch.bucketize(used, torch.tensor([DURATION_OFFSET, NOTE_OFFSET]), right=True)
    offsets = torch.tensor([TIME_OFFSET, DURATION_OFFSET, 0])
    width = model.config.n_embd
    directions = 1.6 * torch.linalg.qr(torch.randn(width, TOKENS_PER_EVENT))[0].T
    ticks = _waves(used - offsets[kinds], width, shortest=4, longest=2 * MAX_TIME) * (kinds < 2)[:, None]
    places = torch.arange(model.config.n_positions)
    waves = _waves(places, width, shortest=3, longest=300)
    with torch.no_grad():
        model.transformer.wte.weight[:-1] += ticks + directions[kinds]
        model.transformer.wpe.weight += waves + directions[places % TOKENS_PER_EVENT]


def _waves(numbers: torch.Tensor, width: int, shortest: float, longest: float) -> torch.Tensor:
    """float32 [numbers, width]: small sines and cosines of periods between `shortest` and `longest`."""
    periods = torch.logspace(math.log10(shortest), math.log10(longest), width // 2)
    angles = 2 * math.pi * numbers[:, None] / periods
    return 0.15 * torch.cat((angles.sin(), angles.cos()), dim=1)


def _all_rows(model: GPT2LMHeadModel, used: torch.Tensor) -> GPT2LMHeadModel:
    """The same model with a row for every token of AMT's embedding."""
    weights, config = model.state_dict(), model.config
    size = {"context": config.n_positions, "width": config.n_embd, "layers": config.n_layer}
    full = GPT2LMHeadModel(_amt_config(EMBEDDING_ROWS, size))
    rows = weights["transformer.wte.weight"]
    every = rows[-1] + 0.002 * torch.randn(EMBEDDING_ROWS, config.n_embd)
    every[used] = rows[:-1]
    weights["transformer.wte.weight"] = weights["lm_head.weight"] = every
    full.load_state_dict(weights)
    return full


def make_llama(folder: str | Path, seed: int, size: Mapping[str, int]) -> None:
    """Save a small Llama 3.2 with random weights in bfloat16, as the real one is stored, and its tokenizer.

    Args:
        folder: where `from_pretrained` will find both.
        seed: of the weights and of the captions that the tokenizer is trained on.
        size: `width` and `layers`.
    """
    tokenizer = _text_tokenizer(seed)
    width = size["width"]
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=size["layers"],
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=131_072,
        rope_parameters=LLAMA_ROPE,
        rms_norm_eps=1e-5,
        initializer_range=width**-0.5,  # Llama's 0.02 suits its width; here every matrix would shrink its input
        tie_word_embeddings=True,
        bos_token_id=tokenizer.convert_tokens_to_ids("<|begin_of_text|>"),
        eos_token_id=tokenizer.convert_tokens_to_ids("<|end_of_text|>"),
        dtype="bfloat16",
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight *= LLAMA_RESIDUAL_SCALE
            layer.mlp.down_proj.weight *= LLAMA_RESIDUAL_SCALE
    model.to(torch.bfloat16).save_pretrained(folder)
    follow_umask(folder)
    tokenizer.save_pretrained(folder)
    # As the hub's folders have it; transformers 5 writes neither.
    settings = json.loads(Path(folder, "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast"}
    Path(folder, "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    special = {"bos_token": tokenizer.bos_token, "eos_token": tokenizer.eos_token}
    Path(folder, "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")


def _text_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE over captions of pieces that are not in the corpus; begins each text as Llama 3's does."""
    captions = []
    for number in range(TEXT_CAPTIONS):
        rng = random.Random(f"text/{seed}/{number}")
        captions.append(midicaps_row(compose(rng), "", rng)["caption"])
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(_PRE_TOKENS), behavior="isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=TEXT_VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(captions, trainer)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    begin = SPECIAL_TOKENS[0]
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{begin} $A",
                pair=f"{begin} $A {begin}:1 $B:1",
                special_tokens=[(begin, tokenizer.token_to_id(begin))],
            ),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=begin,
        eos_token=SPECIAL_TOKENS[1],
        clean_up_tokenization_spaces=False,
        model_max_length=131_072,
        model_input_names=["input_ids", "attention_mask"],
    )
