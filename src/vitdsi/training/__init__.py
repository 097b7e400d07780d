"""Training: targets, views of the images, the loop and its state."""
