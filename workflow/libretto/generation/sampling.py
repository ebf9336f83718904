"""Nucleus sampling of music from either family and from AMT as published (paper, section 5.1, inference)."""

import json
import logging
import lzma
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import AutoConfig, AutoModelForCausalLM, GPT2LMHeadModel

from libretto.errors import InputError
from libretto.files import written_whole
from libretto.generation.constraints import grammatical, guided, with_instruments
from libretto.generation.decoding import Decoder, Draw, Prompt
from libretto.generation.nucleus import Nucleus, Streams
from libretto.models.amt import AmtForTextToMusic, check_length
from libretto.models.batches import pad_prompts
from libretto.models.device import inference_dtype
from libretto.models.variants import Variant, make_variant, outside_variant, trained_model
from libretto.seeds import stable_seed
from libretto.tokens import vocab

logger = logging.getLogger("libretto")


class Generator:
    """Generates music from captions with a model.

    Args:
        decoder: the model's.
        make_prompts: maps captions, where None is no description, to their prompts.
        n_positions: music tokens that the model has positions for; None for any number.
        guidance: the config's `sampling.guidance`.
    """

    def __init__(
        self,
        decoder: Decoder,
        make_prompts: Callable[[Sequence[str | None]], Prompt],
        n_positions: int | None,
        guidance: float = 1.0,
    ):
        self.decoder = decoder
        self.make_prompts = make_prompts
        self.n_positions = n_positions
        self.guidance = guidance

    def __call__(self, captions: Sequence[str], n_tokens: int, draw: Draw) -> torch.Tensor:
        """int64 [captions, at most n_tokens], AMT's ids; what follows a separator means nothing."""
        if self.n_positions is not None:
            check_length(n_tokens, self.n_positions, "sampling.max_new_tokens")
        if self.guidance == 1:
            return self.decoder(self.make_prompts(captions), n_tokens, draw, vocab.SEPARATOR)
        n = len(captions)
        both = self.make_prompts([*captions, *[None] * n])
        return self.decoder(both, n_tokens, guided(draw, self.guidance), vocab.SEPARATOR)[:n]

    def batch_size(self, n: int, n_tokens: int) -> int:
        """How many of n captions to take at once."""
        rows = 1 if self.guidance == 1 else 2  # of each
        return max(1, self.decoder.batch_size(rows * n, n_tokens) // rows)


def sample(
    generator: Generator,
    captions: list[str],
    settings: dict,
    temperature: float,
    seed: int,
    name: str,
    folder: Path,
) -> Iterator[tuple[list[int], str]]:
    """Pieces for each caption, batch by batch; resumes after the batches that an interrupted call left in `folder`.

    Args:
        generator: from `conditioned` or `unconditional`.
        captions: what to condition on.
        settings: the config's section `sampling`.
        temperature: what the logits are divided by.
        seed: the config's; a piece's draws follow from it, the system's name, the caption's index and, of several
            candidates, the candidate's alone. The first candidate is the piece that there would be without others.
        name: of the system.
        folder: an existing folder, for the finished batches of this model and these arguments only.

    Yields:
        `best_of` candidates for each caption, one after the other: the tokens sampled (AMT's ids, without the start
        token and the separator) and why they end: `length` or `separator`.
    """
    best_of, n_tokens = settings["best_of"], settings["max_new_tokens"]
    pieces = [(index, candidate) for index in range(len(captions)) for candidate in range(best_of)]
    n = len(pieces)
    finished = _read_batches(folder)
    n_finished = sum(map(len, finished.values()))
    if n_finished:
        logger.info("resuming from %s: %d of %d pieces are sampled", folder, n_finished, n)
    size = settings["batch_size"] or (generator.batch_size(n, n_tokens) if n else 1)
    start = 0
    with tqdm(total=n, desc=name, unit="piece", initial=n_finished) as progress:
        while start < n:
            rows = finished.get(start)
            if rows is None:
                stop = min(start + size, n, *(other for other in finished if other > start))
                batch = pieces[start:stop]
                keys = [stable_seed(seed, name, index, *([other] if other else [])) for index, other in batch]
                draw = make_draw(settings, temperature, keys)
                rows = generator([captions[index] for index, _ in batch], n_tokens, draw).tolist()
                _write_batch(folder / f"{start:06d}.json.xz", rows)
                progress.update(len(rows))
            for row in rows:
                ended = vocab.SEPARATOR in row
                yield (row[: row.index(vocab.SEPARATOR)] if ended else row), ("separator" if ended else "length")
            start += len(rows)


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


def _read_batches(folder: Path) -> dict[int, list[list[int]]]:
    """The rows of the finished batches by their first piece, but for those whose file fails xz's checksums."""
    found = {}
    for path in sorted(folder.glob("*.json.xz")):
        try:
            rows = json.loads(lzma.decompress(path.read_bytes(), lzma.FORMAT_XZ))
        except lzma.LZMAError as error:
            logger.warning("%s is damaged (%s): its batch is sampled again", path, error)
        else:
            found[int(path.name.partition(".")[0])] = rows
    return found


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
        decoder, n_positions = _amt_decoder(model, max_prompt), model.config.n_positions
        return Generator(decoder, partial(_amt_prompts, variant), n_positions, guidance)
    decoder = Decoder(model.model, model.embed_music, model.expanded_lm_head, max_prompt)
    return Generator(decoder, partial(_llama_prompts, variant), None, guidance)


def unconditional(model: GPT2LMHeadModel) -> Generator:
    """Generates with AMT as published, whatever the captions."""
    return Generator(_amt_decoder(model.eval(), 1), partial(_start_alone, model), model.config.n_positions)


def load_generator(
    folder: str, text_model: str, settings: Mapping | None, guidance: float, device: torch.device
) -> Generator:
    """The generator of a system.

    Args:
        folder: of its model.
        text_model: folder of the Llama that reads a variant's text.
        settings: `variant` and `text` of a variant; of a checkpoint of others `text` alone, `variant` being None; None
            for AMT as published.
        guidance: the config's `sampling.guidance`.
        device: where it runs.

    Raises:
        InputError: the checkpoint is neither an AMT nor a Llama with AMT's vocabulary.
    """
    dtype = inference_dtype(device)
    if settings and settings["variant"]:
        model = trained_model(settings["variant"], folder, dtype)
        return conditioned(make_variant(model, settings["variant"], settings["text"], text_model, device), guidance)
    kind = AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
    if kind == "gpt2":
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=False)
        return unconditional(model.to(device))
    if kind != "llama" or settings is None:
        raise InputError(f"{folder} is of type {kind}: an AMT (gpt2) or a Llama with AMT's vocabulary is needed")
    return conditioned(outside_variant(folder, settings["text"], device), guidance)


@torch.no_grad()
def _start_alone(model, captions):
    start = _start(len(captions), model.device)
    return Prompt(model.transformer.wte(start), torch.ones_like(start, dtype=torch.bool), torch.zeros_like(start))


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
