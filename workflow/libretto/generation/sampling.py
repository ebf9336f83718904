"""Nucleus sampling of music from either family and from AMT as published (paper, section 5.1, inference)."""

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

# Maps captions, max_new_tokens and a factory of `Nucleus` to the new tokens [captions, tokens], in AMT's ids.
Generator = Callable[..., torch.Tensor]

logger = logging.getLogger("libretto")


def sample(
    generator: Generator, captions: list[str], settings: dict, temperature: float, seed: int, name: str, folder: Path
) -> Iterator[tuple[list[int], str]]:
    """One piece per caption, batch by batch; resumes after the batches that an interrupted call left in `folder`.

    Args:
        generator: from `conditioned` or `unconditional`.
        captions: what to condition on.
        settings: the config's section `sampling`.
        temperature: what the logits are divided by.
        seed: the config's; each batch's draws follow from it, the system's name and the batch's number.
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
        for batch, (start, path, rows) in enumerate(zip(starts, paths, batches, strict=True)):
            if rows is None:
                torch.manual_seed(stable_seed(seed, name, batch))
                rows = generator(
                    captions[start : start + size],
                    max_new_tokens=settings["max_new_tokens"],
                    nucleus=partial(Nucleus, temperature=temperature, top_p=settings["top_p"], top_k=settings["top_k"]),
                ).tolist()
                _write_batch(path, rows)
                progress.update()
            for row in rows:
                ended = vocab.SEPARATOR in row
                yield (row[: row.index(vocab.SEPARATOR)] if ended else row), ("separator" if ended else "length")


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
    # Left padding here, made by flipping right padding, so that all rows continue at the same column.
    ids, mask = (t.flip(1) for t in pad_prompts([p[::-1] for p in prompts], variant.prompter.pad_id))
    max_prompt = variant.prompter.max_tokens + 1
    options = _options(model, text_size + vocab.SEPARATOR, max_prompt, max_new_tokens, nucleus(text_size))
    rows = model.generate(ids.to(model.device), attention_mask=mask.to(model.device), **options)
    return rows[:, ids.shape[1] :] - text_size


class Nucleus(LogitsProcessor):
    """Temperature, top-k and nucleus sampling (Holtzman et al., 2020) over the music vocabulary.

    The token is drawn here, and `generate` has no other choice. To draw from the nucleus, the vocabulary need not be
    sorted: a token drawn from all of them is in the nucleus if the likelier ones together have less than `top_p`.
    Otherwise neither it nor any less likely token is, and the next draw is from the likelier ones. Equally likely
    tokens are in or out together.

    Args:
        first_music_row: how many of the scores are text, which is never drawn.
        temperature: what the scores are divided by.
        top_p: keep the likeliest tokens until their total probability reaches this.
        top_k: keep at most this many; 0 keeps all.

    Raises:
        FloatingPointError: a score is NaN, or all of them are -inf.
    """

    def __init__(self, first_music_row: int, temperature: float, top_p: float, top_k: int):
        self.first = first_music_row
        self.temperature = temperature
        self.top_p = top_p
        self.top_k = top_k

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores [batch, rows]: 0 for the token drawn, -inf for all others."""
        music = scores[:, self.first :].float() / self.temperature
        if self.top_k:
            least = music.topk(min(self.top_k, music.shape[1])).values[:, -1:]
            music = music.masked_fill(music < least, -torch.inf)
        tokens = self._draw(music.softmax(-1))
        return torch.full_like(scores, -torch.inf).scatter_(1, self.first + tokens, 0.0)

    def _draw(self, p):
        """A token of each row's nucleus, int64 [batch, 1], from probabilities [batch, music rows]."""
        if not p.sum(-1).isfinite().all():
            raise FloatingPointError("the logits contain nan: the model's weights or its half precision are broken")
        tokens = torch.empty(len(p), 1, dtype=torch.long, device=p.device)
        rows = torch.arange(len(p), device=p.device)
        while len(rows):
            # In fp64: over 55,030 rows the rounding of fp32 would shift what the rare tokens get.
            cumulated = p.cumsum(-1, dtype=torch.float64)
            level = torch.rand(len(p), 1, dtype=torch.float64, device=p.device) * cumulated[:, -1:]
            drawn = torch.searchsorted(cumulated, level, right=True).clamp_(max=p.shape[1] - 1)
            tokens[rows] = drawn
            likelier = torch.where(p > p.gather(1, drawn), p, 0.0)
            outside = likelier.sum(-1) >= self.top_p
            rows, p = rows[outside], likelier[outside]
        return tokens


def _start(n: int, device: torch.device) -> torch.Tensor:
    return torch.full((n, 1), vocab.AUTOREGRESS, device=device)


def _options(model, separator, max_prompt, max_new_tokens, nucleus):
    """Every setting of `generate`: nothing is left to a checkpoint's own generation config or to defaults."""
    on_gpu = model.device.type == "cuda"
    return {
        "max_new_tokens": max_new_tokens,
        "do_sample": False,  # takes the likeliest: the one that `nucleus` has drawn
        "logits_processor": LogitsProcessorList([nucleus]),
        "eos_token_id": separator,
        "pad_token_id": separator,
        "use_cache": True,
        # Lets transformers compile the decoding step; one length for all batches, or each would be compiled again.
        "cache_implementation": "static" if on_gpu else None,
        "max_cache_len": max_prompt + max_new_tokens if on_gpu else None,
        "disable_compile": on_gpu and not can_compile(),
    }
