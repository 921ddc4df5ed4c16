"""What a router is told at start: addresses, files and limits."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Limits:
    """Bounds of the data plane. Times are seconds, sizes are bytes; each holds for one worker."""

    head_bytes: int = 16_384
    """Request line and headers together; more is answered 431."""
    target_bytes: int = 8_192
    """Request target; more is answered 414."""
    headers: int = 100
    response_head_bytes: int = 65_536
    buffer_bytes: int = 65_536
    """High-water mark of every write buffer, and of pipelined input that waits."""
    header_timeout: float = 10.0
    """From a request's first byte to the end of its headers."""
    keep_alive: float = 75.0
    """How long a client connection may wait for its next request."""
    connect: float = 3.0
    connect_attempts: int = 3
    """Instances tried for one request while none of them accepted a connection."""
    first_byte: float = 30.0
    """From the end of the request to the first byte of the answer (H12)."""
    idle: float = 55.0
    """Longest pause within a request or an answer (H28, H15)."""
    upstream_idle: float = 4.0
    """How long an idle connection to an instance is kept: servers commonly close theirs after 5."""
    upstream_fresh: float = 1.0
    """A request that must not be sent twice takes an idle connection only this young."""
    upstream_pool: int = 256
    """Idle connections kept for one instance."""
    hold: float = 30.0
    """How long a request waits while its app's route is on hold (H20)."""
    hold_requests: int = 256
    """Requests of one app that wait at a time; more are refused (H11)."""
    instance_requests: int = 10_000
    """Requests in flight to one instance; more wait for their turn. High: event streams count for as long as they last."""
    queue_requests: int = 256
    """Requests that wait for one instance; more are refused (H11)."""
    queue: float = 10.0
    """How long a request waits for its turn (H11)."""
    tunnel_idle: float = 3_600.0
    tunnel_drain: float = 10.0
    """What upgraded connections get after their instance left the table."""
    connections: int = 10_000
    address_connections: int = 1_000
    """Connections of one client address; configured proxies have no limit of their own."""
    drain: float = 30.0
    """What running requests get when the router stops."""
    linger: float = 2.0
    """How long input is discarded after an early answer, so that the client can read it."""
    eject: float = 0.5
    """First pause of an instance that refused a connection; doubles up to `eject_longest`."""
    eject_longest: float = 10.0
    access_batch: int = 2_000
    """Access lines between two flushes; more are counted and dropped."""
    access_flush: float = 0.05
    sweep: float = 0.25
    """How often time limits are looked at: their resolution."""


@dataclass(frozen=True)
class RouterOptions:
    """One router: where it listens, where it is controlled, what it remembers."""

    bind: str
    http_port: int
    """0 picks a free one; ignored when systemd hands the sockets over."""
    control_socket: Path
    state_file: Path
    """The saved table, from which a router starts without a control plane."""
    https_port: int | None = None
    """Where TLS is spoken; None for nowhere. 0 and systemd like `http_port`: its sockets are named `https`."""
    workers: int | None = None
    """Worker processes; one a core for None."""
    default_domain: str = "localhost"
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose forwarding headers are believed."""
    port_file: Path | None = None
    """Gets the chosen HTTP port and a newline, once the sockets listen."""
    spool_lines: int = 10_000
    """Access lines kept while no control plane collects them; older ones are dropped and counted."""
    ack_timeout: float = 10.0
    """A worker that has not applied a table by then is replaced."""
    limits: Limits = field(default_factory=Limits)
