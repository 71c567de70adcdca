"""What the processes of one instance on one host share: a socket, a piece of memory, and who of them leads."""
