"""The engine adapter for AWS ECS on Fargate.

May import: deployer, config.
"""

from deployer.ecs.aws import Aws
from deployer.ecs.engine import EcsEngine
from deployer.ecs.errors import NotOnEcsError, SizeError
from deployer.ecs.options import EcsOptions, EcsPace

__all__ = ["Aws", "EcsEngine", "EcsOptions", "EcsPace", "NotOnEcsError", "SizeError"]
