package netpol

import (
	"strconv"

	"github.com/dugout-dev/dugout/internal/errs"
)

// maxAllow bounds an allow list: it becomes one set in the kernel.
const maxAllow = 1024

// Chains that the policy map leads to. An allow list has a chain of its own per slot.
const (
	chainOpen    = "open"
	chainBlocked = "blocked"
	chainAllow   = "allow" // followed by the slot number
)

// verdict is a policy as the table has it.
type verdict struct {
	chain string
	allow ranges // of an allow chain
}

func (p Policy) verdict(slot int) (verdict, error) {
	if len(p.Allow) > maxAllow {
		return verdict{}, errs.New(errs.TooLarge, "the network allow list has %d ranges; %d are allowed", len(p.Allow), maxAllow)
	}
	for _, r := range p.Allow {
		if !r.IsValid() || !r.Addr().Is4() {
			return verdict{}, errs.New(errs.Invalid, "network allow list: %s must be an IPv4 range such as 203.0.113.0/24", r)
		}
	}
	switch {
	case p.BlockAll:
		return verdict{chain: chainBlocked}, nil
	case len(p.Allow) == 0:
		return verdict{chain: chainOpen}, nil
	}
	return verdict{chain: chainAllow + strconv.Itoa(slot), allow: merge(p.Allow)}, nil
}
