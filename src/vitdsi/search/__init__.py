"""Search: decoding ids under a trie, ranking them, filters and duplicates."""
