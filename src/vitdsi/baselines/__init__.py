"""Classical retrieval to compare with: bag of visual words, and exact or approximate nearest neighbours."""
