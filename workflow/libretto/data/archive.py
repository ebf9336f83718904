"""The Lakh MIDI Dataset's tar.gz, read in one pass with bounded memory; its members are treated as untrusted."""

import gzip
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from libretto.errors import InputError

MAX_MIDI_BYTES = 16 << 20  # no song is that large; larger members are not read
MAX_UNREAD_BYTES = 1 << 30  # total of such members: they must be decompressed too
MAX_PADDING_BYTES = 1 << 20  # zeros allowed after the archive's end; GNU tar writes up to 10 KiB by default
MAX_HEADER_BYTES = 4096  # of a member's extended header: the longest path that Linux allows
TAR_BLOCK = 512
READ_BYTES = 20 * TAR_BLOCK  # what tarfile asks for at a time
MIDI_NAME = re.compile(r"([0-9a-f]{32})\.mid")
PAX_TYPES = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
EXTENDED_TYPES = (*PAX_TYPES, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
PAX_RECORD = re.compile(rb"(\d+) ([^=]+)=")  # the length of the whole record, and its key; the value follows


@dataclass(frozen=True)
class Member:
    """One member of the archive that is not a folder.

    Attributes:
        name: as in the archive.
        lmd_id: 32 hex digits; None if the name has none.
        midi: the file's content; None for a member that is dropped.
        reason: why it is dropped; None for a song. `no-file` (a link or a device), `unsafe-name` (absolute, or with
            `..`), `name` (not <32 hex digits>.mid), `size` (over 16 MiB), `duplicate` (the id occurred before).
    """

    name: str
    lmd_id: str | None
    midi: bytes | None = None
    reason: str | None = None


def read_archive(path: str | Path) -> Iterator[Member]:
    """Every member of a tar.gz in the archive's order. Nothing is written and no link is followed.

    Raises:
        InputError: not a gzip file, not a tar archive inside, damaged, cut off, or with unsupported headers.
    """
    seen: set[str] = set()
    members = 0
    unread = 0
    try:
        with gzip.open(path) as unzipped:
            stream = _Tail(unzipped)
            file = cast(IO[bytes], stream)  # tarfile calls nothing but its `read`
            with tarfile.open(fileobj=file, mode="r|", bufsize=READ_BYTES, tarinfo=_BoundedTarInfo) as tar:
                while (info := tar.next()) is not None:
                    # tarfile keeps every member in memory: 178,561 of them
                    tar.members.clear()  # type: ignore[attr-defined]
                    members += 1
                    size = tar.offset - info.offset_data  # of its data; a link or a sparse file may claim any size
                    if size > MAX_MIDI_BYTES:
                        unread += size
                        if unread > MAX_UNREAD_BYTES:
                            raise tarfile.ReadError(f"{unread:,} bytes in members that are too large for songs")
                    if not info.isdir():
                        member = _read_member(tar, info, seen)
                        if member.lmd_id is not None and member.midi is not None:
                            seen.add(member.lmd_id)
                        yield member
                stream.check_end(tar.offset)
    except gzip.BadGzipFile as error:
        raise InputError(f"{path} is not a tar.gz, or damaged ({error}): get it again") from None
    except _UnsupportedError as error:
        raise InputError(
            f"{path} has {error} after {members} members, which is not supported: pack it again without extended "
            "attributes and without --sparse"
        ) from None
    except (EOFError, IndexError, RecursionError, ValueError, zlib.error, tarfile.TarError) as error:
        raise InputError(f"{path} is cut off or damaged after {members} members ({error}): get it again") from None


def _read_member(tar: tarfile.TarFile, info: tarfile.TarInfo, seen: set[str]) -> Member:
    name = PurePosixPath(info.name)
    match = MIDI_NAME.fullmatch(name.name)
    lmd_id = match and match[1]
    reason = None
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
        reason = "no-file"
    elif name.is_absolute() or ".." in name.parts:
        reason = "unsafe-name"
    elif lmd_id is None:
        reason = "name"
    elif info.size > MAX_MIDI_BYTES:
        reason = "size"
    elif lmd_id in seen:
        reason = "duplicate"
    shown = info.name.encode("utf-8", "backslashreplace").decode()  # a name need not be valid UTF-8
    if reason:
        return Member(shown, lmd_id, reason=reason)
    file = tar.extractfile(info)
    assert file is not None  # it is a regular file
    return Member(shown, lmd_id, file.read())


class _UnsupportedError(tarfile.TarError):
    """A header that is valid but not supported."""


class _BoundedTarInfo(tarfile.TarInfo):
    """A member whose headers are checked first, so that they cannot exhaust memory or time.

    tarfile takes quadratic time for digits in a PAX header (CVE-2024-6232; Python before 3.11.10) and for many global
    headers, reads maps of sparse files of any length, and accepts negative sizes. Of PAX headers, only a member's name
    and size matter here.
    """

    # The stubs leave out what begins with an underscore.
    _block: Callable[[int], int]
    _sparse_structs: list

    def _proc_member(self, tar):
        # Every header comes through here; newer versions of tarfile do not call `frombuf` for each.
        if self.size < 0:
            raise tarfile.ReadError(f"a member of {self.size} bytes")
        if self.type in EXTENDED_TYPES and self.size > MAX_HEADER_BYTES:
            raise _UnsupportedError(f"a header of {self.size} bytes, over {MAX_HEADER_BYTES},")
        return super()._proc_member(tar)  # type: ignore[misc]

    def _proc_pax(self, tar):
        records = tar.fileobj.read(self._block(self.size))[: self.size]
        info = self.fromtarfile(tar)
        if self.type == tarfile.XGLTYPE:  # describes all members that follow, so it has no name or size
            return info
        for key, value in _pax_records(records):
            if key == b"path":
                info.name = value.decode("utf-8", "surrogateescape")
            elif key == b"size":
                if not value.isdigit():
                    raise tarfile.ReadError(f"a member's size {value[:20]!r}")
                info.size = int(value)
                if info.isreg() or info.type not in tarfile.SUPPORTED_TYPES:
                    tar.offset = info.offset_data + self._block(info.size)
            elif key.startswith(b"GNU.sparse."):
                raise _UnsupportedError("a sparse file")
        return info

    def _proc_sparse(self, tar):
        if self._sparse_structs[1]:
            raise _UnsupportedError("a sparse file")
        return super()._proc_sparse(tar)  # type: ignore[misc]


def _pax_records(records: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a PAX header: records of `<length> <key>=<value>` and a newline."""
    start = 0
    while start < len(records):
        match = PAX_RECORD.match(records, start)
        end = start + int(match[1]) if match else 0
        if not match or end <= match.end() or records[end - 1 : end] != b"\n":
            raise tarfile.ReadError("a damaged PAX header")
        yield match[2], records[match.end() : end - 1]
        start = end


class _Tail:
    """A stream that remembers its last bytes, because tarfile stops silently at a damaged header.

    Reading past its end is an error: in an intact archive, tarfile stops earlier, at the end-of-archive mark.
    To skip a member that claims 2^62 bytes, tarfile would keep reading past the end forever.
    """

    def __init__(self, stream):
        self._stream = stream
        self._last = b""
        self._read = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if not data:
            raise tarfile.ReadError("no end-of-archive mark")
        self._last = (self._last + data)[-2 * READ_BYTES :]
        self._read += len(data)
        return data

    def check_end(self, offset: int) -> None:
        """Check that only zeros follow `offset`, where tarfile stopped: the end-of-archive mark and some padding."""
        rest = self._last[len(self._last) - (self._read - offset) :]
        if any(rest) or len(rest) < TAR_BLOCK:
            raise tarfile.ReadError("no end-of-archive mark")
        padding = self._stream.read(MAX_PADDING_BYTES)
        if any(padding) or self._stream.read(1):  # the read at the end also checks gzip's checksum
            raise tarfile.ReadError("data after the end-of-archive mark")
