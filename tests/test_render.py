import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import librosa
import mido
import numpy as np
import pytest
import soundfile
import symusic

from libretto.audio import render
from libretto.audio.manifest import Rendering, audible_files, read_renderings, write_renderings
from libretto.audio.render import RELEASE_SECONDS, render_folder, synthesize, trim_silence
from libretto.data.splits import chunk_song
from libretto.errors import InputError
from libretto.generation.samples import write_samples
from libretto.tokens import compiled, reference
from libretto.tokens.midi_writer import events_to_midi
from libretto.tokens.vocab import DRUMS, INSTRUMENTS, PITCHES
from tests.checkout import ROOT
from tests.realmidi import midi_files
from tests.smf import meta, midi_file, off, on, track

RATE = 22_050
SOUNDFONTS = [Path("/usr/share/sounds/sf2", name) for name in ("TimGM6mb.sf2", "FluidR3_GM.sf2")]
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def soundfont():
    found = [path for path in SOUNDFONTS if path.exists()]
    assert found, "install a soundfont: make system"
    return found[0]


@pytest.fixture
def write_midi(tmp_path):
    """Writes a MIDI file of events (onset, duration, instrument, pitch), in ticks."""

    def write(events, name="0000.mid"):
        folder = tmp_path / "midi"
        folder.mkdir(exist_ok=True)
        rows = np.array([(onset, duration, PITCHES * i + pitch) for onset, duration, i, pitch in events])
        events_to_midi(rows)[0].save(folder / name)
        return folder / name

    return write


def loudness(audio):
    return float(np.sqrt(np.mean(np.square(audio))))


# FluidSynth's own command is the oracle: `fluidsynth -F`.


def play(file, soundfont, gain=0.2, voices=render.MAX_VOICES // 8):
    """What `fluidsynth -F` makes of a MIDI file, as mono, and what it says on stderr."""
    if not shutil.which("fluidsynth"):
        pytest.skip("the command fluidsynth (Debian's package of that name) is not installed")
    options = ["-g", str(gain), "-r", "44100", "-o", f"synth.polyphony={voices}"]
    wave = file.with_suffix(".wav")
    run = subprocess.run(
        ["fluidsynth", "-ni", *options, "-F", wave, soundfont, file], capture_output=True, text=True, check=True
    )
    return soundfile.read(wave, dtype="float32")[0].mean(axis=1), run.stderr


def random_events(n, last_onset, programs, longest=300):
    shape = RANDOM.integers((0, 1, 0, 24), (last_onset + 1, longest, programs, 96), (n, 4))
    return [tuple(row) for row in shape.tolist()]


PIECES = {
    "drums alone": [(25 * i, 20, DRUMS, 35 + i) for i in range(20)],
    "all sixteen channels": [(20 * i, 100, 8 * i if i < 15 else DRUMS, 40 + i) for i in range(16)],
    "400 notes at once": [(50, 150, *divmod(24 + 9 * i, 96)) for i in range(400)],
    "dense random music": random_events(341, 200, INSTRUMENTS, longest=150),
    "all 129 instruments in turn": [(3 * i, 20, i, 60) for i in range(INSTRUMENTS)],
    "one note 341 times": [(0, 50, 40, 60)] * 341,
    "notes at odd times": [(7 * i + i % 3, 5, 0, 60 + i % 12) for i in range(40)],
}


DITHER = 2**-15  # more than that of the command's 16 bits


def assert_same_audio(file, soundfont, monkeypatch):
    # Loud, so that the dither of the command's 16 bits matters little; no louder, so that neither channel clips.
    gain = 0.2 * 0.2 / np.abs(synthesize(file, soundfont, 44_100)).max()
    monkeypatch.setattr(render, "GAIN", gain)
    ours = synthesize(file, soundfont, 44_100)
    theirs, _ = play(file, soundfont, gain)
    length = min(len(ours), len(theirs))
    assert length > 44_100
    assert loudness(ours[:length] - theirs[:length]) < 1e-3 * loudness(theirs[:length]) + DITHER
    # What we cut off at the end is below the 30 dB at which silence is trimmed anyway.
    assert np.abs(theirs[length:]).max(initial=0) < 10 ** (-30 / 20) * np.abs(theirs).max()


@pytest.mark.slow
@pytest.mark.parametrize("soundfont", SOUNDFONTS, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", PIECES)
def test_audio_is_that_of_the_fluidsynth_command(name, soundfont, write_midi, monkeypatch):
    if not soundfont.exists():
        pytest.skip(f"{soundfont} is not installed")
    assert_same_audio(write_midi(PIECES[name]), soundfont, monkeypatch)


def real_pieces(n):
    """The first 120 notes of the middle chunks of `n` real songs with drums."""
    pieces = []
    for data in midi_files().values():
        try:
            chunks, _ = chunk_song(compiled.midi_to_tokens_compiled(data), 1024, "drop")
        except Exception:
            continue
        events = reference.valid_events(chunks[len(chunks) // 2])[0][:120] if chunks else np.empty((0, 3), int)
        if (events[:, 2] >= DRUMS * PITCHES).any():
            pieces.append([(onset, duration, *divmod(note, PITCHES)) for onset, duration, note in events.tolist()])
        if len(pieces) == n:
            return pieces
    raise AssertionError("too few songs")


def test_audio_of_real_music_is_that_of_the_fluidsynth_command(soundfont, write_midi, monkeypatch):
    for events in real_pieces(3):
        assert_same_audio(write_midi(events), soundfont, monkeypatch)


def test_every_instrument_of_real_music_is_heard(soundfont, write_midi):
    for events in real_pieces(3):
        for instrument in {event[2] for event in events}:
            alone = [event for event in events if event[2] == instrument]
            audio = synthesize(write_midi(alone), soundfont, RATE)
            start, end = trim_silence(audio, 30)
            assert loudness(audio[start:end]) > 1e-4, instrument


@pytest.mark.slow
def test_every_instrument_is_heard(soundfont, write_midi):
    render.keep_samples(soundfont)
    quiet = {}
    for instrument in range(INSTRUMENTS):
        audio = synthesize(write_midi([(0, 50, instrument, 60)]), soundfont, RATE)
        if loudness(audio[:RATE]) < 1e-4:
            quiet[instrument] = loudness(audio[:RATE])
    assert not quiet


def test_no_note_is_dropped_and_a_dropped_one_is_counted(soundfont, write_midi, tmp_path, monkeypatch, caplog):
    file = write_midi(random_events(341, 0, 15))
    (rendering,) = render_folder(file.parent, tmp_path / "audio", soundfont, RATE, 30, 2)
    assert rendering.n_dropped == 0
    assert "dropped" not in caplog.text
    # With FluidSynth's own 256 voices, some notes cannot start: as many as the command says.
    monkeypatch.setattr(render, "VOICES_PER_NOTE", 0)
    (rendering,) = render_folder(file.parent, tmp_path / "few", soundfont, RATE, 30, 2)
    expected = play(file, soundfont, voices=256)[1].count("Failed to allocate")
    assert rendering.n_dropped == expected > 100
    assert f"dropped {expected} voices" in caplog.text


@pytest.mark.slow
def test_voices_that_are_cut_off_are_counted_too(soundfont, write_midi, monkeypatch):
    """Notes that begin one after the other: FluidSynth cuts off old voices, of which the command says nothing."""
    draws = RANDOM.integers((0, 40), (15, 90), (341, 2)).tolist()
    file = write_midi([(i, 400, 8 * family, pitch) for i, (family, pitch) in enumerate(draws)])
    whole = synthesize(file, soundfont, RATE)
    before = render.fluid_log.n_dropped
    monkeypatch.setattr(render, "VOICES_PER_NOTE", 2 * render.VOICES_PER_NOTE)
    np.testing.assert_allclose(synthesize(file, soundfont, RATE), whole, atol=1e-5)
    assert render.fluid_log.n_dropped == before
    monkeypatch.setattr(render, "VOICES_PER_NOTE", 0)
    assert loudness(synthesize(file, soundfont, RATE) - whole) > 0.1 * loudness(whole)
    assert render.fluid_log.n_dropped > before + 50


def test_drums_sound_without_a_program_change(soundfont, tmp_path, monkeypatch):
    strokes = [message for i in range(8) for message in ((20, on(38, 9)), (5, off(38, 9)))]
    (tmp_path / "drums.mid").write_bytes(midi_file(track(*strokes)))
    assert loudness(play(tmp_path / "drums.mid", soundfont)[0]) > 1e-3
    assert_same_audio(tmp_path / "drums.mid", soundfont, monkeypatch)


def test_note_sounds_when_and_how_high_it_is_written(write_midi, soundfont):
    audio = synthesize(write_midi([(100, 100, 73, 69)]), soundfont, RATE)  # a flute's A4, from 1 s to 2 s
    assert audio.dtype == np.float32
    assert len(audio) == round((2 + RELEASE_SECONDS) * RATE)
    before, during = audio[: RATE - 1000], audio[RATE + 5000 : 2 * RATE]
    assert loudness(during) > 100 * loudness(before)
    spectrum = np.abs(np.fft.rfft(during * np.hanning(len(during))))
    peak = np.fft.rfftfreq(len(during), 1 / RATE)[spectrum.argmax()]
    assert min(abs(peak / 440 - partial) for partial in (1, 2)) < 0.02


def test_last_note_rings_out(write_midi, soundfont):
    audio = synthesize(write_midi([(0, 100, 14, 60)]), soundfont, RATE)  # tubular bells
    assert loudness(audio[RATE : RATE + RATE // 2]) > 0.01 * loudness(audio[:RATE])
    assert loudness(audio[-RATE // 10 :]) < 0.1 * loudness(audio[:RATE])


@pytest.mark.slow
@pytest.mark.xdist_group("embeddings")  # others there use librosa too, whose first use compiles it
@pytest.mark.parametrize(("lead", "tail"), [(0, 0), (5000, 0), (0, 30_001), (12_345, 6789)])
def test_trimming_is_librosas(lead, tail):
    random = np.random.default_rng(0)
    audio = np.concatenate([np.zeros(lead), random.normal(size=20_000) * np.linspace(1, 1e-3, 20_000), np.zeros(tail)])
    audio = audio.astype(np.float32)
    _, (start, end) = librosa.effects.trim(audio, top_db=30)
    assert end - start < len(audio)
    assert trim_silence(audio, 30) == (start, end)


def test_silence_is_trimmed_away():
    assert trim_silence(np.zeros(10_000, np.float32), 30) == (0, 0)


def test_where_the_audio_begins_and_ends_is_recorded(write_midi, soundfont, tmp_path):
    folder = write_midi([(300, 100, 73, 69)]).parent  # a flute, from 3 s to 4 s
    (rendering,) = render_folder(folder, tmp_path / "audio", soundfont, RATE, 30, 1)
    assert rendering.start_s == pytest.approx(3, abs=0.1)
    assert 4 < rendering.end_s < 5
    assert rendering.seconds == pytest.approx(rendering.end_s - rendering.start_s)


def test_same_bytes_however_many_processes(write_midi, soundfont, tmp_path):
    for index in range(5):
        path = write_midi([(index * 10 + 20 * i, 30, 7 * index, 50 + i) for i in range(12)], f"{index:04d}.mid")
    digests = []
    for processes in (1, 3):
        folder = tmp_path / f"audio{processes}"
        renderings = render_folder(path.parent, folder, soundfont, RATE, 30, processes)
        assert [r.index for r in renderings] == list(range(5))
        digests.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())])
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 5
    info = soundfile.info(folder / "0003.flac")
    assert (info.samplerate, info.channels, info.format, info.subtype) == (RATE, 1, "FLAC", "PCM_16")
    assert info.frames / RATE == pytest.approx(renderings[3].seconds)


def test_a_process_that_has_loaded_samples_with_threads_can_render(write_midi, soundfont, tmp_path):
    """OpenMP's threads do not survive a fork: FluidSynth, loading samples in the child, would wait for them forever."""
    folder = write_midi([(0, 50, 0, 60)]).parent
    program = f"""
from libretto.audio.render import render_folder, synthesize
synthesize("{folder}/0000.mid", "{soundfont}", {RATE})
render_folder("{folder}", "{tmp_path}/audio", "{soundfont}", {RATE}, 30, 2)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "PYTHONPATH": str(ROOT / "workflow")}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, start_new_session=True) as process:
        try:
            assert process.wait(timeout=60) == 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert (tmp_path / "audio/0000.flac").exists()


def test_a_file_that_fluidsynth_cannot_play_is_an_error(write_midi, soundfont):
    path = write_midi([(0, 50, 0, 60)])
    file = mido.MidiFile(path)
    file.tracks += [file.tracks[-1]] * 127
    file.save(path)
    assert np.abs(play(path, soundfont)[0]).max() < 1e-3  # FluidSynth plays nothing of it, and says nothing
    with pytest.raises(RuntimeError, match="129 tracks; FluidSynth plays at most 128"):
        synthesize(path, soundfont, RATE)
    path.write_bytes(midi_file(track((0, meta(0x51, b"\x07\xa1\x20\x01")), (0, on(60)), (50, off(60)))))
    assert mido.MidiFile(path).length > 0
    with pytest.raises(RuntimeError, match="FluidSynth cannot play it: Invalid length for SetTempo"):
        synthesize(path, soundfont, RATE)
    path.write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"0000\.mid cannot be read as MIDI: EOFError"):
        synthesize(path, soundfont, RATE)


def test_midi_without_a_sound_is_listed(write_midi, soundfont, tmp_path):
    folder = write_midi([(0, 50, 0, 60)]).parent
    silent = mido.MidiFile()
    silent.tracks.append(mido.MidiTrack([mido.MetaMessage("end_of_track", time=480)]))
    silent.save(folder / "0007.mid")
    renderings = render_folder(folder, tmp_path / "audio", soundfont, RATE, 30, 2)
    assert [(r.index, r.is_audible) for r in renderings] == [(0, True), (7, False)]
    assert [file.name for file in (tmp_path / "audio").iterdir()] == ["0000.flac"]


def test_no_midi_at_all(soundfont, tmp_path):
    (tmp_path / "midi").mkdir()
    assert render_folder(tmp_path / "midi", tmp_path / "audio", soundfont, RATE, 30, 2) == []
    assert (tmp_path / "audio").is_dir()


def test_file_that_is_no_soundfont(write_midi, tmp_path):
    (tmp_path / "wrong.sf2").write_text("no soundfont")
    with pytest.raises(InputError, match=r"wrong.sf2.*sources.soundfont"):
        render_folder(write_midi([(0, 50, 0, 60)]).parent, tmp_path / "audio", tmp_path / "wrong.sf2", RATE, 30, 1)


def test_list_survives_writing(tmp_path):
    renderings = [
        Rendering(0, 1.25, 0.5, 1.75, 0),
        Rendering(12, 0.0, 0.0, 0.0, 7),
        Rendering(999, 10 / 3, 0.0, 10 / 3, 0),
    ]
    write_renderings(renderings, tmp_path / "list.csv")
    assert read_renderings(tmp_path / "list.csv") == renderings


RENDERINGS = [Rendering(index, seconds, 0.0, seconds, 0) for index, seconds in enumerate((1.0, 0.0, 1.0))]


@pytest.mark.parametrize("present", [["0000"], ["0000", "0002", "0003"], ["0000", "0003"]])
def test_audio_that_is_not_that_of_the_list(present, tmp_path):
    for name in present:
        (tmp_path / f"{name}.flac").touch()
    with pytest.raises(RuntimeError, match="FLAC"):
        audible_files(tmp_path, RENDERINGS)


def test_audible_files_of_the_list(tmp_path):
    for name in ("0000", "0002"):
        (tmp_path / f"{name}.flac").touch()
    files = dict(audible_files(tmp_path, RENDERINGS))
    assert files == {0: tmp_path / "0000.flac", 2: tmp_path / "0002.flac"}


def test_a_sample_says_what_it_is_when_it_is_found_alone(tmp_path, soundfont, monkeypatch):
    monkeypatch.chdir(tmp_path)
    song = {"lmd_id": 32 * "a", "caption": "A note."}
    folder = Path("results/demo/samples/amt-t1.0")
    write_samples([song], [song], [([0, 10_050, 11_060], "end")], "tokens.parquet", folder / "midi")
    render_folder(folder / "midi", tmp_path / "audio", soundfont, RATE, 30, 1)
    text = f"Libretto: {folder}/midi/0000.mid, for the description of {32 * 'a'}"
    assert symusic.Score(folder / "midi/0000.mid").tracks  # another reader takes it
    assert text in (folder / "midi/0000.mid").read_bytes().decode("latin-1")
    with soundfile.SoundFile(tmp_path / "audio/0000.flac") as file:
        assert file.comment == text
