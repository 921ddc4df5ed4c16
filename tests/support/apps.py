"""Small apps for the end-to-end tests: sources as path → text."""

SERVER = """
import http.server, os, sys
class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        status = int(self.path[8:]) if self.path.startswith("/status/") else 200
        body = ("one " + os.environ["CYGNI_RELEASE"]).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
print("listening soon", flush=True)
http.server.ThreadingHTTPServer(("HOST", PORT), Page).serve_forever()
"""


def app(*, host: str = "0.0.0.0", port: str = 'int(os.environ["PORT"])', **files: str) -> dict[str, str]:
    """A Python app without dependencies; `files` replaces or adds files (`Procfile=…`, `requirements_txt=…`)."""
    source = SERVER.replace("HOST", host).replace("PORT)", port + ")", 1)
    made = {"Procfile": "web: python3 server.py\n", "requirements.txt": "", "server.py": source}
    return made | {name.replace("_txt", ".txt").replace("_py", ".py"): text for name, text in files.items()}


def says(word: str) -> str:
    """The server's source answering another word than `one`."""
    return app()["server.py"].replace("one ", f"{word} ")
