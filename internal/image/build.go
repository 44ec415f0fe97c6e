package image

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dugout-dev/dugout/internal/errs"
)

// Progress is a report of a build.
type Progress struct {
	Image   string        // the recipe's name
	Step    string        // what it does now, e.g. "debian"
	Detail  string        // the last line that the step's tool wrote, printable and short; may be empty
	Percent int           // 0–100 of the whole build, estimated from the usual weight of the steps
	Elapsed time.Duration // since the build started
}

// flight is a build under way that any number of callers wait for.
type flight struct {
	done   chan struct{}      // closed when the build's goroutine has nothing left to do
	cancel context.CancelFunc // calls the build off
	img    Image              // valid after done
	err    error              // valid after done

	// guarded by Store.mu
	waiters   map[chan Progress]struct{}
	latest    Progress // told to a waiter that joins, so that it does not start in the dark; Image is empty before the first
	abandoned bool     // nobody waited any more: it is being called off and takes no new waiter
}

// Build returns the image of recipe, building it if the store does not have it. It needs root, the tools that [Missing]
// asks for, and the network that the host's package clients are set up with.
//
// The image appears in the store whole or not at all. Calls for the same recipe share one build, in other processes too.
// A build goes on while anyone waits for it; when the last caller's ctx ends it is called off, and Build returns after
// everything it made is gone. progress may be nil; it is called by the calling goroutine, and one that is slow misses reports.
//
// Errors: Invalid (recipe), Denied (not root), Unavailable (a tool is missing, or a tool failed: the cause has its last
// words), Exhausted (no disk space), Timeout or the context's own cause when called off.
func (s *Store) Build(ctx context.Context, recipe Recipe, progress func(Progress)) (Image, error) {
	if err := recipe.Validate(); err != nil {
		return Image{}, err
	}
	digest := recipe.Digest()
	if img, ok := s.built(recipe.Name, digest); ok {
		return img, nil
	}
	if os.Geteuid() != 0 {
		return Image{}, errs.New(errs.Denied, "building the image %s needs root", recipe.Name)
	}
	if missing := Missing(recipe); len(missing) > 0 {
		return Image{}, errs.New(errs.Unavailable, "building the image %s needs tools that this host lacks: %s", recipe.Name, joinAnd(missing))
	}
	reports := make(chan Progress, 64)
	for {
		if err := ctx.Err(); err != nil {
			return Image{}, calledOff(err, recipe.Name)
		}
		f, joined := s.join(ctx, recipe, digest, reports)
		if joined {
			return s.wait(ctx, f, recipe.Name, reports, progress)
		}
		select { // a build of this recipe is being called off: after it, start anew
		case <-f.done:
		case <-ctx.Done():
		}
	}
}

// join adds a waiter to the build of digest, which it starts when there is none. False: that build takes no waiters.
func (s *Store) join(ctx context.Context, recipe Recipe, digest string, reports chan Progress) (*flight, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.flights[digest]
	if f != nil && f.abandoned {
		return f, false
	}
	if f == nil {
		buildCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{done: make(chan struct{}), cancel: cancel, waiters: map[chan Progress]struct{}{}}
		s.flights[digest] = f
		go s.fly(buildCtx, f, recipe, digest)
	}
	f.waiters[reports] = struct{}{}
	if f.latest.Image != "" {
		reports <- f.latest // has room: nothing was sent to it yet
	}
	return f, true
}

// wait hands f's reports to progress until f is done or ctx ends.
func (s *Store) wait(ctx context.Context, f *flight, name string, reports chan Progress, progress func(Progress)) (Image, error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	for {
		select {
		case p := <-reports:
			progress(p)
		case <-f.done:
			for len(reports) > 0 {
				progress(<-reports)
			}
			return f.img, f.err
		case <-ctx.Done():
			s.mu.Lock()
			delete(f.waiters, reports)
			last := len(f.waiters) == 0
			f.abandoned = f.abandoned || last
			s.mu.Unlock()
			if last {
				f.cancel()
				<-f.done
				if f.err == nil { // it was quicker than the cancellation
					return f.img, nil
				}
			}
			return Image{}, calledOff(ctx.Err(), name)
		}
	}
}

func calledOff(cause error, name string) error {
	return errs.Wrap(cause, errs.Timeout, "the build of the image %s was called off", name)
}

// fly owns one build, from the lock to the last clean-up.
func (s *Store) fly(ctx context.Context, f *flight, recipe Recipe, digest string) {
	start := time.Now()
	report := func(p Progress) {
		p.Image, p.Elapsed = recipe.Name, time.Since(start)
		s.mu.Lock()
		defer s.mu.Unlock()
		f.latest = p
		for w := range f.waiters {
			select {
			case w <- p:
			default: // a slow listener misses this one
			}
		}
	}
	f.img, f.err = s.build(ctx, recipe, digest, report)
	f.cancel()
	s.mu.Lock()
	delete(s.flights, digest)
	s.mu.Unlock()
	close(f.done)
}

// build makes the image in tmp under its lock and moves it to its place.
func (s *Store) build(ctx context.Context, recipe Recipe, digest string, report func(Progress)) (img Image, err error) {
	work := filepath.Join(s.dir, tmpDir, buildPrefix+digest)
	lock, err := waitLock(ctx, work+lockSuffix, func() { report(Progress{Step: "wait", Detail: "another process is building it"}) })
	if err != nil {
		if ctx.Err() != nil {
			return Image{}, calledOff(ctx.Err(), recipe.Name)
		}
		return Image{}, errs.Wrap(err, errs.Internal, "the lock for building the image %s cannot be taken", recipe.Name)
	}
	defer lock.release()
	if img, ok := s.built(recipe.Name, digest); ok {
		return img, nil
	}
	defer func() {
		// Also after success: what the rename left is then nothing. Twice: a process that was killed may have been in
		// the middle of making a file.
		if rmErr := os.RemoveAll(work); rmErr != nil {
			if rmErr = os.RemoveAll(work); rmErr != nil {
				s.log.ErrorContext(ctx, "image build cannot be removed", "path", work, "error", rmErr)
			}
		}
	}()
	if err := os.RemoveAll(work); err != nil {
		return Image{}, errs.Wrap(err, errs.Internal, "an earlier build of the image %s cannot be removed", recipe.Name)
	}
	if err := os.Mkdir(work, 0o700); err != nil {
		return Image{}, errs.Wrap(err, errs.Internal, "the build folder of the image %s cannot be made", recipe.Name)
	}
	if err := checkSpace(s.dir, recipe); err != nil {
		return Image{}, err
	}
	start := time.Now()
	size, err := newBuilder(recipe, work, s.log, report).run(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return Image{}, calledOff(ctx.Err(), recipe.Name)
		}
		return Image{}, err
	}
	img, err = s.publish(recipe, digest, work, size)
	if err != nil {
		return Image{}, err
	}
	s.log.InfoContext(ctx, "image built", "name", img.Name, "digest", img.Digest, "bytes", img.SizeBytes, "duration", time.Since(start))
	return img, nil
}

// publish writes the description beside the root filesystem and renames both into their place, in one step.
func (s *Store) publish(recipe Recipe, digest, work string, size int64) (Image, error) {
	img := Image{
		Name: recipe.Name, Ref: recipe.Ref, Digest: digest, About: recipe.About,
		User: recipe.User, Workdir: recipe.Workdir, Env: recipe.Env, Entrypoint: recipe.Entrypoint,
		SizeBytes: size, Created: time.Now().UTC().Truncate(time.Millisecond),
	}
	if img.Env == nil {
		img.Env = map[string]string{}
	}
	if img.Entrypoint == nil {
		img.Entrypoint = []string{}
	}
	dir := s.imageDir(img.Name, img.Digest)
	err := errors.Join(
		writeImage(work, img),
		os.MkdirAll(filepath.Dir(dir), 0o700),
		os.RemoveAll(dir), // only a damaged one can be there: built said no, and we hold the lock
	)
	if err == nil {
		err = os.Rename(work, dir)
	}
	if err != nil {
		return Image{}, errs.Wrap(err, errs.Internal, "the image %s cannot be put into the store", recipe.Name)
	}
	img.Rootfs = filepath.Join(dir, rootfsDir)
	return img, nil
}

// joinAnd lists words as people do.
func joinAnd(words []string) string {
	switch n := len(words); n {
	case 0:
		return ""
	case 1:
		return words[0]
	default:
		s := words[0]
		for _, w := range words[1 : n-1] {
			s += ", " + w
		}
		return fmt.Sprintf("%s and %s", s, words[n-1])
	}
}
