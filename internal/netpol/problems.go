package netpol

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Problems says, one line each, what on this host keeps sandboxes from working or from being protected, and what mends it.
// Our table can only deny: a packet that it accepts is still dropped by another firewall whose policy is to drop.
func (n *Net) Problems() []string {
	out := append([]string(nil), n.notes...)
	if p := n.dns.up.problem(); p != "" {
		out = append(out, p)
	}
	return append(out, Firewalls()...)
}

// Firewalls says, one line each, which other firewall of this host drops what sandboxes send, and the command that lets it
// pass. It needs no open Net and changes nothing.
func Firewalls() []string {
	out, err := foreignDrops()
	if err != nil {
		out = append(out, "the firewalls of this host could not be read: "+err.Error())
	}
	return append(out, legacyDrops()...)
}

// foreignDrops looks for tables whose forward or input chain drops by policy and that have no rule for our links.
func foreignDrops() ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, err
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, c := range chains {
		if c.Hooknum == nil || c.Policy == nil || *c.Policy != nftables.ChainPolicyDrop || strings.HasPrefix(c.Table.Name, tablePrefix) || c.Type != nftables.ChainTypeFilter {
			continue
		}
		if f := c.Table.Family; f != nftables.TableFamilyIPv4 && f != nftables.TableFamilyINet {
			continue
		}
		in, leaving := mentionsLinks(conn, c.Table, chains)
		where := fmt.Sprintf("%s %s %s", familyName(c.Table.Family), c.Table.Name, c.Name)
		switch {
		case *c.Hooknum == *nftables.ChainHookForward && !(in && leaving):
			out = append(out, fmt.Sprintf("the firewall chain %s drops what sandboxes send: run nft insert rule %s iifname %q accept; nft insert rule %s oifname %q accept", where, where, linksOfAll+"*", where, linksOfAll+"*"))
		case *c.Hooknum == *nftables.ChainHookInput && !in:
			out = append(out, fmt.Sprintf("the firewall chain %s drops name queries of sandboxes: run nft insert rule %s iifname %q meta l4proto { tcp, udp } th dport 53 accept", where, where, linksOfAll+"*"))
		}
	}
	return out, nil
}

func familyName(f nftables.TableFamily) string {
	if f == nftables.TableFamilyIPv4 {
		return "ip"
	}
	return "inet"
}

// mentionsLinks reports whether a rule of the table names our links as those a packet comes from and leaves by. What the
// rule does with them is the operator's word.
func mentionsLinks(conn *nftables.Conn, t *nftables.Table, chains []*nftables.Chain) (in, out bool) {
	for _, c := range chains {
		if c.Table.Name != t.Name || c.Table.Family != t.Family {
			continue
		}
		rules, err := conn.GetRules(t, c)
		if err != nil {
			continue // a chain that vanished meanwhile
		}
		for _, r := range rules {
			var key expr.MetaKey
			for _, e := range r.Exprs {
				switch e := e.(type) {
				case *expr.Meta:
					key = e.Key
				case *expr.Cmp:
					// "dg*" is compared without the NUL that ends a whole name; a bridge that is called dg-something is not ours.
					if e.Op == expr.CmpOpEq && bytes.HasPrefix(e.Data, []byte(linksOfAll)) && !bytes.Contains(e.Data, []byte{0}) {
						in = in || key == expr.MetaKeyIIFNAME
						out = out || key == expr.MetaKeyOIFNAME
					}
				}
			}
		}
	}
	return in, out
}

// legacyDrops does the same for the old iptables interface, which nftables does not show.
func legacyDrops() []string {
	names, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if err != nil || !bytes.Contains(names, []byte("filter\n")) {
		return nil
	}
	t, err := readLegacyFilter()
	if err != nil {
		return []string{"the rules of the old iptables could not be read: " + err.Error()}
	}
	var out []string
	in, leaving := t.mentionsLinks()
	if t.dropsByPolicy(unix.NF_INET_FORWARD) && !(in && leaving) {
		out = append(out, "the old iptables drops what sandboxes send: run iptables-legacy -I FORWARD -i "+linksOfAll+"+ -j ACCEPT; iptables-legacy -I FORWARD -o "+linksOfAll+"+ -j ACCEPT")
	}
	if t.dropsByPolicy(unix.NF_INET_LOCAL_IN) && !in {
		out = append(out, "the old iptables drops name queries of sandboxes: run iptables-legacy -I INPUT -i "+linksOfAll+"+ -p udp --dport 53 -j ACCEPT; iptables-legacy -I INPUT -i "+linksOfAll+"+ -p tcp --dport 53 -j ACCEPT")
	}
	return out
}

// The layout of struct ipt_getinfo, ipt_get_entries and ipt_entry of linux/netfilter_ipv4/ip_tables.h.
const (
	iptGetInfo       = 64
	iptGetEntries    = 65
	iptName          = 32
	iptInfoSize      = 84
	iptHooks         = 5
	iptUnderflow     = iptName + 4 + 4*iptHooks // of the policy of each hook
	iptEntries       = 40                       // where entries begin after the head
	iptInLink        = 16
	iptOutLink       = 32
	iptTargetOffset  = 88
	iptNextOffset    = 90
	iptEntrySize     = 112
	iptVerdictOffset = 32 // in a standard target
)

type legacyTable struct {
	underflow [iptHooks]uint32
	entries   []byte
}

func readLegacyFilter() (legacyTable, error) {
	var t legacyTable
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return t, err
	}
	defer unix.Close(fd)
	info := make([]byte, iptInfoSize)
	copy(info, "filter")
	if err := getsockopt(fd, iptGetInfo, info); err != nil {
		return t, err
	}
	for i := range t.underflow {
		t.underflow[i] = binary.NativeEndian.Uint32(info[iptUnderflow+4*i:])
	}
	size := binary.NativeEndian.Uint32(info[iptInfoSize-4:])
	const most = 64 << 20
	if size > most {
		return t, fmt.Errorf("they have %d bytes", size)
	}
	all := make([]byte, iptEntries+int(size))
	copy(all, "filter")
	binary.NativeEndian.PutUint32(all[iptName:], size)
	if err := getsockopt(fd, iptGetEntries, all); err != nil {
		return t, err
	}
	t.entries = all[iptEntries:]
	return t, nil
}

func getsockopt(fd, option int, buf []byte) error {
	size := uint32(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_IP, uintptr(option),
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(unsafe.Pointer(&size)), 0) //nolint:gosec // no wrapper takes a buffer of our own
	if errno != 0 {
		return errno
	}
	return nil
}

func (t legacyTable) dropsByPolicy(hook int) bool {
	at := int(t.underflow[hook])
	if at < 0 || at+iptEntrySize > len(t.entries) {
		return false
	}
	verdictAt := at + int(binary.NativeEndian.Uint16(t.entries[at+iptTargetOffset:])) + iptVerdictOffset
	if verdictAt+4 > len(t.entries) {
		return false
	}
	return int32(binary.NativeEndian.Uint32(t.entries[verdictAt:])) == -1 // drop; a verdict is written as -verdict-1
}

func (t legacyTable) mentionsLinks() (in, out bool) {
	for at := 0; at+iptEntrySize <= len(t.entries); {
		e := t.entries[at:]
		in = in || strings.HasPrefix(string(e[iptInLink:iptInLink+16]), linksOfAll)
		out = out || strings.HasPrefix(string(e[iptOutLink:iptOutLink+16]), linksOfAll)
		next := int(binary.NativeEndian.Uint16(e[iptNextOffset:]))
		if next < iptEntrySize {
			break
		}
		at += next
	}
	return in, out
}
