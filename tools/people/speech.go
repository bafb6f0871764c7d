package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"time"

	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/webrtc/v4/pkg/media"
)

const packetTime = 20 * time.Millisecond

// readSpeech reads Opus packets of 20 ms each: two bytes of length, little-endian, then the packet.
func readSpeech(path string) ([][]byte, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var packets [][]byte
	for len(data) >= 2 {
		length := int(binary.LittleEndian.Uint16(data))
		if len(data) < 2+length {
			return nil, fmt.Errorf("%s ends within a packet", path)
		}
		packets = append(packets, data[2:2+length])
		data = data[2+length:]
	}
	return packets, nil
}

// speak sends packet after packet in real time, from the first one on and round again.
func speak(track *lksdk.LocalTrack, packets [][]byte, first int, stop <-chan struct{}) {
	start := time.Now()
	for sent := 0; ; sent++ {
		wait := time.Until(start.Add(time.Duration(sent) * packetTime))
		select {
		case <-stop:
			return
		case <-time.After(wait):
		}
		data := packets[(first+sent)%len(packets)]
		// A packet that cannot be sent is lost, as on any network.
		_ = track.WriteSample(media.Sample{Data: data, Duration: packetTime}, nil)
	}
}
