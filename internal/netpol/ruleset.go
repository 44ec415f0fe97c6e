package netpol

import (
	"errors"
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

// tablePrefix begins the names of our tables, one for each installation on a host.
const tablePrefix = "dugout_"

func tableName(instance string) string { return tablePrefix + instance }

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
	r.port.Store(0)
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

// slots returns the numbers that the table knows.
func (r *ruleset) slots() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.have))
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
		return errs.Wrap(err, errs.Unavailable, "the nftables table %s could not be removed", tableName(instance))
	}
	return nil
}
