"""CLaMP 2 (Wu et al., 2024): a MIDI file as one vector, in whose space FMD is computed. It hears no audio.

A file's messages are lines of text in the order of time ("MIDI text format"), without what titles, lyrics and other
texts say. Lines of one kind share a patch of 64 characters while they fit. M3, a BERT, reads 512 patches at once; its
mean over the patches is projected to 768 dimensions. All of this is as in frechet-music-distance, the package of FMD's
authors. That builds the whole of CLaMP 2 from the hub, with a text encoder that FMD never calls; here only the half
that reads music is made, from one declared file.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import mido
import numpy as np
import torch
from tqdm import tqdm
from transformers import BertConfig, BertModel

from libretto.audio.embeddings.weights import check_weights, untrusted_weights
from libretto.models.device import select_device

PATCH = 64  # characters
CHARACTERS = 128  # ASCII, of which the first three are:
PAD, BEGIN, END = range(3)
SEGMENT = 512  # patches that are read at once
WIDTH, LAYERS = 768, 12
SEGMENTS_AT_ONCE = 32

# Messages that are left out: what they say is not music.
TEXTS = {"text", "copyright", "track_name", "instrument_name", "lyrics", "marker", "cue_marker", "device_name"}
LEFT_OUT = TEXTS | {"sequencer_specific", "sysex"}


class Clamp2:
    """The half of CLaMP 2 that reads music."""

    def __init__(self, weights: str | Path, sha256: str | None):
        """Load a checkpoint.

        Args:
            weights: as CLaMP 2's authors save theirs.
            sha256: what it must hash to; None if that is not known.

        Raises:
            InputError: it has another hash, or is no such checkpoint.
        """
        check_weights(weights, sha256)
        self._device = select_device()
        self._model = _MusicEncoder()
        with untrusted_weights(weights, "CLaMP 2"):
            # The file also holds the text encoder and the optimizer: mapped, they are not read.
            state = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)["model"]
            music = {name: tensor for name, tensor in state.items() if name.startswith("music_")}
            self._model.load_state_dict(music)
        self._model.to(self._device).eval()

    def embed(self, files: Mapping[int, Path]) -> dict[int, np.ndarray]:
        """Embed MIDI files: float32 [1, 768] of each, by its index.

        A file of more than 512 patches is read in segments; their vectors are weighted by the patches that each adds.

        Raises:
            RuntimeError: an embedding is not finite.
        """
        if not files:
            return {}
        paths = tqdm(files.values(), "MIDI files", unit="file", mininterval=1)
        parts = [split_segments(to_patches(read_mtf(path))) for path in paths]
        starts = np.cumsum([0, *map(len, parts[:-1])])
        segments, sizes = zip(*chain(*parts), strict=True)
        batches = tqdm(range(0, len(segments), SEGMENTS_AT_ONCE), "CLaMP 2", unit="batch", mininterval=1)
        vectors = np.concatenate([self._encode(segments[i : i + SEGMENTS_AT_ONCE]) for i in batches])
        sums = np.add.reduceat(vectors * np.array(sizes)[:, None], starts)
        means = (sums / np.add.reduceat(sizes, starts)[:, None]).astype(np.float32)
        for path, mean in zip(files.values(), means, strict=True):
            if not np.isfinite(mean).all():
                raise RuntimeError(f"{path}: CLaMP 2 gave an embedding that is not finite")
        return dict(zip(files, means[:, None], strict=True))

    @torch.inference_mode()
    def _encode(self, segments: Sequence[np.ndarray]) -> np.ndarray:
        """The vectors, float64 [n, 768], of n segments [·, PATCH]."""
        batch = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(rows) for rows in segments], batch_first=True)
        return self._model(batch.to(self._device, torch.long)).cpu().double().numpy()


class _MusicEncoder(torch.nn.Module):
    """M3's encoder of patches and the projection; its parts have their names in the checkpoint."""

    def __init__(self):
        super().__init__()
        config = BertConfig(
            vocab_size=1,
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=WIDTH // 64,
            intermediate_size=4 * WIDTH,
            max_position_embeddings=SEGMENT,
        )
        patch_embedding = torch.nn.Linear(PATCH * CHARACTERS, WIDTH)
        self.music_model = torch.nn.ModuleDict({"patch_embedding": patch_embedding, "base": BertModel(config)})
        self.music_proj = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """The vectors [n, WIDTH] of segments, int64 [n, patches, PATCH], padded with rows of PAD."""
        linear = self.music_model["patch_embedding"]
        # The linear map of one-hot characters, which would be 128 times as large as the characters.
        rows = (patches + CHARACTERS * torch.arange(PATCH, device=patches.device)).flatten(0, 1)
        embedded = torch.nn.functional.embedding_bag(rows, linear.weight.T.contiguous(), mode="sum") + linear.bias
        mask = (patches[..., 0] != PAD).long()
        states = self.music_model["base"](inputs_embeds=embedded.unflatten(0, mask.shape), attention_mask=mask)
        mean = (states.last_hidden_state * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.music_proj(mean)


def read_mtf(path: str | Path) -> list[str]:
    """A MIDI file in MIDI text format: a line of ASCII for its resolution, then one per message of all tracks."""
    midi = mido.MidiFile(path)
    lines = [f"ticks_per_beat {midi.ticks_per_beat}"]
    for message in midi.merged_track:
        if message.type not in LEFT_OUT:
            text = " ".join(map(str, message.dict().values())).strip()
            lines.append(text.encode("unicode_escape").decode("ascii"))
    return lines


def to_patches(lines: Iterable[str]) -> np.ndarray:
    """Lines of MIDI text format as patches, uint8 [patches, PATCH]: the first only begins, the last only ends."""
    texts = [""]
    for line in "\n".join(lines).splitlines(keepends=True):
        kind, _, values = line.partition(" ")
        if texts[-1].startswith(kind) and len(texts[-1]) + len(values) <= PATCH - 2:
            texts[-1] = f"{texts[-1][:-1]}\t{values}"
        else:
            texts.append(line)
    texts[0] = chr(BEGIN) * PATCH
    texts.append(chr(END) * PATCH)
    patches = np.full((len(texts), PATCH), PAD, np.uint8)
    for row, text in zip(patches, texts, strict=True):
        characters = [BEGIN, *text.encode("ascii"), END][:PATCH]
        row[: len(characters)] = characters
    return patches


def split_segments(patches: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """The segments of at most SEGMENT patches, and how many patches each adds to those before it.

    The last one is as long as the others, where there are others: it begins within the one before it.
    """
    starts = range(0, len(patches), SEGMENT)
    segments = [(patches[start : start + SEGMENT], min(SEGMENT, len(patches) - start)) for start in starts]
    segments[-1] = patches[-SEGMENT:], segments[-1][1]
    return segments
