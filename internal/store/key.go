package store

import (
	"context"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/org"
	"github.com/dugout-dev/dugout/internal/store/internal/db"
)

// Keys keeps API keys: their hashes, never their values.
type Keys struct{ db *DB }

// Credential implements [org.Credentials].
func (t *Keys) Credential(ctx context.Context, hash string) (org.Credential, error) {
	r, err := t.db.reader().GetCredential(ctx, hash)
	if err != nil {
		return org.Credential{}, fault(err)
	}
	permissions, err := parse[[]string](r.ApiKey.Permissions, "permissions")
	if err != nil {
		return org.Credential{}, err
	}
	k := r.ApiKey
	return org.Credential{
		Key: org.Key{OrganizationID: k.OrganizationID, UserID: k.UserID, Name: k.Name, Hash: k.Hash, Prefix: k.Prefix, Suffix: k.Suffix,
			Permissions: permissions, ExpiresAt: moment(k.ExpiresAt), LastUsedAt: moment(k.LastUsedAt), CreatedAt: moment(k.CreatedAt)},
		Role: org.Role(r.Role), Admin: r.Admin, Suspended: r.Suspended, SuspensionReason: r.SuspensionReason,
	}, nil
}

// KeyUsed implements [org.Credentials].
func (t *Keys) KeyUsed(ctx context.Context, k org.Key, at time.Time) error {
	return fault(t.db.writer().TouchKey(ctx, db.TouchKeyParams{OrganizationID: k.OrganizationID, UserID: k.UserID, Name: k.Name, LastUsedAt: millis(at)}))
}

// AddKey adds a key of a member; Conflict when the member has one of that name.
func (t *Keys) AddKey(ctx context.Context, k org.Key) error {
	err := t.db.writer().AddKey(ctx, db.AddKeyParams{OrganizationID: k.OrganizationID, UserID: k.UserID, Name: k.Name, Hash: k.Hash, Prefix: k.Prefix,
		Suffix: k.Suffix, Permissions: text(k.Permissions), ExpiresAt: millis(k.ExpiresAt), CreatedAt: millis(k.CreatedAt)})
	if duplicate(err) {
		return errs.Wrap(err, errs.Conflict, "an API key with name %s already exists", k.Name).WithCode("API_KEY_NAME_TAKEN")
	}
	return fault(err)
}

// RemoveKey removes a key; NotFound when there is none of that name. It stops working within seconds.
func (t *Keys) RemoveKey(ctx context.Context, orgID, userID, name string) error {
	n, err := t.db.writer().RemoveKey(ctx, db.RemoveKeyParams{OrganizationID: orgID, UserID: userID, Name: name})
	if err == nil && n == 0 {
		return errs.New(errs.NotFound, "API key not found").WithCode("API_KEY_NOT_FOUND")
	}
	return fault(err)
}
