"""The collection: what an index holds, its files on disk, and how it is built and changed."""
