"""What a backup file holds: a compressed tar stream inside the encryption, with a manifest.

The first entry, `about.json`, says what and whose it is, so that a version that cannot read the rest says so. The last,
`manifest.json`, lists every other entry with its size and SHA-256. Entries are plain files with checked names; who
reads makes the files itself, so nothing in the archive decides about paths, owners or modes.
"""

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Self

from cygni.backup import messages
from cygni.backup.errors import BackupError
from cygni.backup.sealed import OpeningReader, SealingWriter

FORMAT = 1
ABOUT, MANIFEST = "about.json", "manifest.json"
BLOCK = 1 << 18
JSON_BYTES = 64 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*){0,4}")


@dataclass(frozen=True)
class About:
    """What the archive is."""

    format: int
    created: str
    version: str
    identity: str
    domain: str
    database: str
    """`sqlite` or `postgresql`."""
    revision: str
    apps: int


class ArchiveWriter:
    """Writes entries one after the other into an encrypted file."""

    def __init__(self, file: BinaryIO, passphrase: str, about: About) -> None:
        self._stack = ExitStack()
        sealed = SealingWriter(file, passphrase)
        self._sealed = sealed
        packed = gzip.GzipFile(fileobj=sealed, mode="wb", compresslevel=1, mtime=0, filename="")
        self._packed = packed
        self._tar = tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - ended by `finish`
        self._files: list[dict[str, object]] = []
        self._add_json(ABOUT, asdict(about))

    def add_file(self, name: str, path: Path) -> None:
        """Add a file with the size that it has now; one that is written to meanwhile is cut there.

        Raises:
            OSError: it cannot be read, or became shorter.
        """
        with path.open("rb") as file:
            size = path.stat().st_size
            self._add(name, size, file)

    def add_text(self, name: str, text: str) -> None:
        """Add a small entry."""
        data = text.encode()
        self._add(name, len(data), io.BytesIO(data))

    def finish(self) -> None:
        """Add the manifest and end the encryption; without this the file is not whole."""
        self._add_json(MANIFEST, {"files": self._files})
        self._tar.close()
        self._packed.close()
        self._sealed.close()

    def _add_json(self, name: str, content: object) -> None:
        data = json.dumps(content).encode()
        header = tarfile.TarInfo(name)
        header.size = len(data)
        self._tar.addfile(header, io.BytesIO(data))

    def _add(self, name: str, size: int, file: BinaryIO) -> None:
        assert _NAME.fullmatch(name), name
        header = tarfile.TarInfo(name)
        header.size = size
        hashing = _Hashing(file)
        self._tar.addfile(header, hashing)  # type: ignore[arg-type]  # all it does is read
        self._files.append({"name": name, "size": size, "sha256": hashing.hexdigest()})


class _Hashing:
    """A file that hashes what is read of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        return data

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


@dataclass(frozen=True)
class Entry:
    """A file of the archive; read it before the next one."""

    name: str
    size: int
    content: BinaryIO


class ArchiveReader:
    """Reads a backup from its start to its end, once. Only after `entries` has ended is it known to be whole."""

    def __init__(self, path: Path, passphrase: str) -> None:
        self._path = path
        self._stack = ExitStack()
        try:
            file = self._stack.enter_context(path.open("rb"))
        except OSError as error:
            raise BackupError(messages.cannot("read", path, error.strerror)) from error
        with self._stack.pop_all() as stack:
            opening = io.BufferedReader(OpeningReader(file, passphrase, path), BLOCK)
            self._packed = gzip.GzipFile(fileobj=opening, mode="rb")
            with self._damage_told():
                self._tar = tarfile.open(fileobj=self._packed, mode="r|")  # noqa: SIM115 - closed with the stack
                self._members = iter(self._tar)
                self.about = self._read_about()
            self._stack = stack.pop_all()
        self.files = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def entries(self) -> Iterator[Entry]:
        """Every file but the two of the archive itself, then the checks against the manifest.

        Raises:
            BackupError: damaged or cut.
        """
        seen: dict[str, tuple[int, str]] = {}
        with self._damage_told():
            for member in self._members:
                content = self._tar.extractfile(member) if member.isfile() else None
                if content is None or not _NAME.fullmatch(member.name) or member.name in seen:
                    raise BackupError(messages.not_as_listed(self._path, member.name))
                if member.name == MANIFEST:
                    self._check(seen, json.loads(content.read(JSON_BYTES)))
                    break
                hashing = _Hashing(content)  # type: ignore[arg-type]  # all it does is read
                yield Entry(member.name, member.size, hashing)  # type: ignore[arg-type]
                while hashing.read(BLOCK):
                    pass
                seen[member.name] = (member.size, hashing.hexdigest())
            else:
                raise BackupError(messages.truncated(self._path))
            while self._packed.read(BLOCK):  # to the encryption's end, which a cut file lacks
                pass
        self.files = len(seen)

    def _read_about(self) -> About:
        member = next(self._members, None)
        content = self._tar.extractfile(member) if member is not None and member.name == ABOUT else None
        if content is None:
            raise BackupError(messages.not_a_backup(self._path))
        found = json.loads(content.read(JSON_BYTES))
        if found["format"] != FORMAT:
            raise BackupError(messages.newer_format(self._path))
        return About(**found)

    def _check(self, seen: dict[str, tuple[int, str]], manifest: dict[str, list[dict[str, object]]]) -> None:
        listed = {str(item["name"]): (item["size"], item["sha256"]) for item in manifest["files"]}
        wrong = sorted(name for name in {*listed, *seen} if listed.get(name) != seen.get(name))
        if wrong:
            raise BackupError(messages.not_as_listed(self._path, wrong[0]))

    def _damage_told(self) -> "_DamageTold":
        return _DamageTold(self._path)


class _DamageTold:
    """What the layers inside the encryption say of contents that make no sense, as one error."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(
            error, tarfile.TarError | EOFError | gzip.BadGzipFile | ValueError | KeyError | TypeError
        ):
            raise BackupError(messages.not_as_listed(self._path, "its contents")) from error
