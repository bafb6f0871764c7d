"""The commands `bench`, `demo` and `conformance` of `voipavatar`."""
