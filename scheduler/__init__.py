"""Jobs that run inside the server's process, on its event loop."""
