"""Export: an index for others, on the Hugging Face hub."""
