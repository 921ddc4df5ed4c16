"""`cygni` on a laptop: finds server and app from the git remote, through OpenSSH's own client."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_support import CYGNI, Completed, Repository, Server

from cygni.commands import registry
from cygni.commands.completion import SHELLS, script

Run = Callable[..., Completed]


@pytest.fixture
def laptop(server: Server, tmp_path: Path) -> Run:
    """Run `cygni` in a directory; OpenSSH finds key and host keys through a `ssh` that is first in PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    options = " ".join(f"'{word}'" for word in server.ssh_options())
    (programs / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh {options} "$@"\n')
    (programs / "ssh").chmod(0o755)

    def run(*words: str, cwd: Path, check: bool = True, **environment: str) -> Completed:
        base = {k: v for k, v in os.environ.items() if not k.startswith(("CYGNI_", "GIT_"))}
        environment = {
            **base,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(tmp_path),
            **environment,
        }
        done = subprocess.run(
            [CYGNI, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=120,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    return run


@pytest.fixture
def clone(server: Server, shop: str, tmp_path: Path) -> Path:
    """A work tree with the shop's remote."""
    work = Repository(tmp_path / "work", {"README": "shop"})
    work.git("remote", "add", "cygni", server.url(shop))
    return work.path


def test_server_and_app_come_from_the_git_remote(laptop: Run, clone: Path, ask: Callable[..., Any]) -> None:
    below = clone / "src"
    below.mkdir()
    assert laptop("apps:info", cwd=below).stdout.startswith("=== shop\n")
    assert laptop("ps:scale", cwd=clone).stdout.startswith("web=1")
    assert laptop("config:set", "LAPTOP=1", "--no-restart", cwd=clone).stdout == "LAPTOP: 1\n"
    assert laptop("config:get", "LAPTOP", cwd=clone).stdout == "1\n"
    laptop("config:unset", "LAPTOP", "--no-restart", cwd=clone)


def test_the_environment_and_the_flag_go_before_the_remote(laptop: Run, server: Server, clone: Path) -> None:
    refused = laptop("ps", cwd=clone, check=False, CYGNI_APP="other")
    assert "no app other" in refused.stderr
    assert laptop("apps:info", "-a", "shop", cwd=clone, CYGNI_APP="other").stdout.startswith("=== shop")
    elsewhere = laptop("apps", cwd=clone.parent, CYGNI_REMOTE=server.url("shop"))
    assert "shop" in elsewhere.stdout


def test_exit_codes_and_streams_are_the_commands(laptop: Run, clone: Path) -> None:
    done = laptop("logs", "--tial", cwd=clone, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Did you mean --tail?" in done.stderr
    assert laptop("rollback", "v999", cwd=clone, check=False).returncode == 1


def test_without_a_remote_it_says_how_to_get_one(laptop: Run, tmp_path: Path) -> None:
    done = laptop("apps", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "cygni init --server HOST" in done.stderr
    assert "git remote add cygni" in done.stderr


def test_another_remote_is_chosen_with_r(laptop: Run, server: Server, clone: Path) -> None:
    subprocess.run(["git", "-C", str(clone), "remote", "add", "staging", server.url("nowhere")], check=True)
    assert "no app nowhere" in laptop("ps", "-r", "staging", cwd=clone, check=False).stderr
    assert "git remote named other" in laptop("ps", "-r", "other", cwd=clone, check=False).stderr


def test_init_makes_a_directory_an_app_that_can_be_pushed(
    laptop: Run, server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "My Blog"
    folder.mkdir()
    address = f"127.0.0.1:{server.ports['ssh_port']}"
    done = laptop("init", "--server", address, cwd=folder)
    assert "Next: git push cygni main" in done.stderr
    (folder / "Procfile").write_text("web: x\n")
    (folder / "requirements.txt").touch()
    work = Repository.at(folder)
    work.commit({})
    pushed = work.git("push", "cygni", "main", env=server.push_environment())
    assert "Released v1" in pushed.stderr
    assert laptop("init", "--server", address, cwd=folder).returncode == 0
    assert (
        laptop("open", cwd=folder, BROWSER="true").stdout
        == f"http://my-blog.localhost:{server.ports['http_port']}/\n"
    )
    assert (
        "cannot be an app's name" in laptop("init", "No", "--server", address, cwd=folder, check=False).stderr
    )
    server.ssh("apps:destroy", "-a", "my-blog", "--confirm", "my-blog")


def test_git_remote_adds_and_corrects(laptop: Run, server: Server, clone: Path) -> None:
    laptop("git:remote", "-a", "blog", cwd=clone)
    url = subprocess.run(
        ["git", "-C", str(clone), "remote", "get-url", "cygni"], check=True, capture_output=True, text=True
    ).stdout
    assert url == f"{server.url('blog')}\n"
    assert server.ssh("git:remote", "-a", "shop").stdout == (
        f"git remote add cygni ssh://cygni@localhost:{server.ports['ssh_port']}/shop\n"
    )


def editor(folder: Path, script_: str) -> str:
    path = folder / "editor.py"
    path.write_text(
        f"import pathlib, sys\npath = pathlib.Path(sys.argv[1])\ntext = path.read_text()\n{script_}\n"
    )
    return f"{sys.executable} {path}"


def test_config_is_edited_in_the_persons_editor(
    laptop: Run, server: Server, clone: Path, ask: Callable[..., Any]
) -> None:
    server.ssh("config:set", "-a", "shop", "--no-restart", "OLD=1", "KEEP=yes")
    change = editor(clone.parent, "path.write_text(text.replace('OLD=1', 'NEW=\"two words\"'))")
    done = laptop("config:edit", cwd=clone, EDITOR=change)
    assert "Setting NEW and unsetting OLD" in done.stderr
    now = ask("config", "-a", "shop")
    assert (now.get("OLD"), now["NEW"], now["KEEP"]) == (None, "two words", "yes")
    same = laptop("config:edit", cwd=clone, EDITOR="true")
    assert "Nothing was changed" in same.stderr
    broken = editor(clone.parent, "path.write_text(text + 'nonsense')")
    assert "is not NAME=value" in laptop("config:edit", cwd=clone, EDITOR=broken, check=False).stderr
    assert "did not end well" in laptop("config:edit", cwd=clone, EDITOR="false", check=False).stderr
    assert ask("config", "-a", "shop") == now


def test_an_edit_over_somebody_elses_change_is_refused(
    laptop: Run, server: Server, clone: Path, ask: Callable[..., Any]
) -> None:
    meanwhile = (
        "import subprocess\n"
        f"subprocess.run({[str(CYGNI), 'config:set', '-a', 'shop', '--no-restart', 'MEANWHILE=1']!r},"
        f" env={{**__import__('os').environ, 'CYGNI_DATA': {str(server.data)!r}}}, check=True)\n"
        "path.write_text(text + 'MINE=1\\n')"
    )
    refused = laptop("config:edit", cwd=clone, EDITOR=editor(clone.parent, meanwhile), check=False)
    assert refused.returncode == 1
    assert "Somebody changed the config of shop meanwhile" in refused.stderr
    assert "MINE" not in ask("config", "-a", "shop")
    server.ssh("config:unset", "-a", "shop", "--no-restart", "MEANWHILE")


def test_the_servers_own_shell_asks_on_a_terminal(server: Server) -> None:
    server.ssh("apps:create", "typed")
    leader, terminal = pty.openpty()
    process = subprocess.Popen(
        [CYGNI, "apps:destroy", "-a", "typed"],
        env=server.environment,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    said = b""
    while b"to go on: " not in said:
        said += os.read(leader, 1000)
    os.write(leader, b"typed\n")
    assert process.wait(60) == 0
    os.close(leader)
    assert "typed" not in server.ssh("apps").stdout


def complete(shell: str, line: str) -> list[str]:
    """What bash offers at the end of a line."""
    program = (
        f"{script(registry, shell)}\nCOMP_LINE='{line}'\nCOMP_POINT=${{#COMP_LINE}}\n_cygni\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_bash_completes_commands_and_flags() -> None:
    assert complete("bash", "cygni rollb") == ["rollback"]
    assert complete("bash", "cygni config:ex") == ["export"]
    assert "--since" in complete("bash", "cygni logs -a shop --s")
    assert complete("bash", "cygni config:set -a shop --no") == ["--no-restart"]


def test_there_is_a_script_for_each_shell(laptop: Run, server: Server, tmp_path: Path) -> None:
    for shell in SHELLS:
        assert "config:set" in laptop("completion", shell, cwd=tmp_path).stdout
        assert server.ssh("completion", shell).stdout == script(registry, shell)
    assert laptop("completion", "tcsh", cwd=tmp_path, check=False).returncode == 2


def test_a_laptop_does_not_load_the_server() -> None:
    """Every command on a laptop waits for these imports."""
    code = "import sys, cygni.cli, cygni.remote; print([m for m in ('sqlalchemy', 'asyncssh', 'docker') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
