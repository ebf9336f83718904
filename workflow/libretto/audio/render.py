"""MIDI to audio with FluidSynth, in process (paper, section 5.1, inference)."""

import ctypes
import logging
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import fluidsynth
import mido
import numpy as np
import soundfile
from scipy.signal import resample_poly
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from libretto.audio.manifest import Rendering
from libretto.errors import InputError
from libretto.files import file_sha256
from libretto.tokens.midi_writer import MAX_TRACKS

RELEASE_SECONDS = 4.0  # after the last MIDI event: the last notes ring out, far below the level of trimming
GAIN = 0.2  # FluidSynth's own default
SOUNDFONT_RATE = 44_100  # at which soundfonts are sampled
BLOCK = 64  # frames that FluidSynth renders at once
VOICES_PER_NOTE = 16  # a soundfont may layer samples; FluidR3 and TimGM6mb layer far fewer
MIN_VOICES = 256  # FluidSynth's own default
MAX_VOICES = 65_535  # FluidSynth's limit

# As `librosa.effects.trim` measures loudness, in samples.
TRIM_WINDOW = 2048
TRIM_HOP = 512
SILENCE = 1e-5  # root mean square below which librosa treats everything as silence

# What pyfluidsynth does not wrap.
FLUID_ERROR, FLUID_WARNING, FLUID_DEBUG = 1, 2, 4
LogFunction = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
fluid_set_log_function = fluidsynth.cfunc(
    "fluid_set_log_function",
    ctypes.c_void_p,
    ("level", ctypes.c_int, 1),
    ("function", LogFunction, 1),
    ("data", ctypes.c_void_p, 1),
)
fluid_synth_write_float = fluidsynth.cfunc(
    "fluid_synth_write_float",
    ctypes.c_int,
    ("synth", ctypes.c_void_p, 1),
    ("frames", ctypes.c_int, 1),
    ("left", ctypes.c_void_p, 1),
    ("left_offset", ctypes.c_int, 1),
    ("left_step", ctypes.c_int, 1),
    ("right", ctypes.c_void_p, 1),
    ("right_offset", ctypes.c_int, 1),
    ("right_step", ctypes.c_int, 1),
)

logger = logging.getLogger("libretto")


class _FluidLog:
    """FluidSynth's messages: dropped voices are counted, warnings logged, errors kept."""

    def __init__(self):
        self.n_exceeded = self.n_failed = 0
        self.errors: list[str] = []
        self._function = LogFunction(self._receive)  # FluidSynth keeps no reference of its own
        for level in (FLUID_ERROR, FLUID_WARNING, FLUID_DEBUG):
            fluid_set_log_function(level, self._function, None)

    def _receive(self, level, message, data):
        text = message.decode(errors="replace")
        if level == FLUID_ERROR:
            self.errors.append(text)
        elif level == FLUID_DEBUG:
            self.n_exceeded += text.startswith("Polyphony exceeded")
        elif text.startswith("Failed to allocate a synthesis process"):
            self.n_failed += 1
        else:
            logger.warning("FluidSynth: %s", text)

    @property
    def n_dropped(self) -> int:
        """Voices that were cut off or did not start, so far.

        When all voices are in use, FluidSynth logs that for debugging, then cuts one off or warns that it failed. A
        library built without debugging messages still warns.
        """
        return max(self.n_exceeded, self.n_failed)


fluid_log = _FluidLog()


def open_synth(soundfont: str | Path, rate: int, voices: int) -> fluidsynth.Synth:
    """A FluidSynth synthesizer with a soundfont.

    Args:
        soundfont: the SF2 file.
        rate: sample rate in Hz.
        voices: how many samples can sound at once.

    Raises:
        InputError: the soundfont cannot be loaded.
    """
    # synth.dynamic-sample-loading stays off: with it, FluidSynth 2.3 plays some samples wrongly.
    settings = {"player.timing-source": "sample", "synth.lock-memory": 0, "synth.polyphony": voices}
    synth = fluidsynth.Synth(gain=GAIN, samplerate=rate, channels=16, **settings)
    # Presets must be updated: otherwise the drum channel has none, and plays nothing.
    if synth.sfload(str(soundfont), update_midi_preset=1) == fluidsynth.FLUID_FAILED:
        synth.delete()
        raise InputError(f"{soundfont}: FluidSynth cannot load it; give another SF2 file as sources.soundfont.path")
    return synth


@cache
def keep_samples(soundfont: str | Path) -> fluidsynth.Synth:
    """Load a soundfont for as long as this process lives: the process's other synthesizers share its samples."""
    return open_synth(soundfont, SOUNDFONT_RATE, MIN_VOICES)


def synthesize(midi: str | Path, soundfont: str | Path, sample_rate: int) -> np.ndarray:
    """Play a MIDI file, as `fluidsynth -F` does.

    The synthesizer runs at a multiple of `sample_rate` near the soundfont's own rate and the result is filtered down:
    played at a lower rate, FluidSynth would fold the cymbals' high partials into the audible range.

    Args:
        midi: the file.
        soundfont: the SF2 file.
        sample_rate: of the result, in Hz.

    Returns:
        Mono audio, float32, -1..1 being full scale, from time zero until `RELEASE_SECONDS` after the last event.

    Raises:
        InputError: the soundfont cannot be loaded.
        RuntimeError: it is not a MIDI file, or FluidSynth cannot play it.
    """
    oversampling = max(1, SOUNDFONT_RATE // sample_rate)
    rate = oversampling * sample_rate
    try:
        file = mido.MidiFile(midi)
    except Exception as error:  # mido may raise nearly anything
        raise RuntimeError(f"{midi} cannot be read as MIDI: {error!r}") from error
    if len(file.tracks) > MAX_TRACKS:  # it would silently play nothing
        raise RuntimeError(f"{midi} has {len(file.tracks)} tracks; FluidSynth plays at most {MAX_TRACKS}")
    frames = round((file.length + RELEASE_SECONDS) * rate)
    n_notes = sum(message.type == "note_on" for track in file.tracks for message in track)
    voices = min(max(VOICES_PER_NOTE * n_notes, MIN_VOICES), MAX_VOICES)
    stereo = np.empty((frames, 2), np.float32)
    address = stereo.ctypes.data
    # A synthesizer for each file: effects keep their state, so results would depend on the order.
    synth = open_synth(soundfont, rate, voices)
    fluid_log.errors.clear()
    try:
        synth.play_midi_file(str(midi))
        # Block by block: in a longer call, notes would begin up to 64 blocks (93 ms) early. In floating point, because
        # the dither of 16-bit samples depends on what else the process has drawn random numbers for.
        for start in range(0, frames, BLOCK):
            length = min(BLOCK, frames - start)
            fluid_synth_write_float(synth.synth, length, address, 2 * start, 2, address, 2 * start + 1, 2)
        fluidsynth.delete_fluid_player(synth.player)
    finally:
        synth.delete()
    if fluid_log.errors:  # otherwise a file that it cannot read would become silence
        raise RuntimeError(f"{midi}: FluidSynth cannot play it: {'; '.join(fluid_log.errors)}")
    mono = (stereo[:, 0] + stereo[:, 1]) / 2
    return resample_poly(mono, 1, oversampling) if oversampling > 1 else mono


def trim_silence(audio: np.ndarray, top_db: float) -> tuple[int, int]:
    """What remains when the start and the end that are `top_db` dB or more below the loudest moment are cut.

    Equals `librosa.effects.trim`; written out because librosa compiles for seconds before its first call.

    Args:
        audio: mono, float [n].
        top_db: positive.

    Returns:
        The first sample to keep and the one after the last; (0, 0) where all is silent.
    """
    padded = np.pad(audio, TRIM_WINDOW // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, TRIM_WINDOW)[::TRIM_HOP]
    loudness = np.sqrt(np.mean(np.square(windows), axis=1))
    if loudness.max() <= SILENCE:
        return 0, 0
    decibels = 20 * np.log10(np.maximum(loudness, SILENCE) / loudness.max())
    loud = np.flatnonzero(decibels > -top_db)
    return int(loud[0]) * TRIM_HOP, min((int(loud[-1]) + 1) * TRIM_HOP, len(audio))


def render_file(midi: Path, folder: Path, soundfont: str | Path, sample_rate: int, trim_db: float) -> Rendering:
    """Render one MIDI file to `folder/{its name}.flac`, 16 bit; nothing is written if it is silent.

    The file's first text event becomes the FLAC's comment.
    """
    keep_samples(soundfont)
    dropped_before = fluid_log.n_dropped
    audio = synthesize(midi, soundfont, sample_rate)
    start, end = trim_silence(audio, trim_db)
    flac = folder / f"{midi.stem}.flac"
    if end > start:
        with soundfile.SoundFile(flac, "w", sample_rate, 1, subtype="PCM_16") as file:
            if text := next((event.text for event in mido.MidiFile(midi).tracks[0] if event.type == "text"), None):
                file.comment = text
            file.write(audio[start:end])
    return Rendering(
        index=int(midi.stem),
        seconds=(end - start) / sample_rate,
        start_s=start / sample_rate,
        end_s=end / sample_rate,
        n_dropped=fluid_log.n_dropped - dropped_before,
        sha256=file_sha256(flac) if end > start else "",
    )


def render_folder(
    midi: str | Path, folder: str | Path, soundfont: str | Path, sample_rate: int, trim_db: float, processes: int
) -> list[Rendering]:
    """Render every MIDI file of a folder, several at a time.

    Args:
        midi: holds {index:04d}.mid.
        folder: gets {index:04d}.flac; created if missing.
        soundfont: the SF2 file.
        sample_rate: of the audio, in Hz.
        trim_db: for `trim_silence`.
        processes: how many files at a time; the output does not depend on it.

    Returns:
        What became of each MIDI file, in the order of their indices.

    Raises:
        InputError: the soundfont cannot be loaded.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted(Path(midi).glob("*.mid"), key=lambda file: int(file.stem))
    render = partial(render_file, folder=folder, soundfont=soundfont, sample_rate=sample_rate, trim_db=trim_db)
    # Forked, not spawned: a spawned process would run the calling script again. One thread in each: FluidSynth loads
    # samples with OpenMP, which waits forever in a fork of a process that has used more.
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(processes, fork, initializer=threadpool_limits, initargs=(1,)) as pool:
        renderings = list(tqdm(pool.map(render, files), "rendering", len(files), unit="file", mininterval=1))
    if dropped := sum(rendering.n_dropped for rendering in renderings):
        logger.warning("FluidSynth dropped %d voices: the soundfont layers too many samples", dropped)
    return renderings
