"""The grammar of names."""

import re

APP_NAME = re.compile(r"[a-z][a-z0-9-]{0,28}[a-z0-9]")
CONFIG_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@+-]{0,62}")
BRANCH_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_./-]{0,98}[A-Za-z0-9_-])?")
PROCESS_TYPE = re.compile(r"[A-Za-z0-9_-]{1,63}")

RESERVED_CONFIG = frozenset({"PORT"})
RESERVED_CONFIG_PREFIX = "CYGNI_"


def is_app_name(name: str) -> bool:
    """Two to thirty of a-z, 0-9 and `-`, from a letter, not ending in `-`: a DNS label."""
    return APP_NAME.fullmatch(name) is not None


def is_config_name(name: str) -> bool:
    """A shell variable name of at most 128 characters that the platform does not set itself."""
    return (
        CONFIG_NAME.fullmatch(name) is not None
        and name not in RESERVED_CONFIG
        and not name.startswith(RESERVED_CONFIG_PREFIX)
    )


def is_key_name(name: str) -> bool:
    """What `keys:add NAME` takes."""
    return KEY_NAME.fullmatch(name) is not None


def is_branch_name(name: str) -> bool:
    """A branch that every git accepts (git-check-ref-format), in plain characters; at most 100."""
    parts = name.split("/")
    plain = BRANCH_NAME.fullmatch(name) is not None and ".." not in name
    return plain and all(part and not part.startswith(".") and not part.endswith(".lock") for part in parts)
