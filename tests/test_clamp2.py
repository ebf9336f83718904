"""CLaMP 2 and FMD against the package of FMD's authors, on random weights in the real format and real MIDI files."""

import hashlib
import logging
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import mido
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from libretto.audio.embeddings import clamp2
from libretto.audio.embeddings.base import read_embeddings
from libretto.audio.embeddings.clamp2 import PATCH, SEGMENT, Clamp2, read_mtf, split_segments, to_patches
from libretto.errors import InputError
from libretto.preflight.embedding import measure_clamp2
from libretto.scores.frechet import fad_floor, fmd_scores
from libretto.tokens.midi_writer import events_to_midi
from tests.checkout import ROOT
from tests.realmidi import manifest, midi_files
from tests.test_embeddings import Attack, unusable_checkpoints

LAYERS = 2  # of the published 12: the others are the same again


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """frechet_music_distance; its import makes a cache in the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        import frechet_music_distance

        yield frechet_music_distance


@pytest.fixture(scope="module")
def random_clamp2(package, tmp_path_factory):
    """A checkpoint as CLaMP 2's authors save theirs, with a tiny text encoder; and the package's extractor with it."""
    from frechet_music_distance.models.clamp2 import clamp2_extractor, config
    from frechet_music_distance.models.clamp2.clamp2_model import CLaMP2
    from transformers import BertConfig, XLMRobertaConfig, XLMRobertaModel

    folder = tmp_path_factory.mktemp("clamp2")
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    XLMRobertaModel(XLMRobertaConfig(vocab_size=9, **small)).save_pretrained(folder / "xlm-roberta")
    torch.manual_seed(0)
    width = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "max_position_embeddings": 512}
    model = CLaMP2(BertConfig(vocab_size=1, num_hidden_layers=LAYERS, **width), str(folder / "xlm-roberta"), 768)
    state = model.state_dict()
    for tensor in state.values():  # so that other characters, or another place, make another vector
        tensor += 0.05 * torch.randn(tensor.shape)
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    further = {"optimizer": optimizer.state_dict(), "lr_sched": {"lr_lambdas": [{}]}, "epoch": 63, "best_epoch": 63}
    torch.save({"model": state, **further, "min_eval_loss": 0.5}, folder / "clamp2.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "PATCH_NUM_LAYERS", LAYERS)
        patch.setattr(config, "TEXT_MODEL_NAME", str(folder / "xlm-roberta"))
        patch.setattr(config, "CLAMP2_WEIGHTS_PATH", folder / "clamp2.pth")
        patch.setattr(clamp2_extractor.AutoTokenizer, "from_pretrained", lambda name: None)  # for text alone
        patch.setattr(clamp2, "LAYERS", LAYERS)
        yield folder / "clamp2.pth", clamp2_extractor.CLaMP2Extractor(verbose=False)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_midi(path, messages):
    """A file of one track."""
    midi = mido.MidiFile(ticks_per_beat=96)
    midi.tracks.append(mido.MidiTrack(messages))
    midi.save(path)
    return path


def every_message():
    """A message of each type that a file can hold, with letters beyond ASCII where there is text."""
    texts = ["text", "copyright", "lyrics", "marker", "cue_marker"]
    names = ["track_name", "instrument_name", "device_name"]
    yield from (mido.MetaMessage(kind, text="né\n", time=1) for kind in texts)
    yield from (mido.MetaMessage(kind, name="Flöte|:", time=1) for kind in names)
    yield from (mido.MetaMessage(kind, time=1) for kind in ("sequence_number", "channel_prefix", "midi_port"))
    yield from (mido.MetaMessage(kind, time=1) for kind in ("set_tempo", "smpte_offset", "time_signature"))
    yield mido.MetaMessage("key_signature", key="F#m", time=1)
    yield mido.MetaMessage("sequencer_specific", data=[1, 2], time=1)
    yield mido.UnknownMetaMessage(0x60, data=[9, 10, 255], time=1)
    yield mido.Message("sysex", data=[1, 2, 3], time=1)
    for kind in ("note_on", "note_off", "polytouch", "control_change", "program_change", "aftertouch", "pitchwheel"):
        yield from (mido.Message(kind, channel=channel, time=1) for channel in (0, 15))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """MIDI files by name: samples, every message, exactly two segments, and real songs from the shortest on."""
    folder = tmp_path_factory.mktemp("midi")
    paths = {}
    draws = np.random.default_rng(0)
    for n in (1, 60, 341):
        onsets, notes = np.sort(draws.integers(0, 3000, n)), draws.integers(0, 128 * 128, n)
        paths[f"{n} notes"] = folder / f"{n}.mid"
        events = np.stack([onsets, draws.integers(1, 99, n), notes], axis=1)
        events_to_midi(events)[0].save(paths[f"{n} notes"])
    paths["messages"] = write_midi(folder / "messages.mid", every_message())
    # A patch for each message that differs from the one before; with those of the resolution and the three ends, 1,024.
    kinds = ["note_on", "control_change"] * (SEGMENT - 2)
    paths["two"] = write_midi(folder / "two.mid", [mido.Message(kind, time=3) for kind in kinds])
    songs = {lmd_id: midi for lmd_id, midi in midi_files().items() if manifest()[lmd_id]["status"] == "ok"}
    for number, midi in enumerate(sorted(songs.values(), key=len)[::6]):
        paths[f"real {number}"] = folder / f"real{number}.mid"
        paths[f"real {number}"].write_bytes(midi)
    return paths


def test_text_and_patches_are_the_packages(package, files):
    from frechet_music_distance.dataset_loaders import MIDIasMTFLoader
    from frechet_music_distance.models.clamp2.m3_patchilizer import M3Patchilizer

    loader, patchilizer, counts = MIDIasMTFLoader(verbose=False), M3Patchilizer(), {}
    for name, path in files.items():
        expected = loader.load_file(path)
        lines = read_mtf(path)
        assert "\n".join(lines) == expected
        patches = to_patches(lines)
        assert patches.tolist() == patchilizer.encode(expected, add_special_patches=True)
        counts[name] = len(patches)
    assert counts["1 notes"] < 10
    assert SEGMENT < counts["341 notes"] < 2 * SEGMENT
    assert counts["two"] == 2 * SEGMENT


def test_texts_are_left_out(tmp_path):
    lines = read_mtf(write_midi(tmp_path / "a.mid", every_message()))
    assert lines[0] == "ticks_per_beat 96"
    assert lines[7] == "key_signature F#m 1"
    assert lines[8].startswith("unknown_meta")
    assert not any("n\\xe9" in line or "Fl" in line or "sysex" in line or "sequencer" in line for line in lines)
    (patch,) = [bytes(row) for row in to_patches(lines) if b"key_signature" in bytes(row)]
    assert patch == b"\x01key_signature F#m 1\n\x02".ljust(PATCH, b"\0")


@pytest.mark.parametrize(("n", "sizes"), [(3, [3]), (512, [512]), (513, [512, 1]), (1024, [512] * 2)])
def test_segments_cover_a_file(n, sizes):
    patches = np.arange(n)
    found = split_segments(patches)
    assert [size for _, size in found] == sizes
    assert {len(segment) for segment, _ in found} == {min(n, SEGMENT)}
    assert set(np.concatenate([segment for segment, _ in found])) == set(patches)


@pytest.mark.slow
def test_embeddings_are_the_packages(random_clamp2, files, monkeypatch):
    weights, extractor = random_clamp2
    model = Clamp2(weights, sha256(weights))
    paths = {index: files[name] for index, name in enumerate(["real 0", "60 notes", "messages", "two", "1 notes"], 3)}
    expected = np.concatenate([extractor.extract_feature(path) for path in paths.values()])
    assert np.abs(np.diff(expected, axis=0)).max(axis=1).min() > 0.01  # the files are told apart

    monkeypatch.setattr(clamp2, "SEGMENTS_AT_ONCE", 3)  # of 7, so that batches and files end in different places
    found = model.embed(paths)
    assert list(found) == [3, 4, 5, 6, 7]
    assert {(rows.shape, rows.dtype) for rows in found.values()} == {((1, 768), np.dtype(np.float32))}
    np.testing.assert_allclose(np.concatenate([*found.values()]), expected, atol=1e-5)
    for index in (3, 4, 7):
        np.testing.assert_allclose(model.embed({0: paths[index]})[0], found[index], atol=1e-5)
    assert model.embed({}) == {}


@pytest.mark.slow
def test_the_script_embeds_every_file_of_the_table(random_clamp2, files, tmp_path, monkeypatch):
    monkeypatch.setattr("libretto.job.start_job", lambda job: logging.getLogger())
    midi, tokens = tmp_path / "midi", tmp_path / "tokens.parquet"
    midi.mkdir()

    def run(n_events):
        pq.write_table(pa.table({"index": [*range(len(n_events))], "n_events": n_events}), tokens)
        job = SimpleNamespace(
            input=SimpleNamespace(midi=midi, tokens=tokens, clamp2=random_clamp2[0]),
            output=SimpleNamespace(embeddings=tmp_path / "clamp2.parquet"),
            params=SimpleNamespace(sha256=sha256(random_clamp2[0])),
        )
        runpy.run_path(str(ROOT / "workflow/scripts/embed_clamp2.py"), {"snakemake": job})
        return read_embeddings(tmp_path / "clamp2.parquet")

    assert run([0, 0]) == {}
    for index, name in {2: "1 notes", 1: "messages"}.items():
        shutil.copyfile(files[name], midi / f"{index:04d}.mid")
    found = run([0, 9, 1])
    expected = Clamp2(random_clamp2[0], None).embed({1: files["messages"], 2: files["1 notes"]})
    assert [*found] == [1, 2]
    for index, rows in expected.items():
        np.testing.assert_allclose(found[index], rows, atol=1e-5)
    (midi / "0001.mid").unlink()
    with pytest.raises(InputError, match=r"midi holds 1 MIDI files, \S+tokens\.parquet tells of 2; remove the table"):
        run([0, 9, 1])


def test_preflight_measures_samples(random_clamp2, monkeypatch):
    monkeypatch.setattr(clamp2, "SEGMENTS_AT_ONCE", 2)
    measured = measure_clamp2(random_clamp2[0], None)
    assert 0 < measured["seconds"] < 60
    assert measured["memory_gb"] > 0


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")
def test_the_distance_is_the_packages(package):
    from frechet_music_distance.gaussian_estimators import MaxLikelihoodEstimator

    draws = np.random.default_rng(0)
    ours = draws.normal(size=(90, 16)) @ draws.normal(size=(16, 16))
    reference = draws.normal(size=(120, 16)) + 0.5
    estimate = MaxLikelihoodEstimator().estimate_parameters
    (mean, covariance), (mean_reference, covariance_reference) = estimate(ours), estimate(reference)
    metric = package.FrechetMusicDistance(feature_extractor=object(), verbose=False)
    expected = metric._compute_fmd(mean_reference, mean, covariance_reference, covariance)
    files, songs = (dict(enumerate(rows[:, None])) for rows in (ours, reference))
    found = fmd_scores(files, songs, 3, 1)
    assert found["fmd"] == pytest.approx(expected, rel=1e-6)
    assert found["fmd_floor"] == fad_floor(songs, 60, 3, 1)  # 90 against the other 30 would be too few
    assert found["fmd_floor"] < found["fmd"]
    assert fmd_scores({0: ours[:1]}, songs, 3, 1)["fmd"] is None
    assert fmd_scores({}, songs, 3, 1) == {"fmd": None, "fmd_floor": None}


@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file", "ignore:.*torch.jit.script.*:DeprecationWarning")
def test_what_is_no_checkpoint_is_an_input_error(random_clamp2, tmp_path, monkeypatch):
    weights, _ = random_clamp2
    with pytest.raises(InputError, match=r"clamp2\.pth has SHA-256"):
        Clamp2(weights, "0" * 64)
    trace = tmp_path / "trace"
    paths = unusable_checkpoints(tmp_path)
    state = torch.load(weights, weights_only=True)
    torch.save(state | {"epoch": Attack(trace)}, tmp_path / "attack.pt")
    music = {name: tensor for name, tensor in state["model"].items() if not name.startswith("music_proj")}
    torch.save({"model": music}, tmp_path / "m3.pt")
    for path in [*paths, tmp_path / "attack.pt", tmp_path / "m3.pt"]:
        with pytest.raises(InputError) as error:
            Clamp2(path, None)
        place = "is not a file" if path.is_dir() else "is not a checkpoint of CLaMP 2,"
        message = str(error.value)
        assert message.startswith(f"{path} {place}")
        assert not any(advice in message for advice in ("\n", "weights_only", "Re-running", "add_safe_globals"))
        assert len(message) < 500
    assert not trace.exists()
    monkeypatch.setattr(clamp2, "LAYERS", 1)  # not those of the file
    with pytest.raises(InputError, match=r"is not a checkpoint of CLaMP 2, .*Unexpected key"):
        Clamp2(Path(weights), None)
