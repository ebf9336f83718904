"""Nucleus sampling of music from either family and from AMT as published (report, section 5.1, inference)."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from tqdm import tqdm
from transformers import LogitsProcessor, LogitsProcessorList

from libretto import vocab
from libretto.chunks import pad_prompts
from libretto.device import can_compile
from libretto.models.amt import AmtForTextToMusic, check_length
from libretto.models.attention import LEFT_PADDED
from libretto.seeds import stable_seed
from libretto.variants import Variant

# A function of captions, max_new_tokens and a maker of `Nucleus` to the new tokens [captions, tokens], in AMT's ids.
Generator = Callable[..., torch.Tensor]


def sample(
    generator: Generator, captions: list[str], settings: dict, temperature: float, seed: int, name: str
) -> Iterator[tuple[list[int], str]]:
    """One piece per caption, batch by batch.

    Args:
        generator: of `conditioned` or `unconditional`.
        captions: what to condition on.
        settings: the config's section `sampling`.
        temperature: what the logits are divided by.
        seed: the config's; each batch's draws follow from it, the system's name and the batch's number.
        name: of the system.

    Yields:
        The tokens sampled (AMT's ids, without the start token and the separator) and why they end: `length` or
        `separator`.
    """
    size = settings["batch_size"]
    for batch, start in enumerate(tqdm(range(0, len(captions), size), name, unit="batch")):
        torch.manual_seed(stable_seed(seed, name, batch))
        rows = generator(
            captions[start : start + size],
            max_new_tokens=settings["max_new_tokens"],
            nucleus=partial(Nucleus, temperature=temperature, top_p=settings["top_p"], top_k=settings["top_k"]),
        )
        for row in rows.tolist():
            ended = vocab.SEPARATOR in row
            yield (row[: row.index(vocab.SEPARATOR)] if ended else row), ("separator" if ended else "length")


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
        # Lets transformers compile the decoding step; one length for all batches, or each would be compiled anew.
        "cache_implementation": "static" if on_gpu else None,
        "max_cache_len": max_prompt + max_new_tokens if on_gpu else None,
        "disable_compile": on_gpu and not can_compile(),
    }
