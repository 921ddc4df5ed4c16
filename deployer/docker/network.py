"""The bridge that containers share without seeing each other."""

from ipaddress import IPv4Network
from typing import Any

import docker

from deployer.docker.execs import Call
from deployer.ports import EngineError


async def ensure(call: Call, name: str, subnet: IPv4Network, server: str) -> None:
    """Create the network, unless it is there.

    Raises:
        EngineError: its subnet is taken, or the engine is down.
    """
    if await call(lambda api: api.networks(names=[name])):
        return
    try:
        await call(lambda api: _make(api, name, subnet, server))
    except EngineError as error:
        if "overlap" not in str(error):
            raise
        raise EngineError(
            f"The subnet of the apps, {subnet}, is in use by another network of this machine. "
            "Set CYGNI_NETWORK to a free one and restart the server."
        ) from error


def _make(api: docker.APIClient, name: str, subnet: IPv4Network, server: str) -> None:
    pool = docker.types.IPAMPool(subnet=str(subnet))
    api.create_network(
        name,
        driver="bridge",
        ipam=docker.types.IPAMConfig(pool_configs=[pool]),
        labels={"cygni.server": server},
        options={"com.docker.network.bridge.enable_icc": "false"},
    )


def join(api: Any, name: str, address: str) -> Any:
    """How a container joins it; the SDK's annotations of this call are wrong."""
    return api.create_networking_config({name: api.create_endpoint_config(ipv4_address=address)})
