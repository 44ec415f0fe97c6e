package sandbox

import "context"

// Route is what the data path needs to know of a sandbox.
type Route struct {
	ID, OrganizationID string
	State              State // as shown
	Running            bool
	Public             bool
	AuthToken          string
	RunnerID           string
}

// Resolve finds a sandbox by its id alone, whoever owns it. It is for the platform's own data path, which checks itself who
// may use it; it is never for callers.
func (c *Controller) Resolve(ctx context.Context, sandboxID string) (Route, error) {
	s, err := c.deps.Store.ByID(ctx, sandboxID)
	if err != nil {
		return Route{}, err
	}
	if hidden(&s) {
		return Route{}, unknown(sandboxID)
	}
	return Route{ID: s.ID, OrganizationID: s.OrganizationID, State: s.Shown(), Running: s.State == Started && s.Desired == WantStarted,
		Public: s.Public, AuthToken: s.AuthToken, RunnerID: s.RunnerID}, nil
}
