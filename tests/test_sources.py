"""Sources: where they lie, what a run refuses before it starts, and downloads over bad connections."""

import hashlib
import http.server
import json
import random
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from libretto.config.embeddings import expected_sha256
from libretto.config.sources import check_sources, download_entry, missing_paths, source_path, uses_standins
from libretto.data.download import RetryPolicy, download_file, download_model
from libretto.errors import InputError
from tests.checkout import ROOT, copy_checkout, snakemake

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HASTY = RetryPolicy(attempts=3, wait=0.01, timeout=2)  # a loaded machine answers late, too
REVISION = "0123456789abcdef0123456789abcdef01234567"
MIDICAPS_ENTRY = {"hub": "amaai-lab/MidiCaps", "repo_type": "dataset", "revision": REVISION, "file": "train.json"}
LLAMA_ENTRY = {"hub": "meta-llama/Llama-3.2-1B", "revision": REVISION}


# Where sources lie, and what is refused


@pytest.fixture
def config():
    return {
        "run": "test",
        "sources": {
            "lmd": {"url": "http://127.0.0.1/lmd.tar.gz", "sha256": SHA256},
            "midicaps": MIDICAPS_ENTRY,
            "soundfont": {"path": "nowhere/FluidR3_GM.sf2"},
            "models": {
                "llama": {**LLAMA_ENTRY, "gated": True},
                "clap": {"hub": "lukewys/laion_clap", "revision": REVISION, "file": "clap.pt"},
                "tiny": {"path": "results/standins/models/tiny"},
            },
        },
    }


def test_standins_are_noticed(config):
    assert uses_standins(config)
    del config["sources"]["models"]["tiny"]
    assert not uses_standins(config)


def test_the_checksum_of_weights_holds_for_a_copy_of_ones_own_too(config):
    clap = config["sources"]["models"]["clap"]
    assert expected_sha256(config, "clap") is None
    clap["sha256"] = SHA256
    assert expected_sha256(config, "clap") == SHA256
    clap["path"] = "my/clap.pt"
    assert expected_sha256(config, "clap") == SHA256
    assert expected_sha256(config, "logmel") is expected_sha256(config, "vggish") is None


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("lmd", "<run>/sources/lmd.tar.gz"),
        ("midicaps", "<run>/sources/midicaps.json"),
        ("soundfont", "nowhere/FluidR3_GM.sf2"),
        ("llama", "<run>/sources/models/llama"),
        ("clap", "<run>/sources/checkpoints/clap"),
        ("tiny", "results/standins/models/tiny"),
    ],
)
def test_source_path(config, name, path):
    assert source_path(config, name, "<run>/sources") == path


def test_own_path_wins(config, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    config["sources"]["lmd"]["path"] = "~/music/lmd_full.tar.gz"
    config["sources"]["models"]["llama"]["path"] = "models/llama/"
    assert source_path(config, "lmd", "<run>/sources") == "/home/ada/music/lmd_full.tar.gz"
    assert source_path(config, "llama", "<run>/sources") == "models/llama"


def test_unknown_source_is_refused(config):
    with pytest.raises(InputError, match=r"sources\.models\.llama-7b is missing in the config"):
        source_path(config, "llama-7b", "<run>/sources")


def test_download_entry_holds_only_what_decides_the_bytes(config):
    assert download_entry(config, "llama") == LLAMA_ENTRY


def test_missing_paths_leave_out_what_rules_make(config):
    assert missing_paths(config) == {"nowhere/FluidR3_GM.sf2": "soundfont"}


def test_missing_path_is_refused(config):
    with pytest.raises(
        InputError, match=r"sources\.soundfont\.path: there is no nowhere/FluidR3.*Debian: fluid-soundfont-gm"
    ):
        check_sources(config, "sources", ["nowhere/FluidR3_GM.sf2"])


def test_sources_that_no_job_needs_are_not_checked(config):
    check_sources(config, "sources", ["sources/lmd.tar.gz", "results/standins/models/tiny"])


def test_gated_model_needs_a_token(config, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    folder = tmp_path / "models" / "llama"
    with pytest.raises(InputError, match=r"llama: meta-llama/\S+ is gated; accept its licence .* set HF_TOKEN"):
        check_sources(config, str(tmp_path), [str(folder)])
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_token")
    check_sources(config, str(tmp_path), [str(folder)])
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    folder.mkdir(parents=True)
    check_sources(config, str(tmp_path), [str(folder)])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"gated": True}, r"sources\.lmd has no path:, url: or hub:"),
        ({"hub": "someone/lmd", "revision": REVISION}, r"sources\.lmd: hub: needs file:"),
        ({"path": "."}, r"sources\.lmd\.path: \. is a folder; name the file itself"),
    ],
)
def test_incomplete_entry_is_refused(config, entry, message):
    config["sources"]["lmd"] = entry
    with pytest.raises(InputError, match=message):
        check_sources(config, "sources", [source_path(config, "lmd", "sources")])


def test_a_checkpoint_is_one_file(config):
    models = config["sources"]["models"]
    models |= {"clamp2": {"path": __file__}, "vggish": {"hub": "someone/vggish", "revision": REVISION}}
    check_sources(config, "sources", [__file__])
    with pytest.raises(InputError, match=r"sources\.models\.vggish: hub: needs file: beside it"):
        check_sources(config, "sources", [source_path(config, "vggish", "sources")])
    models["clamp2"]["path"] = str(ROOT)
    with pytest.raises(InputError, match=r"models\.clamp2\.path: .* is a folder; name the checkpoint's file itself"):
        check_sources(config, "sources", [str(ROOT)])


def test_model_path_must_be_a_folder(config):
    config["sources"]["models"]["llama"] = {"path": __file__}
    with pytest.raises(InputError, match=r"there is no config\.json in .*; name the folder that holds the model's"):
        check_sources(config, "sources", [__file__])


# Downloads from a URL


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT, each request with the next of the server's faults; without any after the last one."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        fault = self.server.faults.pop(0) if self.server.faults else {}
        self.server.ranges.append(self.headers["Range"])
        if "status" in fault:
            return self.send_error(fault["status"])
        content = fault.get("content", CONTENT)
        start = 0
        if self.headers["Range"] and not fault.get("no_ranges"):
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            self.send_response(416)
            if not fault.get("no_size"):
                self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if "length" in fault:
            self.send_header("Content-Length", str(fault["length"]))
        elif not fault.get("no_length"):
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        self.wfile.write(body[: fault.get("cut", fault.get("stall", len(body)))])
        if "stall" in fault:
            self.wfile.flush()
            self.server.closing.wait(10)
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.faults, server.ranges, server.closing = [], [], threading.Event()
        server.url = f"http://127.0.0.1:{server.server_port}/lmd_full.tar.gz"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def fetch(server, tmp_path):
    """Downloads with the server's faults; returns the target, its part and the requested ranges."""
    target = tmp_path / "sources" / "lmd.tar.gz"
    part = target.with_name("lmd.tar.gz.part")

    def download(*faults, **entry):
        server.faults[:] = faults
        download_file({"url": server.url, "sha256": SHA256, **entry}, target, "sources.lmd", HASTY)

    return SimpleNamespace(download=download, target=target, part=part, ranges=server.ranges)


def test_download(fetch):
    fetch.download(bytes=len(CONTENT))
    assert fetch.target.read_bytes() == CONTENT
    assert not fetch.part.exists()
    assert fetch.ranges == [None]


def test_cut_connection_is_resumed(fetch):
    fetch.download({"cut": 100_000}, {"cut": 50_000})
    assert fetch.target.read_bytes() == CONTENT
    assert fetch.ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_stalled_connection_is_resumed(fetch, caplog):
    fetch.download({"stall": 100_000})
    assert "ReadTimeout" in caplog.text
    assert fetch.target.read_bytes() == CONTENT
    assert fetch.ranges == [None, "bytes=100000-"]


def test_busy_server_is_asked_again(fetch):
    fetch.download({"status": 503}, {"status": 429})
    assert fetch.target.read_bytes() == CONTENT


def test_server_without_ranges_loses_nothing(fetch):
    deaf = {"no_ranges": True}
    fetch.download({"cut": 100_000}, {**deaf, "cut": 50_000}, {**deaf, "cut": 200_000}, deaf)
    assert fetch.target.read_bytes() == CONTENT
    assert fetch.ranges == [None, "bytes=100000-", "bytes=100000-", "bytes=200000-"]


def test_server_without_length(fetch):
    fetch.download({"no_length": True})
    assert fetch.target.read_bytes() == CONTENT


def test_cut_connection_without_length_is_resumed_where_the_config_knows_the_size(fetch):
    fetch.download({"no_length": True, "cut": 100_000}, bytes=len(CONTENT))
    assert fetch.target.read_bytes() == CONTENT
    assert fetch.ranges == [None, "bytes=100000-"]


def test_retries_end_and_the_part_is_kept(fetch):
    message = r"sources\.lmd: .* 3 attempts in a row brought no new data .*run again to resume"
    with pytest.raises(InputError, match=message) as error:
        fetch.download({"cut": 100_000}, {"cut": 0}, {"status": 503}, {"cut": 0})
    assert str(fetch.part) in str(error.value)
    assert not fetch.target.exists()
    assert fetch.part.read_bytes() == CONTENT[:100_000]
    fetch.download()
    assert fetch.target.read_bytes() == CONTENT
    assert fetch.ranges[-1] == "bytes=100000-"


def test_nobody_listens(tmp_path):
    with pytest.raises(InputError, match=r"ConnectError.*set sources\.lmd\.path to a copy of your own"):
        download_file(
            {"url": "http://127.0.0.1:1/lmd", "sha256": SHA256},
            tmp_path / "lmd",
            "sources.lmd",
            RetryPolicy(2, 0.01, 0.5),
        )


def test_missing_page_is_not_asked_again(fetch):
    with pytest.raises(InputError, match=r"answered 404 Not Found; correct url:"):
        fetch.download({"status": 404})
    assert len(fetch.ranges) == 1


def test_length_above_the_truth(fetch):
    """The server announces more than it has: the download resumes where it ended, and finds the file complete."""
    fetch.download({"length": len(CONTENT) + 1000})
    assert fetch.target.read_bytes() == CONTENT
    assert fetch.ranges == [None, f"bytes={len(CONTENT)}-"]


def test_a_server_that_always_promises_more_than_it_has_does_not_hold_us_for_ever(fetch):
    lie = {"content": CONTENT[:1_000], "length": 1_100}
    with pytest.raises(InputError, match="3 attempts in a row brought no new data"):
        fetch.download(*[lie, {"content": CONTENT[:1_000], "no_size": True}] * 20)
    assert len(fetch.ranges) < 10


def test_length_below_the_truth(fetch):
    """The server hides the end: the checksum reveals it, and nothing unverified is left."""
    with pytest.raises(InputError, match=rf"has SHA-256 [0-9a-f]{{64}}, not {SHA256}, and was removed; run again"):
        fetch.download({"length": 1000})
    assert not fetch.target.exists()
    assert not fetch.part.exists()


def test_other_size_than_the_config_says(fetch):
    with pytest.raises(InputError, match=r"offers 300,000 bytes, but bytes: says 299,999; correct the entry"):
        fetch.download(bytes=len(CONTENT) - 1)
    assert not fetch.target.exists()


def test_more_than_the_config_says(fetch):
    with pytest.raises(InputError, match=r"sends more than the 299,999 that bytes: says"):
        fetch.download({"no_length": True}, bytes=len(CONTENT) - 1)


def test_wrong_byte_is_refused(fetch):
    wrong = CONTENT[:1000] + b"\0" + CONTENT[1001:]
    with pytest.raises(InputError, match=rf"the file from http\S+ has SHA-256 \S+, not {SHA256}, and was removed"):
        fetch.download({"content": wrong})
    assert not fetch.target.exists()
    assert not fetch.part.exists()


@pytest.mark.parametrize("kept", [b"of another file", bytes(len(CONTENT)), bytes(len(CONTENT) + 1)])
@pytest.mark.parametrize("entry", [{}, {"bytes": len(CONTENT)}])
@pytest.mark.parametrize("fault", [{}, {"no_ranges": True}])
def test_kept_part_of_another_file_is_replaced(fetch, kept, entry, fault):
    fetch.part.parent.mkdir()
    fetch.part.write_bytes(kept)
    fetch.download(fault, **entry)
    assert fetch.target.read_bytes() == CONTENT


def test_full_disk_is_told_before(fetch, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"300,000 more bytes are needed in .* and 1,000 are free; make room"):
        fetch.download()


# Downloads from the hub, served on this machine

LLAMA = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": random.Random(1).randbytes(50_000),
    "tokenizer.json": b"{}",
    "original/consolidated.00.pth": b"the same weights in another format",
    "original/params.json": b"{}",
    "pytorch_model.bin": b"the same weights as a pickle",
    ".gitattributes": b"",
}


class Hub(http.server.BaseHTTPRequestHandler):
    """The part of the hub's interface that a download needs, for one repository at one revision."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        repository, files = self.server.repository, self.server.files
        path = self.path.partition("?")[0]
        self.server.paths.append(path)
        if repository in path:
            self.server.tokens.add(self.headers["Authorization"])
        kind = "datasets" if self.server.dataset else "models"
        if self.server.refusal:
            status, code = self.server.refusal
            self.answer(b"{}", status, {"X-Error-Code": code, "X-Error-Message": "no"})
        elif path == f"/api/{kind}/{repository}/tree/{REVISION}":
            self.answer(json.dumps([self.describe(name, content) for name, content in files.items()]).encode())
        elif path == f"/api/{kind}/{repository}/revision/{REVISION}":
            siblings = [{"rfilename": name} for name in files]
            self.answer(json.dumps({"id": repository, "sha": REVISION, "siblings": siblings}).encode())
        elif (name := path.partition(f"{repository}/resolve/{REVISION}/")[2]) in files:
            content, cut = files[name], None
            if self.command == "GET":
                content, cut = self.server.sent.pop(name, content), self.server.cuts.pop(name, None)
            headers = {"ETag": f'"{hashlib.sha256(files[name]).hexdigest()}"', "X-Repo-Commit": REVISION}
            if self.headers["Range"]:
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                self.server.ranges.append((name, start))
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                self.answer(content[start:], 206, headers)
            else:
                self.answer(content, 200, headers, cut)
        else:
            self.answer(b"{}", 404, {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET

    def answer(self, content, status=200, headers=(), cut=None):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[:cut])
            self.close_connection = cut is not None

    @staticmethod
    def describe(name, content):
        git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        entry = {"type": "file", "path": name, "size": len(content), "oid": git}
        if name.endswith((".safetensors", ".pt")):
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 100}
        return entry

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(monkeypatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.repository, server.files, server.dataset, server.refusal = "meta-llama/Llama-3.2-1B", LLAMA, False, None
        server.sent, server.cuts, server.ranges, server.paths, server.tokens = {}, {}, [], [], set()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_port}"
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HF_TOKEN", "hf_ada")
        yield server
        server.shutdown()
        thread.join()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_model_from_the_hub(hub, tmp_path):
    download_model(LLAMA_ENTRY, tmp_path / "models" / "llama-1b", "sources.models.llama-1b", HASTY)
    wanted = ("config.json", "model.safetensors", "tokenizer.json")
    assert contents(tmp_path) == {f"models/llama-1b/{name}": LLAMA[name] for name in wanted}
    assert hub.tokens == {"Bearer hf_ada"}


@pytest.mark.slow
def test_the_download_rule_is_online_where_all_else_is_offline(hub, tmp_path):
    checkout = copy_checkout(tmp_path)
    (tmp_path / "hub.yaml").write_text(json.dumps({"run": "hub", "sources": {"models": {"llama-1b": LLAMA_ENTRY}}}))
    target = "results/hub/sources/models/llama-1b"
    run = snakemake(
        checkout, "--cores", "1", target, "--configfile", "hub.yaml", HF_ENDPOINT=hub.url, HF_TOKEN="hf_ada"
    )
    assert run.returncode == 0, run.stdout[-3000:]
    assert (checkout / target / "model.safetensors").read_bytes() == LLAMA["model.safetensors"]
    assert hub.tokens == {"Bearer hf_ada"}


def test_wrong_byte_from_the_hub_is_fetched_again(hub, tmp_path):
    hub.sent["model.safetensors"] = bytes(50_000)
    download_model(LLAMA_ENTRY, tmp_path / "llama", "sources.models.llama-1b", HASTY)
    assert (tmp_path / "llama" / "model.safetensors").read_bytes() == LLAMA["model.safetensors"]


def test_cut_connection_to_the_hub_is_resumed(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10_000)
    hub.cuts["model.safetensors"] = 20_000
    download_model(LLAMA_ENTRY, tmp_path / "llama", "sources.models.llama-1b", HASTY)
    assert (tmp_path / "llama" / "model.safetensors").read_bytes() == LLAMA["model.safetensors"]
    assert hub.ranges == [("model.safetensors", 20_000)]


def test_only_what_is_missing_is_fetched_again(hub, tmp_path):
    hub.sent["tokenizer.json"] = b"[]"
    with pytest.raises(InputError, match=r"tokenizer\.json arrived with wrong content .* removed.*run again to resume"):
        download_model(LLAMA_ENTRY, tmp_path / "llama", "sources.models.llama-1b", RetryPolicy(1, 0.01, 0.5))
    assert not (tmp_path / "llama").exists()
    hub.paths.clear()
    download_model(LLAMA_ENTRY, tmp_path / "llama", "sources.models.llama-1b", HASTY)
    assert {path.rpartition("/")[2] for path in hub.paths if "/resolve/" in path} == {"tokenizer.json"}


def test_file_from_the_hub(hub, tmp_path):
    hub.repository, hub.files, hub.dataset = "amaai-lab/MidiCaps", {"train.json": b"{}\n", "README.md": b""}, True
    download_file(MIDICAPS_ENTRY, tmp_path / "midicaps.json", "sources.midicaps", HASTY)
    assert contents(tmp_path) == {"midicaps.json": b"{}\n"}


def test_file_from_the_hub_with_another_checksum(hub, tmp_path):
    entry = {**LLAMA_ENTRY, "file": "model.safetensors", "sha256": SHA256}
    with pytest.raises(InputError, match=rf"model\.safetensors of meta-llama/\S+ at \S+ has SHA-256 \S+, not {SHA256}"):
        download_file(entry, tmp_path / "clap", "sources.models.clap", HASTY)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("refusal", "message"),
    [
        ((403, "GatedRepo"), r"is gated and refuses this HF_TOKEN; accept its licence"),
        ((401, "RepoNotFound"), r"the hub has no meta-llama/Llama-3\.2-1B, or HF_TOKEN may not see it"),
        ((404, "RevisionNotFound"), rf"meta-llama/Llama-3\.2-1B has no revision {REVISION}; correct revision:"),
    ],
)
def test_hub_refuses(hub, tmp_path, refusal, message):
    hub.refusal = refusal
    with pytest.raises(InputError, match=message):
        download_model(LLAMA_ENTRY, tmp_path / "llama", "sources.models.llama-1b", HASTY)
    assert not (tmp_path / "llama").exists()


def test_hub_without_the_file(hub, tmp_path):
    with pytest.raises(InputError, match=r"has no clap\.pt; correct file: or revision:"):
        download_file({**LLAMA_ENTRY, "file": "clap.pt"}, tmp_path / "clap", "sources.models.clap", HASTY)


def test_hub_without_a_model(hub, tmp_path):
    hub.files = {"README.md": b"nothing here", "pytorch_model.bin": b""}
    with pytest.raises(InputError, match=r"has no \*\.safetensors; correct hub: or revision:"):
        download_model(LLAMA_ENTRY, tmp_path / "llama", "sources.models.llama-1b", HASTY)


def test_hub_cannot_be_reached(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(InputError, match=r"2 attempts in a row brought no new data .*ConnectError"):
        download_model(LLAMA_ENTRY, tmp_path / "llama", "sources.models.llama-1b", RetryPolicy(2, 0.01, 0.5))
    assert not (tmp_path / "llama").exists()
