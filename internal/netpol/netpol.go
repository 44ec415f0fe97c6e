// Package netpol makes the networks that sandboxes are started in and decides what they may reach.
//
// A slot is a network namespace, owned by the initial user namespace so that nobody inside may change it, with one veth
// pair, routed point to point: there is no bridge and no neighbour. One nftables table per installation holds all rules.
// A slot that nobody claimed, and a source that no slot has, is dropped; claiming a slot adds one map element. The
// metadata services, the host, private ranges and other sandboxes are denied before any list of a user is read, and IPv6 is
// off: inside, on the host's end of the pair and in the table.
//
// Names resolve through a forwarder on the first address of the sandboxes' subnet. It lives in this process; addresses,
// routes and rules live in the kernel, so running sandboxes keep their network, without names, while no process runs.
//
// Everything is done over netlink in the network namespace of the calling process; no command is run.
//
// What it does not do: limit bandwidth; allow by name (the resolver answers every sandbox that is not blocked, so names are
// a channel out also for sandboxes with an allow list); reset the interface counters of a slot that is used again.
package netpol

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"regexp"
	"sync"

	"github.com/vishvananda/netlink"

	"github.com/dugout-dev/dugout/internal/errs"
	"github.com/dugout-dev/dugout/internal/filelock"
)

// Config says where and how much. Instance and Dir are required.
type Config struct {
	Instance     string           // four characters a-z, 0-9: tells installations on one host apart; never changes
	Subnet       netip.Prefix     // IPv4, of the sandboxes; zero: the live one of this instance, else a free /18 (see Net.Subnet)
	Dir          string           // for pinned network namespaces, on tmpfs; nothing else may be in it
	Upstream     []netip.AddrPort // DNS servers; empty: those of /etc/resolv.conf, read again when it changes
	Ready        int              // slots kept prepared; 0: 4, negative: none
	MaxSlots     int              // at most so many slots exist; 0: 4000; the subnet may bound it further
	AllowPrivate []netip.Prefix   // parts of the private ranges that sandboxes may reach nevertheless
}

// Policy is what one sandbox may reach. The zero value is the public internet over IPv4. Whatever it says, the ranges that
// are denied to everybody stay denied.
type Policy struct {
	BlockAll bool           // nothing, names neither; wins over Allow
	Allow    []netip.Prefix // IPv4 only; not empty: these and nothing else
}

const (
	defaultReady = 4
	defaultSlots = 4000
	idleCap      = 64 // prepared slots kept at most: what is above it is destroyed after use
)

var instanceForm = regexp.MustCompile(`^[a-z0-9]{4}$`)

func (c Config) withDefaults() (Config, error) {
	if !instanceForm.MatchString(c.Instance) {
		return c, errs.New(errs.Invalid, "network instance %q must be four characters of a-z and 0-9", c.Instance)
	}
	if c.Dir == "" {
		return c, errs.New(errs.Invalid, "the folder for network namespaces is not set")
	}
	if c.Subnet.IsValid() {
		c.Subnet = c.Subnet.Masked()
		if !c.Subnet.Addr().Is4() || c.Subnet.Bits() < 8 || c.Subnet.Bits() > 29 {
			return c, errs.New(errs.Invalid, "subnet of sandboxes %s must be IPv4 and between /8 and /29", c.Subnet)
		}
	}
	for _, p := range c.AllowPrivate {
		if err := checkException(p); err != nil {
			return c, err
		}
	}
	switch {
	case c.Ready == 0:
		c.Ready = defaultReady
	case c.Ready < 0:
		c.Ready = 0
	}
	if c.MaxSlots < 0 {
		return c, errs.New(errs.Invalid, "the number of network slots %d must not be negative", c.MaxSlots)
	}
	if c.MaxSlots == 0 {
		c.MaxSlots = defaultSlots
	}
	return c, nil
}

// Net owns the networks of one installation. Its methods are safe to call from many goroutines.
type Net struct {
	cfg      Config
	log      *slog.Logger
	subnet   netip.Prefix
	resolver netip.Addr // first address of subnet
	deny     ranges
	mtu      int
	nl       *netlink.Handle
	rules    *ruleset
	dns      *resolver
	lock     *os.File // held while a process serves the instance
	notes    []string // of Problems, found at Open

	stop context.CancelFunc
	work sync.WaitGroup
	wake chan struct{} // capacity 1: there may be work for tend
	quit sync.Once

	mu     sync.Mutex // guards what follows
	closed bool
	slots  map[int]*slot
	ready  []int         // prepared, the last is used next
	terms  uint32        // of the last claim; begins at random, so that those of an earlier process do not come again soon
	cursor int           // where the search for a free number goes on: late reuse of addresses
	moved  chan struct{} // closed and replaced when a slot becomes ready or its number free

	sweeps sync.Mutex // serialises destroy
}

// Open takes over what an earlier process left, or starts from nothing, puts the rules in force and starts the resolver.
// It neither interrupts nor frees slots in use: call Adopt for each sandbox that runs, then Sweep. Only one process may
// have an instance open; a second one gets Conflict.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Net, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	n := &Net{cfg: cfg, log: log, terms: rand.Uint32(), slots: map[int]*slot{}, wake: make(chan struct{}, 1), moved: make(chan struct{})}
	ok := false
	defer func() {
		if !ok {
			n.release()
		}
	}()
	if err := openDir(cfg.Dir); err != nil {
		return nil, err
	}
	if n.lock, err = filelock.Acquire(ctx, cfg.Dir+"/"+lockName, filelock.Patience); err != nil {
		return nil, err
	}
	if n.nl, err = newHandle(); err != nil {
		return nil, err
	}
	if err := n.takeSubnet(); err != nil {
		return nil, err
	}
	n.cfg.MaxSlots = min(n.cfg.MaxSlots, 1<<(32-n.subnet.Bits())-3, 1<<slotBits-1)
	n.deny = denied(n.subnet, cfg.AllowPrivate)
	n.mtu = uplinkMTU(n.nl)
	if err := n.forwardPackets(); err != nil {
		return nil, err
	}
	if n.rules, err = openRules(cfg.Instance, n.subnet, n.resolver, n.deny); err != nil {
		return nil, err
	}
	if err := n.find(); err != nil {
		return nil, err
	}
	if n.dns, err = openResolver(ctx, n.resolver, cfg.Upstream, n.deny, n.source, log); err != nil {
		return nil, err
	}
	log.InfoContext(ctx, "sandbox network is open", "instance", cfg.Instance, "subnet", n.subnet.String(), "slots", len(n.slots))
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	n.stop = cancel
	n.work.Add(2)
	go func() { defer n.work.Done(); n.tend(run) }()
	go func() { defer n.work.Done(); n.guard(run) }()
	n.nudge()
	ok = true
	return n, nil
}

// Subnet returns the subnet in use. The caller stores it and gives it to the next Open, also across reboots.
func (n *Net) Subnet() netip.Prefix { return n.subnet }

// Resolver returns the address at which sandboxes resolve names.
func (n *Net) Resolver() netip.Addr { return n.resolver }

// Close stops the resolver and background work. Running sandboxes keep their network and their rules.
func (n *Net) Close() error {
	n.quit.Do(func() {
		n.mu.Lock()
		n.closed = true
		n.mu.Unlock()
		n.stop()
		n.work.Wait()
		n.release()
	})
	return nil
}

// release frees what this process holds, and nothing that lives in the kernel.
func (n *Net) release() {
	if n.dns != nil {
		n.dns.close()
	}
	if n.rules != nil {
		n.rules.close()
	}
	if n.nl != nil {
		n.nl.Close()
	}
	if n.lock != nil {
		_ = n.lock.Close()
	}
}

// nudge wakes tend; it never blocks.
func (n *Net) nudge() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}
