#!/bin/sh
# Makes speech.wav, the half minute that the demo and the benchmarks speak, from the text below.
# Needs espeak-ng and sox; the product needs neither, the file is in the repository.
set -eu
cd "$(dirname "$0")"
raw=$(mktemp --suffix=.wav)
trap 'rm -f "$raw"' EXIT
espeak-ng -v en-us -s 165 -p 42 -m -w "$raw" '<speak>
Hello, and welcome. I am a face for your voice agent. <break time="700ms"/>
Whatever you say into this room, I repeat it with my own lips. <break time="500ms"/>
Some sounds close the mouth, as in mama, bubble and pepper. <break time="350ms"/>
Others open it wide, as in far away, or round, as in moon. <break time="900ms"/>
Now a short pause. <break time="1200ms"/>
And on we go: one, two, three, four, five, six, seven. <break time="600ms"/>
Twenty five pictures every second, each with its own forty milliseconds of sound. <break time="450ms"/>
Thank you for listening. Goodbye.
</speak>'
# -D: no dither, so that the same text makes the same file.
sox -D "$raw" -r 24000 -b 16 -c 1 speech.wav norm -3
