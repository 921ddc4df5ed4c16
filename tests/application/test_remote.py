"""Commands from a laptop become an `ssh` command line."""

import pytest

from cygni.remote import TERMINAL_COMMANDS, OverSsh, Server, parse_remote, parse_server, take_remote_flag
from cygni.view import View, take_view


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


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("host", Server("cygni@host", 2222, None)),
        ("host:22", Server("cygni@host", 22, None)),
        ("me@host", Server("me@host", 2222, None)),
        ("ssh://cygni@host:2200", Server("cygni@host", 2200, None)),
    ],
)
def test_servers_are_read_as_people_name_them(text: str, server: Server) -> None:
    assert parse_server(text) == server
    assert server.url("shop").endswith("/shop")


def test_what_the_laptop_knows_goes_before_the_command() -> None:
    view = View(app="shop", columns=120, colour=True, interactive=True)
    line = OverSsh(Server("cygni@host", 2222, "shop")).arguments(["logs", "-t"], view)[-1]
    assert line == "--client=app:shop,columns:120,colour,interactive logs -t"
    assert take_view(line.split()) == (["logs", "-t"], view)


@pytest.mark.parametrize("word", ["--client=", "--client=app:../x,columns:9,columns:x,huh", "--client=,,:"])
def test_a_strange_word_of_a_client_says_nothing(word: str) -> None:
    assert take_view([word, "apps"]) == (["apps"], View())


def test_words_are_quoted_and_never_become_options_of_ssh() -> None:
    server = Server("-oProxyCommand=x", None, None)
    arguments = OverSsh(server).arguments(["config:set", "-a", "s", "A=b c; d"], View())
    assert arguments[arguments.index("--") + 1] == "-oProxyCommand=x"
    assert arguments[-1] == "--client= config:set -a s 'A=b c; d'"


@pytest.mark.parametrize(
    ("line", "rest", "remote"),
    [
        ("logs -t", "logs -t", "cygni"),
        ("logs -r staging -t", "logs -t", "staging"),
        ("-r staging logs", "logs", "staging"),
        ("logs --remote staging", "logs", "staging"),
        ("logs -r", "logs -r", "cygni"),
        ("run -- grep -r word", "run -- grep -r word", "cygni"),
        ("run grep -r word", "run grep -r word", "cygni"),
        ("-r staging run grep -r word", "run grep -r word", "staging"),
        ("config:get -- -r x", "config:get -- -r x", "cygni"),
    ],
)
def test_another_remote_is_chosen_by_a_flag(line: str, rest: str, remote: str) -> None:
    assert take_remote_flag(line.split()) == (rest.split(), remote)


def test_what_follows_two_dashes_is_left_alone() -> None:
    words = ["run", "-a", "shop", "--", "grep", "-r", "x"]
    assert take_remote_flag(words) == (words, "cygni")


def test_a_terminal_is_given_to_commands_that_take_one_where_a_person_sits_at_it() -> None:
    from cygni.commands import registry

    taking = {name for command in registry if command.terminal for name in (command.name, *command.aliases)}
    assert taking == TERMINAL_COMMANDS
    person, script = View(columns=80, interactive=True), View()
    shop = OverSsh(Server("cygni@host", None, "shop"))
    assert "-t" in shop.arguments(["run", "bash"], person)
    assert "-t" not in shop.arguments(["run", "bash"], script)
    assert "-t" not in shop.arguments(["logs"], person)
