"""The append-only log store of apps and builds, and the followers that read it.

May import: deployer, cygni.domain.
"""

from cygni.logs.builds import BuildLogs, BuildLogWriter
from cygni.logs.collector import Collector
from cygni.logs.format import format_record
from cygni.logs.records import Filter, LogLimits, LogRecord, LogStoreError
from cygni.logs.store import LogStore

__all__ = [
    "BuildLogWriter",
    "BuildLogs",
    "Collector",
    "Filter",
    "LogLimits",
    "LogRecord",
    "LogStore",
    "LogStoreError",
    "format_record",
]
