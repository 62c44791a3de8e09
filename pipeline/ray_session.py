"""Ray on this host alone: started quietly, on loopback only, and always shut down."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splitfleet.kernels.errors import HarnessError

_OBJECT_STORE_BYTES = 80 * 1024 * 1024  # the least that Ray accepts is 75 MB; messages here are small

# Read by Ray when it is imported or started.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node that is its own cluster has the address 127.0.0.1, and then all of Ray's servers listen there only;
    # Ray does so by itself on macOS and Windows, and on Linux when told that clusters are not wanted.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def ray_session() -> Iterator[None]:
    """Ray is running inside the block; one that runs already is used as it is."""
    os.environ.update({key: os.environ.get(key, value) for key, value in _ENVIRONMENT.items()})
    import ray

    if ray.is_initialized():
        yield
        return
    # Ray puts sockets below this folder, and their paths must stay short.
    folder = Path(tempfile.mkdtemp(prefix="splitfleet-ray-"))
    try:
        try:
            ray.init(
                address="local",
                num_cpus=1,
                num_gpus=0,
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(folder),
            )
        except Exception as error:
            raise HarnessError(
                f"Ray did not start on this host ({error}); its logs were in {folder}. Is /tmp or /dev/shm full?"
            ) from error
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
