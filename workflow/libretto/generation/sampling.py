"""Nucleus sampling of music from either family and from AMT as published (report, section 5.1, inference)."""

import json
import logging
import lzma
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import LogitsProcessor, LogitsProcessorList

from libretto.files import written_whole
from libretto.models.amt import AmtForTextToMusic, check_length
from libretto.models.attention import LEFT_PADDED
from libretto.models.batches import pad_prompts
from libretto.models.device import can_compile
from libretto.models.variants import Variant
from libretto.seeds import stable_seed
from libretto.tokens import vocab

# A function of captions, max_new_tokens and a maker of `Nucleus` to the new tokens [captions, tokens], in AMT's ids.
Generator = Callable[..., torch.Tensor]

logger = logging.getLogger("libretto")


def sample(
    generator: Generator, captions: list[str], settings: dict, temperature: float, seed: int, name: str, folder: Path
) -> Iterator[tuple[list[int], str]]:
    """One piece per caption, batch by batch; resumes after the batches that an interrupted call left in `folder`.

    Args:
        generator: of `conditioned` or `unconditional`.
        captions: what to condition on.
        settings: the config's section `sampling`.
        temperature: what the logits are divided by.
        seed: the config's; each batch's draws follow from it, the system's name and the batch's number.
        name: of the system.
        folder: an existing one, for the finished batches of this model and these arguments alone.

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
        for batch, start in enumerate(starts):
            if batches[batch] is None:
                torch.manual_seed(stable_seed(seed, name, batch))
                batches[batch] = generator(
                    captions[start : start + size],
                    max_new_tokens=settings["max_new_tokens"],
                    nucleus=partial(Nucleus, temperature=temperature, top_p=settings["top_p"], top_k=settings["top_k"]),
                ).tolist()
                _write_batch(paths[batch], batches[batch])
                progress.update()
            for row in batches[batch]:
                ended = vocab.SEPARATOR in row
                yield (row[: row.index(vocab.SEPARATOR)] if ended else row), ("separator" if ended else "length")


def _read_batch(path: Path) -> list[list[int]] | None:
    """The rows of a finished batch; None where it is not finished, or its file fails xz's checksums."""
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


def conditioned(variant: Variant) -> Generator:
    """Generates with a text-to-music model of either family."""
    variant.model.eval()
    variant.model.set_attn_implementation(LEFT_PADDED)
    amt = isinstance(variant.model, AmtForTextToMusic)
    return partial(_generate_amt if amt else _generate_llama, variant)


def unconditional(model: torch.nn.Module) -> Generator:
    """Generates with AMT as published, whatever the captions."""
    model.eval()

    def generate(captions, max_new_tokens, nucleus):
        # The last token that is sampled is never fed back.
        check_length(max_new_tokens, model.config.n_positions, "sampling.max_new_tokens")
        start = _start(len(captions), model.device)
        return model.generate(start, **_options(model, vocab.SEPARATOR, 1, max_new_tokens, nucleus(0)))[:, 1:]

    return generate


def _generate_amt(variant, captions, max_new_tokens, nucleus):
    model = variant.model
    text_ids, text_mask = pad_prompts([variant.prompter(caption) for caption in captions], variant.prompter.pad_id)
    inputs = variant.encode({"text_ids": text_ids.to(model.device), "text_mask": text_mask.to(model.device)})
    options = _options(model, vocab.SEPARATOR, variant.prompter.max_tokens + 1, max_new_tokens, nucleus(0))
    return model.generate(_start(len(captions), model.device), **inputs, **options)


def _generate_llama(variant, captions, max_new_tokens, nucleus):
    model = variant.model
    text_size = model.config.vocab_size
    start = text_size + vocab.AUTOREGRESS
    prompts = [[*variant.prompter(caption), start] for caption in captions]
    # Left padding here, so that all rows go on at the same column: flipped right padding.
    ids, mask = (t.flip(1) for t in pad_prompts([p[::-1] for p in prompts], variant.prompter.pad_id))
    max_prompt = variant.prompter.max_tokens + 1
    options = _options(model, text_size + vocab.SEPARATOR, max_prompt, max_new_tokens, nucleus(text_size))
    rows = model.generate(ids.to(model.device), attention_mask=mask.to(model.device), **options)
    return rows[:, ids.shape[1] :] - text_size


class Nucleus(LogitsProcessor):
    """Temperature, top-k and nucleus sampling (Holtzman et al., 2020) over the music vocabulary; text gets -inf.

    The same distribution as transformers' own chain of warpers, but without sorting the whole vocabulary where a few
    thousand tokens already hold the nucleus.

    Args:
        first_music_row: how many of the scores are text.
        temperature: what the scores are divided by.
        top_p: keep the likeliest tokens until their probability reaches this.
        top_k: keep at most so many; 0 keeps all.
    """

    CANDIDATES = 2048

    def __init__(self, first_music_row: int, temperature: float, top_p: float, top_k: int):
        self.first = first_music_row
        self.temperature = temperature
        self.top_p = top_p
        self.top_k = top_k

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores [batch, rows], -inf for what is not to be sampled."""
        music = scores[:, self.first :].float() / self.temperature
        kept, mass = self._nucleus(music, self.top_k or self.CANDIDATES)
        flat = mass < self.top_p  # the nucleus reaches beyond the candidates
        if not self.top_k and flat.any():
            kept[flat], _ = self._nucleus(music[flat], music.shape[1])
        return torch.cat([torch.full_like(scores[:, : self.first], -torch.inf), kept.to(scores.dtype)], dim=1)

    def _nucleus(self, music, n):
        """The scores of the nucleus among the `n` likeliest tokens, and the probability that they have together."""
        values, tokens = music.topk(min(n, music.shape[1]))
        total = (values if self.top_k else music).logsumexp(-1, keepdim=True)
        p = (values - total).exp()
        # A token stays where those before it have not reached top_p: at least the first.
        values = values.masked_fill(p.cumsum(-1) - p >= self.top_p, -torch.inf)
        return torch.full_like(music, -torch.inf).scatter_(1, tokens, values), p.sum(-1)


def _start(n: int, device: torch.device) -> torch.Tensor:
    return torch.full((n, 1), vocab.AUTOREGRESS, device=device)


def _options(model, separator, max_prompt, max_new_tokens, nucleus):
    """All that `generate` must be told: nothing is left to a checkpoint's own generation config or to defaults."""
    on_gpu = model.device.type == "cuda"
    return {
        "max_new_tokens": max_new_tokens,
        "do_sample": True,
        "logits_processor": LogitsProcessorList([nucleus]),
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,  # transformers' default is 50
        "eos_token_id": separator,
        "pad_token_id": separator,
        "use_cache": True,
        # Lets transformers compile the decoding step; one length for all batches, or each would be compiled again.
        "cache_implementation": "static" if on_gpu else None,
        "max_cache_len": max_prompt + max_new_tokens if on_gpu else None,
        "disable_compile": on_gpu and not can_compile(),
    }
