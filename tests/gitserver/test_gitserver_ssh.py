"""The SSH side: who gets in, what is refused, and the limits the library lacks."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from gitserver import requests
from gitserver.hostkeys import host_keys
from gitserver.ports import Limits, Principal
from gitserver.visitor import Visitor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gitserver.conftest import Door, Launch

ANN = Principal("1", "ann", admin=True)
BOB = Principal("2", "bob", admin=False)


async def test_commands_get_their_streams_and_pass_their_exit_code(door: Door) -> None:
    echo = await door.ssh("echo", "config:set", "A=b c")
    assert (echo.code, echo.out, echo.err) == (0, "config:set A=b c\n", "done\n")
    assert (await door.ssh("exit", "7")).code == 7
    data = bytes(range(256)) * 10_000
    cat = await door.run(
        *door.ssh_options(), "-p", str(door.server.port), "cygni@127.0.0.1", "cat", stdin=data
    )
    assert len(cat.out) >= len(data.decode(errors="replace"))


async def test_a_command_that_fails_says_so_without_details(door: Door) -> None:
    result = await door.ssh("fail", "a-secret")
    assert result.code == 1
    assert "Something went wrong on the server" in result.err
    assert "a-secret" not in result.err


async def test_a_refused_command_shows_its_sentence(door: Door) -> None:
    assert (await door.ssh("refuse", "No such app.")).err == " !     No such app.\n"


async def test_a_command_is_cancelled_when_its_client_leaves(door: Door) -> None:
    connection = await door.connect()
    await connection.create_process("wait")
    await asyncio.wait_for(door.commands.started.wait(), 20)
    connection.abort()
    await asyncio.wait_for(door.commands.cancelled.wait(), 20)


REFUSED: list[tuple[tuple[str, ...], tuple[str, ...], str]] = [
    ((), (), "Hi ann! You are connected, but there is no shell here"),
    ((), ("-tt",), "Hi ann! You are connected, but there is no shell here"),
    (("scp", "-t", "/etc"), (), "scp is not offered"),
    (("rsync", "--server", "."), (), "rsync is not offered"),
    (("sftp",), ("-s",), "sftp is not offered"),
    (("netconf",), ("-s",), "no subsystem 'netconf'"),
    (("git-lfs-authenticate", "shop", "upload"), (), "Git LFS is not offered"),
    ((), ("-W", "127.0.0.1:22"), "stdio forwarding failed"),
    (("echo",), ("-R", "0:127.0.0.1:22", "-o", "ExitOnForwardFailure=yes"), "forwarding failed"),
    ((), ("-W", "127.0.0.1:22"), "Forwarding is not offered here"),
]


@pytest.mark.parametrize(("command", "options", "text"), REFUSED)
async def test_what_is_not_offered_is_refused_with_a_word(
    door: Door, command: tuple[str, ...], options: tuple[str, ...], text: str
) -> None:
    result = await door.ssh(*command, options=options, level="INFO")
    assert text in result.err
    assert result.code != 0


async def test_malformed_git_requests_get_one_err_line(door: Door) -> None:
    for command in ("git-upload-pack", "git-upload-pack 'a' 'b'", "git-receive-pack '--help'", "git-upload-pack 'x",
                    "git-upload-archive 'shop'", "git-upload-pack '../../etc'", "git-receive-pack $'a\\nb'"):  # fmt: skip
        result = await door.ssh(command)
        assert result.code == 1, command
        assert result.out[4:8] == "ERR ", command
        assert int(result.out[:4], 16) == len(result.out.encode()), command
    assert door.commands.commands == []


async def test_agent_and_x11_requests_are_denied(door: Door) -> None:
    connection = await door.connect()
    with pytest.raises(asyncssh.ChannelOpenError):
        await connection.open_session(x11_forwarding=True, x11_display="localhost:0")
    with pytest.raises((asyncssh.ChannelListenError, asyncssh.ChannelOpenError)):
        await connection.forward_remote_path("/tmp/nowhere.sock", "/tmp/nowhere.sock")
    with pytest.raises(asyncssh.ChannelOpenError, match="Forwarding is not offered"):
        await connection.open_unix_connection("/run/docker.sock")
    connection.close()
    await connection.wait_closed()


async def test_an_unknown_key_and_an_unknown_user_get_the_same_answer(door: Door) -> None:
    stranger = door.new_key("stranger")
    unknown_key = await door.ssh("echo", key=stranger, level="INFO")
    wrong_user = await door.ssh("echo", user="root", level="INFO")
    assert unknown_key.code == wrong_user.code == 255
    assert "is not accepted here" in unknown_key.err
    assert "keys:add" in unknown_key.err

    def masked(text: str) -> list[str]:
        words = text.replace("root@", "cygni@").split()
        return ["KEY" if word.startswith("SHA256:") else word for word in words if "known_hosts" not in word]

    assert masked(unknown_key.err) == masked(wrong_user.err)
    assert "(publickey)" in unknown_key.err


async def test_git_is_a_second_user_name(door: Door) -> None:
    assert (await door.ssh("echo", "x", user="git")).code == 0


async def test_the_hint_stops_for_a_key_whose_owner_got_in_with_another(door: Door) -> None:
    stranger = door.new_key("stranger")
    options = ("-i", str(door.key))
    first = await door.ssh("echo", key=stranger, options=options, level="INFO")
    second = await door.ssh("echo", key=stranger, options=options, level="INFO")
    assert first.code == second.code == 0
    assert "is not accepted here" in first.err
    assert "is not accepted here" not in second.err


async def test_identity_is_the_key_that_was_proved_not_one_that_was_offered(door: Door) -> None:
    """CVE-2024-45337: a client that offers somebody's public key and proves its own is itself."""
    bob = door.new_key("bob", BOB)
    offered = door.root / "only-public"
    offered.with_suffix(".pub").write_bytes((door.root / "bob.pub").read_bytes())
    greeting = await door.ssh(key=offered.with_suffix(".pub"), options=("-i", str(door.key)))
    assert "Hi ann!" in greeting.err
    assert "Hi bob!" in (await door.ssh(key=bob)).err


async def test_an_offer_pipelined_behind_a_proof_does_not_change_the_identity(door: Door) -> None:
    door.new_key("bob", BOB)
    bob = asyncssh.read_public_key(door.root / "bob.pub")
    request = 50

    class Pipelining(asyncssh.SSHClientConnection):
        def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
            super().send_packet(pkttype, *args, handler=handler)
            if pkttype == request and b"publickey" in b"".join(args) and b"\x01" in args:
                offer = (asyncssh.packet.String("cygni"), asyncssh.packet.String("ssh-connection"),
                         asyncssh.packet.String("publickey"), asyncssh.packet.Boolean(False),
                         asyncssh.packet.String(bob.get_algorithm()), asyncssh.packet.String(bob.public_data))  # fmt: skip
                super().send_packet(request, *offer)

    original = asyncssh.connection.SSHClientConnection
    asyncssh.connection.SSHClientConnection = Pipelining  # type: ignore[misc]
    try:
        connection = await door.connect()
        result = await connection.run("", check=False)
    finally:
        asyncssh.connection.SSHClientConnection = original  # type: ignore[misc]
    assert "Hi ann!" in str(result.stderr)
    connection.close()
    await connection.wait_closed()


async def test_begin_auth_always_demands_authentication() -> None:
    visitor = Visitor(None, None)  # type: ignore[arg-type]
    assert visitor.begin_auth("cygni") is True
    assert visitor.begin_auth("") is True


async def test_a_revoked_key_is_refused_on_an_open_connection(door: Door) -> None:
    connection = await door.connect()
    assert (await connection.run("echo x")).stdout == "x\n"
    door.keys.principals.clear()
    command = await connection.run("echo x")
    assert "no longer accepted" in str(command.stderr)
    git = await connection.run("git-receive-pack 'shop'")
    assert "ERR This key is no longer accepted" in str(git.stdout)
    assert door.commands.commands == ["echo x"]
    connection.close()
    await connection.wait_closed()


async def test_a_login_asks_the_store_once_and_the_command_again(door: Door) -> None:
    assert (await door.ssh("echo")).code == 0
    assert len(door.keys.asked) == 2


async def test_a_failing_key_store_lets_nobody_in(door: Door) -> None:
    async def fail(fingerprint: str) -> Principal | None:
        raise OSError("database is gone")

    door.keys.principal = fail  # type: ignore[method-assign]
    assert (await door.ssh("echo")).code == 255


async def test_three_hundred_wrong_keys_end_after_six(door: Door) -> None:
    keys: list[Any] = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(300)]
    with pytest.raises(asyncssh.DisconnectError, match="Too many authentication failures"):
        await door.connect(client_keys=[*keys, str(door.key)])
    assert len(door.keys.asked) <= 7


async def test_passwords_and_other_methods_are_not_offered_and_are_counted(door: Door) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        await door.connect(client_keys=None, password="secret", preferred_auth="password")
    with pytest.raises(asyncssh.PermissionDenied):
        await door.connect(client_keys=None, preferred_auth="keyboard-interactive")
    with pytest.raises(asyncssh.PermissionDenied):
        await door.connect(client_keys=None, preferred_auth="none")


async def test_weak_keys_are_refused_even_when_registered(door: Door) -> None:
    weak = door.new_key("weak", BOB, "ssh-rsa", key_size=1024)
    assert (await door.ssh("echo", key=weak, options=("-o", "RequiredRSASize=1024"))).code == 255
    good = door.new_key("good", BOB, "ssh-rsa", key_size=2048)
    assert (await door.ssh("echo", key=good)).code == 0
    sha1 = ("-o", "PubkeyAcceptedAlgorithms=ssh-rsa")
    assert (await door.ssh("echo", key=good, options=sha1)).code == 255
    ecdsa = door.new_key("ecdsa", BOB, "ecdsa-sha2-nistp256")
    assert (await door.ssh("echo", key=ecdsa)).code == 0


async def test_a_sha1_signature_is_refused_even_if_the_client_insists(door: Door) -> None:
    key = asyncssh.generate_private_key("ssh-rsa", key_size=2048)
    door.keys.principals[key.get_fingerprint()] = BOB
    with pytest.raises(asyncssh.PermissionDenied):
        await door.connect(client_keys=[key], signature_algs=["ssh-rsa"])


async def test_certificates_are_refused(door: Door) -> None:
    authority = asyncssh.generate_private_key("ssh-ed25519")
    key = asyncssh.generate_private_key("ssh-ed25519")
    door.keys.principals[authority.get_fingerprint()] = ANN
    certificate = authority.generate_user_certificate(key, "ann", principals=["cygni"])
    with pytest.raises(asyncssh.PermissionDenied):
        await door.connect(client_keys=[(key, certificate)])


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("encryption_algs", "aes256-ctr"),
        ("encryption_algs", "chacha20-poly1305@openssh.com"),
        ("encryption_algs", "aes128-cbc"),
        ("kex_algs", "diffie-hellman-group14-sha256"),
        ("kex_algs", "diffie-hellman-group14-sha1"),
        ("server_host_key_algs", "ssh-rsa"),
    ],
)
async def test_old_algorithms_are_not_offered(door: Door, kind: str, name: str) -> None:
    with pytest.raises(asyncssh.KeyExchangeFailed):
        await door.connect(**{kind: [name]})


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("encryption_algs", "aes128-gcm@openssh.com"),
        ("encryption_algs", "aes256-gcm@openssh.com"),
        ("kex_algs", "mlkem768x25519-sha256"),
        ("kex_algs", "curve25519-sha256"),
        ("kex_algs", "ecdh-sha2-nistp256"),
        ("server_host_key_algs", "rsa-sha2-512"),
        ("server_host_key_algs", "ecdsa-sha2-nistp256"),
    ],
)
async def test_modern_algorithms_are_offered(door: Door, kind: str, name: str) -> None:
    async with await door.connect(**{kind: [name]}) as connection:
        assert (await connection.run("echo x")).stdout == "x\n"


async def test_legacy_ciphers_come_back_by_a_setting(launch: Launch) -> None:
    door: Door = await launch(legacy_ciphers=True)
    for cipher in ("aes256-ctr", "chacha20-poly1305@openssh.com"):
        async with await door.connect(encryption_algs=[cipher]) as connection:
            assert (await connection.run("echo x")).stdout == "x\n"


async def test_sessions_per_connection_are_limited(launch: Launch) -> None:
    door: Door = await launch(Limits(sessions_per_connection=3))
    async with await door.connect() as connection:
        running = [await connection.create_process("wait") for _ in range(3)]
        with pytest.raises(asyncssh.ChannelOpenError, match="Too many sessions"):
            await connection.create_process("wait")
        running[0].close()
        await running[0].wait_closed()
        assert (await connection.run("echo x")).stdout == "x\n"
        connection.abort()


async def test_connections_per_key_are_limited(launch: Launch) -> None:
    door: Door = await launch(Limits(connections_per_key=2))
    first, second = await door.connect(), await door.connect()
    third = await door.connect()
    with pytest.raises((asyncssh.Error, OSError)):
        await third.run("echo x")
    first.abort()
    await first.wait_closed()
    async with asyncio.timeout(10):
        while True:
            try:
                async with await door.connect() as again:
                    assert (await again.run("echo x")).stdout == "x\n"
                break
            except (asyncssh.Error, OSError):
                await asyncio.sleep(0.05)
    second.abort()


async def test_a_flood_of_environment_variables_is_not_kept(door: Door) -> None:
    async with await door.connect() as connection:
        many = {f"LC_{number}": "x" * 900 for number in range(100)}
        result = await connection.run("echo fine", env=many)
        assert result.stdout == "fine\n"
        with pytest.raises((asyncssh.Error, OSError)):
            await connection.run("echo x", env={f"LC_{number}": "x" * 900 for number in range(5000)})
    assert (await door.ssh("echo")).code == 0


@pytest.mark.parametrize(
    "value", ["--upload-pack=evil", "version=2;rm", "version=2:" + "x" * 80, "version=3"]
)
async def test_a_strange_git_protocol_is_ignored(door: Door, value: str) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    async with await door.connect() as connection:
        result = await connection.run("git-upload-pack 'shop'", env={"GIT_PROTOCOL": value}, input="0000")
        assert "refs/heads/main" in str(result.stdout)
        assert "version 2" not in str(result.stdout)


async def test_client_environment_does_not_reach_git(door: Door) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    env = {"GIT_TRACE": "1", "LD_PRELOAD": "/nonexistent.so", "GIT_CONFIG_COUNT": "1", "GIT_DIR": "/etc"}
    async with await door.connect() as connection:
        result = await connection.run("git-upload-pack 'shop'", env=env, input="0000")
        assert "refs/heads/main" in str(result.stdout)
        assert result.stderr == ""


async def test_connections_that_never_log_in_are_few_and_end(launch: Launch) -> None:
    door: Door = await launch(Limits(unauthenticated=6, unauthenticated_per_address=2, login_seconds=1.0))
    readers = [await asyncio.open_connection("127.0.0.1", door.server.port) for _ in range(8)]
    banners = await asyncio.gather(
        *(asyncio.wait_for(reader.read(4), 0.5) for reader, _ in readers), return_exceptions=True
    )
    assert sum(banner == b"SSH-" for banner in banners) == 2
    for reader, writer in readers:
        with suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert (await door.ssh("echo")).code == 0


async def test_garbage_instead_of_ssh_does_no_harm(door: Door) -> None:
    for text in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 4096,
        b"SSH-2.0-x\r\n" + b"\xff" * 2048,
        b"SSH-1.5-old\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", door.server.port)
        writer.write(text)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert (await door.ssh("echo")).code == 0


async def test_host_keys_are_private_made_once_and_announced(door: Door, tmp_path: Path) -> None:
    state = tmp_path / "state"
    files = sorted(state.glob("ssh_host_*"))
    assert [path.name for path in files] == ["ssh_host_ecdsa_key", "ssh_host_ed25519_key", "ssh_host_rsa_key"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in files)
    again = [key.get_fingerprint() for key in await host_keys(state)]
    assert door.server.host_key_fingerprints == again
    assert (await asyncssh.get_server_host_key("127.0.0.1", door.server.port, config=None)) is not None


async def test_a_damaged_host_key_is_an_error_and_not_replaced(door: Door, tmp_path: Path) -> None:
    path = tmp_path / "state" / "ssh_host_ed25519_key"
    path.write_text("damaged")
    with pytest.raises(asyncssh.KeyImportError):
        await host_keys(tmp_path / "state")
    assert path.read_text() == "damaged"


async def test_the_server_takes_an_inherited_socket(launch: Launch, tmp_path: Path) -> None:
    from gitserver.ports import GitServerOptions
    from gitserver.server import GitServer

    door: Door = await launch()
    sock = socket.create_server(("127.0.0.1", 0))
    options = GitServerOptions("ignored", 0, tmp_path / "state")
    server = GitServer(options, door.keys, door.pushes, door.commands)
    await server.start(sock)
    try:
        assert server.port == sock.getsockname()[1]
        assert (
            await door.run(*door.ssh_options(), "-p", str(server.port), "cygni@127.0.0.1", "echo", "x")
        ).code == 0
    finally:
        await server.close(1)


async def test_a_command_line_of_64_kib_is_the_longest(door: Door) -> None:
    async with await door.connect() as connection:
        assert (await connection.run("echo " + "x" * 60_000)).stdout == "x" * 60_000 + "\n"
        result = await connection.run("echo " + "x" * requests.MAX_COMMAND)
        assert "65536 bytes" in str(result.stderr)
