package netpol

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// load reads the table into have. A table that is not there is empty. Callers hold mu.
func (r *ruleset) load() error {
	r.have = map[int]entry{}
	if err := r.dial(); err != nil {
		return err
	}
	there, err := r.exists()
	if err != nil || !there {
		return err
	}
	fail := func(err error) error {
		r.hangUp()
		return errs.Wrap(err, errs.Unavailable, "the network rules could not be read")
	}
	known := map[string]bool{}
	sets, err := r.conn.GetSets(r.table)
	if err != nil {
		return fail(err)
	}
	for _, s := range sets {
		known[s.Name] = true
	}
	if s := r.slotSet(); known[s.Name] {
		list, err := r.conn.GetSetElements(s)
		if err != nil {
			return fail(err)
		}
		for _, e := range list {
			if k, ok := r.slotOfBinding(e.Key); ok {
				r.have[k] = entry{bound: true}
			}
		}
	}
	if s := r.policyMap(); known[s.Name] {
		list, err := r.conn.GetSetElements(s)
		if err != nil {
			return fail(err)
		}
		for _, e := range list {
			a, ok := netip.AddrFromSlice(e.Key)
			k := slotOf(r.subnet, a)
			if !ok || k < 1 {
				continue
			}
			had := r.have[k]
			had.verdict = verdict{chain: chainOf(e.Val)}
			r.have[k] = had
		}
	}
	chains, err := r.conn.ListChainsOfTableFamily(r.table.Family)
	if err != nil {
		return fail(err)
	}
	for _, c := range chains {
		k, ok := slotNumber(strings.TrimPrefix(c.Name, chainAllow))
		if had := r.have[k]; ok && c.Table.Name == r.table.Name && had.verdict.chain != c.Name {
			had.stray = true
			r.have[k] = had
		}
	}
	return nil
}

func (r *ruleset) exists() (bool, error) {
	tables, err := r.conn.ListTablesOfFamily(r.table.Family)
	if err != nil {
		r.hangUp()
		return false, errs.Wrap(err, errs.Unavailable, "nftables does not answer: the kernel lacks it or the process may not use it")
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == r.table.Name }), nil
}

// slotOfBinding reads an element of the slot set. What does not fit together is not ours.
func (r *ruleset) slotOfBinding(key []byte) (int, bool) {
	if len(key) != unix.IFNAMSIZ+4 {
		return 0, false
	}
	a, _ := netip.AddrFromSlice(key[unix.IFNAMSIZ:])
	k := slotOf(r.subnet, a)
	return k, k > 0 && string(r.binding(k).Key) == string(key)
}

// chainOf returns the chain that a verdict from the kernel leads to.
func chainOf(val []byte) string {
	ad, err := mdnetlink.NewAttributeDecoder(val)
	if err != nil {
		return ""
	}
	for ad.Next() {
		if ad.Type() == unix.NFTA_VERDICT_CHAIN {
			return ad.String()
		}
	}
	return ""
}

// handles returns the rules that are there, by chain, those of allow lists left out. Callers hold mu.
func (r *ruleset) handles() (map[string][]uint64, error) {
	if err := r.dial(); err != nil {
		return nil, err
	}
	chains, err := r.conn.ListChainsOfTableFamily(r.table.Family)
	if err != nil {
		r.hangUp()
		return nil, errs.Wrap(err, errs.Unavailable, "the network rules could not be read")
	}
	out := map[string][]uint64{}
	for _, c := range chains {
		if c.Table.Name != r.table.Name || strings.HasPrefix(c.Name, chainAllow) {
			continue
		}
		rules, err := r.conn.GetRules(r.table, c)
		if err != nil {
			r.hangUp()
			return nil, errs.Wrap(err, errs.Unavailable, "the network rules could not be read")
		}
		out[c.Name] = []uint64{}
		for _, rule := range rules {
			out[c.Name] = append(out[c.Name], rule.Handle)
		}
	}
	return out, nil
}

// mend compares the table with what this process put there and restores it. It reports what it found missing.
func (r *ruleset) mend() (found string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	handles, err := r.handles()
	if err != nil {
		return "", err
	}
	if err := r.load(); err != nil {
		return "", err
	}
	switch {
	case !maps.EqualFunc(handles, r.static, slices.Equal[[]uint64]):
		found = "rules"
	case !maps.EqualFunc(r.have, r.want, func(a, b entry) bool {
		return a.bound == b.bound && a.stray == b.stray && a.verdict.chain == b.verdict.chain
	}):
		found = "elements"
	default:
		r.have = maps.Clone(r.want) // the contents of allow chains included, which load does not read
		return "", nil
	}
	// An allow list found in the kernel and not written by this process cannot be restored: its slot stays shut until it is
	// adopted.
	for k, e := range r.want {
		if strings.HasPrefix(e.verdict.chain, chainAllow) && e.verdict.allow == nil && r.have[k].verdict.chain == "" {
			r.want[k] = entry{bound: e.bound}
		}
	}
	return found, r.install()
}
