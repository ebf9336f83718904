"""The Anticipatory Music Transformer (GPT-2) with a text prefix (paper, section 4.1).

The states of a frozen Llama, s[j] for the prompt's tokens j = 1..P, come before the music tokens x[0..T-1] (x[0] is
the start token) as

    prefix[j] = W s[j]                                      text_states: last
    prefix[j] = W sum_l softmax(a)[l] s[l, j]               text_states: weighted, l = embedding, layer 1, layer 2, ...

with W a learned matrix and a learned weights that start at zero, i.e. uniform. The prefix gets no position embedding;
the music gets positions 0..T-1. The loss is -sum_{t=1}^{T-1} log p(x[t] | prefix, x[<t]).
"""

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers import initialization as init
from transformers.modeling_outputs import CausalLMOutputWithCrossAttentions
from transformers.utils import can_return_tuple

from libretto.errors import InputError
from libretto.models import IGNORED
from libretto.models.loss import ChunkLoss, mean_loss, token_losses


class AmtTextConfig(GPT2Config):
    """GPT-2's config and the shape of the text encoder's states.

    Attributes:
        text_hidden_size: width of a state.
        text_layers: states per token; more than 1 gets learned weights.
    """

    model_type = "libretto-amt"  # not "gpt2": transformers' Auto classes would load a plain one, without the text
    text_hidden_size: int = 2048
    text_layers: int = 1

    @classmethod
    def of_base(cls, base: GPT2Config, text_hidden_size: int, text_layers: int) -> "AmtTextConfig":
        """The config of an AMT checkpoint with a new prefix."""
        settings = base.to_dict()
        del settings["model_type"]
        if settings["activation_function"] == "gelu_new":
            # The same function in one kernel instead of eight, which would keep half as much memory again for the
            # backward pass, and more where autocast runs them in fp32.
            settings["activation_function"] = "gelu_pytorch_tanh"
        return cls.from_dict({**settings, "text_hidden_size": text_hidden_size, "text_layers": text_layers})


class MusicPositions(nn.Embedding):
    """The position table: positions outside of it, i.e. the prefix before and the padding after, embed to zero."""

    def forward(self, position_ids: torch.Tensor) -> torch.Tensor:
        """Embeddings [..., width] of `position_ids` [...]."""
        inside = (position_ids >= 0) & (position_ids < self.num_embeddings)
        return super().forward(position_ids * inside) * inside.unsqueeze(-1)


class TextPrefix(nn.Module):
    """Combines the layers' states, where there are several, and projects them to the width of the music model."""

    def __init__(self, config: AmtTextConfig):
        super().__init__()
        self.layer_weights = nn.Parameter(torch.zeros(config.text_layers)) if config.text_layers > 1 else None
        self.projection = nn.Linear(config.text_hidden_size, config.n_embd, bias=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Prefix [batch, tokens, n_embd] of `states` [batch, tokens, (layers,) text_hidden_size]."""
        if self.layer_weights is not None:
            states = torch.einsum("bplh,l->bph", states, self.layer_weights.softmax(0).to(states.dtype))
        return self.projection(states.to(self.projection.weight.dtype))


class AmtForTextToMusic(GPT2LMHeadModel):
    """GPT2LMHeadModel with a text prefix; its parameters are GPT-2's under the same names and `text_prefix.*`."""

    config_class = AmtTextConfig
    new_parameters = ("text_prefix.",)

    def __init__(self, config: AmtTextConfig):
        super().__init__(config)
        self.transformer.wpe = MusicPositions(config.n_positions, config.n_embd)
        self.text_prefix = TextPrefix(config)
        self.chunk_loss = ChunkLoss()
        self.post_init()

    @classmethod
    def from_base(cls, folder: str, text_hidden_size: int, text_layers: int) -> "AmtForTextToMusic":
        """A plain AMT checkpoint with a new prefix, in fp32 (transformers would keep the checkpoint's dtype)."""
        config = AmtTextConfig.of_base(GPT2Config.from_pretrained(folder), text_hidden_size, text_layers)
        return cls.from_pretrained(folder, config=config, dtype=torch.float32)

    @torch.no_grad()
    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, TextPrefix) and module.layer_weights is not None:
            init.zeros_(module.layer_weights)

    def join(self, text_states, text_mask, input_ids, left: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The prefix and the music of each row side by side, with the padding at the left or at the right of both.

        Returns:
            embeddings [batch, P + T, n_embd], mask [batch, P + T] (False where there is padding), position ids alike.
        """
        music = self.transformer.wte(input_ids)
        prefix = self.text_prefix(text_states).to(music.dtype)
        (_, n_text), n_music, device = text_mask.shape, input_ids.shape[1], input_ids.device
        length = text_mask.sum(1, keepdim=True)  # of each row's text
        column = torch.arange(n_text + n_music, device=device).expand(len(input_ids), -1)
        # Positions rise by one from -length, so that the first music token is at 0. Any other numbering of the prefix
        # (such as zeros) would be taken for packed sequences where there is no mask.
        positions = column - (n_text if left else length)
        # Where a token stands in the concatenation [text | text padding | music].
        origin = torch.where(positions < 0, positions + length, positions + n_text)
        valid = (origin >= 0) & (positions < n_music)
        origin = origin.clamp(0, n_text + n_music - 1)
        joined = torch.cat([prefix, music], dim=1)
        return joined.gather(1, origin.unsqueeze(-1).expand(-1, -1, joined.shape[-1])), valid, positions

    def hidden_states(
        self, input_ids: torch.Tensor, text_states: torch.Tensor, text_mask: torch.Tensor
    ) -> torch.Tensor:
        """The last layer's states [batch, T, n_embd] at the music tokens.

        Args:
            input_ids: music tokens [batch, T] from the start token on, right-padded.
            text_states: [batch, P, (layers,) text_hidden_size], right-padded.
            text_mask: [batch, P], 1 where there is text.
        """
        n_music = input_ids.shape[1]
        check_length(n_music, self.config.n_positions, "data.chunk_tokens")
        embeddings, _, positions = self.join(text_states, text_mask, input_ids, left=False)
        # No mask: see libretto.models.attention.
        states = self.transformer(inputs_embeds=embeddings, position_ids=positions, use_cache=False).last_hidden_state
        at_music = text_mask.sum(1, keepdim=True) + torch.arange(n_music, device=input_ids.device)
        return states.gather(1, at_music.unsqueeze(-1).expand(-1, -1, states.shape[-1]))

    def token_losses(self, input_ids, labels, text_states, text_mask) -> torch.Tensor:
        """-log p of each of `labels` [batch, T] (the next music token, or IGNORED); arguments as in `hidden_states`."""
        hidden = self.hidden_states(input_ids, text_states, text_mask)
        return token_losses(hidden, [self.lm_head.weight], labels)

    @staticmethod
    def music_targets(labels: torch.Tensor) -> torch.Tensor:
        """Which of `labels` are music after the start token: all of them."""
        return labels != IGNORED

    def blocks(self) -> list[nn.Module]:
        """The transformer blocks."""
        return [*self.transformer.h]

    def compiled_parts(self) -> list[nn.Module]:
        """What is worth compiling: the blocks, which then share one graph, and the loss."""
        return [*self.blocks(), self.chunk_loss]

    @can_return_tuple
    def forward(self, input_ids, text_states, text_mask, labels=None, num_items_in_batch=None, **kwargs):
        """The loss if there are labels, otherwise the logits [batch, T, vocab_size] at the music tokens."""
        hidden = self.hidden_states(input_ids, text_states, text_mask)
        if labels is None:
            return CausalLMOutputWithCrossAttentions(logits=self.lm_head(hidden))
        loss = mean_loss(hidden, [self.lm_head.weight], labels, num_items_in_batch, self.chunk_loss)
        return CausalLMOutputWithCrossAttentions(loss=loss)


def check_length(n_music: int, positions: int, key: str) -> None:
    """Refuse more music than AMT has positions for.

    Args:
        n_music: tokens that the model is to read, the start token included.
        positions: number of positions that the model has.
        key: the config key that sets the length.

    Raises:
        InputError: it is too long.
    """
    if n_music > positions:
        raise InputError(f"{n_music} music tokens, but the model has {positions} positions: lower {key} in the config")
