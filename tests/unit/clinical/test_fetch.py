"""Downloads against a real server on loopback that breaks off, lies, moves and refuses."""

from __future__ import annotations

import ast
import hashlib
import http.server
import importlib.util
import io
import threading
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sealround.clinical.download import Checksum, Patience, RemoteFile, download
from sealround.clinical.fetch import PUBLIC_SETS, LocalFile, PublicSet, fetch, public_set
from sealround.errors import ServiceError, UsageError, VerificationError

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = bytes(range(256)) * 1000
ETAG = '"v1"'


@dataclass
class Script:
    """How the server behaves, and what it was asked."""

    content: bytes = CONTENT
    ranges: bool = True
    etag: str | None = ETAG
    break_after: list[int] = field(default_factory=list)  # bytes after which each first answers end
    statuses: list[int] = field(default_factory=list)  # statuses of the first answers
    location: str = ""
    without_length: bool = False
    shift: int = 0  # how far the answered part is from the one asked for
    asked: list[dict[str, str]] = field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    script: Script
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        script = self.script
        script.asked.append(dict(self.headers))
        self.close_connection = True
        if script.statuses:
            self.send_response(script.statuses.pop(0))
            if script.location:
                self.send_header("Location", script.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = self._start()
        if start >= len(script.content) and start:
            self.send_error(416)
            return
        body = script.content[start:]
        self.send_response(206 if start else 200)
        if script.etag:
            self.send_header("ETag", script.etag)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start + script.shift}-{len(script.content) - 1}/{len(script.content)}"
            )
        if not script.without_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: script.break_after.pop(0)] if script.break_after else body)

    def _start(self) -> int:
        wanted = self.headers.get("Range")
        same = self.headers.get("If-Range") in {None, self.script.etag}
        return int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.script.ranges and same else 0

    def log_message(self, *_arguments: object) -> None:
        pass


@dataclass
class Server:
    script: Script
    address: str

    def remote(self, size: int | None = None, content: bytes = CONTENT) -> RemoteFile:
        checksum = Checksum("sha256", hashlib.sha256(content).hexdigest())
        return RemoteFile(f"{self.address}/file.bin", len(content) if size is None else size, checksum)


@pytest.fixture
def server() -> Iterator[Server]:
    script = Script()
    handler = type("Scripted", (Handler,), {"script": script})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Server(script, f"http://127.0.0.1:{running.server_address[1]}")
        running.shutdown()
        thread.join()


@pytest.fixture
def waits() -> list[float]:
    """Seconds that were waited, without waiting."""
    return []


@pytest.fixture
def patience(waits: list[float]) -> Patience:
    return Patience((0.5, 1.0, 2.0), waits.append)


def leftovers(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir() if path != target)


def test_a_whole_file_arrives_with_progress(server: Server, tmp_path: Path, patience: Patience) -> None:
    seen: list[tuple[int, int]] = []
    target = tmp_path / "deep" / "file.bin"
    download(server.remote(), target, patience=patience, observe=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)
    assert leftovers(target) == []


def test_a_broken_connection_is_taken_up_where_it_broke(
    server: Server, tmp_path: Path, patience: Patience, waits: list[float]
) -> None:
    server.script.break_after = [100_000, 50_000]
    target = tmp_path / "file.bin"
    download(server.remote(), target, patience=patience)
    assert target.read_bytes() == CONTENT
    assert [asked.get("Range") for asked in server.script.asked] == [None, "bytes=100000-", "bytes=150000-"]
    assert [asked.get("If-Range") for asked in server.script.asked] == [None, ETAG, ETAG]
    assert waits == [0.5, 1.0]
    assert leftovers(target) == []


def test_a_later_call_goes_on_from_what_was_left(server: Server, tmp_path: Path) -> None:
    server.script.break_after = [100_000]
    target = tmp_path / "file.bin"
    with pytest.raises(ServiceError, match="the connection ended after 100000 of 256000 bytes"):
        download(server.remote(), target, patience=Patience(()))
    assert leftovers(target) == ["file.bin.part", "file.bin.part.etag"]
    assert not target.exists()
    download(server.remote(), target, patience=Patience(()))
    assert target.read_bytes() == CONTENT
    assert server.script.asked[-1]["Range"] == "bytes=100000-"


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path, patience: Patience) -> None:
    server.script.ranges = False
    server.script.break_after = [100_000]
    target = tmp_path / "file.bin"
    download(server.remote(), target, patience=patience)
    assert target.read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_starts_again(server: Server, tmp_path: Path, patience: Patience) -> None:
    target = tmp_path / "file.bin"
    (tmp_path / "file.bin.part").write_bytes(b"old" * 1000)
    (tmp_path / "file.bin.part.etag").write_text('"v0"')
    download(server.remote(), target, patience=patience)
    assert target.read_bytes() == CONTENT
    assert server.script.asked[0]["If-Range"] == '"v0"'


def test_a_beginning_of_another_file_is_found_out_and_brought_anew(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    server.script.etag = None
    target = tmp_path / "file.bin"
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    download(server.remote(), target, patience=patience)
    assert target.read_bytes() == CONTENT
    assert len(server.script.asked) == 2


def test_a_complete_beginning_is_not_asked_for_again(server: Server, tmp_path: Path, patience: Patience) -> None:
    target = tmp_path / "file.bin"
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    download(server.remote(), target, patience=patience)
    assert target.read_bytes() == CONTENT
    assert server.script.asked == []


def test_a_beginning_larger_than_the_file_is_dropped(server: Server, tmp_path: Path, patience: Patience) -> None:
    target = tmp_path / "file.bin"
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"x")
    download(server.remote(), target, patience=patience)
    assert target.read_bytes() == CONTENT
    assert "Range" not in server.script.asked[0]


def test_another_part_than_was_asked_for_is_not_joined(server: Server, tmp_path: Path, patience: Patience) -> None:
    server.script.break_after = [1000]
    server.script.shift = 1
    target = tmp_path / "file.bin"
    download(server.remote(), target, patience=patience)
    assert target.read_bytes() == CONTENT
    assert [asked.get("Range") for asked in server.script.asked] == [None, "bytes=1000-", None]


def test_a_wrong_checksum_is_refused_and_removed(server: Server, tmp_path: Path, patience: Patience) -> None:
    server.script.content = CONTENT[:-1] + b"\x00"
    target = tmp_path / "file.bin"
    with pytest.raises(VerificationError, match="does not have the known SHA256"):
        download(server.remote(), target, patience=patience)
    assert list(tmp_path.iterdir()) == []
    assert len(server.script.asked) == 1


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_wrong_size_is_refused_before_it_is_read(
    server: Server, tmp_path: Path, patience: Patience, size: int
) -> None:
    with pytest.raises(VerificationError, match=f"256000 bytes, and {size} are known"):
        download(server.remote(size), tmp_path / "file.bin", patience=patience)
    assert list(tmp_path.iterdir()) == []


def test_more_than_the_known_size_is_refused_where_no_length_is_told(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    server.script.without_length = True
    with pytest.raises(VerificationError, match="more than the known 1000 bytes"):
        download(server.remote(1000), tmp_path / "file.bin", patience=patience)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_is_a_service_error_at_once(
    server: Server, tmp_path: Path, patience: Patience, waits: list[float]
) -> None:
    server.script.statuses = [404]
    with pytest.raises(ServiceError, match="the server says 404"):
        download(server.remote(), tmp_path / "file.bin", patience=patience)
    assert waits == []


def test_an_overloaded_server_is_asked_again(
    server: Server, tmp_path: Path, patience: Patience, waits: list[float]
) -> None:
    server.script.statuses = [503, 429]
    download(server.remote(), tmp_path / "file.bin", patience=patience)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert waits == [0.5, 1.0]


def test_patience_ends(server: Server, tmp_path: Path, patience: Patience, waits: list[float]) -> None:
    server.script.statuses = [500] * 10
    with pytest.raises(ServiceError, match=r"500.*\(4 attempts\)"):
        download(server.remote(), tmp_path / "file.bin", patience=patience)
    assert waits == [0.5, 1.0, 2.0]


def test_nobody_listening_is_a_service_error(tmp_path: Path, patience: Patience) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_address[1]
    remote = RemoteFile(f"http://127.0.0.1:{port}/x", 1, Checksum("sha256", "00"))
    with pytest.raises(ServiceError, match="refused"):
        download(remote, tmp_path / "file.bin", patience=patience)


def test_a_redirect_on_loopback_is_followed(server: Server, tmp_path: Path, patience: Patience) -> None:
    server.script.statuses = [302]
    server.script.location = "/elsewhere"
    download(server.remote(), tmp_path / "file.bin", patience=patience)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("location", ["http://example.org/file.bin", "ftp://example.org/file.bin"])
def test_a_redirect_off_https_is_refused(server: Server, tmp_path: Path, patience: Patience, location: str) -> None:
    server.script.statuses = [302]
    server.script.location = location
    with pytest.raises(ServiceError, match="which is not https"):
        download(server.remote(), tmp_path / "file.bin", patience=patience)


@pytest.mark.parametrize("address", ["http://example.org/x", "ftp://example.org/x", "file:///etc/passwd", "x"])
def test_an_address_that_is_not_https_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(UsageError, match="not an https address"):
        download(RemoteFile(address, 1, Checksum("sha256", "00")), tmp_path / "x")


def test_a_folder_that_cannot_be_written_is_a_service_error(server: Server, tmp_path: Path, patience: Patience) -> None:
    (tmp_path / "blocked").write_text("a file where the folder should be")
    with pytest.raises(ServiceError, match="cannot write"):
        download(server.remote(), tmp_path / "blocked" / "file.bin", patience=patience)


# --- sets -------------------------------------------------------------------------------------------------------------


def archive_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def known(place: str, content: bytes, member: str = "") -> LocalFile:
    return LocalFile(place, len(content), Checksum("sha256", hashlib.sha256(content).hexdigest()), member)


def one_file_set(server: Server) -> PublicSet:
    file = LocalFile("folder/file.bin", len(CONTENT), server.remote().checksum)
    return PublicSet("one", "One file", "CC0", "https://example.org", server.remote(), (file,))


def zipped_set(server: Server, members: dict[str, bytes], *files: LocalFile) -> PublicSet:
    server.script.content = archive_of(members)
    remote = server.remote(content=server.script.content)
    return PublicSet("zipped", "Some files", "CC0", "https://example.org", remote, files)


def test_a_set_of_one_file_is_fetched_once(server: Server, tmp_path: Path, patience: Patience) -> None:
    first = fetch(one_file_set(server), tmp_path, patience=patience)
    second = fetch(one_file_set(server), tmp_path, patience=patience)
    assert [result.state for result in first + second] == ["fetched", "present"]
    assert first[0].path.read_bytes() == CONTENT
    assert len(server.script.asked) == 1


def test_a_different_file_that_is_there_is_kept_unless_forced(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    mine = tmp_path / "folder" / "file.bin"
    mine.parent.mkdir()
    mine.write_bytes(b"my own")
    assert [result.state for result in fetch(one_file_set(server), tmp_path, patience=patience)] == ["different"]
    assert mine.read_bytes() == b"my own"
    assert [result.state for result in fetch(one_file_set(server), tmp_path, force=True, patience=patience)] == [
        "fetched"
    ]
    assert mine.read_bytes() == CONTENT


def test_members_of_an_archive_go_to_their_places_and_nothing_else_does(
    server: Server, tmp_path: Path, patience: Patience
) -> None:
    members = {"a.data": b"1,2\n", "../escape": b"x", "b.data": b"3,4\n"}
    public = zipped_set(
        server, members, known("set/a.data", b"1,2\n", "a.data"), known("set/b.data", b"3,4\n", "b.data")
    )
    results = fetch(public, tmp_path, patience=patience)
    assert [result.state for result in results] == ["fetched", "fetched"]
    found = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"set/a.data": b"1,2\n", "set/b.data": b"3,4\n"}


def test_only_what_is_missing_is_taken_from_an_archive(server: Server, tmp_path: Path, patience: Patience) -> None:
    files = known("set/a.data", b"1", "a.data"), known("set/b.data", b"2", "b.data")
    public = zipped_set(server, {"a.data": b"1", "b.data": b"2"}, *files)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.data").write_bytes(b"mine")
    assert [result.state for result in fetch(public, tmp_path, patience=patience)] == ["different", "fetched"]
    assert (tmp_path / "set" / "a.data").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"a.data": b"2"}, id="another content"),
        pytest.param({"a.data": b"1" * 10_000_000}, id="a bomb"),
        pytest.param({"b.data": b"1"}, id="no such member"),
    ],
)
def test_an_archive_that_holds_something_else_is_refused(
    server: Server, tmp_path: Path, patience: Patience, members: dict[str, bytes]
) -> None:
    public = zipped_set(server, members, known("set/a.data", b"1", "a.data"))
    with pytest.raises(VerificationError):
        fetch(public, tmp_path, patience=patience)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_is_no_archive_is_refused(server: Server, tmp_path: Path, patience: Patience) -> None:
    remote = server.remote()
    public = PublicSet("x", "x", "CC0", "https://example.org", remote, (known("x/a", b"1", "a"),))
    with pytest.raises(VerificationError, match="does not hold what was published"):
        fetch(public, tmp_path, patience=patience)


def test_the_known_sets_are_well_formed() -> None:
    assert len({public.name for public in PUBLIC_SETS}) == len(PUBLIC_SETS)
    for public in PUBLIC_SETS:
        assert public.remote.address.startswith("https://")
        assert public.page.startswith("https://doi.org/")
        for checksum in (public.remote.checksum, *(file.checksum for file in public.files)):
            assert len(bytes.fromhex(checksum.value)) == {"sha256": 32, "md5": 16}[checksum.kind]
        assert len({bool(file.member) for file in public.files}) == 1


def test_pneumoniamnist_is_as_its_publishers_package_says() -> None:
    package = importlib.util.find_spec("medmnist")
    if package is None or package.origin is None:
        pytest.skip("the medmnist package is not installed")
    source = ast.parse(
        (Path(package.origin).parent / "info.py").read_text(encoding="utf-8")
    )  # importing it needs torch
    (table,) = [
        node.value
        for node in source.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "INFO"
    ]
    info = ast.literal_eval(table)["pneumoniamnist"]
    remote = public_set("pneumoniamnist").remote
    assert remote.address == info["url"]
    assert remote.checksum == Checksum("md5", info["MD5"])


@pytest.mark.data
def test_the_heart_disease_files_have_the_known_checksums(clinical_data: Path) -> None:
    results = fetch(public_set("heart-disease"), clinical_data)
    assert [result.state for result in results] == ["present"] * 4


def test_a_name_with_a_typo_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean heart-disease"):
        public_set("hart-disease")
