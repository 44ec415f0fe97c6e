package api

// Organization owns sandboxes, snapshots and keys.
type Organization struct {
	ID                                  string         `json:"id" doc:"UUID of the organization."`
	Name                                string         `json:"name" doc:"Name."`
	CreatedBy                           string         `json:"createdBy" doc:"User who made it."`
	Personal                            bool           `json:"personal" doc:"Whether it belongs to one user alone."`
	CreatedAt                           Time           `json:"createdAt" format:"date-time" doc:"When it was made."`
	UpdatedAt                           Time           `json:"updatedAt" format:"date-time" doc:"When its record last changed."`
	Suspended                           bool           `json:"suspended" doc:"Whether it may do nothing now."`
	SuspendedAt                         *Time          `json:"suspendedAt" nullable:"true" format:"date-time" doc:"Since when."`
	SuspensionReason                    *string        `json:"suspensionReason" nullable:"true" doc:"Why."`
	SuspendedUntil                      *Time          `json:"suspendedUntil" nullable:"true" format:"date-time" doc:"Until when."`
	SuspensionCleanupGracePeriodHours   int64          `json:"suspensionCleanupGracePeriodHours" doc:"Hours after which a suspended organization is cleaned up."`
	MaxCPUPerSandbox                    int64          `json:"maxCpuPerSandbox" doc:"Most cores a sandbox may have."`
	MaxMemoryPerSandbox                 int64          `json:"maxMemoryPerSandbox" doc:"Most memory a sandbox may have, in GiB."`
	MaxDiskPerSandbox                   int64          `json:"maxDiskPerSandbox" doc:"Most disk a sandbox may have, in GiB."`
	SecretQuota                         int64          `json:"secretQuota" doc:"Most secrets it may hold."`
	MaxSecretsPerSandbox                int64          `json:"maxSecretsPerSandbox" doc:"Most secrets a sandbox may use."`
	SnapshotDeactivationTimeoutMinutes  int64          `json:"snapshotDeactivationTimeoutMinutes" doc:"Minutes without use after which a snapshot is deactivated."`
	SandboxLimitedNetworkEgress         bool           `json:"sandboxLimitedNetworkEgress" doc:"Whether new sandboxes reach only a fixed set of addresses."`
	PreviewWarningEnabled               bool           `json:"previewWarningEnabled" doc:"Whether previews show a warning page first."`
	SSOEnabled                          bool           `json:"ssoEnabled" doc:"Whether members sign in through their own identity provider."`
	SCIMEnabled                         bool           `json:"scimEnabled" doc:"Whether members are kept in step with a directory."`
	DefaultQueueTimeout                 *int64         `json:"defaultQueueTimeout" nullable:"true" doc:"How long creates wait for capacity; null: not at all."`
	DefaultRegionID                     string         `json:"defaultRegionId,omitempty" doc:"Region of sandboxes that name none."`
	AuthenticatedRateLimit              *int64         `json:"authenticatedRateLimit" nullable:"true" doc:"Requests per window; null: the server's."`
	SandboxCreateRateLimit              *int64         `json:"sandboxCreateRateLimit" nullable:"true" doc:"Creates per window; null: the server's."`
	SandboxLifecycleRateLimit           *int64         `json:"sandboxLifecycleRateLimit" nullable:"true" doc:"Lifecycle calls per window; null: the server's."`
	ExperimentalConfig                  map[string]any `json:"experimentalConfig" doc:"Settings under trial."`
	OtelConfig                          *OtelConfig    `json:"otelConfig" doc:"Where telemetry goes; null: nowhere."`
	AuthenticatedRateLimitTTLSeconds    *int64         `json:"authenticatedRateLimitTtlSeconds" nullable:"true" doc:"Length of the window; null: the server's."`
	SandboxCreateRateLimitTTLSeconds    *int64         `json:"sandboxCreateRateLimitTtlSeconds" nullable:"true" doc:"Length of the window; null: the server's."`
	SandboxLifecycleRateLimitTTLSeconds *int64         `json:"sandboxLifecycleRateLimitTtlSeconds" nullable:"true" doc:"Length of the window; null: the server's."`
}

// OtelConfig says where the telemetry of an organization goes.
type OtelConfig struct {
	Endpoint       string            `json:"endpoint" doc:"OTLP endpoint."`
	Headers        map[string]string `json:"headers,omitempty" doc:"Headers to send; their values are hidden."`
	OrganizationID string            `json:"organizationId,omitempty" doc:"Organization it belongs to."`
}

// APIKey is an API key as a list shows it: with its value masked.
type APIKey struct {
	Name        string   `json:"name" doc:"Name, unique for its owner in the organization."`
	Value       string   `json:"value" doc:"First and last three characters of the value, the rest masked."`
	CreatedAt   Time     `json:"createdAt" format:"date-time" doc:"When it was made."`
	Permissions []string `json:"permissions" enum:"write:registries,delete:registries,write:snapshots,delete:snapshots,write:sandboxes,delete:sandboxes,read:volumes,write:volumes,delete:volumes,write:regions,delete:regions,read:runners,write:runners,delete:runners,read:audit_logs,manage:api_keys,manage:secrets,read:limits,manage:sso,read:billing,manage:billing" doc:"What it may do."`
	LastUsedAt  *Time    `json:"lastUsedAt" nullable:"true" format:"date-time" doc:"When it was last used, to within some seconds; null: never."`
	ExpiresAt   *Time    `json:"expiresAt" nullable:"true" format:"date-time" doc:"When it stops working; null: never."`
	UserID      string   `json:"userId" doc:"Its owner."`

	OrganizationID string `json:"organizationId,omitempty" doc:"Organization it is good for."`
}

// RegionType says who may use a region.
type RegionType string

// Region is a place where runners are.
type Region struct {
	ID                 string     `json:"id" doc:"Id, to be used as target."`
	Name               string     `json:"name" doc:"Name."`
	OrganizationID     *string    `json:"organizationId" nullable:"true" doc:"Owner of a custom region; null otherwise."`
	RegionType         RegionType `json:"regionType" doc:"Who may use it."`
	CreatedAt          Time       `json:"createdAt" format:"date-time" doc:"When it was made."`
	UpdatedAt          Time       `json:"updatedAt" format:"date-time" doc:"When its record last changed."`
	ProxyURL           *string    `json:"proxyUrl" nullable:"true" doc:"Preview proxy of its own; null: the server's."`
	SSHGatewayURL      *string    `json:"sshGatewayUrl" nullable:"true" doc:"SSH gateway of its own; null: the server's."`
	SnapshotManagerURL *string    `json:"snapshotManagerUrl" nullable:"true" doc:"Snapshot store of its own; null: the server's."`
	OtelEndpoint       *string    `json:"otelEndpoint" nullable:"true" doc:"Telemetry endpoint of its own; null: the server's."`
}

// User is a person who can sign in, or the administrator made at the first start.
type User struct {
	ID             string          `json:"id" doc:"Id."`
	Name           string          `json:"name" doc:"Name."`
	Email          string          `json:"email" doc:"E-mail address."`
	EmailVerified  bool            `json:"emailVerified" doc:"Whether the address is known to be theirs."`
	PylonEmailHash string          `json:"pylonEmailHash,omitempty" doc:"Proof of the address for a support widget; never set by this server."`
	PublicKeys     []UserPublicKey `json:"publicKeys" doc:"SSH keys."`
	CreatedAt      Time            `json:"createdAt" format:"date-time" doc:"When the user was made."`
}

// UserPublicKey is an SSH public key.
type UserPublicKey struct {
	Key  string `json:"key" doc:"The key, in authorized_keys form."`
	Name string `json:"name" doc:"What its owner calls it."`
}
