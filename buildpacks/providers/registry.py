"""The providers, and the rule that orders them.

The first of these that holds decides:

1. what the app's settings say;
2. a Dockerfile where the settings say (`Dockerfile` in the root unless set);
3. a language whose manifest says it outright: Go (go.mod), Ruby (Gemfile), PHP (composer.json), Elixir, Java, .NET;
4. Python, when something says that Python is what serves: the Procfile's web command, or a framework's app with a
   server for it;
5. Rust (Cargo.toml), Deno (deno.json), PHP pages;
6. Node.js, when package.json can start or build something;
7. a Gemfile that starts nothing, Python for any other reason, a main.go without a module;
8. a static site;
9. Node.js, when package.json only brings tools;
10. a Procfile alone.

A package.json with a build script beside 3, 4 or 5 becomes a step that builds assets. A provider says which of these
holds by the rank of its candidate; equal ranks keep the order below. Several candidates are no error: the losers are
told.
"""

from buildpacks.providers.base import Provider
from buildpacks.providers.deno import Deno
from buildpacks.providers.dotnet import Dotnet
from buildpacks.providers.elixir import Elixir
from buildpacks.providers.go import Go
from buildpacks.providers.java import Java
from buildpacks.providers.node.provider import Node
from buildpacks.providers.own_dockerfile import OwnDockerfile
from buildpacks.providers.php import Php
from buildpacks.providers.procfile_only import ProcfileOnly
from buildpacks.providers.python.provider import Python
from buildpacks.providers.ruby import Ruby
from buildpacks.providers.rust import Rust
from buildpacks.providers.static import Static

PROVIDERS: tuple[Provider, ...] = (
    OwnDockerfile(),
    Go(),
    Ruby(),
    Php(),
    Elixir(),
    Java(),
    Dotnet(),
    Python(),
    Rust(),
    Deno(),
    Node(),
    Static(),
    ProcfileOnly(),
)
