"""One request and its answer: choose an instance, pass both ways, retry where it is safe, log."""

import time
from typing import Final

from router import faults
from router.access import Record
from router.backends import Backend, Site
from router.faults import Fault
from router.forward import forwarded_for, request_bytes, request_id_of
from router.gateway import Gateway
from router.head import RequestHead, ResponseHead
from router.passing import Answer, Upload
from router.ports import Client
from router.upstream import UpstreamConnection

_IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))


class Exchange:
    """Lives from a request's head to the end of its answer, or of the upgraded connection."""

    __slots__ = (
        "_answer",
        "_attempts",
        "_backend",
        "_client",
        "_client_ended",
        "_connect",
        "_dialed",
        "_fault",
        "_fresh",
        "_gateway",
        "_held",
        "_over",
        "_reused",
        "_site",
        "_started",
        "_tried",
        "_upload",
        "_upstream",
        "_upstream_ended",
        "head",
        "request_id",
        "tunnel",
    )

    def __init__(self, gateway: Gateway, client: Client, head: RequestHead) -> None:
        """Prepare; `start` begins."""
        self.head = head
        self.request_id = request_id_of(head)
        self.tunnel = False
        self._gateway = gateway
        self._client = client
        self._started = time.time()
        self._upload = Upload(head, client, gateway.limits.buffer_bytes)
        self._answer = Answer(head, client)
        self._site: Site | None = None
        self._backend: Backend | None = None
        self._upstream: UpstreamConnection | None = None
        self._tried: list[Backend] = []
        self._attempts = 0
        self._fault: Fault | None = None
        self._held = ""
        self._fresh = self._reused = self._over = self._upstream_ended = self._client_ended = False
        self._dialed = 0.0
        self._connect: float | None = None

    # --- from the client -------------------------------------------------------------------------

    @property
    def wants_input(self) -> bool:
        """Whether the next bytes of the client belong to this exchange."""
        return self.tunnel or not self._upload.complete

    def start(self) -> None:
        """Find the app and send the request."""
        self._touch()
        self._route()

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the request's body or of the upgraded connection; returns what follows them.

        Raises:
            RefusedError: the body's framing is malformed.
        """
        if self.tunnel:
            self._touch()
            self._upload.send(data)
            return b""
        rest = self._upload.feed(data)
        if not self._answer.begun:
            self._touch()
        return rest

    def client_ended(self) -> bool:
        """The client sends no more; returns whether the exchange can go on."""
        self._client_ended = True
        if self.tunnel and self._upstream is not None:
            self._upstream.transport.write_eof()
            return not self._upstream_ended
        return self._upload.complete

    def client_gone(self) -> None:
        """The client's connection is lost."""
        if not self._over:
            self._end(None if self.tunnel else faults.CLIENT_GONE)

    def client_writable(self, *, writable: bool) -> None:
        """Pause or go on with reading the answer."""
        if self._upstream is None:
            return
        if writable:
            self._touch()
            self._upstream.transport.resume_reading()
        else:
            self._upstream.transport.pause_reading()

    def refuse(self, fault: Fault) -> None:
        """The client broke the protocol within the body."""
        self._fail(fault)

    def expired(self) -> None:
        """The deadline has passed: say whose fault it is."""
        if self._held:
            self._fail(faults.BOOT_TIMEOUT)
        elif self.tunnel:
            self.cut()
        elif self._answer.begun:
            self._fail(faults.CLIENT_IDLE if self._client.congested else faults.IDLE)
        elif self._upload.complete or self._upstream is None or not self._upstream.usable:
            self._fail(faults.TIMEOUT)
        else:
            self._fail(faults.CLIENT_IDLE)

    def cut(self) -> None:
        """End an upgraded connection."""
        if not self._over:
            self._end(None)
            self._client.finished(keep_alive=False)

    # --- choosing an instance --------------------------------------------------------------------

    def resume(self) -> None:
        """The app's route changed while this request was on hold."""
        self._held = ""
        self._touch()
        self._route()

    def connected(self, connection: UpstreamConnection) -> bool:
        """See `Dialer`."""
        if self._over:
            return False
        self._connect = self._gateway.loop.time() - self._dialed
        self._attach(connection)
        return True

    def connect_failed(self, error: Exception) -> None:
        """Try another instance: nothing has been sent, so that is always safe."""
        backend = self._backend
        if self._over or backend is None:
            return
        slow = isinstance(error, TimeoutError)
        self._fault = faults.CONNECT_TIMEOUT if slow else faults.CRASHED
        self._gateway.eject(backend, "timeout" if slow else "refused")
        self._tried.append(backend)
        self._release()
        if self._attempts < self._gateway.limits.connect_attempts:
            self._route()
        else:
            self._fail(self._fault)

    def _route(self) -> None:
        site = self._site = self._gateway.routing.find(self.head.host)
        if site is None:
            self._fail(faults.unknown_host(self.head.host, self._gateway.domain))
        elif site.route.state == "live":
            self._attempt(site)
        elif site.route.state == "hold":
            self._hold(site.route.app_id)
        else:
            self._fail(faults.BLANK if site.route.state == "none" else faults.NO_WEB)

    def _hold(self, app_id: str) -> None:
        if not self._gateway.hold(app_id, self):
            self._fail(faults.BACKLOG)
            return
        self._held = app_id
        self._client.deadline = self._gateway.loop.time() + self._gateway.limits.hold

    def _attempt(self, site: Site) -> None:
        now, limits = self._gateway.loop.time(), self._gateway.limits
        backend = site.choose(now, self._tried)
        if backend is None:
            self._fail(self._fault or faults.NO_WEB)
            return
        self._attempts += 1
        self._backend = backend
        backend.in_flight += 1
        longest = limits.upstream_idle if self.head.method in _IDEMPOTENT else limits.upstream_fresh
        connection = None if self._fresh else backend.take(now, longest)
        self._reused = connection is not None
        if connection is not None:
            self._connect = 0.0
            self._attach(connection)
        else:
            self._dialed = now
            backend.dial(self)

    def _attach(self, connection: UpstreamConnection) -> None:
        self._upstream = connection
        connection.begin(self, bodyless=self.head.method == b"HEAD")
        self._upload.attach(
            connection, request_bytes(self.head, self._client.sender, self.request_id, self._started)
        )
        if self._client.congested:
            connection.transport.pause_reading()

    # --- from the instance (see `Receiver`) ------------------------------------------------------

    def upstream_writable(self, *, writable: bool) -> None:
        """The instance reads slower than the client sends, or has caught up."""
        if not self._answer.begun:
            self._touch()
        self._client.read_body(wanted=writable)

    def answer_head(self, head: ResponseHead) -> None:
        """Pass on a head; from the final one on, the answer cannot be replaced by a page."""
        if head.status == 101:
            self._switch(head)
        elif head.status < 200:
            self._answer.interim(head)
        else:
            # An unread rest of the request would be taken for the next one: such a connection ends.
            keep_alive = self.head.keep_alive and self._upload.complete and not self._gateway.draining
            self._answer.begin(head, keep_alive=keep_alive)
            self._touch()

    def answer_data(self, data: bytes) -> None:
        """Pass on a piece."""
        self._answer.data(data)
        self._touch()

    def answer_flush(self) -> None:
        """Write what has been taken."""
        self._answer.flush()

    def answer_end(self, *, reusable: bool) -> None:
        """The answer is complete: the connection goes back to its backend if both sides are done with it."""
        self._answer.end()
        connection, self._upstream = self._upstream, None
        assert connection is not None
        assert self._backend is not None
        if reusable and self._upload.complete:
            self._backend.keep(connection, self._gateway.loop.time())
        else:
            connection.close()
        self._end(None)
        self._client.finished(keep_alive=self._answer.keep_alive)

    def answer_eof(self) -> None:
        """Half of an upgraded connection has ended, or the second half."""
        self._upstream_ended = True
        if self._client_ended:
            self.cut()
        else:
            self._client.write_end()

    def upstream_lost(self, *, received: bool) -> None:
        """Repeat what is safe to repeat; else say that the answer never came, or was cut short."""
        self._upstream = None
        self._upload.detach()
        if self.tunnel:
            self.cut()
        elif self._answer.begun:
            self._fail(faults.INTERRUPTED)
        elif self._reused and not received and self._repeatable:
            self._fresh = True
            self._release()
            self._route()
        else:
            self._fail(faults.NO_ANSWER)

    def upstream_malformed(self) -> None:
        """The answer broke the protocol."""
        self._upstream = None
        self._fail(faults.MALFORMED)

    @property
    def _repeatable(self) -> bool:
        """A server that closed an idle connection has not worked on a request it cannot have had in full."""
        return not self._upload.sent and (self.head.length != 0 or self.head.method in _IDEMPOTENT)

    def _switch(self, head: ResponseHead) -> None:
        if not self.head.upgrade or self._backend is None or self._upstream is None:
            self._drop_upstream()
            self._fail(faults.MALFORMED)
            return
        self.tunnel = self._upstream.tunnel = True
        self._answer.switch(head)
        self._backend.add_tunnel(self)
        self._touch()
        self._client.read_body(wanted=True)

    # --- ending ----------------------------------------------------------------------------------

    def _fail(self, fault: Fault) -> None:
        """Answer with an error page; once an answer has begun, only cutting it short tells the client."""
        if self._over:
            return
        if self._answer.begun:
            self._end(fault)
            self._client.abort()
            return
        keep_alive = self.head.keep_alive and self._upload.complete and not self._gateway.draining
        page, self._answer.size = faults.page(
            fault, self.head, self.request_id.decode(), keep_alive=keep_alive
        )
        self._answer.status = fault.status
        self._end(fault)
        self._client.write(page)
        self._client.finished(keep_alive=keep_alive)

    def _end(self, fault: Fault | None) -> None:
        self._over = True
        if self._held:
            self._gateway.unhold(self._held, self)
        self._drop_upstream()
        self._log(fault)
        self._release()

    def _drop_upstream(self) -> None:
        connection, self._upstream = self._upstream, None
        self._upload.detach()
        if connection is None:
            return
        if self.tunnel:
            connection.receiver = None
            connection.transport.close()  # what the client said last is still delivered
        else:
            connection.close()

    def _release(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.tunnels.discard(self)
            backend.done()

    def _touch(self) -> None:
        """Begin the time limit of the current phase anew."""
        limits = self._gateway.limits
        if self.tunnel:
            pause = limits.tunnel_idle
        elif self._answer.begun or not self._upload.complete:
            pause = limits.idle
        else:
            pause = limits.first_byte
        self._client.deadline = self._gateway.loop.time() + pause

    def _log(self, fault: Fault | None) -> None:
        if self._site is None:
            return
        now = time.time()
        record = Record(
            app_id=self._site.route.app_id,
            method=self.head.method,
            path=self.head.target,
            host=self.head.host,
            request_id=self.request_id,
            forwarded=forwarded_for(self.head, self._client.sender),
            instance="" if self._backend is None else self._backend.target.name,
            connect=self._connect,
            service=max(0.0, now - self._started),
            status=self._answer.status or (0 if fault is None else fault.status),
            size=self._answer.size,
            time=now,
            fault=fault,
        )
        self._gateway.access.add(record)
