"""The engine adapter for Docker on one machine.

May import: deployer, config.
"""

from deployer.docker.engine import DockerEngine, Leaving

__all__ = ["DockerEngine", "Leaving"]
