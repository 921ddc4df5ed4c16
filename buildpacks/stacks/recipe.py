"""What the base images hold: packages, certificates, user, environment. Pure: data in, Dockerfiles and hashes out."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

LABEL = "cygni.stack"
"""Label of a stack image; its value is the hash of all that went into it."""

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_CERTIFICATES = "/usr/local/share/ca-certificates/"

RUN_PACKAGES = ("busybox", "ca-certificates", "libpq5", "python3", "tini")
SUITE_PACKAGES = {"trixie": ("passwd",)}
"""What a suite does not bring by itself any more: trixie's essential packages can't add users."""

BUILD_PACKAGES = (
    "build-essential",
    "curl",
    "git",
    "libffi-dev",
    "libpq-dev",
    "libssl-dev",
    "nodejs",
    "npm",
    "pkg-config",
    "python3-dev",
    "python3-pip",
    "python3-venv",
    "unzip",
    "xz-utils",
    "zlib1g-dev",
)

# Programs that bring certificates of their own find the system's, which include the host's additional ones.
_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "SSL_CERT_FILE": BUNDLE,
    "PIP_CERT": BUNDLE,
    "REQUESTS_CA_BUNDLE": BUNDLE,
    "AWS_CA_BUNDLE": BUNDLE,
    "NODE_EXTRA_CA_CERTS": BUNDLE,
}


@dataclass(frozen=True)
class Recipe:
    """A stack. `certificates` maps file names to PEM text; `registry_image` replaces the bootstrap."""

    suite: str = "bookworm"
    certificates: Mapping[str, bytes] = field(default_factory=dict)
    registry_image: str | None = None
    common_packages: tuple[str, ...] = RUN_PACKAGES
    build_packages: tuple[str, ...] = BUILD_PACKAGES

    @property
    def run_packages(self) -> tuple[str, ...]:
        """Packages of the image that apps run on."""
        return (*self.common_packages, *SUITE_PACKAGES.get(self.suite, ()))

    @property
    def base_hash(self) -> str:
        """Of what the bootstrap makes."""
        return _hash(self.suite, self.registry_image or "", *self.run_packages)

    @property
    def run_hash(self) -> str:
        """Of the image that apps run on."""
        certificates = [f"{name}={_hash(pem)}" for name, pem in sorted(self.certificates.items())]
        return _hash(self.base_hash, self.run_dockerfile(""), *certificates)

    @property
    def build_hash(self) -> str:
        """Of the image that builds run on."""
        return _hash(self.run_hash, self.build_dockerfile(""))

    def run_dockerfile(self, base: str) -> str:
        """The base, the host's certificates, the user."""
        lines = [f"FROM {base}"]
        if self.registry_image:
            lines.append(f"RUN {_install(self.run_packages)}")
        if self.certificates:
            lines.append(f"COPY certificates/ {_CERTIFICATES}")
        lines.append(
            "RUN update-ca-certificates && groupadd --gid 1000 app"
            " && useradd --uid 1000 --gid 1000 --home-dir /app --no-create-home --shell /bin/sh app"
            " && install --directory --owner app --group app /app"
        )
        lines.append("ENV " + " ".join(f"{name}={value}" for name, value in _ENVIRONMENT.items()))
        lines.append("WORKDIR /app")
        return "\n".join(lines) + "\n"

    def build_dockerfile(self, run: str) -> str:
        """The run image and what compiles."""
        return f"FROM {run}\nRUN {_install(self.build_packages)}\n"

    def certificate_files(self) -> dict[str, bytes]:
        """The certificates as files of a build context."""
        return {f"certificates/{name}": pem for name, pem in self.certificates.items()}


def _install(packages: tuple[str, ...]) -> str:
    return (
        "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "
        f"{' '.join(packages)} && rm -rf /var/lib/apt/lists/*"
    )


def _hash(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:32]
