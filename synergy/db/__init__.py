"""The store: rows never leave this package, values go in and come out."""
