"""Photos: finding, decoding, loading and altering image files."""
