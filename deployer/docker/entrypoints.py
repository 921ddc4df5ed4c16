"""What images start with, asked once each."""

from typing import Any

from deployer.docker.execs import Call

INITS = ("tini", "dumb-init", "/init")
"""Programs that images start with to become what they are told to."""


class Entrypoints:
    """First words of images' entry points."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._known: dict[str, str] = {}

    async def of(self, image: str) -> str:
        """The program that an image starts with, empty for none."""
        if image not in self._known:
            found = await self._call(lambda api: _image(api, image))
            self._known[image] = (found["Config"].get("Entrypoint") or [""])[0]
        return self._known[image]

    async def needs_init(self, image: str) -> bool:
        """An image that starts with an init of its own gets none from us: two would only warn."""
        return not (await self.of(image)).endswith(INITS)

    async def passes_on(self, image: str) -> bool:
        """Whether what it is told to run is run as it is: an entry point of the image's own may do anything."""
        entrypoint = await self.of(image)
        return not entrypoint or entrypoint.endswith(INITS)


def _image(api: Any, image: str) -> dict[str, Any]:
    """The SDK's method has no annotations."""
    found: dict[str, Any] = api.inspect_image(image)
    return found
