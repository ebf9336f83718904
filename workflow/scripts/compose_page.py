"""Reads what every variant composed of your own prompts, writes a page and the files it plays."""

from pathlib import Path

from libretto.config.systems import System
from libretto.job import start_job
from libretto.report.listening import Prompt, add_music, read_music
from libretto.report.presentation import STANDINS_NOTE
from libretto.report.templates import render_template

log = start_job(snakemake)
files, params, page = snakemake.input, snakemake.params, Path(snakemake.output.page)
systems = [System(**system) for system in params.systems]
music = read_music(systems, files.samples, files.midi, files.audio, files.audio_lists)
media = Path(snakemake.output.media)
media.mkdir()  # also if no sample has a note
prompts = []
for place, text in enumerate(music[systems[0].name].samples["prompt"]):
    prompt = Prompt(number=place + 1, lmd_id=None, text=text, facts=[], wanted=[])
    add_music(prompt, dict.fromkeys(music, place), systems, music, media)
    prompts.append(prompt)
banner = STANDINS_NOTE if params.standins else None
page.write_text(render_template(files.template, run=params.run, systems=systems, prompts=prompts, banner=banner))
