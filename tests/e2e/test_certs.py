"""A certificate that is added is shown at once, and after a kill."""

import json
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from apps import app
from authority import Authority
from tests_support import Repository, running_server

Make = Callable[[Mapping[str, str]], Repository]


def shown(port: int, host: str, authority: Authority) -> str:
    """Ask the app over TLS; the handshake checks the certificate."""
    context = authority.trusting()
    context.set_alpn_protocols(["http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname=host) as client,
    ):
        client.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := client.recv(65_536):
            answer += piece
    return answer.decode()


def test_a_certificate_that_is_added_is_shown_at_once_and_after_a_kill(
    tmp_path: Path, repository: Make
) -> None:
    authority = Authority()
    issued = authority.issue("wildcard", "*.apps.test")
    with running_server(
        tmp_path, engine="memory", docker_host="unix:///nowhere", https_port="0", domain="apps.test"
    ) as server:
        server.push(repository(app()), "shop")
        refused = server.ssh("certs:add", "wildcard", input=issued.chain, check=False)
        assert "exactly one private key" in refused.stderr
        assert server.ssh("certs:add", "wildcard", input=issued.chain + issued.key).stdout == "*.apps.test\n"
        assert "shop v1" in shown(server.ports["https_port"], "shop.apps.test", authority)
        listed = server.ssh("certs", "--json").stdout
        assert [item["hosts"] for item in json.loads(listed)] == [["*.apps.test"]]
        assert "KEY" not in listed
        server.kill()
        server.start()
        assert "shop v1" in shown(server.ports["https_port"], "shop.apps.test", authority)
        server.ssh("certs:remove", "wildcard")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            shown(server.ports["https_port"], "shop.apps.test", authority)
        assert "There is no certificate" in server.ssh("certs:remove", "wildcard", check=False).stderr
        assert issued.key.splitlines()[1] not in (tmp_path / "data").joinpath("cygni.db").read_bytes().decode(
            "latin-1"
        )
