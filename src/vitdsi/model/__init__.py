"""The model: stems, encoder, decoder and heads, and how a model is initialised and carried to another trie."""
