"""Cross-entropy over large vocabularies, without the logits of a whole batch.

    loss[n] = -log p[n, label[n]],    p[n] = softmax([hidden[n] @ head_1.T, hidden[n] @ head_2.T, ...])

The logits exist for a few positions at a time. The products run in autocast's dtype, the softmax in fp32.

The Trainer's own option for this, `use_liger_kernel`, must stay off: it replaces the forward of Llama's class by one
that knows a single head and would ignore the expanded one.
"""

import torch
from torch import nn

from libretto.models import IGNORED

# Positions at a time: with Llama's 183,286 rows a chunk's fp32 logits take 1.5 GB of a GPU's memory; a CPU is faster
# with chunks that fit its cache.
CHUNK = {"cuda": 2048, "cpu": 64}
# Of the heads' rows together: with 183,286 or 55,030 rows an H200 reaches 270 TFLOP/s in bf16, with two more 790.
ALIGNMENT = 8


@torch.no_grad()
def token_losses(hidden: torch.Tensor, heads: list[torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    """The loss of every position; not for training.

    Args:
        hidden: [batch, positions, width].
        heads: weights [rows_i, width]; a label is a row of all heads, concatenated.
        labels: [batch, positions] int64, `IGNORED` where there is no target.

    Returns:
        [batch, positions] fp32; 0 where there is no target.
    """
    rows, weight, n = _cast(hidden, heads)
    size = CHUNK[hidden.device.type]
    losses = [
        -_log_probabilities(chunk @ weight.T, n).gather(1, _index(targets)).squeeze(1) * targets.ne(IGNORED)
        for chunk, targets in zip(rows.split(size), labels.flatten().split(size), strict=True)
    ]
    return torch.cat(losses).view_as(labels)


def mean_loss(
    hidden: torch.Tensor,
    heads: list[torch.Tensor],
    labels: torch.Tensor,
    n_targets: torch.Tensor | int | None,
    chunk_loss: "ChunkLoss",
) -> torch.Tensor:
    """The summed loss divided by `n_targets`, for training; arguments as in `token_losses`.

    Args:
        n_targets: the targets of all micro-batches of a step, so that their gradients add up; `labels`' own by default.
        chunk_loss: the model's, which may be compiled.
    """
    n_targets = labels.ne(IGNORED).sum() if n_targets is None else n_targets
    return _SummedLoss.apply(chunk_loss, hidden, labels, *heads) / n_targets


class _SummedLoss(torch.autograd.Function):
    """The sum of the losses. Its gradient is computed along with it, while a chunk's probabilities are there."""

    @staticmethod
    def forward(ctx, chunk_loss, hidden, labels, *heads):
        rows, weight, n = _cast(hidden, heads)
        total = torch.zeros((), device=hidden.device)
        grad_hidden = torch.empty_like(rows, dtype=hidden.dtype)
        grad_weight = torch.zeros_like(weight, dtype=heads[0].dtype)
        size = CHUNK[hidden.device.type]
        with torch.autocast(hidden.device.type, enabled=False):
            for chunk, targets, grad_chunk in zip(
                rows.split(size), labels.flatten().split(size), grad_hidden.split(size), strict=True
            ):
                loss, grad = chunk_loss(chunk @ weight.T, targets, n)
                total += loss
                grad_chunk.copy_(grad @ weight)
                if grad.dtype == grad_weight.dtype:
                    # On a CPU, adding would take as long as the product. `addmm_` would not be counted as operations.
                    torch.addmm(grad_weight, grad.T, chunk, out=grad_weight)
                else:
                    grad_weight += grad.T @ chunk
                del grad  # or it would stay while the next chunk's is computed
        ctx.gradients = [None, grad_hidden.view_as(hidden), None, *grad_weight[:n].split([*map(len, heads)])]
        return total

    @staticmethod
    def backward(ctx, grad_total):
        # The gradients are as large as the heads: they are scaled in place, and no copy is kept.
        gradients, ctx.gradients = ctx.gradients, None
        return tuple(gradient if gradient is None else gradient.mul_(grad_total) for gradient in gradients)


class ChunkLoss(nn.Module):
    """The loss of some positions and its gradient; a module so that it can be compiled."""

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The summed loss, and d loss / d logits = p - onehot(target) in the logits' dtype.

        Args:
            logits: [positions, columns]; may be overwritten.
            targets: [positions] int64, `IGNORED` where there is none.
            n: how many of the columns are rows of a head.
        """
        log_p, index, has_target = _log_probabilities(logits, n), _index(targets), targets.ne(IGNORED).unsqueeze(1)
        at_target = log_p.gather(1, index)
        loss = -(at_target * has_target).sum()
        grad = log_p.exp_().mul_(has_target).to(logits.dtype)
        # Set, not subtracted: for a target of p near 1, p in bf16 has no digits left of p - 1.
        grad.scatter_(1, index, (at_target.expm1() * has_target).to(grad.dtype))
        return loss, grad


def joined(heads: list[torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    """The weights of all heads [rows, width], with rows of zeros up to a multiple of `ALIGNMENT`."""
    n, width = sum(map(len, heads)), heads[0].shape[1]
    weight = torch.zeros(-(-n // ALIGNMENT) * ALIGNMENT, width, dtype=dtype, device=heads[0].device)
    for part, head in zip(weight.split([*map(len, heads), len(weight) - n]), heads, strict=False):
        part.copy_(head)
    return weight


def _cast(hidden, heads):
    """Rows [positions, width] and the heads' joined weight in the dtype of the products; the heads' number of rows."""
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    return hidden.flatten(0, 1).to(dtype), joined(heads, dtype), sum(map(len, heads))


def _log_probabilities(logits, n):
    """Of the first n columns; the others have a probability of 0."""
    logits = logits.float()
    logits[:, n:] = -torch.inf
    return logits.log_softmax(-1)


def _index(targets):
    return targets.clamp(min=0).unsqueeze(1)
