"""The shapes of the real models, for random weights of their size."""

from transformers import LlamaConfig

from libretto.models.amt import AmtForTextToMusic, AmtTextConfig
from libretto.models.llama import LlamaForTextToMusic, LlamaMusicConfig
from libretto.tokens import vocab

LLAMA_3_2 = {"vocab_size": 128_256, "num_key_value_heads": 8, "intermediate_size": 8192, "tie_word_embeddings": True}
LLAMA_1B = LLAMA_3_2 | {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "head_dim": 64}
LLAMA_3B = LLAMA_3_2 | {"hidden_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 24, "head_dim": 128}
AMT_LARGE = {
    "vocab_size": vocab.EMBEDDING_ROWS,
    "n_embd": 1280,
    "n_layer": 36,
    "n_head": 20,
    "activation_function": "gelu_pytorch_tanh",
    "text_hidden_size": LLAMA_1B["hidden_size"],
}

# By variant: its class, its config, and the number of trainable parameters in the paper's Table 2 (in millions).
REAL = {
    "amt": (AmtForTextToMusic, AmtTextConfig(**AMT_LARGE), 782.8),
    "llama-1b": (LlamaForTextToMusic, LlamaMusicConfig(**LLAMA_1B), 1465.4),
    "llama-3b": (LlamaForTextToMusic, LlamaMusicConfig(**LLAMA_3B), 3560.3),
}
TEXT_ENCODER = LlamaConfig(**LLAMA_1B)  # of AMT
