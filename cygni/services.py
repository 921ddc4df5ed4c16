"""The services that commands use, as one frozen bundle made by the composition root."""

from dataclasses import dataclass

from config import Settings
from cygni.builds import Builds
from cygni.certificates import Certificates
from cygni.disk import Disk
from cygni.jobs import Worker
from cygni.logs import BuildLogs, LogStore
from cygni.oneoffs import OneOffs
from cygni.operations import Operations
from cygni.permissions import Permissions
from cygni.releases import Releases
from cygni.repositories import Repositories
from cygni.store import Store
from deployer.ports import Engine


@dataclass(frozen=True)
class Services:
    """Everything a command may touch."""

    settings: Settings
    store: Store
    worker: Worker
    logs: LogStore
    build_logs: BuildLogs
    repositories: Repositories
    operations: Operations
    builds: Builds
    releases: Releases
    engine: Engine
    permissions: Permissions
    disk: Disk
    one_offs: OneOffs
    certificates: Certificates
