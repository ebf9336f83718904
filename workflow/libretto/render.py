"""MIDI to audio with FluidSynth, in process (report, section 5.1, inference)."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import fluidsynth
import mido
import numpy as np
import soundfile
from scipy.signal import resample_poly
from tqdm import tqdm

from libretto.errors import InputError
from libretto.renderings import Rendering

RELEASE_SECONDS = 2.0  # after the last MIDI event: the last notes and the reverberation ring out
GAIN = 0.2  # FluidSynth's own default
SOUNDFONT_RATE = 44_100  # at which soundfonts are sampled
FULL_SCALE = 2**15

# As `librosa.effects.trim` measures loudness, in samples.
TRIM_WINDOW = 2048
TRIM_HOP = 512
SILENCE = 1e-5  # root mean square below which librosa sees nothing but silence


def synthesize(midi: str | Path, soundfont: str | Path, sample_rate: int) -> np.ndarray:
    """Play a MIDI file.

    The synthesizer runs at a multiple of `sample_rate` near the soundfont's own rate and the result is filtered down:
    played at a lower rate, FluidSynth would fold the cymbals' high partials into the audible range.

    Args:
        midi: the file.
        soundfont: the SF2 file.
        sample_rate: of the result, in Hz.

    Returns:
        Mono audio, float32 in -1..1, from time zero until `RELEASE_SECONDS` after the last event.

    Raises:
        InputError: the soundfont cannot be loaded.
        RuntimeError: FluidSynth refuses the MIDI file.
    """
    oversampling = max(1, SOUNDFONT_RATE // sample_rate)
    rate = oversampling * sample_rate
    frames = round((mido.MidiFile(midi).length + RELEASE_SECONDS) * rate)
    # A synthesizer for each file: effects and dither carry their state on, and results would depend on the order.
    synth = fluidsynth.Synth(
        gain=GAIN,
        samplerate=rate,
        channels=16,
        **{"player.timing-source": "sample", "synth.lock-memory": 0, "synth.dynamic-sample-loading": 1},
    )
    try:
        if synth.sfload(str(soundfont)) == fluidsynth.FLUID_FAILED:
            raise InputError(f"{soundfont}: FluidSynth cannot load it; give another SF2 file as sources.soundfont.path")
        if synth.play_midi_file(str(midi)) == fluidsynth.FLUID_FAILED:
            raise RuntimeError(f"{midi}: FluidSynth cannot play it")
        samples = synth.get_samples(frames)
        fluidsynth.delete_fluid_player(synth.player)
    finally:
        synth.delete()
    mono = samples.reshape(-1, 2).mean(axis=1, dtype=np.float32) / FULL_SCALE
    return resample_poly(mono, 1, oversampling) if oversampling > 1 else mono


def trim_silence(audio: np.ndarray, top_db: float) -> np.ndarray:
    """Cut the start and the end that are `top_db` dB or more below the loudest moment; equals `librosa.effects.trim`.

    Written out because librosa compiles for seconds before its first call.

    Args:
        audio: mono, float [n].
        top_db: positive.

    Returns:
        A view of `audio`; empty where it is silent throughout.
    """
    padded = np.pad(audio, TRIM_WINDOW // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, TRIM_WINDOW)[::TRIM_HOP]
    loudness = np.sqrt(np.mean(np.square(windows), axis=1))
    if loudness.max() <= SILENCE:
        return audio[:0]
    decibels = 20 * np.log10(np.maximum(loudness, SILENCE) / loudness.max())
    loud = np.flatnonzero(decibels > -top_db)
    return audio[loud[0] * TRIM_HOP : min((loud[-1] + 1) * TRIM_HOP, len(audio))]


def render_file(midi: Path, folder: Path, soundfont: str | Path, sample_rate: int, trim_db: float) -> Rendering:
    """Render one MIDI file to `folder/{its name}.flac`, 16 bit; nothing is written where it makes no sound."""
    audio = trim_silence(synthesize(midi, soundfont, sample_rate), trim_db)
    if len(audio):
        soundfile.write(folder / f"{midi.stem}.flac", audio, sample_rate, subtype="PCM_16")
    return Rendering(int(midi.stem), len(audio) / sample_rate)


def render_folder(
    midi: str | Path, folder: str | Path, soundfont: str | Path, sample_rate: int, trim_db: float, processes: int
) -> list[Rendering]:
    """Render every MIDI file of a folder, several at a time.

    Args:
        midi: holds {index:04d}.mid.
        folder: gets {index:04d}.flac; made where it is missing.
        soundfont: the SF2 file.
        sample_rate: of the audio, in Hz.
        trim_db: for `trim_silence`.
        processes: how many files at a time; the bytes do not depend on it.

    Returns:
        What became of each MIDI file, in the order of their indices.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(Path(midi).glob("*.mid"), key=lambda file: int(file.stem))
    render = partial(render_file, folder=folder, soundfont=soundfont, sample_rate=sample_rate, trim_db=trim_db)
    # Forked, not spawned: a spawned process would run the calling script again.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        return list(tqdm(pool.map(render, files), "rendering", len(files), unit="file", mininterval=1))
