"""Serves a folder over HTTP on $PORT. Standard library only: it runs alone, inside the image of a static site.

GET and HEAD, keep-alive, `index.html` for folders, `404.html` for what is missing (or the root's index with
`--fallback`, for single-page apps), conditional requests, ranges. Names that start with a dot are not served, except
below `.well-known`; links that lead out of the folder are not followed. Slow and idle clients are dropped.
"""

import argparse
import asyncio
import contextlib
import mimetypes
import os
import re
import signal
import stat
import sys
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

HEAD_BYTES = 16 << 10
IDLE_SECONDS = 75.0
SEND_SECONDS = 60.0
CONNECTIONS = 1024
DRAIN_SECONDS = 20.0
_PIECE = 256 << 10
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class Request:
    """A request's head; header names are lower-case."""

    method: str
    target: str
    headers: dict[str, str]
    keep_alive: bool


@dataclass(frozen=True)
class Resource:
    """A file to send, opened. The caller closes it."""

    file: BinaryIO
    size: int
    modified: float
    kind: str

    @property
    def tag(self) -> str:
        """A weak validator: size and time of change."""
        return f'W/"{self.size:x}-{int(self.modified * 1000):x}"'


class BadRequestError(Exception):
    """The bytes are no request that can be answered; `status` says how to refuse."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class Site:
    """The files below a folder, by request path."""

    def __init__(self, root: Path, *, fallback: bool) -> None:
        self._root = root.resolve(strict=True)
        self._fallback = fallback

    def find(self, path: str) -> tuple[HTTPStatus, Resource | None, str | None]:
        """Status, file and redirect target for a decoded path that starts with a slash."""
        local = self._local(path)
        if local is not None and local.is_dir():
            if not path.endswith("/"):
                return HTTPStatus.MOVED_PERMANENTLY, None, f"{path}/"
            local /= "index.html"
        resource = self._open(local) if local is not None else None
        if resource is not None:
            return HTTPStatus.OK, resource, None
        if self._fallback and (index := self._open(self._root / "index.html")):
            return HTTPStatus.OK, index, None
        return HTTPStatus.NOT_FOUND, self._open(self._root / "404.html"), None

    def _local(self, path: str) -> Path | None:
        parts = [part for part in path.split("/") if part]
        hidden = any(part.startswith(".") and part != ".well-known" for part in parts)
        if hidden or "\0" in path:
            return None
        try:
            local = self._root.joinpath(*parts).resolve()
        except (OSError, RuntimeError):
            return None
        return local if local.is_relative_to(self._root) else None

    def _open(self, path: Path) -> Resource | None:
        try:
            file = path.open("rb")
        except OSError:
            return None
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            file.close()
            return None
        kind, encoding = mimetypes.guess_type(path.name)
        return Resource(
            file, found.st_size, found.st_mtime, "application/octet-stream" if encoding or not kind else kind
        )


class Server:
    """Connections to one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def serve(self, host: str, port: int, stop: asyncio.Event) -> None:
        """Accept until `stop`, then let running answers end, for a limited time."""
        server = await asyncio.start_server(self._accept, host, port, limit=HEAD_BYTES, backlog=512)
        async with server:
            await stop.wait()
            self._stopping = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= CONNECTIONS:
            writer.close()
            return
        self._tasks.add(task)
        try:
            await self._converse(reader, writer)
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1):
                    await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not self._stopping:
            try:
                request = await read_request(reader)
            except BadRequestError as error:
                await send_text(writer, error.status, keep_alive=False, head_only=False)
                return
            if request is None:
                return
            keep_alive = request.keep_alive and not self._stopping
            await self._answer(request, writer, keep_alive=keep_alive)
            if not keep_alive:
                return

    async def _answer(self, request: Request, writer: asyncio.StreamWriter, *, keep_alive: bool) -> None:
        head_only = request.method == "HEAD"
        if request.method not in {"GET", "HEAD"}:
            await send_text(writer, HTTPStatus.METHOD_NOT_ALLOWED, keep_alive=keep_alive, head_only=head_only)
            return
        status, resource, location = self._site.find(unquote(re.split("[?#]", request.target, maxsplit=1)[0]))
        if resource is None:
            await send_text(writer, status, keep_alive=keep_alive, head_only=head_only, location=location)
            return
        with resource.file:
            await send_file(writer, request, status, resource, keep_alive=keep_alive)


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Read one request's head; None when the client is done.

    Raises:
        BadRequestError: it is malformed, too long, or has a body (nothing here takes one).
        TimeoutError: the client stayed silent.
    """
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise BadRequestError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from error
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or words[2] not in {"HTTP/1.0", "HTTP/1.1"} or not words[1].startswith("/"):
        raise BadRequestError(HTTPStatus.BAD_REQUEST)
    headers = dict(_header(line) for line in lines[1:] if line)
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise BadRequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    connection = headers.get("connection", "").lower()
    keep_alive = "close" not in connection if words[2] == "HTTP/1.1" else "keep-alive" in connection
    return Request(words[0], words[1], headers, keep_alive)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or name != name.strip() or not name:
        raise BadRequestError(HTTPStatus.BAD_REQUEST)
    return name.lower(), value.strip()


async def send_text(
    writer: asyncio.StreamWriter,
    status: HTTPStatus,
    *,
    keep_alive: bool,
    head_only: bool,
    location: str | None = None,
) -> None:
    """Answer with the status's own words."""
    body = f"{status.value} {status.phrase}\n".encode()
    headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}
    if location is not None:
        headers["Location"] = _quoted(location)
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = "GET, HEAD"
    writer.write(_head(status, headers, keep_alive=keep_alive) + (b"" if head_only else body))
    async with asyncio.timeout(SEND_SECONDS):
        await writer.drain()


async def send_file(
    writer: asyncio.StreamWriter,
    request: Request,
    status: HTTPStatus,
    resource: Resource,
    *,
    keep_alive: bool,
) -> None:
    """Answer with a file, a part of it, or that it has not changed."""
    text = resource.kind.startswith("text/") or resource.kind in {
        "application/javascript",
        "application/json",
    }
    headers = {
        "Content-Type": f"{resource.kind}; charset=utf-8" if text else resource.kind,
        "Last-Modified": formatdate(resource.modified, usegmt=True),
        "ETag": resource.tag,
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
    }
    first, length = 0, resource.size
    if status is HTTPStatus.OK and _unchanged(request, resource):
        status, length = HTTPStatus.NOT_MODIFIED, 0
    elif status is HTTPStatus.OK and (part := _part(request, resource.size)) is not None:
        status, (first, length) = HTTPStatus.PARTIAL_CONTENT, part
        headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{resource.size}"
    if status is not HTTPStatus.NOT_MODIFIED:
        headers["Content-Length"] = str(length)
    writer.write(_head(status, headers, keep_alive=keep_alive))
    if request.method == "GET" and length:
        await _send_content(writer, resource.file, first, length)
    async with asyncio.timeout(SEND_SECONDS):
        await writer.drain()


async def _send_content(writer: asyncio.StreamWriter, file: BinaryIO, first: int, length: int) -> None:
    """By the kernel, piece by piece, so that the limit is on progress and not on the whole file."""
    loop = asyncio.get_running_loop()
    while length:
        async with asyncio.timeout(SEND_SECONDS):
            sent = await loop.sendfile(writer.transport, file, first, min(length, _PIECE))
        if not sent:
            raise ConnectionError("the file became shorter while it was sent")
        first, length = first + sent, length - sent


def _unchanged(request: Request, resource: Resource) -> bool:
    tags = request.headers.get("if-none-match")
    if tags is not None:
        wanted = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return bool(wanted & {resource.tag.removeprefix("W/"), "*"})
    since = request.headers.get("if-modified-since")
    try:
        return since is not None and int(resource.modified) <= parsedate_to_datetime(since).timestamp()
    except (ValueError, TypeError, OverflowError):
        return False


def _part(request: Request, size: int) -> tuple[int, int] | None:
    """Start and length of a single range that can be met; any other request gets the whole file (RFC 9110, 14.2)."""
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if (
        match is None
        or "if-range" in request.headers
        or request.method != "GET"
        or match.groups() == ("", "")
    ):
        return None
    if len(match[1]) > 18 or len(match[2]) > 18:
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        return (size - length, length) if length else None
    first = int(match[1])
    last = min(int(match[2]), size - 1) if match[2] else size - 1
    return (first, last - first + 1) if first <= last else None


def _quoted(location: str) -> str:
    """A path for a Location header: of this site, whatever it starts with."""
    safe = "/" + location.lstrip("/\\")
    return "".join(
        chr(byte) if chr(byte).isalnum() or byte in b"/-._~" else f"%{byte:02X}" for byte in safe.encode()
    )


def _head(status: HTTPStatus, headers: dict[str, str], *, keep_alive: bool) -> bytes:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"Date: {formatdate(usegmt=True)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"Connection: {'keep-alive' if keep_alive else 'close'}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


async def main(arguments: list[str]) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="static-server")
    parser.add_argument(
        "--fallback", action="store_true", help="answer unknown paths with the root's index.html"
    )
    parser.add_argument("root", type=Path)
    options = parser.parse_args(arguments)
    port = os.environ.get("PORT", "")
    if not port.isdigit():
        parser.error("the environment variable PORT must name a port")
    if not options.root.is_dir():
        parser.error(f"{options.root} is no folder")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await Server(Site(options.root, fallback=options.fallback)).serve("0.0.0.0", int(port), stop)  # noqa: S104 (the router connects from outside)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
