// Package toolbox is the wire contract of the daemon inside a sandbox, the toolbox API of the 0.x wire: what its clients
// send and read, and the few fields and routes that Dugout adds. It imports the standard library only.
//
// A field without omitempty is always there; a request field without it is required.
package toolbox

// Version answers GET /version. The runner asks it to learn that the daemon is ready.
type Version struct {
	Version string `json:"version" doc:"Version of the daemon."`
}

// Dir answers the routes that name a directory.
type Dir struct {
	Dir string `json:"dir" doc:"Absolute path."`
}

// Init is the body of POST /init.
type Init struct {
	Token string `json:"token" doc:"Token the daemon sends with what it exports about the sandbox. Kept in memory only."`
}

// Message is an answer for a person.
type Message struct {
	Message string `json:"message" doc:"What was done."`
}

// EnvUpdate is the body of POST /env. It is applied in the order unset, unsetValuePrefix, set.
type EnvUpdate struct {
	Set              map[string]string `json:"set,omitempty" doc:"Variables to set."`
	Unset            []string          `json:"unset,omitempty" doc:"Names to remove."`
	UnsetValuePrefix string            `json:"unsetValuePrefix,omitempty" doc:"Removes every variable whose value starts with this and whose name is not in set. Empty: none."`
}

// Env is the whole environment that processes started from now on get, the per-request part left out.
type Env map[string]string

// Metrics answers GET /system/metrics.
type Metrics struct {
	CPUCount      int     `json:"cpuCount" doc:"Cores the sandbox may use, rounded up."`
	CPUUsedPct    float64 `json:"cpuUsedPct" doc:"CPU used since the previous call, in percent of the limit; 0 on the first call."`
	MemTotal      uint64  `json:"memTotal" doc:"Memory limit in bytes."`
	MemUsed       uint64  `json:"memUsed" doc:"Memory used in bytes, reclaimable page cache not counted."`
	MemCache      uint64  `json:"memCache" doc:"Reclaimable page cache in bytes."`
	DiskTotal     uint64  `json:"diskTotal" doc:"Size of the root filesystem in bytes."`
	DiskUsed      uint64  `json:"diskUsed" doc:"Bytes used on the root filesystem."`
	DiskFree      uint64  `json:"diskFree" doc:"Bytes that can still be written."`
	Timestamp     string  `json:"timestamp" format:"date-time" doc:"Time of the measurement, RFC 3339, UTC."`
	TimestampUnix int64   `json:"timestampUnix" doc:"The same in seconds since 1970."`
	OOMKills      uint64  `json:"oomKills" doc:"Processes that the kernel killed since the start, because the sandbox was at its memory limit. An addition to the 0.x wire."`
}
