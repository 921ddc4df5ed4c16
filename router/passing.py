"""The two bodies of an exchange: the request's on its way to an instance, the answer's on its way back."""

from typing import Final

from router.answer import ResponseHead
from router.body import Body, body_of
from router.forward import interim_bytes, response_bytes, switching_bytes
from router.head import RequestFields, RequestHead
from router.ports import Client
from router.upstream import UpstreamConnection

_SMALL: Final = 16_384


class Upload:
    """A request's body. Kept, up to a bound, while there is no connection to an instance."""

    __slots__ = ("_body", "_chunked", "_client", "_connection", "_limit", "_pending", "_size", "sent")

    def __init__(self, head: RequestHead, client: Client, limit: int) -> None:
        """`limit` is the number of bytes that may wait; beyond it the client is not read."""
        self.sent = False
        """Whether any of it has left: then it cannot be sent again."""
        length = head.fields.length
        self._body: Body = body_of(length)
        self._chunked = length < 0
        self._client = client
        self._limit = limit
        self._connection: UpstreamConnection | None = None
        self._pending: list[bytes] = []
        self._size = 0

    @property
    def complete(self) -> bool:
        """Whether all of it has come from the client."""
        return self._body.complete

    def feed(self, data: bytes) -> bytes:
        """Take bytes from the client; returns those that follow the body. Raises RefusedError like `Body`."""
        content, rest = self._body.feed(data)
        if content and self._chunked:
            self.send(b"%x\r\n" % len(content), content, b"\r\n")
        elif content:
            self.send(content)
        if self._chunked and self._body.complete:
            self.send(b"0\r\n%b\r\n" % self._body.trailers)
        return rest

    def send(self, *pieces: bytes) -> None:
        """Pass bytes on as they are."""
        if self._connection is not None:
            self.sent = True
            self._connection.transport.writelines(pieces)
            return
        self._pending += pieces
        self._size += sum(map(len, pieces))
        if self._size > self._limit:
            self._client.read_body(wanted=False)

    def attach(self, connection: UpstreamConnection, head: bytes) -> None:
        """Send the head and what has waited; go on with reading the client if there is room."""
        self._connection = connection
        if self._pending:
            self.sent = True
            connection.transport.writelines((head, *self._pending))
            self._pending, self._size = [], 0
        else:
            connection.transport.write(head)
        if connection.transport.get_write_buffer_size() <= self._limit:
            self._client.read_body(wanted=True)

    def detach(self) -> None:
        """The connection is gone."""
        self._connection = None


class NoUpload:
    """What most requests have in place of a body. Shared: it holds nothing."""

    complete = True
    sent = False

    def feed(self, data: bytes) -> bytes:
        """Nothing belongs to it."""
        return data

    def send(self, *pieces: bytes) -> None:
        """Only an upgraded connection sends, and that has an `Upload`."""

    def attach(self, connection: UpstreamConnection, head: bytes) -> None:
        """Send the head."""
        connection.transport.write(head)

    def detach(self) -> None:
        """The connection is gone."""


NO_UPLOAD: Final = NoUpload()


class Answer:
    """An answer, written out once for each read from the instance."""

    __slots__ = ("_chunked", "_client", "_fields", "_out", "begun", "keep_alive", "size", "status")

    def __init__(self, fields: RequestFields, client: Client) -> None:
        """Nothing has come yet."""
        self.begun = False
        self.status = 0
        self.size = 0
        """Bytes of the body so far."""
        self.keep_alive = False
        self._chunked = False
        self._fields = fields
        self._client = client
        self._out: list[bytes] = []

    def interim(self, head: ResponseHead) -> None:
        """Pass on a 1xx head to a client that knows what it means."""
        fields = self._fields
        if fields.expects_continue if head.status == 100 else fields.minor == 1:
            self._out.append(interim_bytes(head))

    def begin(self, head: ResponseHead, *, keep_alive: bool) -> None:
        """Write the head; `keep_alive` says whether another request may follow as far as the client goes."""
        self.begun, self.status = True, head.status
        unframed = head.length is None or head.length < 0
        minor = self._fields.minor
        self._chunked = unframed and minor == 1
        self.keep_alive = keep_alive and (self._chunked or not unframed)
        self._out.append(response_bytes(head, minor, chunked=self._chunked, keep_alive=self.keep_alive))

    def whole(self, head: ResponseHead, content: bytes, *, keep_alive: bool) -> None:
        """Write an answer that came in one piece."""
        self.begun, self.status, self.size, self.keep_alive = True, head.status, len(content), keep_alive
        out = self._out
        out.append(response_bytes(head, self._fields.minor, chunked=False, keep_alive=keep_alive))
        if content:
            out.append(content)
        self.flush()

    def switch(self, head: ResponseHead) -> None:
        """Write the head of an upgraded connection: what follows passes as it is."""
        self.begun, self.status = True, head.status
        self._out.append(switching_bytes(head))

    def data(self, data: bytes) -> None:
        """Take a piece of the body."""
        self.size += len(data)
        if self._chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def end(self, trailers: bytes) -> None:
        """Write the end of the body, and what follows it where the framing has a place for that."""
        if self._chunked:
            self._out.append(b"0\r\n%b\r\n" % trailers)
        self.flush()

    def flush(self) -> None:
        """Write what has been taken; small pieces are joined, since each costs more than its copy."""
        out = self._out
        if len(out) == 1:
            self._client.write(out[0])
        elif out:
            if len(out[-1]) <= _SMALL:
                self._client.write(b"".join(out))
            else:
                self._client.write_pieces(out)
        else:
            return
        self._out = []
