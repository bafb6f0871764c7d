"""MuseTalk's networks: where their weights lie, how they are built, and their fast forms.

`networks` builds the published modules from their JSON; `unet`, `decoder` and `whisper` compute the
same from the same weights with constants folded in and their own kernels. Imported lazily: only
backends that run the networks need torch.
"""
