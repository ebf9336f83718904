"""Reads a trained variant and the validation split, computes its loss, writes it as JSON, also that of each song.

Computes it again with another song's description: a higher loss there means that the model uses the text.
"""

import json
import tempfile
from pathlib import Path

from libretto.imports import lean_imports
from libretto.job import start_job
from libretto.seeds import derangement, stable_seed
from libretto.tables import read_rows

with lean_imports():
    import torch

    from libretto.models.attention import CAUSAL
    from libretto.models.batches import MiddleChunks, load_split
    from libretto.models.device import select_device
    from libretto.models.variants import make_variant, trained_model
    from libretto.training.validation import BATCH, mean_losses, song_losses

start_job(snakemake)
settings = snakemake.params.settings
model = trained_model(settings["variant"], snakemake.input.model, torch.float32)
model.set_attn_implementation(CAUSAL)
variant = make_variant(model, settings["variant"], settings["text"], snakemake.input.text_model, select_device())
with tempfile.TemporaryDirectory(dir=snakemake.resources.tmpdir) as cache:
    songs = load_split(snakemake.input.valid, cache)
    others = derangement(len(songs), stable_seed(settings["seed"], "validation"))
    own, random = (
        song_losses(
            variant,
            MiddleChunks(songs, variant.prompter, described),
            BATCH,
            settings["variant"]["training"]["precision"] == "bf16",
        )
        for described in (None, others)
    )
scores = mean_losses(own.sum(0))
scores["val_loss_music_random_text"] = mean_losses(random.sum(0))["val_loss_music"]
music = [(sums[:, 2] / sums[:, 3]).tolist() for sums in (own, random)]
names = [row["lmd_id"] for row in read_rows(snakemake.input.valid, ["lmd_id"])]
scores["songs"] = dict(zip(names, zip(*music, strict=True), strict=True))
best = json.loads(Path(snakemake.input.best).read_text())
Path(snakemake.output.scores).write_text(json.dumps({"step": best["step"], **scores}, indent=1) + "\n")
