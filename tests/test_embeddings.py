"""VGGish and CLAP run here on random weights in the real formats: this tests the code path; the scores mean nothing."""

import hashlib
import json
import os
import shutil
import tarfile
from functools import cache, partial

import numpy as np
import pytest
import soundfile
import torch

from libretto.audio.embeddings import base, make_embedder, resampling
from libretto.audio.embeddings.base import Embedder, embed_files, load_audio, read_embeddings, write_embeddings
from libretto.audio.embeddings.logmel import BANDS, FLOOR, LogMel
from libretto.audio.embeddings.resampling import resample
from libretto.audio.embeddings.weights import check_weights, tokenizers_of_laion_clap, untrusted_weights
from libretto.config.embeddings import EMBEDDINGS
from libretto.errors import InputError

# So that one worker imports laion-clap, compiles librosa and makes checkpoints.
pytestmark = pytest.mark.xdist_group("embeddings")

RATE = 22_050


def noise(seconds, rate=RATE, seed=0):
    return (np.random.default_rng(seed).normal(size=round(seconds * rate)) * 0.1).astype(np.float32)


class Loudness(Embedder):
    name, sample_rate = "loudness", None

    def features(self, audio, sample_rate):
        return audio

    def forward(self, features):
        return np.sqrt(np.mean(np.square(features), keepdims=True))[None] / (features.max() > 0)


@pytest.fixture
def clips(tmp_path):
    files = {}
    for index in (0, 1, 10):
        files[index] = tmp_path / f"{index:04d}.flac"
        soundfile.write(files[index], noise(1.5 + index, seed=index), RATE)
    return files


# Files


def test_embeddings_survive_writing(tmp_path):
    random = np.random.default_rng(0)
    embeddings = {index: random.normal(size=(rows, 7)).astype(np.float32) for index, rows in ((2, 3), (3, 1), (11, 5))}
    write_embeddings(embeddings, tmp_path / "fad.parquet")
    read = read_embeddings(tmp_path / "fad.parquet")
    assert list(read) == [2, 3, 11]
    for index, rows in embeddings.items():
        np.testing.assert_array_equal(read[index], rows)


def test_no_embeddings_survive_writing(tmp_path):
    write_embeddings({}, tmp_path / "fad.parquet")
    assert read_embeddings(tmp_path / "fad.parquet") == {}


def test_audio_is_resampled_where_the_embedding_wants_another_rate(tmp_path):
    sine = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    soundfile.write(tmp_path / "sine.flac", sine, RATE)
    own, rate = load_audio(tmp_path / "sine.flac", None)
    assert rate == RATE
    np.testing.assert_allclose(own, sine, atol=2**-15)
    audio, rate = load_audio(tmp_path / "sine.flac", 48_000)
    assert (rate, len(audio), audio.dtype) == (48_000, 48_000, np.float32)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(48_000) / 48_000)
    np.testing.assert_allclose(audio[2000:-2000], expected[2000:-2000], atol=1e-3)


@pytest.mark.parametrize("seconds", [2.5 / RATE, 0.05, 0.9, 4])
@pytest.mark.parametrize("rate", [11_025, 16_000, RATE, 44_100, 48_000])
def test_clips_are_loaded_as_frechet_audio_distance_loads_them(tmp_path, rate, seconds):
    with tokenizers_of_laion_clap():
        from frechet_audio_distance.utils import load_audio_task

    loud = np.random.default_rng(0).uniform(-1, 1, round(seconds * rate))
    soundfile.write(tmp_path / "noise.flac", loud, rate)
    for new_rate in (16_000, 48_000):
        audio, _ = load_audio(tmp_path / "noise.flac", new_rate)
        assert audio.dtype == np.float32
        expected = load_audio_task(str(tmp_path / "noise.flac"), new_rate, channels=1)
        np.testing.assert_allclose(audio, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(("rate", "new_rate"), [(RATE, 16_000), (RATE, 48_000), (48_000, 16_000), (96_000, 16_000)])
def test_filters_are_made_once_and_none_is_cut_off(rate, new_rate, monkeypatch):
    found, filters = [], resampling._filters
    with monkeypatch.context() as patch:
        patch.setattr(resampling, "_filters", lambda *sizes: found.append(filters(*sizes)) or found[0])
        resample(noise(0.1, rate), rate, new_rate)
    assert not found[0][[0, -1]].any()
    assert found[0][:8].any()
    assert found[0][-8:].any()
    monkeypatch.setattr("resampy.resample", None)
    resample(noise(0.2, rate), rate, new_rate)


def test_rates_without_a_large_common_divisor_are_resampled_too():
    import resampy

    np.testing.assert_array_equal(resample(noise(0.5), 22_051, 16_000), resampy.resample(noise(0.5), 22_051, 16_000))


def test_a_clip_too_short_for_one_sample_is_an_error():
    with pytest.raises(ValueError, match="length=1 is too small to resample from 22050->16000"):
        resample(noise(1 / RATE), RATE, 16_000)


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_embedding_that_is_not_finite_is_an_error(clips, tmp_path):
    assert list(embed_files(Loudness(), clips.items(), 2)) == [0, 1, 10]
    soundfile.write(tmp_path / "0011.flac", np.zeros(RATE), RATE)
    with pytest.raises(RuntimeError, match=r"0011\.flac"):
        embed_files(Loudness(), [*clips.items(), (11, tmp_path / "0011.flac")], 2)


class Resampled(Loudness):
    sample_rate = 16_000


def test_threads_change_no_number_and_read_no_further_than_needed(tmp_path, monkeypatch):
    files = [(index, tmp_path / f"{index:04d}.flac") for index in range(12)]
    for index, file in files:
        soundfile.write(file, noise(0.1 + 0.2 * (index % 3), seed=index), RATE)
    one, four = (embed_files(Resampled(), files, threads) for threads in (1, 4))
    assert list(one) == list(four) == [*range(12)]
    assert all(np.array_equal(one[index], four[index]) for index in one)

    read = []
    monkeypatch.setattr(base, "load_audio", lambda file, rate: (read.append(file), load_audio(file, rate))[1])
    clips = base._read_ahead([file for _, file in files], Loudness(), 2)
    next(clips)
    assert len(read) <= 4
    assert len(list(clips)) == 11


# Log-mel


def test_logmel_has_a_row_per_whole_second():
    embedder = make_embedder("logmel", [], None)
    for seconds, rows in ((0.01, 1), (0.5, 1), (1, 1), (1.99, 1), (2, 2), (7.5, 7)):
        embedding = embedder.embed(noise(seconds), RATE)
        assert embedding.shape == (rows, BANDS)
        assert np.isfinite(embedding).all()


def test_logmel_of_silence_is_its_floor():
    np.testing.assert_allclose(LogMel().embed(np.zeros(RATE, np.float32), RATE), np.log(FLOOR) / np.sqrt(BANDS))


@pytest.mark.parametrize("rate", [16_000, RATE, 48_000])
def test_logmel_of_a_sine(rate):
    """Its power, 1/4 a² at the peak, appears in the band that holds it, whatever the sample rate."""
    hertz, amplitude = 1000.0, 0.5
    sine = (amplitude * np.sin(2 * np.pi * hertz * np.arange(2 * rate) / rate)).astype(np.float32)
    bands = np.exp(LogMel().embed(sine, rate) * np.sqrt(BANDS)) - FLOOR
    edges = 700 * (10 ** (np.linspace(*(2595 * np.log10(1 + f / 700) for f in (50, 8000)), BANDS + 2) / 2595) - 1)
    loudest = int(bands[0].argmax())
    assert edges[loudest] < hertz < edges[loudest + 2]
    # A Hann window spreads a sine over three bins, 1/4 : 1 : 1/4 in power; the triangles' heights sum to 1 everywhere.
    assert bands.sum(axis=1) == pytest.approx(1.5 * amplitude**2 / 4, rel=0.02)


def test_logmel_tells_octaves_apart():
    time = np.arange(RATE) / RATE
    low, high = (LogMel().embed(np.sin(2 * np.pi * f * time).astype(np.float32), RATE)[0].argmax() for f in (220, 440))
    assert low < high


# VGGish and CLAP


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_of_another_hash_are_not_loaded(tmp_path, caplog):
    weights = tmp_path / "vggish.pth"
    weights.write_bytes(b"something else")
    check_weights(weights, None)
    assert caplog.messages == [f"{weights} has no sha256: in the config; it is trusted to be the right file"]
    check_weights(weights, sha256(weights))
    for name, embedding in EMBEDDINGS.items():
        if embedding.models and embedding.of_audio:
            with pytest.raises(InputError, match=r"vggish\.pth has SHA-256"):
                make_embedder(name, [weights, tmp_path][: len(embedding.models)], "0" * 64)
    assert make_embedder("logmel", [], None).name == "logmel"


@pytest.fixture(scope="module")
def random_vggish(tmp_path_factory):
    """A checkpoint of random weights, and the network."""
    from torchvggish.torchvggish import _vgg

    torch.manual_seed(0)
    network = _vgg()
    path = tmp_path_factory.mktemp("vggish") / "weights.pth"
    torch.save(network.state_dict(), path)
    return path, network.eval()


@pytest.mark.slow
def test_vggish_is_that_of_frechet_audio_distance(random_vggish, clips, monkeypatch):
    from torchvggish.vggish_input import waveform_to_examples

    monkeypatch.setattr("torch.hub.urlopen", None)
    weights, network = random_vggish
    hub = torch.hub.get_dir(), torch.hub.load
    embedder = make_embedder("vggish", [str(weights)], sha256(weights))
    assert (torch.hub.get_dir(), torch.hub.load) == hub

    audio = noise(3.5, 16_000)
    embedding = embedder.embed(audio, 16_000)
    assert embedding.shape == (3, 128)
    assert (embedding < 0).any()  # no last activation
    with torch.no_grad():
        expected = network(waveform_to_examples(audio, 16_000)).numpy()
    np.testing.assert_allclose(np.maximum(embedding, 0), expected, rtol=1e-4, atol=1e-6)
    assert embedder.embed(audio[:100], 16_000).shape == (1, 128)
    found = embed_files(embedder, clips.items(), 2)
    with torch.no_grad():
        for index, path in clips.items():
            expected = network(waveform_to_examples(*load_audio(path, 16_000))).numpy()
            np.testing.assert_allclose(np.maximum(found[index], 0), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_frechet_distance_is_that_of_frechet_audio_distance():
    from libretto.scores.frechet import frechet_distance

    with tokenizers_of_laion_clap():
        from frechet_audio_distance import FrechetAudioDistance

    random = np.random.default_rng(0)
    a = random.normal(size=(400, 32)) @ random.normal(size=(32, 32))
    b = random.normal(size=(300, 32)) + 1
    statistics = [value for rows in (a, b) for value in FrechetAudioDistance.calculate_embd_statistics(None, rows)]
    expected = FrechetAudioDistance.calculate_frechet_distance(None, *statistics)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)


@pytest.fixture(scope="module")
def random_clap(tmp_path_factory):
    """A one-layer roberta-base as a hub snapshot, and a checkpoint as CLAP's authors save theirs."""
    from transformers import RobertaConfig, RobertaModel

    folder = tmp_path_factory.mktemp("clap")
    roberta = folder / "roberta"
    letters = [chr(code) for code in range(33, 127)]
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *letters]
    config = RobertaConfig(vocab_size=len(words), num_hidden_layers=1, max_position_embeddings=514, type_vocab_size=1)
    torch.manual_seed(0)
    RobertaModel(config).save_pretrained(roberta)
    (roberta / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (roberta / "merges.txt").write_text("#version: 0.2\n")

    with tokenizers_of_laion_clap(roberta):
        from laion_clap import CLAP_Module

        module = CLAP_Module(enable_fusion=False, device="cpu", amodel="HTSAT-base")
    state = {f"module.{name}": tensor for name, tensor in module.model.state_dict().items()}
    state["module.text_branch.embeddings.position_ids"] = torch.arange(514)[None]
    # Training scripts leave NumPy's numbers in it, which torch refuses where it reads weights only.
    best = {"epoch": 15, "accuracy": np.float64(90.14), "step": np.int64(1), "loss": np.float32(0.5)}
    best |= {"scale": np.float16(1), "batch": np.int32(8), "bits": np.uint8(8), "fusion": np.bool_(False)}
    torch.save({"state_dict": state, "name": "clap", **best}, folder / "clap.pt")
    return folder / "clap.pt", roberta, module


class Attack:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return shutil.copyfile, (os.devnull, self.trace)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vggish", "clap"])
def test_a_checkpoint_that_runs_code_is_refused(name, random_clap, tmp_path):
    _, roberta, _ = random_clap
    weights, trace = tmp_path / "weights.pt", tmp_path / "trace"
    torch.save({"state_dict": {"module.weight": torch.ones(1)}, "epoch": Attack(trace)}, weights)
    torch.load(weights, weights_only=False)
    assert trace.exists()
    trace.unlink()
    with pytest.raises(InputError, match=r"weights\.pt is not a checkpoint of (VGGish|CLAP)") as error:
        make_embedder(name, [str(weights), str(roberta)][: 1 + (name == "clap")], sha256(weights))
    message = str(error.value)
    assert "it asks for shutil.copyfile," in message
    assert not any(advice in message for advice in ("\n", "weights_only", "Re-running", "add_safe_globals"))
    assert not trace.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


class System:
    """Its pickle asks for a module that torch blocks by name."""

    def __reduce__(self):
        return os.system, ("true",)


def unusable_checkpoints(folder):
    """Files that users might give by mistake, by name."""
    ones = {"weight": torch.ones(1_000)}
    contents = {"empty.pt": b"", "page.pt": b"<!DOCTYPE html>\n<p>Not found", "text.pt": b"The weights\n"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    for name, value in {"keys.pt": ones, "list.pt": [1], "nothing.pt": {}, "system.pt": System()}.items():
        torch.save(value, folder / name)
    torch.save({"state_dict": {"module.text_branch.embeddings.position_ids": torch.arange(1)}}, folder / "other.pt")
    torch.save(ones, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    for name in ("keys.pt", "legacy.pt"):
        (folder / f"half-{name}").write_bytes((folder / name).read_bytes()[:-2_000])
    torch.jit.script(torch.nn.ReLU()).save(folder / "script.pt")
    with tarfile.open(folder / "tar.pt", "w") as tar:
        tar.add(folder / "text.pt", "storages")
    (folder / "folder.pt").mkdir()
    return sorted(folder.iterdir())


@pytest.fixture
def cheap_networks(monkeypatch):
    """A network's random first weights, which a checkpoint replaces, take nearly all of the time that it takes."""
    from torchlibrosa import stft

    matrix = cache(partial(stft.DFTBase.dft_matrix, None))  # a function of the size alone
    monkeypatch.setattr(stft.DFTBase, "dft_matrix", lambda self, n: matrix(n))
    for name in ("uniform_", "erfinv_"):
        monkeypatch.setattr(torch.Tensor, name, lambda tensor, *arguments, **options: tensor)


@pytest.mark.slow
@pytest.mark.usefixtures("cheap_networks")
@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file", "ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["vggish", "clap"])
def test_what_is_no_checkpoint_is_an_input_error(name, random_clap, tmp_path):
    _, roberta, _ = random_clap
    paths = unusable_checkpoints(tmp_path)
    assert len(paths) == 14
    for path in paths:
        with pytest.raises(InputError) as error:
            make_embedder(name, [str(path), str(roberta)][: 1 + (name == "clap")], None)
        message = str(error.value)
        model = {"vggish": "VGGish", "clap": "CLAP"}[name]
        place = "is not a file" if path.is_dir() else f"is not a checkpoint of {model},"
        assert message.startswith(f"{path} {place}")
        assert len(message) < 500
        assert not any(advice in message for advice in ("\n", "weights_only", "Re-running", "add_safe_globals"))
        assert ("system" in message.removeprefix(str(path))) == (path.stem == "system")


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), MemoryError(), torch.OutOfMemoryError()])
def test_an_error_that_is_not_the_checkpoints_is_not_blamed_on_it(error):
    with pytest.raises(type(error)) as raised, untrusted_weights("weights.pt", "CLAP"):
        raise error
    assert raised.value is error


@pytest.mark.slow
def test_a_user_who_switched_protection_off_is_protected_too(random_vggish, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    make_embedder("vggish", [str(random_vggish[0])], None)
    trace = tmp_path / "trace"
    torch.save(Attack(trace), tmp_path / "attack.pth")
    with pytest.raises(InputError, match=r"it asks for shutil\.copyfile"):
        make_embedder("vggish", [str(tmp_path / "attack.pth")], None)
    assert not trace.exists()
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


@pytest.mark.slow
def test_clap_is_that_of_laion_clap(random_clap):
    weights, roberta, module = random_clap
    torch.manual_seed(1)
    embedder = make_embedder("clap", [str(weights), str(roberta)], sha256(weights))

    short = noise(4, 48_000)
    embedding = embedder.embed(short, 48_000)
    assert embedding.shape == (1, 512)
    expected = module.get_audio_embedding_from_data(torch.from_numpy(short)[None], use_tensor=True)
    np.testing.assert_allclose(embedding, expected.detach().numpy(), atol=1e-5)

    texts = ["A slow waltz for piano.", "Fast drums and a bass, in C minor " * 20]
    np.testing.assert_allclose(embedder.embed_texts(texts), module.get_text_embedding(texts), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embedder.embed_texts(texts), axis=1), 1, atol=1e-5)

    # The package would crop this at random.
    long = noise(15, 48_000)
    embedding = embedder.embed(long, 48_000)
    assert embedding.shape == (2, 512)
    np.testing.assert_array_equal(embedder.embed(long, 48_000), embedding)


@pytest.mark.parametrize(
    ("seconds", "starts"), [(4, [0]), (10, [0]), (10.5, [0, 0.5]), (20, [0, 10]), (25, [0, 7.5, 15])]
)
def test_clap_windows_cover_a_clip(seconds, starts):
    from libretto.audio.embeddings.clap import split_windows

    audio = np.arange(round(seconds * 100), dtype=np.float32)
    windows = split_windows(audio, 1000)
    assert windows[:, 0].tolist() == [100 * start for start in starts]
    assert set(windows.ravel()) == set(audio)
    assert windows.shape[1] == min(1000, len(audio))
