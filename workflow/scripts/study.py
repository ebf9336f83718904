"""Reads the study's table, layer weights, logs and audio, writes its page with three figures and five clips."""

import json
import shutil
from pathlib import Path

import pandas as pd

from libretto.config.study import Roles
from libretto.config.systems import System
from libretto.job import start_job
from libretto.report.figures import save
from libretto.report.study import (
    TEXT_SCORES,
    followers,
    n_null_tests,
    paper_ranks,
    planted,
    plot_against,
    plot_own_and_others,
    study_table,
)
from libretto.report.templates import render_template
from libretto.tables import read_rows

start_job(snakemake)
files, params = snakemake.input, snakemake.params
table = pd.read_csv(files.table)
systems, roles = [System(**system) for system in params.systems], Roles(**params.roles)
folder = Path(snakemake.output.folder)
folder.mkdir()
save(plot_own_and_others(table, systems), [folder / "descriptions.svg"])
panels = {"instrument F1": "instrument_f1", "key": "key_match", "FAD without\none sample": "fad_without_one"}
wrong = {"share of wrong instruments": {"": {share: name for share, name in roles.wrong.items() if share}}}
save(plot_against(table, wrong, panels | {"music, distance": "music_distance"}), [folder / "wrong-instruments.svg"])
temperatures = {"temperature": {"": roles.temperatures}}
varied = temperatures | {"guidance": {f"{100 * share:g} % dropped": rows for share, rows in roles.guidance.items()}}
save(plot_against(table, varied, panels | {"invalid events": "invalid_share"}), [folder / "sampling.svg"])
for audio, name in zip(files.audio, params.clips, strict=True):
    shutil.copyfile(Path(audio) / "0000.flac", folder / f"{name}.flac")
logs = {Path(path).parent.name: pd.read_parquet(path) for path in files.logs}
page = render_template(
    files.template,
    findings=planted(table, roles),
    n_null_tests=n_null_tests(table, roles),
    text_scores=TEXT_SCORES,
    followers=followers(table, systems, roles),
    table=study_table(table, systems),
    ranks=paper_ranks(table),
    weights={Path(path).parent.name: json.loads(Path(path).read_text())["weights"] for path in files.weights},
    losses={name: log["val_loss_music"].min() for name, log in logs.items()},
    steps={name: int(log["step"].max()) for name, log in logs.items()},
    minutes={name: log["seconds"].max() / 60 for name, log in logs.items()},
    prompt=next(iter(read_rows(files.samples, ["prompt"])))["prompt"],
    clips=params.clips,
    roles=roles,
    rows=table.set_index("system").to_dict("index"),
    decided=table.set_index("system").eval("fad - fad_without_one").idxmax(),
    songs=len(pd.read_parquet(files.train, columns=["lmd_id"])),
    **{key: params[key] for key in ("n", "seed", "chunk_tokens")},
)
Path(snakemake.output.page).write_text(page)
