"""The providers, and the rule that orders them.

The first of these that holds decides:

1. what the app's settings say;
2. a Dockerfile where the settings say (`Dockerfile` in the root unless set);
3. Python, when something says that Python is what serves: the Procfile's web command, or a framework's app with a
   server for it. package.json is tooling there;
4. Node.js, when package.json can start or build something;
5. Python for any other reason;
6. a static site;
7. Node.js, when package.json only brings tools;
8. a Procfile alone.

A provider says which of these holds by the rank of its candidate; equal ranks keep the order below.
Several candidates are no error: the losers are told.
"""

from buildpacks.providers.base import Provider
from buildpacks.providers.node.provider import Node
from buildpacks.providers.own_dockerfile import OwnDockerfile
from buildpacks.providers.procfile_only import ProcfileOnly
from buildpacks.providers.python.provider import Python
from buildpacks.providers.static import Static

PROVIDERS: tuple[Provider, ...] = (OwnDockerfile(), Python(), Node(), Static(), ProcfileOnly())

UNSUPPORTED: tuple[tuple[str, str], ...] = (
    ("go.mod", "Go"),
    ("Gemfile", "Ruby"),
    ("composer.json", "PHP"),
    ("pom.xml", "Java"),
    ("build.gradle", "Java"),
    ("build.gradle.kts", "Java"),
    ("Cargo.toml", "Rust"),
    ("mix.exs", "Elixir"),
    ("*.csproj", ".NET"),
    ("*.sln", ".NET"),
    ("deno.json", "Deno"),
    ("deno.jsonc", "Deno"),
)
"""Files of languages that need an own Dockerfile so far. A package.json beside one of them is tooling."""
