"""The model card of a Llama variant: its front matter as the hub reads it, and its example, run as written."""

import re

import pandas as pd
import pytest
from huggingface_hub import ModelCard

from libretto.config.systems import systems
from libretto.models.llama import LlamaForTextToMusic, LlamaMusicConfig, generation_config
from libretto.report.presentation import scores_by_temperature
from libretto.report.table import METRICS, PAPER_COLUMNS
from libretto.report.templates import render_template
from libretto.tokens import vocab
from tests.checkout import ROOT


def make_card(config, **values):
    variant = config["variants"]["llama-1b"]
    rows = [row for row in systems(config).values() if row.variant == "llama-1b"]
    table = pd.DataFrame({"system": [row.name for row in rows]}).reindex(columns=["system", *METRICS, *PAPER_COLUMNS])
    table = table.assign(fad_embedding="vggish", fad=[0.5, 0.25])
    base = config["sources"]["models"]["llama-1b"]
    card = {
        **{"label": rows[0].label, "base": base, "licence": "llama3.2", "training": variant["training"]},
        **{"text_vocab_size": 128_256, "init": "gaussian", "songs": "paired", "stages": [], "chunk_tokens": 1024},
        "standins": False,
        **{"best": {"step": 9000, "val_loss": 1.211, "val_loss_music": 0.7}, "instruction": "Compose it: "},
    }
    scores = scores_by_temperature(table, rows, clap=True)
    return render_template(ROOT / "workflow/templates/model_card.md", **{**card, "scores": scores, **values})


def test_the_hub_reads_its_front_matter(config):
    data = ModelCard(make_card(config)).data
    assert data.base_model == "meta-llama/Llama-3.2-1B"
    assert data.license == "llama3.2"
    assert data.datasets == ["amaai-lab/MidiCaps"]
    assert ModelCard(make_card(config, base={}, licence="other")).data.base_model is None


def test_scores_stand_beside_their_temperature(config):
    lines = [re.split(r" *\| *", line) for line in make_card(config).splitlines() if line.startswith("|")]
    assert lines[0][1:-1] == ["Score", "T 1.0", "T 1.1"]
    assert ["", "FAD (vggish) ↓", "0.500", "0.250", ""] in lines
    assert "step 9,000" in make_card(config)


@pytest.mark.parametrize("instruction", ["Compose it: ", 'An "odd" one\'s: '])
def test_its_example_runs_as_written(config, instruction, llama_folder, tokenizer, tmp_path, monkeypatch):
    text_vocab = len(tokenizer)
    model = LlamaForTextToMusic.from_pretrained(
        llama_folder, config=LlamaMusicConfig.from_pretrained(llama_folder), ignore_mismatched_sizes=True
    ).float()
    folded = model.fold()
    folded.generation_config = generation_config(tokenizer, text_vocab, 12)
    folded.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    card = make_card(config, text_vocab_size=text_vocab, instruction=instruction)
    (example,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names: dict = {}
    monkeypatch.chdir(tmp_path)
    exec(example, names)
    prompt = names["prompt"][0].tolist()
    assert tokenizer.decode(prompt[:-1]) == f"<|begin_of_text|>{instruction}A calm waltz for harp and strings."
    assert prompt[-1] == text_vocab + vocab.AUTOREGRESS
    assert 0 < len(names["tokens"]) <= 12
    assert max(names["tokens"]) < vocab.EMBEDDING_ROWS
