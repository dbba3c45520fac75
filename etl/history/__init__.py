"""The history: calls that recorders have told elsewhere, over HTTP and in files next to their recordings."""
