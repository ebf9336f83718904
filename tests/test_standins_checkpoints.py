import json
import os
import stat

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel, LlamaForCausalLM

from libretto.standins import checkpoints
from libretto.standins.checkpoints import SPECIAL_TOKENS, make_amt, make_llama
from libretto.tokens.vocab import AUTOREGRESS, EMBEDDING_ROWS

AMT = {"width": 64, "layers": 3, "context": 190, "pieces": 4, "batch_size": 8, "steps": 12}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The three checkpoints, made with few pieces and few steps."""
    folder = tmp_path_factory.mktemp("models")
    umask = os.umask(0o027)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "TEXT_CAPTIONS", 40)
        torch.set_num_threads(1)
        make_amt(folder / "amt-large", 0, AMT)
        make_amt(folder / "again", 0, AMT)
        make_llama(folder / "llama-1b", 0, {"width": 64, "layers": 2})
        make_llama(folder / "llama-3b", 0, {"width": 72, "layers": 2})
    os.umask(umask)
    return folder


def test_amt_is_a_gpt2_with_every_row(folder):
    model = AutoModelForCausalLM.from_pretrained(folder / "amt-large")
    assert isinstance(model, GPT2LMHeadModel)
    assert model.transformer.wte.weight.shape == (EMBEDDING_ROWS, 64)
    assert model.lm_head.weight.data_ptr() == model.transformer.wte.weight.data_ptr()
    assert model.config.n_positions == 190
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_amt_prefers_rows_that_occur(folder):
    model = AutoModelForCausalLM.from_pretrained(folder / "amt-large").eval()
    chunks = checkpoints._music_chunks(0, 4, 190)[:4]
    used = torch.zeros(EMBEDDING_ROWS, dtype=torch.bool)
    used[chunks.unique()] = True
    with torch.no_grad():
        probabilities = model(chunks[:1, :30]).logits[0].softmax(dim=-1)
    assert probabilities[:, used].sum(dim=-1).mean() > 2 * used.float().mean()


def test_same_seed_same_amt(folder):
    first, second = ((folder / name / "model.safetensors").read_bytes() for name in ("amt-large", "again"))
    assert first == second


def test_files_have_the_mode_that_the_umask_leaves(folder):
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()} == {0o640}


def test_chunks_begin_with_the_start_token_and_time_zero():
    chunks = checkpoints._music_chunks(5, 1, 191)
    assert chunks.shape[1] == 1 + 63 * 3
    assert (chunks[:, 0] == AUTOREGRESS).all()
    assert (chunks[:, 1] == 0).all()


@pytest.mark.parametrize(("name", "layers"), [("llama-1b", 2), ("llama-3b", 2)])
def test_llama_loads_as_the_hub_has_it(folder, name, layers):
    model = AutoModelForCausalLM.from_pretrained(folder / name)
    tokenizer = AutoTokenizer.from_pretrained(folder / name)
    assert isinstance(model, LlamaForCausalLM)
    assert json.loads((folder / name / "config.json").read_text())["dtype"] == "bfloat16"
    assert model.config.num_hidden_layers == layers
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.bos_token_id == tokenizer.convert_tokens_to_ids("<|begin_of_text|>")
    ids = tokenizer("A melodic pop song in D major.", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.isfinite(model(ids).logits).all()


def test_widths_differ(folder):
    widths = [
        AutoModelForCausalLM.from_pretrained(folder / f"llama-{size}").config.hidden_size for size in ("1b", "3b")
    ]
    assert widths[0] != widths[1]


def test_tokenizer_reads_as_llama_s(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder / "llama-1b")
    text = "A café's jazz waltz at 132 BPM: \u266b piano, drums &\n 东京."
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids.count(tokenizer.bos_token_id) == 1
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer(text, add_special_tokens=False).input_ids == ids[1:]
    specials = [tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS]
    assert specials == list(range(len(tokenizer) - len(SPECIAL_TOKENS), len(tokenizer)))
    assert tokenizer("<|eot_id|>", add_special_tokens=False).input_ids == [specials[SPECIAL_TOKENS.index("<|eot_id|>")]]
    words = "a melodic electronic song featuring piano and drums"
    assert len(tokenizer(words).input_ids) < len(words) / 3
