"""The engine that a verb runs on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vitdsi.errors import UsageError

if TYPE_CHECKING:
    from vitdsi.engine.base import Engine

__all__ = ["engine_for", "engine_options"]

_Verb = TypeVar("_Verb", bound=Callable[..., Any])


def engine_options(verb: _Verb) -> _Verb:
    """Add `--engine` and `--address`."""
    engine = click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        help="ray: the machines of a Ray cluster, which must share their files; needs the extra ray [local].",
    )
    address = click.option(
        "--address",
        metavar="HOST:PORT|auto",
        help="The Ray cluster; auto is the one that this machine belongs to [one on this machine].",
    )
    return engine(address(verb))


def engine_for(name: str, workers: int | None, address: str | None = None) -> Engine:
    """Return the engine of this name.

    The local one is that of `torchrun` where it started this process, otherwise it has processes on this machine.

    Raises:
        UsageError: the options contradict each other, Ray is not installed, or there is no such cluster.
    """
    if name == "ray":
        from vitdsi.engine.ray import RayEngine

        return RayEngine(address, workers)
    if address is not None:
        raise UsageError(f"--address {address} is that of a Ray cluster; give --engine ray as well")
    from vitdsi.engine.local import LocalEngine
    from vitdsi.engine.torchrun import TorchrunEngine, is_started_by_torchrun

    return TorchrunEngine() if is_started_by_torchrun() else LocalEngine(workers)
