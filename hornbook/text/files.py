"""Where input is: files of this machine and, through fsspec, whatever a URL names (`s3://`, `https://`, ...).

A place is a path or a URL. Nothing remote is copied to disk, unless its server can send no part of a file.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast
from urllib.parse import unquote, urlsplit

import pyarrow as pa

from hornbook.errors import InputError, MissingExtra, UsageError
from hornbook.text.archives.members import CHUNK, LARGEST_RATIO, Members

Place = Path | str

READABLE = (".warc", ".wet", ".arc", ".html", ".htm", ".jsonl", ".json", ".ndjson", ".parquet", ".txt", ".md")
COMPRESSED = ("", ".gz", ".zst")
SLACK = 2**26
"""Bytes to which any compressed file may expand, however small it is."""


def is_remote(source: Place) -> bool:
    """Whether a source is a URL: `s3://bucket/key`, `https://host/file`, `memory://x`."""
    return isinstance(source, str) and "://" in source


def kind_of(place: Place) -> str:
    """`.jsonl` for `a/b.jsonl.gz`; the suffix that says how a file is read, or "" for one that is not readable."""
    suffixes = [suffix.lower() for suffix in _path(place).suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in READABLE else ""


def is_compressed(place: Place) -> bool:
    """Whether a file's name says that it is packed as a whole."""
    return _path(place).suffix.lower() in COMPRESSED[1:]


def name_of(place: Place) -> str:
    """The last part of a path or URL."""
    return _path(place).name


def stem(name: str) -> str:
    """`books` for `shelf/books.jsonl.gz`."""
    return Path(name).name.split(".")[0] or name


def _path(place: Place) -> Path | PurePosixPath:
    if not is_remote(place):
        return Path(place)
    try:
        return PurePosixPath(unquote(urlsplit(str(place)).path))
    except ValueError:  # whoever opens it will say what is wrong with it
        return PurePosixPath(str(place))


# -- opening --------------------------------------------------------------------------------------------------------


def open_raw(place: Place) -> io.BufferedReader:
    """Open a file as it is, so that it can be read from any byte on.

    Raises:
        InputError: a remote file is not there or cannot be reached.
        MissingExtra: what its protocol needs is not installed.
        OSError: a local file cannot be opened.
    """
    if not is_remote(place):
        return Path(place).open("rb")
    with _reached(str(place)):
        filesystem, path = _filesystem(str(place))
        stream = filesystem.open(path, "rb")
        return io.BufferedReader(_Remote(stream, str(place)), CHUNK) if stream.seekable() else _copied(stream)


class _Remote(io.RawIOBase):
    """A remote file. What goes wrong with the network is no damage of the file, and ends the reading: InputError."""

    def __init__(self, stream: Any, url: str) -> None:
        self._stream, self._url = stream, url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._stream.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        with _reached(self._url):
            out = self._stream.read(len(buffer))
        buffer[: len(out)] = out
        return len(out)

    def close(self) -> None:
        self._stream.close()
        super().close()


def open_bytes(place: Place) -> io.BufferedReader:
    """Open a file for reading, through gzip or Zstandard where its name says so."""
    suffix = _path(place).suffix.lower()
    if suffix not in COMPRESSED[1:]:
        return open_raw(place)
    return io.BufferedReader(_Unpacked(open_raw(place), suffix), CHUNK)


class _Unpacked(io.RawIOBase):
    """What a compressed file holds.

    Reading raises OSError where it is damaged or cut off, after all that comes before has been read, and where it
    expands beyond reason.
    """

    def __init__(self, stream: IO[bytes], suffix: str) -> None:
        self._stream, self._unpacked = stream, 0
        zstd = suffix == ".zst"
        self._source = pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd") if zstd else Members(stream)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        out = self._source.read(min(len(buffer), CHUNK))
        self._unpacked += len(out)
        if self._unpacked > SLACK + LARGEST_RATIO * self._stream.tell():
            raise OSError(f"expands more than {LARGEST_RATIO} times")
        buffer[: len(out)] = out
        return len(out)

    def close(self) -> None:
        self._stream.close()
        super().close()


def size_of(place: Place) -> int:
    """Bytes of a file, as it is stored."""
    if not is_remote(place):
        return Path(place).stat().st_size
    with open_raw(place) as stream:
        return stream.seek(0, io.SEEK_END)


def hash_file(place: Place) -> str:
    """SHA-256 of a file, in hex."""
    total = hashlib.sha256()
    with open_raw(place) as stream:
        while chunk := stream.read(2**20):
            total.update(chunk)
    return total.hexdigest()


def _copied(stream: IO[bytes]) -> io.BufferedReader:
    """A temporary file with all that a stream has: for servers that cannot send a part of a file."""
    copy = cast(io.BufferedReader, tempfile.TemporaryFile())  # noqa: SIM115 (closed by who reads it)
    with stream:
        shutil.copyfileobj(stream, copy, 2**20)
    copy.seek(0)
    return copy


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise MissingExtra(url, extra="hub") from None
    return cast(tuple[Any, str], url_to_fs(url))


@contextmanager
def _reached(url: str) -> Iterator[None]:
    try:
        yield
    except (InputError, UsageError):
        raise
    except ImportError as error:
        raise MissingExtra(url, extra="hub") from error
    except FileNotFoundError as error:
        raise UsageError(f"there is no file or folder {url}", hint="or it cannot be reached from here") from error
    except Exception as error:  # each kind of store raises errors of its own libraries
        hint = "is the URL right, and is it public?"
        raise InputError(f"{url} cannot be read: {one_line(error)}", hint=hint) from error


# -- finding --------------------------------------------------------------------------------------------------------


def find_places(source: str) -> list[tuple[str, Place]]:
    """The readable files that a file name, a folder, a glob or a URL of these stands for: (name, place), by name.

    Raises:
        UsageError: nothing is there.
        InputError: nothing that is there can be read.
    """
    if not is_remote(source):
        return [*find_files(source)]
    with _reached(source):
        found = _list_remote(source)
    files = sorted((name, place) for name, place in found if kind_of(place))
    return [*files] if files else _nothing(source, found=bool(found))


def _list_remote(source: str) -> list[tuple[str, str]]:
    filesystem, path = _filesystem(source)
    if urlsplit(source).scheme in ("http", "https"):  # `?` is no glob there, and a folder is a page like any other
        return [(name_of(source), source)]
    if set("*[") & set(path):
        fixed = min(path.find(sign) for sign in "*[" if sign in path)
        root, paths = path[:fixed].rpartition("/")[0], filesystem.glob(path)
    elif filesystem.isfile(path):
        root, paths = path.rpartition("/")[0], [path]
    else:
        root, paths = path.rstrip("/"), filesystem.find(path)
    return [(one.removeprefix(root).lstrip("/"), filesystem.unstrip_protocol(one)) for one in paths]


def find_files(source: str) -> list[tuple[str, Path]]:
    """The readable files of this machine that a file name, a folder or a glob stands for: (name, path), by name.

    Raises:
        UsageError: nothing is there.
        InputError: nothing that is there can be read.
    """
    path, found = Path(source), list_files(source)
    if path.is_file():
        return [(path.name, path)]
    files = [(_name(file, path), file) for file in found if kind_of(file)]
    return sorted(files) if files else _nothing(source, found=bool(found) or path.is_dir())


def _nothing(source: str, *, found: bool) -> Any:
    hint = f"readable: {', '.join(READABLE)} (.gz, .zst)"
    if not found:
        raise UsageError(f"there is no file or folder {source}", hint=hint)
    raise InputError(f"{source} holds no readable file", hint=hint)


def list_files(source: str) -> list[Path]:
    """All files that a file name, a folder or a glob stands for, readable or not, sorted."""
    path = Path(source)
    if path.is_file():
        return [path]
    return sorted(file for file in (path.rglob("*") if path.is_dir() else _glob(path)) if file.is_file())


def _glob(path: Path) -> list[Path]:
    fixed = next((parent for parent in path.parents if not set("*?[") & set(str(parent))), Path())
    pattern = str(path.relative_to(fixed))
    return list(fixed.glob(pattern)) if set("*?[") & set(pattern) else []


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix() if root.is_dir() else file.name


def one_line(error: BaseException) -> str:
    """What an error says, in a line of 200 characters at most."""
    return " ".join(str(error).split())[:200] or type(error).__name__
