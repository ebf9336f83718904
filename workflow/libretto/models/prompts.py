"""Prompts: what a model is told about a song, as token ids of Llama's tokenizer (paper, section 4)."""

import threading

from libretto.errors import InputError

BEGIN_OF_TEXT = "<|begin_of_text|>"
END_OF_TURN = "<|eot_id|>"  # fills up the shorter prompts of a batch; always masked


class Prompter:
    """Turns a song's description into the prompt of one model family.

    The AMT family reads the description alone. The Llama family reads an instruction followed by the description.
    Without a description (`None`) the prompt is empty for AMT and a shorter instruction for Llama.

    Args:
        tokenizer: Llama's tokenizer.
        family: `amt` or `llama`.
        text: the config's section `text`.
    """

    def __init__(self, tokenizer, family: str, text: dict):
        self.tokenizer = tokenizer
        self.max_tokens = text["max_tokens"]
        self.instruction = text["instruction"] if family == "llama" else ""
        self.end = text.get("prompt_end", "")
        self.without_description = text["instruction_without_description"] if family == "llama" else ""
        # Training and validation prepare batches in two threads; the tokenizer may be used by one at a time.
        self.lock = threading.Lock()
        self.begin_id = special_id(tokenizer, BEGIN_OF_TEXT)
        self.pad_id = special_id(tokenizer, END_OF_TURN)

    def prompt(self, caption: str | None) -> str:
        """The prompt as text."""
        return self.without_description if caption is None else self.instruction + caption + self.end

    def __call__(self, caption: str | None) -> list[int]:
        """The prompt as token ids, the begin-of-text token first, cut at the right to `text.max_tokens`."""
        # Special tokens spelled out in a caption are text like any other.
        with self.lock:
            ids = self.tokenizer(self.prompt(caption), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [self.begin_id, *ids][: self.max_tokens]


def load_tokenizer(folder: str):
    """The tokenizer of a Llama checkpoint in the hub's format."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def special_id(tokenizer, name: str) -> int:
    """The id of a special token by its name: ids differ between tokenizers."""
    token_id = tokenizer.get_vocab().get(name)
    if token_id is None:
        raise InputError(f"{tokenizer.name_or_path}: its tokenizer has no {name}; a Llama 3 checkpoint is needed here")
    return token_id
