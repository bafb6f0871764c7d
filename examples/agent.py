"""An agent with a face, without any cloud key: espeak-ng stands in for the LLM and the TTS.

With a LiveKit server, `voipavatar serve` and LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET set:
`pip install -e plugins/livekit-plugins-voipavatar`, `python examples/agent.py connect --room demo`.
"""

import asyncio
import io
import wave
from collections.abc import AsyncIterator

from livekit import rtc
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli
from livekit.plugins import voipavatar

LINES = ("Hello! I am a scripted agent.", "My face runs on your own machine.", "Goodbye for now.")
server = AgentServer()


async def speech(text: str) -> AsyncIterator[rtc.AudioFrame]:
    command = ("espeak-ng", "--stdout", text)
    espeak = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    with wave.open(io.BytesIO((await espeak.communicate())[0])) as sound:
        while pcm := sound.readframes(sound.getframerate() // 10):
            yield rtc.AudioFrame(pcm, sound.getframerate(), 1, len(pcm) // 2)


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    await ctx.connect()
    session: AgentSession = AgentSession()
    avatar = voipavatar.AvatarSession(persona="default")  # the one line that gives it a face
    await avatar.start(session, room=ctx.room)
    await session.start(Agent(instructions=""), room=ctx.room)
    while ctx.room.isconnected():
        for line in LINES:
            await session.say(line, audio=speech(line))
            await asyncio.sleep(2)


if __name__ == "__main__":
    cli.run_app(server)
