package main

import "unsafe"

func ptr[T any](v *T) uintptr { return uintptr(unsafe.Pointer(v)) }
