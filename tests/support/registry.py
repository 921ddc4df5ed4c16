"""A registry on loopback that takes pushes, as much of it as an engine needs to believe in it."""

import base64
from collections.abc import Awaitable, Callable
from hashlib import sha256
from uuid import uuid4

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Registry:
    """Keeps blobs and manifests; wants `login` (`user:password`)."""

    def __init__(self, login: str) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.uploads = 0
        self._expected = "Basic " + base64.b64encode(login.encode()).decode()
        self._parts: dict[str, bytearray] = {}
        self._runner: web.AppRunner | None = None

    async def open(self) -> str:
        """Listen; return host and port."""
        app = web.Application(middlewares=[self._login], client_max_size=1 << 28)
        app.add_routes(
            [
                web.get("/v2/", self._root),
                web.head("/v2/{name:.+}/blobs/{digest}", self._blob),
                web.post("/v2/{name:.+}/blobs/uploads/", self._begin),
                web.patch("/v2/{name:.+}/uploads/{id}", self._append),
                web.put("/v2/{name:.+}/uploads/{id}", self._finish),
                web.put("/v2/{name:.+}/manifests/{tag}", self._manifest),
                web.head("/v2/{name:.+}/manifests/{tag}", self._unknown),
            ]
        )
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"{host}:{port}"

    async def close(self) -> None:
        """Listen no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _login(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("Authorization") != self._expected:
            return web.json_response(
                {"errors": [{"code": "DENIED", "message": "denied"}]},
                status=401, headers={"WWW-Authenticate": 'Basic realm="registry"'},
            )  # fmt: skip
        answer = await handler(request)
        answer.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        return answer

    async def _root(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _unknown(self, request: web.Request) -> web.Response:
        return web.Response(status=404)

    async def _blob(self, request: web.Request) -> web.Response:
        found = self.blobs.get(request.match_info["digest"])
        if found is None:
            return web.Response(status=404)
        return web.Response(body=found, headers={"Docker-Content-Digest": request.match_info["digest"]})

    async def _begin(self, request: web.Request) -> web.Response:
        made = uuid4().hex
        self._parts[made] = bytearray()
        self.uploads += 1
        return self._go_on(request, made)

    def _go_on(self, request: web.Request, upload: str) -> web.Response:
        where = f"/v2/{request.match_info['name']}/uploads/{upload}"
        size = max(len(self._parts[upload]) - 1, 0)
        headers = {"Location": where, "Range": f"0-{size}", "Docker-Upload-UUID": upload}
        return web.Response(status=202, headers=headers)

    async def _append(self, request: web.Request) -> web.Response:
        self._parts[request.match_info["id"]] += await request.read()
        return self._go_on(request, request.match_info["id"])

    async def _finish(self, request: web.Request) -> web.Response:
        data = bytes(self._parts.pop(request.match_info["id"]) + await request.read())
        digest = request.query["digest"]
        assert digest == "sha256:" + sha256(data).hexdigest()
        self.blobs[digest] = data
        where = f"/v2/{request.match_info['name']}/blobs/{digest}"
        return web.Response(status=201, headers={"Docker-Content-Digest": digest, "Location": where})

    async def _manifest(self, request: web.Request) -> web.Response:
        data = await request.read()
        digest = "sha256:" + sha256(data).hexdigest()
        self.manifests[f"{request.match_info['name']}@{digest}"] = data
        return web.Response(status=201, headers={"Docker-Content-Digest": digest})
