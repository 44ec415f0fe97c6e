package api

// Configuration is what a client needs to know of the server before it signs in.
type Configuration struct {
	Version                string                  `json:"version" doc:"Version of the server."`
	BuildSHA               string                  `json:"buildSha,omitempty" doc:"Commit it was built from."`
	Posthog                *PosthogConfig          `json:"posthog,omitempty" doc:"Product analytics; never set by this server."`
	OIDC                   OIDCConfig              `json:"oidc" doc:"Sign-in; empty values: API keys only."`
	SSOOIDC                *SSOOIDCConfig          `json:"ssoOidc,omitempty" doc:"Sign-in through an organization's own identity provider."`
	ForcedFeatureFlags     []string                `json:"forcedFeatureFlags,omitempty" doc:"Features that a dashboard shows."`
	LinkedAccountsEnabled  bool                    `json:"linkedAccountsEnabled" doc:"Whether users can link accounts."`
	Announcements          map[string]Announcement `json:"announcements" doc:"Messages for all users."`
	PylonAppID             string                  `json:"pylonAppId,omitempty" doc:"Support widget; never set by this server."`
	ProxyTemplateURL       string                  `json:"proxyTemplateUrl" doc:"Preview URL with {{PORT}} and {{sandboxId}} in place of the port and the id."`
	ProxyToolboxURL        string                  `json:"proxyToolboxUrl" doc:"Base of the toolbox API; append /{id}/…"`
	DefaultSnapshot        string                  `json:"defaultSnapshot" doc:"Snapshot of sandboxes that name none."`
	DashboardURL           string                  `json:"dashboardUrl" doc:"Where the dashboard is."`
	MaxAutoArchiveInterval int64                   `json:"maxAutoArchiveInterval" doc:"Longest auto-archive interval, in minutes."`
	MaintenanceMode        bool                    `json:"maintananceMode" doc:"Whether the server refuses work. Spelled as the clients spell it."`
	Environment            string                  `json:"environment" doc:"Name of this installation's environment."`
	BillingAPIURL          string                  `json:"billingApiUrl,omitempty" doc:"Billing; never set by this server."`
	AnalyticsAPIURL        string                  `json:"analyticsApiUrl,omitempty" doc:"Where clients fetch telemetry; absent: from this API."`
	StripePublishableKey   string                  `json:"stripePublishableKey,omitempty" doc:"Billing; never set by this server."`
	SSHGatewayCommand      string                  `json:"sshGatewayCommand,omitempty" doc:"SSH command with {{TOKEN}} in place of the token; absent: no SSH gateway."`
	SSHGatewayPublicKey    string                  `json:"sshGatewayPublicKey,omitempty" doc:"Host key of the SSH gateway, base64."`
	RateLimit              *RateLimitConfig        `json:"rateLimit,omitempty" doc:"Rate limits in force; absent: none."`
}

// PosthogConfig points to a product analytics service.
type PosthogConfig struct {
	APIKey string `json:"apiKey" doc:"Key."`
	Host   string `json:"host" doc:"Host."`
}

// OIDCConfig tells how users sign in.
type OIDCConfig struct {
	Issuer   string `json:"issuer" doc:"Issuer."`
	ClientID string `json:"clientId" doc:"Client id."`
	Audience string `json:"audience" doc:"Audience."`
	Provider string `json:"provider" doc:"Product behind the issuer; empty: none that clients treat specially."`
}

// SSOOIDCConfig tells how users of an organization's own identity provider sign in.
type SSOOIDCConfig struct {
	Issuer   string `json:"issuer" doc:"Issuer."`
	ClientID string `json:"clientId" doc:"Client id."`
}

// Announcement is a message for all users.
type Announcement struct {
	Text         string `json:"text" doc:"The message."`
	LearnMoreURL string `json:"learnMoreUrl,omitempty" doc:"Where to read more."`
}

// RateLimitConfig lists the rate limits in force.
type RateLimitConfig struct {
	FailedAuth       *RateLimit `json:"failedAuth,omitempty" doc:"Failed sign-ins per address."`
	Authenticated    *RateLimit `json:"authenticated,omitempty" doc:"Requests per organization."`
	SandboxCreate    *RateLimit `json:"sandboxCreate,omitempty" doc:"Creates per organization."`
	SandboxLifecycle *RateLimit `json:"sandboxLifecycle,omitempty" doc:"Lifecycle calls per organization."`
	SandboxList      *RateLimit `json:"sandboxList,omitempty" doc:"Lists per organization."`
}

// RateLimit is a number of requests per window.
type RateLimit struct {
	TTL   int64 `json:"ttl,omitempty" doc:"Length of the window in seconds."`
	Limit int64 `json:"limit,omitempty" doc:"Requests in it."`
}

// Health says that the server lives.
type Health struct {
	Status string `json:"status" doc:"ok."`
}

// HealthReport says whether the server and what it depends on can work.
type HealthReport struct {
	Status  string               `json:"status" doc:"ok or error."`
	Info    map[string]Indicator `json:"info" doc:"Parts that are up."`
	Error   map[string]Indicator `json:"error" doc:"Parts that are down."`
	Details map[string]Indicator `json:"details" doc:"All parts."`
}

// Indicator is the state of one part.
type Indicator struct {
	Status  string `json:"status" doc:"up or down."`
	Message string `json:"message,omitempty" doc:"What is wrong, in a few words."`
}
