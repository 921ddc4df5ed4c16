"""Where on AWS apps run, and how often AWS is asked."""

from dataclasses import dataclass, field
from typing import Literal

Architecture = Literal["X86_64", "ARM64"]


@dataclass(frozen=True)
class EcsPace:
    """Seconds. The defaults are for AWS; a simulated one needs no patience."""

    tick: float = 2.0
    """Between two looks while somebody waits for a change, without a queue of events."""
    tick_with_queue: float = 10.0
    """The same where a queue wakes us sooner."""
    safety: float = 30.0
    """Between two looks at everything, whatever the queue says."""
    long_poll: int = 20
    """How long one question to the queue stays open."""
    start_limit: float = 600.0
    """From a service's creation to a running task: placing, pulling, starting."""
    capacity_patience: float = 120.0
    """How long ECS may go on failing to place a task before a start gives up."""
    stop_grace: float = 90.0
    """Beyond the stop timeout, for ECS to notice."""
    register_every: float = 1.0
    """Between two registrations of a task definition: the account's sustained limit is one a second."""
    log_tick: float = 1.0
    log_overlap: float = 10.0
    """How late a line may reach CloudWatch and still be told in a follow."""
    log_settle: float = 5.0
    """From a task's end to the last look at its lines."""


@dataclass(frozen=True)
class EcsOptions:
    """One cluster in one region."""

    region: str
    cluster: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    execution_role: str
    """What pulls images, reads the config secrets and writes logs; never the app's."""
    log_group: str
    task_role: str | None = None
    """What the apps' own code may do on AWS; None: nothing."""
    queue_url: str | None = None
    """The SQS queue that EventBridge fills with the cluster's task events; None: polls only."""
    public_addresses: bool = True
    """Whether tasks get a public address, the cheapest way to a registry where there is no NAT."""
    spot: bool = False
    architecture: Architecture = "X86_64"
    pace: EcsPace = field(default_factory=EcsPace)
