"""What runs for as long as the worker does: recorders, loaders, endpoints."""
