"""The units for real: installed by install.sh on a machine with systemd, under load, killed, rebooted, removed."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from machines import booted
from sites import SOURCE, Site
from tests_support import Load, Repository, eventually, example

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

APP = "shop"
UNITS = ("cygni.service", "cygni-router.service", "cygni-ssh.socket", "cygni-router.socket")
SERVICES = ("cygni.service", "cygni-router.service", "cygni-metadata.service")


@pytest.fixture(scope="session")
def work(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """An app that was pushed twice: `/` names the second version."""
    made = Repository(tmp_path_factory.mktemp("work") / APP, example("python"))
    assert "Released v1" in site.push(made, APP).stderr
    source = (made.path / "app.py").read_text()
    made.commit({"app.py": source.replace('VERSION = "1"', 'VERSION = "2"')})
    assert "Released v2" in site.push(made, APP).stderr
    return made


def serves_the_second(site: Site) -> bool:
    try:
        return site.get(APP) == (200, "Hello from Python, version 2, release v2\n")
    except OSError:
        return False


@pytest.mark.usefixtures("work")
def test_a_push_over_ssh_answers_on_the_port_of_the_socket(site: Site) -> None:
    assert serves_the_second(site)
    assert [site.shown(unit, "ActiveState") for unit in UNITS] == ["active"] * len(UNITS)
    assert site.shown("cygni.target", "ActiveState") == "active"


def test_a_second_run_of_the_installer_changes_nothing(site: Site) -> None:
    def survey() -> str:
        files = "find /opt/cygni /etc /usr/local /var/lib/cygni/cygni.db -xdev -newer /tmp/mark -type f"
        return site.machine.shell(f"{files} | grep -v -e '/etc/mtab' -e pycache || true").output

    started = [site.shown(unit, "InvocationID") for unit in UNITS]
    site.machine.run("touch", "/tmp/mark")
    answer = site.install()
    assert "asked for" not in answer.output
    assert "Program:" not in answer.output
    assert [site.shown(unit, "InvocationID") for unit in UNITS] == started, "something was restarted"
    assert survey() == ""


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("unit", ["cygni.service", "cygni-router.service"])
def test_a_restart_under_load_loses_no_request(site: Site, unit: str) -> None:
    before = site.shown(unit, "MainPID")
    with Load(site, APP) as load:  # type: ignore[arg-type]
        eventually(lambda: load.answers > 20)
        site.systemctl("restart", unit)
        after = load.answers
        eventually(lambda: load.answers > after + 50)
    assert load.failures == []
    assert site.shown(unit, "MainPID") != before


@pytest.mark.usefixtures("work")
def test_a_push_that_comes_while_the_control_plane_restarts_waits_for_it(site: Site) -> None:
    site.systemctl("stop", "--no-block", "cygni.service")
    site.systemctl("start", "--no-block", "cygni.service")
    answer = site.ssh("apps")
    assert answer.returncode == 0, answer.stderr
    assert APP in answer.stdout


@pytest.mark.usefixtures("work")
def test_a_killed_control_plane_comes_back_and_the_app_does_not_notice(site: Site) -> None:
    before = site.shown("cygni.service", "MainPID")
    with Load(site, APP) as load:  # type: ignore[arg-type]
        site.systemctl("kill", "--signal=KILL", "cygni.service")
        eventually(lambda: site.shown("cygni.service", "MainPID") not in {before, "0"}, 60)
        eventually(lambda: site.shown("cygni.service", "ActiveState") == "active", 60)
    assert load.failures == []
    assert "web.1" in site.ssh("ps", "-a", APP).stdout


def test_a_control_plane_that_hangs_is_replaced(site: Site, watchdog: Callable[[int], None]) -> None:
    watchdog(3)
    before = site.shown("cygni.service", "MainPID")
    site.machine.run("kill", "-STOP", before)
    eventually(lambda: site.shown("cygni.service", "MainPID") not in {before, "0"}, 60)
    eventually(lambda: site.shown("cygni.service", "ActiveState") == "active", 60)
    assert "Watchdog timeout" in site.journal()


@pytest.fixture
def watchdog(site: Site, request: pytest.FixtureRequest) -> Callable[[int], None]:
    """Shorten the time after which a silent control plane is taken for hung."""
    override = "/etc/systemd/system/cygni.service.d/test.conf"

    def undo() -> None:
        site.machine.run("rm", override)
        site.systemctl("daemon-reload")
        site.systemctl("restart", "cygni.service")

    def shorten(seconds: int) -> None:
        site.machine.run("mkdir", "-p", str(Path(override).parent))
        site.machine.write(override, f"[Service]\nWatchdogSec={seconds}\n")
        request.addfinalizer(undo)
        site.systemctl("daemon-reload")
        site.systemctl("restart", "cygni.service")

    return shorten


@pytest.mark.usefixtures("work")
def test_apps_run_in_their_slice(site: Site) -> None:
    pid = container(site, "{{.State.Pid}}")
    assert "/cygni.slice/cygni-apps.slice/docker-" in site.machine.run("cat", f"/proc/{pid}/cgroup").output
    assert site.shown("cygni-apps.slice", "ActiveState") == "active"


def container(site: Site, form: str) -> str:
    listed = "docker ps -q --filter label=cygni.app=" + APP
    return site.machine.shell(f"docker inspect -f '{form}' $({listed} | head -n 1)").output.strip()


def reaches_metadata(site: Site) -> bool:
    """Whether an app's container gets an answer from a server at the address of a cloud's metadata service."""
    ask = ("import urllib.request as r; print(r.urlopen('http://169.254.169.254:8000/', timeout=3).status)",)
    name = container(site, "{{.Name}}").lstrip("/")
    return site.machine.run("docker", "exec", name, "python3", "-c", *ask, check=False).code == 0


@pytest.mark.usefixtures("work")
def test_no_app_reaches_the_metadata_address_not_even_after_the_engine_restarts(
    site: Site, metadata: None
) -> None:
    del metadata
    assert not reaches_metadata(site)
    site.systemctl("stop", "cygni-metadata.service")
    assert reaches_metadata(site), "without the rules it is reachable, so the test means something"
    site.systemctl("restart", "docker.service")
    eventually(lambda: site.shown("cygni-metadata.service", "ActiveState") == "active")
    eventually(lambda: serves_the_second(site), 90)
    assert not reaches_metadata(site)


@pytest.fixture
def metadata(site: Site, request: pytest.FixtureRequest) -> None:
    """A cloud's metadata service: in a network of its own, so that packets to it are forwarded as in a cloud."""
    script = """
        ip netns add cloud
        ip link add cloud0 type veth peer name eth0 netns cloud
        ip addr add 169.254.169.1/24 dev cloud0
        ip link set cloud0 up
        ip netns exec cloud ip addr add 169.254.169.254/24 dev eth0
        ip netns exec cloud ip link set eth0 up
        ip netns exec cloud ip route add default via 169.254.169.1
        systemd-run --quiet --unit=cloud ip netns exec cloud python3 -m http.server 8000 --directory /usr/share/doc
    """
    site.machine.shell(script)
    request.addfinalizer(lambda: site.machine.shell("systemctl stop cloud; ip netns del cloud"))
    ask = "import urllib.request as r; r.urlopen('http://169.254.169.254:8000/', timeout=3)"
    eventually(lambda: site.machine.run("python3", "-c", ask, check=False).code == 0)


@pytest.mark.parametrize("unit", SERVICES)
def test_running_units_are_hardened(site: Site, unit: str) -> None:
    """As systemd sees them with every drop-in, on the oldest release that is supported."""
    shown = site.machine.run("systemd-analyze", "security", "--no-pager", unit).output
    found = re.search(rf"exposure level for {unit}: (\d+\.\d)", shown)
    assert found, shown
    assert float(found[1]) <= 3.0, shown


@pytest.mark.usefixtures("work")
def test_everything_comes_back_after_a_reboot(site: Site) -> None:
    site.machine.restart()
    booted(site.machine)
    eventually(lambda: serves_the_second(site), 90)
    assert [site.shown(unit, "ActiveState") for unit in UNITS] == ["active"] * len(UNITS)
    assert site.shown("cygni-metadata.service", "ActiveState") == "active"
    assert site.ssh("releases", "-a", APP).stdout.count("v2") >= 1


@pytest.mark.usefixtures("work")
def test_an_upgrade_under_load_loses_no_request_and_one_that_fails_is_taken_back(site: Site) -> None:
    assert site.folder is not None
    before = site.machine.run("readlink", "/opt/cygni/current").output
    changed, broken = site.folder / "config/__init__.py", site.folder / "cygni/cli.py"
    changed.write_text(f"{changed.read_text()}\n# another version\n")
    with Load(site, APP) as load:  # type: ignore[arg-type]
        site.install()
        after = site.machine.run("readlink", "/opt/cygni/current").output
        working = broken.read_text()
        broken.write_text(working.replace("asyncio.run(serve(settings))", "sys.exit('broken on purpose')"))
        assert broken.read_text() != working
        answer = site.machine.run("./install.sh", "--yes", cwd=site.source, check=False)
        broken.write_text(working)
    assert after != before
    assert answer.code == 1
    assert "going back to" in answer.output
    assert site.machine.run("readlink", "/opt/cygni/current").output == after
    assert load.failures == []
    assert serves_the_second(site)
    assert APP in site.ssh("apps").stdout


@pytest.mark.usefixtures("work")
def test_removal_leaves_the_data_and_a_new_installation_takes_it_up(site: Site) -> None:
    site.install("--uninstall")
    assert site.machine.run("sh", "-c", "ls /opt/cygni /etc/systemd/system/cygni*", check=False).code != 0
    assert site.machine.run("docker", "ps", "-q").output.strip() == ""
    site.install()
    eventually(lambda: serves_the_second(site), 90)


def test_what_stands_in_the_way_is_told_at_once_and_nothing_is_changed(site: Site) -> None:
    site.machine.shell("systemd-run --quiet --unit=squatter python3 -m http.server 8088")
    eventually(lambda: ":8088" in site.machine.run("ss", "-Hltn").output)
    bad = ("--domain", "-bad-", "--key", "no key", "--ssh-port", "99999", "--http-port", "8088")
    answer = site.machine.run("./install.sh", "--yes", *bad, cwd=SOURCE, check=False)
    assert answer.code == 1
    for each in (
        "-bad- is not a domain",
        "neither a file nor a public key",
        "port 99999",
        "taken by python3",
    ):
        assert each in answer.output
    assert site.shown("cygni.service", "ActiveState") == "active"
    site.systemctl("stop", "squatter")


@pytest.mark.usefixtures("work")
def test_purging_leaves_nothing_of_it(site: Site) -> None:
    """The last one: nothing serves afterwards."""
    site.install("--uninstall", "--purge")
    left = site.machine.shell(
        "ls -d /opt/cygni /var/lib/cygni /etc/cygni /usr/local/bin/cygni /etc/systemd/system/*cygni* "
        "/etc/s*.d/cygni.conf /etc/tmpfiles.d/cygni.conf 2>/dev/null || true; getent passwd cygni || true;"
        "docker ps -aq; docker images -q --filter label=cygni.app; docker network ls -q --filter label=cygni.server;"
        "iptables -S | grep CYGNI || true; systemctl list-units --all --no-legend 'cygni*.service' 'cygni*.socket'"
    )
    assert left.output.strip() == ""
    assert site.machine.run("docker", "images", "-q", "cygni-stack/debian-bookworm").output.strip() != ""
