"""The picture of services and tasks, where looks and changes of our own cross."""

from collections.abc import Mapping
from typing import Any

from ecs_plane import OPTIONS

from deployer.ecs.aws import Aws
from deployer.ecs.board import Board, Service
from deployer.ecs.tasks import Identity, as_tags

IDENTITY = Identity("app-id", "shop", 1, "worker", 1, 0, 5000)
NAME = "cygni-server-shop-v1-worker-1-abcdef"


class CrossingAws(Aws):
    """CreateService has had its effect; its answer comes while a look asks who the new service is."""

    board: Board
    made: Service

    async def call(self, service: str, operation: str, /, **arguments: Any) -> Mapping[str, Any]:
        if operation == "list_services":
            return {"serviceArns": [f"arn:aws:ecs:r:1:service/apps/{NAME}"]}
        if operation == "describe_services":
            self.made = self.board.add(Service(NAME, IDENTITY))
            tags = as_tags(IDENTITY.tags("server"))
            return {"services": [{"serviceName": NAME, "status": "ACTIVE", "desiredCount": 1, "tags": tags}]}
        if operation == "list_tasks":
            return {"taskArns": ["arn:aws:ecs:r:1:task/apps/0123"]}
        task = {
            "taskArn": "arn:aws:ecs:r:1:task/apps/0123",
            "group": f"service:{NAME}",
            "lastStatus": "RUNNING",
        }
        return {"tasks": [task]}


async def never(service: Service) -> None:
    raise AssertionError(f"{service.name} did not end")


async def test_a_service_that_a_look_meets_while_it_is_made_is_one_object() -> None:
    aws = CrossingAws("eu-central-1")
    aws.board = Board(aws, "server", OPTIONS, never)
    await aws.board.ready()
    assert aws.board.services == {NAME: aws.made}
    assert list(aws.made.tasks) == ["0123"], "whoever made it waits for its task"
    assert aws.board.add(Service(NAME, IDENTITY)) is aws.made
    await aws.board.close()
    aws.close()
