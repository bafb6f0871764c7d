"""Which process of an agent is speaking. Pure.

LiveKit tells of who comes and goes up to 3 s later, and then not always why. A process whose
connection was made anew has another sid, and speaks again when it was told of its speech before;
another process under the same identity may speak at once.
"""

from __future__ import annotations


class AgentProcess:
    """The connection, by its sid, that was heard last."""

    def __init__(self) -> None:
        self._sid: str | None = None
        self._heard = False  # what was heard may be of one that LiveKit has not told of yet

    def heard(self, sid: str | None, *, untold: bool) -> bool:
        """Speech begins; whether it is of another process than that before.

        Args:
            sid: of the agent's present connection, None while LiveKit has not told of it.
            untold: of what was said before, something is still to be heard or told of.
        """
        another = untold and None not in (sid, self._sid) and sid != self._sid
        self.same(sid)
        return another

    def same(self, sid: str | None) -> None:
        """The process that was heard before has this connection now."""
        self._sid, self._heard = sid, True

    def announced(self, sid: str) -> None:
        """LiveKit tells of a connection: of the one that was heard, if of none before."""
        if self._heard and self._sid is None:
            self._sid = sid

    def forget(self) -> None:
        """The process is gone."""
        self._sid, self._heard = None, False
