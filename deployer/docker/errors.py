"""What the adapter's parts tell each other."""

from deployer.ports import EngineError


class GoneError(EngineError):
    """The engine knows no such container, process, image or network."""
