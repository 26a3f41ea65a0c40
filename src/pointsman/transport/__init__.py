"""The HTTP/1.1 data plane: a server protocol and an upstream pool of our own, and the fillers of the same seam."""
