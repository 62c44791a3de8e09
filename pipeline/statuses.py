"""What to do about a job that gave no time, by the agent's verdict (docs/agent.md has the whole of each)."""

from __future__ import annotations

from collections.abc import Mapping

ADVICE: Mapping[str, str] = {
    "build_failed": "check the kernel with splitfleet kernels check; the phone's driver may be too old for it",
    "out_of_resources": "take a smaller operator or work-group",
    "wrong_result": "never use such a time; report the phone's GPU and driver",
    "unsupported": "take it out of the campaign, the phone cannot do it",
    "timeout": "look at the kernel, and set SPLITFLEET_GRACE_S higher where the driver compiles slowly",
    "invalid_job": "mend what wrote the job; splitfleet kernels plan shows its plan",
    "noisy": "run it again when the phone is idle",
    "crashed": "try it on another phone, or restart this one",
}
