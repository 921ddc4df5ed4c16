"""What ECS is told and what it tells, as data: sizes, definitions, causes, errors, lines."""

from datetime import UTC, datetime, timedelta

import pytest
from ecs_plane import OPTIONS

from deployer.ecs import SizeError, causes
from deployer.ecs.definitions import fingerprint, make
from deployer.ecs.errors import refused, unanswered
from deployer.ecs.lines import Cursor
from deployer.ecs.secrets import Secret
from deployer.ecs.sizes import TABLE, size
from deployer.ecs.tasks import Identity, Task, instance, read
from deployer.manifest import Manifest, Process, Resources

MIB = 1 << 20
MANIFEST = Manifest(
    "app-id", "shop", 3, "registry/shop@sha256:abc", (), {"DATABASE_URL": "hunter2", "A": "b"}, port=5700,
    commit="c0ffee",
)  # fmt: skip
SECRET = Secret("arn:aws:secretsmanager:eu-central-1:1:secret:cygni/x-AbCdEf", "version-1")


# Sizes


@pytest.mark.parametrize(("units", "memories"), TABLE.items())
def test_every_size_of_the_table_is_taken_as_it_is(units: int, memories: tuple[int, ...]) -> None:
    for memory in memories:
        assert size(Resources(memory_bytes=memory * MIB, cpus=units / 1024)) == (units, memory)


def test_without_processors_the_fewest_that_go_with_the_memory_are_taken() -> None:
    assert size(Resources(memory_bytes=512 * MIB)) == (256, 512)
    assert size(Resources(memory_bytes=6144 * MIB)) == (1024, 6144)
    assert size(Resources(memory_bytes=32 * 1024 * MIB)) == (8192, 32 * 1024)


@pytest.mark.parametrize(
    ("memory", "cpus", "nearest"),
    [
        (700, None, (256, 1024)),
        (512, 1.0, (1024, 2048)),
        (8192, 0.25, (1024, 8192)),
        (20 * 1024, 0.3, (4096, 20 * 1024)),
        (999 * 1024, None, (16384, 120 * 1024)),
    ],
)
def test_another_size_is_refused_and_the_nearest_named(
    memory: int, cpus: float | None, nearest: tuple[int, int]
) -> None:
    with pytest.raises(
        SizeError, match=f"nearest size is {nearest[1]} MiB with {nearest[0] / 1024:g} CPU"
    ) as caught:
        size(Resources(memory_bytes=memory * MIB, cpus=cpus))
    assert caught.value.nearest == nearest


# Definitions


def test_config_is_referenced_and_never_written_into_a_definition() -> None:
    made = make(MANIFEST, Process("web", ("run",), 1), SECRET, OPTIONS)
    assert "hunter2" not in str(made)
    container = made["containerDefinitions"][0]
    assert container["secrets"] == [
        {"name": "A", "valueFrom": f"{SECRET.arn}:A::version-1"},
        {"name": "DATABASE_URL", "valueFrom": f"{SECRET.arn}:DATABASE_URL::version-1"},
    ]
    assert {item["name"]: item["value"] for item in container["environment"]} == {
        "PORT": "5700", "CYGNI_APP": "shop", "CYGNI_RELEASE": "v3", "CYGNI_COMMIT": "c0ffee", "TINI_SUBREAPER": "1"
    }  # fmt: skip


def test_a_definition_has_init_limits_logs_and_the_port_of_a_routed_process() -> None:
    web = make(MANIFEST, Process("web", ("run",), 1, stop_timeout=45), None, OPTIONS)
    container = web["containerDefinitions"][0]
    assert (web["cpu"], web["memory"], web["networkMode"]) == ("256", "512", "awsvpc")
    assert container["linuxParameters"] == {"initProcessEnabled": True}
    assert (container["stopTimeout"], container["command"]) == (45, ["run"])
    assert container["ulimits"][0]["name"] == "nofile"
    assert container["portMappings"] == [{"containerPort": 5700, "protocol": "tcp"}]
    assert container["logConfiguration"]["options"]["awslogs-stream-prefix"] == "app-id"
    assert container["logConfiguration"]["options"]["mode"] == "non-blocking"
    worker = make(MANIFEST, Process("worker", (), 1, stop_timeout=900), None, OPTIONS)
    assert worker["containerDefinitions"][0]["stopTimeout"] == 120, "Fargate honours no more"
    assert not {"portMappings", "command"} & worker["containerDefinitions"][0].keys()


def test_the_same_content_has_the_same_name_and_another_has_another() -> None:
    process = Process("web", ("run",), 1)
    assert fingerprint(make(MANIFEST, process, SECRET, OPTIONS)) == fingerprint(
        make(MANIFEST, process, SECRET, OPTIONS)
    )
    other = make(MANIFEST, process, Secret(SECRET.arn, "version-2"), OPTIONS)
    assert fingerprint(make(MANIFEST, process, SECRET, OPTIONS)) != fingerprint(other)


# Causes


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        ("TaskFailedToStart", "CannotPullContainerError: not found", "The image could not be pulled: CannotPull"),
        ("TaskFailedToStart", "ResourceInitializationError: unable to pull secrets or registry auth", "The config could not be read"),
        ("TaskFailedToStart", "failed to initialize logging driver", "The log group could not be written to"),
        ("TaskFailedToStart", "RESOURCE:ENI", "No address is left in the subnets"),
        ("", "You've reached the limit on the number of vCPUs you can run concurrently", "vCPU quota is reached"),
        ("", "Capacity is unavailable at this time. Please try again later", "AWS has no capacity for it now"),
        ("SpotInterruption", "Your Spot Task was interrupted.", "AWS took its Spot capacity back"),
        ("EssentialContainerExited", "OutOfMemoryError: Container killed", "It ran out of memory."),
        ("TaskFailedToStart", "something new", "The task could not be started: something new."),
        ("", "", "The task could not be started: no reason was given."),
    ],
)  # fmt: skip
def test_a_cause_is_told_in_the_words_of_the_other_engines(code: str, reason: str, words: str) -> None:
    assert words in causes.explain(code, reason)


def test_only_events_about_placing_are_obstacles() -> None:
    assert (
        causes.obstacle(["(service x) has started 1 tasks", "(service x) has reached a steady state."])
        is None
    )
    text = "(service x) was unable to place a task. Reason: Capacity is unavailable at this time."
    assert causes.obstacle(["(service x) has begun", text]) == f"AWS has no capacity for it now: {text}"


# Errors


@pytest.mark.parametrize(
    ("code", "status", "words", "transient"),
    [
        ("AccessDeniedException", 400, "does not permit ecs:RunTask", False),
        ("ExpiredTokenException", 400, "does not accept the server's credentials at ecs:RunTask", False),
        ("ThrottlingException", 400, "slows ecs:RunTask down", True),
        ("ClusterNotFoundException", 400, "CYGNI_ECS_CLUSTER", False),
        ("ServerException", 500, "ecs:RunTask was refused: words", True),
    ],
)
def test_a_refusal_names_the_call_and_what_to_do(code: str, status: int, words: str, transient: bool) -> None:
    answer = {"Error": {"Code": code, "Message": "words"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = refused("ecs:RunTask", answer)
    assert words in str(error)
    assert (error.code, error.transient) == (code, transient)


def test_missing_credentials_are_named() -> None:
    class NoCredentialsError(Exception):
        pass

    assert "no AWS credentials" in str(unanswered("ecs:RunTask", NoCredentialsError()))
    assert unanswered("ecs:RunTask", OSError()).transient


# Lines


def line(number: int, stamp: int) -> dict[str, object]:
    return {"eventId": str(number), "timestamp": stamp, "message": f"line {number}\n"}


def test_lines_of_one_millisecond_have_times_of_their_own_whoever_reads_them() -> None:
    events = [line(1, 1000), line(2, 1000), line(3, 1000), line(4, 1001)]
    everything = list(Cursor().take(events))
    assert [item.text for item in everything] == ["line 1", "line 2", "line 3", "line 4"]
    assert len({item.at for item in everything}) == 4
    for position, item in enumerate(everything):
        cursor = Cursor(item.at)
        rest = [event for event in events if int(str(event["timestamp"])) >= cursor.start]
        assert list(cursor.take(rest)) == everything[position + 1 :]


def test_what_is_read_twice_is_told_once() -> None:
    cursor = Cursor()
    told = list(cursor.take([line(1, 1000), line(2, 1000)]))
    cursor.forget()
    told += cursor.take([line(1, 1000), line(2, 1000), line(3, 1000), line(4, 2000)])
    cursor.forget()
    told += cursor.take([line(3, 1000), line(4, 2000)])
    assert [item.text for item in told] == ["line 1", "line 2", "line 3", "line 4"]


# Tasks


def test_a_task_that_lost_its_machine_has_ended_as_if_killed() -> None:
    described = {
        "taskArn": "arn:aws:ecs:r:1:task/apps/0123", "group": "service:cygni-x", "lastStatus": "STOPPED",
        "stopCode": "SpotInterruption", "containers": [{"name": "web"}], "startedAt": datetime.now(UTC),
    }  # fmt: skip
    task = read(described)
    assert (task.id, task.service, task.state, task.code, task.crashed) == (
        "0123",
        "cygni-x",
        "exited",
        137,
        False,
    )


def test_a_service_and_its_tasks_are_one_instance() -> None:
    identity = Identity("app-id", "shop", 3, "web", 1, 0, 5700)
    now = datetime.now(UTC)
    first = Task("1", "s", "STOPPED", now, host="10.0.0.1", started_at=now, stopped_at=now, exit_code=3)
    second = Task("2", "s", "RUNNING", now + timedelta(seconds=1), host="10.0.0.2", started_at=now)
    made = instance("s", identity, [first, second], desired=1, stopping=False)
    assert (made.state, made.restarts, made.address and made.address.host) == ("running", 1, "10.0.0.2")
    assert made.last_exit == first.exit
    assert instance("s", identity, [], desired=1, stopping=False).state == "starting"
    assert instance("s", identity, [], desired=0, stopping=False).state == "exited"
    assert instance("s", identity, [second], desired=0, stopping=True).state == "stopping"


def test_names_are_what_aws_allows_and_never_the_same() -> None:
    identity = Identity("app-id", "shop", 3, "web.x", 1, 0, 5700)
    first, second = identity.service_name("srv"), identity.service_name("srv")
    assert first.startswith("cygni-srv-shop-v3-web-x-1-")
    assert first != second
    assert Identity.parse(identity.tags("srv")) == identity
    assert Identity.parse({"cygni.server": "srv"}) is None
