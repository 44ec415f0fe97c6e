package spec

import (
	"reflect"

	"github.com/dugout-dev/dugout/api"
	"github.com/dugout-dev/dugout/internal/httpapi"
	"github.com/dugout-dev/dugout/internal/rest"
	"github.com/dugout-dev/dugout/internal/rest/openapi"
)

// control describes the control plane.
func control() ([]byte, error) {
	doc := openapi.Document{
		Title: "Dugout API", Version: "0.205", Server: httpapi.Prefix,
		Description: "The control plane of Dugout: sandboxes, snapshots, organizations. It speaks the 0.x wire.",
		Names: map[reflect.Type]string{
			reflect.TypeFor[api.Configuration]():     "DaytonaConfiguration",
			reflect.TypeFor[api.OIDCConfig]():        "OidcConfig",
			reflect.TypeFor[api.SSOOIDCConfig]():     "SsoOidcConfig",
			reflect.TypeFor[api.RateLimit]():         "RateLimitEntry",
			reflect.TypeFor[api.SandboxList]():       "ListSandboxesResponse",
			reflect.TypeFor[api.NumberedSandboxes](): "PaginatedSandboxes_deprecated",
			reflect.TypeFor[api.PortPreviewURL]():    "PortPreviewUrl",
			reflect.TypeFor[api.ToolboxProxyURL]():   "ToolboxProxyUrl",
			reflect.TypeFor[api.URL]():               "Url",
			reflect.TypeFor[api.GPUType]():           "GpuType",
			reflect.TypeFor[api.Snapshot]():          "SnapshotDto",
			reflect.TypeFor[api.SnapshotPage]():      "PaginatedSnapshots",
			reflect.TypeFor[api.APIKey]():            "ApiKeyList",
		},
		Enums: map[reflect.Type][]string{
			reflect.TypeFor[api.SandboxState](): {"creating", "restoring", "destroyed", "destroying", "started", "stopped", "starting", "stopping", "error", "build_failed", "pending_build",
				"building_snapshot", "unknown", "pulling_snapshot", "archived", "archiving", "resizing", "snapshotting", "forking", "pausing", "paused", "resuming"},
			reflect.TypeFor[api.SandboxDesiredState](): {"destroyed", "started", "stopped", "resized", "archived", "paused"},
			reflect.TypeFor[api.SandboxClass]():        {"linux-vm", "container", "android", "windows"},
			reflect.TypeFor[api.BackupState]():         {"None", "Pending", "InProgress", "Completed", "Error"},
			reflect.TypeFor[api.GPUType]():             {"H100", "H200", "RTX-PRO-6000", "RTX-4090", "RTX-5090", "B200", "B300", "L40S", "MI355X"},
			reflect.TypeFor[api.SnapshotState]():       {"building", "pending", "pulling", "snapshotting", "active", "inactive", "error", "build_failed", "removing"},
			reflect.TypeFor[api.RegionType]():          {"shared", "dedicated", "custom"},
		},
		Public: func(rt rest.Route) bool { access, ok := rt.Meta.(httpapi.Access); return ok && access.Public },
		Errors: []int{400, 401, 403, 404, 409, 413, 422, 500, 503},
	}
	return doc.Generate((&httpapi.API{}).Routes())
}
