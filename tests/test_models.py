"""The models against plain reference computations."""

import json

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GPT2LMHeadModel, LlamaForCausalLM
from transformers.utils import logging as transformers_logging

from libretto.errors import InputError
from libretto.models import IGNORED, loss
from libretto.models.amt import AmtForTextToMusic, AmtTextConfig
from libretto.models.attention import CAUSAL
from libretto.models.encoder import TextEncoder
from libretto.models.llama import LlamaForTextToMusic, generation_config
from libretto.tokens import vocab
from tests.shapes import REAL, make_variant

START, SEPARATOR = vocab.AUTOREGRESS, vocab.SEPARATOR


def n_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("name", REAL)
def test_parameter_counts_are_the_papers(name):
    n, expected = n_parameters(make_variant(name, None, torch.device("meta")).model), REAL[name][-1]
    print(f"{name}: {n / 1e6:.1f} M trainable parameters")
    assert round(n / 1e6, 1) == expected


# ---- AMT ----


def amt_inputs(n_text=(5, 9, 1), n_music=12, layers=3):
    """Right-padded text states and masks of several lengths, and music."""
    draws = torch.Generator().manual_seed(3)
    states = torch.randn(len(n_text), max(n_text), layers, 32, generator=draws)
    mask = torch.tensor([[int(j < n) for j in range(max(n_text))] for n in n_text])
    ids = torch.randint(0, vocab.NOTE_OFFSET, (len(n_text), n_music), generator=draws)
    ids[:, 0] = START
    return ids, states, mask


def plain_gpt2_logits(model, ids, prefix):
    """One row, no padding: a plain GPT-2 whose prefix has its positions subtracted beforehand."""
    plain = GPT2LMHeadModel(model.config).eval()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("text_prefix")})
    n_text, n_music = len(prefix), len(ids)
    positions = torch.cat([torch.zeros(n_text, dtype=torch.long), torch.arange(n_music)])
    embeddings = torch.cat([prefix - plain.transformer.wpe.weight[0], plain.transformer.wte(ids)])
    causal = torch.full((len(positions), len(positions)), torch.finfo(torch.float32).min).triu(1)
    outputs = plain(
        inputs_embeds=embeddings[None], position_ids=positions[None], attention_mask=causal[None, None], use_cache=False
    )
    return outputs.logits[0, n_text:]


@pytest.mark.parametrize("attention", [CAUSAL, "sdpa", "eager"])
@torch.no_grad()
def test_prefix_has_no_positions_and_its_padding_changes_nothing(make_tiny, attention):
    model = make_tiny("amt").model.eval()
    model.set_attn_implementation(attention)
    ids, states, mask = amt_inputs()
    logits = model(ids, text_states=states, text_mask=mask).logits
    assert logits.abs().max() > 1
    for row, n in enumerate(mask.sum(1)):
        expected = plain_gpt2_logits(model, ids[row], model.text_prefix(states[row : row + 1, :n])[0])
        torch.testing.assert_close(logits[row], expected, atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_text_changes_the_music(make_tiny):
    model = make_tiny("amt").model.eval()
    ids, states, mask = amt_inputs()
    one, other = (model(ids, text_states=s, text_mask=mask).logits for s in (states, states.flip(0)))
    assert (one - other).abs().max() > 0.01


def test_training_needs_no_attention_mask(make_tiny, monkeypatch):
    """A mask would cost the flash kernel; without one, causality must be requested."""
    calls = []
    plain = functional.scaled_dot_product_attention

    def spy(*args, attn_mask=None, is_causal=False, **kwargs):
        calls.append((attn_mask is None, is_causal))
        return plain(*args, attn_mask=attn_mask, is_causal=is_causal, **kwargs)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", spy)
    ids, states, mask = amt_inputs()
    amt = make_tiny("amt").model
    amt.set_attn_implementation(CAUSAL)
    amt(ids, text_states=states, text_mask=mask, labels=ids)
    llama = make_tiny("llama").model
    llama.set_attn_implementation(CAUSAL)
    llama(ids, labels=ids)
    assert len(calls) == 4
    assert set(calls) == {(True, True)}


@torch.no_grad()
def test_layer_weights_start_uniform_and_one_hot_is_that_layer(make_tiny, llama_folder):
    weighted, last = make_tiny("amt").model.eval(), make_tiny("amt", text_states="last").model.eval()
    assert last.text_prefix.layer_weights is None
    last.text_prefix.projection.weight.copy_(weighted.text_prefix.projection.weight)
    text_ids = torch.tensor([[5, 6, 7, 8], [9, 10, 2, 2]])
    all_states, last_states = (
        TextEncoder.from_folder(llama_folder, every, torch.device("cpu"))(text_ids) for every in (True, False)
    )
    assert all_states.shape == (2, 4, 3, 32)

    prefix = weighted.text_prefix
    assert torch.equal(prefix.layer_weights.softmax(0), torch.full((3,), 1 / 3))
    torch.testing.assert_close(prefix(all_states), prefix.projection(all_states.mean(2)))
    for layer in range(3):
        prefix.layer_weights.copy_(torch.full((3,), -1e9).index_fill(0, torch.tensor(layer), 0.0))
        torch.testing.assert_close(prefix(all_states), prefix.projection(all_states[:, :, layer]))
    torch.testing.assert_close(prefix(all_states), last.text_prefix(last_states))


@torch.no_grad()
def test_encoder_is_frozen_and_blind_to_padding(llama_folder):
    encoder = TextEncoder.from_folder(llama_folder, False, torch.device("cpu"))
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())
    alone, padded = encoder(torch.tensor([[5, 6, 7]])), encoder(torch.tensor([[5, 6, 7, 2, 2], [5, 6, 7, 8, 9]]))
    torch.testing.assert_close(padded[:, :3], alone.expand(2, -1, -1), atol=1e-5, rtol=1e-5)


def test_amt_loss_is_the_sum_over_the_music(make_tiny):
    model = make_tiny("amt").model.eval()
    ids, states, mask = amt_inputs()
    labels = ids[:, 1:].clone()
    labels[1, 7:] = IGNORED
    inputs = {"text_states": states, "text_mask": mask}
    log_p = model(ids[:, :-1], **inputs).logits.log_softmax(-1)
    by_hand = 0
    for row in range(3):
        for t in range(7 if row == 1 else 11):
            by_hand -= log_p[row, t, ids[row, t + 1]]
    torch.testing.assert_close(model(ids[:, :-1], labels=labels, **inputs).loss, by_hand / 29)
    torch.testing.assert_close(model(ids[:, :-1], labels=labels, num_items_in_batch=100, **inputs).loss, by_hand / 100)
    torch.testing.assert_close(model.token_losses(ids[:, :-1], labels, **inputs).sum(), by_hand.detach())
    assert model.music_targets(labels).sum() == 29


def test_more_music_than_positions_is_an_error(make_tiny):
    model = make_tiny("amt").model
    ids, states, mask = amt_inputs(n_music=97)
    with pytest.raises(InputError, match=r"97 music tokens, .* 96 positions: lower data\.chunk_tokens"):
        model(ids, text_states=states, text_mask=mask)


# ---- Llama ----


def llama_ids(model):
    """Two rows of text, then the start token, then music."""
    size = model.config.vocab_size
    rows = [[0, 7, 8, 9, size + START, size + 3, size + 10_007, size + 11_060, size + SEPARATOR]]
    return torch.tensor([rows[0], [0, 5, size + START, *[size + i for i in (1, 10_001, 11_002, 2, 10_002, 11_003)]]])


@torch.no_grad()
def test_logits_are_those_of_both_heads_and_music_goes_through_the_projection(make_tiny):
    model = make_tiny("llama").model.eval()
    ids, size = llama_ids(model), model.config.vocab_size
    embeddings = torch.stack(
        [
            torch.stack(
                [
                    model.model.embed_tokens.weight[i]
                    if i < size
                    else model.music_projection.weight @ model.music_embedding.weight[i - size]
                    for i in row
                ]
            )
            for row in ids.tolist()
        ]
    )
    hidden = model.model(inputs_embeds=embeddings).last_hidden_state
    logits = model(ids).logits
    assert logits.shape == (2, 9, size + vocab.EMBEDDING_ROWS)
    torch.testing.assert_close(logits[..., :size], hidden @ model.lm_head.weight.T)
    torch.testing.assert_close(logits[..., size:], hidden @ model.expanded_lm_head.weight.T)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_llama_loss_is_the_sum_over_text_and_music(make_tiny):
    model = make_tiny("llama").model.eval()
    ids, size = llama_ids(model), model.config.vocab_size
    labels = ids[:, 1:].clone()
    labels[0, -2:] = IGNORED
    log_p = model(ids[:, :-1]).logits.log_softmax(-1)
    by_hand, music = 0, 0
    for row in range(2):
        for i in range(6 if row == 0 else 8):
            term = -log_p[row, i, ids[row, i + 1]]
            by_hand += term
            music += term if ids[row, i + 1] >= size and ids[row, i + 1] != size + START else 0
    torch.testing.assert_close(model(ids[:, :-1], labels=labels).loss, by_hand / 14)
    torch.testing.assert_close(model(ids[:, :-1], labels=labels, num_items_in_batch=50).loss, by_hand / 50)
    losses = model.token_losses(ids[:, :-1], labels)
    torch.testing.assert_close(losses.sum(), by_hand.detach())
    torch.testing.assert_close(losses[model.music_targets(labels)].sum(), music.detach())


@torch.no_grad()
def test_init_amt_copies_scales_and_fills_with_zeros(make_tiny, amt_folder):
    model, gaussian = make_tiny("llama", init="amt").model, make_tiny("llama").model
    amt = GPT2LMHeadModel.from_pretrained(amt_folder).transformer.wte.weight
    embedding, width = model.music_embedding.weight, amt.shape[1]
    assert width < embedding.shape[1]
    scale = model.model.embed_tokens.weight.std() / amt.std()
    torch.testing.assert_close(embedding[:, :width], scale * amt)
    torch.testing.assert_close(embedding[:, :width].std(), model.model.embed_tokens.weight.std())
    assert not embedding[:, width:].any()
    assert gaussian.music_embedding.weight.std() == pytest.approx(gaussian.config.initializer_range, rel=0.01)
    assert torch.equal(model.music_projection.weight, gaussian.music_projection.weight)


@torch.no_grad()
def test_fold_is_the_same_function_for_any_client(make_tiny, tokenizer, tmp_path):
    model = make_tiny("llama").model.eval()
    size = model.config.vocab_size
    folded = model.fold()
    folded.generation_config = generation_config(tokenizer, size, 6)
    folded.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    client = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert type(client) is LlamaForCausalLM
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "llama"
    assert client.config.vocab_size == size + vocab.EMBEDDING_ROWS == client.get_input_embeddings().num_embeddings
    ids = llama_ids(model)
    difference = (client(ids).logits - model(ids).logits).abs().max().item()
    print(f"largest difference of a logit after folding: {difference:.1e}")
    assert difference < 1e-5
    prompt = AutoTokenizer.from_pretrained(tmp_path)("A waltz.", add_special_tokens=False)["input_ids"]
    out = client.generate(torch.tensor([[0, *prompt, size + START]]))
    assert out.shape[1] <= len(prompt) + 2 + 6
    settings = GenerationConfig.from_pretrained(tmp_path)
    assert (settings.do_sample, settings.temperature, settings.top_p, settings.top_k) == (True, 1.0, 0.98, 0)
    assert (settings.max_new_tokens, settings.eos_token_id) == (6, size + SEPARATOR)


@torch.no_grad()
def test_a_folded_model_of_others_is_read_again(make_tiny, tokenizer, tmp_path):
    model = make_tiny("llama").model.eval()
    model.fold().save_pretrained(tmp_path)
    size = model.config.vocab_size
    again = LlamaForTextToMusic.from_folded(tmp_path, size, torch.float32).eval()
    ids = llama_ids(model)
    torch.testing.assert_close(again(ids).logits, model(ids).logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(again.embed(ids), model.embed(ids))
    with pytest.raises(
        InputError, match=rf"vocabulary of {size + 55_030} is not {size + 1} text tokens and AMT's 55030"
    ):
        LlamaForTextToMusic.from_folded(tmp_path, size + 1, torch.float32)


# ---- Both ----


def test_a_plain_checkpoint_lacks_the_new_parameters_alone(amt_folder, llama_folder):
    config = AmtTextConfig.from_pretrained(amt_folder, text_hidden_size=32, text_layers=3)
    _, info = AmtForTextToMusic.from_pretrained(amt_folder, config=config, output_loading_info=True)
    assert set(info["missing_keys"]) == {"text_prefix.projection.weight", "text_prefix.layer_weights"}
    assert not info["unexpected_keys"]
    _, info = LlamaForTextToMusic.from_pretrained(llama_folder, output_loading_info=True)
    assert set(info["missing_keys"]) == {"music_embedding.weight", "music_projection.weight", "expanded_lm_head.weight"}
    assert not info["unexpected_keys"]


def test_a_plain_checkpoint_is_taken_without_a_warning(make_tiny, family, caplog, monkeypatch):
    """For example about a model type that is not the checkpoint's."""
    monkeypatch.setattr(transformers_logging.get_logger("transformers"), "propagate", True)
    model = make_tiny(family).model
    assert model.config.model_type == {"amt": "libretto-amt", "llama": "libretto-llama"}[family]
    assert "of type" not in caplog.text
    assert "LOAD REPORT" in caplog.text  # its warnings would be seen


def test_no_auto_class_takes_a_variant_for_its_plain_base(make_tiny, family, tmp_path):
    make_tiny(family).model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"libretto-{family}"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


def test_amts_activation_is_the_same_function_in_one_kernel(make_tiny, amt_folder):
    x = torch.linspace(-8, 8, 10_001)
    base, ours = (GPT2LMHeadModel.from_pretrained(amt_folder), make_tiny("amt").model)
    assert (base.config.activation_function, ours.config.activation_function) == ("gelu_new", "gelu_pytorch_tanh")
    functions = [model.transformer.h[0].mlp.act for model in (base, ours)]
    torch.testing.assert_close(functions[0](x), functions[1](x), atol=1e-6, rtol=1e-6)


def test_weights_are_trained_in_fp32_whatever_the_checkpoint(make_tiny, family, llama_folder):
    assert AutoModelForCausalLM.from_pretrained(llama_folder).dtype == torch.bfloat16
    assert {parameter.dtype for parameter in make_tiny(family).model.parameters()} == {torch.float32}


def test_saved_and_loaded_exactly(make_tiny, family, tmp_path):
    model = make_tiny(family).model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    own, read = ({**m.config.to_dict(), "_name_or_path": None} for m in (model, again))
    assert own == read
    expected = model.state_dict()
    assert again.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in again.state_dict().items())
    assert not any("encoder" in name for name in expected)


# In all 45, 48 and 50 rows: aligned or not. bf16 has 8 significant bits: an error of 1 % is rounding.
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("rows", [25, 28, 30])
def test_loss_in_chunks_has_the_gradient_of_plain_cross_entropy(rows, bf16, monkeypatch):
    monkeypatch.setitem(loss.CHUNK, "cpu", 7)
    torch.manual_seed(0)
    tensors = [torch.randn(shape, requires_grad=True) for shape in ((2, 10, 8), (20, 8), (rows, 8))]
    hidden, *heads = tensors
    labels = torch.randint(0, 20 + rows, (2, 10))
    labels[0, 3], labels[1, 7:] = IGNORED, IGNORED
    logits = torch.cat([hidden @ head.T for head in heads], -1)
    expected = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        ours = loss.mean_loss(hidden, heads, labels, None, loss.ChunkLoss())
    torch.testing.assert_close(ours, expected, rtol=0.01 if bf16 else None, atol=0.0 if bf16 else None)
    gradients = zip(torch.autograd.grad(ours, tensors), torch.autograd.grad(expected, tensors), strict=True)
    for gradient, plain in gradients:
        assert gradient.dtype == torch.float32
        assert (gradient - plain).norm() < (0.01 if bf16 else 1e-6) * plain.norm()


def test_a_sure_targets_gradient_keeps_its_digits_in_half_precision():
    """p - 1 for a target of p = 0.9999, which bf16 would round to 1."""
    logits = torch.tensor([[0.0, 9.210340]], dtype=torch.bfloat16)
    _, gradient = loss.ChunkLoss()(logits, torch.tensor([1]), 2)
    q = 1 / (1 + float(logits[0, 1].exp()))
    torch.testing.assert_close(gradient.float(), torch.tensor([[q, -q]]), rtol=0.01, atol=0)


def test_no_more_logits_than_a_chunk_exist(make_tiny, family, monkeypatch):
    shapes = []
    plain = loss._log_probabilities

    def spy(rows, weights):
        shapes.append(len(rows))
        return plain(rows, weights)

    monkeypatch.setitem(loss.CHUNK, "cpu", 5)
    monkeypatch.setattr(loss, "_log_probabilities", spy)
    model = make_tiny(family).model
    ids, states, mask = amt_inputs()
    model(ids, labels=ids, **({"text_states": states, "text_mask": mask} if family == "amt" else {})).loss.backward()
    assert sum(shapes) == ids.numel()
    assert max(shapes) == 5


def test_bf16_autocast_is_close_and_leaves_the_weights_in_fp32(make_tiny, family):
    model = make_tiny(family).model
    ids, states, mask = amt_inputs()
    inputs = {"labels": ids, **({"text_states": states, "text_mask": mask} if family == "amt" else {})}
    exact = model.eval()(ids, **inputs).loss
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model(ids, **inputs).loss
    rounded.backward()
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, atol=0.1, rtol=0.02)
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}
