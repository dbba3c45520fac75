"""The recorder's protocol without I/O: bytes in, documents and messages out, bytes to send, next deadline."""
