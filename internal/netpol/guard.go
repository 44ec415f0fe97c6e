package netpol

import (
	"context"
	"slices"
	"time"

	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	guardEvery = time.Minute // the rules are compared also when nothing was announced
	guardQuiet = 5 * time.Millisecond
)

// guard puts the rules back when another program removes or changes them; reloading a host's firewall commonly flushes
// every table. It hears of changes as they happen, so the gap is some milliseconds.
func (n *Net) guard(ctx context.Context) {
	changed := make(chan struct{}, 1)
	conn, err := mdnetlink.Dial(unix.NETLINK_NETFILTER, &mdnetlink.Config{Groups: 1 << (unix.NFNLGRP_NFTABLES - 1)})
	if err != nil {
		n.log.WarnContext(ctx, "changes of the firewall are not announced, looking from time to time", "error", err)
	} else {
		n.work.Add(1)
		go func() { defer n.work.Done(); listen(ctx, conn, n.rules.foreign, changed) }()
		defer conn.Close()
	}
	tick := time.NewTicker(guardEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-changed:
		}
		found, err := n.rules.mend()
		switch {
		case err != nil:
			n.log.ErrorContext(ctx, "the network rules could not be put back", "error", err)
			select { // without this a persistent failure would spin on its own events
			case <-ctx.Done():
			case <-time.After(retryAfter):
			}
			select {
			case changed <- struct{}{}:
			default:
			}
		case found != "":
			n.log.WarnContext(ctx, "another program changed the network rules, put them back", "found", found)
		}
	}
}

// listen turns the announcements of transactions that are not ours into at most one wake-up at a time.
func listen(ctx context.Context, conn *mdnetlink.Conn, foreign func(mdnetlink.Message) bool, changed chan<- struct{}) {
	for {
		msgs, err := conn.Receive()
		if ctx.Err() != nil {
			return
		}
		if err == nil && !slices.ContainsFunc(msgs, foreign) {
			continue
		}
		if err != nil { // the socket overflowed: something happened; or it is broken: do not spin
			select {
			case <-ctx.Done():
				return
			case <-time.After(guardQuiet):
			}
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// foreign reports whether a message announces a change of our table that is not ours.
func (r *ruleset) foreign(m mdnetlink.Message) bool {
	const table = 1 // the first attribute of every announcement but that of a generation
	kind := int(m.Header.Type)
	if kind>>8 != unix.NFNL_SUBSYS_NFTABLES || kind&0xff == unix.NFT_MSG_NEWGEN || m.Header.PID == r.port.Load() || len(m.Data) < 4 {
		return false
	}
	ad, err := mdnetlink.NewAttributeDecoder(m.Data[4:])
	for err == nil && ad.Next() {
		if ad.Type() == table {
			return ad.String() == r.table.Name
		}
	}
	return false
}
