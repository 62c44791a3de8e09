"""The decision whether a host may use the phone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from .auth import HostKey, KeyStore

_LOGGER = logging.getLogger(__name__)


class Authority:
    """Remembered keys, and what becomes of unknown ones.

    `policy`: "always" accepts them, "never" denies them, "ask" waits for an answer given at run time, and a sequence of
    fingerprints accepts those.
    """

    def __init__(self, policy: str | Sequence[str], keys: KeyStore) -> None:
        self._policy = policy
        self._keys = keys
        self._revoked = False
        self._prompts: dict[asyncio.Future[bool], str] = {}

    def knows(self, token: bytes, signature: bytes) -> bool:
        """Whether a remembered key made this signature."""
        return self._keys.signer(token, signature) is not None

    async def ask(self, key: HostKey) -> bool:
        """Whether this unknown key is accepted; then it is remembered. May wait without end, as a prompt does."""
        if self._revoked:
            accepted = False
        elif isinstance(self._policy, str):
            accepted = await self._prompt(key) if self._policy == "ask" else self._policy == "always"
        else:
            accepted = key.fingerprint in self._policy
        if accepted:
            self._keys.remember(key)
        return accepted

    def answer(self, *, allow: bool) -> list[str]:
        """Answers the prompts that are open; returns their fingerprints."""
        answered, self._prompts = self._prompts, {}
        for future in answered:
            future.set_result(allow)
        return sorted(set(answered.values()))

    def forget_all(self) -> None:
        """Forgets all keys; what becomes of unknown ones stays as it is."""
        self._keys.forget_all()

    def revoke(self) -> None:
        """Forgets all keys and denies from now on, until `restore`."""
        self._keys.forget_all()
        self._revoked = True
        self.answer(allow=False)

    def restore(self) -> None:
        """Unknown keys are dealt with as before."""
        self._revoked = False

    async def _prompt(self, key: HostKey) -> bool:
        """Stays on the screen until somebody answers, or until the host has gone (then this is cancelled)."""
        _LOGGER.warning("Allow USB debugging? %s (%s)", key.fingerprint, key.comment)
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._prompts[future] = key.fingerprint
        try:
            return await future
        finally:
            self._prompts.pop(future, None)
