"""A steady load on a router."""

from __future__ import annotations

import asyncio

import aiohttp


class Load:
    """Requests without a pause over kept and over new connections, GET and POST; counts what goes wrong."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/"
        self.done = 0
        self.failures: list[str] = []
        self.served: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Load:
        self._tasks = [
            asyncio.create_task(self._run(kind)) for kind in ("kept", "kept", "kept", "new", "new")
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, kind: str) -> None:
        connector = aiohttp.TCPConnector(force_close=kind == "new")
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers={"Host": "shop.localhost"}
        ) as s:
            while True:
                body = b"x" * 20_000 if self.done % 2 else None
                try:
                    async with s.request("POST" if body else "GET", self.url, data=body) as answer:
                        text = await answer.read()
                except (aiohttp.ClientError, TimeoutError) as error:
                    self.failures.append(repr(error))
                    continue
                self.done += 1
                self.served.add(text.split(b" ")[0].decode())
                if answer.status != 200 or (body and not text.endswith(body)):
                    self.failures.append(f"{answer.status} {text[:100]!r}")
