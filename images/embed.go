// Package images holds the recipes of the snapshots that Dugout builds by itself, without an image registry.
// What the fields mean is documented at image.Recipe.
package images

import "embed"

// Recipes has one YAML file per recipe, named <name>.yaml.
//
//go:embed *.yaml
var Recipes embed.FS
