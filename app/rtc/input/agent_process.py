"""Tells an agent's processes apart. Pure.

LiveKit announces who joins and leaves up to 3 s late, and not always with a reason. A process that
reconnects has another sid, and speaks again only once its earlier speech was reported; another
process with the same identity may speak at once.
"""

from __future__ import annotations


class AgentProcess:
    """The agent's connection, by sid, that spoke last."""

    def __init__(self) -> None:
        self._sid: str | None = None
        self._heard = False  # has spoken, perhaps before LiveKit announced its connection

    def heard(self, sid: str | None, *, unfinished: bool) -> bool:
        """Speech begins; returns whether it comes from another process than before.

        Args:
            sid: of the agent's present connection, None until LiveKit announces it.
            unfinished: earlier speech is still playing or not yet reported.
        """
        another = unfinished and None not in (sid, self._sid) and sid != self._sid
        self.same(sid)
        return another

    def same(self, sid: str | None) -> None:
        """The process that spoke before now has this connection."""
        self._sid, self._heard = sid, True

    def announced(self, sid: str) -> None:
        """LiveKit announces a connection: that of the speaker, if it was unknown."""
        if self._heard and self._sid is None:
            self._sid = sid

    def forget(self) -> None:
        """The process is gone."""
        self._sid, self._heard = None, False
