"""Columns: what an index knows of each image, in arrays that grow at the end."""
