package netpol

import (
	"context"
	"net/netip"
	"time"

	"github.com/dugout-dev/dugout/internal/engine"
	"github.com/dugout-dev/dugout/internal/errs"
)

const claimWait = 2 * time.Second

// Claim takes a slot out of the prepared ones, or makes one, and puts policy in force for it before it returns. The slot
// belongs to the caller until Release, across restarts of the process: the caller remembers it and adopts it.
// Errors: Invalid or TooLarge (the policy), Exhausted (no slot is left), Unavailable (the kernel refused; nothing is open).
func (n *Net) Claim(ctx context.Context, policy Policy) (engine.Net, error) {
	if _, err := policy.verdict(0); err != nil {
		return engine.Net{}, err
	}
	if err := ctx.Err(); err != nil {
		return engine.Net{}, errs.Wrap(err, errs.Timeout, "the network was not claimed in time")
	}
	k, s, err := n.take(ctx)
	if err != nil {
		return engine.Net{}, err
	}
	n.mu.Lock()
	term := s.term
	n.mu.Unlock()
	if err := n.enforce(k, s, term, policy); err != nil {
		n.doom(k)
		return engine.Net{}, err
	}
	return engine.Net{Slot: ticket(k, term), Netns: n.pin(k), Addr: slotAddr(n.subnet, k), DNS: n.resolver}, nil
}

// take makes a slot claimed: it carries nothing until it is enforced. While every number is taken but some are on their way
// back or just being prepared, it waits for one, no longer than claimWait.
func (n *Net) take(ctx context.Context) (int, *slot, error) {
	ctx, cancel := context.WithTimeout(ctx, claimWait)
	defer cancel()
	for {
		k, s, built, wait, err := n.pick()
		switch {
		case err == nil && built:
			n.nudge()
			return k, s, nil
		case err == nil:
			return n.takeNew(k, s)
		case wait == nil:
			return 0, nil, err
		}
		select {
		case <-ctx.Done():
			return 0, nil, err
		case <-wait:
		}
	}
}

// pick returns a prepared slot, or a number to build one under, or what to wait for.
func (n *Net) pick() (k int, s *slot, built bool, wait <-chan struct{}, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return 0, nil, false, nil, errs.New(errs.Unavailable, "the sandbox network is closed")
	}
	if last := len(n.ready) - 1; last >= 0 {
		k, n.ready = n.ready[last], n.ready[:last]
		n.begin(n.slots[k])
		return k, n.slots[k], true, nil, nil
	}
	k, s, err = n.reserve()
	if err == nil {
		return k, s, false, nil, nil
	}
	for _, s := range n.slots {
		if s.state == making || s.state == releasing || s.state == doomed {
			return 0, nil, false, n.moved, err
		}
	}
	return 0, nil, false, nil, err
}

func (n *Net) takeNew(k int, s *slot) (int, *slot, error) {
	if err := n.build(k); err != nil {
		n.doom(k)
		return 0, nil, errs.Wrap(err, errs.Unavailable, "a network for the sandbox could not be made")
	}
	n.mu.Lock()
	n.begin(s)
	n.mu.Unlock()
	n.nudge()
	return k, s, nil
}

// begin makes a slot claimed for a new term. Callers hold mu.
func (n *Net) begin(s *slot) {
	if n.terms++; n.terms == 0 {
		n.terms++
	}
	s.state, s.term = claimed, n.terms
}

// announce wakes whoever waits for a slot. Callers hold mu.
func (n *Net) announce() {
	close(n.moved)
	n.moved = make(chan struct{})
}

// reserve picks a free number. Callers hold mu.
func (n *Net) reserve() (int, *slot, error) {
	for range n.cfg.MaxSlots {
		n.cursor = n.cursor%n.cfg.MaxSlots + 1
		if n.slots[n.cursor] == nil {
			s := &slot{state: making}
			n.slots[n.cursor] = s
			return n.cursor, s, nil
		}
	}
	return 0, nil, errs.New(errs.Exhausted, "all %d network slots of this runner are in use", n.cfg.MaxSlots)
}

// enforce puts policy in force for a slot, unless the term is over.
func (n *Net) enforce(k int, s *slot, term uint32, policy Policy) error {
	v, err := policy.verdict(k)
	if err != nil {
		return err
	}
	s.verbs.Lock()
	defer s.verbs.Unlock()
	if !n.holds(k, s, term) {
		return notClaimed(k)
	}
	if err := n.rules.change(map[int]entry{k: {bound: true, verdict: v}}); err != nil {
		return err
	}
	n.mu.Lock()
	s.blocked = policy.BlockAll
	n.mu.Unlock()
	return nil
}

func notClaimed(k int) error {
	return errs.New(errs.NotFound, "network slot %d is not in use", k)
}

// holds reports whether s still is slot k and claimed for term.
func (n *Net) holds(k int, s *slot, term uint32) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.slots[k] == s && s.state == claimed && s.term == term
}

// SetPolicy replaces the policy of a claimed slot in one step. Connections that the new policy does not allow end: every
// packet that leaves a sandbox is judged, not only the first of a connection. When it fails the old policy stays in force.
func (n *Net) SetPolicy(_ context.Context, slot int, policy Policy) error {
	k, term := readTicket(slot)
	n.mu.Lock()
	s := n.slots[k]
	n.mu.Unlock()
	if s == nil {
		return notClaimed(k)
	}
	return n.enforce(k, s, term, policy)
}

// Adopt takes back a slot whose sandbox survived the process that claimed it, and puts policy in force again. NotFound says
// that the slot or a part of it is gone: the sandbox has no network and must be stopped. Adopting twice is a success.
func (n *Net) Adopt(_ context.Context, net engine.Net, policy Policy) error {
	k, term := readTicket(net.Slot)
	if _, err := policy.verdict(k); err != nil {
		return err
	}
	n.mu.Lock()
	s := n.slots[k]
	n.mu.Unlock()
	switch {
	case s == nil || term == 0:
		return notClaimed(k)
	case net.Addr != slotAddr(n.subnet, k) || net.Netns != n.pin(k):
		return errs.New(errs.NotFound, "network slot %d has address %s, not %s", k, slotAddr(n.subnet, k), net.Addr)
	case !isPinned(n.pin(k)):
		return errs.New(errs.NotFound, "the network namespace of slot %d is gone", k)
	}
	if err := n.reclaim(k, s, term); err != nil {
		return err
	}
	return n.enforce(k, s, term, policy)
}

func (n *Net) reclaim(k int, s *slot, term uint32) error {
	s.verbs.Lock()
	defer s.verbs.Unlock()
	n.mu.Lock()
	mine := n.slots[k] == s && (s.state == found || s.state == claimed && s.term == term)
	n.mu.Unlock()
	if !mine {
		return notClaimed(k)
	}
	if err := n.configureHost(k); err != nil {
		return errs.Wrap(err, errs.NotFound, "the link of network slot %d is gone", k)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.slots[k] != s || s.state != found && s.state != claimed {
		return notClaimed(k) // swept meanwhile
	}
	s.state, s.term = claimed, term
	return nil
}

// Release gives a slot back. The caller has ended everything in it. When Release returns, nothing leaves the slot and it is
// given to nobody before it is proven clean. Releasing twice, and releasing what is not in use, is a success; what an earlier
// process left and nobody adopted is for Sweep.
func (n *Net) Release(ctx context.Context, slot int) error {
	k, term := readTicket(slot)
	n.mu.Lock()
	s := n.slots[k]
	n.mu.Unlock()
	if s == nil {
		return nil
	}
	s.verbs.Lock()
	defer s.verbs.Unlock()
	n.mu.Lock()
	if n.slots[k] != s || s.state != claimed || s.term != term {
		n.mu.Unlock()
		return nil
	}
	s.state, s.term = releasing, 0
	n.mu.Unlock()
	if err := n.rules.change(map[int]entry{k: {bound: true}}); err != nil {
		// It cannot be reused; destroying it tries the rules again and takes the link away in any case.
		n.log.WarnContext(ctx, "network slot could not be shut, destroying it", "slot", k, "error", err)
		n.doom(k)
		return nil
	}
	n.nudge()
	return nil
}

// doom gives a slot to the background to destroy.
func (n *Net) doom(k int) {
	n.mu.Lock()
	if s := n.slots[k]; s != nil {
		s.state = doomed
	}
	n.mu.Unlock()
	n.nudge()
}

// Sweep destroys every slot of the instance that an earlier process left and nobody adopted, and returns how many there
// were. Call it once, after all Adopt calls.
func (n *Net) Sweep(ctx context.Context) (int, error) {
	n.mu.Lock()
	var left []int
	for k, s := range n.slots {
		if s.state == found {
			s.state = doomed
			left = append(left, k)
		}
	}
	n.mu.Unlock()
	if len(left) == 0 {
		return 0, nil
	}
	return len(left), n.destroy(ctx, left)
}

// Slots says how many slots are prepared, how many are in use, and how many are in between: being made, proven clean,
// destroyed, or left by an earlier process and not adopted.
func (n *Net) Slots() (prepared, inUse, between int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.slots {
		switch s.state {
		case ready:
			prepared++
		case claimed:
			inUse++
		case found, making, releasing, doomed:
			between++
		}
	}
	return prepared, inUse, between
}

// source tells the resolver who asks: ok is false for addresses that no claimed slot has.
func (n *Net) source(a netip.Addr) (slot int, blocked, ok bool) {
	k := slotOf(n.subnet, a)
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.slots[k]
	if s == nil || s.state != claimed {
		return 0, false, false
	}
	return k, s.blocked, true
}
