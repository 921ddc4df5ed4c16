"""Command lines: what parses, what is refused, and what the refusal says."""

import pytest

from cygni.commands import registry
from cygni.commands.parser import UsageError, parse, split
from cygni.commands.schemas import SCHEMAS


def test_the_app_is_taken_from_the_flag_or_the_first_word() -> None:
    assert parse(registry, ["logs", "-a", "shop", "-t"]).app == "shop"
    assert parse(registry, ["logs", "shop", "-t"]).app == "shop"
    assert parse(registry, ["logs", "--app=shop"]).values == {}


def test_with_the_flag_given_words_are_arguments() -> None:
    call = parse(registry, ["config:set", "-a", "shop", "A=1", "B=2"])
    assert call.values["assignments"] == ("A=1", "B=2")


def test_flags_take_values_in_every_usual_form() -> None:
    assert parse(registry, ["logs", "shop", "-n", "5"]).values["num"] == 5
    assert parse(registry, ["logs", "shop", "--num=5"]).values["num"] == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lgos", "shop"], "Did you mean logs?"),
        (["logs", "shop", "--tial"], "Did you mean --tail?"),
        (["logs"], "Which app?"),
        (["logs", "shop", "-n"], "needs a value"),
        (["logs", "shop", "-n", "many"], "whole number"),
        (["logs", "shop", "extra"], "one word too many"),
        (["config:get", "-a", "shop"], "is missing"),
        (["apps", "--json=yes"], "takes no value"),
    ],
)
def test_what_does_not_parse_is_named(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        parse(registry, words)


def test_aliases_find_the_command() -> None:
    assert parse(registry, ["releases:rollback", "shop"]).command.name == "rollback"


def test_an_open_quote_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="quotes"):
        split("config:set -a shop A='x")


def test_help_is_asked_for_by_flag_without_an_app() -> None:
    assert parse(registry, ["logs", "--help"]).help


def test_every_command_says_what_it_does() -> None:
    for command in registry:
        assert command.summary, command.name
        assert command.synopsis.startswith(command.name)


def test_the_app_of_the_directory_counts_where_none_is_named() -> None:
    assert parse(registry, ["config:get", "KEY"], "shop").app == "shop"
    assert parse(registry, ["config:get", "KEY"], "shop").values == {"name": "KEY"}
    assert parse(registry, ["config:get", "-a", "blog", "KEY"], "shop").app == "blog"
    assert parse(registry, ["logs", "blog"], "shop").app == "blog"
    assert parse(registry, ["config:set", "A=1"], "shop").values["assignments"] == ("A=1",)


@pytest.mark.parametrize("number", ["0", "-1", "1001", "9" * 30, "1e3", "٣"])
def test_numbers_have_bounds(number: str) -> None:
    with pytest.raises(UsageError, match="whole number"):
        parse(registry, ["releases", "shop", "-n", number])


def test_other_spellings_of_a_flag_are_known() -> None:
    assert parse(registry, ["logs", "shop", "--dyno", "web.1"]).values == {"ps": "web.1"}


def test_every_json_is_documented_and_every_example_parses() -> None:
    with_json = {c.name for c in registry if any(flag.name == "json" for flag in c.flags)}
    assert with_json == SCHEMAS.keys()
    for command in registry:
        assert command.examples, command.name
        for example in command.examples:
            words = split(example.partition("<")[0].partition(">")[0])
            assert parse(registry, words).command is command, example
