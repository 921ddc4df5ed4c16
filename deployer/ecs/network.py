"""Where tasks are placed: the arguments that CreateService and RunTask share. Pure."""

from typing import Any

from deployer.ecs.options import EcsOptions


def placement(options: EcsOptions) -> dict[str, Any]:
    """Subnets, security groups and the kind of capacity."""
    return {
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": list(options.subnets),
                "securityGroups": list(options.security_groups),
                "assignPublicIp": "ENABLED" if options.public_addresses else "DISABLED",
            }
        },
        "capacityProviderStrategy": [
            {"capacityProvider": "FARGATE_SPOT" if options.spot else "FARGATE", "weight": 1}
        ],
    }
