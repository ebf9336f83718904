"""Reads a system's samples, audio list and embeddings, computes its scores, writes them as JSON."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from libretto.audio.embeddings.base import read_embeddings
from libretto.audio.manifest import read_renderings
from libretto.log import start_log
from libretto.scores.clap import clap_score
from libretto.scores.frechet import fad, fad_sub
from libretto.scores.mean import mean_and_sem
from libretto.scores.notes import note_scores
from libretto.tables import read_rows


def check_clips(indices, audible, path):
    if sorted(indices) != audible:
        raise RuntimeError(f"{path} holds {len(indices)} clips that do not match the {len(audible)} audible ones")


start_log(snakemake.log[0])
files, params = snakemake.input, snakemake.params
samples = list(read_rows(files.tokens))
pairs = read_rows(files.pairs, ["lmd_id", "instrument_summary"])
summaries = {row["lmd_id"]: row["instrument_summary"] for row in pairs}
audible = [rendering.index for rendering in read_renderings(files.list) if rendering.is_audible]

losses = ("val_loss", "val_loss_music", "val_loss_music_random_text")
names = (*losses, "fad", "fad_sub_mean", "fad_sub_sem", "clap_mean", "clap_sem")
scores = dict.fromkeys(names) | {"fad_embedding": params.fad_embedding}
scores |= {"n": len(audible), "n_missing": len(samples) - len(audible)} | note_scores(samples, summaries)
details = {"seed": params.seed}
if files.get("validation"):
    validation = json.loads(Path(files.validation).read_text())
    scores |= {name: validation[name] for name in losses}
    details["validation"] = validation
if files.get("fad_reference"):
    clips, reference = read_embeddings(files.fad), read_embeddings(files.fad_reference)
    check_clips(clips, audible, files.fad)
    scores["fad"] = fad(clips, reference) if len(clips) > 1 else None
    draws = fad_sub(clips, reference, **params.fad_sub, seed=params.seed)
    scores["fad_sub_mean"], scores["fad_sub_sem"] = mean_and_sem(draws)
    details |= {"fad_sub": draws, "fad_sub_size": params.fad_sub["size"], "n_background": len(reference)}
if files.get("clap"):
    table = pq.read_table(files.clap)
    check_clips(table["index"].to_pylist(), audible, files.clap)
    values = [
        clap_score(np.stack(windows), text)
        for windows, text in zip(table["audio"].to_numpy(), table["text"].to_numpy(), strict=True)
    ]
    scores["clap_mean"], scores["clap_sem"] = mean_and_sem(values)
text = json.dumps(scores | {"details": details}, indent=1, allow_nan=False)
Path(snakemake.output.scores).write_text(text + "\n")
