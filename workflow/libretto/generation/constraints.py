"""What may be drawn beyond what the paper does: music by AMT's grammar alone, chosen instruments, guidance."""

from collections.abc import Iterable

import torch

from libretto.generation.decoding import Draw
from libretto.tokens import vocab

# MIDI has one channel for drums and fifteen for all else.
MAX_MELODIC = 15


def with_instruments(draw: Draw, instruments: Iterable[int | str]) -> Draw:
    """Only notes of `instruments` are drawn.

    Args:
        draw: how to draw.
        instruments: programs of General MIDI, 0..127, and `drums`.
    """
    allowed = torch.zeros(vocab.INSTRUMENTS, dtype=torch.bool)
    allowed[[vocab.DRUMS if name == "drums" else name for name in instruments]] = True
    notes = allowed.repeat_interleave(vocab.PITCHES)
    banned = torch.zeros(vocab.EMBEDDING_ROWS, dtype=torch.bool)
    for offset in (vocab.NOTE_OFFSET, vocab.ANTICIPATED_OFFSET + vocab.NOTE_OFFSET):
        banned[offset : offset + len(notes)] = ~notes

    def draw_allowed(logits, step):
        return draw(logits.masked_fill(banned.to(logits.device), -torch.inf), step)

    return draw_allowed


def grammatical(draw: Draw) -> Draw:
    """Onset, duration, note, in turn; no onset before the last; at most fifteen instruments and drums.

    A piece may end where an onset may stand. Keeps the state of one batch.
    """
    latest = used = torch.empty(0)

    def draw_grammatical(logits, step):
        nonlocal latest, used
        if step == 0:
            latest = torch.zeros(len(logits), 1, dtype=torch.long, device=logits.device)
            used = torch.zeros(len(logits), vocab.INSTRUMENTS, dtype=torch.bool, device=logits.device)
        kind = step % vocab.TOKENS_PER_EVENT
        if kind == 0:
            onsets = logits[:, vocab.TIME_OFFSET : vocab.DURATION_OFFSET]
            past = torch.arange(vocab.MAX_TIME, device=logits.device) < latest
            # The separator stands behind the onsets, as one more.
            choices = torch.cat([onsets.masked_fill(past, -torch.inf), logits[:, vocab.SEPARATOR, None]], dim=1)
            onset = draw(choices, step)
            ended = onset == vocab.MAX_TIME
            latest = torch.where(ended, latest[:, 0], onset).unsqueeze(1)
            return torch.where(ended, vocab.SEPARATOR, vocab.TIME_OFFSET + onset)
        if kind == 1:
            return vocab.DURATION_OFFSET + draw(logits[:, vocab.DURATION_OFFSET : vocab.NOTE_OFFSET], step)
        full = used[:, : vocab.DRUMS].sum(1, keepdim=True) >= MAX_MELODIC
        banned = full & ~used
        banned[:, vocab.DRUMS] = False
        notes = logits[:, vocab.NOTE_OFFSET : vocab.REST]
        note = draw(notes.masked_fill(banned.repeat_interleave(vocab.PITCHES, 1), -torch.inf), step)
        used.scatter_(1, (note // vocab.PITCHES).unsqueeze(1), True)
        return vocab.NOTE_OFFSET + note

    return draw_grammatical


def guided(draw: Draw, scale: float) -> Draw:
    """Classifier-free guidance (Ho and Salimans, 2022): logits without text + scale * (with - without).

    The second half of a batch repeats the first without descriptions, and gets the same tokens.
    """

    def draw_guided(logits, step):
        described, plain = logits.float().chunk(2)
        return draw(plain + scale * (described - plain), step).repeat(2)

    return draw_guided
