"""Debian packages that apps need: by dependency, before the build; by what is missing, after one that failed.

The first table adds packages to builds by itself. The others only name the package in a failure's advice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from buildpacks.plan import Evidence, SystemPackage


@dataclass(frozen=True)
class Needs:
    """What a dependency needs beside the stack: to be compiled, and to run."""

    build: tuple[str, ...] = ()
    run: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """Packages of a plan, each with the place that asked for it."""

    build: tuple[SystemPackage, ...] = ()
    run: tuple[SystemPackage, ...] = ()


_BROWSER = (
    "ca-certificates", "fonts-liberation", "libasound2", "libatk-bridge2.0-0", "libatk1.0-0", "libcairo2", "libcups2",
    "libdbus-1-3", "libdrm2", "libgbm1", "libglib2.0-0", "libgtk-3-0", "libnspr4", "libnss3", "libpango-1.0-0",
    "libx11-6", "libxcb1", "libxcomposite1", "libxdamage1", "libxext6", "libxfixes3", "libxkbcommon0", "libxrandr2",
)  # fmt: skip
_MYSQL = Needs(("default-libmysqlclient-dev",), ("libmariadb3",))
_CAIRO = Needs(("libcairo2-dev",), ("libcairo2",))
_PDF = Needs(run=("libpango-1.0-0", "libpangoft2-1.0-0", "libharfbuzz-subset0"))

BY_DEPENDENCY: Mapping[str, Mapping[str, Needs]] = MappingProxyType(
    {
        "python": {
            "mysqlclient": _MYSQL,
            "pycairo": _CAIRO,
            "cairosvg": Needs(run=("libcairo2",)),
            "weasyprint": _PDF,
            "pydub": Needs(run=("ffmpeg",)),
            "moviepy": Needs(run=("ffmpeg",)),
            "ffmpeg-python": Needs(run=("ffmpeg",)),
            "pdf2image": Needs(run=("poppler-utils",)),
            "pytesseract": Needs(run=("tesseract-ocr",)),
            "python-magic": Needs(run=("libmagic1",)),
            "python-ldap": Needs(("libldap2-dev", "libsasl2-dev"), ("libldap-2.5-0", "libsasl2-2")),
            "gdal": Needs(("libgdal-dev",), ("gdal-bin",)),
            "geodjango": Needs(run=("gdal-bin",)),
            "pyodbc": Needs(("unixodbc-dev",), ("unixodbc",)),
            "opencv-python": Needs(run=("libgl1", "libglib2.0-0")),
            "xmlsec": Needs(("libxml2-dev", "libxmlsec1-dev"), ("libxmlsec1-openssl",)),
            "pycurl": Needs(("libcurl4-openssl-dev",), ("libcurl4",)),
            "graphviz": Needs(run=("graphviz",)),
            "wand": Needs(run=("libmagickwand-6.q16-6",)),
        },
        "node": {
            "canvas": Needs(
                ("libcairo2-dev", "libgif-dev", "libjpeg-dev", "libpango1.0-dev", "librsvg2-dev"),
                ("libcairo2", "libgif7", "libjpeg62-turbo", "libpango-1.0-0", "libpangocairo-1.0-0", "librsvg2-2"),
            ),
            "puppeteer": Needs(run=_BROWSER),
            "playwright": Needs(run=_BROWSER),
            "@prisma/client": Needs(run=("openssl",)),
            "prisma": Needs(run=("openssl",)),
            "fluent-ffmpeg": Needs(run=("ffmpeg",)),
            "gm": Needs(run=("graphicsmagick",)),
        },
        "ruby": {
            "mysql2": _MYSQL,
            "pg": Needs(("libpq-dev",), ("libpq5",)),
            "sqlite3": Needs(("libsqlite3-dev",), ("libsqlite3-0",)),
            "nokogiri": Needs(("libxml2-dev", "libxslt1-dev"), ("libxml2", "libxslt1.1")),
            "psych": Needs(("libyaml-dev",), ("libyaml-0-2",)),
            "rmagick": Needs(("libmagickwand-dev",), ("libmagickwand-6.q16-6",)),
            "mini_magick": Needs(run=("imagemagick",)),
            "image_processing": Needs(run=("imagemagick", "libvips42")),
            "ruby-vips": Needs(run=("libvips42",)),
            "ffi": Needs(("libffi-dev",), ()),
        },
        "php": {
            f"ext-{name}": Needs(run=(f"php-{package}",))
            for name, package in (
                ("curl", "curl"), ("gd", "gd"), ("intl", "intl"), ("mbstring", "mbstring"), ("pdo_mysql", "mysql"),
                ("mysqli", "mysql"), ("pdo_pgsql", "pgsql"), ("pgsql", "pgsql"), ("pdo_sqlite", "sqlite3"),
                ("sqlite3", "sqlite3"), ("xml", "xml"), ("dom", "xml"), ("simplexml", "xml"), ("zip", "zip"),
                ("bcmath", "bcmath"), ("gmp", "gmp"), ("imagick", "imagick"), ("redis", "redis"), ("soap", "soap"),
                ("ldap", "ldap"), ("apcu", "apcu"), ("memcached", "memcached"),
            )
        },
        "rust": {
            "openssl-sys": Needs(("libssl-dev", "pkg-config"), ("libssl3",)),
            "native-tls": Needs(("libssl-dev", "pkg-config"), ("libssl3",)),
            "diesel": Needs(("libpq-dev",), ("libpq5",)),
            "pq-sys": Needs(("libpq-dev",), ("libpq5",)),
            "rusqlite": Needs(("libsqlite3-dev",), ("libsqlite3-0",)),
        },
        "go": {
            "github.com/mattn/go-sqlite3": Needs(("libsqlite3-dev",), ("libsqlite3-0",)),
            "github.com/h2non/bimg": Needs(("libvips-dev",), ("libvips42",)),
        },
    }
)  # fmt: skip

HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Python.h": "python3-dev", "libpq-fe.h": "libpq-dev", "mysql.h": "default-libmysqlclient-dev",
        "sqlite3.h": "libsqlite3-dev", "ffi.h": "libffi-dev", "openssl/ssl.h": "libssl-dev",
        "libxml/xmlversion.h": "libxml2-dev", "libxslt/xsltconfig.h": "libxslt1-dev", "jpeglib.h": "libjpeg-dev",
        "png.h": "libpng-dev", "zlib.h": "zlib1g-dev", "bzlib.h": "libbz2-dev", "lzma.h": "liblzma-dev",
        "yaml.h": "libyaml-dev", "cairo.h": "libcairo2-dev", "pango/pango.h": "libpango1.0-dev",
        "gif_lib.h": "libgif-dev", "lber.h": "libldap2-dev", "ldap.h": "libldap2-dev", "sasl/sasl.h": "libsasl2-dev",
        "sql.h": "unixodbc-dev", "gdal.h": "libgdal-dev", "cpl_port.h": "libgdal-dev", "magic.h": "libmagic-dev",
        "curl/curl.h": "libcurl4-openssl-dev", "gmp.h": "libgmp-dev", "portaudio.h": "portaudio19-dev",
        "snappy-c.h": "libsnappy-dev", "librdkafka/rdkafka.h": "librdkafka-dev", "vips/vips.h": "libvips-dev",
        "readline/readline.h": "libreadline-dev", "event.h": "libevent-dev", "uv.h": "libuv1-dev",
        "krb5.h": "libkrb5-dev", "gssapi/gssapi.h": "libkrb5-dev", "cups/cups.h": "libcups2-dev",
        "X11/Xlib.h": "libx11-dev", "hdf5.h": "libhdf5-dev", "proj.h": "libproj-dev", "geos_c.h": "libgeos-dev",
        "ruby.h": "ruby-dev", "uuid/uuid.h": "uuid-dev", "archive.h": "libarchive-dev", "re2/re2.h": "libre2-dev",
    }
)  # fmt: skip
"""The package of a C header."""

LIBRARIES: Mapping[str, str] = MappingProxyType(
    {
        "libpq.so": "libpq5", "libmariadb.so": "libmariadb3", "libmysqlclient.so": "default-libmysqlclient-dev",
        "libGL.so": "libgl1", "libgthread-2.0.so": "libglib2.0-0", "libglib-2.0.so": "libglib2.0-0",
        "libcairo.so": "libcairo2", "libpango-1.0.so": "libpango-1.0-0", "libpangoft2-1.0.so": "libpangoft2-1.0-0",
        "libgobject-2.0.so": "libglib2.0-0", "libgdal.so": "gdal-bin", "libgeos_c.so": "libgeos-c1v5",
        "libproj.so": "libproj25", "libmagic.so": "libmagic1", "libxmlsec1.so": "libxmlsec1", "libnss3.so": "libnss3",
        "libatk-1.0.so": "libatk1.0-0", "libgbm.so": "libgbm1", "libasound.so": "libasound2", "libvips.so": "libvips42",
        "libodbc.so": "unixodbc", "libxslt.so": "libxslt1.1", "libxml2.so": "libxml2", "libyaml-0.so": "libyaml-0-2",
        "libMagickWand-6.Q16.so": "libmagickwand-6.q16-6", "libgomp.so": "libgomp1", "libstdc++.so": "libstdc++6",
        "libsqlite3.so": "libsqlite3-0", "libssl.so": "libssl3", "libcurl.so": "libcurl4", "libldap-2.5.so": "libldap-2.5-0",
        "libsndfile.so": "libsndfile1", "libportaudio.so": "libportaudio2", "libSM.so": "libsm6", "libXext.so": "libxext6",
        "libXrender.so": "libxrender1",
    }
)  # fmt: skip
"""The package of a shared library, by its name without the version."""

PROGRAMS: Mapping[str, str] = MappingProxyType(
    {
        "pg_config": "libpq-dev", "mysql_config": "default-libmysqlclient-dev", "gdal-config": "libgdal-dev",
        "xml2-config": "libxml2-dev", "xslt-config": "libxslt1-dev", "curl-config": "libcurl4-openssl-dev",
        "cmake": "cmake", "meson": "meson", "ninja": "ninja-build", "make": "make", "gcc": "gcc", "cc": "gcc", "g++": "g++",
        "gfortran": "gfortran", "rustc": "rustc", "cargo": "cargo", "swig": "swig", "bison": "bison", "flex": "flex",
        "autoreconf": "autoconf", "libtoolize": "libtool", "pkg-config": "pkg-config", "git": "git", "ffmpeg": "ffmpeg",
        "convert": "imagemagick", "pdftoppm": "poppler-utils", "tesseract": "tesseract-ocr", "dot": "graphviz",
        "java": "default-jre-headless", "protoc": "protobuf-compiler", "unzip": "unzip",
        "rsync": "rsync", "psql": "postgresql-client", "redis-cli": "redis-tools", "jq": "jq", "zip": "zip",
        "msgfmt": "gettext", "gs": "ghostscript", "chromium": "chromium",
    }
)  # fmt: skip
"""The package of a program."""


NAMES_BY_SUITE: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "trixie": {"libldap-2.5-0": "libldap2", "libmagickwand-6.q16-6": "libmagickwand-7.q16-10"},
    }
)
"""What packages of the tables are called in another suite than the first."""


def packages_for(language: str, dependencies: Mapping[str, Evidence]) -> Found:
    """What these dependencies of a language need beside the stack."""
    build: dict[str, SystemPackage] = {}
    run: dict[str, SystemPackage] = {}
    table = BY_DEPENDENCY.get(language, {})
    for dependency in sorted(dependencies):
        needs = table.get(dependency)
        for names, found in ((needs.build, build), (needs.run, run)) if needs else ():
            for name in names:
                found.setdefault(name, SystemPackage(name, dependencies[dependency]))
    return Found(tuple(build.values()), tuple(run.values()))


def in_suite(package: SystemPackage, suite: str) -> SystemPackage:
    """The package under the name that it has in a suite."""
    return SystemPackage(NAMES_BY_SUITE.get(suite, {}).get(package.name, package.name), package.source)


def package_of_header(name: str) -> str | None:
    """The Debian package of a header that a compiler did not find."""
    return HEADERS.get(name) or HEADERS.get(name.rpartition("/")[2])


def package_of_library(name: str) -> str | None:
    """The Debian package of `libNAME.so.N`."""
    return LIBRARIES.get(name.partition(".so")[0] + ".so")
