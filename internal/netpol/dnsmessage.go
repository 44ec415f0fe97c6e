package netpol

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	maxQuery    = 4096  // bytes of a question from a sandbox; real ones are below 512
	maxAnswer   = 65535 // bytes of an answer over TCP
	plainUDP    = 512   // bytes a client takes that says nothing
	safeUDP     = 1232  // bytes that never fragment
	classAny    = dnsmessage.ClassANY
	typeIXFR    = dnsmessage.Type(251)
	ednsSection = dnsmessage.TypeOPT
)

// query is what a sandbox asked, read and rebuilt: nothing else of its packet goes any further.
type query struct {
	id       uint16
	header   dnsmessage.Header
	question dnsmessage.Question
	edns     bool
	dnssec   bool
	size     int // bytes of a UDP answer the client takes
}

// parseQuery reads a question. It returns the code to answer with when the question is not one to forward; ok is false when
// there is nothing that could be answered.
func parseQuery(msg []byte) (q query, code dnsmessage.RCode, ok bool) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || h.Response {
		return q, 0, false
	}
	q.id, q.header, q.size = h.ID, h, plainUDP
	if h.OpCode != 0 {
		return q, dnsmessage.RCodeNotImplemented, true
	}
	if len(msg) > maxQuery || binary.BigEndian.Uint16(msg[4:]) != 1 {
		return q, dnsmessage.RCodeFormatError, true
	}
	if q.question, err = p.Question(); err != nil {
		return query{id: h.ID, header: h, size: plainUDP}, dnsmessage.RCodeFormatError, true
	}
	if err := p.SkipAllQuestions(); err != nil {
		return q, dnsmessage.RCodeFormatError, true
	}
	if err := q.readEDNS(&p); err != nil {
		return q, dnsmessage.RCodeFormatError, true
	}
	switch t := q.question.Type; {
	case q.question.Class != dnsmessage.ClassINET && q.question.Class != classAny:
		return q, dnsmessage.RCodeRefused, true
	case t == dnsmessage.TypeAXFR || t == typeIXFR || t == ednsSection:
		return q, dnsmessage.RCodeRefused, true
	}
	return q, dnsmessage.RCodeSuccess, true
}

func (q *query) readEDNS(p *dnsmessage.Parser) error {
	if err := p.SkipAllAnswers(); err != nil {
		return err
	}
	if err := p.SkipAllAuthorities(); err != nil {
		return err
	}
	for {
		h, err := p.AdditionalHeader()
		if err == dnsmessage.ErrSectionDone { //nolint:errorlint // the parser returns this very value
			return nil
		}
		if err != nil {
			return err
		}
		if h.Type == ednsSection {
			q.edns, q.dnssec = true, h.DNSSECAllowed()
			q.size = min(max(int(h.Class), plainUDP), safeUDP)
		}
		if err := p.SkipAdditional(); err != nil {
			return err
		}
	}
}

// forward returns the question as it goes upstream.
func (q query) forward(id uint16) ([]byte, error) {
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true, CheckingDisabled: q.header.CheckingDisabled, AuthenticData: q.header.AuthenticData})
	b.EnableCompression()
	if err := b.StartQuestions(); err != nil {
		return nil, err
	}
	if err := b.Question(q.question); err != nil {
		return nil, err
	}
	if q.edns {
		if err := b.StartAdditionals(); err != nil {
			return nil, err
		}
		var h dnsmessage.ResourceHeader
		if err := h.SetEDNS0(safeUDP, dnsmessage.RCodeSuccess, q.dnssec); err != nil {
			return nil, err
		}
		if err := b.OPTResource(h, dnsmessage.OPTResource{}); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

// answer builds an answer of our own with the records given.
func (q query) answer(code dnsmessage.RCode, truncated bool, records []dnsmessage.Resource) ([]byte, error) {
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: q.id, Response: true, OpCode: q.header.OpCode, RCode: code,
		RecursionDesired: q.header.RecursionDesired, RecursionAvailable: true, Truncated: truncated}, Answers: records}
	if q.question.Name.Length > 0 {
		m.Questions = []dnsmessage.Question{q.question}
	}
	return m.Pack()
}

// answers reports whether msg is an answer to the question that was sent with id.
func (q query) answeredBy(msg []byte, id uint16) (dnsmessage.Header, bool) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil || !h.Response || h.ID != id || h.OpCode != 0 || binary.BigEndian.Uint16(msg[4:]) != 1 {
		return h, false
	}
	asked, err := p.Question()
	return h, err == nil && asked.Type == q.question.Type && asked.Class == q.question.Class && sameName(asked.Name, q.question.Name)
}

func sameName(a, b dnsmessage.Name) bool {
	if a.Length != b.Length {
		return false
	}
	lower := func(c byte) byte {
		if c >= 'A' && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}
	for i := range a.Length {
		if lower(a.Data[i]) != lower(b.Data[i]) {
			return false
		}
	}
	return true
}

// screen returns what the sandbox gets for an answer of an upstream. An answer with an address that sandboxes must not
// reach loses it, whatever else the packet filter would do: a name that changes from a public address to a private one is
// the first half of an attack on the network around the host. When no address is left the name does not exist. Addresses
// that the operator opened with AllowPrivate pass. An answer that cannot be read is an error.
func (q query) screen(msg []byte, deny ranges) ([]byte, error) {
	var p dnsmessage.Parser
	h, err := p.Start(msg)
	if err != nil {
		return nil, err
	}
	if err := p.SkipAllQuestions(); err != nil {
		return nil, err
	}
	var kept []dnsmessage.Resource
	addresses, dropped := 0, false
	for section := range 3 {
		next, skip := section3(&p, section)
		for {
			rh, err := next()
			if err == dnsmessage.ErrSectionDone { //nolint:errorlint // the parser returns this very value
				break
			}
			if err != nil {
				return nil, err
			}
			body, err := readAddress(&p, rh, skip)
			if err != nil {
				return nil, err
			}
			a, isAddress := addressOf(body)
			switch {
			case isAddress && deny.private(a):
				dropped = true
			case section == 0 && body != nil:
				kept = append(kept, dnsmessage.Resource{Header: rh, Body: body})
				if isAddress {
					addresses++
				}
			}
		}
	}
	if !dropped {
		out := append([]byte(nil), msg...)
		binary.BigEndian.PutUint16(out, q.id)
		return out, nil
	}
	if addresses == 0 {
		return q.answer(dnsmessage.RCodeNameError, false, nil)
	}
	return q.answer(h.RCode, false, kept)
}

func section3(p *dnsmessage.Parser, i int) (next func() (dnsmessage.ResourceHeader, error), skip func() error) {
	switch i {
	case 0:
		return p.AnswerHeader, p.SkipAnswer
	case 1:
		return p.AuthorityHeader, p.SkipAuthority
	}
	return p.AdditionalHeader, p.SkipAdditional
}

// readAddress reads the records that name an address or lead to one; others are skipped and nil.
func readAddress(p *dnsmessage.Parser, h dnsmessage.ResourceHeader, skip func() error) (dnsmessage.ResourceBody, error) {
	switch h.Type {
	case dnsmessage.TypeA:
		r, err := p.AResource()
		return &r, err
	case dnsmessage.TypeAAAA:
		r, err := p.AAAAResource()
		return &r, err
	case dnsmessage.TypeCNAME:
		r, err := p.CNAMEResource()
		return &r, err
	}
	return nil, skip()
}

func addressOf(b dnsmessage.ResourceBody) (netip.Addr, bool) {
	switch r := b.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(r.A), true
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(r.AAAA), true
	}
	return netip.Addr{}, false
}
