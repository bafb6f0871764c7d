"""voipavatar plugin for LiveKit Agents: a self-hosted avatar speaks for the agent."""

from livekit.agents import Plugin

from .api import VoipAvatarException
from .avatar import AvatarSession
from .log import logger
from .version import __version__

__all__ = ["AvatarSession", "VoipAvatarException", "__version__"]


class VoipAvatarPlugin(Plugin):
    def __init__(self) -> None:
        super().__init__(__name__, __version__, __package__, logger)


Plugin.register_plugin(VoipAvatarPlugin())
