"""Peers: the simple methods that an index is compared with."""
