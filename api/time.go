package api

import (
	"encoding/json"
	"time"
)

// TimeLayout is how the wire writes an instant: ISO 8601, UTC, always with milliseconds.
const TimeLayout = "2006-01-02T15:04:05.000Z"

// Time is an instant on the wire. It is written in [TimeLayout] and read in any form of RFC 3339.
type Time struct{ time.Time }

// At is t as it goes over the wire.
func At(t time.Time) Time { return Time{t} }

// AtOrNil is t, or nil for the zero time: for fields that are null or absent when there is nothing to say.
func AtOrNil(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	return &Time{t}
}

// String returns t as the wire writes it.
func (t Time) String() string { return t.UTC().Format(TimeLayout) }

// MarshalText writes t in TimeLayout.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// MarshalJSON writes t in TimeLayout.
func (t Time) MarshalJSON() ([]byte, error) { return []byte(`"` + t.String() + `"`), nil }

// UnmarshalText reads RFC 3339 with or without fractions of a second.
func (t *Time) UnmarshalText(b []byte) error {
	v, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return err
	}
	t.Time = v
	return nil
}

// UnmarshalJSON reads RFC 3339; null leaves t as it is.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil || s == nil {
		return err
	}
	return t.UnmarshalText([]byte(*s))
}
