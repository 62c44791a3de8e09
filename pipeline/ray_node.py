"""`ray start` as a host of a fleet needs it: python -m splitfleet.pipeline.ray_node ARGUMENTS.

Two habits of it are changed. It replaces 127.0.0.1 by the host's address on the network, and so would listen there
though nobody asked; and its head opens a door for remote clients (port 10001), which no campaign uses.
"""

from __future__ import annotations

import os
import sys
from typing import Any


def close_client_door(parameters: Any, _is_head: bool) -> None:
    """Called by `ray start` with its parameters, just before it starts anything ($RAY_START_HOOK)."""
    parameters.ray_client_server_port = None


def main() -> None:
    from ray._private import services
    from ray.scripts.scripts import start

    services.resolve_ip_for_localhost = lambda host: "127.0.0.1" if host == "localhost" else host
    os.environ["RAY_START_HOOK"] = f"{close_client_door.__module__}.close_client_door"
    start.main(args=sys.argv[1:], prog_name="ray start")


if __name__ == "__main__":
    # Ray imports the hook by name; under this module's own name it is `__main__`.
    close_client_door.__module__ = "splitfleet.pipeline.ray_node"
    main()
