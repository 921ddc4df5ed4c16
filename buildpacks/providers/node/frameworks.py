"""JavaScript frameworks: what their build writes, and what serves it. The first that applies decides.

A framework either writes files that any web server can serve (`output`), or a server (`start`). An app's own start
script goes before both, unless it is the one that the framework's template has for development or preview.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from buildpacks.plan import Evidence
from buildpacks.providers.base import Source
from buildpacks.providers.node.manifest import Manifest

_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_NEXT_EXPORT = re.compile(r"""output\s*:\s*["']export["']""")
_NO_SSR = re.compile(r"ssr\s*:\s*false")
_OUT_DIR = re.compile(r"""outDir\s*:\s*["'](?:\./)?([A-Za-z0-9_][A-Za-z0-9_./-]*)["']""")
_SINGLE_PAGE = (
    "react",
    "vue",
    "svelte",
    "preact",
    "solid-js",
    "lit",
    "@builder.io/qwik",
    "@angular/core",
    "react-dom",
)


@dataclass(frozen=True)
class Framework:
    """One framework. `preview` matches start scripts that serve only development; `variables` are for the image."""

    name: str
    packages: tuple[str, ...]
    preview: str
    output: Callable[[Source, Manifest], str | None]
    start: str | None = None
    fallback: bool = False
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Output:
    """A folder of files to serve. `fallback`: unknown paths get its index."""

    folder: str
    fallback: bool
    source: Evidence


def _none(source: Source, manifest: Manifest) -> str | None:
    del source, manifest
    return None


def _always(folder: str) -> Callable[[Source, Manifest], str | None]:
    def output(source: Source, manifest: Manifest) -> str | None:
        del source, manifest
        return folder

    return output


def _next(source: Source, manifest: Manifest) -> str | None:
    del manifest
    return "out" if _NEXT_EXPORT.search(_config(source, "next.config")) else None


def _react_router(source: Source, manifest: Manifest) -> str | None:
    del manifest
    return "build/client" if _NO_SSR.search(_config(source, "react-router.config")) else None


def _sveltekit(source: Source, manifest: Manifest) -> str | None:
    del source
    return "build" if "@sveltejs/adapter-static" in manifest.dependencies else None


def _astro(source: Source, manifest: Manifest) -> str | None:
    return None if "@astrojs/node" in manifest.dependencies else _vite(source, manifest)


def _vite(source: Source, manifest: Manifest) -> str | None:
    del manifest
    match = _OUT_DIR.search(_config(source, "vite.config") or _config(source, "astro.config"))
    return match[1] if match and _FOLDER.fullmatch(match[1]) else "dist"


def _angular(source: Source, manifest: Manifest) -> str | None:
    """Since version 17 the browser's part is in a folder of its own."""
    del source
    name = manifest.document.text_at("name") or ""
    version = re.search(r"\d+", manifest.dependencies.get("@angular/core", ""))
    if not _FOLDER.fullmatch(name):
        return None
    return f"dist/{name}/browser" if version and int(version[0]) >= 17 else f"dist/{name}"


def _nuxt(source: Source, manifest: Manifest) -> str | None:
    del source
    return ".output/public" if "generate" in manifest.scripts.get("build", "") else None


def _config(source: Source, stem: str) -> str:
    for extension in ("js", "mjs", "ts", "cjs", "mts"):
        text = source.text(f"{stem}.{extension}")
        if text is not None:
            return text
    return ""


_HOST = (("HOST", "0.0.0.0"),)  # noqa: S104 - inside a container
_NITRO = (*_HOST, ("NITRO_HOST", "0.0.0.0"))  # noqa: S104 - inside a container

FRAMEWORKS = (
    Framework("Next.js", ("next",), r"next (?:dev|start)\b.*", _next, "next start", variables=(("HOSTNAME", "0.0.0.0"),)),  # noqa: S104
    Framework("Nuxt", ("nuxt",), r"nuxt (?:dev|preview|start)\b.*", _nuxt, "node .output/server/index.mjs", variables=_NITRO),
    Framework("Remix", ("@remix-run/serve",), r"remix(?:-serve)? (?:dev|vite:dev)\b.*", _none, "remix-serve ./build/server/index.js", variables=_HOST),
    Framework("React Router", ("@react-router/serve", "@react-router/dev"), r"(?:react-router dev|react-router-serve)\b.*", _react_router, "react-router-serve ./build/server/index.js", fallback=True, variables=_HOST),
    Framework("SvelteKit", ("@sveltejs/kit",), r"vite (?:dev|preview)\b.*", _sveltekit, "node build", variables=_HOST),
    Framework("TanStack Start", ("@tanstack/react-start",), r"(?:vite|vinxi) (?:dev|preview|start)\b.*", _none, "node .output/server/index.mjs", variables=_NITRO),
    Framework("Astro", ("astro",), r"astro (?:dev|preview)\b.*|vite preview\b.*", _astro, "node ./dist/server/entry.mjs", variables=_HOST),
    Framework("Gatsby", ("gatsby",), r"gatsby (?:develop|serve)\b.*|npm run develop", _always("public")),
    Framework("Docusaurus", ("@docusaurus/core",), r"docusaurus (?:start|serve)\b.*", _always("build")),
    Framework("VitePress", ("vitepress",), r"vitepress (?:dev|preview|serve)\b.*", _always("docs/.vitepress/dist")),
    Framework("Eleventy", ("@11ty/eleventy",), r"(?:npx )?(?:@11ty/)?eleventy --serve\b.*", _always("_site")),
    Framework("Angular", ("@angular/core",), r"ng serve\b.*", _angular, fallback=True),
    Framework("Create React App", ("react-scripts",), r"react-scripts start\b.*", _always("build"), fallback=True),
    Framework("Vue CLI", ("@vue/cli-service",), r"vue-cli-service serve\b.*", _always("dist"), fallback=True),
    Framework("Vite", ("vite",), r"vite(?: (?:dev|serve|preview))?\b.*", _vite, fallback=True),
    Framework("Parcel", ("parcel",), r"parcel (?:serve )?\S+\.html.*", _always("dist"), fallback=True),
)  # fmt: skip


def framework_of(manifest: Manifest) -> Framework | None:
    """The framework that an app is written with."""
    wanted = manifest.dependencies
    return next((item for item in FRAMEWORKS if any(name in wanted for name in item.packages)), None)


def has_own_start(manifest: Manifest, framework: Framework | None) -> bool:
    """Whether the start script is more than what the framework's template brings."""
    script = manifest.scripts.get("start")
    return bool(script) and not (framework and re.fullmatch(framework.preview, str(script).strip()))


def static_output(source: Source, manifest: Manifest) -> Output | None:
    """What to serve as files; None when the app is a server."""
    framework = framework_of(manifest)
    if framework is None or not manifest.scripts.get("build") or has_own_start(manifest, framework):
        return None
    if framework.name == "Vite" and not _is_client(source, manifest):
        return None
    folder = framework.output(source, manifest)
    if folder is None:
        return None
    package = next(name for name in framework.packages if name in manifest.dependencies)
    return Output(folder, framework.fallback and not _fallback_off(source), manifest.place(package))


def _is_client(source: Source, manifest: Manifest) -> bool:
    """A page that Vite starts from, or a library for pages: Vite builds servers' code, too."""
    return source.has("index.html") or any(name in manifest.dependencies for name in _SINGLE_PAGE)


def _fallback_off(source: Source) -> bool:
    return bool(re.search(r"^index_fallback:\s*false", source.text("Staticfile") or "", re.MULTILINE))
