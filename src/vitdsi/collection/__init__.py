"""The collection: reading it, building an index of it, changing the index and storing it."""
