"""The error tree of Splitfleet.

    SplitfleetError
        UserError       the user's: a bad campaign file, an unknown device, a broken package. Exit code 2.
        DeviceError     a phone's: offline, unauthorized, full, without OpenCL. The message names the phone.
        HarnessError    ours or the host's: a bug, a missing compiler, a broken store.

A kernel that fails on a phone (out of resources, wrong result) is none of these: it is a result with a status.
Every message says what happened, to which file, line or phone, and what to do next.
"""

from __future__ import annotations


class SplitfleetError(Exception):
    """Base of every error that Splitfleet raises on purpose; its text is meant for the user."""


class UserError(SplitfleetError):
    """Something in the user's hands is wrong: a file, an argument, a name."""


class DeviceError(SplitfleetError):
    """A phone cannot do what was asked of it: it is offline, unauthorized, full, or lacks OpenCL."""


class HarnessError(SplitfleetError):
    """Splitfleet itself or its host is at fault: a build failed, a store does not answer, a bug."""
