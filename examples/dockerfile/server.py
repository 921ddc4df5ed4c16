"""A small web app without dependencies: says which version and which release answers."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = "1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        release = os.environ.get("CYGNI_RELEASE", "none")
        pages = {"/": f"Hello from a Dockerfile, version {VERSION}, release {release}\n", "/health": "ok\n"}
        body = pages.get(self.path, "not found\n").encode()
        self.send_response(200 if self.path in pages else 404)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer(("0.0.0.0", int(os.environ.get("PORT", "5000"))), Handler).serve_forever()
