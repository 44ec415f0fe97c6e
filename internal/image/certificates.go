package image

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const (
	imageBundle    = "etc/ssl/certs/ca-certificates.crt"
	maxBundleBytes = 8 << 20
)

// hostBundles are the places where a host has the authorities it trusts.
var hostBundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",
	"/etc/pki/tls/certs/ca-bundle.crt",
	"/etc/ssl/ca-bundle.pem",
	"/usr/local/share/ca-certificates/*.crt",
}

// addHostCertificates makes TLS work in the image as it does on the host, where a company's proxy or mirror may have a
// certificate that only its own authority vouches for. An image without Debian's ca-certificates is left as it is.
func (b *builder) addHostCertificates(ctx context.Context) error {
	if _, err := b.root.Stat("usr/sbin/update-ca-certificates"); err != nil {
		return nil
	}
	bundle, err := b.root.ReadFile(imageBundle)
	if err != nil {
		return fmt.Errorf("the image has ca-certificates, but no bundle: %w", err)
	}
	known := authorities(bundle)
	patterns := hostBundles
	if own := os.Getenv("SSL_CERT_FILE"); own != "" {
		patterns = append([]string{own}, patterns...)
	}
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			continue // SSL_CERT_FILE with a bracket in it
		}
		for _, file := range files {
			for sum, der := range authorities(readBounded(file)) {
				if _, ok := known[sum]; ok {
					continue
				}
				known[sum] = der
				name := fmt.Sprintf("usr/local/share/ca-certificates/host-%x.crt", sum[:8])
				text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
				if err := b.makeDir("usr/local/share/ca-certificates", 0o755); err != nil {
					return err
				}
				if err := b.writeFile(name, string(text), 0o644); err != nil {
					return err
				}
			}
		}
	}
	return b.inside(ctx, "", "update-ca-certificates")
}

// authorities returns the certificates of a PEM bundle that may sign others, by the hash of their DER form.
func authorities(bundle []byte) map[[32]byte][]byte {
	found := map[[32]byte][]byte{}
	for {
		var block *pem.Block
		if block, bundle = pem.Decode(bundle); block == nil {
			return found
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && cert.IsCA {
			found[sha256.Sum256(cert.Raw)] = cert.Raw
		}
	}
}

// readBounded returns the file's content, or nothing if it cannot be read or is too large to be a bundle.
func readBounded(name string) []byte {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBundleBytes+1))
	if err != nil || len(data) > maxBundleBytes {
		return nil
	}
	return data
}
