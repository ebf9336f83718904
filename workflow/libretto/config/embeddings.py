"""The embeddings of audio that FAD can be computed in, and what each needs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Embedding:
    """What an embedding needs.

    Attributes:
        models: by their names under sources.models; the first is the checkpoint.
        gpus: how many a job asks for.
    """

    models: tuple[str, ...]
    gpus: int


# By their names in metrics.fad_embedding; libretto.audio.embeddings computes them.
EMBEDDINGS = {
    "vggish": Embedding(("vggish",), gpus=1),
    "clap": Embedding(("clap", "roberta-base"), gpus=1),
    "logmel": Embedding((), gpus=0),
}
PAPER_EMBEDDING = "vggish"


def expected_sha256(config: dict, embedding: str) -> str | None:
    """What an embedding's checkpoint must hash to before it is loaded, whether downloaded or your own copy.

    Returns:
        None if the config does not say, or if the embedding has no checkpoint.
    """
    models = config["sources"]["models"]
    return next((models.get(name, {}).get("sha256") for name in EMBEDDINGS[embedding].models), None)
