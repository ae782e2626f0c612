"""`syncer simulate`: only the simulated service, to try a configuration on."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from syncer.cli.output import clean, say
from syncer.errors import ConfigError

if TYPE_CHECKING:
    from syncer.simulator.server import Simulator


def simulate_(
    *,
    port: Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65535))] = 0,
    images: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 120,
    latency: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 0,
    rate_limit: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 0,
    token_ttl: Annotated[int, Parameter(validator=validators.Number(gte=1))] = 14399,
    fault_rate: Annotated[float, Parameter(validator=validators.Number(gte=0, lte=1))] = 0,
    seed: int = 1,
) -> int:
    """Run the simulated service on this machine until Ctrl-C, and print a configuration that uses it.

    Parameters
    ----------
    port
        Where to listen on 127.0.0.1; 0 takes any free port.
    images
        How many images its workspaces hold together.
    latency
        Seconds that every answer waits.
    rate_limit
        Requests a second beyond which it answers 429; 0 for no limit.
    token_ttl
        Seconds after which a token expires.
    fault_rate
        The chance, from 0 to 1, that a request fails.
    seed
        Another number makes other images.
    """
    from syncer.cli.running import run
    from syncer.simulator.server import Options, Simulator

    options = Options(
        port=port,
        images=images,
        latency=latency,
        rate_limit=rate_limit,
        token_ttl=token_ttl,
        fault_rate=fault_rate,
        seed=seed,
    )

    async def work() -> int:
        try:
            async with Simulator.start(options) as sim:
                folder = Path(tempfile.mkdtemp(prefix="syncer-simulated-"))
                sys.stdout.write(configuration(sim, folder))
                sys.stdout.flush()
                say(f"[bold]The simulated service listens at[/] {clean(sim.url)}")
                say("Save the configuration above as syncer.toml, and run in another terminal: syncer backup")
                say("Ctrl-C stops it; everything it holds is then gone.")
                await asyncio.Event().wait()
        except OSError as error:
            raise ConfigError(
                f"cannot listen on port {port}: {error.strerror}", hint="choose another --port, or leave it out"
            ) from None
        return 0

    run(work(), stopping="")
    return 0  # Ctrl-C is how it is meant to end


def configuration(sim: Simulator, folder: Path) -> str:
    """Make a configuration for a simulated service; its secret goes into a file in `folder`, for us only."""
    secret = folder / "client_secret"
    with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(sim.options.client_secret)
    return (
        "[service]\n"
        f'url = "{sim.url}"\n'
        f'token_url = "{sim.token_url}"\n'
        f'client_id = "{sim.options.client_id}"\n'
        f'client_secret_file = "{secret}"\n'
        f'content_origins = ["{sim.store_url}"]\n'
        "\n[archive]\n"
        f'path = "{folder / "archive"}"\n'
        'reserve = "64MiB"\n'
        + "".join(
            f'\n[[workspaces]]\nid = "{shelf.id}"\nname = "{shelf.name}"\n'
            for shelf in sim.workspaces.values()
            if shelf.accessible
        )
    )
