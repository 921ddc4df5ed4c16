"""The parent's core: one table, relayed to the workers; their acknowledgements, joined, to the clients."""

import time
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Protocol

from router import feed
from router.metrics import Metrics
from router.spool import Collector, Spool
from router.store import Saver, snapshot_of, table_of
from router.table import Table


class Peer(Protocol):
    """A worker's receiving end."""

    def send(self, line: bytes) -> None:
        """Queue one encoded message; a peer that does not read is disconnected."""


@dataclass(eq=False)
class WorkerState:
    """What the relay knows of one worker."""

    peer: Peer
    sent: int = 0
    acked: int = 0
    behind_since: float = 0.0

    def behind(self, now: float) -> float:
        """Return for how many seconds a table has waited for this worker's acknowledgement."""
        return now - self.behind_since if self.acked < self.sent else 0.0


@dataclass(eq=False)
class ClientState:
    """A control plane's connection: the numbers it waits for, each with the table version that satisfies it."""

    peer: Collector
    collect: bool = False
    pending: deque[tuple[int, int]] = field(default_factory=deque)


@dataclass(eq=False)
class _Query:
    """A drain question on its way through the workers."""

    client: ClientState
    question: feed.Drain
    waiting: set[WorkerState]


class Relay:
    """Joins clients, workers and the saved table. Holds no socket: peers are given to it."""

    def __init__(self, table: Table, saver: Saver, spool: Spool) -> None:
        """Start from `table`, which the workers that join are sent first."""
        self.table = table
        self._saver = saver
        self._spool = spool
        self._metrics = Metrics()
        self._workers: set[WorkerState] = set()
        self._clients: list[ClientState] = []
        self._queries: dict[int, _Query] = {}
        self._next_query = 0

    @property
    def workers(self) -> int:
        """How many workers are connected."""
        return len(self._workers)

    def join_worker(self, worker: WorkerState) -> None:
        """Add a worker, which gets the table; it counts for acknowledgements from now on."""
        self._workers.add(worker)
        self._send_table(worker, feed.encode(snapshot_of(self.table)))

    def leave_worker(self, worker: WorkerState) -> None:
        """Forget a worker that ended: its requests ended with it."""
        self._workers.discard(worker)
        self._metrics.leave(worker)
        for number in [number for number, query in self._queries.items() if worker in query.waiting]:
            self._answer(number, worker)
        self.settle()

    def join_client(self, client: ClientState) -> None:
        """Add a client; the newest one that collects gets the access lines."""
        self._clients.append(client)
        self._choose_collector()

    def leave_client(self, client: ClientState) -> None:
        """Forget a client and its questions."""
        if client in self._clients:
            self._clients.remove(client)
        self._queries = {
            number: query for number, query in self._queries.items() if query.client is not client
        }
        self._choose_collector()

    def from_client(self, client: ClientState, message: feed.Message) -> None:
        """Handle one message of a control plane."""
        version = self.table.version + 1
        match message:
            case feed.Snapshot(version=number):
                table = table_of(replace(message, version=version))
                self._install(client, number, table, snapshot_of(table))
            case feed.Change(version=number, route=route):
                self._install(
                    client, number, self.table.with_route(route, version), feed.Change(version, route)
                )
            case feed.Remove(version=number, app_id=app_id):
                self._install(
                    client, number, self.table.without(app_id, version), feed.Remove(version, app_id)
                )
            case feed.Certify(version=number, certificate=certificate):
                table = self.table.with_certificate(certificate, version)
                self._install(client, number, table, feed.Certify(version, certificate))
            case feed.Uncertify(version=number, name=name):
                table = self.table.without_certificate(name, version)
                self._install(client, number, table, feed.Uncertify(version, name))
            case feed.Drain():
                self._ask(client, message)
            case _:
                pass

    def from_worker(self, worker: WorkerState, line: bytes) -> None:
        """Handle one line of a worker. Raises FeedError for what is no message."""
        count = feed.access_count(line)
        if count is not None:
            self._spool.add(line, count)
            return
        message = feed.decode(line)
        match message:
            case feed.Ack(version=version):
                self._acknowledge(worker, version)
            case feed.Drained(query=query):
                self._answer(query, worker)
            case feed.LastRequests(times=times):
                self._spool.add_times(times)
            case feed.Stats():
                self._metrics.add(worker, message)
            case feed.Dropped(count=lost):
                self._spool.add_dropped(lost)
            case feed.Ejected() | feed.Wake():
                self._spool.add(line, 1)
            case _:
                pass

    def metrics(self) -> str:
        """Write what was counted as Prometheus text."""
        return self._metrics.text(self.table.routes)

    def settle(self) -> None:
        """Tell each client which of its numbers are saved and applied everywhere."""
        level = min([self._saver.version, *(worker.acked for worker in self._workers)])
        for client in self._clients:
            newest = None
            while client.pending and client.pending[0][0] <= level:
                newest = client.pending.popleft()[1]
            if newest is not None:
                client.peer.send(feed.encode(feed.Ack(newest)))

    def _install(self, client: ClientState, number: int, table: Table, message: feed.Down) -> None:
        self.table = table
        self._metrics.keep_only(table.routes)
        client.pending.append((table.version, number))
        line = feed.encode(message)
        for worker in self._workers:
            self._send_table(worker, line)
        self._saver.request(table)

    def _send_table(self, worker: WorkerState, line: bytes) -> None:
        if worker.acked == worker.sent:
            worker.behind_since = time.monotonic()
        worker.sent = self.table.version
        worker.peer.send(line)

    def _acknowledge(self, worker: WorkerState, version: int) -> None:
        worker.acked = version
        worker.behind_since = time.monotonic()
        self.settle()

    def _ask(self, client: ClientState, question: feed.Drain) -> None:
        self._next_query += 1
        self._queries[self._next_query] = _Query(client, question, set(self._workers))
        line = feed.encode(feed.Drain(self._next_query, question.app_id, question.instance_ids))
        for worker in self._workers:
            worker.peer.send(line)
        if not self._workers:
            self._answer(self._next_query, None)

    def _answer(self, number: int, worker: WorkerState | None) -> None:
        query = self._queries.get(number)
        if query is None:
            return
        if worker is not None:
            query.waiting.discard(worker)
        if not query.waiting:
            del self._queries[number]
            question = query.question
            answer = feed.Drained(question.query, question.app_id, question.instance_ids)
            query.client.peer.send(feed.encode(answer))

    def _choose_collector(self) -> None:
        collectors = [client for client in self._clients if client.collect]
        self._spool.deliver_to(collectors[-1].peer if collectors else None)
