"""Exported indexes: searched with ONNX Runtime and NumPy, without torch."""
