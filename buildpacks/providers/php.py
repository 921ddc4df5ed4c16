"""PHP: what makes a PHP app, and Apache with PHP to serve it, both Debian's. Composer installs what the lock says."""

import re
from collections.abc import Mapping

from buildpacks.documents import Document, read_json
from buildpacks.messages import note, refuse
from buildpacks.plan import (
    CacheMount,
    Candidate,
    Copy,
    Evidence,
    Note,
    Plan,
    Process,
    Run,
    Step,
    SystemPackage,
)
from buildpacks.providers.assets import Assets, find_assets
from buildpacks.providers.base import APP, BASE_PATH, Source
from buildpacks.runtimes import Request, pick_runtime
from buildpacks.system_packages import packages_for
from buildpacks.versions import VersionError, parse_npm

_MANIFEST, _LOCK = "composer.json", "composer.lock"
_ROOTS = ("public", "web", "webroot", "htdocs")
_CONTEXT_NAME = ".cygni/apache.conf"
_CONFIG = "/opt/cygni/apache.conf"
_CACHE = CacheMount("composer", "/root/.cache/composer")
_RUN = ("apache2", "libapache2-mod-php", "php-cli")
_INSTALL = "composer install --no-dev --no-interaction --no-progress --prefer-dist --no-scripts"
_APACHE = """\
ServerRoot /etc/apache2
ServerName localhost
Listen ${PORT}
PidFile /tmp/apache2.pid
Mutex file:/tmp default
ErrorLog /dev/stderr
LogLevel warn
Include mods-available/mpm_prefork.load
Include mods-available/authz_core.load
Include mods-available/dir.load
Include mods-available/env.load
Include mods-available/headers.load
Include mods-available/mime.load
Include mods-available/rewrite.load
Include mods-available/setenvif.load
Include mods-available/php*.load
TypesConfig /etc/mime.types
DocumentRoot ${CYGNI_DOCUMENT_ROOT}
DirectoryIndex index.php index.html
SetEnvIf X-Forwarded-Proto https HTTPS=on
<Directory />
  AllowOverride None
  Require all denied
</Directory>
<Directory ${CYGNI_DOCUMENT_ROOT}>
  AllowOverride All
  Options FollowSymLinks
  Require all granted
  FallbackResource /index.php
</Directory>
<FilesMatch "\\.php$">
  SetHandler application/x-httpd-php
</FilesMatch>
<LocationMatch "/\\.(?!well-known(/|$))">
  Require all denied
</LocationMatch>
"""


class Php:
    """composer.json, or an index.php where pages are served from."""

    name = "php"
    looks_for = (_MANIFEST, "index.php", *(f"{root}/index.php" for root in _ROOTS))

    def detect(self, source: Source) -> Candidate | None:
        """composer.json says it outright; package.json beside it is for assets."""
        if source.has(_MANIFEST):
            return Candidate(self.name, 14, (Evidence("file", _MANIFEST),))
        page = next((path for path in self.looks_for[1:] if source.exists(path)), None)
        return Candidate(self.name, 26, (Evidence("file", page),)) if page else None

    def plan(self, source: Source) -> Plan:
        """Install with Composer from the manifests alone; Apache serves the folder with index.php."""
        document = read_json(source, _MANIFEST, "document/invalid")
        runtime = pick_runtime(source, "php", _request(source, document))
        assets = find_assets(source)
        asked = _asked(document)
        system = packages_for("php", asked)
        tools = _named("composer", "php-cli", "unzip") if source.has(_MANIFEST) else ()
        root = _root(source)
        return Plan(
            provider=self.name,
            suite=runtime.stack.suite,
            picks=(runtime.pick, *assets.picks),
            steps=_steps(source, assets),
            processes=(_web(root),) if source.wants_web else (),
            environment={
                "PATH": f"{APP}/vendor/bin:{BASE_PATH}",
                "CYGNI_DOCUMENT_ROOT": f"{APP}/{root}".rstrip("/"),
            },
            notes=(*runtime.notes, *_lock_note(source, document), *assets.notes),
            build_packages=(*tools, *system.run) if tools else (),
            run_packages=(*_named(*_RUN), *_named("php-mbstring", "php-xml"), *system.run),
            context_files={_CONTEXT_NAME: _APACHE.encode()},
            ignored=("vendor", *assets.ignored) if source.has(_MANIFEST) else assets.ignored,
        )


def _named(*names: str) -> tuple[SystemPackage, ...]:
    return tuple(SystemPackage(name, Evidence("runtime")) for name in names)


def _request(source: Source, document: Document) -> Request | None:
    """What the settings or composer.json's `require.php` allow."""
    setting = source.settings.versions.get("php")
    text = setting or document.text_at("require", "php")
    if text is None:
        return None
    place = source.settings.origin("versions.php") if setting else document.place('"php"', "php")
    try:
        return Request(text, parse_npm(re.sub(r"(?<!\|)\|(?!\|)", "||", text).replace(",", " ")), place)
    except VersionError:
        raise refuse("version/invalid", place, text=text, place=place.place) from None


def _asked(document: Document) -> Mapping[str, Evidence]:
    """Extensions that composer.json requires, with their places."""
    return {
        name: document.place(f'"{name}"', name)
        for name in document.strings("require")
        if name.startswith("ext-")
    }


def _lock_note(source: Source, document: Document) -> tuple[Note, ...]:
    needs = any("/" in name for name in document.strings("require"))
    return (note("php/no-lock"),) if needs and not source.has(_LOCK) else ()


def _root(source: Source) -> str:
    return next((root for root in _ROOTS if source.exists(f"{root}/index.php")), "")


def _web(root: str) -> Process:
    place = Evidence("index.php", f"{root}/index.php".lstrip("/"))
    argv = ("/usr/sbin/apache2", "-f", _CONFIG, "-DFOREGROUND")
    return Process("web", "apache2", argv, place)


def _steps(source: Source, assets: Assets) -> tuple[Step, ...]:
    config = Copy((_CONTEXT_NAME,), _CONFIG)
    if not source.has(_MANIFEST):
        return (*assets.steps, Step("image", "run", (config, assets.source(owned=True))))
    names = tuple(name for name in (_MANIFEST, _LOCK, "auth.json") if source.has(name))
    tokens = any(name.startswith("COMPOSER_") for name in source.env_names)
    environment = {"COMPOSER_ALLOW_SUPERUSER": "1"}
    install = Run(f"{_INSTALL} --no-autoloader && mkdir -p vendor", (_CACHE,), secrets=tokens)
    deps = Step("deps", "build", (Copy(names, f"{APP}/"), install), environment)
    vendor = Copy((f"{APP}/vendor",), f"{APP}/vendor", stage="deps")
    commands = [Run("composer dump-autoload --no-dev --optimize --no-interaction --no-scripts")]
    if source.settings.build_command:
        commands.append(Run(source.settings.build_command, secrets=True, foreign=True))
    build = Step("build", "build", (assets.source(), vendor, *commands), environment)
    image = Step("image", "run", (config, Copy((APP,), APP, stage="build", owned=True)))
    return (*assets.steps, deps, build, image)
