"""Base images: recipes, the host's sources, one maker at a time; and the real images."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from buildpacks.buildkit.client import EngineClient
from buildpacks.buildkit.engine import BuildKitBuilder
from buildpacks.buildkit.images import Images
from buildpacks.ports import BuildLimits
from buildpacks.stacks import apt, bootstrap, lock
from buildpacks.stacks import stack as stack_module
from buildpacks.stacks.recipe import LABEL, Recipe
from buildpacks.stacks.stack import StackError, StackImages, Stacks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.buildpacks_build.conftest import RequestMaker, Screen


SOURCES = """\
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

# third party
Types: deb
URIs: http://other.example/linux/debian
Suites: bookworm
Components: stable
Signed-By: /etc/apt/keyrings/other.asc

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main
"""
LIST = """\
# deb http://mirror.example/debian bookworm main
deb http://mirror.example/debian bookworm main
deb [signed-by=/etc/apt/keyrings/other.asc] http://other.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.example/s bookworm-security main
deb http://other.example/apt cloud-sdk-bookworm main
deb-src http://mirror.example/debian bookworm main
"""


def test_only_debians_own_sources_of_the_suite_are_taken(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(LIST)
    (tmp_path / "sources.list.d" / "debian.sources").write_text(SOURCES)
    (tmp_path / "sources.list.d" / "old.sources.disabled").write_text(SOURCES)
    found = apt.debian_sources("bookworm", tmp_path)
    assert sorted(found) == ["debian.sources", "sources.list"]
    assert found["debian.sources"].count("Types:") == 1
    assert found["sources.list"].splitlines() == [LIST.splitlines()[1], LIST.splitlines()[3]]
    assert apt.debian_sources("trixie", tmp_path) == {}


def test_a_recipes_hashes_follow_what_goes_in_and_nothing_else() -> None:
    plain, same = Recipe(), Recipe()
    certified = Recipe(certificates={"a.crt": b"pem"})
    more = Recipe(build_packages=("make",))
    assert (plain.base_hash, plain.run_hash, plain.build_hash) == (
        same.base_hash,
        same.run_hash,
        same.build_hash,
    )
    assert certified.base_hash == plain.base_hash
    assert certified.run_hash != plain.run_hash
    assert certified.build_hash != plain.build_hash
    assert more.run_hash == plain.run_hash
    assert more.build_hash != plain.build_hash
    assert Recipe(suite="trixie").base_hash != plain.base_hash


def test_without_root_it_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(bootstrap.BootstrapError, match="cygni stack:build` as root"):
        bootstrap.check_possible()


def test_without_mmdebstrap_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(bootstrap.BootstrapError, match="apt-get install mmdebstrap"):
        bootstrap.check_possible()


async def test_the_lock_waits_for_another_process_and_outlives_its_death(
    tmp_path: Path, screen: Screen
) -> None:
    path = tmp_path / "lock"
    code = "import fcntl,sys,os; f=os.open(sys.argv[1],os.O_RDWR|os.O_CREAT); fcntl.flock(f,fcntl.LOCK_EX); print('held',flush=True); sys.stdin.read()"
    other = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert other.stdout is not None
    await other.stdout.readline()
    with pytest.raises(TimeoutError):
        async with lock.exclusive(path, 0.3, screen, "waiting"):
            pass
    assert screen.lines == ["waiting"]
    other.kill()
    await other.communicate()
    async with lock.exclusive(path, 5, screen, "waiting"):
        pass


@pytest.mark.docker
async def test_both_images_are_there_labelled_and_have_what_they_promise(
    builder: BuildKitBuilder, request_for: RequestMaker, stack: StackImages, images: Images, screen: Screen
) -> None:
    labels = await images.labels(stack.run)
    assert labels is not None
    assert len(labels[LABEL]) == 32
    run = "RUN id app; stat -c '%U %a' /app; for p in tini python3 busybox; do which $p; done; pwd; ls -A /app | wc -l"
    await builder.build(request_for(run), screen)
    build = "python3 -m venv /v && /v/bin/pip --version && gcc --version && git --version && node --version && npm -v"
    await builder.build(request_for(f"FROM {stack.build}\nRUN {build}\n"), screen)
    shown = [line.strip() for line in screen.lines]
    assert "uid=1000(app) gid=1000(app) groups=1000(app)" in shown
    assert {"app 755", "/app", "0", "/usr/bin/tini", "/usr/bin/python3", "/usr/bin/busybox"} <= set(shown)


@pytest.mark.docker
async def test_certificates_of_the_host_are_trusted(
    builder: BuildKitBuilder, request_for: RequestMaker, stack: StackImages, screen: Screen
) -> None:
    """Every certificate of the host's folder is in the bundle that the environment names."""
    certificates = sorted(stack_module.HOST_CERTIFICATES.glob("*.crt"))
    files = {f"c{number}.crt": file.read_bytes() for number, file in enumerate(certificates)} | {"none": b""}
    check = (
        "import os,ssl,glob;b=ssl.create_default_context().get_ca_certs(True);"
        "print('trusted',all(ssl.PEM_cert_to_DER_cert(open(f).read().strip()) in b for f in glob.glob('/c/*.crt')),"
        "all(os.environ[n]==os.environ['SSL_CERT_FILE'] for n in ('PIP_CERT','REQUESTS_CA_BUNDLE','NODE_EXTRA_CA_CERTS')))"
    )
    await builder.build(request_for(f'COPY . /c/\nRUN python3 -c "{check}"', files), screen)
    assert "       trusted True True" in screen.lines


@pytest.mark.docker
async def test_pip_and_npm_reach_their_registries_in_a_build(
    builder: BuildKitBuilder, request_for: RequestMaker, stack: StackImages, screen: Screen, token: str
) -> None:
    steps = f"python3 -m venv /v && /v/bin/pip install --no-cache-dir six && cd /tmp && npm install left-pad; : {token}"
    await builder.build(
        request_for(f"FROM {stack.build}\nRUN {steps}\n", limits=BuildLimits(seconds=150)), screen
    )
    assert screen.has("Successfully installed six")
    assert screen.has("added 1 package")


@pytest.mark.docker
async def test_many_ensure_at_once_and_the_images_are_made_once(
    engine: EngineClient,
    images: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    screen: Screen,
    token: str,
) -> None:
    """The bootstrap is replaced by a tiny archive; the run and build layers are real."""
    import io
    import tarfile
    from contextlib import asynccontextmanager

    made: list[str] = []

    @asynccontextmanager
    async def tiny(suite: str, *_: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        made.append(suite)
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("file"))

        async def stream() -> AsyncIterator[bytes]:
            yield data.getvalue()

        yield stream()

    class Layers(Recipe):
        def run_dockerfile(self, base: str) -> str:
            return f"FROM {base}\nENV A={token}\n"

        def build_dockerfile(self, run: str) -> str:
            return f"FROM {run}\nENV B=1\n"

    monkeypatch.setattr(bootstrap, "debian", tiny)
    monkeypatch.setattr(bootstrap, "check_possible", lambda: None)
    monkeypatch.setattr(stack_module, "Recipe", Layers)
    repository = f"cygni-test/stack-{token}"
    try:
        options: dict[str, Any] = {"lock_file": tmp_path / "lock", "repository": repository}
        async with Stacks(engine.socket, (), **options) as one, Stacks(engine.socket, (), **options) as two:
            await asyncio.gather(*(stacks.ensure(screen) for stacks in (one, two) for _ in range(3)))
            assert made == ["bookworm"]
            assert sum("Making the base images" in line for line in screen.lines) == 1
            assert screen.has("Another process")
        (tmp_path / "more.crt").write_bytes(b"pem")
        async with Stacks(engine.socket, (tmp_path,), **options) as changed:
            await changed.ensure(screen)
        assert made == ["bookworm"], "a certificate changes the layers, not the bootstrap"
        assert sum("Making the base images" in line for line in screen.lines) == 2
        left = [image for image in await images.list({LABEL: ""}) if not image.tags]
        assert not [image for image in left if image.size == 0], "what a new one replaces is removed"
    finally:
        for tag in ("build", "run", "base"):
            await images.remove(f"{repository}:{tag}")


@pytest.mark.docker
@pytest.mark.skipif(os.geteuid() != 0, reason="mmdebstrap needs root")
async def test_a_bootstrap_that_fails_leaves_no_image_and_says_why(
    engine: EngineClient,
    images: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    screen: Screen,
    token: str,
) -> None:
    repository = f"cygni-test/stack-{token}"
    async with Stacks(
        engine.socket, (), lock_file=tmp_path / "lock", suite="no-such-suite", repository=repository
    ) as stacks:
        with pytest.raises(StackError, match="no-such-suite"):
            await stacks.ensure(screen)
    assert not await images.exists(f"{repository}:base")


@pytest.mark.docker
@pytest.mark.skipif(os.geteuid() != 0, reason="mmdebstrap needs root")
async def test_a_cancelled_bootstrap_ends_mmdebstrap_and_leaves_no_image(
    engine: EngineClient, images: Images, tmp_path: Path, screen: Screen, token: str
) -> None:
    repository = f"cygni-test/stack-{token}"
    async with Stacks(engine.socket, (), lock_file=tmp_path / "lock", repository=repository) as stacks:
        task = asyncio.create_task(stacks.ensure(screen))
        await screen.until("running apt-get update")
        folder = next(line.split()[1] for line in screen.lines if "as tempdir" in line)
        assert Path(folder).exists()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not Path(folder).exists()
    assert not await images.exists(f"{repository}:base")


def test_debians_keys_are_named_where_this_machines_apt_has_no_debian_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "debian-archive-keyring.gpg"
    monkeypatch.setattr(bootstrap, "KEYRING", keys)
    assert not any("--keyring" in word for word in bootstrap._arguments("bookworm", ["tini"], [], []))
    keys.touch()
    assert f"--keyring={keys}" in bootstrap._arguments("bookworm", ["tini"], [], [])
    own = bootstrap._arguments("bookworm", ["tini"], [], ["/etc/apt/sources.list"])
    assert not any("--keyring" in word for word in own), "the operator's mirror may be signed by another key"
