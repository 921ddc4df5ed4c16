"""TLS: certificates by name, replaced while it runs, kept over restarts; redirects; refusals."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from authority import Authority

from router.client import RouterClient
from router.options import Limits
from router.table import AppRoute, Certificate
from tests.router.conftest import Raw

if TYPE_CHECKING:
    from tests.router.conftest import Request, World

REFUSED = (ssl.SSLError, ConnectionError)
LIMITS = Limits(sweep=0.05, linger=0.5, drain=5)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


async def secure(world: World, authority: Authority, host: str) -> Raw:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", world.router.https_port, ssl=authority.trusting(), server_hostname=host
    )
    raw = Raw(reader, writer)
    world._stack.push_async_callback(raw.close)
    return raw


def shown(raw: Raw) -> str:
    """The common name of the certificate that was shown."""
    subject = raw.writer.get_extra_info("ssl_object").getpeercert()["subject"]
    return dict(part[0] for part in subject)["commonName"]


async def certify(world: World, *certificates: Certificate) -> None:
    version = 0
    for certificate in certificates:
        version = await world.control.certify(certificate)
    await world.control.acknowledged(version, 10)


async def test_each_name_gets_its_certificate_and_the_app_is_told_of_tls(
    world: World, authority: Authority
) -> None:
    await world.launch(LIMITS, workers=2, tls=True)
    seen: list[Request] = []

    async def answer(request: Request) -> None:
        seen.append(request)
        await request.answer(b"x" * 200_000)

    await world.route((await world.http("app", answer)).target(), hosts=("shop.localhost", "*.wild.test"))
    await certify(
        world,
        authority.issue("shop", "shop.localhost"),
        authority.issue("wild", "*.wild.test"),
    )
    for host, name in (("shop.localhost", "shop"), ("a.wild.test", "wild"), ("SHOP.localhost", "shop")):
        client = await secure(world, authority, host)
        assert shown(client) == name
        assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        for _ in range(2):
            status, _, body = await client.get("/", host)
            assert (status, len(body)) == (200, 200_000)
    assert seen[0].header("x-forwarded-proto") == "https"
    assert seen[0].header("x-forwarded-port") == str(world.router.https_port)
    assert world.control.https_port == world.router.https_port


async def test_an_unknown_name_and_a_broken_certificate_are_refused_within_tls(
    world: World, authority: Authority
) -> None:
    await world.launch(LIMITS, tls=True)
    await world.route((await world.echo("app")).target())
    with pytest.raises(REFUSED):
        await secure(world, authority, "shop.localhost")
    good, other = authority.issue("good", "shop.localhost"), authority.issue("other", "other.localhost")
    await certify(world, good, Certificate("broken", ("other.localhost",), good.chain, other.key))
    with pytest.raises(REFUSED):
        await secure(world, authority, "other.localhost")
    with pytest.raises(REFUSED):
        await secure(world, authority, "unknown.localhost")
    assert (await (await secure(world, authority, "shop.localhost")).get())[0] == 200
    old = authority.trusting()
    with pytest.warns(DeprecationWarning):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(REFUSED):
        await asyncio.open_connection(
            "127.0.0.1", world.router.https_port, ssl=old, server_hostname="shop.localhost"
        )


async def test_a_certificate_is_replaced_while_connections_stand(world: World, authority: Authority) -> None:
    await world.launch(LIMITS, workers=2, tls=True)
    await world.route((await world.echo("app")).target())
    await certify(world, authority.issue("web", "shop.localhost", shown_for=("*",)))
    standing = await secure(world, authority, "shop.localhost")
    assert (await standing.get())[0] == 200
    before = standing.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"]
    await certify(world, authority.issue("web", "shop.localhost"))
    for _ in range(8):
        fresh = await secure(world, authority, "shop.localhost")
        assert fresh.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"] != before
    assert (await standing.get())[0] == 200
    await world.control.acknowledged(await world.control.uncertify("web"), 10)
    with pytest.raises(REFUSED):
        await secure(world, authority, "shop.localhost")
    assert (await standing.get())[0] == 200


async def test_certificates_survive_a_restart_without_a_control_plane(
    world: World, authority: Authority
) -> None:
    router = await world.launch(LIMITS, tls=True)
    app = await world.echo("app")
    await world.route(app.target())
    await certify(world, authority.issue("shop", "shop.localhost"))
    await world.control.close()
    await router.stop()
    assert (world.folder / "table.json").stat().st_mode & 0o777 == 0o600
    await router.start()
    assert (await (await secure(world, authority, "shop.localhost")).get())[0] == 200
    control = RouterClient(router.socket)
    await control.connect(10)
    route = AppRoute("a1", "shop", ("shop.localhost",), (app.target(),))
    await control.acknowledged(await control.synchronize([route], []), 10)
    with pytest.raises(REFUSED):
        await secure(world, authority, "shop.localhost")
    await control.close()


async def test_an_https_only_app_redirects_and_keeps_method_and_path(
    world: World, authority: Authority
) -> None:
    await world.launch(LIMITS, tls=True)
    app = await world.echo("app")
    route = AppRoute("a1", "shop", ("shop.localhost",), (app.target(),), "live", https_only=True)
    await world.control.acknowledged(await world.control.publish(route), 10)
    await certify(world, authority.issue("shop", "shop.localhost"))
    client = await world.client()
    base = f"https://shop.localhost:{world.router.https_port}"
    status, headers, _ = await client.get("/a%20b?c=d&e", "shop.localhost:8080")
    assert (status, headers["location"]) == (301, f"{base}/a%20b?c=d&e")
    client.send('POST /"\xe9 HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 0\r\n\r\n')
    status, headers, _ = await client.answer()
    assert (status, headers["location"]) == (308, f'{base}/"%E9')
    assert "at=info" in await world.access_line(containing="status=308")
    assert app.connections == 0
    encrypted = await secure(world, authority, "shop.localhost")
    assert (await encrypted.get())[0] == 200


async def test_a_trusted_proxy_that_speaks_tls_is_not_sent_round_in_circles(world: World) -> None:
    await world.launch(LIMITS, trusted=("127.0.0.1",))
    app = await world.echo("app")
    route = AppRoute("a1", "shop", ("shop.localhost",), (app.target(),), "live", https_only=True)
    await world.control.acknowledged(await world.control.publish(route), 10)
    client = await world.client()
    for proto, expected in (("https", 200), ("http", 301)):
        client.send(f"GET / HTTP/1.1\r\nHost: shop.localhost\r\nX-Forwarded-Proto: {proto}\r\n\r\n")
        status, headers, _ = await client.answer()
        assert status == expected
    assert headers["location"] == "https://shop.localhost/"


async def test_upgraded_connections_and_refusals_end_cleanly_within_tls(
    world: World, authority: Authority
) -> None:
    await world.launch(LIMITS, tls=True)

    async def answer(request: Request) -> None:
        request.writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        request.writer.write(await request.reader.readexactly(5))
        request.writer.write_eof()

    await world.route((await world.http("app", answer)).target())
    await certify(world, authority.issue("shop", "shop.localhost"))
    client = await secure(world, authority, "shop.localhost")
    client.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello")
    assert (await client.head())[0] == 101
    async with asyncio.timeout(5):
        assert await client.reader.read() == b"hello"
    wrong = await secure(world, authority, "shop.localhost")
    wrong.send("GET / HTTP/1.1\r\n\r\n")
    assert (await wrong.answer())[0] == 400
    assert await wrong.ended()


def test_a_key_is_not_shown_where_a_certificate_is_printed() -> None:
    assert "secret" not in repr(Certificate("n", ("h",), "chain", "secret"))


async def test_a_socket_of_the_service_manager_named_https_speaks_tls(
    world: World, authority: Authority
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain, socket.create_server(("127.0.0.1", 0)) as tls:
        await world.launch(LIMITS, sockets=(plain.fileno(), tls.fileno()), socket_names="http:https")
        assert (world.router.port, world.router.https_port) == (plain.getsockname()[1], tls.getsockname()[1])
        await world.route((await world.echo("app")).target())
        await certify(world, authority.issue("shop", "shop.localhost"))
        assert (await (await secure(world, authority, "shop.localhost")).get())[0] == 200
        assert (await (await world.client()).get())[0] == 200
