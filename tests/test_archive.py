"""The archive: what is read, what is refused, and what is not an archive."""

import gzip
import io
import subprocess
import tarfile

import pytest

from libretto.data import archive
from libretto.data.archive import read_archive
from libretto.errors import InputError
from tests.bench import fuzz_input
from tests.bench.fuzz_input import header, pax_record, with_checksum
from tests.realmidi import FOLDER, midi_files

IDS = [f"{digit}{index:031x}" for index, digit in enumerate("0123456789abcdef")]


def entry(name, data=b"MThd", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, data


def song(index, data=None):
    return entry(f"lmd_full/{IDS[index][0]}/{IDS[index]}.mid", data or f"song {index}".encode())


def write(path, *entries, end=True):
    """A tar.gz of (TarInfo, data) pairs; without `end`, it lacks the end-of-archive mark."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
        size = tar.offset
    content = raw.getvalue()
    path.write_bytes(gzip.compress(content if end else content[:size]))
    return path


def test_songs_come_in_the_archives_order_and_folders_not_at_all(tmp_path):
    path = write(tmp_path / "lmd.tar.gz", entry("lmd_full", b"", type=tarfile.DIRTYPE), song(3), song(1))
    assert [(m.lmd_id, m.midi, m.reason) for m in read_archive(path)] == [
        (IDS[3], b"song 3", None),
        (IDS[1], b"song 1", None),
    ]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (entry(f"/lmd_full/0/{IDS[0]}.mid"), "unsafe-name"),
        (entry(f"lmd_full/../../{IDS[0]}.mid"), "unsafe-name"),
        (entry(f"lmd_full/0/{IDS[0]}.mid", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "no-file"),
        (entry(f"lmd_full/0/{IDS[0]}.mid", b"", type=tarfile.LNKTYPE, linkname="lmd_full/1"), "no-file"),
        (entry(f"lmd_full/0/{IDS[0]}.mid", b"", type=tarfile.FIFOTYPE), "no-file"),
        (entry("lmd_full/README"), "name"),
        (entry(f"lmd_full/0/{IDS[0].upper()}.MID"), "name"),
        (song(1), "duplicate"),
    ],
)
def test_a_bad_member_is_listed_and_the_rest_is_read(tmp_path, bad, reason):
    path = write(tmp_path / "lmd.tar.gz", song(1), bad, song(2))
    members = list(read_archive(path))
    assert [member.reason for member in members] == [None, reason, None]
    assert members[1].midi is None
    assert members[1].name == bad[0].name


def test_a_member_over_the_bound_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MIDI_BYTES", 100)
    path = write(tmp_path / "lmd.tar.gz", song(1, bytes(101)), song(2, bytes(100)))
    assert [member.reason for member in read_archive(path)] == ["size", None]


def test_an_id_whose_first_file_was_refused_may_come_again(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MIDI_BYTES", 100)
    path = write(tmp_path / "lmd.tar.gz", song(1, bytes(101)), song(1, b"small"))
    assert [member.reason for member in read_archive(path)] == ["size", None]


def test_a_header_of_an_attacks_size_is_refused(tmp_path):
    headers = {"comment": "x" * archive.MAX_HEADER_BYTES}
    path = write(tmp_path / "lmd.tar.gz", entry("a.mid", pax_headers=headers), song(1))
    with pytest.raises(InputError, match="header of"):
        list(read_archive(path))


def test_a_name_that_is_no_text_is_listed(tmp_path):
    path = write(tmp_path / "lmd.tar.gz", entry("caf\udce9.mid"), song(1))
    names = [member.name for member in read_archive(path)]
    assert names[0] == r"caf\udce9.mid"
    assert names[0].encode()


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"},
        {"GNU.sparse.size": "x"},
        {"GNU.sparse.map": "1,x", "GNU.sparse.size": "1"},
    ],
)
def test_a_sparse_file_with_a_map_of_any_size_is_an_input_error(tmp_path, headers):
    path = write(tmp_path / "lmd.tar.gz", entry("a.mid", b"9" * 2_000, pax_headers=headers), song(1))
    with pytest.raises(InputError, match=r"a sparse file .* pack it again"):
        list(read_archive(path))


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_thousands_of_headers_in_a_row_are_an_input_error(tmp_path, kind):
    path = write(tmp_path / "lmd.tar.gz", *[entry("a", b"6 a=b\n", type=kind)] * 3_000, song(1))
    with pytest.raises(InputError, match="get it again"):
        list(read_archive(path))


def test_an_old_sparse_map_of_any_length_is_an_input_error(tmp_path):
    path = write(tmp_path / "lmd.tar.gz", entry("a.mid", b"", type=tarfile.GNUTYPE_SPARSE), song(1))
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[482] = 1  # the map continues in the next block
    header = bytearray(content[:512])
    header[148:156] = b" " * 8
    content[148:156] = b"%06o\0 " % sum(header)
    path.write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match=r"a sparse file .* pack it again"):
        list(read_archive(path))


def damaged(content, what):
    if what == "not gzip":
        return b"<!DOCTYPE html>" + content
    if what == "empty":
        return b""
    if what == "cut off":
        return content[: len(content) // 2]
    if what == "cut off by a byte":
        return content[:-1]
    if what == "bytes flipped":
        return content[: len(content) // 2] + bytes(8) + content[len(content) // 2 + 8 :]
    return gzip.compress(b"no tar archive at all" * 1_000)


@pytest.mark.parametrize("what", ["not gzip", "empty", "cut off", "cut off by a byte", "bytes flipped", "no tar"])
def test_what_is_no_whole_archive_is_an_input_error(tmp_path, what):
    path = write(tmp_path / "lmd.tar.gz", *(song(index, gzip.compress(bytes([index])) * 500) for index in range(8)))
    path.write_bytes(damaged(path.read_bytes(), what))
    with pytest.raises(InputError, match="get it again") as error:
        list(read_archive(path))
    assert str(path) in str(error.value)


def test_a_tar_cut_off_before_it_was_compressed_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="end-of-archive"):
        list(read_archive(write(tmp_path / "lmd.tar.gz", song(1), song(2), end=False)))


def test_a_damaged_header_in_the_middle_is_an_input_error(tmp_path):
    path = write(tmp_path / "lmd.tar.gz", *(song(index) for index in range(8)))
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[4 * 1_024 : 4 * 1_024 + 100] = b"?" * 100
    path.write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match="end-of-archive"):
        list(read_archive(path))


def pax(kind, content):
    """A PAX header as it lies in the archive."""
    return with_checksum(header("pax", len(content), kind)) + content + bytes(-len(content) % 512)


def bare_song(index, size=4):
    return with_checksum(header(f"{IDS[index]}.mid", size, tarfile.REGTYPE)) + b"MThd" + bytes(508)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (pax(b"x", pax_record("size", str(1 << 62))) + bare_song(1), ["refused"]),
        (pax(b"x", pax_record("size", "-5")) + bare_song(1), ["refused"]),
        (bare_song(1, -5), ["refused"]),
        (pax(b"x", b"1" * 65_536) + bare_song(1), ["refused"]),
        (pax(b"x", b"1" * 4_096) * 200 + bare_song(1), ["refused"]),
        (pax(b"x", b"9" * 4_090 + b" path="), ["refused"]),
        (pax(b"X", b"10 path=a\n" * 2_000_000) + bare_song(1), ["refused"]),
        (pax(b"L", b"a" * 4_097) + bare_song(1), ["refused"]),
        (
            b"".join(
                pax(b"g", b"".join(pax_record(f"k{number}.{key}", "v") for key in range(250))) + bare_song(1)
                for number in range(400)
            ),
            ["song", *["duplicate"] * 399],
        ),
    ],
    ids=["2^62", "minus 5", "minus 5 itself", "64 KB", "200 of 4 KB", "no record", "20 MB", "long name", "400 global"],
)
def test_headers_of_attacks_are_refused_or_read_within_a_second(tmp_path, content, expected):
    archive = gzip.compress(content + bytes(10_240), 1)
    found, seconds = fuzz_input.outcomes(fuzz_input.read_all, tmp_path / "lmd.tar.gz", archive)
    assert found == expected
    assert seconds < fuzz_input.MAX_SECONDS


def test_fuzzed_headers_are_refused_or_read_within_a_second(tmp_path):
    kinds, _ = fuzz_input.fuzz_archives(500, 1, tmp_path)
    assert set(kinds) <= fuzz_input.FINE
    assert kinds["song"] > kinds["archives"]


@pytest.mark.parametrize(
    "options",
    [
        ["--format=gnu"],
        ["--format=gnu", f"--transform=s,^,{'long/' * 700},"],
        ["--format=ustar"],
        ["--format=v7"],
        ["--format=posix"],
        ["--format=posix", f"--transform=s,^,{'lóng/' * 600},"],
        ["--format=posix", "--pax-option=comment=hello,globexthdr.name=global"],
    ],
)
def test_archives_of_gnu_tar_are_read_whole(tmp_path, options):
    folder = tmp_path / "lmd_full"
    folder.mkdir()
    songs = {lmd_id: lmd_id.encode() * 100 * index for index, lmd_id in enumerate(IDS)}
    for lmd_id, midi in songs.items():
        (folder / f"{lmd_id}.mid").write_bytes(midi)
    path = tmp_path / "lmd.tar.gz"
    subprocess.run(["tar", "-czf", path, *options, "-C", tmp_path, "lmd_full"], check=True)
    listed = subprocess.run(
        ["tar", "-tzf", path, "--quoting-style=literal"], check=True, capture_output=True, text=True
    )
    members = list(read_archive(path))
    assert {member.lmd_id: member.midi for member in members} == songs
    assert [member.name for member in members] == [name for name in listed.stdout.split() if name.endswith(".mid")]


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--format=gnu", "--sparse"], "a sparse file"),  # its map does not fit into the header
        (["--format=posix", "--sparse", "--sparse-version=0.1"], "a sparse file"),
        (["--format=posix", "--sparse", "--sparse-version=1.0"], "a sparse file"),
        (["--format=posix", f"--pax-option=SCHILY.xattr.user.note:={'x' * 5_000}"], "a header of .* bytes"),
    ],
)
def test_an_archive_packed_with_what_is_not_read_says_how_to_pack_it(tmp_path, options, what):
    file = tmp_path / f"{IDS[1]}.mid"
    with file.open("wb") as stream:
        for index in range(20):
            stream.seek(index << 17)
            stream.write(b"MThd" * 1_024)
    path = tmp_path / "lmd.tar.gz"
    subprocess.run(["tar", "-czf", path, *options, "-C", tmp_path, file.name], check=True)
    unpacked = subprocess.run(["tar", "-xzOf", path], check=True, capture_output=True).stdout
    assert unpacked == file.read_bytes()
    with pytest.raises(InputError, match=what) as error:
        list(read_archive(path))
    assert str(error.value).endswith("pack it again without extended attributes and without --sparse")
    assert "damaged" not in str(error.value)


def test_a_map_that_fits_the_header_makes_no_song(tmp_path):
    file = tmp_path / f"{IDS[1]}.mid"
    with file.open("wb") as stream:
        stream.truncate(1 << 21)
    (tmp_path / f"{IDS[2]}.mid").write_bytes(b"MThd")
    path = tmp_path / "lmd.tar.gz"
    names = [file.name, f"{IDS[2]}.mid"]
    subprocess.run(["tar", "-czf", path, "--format=gnu", "--sparse", "-C", tmp_path, *names], check=True)
    assert [(member.name, member.reason) for member in read_archive(path)] == [(names[0], "no-file"), (names[1], None)]


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_size_in_a_pax_header_of_what_has_no_data_skips_nothing(tmp_path, kind):
    path = tmp_path / "lmd.tar.gz"
    empty = with_checksum(header("empty", 0, kind))
    size = pax(b"x", pax_record("size", "1024"))
    path.write_bytes(gzip.compress(size + empty + bare_song(1) + bare_song(2) + bytes(10_240)))
    songs = [f"{IDS[1]}.mid", f"{IDS[2]}.mid"]
    with tarfile.open(path) as tar:
        assert tar.getnames() == ["empty", *songs]
    assert [member.name for member in read_archive(path) if member.reason is None] == songs


def compressed_zeros(size):
    """This many zeros, in a gzip member for each MiB."""
    return gzip.compress(bytes(1 << 20)) * (size >> 20)


def test_zeros_without_end_after_the_archive_are_not_read(tmp_path):
    path = write(tmp_path / "lmd.tar.gz", song(1))
    whole = path.read_bytes()
    path.write_bytes(whole + gzip.compress(bytes(archive.MAX_PADDING_BYTES - 10_240)))
    assert [member.reason for member in read_archive(path)] == [None]
    found, seconds = fuzz_input.outcomes(fuzz_input.read_all, path, whole + compressed_zeros(1 << 30))
    assert found == ["song", "refused"]
    assert seconds < fuzz_input.MAX_SECONDS
    with pytest.raises(InputError, match="data after the end"):
        list(read_archive(path))


def test_a_member_without_end_is_not_unpacked(tmp_path):
    size = 8 << 30
    content = gzip.compress(bare_song(1) + with_checksum(header("large", size, tarfile.REGTYPE)))
    content += compressed_zeros(1 << 30) * (size >> 30) + gzip.compress(bare_song(2) + bytes(10_240))
    found, seconds = fuzz_input.outcomes(fuzz_input.read_all, tmp_path / "lmd.tar.gz", content)
    assert found == ["song", "refused"]
    assert seconds < fuzz_input.MAX_SECONDS


def test_large_members_are_unpacked_up_to_a_bound_together(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MIDI_BYTES", 512)
    monkeypatch.setattr(archive, "MAX_UNREAD_BYTES", 3_072)
    large = [with_checksum(header(f"{IDS[i]}.mid", 1_024, tarfile.REGTYPE)) + bytes(1_024) for i in range(4)]
    link = with_checksum(header("link", 1 << 40, tarfile.LNKTYPE))  # some give the size of the file that it names
    path = tmp_path / "lmd.tar.gz"
    path.write_bytes(gzip.compress(b"".join([*large[:3], link, bare_song(5), bytes(10_240)])))
    assert [member.reason for member in read_archive(path)] == ["size", "size", "size", "no-file", None]
    path.write_bytes(gzip.compress(b"".join([*large, bare_song(5), bytes(10_240)])))
    with pytest.raises(InputError, match="4,096 bytes in members that are too large for songs"):
        list(read_archive(path))


def test_a_size_in_a_pax_header_counts_as_for_gnu_tar(tmp_path):
    path = tmp_path / "lmd.tar.gz"
    large = b"MThd" * 250
    path.write_bytes(
        gzip.compress(
            pax(b"x", pax_record("path", f"{IDS[2]}.mid") + pax_record("size", "1000"))
            + with_checksum(header("short", 0, tarfile.REGTYPE))
            + large
            + bytes(24)
            + bare_song(1)
            + bytes(10_240)
        )
    )
    found = [(member.name, member.midi) for member in read_archive(path)]
    assert found == [(f"{IDS[2]}.mid", large), (f"{IDS[1]}.mid", b"MThd")]
    for name, midi in found:
        assert subprocess.run(["tar", "-xzOf", path, name], check=True, capture_output=True).stdout == midi


def test_real_files_are_those_that_tarfile_reads():
    assert {member.lmd_id: member.midi for member in read_archive(FOLDER / "lmd.tar.gz")} == midi_files()
