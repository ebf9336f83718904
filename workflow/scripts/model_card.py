"""Reads a Llama variant as a plain model, its best validation and the results table, writes its model card."""

import json
from pathlib import Path

import pandas as pd

from libretto.config.systems import System
from libretto.job import start_job
from libretto.report.presentation import scores_by_temperature
from libretto.report.templates import render_template
from libretto.tokens.vocab import EMBEDDING_ROWS

start_job(snakemake)
files, params = snakemake.input, snakemake.params
systems = [System(**system) for system in params.systems]
folded = json.loads((Path(files.model) / "config.json").read_text())
card = render_template(
    files.template,
    label=systems[0].label,
    base=params.base,
    licence="llama3.2" if str(params.base.get("hub")).startswith("meta-llama/Llama-3.2") else "other",
    text_vocab_size=folded["vocab_size"] - EMBEDDING_ROWS,
    best=json.loads(Path(files.best).read_text()),
    scores=scores_by_temperature(pd.read_csv(files.table), systems, params.clap),
    **{key: params[key] for key in ("training", "init", "songs", "stages", "instruction", "chunk_tokens", "standins")},
)
Path(snakemake.output.card).write_text(card)
