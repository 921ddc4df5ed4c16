"""A small web app: says which version and which release answers."""

import os

from flask import Flask

VERSION = "1"

app = Flask(__name__)


@app.get("/")
def home() -> str:
    release = os.environ.get("CYGNI_RELEASE", "none")
    return f"Hello from Python, version {VERSION}, release {release}\n"


@app.get("/health")
def health() -> str:
    return "ok\n"
