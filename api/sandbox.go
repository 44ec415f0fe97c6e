package api

// SandboxState is the state of a sandbox as the wire shows it.
type SandboxState string

// The states of a sandbox. A client that waits should treat those it does not know as "not there yet".
const (
	SandboxCreating         SandboxState = "creating"
	SandboxRestoring        SandboxState = "restoring"
	SandboxDestroyed        SandboxState = "destroyed"
	SandboxDestroying       SandboxState = "destroying"
	SandboxStarted          SandboxState = "started"
	SandboxStopped          SandboxState = "stopped"
	SandboxStarting         SandboxState = "starting"
	SandboxStopping         SandboxState = "stopping"
	SandboxError            SandboxState = "error"
	SandboxBuildFailed      SandboxState = "build_failed"
	SandboxPendingBuild     SandboxState = "pending_build"
	SandboxBuildingSnapshot SandboxState = "building_snapshot"
	SandboxUnknown          SandboxState = "unknown"
	SandboxPullingSnapshot  SandboxState = "pulling_snapshot"
	SandboxArchived         SandboxState = "archived"
	SandboxArchiving        SandboxState = "archiving"
	SandboxResizing         SandboxState = "resizing"
	SandboxSnapshotting     SandboxState = "snapshotting"
	SandboxForking          SandboxState = "forking"
	SandboxPausing          SandboxState = "pausing"
	SandboxPaused           SandboxState = "paused"
	SandboxResuming         SandboxState = "resuming"
)

// SandboxDesiredState is the state that somebody asked for.
type SandboxDesiredState string

// SandboxClass says what kind of isolation a sandbox has.
type SandboxClass string

// ClassContainer is the class of sandboxes that share the kernel of their runner.
const ClassContainer SandboxClass = "container"

// GPUType names a model of graphics card.
type GPUType string

// BackupState tells how far the copy kept off the runner is.
type BackupState string

// BackupNone says that there is no copy off the runner.
const BackupNone BackupState = "None"

// Sandbox is one isolated computer, whole. Fields without omitempty are always sent; the others are absent when unset.
type Sandbox struct {
	ID                   string              `json:"id" doc:"UUID of the sandbox."`
	OrganizationID       string              `json:"organizationId" doc:"Organization that owns it."`
	Name                 string              `json:"name" doc:"Name, unique in the organization; the id when none was given."`
	Snapshot             string              `json:"snapshot,omitempty" doc:"Name of the snapshot it was made from."`
	User                 string              `json:"user" doc:"User that processes inside run as."`
	Env                  map[string]string   `json:"env" doc:"Environment variables given at creation."`
	Labels               map[string]string   `json:"labels" doc:"Labels."`
	Public               bool                `json:"public" doc:"Whether its previews open without a token."`
	NetworkBlockAll      bool                `json:"networkBlockAll" doc:"Whether it is cut off from the network."`
	NetworkAllowList     string              `json:"networkAllowList,omitempty" doc:"Comma-separated IPv4 CIDRs it may reach; absent: no such limit."`
	DomainAllowList      string              `json:"domainAllowList,omitempty" doc:"Comma-separated domain names it may reach; absent: no such limit."`
	OutboundProxyURL     string              `json:"outboundProxyUrl,omitempty" doc:"Proxy for its outbound traffic."`
	OtelEndpointOverride string              `json:"otelEndpointOverride,omitempty" doc:"Where its telemetry goes."`
	Target               string              `json:"target" doc:"Region id."`
	CPU                  int64               `json:"cpu" doc:"Cores."`
	GPU                  int64               `json:"gpu" doc:"Graphics cards."`
	KVM                  bool                `json:"kvm" doc:"Whether it can run virtual machines inside; never on this server."`
	Spot                 bool                `json:"spot" doc:"Whether it may be evicted for others."`
	SpotEvictedAt        *Time               `json:"spotEvictedAt,omitempty" format:"date-time" doc:"When it was evicted."`
	GPUType              GPUType             `json:"gpuType,omitempty" doc:"Model of its graphics card."`
	Memory               int64               `json:"memory" doc:"Memory in GiB."`
	Disk                 int64               `json:"disk" doc:"Disk in GiB."`
	State                SandboxState        `json:"state" doc:"State now."`
	DesiredState         SandboxDesiredState `json:"desiredState" doc:"State that was asked for."`
	ErrorReason          string              `json:"errorReason,omitempty" doc:"Why it is in the state error or build_failed."`
	StopReason           string              `json:"stopReason,omitempty" doc:"Why it stopped without being asked: oom, exited, host, idle."`
	Recoverable          bool                `json:"recoverable" doc:"Whether an error can be recovered from."`
	WarmPoolID           string              `json:"warmPoolId,omitempty" doc:"Warm pool it waits in."`
	BackupState          BackupState         `json:"backupState" doc:"How far its copy off the runner is."`
	BackupCreatedAt      *Time               `json:"backupCreatedAt,omitempty" format:"date-time" doc:"When that copy was made."`
	AutoStopInterval     int64               `json:"autoStopInterval" doc:"Minutes without activity after which it is stopped; 0: never."`
	AutoPauseInterval    *int64              `json:"autoPauseInterval,omitempty" doc:"Minutes without activity after which it is paused; 0: never."`
	AutoArchiveInterval  int64               `json:"autoArchiveInterval" doc:"Minutes stopped after which it is archived."`
	AutoDeleteInterval   int64               `json:"autoDeleteInterval" doc:"Minutes stopped after which it is deleted; 0: as soon as it stops; negative: never."`
	AutoDestroyAt        *Time               `json:"autoDestroyAt,omitempty" format:"date-time" doc:"When it is destroyed whatever happens."`
	Volumes              []SandboxVolume     `json:"volumes" doc:"Volumes mounted in it."`
	BuildInfo            *BuildInfo          `json:"buildInfo,omitempty" doc:"How its image was built."`
	CreatedAt            Time                `json:"createdAt" format:"date-time" doc:"When it was asked for."`
	UpdatedAt            Time                `json:"updatedAt" format:"date-time" doc:"When its record last changed."`
	LastActivityAt       Time                `json:"lastActivityAt" format:"date-time" doc:"When it was last used or changed state."`
	SandboxClass         SandboxClass        `json:"sandboxClass" doc:"Kind of isolation."`
	DaemonVersion        string              `json:"daemonVersion,omitempty" doc:"Version of the daemon inside."`
	RunnerID             string              `json:"runnerId,omitempty" doc:"Runner it is on; absent when on none."`
	LinkedSandboxID      string              `json:"linkedSandboxId,omitempty" doc:"Sandbox it shares a runner and a life with."`
	ToolboxProxyURL      string              `json:"toolboxProxyUrl" doc:"Base of the toolbox API; append /{id}/…"`
}

// SandboxListItem is a sandbox in a list: without its environment, volumes and build.
type SandboxListItem struct {
	ID                  string              `json:"id" doc:"UUID of the sandbox."`
	OrganizationID      string              `json:"organizationId" doc:"Organization that owns it."`
	Name                string              `json:"name" doc:"Name, unique in the organization."`
	Target              string              `json:"target" doc:"Region id."`
	RunnerID            string              `json:"runnerId,omitempty" doc:"Runner it is on; absent when on none."`
	SandboxClass        SandboxClass        `json:"sandboxClass" doc:"Kind of isolation."`
	State               SandboxState        `json:"state" doc:"State now."`
	DesiredState        SandboxDesiredState `json:"desiredState" doc:"State that was asked for."`
	Snapshot            string              `json:"snapshot,omitempty" doc:"Name of the snapshot it was made from."`
	User                string              `json:"user" doc:"User that processes inside run as."`
	ErrorReason         string              `json:"errorReason,omitempty" doc:"Why it is in the state error or build_failed."`
	StopReason          string              `json:"stopReason,omitempty" doc:"Why it stopped without being asked: oom, exited, host, idle."`
	Recoverable         bool                `json:"recoverable" doc:"Whether an error can be recovered from."`
	Public              bool                `json:"public" doc:"Whether its previews open without a token."`
	NetworkBlockAll     bool                `json:"networkBlockAll" doc:"Whether it is cut off from the network."`
	NetworkAllowList    string              `json:"networkAllowList,omitempty" doc:"Comma-separated IPv4 CIDRs it may reach; absent: no such limit."`
	DomainAllowList     string              `json:"domainAllowList,omitempty" doc:"Comma-separated domain names it may reach; absent: no such limit."`
	CPU                 int64               `json:"cpu" doc:"Cores."`
	GPU                 int64               `json:"gpu" doc:"Graphics cards."`
	Spot                bool                `json:"spot" doc:"Whether it may be evicted for others."`
	SpotEvictedAt       *Time               `json:"spotEvictedAt,omitempty" format:"date-time" doc:"When it was evicted."`
	GPUType             GPUType             `json:"gpuType,omitempty" doc:"Model of its graphics card."`
	Memory              int64               `json:"memory" doc:"Memory in GiB."`
	Disk                int64               `json:"disk" doc:"Disk in GiB."`
	Labels              map[string]string   `json:"labels" doc:"Labels."`
	BackupState         BackupState         `json:"backupState" doc:"How far its copy off the runner is."`
	AutoStopInterval    int64               `json:"autoStopInterval" doc:"Minutes without activity after which it is stopped; 0: never."`
	AutoPauseInterval   *int64              `json:"autoPauseInterval,omitempty" doc:"Minutes without activity after which it is paused; 0: never."`
	AutoArchiveInterval int64               `json:"autoArchiveInterval" doc:"Minutes stopped after which it is archived."`
	AutoDeleteInterval  int64               `json:"autoDeleteInterval" doc:"Minutes stopped after which it is deleted; 0: as soon as it stops; negative: never."`
	AutoDestroyAt       *Time               `json:"autoDestroyAt,omitempty" format:"date-time" doc:"When it is destroyed whatever happens."`
	CreatedAt           Time                `json:"createdAt" format:"date-time" doc:"When it was asked for."`
	UpdatedAt           Time                `json:"updatedAt" format:"date-time" doc:"When its record last changed."`
	LastActivityAt      Time                `json:"lastActivityAt" format:"date-time" doc:"When it was last used or changed state."`
	DaemonVersion       string              `json:"daemonVersion,omitempty" doc:"Version of the daemon inside."`
	WarmPoolID          string              `json:"warmPoolId,omitempty" doc:"Warm pool it waits in."`
	ToolboxProxyURL     string              `json:"toolboxProxyUrl" doc:"Base of the toolbox API; append /{id}/…"`
}

// SandboxList is one page of sandboxes.
type SandboxList struct {
	Items      []SandboxListItem `json:"items" doc:"The sandboxes of this page."`
	NextCursor *string           `json:"nextCursor" nullable:"true" doc:"Cursor of the next page; null at the end."`
}

// NumberedSandboxes is one numbered page of sandboxes, for old clients.
type NumberedSandboxes struct {
	Items      []Sandbox `json:"items" doc:"The sandboxes of this page."`
	Total      int       `json:"total" doc:"How many match in all."`
	Page       int       `json:"page" doc:"Number of this page, from 1."`
	TotalPages int       `json:"totalPages" doc:"Number of pages."`
}

// SandboxVolume is a volume as a sandbox sees it.
type SandboxVolume struct {
	VolumeID  string `json:"volumeId" doc:"Id of the volume."`
	MountPath string `json:"mountPath" doc:"Where it is mounted."`
	Subpath   string `json:"subpath,omitempty" doc:"Folder of the volume that is mounted; absent: all of it."`
}

// BuildInfo tells how an image was built.
type BuildInfo struct {
	DockerfileContent string   `json:"dockerfileContent,omitempty" doc:"The Dockerfile."`
	ContextHashes     []string `json:"contextHashes,omitempty" doc:"Hashes of the uploaded build contexts."`
	CreatedAt         Time     `json:"createdAt" format:"date-time" doc:"When the build was asked for."`
	UpdatedAt         Time     `json:"updatedAt" format:"date-time" doc:"When its record last changed."`
	SnapshotRef       string   `json:"snapshotRef" doc:"Reference of the built image."`
}

// CreateBuildInfo asks for an image to be built.
type CreateBuildInfo struct {
	DockerfileContent string   `json:"dockerfileContent" doc:"The Dockerfile."`
	ContextHashes     []string `json:"contextHashes,omitempty" doc:"Hashes of the uploaded build contexts."`
}

// CreateSandbox asks for a new sandbox. Everything is optional. A field that this server cannot honour is refused when it
// is set to anything but its neutral value; nothing is silently ignored except names that are no field at all.
type CreateSandbox struct {
	Name                 string              `json:"name,omitempty" doc:"Name, unique in the organization; default: the id."`
	Snapshot             string              `json:"snapshot,omitempty" doc:"Name or id of the snapshot to make it from; default: the server's default snapshot."`
	User                 string              `json:"user,omitempty" doc:"User that processes inside run as; default: the snapshot's."`
	Env                  map[string]string   `json:"env,omitempty" doc:"Environment variables."`
	Labels               map[string]string   `json:"labels,omitempty" doc:"Labels."`
	Public               bool                `json:"public,omitempty" doc:"Whether its previews open without a token."`
	NetworkBlockAll      bool                `json:"networkBlockAll,omitempty" doc:"Cuts it off from the network. Wins over networkAllowList."`
	NetworkAllowList     string              `json:"networkAllowList,omitempty" doc:"At most 10 comma-separated IPv4 CIDRs it may reach, and nothing else."`
	DomainAllowList      string              `json:"domainAllowList,omitempty" doc:"At most 10 comma-separated domain names it may reach. Not supported by this server."`
	OutboundProxyURL     string              `json:"outboundProxyUrl,omitempty" doc:"Proxy for its outbound traffic. Not supported by this server."`
	OtelEndpointOverride string              `json:"otelEndpointOverride,omitempty" doc:"Where its telemetry goes. Not supported by this server."`
	Target               string              `json:"target,omitempty" doc:"Region id or name; default: the organization's default region."`
	CPU                  int64               `json:"cpu,omitempty" doc:"Cores. A sandbox made from a snapshot gets the snapshot's."`
	GPU                  int64               `json:"gpu,omitempty" doc:"Graphics cards. Not supported by this server."`
	GPUType              GPUTypes            `json:"gpuType,omitempty" doc:"Models of graphics card, best first. Not supported by this server."`
	Spot                 bool                `json:"spot,omitempty" doc:"Lets it be evicted for others. Not supported by this server."`
	KVM                  bool                `json:"kvm,omitempty" doc:"Lets it run virtual machines inside. Not supported by this server."`
	QueueTimeout         *int64              `json:"queueTimeout,omitempty" doc:"Minutes to wait for capacity at most; at least 1. A create never waits for it on this server."`
	Memory               int64               `json:"memory,omitempty" doc:"Memory in GiB. A sandbox made from a snapshot gets the snapshot's."`
	Disk                 int64               `json:"disk,omitempty" doc:"Disk in GiB. A sandbox made from a snapshot gets the snapshot's."`
	SandboxClass         SandboxClass        `json:"sandboxClass,omitempty" doc:"Kind of isolation; only container is supported by this server."`
	AutoStopInterval     *int64              `json:"autoStopInterval,omitempty" doc:"Minutes without activity after which it is stopped; 0: never; default 15."`
	AutoPauseInterval    *int64              `json:"autoPauseInterval,omitempty" doc:"Minutes without activity after which it is paused. Only 0 (never) is supported by this server."`
	AutoArchiveInterval  *int64              `json:"autoArchiveInterval,omitempty" doc:"Minutes stopped after which it is archived; 0: the maximum; default 10080."`
	AutoDeleteInterval   *int64              `json:"autoDeleteInterval,omitempty" doc:"Minutes stopped after which it is deleted; 0: as soon as it stops; negative: never (default)."`
	TTLMinutes           *int64              `json:"ttlMinutes,omitempty" doc:"Minutes after which it is destroyed whatever happens. Only 0 (never) is supported by this server."`
	Volumes              []SandboxVolume     `json:"volumes,omitempty" doc:"Volumes to mount. Not supported by this server."`
	BuildInfo            *CreateBuildInfo    `json:"buildInfo,omitempty" doc:"Image to build first. Not supported by this server."`
	LinkedSandbox        string              `json:"linkedSandbox,omitempty" doc:"Sandbox to share a runner and a life with. Not supported by this server."`
	Secrets              []map[string]string `json:"secrets,omitempty" doc:"Environment variable to secret name. Not supported by this server."`
}

// SandboxLabels is the whole set of labels of a sandbox.
type SandboxLabels struct {
	Labels map[string]string `json:"labels" doc:"Labels; they replace all that were there."`
}

// UpdateLastActivity may say what kind of activity it was.
type UpdateLastActivity struct {
	ActivityType string `json:"activityType,omitempty" doc:"Kind of activity, for statistics."`
}

// PortPreviewURL opens a port of a sandbox.
type PortPreviewURL struct {
	SandboxID string `json:"sandboxId" doc:"Id of the sandbox."`
	URL       string `json:"url" doc:"Where the port is served."`
	Token     string `json:"token" doc:"Opens the URL of a sandbox that is not public: header X-Daytona-Preview-Token. New at every start."`
}

// ToolboxProxyURL is where the toolbox API is.
type ToolboxProxyURL struct {
	URL string `json:"url" doc:"Base of the toolbox API; append /{id}/…"`
}

// URL is an address to go on with.
type URL struct {
	URL string `json:"url" doc:"The address."`
}
