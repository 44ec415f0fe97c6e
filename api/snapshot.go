package api

// SnapshotState is the state of a snapshot.
type SnapshotState string

// The states of a snapshot that a client waits for.
const (
	SnapshotActive      SnapshotState = "active"
	SnapshotInactive    SnapshotState = "inactive"
	SnapshotError       SnapshotState = "error"
	SnapshotBuildFailed SnapshotState = "build_failed"
)

// Snapshot is a frozen environment that sandboxes are made from.
type Snapshot struct {
	ID              string        `json:"id" doc:"UUID of the snapshot."`
	OrganizationID  string        `json:"organizationId,omitempty" doc:"Organization that owns it; absent for general ones."`
	General         bool          `json:"general" doc:"Whether every organization may use it."`
	Name            string        `json:"name" doc:"Name."`
	ImageName       string        `json:"imageName,omitempty" doc:"Image it was made from."`
	State           SnapshotState `json:"state" doc:"State now."`
	Size            *float64      `json:"size" nullable:"true" doc:"Size in GB; null while it is not known."`
	Entrypoint      []string      `json:"entrypoint" nullable:"true" doc:"Command it runs at start; null: none of its own."`
	CPU             int64         `json:"cpu" doc:"Cores of sandboxes made from it."`
	GPU             int64         `json:"gpu" doc:"Graphics cards of sandboxes made from it."`
	GPUType         GPUType       `json:"gpuType,omitempty" doc:"Model of those cards."`
	Mem             int64         `json:"mem" doc:"Memory in GiB of sandboxes made from it."`
	Disk            int64         `json:"disk" doc:"Disk in GiB of sandboxes made from it."`
	ErrorReason     *string       `json:"errorReason" nullable:"true" doc:"Why it cannot be used; null when it can."`
	CreatedAt       Time          `json:"createdAt" format:"date-time" doc:"When it was asked for."`
	UpdatedAt       Time          `json:"updatedAt" format:"date-time" doc:"When its record last changed."`
	LastUsedAt      *Time         `json:"lastUsedAt" nullable:"true" format:"date-time" doc:"When a sandbox was last made from it; null: never."`
	BuildInfo       *BuildInfo    `json:"buildInfo,omitempty" doc:"How its image was built."`
	RegionIDs       []string      `json:"regionIds,omitempty" doc:"Regions it can be used in."`
	InitialRunnerID string        `json:"initialRunnerId,omitempty" doc:"Runner that made it."`
	Ref             string        `json:"ref,omitempty" doc:"Reference of its image."`
	SourceSandboxID *string       `json:"sourceSandboxId" nullable:"true" doc:"Sandbox it was made from; null: none."`
	SandboxClass    SandboxClass  `json:"sandboxClass" doc:"Kind of isolation of sandboxes made from it."`
}

// SnapshotPage is one numbered page of snapshots.
type SnapshotPage struct {
	Items      []Snapshot `json:"items" doc:"The snapshots of this page."`
	Total      int        `json:"total" doc:"How many match in all."`
	Page       int        `json:"page" doc:"Number of this page, from 1."`
	TotalPages int        `json:"totalPages" doc:"Number of pages."`
}
