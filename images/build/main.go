// Command build puts images into a store ahead of time, so that a first start of Dugout has nothing to build:
//
//	go run ./images/build -store /var/lib/dugout/images [NAME]...
//
// Without a name it builds every recipe of the package images. It prints the root filesystem of each, and the progress to
// standard error. What the store has already is not built again. Needs root.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/dugout-dev/dugout/images"
	"github.com/dugout-dev/dugout/internal/image"
)

func main() {
	dir := flag.String("store", "", "directory of the image store")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "build:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string, names []string) error {
	if dir == "" {
		return fmt.Errorf("-store names no directory")
	}
	recipes, err := image.LoadRecipes(images.Recipes)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		recipes = recipes[:0]
		for _, name := range names {
			r, err := image.LoadRecipe(images.Recipes, name)
			if err != nil {
				return err
			}
			recipes = append(recipes, r)
		}
	}
	store, err := image.Open(dir, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	for _, r := range recipes {
		step := ""
		img, err := store.Build(ctx, r, func(p image.Progress) {
			if p.Step != step {
				step = p.Step
				fmt.Fprintf(os.Stderr, "%s %3d%% %6s %s\n", p.Image, p.Percent, p.Elapsed.Round(100*time.Millisecond), p.Step)
			}
		})
		if err != nil {
			return err
		}
		fmt.Printf("%s %d MB %s\n", img.Ref, img.SizeBytes/1e6, img.Rootfs)
	}
	return nil
}
