"""The server of static sites, as it runs in an image: a real process on a real port."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildpacks.providers import static_server

Start = Callable[..., int]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    files = {
        "index.html": b"<h1>home</h1>",
        "404.html": b"<h1>missing</h1>",
        "sub/index.html": b"sub",
        "app.js": b"let x",
        "big.bin": os.urandom(3 << 20),
        ".env": b"SECRET=1",
        ".git/config": b"x",
        ".well-known/ok": b"known",
        "empty": b"",
    }
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    (tmp_path / "secret").write_text("secret")
    (root / "out").symlink_to(tmp_path / "secret")
    (root / "up").symlink_to(tmp_path)
    return root


@pytest.fixture
def start(site: Path) -> Iterator[Start]:
    children: list[subprocess.Popen[bytes]] = []

    def run(*options: str) -> int:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        command = [sys.executable, "-I", static_server.__file__, *options, str(site)]
        children.append(subprocess.Popen(command, env={"PORT": str(port)}))
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except ConnectionRefusedError:
                time.sleep(0.02)
            else:
                return port
        raise AssertionError("the server did not start")

    yield run
    for child in children:
        child.terminate()
        assert child.wait(10) == 0


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(
        method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


def raw(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_it_serves_a_site(start: Start, site: Path) -> None:
    port = start()
    for path, status, body, kind in (
        ("/", 200, b"<h1>home</h1>", "text/html; charset=utf-8"),
        ("/index.html?x=1#y", 200, b"<h1>home</h1>", "text/html; charset=utf-8"),
        ("/sub/", 200, b"sub", "text/html; charset=utf-8"),
        ("/app.js", 200, b"let x", None),
        ("/big.bin", 200, (site / "big.bin").read_bytes(), "application/octet-stream"),
        ("/empty", 200, b"", "application/octet-stream"),
        ("/.well-known/ok", 200, b"known", None),
        ("/nothing", 404, b"<h1>missing</h1>", "text/html; charset=utf-8"),
    ):
        response, received = get(port, path)
        assert (response.status, received) == (status, body), path
        assert kind is None or response.headers["Content-Type"] == kind
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/.env", "/.git/config", "/out", "/up/secret", "/../secret", "/%2e%2e/secret", "/sub/..%2f..%2fsecret", "/%00", "//etc/passwd", "/a%0d%0ab"])  # fmt: skip
def test_nothing_but_the_site_is_served(start: Start, path: str) -> None:
    port = start()
    answer = raw(port, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"secret" not in answer.lower()


def test_single_page_apps_get_their_index(start: Start) -> None:
    response, body = get(start("--fallback"), "/deep/link")
    assert (response.status, body) == (200, b"<h1>home</h1>")


def test_conditional_and_range_requests(start: Start, site: Path) -> None:
    port = start()
    first, _ = get(port, "/big.bin")
    assert get(port, "/big.bin", If_None_Match=first.headers["ETag"])[0].status == 304
    assert get(port, "/big.bin", If_Modified_Since=first.headers["Last-Modified"])[0].status == 304
    assert get(port, "/big.bin", If_Modified_Since="nonsense")[0].status == 200
    content = (site / "big.bin").read_bytes()
    for header, expected in (
        ("bytes=10-19", content[10:20]),
        ("bytes=-5", content[-5:]),
        ("bytes=3145700-", content[3145700:]),
    ):
        response, body = get(port, "/big.bin", Range=header)
        assert (response.status, body) == (206, expected)
    for header in ("bytes=9-1", "bytes=99999999-", "bytes=0-1,5-6", "bytes=-", "bytes=" + "9" * 5000 + "-"):
        assert get(port, "/big.bin", Range=header)[0].status == 200


def test_head_has_no_body_and_other_methods_are_refused(start: Start) -> None:
    port = start()
    response, body = get(port, "/", "HEAD")
    assert (response.status, response.headers["Content-Length"], body) == (200, "13", b"")
    response, _ = get(port, "/", "DELETE")
    assert (response.status, response.headers["Allow"]) == (405, "GET, HEAD")


def test_a_folder_redirects_inside_the_site_only(start: Start) -> None:
    port = start()
    assert get(port, "/sub")[0].headers["Location"] == "/sub/"
    answer = raw(port, b"GET //sub HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert b"Location: /sub/\r\n" in answer


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad header : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    ],
)
def test_bad_requests_are_answered_and_the_connection_closed(start: Start, data: bytes, status: int) -> None:
    port = start()
    assert raw(port, data).startswith(f"HTTP/1.1 {status} ".encode())
    assert get(port, "/")[0].status == 200


def test_a_connection_is_used_again_until_the_server_stops(start: Start) -> None:
    port = start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"<h1>home</h1>"
    assert connection.sock is not None
    connection.close()


def test_a_missing_port_is_said(site: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", static_server.__file__, str(site)], env={}, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"PORT" in done.stderr
