package image_test

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/dugout-dev/dugout/internal/image"
)

func TestAptSources(t *testing.T) {
	const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
	cases := map[string]struct {
		files map[string]string
		want  []string
	}{
		"none": {},
		"stanzas": {
			files: map[string]string{"sources.list.d/debian.sources": "# mirror\nTypes: deb deb-src\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates trixie\n" +
				"Components: main\n contrib\nSigned-By: " + keyring + "\n\nTypes: deb\nURIs: https://mirror.example/security\nSuites: bookworm-security\nComponents: main\n"},
			want: []string{
				"deb [signed-by=" + keyring + "] http://mirror.example/debian bookworm main contrib",
				"deb [signed-by=" + keyring + "] http://mirror.example/debian bookworm-updates main contrib",
				"deb https://mirror.example/security bookworm-security main",
			},
		},
		"lines": {
			files: map[string]string{"sources.list": "deb http://mirror.example/debian bookworm main # here\n#deb http://x.example bookworm main\n" +
				"deb-src http://mirror.example/debian bookworm main\ndeb [ arch=amd64 trusted=yes ] http://lan.example/debian bookworm main\n" +
				"deb http://mirror.example/debian bookworm main\n"},
			want: []string{"deb http://mirror.example/debian bookworm main", "deb [trusted=yes] http://lan.example/debian bookworm main"},
		},
		"password is kept for the build": {
			files: map[string]string{"sources.list": "deb https://bob:s3cret@mirror.example/debian bookworm main\n"},
			want:  []string{"deb https://bob:s3cret@mirror.example/debian bookworm main"},
		},
		"other vendors, other suites, other ways": {
			files: map[string]string{
				"sources.list": "deb https://vendor.example/linux/debian bookworm stable\ndeb cdrom:[Debian] bookworm main\ndeb file:/srv/debian bookworm main\n" +
					"deb http://mirror.example/debian trixie main\ndeb http://mirror.example/debian bookworm-backports main\n" +
					"deb [signed-by=/usr/share/keyrings/vendor.gpg] http://vendor.example/debian bookworm main\ndeb\ndeb x\n",
				"sources.list.d/off.sources":      "Enabled: no\nTypes: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n",
				"sources.list.d/embedded.sources": "Types: deb\nURIs: http://vendor.example/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n",
				"sources.list.d/ignored.txt":      "deb http://mirror.example/debian bookworm main\n",
			},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			etc := fstest.MapFS{}
			for file, text := range c.files {
				etc[file] = &fstest.MapFile{Data: []byte(text)}
			}
			if diff := cmp.Diff(c.want, image.AptSources(etc, "bookworm")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWithoutPasswords(t *testing.T) {
	in := "deb [trusted=yes] https://bob:s3cret@mirror.example/debian bookworm main\n\ndeb http://mirror.example/debian bookworm main"
	want := "deb [trusted=yes] https://mirror.example/debian bookworm main\ndeb http://mirror.example/debian bookworm main\n"
	if diff := cmp.Diff(want, image.WithoutPasswords(in)); diff != "" {
		t.Error(diff)
	}
}

func FuzzAptSources(f *testing.F) {
	f.Add("deb [signed-by=/x] http://mirror.example/debian bookworm main", "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n")
	f.Add("deb [", " folded\nTypes: deb\n\x00")
	f.Fuzz(func(t *testing.T, list, stanzas string) {
		etc := fstest.MapFS{
			"sources.list":              {Data: []byte(list)},
			"sources.list.d/it.sources": {Data: []byte(stanzas)},
		}
		for _, line := range image.AptSources(etc, "bookworm") {
			for _, r := range line {
				if r == '\n' {
					t.Fatalf("one entry became two lines: %q", line)
				}
			}
		}
	})
}
