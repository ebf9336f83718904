"""The loss on the validation set: of each song, and as a mean over tokens, whatever the batches."""

import contextlib

import torch
from torch import distributed
from tqdm import tqdm

from libretto.models import IGNORED
from libretto.models.batches import MiddleChunks
from libretto.models.variants import Variant

BATCH = 16  # songs at a time; without gradients, they take less memory than a step of training


def validation_loss(
    variant: Variant, songs: MiddleChunks, batch_size: int, bf16: bool, rank: int = 0, world: int = 1
) -> dict[str, float | int]:
    """Mean negative log-likelihood per token, in nats: `mean_losses` of all songs; arguments as in `song_losses`."""
    sums = song_losses(variant, songs, batch_size, bf16, rank, world).sum(0)
    if world > 1:
        distributed.all_reduce(sums)
    return mean_losses(sums)


def mean_losses(sums: torch.Tensor) -> dict[str, float | int]:
    """The means per token.

    Args:
        sums: [4], the sum of the rows of `song_losses`.

    Returns:
        val_loss over all targets (text and music for Llama), val_loss_music over the music after its start token, and
        the number of tokens of each: n_tokens, n_tokens_music.
    """
    loss, n, loss_music, n_music = sums.tolist()
    return {
        "val_loss": loss / n,
        "val_loss_music": loss_music / n_music,
        "n_tokens": round(n),
        "n_tokens_music": round(n_music),
    }


@torch.no_grad()
def song_losses(
    variant: Variant, songs: MiddleChunks, batch_size: int, bf16: bool, rank: int = 0, world: int = 1
) -> torch.Tensor:
    """Summed negative log-likelihoods of each song, in nats.

    Args:
        variant: its model is set to eval mode.
        songs: what to evaluate on.
        batch_size: songs at a time.
        bf16: compute in bf16 under autocast.
        rank: of this process among `world`; each takes every world-th batch.
        world: number of processes.

    Returns:
        float64 [songs, 4]: of each of the process's songs, the loss over all targets (text and music for Llama) and
        their number, the loss over the music after its start token and their number.
    """
    device = variant.model.device
    variant.model.eval()
    rows = [torch.zeros(0, 4, dtype=torch.float64, device=device)]
    # As many batches for every process: where the model is spread over them, each batch needs all of them. Who has no
    # batch left takes the first again, and does not count it.
    starts = range(rank * batch_size, -(-len(songs) // (world * batch_size)) * world * batch_size, world * batch_size)
    for start in tqdm(starts, "validation", unit="batch", disable=rank > 0, leave=False):
        is_own = start < len(songs)
        first = start if is_own else 0
        batch = variant.collate([songs[i] for i in range(first, min(first + batch_size, len(songs)))])
        if device.type == "cuda":  # from pinned memory, a copy does not wait for the GPU
            batch = {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in batch.items()}
        batch = variant.encode(batch)
        with torch.autocast(device.type, torch.bfloat16) if bf16 else contextlib.nullcontext():
            losses = variant.model.token_losses(**batch).double()
        music = variant.model.music_targets(batch["labels"])
        # Not losses[music], whose size the CPU would have to wait for.
        columns = losses, batch["labels"] != IGNORED, losses * music, music
        if is_own:
            rows.append(torch.stack([column.sum(1, dtype=torch.float64) for column in columns], 1))
    return torch.cat(rows)
