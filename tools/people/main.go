// People for a benchmark: one in each of many rooms, who may speak and who counts what the avatar
// sends, without decoding any of it. Spoken to by lines on standard input and output: a job, which
// is answered "joined"; then "begin"; then "end", which is answered with what came in meanwhile.
// Leaves at the end of its input.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"

	"github.com/go-logr/logr"
	"github.com/livekit/protocol/logger"
	lksdk "github.com/livekit/server-sdk-go/v2"
)

const joinsAtOnce = 4 // more time one another out

// Job is what the people are to do.
type Job struct {
	URL    string            `json:"url"`
	Avatar string            `json:"avatar"` // identity of whom they watch
	Tokens map[string]string `json:"tokens"` // room to token
	Speech string            `json:"speech"` // file of Opus packets (see speech.go); "" to be silent
}

func main() {
	quiet := logger.LogRLogger(logr.Discard())
	logger.SetLogger(quiet, "people")
	lksdk.SetLogger(quiet)
	input := bufio.NewReader(os.Stdin)
	line, err := input.ReadBytes('\n')
	if err != nil {
		return
	}
	var job Job
	if err := json.Unmarshal(line, &job); err != nil {
		fail(err)
	}
	people, err := joinAll(job)
	if err != nil {
		fail(err)
	}
	say("joined")
	for {
		line, err := input.ReadString('\n')
		if err != nil {
			break
		}
		switch line {
		case "begin\n":
			for _, person := range people {
				person.tally.begin(monotonic())
			}
		case "end\n":
			counted := map[string]Counted{}
			for room, person := range people {
				counted[room] = person.tally.counted()
			}
			say(counted)
		}
	}
	for _, person := range people {
		person.leave()
	}
}

func joinAll(job Job) (map[string]*Person, error) {
	speech, err := readSpeech(job.Speech)
	if err != nil {
		return nil, err
	}
	people := map[string]*Person{}
	// Not all say the same at once. At random, not evenly: now and then many speak.
	random := rand.New(rand.NewPCG(1, 2))
	begin := func() int { return random.IntN(max(1, len(speech))) }
	places := make(chan struct{}, joinsAtOnce)
	var lock sync.Mutex
	var group sync.WaitGroup
	var failed error
	for room, token := range job.Tokens {
		group.Add(1)
		go func(first int) {
			defer group.Done()
			places <- struct{}{}
			defer func() { <-places }()
			person, err := join(job.URL, token, job.Avatar, speech, first)
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				failed = fmt.Errorf("room %s: %w", room, err)
				return
			}
			people[room] = person
		}(begin())
	}
	group.Wait()
	return people, failed
}

func say(answer any) {
	line, err := json.Marshal(answer)
	if err != nil {
		fail(err)
	}
	os.Stdout.Write(append(line, '\n'))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
