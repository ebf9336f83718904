"""One interface to the two model families, for training, validation and sampling."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from transformers import LlamaConfig, PreTrainedModel

from libretto.models.amt import AmtForTextToMusic
from libretto.models.batches import collate_amt, collate_llama
from libretto.models.device import inference_dtype
from libretto.models.encoder import TextEncoder, text_shape
from libretto.models.llama import LlamaForTextToMusic
from libretto.models.prompts import Prompter, load_tokenizer

FAMILIES: dict[str, type[PreTrainedModel]] = {"amt": AmtForTextToMusic, "llama": LlamaForTextToMusic}


@dataclass
class Variant:
    """A model of either family and what is needed to feed it.

    Attributes:
        model: an AmtForTextToMusic or a LlamaForTextToMusic.
        prompter: makes its prompts.
        collate: items of libretto.models.batches to a batch of CPU tensors.
        encoder: the frozen text encoder of the AMT family; None for Llama, which reads the text itself.
    """

    model: torch.nn.Module
    prompter: Prompter
    collate: Callable
    encoder: TextEncoder | None

    def encode(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The batch as the model takes it: for AMT, prompts become the encoder's states."""
        if self.encoder is None:
            return batch
        rest = {name: tensor for name, tensor in batch.items() if name != "text_ids"}
        return {**rest, "text_states": self.encoder(batch["text_ids"])}


def base_model(settings: dict, base: str, text_model: str, init_from: str | None) -> torch.nn.Module:
    """The model that training starts from, in fp32.

    Args:
        settings: the variant's section of the config.
        base: folder of its pretrained checkpoint.
        text_model: folder of the Llama that reads its text.
        init_from: folder of the AMT checkpoint for `init: amt`, else None.
    """
    if settings["family"] == "amt":
        encoder = LlamaConfig.from_pretrained(text_model)
        return AmtForTextToMusic.from_base(base, **text_shape(encoder, settings["text_states"]))
    return LlamaForTextToMusic.from_base(base, init_from if settings["init"] == "amt" else None)


def trained_model(settings: dict, folder: str, dtype: torch.dtype) -> torch.nn.Module:
    """A finished variant; arguments as in `base_model`."""
    return FAMILIES[settings["family"]].from_pretrained(folder, dtype=dtype)


def outside_variant(folder: str, text: dict, device: torch.device) -> Variant:
    """A Llama that others trained on text and AMT's tokens, with its tokenizer.

    Args:
        folder: of the checkpoint.
        text: the config's section `text`, and `prompt_end`, which follows the description.
        device: where it runs.
    """
    model = LlamaForTextToMusic.from_folded(folder, len(load_tokenizer(folder)), inference_dtype(device))
    return make_variant(model, {"family": "llama"}, text, folder, device)


def make_variant(model: torch.nn.Module, settings: dict, text: dict, text_model: str, device: torch.device) -> Variant:
    """Put `model` on `device` together with its tokenizer and, for AMT, its text encoder.

    Args:
        model: from `base_model` or `trained_model`.
        settings: the variant's section of the config.
        text: the config's section `text`.
        text_model: folder of the Llama that reads its text.
        device: where it runs.
    """
    prompter = Prompter(load_tokenizer(text_model), settings["family"], text)
    if settings["family"] == "amt":
        encoder = TextEncoder.from_folder(text_model, settings["text_states"] == "weighted", device)
        collate = partial(collate_amt, pad_id=prompter.pad_id)
    else:
        encoder = None
        collate = partial(collate_llama, pad_id=prompter.pad_id, text_vocab_size=model.config.vocab_size)
    return Variant(model.to(device), prompter, collate, encoder)
