"""The engine adapter for AWS ECS on Fargate.

May import: deployer, config.
"""

from deployer.ecs.aws import Aws
from deployer.ecs.engine import EcsEngine
from deployer.ecs.errors import NotOnEcsError, SizeError
from deployer.ecs.options import EcsOptions, EcsPace
from deployer.ecs.registry import Ecr

__all__ = ["Aws", "Ecr", "EcsEngine", "EcsOptions", "EcsPace", "NotOnEcsError", "SizeError"]
