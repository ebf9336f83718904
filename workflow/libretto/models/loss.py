"""Cross-entropy over large vocabularies, without the logits of a whole batch.

    loss[n] = -log p[n, label[n]],    p[n] = softmax([hidden[n] @ head_1.T, hidden[n] @ head_2.T, ...])

The logits exist for a few positions at a time. The products run in autocast's dtype, the softmax in fp32.

The Trainer's own option for this, `use_liger_kernel`, must stay off: it replaces the forward of Llama's class by one
that knows a single head and would ignore the expanded one.
"""

import torch

from libretto.models import IGNORED

# Positions at a time: with Llama's 183,286 rows a chunk's fp32 logits take 1.5 GB of a GPU's memory; a CPU is faster
# with chunks that fit its cache.
CHUNK = {"cuda": 2048, "cpu": 128}


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
    rows, weights = _cast(hidden, heads)
    size = CHUNK[hidden.device.type]
    losses = [
        _losses(_log_probabilities(chunk, weights), targets)
        for chunk, targets in zip(rows.split(size), labels.flatten().split(size), strict=True)
    ]
    return torch.cat(losses).view_as(labels)


def mean_loss(
    hidden: torch.Tensor,
    heads: list[torch.Tensor],
    labels: torch.Tensor,
    n_targets: torch.Tensor | int | None,
) -> torch.Tensor:
    """The summed loss divided by `n_targets`, for training; arguments as in `token_losses`.

    Args:
        n_targets: the targets of all micro-batches of a step, so that their gradients add up; `labels`' own by default.
    """
    return _SummedLoss.apply(hidden, labels, *heads) / (labels.ne(IGNORED).sum() if n_targets is None else n_targets)


class _SummedLoss(torch.autograd.Function):
    """The sum of the losses. Its gradient is computed along with it, chunk by chunk, while the probabilities are there:

    d loss[n] / d logits[n] = p[n] - onehot(label[n])
    """

    @staticmethod
    def forward(ctx, hidden, labels, *heads):
        rows, weights = _cast(hidden, heads)
        total = torch.zeros((), device=hidden.device)
        grad_hidden = torch.empty_like(rows, dtype=hidden.dtype)
        grad_heads = [torch.zeros_like(head) for head in heads]
        size = CHUNK[hidden.device.type]
        with torch.autocast(hidden.device.type, enabled=False):
            for chunk, targets, grad_chunk in zip(
                rows.split(size), labels.flatten().split(size), grad_hidden.split(size), strict=True
            ):
                log_p = _log_probabilities(chunk, weights)
                total += _losses(log_p, targets).sum()
                grad = log_p.exp_()
                has_target = targets.ne(IGNORED).unsqueeze(1)
                grad.scatter_add_(1, targets.clamp(min=0).unsqueeze(1), -has_target.to(grad.dtype))
                grad = grad.mul_(has_target).to(rows.dtype)
                parts = grad.split([len(head) for head in heads], dim=1)
                grad_chunk.copy_(sum(part @ weight for part, weight in zip(parts, weights, strict=True)))
                for grad_head, part in zip(grad_heads, parts, strict=True):
                    grad_head += part.T @ chunk
                del log_p, grad, parts, part  # or they would stay while the next chunk's are computed
        ctx.gradients = [grad_hidden.view_as(hidden), None, *grad_heads]
        return total

    @staticmethod
    def backward(ctx, grad_total):
        # The gradients are as large as the heads: they are scaled in place, and no copy is kept.
        gradients, ctx.gradients = ctx.gradients, None
        return tuple(gradient if gradient is None else gradient.mul_(grad_total) for gradient in gradients)


def _cast(hidden, heads):
    """Rows [positions, width] and weights in the dtype of the products."""
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    return hidden.flatten(0, 1).to(dtype), [head.to(dtype) for head in heads]


def _log_probabilities(rows, weights):
    logits = torch.cat([rows @ weight.T for weight in weights], dim=-1)
    return logits.float().log_softmax(-1)


def _losses(log_p, targets):
    picked = log_p.gather(1, targets.clamp(min=0).unsqueeze(1)).squeeze(1)
    return -picked * targets.ne(IGNORED)
