"""The embeddings that scores are computed in, and what each needs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Embedding:
    """What an embedding needs.

    Attributes:
        models: by their names under sources.models; the first is the checkpoint.
        gpus: how many a job asks for.
        of_audio: whether it hears clips, so that FAD can be computed in it; or else it reads MIDI files.
    """

    models: tuple[str, ...]
    gpus: int
    of_audio: bool = True


# Those of audio by their names in metrics.fad_embedding; libretto.audio.embeddings computes all.
EMBEDDINGS = {
    "vggish": Embedding(("vggish",), gpus=1),
    "clap": Embedding(("clap", "roberta-base"), gpus=1),
    "logmel": Embedding((), gpus=0),
    "clamp2": Embedding(("clamp2",), gpus=1, of_audio=False),
}
PAPER_EMBEDDING = "vggish"
# The models that are one file each; the others are folders.
CHECKPOINTS = {embedding.models[0] for embedding in EMBEDDINGS.values() if embedding.models}


def measured_embeddings(config: dict) -> dict[str, str]:
    """The embeddings that the config's scores need, by the names of their files in embeddings/{system}/."""
    metrics = config["metrics"]
    measured = {"fad": metrics["fad_embedding"]}
    if metrics["clap"]:
        measured["clap"] = "clap"
    if metrics["fmd"]:
        measured["clamp2"] = "clamp2"
    return measured


def expected_sha256(config: dict, embedding: str) -> str | None:
    """What an embedding's checkpoint must hash to before it is loaded, whether downloaded or your own copy.

    Returns:
        None if the config does not say, or if the embedding has no checkpoint.
    """
    models = config["sources"]["models"]
    return next((models.get(name, {}).get("sha256") for name in EMBEDDINGS[embedding].models), None)
