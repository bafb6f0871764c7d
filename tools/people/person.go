package main

import (
	"time"

	"github.com/livekit/protocol/livekit"
	lksdk "github.com/livekit/server-sdk-go/v2"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
	"golang.org/x/sys/unix"
)

const connectTimeout = 10 * time.Second

// Person is in one room, watches one avatar there, and speaks if there is something to say.
type Person struct {
	room  *lksdk.Room
	stop  chan struct{}
	tally *Tally
}

func join(url, token, avatar string, speech [][]byte, first int) (*Person, error) {
	person := &Person{stop: make(chan struct{}), tally: &Tally{}}
	callback := lksdk.NewRoomCallback()
	callback.OnTrackPublished = func(
		publication *lksdk.RemoteTrackPublication, from *lksdk.RemoteParticipant,
	) {
		if from.Identity() == avatar {
			_ = publication.SetSubscribed(true)
		}
	}
	callback.OnTrackSubscribed = func(
		track *webrtc.TrackRemote,
		publication *lksdk.RemoteTrackPublication,
		_ *lksdk.RemoteParticipant,
	) {
		person.watch(track, publication)
	}
	room, err := lksdk.ConnectToRoomWithToken(
		url, token, callback,
		lksdk.WithAutoSubscribe(false),
		lksdk.WithConnectTimeout(connectTimeout),
		lksdk.WithDisableRegionDiscovery(),
	)
	if err != nil {
		return nil, err
	}
	person.room = room
	for _, from := range room.GetRemoteParticipants() {
		for _, publication := range from.TrackPublications() {
			if remote, ok := publication.(*lksdk.RemoteTrackPublication); ok {
				callback.OnTrackPublished(remote, from)
			}
		}
	}
	if len(speech) > 0 {
		if err := person.publish(speech, first); err != nil {
			room.Disconnect()
			return nil, err
		}
	}
	return person, nil
}

func (person *Person) publish(speech [][]byte, first int) error {
	opus := webrtc.RTPCodecCapability{
		MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2,
	}
	track, err := lksdk.NewLocalSampleTrack(opus)
	if err != nil {
		return err
	}
	options := &lksdk.TrackPublicationOptions{
		Name: "microphone", Source: livekit.TrackSource_MICROPHONE, DisableDTX: true,
	}
	if _, err := person.room.LocalParticipant.PublishTrack(track, options); err != nil {
		return err
	}
	go speak(track, speech, first, person.stop)
	return nil
}

// watch stamps every packet as the first thing that happens to it here.
func (person *Person) watch(track *webrtc.TrackRemote, publication *lksdk.RemoteTrackPublication) {
	side := person.tally.side(track.Kind() == webrtc.RTPCodecTypeVideo, track.Codec().ClockRate)
	publication.OnRTCP(func(packet rtcp.Packet) {
		if report, ok := packet.(*rtcp.SenderReport); ok {
			person.tally.reported(side, report.RTPTime, report.NTPTime)
		}
	})
	for {
		packet, _, err := track.ReadRTP()
		if err != nil {
			return
		}
		person.tally.arrived(side, &packet.Header, len(packet.Payload), monotonic())
	}
}

func (person *Person) leave() {
	close(person.stop)
	person.room.Disconnect()
}

// monotonic is in seconds, of the clock that other processes of this machine have, too.
func monotonic() float64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return float64(now.Sec) + float64(now.Nsec)/1e9
}
