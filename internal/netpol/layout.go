package netpol

import (
	"maps"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

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
			when(repliesAndErrors(), accept),
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
