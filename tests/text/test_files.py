from __future__ import annotations

import hashlib
import http.server
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pytest

from hornbook.errors import InputError, MissingExtra, UsageError
from hornbook.text.archives.warc import Page
from hornbook.text.files import (
    find_files,
    find_places,
    hash_file,
    is_remote,
    kind_of,
    name_of,
    open_bytes,
    size_of,
    stem,
)
from hornbook.text.read import pieces, read_file, read_piece
from tests.text.archives.made import packed, page

ARCHIVE = packed(page(number, 900) for number in range(40))


def test_files_are_found_by_name_folder_and_glob(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.warc.gz", "sub/c.txt", "notes.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [name for name, _ in find_files(str(tmp_path))] == ["a.warc.gz", "b.jsonl", "sub/c.txt"]
    assert [name for name, _ in find_files(f"{tmp_path}/*.jsonl")] == ["b.jsonl"]
    assert find_places(f"{tmp_path}/sub/c.txt") == [("c.txt", tmp_path / "sub" / "c.txt")]
    with pytest.raises(UsageError, match=r"there is no file or folder .*\*.csv"):
        find_files(f"{tmp_path}/*.csv")
    with pytest.raises(InputError, match=r"\*.pdf holds no readable file"):
        find_files(f"{tmp_path}/*.pdf")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.JSONL.gz", ".jsonl"),
        ("a.b.warc", ".warc"),
        ("x.warc.wet.gz", ".wet"),
        ("x.arc.gz", ".arc"),
        ("site/index.htm", ".htm"),
        ("s3://bucket/a%20b/x.parquet", ".parquet"),
        ("https://host/x.jsonl.zst?token=a.b", ".jsonl"),
        ("https://host.txt", ""),
        ("a.gz", ""),
        ("a.pdf", ""),
        ("a", ""),
    ],
)
def test_kind_of(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_names() -> None:
    assert (stem("shelf/books.jsonl.gz"), name_of("https://host/a%20b.jsonl?x=1")) == ("books", "a b.jsonl")
    assert is_remote("s3://a/b")
    assert not is_remote("a/b")
    assert not is_remote(Path("s3://a"))


# -- stores ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def store() -> Iterator[str]:
    """A folder of files in memory."""
    files = fsspec.filesystem("memory")
    for name, raw in {"a.jsonl": b'{"text": "one"}\n', "sub/b.warc.gz": ARCHIVE, "notes.pdf": b"x"}.items():
        files.pipe(f"/shelf/{name}", raw)
    yield "memory://shelf"
    files.rm("/shelf", recursive=True)


def test_remote_files_are_found_by_name_folder_and_glob(store: str) -> None:
    assert [name for name, _ in find_places(store)] == ["a.jsonl", "sub/b.warc.gz"]
    assert [name for name, _ in find_places(f"{store}/a.jsonl")] == ["a.jsonl"]
    ((name, place),) = find_places(f"{store}/**/*.warc.gz")
    assert (name, size_of(place)) == ("sub/b.warc.gz", len(ARCHIVE))
    assert hash_file(place) == hashlib.sha256(ARCHIVE).hexdigest()
    with pytest.raises(UsageError, match="there is no file or folder memory://none"):
        find_places("memory://none")
    with pytest.raises(InputError, match=r"memory://shelf/notes.pdf holds no readable file"):
        find_places(f"{store}/notes.pdf")


def test_a_url_of_a_local_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.warc.gz").write_bytes(ARCHIVE)
    ((name, place),) = find_places(tmp_path.as_uri())
    assert list(read_file(place)) == list(read_file(tmp_path / name))


def test_remote_pieces_give_what_the_file_gives(store: str) -> None:
    ((_, place),) = find_places(f"{store}/sub")
    cuts = pieces(place, megabytes=len(ARCHIVE) / 2**20 / 3.5)
    assert len(cuts) == 4
    things = [thing for start, end in cuts for thing in read_piece(place, start, end)]
    assert [thing.url for thing in things if isinstance(thing, Page)] == [f"http://x/{n}" for n in range(40)]


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves whole files only."""

    def log_message(self, *_: Any) -> None: ...


class RangeServer(Server):
    """Serves parts of files too."""

    def do_GET(self) -> None:
        path, part = Path(self.translate_path(self.path)), self.headers["Range"]
        if not path.is_file() or not part:
            super().do_GET()
            return
        raw = path.read_bytes()
        first, last = (int(number) for number in part.removeprefix("bytes=").split("-"))
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{min(last, len(raw) - 1)}/{len(raw)}")
        self.send_header("Content-Length", str(len(raw[first : last + 1])))
        self.end_headers()
        self.wfile.write(raw[first : last + 1])


@pytest.fixture(params=[Server, RangeServer])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp")
    (tmp_path / "b.warc.gz").write_bytes(ARCHIVE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(request.param, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_files_of_a_web_server_are_read(site: str, tmp_path: Path) -> None:
    ((name, place),) = find_places(f"{site}/b.warc.gz")
    assert (name, size_of(place)) == ("b.warc.gz", len(ARCHIVE))
    assert list(read_file(place)) == list(read_file(tmp_path / name))
    found = read_piece(place, len(ARCHIVE) // 2, len(ARCHIVE))
    assert list(found) == list(read_piece(tmp_path / name, len(ARCHIVE) // 2, len(ARCHIVE)))
    with pytest.raises(UsageError, match="there is no file or folder http"):
        size_of(f"{site}/none.warc.gz")


def test_a_network_that_fails_is_no_damage_of_the_file(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> bytes:
        raise ConnectionError("reset by peer")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFile.read", fail)
    with pytest.raises(InputError, match=r"memory://shelf/a.jsonl cannot be read: reset by peer"):
        list(read_file(f"{store}/a.jsonl"))


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="nope://x cannot be read: Protocol not known"):
        find_places("nope://x")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingExtra) as error:
        open_bytes("s3://bucket/a.jsonl.gz")
    assert error.value.hint == "pip install 'hornbook[hub]'"
