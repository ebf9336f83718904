import hashlib
from pathlib import Path

import librosa
import mido
import numpy as np
import pytest
import soundfile

from libretto.errors import InputError
from libretto.midi import tokens_to_midi
from libretto.render import RELEASE_SECONDS, render_folder, synthesize, trim_silence
from libretto.renderings import Rendering, audible_files, read_renderings, write_renderings
from libretto.vocab import DURATION_OFFSET, NOTE_OFFSET, PITCHES

RATE = 22_050
SOUNDFONTS = [Path("/usr/share/sounds/sf2", name) for name in ("TimGM6mb.sf2", "FluidR3_GM.sf2")]


@pytest.fixture(scope="module")
def soundfont():
    found = [path for path in SOUNDFONTS if path.exists()]
    assert found, "install a soundfont: make system"
    return found[0]


@pytest.fixture
def midi(tmp_path):
    """Writes a MIDI file of events (onset, duration, instrument, pitch), in ticks."""

    def write(events, name="0000.mid"):
        tokens = [
            token
            for onset, duration, instrument, pitch in events
            for token in (onset, DURATION_OFFSET + duration, NOTE_OFFSET + PITCHES * instrument + pitch)
        ]
        folder = tmp_path / "midi"
        folder.mkdir(exist_ok=True)
        tokens_to_midi(tokens).save(str(folder / name))
        return folder / name

    return write


def loudness(audio):
    return float(np.sqrt(np.mean(np.square(audio))))


def test_note_sounds_when_and_how_high_it_is_written(midi, soundfont):
    audio = synthesize(midi([(100, 100, 73, 69)]), soundfont, RATE)  # a flute's A4, from 1 s to 2 s
    assert audio.dtype == np.float32
    assert len(audio) == round((2 + RELEASE_SECONDS) * RATE)
    before, during = audio[: RATE - 1000], audio[RATE + 5000 : 2 * RATE]
    assert loudness(during) > 100 * loudness(before)
    spectrum = np.abs(np.fft.rfft(during * np.hanning(len(during))))
    peak = np.fft.rfftfreq(len(during), 1 / RATE)[spectrum.argmax()]
    assert min(abs(peak / 440 - partial) for partial in (1, 2)) < 0.02


def test_last_note_rings_out(midi, soundfont):
    audio = synthesize(midi([(0, 100, 14, 60)]), soundfont, RATE)  # tubular bells
    assert loudness(audio[RATE : RATE + RATE // 2]) > 0.01 * loudness(audio[:RATE])
    assert loudness(audio[-RATE // 10 :]) < 0.1 * loudness(audio[:RATE])


def test_drums_are_drums(midi, soundfont):
    snare = synthesize(midi([(0, 50, 128, 38)], "0001.mid"), soundfont, RATE)
    piano = synthesize(midi([(0, 50, 0, 38)]), soundfont, RATE)
    flatness = [librosa.feature.spectral_flatness(y=audio[:4096]).mean() for audio in (snare, piano)]
    assert flatness[0] > 5 * flatness[1]


@pytest.mark.parametrize(("lead", "tail"), [(0, 0), (5000, 0), (0, 30_001), (12_345, 6789)])
def test_trimming_is_librosas(lead, tail):
    random = np.random.default_rng(0)
    audio = np.concatenate([np.zeros(lead), random.normal(size=20_000) * np.linspace(1, 1e-3, 20_000), np.zeros(tail)])
    audio = audio.astype(np.float32)
    expected, _ = librosa.effects.trim(audio, top_db=30)
    assert len(expected) < len(audio)
    np.testing.assert_array_equal(trim_silence(audio, 30), expected)


def test_silence_is_trimmed_away():
    assert len(trim_silence(np.zeros(10_000, np.float32), 30)) == 0


def test_same_bytes_however_many_processes(midi, soundfont, tmp_path):
    for index in range(5):
        path = midi([(index * 10 + 20 * i, 30, 7 * index, 50 + i) for i in range(12)], f"{index:04d}.mid")
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


def test_midi_without_a_sound_is_listed(midi, soundfont, tmp_path):
    folder = midi([(0, 50, 0, 60)]).parent
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


def test_file_that_is_no_soundfont(midi, tmp_path):
    (tmp_path / "wrong.sf2").write_text("no soundfont")
    with pytest.raises(InputError, match=r"wrong.sf2.*sources.soundfont"):
        render_folder(midi([(0, 50, 0, 60)]).parent, tmp_path / "audio", tmp_path / "wrong.sf2", RATE, 30, 1)


def test_list_survives_writing(tmp_path):
    renderings = [Rendering(0, 1.25), Rendering(12, 0.0), Rendering(999, 10 / 3)]
    write_renderings(renderings, tmp_path / "list.csv")
    assert read_renderings(tmp_path / "list.csv") == renderings


@pytest.mark.parametrize("present", [["0000"], ["0000", "0002", "0003"], ["0000", "0003"]])
def test_audio_that_is_not_that_of_the_list(present, tmp_path):
    for name in present:
        (tmp_path / f"{name}.flac").touch()
    with pytest.raises(RuntimeError, match="FLAC"):
        audible_files(tmp_path, [Rendering(0, 1.0), Rendering(1, 0.0), Rendering(2, 1.0)])


def test_audible_files_of_the_list(tmp_path):
    for name in ("0000", "0002"):
        (tmp_path / f"{name}.flac").touch()
    files = dict(audible_files(tmp_path, [Rendering(0, 1.0), Rendering(1, 0.0), Rendering(2, 1.0)]))
    assert files == {0: tmp_path / "0000.flac", 2: tmp_path / "0002.flac"}
