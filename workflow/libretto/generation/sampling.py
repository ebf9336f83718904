"""Nucleus sampling of music from either family and from AMT as published (paper, section 5.1, inference)."""

import json
import logging
import lzma
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import GPT2LMHeadModel

from libretto.files import written_whole
from libretto.generation.constraints import grammatical, guided, with_instruments
from libretto.generation.decoding import Decoder, Draw, Prompt
from libretto.generation.nucleus import Nucleus, Streams
from libretto.models.amt import AmtForTextToMusic, check_length
from libretto.models.batches import pad_prompts
from libretto.models.variants import Variant
from libretto.seeds import stable_seed
from libretto.tokens import vocab

# Maps captions, a number of tokens and how to draw them to the tokens [captions, at most that number], AMT's ids. What
# follows a separator means nothing.
Generator = Callable[[list[str], int, Draw], torch.Tensor]

logger = logging.getLogger("libretto")


def sample(
    generator: Generator,
    captions: list[str],
    settings: dict,
    temperature: float,
    seed: int,
    name: str,
    folder: Path,
) -> Iterator[tuple[list[int], str]]:
    """One piece per caption, batch by batch; resumes after the batches that an interrupted call left in `folder`.

    Args:
        generator: from `conditioned` or `unconditional`.
        captions: what to condition on.
        settings: the config's section `sampling`.
        temperature: what the logits are divided by.
        seed: the config's; a piece's draws follow from it, the system's name and the piece's index alone.
        name: of the system.
        folder: an existing folder, for the finished batches of this model and these arguments only.

    Yields:
        The tokens sampled (AMT's ids, without the start token and the separator) and why they end: `length` or
        `separator`.
    """
    size = settings["batch_size"]
    starts = range(0, len(captions), size)
    paths = [folder / f"{batch:05d}.json.xz" for batch in range(len(starts))]
    batches = [_read_batch(path) for path in paths]
    n_finished = len(starts) - batches.count(None)
    if n_finished:
        logger.info("resuming from %s: %d of %d batches are finished", folder, n_finished, len(starts))
    with tqdm(total=len(starts), desc=name, unit="batch", initial=n_finished) as progress:
        for start, path, rows in zip(starts, paths, batches, strict=True):
            if rows is None:
                part, n_tokens = captions[start : start + size], settings["max_new_tokens"]
                keys = [stable_seed(seed, name, start + i) for i in range(len(part))]
                rows = generator(part, n_tokens, make_draw(settings, temperature, keys)).tolist()
                _write_batch(path, rows)
                progress.update()
            for row in rows:
                ended = vocab.SEPARATOR in row
                yield (row[: row.index(vocab.SEPARATOR)] if ended else row), ("separator" if ended else "length")


def make_draw(settings: dict, temperature: float, keys: Sequence[int]) -> Draw:
    """How the tokens of a batch are drawn.

    Args:
        settings: the config's section `sampling`.
        temperature: what the logits are divided by.
        keys: the seed of each sample's stream.
    """
    streams = Streams(keys, settings["max_new_tokens"])
    draw: Draw = Nucleus(temperature, settings["top_p"], settings["top_k"], streams)
    if settings["constraint"] == "grammar":
        draw = grammatical(draw)
    if settings["instruments"]:
        draw = with_instruments(draw, settings["instruments"])
    return draw


def _read_batch(path: Path) -> list[list[int]] | None:
    """The rows of a finished batch; None if it is not finished, or its file fails xz's checksums."""
    try:
        return json.loads(lzma.decompress(path.read_bytes(), lzma.FORMAT_XZ))
    except FileNotFoundError:
        return None
    except lzma.LZMAError as error:
        logger.warning("%s is damaged (%s): its batch is sampled again", path, error)
        return None


def _write_batch(path: Path, rows: list[list[int]]) -> None:
    with written_whole(path) as (part,):
        part.write_bytes(lzma.compress(json.dumps(rows).encode()))


def conditioned(variant: Variant, guidance: float = 1.0) -> Generator:
    """Generates with a text-to-music model of either family.

    Args:
        variant: the model.
        guidance: the config's `sampling.guidance`.
    """
    model = variant.model.eval()
    max_prompt = variant.prompter.max_tokens + 1  # and the start token
    if isinstance(model, AmtForTextToMusic):
        prompts, decoder = _amt_prompts, _amt_decoder(model, max_prompt)
    else:
        prompts, decoder = _llama_prompts, Decoder(model.model, model.embed_music, model.expanded_lm_head, max_prompt)

    def generate(captions, n_tokens, draw):
        if isinstance(model, AmtForTextToMusic):
            check_length(n_tokens, model.config.n_positions, "sampling.max_new_tokens")
        if guidance == 1:
            return decoder(prompts(variant, captions), n_tokens, draw, vocab.SEPARATOR)
        n = len(captions)
        both = prompts(variant, [*captions, *[None] * n])
        return decoder(both, n_tokens, guided(draw, guidance), vocab.SEPARATOR)[:n]

    return generate


def unconditional(model: GPT2LMHeadModel) -> Generator:
    """Generates with AMT as published, whatever the captions."""
    model.eval()
    decoder = _amt_decoder(model, 1)

    def generate(captions, n_tokens, draw):
        check_length(n_tokens, model.config.n_positions, "sampling.max_new_tokens")
        start = _start(len(captions), model.device)
        with torch.no_grad():
            embeddings = model.transformer.wte(start)
        prompt = Prompt(embeddings, torch.ones_like(start, dtype=torch.bool), torch.zeros_like(start))
        return decoder(prompt, n_tokens, draw, vocab.SEPARATOR)

    return generate


@torch.no_grad()
def _amt_prompts(variant, captions):
    model = variant.model
    text_ids, text_mask = pad_prompts([variant.prompter(caption) for caption in captions], variant.prompter.pad_id)
    inputs = variant.encode({"text_ids": text_ids.to(model.device), "text_mask": text_mask.to(model.device)})
    return Prompt(*model.join(**inputs, input_ids=_start(len(captions), model.device), left=True))


@torch.no_grad()
def _llama_prompts(variant, captions):
    model = variant.model
    start = model.config.vocab_size + vocab.AUTOREGRESS
    rows = [[*variant.prompter(caption), start] for caption in captions]
    # Left padding here, made by flipping right padding, so that all rows continue at the same column.
    padded = pad_prompts([row[::-1] for row in rows], variant.prompter.pad_id)
    ids, mask = (tensor.flip(1).to(model.device) for tensor in padded)
    return Prompt(model.embed(ids), mask.bool(), (mask.cumsum(1) - 1).clamp(min=0))


def _amt_decoder(model: GPT2LMHeadModel, max_prompt: int) -> Decoder:
    return Decoder(model.transformer, model.transformer.wte, model.lm_head, max_prompt)


def _start(n: int, device: torch.device) -> torch.Tensor:
    return torch.full((n, 1), vocab.AUTOREGRESS, device=device)
