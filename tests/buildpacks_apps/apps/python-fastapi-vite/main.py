from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

app = FastAPI()


@app.get("/api")
def api() -> dict[str, str]:
    return {"said": "by FastAPI"}


app.mount("/", StaticFiles(directory=Path(__file__).parent / "dist", html=True))
