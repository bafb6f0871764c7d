"""An agent with a face and no cloud key: espeak-ng stands in for LLM and TTS. docs/agents.md."""

import asyncio
from asyncio.subprocess import PIPE

from livekit import rtc
from livekit.agents import Agent, AgentServer, AgentSession, JobContext, cli
from livekit.plugins import voipavatar

LINES = ("Hello! I am a scripted agent.", "My face runs on your own machine.", "Goodbye for now.")
server = AgentServer()


async def speech(text: str):
    espeak = await asyncio.create_subprocess_exec("espeak-ng", "--stdout", text, stdout=PIPE)
    wav, _ = await espeak.communicate()
    for at in range(44, len(wav), 4410):  # after its header: 22,050 Hz, 16 bits, mono
        pcm = wav[at : at + 4410]
        yield rtc.AudioFrame(pcm, 22_050, 1, len(pcm) // 2)


@server.rtc_session()
async def entrypoint(ctx: JobContext) -> None:
    await ctx.connect()
    session = AgentSession()
    await voipavatar.AvatarSession(persona="default").start(session, room=ctx.room)
    await session.start(Agent(instructions=""), room=ctx.room)
    while ctx.room.isconnected():
        for line in LINES:
            await session.say(line, audio=speech(line))
            await asyncio.sleep(2)


if __name__ == "__main__":
    cli.run_app(server)
