"""The sources of an experiment: where each one's file or folder lies, and checks before the first job."""

import os
from collections.abc import Iterable
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from libretto.config.embeddings import CHECKPOINTS
from libretto.errors import InputError

NETWORK_TIMEOUT = 5  # seconds
FILE_NAMES = {
    "lmd": "lmd.tar.gz",
    "midicaps": "midicaps.json",
    "soundfont": "soundfont.sf2",
    "test_prompts": "test_prompts.csv",  # which a config may leave out
}
TABLES = (".csv", ".parquet")  # descriptions of the user's own, which rule pack_corpus reads
PACKED = {"lmd": "corpus.tar.gz", "midicaps": "corpus.json"}
STANDINS = "results/standins/"  # what lies here is made by rules
ADVICE = {
    "lmd": "correct the path, or remove it to have LMD-full downloaded from url:",
    "midicaps": "correct the path, or remove it to have MidiCaps downloaded from hub:",
    "soundfont": "correct the path, or install it (Debian: fluid-soundfont-gm; for the demo, timgm6mb-soundfont)",
    "test_prompts": "correct the path, or remove sources.test_prompts to use the test set's own descriptions",
}


def source_names(config: dict) -> list[str]:
    """`lmd`, `midicaps`, `soundfont`, `test_prompts` where there are any, and the names of the models."""
    return [*file_sources(config), *config["sources"]["models"]]


def file_sources(config: dict) -> list[str]:
    """The names of the sources that are no models."""
    return [name for name in FILE_NAMES if name in config["sources"]]


def source_entry(config: dict, name: str) -> dict:
    """The config's entry of a source.

    Raises:
        InputError: the config has no such source.
    """
    sources = config["sources"]
    entries = sources if name in FILE_NAMES else sources["models"]
    if name not in entries:
        raise InputError(f"{config_key(name)} is missing in the config: add it, or name another model where it is used")
    return entries[name]


def source_path(config: dict, name: str, folder: str) -> str:
    """The file or folder of a source.

    Args:
        config: the experiment.
        name: of `source_names`.
        folder: where the download rules write.

    Returns:
        The entry's own `path:` where it has one, or else what a download rule writes: one file for `lmd`, `midicaps`,
        `soundfont`, `test_prompts` and the models whose entry has `file:` or `url:`, a folder for the other models.
    """
    entry = source_entry(config, name)
    if "path" in entry:
        return os.path.normpath(os.path.expanduser(entry["path"]))
    if name in FILE_NAMES:
        return f"{folder}/{FILE_NAMES[name]}"
    kind = "checkpoints" if "file" in entry or "url" in entry else "models"
    return f"{folder}/{kind}/{name}"


def is_own_corpus(config: dict) -> bool:
    """Whether the descriptions are a table of the user's own, whose `file` names the songs."""
    return source_path(config, "midicaps", "").endswith(TABLES)


def read_path(config: dict, name: str, folder: str) -> str:
    """The file or folder that the rules read for a source: `source_path`, or what a corpus of one's own is packed as.

    Args:
        config: the experiment.
        name: of `source_names`.
        folder: where the download rules and rule pack_corpus write.
    """
    if name in PACKED and is_own_corpus(config):
        return f"{folder}/{PACKED[name]}"
    return source_path(config, name, folder)


def download_entry(config: dict, name: str) -> dict:
    """What decides which bytes a download brings, out of a source's entry: a download is repeated when this changes."""
    keys = ("url", "sha256", "bytes", "hub", "repo_type", "revision", "file")
    entry = source_entry(config, name)
    return {key: entry[key] for key in keys if key in entry}


def config_key(name: str) -> str:
    """The config key of a source, as a user would write it: `sources.lmd`, `sources.models.llama-1b`."""
    return f"sources.{name}" if name in FILE_NAMES else f"sources.models.{name}"


def uses_standins(config: dict) -> bool:
    """Whether any source of the config is one that the project made itself."""
    return any(source_path(config, name, "").startswith(STANDINS) for name in source_names(config))


def own_paths(config: dict) -> set[str]:
    """The files and folders of the user's own that the config names."""
    paths = {source_path(config, name, "") for name in source_names(config) if "path" in source_entry(config, name)}
    return {path for path in paths if not path.startswith(STANDINS)}


def missing_paths(config: dict) -> dict[str, str]:
    """Each `path:` of the config that does not exist and that no rule makes, with the name of its first source."""
    missing: dict[str, str] = {}
    for name in source_names(config):
        if "path" in source_entry(config, name):
            path = source_path(config, name, "")
            if not path.startswith(STANDINS) and not os.path.exists(path):
                missing.setdefault(path, name)
    return missing


def missing_path_message(name: str, path: str) -> str:
    """What is missing and what to do, in one line."""
    advice = ADVICE.get(name, "correct the path, or give hub: and revision: instead to have it downloaded")
    return f"{config_key(name)}.path: there is no {path}; {advice}"


def check_sources(config: dict, folder: str, files: Iterable[str]) -> None:
    """Stop a run whose sources are not available, before its first job.

    Args:
        config: the experiment.
        folder: where the download rules write.
        files: what the run's jobs read and write; a source that is not among them is not needed.

    Raises:
        InputError: says which source, and what to do.
    """
    files = set(files)
    for name in source_names(config):
        path = source_path(config, name, folder)
        if path in files:
            _check_source(config, name, path)


def download_urls(config: dict, names: Iterable[str], folder: str) -> list[str]:
    """Where the sources `names` that are not there yet come from.

    Args:
        config: the experiment.
        names: of the sources.
        folder: where the download rules write.
    """
    entries = {name: source_entry(config, name) for name in names}
    missing = (
        entry.get("url", f"https://huggingface.co/{entry.get('hub', '')}")
        for name, entry in entries.items()
        if "path" not in entry and not os.path.exists(source_path(config, name, folder))
    )
    return list(dict.fromkeys(missing))


def unreachable_hosts(urls: Iterable[str]) -> list[str]:
    """The hosts that do not answer; proxies are those of the environment, as for downloads."""
    first = {urlsplit(url).netloc: url for url in urls}
    return [host for host, url in first.items() if not _answers(url)]


def _answers(url: str) -> bool:
    try:
        urlopen(Request(url, method="HEAD"), timeout=NETWORK_TIMEOUT).close()
    except HTTPError:
        return True  # the host is there, whatever it thinks of the question
    except OSError:
        return False
    return True


def source_problems(config: dict, names: Iterable[str], folder: str) -> list[str]:
    """What is wrong with sources, as `check_sources` would say it, but all of it.

    Args:
        config: the experiment.
        names: of the sources.
        folder: where the download rules write.
    """
    problems = []
    for name in names:
        try:
            _check_source(config, name, source_path(config, name, folder))
        except InputError as error:
            problems.append(str(error))
    return problems


def _check_source(config: dict, name: str, path: str) -> None:
    entry, key = source_entry(config, name), config_key(name)
    if "path" in entry:
        if path.startswith(STANDINS):
            return
        if not os.path.exists(path):
            raise InputError(missing_path_message(name, path))
        if name == "lmd" and os.path.isdir(path) and is_own_corpus(config):
            return
        if name in FILE_NAMES and not os.path.isfile(path):
            more = "; a folder of MIDI files needs sources.midicaps.path: <a .csv or .parquet table>"
            raise InputError(f"{key}.path: {path} is a folder; name the file itself{more if name == 'lmd' else ''}")
        if name in CHECKPOINTS and not os.path.isfile(path):
            raise InputError(f"{key}.path: {path} is a folder; name the checkpoint's file itself")
        is_file = name in {*FILE_NAMES, *CHECKPOINTS} or {"file", "url"} & entry.keys()
        if not is_file and not os.path.isfile(f"{path}/config.json"):
            raise InputError(f"{key}.path: there is no config.json in {path}; name the folder that holds the model's")
    elif "url" not in entry and "hub" not in entry:
        raise InputError(f"{key} has no path:, url: or hub:; give one of them")
    elif "url" not in entry:
        if name in {*FILE_NAMES, *CHECKPOINTS} and "file" not in entry:
            raise InputError(f"{key}: hub: needs file: beside it, the file's path in the repository")
        if entry.get("gated") and not os.path.exists(path) and not _has_token():
            raise InputError(
                f"{key}: {entry['hub']} is gated; accept its licence at https://huggingface.co/{entry['hub']} and set "
                f"HF_TOKEN, or set {key}.path to a copy of your own"
            )


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None
