"""What needs the networks' libraries (torch, onnx): make setup-all."""
