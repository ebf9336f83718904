"""What rule score writes, from files made here: equal to direct computation."""

import json
import runpy
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import linalg
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel
from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params, Wildcards

from libretto.audio.embeddings.base import write_embeddings
from libretto.audio.manifest import Rendering, write_renderings
from libretto.report.table import METRICS
from libretto.tables import CLAP_EMBEDDINGS
from tests.checkout import ROOT
from tests.test_music_scores import beats

N = 6
NAMES = [f"song{i}" for i in range(N)]
TEMPOS = [100, 150, 100, 150, 100, 150]


def write_clap(path, indices, draws, shift=0.0):
    """Windows and descriptions of clips, which are returned too: float [·, 8]."""
    windows = [draws.normal(shift, 1, size=(2 + i % 3, 8)).astype(np.float32) for i in indices]
    texts = draws.normal(size=(len(windows), 8)).astype(np.float32)
    columns = {"index": indices, "audio": [list(rows) for rows in windows], "text": list(texts)}
    pq.write_table(pa.table(columns, CLAP_EMBEDDINGS), path)
    return np.concatenate(windows).astype(float), texts


@pytest.fixture
def score(tmp_path, monkeypatch):
    """A function that runs score.py as its rule does, with further inputs by name, and returns what it wrote."""
    monkeypatch.setattr("libretto.job.start_job", lambda job: None)
    monkeypatch.setattr("libretto.scores.inference.RESAMPLES", 200)
    monkeypatch.setattr("libretto.scores.mean.RESAMPLES", 200)
    samples = [
        {"index": i, "prompt_lmd_id": name, "tokens": beats(TEMPOS[i]), "n_events": 64, "n_invalid": 0}
        for i, name in enumerate(NAMES)
    ]
    pq.write_table(pa.Table.from_pylist(samples), tmp_path / "tokens.parquet")
    tempos = [100, 150, 100, 100, 100, None]
    pairs = [
        {"lmd_id": name, "split": "train", "instrument_summary": ["Drums"], "key": "C major", "tempo": tempo}
        for name, tempo in zip(NAMES, tempos, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(pairs), tmp_path / "pairs.parquet")
    write_renderings([Rendering(i, 1.0, 0.0, 1.0, 0) for i in range(N)], tmp_path / "audio.csv")
    (tmp_path / "copied.json").write_text(json.dumps({str(i): 0.0 for i in range(N)}))

    def run(**files):
        inputs = {"tokens": "tokens.parquet", "ground_truth": "tokens.parquet", "list": "audio.csv"}
        inputs |= {"copied": "copied.json", **files}
        paths = {name: str(tmp_path / path) for name, path in inputs.items()}
        job = SimpleNamespace(
            input=InputFiles(fromdict=paths | {"pairs": [str(tmp_path / "pairs.parquet")]}),
            output=OutputFiles(fromdict={name: str(tmp_path / name) for name in ("scores", "samples")}),
            params=Params(fromdict={"fad_embedding": "vggish", "fad_sub": {"draws": 2, "size": 3}, "seed": 0}),
            wildcards=Wildcards(fromdict={"system": "amt-t1.0"}),
            log=Log(toclone=["score.log"]),
        )
        runpy.run_path(str(ROOT / "workflow/scripts/score.py"), {"snakemake": job})
        return json.loads((tmp_path / "scores").read_text()), pq.read_table(tmp_path / "samples").to_pandas()

    return run


def frechet(ours, theirs):
    """The distance of two sets of rows, by SciPy's square root of a matrix."""
    sigma, sigma_reference = np.cov(ours, rowvar=False), np.cov(theirs, rowvar=False)
    root = linalg.sqrtm(sigma @ sigma_reference).real
    return ((ours.mean(0) - theirs.mean(0)) ** 2).sum() + np.trace(sigma + sigma_reference - 2 * root)


def test_fad_is_that_of_all_embeddings(score, tmp_path):
    draws = np.random.default_rng(0)
    ours = {i: draws.normal(0.4, 1, size=(5 + i % 3, 4)) for i in reversed(range(N))}
    theirs = {i: draws.normal(size=(6, 4)) for i in range(9)}
    write_embeddings(ours, tmp_path / "fad.parquet")
    write_embeddings(theirs, tmp_path / "reference.parquet")
    files = {"fad": "fad.parquet", "fad_reference": "reference.parquet"}
    found, samples = score(**files)
    reference = np.concatenate([*theirs.values()])
    assert found["fad"] == pytest.approx(frechet(np.concatenate([*ours.values()]), reference), rel=1e-5)
    assert found["details"]["n_background"] == 9
    assert len(found["details"]["fad_sub"]) == 2
    assert found["fad_sub_mean"] == pytest.approx(np.mean(found["details"]["fad_sub"]))
    without = [frechet(np.concatenate([ours[i] for i in ours if i != left]), reference) for left in ours]
    assert found["fad_without_one"] == pytest.approx(min(without), rel=1e-5)
    for name in ("fad_infinity", "kad", "fad_floor", "fad_sub_sem"):
        assert found[name] is not None
    by_sample = samples[samples["score"] == "fad_per_sample"].set_index("index")["value"]
    assert sorted(by_sample.index) == [*range(N)]

    write_embeddings(ours | {N: ours[0]}, tmp_path / "fad.parquet")
    with pytest.raises(RuntimeError, match=r"fad\.parquet holds 7 clips that do not match the 6 audible ones"):
        score(**files)


def test_distances_in_claps_space_are_those_of_all_windows(score, tmp_path):
    draws = np.random.default_rng(0)
    ours, texts = write_clap(tmp_path / "clap.parquet", [*range(N)][::-1], draws, 0.4)
    theirs, _ = write_clap(tmp_path / "reference.parquet", [*range(9)], draws)
    found, samples = score(clap="clap.parquet", clap_reference="reference.parquet")

    assert found["fad_clap"] == pytest.approx(frechet(ours, theirs), rel=1e-6)

    m, n = len(theirs), len(ours)
    gamma = 1 / (2 * np.median(euclidean_distances(theirs)[np.triu_indices(m, 1)]) ** 2)
    k_xx, k_yy, k_xy = (rbf_kernel(a, b, gamma) for a, b in ((theirs, theirs), (ours, ours), (theirs, ours)))
    mmd = (k_xx.sum() - m) / (m * (m - 1)) + (k_yy.sum() - n) / (n * (n - 1)) - 2 * k_xy.mean()
    assert found["kad_clap"] == pytest.approx(100 * mmd, rel=1e-6)

    last = ours[: 2 + (N - 1) % 3] @ texts[0]  # the file begins with the last clip
    assert samples.query("score == 'clap' and index == 5")["value"].item() == pytest.approx(last.mean(), rel=1e-5)
    assert found["fad"] is None  # without its files


def test_fmd_is_the_distance_of_all_midi_files(score, tmp_path):
    draws = np.random.default_rng(0)
    ours, theirs = draws.normal(0.4, 1, size=(N + 1, 4)), draws.normal(size=(2 * N + 4, 4))  # one makes no sound
    for name, rows in {"ours": ours, "theirs": theirs}.items():
        write_embeddings(dict(enumerate(rows[:, None])), tmp_path / f"{name}.parquet")
    found, _ = score(fmd="ours.parquet", fmd_reference="theirs.parquet")

    assert (found["details"]["n_midi"], found["details"]["n_midi_reference"]) == (N + 1, 2 * N + 4)
    assert found["fmd"] == pytest.approx(frechet(ours, theirs), rel=1e-5)
    halves = [frechet(theirs[order[: N + 1]], theirs[order[N + 1 :]]) for order in map(draws.permutation, [16] * 200)]
    assert min(halves) < found["fmd_floor"] < max(halves)
    assert found["fad"] is None


def test_without_clap_and_validation_their_scores_are_null(score):
    found, samples = score()
    assert not [name for name in found if "fmd" in name]  # which is off by default
    names = ("fad_clap", "kad_clap", "clap_mean", "clap_own_minus_others", "val_loss_music_own_minus_others")
    assert [found[name] for name in names] == [None] * len(names)
    assert "clap" not in set(samples["score"])
    assert found.keys() >= set(METRICS)


def test_tempo_and_losses(score, tmp_path):
    songs = {"a": [1.0, 1.5], "b": [2.0, 2.0], "c": [3.0, 3.25]}
    losses = {"val_loss": 2.0, "val_loss_music": 2.0, "val_loss_music_random_text": 2.25}
    (tmp_path / "validation.json").write_text(json.dumps({"step": 9, **losses, "songs": songs}))
    found, samples = score(validation="validation.json")
    assert found["val_loss_music_own_minus_others"] == -0.25
    assert found["val_loss_music_own_minus_others_p"] == 1 / 4  # 8 ways; the song without a difference counts twice
    assert "songs" not in found["details"]["validation"]
    tempo = samples[samples["score"] == "tempo_match"].set_index("index")["value"]
    assert tempo.to_dict() == {0: 1, 1: 1, 2: 1, 3: 0, 4: 1}  # the last description has none
    # Of the others' 20: each of the three at 100 fits three, the two at 150 none and one.
    assert found["tempo_match_own_minus_others"] == pytest.approx(4 / 5 - (3 * 3 + 0 + 1) / 20)
