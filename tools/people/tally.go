package main

import (
	"math"
	"sort"
	"sync"

	"github.com/pion/rtp"
)

// Side is what is known of one track: its sender's clock, and what came of it.
type Side struct {
	video     bool
	rate      float64 // of its RTP clock, Hz
	known     bool    // a sender report has come
	reportRTP uint32
	reportNTP float64 // seconds
	last      uint16  // sequence number
	begun     bool
	stamp     uint32    // RTP time of the latest whole picture
	delays    []float64 // arrival less sending, in the second under way; of an unknown zero
	packets   int
	lost      int
}

// Counted is what came in since the beginning, times in seconds of the system's monotonic clock.
type Counted struct {
	Since     float64      `json:"since"`
	Pictures  []float64    `json:"pictures"`   // arrival of each one's last packet
	Skews     [][2]float64 `json:"skews"`      // time, seconds that pictures were later than sound
	Bytes     int          `json:"bytes"`      // of pictures
	Sounds    int          `json:"sounds"`     // packets
	Lost      int          `json:"lost"`       // packets of sound that did not come
	SoundGap  float64      `json:"sound_gap"`  // longest between two packets, seconds
	SoundLast float64      `json:"sound_last"` // when the latest came
}

// Tally counts for one room. Its calls come from several goroutines.
type Tally struct {
	lock         sync.Mutex
	sound, sight *Side
	now          Counted
	second       float64 // when the second under way began
}

func (tally *Tally) side(video bool, rate uint32) *Side {
	tally.lock.Lock()
	defer tally.lock.Unlock()
	side := &Side{video: video, rate: float64(rate)}
	if video {
		tally.sight = side
	} else {
		tally.sound = side
	}
	return side
}

func (tally *Tally) begin(now float64) {
	tally.lock.Lock()
	defer tally.lock.Unlock()
	tally.now = Counted{Since: now, Pictures: []float64{}, Skews: [][2]float64{}}
	tally.second = now
	for _, side := range []*Side{tally.sound, tally.sight} {
		if side != nil {
			side.delays, side.packets, side.lost = nil, 0, 0
		}
	}
}

func (tally *Tally) counted() Counted {
	tally.lock.Lock()
	defer tally.lock.Unlock()
	if tally.sound != nil {
		tally.now.Sounds, tally.now.Lost = tally.sound.packets, max(0, tally.sound.lost)
	}
	return tally.now
}

func (tally *Tally) reported(side *Side, stamp uint32, ntp uint64) {
	tally.lock.Lock()
	defer tally.lock.Unlock()
	side.known, side.reportRTP = true, stamp
	side.reportNTP = float64(ntp>>32) + float64(ntp&0xffffffff)/(1<<32)
}

func (tally *Tally) arrived(side *Side, header *rtp.Header, size int, now float64) {
	tally.lock.Lock()
	defer tally.lock.Unlock()
	side.follow(header.SequenceNumber)
	if side.video {
		tally.now.Bytes += size
		if !header.Marker || size == 0 || (side.begun && header.Timestamp == side.stamp) {
			return // a part of a picture, padding, or sent again
		}
		side.stamp, side.begun = header.Timestamp, true
		tally.now.Pictures = append(tally.now.Pictures, now)
	} else {
		if last := tally.now.SoundLast; last > 0 {
			tally.now.SoundGap = math.Max(tally.now.SoundGap, now-last)
		}
		tally.now.SoundLast = now
	}
	if side.known {
		since := float64(int32(header.Timestamp-side.reportRTP)) / side.rate
		side.delays = append(side.delays, now-(side.reportNTP+since))
	}
	tally.compare(now)
}

// follow counts sequence numbers that are left out; one that comes late after all is counted back.
func (side *Side) follow(number uint16) {
	step := int16(number - side.last)
	if side.packets > 0 && step <= 0 {
		side.lost--
		return
	}
	if side.packets > 0 {
		side.lost += int(step) - 1
	}
	side.last = number
	side.packets++
}

// compare tells once a second how much longer pictures have been on their way than sound.
func (tally *Tally) compare(now float64) {
	if now < tally.second+1 {
		return
	}
	tally.second = now
	if tally.sound == nil || tally.sight == nil {
		return
	}
	if len(tally.sound.delays) > 0 && len(tally.sight.delays) > 0 {
		skew := median(tally.sight.delays) - median(tally.sound.delays)
		tally.now.Skews = append(tally.now.Skews, [2]float64{now, skew})
	}
	tally.sound.delays, tally.sight.delays = tally.sound.delays[:0], tally.sight.delays[:0]
}

func median(values []float64) float64 {
	sorted := append([]float64(nil), values...)
	sort.Float64s(sorted)
	return sorted[len(sorted)/2]
}
