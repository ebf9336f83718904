"""Llama with a second, musical vocabulary (paper, section 4.2).

An id below `vocab_size` is text, id = vocab_size + t is the music token t. With E the text embedding, M the music
embedding, W a linear projection, h the last hidden state, H the text head and H' the expanded head:

    input(id)  = E[id] for text, W M[t] for music
    p(id | h)  = softmax([H h, H' h])[id]                   the two heads' logits concatenated

The loss is -sum log p over the text and all the music, the start token included.
"""

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModelForCausalLM, GenerationConfig, LlamaConfig, LlamaForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import can_return_tuple

from libretto.errors import InputError
from libretto.models import IGNORED
from libretto.models.loss import ChunkLoss, mean_loss, token_losses
from libretto.models.prompts import BEGIN_OF_TEXT, END_OF_TURN, special_id
from libretto.tokens import vocab


class LlamaMusicConfig(LlamaConfig):
    """Llama's config, `vocab_size` being that of the text.

    Attributes:
        music_vocab_size: rows of the music embedding and of the expanded head.
    """

    model_type = "libretto-llama"  # not "llama": transformers' Auto classes would load a plain one, without the music
    music_vocab_size: int = vocab.EMBEDDING_ROWS

    @classmethod
    def of_base(cls, base: LlamaConfig) -> "LlamaMusicConfig":
        """The config of a Llama checkpoint with new music parameters."""
        settings = base.to_dict()
        del settings["model_type"]
        return cls.from_dict(settings)


class LlamaForTextToMusic(LlamaForCausalLM):
    """LlamaForCausalLM with a music embedding, its projection and an expanded head beside Llama's own parameters."""

    config_class = LlamaMusicConfig
    new_parameters = ("music_embedding.", "music_projection.", "expanded_lm_head.")

    def __init__(self, config: LlamaMusicConfig):
        super().__init__(config)
        self.music_embedding = nn.Embedding(config.music_vocab_size, config.hidden_size)
        self.music_projection = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.expanded_lm_head = nn.Linear(config.hidden_size, config.music_vocab_size, bias=False)
        self.chunk_loss = ChunkLoss()
        self.post_init()

    @classmethod
    def from_base(cls, folder: str, amt_folder: str | None = None) -> "LlamaForTextToMusic":
        """A plain Llama checkpoint with new music parameters, in fp32 (transformers would keep the checkpoint's bf16).

        Args:
            folder: the Llama checkpoint.
            amt_folder: an AMT checkpoint for `init_from_amt`; without it the new parameters are gaussian, as Llama
                initializes its own.
        """
        config = LlamaMusicConfig.of_base(LlamaConfig.from_pretrained(folder))
        model = cls.from_pretrained(folder, config=config, dtype=torch.float32)
        if amt_folder is not None:
            amt = AutoModelForCausalLM.from_pretrained(amt_folder, dtype=torch.float32, trust_remote_code=False)
            model.init_from_amt(amt.get_input_embeddings().weight)
        return model

    @torch.no_grad()
    def init_from_amt(self, embedding: torch.Tensor) -> None:
        """M = [c A, 0]: AMT's token embedding A at the standard deviation of Llama's text embedding, then zeros.

        Args:
            embedding: A, [music_vocab_size, at most hidden_size].
        """
        rows, width = embedding.shape
        if rows != self.config.music_vocab_size or width > self.config.hidden_size:
            raise ValueError(f"an embedding of {rows} x {width} does not fit into {self.music_embedding}")
        scale = self.model.embed_tokens.weight.std() / embedding.std()
        self.music_embedding.weight.zero_()
        self.music_embedding.weight[:, :width] = scale * embedding

    def embed(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The input embeddings [batch, L, hidden_size] of text and music ids [batch, L]."""
        text_size = self.config.vocab_size
        is_music = input_ids >= text_size
        # Both lookups for every position, the unused one at row 0: shapes stay fixed, so no GPU waits for the CPU.
        text = self.model.embed_tokens(input_ids.masked_fill(is_music, 0))
        music = self.embed_music((input_ids - text_size).clamp(min=0))
        return torch.where(is_music.unsqueeze(-1), music.to(text.dtype), text)

    def embed_music(self, tokens: torch.Tensor) -> torch.Tensor:
        """The input embeddings [batch, L, hidden_size] of music alone, AMT's ids [batch, L]."""
        return self.music_projection(self.music_embedding(tokens))

    def token_losses(self, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """-log p of each of `labels` [batch, L] (the next id, or IGNORED) after right-padded ids [batch, L]."""
        return token_losses(*self._hidden_and_heads(input_ids), labels)

    def _hidden_and_heads(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        # No mask: see libretto.models.attention.
        hidden = self.model(inputs_embeds=self.embed(input_ids), use_cache=False).last_hidden_state
        return hidden, [self.lm_head.weight, self.expanded_lm_head.weight]

    def music_targets(self, labels: torch.Tensor) -> torch.Tensor:
        """Which of `labels` are music after the start token."""
        start = self.config.vocab_size + vocab.AUTOREGRESS
        return (labels >= self.config.vocab_size) & (labels != start) & (labels != IGNORED)

    def blocks(self) -> list[nn.Module]:
        """The transformer blocks."""
        return [*self.model.layers]

    def compiled_parts(self) -> list[nn.Module]:
        """What is worth compiling: the blocks, which then share one graph, and the loss."""
        return [*self.blocks(), self.chunk_loss]

    @can_return_tuple
    def forward(self, input_ids, labels=None, num_items_in_batch=None, **kwargs) -> CausalLMOutputWithPast:
        """The loss if there are labels, otherwise the logits [batch, L, vocab_size + music_vocab_size]."""
        hidden, heads = self._hidden_and_heads(input_ids)
        if labels is not None:
            loss = mean_loss(hidden, heads, labels, num_items_in_batch, self.chunk_loss)
            return CausalLMOutputWithPast(loss=loss)
        return CausalLMOutputWithPast(logits=torch.cat([functional.linear(hidden, head) for head in heads], dim=-1))

    @classmethod
    @torch.no_grad()
    def from_folded(cls, folder: str, text_size: int, dtype: torch.dtype) -> "LlamaForTextToMusic":
        """A plain Llama checkpoint whose vocabulary is the text and, after it, AMT's: what `fold` makes, or MIDI-LLM's.

        Args:
            folder: the checkpoint.
            text_size: of the text vocabulary: the id of the music's first token.
            dtype: of the weights.

        Raises:
            InputError: it has no music vocabulary.
        """
        plain = LlamaForCausalLM.from_pretrained(folder, dtype=dtype)
        text = slice(text_size)
        music = slice(text_size, text_size + vocab.EMBEDDING_ROWS)
        if plain.config.vocab_size < music.stop:
            raise InputError(
                f"{folder}: its vocabulary of {plain.config.vocab_size} is not {text_size} text tokens and AMT's "
                f"{vocab.EMBEDDING_ROWS}: a Llama that was trained on AMT's tokens is needed here"
            )
        embedding, head = plain.model.embed_tokens.weight, plain.lm_head.weight
        config = LlamaMusicConfig.of_base(plain.config)
        config.vocab_size, config.tie_word_embeddings = text_size, False
        model = cls(config).to(dtype)
        model.model.load_state_dict({**plain.model.state_dict(), "embed_tokens.weight": embedding[text]})
        model.lm_head.weight.copy_(head[text])
        model.music_embedding.weight.copy_(embedding[music])
        model.music_projection.weight.copy_(torch.eye(config.hidden_size))
        model.expanded_lm_head.weight.copy_(head[music])
        return model

    @torch.no_grad()
    def fold(self) -> LlamaForCausalLM:
        """The same function as a plain LlamaForCausalLM: embedding [E; M W^T], untied head [H; H']."""
        settings = {
            **self.config.to_dict(),
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": self.config.vocab_size + self.config.music_vocab_size,
            "tie_word_embeddings": False,
        }
        del settings["music_vocab_size"], settings["model_type"]
        plain = LlamaForCausalLM(LlamaConfig.from_dict(settings)).to(self.dtype)
        music = functional.linear(self.music_embedding.weight, self.music_projection.weight)
        embedding = torch.cat([self.model.embed_tokens.weight, music])
        plain.model.load_state_dict({**self.model.state_dict(), "embed_tokens.weight": embedding})
        plain.lm_head.weight.copy_(torch.cat([self.lm_head.weight, self.expanded_lm_head.weight]))
        return plain.eval()


def generation_config(tokenizer, text_vocab_size: int, chunk_tokens: int) -> GenerationConfig:
    """A folded model's defaults for sampling: those of the paper (section 5.1).

    A prompt is the begin-of-text token, instruction and description, and the start token text_vocab_size + AUTOREGRESS.
    The separator ends a piece.

    Args:
        tokenizer: of the model.
        text_vocab_size: the model's text ids; music ids follow.
        chunk_tokens: the length of chunk that the model was trained on: the longest piece, in tokens.
    """
    return GenerationConfig(
        bos_token_id=special_id(tokenizer, BEGIN_OF_TEXT),
        eos_token_id=text_vocab_size + vocab.SEPARATOR,
        pad_token_id=special_id(tokenizer, END_OF_TURN),
        do_sample=True,
        temperature=1.0,
        top_p=0.98,
        top_k=0,
        max_new_tokens=chunk_tokens,
    )
