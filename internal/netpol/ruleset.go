package netpol

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

const (
	linksOfAll     = "dg" // links of every installation on a host begin with it
	dnsPort        = 53
	smtpPort       = 25
	connsPerSlot   = 4096             // tracked connections of one sandbox: the table is one for the whole host
	elementsPerMsg = 400              // a netlink attribute ends at 64 KB
	rulesTimeout   = 10 * time.Second // of one transaction; it takes well under a millisecond
)

// ruleset is the nftables table of an instance and the knowledge of what is in it.
//
// Every change is one transaction: the kernel does all of it or nothing. have is what the kernel holds for each slot and
// want what it should hold; they differ only while something else than this process changed the table.
type ruleset struct {
	table  *nftables.Table
	links  string // prefix of the instance's links
	subnet netip.Prefix
	dns    netip.Addr
	deny   ranges

	mu     sync.Mutex // serialises transactions on conn and guards the maps
	conn   *nftables.Conn
	raw    *mdnetlink.Conn
	have   map[int]entry
	want   map[int]entry
	static map[string][]uint64 // chain to the handles of its rules, as installed
	ids    uint32

	port atomic.Uint32 // netlink address of conn: tells our transactions from those of others
}

// entry is what the table says about one slot.
type entry struct {
	bound   bool    // its link and address belong together
	verdict verdict // chain "": no element, everything is dropped
	stray   bool    // an allow chain is there that no element leads to; never wanted
}

func tableName(instance string) string { return "dugout_" + instance }

func openRules(instance string, subnet netip.Prefix, dns netip.Addr, deny ranges) (*ruleset, error) {
	r := &ruleset{table: &nftables.Table{Name: tableName(instance), Family: nftables.TableFamilyINet},
		links: linksOfAll + instance, subnet: subnet, dns: dns, deny: deny, want: map[int]entry{}}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(); err != nil {
		return nil, err
	}
	for k, e := range r.have {
		r.want[k] = entry{bound: e.bound, verdict: e.verdict}
	}
	if err := r.install(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *ruleset) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hangUp()
}

func (r *ruleset) hangUp() {
	if r.conn != nil {
		_ = r.conn.CloseLasting()
	}
	r.conn, r.raw = nil, nil
}

// dial makes sure of a connection with nothing pending. A connection that saw an error is never used again: answers to the
// failed transaction may still wait in it.
func (r *ruleset) dial() error {
	if r.conn != nil {
		return r.raw.SetDeadline(time.Now().Add(rulesTimeout))
	}
	buffers := func(c *mdnetlink.Conn) error {
		r.raw = c
		_ = c.SetWriteBuffer(8 << 20) // a batch is one message; without the right to raise it large ones fail loudly
		_ = c.SetReadBuffer(8 << 20)
		return nil
	}
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(buffers))
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "nftables does not answer: the kernel lacks it or the process may not use it")
	}
	r.conn = conn
	if sys, err := r.raw.SyscallConn(); err == nil {
		_ = sys.Control(func(fd uintptr) {
			if sa, err := unix.Getsockname(int(fd)); err == nil {
				if nl, ok := sa.(*unix.SockaddrNetlink); ok {
					r.port.Store(nl.Pid)
				}
			}
		})
	}
	return r.raw.SetDeadline(time.Now().Add(rulesTimeout))
}

// transact runs build and commits what it wrote. When the kernel refuses, what is known of the table was wrong: it is read
// again and build runs a second time. build must work from r.have alone.
func (r *ruleset) transact(build func() error) error {
	var err error
	for range 2 {
		if err = r.dial(); err != nil {
			return err
		}
		if err = build(); err == nil {
			if err = r.conn.Flush(); err == nil {
				return nil
			}
		}
		r.hangUp()
		if loadErr := r.load(); loadErr != nil {
			return errors.Join(err, loadErr)
		}
	}
	return errs.Wrap(err, errs.Unavailable, "the network rules could not be put in force")
}

// Named sets. They are made anew for each transaction: the library writes an id into them that is valid in one only.
func (r *ruleset) slotSet() *nftables.Set {
	return &nftables.Set{Table: r.table, Name: "slots", Concatenation: true,
		KeyType: nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIPAddr)}
}

func (r *ruleset) policyMap() *nftables.Set {
	return &nftables.Set{Table: r.table, Name: "policy", IsMap: true, KeyType: nftables.TypeIPAddr, DataType: nftables.TypeVerdict}
}

func (r *ruleset) connSet() *nftables.Set {
	return &nftables.Set{Table: r.table, Name: "connections", Dynamic: true, Size: 65535, KeyType: nftables.TypeIPAddr}
}

// install writes everything that does not belong to one slot, in place of what was there, and brings the slots to want, in
// one transaction: connections notice nothing. A table that another version laid out differently is replaced as a whole, in
// one transaction as well; allow lists whose contents are not known stay shut then until they are adopted. Callers hold mu.
func (r *ruleset) install() error {
	there, err := r.handles()
	if err != nil {
		return err
	}
	expected := map[string]bool{}
	for _, c := range r.chains(r.slotSet(), r.policyMap(), r.connSet(), r.slotSet()) {
		expected[c.Name] = true
	}
	odd := false
	for name := range there {
		odd = odd || !expected[name]
	}
	if odd || r.lay(false) != nil {
		if err := r.lay(true); err != nil {
			return err
		}
	}
	r.have = maps.Clone(r.want)
	r.static, err = r.handles()
	return err
}

func (r *ruleset) lay(anew bool) error {
	return r.transact(func() error {
		if anew {
			if there, err := r.exists(); err != nil {
				return err
			} else if there {
				r.conn.DelTable(r.table)
			}
			r.have = map[int]entry{}
			for k, e := range r.want {
				if strings.HasPrefix(e.verdict.chain, chainAllow) && e.verdict.allow == nil {
					r.want[k] = entry{bound: e.bound}
				}
			}
		}
		r.conn.AddTable(r.table)
		slots, policy, seen := r.slotSet(), r.policyMap(), r.connSet()
		for _, s := range []*nftables.Set{slots, policy, seen} {
			s.ID = r.nextID()
			if err := r.conn.AddSet(s, nil); err != nil {
				return err
			}
		}
		denySet, err := r.anonymous(r.deny)
		if err != nil {
			return err
		}
		chains := r.chains(slots, policy, seen, denySet)
		for _, c := range chains {
			c.Chain.Table = r.table
			r.conn.AddChain(c.Chain)
			r.conn.FlushChain(c.Chain)
		}
		for _, c := range chains {
			for _, rule := range c.rules {
				r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: c.Chain, Exprs: rule})
			}
		}
		return r.write(slices.Collect(maps.Keys(r.union())))
	})
}

func (r *ruleset) union() map[int]entry {
	all := maps.Clone(r.have)
	maps.Copy(all, r.want)
	return all
}

type chain struct {
	*nftables.Chain
	rules [][]expr.Any
}

// chains is the table, top to bottom in the order a packet meets it. Packets of other links leave each base chain at once.
func (r *ruleset) chains(slots, policy, seen, deny *nftables.Set) []chain {
	open := nftables.ChainPolicyAccept // for everybody else's packets; those of sandboxes never reach a policy
	base := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, at nftables.ChainPriority, rules ...[]expr.Any) chain {
		return chain{&nftables.Chain{Name: name, Type: kind, Hooknum: hook, Priority: &at, Policy: &open}, rules}
	}
	filter := nftables.ChainTypeFilter
	raw, mangle := *nftables.ChainPriorityRaw, *nftables.ChainPriorityMangle
	plain, sourceNAT := *nftables.ChainPriorityFilter, *nftables.ChainPriorityNATSource
	dnsQuery := func(proto byte) []expr.Any {
		return when(addrIs(offsetDestination, r.dns), port(proto, offsetDestPort, dnsPort))
	}
	return []chain{
		// The verdicts first: rules may only name chains that exist.
		{&nftables.Chain{Name: chainOpen}, [][]expr.Any{accept}},
		{&nftables.Chain{Name: chainBlocked}, [][]expr.Any{drop}},
		{&nftables.Chain{Name: "deny"}, [][]expr.Any{
			when(notUnicast(), drop),
			when(destIn(deny), drop),
		}},
		// Forged sources and IPv6 end before connection tracking. Queries to the resolver are not tracked: they would fill
		// the host's table.
		base("spoof", filter, nftables.ChainHookPrerouting, raw,
			when(notFromLinks(r.links), goBack),
			when(family(expr.CmpOpNeq, unix.NFPROTO_IPV4), drop),
			when(unbound(slots), drop),
			when(dnsQuery(unix.IPPROTO_UDP), notrack),
		),
		// Destinations are judged before a port forwarding of the host can rewrite them, and again after.
		base("before", filter, nftables.ChainHookPrerouting, mangle,
			when(notFromLinks(r.links), goBack),
			when(replies(), accept),
			when(dnsQuery(unix.IPPROTO_UDP), accept),
			when(dnsQuery(unix.IPPROTO_TCP), accept),
			verdictOf(expr.VerdictJump, "deny"),
		),
		{&nftables.Chain{Name: "tohost"}, [][]expr.Any{
			when(family(expr.CmpOpNeq, unix.NFPROTO_IPV4), drop),
			when(replies(), accept), // the host opened it
			when(dnsQuery(unix.IPPROTO_UDP), accept),
			when(dnsQuery(unix.IPPROTO_TCP), tooMany(seen, connsPerSlot), drop),
			when(dnsQuery(unix.IPPROTO_TCP), accept),
			drop,
		}},
		base("input", filter, nftables.ChainHookInput, plain,
			when(fromLinks(r.links), verdictOf(expr.VerdictGoto, "tohost")),
			when(addrIs(offsetDestination, r.dns), notFromLinks("lo\x00"), drop),
		),
		{&nftables.Chain{Name: "outward"}, [][]expr.Any{
			when(family(expr.CmpOpNeq, unix.NFPROTO_IPV4), drop),
			when(toLinks(linksOfAll), drop),
			when(ctState(expr.CtStateBitINVALID), drop), // it would leave with its inner address
			verdictOf(expr.VerdictJump, "deny"),
			when(port(unix.IPPROTO_TCP, offsetDestPort, smtpPort), drop),
			when(tooMany(seen, connsPerSlot), drop),
			bySource(policy),
			drop,
		}},
		{&nftables.Chain{Name: "inward"}, [][]expr.Any{
			when(replies(), accept),
			drop,
		}},
		base("forward", filter, nftables.ChainHookForward, plain,
			when(fromLinks(r.links), verdictOf(expr.VerdictGoto, "outward")),
			when(toLinks(r.links), verdictOf(expr.VerdictGoto, "inward")),
		),
		base("answers", filter, nftables.ChainHookOutput, raw,
			when(toLinks(r.links), addrIs(offsetSource, r.dns), port(unix.IPPROTO_UDP, offsetSourcePort, dnsPort), notrack),
		),
		base("masquerade", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, sourceNAT,
			when(sourceIn(r.subnet), notToLinks(linksOfAll), notToLinks("lo\x00"), []expr.Any{&expr.Masq{}}),
		),
	}
}

func (r *ruleset) anonymous(of ranges) (*nftables.Set, error) {
	s := &nftables.Set{Table: r.table, ID: r.nextID(), Name: "__set%d", Anonymous: true, Constant: true, Interval: true,
		KeyType: nftables.TypeIPAddr}
	return s, r.conn.AddSet(s, of.elements())
}

// nextID names a set within a transaction. The library's own numbers come from an unguarded global.
func (r *ruleset) nextID() uint32 {
	r.ids++
	return r.ids
}

func (r *ruleset) addrOf(slot int) netip.Addr { return slotAddr(r.subnet, slot) }

func (r *ruleset) binding(slot int) nftables.SetElement {
	key := make([]byte, unix.IFNAMSIZ, unix.IFNAMSIZ+4)
	copy(key, r.links+strconv.Itoa(slot))
	return nftables.SetElement{Key: append(key, r.addrOf(slot).AsSlice()...)}
}

// write adds to the transaction what takes the slots from have to want: removals first, so that one transaction can
// replace.
func (r *ruleset) write(slots []int) error {
	var unbind, bind, unmap, mapTo []nftables.SetElement
	var gone []string
	var allow []verdict
	for _, k := range slots {
		have, want := r.have[k], r.want[k]
		if have.stray {
			gone = append(gone, chainAllow+strconv.Itoa(k))
		}
		key := r.addrOf(k).AsSlice()
		switch {
		case have.bound && !want.bound:
			unbind = append(unbind, r.binding(k))
		case want.bound && !have.bound:
			bind = append(bind, r.binding(k))
		}
		if same(have.verdict, want.verdict) {
			continue
		}
		if c := have.verdict.chain; c != "" {
			unmap = append(unmap, nftables.SetElement{Key: key})
			if strings.HasPrefix(c, chainAllow) {
				gone = append(gone, c)
			}
		}
		if c := want.verdict.chain; c != "" {
			mapTo = append(mapTo, nftables.SetElement{Key: key, VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: c}})
			if want.verdict.allow != nil {
				allow = append(allow, want.verdict)
			}
		}
	}
	for _, step := range []struct {
		set  *nftables.Set
		list []nftables.SetElement
		do   func(*nftables.Set, []nftables.SetElement) error
	}{{r.slotSet(), unbind, r.conn.SetDeleteElements}, {r.policyMap(), unmap, r.conn.SetDeleteElements}, {r.slotSet(), bind, r.conn.SetAddElements}} {
		for part := range slices.Chunk(step.list, elementsPerMsg) {
			if err := step.do(step.set, part); err != nil {
				return err
			}
		}
	}
	for _, name := range gone {
		c := &nftables.Chain{Table: r.table, Name: name}
		r.conn.FlushChain(c)
		r.conn.DelChain(c)
	}
	for _, v := range allow {
		c := r.conn.AddChain(&nftables.Chain{Table: r.table, Name: v.chain})
		set, err := r.anonymous(v.allow)
		if err != nil {
			return err
		}
		r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: c, Exprs: when(destIn(set), accept)})
		r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: c, Exprs: drop})
	}
	for part := range slices.Chunk(mapTo, elementsPerMsg) {
		if err := r.conn.SetAddElements(r.policyMap(), part); err != nil {
			return err
		}
	}
	return nil
}

// same reports whether two verdicts need no change. An allow chain that was found in the kernel has unknown contents.
func same(a, b verdict) bool {
	return a.chain == b.chain && slices.Equal(a.allow, b.allow)
}

// change gives slots new entries; when it returns nil they are in force, otherwise nothing changed.
func (r *ruleset) change(entries map[int]entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	before := map[int]entry{}
	slots := slices.Collect(maps.Keys(entries))
	for k, e := range entries {
		before[k] = r.want[k]
		r.want[k] = e
	}
	if err := r.transact(func() error { return r.write(slots) }); err != nil {
		maps.Copy(r.want, before)
		return err
	}
	for k, e := range entries {
		if e.bound || e.verdict.chain != "" {
			r.have[k] = e
			continue
		}
		delete(r.have, k)
		delete(r.want, k)
	}
	return nil
}

// entry returns what is in force for a slot.
func (r *ruleset) entry(slot int) entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.have[slot]
}

// slots returns the numbers that the table knows.
func (r *ruleset) slots() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.have))
}

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
	known := r.have
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
	case !maps.EqualFunc(r.have, known, func(a, b entry) bool {
		return a.bound == b.bound && a.stray == b.stray && a.verdict.chain == b.verdict.chain
	}):
		found = "elements"
	default:
		r.have = known // the contents of allow chains included, which load does not read
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

// removeTable deletes everything of an instance from nftables.
func removeTable(instance string) error {
	conn, err := nftables.New()
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "nftables does not answer")
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return errs.Wrap(err, errs.Unavailable, "nftables does not answer")
	}
	for _, t := range tables {
		if t.Name == tableName(instance) {
			conn.DelTable(t)
		}
	}
	if err := conn.Flush(); err != nil {
		return errs.Wrap(err, errs.Unavailable, "%s", fmt.Sprintf("the nftables table %s could not be removed", tableName(instance)))
	}
	return nil
}
