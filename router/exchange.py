"""One request and its answer: choose an instance, pass both ways, retry where it is safe, log."""

import time

from router import faults
from router.access import INFO, Record, kind_of, milliseconds, quoted
from router.answer import ResponseHead
from router.backends import Backend, Site
from router.faults import Fault
from router.forward import forwarded_for, request_bytes
from router.gateway import Gateway
from router.head import RequestHead
from router.passing import NO_UPLOAD, Answer, NoUpload, Upload
from router.ports import Client
from router.redirect import redirection
from router.upstream import UpstreamConnection
from router.waiting import WaitingRoom


class Exchange:
    """Lives from a request's head to the end of its answer, or of the upgraded connection."""

    tunnel = False
    """Whether the connection was upgraded."""
    # Defaults stand here so that a request sets only what is different for it.
    _upload: Upload | NoUpload = NO_UPLOAD
    _site: Site | None = None
    _backend: Backend | None = None
    _upstream: UpstreamConnection | None = None
    _tried: tuple[Backend, ...] = ()
    _attempts = 0
    _fault: Fault | None = None
    _room: WaitingRoom | None = None
    """Where it waits."""
    _room_fault = faults.BOOT_TIMEOUT
    """What to answer when it has waited too long."""
    _room_since = 0.0
    _hold: float | None = None
    """Seconds it has waited."""
    _fresh = False
    """Whether it must not use a connection that was used before."""
    _reused = False
    _over = False
    _upstream_ended = False
    _client_ended = False
    _dialed = 0.0
    _connect = b""
    """How long it took to connect, as the access line shows it."""

    def __init__(self, gateway: Gateway, client: Client, head: RequestHead) -> None:
        """Prepare; `start` begins."""
        self.head = head
        self.request_id = gateway.request_ids.of(head)
        self._gateway = gateway
        self._client = client
        self._started = time.time()
        fields = head.fields
        self._answer = Answer(fields, client)
        if fields.length or fields.upgrade:
            self._upload = Upload(head, client, gateway.limits.buffer_bytes)

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
            self._upstream.resume()
        else:
            self._upstream.pause()

    def refuse(self, fault: Fault) -> None:
        """The client broke the protocol within the body."""
        self._fail(fault)

    def expired(self) -> None:
        """The deadline has passed: say whose fault it is."""
        if self._room is not None:
            self._fail(self._room_fault)
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
        """What this request waited for has come."""
        if self._room is not None:
            self._end_wait(self._room)
        self._touch()
        self._route()

    def connected(self, connection: UpstreamConnection) -> bool:
        """See `Dialer`."""
        if self._over:
            return False
        self._connect = milliseconds(self._gateway.loop.time() - self._dialed)
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
        self._tried = (*self._tried, backend)
        self._release()
        if self._attempts < self._gateway.limits.connect_attempts:
            self._route()
        else:
            self._fail(self._fault)

    def _route(self) -> None:
        site = self._site = self._gateway.routing.find(self.head.fields.host)
        if site is None:
            self._fail(faults.unknown_host(self.head.fields.host, self._gateway.domain))
        elif site.route.https_only and (
            moved := redirection(self.head, self._client.sender, self._gateway.https_port)
        ):
            self._fail(moved)
        elif site.route.state == "live":
            self._attempt(site)
        elif site.route.state == "hold":
            room = self._gateway.hold(site.route.app_id)
            self._wait(room, self._gateway.limits.hold, faults.BOOT_TIMEOUT)
        else:
            self._fail(faults.BLANK if site.route.state == "none" else faults.NO_WEB)

    def _wait(self, room: WaitingRoom, seconds: float, fault: Fault) -> None:
        if not room.enter(self):
            self._fail(faults.BACKLOG)
            return
        self._room, self._room_fault, self._room_since = room, fault, self._gateway.loop.time()
        self._client.deadline = self._room_since + seconds

    def _end_wait(self, room: WaitingRoom) -> None:
        self._room = None
        room.leave(self)
        self._hold = (self._hold or 0.0) + self._gateway.loop.time() - self._room_since

    def _attempt(self, site: Site) -> None:
        now, limits = self._gateway.loop.time(), self._gateway.limits
        backend = site.choose(now, self._tried)
        if backend is None:
            self._fail(self._fault or faults.NO_WEB)
            return
        if backend.in_flight >= limits.instance_requests and backend.full:
            self._wait(backend.room, limits.queue, faults.BACKLOG)
            return
        self._attempts += 1
        self._backend = backend
        backend.in_flight += 1
        longest = limits.upstream_idle if self.head.idempotent else limits.upstream_fresh
        connection = None if self._fresh else backend.take(now, longest)
        self._reused = connection is not None
        if connection is not None:
            self._connect = b"0ms"
            self._attach(connection)
        else:
            self._dialed = now
            backend.dial(self)

    def _attach(self, connection: UpstreamConnection) -> None:
        self._upstream = connection
        connection.begin(self, bodyless=self.head.method == b"HEAD")
        head = request_bytes(self.head, self._client.sender, self.request_id, self._started)
        self._upload.attach(connection, head)
        if self._client.congested:
            connection.pause()

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
            self._answer.begin(head, keep_alive=self._may_go_on)
            self._touch()

    def answer_whole(self, head: ResponseHead, content: bytes, *, reusable: bool) -> None:
        """See `Receiver`."""
        self._answer.whole(head, content, keep_alive=self._may_go_on)
        self._complete(reusable=reusable)

    def answer_data(self, data: bytes) -> None:
        """Pass on a piece."""
        self._answer.data(data)
        self._touch()

    def answer_flush(self) -> None:
        """Write what has been taken."""
        self._answer.flush()

    def answer_end(self, trailers: bytes, *, reusable: bool) -> None:
        """The answer is complete."""
        self._answer.end(trailers)
        self._complete(reusable=reusable)

    def answer_eof(self) -> None:
        """Half of an upgraded connection has ended, or the second half."""
        self._upstream_ended = True
        if self._client_ended or not self._client.write_end():
            self.cut()

    def upstream_lost(self, *, received: bool) -> None:
        """Repeat what is safe to repeat; else say that the answer never came, or was cut short."""
        self._forget_upstream()
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
        self._forget_upstream()
        self._fail(faults.MALFORMED)

    @property
    def _repeatable(self) -> bool:
        """A server that closed an idle connection has not worked on a request it cannot have had in full."""
        if self.head.fields.length == 0:
            return self.head.idempotent
        return not self._upload.sent

    def _switch(self, head: ResponseHead) -> None:
        if not self.head.fields.upgrade or self._backend is None or self._upstream is None:
            self._fail(faults.MALFORMED)
            return
        self.tunnel = self._upstream.tunnel = True
        self._answer.switch(head)
        self._backend.add_tunnel(self)
        self._touch()
        self._client.switched()

    # --- ending ----------------------------------------------------------------------------------

    @property
    def _may_go_on(self) -> bool:
        """Whether the client may send another request; an unread rest of this one would be taken for it."""
        return self._upload.complete and self.head.fields.keep_alive and not self._gateway.draining

    def _complete(self, *, reusable: bool) -> None:
        """The answer is written: the connection goes back to its backend if both sides are done with it."""
        connection, backend = self._upstream, self._backend
        assert connection is not None
        assert backend is not None
        self._forget_upstream()
        if reusable and self._upload.complete:
            backend.keep(connection, self._gateway.loop.time())
        else:
            connection.close()
        self._end(None)
        self._client.finished(keep_alive=self._answer.keep_alive)

    def _fail(self, fault: Fault) -> None:
        """Answer with an error page; once an answer has begun, only cutting it short tells the client."""
        if self._over:
            return
        if self._answer.begun:
            self._end(fault)
            self._client.abort()
            return
        keep_alive = self._may_go_on
        page, self._answer.size = faults.page(
            fault, self.head, self.request_id.decode(), keep_alive=keep_alive
        )
        self._answer.status = fault.status
        self._end(fault)
        self._client.write(page)
        self._client.finished(keep_alive=keep_alive)

    def _end(self, fault: Fault | None) -> None:
        self._over = True
        if self._room is not None:
            self._end_wait(self._room)
        connection = self._upstream
        if connection is not None:
            self._forget_upstream()
            connection.finish() if self.tunnel else connection.close()  # what was said last is still delivered
        self._log(fault)
        self._release()

    def _forget_upstream(self) -> None:
        self._upstream = None
        self._upload.detach()

    def _release(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            if self.tunnel:
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
        now, answer, backend, fields = time.time(), self._answer, self._backend, self.head.fields
        record = Record(
            self._site.app_id,
            now * 1e6,
            INFO if fault is None or fault.location else kind_of(fault),
            self.head.method,
            quoted(self.head.target),
            fields.host,
            self.request_id,
            forwarded_for(self.head, self._client.sender),
            b"" if backend is None else backend.name,
            self._connect,
            max(0.0, now - self._started) * 1_000 + 0.5,
            b"" if self._hold is None else b" hold=" + milliseconds(self._hold),
            answer.status or (0 if fault is None else fault.status),
            answer.size,
        )
        app_id = self._site.route.app_id
        self._gateway.access.add(app_id, now, record)
        tally = self._gateway.meter.count(app_id, record.status, record.service, record.size)
        tally.holds += self._hold is not None
        tally.retries += max(0, self._attempts - 1)
