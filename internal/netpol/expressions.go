package netpol

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The pieces rules are made of. Each returns expressions that end the rule when they do not match.

func when(parts ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

// fromLinks matches packets that came in by a link whose name begins with prefix; toLinks those that leave by one.
func fromLinks(prefix string) []expr.Any { return linkName(expr.MetaKeyIIFNAME, expr.CmpOpEq, prefix) }
func toLinks(prefix string) []expr.Any   { return linkName(expr.MetaKeyOIFNAME, expr.CmpOpEq, prefix) }
func notFromLinks(prefix string) []expr.Any {
	return linkName(expr.MetaKeyIIFNAME, expr.CmpOpNeq, prefix)
}
func notToLinks(prefix string) []expr.Any {
	return linkName(expr.MetaKeyOIFNAME, expr.CmpOpNeq, prefix)
}

// A comparison shorter than the register compares the beginning only.
func linkName(key expr.MetaKey, op expr.CmpOp, prefix string) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: []byte(prefix)}}
}

func family(op expr.CmpOp, nfproto byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: []byte{nfproto}}}
}

const (
	offsetSource      = 12 // in the IPv4 header
	offsetDestination = 16
)

func loadAddr(offset, register uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}}
}

// addrIs matches IPv4 packets with exactly this address at offset.
func addrIs(offset uint32, a netip.Addr) []expr.Any {
	b := a.As4()
	return when(family(expr.CmpOpEq, unix.NFPROTO_IPV4), loadAddr(offset, 1),
		[]expr.Any{&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: b[:]}})
}

func sourceIn(p netip.Prefix) []expr.Any {
	b := p.Addr().As4()
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(uint64(1)<<(32-p.Bits())-1))
	return when(family(expr.CmpOpEq, unix.NFPROTO_IPV4), loadAddr(offsetSource, 1), []expr.Any{
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: b[:]}})
}

func proto(number byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{number}}}
}

const (
	offsetSourcePort = 0 // in the TCP and UDP headers
	offsetDestPort   = 2
)

func port(number byte, offset uint32, value uint16) []expr.Any {
	return when(proto(number), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, value)}})
}

func ctState(bits uint32) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)}}
}

// repliesAndErrors matches the answering direction of a connection that the other side opened, and ICMP errors about it.
func repliesAndErrors() []expr.Any {
	return answering(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
}

// replies leaves errors out: a sandbox could write one about a connection that is not its own.
func replies() []expr.Any { return answering(expr.CtStateBitESTABLISHED) }

func answering(states uint32) []expr.Any {
	const directionReply = 1
	return when(ctState(states), []expr.Any{
		&expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{directionReply}}})
}

// notUnicast matches destinations that this host owns, wherever they are configured, and broadcast and multicast.
func notUnicast() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_UNICAST)}}
}

func destIn(set *nftables.Set) []expr.Any {
	return when(loadAddr(offsetDestination, 1), []expr.Any{&expr.Lookup{SourceRegister: 1, SetName: set.Name, SetID: set.ID}})
}

// unbound matches packets whose link and source address are not those of one slot.
func unbound(slots *nftables.Set) []expr.Any {
	return when([]expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}}, loadAddr(offsetSource, 2),
		[]expr.Any{&expr.Lookup{SourceRegister: 1, SetName: slots.Name, SetID: slots.ID, Invert: true}})
}

// bySource goes on with the verdict that the map has for the source address.
func bySource(policy *nftables.Set) []expr.Any {
	return when(loadAddr(offsetSource, 1), []expr.Any{
		&expr.Lookup{SourceRegister: 1, DestRegister: 0, IsDestRegSet: true, SetName: policy.Name, SetID: policy.ID}})
}

// tooMany matches new connections of a source that has more than most of them.
func tooMany(seen *nftables.Set, most uint32) []expr.Any {
	return when(ctState(expr.CtStateBitNEW), loadAddr(offsetSource, 1), []expr.Any{
		&expr.Dynset{SrcRegKey: 1, SetName: seen.Name, SetID: seen.ID, Operation: uint32(unix.NFT_DYNSET_OP_ADD),
			Exprs: []expr.Any{&expr.Connlimit{Count: most, Flags: expr.NFT_CONNLIMIT_F_INV}}}})
}

func verdictOf(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}

var (
	accept  = verdictOf(expr.VerdictAccept, "")
	drop    = verdictOf(expr.VerdictDrop, "")
	goBack  = verdictOf(expr.VerdictReturn, "")
	notrack = []expr.Any{&expr.Notrack{}}
)

// elements of an interval set. Where a span reaches the last address there is no end to write.
func (r ranges) elements() []nftables.SetElement {
	var out []nftables.SetElement
	for _, s := range r {
		out = append(out, nftables.SetElement{Key: address(s.lo).AsSlice()})
		if s.hi != ^uint32(0) {
			out = append(out, nftables.SetElement{Key: address(s.hi + 1).AsSlice(), IntervalEnd: true})
		}
	}
	return out
}
