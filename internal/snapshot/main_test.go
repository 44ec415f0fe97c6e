package snapshot_test

import (
	"testing"

	"github.com/dugout-dev/dugout/internal/store/storetest"
)

func TestMain(m *testing.M) { storetest.Main(m) }
