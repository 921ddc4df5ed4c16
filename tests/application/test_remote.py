"""Commands from a laptop become an `ssh` command line."""

import pytest

from cygni.remote import Server, parse_remote, ssh_arguments


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("ssh://cygni@host:2222/shop", Server("cygni@host", 2222, "shop")),
        ("ssh://cygni@host/shop.git", Server("cygni@host", None, "shop")),
        ("cygni@host:shop", Server("cygni@host", None, "shop")),
        ("cygni@host:shop.git", Server("cygni@host", None, "shop")),
    ],
)
def test_remotes_are_read(url: str, server: Server) -> None:
    assert parse_remote(url) == server


def test_the_app_of_the_remote_is_added_to_commands_that_take_one() -> None:
    server = Server("cygni@host", 2222, "shop")
    assert ssh_arguments(server, None, ["logs", "-t"])[-1] == "logs -a shop -t"
    assert ssh_arguments(server, None, ["logs", "-a", "other"])[-1] == "logs -a other"
    assert ssh_arguments(server, "mine", ["logs"])[-1] == "logs -a mine"
    assert ssh_arguments(server, None, ["keys"])[-1] == "keys"


def test_words_are_quoted_and_never_become_options_of_ssh() -> None:
    arguments = ssh_arguments(
        Server("-oProxyCommand=x", None, None), None, ["config:set", "-a", "s", "A=b c; d"]
    )
    assert arguments[arguments.index("--") + 1] == "-oProxyCommand=x"
    assert arguments[-1] == "config:set -a s 'A=b c; d'"
