"""Decoding with a key-value cache: one loop for the transformers of both families and for AMT as published.

Prompts are padded at the left, so that all rows continue at the same column. A step reads keys and values up to the
next multiple of `BUCKET` columns only, and on a GPU it is one CUDA graph per multiple.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from transformers import Cache, PreTrainedModel
from transformers.cache_utils import StaticLayer

from libretto.models.attention import GROUPED
from libretto.models.loss import joined

BUCKET = 128
RESERVE = 0.2  # of the GPU's free memory, for what `row_bytes` leaves out
CPU_BATCH = 32
# Steps between two looks at whether all pieces have ended; on a GPU, a look waits for all steps before it.
LOOK = {"cpu": 1, "cuda": 64}

# Maps logits [batch, music rows] and a step's number to the tokens drawn, int64 [batch].
Draw = Callable[[torch.Tensor, int], torch.Tensor]


@dataclass(frozen=True)
class Prompt:
    """What comes before the first token that is drawn, padded at the left.

    Attributes:
        embeddings: [batch, P, width].
        visible: bool [batch, P], False for padding.
        positions: int64 [batch, P]; they go on from the last column.
    """

    embeddings: torch.Tensor
    visible: torch.Tensor
    positions: torch.Tensor


class Decoder:
    """Continues prompts, batch by batch.

    Args:
        core: transformers' GPT-2 or Llama, without its head.
        embed: maps music tokens [batch, n] to embeddings [batch, n, width].
        head: the linear map of the last state to the logits of the music tokens.
        max_prompt: columns of the longest prompt.
    """

    def __init__(
        self, core: PreTrainedModel, embed: Callable[[torch.Tensor], torch.Tensor], head: nn.Linear, max_prompt: int
    ):
        self.core = core
        self.embed = embed
        self.n_rows = len(head.weight)
        self.head = joined([head.weight.detach()], head.weight.dtype)
        self.max_prompt = max_prompt
        self._steps: _Steps | None = None

    def batch_size(self, n_rows: int, n_tokens: int) -> int:
        """How many rows to continue at once, of `n_rows` by `n_tokens`: equal batches that fit the free memory."""
        largest = CPU_BATCH
        if self.core.device.type == "cuda":
            free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
            largest = max(1, int((1 - RESERVE) * free) // self.row_bytes(n_tokens))
        return math.ceil(n_rows / math.ceil(n_rows / largest))

    def row_bytes(self, n_tokens: int) -> int:
        """Memory that a row needs: keys and values, the prompt's states in one block, logits in fp32 while sampling."""
        config = self.core.config
        heads = getattr(config, "num_key_value_heads", config.num_attention_heads)
        head_size = getattr(config, "head_dim", config.hidden_size // config.num_attention_heads)
        cached = 2 * config.num_hidden_layers * heads * head_size * (self.max_prompt + n_tokens - 1)
        states = 24 * config.hidden_size * self.max_prompt  # an MLP has three of four times the width, and some more
        return (cached + states) * self.core.dtype.itemsize + 8 * 4 * self.n_rows

    @torch.no_grad()
    def __call__(self, prompt: Prompt, n_tokens: int, draw: Draw, end: int) -> torch.Tensor:
        """Continue a batch of prompts.

        Args:
            prompt: the prompts.
            n_tokens: how many tokens to draw for each.
            draw: how.
            end: the token after which a piece ends.

        Returns:
            int64 [batch, at most n_tokens], AMT's ids; what follows a piece's `end` means nothing.
        """
        self.core.set_attn_implementation(GROUPED)
        shape = (len(prompt.visible), self.max_prompt + n_tokens - 1)  # the last token drawn is never read
        if self._steps is None or self._steps.visible.shape != shape:
            self._steps = None  # before its successor needs the memory
            self._steps = _Steps(self, *shape)
        logits, tokens = self._steps.first(prompt), []
        ended = torch.zeros(shape[0], dtype=torch.bool, device=logits.device)
        for number in range(n_tokens):
            tokens.append(draw(logits, number))
            ended |= tokens[-1] == end
            look = number % LOOK[ended.device.type] == 0
            if number + 1 == n_tokens or (look and ended.all()):
                break
            logits = self._steps.next(tokens[-1])
        return torch.stack(tokens, dim=1)


class _Layer(StaticLayer):
    """Keys and values of one layer, of which a step sees the first `length` columns."""

    length: int
    column: torch.Tensor | None = None  # where the step's token goes; None for a prompt

    def update(self, key_states, value_states, *args, **kwargs):
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.column is None:
            n = key_states.shape[2]
            self.keys[:, :, :n], self.values[:, :, :n] = key_states, value_states
            return key_states, value_states
        self.keys.index_copy_(2, self.column, key_states)
        self.values.index_copy_(2, self.column, value_states)
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


class _Steps:
    """The steps of batches of one size: static tensors and, on a GPU, the CUDA graphs that read and write them."""

    def __init__(self, decoder: Decoder, batch: int, columns: int):
        device = decoder.core.device
        self.decoder = decoder
        self.columns = columns
        self.column = 0
        self.layers = [_Layer(columns) for _ in range(decoder.core.config.num_hidden_layers)]
        self.cache = Cache(layers=self.layers)
        self.visible = torch.zeros(batch, columns, dtype=torch.bool, device=device)
        self.token = torch.zeros(batch, 1, dtype=torch.long, device=device)
        self.position = torch.zeros(batch, 1, dtype=torch.long, device=device)
        self.at = torch.zeros(1, dtype=torch.long, device=device)
        self.graphs: dict[int, tuple] = {}
        self.pool = None

    def first(self, prompt: Prompt) -> torch.Tensor:
        """The logits after the prompt of a new batch."""
        self.column = n = prompt.visible.shape[1]
        self.visible.zero_()
        self.visible[:, :n] = prompt.visible
        self.position.copy_(prompt.positions[:, -1:])
        mask = prompt.visible[:, None, None, :] & torch.ones(n, n, dtype=torch.bool, device=self.at.device).tril()
        # Padding has nothing to attend to. A kernel may then return NaN, which would reach every token through the
        # padding's values, because 0 * NaN is NaN: so it attends to all.
        mask |= ~mask.any(-1, keepdim=True)
        for layer in self.layers:
            layer.column = None
        logits = self._run(prompt.embeddings, prompt.positions, mask)
        for layer in self.layers:
            layer.column = self.at
        return logits

    def next(self, token: torch.Tensor) -> torch.Tensor:
        """The logits after one more token of each row, int64 [batch]."""
        self.token.copy_(token.unsqueeze(1))
        self.at.fill_(self.column)
        self.position += 1
        length = min(-(-(self.column + 1) // BUCKET) * BUCKET, self.columns)
        self.column += 1
        if self.token.device.type != "cuda":
            return self._step(length)
        if length not in self.graphs:
            self.graphs[length] = self._capture(length)
        graph, logits = self.graphs[length]
        graph.replay()
        return logits

    def _step(self, length: int) -> torch.Tensor:
        self.visible.index_fill_(1, self.at, True)
        for layer in self.layers:
            layer.length = length
        return self._run(self.decoder.embed(self.token), self.position, self.visible[:, None, None, :length])

    def _run(self, embeddings, positions, mask):
        states = self.decoder.core(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        return functional.linear(states[:, -1], self.decoder.head)[:, : self.decoder.n_rows]

    def _capture(self, length: int) -> tuple:
        """A graph of the step, after a run without one, in which libraries allocate what they need."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._step(length)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool):
            logits = self._step(length)
        self.pool = self.pool or graph.pool()
        return graph, logits
