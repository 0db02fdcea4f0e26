"""The command line: speaks HTTP and knows nothing of the service's internals."""
