package oci

import (
	"encoding/hex"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The btrfs ioctls used here, from linux/btrfs.h. Numbers are the generic encoding: direction<<30 | size<<16 | 0x94<<8 | nr.
const (
	iocSubvolCreate = 0x5000940e // _IOW(0x94, 14, vol_args)
	iocSnapDestroy  = 0x5000940f // _IOW(0x94, 15, vol_args)
	iocInoLookup    = 0xd0009412 // _IOWR(0x94, 18, ino_lookup_args)
	iocFsInfo       = 0x8400941f // _IOR(0x94, 31, fs_info_args)
	iocQuotaCtl     = 0xc0109428 // _IOWR(0x94, 40, quota_ctl_args)
	iocQgroupCreate = 0x4010942a // _IOW(0x94, 42, qgroup_create_args)
	iocQgroupLimit  = 0x8030942b // _IOR(0x94, 43, qgroup_limit_args)
)

type btrfsVolArgs struct {
	fd   int64
	name [4088]byte
}

func btrfsIoctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

func btrfsSubvolCreate(parent *os.File, name string) error {
	var args btrfsVolArgs
	copy(args.name[:len(args.name)-1], name)
	return btrfsIoctl(parent, iocSubvolCreate, unsafe.Pointer(&args))
}

func btrfsSubvolDestroy(parent *os.File, name string) error {
	var args btrfsVolArgs
	copy(args.name[:len(args.name)-1], name)
	return btrfsIoctl(parent, iocSnapDestroy, unsafe.Pointer(&args))
}

// btrfsSubvolID returns the id of the subvolume that f lies in.
func btrfsSubvolID(f *os.File) (uint64, error) {
	var args struct {
		tree, object uint64
		name         [4080]byte
	}
	args.object = 256 // BTRFS_FIRST_FREE_OBJECTID: the subvolume's own root directory
	err := btrfsIoctl(f, iocInoLookup, unsafe.Pointer(&args))
	return args.tree, err
}

func btrfsUUID(f *os.File) (string, error) {
	var args [1024]byte
	if err := btrfsIoctl(f, iocFsInfo, unsafe.Pointer(&args)); err != nil {
		return "", err
	}
	h := hex.EncodeToString(args[16:32])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-"), nil
}

func btrfsQuotaEnable(f *os.File, simple bool) error {
	var args struct{ cmd, status uint64 }
	args.cmd = 1
	if simple {
		args.cmd = 4
	}
	return btrfsIoctl(f, iocQuotaCtl, unsafe.Pointer(&args))
}

func btrfsQgroupLimit(f *os.File, id, bytes uint64) error {
	var args struct{ id, flags, maxReferenced, maxExclusive, reservedReferenced, reservedExclusive uint64 }
	args.id, args.flags, args.maxReferenced = id, 1, bytes // BTRFS_QGROUP_LIMIT_MAX_RFER
	return btrfsIoctl(f, iocQgroupLimit, unsafe.Pointer(&args))
}

func btrfsQgroupRemove(f *os.File, id uint64) error {
	var args struct{ create, id uint64 }
	args.id = id
	return btrfsIoctl(f, iocQgroupCreate, unsafe.Pointer(&args))
}
