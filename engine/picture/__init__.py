"""Faces into pictures: personas, blending, composition."""
