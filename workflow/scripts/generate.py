"""Reads a trained variant (or AMT as published) and the test descriptions, samples a piece for each, writes all.

Batches are kept as they are finished; an interrupted generation resumes after them when it is called again.
"""

from pathlib import Path

from transformers import AutoModelForCausalLM

from libretto.files import inputs_hash, remove
from libretto.generation.samples import read_songs, write_samples
from libretto.generation.sampling import conditioned, sample, unconditional
from libretto.log import start_log
from libretto.models.device import inference_dtype, select_device
from libretto.models.variants import make_variant, trained_model

start_log(snakemake.log[0])
params = snakemake.params
device = select_device()
if params.settings is None:
    dtype = inference_dtype(device)
    model = AutoModelForCausalLM.from_pretrained(snakemake.input.model, dtype=dtype, trust_remote_code=False).to(device)
    generator = unconditional(model)
else:
    variant, text = params.settings["variant"], params.settings["text"]
    model = trained_model(variant, snakemake.input.model, inference_dtype(device))
    variant = make_variant(model, variant, text, snakemake.input.text_model, device)
    generator = conditioned(variant, params.sampling["guidance"])
songs = read_songs(snakemake.input.test, params.sampling["n"], ["lmd_id", "caption"])
captions = [song["caption"] for song in songs]
system, batches = snakemake.wildcards.system, Path(params.batches)
# Named by a hash of everything that the tokens depend on.
settings = {"system": system, "device": device.type, **dict(params.items())}
folder = batches / inputs_hash(settings, list(snakemake.input))
folder.mkdir(parents=True, exist_ok=True)
pieces = sample(generator, captions, params.sampling, params.temperature, params.seed, system, folder)
write_samples(songs, songs, pieces, snakemake.output.tokens, snakemake.output.midi)
remove(batches)
