"""Fitting many device classes: here, or each as a Ray task; what was fitted is kept in files and not fitted again.

The files' bytes are the same either way. Only the driver writes them, and only the driver talks to MLflow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from splitfleet.kernels.errors import HarnessError, UserError
from splitfleet.predictors.fit_sets import WORKERS, Fitted
from splitfleet.predictors.fitted_file import fit_to_bytes, read_fitted
from splitfleet.predictors.observations import TrainingSet

from .fleet import CLUSTER_VARIABLE
from .locations import new_file
from .ray_session import ray_session

FITTED = "trained"
RAY_FROM = 8
"""Device classes from which on Ray is worth its start of about ten seconds; fewer are fitted in this process."""

ClassSets = Mapping[str, Mapping[str, TrainingSet]]
"""The training sets of each device class, by predictor."""


def fit_classes(
    classes: ClassSets, seed: int, folder: Path, *, ray_from: int = RAY_FROM
) -> dict[str, dict[str, Fitted]]:
    """The predictors of each device class: from `<folder>/trained/<device class>.zip` where they were fitted already on
    these data with this seed by this code, else fitted now and kept there.

    From `ray_from` classes on they are Ray tasks, each on one core; the cluster is $SPLITFLEET_CLUSTER, else this host.

    Raises HarnessError when a task was lost, or ran on a host with other code.
    """
    found = {name: fitted_class(folder, name, sets, seed) for name, sets in classes.items()}
    missing = {name: classes[name] for name, fitted in found.items() if fitted is None}
    fit = _fit_by_ray if len(missing) >= ray_from else _fit_here
    for name, content in fit(missing, seed):
        path = folder / FITTED / f"{name}.zip"
        with new_file(path) as file:
            file.write(content)
        found[name] = read_fitted(path, classes[name], seed)
        if found[name] is None:
            raise HarnessError(
                f"{name} was trained on a host of the cluster that runs another version of Splitfleet or of its "
                "libraries; install the same on all (splitfleet host list), or unset SPLITFLEET_CLUSTER"
            )
    return {name: found[name] or {} for name in classes}


def fitted_class(folder: Path, name: str, sets: Mapping[str, TrainingSet], seed: int) -> dict[str, Fitted] | None:
    """What is kept of a device class that was fitted on these data by this code; None without it or a sound file."""
    try:
        return read_fitted(folder / FITTED / f"{name}.zip", sets, seed)
    except UserError:
        return None


def _fit_here(classes: ClassSets, seed: int) -> Iterator[tuple[str, bytes]]:
    for name, sets in classes.items():
        yield name, fit_to_bytes(sets, seed, WORKERS)


def _fit_by_ray(classes: ClassSets, seed: int) -> Iterator[tuple[str, bytes]]:
    """Each class on one core, as many side by side as the cluster has; in the order in which they end."""
    with ray_session(os.environ.get(CLUSTER_VARIABLE, ""), cpus=os.cpu_count() or 1):
        import ray

        task = ray.remote(num_cpus=1)(fit_to_bytes)
        names = {task.remote(sets, seed, 1): name for name, sets in classes.items()}
        waiting = list(names)
        while waiting:
            ended, waiting = ray.wait(waiting)
            for reference in ended:
                name = names.pop(reference)
                try:
                    yield name, ray.get(reference)
                except ray.exceptions.RayError as error:
                    raise HarnessError(f"{name}: the task that trained it was lost ({error}); train again") from error
