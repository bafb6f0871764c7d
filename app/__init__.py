"""The control plane: accepts sessions, joins LiveKit rooms, keeps time."""
