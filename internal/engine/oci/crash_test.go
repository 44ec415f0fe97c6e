package oci_test

const envCrashDir = "DUGOUT_TEST_CRASH"

func crashChild() {}
