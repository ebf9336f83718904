"""Reads a system's samples, audio list and embeddings, computes its scores, writes them as JSON."""

import json
from pathlib import Path

import numpy as np

from libretto.audio.embeddings.base import read_embeddings
from libretto.audio.manifest import read_renderings
from libretto.job import start_job
from libretto.scores import frechet
from libretto.scores.clap import clap_matrix, clap_score, read_clap
from libretto.scores.inference import own_minus_others
from libretto.scores.kernel import kad
from libretto.scores.losses import loss_own_minus_others
from libretto.scores.mean import mean_and_sem, summarize
from libretto.scores.music import key_matrix, music_distance, scores_by_name
from libretto.scores.notes import band_f1, constant_band, instrument_f1_matrix, note_scores
from libretto.scores.tempo import tempo_matches
from libretto.tables import SCORES, read_rows, write_table


def check_clips(indices, audible, path):
    if sorted(indices) != audible:
        raise RuntimeError(f"{path} holds {len(indices)} clips that do not match the {len(audible)} audible ones")


start_job(snakemake)
files, params = snakemake.input, snakemake.params
samples = list(read_rows(files.tokens))
columns = ["lmd_id", "split", "instrument_summary", "key", "tempo"]
pairs = [row for path in files.pairs for row in read_rows(path, columns)]
summaries = {row["lmd_id"]: row["instrument_summary"] for row in pairs}
audible = [rendering.index for rendering in read_renderings(files.list) if rendering.is_audible]

losses = ("val_loss", "val_loss_music", "val_loss_music_random_text")
distances = ("fad", "fad_without_one", "fad_infinity", "kad", "fad_floor", "fad_sub_mean", "fad_sub_sem")
scores = dict.fromkeys((*losses, *distances, "fad_clap", "kad_clap"))
scores |= {"fad_embedding": params.fad_embedding, "n": len(audible), "n_missing": len(samples) - len(audible)}
by_sample, counts = note_scores(samples, summaries)
band = constant_band(row["instrument_summary"] for row in pairs if row["split"] == "train")
scores["instrument_f1_floor"] = band_f1(band, samples, summaries)
keys = {row["lmd_id"]: row["key"] for row in pairs}
music = scores_by_name(samples, keys)
truth = scores_by_name(list(read_rows(files.ground_truth)), keys)
scores["music_distance"] = music_distance(
    *({name: [*found[name].values()] for name in found} for found in (music, truth))
)
by_sample |= music | {"clap": {}, "fad_per_sample": {}}
by_sample["copied_share"] = {int(index): share for index, share in json.loads(Path(files.copied).read_text()).items()}
gains = {"instrument_f1": instrument_f1_matrix(samples, summaries), "key_match": key_matrix(samples, keys)}
described, gains["tempo_match"] = tempo_matches(samples, {row["lmd_id"]: row["tempo"] for row in pairs})
by_sample["tempo_match"] = dict(zip(described, gains["tempo_match"].diagonal().tolist(), strict=True))
details, songs = {"seed": params.seed, "band": sorted(band)}, {}
if files.get("validation"):
    validation = json.loads(Path(files.validation).read_text())
    songs = validation.pop("songs")
    scores |= {name: validation[name] for name in losses}
    details["validation"] = validation
scores |= loss_own_minus_others(songs.values(), params.seed)
if files.get("fad_reference"):
    clips, reference = read_embeddings(files.fad), read_embeddings(files.fad_reference)
    check_clips(clips, audible, files.fad)
    scores["fad"] = frechet.fad(clips, reference) if len(clips) > 1 else None
    by_sample["fad_per_sample"] = frechet.fads_per_sample(clips, reference)
    scores["fad_without_one"] = min(frechet.fads_without_one(clips, reference).values(), default=None)
    scores["fad_infinity"] = frechet.fad_infinity(clips, reference, params.seed)
    scores["kad"] = kad(clips, reference, params.seed)
    scores["fad_floor"] = frechet.fad_floor(reference, len(clips), params.fad_sub["draws"], params.seed)
    draws = frechet.fad_sub(clips, reference, **params.fad_sub, seed=params.seed)
    scores["fad_sub_mean"], scores["fad_sub_sem"] = mean_and_sem(draws)
    details |= {"fad_sub": draws, "fad_sub_size": params.fad_sub["size"], "n_background": len(reference)}
if files.get("clap"):
    clips, texts = read_clap(files.clap)
    check_clips(clips, audible, files.clap)
    by_sample["clap"] = {index: clap_score(windows, texts[index]) for index, windows in clips.items()}
    gains["clap"] = clap_matrix([*clips.values()], np.stack([*texts.values()])) if clips else np.empty((0, 0))
if files.get("clap_reference"):
    reference, _ = read_clap(files.clap_reference)
    scores["fad_clap"] = frechet.fad(clips, reference) if len(clips) > 1 else None
    scores["kad_clap"] = kad(clips, reference, params.seed)
if files.get("fmd"):
    ours, reference = read_embeddings(files.fmd), read_embeddings(files.fmd_reference)
    scores |= frechet.fmd_scores(ours, reference, params.fad_sub["draws"], params.seed)
    details |= {"n_midi": len(ours), "n_midi_reference": len(reference)}
for name, values in by_sample.items():
    scores |= summarize(name, list(values.values()), params.seed)
scores["clap_mean"] = scores.pop("clap")
for name in ("instrument_f1", "key_match", "tempo_match", "clap"):
    gain = own_minus_others(gains.get(name, np.empty((0, 0))), params.seed)
    scores[f"{name}_own_minus_others"], scores[f"{name}_own_minus_others_p"] = gain
text = json.dumps(scores | counts | {"details": details}, indent=1, allow_nan=False)
Path(snakemake.output.scores).write_text(text + "\n")
system, prompts = snakemake.wildcards.system, {row["index"]: row["prompt_lmd_id"] for row in samples}
long = [
    {"system": system, "index": index, "prompt_lmd_id": prompts[index], "score": name, "value": value}
    for name, values in by_sample.items()
    for index, value in sorted(values.items())
]
write_table(snakemake.output.samples, SCORES, long)
