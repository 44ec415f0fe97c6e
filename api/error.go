// Package api is the wire contract of the control plane: the types that the server sends and reads and that the Go SDK
// shares. It imports the standard library only.
package api

import "fmt"

// Sources of an error, as the clients of the 0.x wire know them (compat: error body, newest SDKs pick typed exceptions by it).
const (
	SourceAPI    = "DAYTONA_API"
	SourceProxy  = "DAYTONA_PROXY"
	SourceDaemon = "DAYTONA_DAEMON"
)

// Error is the body of every error answer, on every surface: the five keys of the 0.x wire, and what newer clients read besides.
type Error struct {
	Path       string `json:"path" doc:"Path of the request, with its query on the control plane."`
	Timestamp  string `json:"timestamp" format:"date-time" doc:"Time of the answer, RFC 3339, UTC."`
	StatusCode int    `json:"statusCode" doc:"The HTTP status, again."`
	Reason     string `json:"error" doc:"HTTP reason phrase on the control plane; the message again on the toolbox API, where old clients look for it."`
	Message    string `json:"message" doc:"One sentence for a person: what is wrong, with which value, and what is allowed."`
	Code       string `json:"code" doc:"Stable class of the error, upper snake case."`
	Source     string `json:"source" doc:"Which part answered: DAYTONA_API, DAYTONA_PROXY or DAYTONA_DAEMON."`
	Method     string `json:"method,omitempty" doc:"HTTP method of the request."`
	RequestID  string `json:"requestId,omitempty" doc:"Id under which the request stands in the logs."`
}

func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("HTTP %d", e.StatusCode)
	}
	return e.Message
}
