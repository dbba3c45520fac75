"""The `cdr` command."""
