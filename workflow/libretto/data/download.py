"""Downloads: resumed after an interruption, retried with back-off, verified by size and SHA-256 before use.

A partial download is kept beside the target as `<target>.part`. The target itself appears only once it is complete and
verified.
"""

import logging
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
from tqdm import tqdm

from libretto.errors import InputError
from libretto.files import file_sha256

log = logging.getLogger("libretto")

TRANSIENT_STATUS = {408, 425, 429, 500, 502, 503, 504}
# A model's folder on the hub: weights as safetensors, configuration, tokenizer; not the same weights in other formats.
MODEL_FILES = ["*.safetensors", "*.json", "*.model", "merges.txt", "vocab.txt", "LICENSE*", "USE_POLICY.md"]
NOT_MODEL_FILES = ["*/*"]  # such as Llama's `original/`, a second copy of the weights


@dataclass(frozen=True)
class RetryPolicy:
    """How patiently a download retries over a bad connection.

    Attributes:
        attempts: consecutive ones without a new byte, after which the download fails.
        wait: seconds before the second attempt; doubles with each attempt, up to a minute.
        timeout: seconds without data, after which the connection counts as dead.
    """

    attempts: int = 6
    wait: float = 2.0
    timeout: float = 60.0


class _TransientError(Exception):
    """A failure worth retrying."""


def download_file(entry: dict, target: Path, key: str, policy: RetryPolicy = RetryPolicy()) -> None:
    """Download the one file of a source.

    Args:
        entry: the source's entry in the config, with `url` and `sha256` (perhaps `bytes`), or `hub`, `revision` and
            `file` (perhaps `repo_type`, `sha256`).
        target: the file to write.
        key: the entry's config key, for messages.
        policy: when to retry and when to give up.

    Raises:
        InputError: the download failed; the message says what to do.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if "url" in entry:
        _download_url(entry["url"], target, entry["sha256"], entry.get("bytes"), key, policy)
    else:
        _download_hub_file(entry, target, key, policy)


def _download_url(url: str, target: Path, sha256: str, size: int | None, key: str, policy: RetryPolicy) -> None:
    part = target.with_name(f"{target.name}.part")
    if size is not None and _size(part) > size:
        part.unlink()
    kept = _size(part)
    if kept:
        log.info("%s: resuming after the first %s bytes", key, f"{kept:,}")
    _fetch(url, part, size, key, policy)
    found = file_sha256(part)
    if found != sha256 and kept:
        log.warning("%s: the partial download does not belong to this file, starting over", key)
        part.unlink()
        _fetch(url, part, size, key, policy)
        found = file_sha256(part)
    if found != sha256:
        part.unlink()
        raise InputError(
            f"{key}: the file from {url} has SHA-256 {found}, not {sha256}, and was removed; run again, and if it "
            f"fails too, correct sha256: or set {key}.path to a good copy"
        )
    part.replace(target)


def _fetch(url: str, part: Path, size: int | None, key: str, policy: RetryPolicy) -> None:
    """Download `part` to its full size, over as many connections as it takes."""
    with (
        httpx.Client(timeout=policy.timeout, follow_redirects=True) as client,
        tqdm(desc=part.stem, total=size, initial=_size(part), unit="B", unit_scale=True, unit_divisor=1024) as bar,
    ):

        def attempt() -> None:
            try:
                _fetch_rest(client, url, part, size, key, bar)
            except (httpx.TransportError, httpx.DecodingError) as error:
                raise _TransientError(f"{type(error).__name__}: {error}") from error
            except (httpx.InvalidURL, httpx.TooManyRedirects) as error:
                raise InputError(f"{key}: {url} cannot be downloaded ({error}); correct url:") from error

        _retry(attempt, lambda: _size(part), key, url, policy, f"What arrived is kept in {part}: run again to resume")


def _fetch_rest(client: httpx.Client, url: str, part: Path, size: int | None, key: str, bar: tqdm) -> None:
    """Open one connection and append to `part` what it still lacks, until the connection ends."""
    start = _size(part)
    if size is not None and start == size:
        return
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with client.stream("GET", url, headers=headers) as response:
        first, total = _extent(response, start, key)
        if size is not None and total not in (None, size):
            raise InputError(
                f"{key}: {url} offers {total:,} bytes, but bytes: says {size:,}; correct the entry, or set "
                f"{key}.path to a copy of your own"
            )
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            if total == start:
                return
            part.unlink()
            raise _TransientError("the partial download is longer than the file")
        total = size if total is None else total
        _check_space(part, (total or start) - start, key)
        bar.total = total
        # A server without range support sends the beginning again. It is skipped, so that another cut loses nothing.
        skip = start - first
        with part.open("ab") as file:
            for block in response.iter_raw():
                new = block[skip:]
                skip -= len(block) - len(new)
                file.write(new)
                bar.update(len(new))
                if size is not None and file.tell() > size:
                    raise InputError(f"{key}: {url} sends more than the {size:,} that bytes: says; correct the entry")
    if total is not None and _size(part) < total:
        raise _TransientError(f"the connection ended after {_size(part):,} of {total:,} bytes")


def _extent(response: httpx.Response, start: int, key: str) -> tuple[int, int | None]:
    """Where in the file the response's body begins, and the file's full size if the server gives it."""
    status, url = response.status_code, response.request.url
    if status in TRANSIENT_STATUS:
        raise _TransientError(f"the server answered {status} {response.reason_phrase}")
    if status in (httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE):
        match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", ""))
        first = int(match[1]) if match and match[1] else start
        if first > start:
            raise _TransientError(f"the server sent the bytes from {first:,} on, not from {start:,}")
        return first, int(match[2]) if match and match[2].isdigit() else None
    if status != httpx.codes.OK:
        raise InputError(
            f"{key}: {url} answered {status} {response.reason_phrase}; correct url:, or set {key}.path to a copy of "
            "your own"
        )
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _retry(attempt: Callable, progress: Callable[[], int], key: str, what: str, policy: RetryPolicy, kept: str) -> None:
    """Repeat `attempt` until it succeeds, or until `policy.attempts` in a row bring nothing new."""
    failures, most = 0, progress()
    while True:
        try:
            return attempt()
        except _TransientError as error:
            # Bytes that were discarded and downloaded again do not count as new.
            failures = 1 if progress() > most else failures + 1
            most = max(most, progress())
            if failures >= policy.attempts:
                raise InputError(
                    f"{key}: {what} failed, {failures} attempts in a row brought no new data (the last: "
                    f"{error}). {kept}; or set {key}.path to a copy of your own"
                ) from error
            pause = min(policy.wait * 2 ** (failures - 1), 60.0)
            log.warning("%s: %s; trying again in %.0f s", key, error, pause)
            time.sleep(pause)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_space(path: Path, needed: int, key: str) -> None:
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise InputError(
            f"{key}: {needed:,} more bytes are needed in {path.parent} and {free:,} are free; make room, or set "
            f"{key}.path to a copy elsewhere"
        )


def _download_hub_file(entry: dict, target: Path, key: str, policy: RetryPolicy) -> None:
    folder = target.with_name(f"{target.name}.part")
    _download_hub(entry, [entry["file"]], folder, key, policy)
    file = folder / entry["file"]
    if "sha256" in entry and (found := file_sha256(file)) != entry["sha256"]:
        shutil.rmtree(folder)
        raise InputError(
            f"{key}: {entry['file']} of {entry['hub']} at {entry['revision']} has SHA-256 {found}, not "
            f"{entry['sha256']}; correct sha256: or revision:"
        )
    file.replace(target)
    shutil.rmtree(folder)


def download_model(entry: dict, target: Path, key: str, policy: RetryPolicy = RetryPolicy()) -> None:
    """Download a model's folder from the hub: configuration, tokenizer and safetensors of one revision.

    Args:
        entry: the model's entry in the config, with `hub` and `revision`.
        target: the folder to write.
        key: the entry's config key, for messages.
        policy: when to retry and when to give up.

    Raises:
        InputError: the download failed; the message says what to do.
    """
    folder = target.with_name(f"{target.name}.part")
    _download_hub(entry, None, folder, key, policy)
    shutil.rmtree(folder / ".cache")
    if target.exists():
        shutil.rmtree(target)
    folder.replace(target)


def _download_hub(entry: dict, names: list[str] | None, folder: Path, key: str, policy: RetryPolicy) -> None:
    """Download files of a repository into `folder` and verify them by the hub's checksums.

    Args:
        entry: with `hub`, `revision` and perhaps `repo_type`.
        names: the files; None for those that a model needs.
        folder: keeps what arrived if the download is interrupted.
        key: the entry's config key, for messages.
        policy: when to retry and when to give up.
    """
    # Imported here because a script must first unset HF_HUB_OFFLINE, which the import reads.
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.hf_api import RepoFile
    from huggingface_hub.utils import filter_repo_objects

    api, where = HfApi(), f"{entry['hub']} at {entry['revision']}"
    place = {"repo_id": entry["hub"], "repo_type": entry.get("repo_type"), "revision": entry["revision"]}

    def attempt() -> None:
        try:
            files = [item.path for item in api.list_repo_tree(**place, recursive=True) if isinstance(item, RepoFile)]
            wanted = names or list(
                filter_repo_objects(files, allow_patterns=MODEL_FILES, ignore_patterns=NOT_MODEL_FILES)
            )
            if absent := set(wanted) - set(files):
                raise InputError(f"{key}: {where} has no {', '.join(sorted(absent))}; correct file: or revision:")
            if names is None and not any(name.endswith(".safetensors") for name in wanted):
                raise InputError(f"{key}: {where} has no *.safetensors; correct hub: or revision:")
            snapshot_download(**place, local_dir=folder, allow_patterns=wanted)
            verification = api.verify_repo_checksums(**place, local_dir=folder)
        except GatedRepoError as error:
            raise InputError(
                f"{key}: {entry['hub']} is gated and refuses this HF_TOKEN; accept its licence with its account "
                f"at https://huggingface.co/{entry['hub']}, or set {key}.path to a copy of your own"
            ) from error
        except RepositoryNotFoundError as error:
            raise InputError(
                f"{key}: the hub has no {entry['hub']}, or HF_TOKEN may not see it; correct hub:"
            ) from error
        except RevisionNotFoundError as error:
            raise InputError(f"{key}: {entry['hub']} has no revision {entry['revision']}; correct revision:") from error
        except (httpx.TransportError, LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            raise _TransientError(f"{type(error).__name__}: {error}") from error
        broken = {mismatch["path"] for mismatch in verification.mismatches} | (
            set(verification.missing_paths) & set(wanted)
        )
        if broken:
            for path in broken:
                (folder / path).unlink(missing_ok=True)
            raise _TransientError(f"{', '.join(sorted(broken))} arrived with wrong content and was removed")

    def progress() -> int:
        return sum(_size(path) for path in folder.rglob("*"))

    _retry(attempt, progress, key, where, policy, f"What arrived is kept in {folder}: run again to resume")
