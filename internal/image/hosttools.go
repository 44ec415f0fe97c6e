package image

import (
	"fmt"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Missing names the programs that a build of r needs and this host lacks, each with the Debian package that brings it,
// e.g. "mmdebstrap (apt-get install mmdebstrap)". Empty: the build can start.
func Missing(r Recipe) []string {
	needs := []struct{ program, pkg string }{
		{"sh", "dash"},
		{"mount", "mount"},
		{"apt-get", "apt"},
		{"dpkg-deb", "dpkg"},
		{"chroot", "coreutils"},
		{"mmdebstrap", "mmdebstrap"},
	}
	if r.Debian.Variant == variantExtract && hostHasSuite(r.Debian.Suite) {
		needs = needs[:len(needs)-1] // apt alone does it
	}
	var missing []string
	for _, n := range needs {
		if _, err := exec.LookPath(n.program); err != nil {
			missing = append(missing, fmt.Sprintf("%s (apt-get install %s)", n.program, n.pkg))
		}
	}
	return missing
}

// checkSpace is an early, friendly failure; a disk that fills up later fails the tool that writes.
func checkSpace(dir string, r Recipe) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return errs.Wrap(err, errs.Internal, "the free space of %s cannot be read", dir)
	}
	free := int64(st.Bavail) * st.Bsize >> 20
	if free < r.DiskMB {
		return errs.New(errs.Exhausted, "building the image %s needs %d MiB of disk; %s has %d MiB left", r.Name, r.DiskMB, dir, free)
	}
	return nil
}
