package toolbox

// States of a recording.
const (
	RecordingRunning   = "recording"
	RecordingCompleted = "completed"
	RecordingFailed    = "failed"
)

// Recording is a film of the screen.
type Recording struct {
	ID              string   `json:"id" doc:"Id, a UUID."`
	FileName        string   `json:"fileName" doc:"Name of the file: <id>_<label>_<date>_<time>.mp4."`
	FilePath        string   `json:"filePath" doc:"Path of the file in the sandbox."`
	StartTime       string   `json:"startTime" format:"date-time" doc:"When it began, RFC 3339, UTC."`
	EndTime         *string  `json:"endTime,omitempty" format:"date-time" doc:"When it ended."`
	Status          string   `json:"status" enum:"recording,completed,failed" doc:"failed: it did not end by a stop; what was recorded until then plays."`
	DurationSeconds *float64 `json:"durationSeconds,omitempty" doc:"How long it is, once it ended."`
	SizeBytes       *int64   `json:"sizeBytes,omitempty" doc:"Size of the file."`
}

// Recordings answers GET /computeruse/recordings.
type Recordings struct {
	Recordings []Recording `json:"recordings" doc:"All recordings, the newest first."`
}

// RecordingStart is the body of POST /computeruse/recordings/start.
type RecordingStart struct {
	Label string `json:"label,omitempty" doc:"Part of the file name: at most 100 of A-Z a-z 0-9 . _ - and space, not beginning with a dot. Absent: session."`
}

// RecordingStop is the body of POST /computeruse/recordings/stop.
type RecordingStop struct {
	ID string `json:"id" doc:"Id of the recording."`
}
