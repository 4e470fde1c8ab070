package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/dustin/go-humanize/english"
)

// relayStatus is what the demo needs of the relay's GET /status.
type relayStatus struct {
	State      string `json:"state"` // delivering, holding or stopped
	Partitions []struct {
		Lag int64 `json:"lag"` // records that still have to be delivered; -1: not known yet
	} `json:"partitions"`
}

// lag returns how many records are still to be delivered, as far as the relay knows.
func (s relayStatus) lag() int64 {
	var sum int64
	for _, p := range s.Partitions {
		sum += max(0, p.Lag)
	}
	return sum
}

// waits says how many records wait.
func (s relayStatus) waits() string {
	return english.Plural(int(s.lag()), "record waits", "records wait")
}

func (d *demo) relayStatus(ctx context.Context) (relayStatus, error) {
	var s relayStatus
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr(d.ports.Relay)+"/status", nil)
	if err != nil {
		return s, fmt.Errorf("ask the relay: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return s, fmt.Errorf("ask the relay: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("ask the relay: %s", resp.Status)
	}
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		return s, fmt.Errorf("ask the relay: %w", err)
	}
	return s, nil
}
