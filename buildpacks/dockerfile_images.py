"""Which images a build may name, and which variables a name may be made of."""

import re

APP_NAMESPACE = "cygni"
"""Images that hold apps have a part of this name, alone or with a server's (`cygni-0a1b2c3d/shop-TOKEN:KEY`); no
build may read those."""

PUBLIC_NAMESPACE = "cygni-stack"
"""First part of the names of images that any app may build from."""

EXAMPLE = f"{PUBLIC_NAMESPACE}/debian-bookworm:run"

_IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{8,64}|sha256[:@].*")
_REFERENCE = re.compile(r"[a-z0-9][A-Za-z0-9._:/@-]*")

# The builder sets these itself, so what a name made of them means is only known where a value is given below.
_BUILDER_ARGUMENTS = frozenset(
    f"{side}{part}" for side in ("BUILD", "TARGET") for part in ("PLATFORM", "OS", "ARCH", "VARIANT", "STAGE")
) | {"SOURCE_DATE_EPOCH", "CYGNI_SECRETS_HASH"}
_PROXIES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"})


def is_reference(image: str) -> bool:
    """Whether a text can be an image's name."""
    return _REFERENCE.fullmatch(image) is not None


def is_foreign(image: str) -> bool:
    """Whether a reference names an app's image of this server, under any registry's name, or any image by its id."""
    components = re.split(r"[/:@]", image.lower())
    return any(map(_holds_apps, components)) or _IMAGE_ID.fullmatch(image.lower()) is not None


def _holds_apps(component: str) -> bool:
    return component.partition("-")[0] == APP_NAMESPACE and component != PUBLIC_NAMESPACE


def builder_variables(architecture: str) -> dict[str, str | None]:
    """Variables that are there without an ARG; None for a value that only the builder knows."""
    known = {
        f"{side}{part}": value
        for side in ("BUILD", "TARGET")
        for part, value in (("PLATFORM", f"linux/{architecture}"), ("OS", "linux"), ("ARCH", architecture))
    }
    unknown = _BUILDER_ARGUMENTS | _PROXIES | {name.upper() for name in _PROXIES}
    return {**dict.fromkeys(unknown), **known}


def set_by_builder(name: str) -> bool:
    """Whether an ARG of this name can get a value that its Dockerfile does not state."""
    return name.upper() in _BUILDER_ARGUMENTS or name.lower() in _PROXIES or name.startswith("BUILDKIT_")
