package netpol_test

const probeEnv = "NETPOL_TEST_PROBE"

func probeMain(string) int { return 2 }
