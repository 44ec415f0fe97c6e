package httpapi

import (
	"strings"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/sandbox"
)

// wireSandbox is a sandbox as the wire shows it. What is unset is absent, not null: every client accepts that.
func wireSandbox(s *sandbox.Sandbox, at places) *api.Sandbox {
	return &api.Sandbox{
		ID: s.ID, OrganizationID: s.OrganizationID, Name: s.Name, Snapshot: s.Snapshot, User: s.User,
		Env: object(s.Env), Labels: object(s.Labels), Public: s.Public,
		NetworkBlockAll: s.Network.BlockAll, NetworkAllowList: strings.Join(s.Network.Allow, ","), DomainAllowList: strings.Join(s.Network.Domains, ","),
		Target: s.Region, CPU: s.CPU, GPU: s.GPU, Memory: s.MemoryGiB, Disk: s.DiskGiB,
		State: api.SandboxState(s.Shown()), DesiredState: api.SandboxDesiredState(s.Desired),
		ErrorReason: s.ErrorReason, StopReason: s.StopReason, Recoverable: s.Recoverable, BackupState: api.BackupNone,
		AutoStopInterval: s.AutoStopMinutes, AutoArchiveInterval: s.AutoArchiveMinutes, AutoDeleteInterval: s.AutoDeleteMinutes,
		Volumes:   []api.SandboxVolume{},
		CreatedAt: api.At(s.CreatedAt), UpdatedAt: api.At(s.UpdatedAt), LastActivityAt: api.At(s.LastActivityAt),
		SandboxClass: api.SandboxClass(s.Class), DaemonVersion: s.DaemonVersion, RunnerID: s.RunnerID, ToolboxProxyURL: at.toolbox,
	}
}

func wireSandboxItem(s *sandbox.Sandbox, at places) api.SandboxListItem {
	return api.SandboxListItem{
		ID: s.ID, OrganizationID: s.OrganizationID, Name: s.Name, Target: s.Region, RunnerID: s.RunnerID, SandboxClass: api.SandboxClass(s.Class),
		State: api.SandboxState(s.Shown()), DesiredState: api.SandboxDesiredState(s.Desired), Snapshot: s.Snapshot, User: s.User,
		ErrorReason: s.ErrorReason, StopReason: s.StopReason, Recoverable: s.Recoverable, Public: s.Public,
		NetworkBlockAll: s.Network.BlockAll, NetworkAllowList: strings.Join(s.Network.Allow, ","), DomainAllowList: strings.Join(s.Network.Domains, ","),
		CPU: s.CPU, GPU: s.GPU, Memory: s.MemoryGiB, Disk: s.DiskGiB, Labels: object(s.Labels), BackupState: api.BackupNone,
		AutoStopInterval: s.AutoStopMinutes, AutoArchiveInterval: s.AutoArchiveMinutes, AutoDeleteInterval: s.AutoDeleteMinutes,
		CreatedAt: api.At(s.CreatedAt), UpdatedAt: api.At(s.UpdatedAt), LastActivityAt: api.At(s.LastActivityAt),
		DaemonVersion: s.DaemonVersion, ToolboxProxyURL: at.toolbox,
	}
}

// object is m, never null on the wire.
func object(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// list is s, never null on the wire.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
