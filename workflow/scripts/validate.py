"""Reads a trained variant and the validation split, computes its loss, writes it as JSON.

Computes it again with another song's description: a higher loss there means that the model uses the text.
"""

import json
import tempfile
from pathlib import Path

import torch

from libretto.job import start_job
from libretto.models.attention import CAUSAL
from libretto.models.batches import MiddleChunks, load_split
from libretto.models.device import select_device
from libretto.models.variants import make_variant, trained_model
from libretto.seeds import derangement, stable_seed
from libretto.training.validation import BATCH, validation_loss

start_job(snakemake)
settings = snakemake.params.settings
model = trained_model(settings["variant"], snakemake.input.model, torch.float32)
model.set_attn_implementation(CAUSAL)
variant = make_variant(model, settings["variant"], settings["text"], snakemake.input.text_model, select_device())
with tempfile.TemporaryDirectory(dir=snakemake.resources.tmpdir) as cache:
    songs = load_split(snakemake.input.valid, cache)
    others = derangement(len(songs), stable_seed(settings["seed"], "validation"))
    scores, with_random_text = (
        validation_loss(
            variant,
            MiddleChunks(songs, variant.prompter, described),
            BATCH,
            settings["variant"]["training"]["precision"] == "bf16",
        )
        for described in (None, others)
    )
scores["val_loss_music_random_text"] = with_random_text["val_loss_music"]
best = json.loads(Path(snakemake.input.best).read_text())
Path(snakemake.output.scores).write_text(json.dumps({"step": best["step"], **scores}, indent=1) + "\n")
