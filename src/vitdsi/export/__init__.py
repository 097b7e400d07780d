"""Export: an index for others: on the Hugging Face hub, as ONNX graphs, and as a page that needs no server."""
